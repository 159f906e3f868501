"""What a transcript puts on the disk, when, and under whose guard."""

from __future__ import annotations

import json
import os
import pickle
import random
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from lockjaw.errors import Fenced, LocalError
from lockjaw.history import MemoryRecorder
from lockjaw.sessions import ReadOnlyTranscript, Transcript, TranscriptReplaced, read_entries
from lockjaw.sessions.entries import encode

OpenTranscript = Callable[..., Transcript]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sessions" / "s.jsonl"


def stored(file: Path) -> list[bytes]:
    """The lines of a file, or the rows of a database."""
    if file.suffix == ".jsonl":
        return file.read_bytes().splitlines()
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("SELECT event_json FROM transcript_events ORDER BY seq")
        return [text.encode() for (text,) in rows]


def inject(file: Path, *lines: bytes) -> None:
    """Append as a program does that takes no lock and claims nothing."""
    if file.suffix == ".jsonl":
        with file.open("ab") as stream:
            stream.write(b"".join(lines))
        return
    with closing(sqlite3.connect(file)) as connection, connection:
        for line in lines:
            connection.execute(
                "INSERT INTO transcript_events SELECT 's', max(seq) + 1, ?, 0 FROM transcript_events",
                [line.decode().strip()],
            )


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stored(file)]


class Section:
    """A write section that knows whether it is open, and refuses when told to."""

    def __init__(self) -> None:
        self.open = False
        self.entered = 0
        self.current: int | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        if self.current is not None:
            raise Fenced("s.jsonl", 1, self.current)
        self.open = True
        self.entered += 1
        try:
            yield
        finally:
            self.open = False


# ------------------------------------------------------------------ shapes


def test_our_lines_have_the_keys_of_the_recorded_ones_in_their_order(
    data: Path, file: Path, open_transcript: OpenTranscript, clock: Any
) -> None:
    """Writing the recorded session again gives the recorded bytes, apart from the ids that are drawn."""
    recorded = lines_of(data / "chain-2026.4.8.jsonl")
    transcript = open_transcript(file, session_id=recorded[0]["id"], cwd=Path("<work>/ws"), clock=clock)
    for line in recorded[1:]:
        match line["type"]:
            case "model_change":
                transcript.append_model_change(line["provider"], line["modelId"])
            case "thinking_level_change":
                transcript.append_thinking_level(line["thinkingLevel"])
            case "custom":
                transcript.append_custom(line["customType"], line["data"])
            case "message":
                transcript.append_message(line["message"])
    drawn: dict[str | None, str | None] = {None: None}
    for line, entry in zip(recorded[1:], transcript.entries, strict=True):
        drawn[line["id"]] = entry.id
        line["id"], line["parentId"], line["timestamp"] = entry.id, drawn[line["parentId"]], entry.timestamp
    assert file.read_bytes() == b"".join(encode(line) for line in recorded)


def test_ids_are_eight_hex_digits_from_the_stream_and_unique(either: Path, open_transcript: OpenTranscript) -> None:
    class Stuttering(random.Random):
        draws: int = 0

        def getrandbits(self, bits: int, /) -> int:
            self.draws += 1
            return self.draws // 3 if bits == 32 else super().getrandbits(bits)

    transcript = open_transcript(either, ids=Stuttering())
    ids = [transcript.append_custom("x", {}) for _ in range(4)]
    assert ids == ["00000000", "00000001", "00000002", "00000003"]
    again = open_transcript(either, ids=Stuttering())
    assert again.append_custom("x", {}) == "00000004"
    same = [
        open_transcript(either.with_name(f"{n}{either.suffix}"), ids=random.Random(5)).append_custom("x", {})
        for n in "ab"
    ]
    assert same[0] == same[1]


def test_timestamps_come_from_the_clock(either: Path, open_transcript: OpenTranscript, clock: Any) -> None:
    transcript = open_transcript(either, clock=clock)
    clock.now_s = 1.5
    transcript.append_message({"role": "user", "content": "hi"})
    header, entry = lines_of(either)
    assert header["timestamp"] == "2026-11-22T16:21:27.099Z"
    assert entry["timestamp"] == "2026-11-22T16:21:28.599Z"
    assert entry["message"]["timestamp"] == clock.wall_ms()


