"""A hold limit makes the holder stop and say so; it never lets a second writer in beside a live one."""

import asyncio
import json
import threading
import time

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.history import MemoryRecorder
from lockjaw.locking import LockLost, SessionLock, SessionLocked
from lockjaw.locking.process_holds import PROCESS_HOLDS, Watchdog

FAR_S = 20.0  # a wait that nobody should ever see end


def wait_until(happened):
    until = time.monotonic() + FAR_S
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_holder_beyond_its_limit_is_stopped_and_says_so(session_file, lock_file, capfd):
    clock = ScaledClock.start(0.1)
    recorder = MemoryRecorder(clock, "me")
    lock = SessionLock(session_file, clock=clock, max_hold_s=2.0, recorder=recorder, owner="run-1")
    started = clock.monotonic()
    held = lock.acquire()
    assert json.loads(lock_file.read_text())["maxHoldMs"] == 2000
    wait_until(lambda: not lock_file.exists())
    assert clock.monotonic() - started >= 2.0  # nominal: not before its limit
    with pytest.raises(LockLost, match="its hold limit of 2 s was over, so its holder was stopped"), held.section():
        pytest.fail("a stopped holder entered the section")
    wait_until(lambda: "lock.release" in [record.op for record in recorder.records if record.phase == "ok"])
    limit = next(record for record in recorder.records if record.op == "lock.limit")
    assert limit.data["owner"] == "run-1"
    assert limit.data["max_hold_s"] == 2.0
    assert "held by run-1 for longer than its limit of 2 s (generation 1)" in capfd.readouterr().err
    with SessionLock(session_file, timeout=0.0, clock=clock) as successor:
        assert successor.generation > held.generation
        lock.release()  # what the stopped run's own clean-up does; nothing is taken from the successor
        assert lock_file.exists()


async def test_watchdog_is_not_starved_by_a_blocked_event_loop(session_file, lock_file):
    clock = ScaledClock.start(0.1)
    async with SessionLock(session_file, clock=clock, max_hold_s=1.0) as held:
        wait_until(lambda: not lock_file.exists())  # this blocks the loop: no task and no timer of it runs
        with pytest.raises(LockLost, match="hold limit"), held.section():
            pytest.fail("a stopped holder entered the section")
    await asyncio.sleep(0)


def test_watchdog_waits_for_the_append_that_is_being_written(session_file, lock_file):
    clock = ScaledClock.start(0.1)
    limit_s = 2.0
    lock = SessionLock(session_file, clock=clock, max_hold_s=limit_s)
    held, inside = lock.acquire(), []

    def append():
        with held.section():
            due = held.due_real_s
            while time.monotonic() < due + 0.1:  # well beyond its limit, in the middle of an append
                time.sleep(0.005)
            inside.append(lock_file.exists())

    thread = threading.Thread(target=append)
    thread.start()
    thread.join()
    assert inside == [True]
    wait_until(lambda: not lock_file.exists())
    with pytest.raises(LockLost), held.section():
        pytest.fail("a stopped holder entered the section")


def test_paused_holder_beyond_its_limit_is_not_robbed_and_stops_when_it_wakes(actor, clock, session_file, lock_file):
    holder = actor()
    holder.do("acquire", file=str(session_file), max_hold_s=0.7)
    holder.pause()
    with pytest.raises(SessionLocked, match=r"limit 0\.7 s"):
        SessionLock(session_file, timeout=1.0, clock=clock).acquire()
    assert lock_file.exists()
    holder.resume()
    wait_until(lambda: not lock_file.exists())
    assert holder.do("append", to=str(session_file), text="x")["error"] == "LockLost"


def test_lock_that_is_given_back_in_time_costs_the_watchdog_nothing(clock, session_file, monkeypatch):
    lock = SessionLock(session_file, clock=clock)
    with lock:
        pass
    woken = []
    monkeypatch.setattr(Watchdog, "_wake", lambda self, due: woken.append(due))
    for _ in range(50):
        with lock:
            pass
    assert woken == []  # the thread sleeps until the first hold's limit would have been over
    assert not PROCESS_HOLDS._held
