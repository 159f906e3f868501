"""Full disks, failing devices, killed writers, torn tails."""

from __future__ import annotations

import errno
import json
import os
import pickle
import random
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockjaw.errors import LocalError
from lockjaw.sessions import DiskFull, SessionStore, Transcript, read_entries

OpenTranscript = Callable[..., Transcript]
CALLS = ("write", "fsync", "ftruncate", "replace", "unlink")
RECORDED = ["chain-2026.4.8", "abort-2026.5.7", "v1"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "s.jsonl"


def sound_lines(content: bytes) -> list[bytes]:
    """The lines of ``content`` that are whole JSON objects, a last one without newline included."""
    sound = []
    for line in content.split(b"\n"):
        try:
            if isinstance(json.loads(line), dict):
                sound.append(line)
        except ValueError:
            continue
    return sound


class Killed(BaseException):
    """The process is gone: nothing that it would still have done to the disk happens."""


class Faults:
    """Counts the calls that change the disk and makes the one with number ``at`` fail.

    ``kill``: it and every later one raise ``Killed``, and a write leaves half of its bytes.
    """

    def __init__(self, at: int, *, kill: bool) -> None:
        self.at, self.kill, self.count, self.fired = at, kill, 0, False
        self._stack = ExitStack()

    def __enter__(self) -> Faults:
        for name in CALLS:
            self._stack.enter_context(mock.patch.object(os, name, self._wrap(getattr(os, name))))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _wrap(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            number, self.count = self.count, self.count + 1
            if self.fired and self.kill:
                raise Killed
            if number != self.at:
                return original(*args)
            self.fired = True
            if not self.kill:
                raise OSError(errno.EIO, "injected")
            if original.__name__ == "write":
                original(args[0], bytes(args[1])[: len(args[1]) // 2])
            raise Killed

        return call


# ------------------------------------------------------------------ a full disk


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("durable", [True, False])
def test_a_refused_write_on_a_full_disk_loses_nothing_and_says_so(
    file: Path, open_transcript: OpenTranscript, say: Any, number: int, durable: bool
) -> None:
    transcript = open_transcript(file, durable=durable)
    transcript.append_message(say.assistant("first"))
    before, entries, leaf = file.read_bytes(), transcript.entries, transcript.leaf_id
    with mock.patch.object(os, "write", side_effect=OSError(number, "full")), pytest.raises(DiskFull) as full:
        transcript.append_message(say.user("second"))
    assert "the disk is full" in str(full.value)
    assert "nothing that was there is lost" in str(full.value)
    assert isinstance(full.value, OSError)
    assert isinstance(full.value, LocalError)
    assert full.value.errno == errno.ENOSPC
    assert full.value.written_bytes == 0
    copy = pickle.loads(pickle.dumps(full.value))
    assert (str(copy), copy.errno, copy.path) == (str(full.value), errno.ENOSPC, str(file))
    assert file.read_bytes() == before
    assert (transcript.entries, transcript.leaf_id) == (entries, leaf)
    transcript.append_message(say.user("second"))
    assert read_entries(file).problems == []
    assert open_transcript(file).entries == transcript.entries


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("fits", [0, 1, 50])
def test_a_short_write_is_taken_back(
    file: Path, open_transcript: OpenTranscript, say: Any, fits: int, durable: bool
) -> None:
    transcript = open_transcript(file, durable=durable)
    write = os.write
    with (
        mock.patch.object(os, "write", lambda fd, block: write(fd, block[:fits])),
        pytest.raises(DiskFull, match=f"{fits} of"),
    ):
        transcript.append_message(say.assistant("first"))
    assert file.read_bytes() == b""
    assert transcript.entries == ()
    transcript.append_message(say.assistant("first"))
    before = file.read_bytes()
    with mock.patch.object(os, "write", lambda fd, block: write(fd, block[:fits])), pytest.raises(DiskFull):
        transcript.append_message(say.assistant("second"))
    assert file.read_bytes() == before
    transcript.append_message(say.assistant("second"))
    assert read_entries(file).problems == []
    assert len(read_entries(file).entries) == 2


def test_a_short_write_that_cannot_be_taken_back_does_not_harm_the_next_line(
    file: Path, open_transcript: OpenTranscript, say: Any
) -> None:
    transcript = open_transcript(file)
    transcript.append_message(say.user("first"))
    before = file.read_bytes()
    write = os.write
    with (
        mock.patch.object(os, "write", lambda fd, block: write(fd, block[:20])),
        mock.patch.object(os, "ftruncate", side_effect=OSError(errno.EIO, "broken")),
        pytest.raises(DiskFull),
    ):
        transcript.append_message(say.user("second"))
    assert len(file.read_bytes()) == len(before) + 20
    transcript.append_message(say.user("third"))
    assert file.read_bytes().startswith(before)
    report = read_entries(file)
    assert [entry.id for entry in report.entries] == [entry.id for entry in transcript.entries]
    assert report.problems == ["line 3: not JSON"]


def test_a_short_write_behind_which_somebody_appended_takes_nothing_of_theirs(
    file: Path, open_transcript: OpenTranscript, say: Any
) -> None:
    transcript = open_transcript(file)
    transcript.append_message(say.user("first"))
    write = os.write
    theirs = b'\n{"type":"label","id":"theirs","parentId":null,"timestamp":"t"}\n'

    def short(fd: int, block: bytes) -> int:
        written = write(fd, block[:20])
        write(fd, theirs)
        return written

    with mock.patch.object(os, "write", short), pytest.raises(DiskFull):
        transcript.append_message(say.user("second"))
    assert file.read_bytes().endswith(theirs)
    transcript.append_message(say.user("third"))
    assert [entry.id for entry in read_entries(file).entries] == [entry.id for entry in transcript.entries]


def test_an_entry_that_could_not_be_flushed_is_taken_back(
    file: Path, open_transcript: OpenTranscript, say: Any
) -> None:
    transcript = open_transcript(file)
    transcript.append_message(say.user("first"))
    before = file.read_bytes()
    with (
        mock.patch.object(os, "fsync", side_effect=OSError(errno.EIO, "broken")),
        pytest.raises(OSError, match="broken"),
    ):
        transcript.append_message(say.user("second"))
    assert file.read_bytes() == before
    assert len(transcript.entries) == 1


def test_no_copy_no_repair(file: Path, open_transcript: OpenTranscript) -> None:
    open_transcript(file).append_custom("x", {})
    with file.open("ab") as stream:
        stream.write(b'{"torn')
    before = file.read_bytes()
    with mock.patch.object(os, "write", side_effect=OSError(errno.ENOSPC, "full")), pytest.raises(DiskFull):
        open_transcript(file)
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == ["s.jsonl"]


def test_copies_never_overwrite_each_other(file: Path, open_transcript: OpenTranscript) -> None:
    copies = []
    for n in range(3):
        open_transcript(file, ids=random.Random(n)).append_custom("x", {})
        with file.open("ab") as stream:
            stream.write(b'{"torn %d' % n)
        damaged = file.read_bytes()
        transcript = open_transcript(file)
        assert transcript.backup is not None
        copies.append((transcript.backup, damaged))
    assert copies[0][0].name == f"s.jsonl.bak-{os.getpid()}-1795364487099"
    assert len({copy for copy, _ in copies}) == 3
    for copy, damaged in copies:
        assert copy.read_bytes() == damaged


# ------------------------------------------------------------------ every step of every write


def _begin(file: Path, open_transcript: OpenTranscript, say: Any) -> Callable[[], object]:
    return lambda: open_transcript(file.with_name("new.jsonl")).append_message(say.user("hi"))


def _append(file: Path, open_transcript: OpenTranscript, say: Any) -> Callable[[], object]:
    transcript = open_transcript(file, ids=random.Random(8))
    return lambda: transcript.append_message(say.user("next"))


def _repair(file: Path, open_transcript: OpenTranscript, say: Any) -> Callable[[], object]:
    with file.open("ab") as stream:
        stream.write(b'{"torn')
    return lambda: open_transcript(file)


def _terminate(file: Path, open_transcript: OpenTranscript, say: Any) -> Callable[[], object]:
    os.truncate(file, file.stat().st_size - 1)
    return lambda: open_transcript(file)


def _behead(file: Path, open_transcript: OpenTranscript, say: Any) -> Callable[[], object]:
    file.write_bytes(file.read_bytes().split(b"\n", 1)[1])
    return lambda: open_transcript(file)


def _fork(file: Path, open_transcript: OpenTranscript, say: Any) -> Callable[[], object]:
    transcript = open_transcript(file)
    return lambda: transcript.fork(file.with_name("new.jsonl"), "new")


@pytest.mark.parametrize("kill", [False, True], ids=["fails", "killed"])
@pytest.mark.parametrize("prepare", [_begin, _append, _repair, _terminate, _behead, _fork])
def test_a_writer_that_dies_at_any_step_loses_no_entry(
    tmp_path: Path, open_transcript: OpenTranscript, say: Any, prepare: Callable[..., Callable[[], object]], kill: bool
) -> None:
    steps = 0
    while True:
        file = tmp_path / str(steps) / "s.jsonl"
        first = open_transcript(file)
        first.append_message(say.user("one"))
        first.append_message(say.assistant("two"))
        action = prepare(file, open_transcript, say)
        with Faults(steps, kill=kill) as faults:
            try:
                action()
            except (OSError, Killed):
                pass
        folder = os.listdir(file.parent)
        if not kill:
            assert not [name for name in folder if name.endswith(".tmp")]
        for name in ("s.jsonl", "new.jsonl"):
            path = file.with_name(name)
            again = open_transcript(path, ids=random.Random(9))
            if name == "s.jsonl":
                assert again.entries[:2] == first.entries
            again.append_message(say.user("after"))
            report = read_entries(path)
            assert report.problems == []
            assert report.header is not None
        if not faults.fired:
            break
        steps += 1
    assert steps >= 2


@pytest.mark.parametrize("kill", [False, True], ids=["fails", "killed"])
async def test_a_store_update_that_dies_at_any_step_leaves_the_old_or_the_new_store(
    tmp_path: Path, clock: Any, kill: bool
) -> None:
    def lock(_: Path) -> Any:
        return ExitStackAsync()

    store = SessionStore(tmp_path / "sessions.json", clock=clock, lock=lock, ids=random.Random(2))
    await store.update("k", lambda entry: entry.update(n=0))
    for step in range(20):
        before = store.read()["k"]["n"]
        with Faults(step, kill=kill) as faults:
            try:
                await store.update("k", lambda entry: entry.update(n=entry["n"] + 1))
            except (OSError, Killed):
                pass
        assert store.read()["k"]["n"] in (before, before + 1)
        assert kill or not list(tmp_path.glob("*.tmp"))
        if not faults.fired:
            assert store.read()["k"]["n"] == before + 1
            assert step >= 3
            return
    pytest.fail("an update never came through")


class ExitStackAsync:
    async def __aenter__(self) -> None: ...
    async def __aexit__(self, *_: object) -> None: ...


def test_an_entry_that_was_written_when_the_append_was_interrupted_is_taken_in(
    file: Path, open_transcript: OpenTranscript, say: Any
) -> None:
    transcript = open_transcript(file)
    transcript.append_message(say.user("one"))
    with mock.patch.object(os, "fsync", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        transcript.append_message(say.assistant("two"))
    transcript.append_message(say.user("three"))
    assert [message["role"] for message in transcript.context()] == ["user", "assistant", "user"]
    assert transcript.entries == open_transcript(file).entries


# ------------------------------------------------------------------ any truncation, any bytes


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(RECORDED), data_=st.data())
def test_a_transcript_cut_at_any_byte_keeps_every_complete_line(
    data: Path, tmp_path: Path, open_transcript: OpenTranscript, say: Any, name: str, data_: st.DataObject
) -> None:
    content = (data / f"{name}.jsonl").read_bytes()
    cut = content[: data_.draw(st.integers(0, len(content)), label="cut")]
    folder = tmp_path / "cut"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    file = folder / "s.jsonl"
    file.write_bytes(cut)
    transcript = open_transcript(file)
    kept = sound_lines(cut)
    assert file.read_bytes() == b"".join(line + b"\n" for line in kept)
    assert (transcript.backup is not None) == (len(sound_lines(cut)) < len([x for x in cut.split(b"\n") if x]))
    if transcript.backup is not None:
        assert transcript.backup.read_bytes() == cut
    assert len(transcript.entries) == len([line for line in kept if b'"type":"session"' not in line])
    transcript.append_message(say.user("after"))
    assert file.read_bytes().startswith(b"".join(line + b"\n" for line in kept))
    assert read_entries(file).problems == []
    again = open_transcript(file)
    assert again.backup is None
    assert again.entries == transcript.entries
    assert len(os.listdir(folder)) == 1 + (transcript.backup is not None)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.integers(0, 8).map(lambda n: ("line", n)),
            st.sampled_from(
                [b"\n", b"\0\0\0", b"\r\n", b"{}", b"[]", b"null", b"\xff\xfe", b'{"type":"session","id":""}']
            ),
        ),
        max_size=12,
    )
)
def test_whatever_a_file_holds_it_opens_and_can_be_continued(
    data: Path, tmp_path: Path, open_transcript: OpenTranscript, say: Any, pieces: list[Any]
) -> None:
    lines = (data / "chain-2026.4.8.jsonl").read_bytes().splitlines(keepends=True)
    content = b"".join(lines[piece[1]] if isinstance(piece, tuple) else piece for piece in pieces)
    folder = tmp_path / "any"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    file = folder / "s.jsonl"
    file.write_bytes(content)
    before = read_entries(file)
    transcript = open_transcript(file)
    assert transcript.entries == before.entries
    transcript.append_message(say.user("after"))
    after = read_entries(file)
    assert after.entries == transcript.entries
    assert after.header is not None
    assert not [problem for problem in after.problems if problem.startswith("torn")]
    whole = (transcript.backup or file).read_bytes()
    assert whole.startswith(content)
    again = open_transcript(file)
    assert again.backup is None
    assert again.context() == transcript.context()


@pytest.mark.parametrize("kill", [False, True], ids=["fails", "killed"])
def test_a_fork_that_dies_at_any_step_is_whole_or_not_there(
    tmp_path: Path, open_transcript: OpenTranscript, data: Path, kill: bool
) -> None:
    file = tmp_path / "s.jsonl"
    file.write_bytes((data / "chain-2026.4.8.jsonl").read_bytes())
    transcript = open_transcript(file)
    outcomes = []
    for step in range(40):
        target = tmp_path / f"fork-{step}.jsonl"
        with Faults(step, kill=kill) as faults:
            try:
                transcript.fork(target, "fork")
            except (OSError, Killed):
                pass
        assert not target.exists() or read_entries(target).entries == transcript.entries
        outcomes.append(target.exists())
        if not faults.fired:
            break
    assert outcomes[0] is False
    assert outcomes[-1] is True
    assert len(outcomes) > 10  # a write for each line, then flush and rename
