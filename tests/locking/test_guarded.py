"""Our lock beside foreign files, in one process."""

import errno
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from lockjaw.clock import parse_iso
from lockjaw.history import MemoryRecorder
from lockjaw.locking import (
    LOCK_ALGORITHMS,
    LockLost,
    LockStateError,
    SessionLock,
    SessionLocked,
    guard_record,
    identity,
    inspect_lock,
    kernel,
)
from lockjaw.locking.algorithms import guarded
from lockjaw.locking.drivers import run_blocking
from lockjaw.locking.host import THIS_HOST
from lockjaw.locking.identity import this_process
from lockjaw.locking.kernel import Kernel
from lockjaw.locking.operations import observe
from lockjaw.locking.paths import LockPaths
from lockjaw.locking.request import LockRequest, Registry

GUARDED = LOCK_ALGORITHMS["guarded"]
ME = this_process()
CREATED = "2026-05-14T07:35:46.405Z"

#: Bodies as quoted in field reports, by era.
ERAS = {
    "pid, createdAt": {"pid": 41693, "createdAt": CREATED},
    "with starttime": {"pid": 2452, "createdAt": "2026-05-01T20:18:48.682Z", "starttime": 252434},
    "with maxHoldMs": {
        "pid": 32504,
        "createdAt": "2026-05-26T07:22:46.211Z",
        "maxHoldMs": 1020000,
        "starttime": 7204072,
    },
    "without starttime": {"pid": 16834, "createdAt": "2026-05-28T01:12:54.261Z", "maxHoldMs": 1020000},
}
OWNERLESS = {
    "empty": b"",
    "truncated": b'{\n  "pid": 41693,\n  "crea',
    "pid missing": json.dumps({"createdAt": CREATED}).encode(),
    "pid 0": json.dumps({"pid": 0, "createdAt": CREATED}).encode(),
    "pid negative": json.dumps({"pid": -4, "createdAt": CREATED}).encode(),
    "pid true": json.dumps({"pid": True, "createdAt": CREATED}).encode(),
    "no object": b"[41693]",
    "no text": b"\xff\xfe\x00garbage",
    "nested too deep": b"[" * 100_000,
}
DEAD_PID = 4194303


def dead(body):
    return json.dumps({**body, "pid": DEAD_PID}, indent=2)


def alive(body):
    """The same body, its owner being this test's parent."""
    return json.dumps({**body, "pid": os.getppid(), "starttime": None})


def try_once(session_file, clock, **options):
    return SessionLock(session_file, timeout=0.0, clock=clock, **options)


def test_lock_file_is_whole_and_readable_for_openclaw(clock, session_file, lock_file):
    with SessionLock(session_file, clock=clock, max_hold_s=1620.0) as held:
        text = lock_file.read_text()
        body = json.loads(text)
        assert held.path == lock_file
    assert {key: body[key] for key in ("pid", "maxHoldMs", "starttime")} == {
        "pid": ME.pid,
        "maxHoldMs": 1620000,
        "starttime": ME.starttime,
    }
    assert abs(clock.wall_ms() - parse_iso(body["createdAt"])) < 60_000
    assert text.startswith('{\n  "pid"')
    assert not text.endswith("\n")


@pytest.mark.parametrize("era", ERAS)
def test_foreign_lock_of_a_dead_owner_is_taken_at_once(clock, session_file, lock_file, era):
    lock_file.write_text(dead(ERAS[era]))
    with try_once(session_file, clock) as held:
        assert held.reclaimed == "dead-pid"
        assert json.loads(lock_file.read_text())["pid"] == ME.pid
        with held.section():
            pass
    assert not lock_file.exists()


@pytest.mark.parametrize("era", ERAS)
def test_foreign_lock_of_a_live_owner_is_honoured_however_old(clock, session_file, lock_file, era):
    body = alive(ERAS[era])
    lock_file.write_text(body)
    os.utime(lock_file, (0, 0))  # as old as files can be
    with pytest.raises(SessionLocked) as caught:
        try_once(session_file, clock).acquire()
    assert caught.value.owner == f"pid={os.getppid()}"
    assert f"Process {os.getppid()} is alive" in caught.value.advice
    assert "not made by a Lockjaw lock" in caught.value.advice
    assert lock_file.read_text() == body


