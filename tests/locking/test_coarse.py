"""Upstream's two locks, faults included."""

import json
import os

import pytest

from lockjaw.clock import ScaledClock, iso
from lockjaw.locking import LOCK_ALGORITHMS, SessionLock, SessionLocked
from lockjaw.locking.algorithms.coarse import COARSE, COARSE_60S, Hold, Registry, release, stale_reasons, watchdog_pass
from lockjaw.locking.catalog import Order
from lockjaw.locking.drivers import run_blocking
from lockjaw.locking.identity import ProcessIdentity, this_process
from lockjaw.locking.kernel import Kernel
from lockjaw.locking.operations import CreateExclusive, Handle, Now, ProcessState, Sleep, Unlink
from lockjaw.locking.owner_record import OwnerRecord
from lockjaw.locking.paths import LockPaths

ME = this_process()
SELF = ProcessIdentity(pid=50, starttime=5000)
LIVE, GONE = ProcessState(True, starttime=7), ProcessState(False, signalable=False)
NOW_MS = 1_800_000_000_000


def order_for(session_file, timeout_s=10.0, *, registry=None, reentrant=False, process=ME):
    return Order(LockPaths.of(session_file), process, registry or Registry(), timeout_s, reentrant=reentrant)


def virtual(steps, clock, *, on_create=None):
    """Run an algorithm with time that stands still but for its sleeps. -> (value or error, sleeps, tries)"""
    kernel, now, sleeps, tries = Kernel(clock), 1000.0, [], 0
    result = raised = None
    while True:
        try:
            operation = steps.send(result) if raised is None else steps.throw(raised)
        except StopIteration as stop:
            return stop.value, sleeps, tries
        except SessionLocked as error:
            return error, sleeps, tries
        result = raised = None
        if isinstance(operation, Now):
            result = now
        elif isinstance(operation, Sleep):
            sleeps.append(operation.duration_s)
            now += operation.duration_s
        else:
            tries += isinstance(operation, CreateExclusive)
            try:
                result = kernel.perform(operation)
            except OSError as error:
                raised = error


def finish(steps, kernel, result):
    """Let an algorithm that is under way run to its end, without a fault."""
    while True:
        try:
            operation = steps.send(result)
        except StopIteration as stop:
            return stop.value
        result = kernel.perform(operation)


def test_coarse_tries_twenty_times_and_waits_ten_and_a_half_seconds(clock, session_file, lock_file):
    lock_file.write_text(json.dumps({"pid": os.getppid(), "createdAt": iso(clock.wall_ms())}))
    error, sleeps, tries = virtual(LOCK_ALGORITHMS["coarse"].acquire(order_for(session_file)), clock)
    assert str(error) == f"session file locked (timeout 10000ms): pid={os.getppid()} {lock_file}"
    assert tries == 20
    assert sleeps == pytest.approx([0.05 * n for n in range(1, 21)])
    assert error.waited_s == pytest.approx(10.5)


def test_coarse_60s_cuts_its_last_sleep_to_the_time_left(clock, session_file, lock_file):
    lock_file.write_text(json.dumps({"pid": os.getppid(), "createdAt": iso(clock.wall_ms())}))
    order = order_for(session_file, 60.0)
    error, sleeps, _ = virtual(LOCK_ALGORITHMS["coarse-60s"].acquire(order), clock)
    assert str(error) == f"session file locked (timeout 60000ms): pid={os.getppid()} {lock_file}"
    assert sum(sleeps) == pytest.approx(60.0)
    assert sleeps[-1] == pytest.approx(0.5)


@pytest.mark.parametrize("scale", [0.04, 0.02])
def test_coarse_wait_keeps_its_nominal_length_under_a_small_time_scale(session_file, lock_file, scale):
    clock = ScaledClock.start(scale)
    lock_file.write_text(json.dumps({"pid": os.getppid(), "createdAt": iso(clock.wall_ms())}))
    tries = 0

    class Counting(Kernel):
        def perform(self, operation):
            nonlocal tries
            tries += isinstance(operation, CreateExclusive)
            return super().perform(operation)

    start = clock.monotonic()
    with pytest.raises(SessionLocked):
        run_blocking(LOCK_ALGORITHMS["coarse"].acquire(order_for(session_file)), clock, Counting(clock))
    assert tries == 20
    # Lower bound: no try was skipped. Upper: lateness did not add up over the twenty sleeps.
    assert 10.5 <= clock.monotonic() - start < 12.5


