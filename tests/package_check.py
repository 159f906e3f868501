"""Installs a built wheel into an empty environment and runs it there, alone and in a project that tests with it.

Usage: package_check.py DIST_FOLDER
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

SAMPLE = Path(__file__).resolve().parent / "sample_project"


def main() -> int:
    (wheel,) = Path(sys.argv[1]).glob("*.whl")
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        venv.create(home / "venv", with_pip=True)
        python = home / "venv" / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True)
        # A user's own folders of these names must not be shadowed by ours, nor ours by theirs.
        for name in ("fakes", "harness", "reports", "scenarios"):
            (home / name).mkdir()
        listing = subprocess.run(
            [python, "-m", "lockjaw", "list", "--json"], cwd=home, check=True, capture_output=True, text=True
        )
        names = [scenario["name"] for scenario in json.loads(listing.stdout)["scenarios"]]
        assert "gateway_timeout" in names, names
        probe = "import importlib.util as u; import lockjaw.fakes, lockjaw.harness; print(u.find_spec('fakes').loader)"
        found = subprocess.run([python, "-c", probe], cwd=home, check=True, capture_output=True, text=True).stdout
        assert "None" in found or "Namespace" in found, found  # the user's folder, not a top-level package of ours
        subprocess.run([python, "-m", "pip", "install", "--quiet", "pytest", "pytest-xdist"], check=True)
        a_project_of_its_own_sees_the_incident(python, shutil.copytree(SAMPLE, home / "project"))
    print(f"{wheel.name}: installs, lists {len(names)} scenarios, adds no top-level package but lockjaw")
    print("a project of its own: pytest sees the incident, and the command that it prints repeats it")
    return 0


def a_project_of_its_own_sees_the_incident(python: Path, project: Path) -> None:
    """What the people of a project outside of the repository see, from the wheel alone."""
    assert len((project / "conftest.py").read_text().splitlines()) == 3
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST", "COV", "LOCKJAW"))}
    # On a build machine pytest writes other lines.
    environment = {k: v for k, v in environment.items() if k not in ("CI", "BUILD_NUMBER")}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, "-m", *command], cwd=project, env=environment, capture_output=True, text=True, check=False
        )

    told = run("pytest", "-n", "2", "-rA")
    assert told.returncode == 1, told.stdout + told.stderr
    assert re.search(r"1 failed, 3 passed", told.stdout), told.stdout
    assert "FAILED test_incident.py::test_reuse_session_answers_the_user" in told.stdout
    assert "PASSED test_incident.py::test_takeover_answers_the_user" in told.stdout
    failure = told.stdout.partition("= FAILURES =")[2].partition("PASSES")[0].rstrip("= \n").splitlines()
    assert any("X VIOLATED never_session_locked" in line for line in failure)
    assert re.fullmatch(r"lockjaw replay \.lockjaw/pytest/gw[01]/gateway_timeout/\S+-reuse-session", failure[-1])

    again = run(*failure[-1].split())
    assert again.returncode == 1, again.stderr
    assert "The run was repeated: VIOLATED again, the same event hash" in again.stdout


if __name__ == "__main__":
    sys.exit(main())
