"""Two names of one transcript are one lock, and what is no name of a transcript is refused."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lockjaw.errors import LocalError
from lockjaw.locking import SessionLock, SessionLocked, identity, inspect_lock, paths, release_all_held
from lockjaw.locking.paths import LockPaths


@pytest.fixture
def transcript(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "real" / "a.jsonl"
    file.parent.mkdir()
    file.touch()
    yield file
    release_all_held()  # the planted hole's


NAMES = ["a link", "a link of a link", "a link in another folder", "a linked folder", "a relative name", "a detour"]


def name_of(kind: str, transcript: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = transcript.parent.parent
    match kind:
        case "a link":
            (transcript.parent / "b.jsonl").symlink_to("a.jsonl")
            return str(transcript.parent / "b.jsonl")
        case "a link of a link":
            (transcript.parent / "b.jsonl").symlink_to("a.jsonl")
            (transcript.parent / "c.jsonl").symlink_to("b.jsonl")
            return str(transcript.parent / "c.jsonl")
        case "a link in another folder":
            (folder / "b.jsonl").symlink_to(transcript)
            return str(folder / "b.jsonl")
        case "a linked folder":
            (folder / "also").symlink_to(transcript.parent)
            return str(folder / "also" / "a.jsonl")
        case "a relative name":
            monkeypatch.chdir(folder)
            return "real/a.jsonl"
        case _:
            return f"{transcript.parent}/../real/./a.jsonl"


@pytest.mark.parametrize("kind", NAMES)
def test_every_name_of_a_transcript_is_one_lock(transcript: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = name_of(kind, transcript, monkeypatch)
    with SessionLock(transcript):
        with pytest.raises(SessionLocked):
            SessionLock(name, timeout=0).acquire()
        assert inspect_lock(name).alive
    with SessionLock(name) as held:
        assert held.path == Path(f"{transcript}.lock")
        with pytest.raises(SessionLocked):
            SessionLock(transcript, timeout=0).acquire()


def test_two_names_never_write_at_once(transcript: Path) -> None:
    link = transcript.with_name("b.jsonl")
    link.symlink_to("a.jsonl")
    inside, overlaps, mutex = 0, 0, threading.Lock()

    def work(name: Path) -> None:
        nonlocal inside, overlaps
        for _ in range(100):
            with SessionLock(name, timeout=30.0) as held, held.section():
                with mutex:
                    inside += 1
                    overlaps += inside > 1
                time.sleep(0.0002)
                with mutex:
                    inside -= 1

    threads = [threading.Thread(target=work, args=(name,)) for name in (transcript, link)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert overlaps == 0


def test_name_that_became_a_link_is_resolved_anew(transcript: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = transcript.with_name("b.jsonl")
    other.touch()
    assert LockPaths.of(other).session == str(other)
    assert str(other) in paths._known
    other.unlink()
    other.symlink_to("a.jsonl")
    monkeypatch.setattr(paths, "CHECK_AGAIN_S", 0.0)
    assert LockPaths.of(other).session == str(transcript)


def test_folder_that_became_another_is_resolved_anew(transcript: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = transcript.parent
    assert LockPaths.of(transcript).session == str(transcript)
    folder.rename(folder.with_name("moved"))
    folder.symlink_to(folder.with_name("moved"))  # the same folder by its old name
    folder.with_name("other").mkdir()
    monkeypatch.setattr(paths, "CHECK_AGAIN_S", 0.0)
    folder.unlink()
    folder.symlink_to(folder.with_name("other"))
    assert LockPaths.of(transcript).session == str(folder.with_name("other") / "a.jsonl")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "names no file"), (".", "names no file"), ("..", "names no file"), ("/", "names no file"),
        ("a/", "names no file"), ("a/.", "names no file"), ("/tmp", "names no file"), (b"x", "str or a path of str"),
        ("a\0b", "no NUL"),
    ],
)  # fmt: skip
def test_what_names_no_transcript_is_refused(name: Any, says: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LocalError, match=says):
        SessionLock(name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("value", ["1", int, True, float("nan"), -1, -0.5, [1], 1 + 2j])
@pytest.mark.parametrize("argument", ["timeout", "max_hold_s"])
def test_what_is_no_duration_is_refused(value: Any, argument: str, tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="must be a number of nominal seconds, 0 or more, got"):
        SessionLock(tmp_path / "s.jsonl", **{argument: value})


def test_a_name_that_nobody_resolves_would_be_seen(transcript: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted hole: only the folder is resolved, as upstream does it."""

    def by_folder(session_file: Any) -> LockPaths:
        folder, name = os.path.split(os.path.abspath(session_file))
        return LockPaths.beside(os.path.join(os.path.realpath(folder), name))

    monkeypatch.setattr(LockPaths, "of", by_folder)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_every_name_of_a_transcript_is_one_lock(transcript, "a link", monkeypatch)


def test_threads_that_ask_first_at_once_are_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second object for this process was a lock that its owner never released: it took itself for a forked child."""
    both = threading.Barrier(2)

    def starttime() -> int:
        both.wait(timeout=10)
        return 7

    monkeypatch.setattr(identity, "own_starttime", starttime)
    monkeypatch.setattr(identity, "_me", {})
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: identity.this_process(), range(2))

    assert first is second
