"""One lock, the real program's own code and ours: nobody overlaps, nobody takes away a live lock."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lockjaw.harness.targets.openclaw.cache import Installed
from lockjaw.harness.targets.openclaw.holder import RealHolder
from lockjaw.locking import SessionLock, SessionLocked, inspect_lock
from lockjaw.process import appear_as_openclaw

pytestmark = pytest.mark.openclaw

ROUNDS = 100
VERSIONS = ["2026.4.8", "2026.5.7", "2026.7.1"]
OURS_FOREVER = (
    "import sys\nfrom lockjaw.locking import SessionLock\nfrom lockjaw.process import appear_as_openclaw\n"
    "if sys.argv[2] == 'as openclaw': appear_as_openclaw('agent')\n"
    "with SessionLock(sys.argv[1], timeout=10):\n print('held', flush=True)\n sys.stdin.read()"
)


@pytest.fixture(autouse=True)
def _peer() -> None:
    """This process holds locks, too, and 2026.7.1 looks at its command line."""
    appear_as_openclaw("tests")


@pytest.fixture
def session(tmp_path: Path) -> Path:
    return tmp_path / "s.jsonl"


def lock_of(session: Path) -> Path:
    return session.with_name(f"{session.name}.lock")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", VERSIONS)
def test_real_and_our_holder_alternate_without_overlap(
    version: str, session: Path, installed: Callable[[str], Installed]
) -> None:
    order = random.Random(6)
    with RealHolder(installed(version), session) as real:
        for _ in range(ROUNDS):
            assert real.acquire() == {"held": True}
            with pytest.raises(SessionLocked), SessionLock(session, timeout=order.choice([0.0, 0.02, 0.06])):
                pytest.fail("both hold the lock")
            assert inspect_lock(session).pid == real.process.pid  # and its lock is still there
            assert real.release() == {"released": True}
            with SessionLock(session, timeout=5):
                refused = real.acquire(order.choice([1, 20, 60]))
                assert "session file locked" in refused["error"]
                view = inspect_lock(session)
                assert view.ours
                assert view.pid == os.getpid()
            assert not lock_of(session).exists()
    # Ours keeps two small files beside the session for its generations; they block nobody.
    assert {p.name for p in session.parent.iterdir()} <= {"s.jsonl.guard", "s.jsonl.body.guard"}


@pytest.mark.parametrize("version", VERSIONS)
def test_waiting_holder_gets_the_lock_when_the_other_gives_it_back(
    version: str, session: Path, installed: Callable[[str], Installed]
) -> None:
    with RealHolder(installed(version), session) as real:
        for _ in range(5):
            with SessionLock(session, timeout=5):
                real.ask(10_000)  # waits while we hold it
                assert inspect_lock(session).ours
            assert real.answer() == {"held": True}
            assert inspect_lock(session).pid == real.process.pid
            assert real.release() == {"released": True}


@pytest.mark.parametrize("version", VERSIONS)
def test_lock_of_a_killed_real_holder_is_reclaimed_by_us(
    version: str, session: Path, installed: Callable[[str], Installed]
) -> None:
    with RealHolder(installed(version), session) as real:
        assert real.acquire() == {"held": True}
        real.process.kill()
        real.process.wait()
    assert lock_of(session).exists()
    with SessionLock(session, timeout=5):
        assert inspect_lock(session).ours
    assert not lock_of(session).exists()


@pytest.mark.parametrize("version", VERSIONS)
def test_lock_of_our_killed_holder_is_reclaimed_by_the_real_one(
    version: str, session: Path, installed: Callable[[str], Installed]
) -> None:
    with RealHolder(installed(version), session) as real:
        with our_holder(session) as ours:
            assert ours.stdout is not None
            assert ours.stdout.readline() == b"held\n"
            ours.kill()
            ours.wait()
        assert lock_of(session).exists()
        assert real.acquire(10_000) == {"held": True}
        assert inspect_lock(session).pid == real.process.pid


@pytest.mark.parametrize("version", VERSIONS)
def test_paused_holders_keep_their_locks(version: str, session: Path, installed: Callable[[str], Installed]) -> None:
    with RealHolder(installed(version), session) as real:
        assert real.acquire() == {"held": True}
        real.process.send_signal(signal.SIGSTOP)
        with pytest.raises(SessionLocked), SessionLock(session, timeout=0.5):
            pytest.fail("took the lock of a holder that is only paused")
        assert inspect_lock(session).pid == real.process.pid
        real.process.send_signal(signal.SIGCONT)
        assert real.release() == {"released": True}
        with our_holder(session) as ours:
            assert ours.stdout is not None
            assert ours.stdout.readline() == b"held\n"
            ours.send_signal(signal.SIGSTOP)
            assert "session file locked" in real.acquire(500)["error"]
            assert inspect_lock(session).pid == ours.pid
            ours.send_signal(signal.SIGCONT)
            ours.communicate(timeout=30)
            assert ours.returncode == 0
    assert not lock_of(session).exists()


@pytest.mark.parametrize("appears", ["as openclaw", "as itself"])
def test_a_live_owner_keeps_its_lock_from_2026_7_1_if_its_command_line_says_openclaw(
    appears: str, session: Path, installed: Callable[[str], Installed]
) -> None:
    with RealHolder(installed("2026.7.1"), session) as real, our_holder(session, appears) as ours:
        assert ours.stdout is not None
        assert ours.stdout.readline() == b"held\n"
        answer = real.acquire(500)
        if appears == "as openclaw":
            assert "session file locked" in answer["error"]
            assert inspect_lock(session).pid == ours.pid
        else:
            assert answer == {"held": True}  # its choice, and why our programs say so
        ours.communicate(timeout=30)


def our_holder(session: Path, appears: str = "as openclaw") -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", OURS_FOREVER, str(session), appears]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
