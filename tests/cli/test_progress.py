"""What is said on stderr while runs go on: on a terminal, without one, with --json, and after Ctrl-C."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lockjaw.cli import progress
from lockjaw.history import Record

CALL = Record(0.0, "client", "client.call", "invoke", {})
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def test_without_a_terminal_a_line_is_said_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.run_progress(4, quiet=False) as status:
        assert status.record is None, "nobody looks at single records"
        for name, at in (("a", 101.0), ("b", 104.9), ("c", 105.0), ("d", 109.9)):
            now[0] = at
            status.begin(name, ["takeover"])
    out, err = capsys.readouterr()
    assert (out, err) == ("", "2 of 4 done; now c\n")


def interrupted(total: int, *begun: str, quiet: bool) -> None:
    with progress.run_progress(total, quiet=quiet) as status:
        for what in begun:
            status.begin(what, ["takeover"])
        raise KeyboardInterrupt


def test_an_interruption_says_what_was_finished() -> None:
    with pytest.raises(KeyboardInterrupt) as raised:
        interrupted(3, "a", "b, seed 1", quiet=False)
    assert str(raised.value) == ("Interrupted during b, seed 1 (2 of 3); 1 of 3 are finished and keep their folders.")


def test_with_json_nothing_is_said_while_runs_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(2, "a", quiet=True)
    assert capsys.readouterr() == ("", "")


@pytest.mark.real
@pytest.mark.parametrize("columns", [80, 50])
def test_on_a_terminal_the_lines_live_and_ctrl_c_leaves_one_sentence_and_no_process(
    tmp_path: Path, columns: int
) -> None:
    """Ctrl-C comes when the client has begun, which the lines themselves show."""
    parent, child = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "CI")}
    environment |= {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "40"}
    process = subprocess.Popen(
        [sys.executable, "-m", "lockjaw", "run", "gateway_timeout", "--policy", "all", "--out", str(tmp_path / "runs")],
        stdin=child, stdout=child, stderr=child, env=environment, cwd=tmp_path, start_new_session=True,
    )  # fmt: skip
    os.close(child)
    said = ""
    sent = False
    until = time.monotonic() + 60
    try:
        while time.monotonic() < until:
            if select.select([parent], [], [], 0.2)[0]:
                try:
                    said += os.read(parent, 1 << 16).decode(errors="replace")
                except OSError:
                    break  # the other end is closed
            if not sent and re.search(r"\d\.\d s +lock: ", ESCAPE.sub("", said)):
                process.send_signal(signal.SIGINT)
                sent = True
            if process.poll() is not None and not select.select([parent], [], [], 0.1)[0]:
                break
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        os.close(parent)
    plain = ESCAPE.sub("", said).replace("\r", "")
    assert sent, plain
    assert process.returncode == 130
    assert all(policy in plain for policy in ("reuse-session", "fresh-session", "no-fallback", "takeover"))
    last = plain.rstrip().splitlines()[-1]
    assert "SIGINT: every process of the run has been ended" in " ".join(plain.split())
    assert last == "Interrupted during gateway_timeout, seed 1."
    assert said.rstrip().endswith(last), "no escape sequence after it"
    left = [  # processes of the run carry its folder in their command line or environment
        pid for pid in os.listdir("/proc")
        if pid.isdigit() and str(tmp_path).encode() in _read(f"/proc/{pid}/cmdline") + _read(f"/proc/{pid}/environ")
        and int(pid) != os.getpid()
    ]  # fmt: skip
    assert left == []


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
