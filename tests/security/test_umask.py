"""With umask 0, nothing that a command writes is for a group or the world to change."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.real

#: Stands in for the command line without its own umask: the planted hole.
WITHOUT = (
    "import os, runpy, sys; os.umask = lambda mask: 0; sys.argv[0] = 'lockjaw'; "
    "runpy.run_module('lockjaw', run_name='__main__')"
)


def open_to_others(folder: Path, command: list[str]) -> list[str]:
    """Run a command with umask 0 in a folder; what it made there that others may change."""
    subprocess.run(command, cwd=folder, umask=0, capture_output=True, timeout=100, check=False)
    made = [path for path in folder.rglob("*") if not path.is_symlink()]
    assert len(made) > 3, "the command wrote nothing"
    return sorted(
        f"{stat.filemode(path.stat().st_mode)} {path.relative_to(folder)}"
        for path in made
        if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


RUN = ["run", "gateway_timeout", "--engine", "sim", "--policy", "takeover", "--out", "runs"]


def test_run_writes_nothing_that_others_may_change(tmp_path: Path) -> None:
    assert open_to_others(tmp_path, [sys.executable, "-m", "lockjaw", *RUN]) == []


def test_umask_that_is_left_as_it_is_would_be_seen(tmp_path: Path) -> None:
    assert open_to_others(tmp_path, [sys.executable, "-c", WITHOUT, *RUN]) != []


def test_real_processes_write_nothing_that_others_may_change(tmp_path: Path) -> None:
    more = [
        "run",
        "gateway_timeout",
        "--engine",
        "real",
        "--policy",
        "takeover",
        "--time-scale",
        "0.02",
        "--out",
        "runs",
    ]
    assert open_to_others(tmp_path, [sys.executable, "-m", "lockjaw", *more]) == []
