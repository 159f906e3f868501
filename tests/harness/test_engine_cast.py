"""The cast on the real engine: when actors begin, what strikes them at an operation, and that none outlives a run.

Gateway and client are stand-ins; the actors are Lockjaw's own processes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lockjaw.harness.incident.scenario import Scenario
from lockjaw.harness.real.engine import Limits, RealWorld, run_real
from lockjaw.harness.store import Store
from lockjaw.history import Record

pytestmark = pytest.mark.real

Small = Callable[..., Scenario]
Orphans = Callable[[], list[int]]
QUICK = Limits(tick=0.004, ready=30.0, stop=2.0, run=10.0)
LATE_S = 10.0  # 200 real ms at this scale: how late a busy machine may be

TAKE, RELEASE, NOTE = {"do": "take"}, {"do": "release"}, {"do": "append", "what": "metadata"}


@pytest.fixture
def play(small: Small, stand_ins: Callable[..., type[RealWorld]], tmp_path: Path) -> Callable[..., Any]:
    """Play a small scenario with these actors and faults; its history."""

    async def play(
        actors: dict[str, Any], *faults: dict[str, Any], policy: str = "takeover", **more: Any
    ) -> list[Record]:
        scenario = small(actors=actors, faults=list(faults), initial={"turns": 1}, **more)
        run = Store(tmp_path).create("small", 1, policy)
        world = stand_ins()(scenario, policy=policy, seed=1, time_scale=0.02, run=run, limits=QUICK)
        lived = await run_real(world)
        assert lived.never_due == ()
        return lived.history

    return play


def scripted(*script: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"kind": "scripted", "script": list(script), **more}


def of(history: list[Record], op: str, phase: str | None = None, **data: Any) -> list[Record]:
    return [r for r in history if r.op == op and phase in (None, r.phase) and data.items() <= r.data.items()]


async def test_an_actor_takes_the_lock_writes_and_gives_it_back(play: Any, no_orphans: Orphans) -> None:
    history = await play({"cron": scripted(TAKE, NOTE, RELEASE)})

    mine = [(r.op, r.phase) for r in history if r.actor == "cron"]
    assert [step for step in mine if step[0] != "lock.release"] == [
        ("lock", "invoke"), ("lock", "ok"), ("append", "ok"),
    ]  # fmt: skip
    (ended,) = of(history, "actor.exit", actor="cron")
    assert (ended.data["code"], ended.data["role"]) == (0, "scripted")
    final = of(history, "transcript.final")[0]
    assert len(final.data["entry_ids"]) == 3  # a question, its answer, and the note
    assert of(history, "stage")[0].t < 0.5
    assert no_orphans() == []


async def test_an_actor_waits_for_its_cue(play: Any) -> None:
    first = scripted(TAKE, {"do": "sleep", "for_s": 5}, RELEASE)
    second = scripted(NOTE | {"locked": False}, start={"when": {"op": "lock", "phase": "ok", "actor": "first"}})

    history = await play({"first": first, "second": second})

    taken, written = of(history, "lock", "ok")[0], of(history, "append")[0]
    assert (taken.actor, written.actor) == ("first", "second")
    assert 0 <= written.t - taken.t < LATE_S


async def test_the_client_begins_when_what_it_waits_for_has_happened(play: Any) -> None:
    late = scripted({"do": "sleep", "for_s": 15}, TAKE, RELEASE)

    history = await play({"cron": late}, asks_when={"op": "lock", "phase": "ok", "actor": "cron"})

    taken, asked = of(history, "lock", "ok")[0], of(history, "client.call", "invoke")[0]
    assert 15 <= taken.t <= asked.t


async def test_the_run_does_not_wait_for_an_actor_that_is_not_awaited(play: Any, no_orphans: Orphans) -> None:
    history = await play({"clock": scripted({"do": "sleep", "for_s": 5000}, awaited=False)})

    (ended,) = of(history, "actor.exit", actor="clock")
    assert ended.data["code"] == 143
    assert no_orphans() == []


async def test_an_actor_that_is_killed_before_its_payload_leaves_an_empty_lock(play: Any, no_orphans: Orphans) -> None:
    kill = {"action": "kill", "target": "cron", "before": {"operation": "WriteInPlace"}}

    history = await play({"cron": scripted(TAKE, NOTE)}, kill, policy="reuse-session")

    assert [r.data["at"].split()[:2] for r in of(history, "nemesis")] == [["before", "WriteInPlace"]]
    assert of(history, "actor.exit", actor="cron")[0].data["code"] == -9
    assert of(history, "leftover", kind="lock")[0].data["pid"] is None
    assert of(history, "append") == []
    assert no_orphans() == []


async def test_an_actor_that_is_paused_at_an_operation_goes_on_when_its_time_is_over(play: Any) -> None:
    pause = {"action": "pause", "target": "cron", "before": {"operation": "WriteInPlace"}, "for_s": 20}

    history = await play({"cron": scripted(TAKE, NOTE, RELEASE)}, pause, policy="reuse-session")

    paused, resumed = of(history, "nemesis", action="pause")[0], of(history, "nemesis", action="resume")[0]
    assert 20 <= resumed.t - paused.t < 20 + LATE_S
    assert of(history, "lock", "ok", owner="cron")[0].t >= resumed.t
    assert of(history, "actor.exit", actor="cron")[0].data["code"] == 0


async def test_an_operation_fails_as_often_as_it_is_told_to(play: Any) -> None:
    fail = {
        "action": "fail", "target": "cron", "errno": "EPERM",
        "before": {"operation": "Unlink", "path": "*.jsonl.lock", "times": 2},
    }  # fmt: skip
    again = scripted(*(TAKE, RELEASE) * 3)

    history = await play({"cron": again}, fail, policy="takeover")

    assert [r.data["errno"] for r in of(history, "nemesis")] == ["EPERM", "EPERM"]
    assert of(history, "leftover", kind="lock") == []


async def test_a_blocked_actor_does_nothing_until_the_block_ends(play: Any) -> None:
    block = {"action": "block", "target": "cron", "when": {"op": "lock", "phase": "ok"}, "for_s": 30}

    history = await play({"cron": scripted(TAKE, {"do": "sleep", "for_s": 10}, NOTE, RELEASE)}, block)

    blocked, written = of(history, "nemesis", action="block")[0], of(history, "append")[0]
    assert 30 <= written.t - blocked.t < 30 + LATE_S


async def test_a_block_without_an_end_is_healed_when_all_is_over(play: Any, no_orphans: Orphans) -> None:
    block = {"action": "block", "target": "clock", "when": {"op": "lock", "phase": "ok"}, "for_s": 5000}

    history = await play({"clock": scripted(TAKE, {"do": "sleep", "for_s": 5000}, awaited=False)}, block)

    assert of(history, "nemesis", action="resume")
    assert of(history, "actor.exit", actor="clock")[0].data["code"] == 143
    assert of(history, "leftover", kind="process") == []
    assert no_orphans() == []