def test_recycled_pid_is_a_dead_owner(clock, session_file, lock_file):
    lock_file.write_text(json.dumps({"pid": os.getppid(), "createdAt": CREATED, "starttime": 1}))
    with try_once(session_file, clock) as held:
        assert held.reclaimed == "recycled-pid"


def test_own_pid_without_start_time_is_an_earlier_process(clock, session_file, lock_file):
    lock_file.write_text(json.dumps({"pid": ME.pid, "createdAt": CREATED}))
    with try_once(session_file, clock) as held:
        assert held.reclaimed == "orphan-self-pid"


def test_lock_held_by_another_algorithm_of_this_process_is_honoured(clock, session_file, lock_file):
    with SessionLock(session_file, algorithm="coarse", clock=clock):
        lock_file.write_text(json.dumps({"pid": ME.pid, "createdAt": CREATED}))
        with pytest.raises(SessionLocked):
            try_once(session_file, clock).acquire()


def test_owner_in_another_pid_namespace_is_never_judged_dead(clock, session_file, lock_file):
    lock_file.write_text(json.dumps({"pid": DEAD_PID, "createdAt": CREATED, "pidNamespace": 1}))
    os.utime(lock_file, (0, 0))
    with pytest.raises(SessionLocked, match="another pid namespace"):
        try_once(session_file, clock).acquire()


def child_of(process):
    """The only child of a process."""
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())


@pytest.mark.real
def test_foreign_owner_in_a_container_that_we_can_see_is_alive(
    clock, session_file, lock_file, namespace, foreign_owner, actor
):
    """OpenClaw's file does not say in which pid namespace its pid counts: here it is somebody else's."""
    with foreign_owner([*namespace, "--mount-proc"], lock_file, "starttime") as started:
        body, owner = lock_file.read_text(), child_of(started)
        assert json.loads(body)["pid"] == 1
        with pytest.raises(SessionLocked, match=f"which is process {owner} here, is alive"):
            try_once(session_file, clock).acquire()
        assert inspect_lock(session_file).pid_here == owner
        assert lock_file.read_text() == body
        waiter = actor()
        waiter.send("acquire", file=str(session_file), timeout=30.0)
        assert waiter.silent_for(0.2)
        os.kill(owner, signal.SIGKILL)
        killed_at = time.monotonic()
        assert waiter.reply()["reclaimed"] == "recycled-pid"  # its pid means another here
        assert time.monotonic() - killed_at < 10.0  # it was told of the death, long before its deadline
        waiter.do("release")


@pytest.mark.real
def test_start_time_tells_an_owner_in_a_container_from_a_stranger_with_its_number(
    clock, session_file, lock_file, namespace, foreign_owner
):
    with foreign_owner([*namespace, "--mount-proc"], lock_file) as started:
        body, owner = {"pid": 1, "createdAt": CREATED, "starttime": 1}, child_of(started)
        lock_file.write_text(json.dumps({"pid": os.getpid(), "createdAt": CREATED}))
        with try_once(session_file, clock) as held:
            assert held.reclaimed == "orphan-self-pid"  # nobody has our number in there
        lock_file.write_text(json.dumps(body))
        with try_once(session_file, clock) as held:
            assert held.reclaimed == "recycled-pid"  # whoever has its number there started at another time
        assert identity.find_elsewhere(1, None) is not None
        assert identity.find_elsewhere(1, identity.process_state(owner).starttime) == owner


@pytest.mark.parametrize("kind", OWNERLESS)
def test_lock_that_names_nobody_is_honoured_for_its_grace_then_taken(clock, session_file, lock_file, kind):
    lock_file.write_bytes(OWNERLESS[kind])
    now = clock.wall_ms() / 1000
    os.utime(lock_file, (now - 25, now - 25))
    with pytest.raises(SessionLocked, match=r"unknown .*names no owner and was written 2[5-9]"):
        try_once(session_file, clock).acquire()
    os.utime(lock_file, (now - 31, now - 31))
    with try_once(session_file, clock) as held:
        assert held.reclaimed == "missing-pid"
        assert json.loads(lock_file.read_text())["pid"] == ME.pid  # whole, whatever was there before


