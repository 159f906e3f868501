"""A process dies, a disk fails, a task is interrupted: at every single operation."""

import asyncio
import dis
import errno
import functools
import inspect
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.errors import Fenced
from lockjaw.locking import (
    LOCK_ALGORITHMS,
    HeldLock,
    SessionLock,
    inspect_lock,
    kernel,
    posix_locks,
    range_locks,
    release_all_held,
)
from lockjaw.locking.drivers import run_blocking
from lockjaw.locking.host import THIS_HOST
from lockjaw.locking.identity import this_process
from lockjaw.locking.kernel import Kernel
from lockjaw.locking.operations import observe
from lockjaw.locking.paths import LockPaths
from lockjaw.locking.request import LockRequest, Registry

pytestmark = pytest.mark.real

GUARDED = LOCK_ALGORITHMS["guarded"]
DEAD_FOREIGN = '{"pid": 4194303, "createdAt": "2026-05-14T07:35:46.405Z"}'
PROMPT_S = 10.0  # far above any poll, far below the waiters' deadline of 30 s
AT_ONCE_S = 1.0  # generous for two busy cores; every wrong turn would wait 5 s


@pytest.mark.parametrize("phase", ["acquire", "reclaim", "takeover", "fence", "release"])
def test_kill_at_any_operation_leaves_nothing_that_blocks_the_next_acquire(actor, session_file, phase):
    process = actor("killed", session_file, phase)
    kills = 0
    while "finished" not in (reply := process.reply()):
        assert reply.get("error") is None
        assert reply["took_s"] < AT_ONCE_S
        assert [name for name in reply["during"] if "body" not in name] == ["s.jsonl.guard", "s.jsonl.lock"]
        assert [name for name in reply["after"] if "body" not in name] == ["s.jsonl.guard"]
        assert reply["rose"]
        kills += 1
    assert reply["status"] == 0
    assert kills >= 6  # the phase has that many operations at least: the loop did test something


def test_kill_at_any_operation_of_an_overruling_leaves_nothing_that_blocks_the_next_acquire(actor, session_file):
    process = actor("killed", session_file, "overrule")
    kills, marked = 0, 0
    while "finished" not in (reply := process.reply()):
        assert reply.get("error") is None
        assert reply["took_s"] < AT_ONCE_S
        left = {name for name in reply["after"] if "body" not in name} - {"s.jsonl.guard"}
        assert left <= {"s.jsonl.guard.new", "s.jsonl.overruled"}, "what the next overruling, or writer, clears away"
        marked += "s.jsonl.overruled" in left
        assert reply["rose"]
        kills += 1
    assert reply["status"] == 0
    assert kills >= 12
    assert marked >= 5, "from the marker on, whoever writes next makes the transcript anew"


def test_dead_holder_is_succeeded_at_once(actor, session_file):
    holder, waiter = actor(), actor()
    assert holder.do("acquire", file=str(session_file))["generation"] == 1
    waiter.send("acquire", file=str(session_file), timeout=30.0)
    assert waiter.silent_for(0.2)
    holder.kill()
    killed_at = time.monotonic()
    reply = waiter.reply()
    assert time.monotonic() - killed_at < PROMPT_S
    assert reply == {"ok": True, "generation": 2, "reclaimed": "owner-byte-free"}
    assert waiter.do("append", to=str(session_file), text="x")["ok"]


def test_waiter_sees_the_death_of_a_foreign_owner(actor, session_file, lock_file):
    owner, waiter = actor(), actor()
    owner.do("acquire", file=str(session_file), algorithm="coarse")
    waiter.send("acquire", file=str(session_file), timeout=30.0)
    assert waiter.silent_for(0.2)
    os.kill(owner.pid, signal.SIGKILL)  # not reaped: a zombie is dead, too
    killed_at = time.monotonic()
    assert waiter.reply()["reclaimed"] in ("zombie", "dead-pid")
    assert time.monotonic() - killed_at < PROMPT_S  # it looked again, long before its deadline


