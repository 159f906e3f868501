"""Ctrl-C, SIGTERM and SIGKILL of the harness in the middle of a run: no process remains."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from lockjaw.harness.real.guard import Guard

pytestmark = pytest.mark.real

Orphans = Callable[[], list[int]]
LIMIT_REAL_S = 20.0


@contextmanager
def harness(out: Path, fault: str = "none") -> Iterator[subprocess.Popen[str]]:
    """A harness in the middle of a run whose client never ends."""
    script = Path(__file__).with_name("interrupted.py")
    command = [sys.executable, str(script), str(out), "never_ends", fault]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def until_none(orphans: Orphans) -> list[int]:
    """What is left when nothing more ends: the guard and the lifeline act on their own time."""
    deadline = time.monotonic() + LIMIT_REAL_S
    while (left := orphans()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_harness_ends_everything_and_says_so(
    tmp_path: Path, no_orphans: Orphans, number: signal.Signals, code: int
) -> None:
    with harness(tmp_path) as process:
        assert len(no_orphans()) >= 5  # three actors and the gateway's two children
        process.send_signal(number)
        _, stderr = process.communicate(timeout=LIMIT_REAL_S)
        assert no_orphans() == []  # at once: everything was reaped before the harness ended
    assert f"{number.name}: every process of the run has been ended" in stderr
    assert process.returncode in (code, -number)  # Python ends itself by the signal after KeyboardInterrupt
    manifest = msgspec.json.decode(next(tmp_path.glob("small/2*/manifest.json")).read_bytes())
    assert manifest["state"] == "failed"


def test_second_interrupt_breaks_nothing(tmp_path: Path, no_orphans: Orphans) -> None:
    with harness(tmp_path) as process:
        for _ in range(5):
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=LIMIT_REAL_S)
        assert no_orphans() == []


@pytest.mark.parametrize("fault", ["none", "pause"])
def test_killed_harness_takes_its_actors_with_it(tmp_path: Path, no_orphans: Orphans, fault: str) -> None:
    with harness(tmp_path, fault) as process:
        assert no_orphans()
        process.kill()
        process.wait(LIMIT_REAL_S)
        left = until_none(lambda: [pid for pid in no_orphans() if not in_own_session(pid)])
        assert left == []
        for pid in no_orphans():  # a child that left its group is beyond the guard; the next line is this test's broom
            subprocess.run(["kill", "-KILL", str(pid)], check=False)
    assert until_none(no_orphans) == []


def in_own_session(pid: int) -> bool:
    """True for the stand-in's ``sleep`` that leads a session: only the harness itself finds those."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "sleep" and session_of(pid) == pid
    except (FileNotFoundError, ProcessLookupError):
        return True


def session_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[3])


def test_guard_ends_watched_groups_only() -> None:
    watched, forgotten = (subprocess.Popen(["sleep", "600"], start_new_session=True) for _ in range(2))
    guard = Guard()
    guard.watch(watched.pid)
    guard.watch(forgotten.pid)
    guard.forget(forgotten.pid)
    guard.close()
    guard.close()
    try:
        assert watched.wait(LIMIT_REAL_S) == -signal.SIGKILL
        forgotten.terminate()
        assert forgotten.wait(LIMIT_REAL_S) == -signal.SIGTERM  # ours came first, so the guard's never came
    finally:
        forgotten.kill()
        forgotten.wait()


def test_guard_that_was_killed_is_no_failure() -> None:
    guard = Guard()
    subprocess.run(["kill", "-KILL", str(guard.pid)], check=True)
    guard._process.wait()
    guard.watch(2**22 + 1)
    guard.close()
