"""Lanes: one run per session, a limit for all, nobody overtaken, no place lost."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockjaw.clock import ScaledClock
from lockjaw.errors import Attempt, ModelsFailed, RunAborted
from lockjaw.gateway.lanes import Lanes, in_lane, lane_error_line
from lockjaw.history import MemoryRecorder


def ask(lanes: Lanes, *names: str) -> list:
    return [lanes.enter(name) for name in names]


def granted(tickets: list) -> list[bool]:
    return [ticket.granted.done() for ticket in tickets]


async def test_session_lane_lets_one_in_at_a_time_in_order():
    lanes = Lanes(4)
    tickets = ask(lanes, "session:a", "session:a", "session:a")
    assert granted(tickets) == [True, False, False]
    tickets[0].leave()
    assert granted(tickets) == [True, True, False]
    assert lanes.depth("session:a") == (1, 1)


@pytest.mark.parametrize(("lane", "limit"), [("main", 3), ("subagent", 8), ("cron", 1), ("mine", 1)])
async def test_global_lanes_have_their_limits(lane, limit):
    lanes = Lanes(3)
    tickets = ask(lanes, *[lane] * (limit + 2))
    assert granted(tickets) == [True] * limit + [False] * 2


async def test_lanes_do_not_wait_for_each_other():
    lanes = Lanes(1)
    assert granted(ask(lanes, "session:a", "session:b", "main", "cron")) == [True] * 4


async def test_withdrawn_waiter_raises_and_the_next_one_moves_up():
    lanes = Lanes(1)
    first, second, third = ask(lanes, "main", "main", "main")
    second.withdraw(RunAborted("r"))
    with pytest.raises(RunAborted):
        await second.wait()
    first.leave()
    assert third.granted.done()


async def test_withdrawing_who_is_inside_changes_nothing():
    lanes = Lanes(1)
    (first,) = ask(lanes, "main")
    first.withdraw(RunAborted("r"))
    await first.wait()
    assert lanes.depth("main") == (1, 0)


async def test_place_given_to_a_waiter_cancelled_in_the_same_moment_goes_on_to_the_next():
    lanes = Lanes(1)
    first, second, third = ask(lanes, "main", "main", "main")
    task = asyncio.create_task(second.wait())
    await asyncio.sleep(0)
    first.leave()  # the lane is second's now ...
    task.cancel()  # ... which ends before it has noticed
    with pytest.raises(asyncio.CancelledError):
        await task
    assert third.granted.done()


async def test_waiter_cancelled_just_before_its_turn_is_passed_over():
    lanes = Lanes(1)
    first, second, third = ask(lanes, "main", "main", "main")
    task = asyncio.create_task(second.wait())
    await asyncio.sleep(0)
    task.cancel()
    first.leave()
    assert third.granted.done()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert lanes.depth("main") == (1, 0)


async def test_empty_lane_is_forgotten():
    lanes = Lanes(1)
    (ticket,) = ask(lanes, "session:a")
    ticket.leave()
    ticket.leave()
    assert lanes._lanes == {}
    assert lanes.depth("session:a") == (0, 0)


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_no_order_of_events_breaks_the_limit_or_the_queue(seed, limit):
    async def scenario() -> None:
        chance = random.Random(seed)
        lanes, inside, order, most = Lanes(limit), set[int](), list[int](), 0

        async def run(n: int) -> None:
            nonlocal most
            ticket = lanes.enter("main")
            try:
                await ticket.wait()
                order.append(n)
                inside.add(n)
                most = max(most, len(inside))
                for _ in range(chance.randrange(3)):
                    await asyncio.sleep(0)
            finally:
                inside.discard(n)
                ticket.leave()

        tasks = [asyncio.create_task(run(n)) for n in range(12)]
        for _ in range(chance.randrange(8)):
            await asyncio.sleep(0)
            chance.choice(tasks).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most <= limit
        assert order == sorted(order)
        assert lanes._lanes == {}

    asyncio.run(scenario())


# --------------------------------------------------------------------------- in_lane


class Place:
    def __init__(self) -> None:
        self.clock = ScaledClock.start()
        self.recorder = MemoryRecorder(self.clock, "gateway")
        self.lines: list[str] = []
        self.lanes = Lanes(1)

    def hold(self, queued=lambda ticket: None):
        return in_lane(
            self.lanes, "main", run_id="r", clock=self.clock, recorder=self.recorder, log=self.lines.append,
            queued=queued,
        )  # fmt: skip

    def phases(self) -> list[str]:
        return [record.phase for record in self.recorder.records]


async def test_error_in_the_lane_is_logged_and_frees_the_lane():
    place = Place()
    with pytest.raises(ValueError, match="bad"):
        async with place.hold():
            raise ValueError("bad")
    assert len(place.lines) == 1
    assert place.lines[0].startswith("[diagnostic] lane task error: lane=main durationMs=")
    assert place.lines[0].endswith(' error="Error: bad"')
    assert place.lanes.depth("main") == (0, 0)
    assert place.phases() == ["invoke", "ok"]


@pytest.mark.parametrize("error", [ModelsFailed([Attempt("p", "m", "x")]), RunAborted("r")])
async def test_failed_chain_and_abort_are_no_lane_errors(error):
    place = Place()
    with pytest.raises(type(error)):
        async with place.hold():
            raise error
    assert place.lines == []
    assert place.lanes.depth("main") == (0, 0)


async def test_withdrawn_run_never_enters_and_is_recorded():
    place = Place()
    place.lanes.enter("main")
    with pytest.raises(RunAborted):
        async with place.hold(lambda ticket: ticket.withdraw(RunAborted("r"))):
            pytest.fail("the body ran")
    assert place.phases() == ["invoke", "fail"]
    assert place.lines == []


def test_lane_error_line_reads_like_the_real_one():
    line = lane_error_line("main", 61.5594, RuntimeError("LLM request timed out."))
    assert line == '[diagnostic] lane task error: lane=main durationMs=61559 error="Error: LLM request timed out."'
