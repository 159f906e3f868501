"""Ctrl-C and SIGTERM end what runs in virtual time within a second, with their status, and keep what is finished."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

WITHIN_S = 1.0  # from the signal to the end of the process, on a machine that has its cores to itself
BUSY_MACHINE = 4.0  # times that: other tests run beside this one
SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
LOCKJAW = [sys.executable, "-m", "lockjaw"]


def stopped(command: list[str], folder: Path, number: signal.Signals, when: Callable[[], bool]) -> tuple[int, str, str]:
    """Start a command, send it a signal as soon as ``when`` holds, and return its status and what it said."""
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "HOME": str(folder)}, start_new_session=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + 60
        while not when():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.01)
        sent = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        took = time.monotonic() - sent
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert took < WITHIN_S * BUSY_MACHINE, err
    assert "Traceback" not in out + err
    return process.returncode, out, err


def finished(folder: Path) -> int:
    """Runs that have a verdict."""
    return len(list(folder.glob("runs/*/2*/verdict.json")))


@pytest.mark.real
@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_a_row_of_simulated_runs_ends_and_keeps_the_finished_ones(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    command = [*LOCKJAW, "run", "gateway_timeout", "--seeds", "2000", "--engine", "sim", "--out", "runs"]

    code, out, err = stopped(command, tmp_path, number, lambda: finished(tmp_path) >= 3)

    assert (code, out) == (status, "")
    what = "Interrupted" if number is signal.SIGINT else "Terminated"
    assert f"{what} during gateway_timeout, seed " in err
    assert " of 2000 are finished and keep their folders." in err
    assert 3 <= finished(tmp_path) < 2000


@pytest.mark.real
@pytest.mark.parametrize(("number", "status"), SIGNALS)
@pytest.mark.parametrize("workers", [1, 2])
def test_an_exploration_ends_and_says_what_it_found(
    workers: int, number: signal.Signals, status: int, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    command = [*LOCKJAW, "explore", "held_lock_uniform_chain", "--seeds", "1000000", "--workers", str(workers)]
    shell = ["sh", "-c", 'exec "$@" 2> said', "sh", *command]

    code, out, _ = stopped(shell, tmp_path, number, lambda: said.exists() and "runs, " in said.read_text())

    assert code == status
    assert "held_lock_uniform_chain, takeover, strategy random: HELD" in out
    assert "interrupted" in out


@pytest.mark.real
@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_the_catalogue_ends_in_its_simulated_part(number: signal.Signals, status: int, tmp_path: Path) -> None:
    command = [*LOCKJAW, "catalogue", "--engine", "sim", "--out", "runs"]

    code, out, _ = stopped(command, tmp_path, number, lambda: finished(tmp_path) >= 2)

    assert (code, out) == (status, "")
    assert finished(tmp_path) >= 2


@pytest.mark.real
@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_pytest_with_many_seeds_ends_and_keeps_the_finished_runs(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    (tmp_path / "test_one.py").write_text(
        "import pytest\n\n@pytest.mark.lockjaw('gateway_timeout')\ndef test_it(): ...\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--lockjaw-seeds", "3000", "test_one.py"]

    def some() -> bool:
        return len(list(tmp_path.glob(".lockjaw/pytest/main/*/2*/verdict.json"))) >= 3

    code, _, _ = stopped(command, tmp_path, number, some)

    assert code == status
    assert some()
