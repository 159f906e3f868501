"""The public lock: arguments, records, forks, signals and the end of a process."""

import asyncio
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings

import pytest

from lockjaw.errors import LocalError
from lockjaw.history import OPERATIONS, MemoryRecorder
from lockjaw.locking import (
    LOCK_ALGORITHMS,
    LockLost,
    LockStateError,
    SessionLock,
    SessionLocked,
    inspect_lock,
    kernel,
    release_all_held,
)
from lockjaw.locking.identity import process_state


@pytest.mark.parametrize("name", LOCK_ALGORITHMS)
async def test_every_algorithm_serves_blocking_and_async_callers(clock, session_file, lock_file, name):
    lock = SessionLock(session_file, algorithm=name, clock=clock)
    with lock as held:
        assert held.path == lock_file
        with held.section(), held.section():
            assert lock_file.exists() == (name != "flock")  # which nobody else can see
    assert not lock_file.exists()
    async with lock as held:
        assert repr(held) == f"HeldLock({str(lock_file)!r}, generation={held.generation})"
        assert lock_file.exists() == (name != "flock")
    assert not lock_file.exists()
    await lock.release_async()  # no error
    lock.release()


@pytest.mark.parametrize(("name", "timeout_s"), [("coarse", 10), ("coarse-60s", 60), ("guarded", 60)])
def test_default_timeouts_are_the_algorithms(name, timeout_s):
    assert LOCK_ALGORITHMS[name].timeout_s == timeout_s


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"algorithm": "none"}, "unknown lock algorithm 'none'; known: guarded, coarse, coarse-60s"),
        ({"timeout": -1}, "a lock timeout must be a number of nominal seconds, 0 or more, got -1"),
        ({"timeout": float("nan")}, "0 or more, got nan"),
    ],
)
def test_misuse_is_named(session_file, options, text):
    with pytest.raises(LocalError, match=text):
        SessionLock(session_file, **options)


def test_one_object_cannot_be_acquired_twice(clock, session_file):
    lock = SessionLock(session_file, clock=clock)
    with lock, pytest.raises(LocalError, match="holds the lock already"):
        lock.acquire()


def records_of(recorder):
    return [(record.op, record.phase, record.data) for record in recorder.records]


async def test_records_tell_grant_release_and_fence(clock, session_file, lock_file):
    recorder = MemoryRecorder(clock, "a")
    first = SessionLock(session_file, clock=clock, recorder=recorder, owner="one", timeout=7.0)
    second = SessionLock(session_file, clock=clock, recorder=recorder, owner="two")
    first.acquire()
    await second.fence_async()
    first.release()
    await second.release_async()
    path = str(lock_file)
    found = records_of(recorder)
    waited = found[1][2].pop("waited_s")
    assert 0 <= waited < 1
    assert found == [
        ("lock", "invoke", {"path": path, "owner": "one", "timeout_s": 7.0}),
        ("lock", "ok", {"path": path, "owner": "one", "generation": 1, "reclaimed": ""}),
        ("lock.fence", "ok", {"path": path, "owner": "two", "generation": 2, "previous": 1}),
        ("lock.release", "invoke", {"path": path, "owner": "one", "generation": 1}),
        ("lock.release", "ok", {"path": path, "owner": "one", "generation": 1, "removed": False}),
        ("lock.release", "invoke", {"path": path, "owner": "two", "generation": 2}),
        ("lock.release", "ok", {"path": path, "owner": "two", "generation": 2, "removed": True}),
    ]
    assert {op for op, _, _ in found} <= set(OPERATIONS)
    json.dumps(found)


async def test_records_tell_why_an_acquire_failed(clock, session_file, lock_file):
    recorder = MemoryRecorder(clock, "a")

    def contender():
        return SessionLock(session_file, clock=clock, recorder=recorder, owner="x", timeout=0.0)

    with SessionLock(session_file, clock=clock):
        with pytest.raises(SessionLocked):
            contender().acquire()
        slow = SessionLock(session_file, clock=clock, recorder=recorder, owner="x")
        task = asyncio.create_task(slow.acquire_async())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    lock_file.mkdir()
    with pytest.raises(LockStateError):
        contender().acquire()
    with pytest.raises(LockStateError):
        await contender().fence_async()
    (session_file.parent / "file").write_text("")
    nowhere = SessionLock(session_file.parent / "file" / "s.jsonl", clock=clock, recorder=recorder)
    with pytest.raises(OSError):
        nowhere.acquire()
    failures = [
        (op, data.get("kind"), data.get("owner")) for op, phase, data in records_of(recorder) if phase == "fail"
    ]
    assert failures == [
        ("lock", "timeout", f"pid={os.getpid()}"),
        ("lock", "cancelled", "unknown"),
        ("lock", "state", "unknown"),
        ("lock.fence", None, "x"),
        ("lock", "os", "unknown"),
    ]