def test_entries_cannot_be_changed_through_the_callers_objects(
    either: Path, open_transcript: OpenTranscript, say: Any
) -> None:
    transcript = open_transcript(either)
    message = say.user("hi")
    transcript.append_message(message, idempotencyKey="run")
    message["content"][0]["text"] = "changed"
    assert transcript.context() == [say.user("hi", idempotencyKey="run")]
    assert transcript.context() == open_transcript(either).context()


# ------------------------------------------------------------------ when it is on disk


def test_each_entry_is_on_disk_and_flushed_when_append_returns(
    file: Path, open_transcript: OpenTranscript, say: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[tuple[int, int]] = []
    fsync = os.fsync

    def spy(fd: int) -> None:
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode):
            flushed.append((status.st_ino, status.st_size))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", spy)
    transcript = open_transcript(file)
    assert not file.exists()
    for n in range(3):
        entry_id = transcript.append_message(say.user(str(n)))
        assert lines_of(file)[0]["type"] == "session"
        assert lines_of(file)[-1]["id"] == entry_id == transcript.leaf_id
        assert flushed[-1] == (file.stat().st_ino, file.stat().st_size)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert open_transcript(file).entries == transcript.entries


def test_each_append_is_one_write_of_whole_lines(
    file: Path, open_transcript: OpenTranscript, say: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, block: (written.append(bytes(block)), write(fd, block))[1])
    transcript = open_transcript(file)
    for n in range(3):
        transcript.append_message(say.user(str(n)))
    assert [block.count(b"\n") for block in written] == [2, 1, 1]  # the header goes with the first entry
    assert all(block.endswith(b"\n") for block in written)


def test_a_fresh_name_is_flushed_with_its_folder(
    file: Path, open_transcript: OpenTranscript, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (folders.append(os.fstat(fd).st_ino), fsync(fd))[1])
    transcript = open_transcript(file)
    transcript.append_custom("x", {})
    assert file.parent.stat().st_ino in folders
    folders.clear()
    transcript.append_custom("x", {})
    assert folders == [file.stat().st_ino]


# ------------------------------------------------------------------ the real program's flush rule


def test_without_durability_nothing_is_on_disk_before_the_first_assistant_message(
    file: Path, open_transcript: OpenTranscript, say: Any, recorder: MemoryRecorder
) -> None:
    transcript = open_transcript(file, durable=False, recorder=recorder)
    transcript.append_model_change("p", "m")
    transcript.append_message(say.user("hi"))
    transcript.append_custom("openclaw:prompt-error", {})
    assert not file.exists()
    assert recorder.records == []
    assert len(transcript.entries) == 3
    transcript.append_message(say.assistant("..", stop="aborted"))
    assert [line["type"] for line in lines_of(file)] == ["session", "model_change", "message", "custom", "message"]
    assert [record.data["entry_id"] for record in recorder.records] == [entry.id for entry in transcript.entries]
    transcript.append_message(say.user("more"))
    assert len(lines_of(file)) == 6
    assert read_entries(file).problems == []


def test_without_durability_a_file_with_an_assistant_message_is_continued_line_by_line(
    data: Path, file: Path, open_transcript: OpenTranscript, say: Any
) -> None:
    content = (data / "chain-2026.4.8.jsonl").read_bytes()
    file.parent.mkdir()
    file.write_bytes(content)
    transcript = open_transcript(file, durable=False)
    transcript.append_message(say.user("next"))
    assert file.read_bytes().startswith(content)
    assert len(file.read_bytes().splitlines()) == 10


