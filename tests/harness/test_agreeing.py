"""Whether the simulation knows what real processes did: some schedule of it comes to the same, or they disagree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lockjaw.harness import Run, load_scenario
from lockjaw.harness.judge.agreement import first_difference, tale_of
from lockjaw.harness.run import run_policies
from lockjaw.harness.search import agreeing
from lockjaw.harness.search.agreeing import Steered, agreement_of
from lockjaw.harness.sim.engine import run_sim
from lockjaw.harness.sim.tape import ROUGH, Choices, RandomChoices
from lockjaw.history import Record
from lockjaw.history.holds import holds, is_session_lock
from lockjaw.history.ordered import numbered
from lockjaw.seeds import Seeds
from lockjaw.verdict import Verdict


def run(name: str, policy: str, out: Path, **how: Any) -> Run:
    return run_policies(load_scenario(name), [policy], engine="sim", out=out, **how)[0]


def without(found: Run, which: Callable[[Record], bool]) -> Run:
    return replace(found, history=[record for record in found.history if not which(record)])


def test_a_run_agrees_with_itself(tmp_path: Path) -> None:
    found = agreement_of(load_scenario("gateway_timeout"), run("gateway_timeout", "takeover", tmp_path))
    assert (found.agrees, found.schedule) == (True, "seed 1")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: r.op == "lock.fence", "lock owners"),
        (lambda r: r.op == "fallback" and r.data["step"] == "continue", "fallback steps"),
        (lambda r: r.op == "actor.exit" and r.data["actor"] == "gateway", "exits"),
        (lambda r: r.op == "client.result", "results"),
        (lambda r: r.op == "next_turn", "remains"),
        (lambda r: r.op == "transcript.final", "remains"),
        (lambda r: r.op == "nemesis", "nemesis"),
    ],
)
def test_what_only_one_world_records_is_a_difference(
    change: Callable[[Record], bool], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agreeing, "ROUGH_SEEDS", 3)
    found = run("busy_loop_holder", "takeover", tmp_path)
    assert any(change(record) for record in found.history)

    differs = agreement_of(load_scenario("busy_loop_holder"), without(found, change))

    assert differs.first_difference is not None
    assert differs.first_difference.startswith(says)
    assert "DISAGREE" in differs.sentence()


def test_another_verdict_is_the_first_thing_that_is_said(tmp_path: Path) -> None:
    found = run("gateway_timeout", "takeover", tmp_path)
    other = replace(found, verdict=Verdict.VIOLATED)
    assert first_difference(tale_of(other), tale_of(found)) == "verdict, number 1: real VIOLATED, sim HELD"


def test_an_order_that_few_schedules_have_is_met_by_steering() -> None:
    """Ten seeds show one order of a lock's owners; a busy machine shows others, and each can be asked for."""
    scenario = load_scenario("gateway_relaunched")

    def order(seed: int, choices: Choices) -> tuple[str, ...]:
        observe = choices.observe if isinstance(choices, Steered) else None
        policy = "released-for-prompt"
        lived = run_sim(scenario, policy=policy, seed=seed, choices=choices, progress=observe)
        return tuple(hold.actor for hold in holds(numbered(lived.history)) if is_session_lock(hold.path))

    usual = {order(seed, RandomChoices(Seeds(seed))) for seed in range(1, 11)}
    odd = {order(seed, RandomChoices(Seeds(seed), ROUGH)) for seed in range(1, 31)} - usual
    assert len(odd) >= 3
    assert {wanted for wanted in odd if order(1, Steered(Seeds(1), wanted)) == wanted} == odd


def test_copies_dates_and_ids_make_no_difference() -> None:
    history = [
        Record(1.0, "harness", "actor.exit", "info", {"actor": "subagent-2", "role": "scripted", "code": 0}, 0),
        Record(2.0, "harness", "session.final", "info", {"key": "x-38152e0b-971e-4bed-a70e-1c14fec31969"}, 1),
    ]
    twin = [
        Record(1.0, "harness", "actor.exit", "info", {"actor": "subagent-7", "role": "scripted", "code": 0}, 0),
        Record(9.0, "harness", "session.final", "info", {"key": "x-0e6c9c66-9127-459b-ba21-ddc4d59c3f8d"}, 1),
    ]
    one, two = (tale_of(replace(_EMPTY, history=found)) for found in (history, twin))
    assert first_difference(one, two) is None


_EMPTY = Run(
    scenario="s", policy="takeover", engine="real", seed=1, verdict=Verdict.HELD, checks=(), reached=(),
    outcome=None, event_hash="", nominal_s=0.0, wall_s=0.0, run_dir=Path(), history=(),  # type: ignore[arg-type]
)  # fmt: skip