def test_released_holder_may_not_write(clock, session_file):
    lock = SessionLock(session_file, clock=clock)
    held = lock.acquire()
    lock.release()
    with pytest.raises(LockLost, match="it was released") as caught, held.section():
        pytest.fail("entered after the release")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.generation, copy.reason) == (str(caught.value), 1, "it was released")


def test_release_all_gives_back_every_lock_even_from_inside_a_section(clock, tmp_path):
    locks = [
        SessionLock(tmp_path / f"{name}.jsonl", algorithm=name, clock=clock, max_hold_s=1e6) for name in LOCK_ALGORITHMS
    ]
    helds = [lock.acquire() for lock in locks]
    twice = SessionLock(tmp_path / "coarse.jsonl", algorithm="coarse", clock=clock, reentrant=True)
    twice.acquire()
    with helds[0].section():
        release_all_held()
        assert [entry for entry in os.listdir(tmp_path) if entry.endswith(".lock")] == []
    release_all_held()
    for lock in locks:
        lock.release()  # what a run's own clean-up does afterwards
    with SessionLock(tmp_path / "guarded.jsonl", timeout=0.0, clock=clock):
        pass


FORK = """
import os, sys
from lockjaw.locking import SessionLock, LockStateError, inspect_lock, release_all_held
path, algorithm = sys.argv[1:]
lock = SessionLock(path, algorithm=algorithm)
held = lock.acquire()
pid = os.fork()
if pid == 0:
    try:
        with held.section():
            os._exit(1)
    except LockStateError as error:
        assert "forked child" in str(error)
    lock.release()
    release_all_held()
    assert os.path.exists(path + ".lock")
    contender = SessionLock(path, algorithm=algorithm, timeout=0.0)
    try:
        contender.acquire()
    except TimeoutError as error:
        assert f"pid={os.getppid()}" in str(error)
        os._exit(7)
    os._exit(2)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
with held.section():
    pass
lock.release()
assert not os.path.exists(path + ".lock")
"""


@pytest.mark.real
@pytest.mark.parametrize("algorithm", ["guarded", "coarse"])
def test_forked_child_neither_holds_nor_releases(session_file, algorithm):
    subprocess.run([sys.executable, "-c", FORK, str(session_file), algorithm], check=True, timeout=60)


SURVIVING_CHILD = """
import os, sys, signal
from lockjaw.locking import SessionLock
lock = SessionLock(sys.argv[1])
held = lock.acquire()
if os.fork() == 0:
    print("child", os.getpid(), flush=True)
    sys.stdin.read()
    os._exit(0)
signal.pause()
"""