def test_without_durability_a_file_without_assistant_message_is_emptied_and_rewritten(
    file: Path, open_transcript: OpenTranscript, say: Any
) -> None:
    ours = open_transcript(file, session_id="first")
    ours.append_message(say.user("asked before"))
    before = file.read_bytes()
    header = lines_of(file)[0]
    section = Section()
    transcript = open_transcript(file, session_id="second", durable=False, section=section)
    assert file.read_bytes() == b""
    assert section.entered == 1
    assert transcript.entries == ()
    assert transcript.leaf_id is None
    assert transcript.backup is not None
    assert transcript.backup.read_bytes() == before
    transcript.append_message(say.user("hi"))
    assert file.read_bytes() == b""
    transcript.append_message(say.assistant("yes"))
    assert lines_of(file)[0] == header
    assert [line["message"]["content"][0]["text"] for line in lines_of(file)[1:]] == ["hi", "yes"]


def test_without_durability_a_bare_header_is_emptied_without_a_copy(
    file: Path, open_transcript: OpenTranscript
) -> None:
    file.parent.mkdir()
    file.write_bytes(encode({"type": "session", "version": 3, "id": "s"}))
    transcript = open_transcript(file, durable=False)
    assert file.read_bytes() == b""
    assert transcript.backup is None
    assert os.listdir(file.parent) == ["s.jsonl"]


def test_without_durability_a_flush_onto_somebody_elses_header_makes_two_headers(
    data: Path, file: Path, open_transcript: OpenTranscript, say: Any
) -> None:
    """As in the recorded abort: the injected answer's writer made the file before the run's first flush."""
    transcript = open_transcript(file, durable=False)
    transcript.append_message(say.user("hi"))
    file.parent.mkdir()
    file.write_bytes((data / "abort-2026.5.7.jsonl").read_bytes().splitlines(keepends=True)[0])
    transcript.append_message(say.assistant("..", stop="aborted"))
    assert [line["type"] for line in lines_of(file)] == ["session", "session", "message", "message"]
    assert read_entries(file).problems == []


# ------------------------------------------------------------------ the section and the fence


def test_every_write_happens_inside_the_section(
    file: Path, open_transcript: OpenTranscript, say: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = Section()
    for name in ("write", "ftruncate", "truncate", "replace", "fsync"):
        original = getattr(os, name)

        def guarded(*args: Any, original: Any = original) -> Any:
            assert section.open
            return original(*args)

        monkeypatch.setattr(os, name, guarded)
    transcript = open_transcript(file, section=section)
    transcript.append_model_change("p", "m")
    transcript.append_message(say.user("hi"))
    transcript.append_message(say.assistant("yes"))
    assert section.entered == 3
    with file.open("ab") as stream:
        stream.write(b'{"torn')
    open_transcript(file, section=section)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[1:]))
    open_transcript(file, section=section)
    file.write_bytes(b"".join(lines[:2]))
    open_transcript(file, section=section, durable=False)
    late = open_transcript(file, section=section, durable=False)
    late.append_message(say.assistant("yes"))
    assert section.entered == 7


def test_a_sound_file_is_opened_without_entering_the_section(either: Path, open_transcript: OpenTranscript) -> None:
    open_transcript(either).append_custom("x", {})
    section = Section()
    open_transcript(either, section=section)
    assert section.entered == 0


@pytest.mark.parametrize("durable", [True, False])
def test_a_superseded_run_writes_nothing_and_the_refusal_is_recorded(
    either: Path, open_transcript: OpenTranscript, say: Any, recorder: MemoryRecorder, durable: bool
) -> None:
    section = Section()
    transcript = open_transcript(
        either, section=section, recorder=recorder, generation=1, run_id="run", durable=durable
    )
    transcript.append_message(say.assistant("first"))
    before, leaf = stored(either), transcript.leaf_id
    section.current = 2
    with pytest.raises(Fenced):
        transcript.append_message(say.user("late"))
    assert stored(either) == before
    assert transcript.leaf_id == leaf
    assert len(transcript.entries) == 1
    appended, refused = (record for record in recorder.records if record.op != "claim")
    assert (appended.op, appended.phase) == ("append", "ok")
    assert appended.data == {
        "path": str(either), "entry_id": leaf, "type": "message", "role": "assistant", "generation": 1, "run_id": "run",
    }  # fmt: skip
    assert (refused.op, refused.phase) == ("append.refused", "fail")
    assert refused.data == {"path": str(either), "generation": 1, "current": 2}


