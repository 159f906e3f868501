"""Both worlds tell one story: what a run waits for, does and records does not depend on where it happens.

Each of these was once told in two ways, by a simulated engine and one of processes that were written apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lockjaw.documents import Document
from lockjaw.errors import HarnessError
from lockjaw.harness.incident.scenario import Scenario, scenario_from
from lockjaw.harness.real.engine import Limits
from lockjaw.harness.run import Run, run_policies
from lockjaw.history import Record

pytestmark = pytest.mark.timeout(120)
WORLDS = [pytest.param("sim"), pytest.param("real", marks=pytest.mark.real)]
QUICK = Limits(tick=0.004, ready=30.0, stop=2.0, run=2.0)

BASE: dict[str, Any] = {
    "story": "A question, and others who want the session.",
    "message": "hello",
    "chain": ["p/m"],
    "models": {"m": [{"text": "hi"}]},
    "checks": ["no_lock_left", "transcript_whole"],
    "answers_s": {"p/m": 1.0},
    "time_scale": 0.02,
    "budget_s": 10.0,
    "limit_s": 60.0,
    "settle_s": 0.0,
}
TAKE, NOTE, LEAK = {"do": "take"}, {"do": "append", "what": "metadata"}, {"do": "leak"}
SLEEP: dict[str, Any] = {"do": "sleep", "for_s": 5000}
ASKED = {"op": "client.call", "phase": "invoke", "actor": "client"}
TOLD = {"op": "client.result", "actor": "client"}


def scripted(*script: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"kind": "scripted", "script": list(script), **more}


def scenario(**changes: Any) -> Scenario:
    return scenario_from(Document.of(BASE | changes), name="small")


def play(world: str, out: Path, policy: str = "takeover", **changes: Any) -> Run:
    return run_policies(scenario(**changes), [policy], engine=world, seed=1, out=out, limits=QUICK)[0]


def of(run: Run, op: str, phase: str | None = None, **data: Any) -> list[Record]:
    found = [r for r in run.history if r.op == op and phase in (None, r.phase)]
    return [r for r in found if data.items() <= r.data.items()]


def position(run: Run, op: str) -> int:
    return next(n for n, record in enumerate(run.history) if record.op == op)


@pytest.mark.parametrize("world", WORLDS)
def test_an_awaited_actor_that_never_ends_is_a_failure_of_the_run(world: str, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"an actor .cron. did not end within .* \(key limit_s\)"):
        play(world, tmp_path, actors={"cron": scripted(SLEEP)})


@pytest.mark.parametrize("world", WORLDS)
def test_a_transcript_is_judged_after_the_next_turn_has_mended_it(world: str, tmp_path: Path) -> None:
    torn = {"action": "tear", "target": "cron", "before": {"operation": "Append", "path": "*.jsonl"}}

    run = play(world, tmp_path, actors={"cron": scripted(TAKE, NOTE)}, initial={"turns": 1}, faults=[torn],
               asks_when=SAID)  # fmt: skip

    assert position(run, "next_turn") < position(run, "transcript.final")
    (final,) = of(run, "transcript.final")
    assert final.data["problems"] == []


SAID = {"op": "nemesis", "data": {"target": "cron"}}


@pytest.mark.parametrize("world", WORLDS)
def test_a_lock_without_a_transcript_blocks_the_next_turn_too(world: str, tmp_path: Path) -> None:
    """An actor of 2026.4 dies with the lock before anybody has written a line."""
    kill = {"action": "kill", "target": "cron", "when": {"op": "lock", "phase": "ok", "actor": "cron"}}
    refused = {"client_token": "wrong", "asks_when": SAID}

    run = play(world, tmp_path, "no-fallback", actors={"cron": scripted(TAKE, SLEEP)}, faults=[kill], **refused)

    assert of(run, "transcript.final") == []
    assert [r.phase for r in of(run, "next_turn")] == ["ok"]
    assert str(run.check("no_lock_left").verdict) == "HELD"


@pytest.mark.parametrize("target", ["gateway", "models", "cron"])
@pytest.mark.parametrize("world", WORLDS)
def test_whoever_is_restarted_ends_and_begins_again(world: str, target: str, tmp_path: Path) -> None:
    restart = {"action": "restart", "target": target, "at_s": 2.0}
    patient = scripted({"do": "sleep", "for_s": 10}, NOTE | {"locked": False})

    run = play(world, tmp_path, actors={"cron": patient}, initial={"turns": 1}, faults=[restart])

    ready, ended = of(run, "actor.ready", actor=target), of(run, "actor.exit", actor=target)
    assert (len(ready), len(ended)) == (2, 2)
    assert len({r.data["pid"] for r in ready}) == 2
    assert [r.data["pid"] for r in ready] == [r.data["pid"] for r in ended]
    assert of(run, "nemesis", "info", action="restart", target=target)
    if target == "cron":  # it had begun, so it begins again
        assert [r.actor for r in of(run, "append")].count("cron") == 1


@pytest.mark.parametrize("world", WORLDS)
def test_a_client_that_is_restarted_asks_again(world: str, tmp_path: Path) -> None:
    slow = {"m": [{"first_token_s": 20, "text": "hi"}]}

    run = play(world, tmp_path, models=slow, faults=[{"action": "restart", "target": "client", "when": ASKED,
               "after_s": 5}])  # fmt: skip

    calls = [r.data["pid"] for r in of(run, "actor.ready", actor="client")]
    assert len(set(calls)) == 2
    assert len(of(run, "client.call", "invoke")) >= 2
    assert of(run, "client.result")[-1].data["answered"] is True


@pytest.mark.parametrize("world", WORLDS)
def test_a_torn_write_has_left_half_of_its_bytes(world: str, tmp_path: Path) -> None:
    torn = {"action": "tear", "target": "cron", "before": {"operation": "Append", "path": "*.jsonl"}}
    reader = scripted({"do": "append", "what": "metadata"}, start={"when": SAID, "after_s": 5})

    run = play(world, tmp_path, actors={"cron": scripted(TAKE, NOTE), "reader": reader}, initial={"turns": 1},
               faults=[torn])  # fmt: skip

    (act,) = of(run, "nemesis", target="cron")
    assert act.data["at"].startswith("in the middle of Append")
    assert of(run, "actor.exit", actor="cron")[0].data["code"] == -9
    if world == "real":  # who opens the transcript next has put a copy of the torn one aside
        (backup,) = (run.run_dir / "state").glob("agents/main/sessions/*.jsonl.bak-*")
        assert not backup.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("world", WORLDS)
def test_a_restart_that_is_under_way_when_all_is_over_is_brought_to_its_end(world: str, tmp_path: Path) -> None:
    """It is due when the client has its answer: nothing else keeps the run from its end."""
    run = play(world, tmp_path, faults=[{"action": "restart", "target": "gateway", "when": TOLD}])

    assert run.reached == ()  # it was due, a little late or not
    ready, ended = of(run, "actor.ready", actor="gateway"), of(run, "actor.exit", actor="gateway")
    assert [r.data["pid"] for r in ready] == [r.data["pid"] for r in ended]
    assert len(ready) == 2
    last = position(run, "next_turn")
    assert max(run.history.index(r) for r in (*ready, *ended)) < last
