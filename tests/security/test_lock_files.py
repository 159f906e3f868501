"""Another local user can neither stop a lock nor send somebody after an innocent process."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.folders import make_private_folder
from lockjaw.locking import LockStateError, SessionLock, SessionLocked, private, release_all_held
from lockjaw.locking.kernel import _resting

NOBODY = 65534
SHARED = struct.Struct("hhqqi4x").pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")


@pytest.fixture
def session_file() -> Iterator[Path]:
    """In a folder that every user can reach (pytest's own cannot be)."""
    with tempfile.TemporaryDirectory(prefix="lockjaw-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "s.jsonl"
        release_all_held()
        _resting.close_all()


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def files_of(session_file: Path) -> list[Path]:
    return [Path(f"{session_file}{suffix}") for suffix in (".lock", ".guard", ".body.guard")]


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0, 0o022, 0o077, 0o277])
def test_files_of_a_lock_are_their_users_alone_whatever_the_umask(session_file: Path, mask: int) -> None:
    with umask(mask), SessionLock(session_file):
        assert {path.name: oct(mode_of(path)) for path in files_of(session_file)} == {
            path.name: "0o600" for path in files_of(session_file)
        }


@pytest.mark.parametrize("algorithm", ["coarse", "coarse-60s", "soft", "flock"])
def test_nothing_of_the_other_locks_is_anybody_elses_with_umask_0(session_file: Path, algorithm: str) -> None:
    with umask(0), SessionLock(session_file.parent / "made" / "s.jsonl", algorithm=algorithm):
        made = [session_file.parent / "made", *(session_file.parent / "made").iterdir()]
        assert len(made) == 2
        assert [path for path in made if mode_of(path) & 0o077] == []


def test_folders_that_are_made_are_private_with_umask_0(tmp_path: Path) -> None:
    with umask(0):
        make_private_folder(str(tmp_path / "a" / "b" / "c"))
        make_private_folder(str(tmp_path / "a" / "b" / "c"))
        with SessionLock(tmp_path / "x" / "y" / "s.jsonl"):
            pass
    for path in ("a", "a/b", "a/b/c", "x", "x/y"):
        assert mode_of(tmp_path / path) == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_private_folder(str(tmp_path / "file"))


def test_guard_that_an_older_version_made_for_all_to_read_becomes_private(session_file: Path) -> None:
    with SessionLock(session_file) as held:
        generation = held.generation
    _resting.close_all()
    for path in files_of(session_file)[1:]:
        path.chmod(0o644)
    with SessionLock(session_file) as held:
        assert held.generation > generation
        assert [mode_of(path) for path in files_of(session_file)] == [0o600] * 3


@needs_root
def test_another_user_can_open_no_file_of_a_lock(session_file: Path) -> None:
    with SessionLock(session_file):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            codes = []
            for path in files_of(session_file):
                try:
                    os.open(path, os.O_RDONLY)
                    codes.append(0)
                except OSError as error:
                    codes.append(error.errno)
            os.write(writer, bytes(codes))
            os._exit(0)
        os.waitpid(pid, 0)
        assert os.read(reader, 9) == bytes([errno.EACCES] * 3)
        os.close(reader)
        os.close(writer)


@needs_root
def test_guard_of_another_user_is_refused(session_file: Path) -> None:
    """Laid there beforehand, for everybody to write to."""
    guard = files_of(session_file)[1]
    guard.touch()
    guard.chmod(0o666)
    assert "belongs to another user" in in_child_as(NOBODY, lambda: refusal(guard))
    os.chown(guard, NOBODY, NOBODY)
    assert in_child_as(NOBODY, lambda: refusal(guard)) == "none"
    assert mode_of(guard) == 0o600


def refusal(guard: Path) -> str:
    try:
        private.keep(str(guard), os.open(guard, os.O_RDWR))
    except LockStateError as error:
        return str(error)
    return "none"


def in_child_as(uid: int, what: Callable[[], str]) -> str:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setgid(uid)
        os.setuid(uid)
        try:
            said = what()
        except BaseException as error:
            said = repr(error)
        os.write(writer, said.encode())
        os._exit(0)
    os.waitpid(pid, 0)
    said = os.read(reader, 4096).decode()
    os.close(reader)
    os.close(writer)
    return said


