"""Looking at a lock changes nothing and never guesses."""

import json
import os

import pytest

from lockjaw.clock import iso
from lockjaw.locking import SessionLock, inspect_lock
from lockjaw.locking.identity import this_process
from lockjaw.locking.inspection import LockView, inspect
from lockjaw.locking.kernel import Kernel
from lockjaw.locking.operations import observe
from lockjaw.locking.paths import LockPaths


def test_absent_lock(session_file, clock):
    assert inspect_lock(session_file, clock=clock) == LockView(False)
    assert os.listdir(session_file.parent) == []


def test_held_lock_of_ours_can_be_fenced(session_file, clock):
    with SessionLock(session_file, clock=clock):
        view = inspect_lock(session_file, clock=clock)
    assert (view.exists, view.pid, view.alive, view.dead_reason) == (True, os.getpid(), True, None)
    assert (view.ours, view.generation) == (True, 1)
    assert view.starttime == this_process().starttime
    assert 0 <= view.age_s < 5
    assert inspect_lock(session_file, clock=clock) == LockView(False, generation=1)


@pytest.mark.real
def test_dead_lock_of_ours_is_proven_dead(actor, session_file, clock):
    owner = actor()
    owner.do("acquire", file=str(session_file))
    owner.kill()
    view = inspect_lock(session_file)
    assert (view.pid, view.alive, view.dead_reason, view.ours) == (owner.pid, False, "owner-byte-free", True)


@pytest.mark.parametrize(
    ("body", "alive", "reason"),
    [
        ({"pid": 4194303}, False, "dead-pid"),
        ({"pid": os.getppid()}, True, None),
        ({"pid": os.getppid(), "starttime": 1}, False, "recycled-pid"),
        ({"pid": 4194303, "pidNamespace": 1}, None, "other-pid-namespace"),
        ({}, None, "missing-pid"),
    ],
)
def test_foreign_lock_is_judged_by_proof(session_file, lock_file, clock, body, alive, reason):
    lock_file.write_text(json.dumps({**body, "createdAt": iso(clock.wall_ms() - 90_000)}))
    view = inspect_lock(session_file, clock=clock)
    assert (view.alive, view.dead_reason, view.ours, view.generation) == (alive, reason, False, 0)
    assert 90 <= view.age_s < 100


def test_age_of_a_body_without_instant_is_the_files(session_file, lock_file, clock):
    lock_file.write_text("garbage")
    now = clock.wall_ms() / 1000
    os.utime(lock_file, (now - 50, now - 50))
    view = inspect_lock(session_file, clock=clock)
    assert (view.pid, view.created_at_ms, view.alive) == (None, None, None)
    assert 50 <= view.age_s < 60


@pytest.mark.parametrize(
    ("error", "expected"), [(PermissionError, (True, "unreadable")), (FileNotFoundError, (False, None))]
)
def test_lock_that_cannot_be_read_is_not_judged(session_file, lock_file, clock, error, expected):
    lock_file.write_text("{}")

    def refuse(call):
        if call.operation == "Read":
            raise error
        return call.make()

    system = Kernel(clock)
    observe(system, refuse)
    view = inspect(system, LockPaths.of(session_file), this_process())
    assert (view.exists, view.dead_reason) == expected
    assert view.alive is None


@pytest.mark.parametrize(
    ("name", "seen"),
    [("run-1", "run-1"), ("é" * 80, "?" * 64), ("😀\x00\n", "???"), ('"\\' * 40, '"\\' * 32)],
    ids=["plain", "accents", "unprintable", "quotes"],
)
def test_any_owner_name_fits_the_guard(session_file, clock, name, seen):
    with SessionLock(session_file, clock=clock, owner=name, max_hold_s=1e9):
        assert inspect_lock(session_file, clock=clock).owner == seen