class Faulty(Kernel):
    """Fails the n-th operation, before or after performing it."""

    def __init__(self, clock, at, error, *, after):
        super().__init__(clock)
        self.left, self.error, self.after = at, error, after
        self.fired = False
        observe(self, self.around)

    def around(self, call):
        self.left -= 1
        if self.left != -1:
            return call.make()
        self.fired = True
        if self.after:
            call.make()
        raise self.error


def request_for(session_file):
    return LockRequest(LockPaths.of(session_file), this_process(), Registry(), 0.0, section_wait_s=1.0)


FAULTS = {
    "disk full": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "disk error": lambda: OSError(errno.EIO, "Input/output error"),
    "not permitted": lambda: PermissionError(errno.EPERM, "Operation not permitted"),
    "no access": lambda: PermissionError(errno.EACCES, "Permission denied"),
    "interrupt": KeyboardInterrupt,
}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("algorithm", ["guarded", "coarse", "coarse-60s"])
@pytest.mark.parametrize("found", ["free", "dead foreign"])
def test_failed_acquire_leaves_no_lock(clock, session_file, lock_file, algorithm, fault, after, found):
    tried = 0
    for at in range(200):
        lock_file.unlink(missing_ok=True)
        if found == "dead foreign":
            lock_file.write_text(DEAD_FOREIGN)
        faulty = Faulty(clock, at, FAULTS[fault](), after=after)
        request = LockRequest(LockPaths.of(session_file), this_process(), Registry(), 1.0, section_wait_s=1.0)
        try:
            grant = run_blocking(LOCK_ALGORITHMS[algorithm].acquire(faulty, request), faulty)
        except (OSError, KeyboardInterrupt):
            assert faulty.fired
            tried += 1
        else:  # the algorithm lived with the fault, or there were no more operations
            THIS_HOST.run(clock, LOCK_ALGORITHMS[algorithm].release, grant)
        assert not kernel._open_handles
        # Nobody holds: what is left, if anything, is not ours.
        left = inspect_lock(session_file, clock=clock)
        interrupted_create = algorithm != "guarded" and after and left.exists and not lock_file.read_text()
        assert left.pid != os.getpid()
        if not interrupted_create:  # upstream's create-then-write leaves an empty file there; ours never does
            run_next = SessionLock(session_file, timeout=0.0, clock=clock)
            with run_next as held, held.section():
                pass
        if not faulty.fired:
            break
    assert tried >= 3


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fault", ["disk full", "interrupt"])
def test_failed_try_leaves_neither_a_lock_file_nor_a_locked_byte(clock, session_file, lock_file, fault, after):
    """The uncontended acquire."""
    for at in range(200):
        faulty = Faulty(clock, at, FAULTS[fault](), after=after)
        try:
            grant = run_blocking(GUARDED.acquire(faulty, request_for(session_file)), faulty)
        except (OSError, KeyboardInterrupt):
            pass
        else:
            THIS_HOST.run(clock, GUARDED.release, grant)
        assert not lock_file.exists()
        assert not kernel._open_handles
        with SessionLock(session_file, timeout=0.0, clock=clock) as held:
            assert held.reclaimed == ""
        if not faulty.fired:
            break
    assert at >= 6


def test_folder_that_may_not_be_written_is_an_error_that_names_it(session_file):
    folder = session_file.parent
    os.chmod(folder, 0o555)
    pid = os.fork()
    if pid == 0:
        code = 9
        try:
            if os.geteuid() == 0:
                os.seteuid(65534)  # root may write everywhere
            SessionLock(session_file, timeout=0.0, clock=ScaledClock.start()).acquire()
        except PermissionError as error:
            code = 7 if str(folder) in str(error) else 8
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.chmod(folder, 0o755)
    assert status == 7
    assert os.listdir(folder) == []


