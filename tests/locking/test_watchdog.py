"""A hold limit makes the holder stop and say so; it never lets a second writer in beside a live one."""

import asyncio
import json
import os
import signal
import threading
import time

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.history import MemoryRecorder
from lockjaw.locking import LockLost, SessionLock, SessionLocked, process_holds
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


def test_append_that_hangs_keeps_the_watchdog_from_nobody_else(tmp_path, clock):
    stuck, other = (SessionLock(tmp_path / name, clock=clock, max_hold_s=0.05) for name in ("stuck", "other"))
    go, entered = threading.Event(), threading.Event()
    hanging = stuck.acquire()

    def hang():
        with hanging.section():
            entered.set()
            go.wait(FAR_S)

    thread = threading.Thread(target=hang)
    thread.start()
    entered.wait(FAR_S)
    held = other.acquire()
    try:
        wait_until(lambda: not held.path.exists())
        assert hanging.path.exists()
    finally:
        go.set()
        thread.join()
    wait_until(lambda: not hanging.path.exists())


def test_append_after_the_one_that_outlasted_the_limit_is_refused_at_once(session_file, clock):
    held = SessionLock(session_file, clock=clock).acquire()
    stopped = []
    with held.section():
        thread = threading.Thread(target=lambda: stopped.append(held.stop_at_limit()))
        thread.start()
        thread.join()
    assert stopped == [False]
    with pytest.raises(LockLost, match="hold limit"), held.section():
        pytest.fail("a stopped holder entered the section")
    assert held.stop_at_limit()
    assert not held.path.exists()


def test_watchdog_leaves_a_hold_alone_that_was_given_back(session_file, lock_file, clock, capfd):
    recorder = MemoryRecorder(clock, "me")
    lock = SessionLock(session_file, clock=clock, recorder=recorder)
    first = lock.acquire()
    lock.release()
    with lock as second:  # what a watchdog that has the first one in its hands does now
        assert first.stop_at_limit()
        assert lock_file.exists()
        with second.section():
            pass
    assert "lock.limit" not in [record.op for record in recorder.records]
    assert capfd.readouterr().err == ""


def test_first_holds_of_two_threads_start_one_watchdog(monkeypatch):
    watchdog, starts = Watchdog({}), []

    class Held:
        due_real_s = 0.0

    def start(function, arguments):
        starts.append(function)
        watchdog.add(Held(), 5.0)  # meanwhile another thread comes, with an earlier limit

    monkeypatch.setattr(process_holds._thread, "start_new_thread", start)
    watchdog.add(Held(), 10.0)
    assert len(starts) == 1
    assert watchdog._look_at < time.monotonic() + 5.1


def test_fork_that_gives_back_while_a_thread_of_the_parent_appends_does_not_hang(session_file, lock_file, clock):
    lock = SessionLock(session_file, clock=clock)
    held = lock.acquire()
    go, entered = threading.Event(), threading.Event()

    def append():
        with held.section():
            entered.set()
            go.wait(FAR_S)

    thread = threading.Thread(target=append)
    thread.start()
    entered.wait(FAR_S)
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(5)  # it would wait for ever
        try:
            lock.release()
        finally:
            os._exit(7)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    go.set()
    thread.join()
    assert status == 7
    assert lock_file.exists()  # it is the parent's
    lock.release()