def test_a_superseded_run_repairs_nothing(
    file: Path, open_transcript: OpenTranscript, recorder: MemoryRecorder
) -> None:
    open_transcript(file).append_custom("x", {})
    with file.open("ab") as stream:
        stream.write(b'{"torn')
    before = file.read_bytes()
    section = Section()
    section.current = 2
    with pytest.raises(Fenced):
        open_transcript(file, section=section, recorder=recorder, generation=1)
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == ["s.jsonl"]
    assert [record.op for record in recorder.records] == ["append.refused"]


def test_an_append_is_recorded_before_the_section_ends(
    either: Path, open_transcript: OpenTranscript, clock: Any
) -> None:
    section = Section()

    class Watching(MemoryRecorder):
        def record(self, op: str, phase: Any = "info", /, **data: Any) -> None:
            assert section.open
            super().record(op, phase, **data)

    recorder = Watching(clock, "test")
    open_transcript(either, section=section, recorder=recorder).append_custom("x", {})
    assert [record.op for record in recorder.records] == ["append"]


def test_a_transcript_opened_for_reading_touches_nothing(file: Path, open_transcript: OpenTranscript) -> None:
    open_transcript(file).append_custom("x", {})
    with file.open("ab") as stream:
        stream.write(b'{"torn')
    before = file.read_bytes()
    transcript = open_transcript(file, read_only=True)
    assert len(transcript.entries) == 1
    with pytest.raises(ReadOnlyTranscript) as refused:
        transcript.append_custom("x", {})
    assert pickle.loads(pickle.dumps(refused.value)).path == str(file)
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == ["s.jsonl"]


# ------------------------------------------------------------------ others write too


def foreign(entry_id: str, parent: str | None, text: str) -> bytes:
    message = {"role": "assistant", "content": [{"type": "text", "text": text}], "provider": "openclaw"}
    return encode({"type": "message", "id": entry_id, "parentId": parent, "timestamp": "t", "message": message})


def test_an_entry_that_continues_our_leaf_becomes_our_leaf(
    either: Path, open_transcript: OpenTranscript, say: Any
) -> None:
    transcript = open_transcript(either)
    leaf = transcript.append_message(say.user("hi"))
    inject(either, foreign("injected-1", leaf, "part"), foreign("injected-2", "injected-1", "more"))
    transcript.append_message(say.user("next"))
    assert transcript.entries[-1].parent_id == "injected-2"
    assert len(transcript.context()) == 4
    assert transcript.entries == open_transcript(either).entries
    assert read_entries(either).problems == []


def test_an_entry_beside_our_leaf_stays_beside(either: Path, open_transcript: OpenTranscript, say: Any) -> None:
    transcript = open_transcript(either)
    root = transcript.append_message(say.user("hi"))
    leaf = transcript.append_message(say.assistant("yes"))
    inject(either, foreign("injected", root, "elsewhere"))
    transcript.append_message(say.user("next"))
    assert transcript.entries[-1].parent_id == leaf
    assert len(transcript.entries) == 4


def test_nothing_comes_between_a_tool_call_and_its_result(
    either: Path, open_transcript: OpenTranscript, say: Any
) -> None:
    transcript = open_transcript(either)
    call = transcript.append_message(say.assistant(calls=("c1", "c2")))
    inject(either, foreign("injected-1", call, "part"))
    transcript.append_custom("x", {})
    assert transcript.entries[-1].parent_id == call
    first = transcript.append_message(say.result("c1"))
    inject(either, foreign("injected-2", first, "part"))
    transcript.append_message(say.result("c2"))
    assert transcript.entries[-1].parent_id == first
    assert [message["role"] for message in transcript.context()] == ["assistant", "toolResult", "toolResult"]


def test_a_drawn_id_that_somebody_used_meanwhile_is_drawn_again(either: Path, open_transcript: OpenTranscript) -> None:
    ids = random.Random(3)
    peek = random.Random(3)
    transcript = open_transcript(either, ids=ids)
    first, second = f"{peek.getrandbits(32):08x}", f"{peek.getrandbits(32):08x}"
    assert transcript.append_custom("x", {}) == first
    inject(either, foreign(second, first, "theirs"))
    assert transcript.append_custom("x", {}) not in (first, second)
    assert read_entries(either).problems == []