def test_waiter_takes_a_lock_that_names_nobody_when_the_grace_ends(clock, session_file, lock_file):
    lock_file.write_bytes(b"")
    now = clock.wall_ms() / 1000
    os.utime(lock_file, (now - 29.8, now - 29.8))
    start = clock.monotonic()
    with SessionLock(session_file, timeout=30.0, clock=clock) as held:
        # Lower bound: not before the grace was over. Upper: not at the deadline either.
        assert 0.1 < clock.monotonic() - start < 15
        assert held.reclaimed == "missing-pid"


@pytest.mark.parametrize("kind", ["directory", "symbolic link", "dangling link", "fifo"])
def test_something_else_in_the_lock_files_place_is_refused(clock, session_file, lock_file, tmp_path, kind):
    match kind:
        case "directory":
            lock_file.mkdir()
        case "symbolic link":
            (tmp_path / "x").write_text("{}")
            lock_file.symlink_to(tmp_path / "x")
        case "dangling link":
            lock_file.symlink_to(tmp_path / "nowhere")
        case "fifo":
            os.mkfifo(lock_file)
    with pytest.raises(LockStateError, match="something other than a file is in"):
        try_once(session_file, clock).acquire()
    assert inspect_lock(session_file).dead_reason == "not-a-file"


class Scripted(Kernel):
    """Does something at the first (or every) operation of a name, before performing it."""

    def __init__(self, clock, name, action, *, once=True):
        super().__init__(clock)
        self.name, self.action, self.once, self.fired = name, action, once, 0
        observe(self, self.around)

    def around(self, call):
        if call.operation == self.name and not (self.once and self.fired):
            self.fired += 1
            self.action(call)
        return call.make()


def request_for(session_file, timeout_s=0.0):
    return LockRequest(LockPaths.of(session_file), this_process(), Registry(), timeout_s, section_wait_s=1.0)


def refuse(call):
    raise PermissionError(13, "Permission denied", call.path)


def test_unreadable_lock_counts_as_held(clock, session_file, lock_file):
    lock_file.write_text(dead(ERAS["pid, createdAt"]))
    system = Scripted(clock, "Read", refuse, once=False)
    with pytest.raises(SessionLocked, match=r"unknown .*may not read the lock file"):
        run_blocking(GUARDED.acquire(system, request_for(session_file)), system)


def test_unwritable_lock_of_a_dead_owner_is_reported(clock, session_file, lock_file):
    lock_file.write_text(dead(ERAS["pid, createdAt"]))
    system = Scripted(clock, "OpenExisting", refuse)
    with pytest.raises(LockStateError, match="owner is dead, but we may not write"):
        run_blocking(GUARDED.acquire(system, request_for(session_file)), system)


@pytest.mark.parametrize(
    "moment", ["Stat", "Read", "OpenExisting"], ids=["before look", "before read", "after judgement"]
)
def test_stale_lock_that_vanishes_under_a_contender_is_simply_free(clock, session_file, lock_file, moment):
    lock_file.write_text(dead(ERAS["pid, createdAt"]))
    kernel = Scripted(clock, moment, lambda call: lock_file.unlink())
    grant = run_blocking(GUARDED.acquire(kernel, request_for(session_file)), kernel)
    assert kernel.fired == 1
    assert grant.reclaimed == ""
    THIS_HOST.run(clock, GUARDED.release, grant)


def test_folder_that_vanishes_while_a_dead_owners_lock_is_taken_is_made_again(clock, tmp_path, actor):
    session_file = tmp_path / "sessions" / "s.jsonl"
    owner = actor()
    owner.do("acquire", file=str(session_file))
    owner.kill()
    kernel = Scripted(clock, "LinkFile", lambda call: shutil.rmtree(session_file.parent))
    grant = run_blocking(GUARDED.acquire(kernel, request_for(session_file, 5.0)), kernel)
    assert kernel.fired == 1
    assert Path(f"{session_file}.lock").exists()
    THIS_HOST.run(clock, GUARDED.release, grant)


def replace_by_live(lock_file):
    def replace(call):
        fresh = lock_file.with_name("fresh")
        fresh.write_text(alive(ERAS["pid, createdAt"]))
        fresh.replace(lock_file)

    return replace


def test_fresh_foreign_lock_that_replaced_the_judged_one_survives(clock, session_file, lock_file):
    """The judged file was replaced by a live owner's just before the take-over."""
    lock_file.write_text(dead(ERAS["pid, createdAt"]))
    kernel = Scripted(clock, "OpenExisting", replace_by_live(lock_file))
    with pytest.raises(SessionLocked, match=f"pid={os.getppid()}"):
        run_blocking(GUARDED.acquire(kernel, request_for(session_file)), kernel)
    assert kernel.fired == 1
    assert json.loads(lock_file.read_text())["pid"] == os.getppid()


