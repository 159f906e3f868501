"""What users of other lock libraries try first."""

import asyncio
import inspect
import json
import math
import os
import threading
from pathlib import Path

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.errors import FileLocked, LocalError
from lockjaw.locking import FileLock, LockLost, SessionLock, SessionLocked, inspect_lock

FAR_S = 30.0


@pytest.mark.parametrize("how", ["timeout=0", "blocking=False"])
def test_acquire_that_does_not_block_tries_once(clock, session_file, how):
    arguments = {"timeout": 0} if how == "timeout=0" else {"blocking": False}
    waiter = SessionLock(session_file, timeout=FAR_S, clock=clock)
    with SessionLock(session_file, clock=clock):
        start = clock.monotonic()
        with pytest.raises(SessionLocked) as caught:
            waiter.acquire(**arguments)
        assert clock.monotonic() - start < FAR_S / 2
        assert caught.value.timeout_s == 0
    with waiter.acquire(**arguments) as held:
        assert held.generation == 2


async def test_timeout_of_one_acquire_is_its_own(clock, session_file):
    lock = SessionLock(session_file, timeout=FAR_S, clock=clock)
    with SessionLock(session_file, clock=clock):
        for acquire in (lock.acquire, lock.acquire_async):
            start = clock.monotonic()
            with pytest.raises(SessionLocked) as caught:
                await acquire(timeout=0.1)
            assert caught.value.timeout_s == 0.1
            assert 0.1 <= clock.monotonic() - start < FAR_S / 2  # lower: it waited; upper: not for the object's own
        waiting = asyncio.create_task(lock.acquire_async())
        await asyncio.sleep(0.3)
        assert not waiting.done()  # the object's own again
    async with await waiting:
        assert lock.is_locked


@pytest.mark.parametrize("timeout", ["1", True, -1, math.nan])
def test_timeout_that_is_none_is_refused(clock, session_file, timeout):
    with pytest.raises(LocalError, match="must be a number of nominal seconds"):
        SessionLock(session_file, clock=clock).acquire(timeout=timeout)
    with pytest.raises(LocalError, match="takes no timeout"):
        SessionLock(session_file, clock=clock).acquire(timeout=1.0, blocking=False)


def test_is_locked_tells_of_this_object(clock, session_file):
    one, other = SessionLock(session_file, clock=clock), SessionLock(session_file, clock=clock)
    assert not one.is_locked
    with one.acquire() as held:
        assert one.is_locked
        assert not other.is_locked
        assert not held.is_over
        pid = os.fork()
        if pid == 0:
            os._exit(one.is_locked)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0  # a child holds nothing
    assert held.is_over
    assert not one.is_locked


def test_path_is_the_lock_files(clock, session_file, lock_file):
    for name in (session_file, str(session_file), Path(session_file)):
        lock = SessionLock(name, clock=clock)
        assert lock.path == lock_file
    with lock as held:
        assert held.path == lock.path
        assert lock.path.exists()


@pytest.mark.parametrize("ways", ["with", "release"])
def test_proxy_gives_the_lock_back(clock, session_file, ways):
    lock = SessionLock(session_file, clock=clock)
    if ways == "with":
        with lock.acquire(timeout=1.0) as held, held.section():
            assert inspect_lock(session_file).alive
    else:
        lock.acquire().release()
    assert not inspect_lock(session_file).exists
    with lock:  # and the object may be used again
        pass


async def test_proxy_gives_the_lock_back_in_a_task(clock, session_file):
    lock = SessionLock(session_file, clock=clock)
    async with await lock.acquire_async(timeout=1.0) as held:
        with held.section():
            pass
    await (await lock.acquire_async()).release_async()
    assert not inspect_lock(session_file).exists


def test_proxy_gives_the_lock_back_when_the_block_fails(clock, session_file):
    with pytest.raises(ZeroDivisionError), SessionLock(session_file, clock=clock).acquire():
        raise ZeroDivisionError
    assert not inspect_lock(session_file).exists


