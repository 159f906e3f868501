"""How the drivers wait, are interrupted and lock ranges."""

import asyncio
import errno
import os
import stat
import threading

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.locking import LOCK_ALGORITHMS, LockStateError, SessionLock, SessionLocked, kernel, posix_locks
from lockjaw.locking.host import THIS_HOST
from lockjaw.locking.identity import this_process
from lockjaw.locking.kernel import Kernel
from lockjaw.locking.operations import Sleep, WaitForRelease
from lockjaw.locking.paths import LockPaths
from lockjaw.locking.request import LockRequest, Registry
from lockjaw.locking.windows_locks import WindowsLocks


class LateClock:
    """A clock whose every sleep ends late; counts in its own seconds."""

    def __init__(self, scale, late_s):
        self.scale, self.late_s, self.now = scale, late_s, 100.0

    def monotonic(self):
        return self.now

    def wall_ms(self):
        return int(self.now * 1000)

    def real_s(self, nominal_s):
        return nominal_s * self.scale

    def sleep_blocking(self, nominal_s):
        self.now += nominal_s + self.late_s

    async def sleep(self, nominal_s):
        await asyncio.sleep(0)
        self.sleep_blocking(nominal_s)


def sleeper(calls, times, duration_s):
    start = calls.now()
    for _ in range(times):
        yield Sleep(duration_s)
    return calls.now() - start


@pytest.mark.parametrize("drive", ["blocking", "asyncio"])
@pytest.mark.parametrize(
    ("scale", "late_s", "seen_s", "actual_s"),
    [
        (0.04, 0.5, 10.0, 10.5),  # lateness that scheduling explains: only the last one remains
        (0.04, 3.0, 40.0, 40.0),  # a real pause: nothing is hidden
        (1.0, 0.5, 15.0, 15.0),  # ordinary time: lateness is part of what the program does
    ],
)
def test_sleeps_of_one_run_do_not_drift_under_a_small_scale(drive, scale, late_s, seen_s, actual_s):
    clock = LateClock(scale, late_s)
    if drive == "blocking":
        seen = THIS_HOST.run(clock, sleeper, 10, 1.0)
    else:
        seen = asyncio.run(THIS_HOST.run_async(clock, sleeper, 10, 1.0))
    assert seen == pytest.approx(seen_s)
    assert clock.now - 100.0 == pytest.approx(actual_s)


async def test_cancelled_waiter_leaves_no_trace(clock, session_file):
    with SessionLock(session_file, clock=clock):
        before = sorted(os.listdir(session_file.parent)), set(kernel._open_handles)
        lock = SessionLock(session_file, timeout=60.0, clock=clock)
        task = asyncio.create_task(lock.acquire_async())
        while not any(stat.S_ISSOCK(os.fstat(handle.number).st_mode) for handle in kernel._open_handles):
            await asyncio.sleep(0)  # until it has a place in the queue
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (sorted(os.listdir(session_file.parent)), set(kernel._open_handles)) == before
    with SessionLock(session_file, timeout=0.0, clock=clock):
        pass


async def test_cancelled_while_it_takes_over_leaves_no_lock(session_file, lock_file):
    """The settling moment of a take-over is the one await inside the section."""
    lock_file.write_text('{"pid": 4194303, "createdAt": "2026-05-14T07:35:46.405Z"}')
    asleep = asyncio.Event()

    class Stuck(ScaledClock):
        async def sleep(self, nominal_s):
            asleep.set()
            await asyncio.Event().wait()

    clock = Stuck.start()
    task = asyncio.create_task(SessionLock(session_file, clock=clock).acquire_async())
    await asleep.wait()
    assert lock_file.exists()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(os.listdir(session_file.parent)) == ["s.jsonl.body.guard", "s.jsonl.guard"]
    with SessionLock(session_file, timeout=0.0, clock=clock) as held:
        assert held.reclaimed == ""