@pytest.mark.parametrize(("mode", "refused"), [(0o777, True), (0o757, True), (0o1777, False), (0o775, False)])
def test_folder_in_which_everybody_may_replace_files_is_refused(session_file: Path, mode: int, refused: bool) -> None:
    session_file.parent.chmod(mode)
    if not refused:
        with SessionLock(session_file):
            return
    with pytest.raises(LockStateError, match=r"every local user may write to this folder.*chmod o-w"):
        SessionLock(session_file, timeout=0).acquire()


# --------------------------------------------------------------------------- what is said of an owner that is not seen


@contextmanager
def stranger(path: Path) -> Iterator[int]:
    """A process that has a shared lock on all bytes of a file, as one could before files were private."""
    code = "import fcntl, sys; file = open(sys.argv[1], 'rb'); fcntl.fcntl(file, 37, bytes.fromhex(sys.argv[2])); "
    process = subprocess.Popen(
        [sys.executable, "-c", code + "print('has it', flush=True); sys.stdin.read()", str(path), SHARED.hex()],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "has it\n"
    try:
        yield process.pid
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


@pytest.mark.parametrize("before", ["nobody", "a dead owner", "this process, which gave it back"])
def test_error_about_an_owner_that_cannot_be_seen_accuses_nobody(session_file: Path, before: str) -> None:
    clock = ScaledClock.start(0.1)
    files_of(session_file)[1].touch()
    innocent = os.getpid()
    if before == "a dead owner":
        pid = innocent = os.fork()
        if pid == 0:
            SessionLock(session_file, clock=clock).acquire()
            os._exit(0)
        os.waitpid(pid, 0)
    elif before != "nobody":
        with SessionLock(session_file, clock=clock):
            pass
    with stranger(files_of(session_file)[1]):
        with pytest.raises(SessionLocked) as caught:
            SessionLock(session_file, timeout=0.5, clock=clock).acquire()
        with pytest.raises(SessionLocked) as at_once:
            SessionLock(session_file, timeout=0.0, clock=clock).acquire()
    for error in (caught.value, at_once.value):
        assert "cannot be seen" in error.advice
        assert "fuser" in error.advice
        assert f"stop process {innocent}" not in error.advice
        assert f"Process {innocent} is alive" not in error.advice
        assert "Resume or stop it" not in error.advice
    with SessionLock(session_file, timeout=5.0, clock=clock) as held, held.section():
        pass


async def test_stranger_that_locks_every_owners_byte_is_overruled_by_a_fence(session_file: Path) -> None:
    clock = ScaledClock.start(0.1)
    with SessionLock(session_file, clock=clock):
        pass
    code = "import fcntl, struct, sys; file = open(sys.argv[1], 'rb'); "
    code += "fcntl.fcntl(file, 37, struct.pack('hhqqi4x', 0, 0, 1 << 32, 4096, 0)); print(flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(files_of(session_file)[1])], stdin=-1, stdout=-1, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    lock = SessionLock(session_file, clock=clock)
    with await lock.fence_async() as held, held.section():
        assert held.generation > 1
    process.communicate()


# --------------------------------------------------------------------------- planted holes


def test_files_for_all_to_read_would_be_seen(session_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "FILE_MODE", 0o644)
    with pytest.raises(AssertionError):
        test_files_of_a_lock_are_their_users_alone_whatever_the_umask(session_file, 0o022)


@needs_root
def test_files_that_others_can_open_would_be_seen(session_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "FILE_MODE", 0o644)
    with pytest.raises(AssertionError):
        test_another_user_can_open_no_file_of_a_lock(session_file)


def test_a_mode_that_is_left_to_the_umask_would_be_seen(session_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "keep", lambda path, descriptor: None)
    with pytest.raises(AssertionError):
        test_files_of_a_lock_are_their_users_alone_whatever_the_umask(session_file, 0o277)


def test_a_folder_that_nobody_looks_at_would_be_seen(session_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "refuse_open_folder", lambda path: None)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_folder_in_which_everybody_may_replace_files_is_refused(session_file, 0o777, True)