# --------------------------------------------------------------------------- re-entrancy


@pytest.mark.parametrize("algorithm", ["guarded", "soft", "flock"])
def test_reentrant_object_is_given_back_with_its_last_release(clock, session_file, algorithm):
    lock = SessionLock(session_file, clock=clock, reentrant=True, algorithm=algorithm)
    other = SessionLock(session_file, timeout=0, clock=clock, algorithm=algorithm)
    with lock as outer:
        with lock.acquire(timeout=0) as inner:
            assert inner is outer
            lock.acquire(blocking=False)
            lock.release()
        assert lock.is_locked
        with pytest.raises(SessionLocked):
            other.acquire()
    assert not lock.is_locked
    with other:
        pass
    lock.release()  # once too often is no error


def test_reentrant_object_excludes_the_other_threads_that_share_it(clock, session_file):
    lock, refused = SessionLock(session_file, timeout=0, clock=clock, reentrant=True), []

    def work():
        try:
            lock.acquire()
        except LocalError as error:
            refused.append(str(error))

    with lock:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(refused) == 1
    assert "use another object" in refused[0]


async def test_reentrant_object_excludes_the_other_tasks_that_share_it(clock, session_file):
    lock = SessionLock(session_file, clock=clock, reentrant=True)
    async with lock:
        async with lock:
            pass
        with pytest.raises(LocalError, match="use another object"):
            await asyncio.create_task(lock.acquire_async())
        assert lock.is_locked


def test_reentrant_object_is_not_entered_again_once_its_limit_is_over(session_file):
    clock = ScaledClock.start(0.1)
    lock = SessionLock(session_file, clock=clock, reentrant=True, max_hold_s=0.1)
    held = lock.acquire()
    while not held.is_over:
        pass
    with pytest.raises(LockLost, match="was released"):
        lock.acquire()
    assert not lock.is_locked
    lock.release()
    with lock:
        pass


def test_hold_without_a_limit_has_none(clock, session_file):
    with SessionLock(session_file, clock=clock, max_hold_s=math.inf):
        assert inspect_lock(session_file).max_hold_s is None
    with SessionLock(session_file, clock=clock):
        assert inspect_lock(session_file).max_hold_s == 300.0


# --------------------------------------------------------------------------- any file


def test_file_lock_locks_any_file(clock, tmp_path, actor):
    state = tmp_path / "state.json"
    with FileLock(state, clock=clock) as held:
        assert held.path == tmp_path / "state.json.lock"
        assert actor().do("acquire", file=str(state), timeout=0)["error"] == "SessionLocked"
        with held.section():
            state.write_text("{}")
    assert inspect.signature(FileLock) == inspect.signature(SessionLock)


def test_lock_that_is_made_afresh_takes_nothing_from_the_one_before_but_what_is_the_same(clock, session_file):
    """A request is kept for the next lock of the same file and arguments."""
    for arguments in ({}, {"owner": "a"}, {"owner": "b"}, {"max_hold_s": 7.0}, {"max_hold_s": math.inf}, {}):
        with SessionLock(session_file, clock=clock, **arguments):
            said = inspect_lock(session_file)
            limit = json.loads(Path(f"{session_file}.lock").read_text()).get("maxHoldMs")
        limit_s = arguments.get("max_hold_s", 300.0)
        assert limit == (None if limit_s == math.inf else limit_s * 1000)
        assert said.owner == arguments.get("owner", "")
    with SessionLock(session_file, clock=clock):
        for kind, timeout_s in ((SessionLock, 0.1), (FileLock, 0.1), (SessionLock, 0.2)):
            with pytest.raises(SessionLocked) as caught:
                kind(session_file, clock=clock, timeout=timeout_s).acquire()
            assert type(caught.value) is (FileLocked if kind is FileLock else SessionLocked)
            assert caught.value.timeout_s == timeout_s
