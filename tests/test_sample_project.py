"""A project outside of the repository, with the built wheel: what its people see."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = Path(__file__).resolve().parent / "sample_project"
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info", "tests", "docs")


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.timeout(600)
def test_a_project_of_its_own_uses_the_wheel_and_sees_the_incident(tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    venv.create(tmp_path / "venv", with_pip=True)
    # A copy: a build in place would leave build/ and *.egg-info/ behind, and two workers would meet there.
    shutil.copytree(ROOT, tmp_path / "source", ignore=LEFT_OUT)
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path / "dist", tmp_path / "source"], check=True)
    (wheel,) = (tmp_path / "dist").glob("lockjaw-*.whl")
    subprocess.run([*pip, "install", str(wheel), "pytest", "pytest-xdist"], check=True)
    project = shutil.copytree(SAMPLE, tmp_path / "project")
    assert len((project / "conftest.py").read_text().splitlines()) == 3

    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST", "COV", "LOCKJAW"))}
    told = subprocess.run(
        [python, "-m", "pytest", "-n", "2", "-rA"],
        cwd=project, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert told.returncode == 1, told.stdout + told.stderr
    assert re.search(r"1 failed, 3 passed", told.stdout), told.stdout
    assert "FAILED test_incident.py::test_reuse_session_answers_the_user" in told.stdout
    assert "PASSED test_incident.py::test_takeover_answers_the_user" in told.stdout
    failure = told.stdout.partition("= FAILURES =")[2].partition("PASSES")[0].rstrip("= \n").splitlines()
    assert any("X VIOLATED never_session_locked" in line for line in failure)
    assert re.fullmatch(r"lockjaw replay \.lockjaw/pytest/gw[01]/gateway_timeout/\S+-reuse-session", failure[-1])

    again = subprocess.run(
        [python, "-m", *failure[-1].split()], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert again.returncode == 1, again.stderr
    assert "The run was repeated: VIOLATED again, the same event hash" in again.stdout