def test_fresh_foreign_lock_survives_even_after_the_last_comparison(clock, session_file, lock_file):
    """Replaced between our comparison and our write: in place, we overwrite a file that has no name any more."""
    lock_file.write_text(dead(ERAS["pid, createdAt"]))
    replace = replace_by_live(lock_file)

    replaced = []

    def act(call):
        if call.path == str(lock_file):  # the write over the stale file, not those to the guard
            replaced.append(replace(call))

    kernel = Scripted(clock, "WriteInPlace", act, once=False)
    with pytest.raises(SessionLocked, match=f"pid={os.getppid()}"):
        run_blocking(GUARDED.acquire(kernel, request_for(session_file)), kernel)
    assert len(replaced) == 1
    assert json.loads(lock_file.read_text())["pid"] == os.getppid()


def test_foreign_lock_created_just_before_ours_gets_its_name_survives(clock, session_file, lock_file):
    kernel = Scripted(clock, "LinkFile", replace_by_live(lock_file))
    with pytest.raises(SessionLocked, match=f"pid={os.getppid()}"):
        run_blocking(GUARDED.acquire(kernel, request_for(session_file)), kernel)
    assert sorted(os.listdir(session_file.parent)) == ["s.jsonl.body.guard", "s.jsonl.guard", "s.jsonl.lock"]


async def test_garbage_written_into_our_lock_file_ends_with_the_hold(clock, session_file, lock_file):
    lock = SessionLock(session_file, clock=clock)
    held = lock.acquire()
    lock_file.write_text("garbage " * 100)
    with held.section():  # it still is our file, whatever stands in it
        pass
    with pytest.raises(SessionLocked, match="Wait for its run, abort it, or take the session over"):
        try_once(session_file, clock).acquire()
    lock.release()
    with SessionLock(session_file, clock=clock) as again:
        assert again.generation == 2
        assert json.loads(lock_file.read_text())["generation"] == 2
        lock_file.write_text("garbage " * 100)
        fencing = SessionLock(session_file, clock=clock)
        newer = await fencing.fence_async()
        assert json.loads(lock_file.read_text())["generation"] == newer.generation
        fencing.release()


def test_generations_that_are_reserved_are_used_once_and_by_one_process(actor, clock, session_file):
    lock, seen = SessionLock(session_file, clock=clock, owner="mine"), []

    def grant(which):
        with which as held:
            seen.append(held.generation)
            assert inspect_lock(session_file).generation == held.generation

    for _ in range(20):
        grant(lock)
    assert seen == list(range(1, 21))
    other = actor()
    seen.append(other.do("acquire", file=str(session_file))["generation"])
    assert 20 < seen[-1] < 64
    other.do("release")
    for _ in range(5):
        grant(lock)
    with SessionLock(session_file, clock=clock, owner="another") as held:
        seen.append(held.generation)
        assert inspect_lock(session_file).owner == "another"  # a record of its own, although its handle had some left
    grant(lock)
    assert seen == sorted(set(seen))


def test_who_found_the_lock_taken_reads_the_guard_once_when_it_takes_it(clock, session_file):
    """What it remembers from its last turn is over, so it need not be compared."""
    lock, owner, performed = SessionLock(session_file, clock=clock), SessionLock(session_file, clock=clock), []
    for _ in range(3):
        with lock:
            pass
    request, system = lock._begin().request, Kernel(clock)
    guard = system.open_guard(request.paths.guard, request.paths.body)
    owner.acquire()
    assert guard.mine is not None
    assert guarded.take(system, request, guard, None) is None
    owner.release()

    def listen(call):
        performed.append(call.operation)
        return call.make()

    observe(system, listen)
    grant = guarded.take(system, request, guard, None)
    assert performed == [
        "RangeLock", "Exists", "ReadAt", "WallNow", "WriteInPlace", "WriteInPlace", "LinkFile", "IsNamed",
        "RangeLook",
    ]  # fmt: skip
    assert grant.generation > 4
    THIS_HOST.run(clock, GUARDED.release, grant)


