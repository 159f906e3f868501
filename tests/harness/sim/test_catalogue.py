"""Every scenario of the catalogue shows its incident under the baseline, and none under ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockjaw.harness import Run, load_scenario
from lockjaw.harness.run import run_scenario
from lockjaw.scenarios import names
from lockjaw.verdict import Verdict


def broken(run: Run) -> set[str]:
    return {check.name for check in run.checks if check.verdict is Verdict.VIOLATED}


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("seed", [1, 2])
def test_baseline_breaks_its_laws_and_ours_breaks_none(name: str, seed: int, tmp_path: Path) -> None:
    scenario = load_scenario(name)
    before = run_scenario(scenario, policy=scenario.baseline, engine="sim", seed=seed, out=tmp_path)
    ours = run_scenario(scenario, policy="takeover", engine="sim", seed=seed, out=tmp_path)
    assert broken(before) >= set(scenario.expect[scenario.baseline])
    assert (ours.verdict, broken(ours)) == (Verdict.HELD, set())
