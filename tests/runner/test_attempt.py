"""How long an attempt may take, where its process stands still meanwhile."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from lockjaw.errors import RunAborted
from lockjaw.runner.attempt import OVERSLEPT_S, SLICE_S, Allowance, AttemptTimedOut, Play, race
from lockjaw.runner.turn import AppendMessage


class Clock:
    """Moved by its sleepers. ``frozen``: (at which sleep, for how long) the process stands still on top."""

    def __init__(self, frozen: dict[int, float] | None = None) -> None:
        self.now_s, self.sleeps, self.frozen = 100.0, 0, frozen or {}

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, nominal_s: float) -> None:
        self.sleeps += 1
        self.now_s += max(0.0, nominal_s) + self.frozen.get(self.sleeps, 0.0)


def used_up_after(clock: Clock, *, counts_standstill: bool, before_s: float = 0.0) -> float:
    """Seconds from the start of an attempt of 60 s to its end; ``before_s``: between start and wait."""
    allowance = Allowance(clock, 60.0, counts_standstill=counts_standstill)  # type: ignore[arg-type]
    clock.now_s += before_s
    asyncio.run(allowance.used_up())
    return clock.now_s - 100.0


def test_without_a_standstill_it_is_the_limit() -> None:
    assert used_up_after(Clock(), counts_standstill=False) == 60.0
    assert used_up_after(Clock(), counts_standstill=True) == 60.0


@pytest.mark.parametrize("at", [1, 2, 60 // int(SLICE_S)])
def test_what_a_process_stood_still_for_in_the_middle_of_a_wait_does_not_count(at: int) -> None:
    assert used_up_after(Clock({at: 600.0}), counts_standstill=False) == 660.0


def test_a_machine_that_is_merely_slow_gets_no_more_time() -> None:
    late = OVERSLEPT_S - 1
    assert 60.0 <= used_up_after(Clock({1: late, 2: late}), counts_standstill=False) <= 60.0 + late


def test_what_it_stood_still_for_between_two_waits_does_not_count() -> None:
    assert used_up_after(Clock(), counts_standstill=False, before_s=600.0) == 660.0


def test_upstream_has_used_up_its_time_in_its_sleep() -> None:
    assert used_up_after(Clock(), counts_standstill=True, before_s=600.0) == 600.0


def test_a_wait_that_ended_early_leaves_the_rest_to_the_next_one() -> None:
    class Hanging(Clock):
        async def sleep(self, nominal_s: float) -> None:
            self.sleeps += 1
            if self.sleeps > 1:
                self.now_s += nominal_s
            else:
                await asyncio.Event().wait()

    clock = Hanging()
    allowance = Allowance(clock, 10.0, counts_standstill=False)  # type: ignore[arg-type]

    async def work() -> None:
        first = asyncio.ensure_future(allowance.used_up())
        await asyncio.sleep(0)
        clock.now_s += 4.0
        first.cancel()
        await asyncio.wait({first})
        await allowance.used_up()

    asyncio.run(work())
    assert clock.now_s == 110.0


def test_a_long_wait_is_cut_into_slices_of_a_quarter_of_a_minute() -> None:
    clock = Clock()
    assert (used_up_after(clock, counts_standstill=False), clock.sleeps) == (60.0, 4)


@pytest.mark.parametrize(("late_s", "ends_after_s"), [(4.75, 60.0), (5.0, 65.0), (5.25, 65.25)])
def test_five_seconds_late_is_a_standstill_and_less_is_a_busy_machine(late_s: float, ends_after_s: float) -> None:
    assert used_up_after(Clock({1: late_s}), counts_standstill=False) == ends_after_s


@pytest.mark.parametrize("counts", [False, True])
def test_an_attempt_without_time_ends_at_once(counts: bool) -> None:
    clock = Clock()
    asyncio.run(Allowance(clock, 0.0, counts_standstill=counts).used_up())  # type: ignore[arg-type]
    assert clock.now_s == 100.0


async def test_what_ends_a_race_and_that_a_result_wins() -> None:
    done, never = asyncio.Event(), asyncio.Event()
    done.set()

    async def answer() -> str:
        return "result"

    cancelled: list[bool] = []

    async def hang() -> str:
        try:
            return str(await never.wait())
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    def allowed() -> Allowance:
        return Allowance(Clock(), 7.0, counts_standstill=False)  # type: ignore[arg-type]

    assert await race(answer(), abort=never, run_id="r") == "result"
    assert await race(answer(), abort=done, run_id="r") == "result"
    assert await race(answer(), abort=never, run_id="r", allowance=allowed()) == "result"
    with pytest.raises(RunAborted, match="r"):
        await race(hang(), abort=done, run_id="r", allowance=allowed())
    with pytest.raises(AttemptTimedOut, match="run limit of 7 s passed") as ended:
        await race(hang(), abort=never, run_id="r", allowance=allowed())
    assert ended.value.limit_s == 7.0
    assert cancelled == [True, True], "the work has ended by then"
    assert asyncio.all_tasks() == {asyncio.current_task()}, "no watcher is left"


@pytest.mark.parametrize(
    ("role", "usage", "counted"),
    [("assistant", {"input": 1}, {"input": 1}), ("assistant", None, "before"), ("user", {"input": 1}, "before")],
)
async def test_what_an_attempt_used_is_what_its_last_answer_says(role: str, usage: Any, counted: Any) -> None:
    async def perform(*how: Any) -> None:
        return None

    play: Any = SimpleNamespace(transcript=None, hold=SimpleNamespace(perform=perform), usage="before")
    await Play._append(play, AppendMessage({"role": role, "usage": usage}))
    assert play.usage == counted
