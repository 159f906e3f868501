"""action.yml: it says what the documentation promises, and its shell steps do it, here with a made-up runner."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS: dict[str, dict[str, Any]] = {step["name"]: step for step in ACTION["runs"]["steps"]}
EXPRESSION = re.compile(r"\$\{\{\s*(.+?)\s*\}\}")


def perform(
    name: str, cwd: Path, inputs: dict[str, str] | None = None, outputs: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a shell step as the runner does: expressions only in ``env``, bash with -e and pipefail."""
    known = {f"inputs.{key}": spec["default"] for key, spec in ACTION["inputs"].items()}
    known |= {f"inputs.{key}": value for key, value in (inputs or {}).items()}
    known |= {f"steps.run.outputs.{key}": value for key, value in (outputs or {}).items()}
    step = STEPS[name]
    values = {key: EXPRESSION.sub(lambda found: known[found[1]], text) for key, text in step["env"].items()}
    script = cwd / "step.sh"
    script.write_text(step["run"])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    runner = {"GITHUB_STEP_SUMMARY": str(cwd / "step_summary"), "GITHUB_OUTPUT": str(cwd / "step_output")}
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", script],
        cwd=cwd, env=os.environ | runner | values | {"PATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def outputs_of(cwd: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (cwd / "step_output").read_text().splitlines())


def test_the_action_has_the_shape_that_the_runner_wants() -> None:
    assert ACTION["runs"]["using"] == "composite"
    assert {"name", "description", "inputs", "outputs", "runs"} <= ACTION.keys()
    for spec in ACTION["inputs"].values():
        assert spec["description"]
        assert isinstance(spec["default"], str)
    for step in ACTION["runs"]["steps"]:
        assert ("run" in step) != ("uses" in step)
        assert step.get("shell", "bash") == "bash"
        assert "run" not in step or "shell" in step


def test_every_expression_names_something_that_exists() -> None:
    used = set(re.findall(r"(?:inputs|steps\.run\.outputs)\.([\w-]+)", (ROOT / "action.yml").read_text()))

    assert used == ACTION["inputs"].keys() | {"status", "report"}


def test_no_input_becomes_text_of_a_script() -> None:
    assert not any("${{" in step.get("run", "") for step in ACTION["runs"]["steps"])


@pytest.mark.parametrize(("policy", "status", "word"), [("takeover", "0", "HELD"), ("reuse-session", "1", "VIOLATED")])
def test_the_run_step_writes_summary_report_and_status(tmp_path: Path, policy: str, status: str, word: str) -> None:
    done = perform("Run the scenarios", tmp_path, {"scenarios": "gateway_timeout", "policy": policy})

    assert done.returncode == 0, done.stderr
    assert outputs_of(tmp_path) == {"status": status, "report": "lockjaw-report"}
    assert f"## Lockjaw: gateway\\_timeout: {word}" in (tmp_path / "step_summary").read_text().replace(
        "gateway_timeout", "gateway\\_timeout"
    )
    assert ET.parse(tmp_path / "lockjaw-report" / "junit.xml").getroot().tag == "testsuites"
    assert done.stdout == (tmp_path / "lockjaw-report" / "report.txt").read_text()
    kept = [path for glob in uploaded() for path in tmp_path.glob(glob)]
    assert {"history.jsonl", "verdict.json", "manifest.json", "logs"} <= {path.name for path in kept}
    assert not [path for path in kept if "state" in path.relative_to(tmp_path).parts]


def test_every_run_that_did_not_hold_is_packed_into_a_kit_that_replays(tmp_path: Path) -> None:
    perform("Run the scenarios", tmp_path, {"scenarios": "gateway_timeout", "policy": "all"})
    done = perform("Pack kits of what did not hold", tmp_path, outputs=outputs_of(tmp_path))

    assert done.returncode == 0, done.stderr
    kits = sorted((tmp_path / "lockjaw-report" / "kits").iterdir())
    assert done.stdout.splitlines() == [str(kit.relative_to(tmp_path)) for kit in kits]
    packed = sorted(kit.stem.partition("-1-")[2] for kit in kits)  # the names begin with when each run began
    assert packed == ["fresh-session", "no-fallback", "reuse-session"]
    assert "lockjaw-report" in uploaded()
    replayed = subprocess.run(
        [sys.executable, "-m", "lockjaw", "replay", str(kits[0]), "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert replayed.returncode == 1


def test_without_a_run_no_kit_is_packed(tmp_path: Path) -> None:
    done = perform("Pack kits of what did not hold", tmp_path, outputs={"report": "lockjaw-report"})

    assert (done.returncode, done.stdout) == (0, "")
    assert not (tmp_path / "lockjaw-report").exists()


def uploaded() -> list[str]:
    lines: list[str] = STEPS["Upload the histories"]["with"]["path"].split()
    return lines


def test_without_a_name_every_scenario_is_run(tmp_path: Path) -> None:
    done = perform("Run the scenarios", tmp_path)

    assert done.returncode == 0, done.stderr
    suites = [suite.get("name") for suite in ET.parse(tmp_path / "lockjaw-report" / "junit.xml").getroot()]
    assert {"gateway_timeout", "gateway_killed_mid_turn"} <= set(suites)


def test_a_name_is_never_a_command(tmp_path: Path) -> None:
    done = perform("Run the scenarios", tmp_path, {"scenarios": "$(touch owned) ;touch owned"})

    assert done.returncode == 0
    assert outputs_of(tmp_path)["status"] == "2"
    assert not (tmp_path / "owned").exists()


def test_a_baseline_lets_what_is_known_pass(tmp_path: Path) -> None:
    asked = {"scenarios": "gateway_timeout", "policy": "reuse-session"}
    perform("Run the scenarios", tmp_path, asked)
    (tmp_path / ".lockjaw" / "runs").rename(tmp_path / "kept")
    (tmp_path / "step_output").unlink()
    done = perform("Run the scenarios", tmp_path, asked | {"baseline": "kept"})

    assert outputs_of(tmp_path)["status"] == "0", done.stdout
    assert "Compared with kept: 10 verdicts, no change." in (tmp_path / "step_summary").read_text()


@pytest.mark.parametrize(
    ("status", "unknown", "ends", "says"),
    [
        ("0", "fail", 0, "Lockjaw: HELD"),
        ("1", "pass", 1, "::error title=Lockjaw::VIOLATED"),
        ("3", "fail", 3, "::error title=Lockjaw::UNKNOWN"),
        ("3", "pass", 0, "::warning title=Lockjaw::UNKNOWN"),
        ("2", "pass", 2, "status 2"),
        ("4", "pass", 4, "status 4"),
        ("", "pass", 4, "status unknown"),
    ],
)
def test_the_judge_fails_the_job_unless_everything_held(
    tmp_path: Path, status: str, unknown: str, ends: int, says: str
) -> None:
    done = perform("Judge", tmp_path, {"unknown": unknown}, {"status": status})

    assert (done.returncode, says in done.stdout) == (ends, True)


def test_the_install_step_takes_the_requirement_or_the_checkout(tmp_path: Path) -> None:
    step = STEPS["Install Lockjaw"]
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\necho "$@"\n')
    fake.chmod(0o755)
    for requirement, wanted in (("", "/the/checkout"), ("lockjaw==0.1.0", "lockjaw==0.1.0")):
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", step["run"]],
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "REQUIREMENT": requirement, "ACTION": "/the/checkout"},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.split() == ["-m", "pip", "install", "--disable-pip-version-check", wanted]