@pytest.mark.real
def test_forked_child_does_not_keep_a_dead_holders_lock(clock, session_file):
    holder = subprocess.Popen(
        [sys.executable, "-c", SURVIVING_CHILD, str(session_file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    child = int(holder.stdout.readline().split()[1])
    holder.kill()
    holder.wait()
    with SessionLock(session_file, timeout=20.0, clock=clock) as held:
        assert process_state(child).exists  # the danger: somebody still has a copy of the descriptor table
        assert held.reclaimed == "owner-byte-free"
    holder.stdin.close()
    holder.stdout.close()


def child_with_open_guards(folder):
    """Fork, and let the child tell how many descriptors of a lock's files it has."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer versions of Python: forks and threads
        pid = os.fork()
    if pid == 0:
        opened = 0
        for entry in os.listdir("/proc/self/fd"):
            try:
                opened += os.readlink(f"/proc/self/fd/{entry}").startswith(f"{folder}/s.jsonl.")
            except OSError:
                pass
        os.write(write, bytes([opened]))
        os._exit(0)
    os.waitpid(pid, 0)
    with os.fdopen(read, "rb") as told:
        os.close(write)
        return told.read()[0]


@pytest.mark.real
@pytest.mark.parametrize("moment", ["guard opened", "body opened", "taken from rest", "before it closes"])
def test_fork_while_another_thread_opens_or_closes_a_guard_leaks_no_descriptor(
    clock, session_file, monkeypatch, moment
):
    """A description's locks live as long as any copy of its descriptor: a forked child must know all of them."""
    lock = SessionLock(session_file, clock=clock)
    if "opened" not in moment:
        lock.acquire()
        lock.release()
    reached, forked, waited = threading.Event(), threading.Event(), []

    def stop_here():
        if threading.current_thread() is not thread or waited:
            return
        reached.set()
        waited.append(forked.wait(0.3))  # a fork that does not wait for us is done by then

    def stopping(function, before=False, only=""):
        def stopped(*arguments):
            if before:
                stop_here()
            result = function(*arguments)
            if not before and only in str(arguments[0]):
                stop_here()
            return result

        return stopped

    match moment:
        case "guard opened":
            monkeypatch.setattr(os, "open", stopping(os.open, only="s.jsonl.guard"))
        case "body opened":
            monkeypatch.setattr(os, "open", stopping(os.open, only="s.jsonl.body.guard"))
        case "taken from rest":
            monkeypatch.setattr(kernel._resting, "take", stopping(kernel._resting.take))
        case "before it closes":
            resting = kernel._resting
            monkeypatch.setattr(resting, "_now", lambda: math.inf)  # it looks again ...
            monkeypatch.setattr(resting, "_is_named", lambda handle: False)  # ... so that it closes and opens anew
            monkeypatch.setattr(resting, "_close", stopping(resting._close, before=True))
    thread = threading.Thread(target=lock.acquire)
    thread.start()
    assert reached.wait(10.0)
    try:
        assert child_with_open_guards(session_file.parent) == 0
    finally:
        forked.set()
        thread.join()
        lock.release()
    assert waited == [False]  # the fork waited for the descriptor to be known


SIGNALS = """
import os, signal, sys
from lockjaw.locking import SessionLock, release_on_signals
path, algorithm, number, former = sys.argv[1:]
number = int(number)
def earlier(n, frame):
    print("earlier handler", os.path.exists(path + ".lock"), flush=True)
    os._exit(9)
if former == "handler":
    signal.signal(number, earlier)
elif former == "ignored":
    signal.signal(number, signal.SIG_IGN)
if former != "restored":
    release_on_signals()
else:
    release_on_signals()()
SessionLock(path, algorithm=algorithm).acquire()
signal.raise_signal(number)
os._exit(3)
"""


@pytest.mark.real
@pytest.mark.parametrize("algorithm", ["guarded", "coarse"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGABRT, signal.SIGINT])
def test_signal_releases_then_takes_its_ordinary_course(session_file, lock_file, algorithm, number):
    done = subprocess.run(
        [sys.executable, "-c", SIGNALS, str(session_file), algorithm, str(int(number)), "default"],
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == -number
    assert not lock_file.exists()


@pytest.mark.real
@pytest.mark.parametrize(
    ("former", "code", "left"), [("handler", 9, False), ("ignored", 3, True), ("restored", -signal.SIGTERM, True)]
)
def test_signal_chain_is_kept(session_file, lock_file, former, code, left):
    arguments = [str(session_file), "guarded", str(int(signal.SIGTERM)), former]
    done = subprocess.run([sys.executable, "-c", SIGNALS, *arguments], capture_output=True, text=True, timeout=60)
    assert (done.returncode, lock_file.exists()) == (code, left)
    assert ("earlier handler False" in done.stdout) == (former == "handler")


@pytest.mark.real
@pytest.mark.parametrize("algorithm", ["guarded", "coarse", "coarse-60s"])
def test_ordinary_exit_leaves_no_lock(session_file, lock_file, algorithm):
    code = (
        "import sys; from lockjaw.locking import SessionLock; SessionLock(sys.argv[1], algorithm=sys.argv[2]).acquire()"
    )
    subprocess.run([sys.executable, "-c", code, str(session_file), algorithm], check=True, timeout=60)
    assert not lock_file.exists()
    assert inspect_lock(session_file).exists is False


@pytest.mark.real
def test_import_installs_no_signal_handler():
    code = (
        "import signal; before = [signal.getsignal(n) for n in range(1, 32)]; import lockjaw.locking; "
        "assert before == [signal.getsignal(n) for n in range(1, 32)]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