def test_lock_file_is_created_empty_then_written_in_upstreams_form(clock, session_file, lock_file):
    steps, kernel, sizes = LOCK_ALGORITHMS["coarse"].acquire(order_for(session_file)), Kernel(clock), []
    result = None
    while not sizes or sizes[-1] == 0:
        operation = steps.send(result)
        if lock_file.exists():
            sizes.append(lock_file.stat().st_size)
        result = kernel.perform(operation)
    assert sizes[0] == 0  # the window in which others see an empty file
    grant = finish(steps, kernel, result)
    body = json.loads(lock_file.read_text())
    assert list(body) == ["pid", "createdAt", "starttime"]
    assert (body["pid"], body["starttime"]) == (ME.pid, ME.starttime)
    assert lock_file.read_text() == json.dumps(body, indent=2)
    run_blocking(LOCK_ALGORITHMS["coarse"].release(grant), clock)
    assert not lock_file.exists()


@pytest.mark.parametrize(
    ("record", "state", "reasons"),
    [
        (OwnerRecord(7, NOW_MS), LIVE, []),
        (OwnerRecord(7, NOW_MS, 7), LIVE, []),
        (OwnerRecord(7, NOW_MS, 8), LIVE, ["recycled-pid"]),
        (OwnerRecord(7, NOW_MS, 8), ProcessState(True), []),
        (OwnerRecord(7, NOW_MS), GONE, ["dead-pid"]),
        (OwnerRecord(7, NOW_MS), ProcessState(True, zombie=True), ["dead-pid"]),
        (OwnerRecord(7, NOW_MS), ProcessState(True, signalable=False), ["dead-pid"]),
        (OwnerRecord(7, NOW_MS - 1_800_000), LIVE, []),
        (OwnerRecord(7, NOW_MS - 1_800_001), LIVE, ["too-old"]),
        (OwnerRecord(7), LIVE, ["invalid-createdAt"]),
        (OwnerRecord(), None, ["missing-pid", "invalid-createdAt"]),
        (OwnerRecord(None, NOW_MS), None, ["missing-pid"]),
        (OwnerRecord(50, NOW_MS), LIVE, ["orphan-self-pid"]),
        (OwnerRecord(50, NOW_MS, 5000), ProcessState(True, starttime=5000), []),
    ],
)
def test_stale_reasons_are_upstreams(record, state, reasons):
    assert stale_reasons(COARSE, record, state, now_ms=NOW_MS, process=SELF, held_here=False) == reasons
    if "orphan-self-pid" in reasons:
        assert stale_reasons(COARSE, record, state, now_ms=NOW_MS, process=SELF, held_here=True) == []


def test_own_start_time_is_an_orphan_from_2026_5_7_on():
    record, state = OwnerRecord(50, NOW_MS, 5000), ProcessState(True, starttime=5000)
    for held_here, reasons in ((False, ["orphan-self-pid"]), (True, [])):
        found = stale_reasons(COARSE_60S, record, state, now_ms=NOW_MS, process=SELF, held_here=held_here)
        assert found == reasons


@pytest.mark.parametrize(("algorithm", "grace_s"), [("coarse", 1800), ("coarse-60s", 5)])
def test_file_without_owner_is_taken_after_the_grace_of_its_version(clock, session_file, lock_file, algorithm, grace_s):
    now = clock.wall_ms() / 1000
    for age_s, taken in ((grace_s - 3, False), (grace_s + 3, True)):
        lock_file.write_bytes(b"")
        os.utime(lock_file, (now - age_s, now - age_s))
        value, _, _ = virtual(LOCK_ALGORITHMS[algorithm].acquire(order_for(session_file, 2.0)), clock)
        assert isinstance(value, SessionLocked) != taken
        if taken:
            assert value.reclaimed == "missing-pid,invalid-createdAt"
            run_blocking(LOCK_ALGORITHMS[algorithm].release(value), clock)
        else:
            assert value.owner == "unknown"


def test_live_owner_is_robbed_after_thirty_minutes(clock, session_file, lock_file):
    body = {"pid": os.getppid(), "createdAt": iso(clock.wall_ms() - 1_801_000)}
    lock_file.write_text(json.dumps(body))
    with SessionLock(session_file, algorithm="coarse", clock=clock) as held:
        assert held.reclaimed == "too-old"
        assert held.generation == 0


