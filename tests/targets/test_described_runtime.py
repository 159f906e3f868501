"""A runtime that only a file describes is played, seen and judged: planted bugs are found, the mended one is not."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace

from lockjaw.harness.incident.actors import Server
from lockjaw.harness.incident.scenario import Scenario, load_scenario
from lockjaw.harness.run import Progress, Run
from lockjaw.harness.targets.campaign import play_on
from lockjaw.harness.targets.registry import choose, opened
from lockjaw.verdict import Verdict

from ..loopback import Network

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("namespaces")]


def quick(name: str = "fallback_meets_active_writer", **outside: object) -> Scenario:
    scenario = load_scenario(name)
    assert scenario.outside is not None
    faster = {"answers_s": 3.0, "gives_up_s": 1.0, "patience_s": 20.0} | outside
    return replace(scenario, outside=replace(scenario.outside, **faster))


def play(path: Path, scenario: Scenario, out: Path, progress: Progress | None = None) -> Run:
    with opened(choose(str(path)), ask=lambda question: False, say=print) as target:
        return play_on(target, scenario, out=out, progress=progress)


def broken(run: Run) -> set[str]:
    return {check.name for check in run.checks if check.verdict is Verdict.VIOLATED}


def test_a_fallback_that_fails_on_the_lock_of_the_server_is_found(tiny, tmp_path: Path) -> None:
    run = play(tiny("rude"), quick(), tmp_path / "runs")
    assert broken(run) == {"never_session_locked", "answered"}
    assert all(condition.met for condition in run.reached)  # the server owned the conversation: seen in /proc/locks
    assert "tiny: session talk is locked by another process" in str(run.outcome.error)
    assert run.outcome.session_locked_errors == 1
    left = [int(pid) for pid in next(run.run_dir.rglob("tiny/left")).read_text().split()]
    assert len(left) == 2  # of the fallback and of the look back
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in left)


def test_a_fallback_that_waits_and_takes_the_answer_that_is_there_holds(tiny, tmp_path: Path) -> None:
    network = Network()
    run = play(tiny("patient"), quick(), tmp_path / "runs", network)
    assert run.verdict is Verdict.HELD, [(c.name, c.verdict, c.finding) for c in run.checks]
    assert run.outcome.reply == "The slow answer."
    assert network.seen_in == {"models", "gateway", "client"}
    assert set(network.sent) == {"lo"}  # the namespace has no other interface
    assert network.sent["lo"] > 0
    assert network.strangers == set()


def test_a_runtime_without_any_lock_runs_the_turn_twice(tiny, tmp_path: Path) -> None:
    run = play(tiny("blind"), quick(), tmp_path / "runs")
    assert "executed_once" in broken(run)


def test_a_runtime_that_asks_without_end_is_ended_by_the_scenarios_bound(tiny, tmp_path: Path) -> None:
    scenario = quick(answers_s=0.4, gives_up_s=0.2)
    run = play(tiny("chatty"), scenario, tmp_path / "runs")
    check = run.check("amplification")
    assert check.verdict is Verdict.VIOLATED
    assert 7 <= len(check.witness) <= 9  # the bound is 6; what was under way when it was ended counts, too
    assert any("the harness ended it" in str(r.data.get("error")) for r in run.history)


def test_a_law_that_cannot_be_seen_is_unknown_and_says_why(tiny, tmp_path: Path) -> None:
    path = tiny("patient")
    path.write_text(path.read_text() + '\n[cannot]\nexecuted_once = "nothing counts its turns"\n')
    check = play(path, quick(), tmp_path / "runs").check("executed_once")
    assert (check.verdict, check.finding) == (Verdict.UNKNOWN, "cannot be judged: nothing counts its turns")


def test_a_run_whose_danger_was_not_reached_is_unknown(tiny, tmp_path: Path) -> None:
    run = play(tiny("rude"), quick(gives_up_s=15.0), tmp_path / "runs")
    assert run.verdict is Verdict.UNKNOWN
    assert not all(condition.met for condition in run.reached)


def soon(name: str, **outside: object) -> Scenario:
    """The cast begins at once when the model has the question."""
    scenario = quick(name, answers_s=0.8, gives_up_s=None, **outside)
    cast = {
        name: actor if isinstance(actor, Server) else replace(actor, start=replace(actor.start, after_s=0.1))
        for name, actor in scenario.actors.items()
    }
    return replace(scenario, actors=cast)


def test_an_answer_that_is_thrown_away_while_the_store_is_held_is_found(tiny, tmp_path: Path) -> None:
    run = play(tiny("forgetful"), soon("store_held", holds_s=1.0), tmp_path / "runs")
    assert all(condition.met for condition in run.reached)
    assert run.outcome.answered
    assert broken(run) == {"same_conversation", "transcript_whole"}
    held = [r for r in run.history if r.op == "database" and r.actor == "maintenance"]
    assert [r.phase for r in held] == ["invoke", "ok", "info"]


def test_a_second_server_that_refuses_to_start_is_seen_and_its_client_has_no_answer(tiny, tmp_path: Path) -> None:
    run = play(tiny("alone"), soon("second_server"), tmp_path / "runs")
    refused = [r for r in run.history if r.op == "lock" and r.phase == "fail"]
    assert [(r.actor, r.data["error"]) for r in refused] == [("second", "tiny: the state is locked by another process")]
    assert broken(run) == {"answered"}
    assert {c.name: c.answered for c in run.outcome.clients} == {"client": True, "other": False}
