"""Upstream's two locks, faults included."""

import json
import os

import pytest

from lockjaw.clock import ScaledClock, iso
from lockjaw.locking import LOCK_ALGORITHMS, SessionLock, SessionLocked
from lockjaw.locking.algorithms.coarse import COARSE, COARSE_60S, release, stale_reasons, watchdog_pass
from lockjaw.locking.drivers import follow, run_blocking
from lockjaw.locking.host import THIS_HOST
from lockjaw.locking.identity import ProcessIdentity, this_process
from lockjaw.locking.kernel import Kernel
from lockjaw.locking.operations import Handle, ProcessState, Sleep, observe
from lockjaw.locking.owner_record import OwnerRecord
from lockjaw.locking.paths import LockPaths
from lockjaw.locking.request import Hold, LockRequest, Registry

ME = this_process()
SELF = ProcessIdentity(pid=50, starttime=5000)
LIVE, GONE = ProcessState(True, starttime=7), ProcessState(False, signalable=False)
NOW_MS = 1_800_000_000_000


def request_for(session_file, timeout_s=10.0, *, registry=None, reentrant=False, process=ME):
    return LockRequest(LockPaths.of(session_file), process, registry or Registry(), timeout_s, reentrant=reentrant)


class Virtual(Kernel):
    """Time stands still but for the sleeps of the one algorithm that runs."""

    def __init__(self, clock):
        super().__init__(clock)
        self.time, self.sleeps, self.tries = 1000.0, [], 0
        observe(self, self.around)

    def around(self, call):
        if call.operation == "Now":
            return self.time
        self.tries += call.operation == "CreateExclusive"
        return call.make()

    def run(self, algorithm, *arguments):
        """-> (value or error, sleeps, tries)"""
        try:
            value = follow(algorithm(self, *arguments), self.sleep)
        except SessionLocked as error:
            value = error
        return value, self.sleeps, self.tries

    def sleep(self, wait):
        assert isinstance(wait, Sleep)
        self.sleeps.append(wait.duration_s)
        self.time += wait.duration_s
        return False


def test_coarse_tries_twenty_times_and_waits_ten_and_a_half_seconds(clock, session_file, lock_file):
    lock_file.write_text(json.dumps({"pid": os.getppid(), "createdAt": iso(clock.wall_ms())}))
    error, sleeps, tries = Virtual(clock).run(LOCK_ALGORITHMS["coarse"].acquire, request_for(session_file))
    assert str(error) == f"session file locked (timeout 10000ms): pid={os.getppid()} {lock_file}"
    assert tries == 20
    assert sleeps == pytest.approx([0.05 * n for n in range(1, 21)])
    assert error.waited_s == pytest.approx(10.5)


def test_coarse_60s_cuts_its_last_sleep_to_the_time_left(clock, session_file, lock_file):
    lock_file.write_text(json.dumps({"pid": os.getppid(), "createdAt": iso(clock.wall_ms())}))
    request = request_for(session_file, 60.0)
    error, sleeps, _ = Virtual(clock).run(LOCK_ALGORITHMS["coarse-60s"].acquire, request)
    assert str(error) == f"session file locked (timeout 60000ms): pid={os.getppid()} {lock_file}"
    assert sum(sleeps) == pytest.approx(60.0)
    assert sleeps[-1] == pytest.approx(0.5)


@pytest.mark.parametrize("scale", [0.04, 0.02])
def test_coarse_wait_keeps_its_nominal_length_under_a_small_time_scale(session_file, lock_file, scale):
    clock = ScaledClock.start(scale)
    lock_file.write_text(json.dumps({"pid": os.getppid(), "createdAt": iso(clock.wall_ms())}))
    tries = 0

    def count(call):
        nonlocal tries
        tries += call.operation == "CreateExclusive"
        return call.make()

    system = Kernel(clock)
    observe(system, count)
    start = clock.monotonic()
    with pytest.raises(SessionLocked):
        run_blocking(LOCK_ALGORITHMS["coarse"].acquire(system, request_for(session_file)), system)
    assert tries == 20
    # Lower bound: no try was skipped. Upper: lateness did not add up over the twenty sleeps.
    assert 10.5 <= clock.monotonic() - start < 12.5


def test_lock_file_is_created_empty_then_written_in_upstreams_form(clock, session_file, lock_file):
    system, sizes = Kernel(clock), []

    def look(call):
        result = call.make()
        if lock_file.exists():
            sizes.append(lock_file.stat().st_size)
        return result

    observe(system, look)
    grant = run_blocking(LOCK_ALGORITHMS["coarse"].acquire(system, request_for(session_file)), system)
    assert sizes[0] == 0  # the window in which others see an empty file
    assert sizes[-1] > 0
    body = json.loads(lock_file.read_text())
    assert list(body) == ["pid", "createdAt", "starttime"]
    assert (body["pid"], body["starttime"]) == (ME.pid, ME.starttime)
    assert lock_file.read_text() == json.dumps(body, indent=2)
    THIS_HOST.run(clock, LOCK_ALGORITHMS["coarse"].release, grant)
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
        value, _, _ = Virtual(clock).run(LOCK_ALGORITHMS[algorithm].acquire, request_for(session_file, 2.0))
        assert isinstance(value, SessionLocked) != taken
        if taken:
            assert value.reclaimed == "missing-pid,invalid-createdAt"
            THIS_HOST.run(clock, LOCK_ALGORITHMS[algorithm].release, value)
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
    system, algorithm, faster = Kernel(clock), LOCK_ALGORITHMS["coarse"], []

    def between(call):
        if call.operation == "Unlink" and not faster:  # it has judged the file and is about to remove it
            faster.append(THIS_HOST.run(clock, algorithm.acquire, request_for(session_file)))
            faster.append(lock_file.stat().st_ino)
        return call.make()

    observe(system, between)
    grant = run_blocking(algorithm.acquire(system, request_for(session_file)), system)
    fast, first_inode = faster
    assert lock_file.stat().st_ino != first_inode  # two owners, each with a file of its own
    THIS_HOST.run(clock, algorithm.release, fast)
    assert not lock_file.exists()  # and the first to leave removes the other's
    THIS_HOST.run(clock, algorithm.release, grant)


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
        registry.enter(Hold(path, kernel.create_exclusive(path), now - held_s, 300.0))
    old = registry.holds[str(tmp_path / "old")]
    THIS_HOST.call(clock, watchdog_pass, registry)
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
    hold = Hold(str(lock_file), Handle(str(lock_file), -1), 0.0, 1.0)
    assert THIS_HOST.call(clock, release, Registry(), hold) is False
    assert lock_file.exists()
