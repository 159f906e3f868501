"""A client that stood still (a laptop's lid, a SIGSTOP) still gives its user the answer that a model can give."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from lockjaw import scenarios
from lockjaw.harness import Run, load_scenario, run_scenario
from lockjaw.harness.faults import FAULTS, Fault
from lockjaw.harness.faults.base import Point
from lockjaw.harness.incident.scenario import Scenario
from lockjaw.verdict import Verdict

#: Its models need 30 s and get 20 s each from the gateway, whose run has failed 66 s after the client's start.
QUICKER = {
    "count: 75": "count: 14",
    "timeout_s: 60": "timeout_s: 20",
    "154.65": "80",
    "time_scale: 0.04": "time_scale: 0.01",
}


@pytest.fixture
def quicker(tmp_path: Path) -> Scenario:
    text = (Path(scenarios.__path__[0]) / "gateway_timeout.yaml").read_text()
    for old, new in QUICKER.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "quicker.yaml").write_text(text)
    return load_scenario(tmp_path / "quicker.yaml")


@pytest.mark.parametrize("engine", ["sim", "real"])
def test_a_client_that_sleeps_until_its_gateways_run_has_failed_goes_on_with_the_turn(
    engine: str, quicker: Scenario, tmp_path: Path
) -> None:
    run = played(quicker, FAULTS["pause"](target="client", at_s=45, for_s=40), engine=engine, out=tmp_path)
    held(run)
    steps = [r.data["step"] for r in run.history if r.op == "fallback"]
    assert (steps[0], steps[-1]) == ("ask", "continue")
    if engine == "sim":  # on a busy machine the gateway may be late, and its run still be going on
        assert steps == ["ask", "wait", "continue"]


PLACES = [
    ("Read", "sessions.json"), ("RangeLock", "*.jsonl.guard"), ("Append", "*.jsonl"), ("Flush", "*.jsonl"),
    ("RangeUnlock", "*.jsonl.guard"),
]  # fmt: skip


@pytest.mark.parametrize(("operation", "path"), PLACES)
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_client_that_is_frozen_at_a_step_of_its_takeover_still_asks_a_model(
    operation: str, path: str, nth: int
) -> None:
    scenario = structs.replace(load_scenario("gateway_timeout"), budget_s=1000)  # with the time that it sleeps
    held(played(scenario, FAULTS["pause"](target="client", before=Point(operation, path, nth), for_s=600)))


def test_a_takeover_that_works_for_ten_minutes_keeps_its_lock() -> None:
    """The lock's own default would stop its holder after 300 s: too early for a turn that may take 600."""
    scenario = structs.replace(load_scenario("accepted_run_is_run_again"), sometimes=())
    run = played(scenario, FAULTS["kill"](target="gateway", at_s=5))
    held(run)
    assert not [r for r in run.history if r.op == "lock.limit"]


def played(scenario: Scenario, fault: Fault, engine: str = "sim", out: Path | None = None) -> Run:
    return run_scenario(structs.replace(scenario, faults=(fault,)), policy="takeover", engine=engine, seed=1, out=out)


def held(run: Run) -> None:
    assert [r for r in run.history if r.op == "nemesis"]
    broken = {check.name: check.finding for check in run.checks if check.verdict is Verdict.VIOLATED}
    assert not broken, broken
    (result,) = [r for r in run.history if r.op == "client.result"]
    assert result.data["answered"], result.data
    assert not result.data["duplicate_possible"]
