"""A simulated run ends: at its bounds if nowhere else. Time never falls."""

from __future__ import annotations

import asyncio
import itertools
import os
import pickle
from collections.abc import Callable

import pytest

from lockjaw.errors import HarnessError
from lockjaw.harness import load_scenario
from lockjaw.harness.incident.scenario import builtin_names
from lockjaw.harness.incident.timing import Timing
from lockjaw.harness.play.schedule import Schedule
from lockjaw.harness.sim.bounds import Bounds, EndlessRun
from lockjaw.harness.sim.disk import Disk
from lockjaw.harness.sim.engine import enclosed, run_sim
from lockjaw.harness.sim.files import SimFiles
from lockjaw.harness.sim.process import Process, SimClock, SimRecorder
from lockjaw.harness.sim.tape import (
    CRASH_BEFORE,
    EVERYDAY,
    ROUGH,
    Choices,
    Place,
    PriorityChoices,
    RandomChoices,
    SparseChoices,
)
from lockjaw.harness.sim.world import World
from lockjaw.seeds import Seeds


def world_with(act: Callable[[Process], object], bounds: Bounds) -> World:
    world = World(SparseChoices({}), bounds)
    process = world.start("p", "p")
    process.spawn(act(process), "p")
    return world


def ends_with(act: Callable[[Process], object], bounds: Bounds) -> EndlessRun:
    world = world_with(act, bounds)
    with pytest.raises(EndlessRun) as caught:
        enclosed(world, lambda: world.run(1e9))
    return caught.value


def test_a_run_that_makes_steps_for_ever_at_one_instant_ends() -> None:
    async def spins(process: Process) -> None:
        while True:
            await asyncio.sleep(0)

    error = ends_with(spins, Bounds(steps_at_once=10_000))
    assert (error.what, error.most, error.at_s) == ("steps at one instant", 10_000, 0.0)
    assert "does not end" in str(error)


def test_a_callback_that_never_returns_ends_too_although_it_swallows_the_error() -> None:
    async def reads_for_ever(process: Process) -> None:
        files = SimFiles(process, disk)
        for _ in range(100_000):
            try:
                files.flush_folder("/d")  # type: ignore[arg-type]
            except Exception:
                continue

    disk = Disk(lambda: 0.0)
    assert ends_with(reads_for_ever, Bounds(steps_at_once=10_000)).what == "steps at one instant"


def test_a_run_that_polls_for_ever_ends() -> None:
    async def polls(process: Process) -> None:
        while True:
            await SimClock(process).sleep(0.001)

    error = ends_with(polls, Bounds(steps=50_000))
    assert (error.what, error.at_s > 1.0) == ("steps", True)


def test_a_run_that_fills_the_memory_ends() -> None:
    async def writes(process: Process) -> None:
        files = SimFiles(process, disk)
        fd = files.open("/d/f", os.O_WRONLY | os.O_CREAT | os.O_APPEND)  # type: ignore[arg-type]
        while True:
            files.write(fd, b"x" * 100_000)
            await SimClock(process).sleep(0.001)

    disk = Disk(lambda: 0.0)
    disk.make_folder("/d")
    world = world_with(writes, Bounds(written_bytes=1_000_000))
    world.written_bytes = lambda: disk.written_bytes
    with pytest.raises(EndlessRun, match="1,000,000 bytes written to the simulated disk"):
        enclosed(world, lambda: world.run(1e9))
    assert disk.written_bytes < 1_000_000_000


def test_a_run_that_records_for_ever_ends() -> None:
    async def records(process: Process) -> None:
        while True:
            SimRecorder(process).record("turn")
            await SimClock(process).sleep(0.001)

    assert ends_with(records, Bounds(records=5_000)).what == "records"


def test_endless_run_travels_between_processes() -> None:
    error = EndlessRun("steps", 3, 1.5)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_the_catalogue_stays_far_below_the_bounds() -> None:
    bounds = Bounds(steps=60_000, steps_at_once=4_000, records=4_000, written_bytes=1 << 24)
    for name in builtin_names():
        world = World(SparseChoices({}))
        lived = run_sim(load_scenario(name), policy="takeover", seed=1, choices=world.choices)
        bounds.check(0.0, lived.steps, 0, len(lived.history), 0)


# --------------------------------------------------------------------------- roundings


@pytest.mark.parametrize("due", [15.0558, 0.0007])
def test_a_fault_is_handed_out_at_the_instant_that_its_timer_was_set_for(due: float) -> None:
    """15.0558 + 1.0 - 1.0 is less than 15.0558: a timer that was set for it must not be set again, for ever."""
    schedule = Schedule([(Timing(at_s=due), "kill")], Seeds(1).stream("jitter"))
    assert (1.0 + due) - 1.0 != due
    assert schedule.take_due((1.0 + due) - 1.0)


def test_the_crash_that_made_a_sweep_endless_ends() -> None:
    choices = SparseChoices({Place("gateway: Read sessions.json", 3): CRASH_BEFORE})
    assert run_sim(load_scenario("busy_loop_holder"), policy="takeover", seed=1, choices=choices).history


def test_a_wait_shorter_than_a_rounding_ends_later_than_now() -> None:
    """Whoever waits until an instant, and is woken a rounding before it, waits once more and is done."""
    woken = []

    async def waits(process: Process) -> None:
        clock = SimClock(process)
        for wait in (clock.sleep_blocking, clock.sleep):
            await clock.sleep(1000.0)
            before = process.world.now
            waited = wait(1e-14)
            if waited is not None:
                await waited
            woken.append(process.world.now > before)

    world = world_with(waits, Bounds())
    enclosed(world, lambda: world.run(5000.0))
    assert woken == [True, True]


def test_a_waiter_does_not_wait_for_the_end_of_a_process_that_has_ended() -> None:
    """The gateway was killed with the lock; its successor's rival has the owner's byte, and stands still before it
    looks at the dead one's lock file. The guard still names the dead one: its end woke the waiter 600,000 times."""
    still = SparseChoices({Place("earlier: Exists #1.sqlite.lock", 0): 10})
    lived = run_sim(load_scenario("orphaned_turn_claim"), policy="takeover", seed=1, choices=still)
    assert len(lived.log) < 30_000


# --------------------------------------------------------------------------- time

STRATEGIES: dict[str, Callable[[int], Choices]] = {
    "everyday": lambda seed: RandomChoices(Seeds(seed), EVERYDAY),
    "rough": lambda seed: RandomChoices(Seeds(seed), ROUGH),
    "priority": lambda seed: PriorityChoices(Seeds(seed), 250),
}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", ["gateway_timeout", "writer_during_prompt", "busy_loop_holder"])
def test_time_never_falls_in_a_history(name: str, strategy: str) -> None:
    """The world refuses to write such a record; seven of ten of these runs had one while delays were nested."""
    for seed in range(1, 16):
        history = run_sim(load_scenario(name), policy="takeover", seed=seed, choices=STRATEGIES[strategy](seed)).history
        assert all(a.t <= b.t for a, b in itertools.pairwise(history))


def test_a_record_of_the_past_is_refused() -> None:
    world = World(SparseChoices({}))
    world.now = 5.0
    world.record("p", "turn", "invoke", {})
    world.now = 4.0
    with pytest.raises(HarnessError, match=r"time fell from 5\.0 to 4\.0 s at p's turn"):
        world.record("p", "turn", "ok", {})