@pytest.mark.parametrize("name", ["link", "pwrite"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_disk_that_fails_under_the_uncontended_lock_leaves_nothing(
    clock, session_file, lock_file, monkeypatch, name, code
):
    lock = SessionLock(session_file, timeout=1.0, clock=clock)
    with lock:
        pass

    def fail(*arguments, **options):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as broken:
        broken.setattr(kernel.os, name, fail)
        for _ in range(3):
            with pytest.raises(OSError, match=os.strerror(code)):
                lock.acquire()
            assert not lock_file.exists()
    with lock as held, held.section():
        pass


def test_disk_that_refuses_the_unlink_blocks_nobody(clock, session_file, lock_file, monkeypatch):
    lock = SessionLock(session_file, clock=clock)
    lock.acquire()

    def fail(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(kernel.os, "unlink", fail)
        with pytest.raises(OSError, match="Input/output error"):
            lock.release()
    assert lock_file.exists()
    with SessionLock(session_file, timeout=0.0, clock=clock) as held, held.section():
        assert held.reclaimed == "owner-byte-free"


def test_kernel_that_refuses_the_section_to_a_release_blocks_nobody(clock, session_file, monkeypatch):
    lock = SessionLock(session_file, clock=clock)
    lock.acquire()

    def fail(self, handle, offset):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(posix_locks.DescriptionLocks, "lock", fail)
        with pytest.raises(OSError, match="Input/output error"):
            lock.release()
    with SessionLock(session_file, timeout=0.0, clock=clock) as held, held.section():
        assert held.reclaimed == "owner-byte-free"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fault", FAULTS)
def test_failed_fence_leaves_the_owner_or_nobody(clock, session_file, fault, after):
    guard = session_file.with_name("s.jsonl.guard")
    for at in range(200):
        owner = SessionLock(session_file, clock=clock)
        held = owner.acquire()
        recorded = guard.read_bytes()
        faulty = Faulty(clock, at, FAULTS[fault](), after=after)
        try:
            grant = run_blocking(GUARDED.fence(faulty, request_for(session_file)), faulty)
        except (OSError, KeyboardInterrupt):
            assert faulty.fired
            if guard.read_bytes() == recorded:  # it did not come as far as overruling anybody
                with held.section():
                    pass
        else:
            THIS_HOST.run(clock, GUARDED.release, grant)
        owner.release()
        with SessionLock(session_file, timeout=0.0, clock=clock) as held, held.section():
            assert sorted(os.listdir(session_file.parent)) == ["s.jsonl.body.guard", "s.jsonl.guard", "s.jsonl.lock"]
        if not faulty.fired:
            break
    assert at >= 10


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fault", FAULTS)
def test_failed_release_blocks_nobody(clock, session_file, fault, after):
    for at in range(200):
        grant = THIS_HOST.run(clock, GUARDED.acquire, request_for(session_file))
        faulty = Faulty(clock, at, FAULTS[fault](), after=after)
        try:
            run_blocking(GUARDED.release(faulty, grant), faulty)
        except (OSError, KeyboardInterrupt):
            assert faulty.fired
            if grant.guard.number >= 0:  # the very close was interrupted: end the process's hold
                kernel.Kernel(clock).close(grant.guard)
        with SessionLock(session_file, timeout=0.0, clock=clock) as held, held.section():
            pass
        if not faulty.fired:
            break
    assert at >= 5


def in_its_own_thread(test):
    """A trace function that raises inside a handler can leave the handled exception as the thread's current one for
    good (CPython 3.11). With this it ends with the thread, and is no context of what later tests raise."""

    @functools.wraps(test)
    def apart(*given, **named):
        failed = []

        def work():
            try:
                ended = test(*given, **named)
                if inspect.iscoroutine(ended):
                    asyncio.run(ended)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]

    return apart


class InterruptedAt:
    """Raises KeyboardInterrupt at the n-th place of the lock's code at which CPython looks for signals: at the begin of
    a function, in a loop, and after a call."""

    def __init__(self, at):
        self.left, self.fired, self._places = at, None, {}

    def __call__(self, frame, event, argument):
        if os.sep + "locking" + os.sep not in frame.f_code.co_filename or self.fired:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self.look

    def look(self, frame, event, argument):
        if event == "opcode" and frame.f_lasti in self._where(frame.f_code) and not self.fired:
            if self.left == 0:
                self.fired = f"{frame.f_code.co_qualname}:{frame.f_lineno}"
                raise KeyboardInterrupt
            self.left -= 1
        return self.look

    def _where(self, code):
        places = self._places.get(code)
        if places is None:
            places, looks = set(), False
            for instruction in dis.get_instructions(code):
                if instruction.opname in ("CACHE", "PRECALL"):
                    continue
                # A function that returns what it called: whoever called it sees the interruption at its own place.
                if looks and instruction.opname != "RETURN_VALUE":
                    places.add(instruction.offset)
                looks = instruction.opname.startswith(("CALL", "RESUME", "JUMP_BACKWARD"))
            self._places[code] = places
        return places


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # a socket
@pytest.mark.parametrize(
    ("path", "caller"),
    [
        ("free", "acquire"),
        ("free", "with"),
        ("dead owner", "acquire"),
        ("dead foreign owner", "acquire"),
        ("no folder", "acquire"),
    ],
)
@in_its_own_thread
def test_interrupted_acquire_leaves_the_lock_free_or_with_the_caller(clock, tmp_path, monkeypatch, path, caller):
    monkeypatch.setattr(kernel, "find_elsewhere", lambda *who: None)  # it looks at every process of the machine
    interrupted, at = 0, 0
    tracer, before = None, sys.gettrace()
    while tracer is None or tracer.fired:
        folder = tmp_path / ("new" if path == "no folder" else "s") / str(at)
        session_file = folder / "s.jsonl"
        if path != "no folder":
            folder.mkdir(parents=True)
        if path == "dead owner":
            with SessionLock(session_file, clock=clock):
                os.link(f"{session_file}.body.guard", f"{session_file}.spare")
            os.rename(f"{session_file}.spare", f"{session_file}.lock")
        if path == "dead foreign owner":
            session_file.with_name("s.jsonl.lock").write_text(DEAD_FOREIGN)
        lock, tracer = SessionLock(session_file, timeout=5.0, clock=clock), InterruptedAt(at)
        sys.settrace(tracer)
        try:
            if caller == "acquire":
                lock.acquire()
            else:
                lock.__enter__()
            sys.settrace(before)
        except KeyboardInterrupt:
            sys.settrace(before)
            interrupted += 1
            assert lock._held == []
            assert not range_locks.COMING_AND_GOING._is_owned(), tracer.fired  # other threads may go on
            # Free: as if we had never asked, so that a program that only knows the lock file can take it, too.
            assert not os.path.exists(f"{session_file}.lock") or "dead" in path, tracer.fired
            with SessionLock(session_file, timeout=0.0, clock=clock) as held:
                assert "dead" in path or held.reclaimed == "", tracer.fired
        else:
            assert tracer.fired is None
            lock.release()
        at += 5 if "dead" in path else 1  # that one is long: an interruption there costs 10 ms
    assert interrupted > 50


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # a socket
@pytest.mark.parametrize("path", ["free", "live owner", "live owner of a foreign file"])
@in_its_own_thread
async def test_interrupted_fence_leaves_the_lock_to_its_owner_or_free(clock, tmp_path, path):
    interrupted, overruled, at = 0, 0, 0
    tracer, before = None, sys.gettrace()
    while tracer is None or tracer.fired:
        session_file = tmp_path / str(at) / "s.jsonl"
        lock_file = session_file.with_name("s.jsonl.lock")
        session_file.parent.mkdir()
        owner, held = SessionLock(session_file, clock=clock), None
        if path != "free":
            if "foreign" in path:
                lock_file.write_text(DEAD_FOREIGN)
            held = owner.acquire()
        lock, tracer = SessionLock(session_file, timeout=5.0, clock=clock), InterruptedAt(at)
        sys.settrace(tracer)
        try:
            await lock.fence_async()
            sys.settrace(before)
        except KeyboardInterrupt:
            sys.settrace(before)
            interrupted += 1
            assert lock._held == []
            assert not range_locks.COMING_AND_GOING._is_owned(), tracer.fired
            try:
                if held is not None:
                    with held.section():
                        pass
            except Fenced:
                overruled += 1  # what came as far as the record stands; nobody holds the lock then
                assert not lock_file.exists(), tracer.fired
            owner.release()
            assert not lock_file.exists(), tracer.fired
            with SessionLock(session_file, timeout=0.0, clock=clock) as next_one:
                assert next_one.reclaimed == "", tracer.fired
        else:
            assert tracer.fired is None
            lock.release()
            owner.release()
        at += 3
    assert interrupted > 50
    assert overruled > 10 or path == "free"


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # a coroutine
@pytest.mark.parametrize("turns", [1, 3], ids=["first turn", "third turn"])
@pytest.mark.parametrize("how", ["release", "with", "release_async"])
@in_its_own_thread
async def test_interrupted_release_leaves_the_lock_free_or_with_the_caller(clock, tmp_path, how, turns):
    interrupted, at = 0, 0
    tracer, before = None, sys.gettrace()
    while tracer is None or tracer.fired:
        session_file = tmp_path / str(at) / "s.jsonl"
        session_file.parent.mkdir()
        lock, tracer = SessionLock(session_file, clock=clock), InterruptedAt(at)
        for _ in range(turns - 1):
            with lock:
                pass
        lock.acquire()
        sys.settrace(tracer)
        try:
            if how == "release":
                lock.release()
            elif how == "with":
                lock.__exit__(None, None, None)
            else:
                await lock.release_async()
            sys.settrace(before)
        except KeyboardInterrupt:
            sys.settrace(before)
            interrupted += 1
            if lock._held:  # it had not begun
                lock.release()
            assert not range_locks.COMING_AND_GOING._is_owned(), tracer.fired
            assert not os.path.exists(f"{session_file}.lock"), tracer.fired
            with SessionLock(session_file, timeout=0.0, clock=clock) as held:
                assert held.reclaimed == "", tracer.fired
        else:
            assert tracer.fired is None
        at += 1
    assert interrupted > 50


class Told:
    """A mutex that tells when somebody comes to it."""

    def __init__(self, mutex):
        self.mutex, self.reached = mutex, threading.Event()

    def __enter__(self):
        self.reached.set()
        self.mutex.acquire()

    def __exit__(self, *_):
        self.mutex.release()


def test_interrupted_release_waits_for_the_append_of_another_thread(clock, session_file, lock_file, monkeypatch):
    """What is left of it must not free the section under a writer."""
    lock, entered, inside = SessionLock(session_file, clock=clock), threading.Event(), []
    held = lock.acquire()

    def append():
        with held.section():
            entered.set()
            told.reached.wait(10.0)
            inside.append(lock_file.exists())

    def interrupt(self):
        raise KeyboardInterrupt

    writer = threading.Thread(target=append)
    told = Told(held._mutex)
    writer.start()
    assert entered.wait(10.0)
    held._mutex = told
    monkeypatch.setattr(HeldLock, "_release", interrupt)  # while it waits for the writer
    with pytest.raises(KeyboardInterrupt):
        lock.release()
    told.reached.set()
    writer.join()
    assert inside == [True]
    assert not lock_file.exists()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB; the test's, to be filled."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "lockjaw", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    release_all_held()
    kernel._resting.close_all()
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_refuses_the_lock_and_leaves_nothing_and_a_disk_with_room_gives_it(small_disk, clock):
    session_file, filler = small_disk / "s.jsonl", small_disk / "filler"

    def write_all():
        with filler.open("wb", buffering=0) as file:
            while file.write(bytes(512)):
                pass

    def fill():
        with pytest.raises(OSError, match="No space left"):
            write_all()

    fill()
    with pytest.raises(OSError, match="No space left"):
        SessionLock(session_file, timeout=0.0, clock=clock).acquire()
    assert not os.path.exists(f"{session_file}.lock")
    filler.unlink()
    with SessionLock(session_file, timeout=0.0, clock=clock) as held:
        assert held.reclaimed == ""
    fill()  # its files have their blocks by now: who has used the lock once can use it on a full disk
    with SessionLock(session_file, timeout=0.0, clock=clock) as held, held.section():
        assert held.reclaimed == ""
    assert not os.path.exists(f"{session_file}.lock")