async def test_cancelled_release_still_releases(session_file, lock_file):
    clock = ScaledClock.start()
    lock = SessionLock(session_file, clock=clock)
    await lock.acquire_async()
    other = Kernel(clock)
    guard = other.open_guard(f"{session_file}.guard")
    other.lock(guard, 0)
    task = asyncio.create_task(lock.release_async())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    other.close(guard)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not lock_file.exists()


async def test_async_waiters_of_one_loop_get_the_lock_in_turn(clock, session_file):
    holding, order = 0, []

    async def contend(name):
        nonlocal holding
        async with SessionLock(session_file, clock=clock, timeout=30.0) as held:
            holding += 1
            assert holding == 1
            await asyncio.sleep(0.001)
            order.append(held.generation)
            holding -= 1

    await asyncio.gather(*(contend(n) for n in range(8)))
    assert order == list(range(1, 9))


@pytest.mark.parametrize("timeout_s", [0.0, 0.05, 0.4])
async def test_deadline_is_exact(clock, session_file, timeout_s):
    with SessionLock(session_file, clock=clock):
        start = clock.monotonic()
        with pytest.raises(SessionLocked) as caught:
            await SessionLock(session_file, timeout=timeout_s, clock=clock).acquire_async()
        # Lower: never early. Upper: what a busy machine may add, far below one more poll of a second.
        assert timeout_s <= clock.monotonic() - start < timeout_s + 0.75
        assert caught.value.timeout_s == timeout_s


def test_wait_notices_a_lock_file_that_was_written(clock, session_file, lock_file):
    lock_file.write_text("a")
    system = Kernel(clock)
    wait = WaitForRelease(str(lock_file), system._status(os.lstat(lock_file)), 1e9)
    assert not system.may_be_released(wait)
    os.utime(lock_file, (5, 5))
    assert system.may_be_released(wait)
    lock_file.unlink()
    assert system.may_be_released(wait)
    absent = WaitForRelease(str(lock_file), None, 1e9)
    assert not system.may_be_released(absent)
    lock_file.write_text("b")
    assert system.may_be_released(absent)


def test_interrupted_run_closes_what_it_opened(clock, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        THIS_HOST.call(clock, careless, tmp_path / "x")
    with pytest.raises(KeyboardInterrupt):
        THIS_HOST.run(clock, careless_algorithm, tmp_path / "y")
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(THIS_HOST.run_async(clock, careless_algorithm, tmp_path / "z"))


def careless(calls, path):
    calls.create_exclusive(str(path))
    raise KeyboardInterrupt


def careless_algorithm(calls, path):
    yield Sleep(0.0)
    careless(calls, path)


def test_short_write_is_a_full_disk(clock, tmp_path, monkeypatch):
    system = Kernel(clock)
    handle = system.create_exclusive(str(tmp_path / "x"))
    monkeypatch.setattr(os, "pwrite", lambda *arguments: 3)
    with pytest.raises(OSError, match="No space left") as caught:
        system.write(handle, b"12345")
    assert caught.value.errno == errno.ENOSPC
    system.abandon()


@pytest.fixture(params=[posix_locks.DescriptionLocks, posix_locks.FlockFiles, WindowsLocks])
def ranges(request):
    return request.getfixturevalue("lock_file_ex") if request.param is WindowsLocks else request.param()


def test_range_locks_exclude_two_handles_of_one_process(clock, tmp_path, ranges):
    system = Kernel(clock, ranges)
    one, two = (system.open_guard(str(tmp_path / "g")) for _ in range(2))
    assert system.lock(one, 5)
    assert system.lock(one, 5)  # one's own lock is no obstacle
    assert not system.lock(two, 5)
    assert system.lock(two, 6)
    assert system.locked_elsewhere(two, 5)
    assert not system.locked_elsewhere(one, 5)
    system.unlock(one, 5)
    assert system.lock(two, 5)
    assert system.locked_elsewhere(one, 5)
    system.close(two)  # closing drops every lock of the handle
    assert not system.locked_elsewhere(one, 5)
    assert not system.locked_elsewhere(one, 6)
    system.close(one)
    system.close(one)


@pytest.mark.parametrize("kind", [posix_locks.DescriptionLocks, posix_locks.FlockFiles])
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EBADF])
def test_file_system_without_range_locks_fails_closed(clock, tmp_path, monkeypatch, kind, code):
    def refuse(*arguments):
        raise OSError(code, os.strerror(code))

    system = Kernel(clock, kind())
    handle = system.open_guard(str(tmp_path / "g"))
    monkeypatch.setattr(posix_locks.fcntl, "fcntl", refuse)
    monkeypatch.setattr(posix_locks.fcntl, "flock", refuse)
    with pytest.raises(OSError) as caught:
        system.lock(handle, 0)
    if code == errno.ENOLCK:
        assert isinstance(caught.value, LockStateError)
        assert "keep the state folder on a local one" in str(caught.value)
    system.abandon()


