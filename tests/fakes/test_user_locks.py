"""A contender holds the lock that a user's own program takes, and excludes that program from it."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock
import portalocker
import pytest

from lockjaw.clock import ScaledClock
from lockjaw.errors import LocalError
from lockjaw.fakes.contenders import user_locks
from lockjaw.fakes.contenders.contender import Contender
from lockjaw.fakes.contenders.service import ContenderPlan, Moment
from lockjaw.fakes.contenders.user_locks import USER_LOCKS
from lockjaw.locking import LOCK_ALGORITHMS, SessionLocked

pytestmark = pytest.mark.real


@pytest.fixture
def contender() -> Iterator[Contender]:
    with Contender(clock=ScaledClock.start()) as one:
        yield one


def by_descriptor(lock: Callable[[int, int], object]) -> Callable[[Path], bool]:
    def free(path: Path) -> bool:
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            lock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
        return True

    return free


def by_exclusive_file(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    path.unlink()
    return True


def by_filelock(path: Path) -> bool:
    try:
        with filelock.FileLock(path, timeout=0):
            return True
    except filelock.Timeout:
        return False


def by_portalocker(path: Path) -> bool:
    try:
        with portalocker.Lock(path, mode="a", timeout=0, fail_when_locked=True):
            return True
    except portalocker.LockException:
        return False


def locked_out(connection: sqlite3.Connection, *statements: str) -> bool:
    try:
        for statement in statements:
            connection.execute(statement).fetchall()
    except sqlite3.OperationalError as error:
        return error.sqlite_errorcode == sqlite3.SQLITE_BUSY
    finally:
        connection.close()
    return False


def database(path: Path, mode: str = "WAL") -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    if not path.stat().st_size:
        connection.execute(f"PRAGMA journal_mode={mode}")
        connection.execute("CREATE TABLE notes (text)")
    return connection


def by_writer(path: Path) -> bool:
    return not locked_out(database(path), "INSERT INTO notes VALUES ('x')")


def by_reader(path: Path) -> bool:
    return not locked_out(database(path, "DELETE"), "SELECT * FROM notes")


def by_checkpoint(path: Path) -> bool:
    connection = database(path)
    connection.execute("INSERT INTO notes VALUES ('x')")  # a reader is in no writer's way
    busy: int = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    connection.close()
    return not busy


#: What a program of a user's does: can it have the lock now?
PROGRAMS: dict[str, Callable[[Path], bool]] = {
    "flock": by_descriptor(fcntl.flock),
    "posix-range": by_descriptor(fcntl.lockf),
    "o-excl": by_exclusive_file,
    "filelock": by_filelock,
    "portalocker": by_portalocker,
    "sqlite": by_writer,
    "sqlite-exclusive": by_reader,
    "sqlite-read": by_checkpoint,
    "sqlite-wal": by_writer,
}


def test_every_lock_has_a_program_that_tries_it() -> None:
    assert set(PROGRAMS) == set(USER_LOCKS)


@pytest.mark.parametrize("kind", PROGRAMS)
def test_program_is_excluded_until_the_contender_gives_the_lock_back(
    contender: Contender, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "its.lock"
    assert PROGRAMS[kind](file)
    with contender.hold(file, algorithm=kind) as generation:
        assert generation == 0
        assert not PROGRAMS[kind](file)
    assert PROGRAMS[kind](file)


@pytest.mark.parametrize("kind", PROGRAMS)
def test_lock_of_a_contender_that_is_killed_is_free_unless_the_file_is_the_lock(
    contender: Contender, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "its.lock"
    assert PROGRAMS[kind](file)
    contender.acquire(file, algorithm=kind)
    contender.leak()
    assert not PROGRAMS[kind](file)
    contender.die()
    assert PROGRAMS[kind](file) == (kind != "o-excl")


@pytest.mark.parametrize("kind", [kind for kind in PROGRAMS if kind != "sqlite-read"])  # readers share
def test_contender_waits_for_a_program_as_long_as_it_is_told_to(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "its.lock"
    assert PROGRAMS[kind](file)
    with Contender(clock=ScaledClock.start()) as holder, Contender(clock=ScaledClock.start()) as waiter:
        holder.acquire(file, algorithm=kind)
        with pytest.raises(SessionLocked) as caught:
            waiter.acquire(file, timeout=0.2, algorithm=kind)
        assert (caught.value.timeout_s, caught.value.owner) == (0.2, "unknown")
        assert 0.2 <= caught.value.waited_s < 20  # lower: it waited; upper: what a busy machine adds
        waiter.begin_acquire(file, timeout=30.0, algorithm=kind)
        holder.release()
        assert waiter.wait_acquired() == 0
        assert not PROGRAMS[kind](file)


@pytest.mark.skipif(sys.platform != "linux", reason="the program flock of util-linux")
def test_flock_of_the_shell_is_excluded(contender: Contender, tmp_path: Path) -> None:
    contender.acquire(tmp_path / "its.lock", algorithm="flock")
    told = subprocess.run(["flock", "--nonblock", str(tmp_path / "its.lock"), "true"], check=False)
    assert told.returncode == 1


def test_order_that_needs_a_section_is_refused(contender: Contender, tmp_path: Path) -> None:
    contender.acquire(tmp_path / "its.lock", algorithm="flock")
    with pytest.raises(LocalError, match="only a session lock has a section"):
        contender.append("x")
    with pytest.raises(LocalError, match="only a session lock has a section"):
        contender.enter_section()
    contender.release()


def test_plan_names_the_locks_and_the_one_step() -> None:
    with pytest.raises(LocalError, match=r"unknown lock algorithm 'hope'; known: guarded, .*flock, posix-range"):
        ContenderPlan(algorithm="hope")
    for kind in USER_LOCKS:
        assert ContenderPlan(algorithm=kind, kill_at=Moment("held")).algorithm == kind
        with pytest.raises(LocalError, match="has no steps to die or stand still at but `held`, got LinkFile:1"):
            ContenderPlan(algorithm=kind, pause_at=Moment("LinkFile"))
    assert set(LOCK_ALGORITHMS) & set(USER_LOCKS) == {"flock"}  # the one name that means the user's


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(user_locks.importlib, "import_module", missing)
    with pytest.raises(LocalError, match=r"needs the package filelock: pip install 'lockjaw\[bench\]'"):
        user_locks.UserLock(str(tmp_path / "x"), "filelock", timeout_s=0.0, clock=ScaledClock.start())


@pytest.mark.parametrize(
    ("kind", "named"),
    [("flock", ["--flock"]), ("sqlite", ["--sqlite"]), ("sqlite-read", ["--algorithm", "sqlite-read", "--sqlite"])],
)
def test_command_serves_such_a_lock(tmp_path: Path, kind: str, named: list[str]) -> None:
    file, ready = tmp_path / "its.lock", os.pipe()
    assert PROGRAMS[kind](file)
    command = [sys.executable, "-m", "lockjaw", "serve", "contender", *named, str(file)]
    process = subprocess.Popen(
        [*command, "--ready-fd", str(ready[1])],
        pass_fds=[ready[1]],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    os.close(ready[1])
    try:
        assert os.read(ready[0], 1)
        assert not PROGRAMS[kind](file)
    finally:
        os.close(ready[0])
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert PROGRAMS[kind](file)
