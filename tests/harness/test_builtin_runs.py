"""Each built-in scenario, played for real under all four policies, breaks the laws that its file says and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockjaw.harness import Run, load_scenario, run_policies
from lockjaw.scenarios import names
from lockjaw.verdict import Verdict

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.mark.parametrize("name", [name for name in names() if not load_scenario(name).not_real])
def test_policies_break_the_laws_that_the_scenario_says_and_no_others(name: str, tmp_path: Path) -> None:
    scenario = load_scenario(name)
    runs = {run.policy: run for run in run_policies(scenario, list(scenario.expect), seed=3, out=tmp_path)}
    broken = {policy: [c.name for c in run.checks if c.verdict is Verdict.VIOLATED] for policy, run in runs.items()}
    assert broken == {policy: list(laws) for policy, laws in scenario.expect.items()}
    held(runs["takeover"])


def held(run: Run) -> None:
    assert run.verdict is Verdict.HELD  # every `sometimes` was met, too: no check is green for want of danger
    outcome = run.outcome
    assert outcome.answered
    assert (outcome.exit_code, outcome.session_locked_errors, outcome.turn_executions, outcome.sessions) == (0, 0, 1, 1)
