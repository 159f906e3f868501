"""The registry of runs: waiting, ending, forgetting, who may abort."""

from __future__ import annotations

import asyncio

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.errors import RunAborted
from lockjaw.gateway.lanes import Lanes
from lockjaw.gateway.runs import AbortRefused, Caller, Run, Runs

OWNER = Caller("c1", "d1", admin=False)


def a_run(run_id: str = "r", key: str = "agent:main:main", starter: Caller = OWNER) -> Run:
    return Run(run_id, key, "s", "agent", starter, accepted_ms=1, accepted_at=0.0)


def begun(*runs: Run) -> Runs:
    registry = Runs()
    for run in runs:
        registry.begin(run)
    return registry


def end(registry: Runs, run: Run, status: str = "ok", now: float = 0.0) -> None:
    registry.end(run, status, error=None, ended_ms=9, now=now)


async def test_wait_of_zero_answers_at_once():
    run = a_run()
    clock = ScaledClock.start()
    assert await begun(run).wait("r", 0.0, clock) == {"runId": "r", "status": "timeout"}
    assert await begun().wait("x", 0.0, clock) == {"runId": "x", "status": "timeout"}


async def test_wait_ends_with_the_run_and_not_before():
    run = a_run()
    registry = begun(run)
    waiting = [asyncio.create_task(registry.wait("r", 1000.0, ScaledClock.start())) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    run.started_ms = 5
    end(registry, run)
    expected = {"runId": "r", "status": "ok", "startedAt": 5, "endedAt": 9}
    assert await asyncio.gather(*waiting) == [expected, expected]
    assert registry._waiters == {}


async def test_wait_that_runs_out_or_is_cancelled_leaves_nothing():
    registry = begun(a_run())
    clock = ScaledClock.start(0.001)
    assert await registry.wait("r", 1.0, clock) == {"runId": "r", "status": "timeout"}
    task = asyncio.create_task(registry.wait("r", 1e6, clock))
    other = asyncio.create_task(registry.wait("r", 1e6, clock))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(registry._waiters["r"]) == 1
    other.cancel()
    with pytest.raises(asyncio.CancelledError):
        await other
    assert registry._waiters == {}


async def test_ended_run_is_known_for_ten_minutes():
    run = a_run()
    registry = begun(run)
    end(registry, run, now=100.0)
    assert registry.active == ()
    assert registry.prune(700.0) == 0
    assert registry.get("r") is run
    assert registry.prune(700.1) == 1
    assert registry.get("r") is None


async def test_new_run_replaces_an_ended_one_of_its_id():
    old, new = a_run(), a_run()
    registry = begun(old)
    end(registry, old)
    registry.begin(new)
    assert registry.get("r") is new
    with pytest.raises(AssertionError, match="two active runs"):
        registry.begin(a_run())


@pytest.mark.parametrize(
    ("caller", "allowed"),
    [
        (Caller("c1", None, False), True),
        (Caller("c2", "d1", False), True),
        (Caller("c2", "d2", True), True),
        (Caller("c2", "d2", False), False),
        (Caller("c2", None, False), False),
    ],
)
async def test_abort_is_for_the_same_connection_the_same_device_or_an_admin(caller, allowed):
    run = a_run()
    registry = begun(run)
    if allowed:
        assert registry.abort(caller, run.session_key, "r", reaches=lambda r: True) == ["r"]
    else:
        with pytest.raises(AbortRefused, match="unauthorized"):
            registry.abort(caller, run.session_key, "r", reaches=lambda r: True)
    assert run.abort.is_set() is allowed


async def test_two_without_a_device_are_not_the_same_device():
    run = a_run(starter=Caller("c1", None, False))
    with pytest.raises(AbortRefused):
        begun(run).abort(Caller("c2", None, False), run.session_key, None, reaches=lambda r: True)


async def test_abort_of_a_session_takes_all_that_the_caller_may():
    runs = [a_run("a"), a_run("b", starter=Caller("c9", "d9", False)), a_run("c", key="agent:main:x")]
    registry = begun(*runs)
    assert registry.abort(OWNER, "agent:main:main", None, reaches=lambda r: True) == ["a"]
    assert [run.abort.is_set() for run in runs] == [True, False, False]


async def test_first_abort_names_the_origin():
    run = a_run()
    run.signal_abort("rpc")
    run.signal_abort("signal")
    assert run.origin == "rpc"


async def test_run_aborted_between_two_lanes_does_not_queue_for_the_second():
    run = a_run()
    lanes = Lanes(1)
    lanes.enter("main")
    run.signal_abort("rpc")
    ticket = lanes.enter("main")
    run.queue(ticket)
    with pytest.raises(RunAborted):
        await ticket.wait()