@pytest.mark.parametrize("left", [b'{"half a line', foreign("whole", None, "no newline").rstrip()])
def test_a_line_that_somebody_left_unfinished_does_not_swallow_ours(
    file: Path, open_transcript: OpenTranscript, left: bytes
) -> None:
    transcript = open_transcript(file)
    transcript.append_custom("x", {})
    with file.open("ab") as stream:
        stream.write(left)
    mine = transcript.append_custom("x", {})
    assert file.read_bytes().splitlines()[2] == left
    assert read_entries(file).entries[-1].id == mine
    more = transcript.append_custom("x", {})
    assert [entry.id for entry in read_entries(file).entries][-2:] == [mine, more]


def test_a_header_that_somebody_wrote_first_is_not_repeated(
    data: Path, file: Path, open_transcript: OpenTranscript
) -> None:
    transcript = open_transcript(file)
    file.parent.mkdir()
    file.write_bytes((data / "abort-2026.5.7.jsonl").read_bytes().splitlines(keepends=True)[0])
    transcript.append_custom("x", {})
    assert [line["type"] for line in lines_of(file)] == ["session", "custom"]


def test_an_append_that_comes_between_our_look_and_our_write_is_found_at_the_next_look(
    file: Path, open_transcript: OpenTranscript, monkeypatch: pytest.MonkeyPatch
) -> None:
    transcript = open_transcript(file)
    first = transcript.append_custom("x", {})
    write = os.write

    def overtaken(fd: int, block: bytes) -> int:
        write(fd, foreign("theirs", first, "just before"))
        return write(fd, block)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", overtaken)
        second = transcript.append_custom("x", {})
    third = transcript.append_custom("x", {})
    assert [entry.id for entry in read_entries(file).entries] == [first, "theirs", second, third]
    assert {entry.id for entry in transcript.entries} == {first, "theirs", second, third}
    assert transcript.entries[-1].parent_id == second
    assert len([entry for entry in transcript.entries if entry.id == second]) == 1


@pytest.mark.parametrize("how", ["renamed", "removed", "cut"])
def test_a_file_that_is_another_one_now_is_refused(file: Path, open_transcript: OpenTranscript, how: str) -> None:
    transcript = open_transcript(file)
    for _ in range(3):
        transcript.append_custom("x", {})
    content = file.read_bytes()
    match how:
        case "renamed":
            file.rename(file.with_name("s.jsonl.reset.2026"))
            file.write_bytes(content + b"\n")
        case "removed":
            file.rename(file.with_name("s.jsonl.deleted.2026"))
        case "cut":
            os.truncate(file, 10)
    before = file.read_bytes() if file.exists() else b""
    with pytest.raises(TranscriptReplaced) as refused:
        transcript.append_custom("x", {})
    assert isinstance(refused.value, LocalError)
    assert pickle.loads(pickle.dumps(refused.value)).path == str(file)
    assert file.read_bytes() == before
    assert len(transcript.entries) == 3


@pytest.mark.parametrize("number", ["lower", "higher"])
def test_another_file_of_the_same_name_is_refused_whatever_its_number(
    file: Path, open_transcript: OpenTranscript, tmp_path: Path, number: str
) -> None:
    """File systems give numbers again: a newer file's may be lower."""
    file.parent.mkdir()
    made = [tmp_path / name for name in "abc"]
    for one in made:
        one.touch()
    low, middle, high = sorted(made, key=lambda one: one.stat().st_ino)
    middle.rename(file)
    transcript = open_transcript(file)
    transcript.append_custom("x", {})
    other = low if number == "lower" else high
    other.write_bytes(file.read_bytes() + b"\n")
    other.rename(file)

    with pytest.raises(TranscriptReplaced):
        transcript.append_custom("x", {})


# ------------------------------------------------------------------ branches and forks


