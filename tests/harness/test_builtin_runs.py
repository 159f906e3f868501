"""Each built-in scenario, played by processes, breaks the laws that its file says and no others; ours breaks none."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockjaw.harness import Run, load_scenario, run_policies
from lockjaw.scenarios import names
from lockjaw.verdict import Verdict

pytestmark = [pytest.mark.real, pytest.mark.slow]

PLAYED = [name for name in names() if not load_scenario(name).not_real]
CASCADE = ("gateway_timeout", "gateway_timeout_fast_backup", "gateway_timeout_mixed", "gateway_killed_mid_turn")


@pytest.mark.parametrize("name", PLAYED)
def test_policies_break_the_laws_that_the_scenario_says_and_no_others(name: str, tmp_path: Path) -> None:
    scenario = load_scenario(name)
    runs = {run.policy: run for run in run_policies(scenario, list(scenario.expect), seed=3, out=tmp_path)}
    broken = {policy: {c.name for c in run.checks if c.verdict is Verdict.VIOLATED} for policy, run in runs.items()}
    assert broken == {policy: set(laws) for policy, laws in scenario.expect.items()}
    for run in (runs[scenario.baseline], runs["takeover"]):
        assert [reached.says for reached in run.reached if not reached.met] == [], (run.policy, run.run_dir)
    assert runs["takeover"].verdict is Verdict.HELD
    if name in CASCADE:
        answered_in_place(runs["takeover"])


def answered_in_place(run: Run) -> None:
    outcome = run.outcome
    assert outcome.answered
    assert (outcome.exit_code, outcome.session_locked_errors, outcome.turn_executions, outcome.sessions) == (0, 0, 1, 1)


def test_processes_play_most_of_the_catalogue() -> None:
    """What they cannot show says so in words."""
    assert len(PLAYED) >= 28
    for name in set(names()) - set(PLAYED):
        assert len(load_scenario(name).not_real.split()) > 5
