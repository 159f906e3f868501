"""The README is part of the product: what it shows is what today's code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lockjaw import scenarios
from lockjaw.behaviours import POLICIES
from lockjaw.harness.run import Run, run_policies

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    return run_policies("gateway_timeout", list(POLICIES), engine="sim", out=tmp_path_factory.mktemp("runs"))


def test_readme_fits_in_two_hundred_lines_of_readable_width() -> None:
    lines = README.splitlines()
    assert len(lines) <= 200
    assert max(len(line) for line in lines if not line.startswith("|")) <= 120


def test_verdicts_in_the_shown_output_are_those_of_a_run(runs: list[Run]) -> None:
    found = re.findall(r"^[X+?] (VIOLATED|HELD|UNKNOWN)  ([a-z-]+)  \(real", README, re.MULTILINE)
    shown = {policy: verdict for verdict, policy in found}
    assert shown == {run.policy: str(run.verdict) for run in runs}


def test_table_in_the_shown_output_is_that_of_a_run(runs: list[Run]) -> None:
    by_policy = {run.policy: run for run in runs}
    rows = re.findall(r"^([a-z_]+) +((?:[X+?] [A-Z]+ *){4})$", README, re.MULTILINE)
    assert len(rows) >= 9
    for law, cells in rows:
        if law == "danger_reached":
            continue
        words = re.findall(r"[X+?] ([A-Z]+)", cells)
        assert words == [str(by_policy[policy].check(law).verdict) for policy in POLICIES], law


def test_every_scenario_is_named_here_or_where_the_link_leads() -> None:
    table = README.partition("| scenario | what happens |")[2].partition("\n\n")[0]
    named = re.findall(r"^\| `([a-z_]+)` \|", table, flags=re.MULTILINE)
    assert set(named) <= set(scenarios.names())
    assert "[the others](docs/reference/scenarios.md)" in README
    page = (ROOT / "docs" / "reference" / "scenarios.md").read_text()
    for name in scenarios.names():
        assert name in page, name


def test_every_file_that_is_named_exists() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", README) + re.findall(r"`((?:tests|docs|src|harness)/[^`*]+)`", README)
    assert targets
    for target in targets:
        assert (ROOT / target).exists(), target


def test_two_commands_are_those_of_the_bootstrap() -> None:
    bootstrap = (ROOT / "dev.py").read_text(encoding="utf-8")
    for command in ("python3 dev.py demo", "python3 dev.py test"):
        assert command in README
        assert command in bootstrap
    assert "dev.py test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
