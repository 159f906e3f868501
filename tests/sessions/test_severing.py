"""A new owner gets a file of its own where the old one was overruled in mid-append."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lockjaw.errors import Fenced
from lockjaw.files import LOCAL_FILES, LocalFiles
from lockjaw.history import MemoryRecorder
from lockjaw.sessions import Transcript, read_entries

OpenTranscript = Callable[..., Transcript]


class Lock:
    """The lock of one owner, which can be overruled inside its section."""

    def __init__(self, path: Path) -> None:
        self.path, self.overruled = path, False

    @contextmanager
    def section(self) -> Iterator[Callable[[], None]]:
        self.check()
        yield self.check

    def check(self) -> None:
        if self.overruled:
            raise Fenced(str(self.path), 1, 2)

    def overrule(self) -> None:
        self.overruled = True
        Path(f"{self.path}.overruled").touch()


class FrozenAt(LocalFiles):
    """Stands still before one operation until ``meanwhile`` has happened, or is killed there."""

    def __init__(self, operation: str, meanwhile: Callable[[], None], nth: int = 1) -> None:
        self._operation, self._meanwhile, self._left = operation, meanwhile, nth

    def _meet(self, operation: str) -> None:
        if operation == self._operation:
            self._left -= 1
            if self._left == 0:
                self._meanwhile()

    def open(self, path: Any, flags: int) -> int:
        self._meet("open to append" if flags & os.O_APPEND else "open")
        return super().open(path, flags)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self._meet("write")
        return super().write(fd, data)

    def flush(self, fd: int) -> None:
        self._meet("flush")
        super().flush(fd)

    def replace(self, source: Any, target: Any) -> None:
        self._meet("replace")
        super().replace(source, target)

    def remove(self, path: Any) -> None:
        self._meet("remove")
        super().remove(path)


def texts(path: Path) -> list[str]:
    return [
        part["text"] for line in path.read_text().splitlines() if (entry := json.loads(line))["type"] == "message"
        for part in entry["message"]["content"]
    ]  # fmt: skip


@pytest.fixture
def begun(tmp_path: Path, open_transcript: OpenTranscript, say: Any) -> Path:
    path = tmp_path / "s.jsonl"
    open_transcript(path).append_message(say.user("asked"))
    return path


@pytest.mark.parametrize(
    ("at", "kept"),
    [("open to append", False), ("write", False), ("flush", True)],
    ids=["before it opens the file", "before it writes", "behind its write"],
)
def test_what_an_overruled_owner_writes_late_is_refused_and_lands_nowhere(
    begun: Path, open_transcript: OpenTranscript, say: Any, recorder: MemoryRecorder, at: str, kept: bool
) -> None:
    lock, successor = Lock(begun), Lock(begun)

    def taken_over() -> None:
        lock.overrule()
        open_transcript(begun, section=successor.section).append_message(say.user("go on"))

    files = FrozenAt(at, taken_over)
    old = open_transcript(begun, section=lock.section, recorder=recorder, files=files, generation=1)

    with pytest.raises(Fenced):
        old.append_message(say.assistant("late"))

    # What was whole when the successor came is kept, and nothing that came later.
    assert texts(begun) == ["asked", *(["late"] if kept else []), "go on"]
    assert [r.op for r in recorder.records] == ["append.refused"]
    assert not Path(f"{begun}.overruled").exists()
    assert read_entries(begun).problems == []
    with pytest.raises(Fenced):
        old.append_message(say.assistant("later still"))


def test_an_overruled_owner_that_creates_its_transcript_late_writes_nothing_into_it(
    tmp_path: Path, open_transcript: OpenTranscript, say: Any
) -> None:
    path = tmp_path / "s.jsonl"
    lock, successor = Lock(path), Lock(path)

    def taken_over() -> None:
        lock.overrule()
        open_transcript(path, section=successor.section).append_message(say.user("go on"))

    old = open_transcript(path, section=lock.section, files=FrozenAt("open to append", taken_over))
    with pytest.raises(Fenced):
        old.append_message(say.user("late"))
    assert texts(path) == ["go on"]


def test_an_overruled_owner_that_mends_its_transcript_late_cuts_nothing_off(
    begun: Path, open_transcript: OpenTranscript, say: Any
) -> None:
    with begun.open("a") as stream:
        stream.write('{"type": "mess')
    lock, successor = Lock(begun), Lock(begun)

    def taken_over() -> None:
        lock.overrule()
        open_transcript(begun, section=successor.section).append_message(say.user("go on"))

    with pytest.raises(Fenced):
        open_transcript(begun, section=lock.section, files=FrozenAt("open to append", taken_over))
    assert texts(begun) == ["asked", "go on"]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("at", ["open", "write", "flush", "replace", "remove"])
def test_a_successor_that_dies_over_it_leaves_it_to_the_next_one(
    begun: Path, open_transcript: OpenTranscript, say: Any, at: str
) -> None:
    Lock(begun).overrule()
    before, inode = begun.read_bytes(), begun.stat().st_ino

    def dies() -> None:
        raise Killed

    files = FrozenAt(at, dies)
    files.remove = LOCAL_FILES.remove if at != "remove" else files.remove  # type: ignore[method-assign]
    with pytest.raises(Killed):
        open_transcript(begun, section=Lock(begun).section, files=files)
    assert begun.read_bytes() == before

    transcript = open_transcript(begun, section=Lock(begun).section)

    assert begun.read_bytes() == before
    assert at == "remove" or begun.stat().st_ino != inode  # made anew twice, it may have got the first inode again
    assert sorted(os.listdir(begun.parent)) == ["s.jsonl"]
    transcript.append_message(say.assistant("done"))
    assert texts(begun) == ["asked", "done"]


def test_a_reader_makes_nothing_anew(begun: Path, open_transcript: OpenTranscript) -> None:
    Lock(begun).overrule()
    inode = begun.stat().st_ino
    open_transcript(begun, read_only=True)
    assert begun.stat().st_ino == inode
    assert Path(f"{begun}.overruled").exists()