def test_slower_judge_removes_the_faster_ones_new_lock(clock, session_file, lock_file):
    """The race that makes two owners, step by step."""
    lock_file.write_text('{"pid": 4194303, "createdAt": "2026-05-14T07:35:46.405Z"}')
    kernel, algorithm = Kernel(clock), LOCK_ALGORITHMS["coarse"]
    slow, result, raised = algorithm.acquire(order_for(session_file)), None, None
    while True:
        operation = slow.send(result) if raised is None else slow.throw(raised)
        if isinstance(operation, Unlink):
            break  # it has judged the file and is about to remove it
        try:
            result, raised = kernel.perform(operation), None
        except OSError as error:
            result, raised = None, error
    fast = run_blocking(algorithm.acquire(order_for(session_file)), clock)
    first_inode = lock_file.stat().st_ino
    grant = finish(slow, kernel, kernel.perform(operation))
    assert lock_file.stat().st_ino != first_inode  # two owners, each with a file of its own
    run_blocking(algorithm.release(fast), clock)
    assert not lock_file.exists()  # and the first to leave removes the other's
    run_blocking(algorithm.release(grant), clock)


def test_reentrant_lock_is_removed_with_its_last_release(clock, session_file, lock_file):
    outer = SessionLock(session_file, algorithm="coarse", clock=clock, reentrant=True)
    inner = SessionLock(session_file, algorithm="coarse", clock=clock, reentrant=True)
    outer.acquire()
    inner.acquire()
    outer.release()
    assert lock_file.exists()
    with SessionLock(session_file, algorithm="coarse", clock=clock, reentrant=True), outer:
        pass
    inner.release()
    assert not lock_file.exists()


def test_lock_that_is_not_reentrant_waits_for_its_own_process(session_file):
    clock = ScaledClock.start(0.01)
    with (
        SessionLock(session_file, algorithm="coarse-60s", clock=clock),
        pytest.raises(SessionLocked, match=rf"timeout 1000ms\): pid={ME.pid} "),
    ):
        SessionLock(session_file, algorithm="coarse-60s", timeout=1.0, clock=clock).acquire()


def test_watchdog_gives_a_lock_away_when_it_is_held_too_long(clock, tmp_path, capsys):
    registry, now = Registry(), clock.monotonic()
    kernel = Kernel(clock)
    for name, held_s in (("old", 300.6), ("young", 10)):
        path = str(tmp_path / name)
        registry.enter(Hold(path, kernel.perform(CreateExclusive(path)), now - held_s, 300.0))
    old = registry.holds[str(tmp_path / "old")]
    run_blocking(watchdog_pass(registry), clock)
    assert os.listdir(tmp_path) == ["young"]
    line = capsys.readouterr().err
    assert line.startswith("[session-write-lock] releasing lock held for 3006")
    assert line.endswith(f"ms (max=300000ms): {tmp_path}/old\n")
    assert registry.leave(old) is False  # the run's own release, later, removes nothing
    kernel.abandon()


@pytest.mark.parametrize("in_loop", [False, True])
async def test_watchdog_runs_every_nominal_minute_while_a_lock_is_held(session_file, lock_file, capsys, in_loop):
    import asyncio

    clock = ScaledClock.start(0.01)
    # Rounds are due after 60 s and 120 s: only the second one finds the lock overdue, however late the first is
    # (up to half a real second).
    lock = SessionLock(session_file, algorithm="coarse", clock=clock, max_hold_s=115.0)
    if in_loop:
        await lock.acquire_async()
    else:
        await asyncio.to_thread(lock.acquire)
    async with asyncio.timeout(20):
        while lock_file.exists():
            await asyncio.sleep(0.005)
    held_ms = int(capsys.readouterr().err.partition("held for ")[2].partition("ms")[0])
    assert held_ms >= 120_000
    lock.release()


def test_release_of_a_hold_that_is_gone_removes_nothing(clock, lock_file):
    lock_file.write_text("somebody's")
    assert run_blocking(release(Registry(), Hold(str(lock_file), Handle(str(lock_file), -1), 0.0, 1.0)), clock) is False
    assert lock_file.exists()
