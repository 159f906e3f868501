"""What keeps the project in order: constraints that name what is installed, and CI files that run the gate."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent


def load(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_constraints_pin_everything_that_the_gate_asks_for_and_agree_with_its_bounds() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = {name.lower().replace("_", "-"): version for name, version in (line.split("==") for line in lines)}
    assert len(pinned) == len(lines) > 40
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for text in (*project["dependencies"], *(t for kind in ("test", "lint", "typing", "layers") for t in extras[kind])):
        wanted = Requirement(text)
        version = pinned[wanted.name.lower().replace("_", "-")]
        assert wanted.specifier.contains(version), text


def test_ci_runs_the_gate_on_every_python_and_tries_the_newest_versions() -> None:
    jobs = load(".github/workflows/ci.yml")["jobs"]
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    supported = [found[1] for one in classifiers if (found := re.fullmatch(r".*:: Python :: (3\.\d+)", one))]
    assert jobs["gate"]["strategy"]["matrix"]["python"] == supported
    assert ".ci/run" in [step.get("run") for step in jobs["gate"]["steps"]]
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
    assert jobs["newest"]["steps"][-1] == {"run": "python3 dev.py test", "env": {"LOCKJAW_NEWEST": "1"}}


def test_the_templates_ask_for_a_kit() -> None:
    bug = load(".github/ISSUE_TEMPLATE/bug.yml")
    assert any("lockjaw kit" in field["attributes"].get("description", "") for field in bug["body"])
    assert load(".github/ISSUE_TEMPLATE/incident.yml")["body"]
    assert "lockjaw kit" in (ROOT / ".github/pull_request_template.md").read_text()


def test_the_hooks_call_what_the_gate_calls() -> None:
    (local,) = load(".pre-commit-config.yaml")["repos"]
    assert [hook["entry"].removeprefix(".venv/bin/python ") for hook in local["hooks"]] == [
        "-m ruff check --fix", "-m ruff format", "docs/generate.py --check",
    ]  # fmt: skip