async def test_lock_works_and_fences_with_flock_alone(clock, session_file, lock_file, monkeypatch):
    monkeypatch.delattr(posix_locks.fcntl, "F_OFD_SETLK")
    first, second = SessionLock(session_file, clock=clock), SessionLock(session_file, clock=clock)
    held = first.acquire()
    with pytest.raises(SessionLocked):
        SessionLock(session_file, timeout=0.1, clock=clock).acquire()
    newer = await second.fence_async()
    with pytest.raises(Exception, match="superseded"), held.section():
        pytest.fail("fenced owner entered")
    with newer.section():
        pass
    second.release()
    for _ in range(10):  # owners share eight files; the fenced owner still keeps one of them
        with SessionLock(session_file, timeout=1.0, clock=clock) as later:
            assert later.generation > newer.generation
    first.release()
    assert not lock_file.exists()


def test_fork_keeps_no_flock_of_its_parent_alive(clock, session_file, monkeypatch):
    monkeypatch.delattr(posix_locks.fcntl, "F_OFD_SETLK")
    lock = SessionLock(session_file, clock=clock)
    lock.acquire()
    ours = [number for files in posix_locks._FLOCK_FILES._files.values() for number in files.values()]
    pid = os.fork()
    if pid == 0:
        closed = 0
        for number in ours:
            try:
                os.fstat(number)
            except OSError:
                closed += 1
        os._exit(closed)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == len(ours) == 1
    copy = os.dup(ours[0])  # what a child has until it comes to run
    try:
        lock.release()
        with SessionLock(session_file, timeout=0.0, clock=clock) as held, held.section():
            pass
    finally:
        os.close(copy)


def test_close_that_fails_has_closed_all_the_same(clock, session_file, monkeypatch):
    """As Linux does. The owner's byte must not outlive the hold because the disk fails."""
    request = LockRequest(LockPaths.of(session_file), this_process(), Registry(), 0.0)
    guarded, close = LOCK_ALGORITHMS["guarded"], os.close
    grant = THIS_HOST.run(clock, guarded.acquire, request)
    grant.guard.rests = False
    body = grant.guard.body.number

    def fail(descriptor):
        close(descriptor)
        if descriptor == body:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(kernel.os, "close", fail)
        with pytest.raises(OSError, match="Input/output error"):
            THIS_HOST.run(clock, guarded.release, grant)
    with SessionLock(session_file, timeout=0.0, clock=clock) as held, held.section():
        assert held.generation > grant.generation


def test_platform_without_description_locks_uses_flock(monkeypatch):
    assert isinstance(posix_locks.native_range_locks(), posix_locks.DescriptionLocks)
    monkeypatch.delattr(posix_locks.fcntl, "F_OFD_SETLK")
    assert isinstance(posix_locks.native_range_locks(), posix_locks.FlockFiles)


def test_threads_of_one_process_exclude_each_other(clock, session_file):
    inside, most, errors = 0, 0, []

    def work():
        nonlocal inside, most
        try:
            for _ in range(10):
                with SessionLock(session_file, timeout=60.0, clock=clock) as held, held.section():
                    inside += 1
                    most = max(most, inside)
                    inside -= 1
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, errors) == (1, [])
