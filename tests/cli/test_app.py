"""Every exception has a status of its own: what nobody expected is 4, one line, and a traceback in a named file."""

from __future__ import annotations

import os
import re
import resource
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from lockjaw.cli import app
from lockjaw.errors import ConnectionLost, LocalError

LOCKJAW = [sys.executable, "-m", "lockjaw"]
SIM = ["run", "gateway_timeout", "--policy", "all", "--engine", "sim"]  # VIOLATED: status 1


def failing(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def fail() -> None:
        raise error

    monkeypatch.setattr(app, "command_line", lambda: fail)
    with pytest.raises(SystemExit) as ended:
        app.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyError("spam"), "KeyError: 'spam'"),
        (RecursionError("too deep"), "RecursionError: too deep"),
        (OSError(28, "No space left on device", "x"), "OSError: [Errno 28] No space left on device: 'x'"),
        (ConnectionLost(1006), "ConnectionLost: gateway closed (1006 abnormal closure (no close frame))"),
        (ExceptionGroup("several", [ValueError("1\n2")]), "ExceptionGroup: several (1 sub-exception)"),
        (GeneratorExit(), "GeneratorExit"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("beside_runs", [False, True])
def test_an_exception_that_nobody_expected_is_status_4_one_line_and_a_traceback_in_a_file(
    error: BaseException, told: str, beside_runs: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(app.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    (tmp_path / ("tmp" if not beside_runs else ".lockjaw")).mkdir()

    assert failing(error, monkeypatch) == 4

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"lockjaw failed: {told}")
    assert err.count("\n") == 1
    (file,) = re.findall(r"traceback: (\S+)\n", err)
    assert Path(file).parent == (Path(".lockjaw/failures") if beside_runs else tmp_path / "tmp")
    assert stat.S_IMODE(Path(file).stat().st_mode) == 0o600
    text = Path(file).read_text()
    assert "Traceback (most recent call last):" in text
    assert type(error).__name__ in text
    assert "in fail" in text


def test_where_no_traceback_can_be_written_the_line_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(app.tempfile, "gettempdir", lambda: str(tmp_path / "file"))

    assert failing(ValueError("x"), monkeypatch) == 4
    assert "its traceback could not be written" in capsys.readouterr().err


def test_an_expected_error_leaves_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".lockjaw").mkdir()

    assert failing(LocalError("fix the call"), monkeypatch) == 2
    assert not (tmp_path / ".lockjaw/failures").exists()


# --------------------------------------------------------------------------- real processes


def lockjaw(
    folder: Path, *arguments: str, stdout: int | IO[Any] = subprocess.PIPE, before: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "HOME": str(folder), "TMPDIR": str(folder)}
    return subprocess.run(
        [*LOCKJAW, *arguments], cwd=folder, env=env, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False,
        preexec_fn=before, timeout=60,
    )  # fmt: skip


def test_a_full_stdout_is_a_failure_and_no_verdict(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        ended = lockjaw(tmp_path, *SIM, stdout=full)

    assert ended.returncode == 4
    assert ended.stderr.startswith("lockjaw failed: OSError: [Errno 28] No space left on device")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("descriptor", [1, 2])
def test_a_closed_stream_is_quiet_and_the_verdict_is_the_status(descriptor: int, tmp_path: Path) -> None:
    # Inherited by the runs' files otherwise: the first file that is opened becomes descriptor 1.
    ended = subprocess.run(
        ["sh", "-c", f'exec "$@" {descriptor}>&-', "sh", *LOCKJAW, *SIM, "--out", "runs"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert ended.returncode == 1
    assert (ended.stdout if descriptor == 1 else ended.stderr) == ""
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or "SCENARIO gateway_timeout" not in file.read_text()


def test_a_disk_that_is_full_in_mid_run_is_a_failure_and_no_verdict(tmp_path: Path) -> None:
    """Files of at most 20 KB, which a history exceeds: the same path through the code as a full disk."""
    ended = lockjaw(
        tmp_path, *SIM, "--out", "runs", before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    )

    assert (ended.returncode, ended.stdout) == (4, "")
    assert ended.stderr.startswith("lockjaw failed: OSError: [Errno 27] File too large")
    assert ended.stderr.count("\n") == 1
    (file,) = re.findall(r"traceback: (\S+)\n", ended.stderr)
    assert "write_history" in (tmp_path / file).read_text()