def test_an_unanswered_question_is_branched_over_and_stays_in_the_file(
    either: Path, open_transcript: OpenTranscript, say: Any
) -> None:
    transcript = open_transcript(either)
    transcript.branch_over_orphan_user()
    root = transcript.append_message(say.assistant("before"))
    transcript.branch_over_orphan_user()
    assert transcript.leaf_id == root
    transcript.append_message(say.user("unanswered"))
    transcript.branch_over_orphan_user()
    assert transcript.leaf_id == root
    transcript.append_message(say.user("next"))
    assert transcript.entries[-1].parent_id == root
    again = open_transcript(either)
    assert again.context() == transcript.context() == [say.assistant("before"), say.user("next")]
    assert len(again.entries) == 3


def test_a_fork_holds_every_complete_entry_under_its_id(
    data: Path, file: Path, open_transcript: OpenTranscript, clock: Any
) -> None:
    content = (data / "abort-2026.5.7.jsonl").read_bytes()
    file.parent.mkdir()
    file.write_bytes(content + b'{"half a line')
    source = open_transcript(file, read_only=True, clock=clock)
    with file.open("ab") as stream:
        stream.write(b'\n{"type":"label","id":"late","parentId":null,"timestamp":"t","targetId":"x","label":"y"}\n{"ha')
    before = file.read_bytes()
    target = file.parent / "deeper" / "fork.jsonl"
    source.fork(target, "fork")
    assert file.read_bytes() == before
    header, *lines = lines_of(target)
    assert list(header.items()) == [
        ("type", "session"), ("version", 3), ("id", "fork"), ("timestamp", "2026-11-22T16:21:27.099Z"),
        ("cwd", "<work>"), ("parentSession", str(file)),
    ]  # fmt: skip
    assert [line["id"] for line in lines] == [*(entry.id for entry in source.entries), "late"]
    assert target.read_bytes().splitlines()[1:-1] == content.splitlines()[2:]
    assert read_entries(target).problems == []
    assert os.listdir(target.parent) == ["fork.jsonl"]
    fork = open_transcript(target, session_id="fork")
    fork.append_custom("x", {})
    assert read_entries(target).problems == []


def test_a_fork_of_an_old_file_is_of_the_current_version(
    data: Path, file: Path, open_transcript: OpenTranscript
) -> None:
    file.parent.mkdir()
    file.write_bytes((data / "v1.jsonl").read_bytes())
    source = open_transcript(file)
    source.fork(file.with_name("fork.jsonl"), "fork")
    fork = open_transcript(file.with_name("fork.jsonl"))
    assert fork.entries == source.entries
    assert fork.context() == source.context()


def test_a_fork_takes_entries_along_that_are_not_on_disk_yet(
    either: Path, open_transcript: OpenTranscript, say: Any
) -> None:
    source = open_transcript(either, durable=False)
    source.append_message(say.user("hi"))
    source.fork(either.with_name(f"fork{either.suffix}"), "fork")
    assert open_transcript(either.with_name(f"fork{either.suffix}")).entries == source.entries


def test_a_fork_never_overwrites(either: Path, open_transcript: OpenTranscript) -> None:
    source = open_transcript(either)
    source.append_custom("x", {})
    before = stored(either)
    with pytest.raises(LocalError, match="exists already"):
        source.fork(either, "s")
    assert stored(either) == before


def test_entries_without_a_header_get_one_before_them_and_keep_every_byte(
    data: Path, file: Path, open_transcript: OpenTranscript
) -> None:
    """The real program takes a file whose first line is no header for empty, and writes over it."""
    content = b"".join((data / "chain-2026.4.8.jsonl").read_bytes().splitlines(keepends=True)[1:])
    file.parent.mkdir()
    file.write_bytes(content)
    transcript = open_transcript(file, session_id="mine")
    header, rest = file.read_bytes().split(b"\n", 1)
    assert rest == content
    assert list(json.loads(header)) == ["type", "version", "id", "timestamp", "cwd"]
    assert json.loads(header)["id"] == "mine"
    assert transcript.backup is not None
    assert transcript.backup.read_bytes() == content
    transcript.append_custom("x", {})
    assert [line["type"] for line in lines_of(file)].count("session") == 1
    assert open_transcript(file).backup is None
