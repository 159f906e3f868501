"""Real contenders that die, stop and misbehave where they are told to."""

import os

import pytest

from lockjaw.fakes.contenders.contender import Contender
from lockjaw.locking import SessionLock, SessionLocked, inspect_lock

pytestmark = pytest.mark.real


@pytest.fixture
def contender(clock):
    with Contender(clock=clock) as one:
        yield one


@pytest.mark.parametrize("operation", ["OpenGuard", "RangeLock", "ReadAt", "WriteInPlace", "LinkFile"])
def test_contender_that_dies_at_an_operation_blocks_nobody(contender, clock, session_file, operation):
    contender.die_at(operation)
    contender.begin_acquire(session_file)
    contender.wait_killed()
    with SessionLock(session_file, timeout=5.0, clock=clock) as held, held.section():
        assert held.generation >= 1


def test_contender_paused_while_it_takes_the_lock_is_waited_for(contender, clock, session_file):
    contender.pause_at("LinkFile")
    contender.begin_acquire(session_file)
    os.waitid(os.P_PID, contender.pid, os.WSTOPPED | os.WNOWAIT)
    with pytest.raises(SessionLocked, match="Some process is taking the session this very moment"):
        SessionLock(session_file, timeout=0.1, clock=clock).acquire()
    contender.resume()
    assert contender.wait_acquired() == 1


def test_contender_paused_inside_the_section_is_waited_for(contender, clock, session_file):
    contender.acquire(session_file)
    contender.pause_at("Stat")  # an append looks at the lock file, inside the section
    contender.begin_append("x")
    os.waitid(os.P_PID, contender.pid, os.WSTOPPED | os.WNOWAIT)
    with pytest.raises(SessionLocked, match="Some process is inside the lock's section"):
        SessionLock(session_file, timeout=0.1, clock=clock).acquire()
    contender.resume()
    contender.wait_appended()
    assert session_file.read_text() == "x\n"


def test_leaked_lock_is_held_until_its_process_ends(contender, clock, session_file):
    contender.acquire(session_file)
    contender.leak()
    with pytest.raises(SessionLocked, match=f"pid={contender.pid}"):
        SessionLock(session_file, timeout=0.1, clock=clock).acquire()
    contender.die()
    with SessionLock(session_file, timeout=5.0, clock=clock) as held:
        assert held.reclaimed == "owner-byte-free"


def test_lock_held_for_a_time_is_given_back(contender, clock, session_file):
    contender.hold_for(session_file, 0.2)
    with SessionLock(session_file, timeout=20.0, clock=clock) as held:
        assert held.generation == 2


def test_garbage_in_a_held_lock_file_robs_nobody_and_does_no_lasting_harm(contender, clock, session_file, lock_file):
    with SessionLock(session_file, clock=clock):
        contender.write_garbage(session_file, "x" * 1000)
        with pytest.raises(SessionLocked):
            SessionLock(session_file, timeout=0.05, clock=clock).acquire()
    with SessionLock(session_file, timeout=0.0, clock=clock) as held, held.section():
        assert inspect_lock(session_file, clock=clock).pid == os.getpid()
    assert not lock_file.exists()


def test_lock_that_claims_a_live_pid_is_honoured(contender, clock, session_file, lock_file):
    contender.claim_pid(session_file, os.getppid())
    with pytest.raises(SessionLocked, match=f"pid={os.getppid()}"):
        SessionLock(session_file, timeout=0.05, clock=clock).acquire()
    lock_file.unlink()