def test_lost_lock_file_is_not_called_fenced_because_generations_are_reserved(clock, session_file, lock_file):
    lock = SessionLock(session_file, clock=clock)
    for _ in range(3):
        with lock:
            pass
    held = lock.acquire()
    assert understood_generation(session_file) > held.generation  # some are reserved
    lock_file.unlink()
    with pytest.raises(LockLost, match="generation 4 has lost its lock"), held.section():
        pytest.fail("a holder without its lock file entered the section")
    lock.release()


def understood_generation(session_file):
    return guard_record.state(session_file.with_name("s.jsonl.guard").read_bytes()).generation


def test_garbage_in_a_lock_file_that_was_then_removed_does_not_come_back(clock, session_file, lock_file):
    lock = SessionLock(session_file, clock=clock)
    lock.acquire()
    lock_file.write_text("garbage " * 100)
    lock_file.unlink()
    lock.release()
    with lock as held:
        assert json.loads(lock_file.read_text())["generation"] == held.generation


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_holder_whose_file_is_taken_away_refuses_to_write_and_removes_nothing(clock, session_file, lock_file, how):
    recorder = MemoryRecorder(clock, "me")
    lock = SessionLock(session_file, clock=clock, recorder=recorder, owner="run-1")
    held = lock.acquire()
    lock_file.unlink()
    if how == "replaced":
        lock_file.write_text("somebody else's")
    with pytest.raises(LockLost, match="removed or replaced from outside"), held.section():
        pytest.fail("a holder without its lock file entered the section")
    lock.release()
    assert lock_file.exists() == (how == "replaced")
    lost = [record for record in recorder.records if record.op == "lock.lost"]
    assert [(record.data["generation"], record.data["owner"]) for record in lost] == [(1, "run-1")] * len(lost)
    assert lost
    assert recorder.records[-1].data["removed"] is False
    lock_file.unlink(missing_ok=True)


def test_two_locks_of_one_process_exclude_each_other(clock, session_file):
    with SessionLock(session_file, clock=clock):
        start = clock.monotonic()
        with pytest.raises(SessionLocked) as caught:
            SessionLock(session_file, timeout=0.25, clock=clock).acquire()
        # Lower bound: it did wait. Upper: the deadline is exact, up to what a busy machine adds.
        assert 0.25 <= clock.monotonic() - start < 1.25
    error = caught.value
    assert str(error).startswith(f"session file locked (timeout 250ms): pid={ME.pid} {session_file}.lock. Process")
    assert f"as generation {1} (a Lockjaw lock)" in error.advice
    assert 0.25 <= error.waited_s < 1.25


def test_generation_rises_with_every_grant_and_survives_release(clock, session_file):
    seen = []
    for _ in range(5):
        with SessionLock(session_file, clock=clock) as held:
            seen.append(held.generation)
    assert seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("content", [b"x" * 512 + b"y" * 512, b"x" * 1500, b"x" * 511 + b"\n"])
def test_damaged_guard_stops_everybody(clock, session_file, content):
    session_file.with_name("s.jsonl.guard").write_bytes(content)
    with pytest.raises(LockStateError, match="remove that file"):
        try_once(session_file, clock).acquire()
    assert inspect_lock(session_file).generation == 0


def test_guard_torn_by_a_killed_writer_falls_back_to_the_last_grant(clock, session_file):
    for _ in range(2):
        with SessionLock(session_file, clock=clock):
            pass
    guard = session_file.with_name("s.jsonl.guard")
    data = bytearray(guard.read_bytes())
    data[512 + 40 : 1024] = bytes(1024 - 512 - 40)  # generation 2 stands in the second slot
    guard.write_bytes(data)
    with SessionLock(session_file, clock=clock) as held:
        assert held.generation == 2
    guard.write_bytes(b"0badc0de {")
    with SessionLock(session_file, clock=clock) as held:
        assert held.generation == 1


def test_lock_lies_in_the_resolved_folder_which_is_created(clock, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with SessionLock(tmp_path / "link" / "new" / "s.jsonl", clock=clock) as held:
        assert held.path == tmp_path / "real" / "new" / "s.jsonl.lock"
        assert held.path.exists()


def test_a_full_disk_under_the_guard_names_the_file(clock, session_file, monkeypatch):
    def full(descriptor, data, offset):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(kernel.os, "pwrite", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*s\.jsonl\.guard'"):
        SessionLock(session_file, timeout=0.0, clock=clock).acquire()
