"""What the readers accept, and what they say about it."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lockjaw.sessions import Transcript, read_entries
from lockjaw.sessions.entries import encode

HEADER = b'{"type":"session","version":3,"id":"s","timestamp":"2026-11-22T16:21:27.099Z","cwd":"/ws"}\n'
USER = b'{"type":"message","id":"00000001","parentId":null,"timestamp":"t","message":{"role":"user","content":"hi"}}\n'
NOTE = b'{"type":"custom","customType":"x","data":{},"id":"00000002","parentId":"00000001","timestamp":"t"}\n'
RECORDED = ["chain-2026.4.8", "abort-2026.5.7", "chain-2026.5.7", "fallback-2026.5.7"]

OpenTranscript = Callable[..., Transcript]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "s.jsonl"


@pytest.mark.parametrize("name", RECORDED)
def test_transcripts_of_the_real_program_are_whole(data: Path, name: str) -> None:
    report = read_entries(data / f"{name}.jsonl")
    lines = (data / f"{name}.jsonl").read_bytes().splitlines()
    assert report.problems == []
    assert report.lines == len(lines)
    assert [entry.raw for entry in report.entries] == [
        value for value in map(json.loads, lines) if value["type"] != "session"
    ]
    assert report.header == json.loads(lines[0])


@pytest.mark.parametrize("name", RECORDED)
def test_our_encoder_writes_every_recorded_line_byte_for_byte(data: Path, name: str) -> None:
    for line in (data / f"{name}.jsonl").read_bytes().splitlines(keepends=True):
        assert encode(json.loads(line)) == line


@pytest.mark.parametrize("name", RECORDED)
def test_opening_a_recorded_transcript_touches_no_byte(
    data: Path, file: Path, open_transcript: OpenTranscript, name: str
) -> None:
    content = (data / f"{name}.jsonl").read_bytes()
    file.write_bytes(content)
    transcript = open_transcript(file)
    assert file.read_bytes() == content
    assert transcript.backup is None
    assert transcript.problems == []
    assert transcript.leaf_id == json.loads(content.splitlines()[-1])["id"]
    new = transcript.append_custom("x", {})
    assert file.read_bytes().startswith(content)
    assert read_entries(file).problems == []
    assert read_entries(file).entries[-1].id == new


def test_an_absent_file_reads_like_an_empty_one(file: Path) -> None:
    absent = read_entries(file)
    assert (absent.exists, absent.header, absent.entries, absent.problems, absent.lines) == (False, None, (), [], 0)
    file.write_bytes(b"")
    empty = read_entries(file)
    assert (empty.exists, empty.header, empty.entries, empty.problems, empty.lines) == (True, None, (), [], 0)
    file.write_bytes(HEADER)
    header_only = read_entries(file)
    assert header_only.header is not None
    assert (header_only.entries, header_only.problems, header_only.lines) == ((), [], 1)


@pytest.mark.parametrize(
    ("content", "ids", "problems"),
    [
        (HEADER + USER + b"garbage\n" + NOTE, ["00000001", "00000002"], ["line 3: not JSON"]),
        (HEADER + HEADER + USER + HEADER + NOTE, ["00000001", "00000002"], []),
        (HEADER + USER + b"\n  \n" + NOTE, ["00000001", "00000002"], []),
        ((HEADER + USER + NOTE).replace(b"\n", b"\r\n"), ["00000001", "00000002"], []),
        (b"\xef\xbb\xbf" + HEADER + USER, ["00000001"], []),
        (HEADER + b"\0" * 40 + USER + NOTE, ["00000001", "00000002"], ["line 2: NUL bytes"]),
        (HEADER + b"\0" * 40 + b"\n" + USER, ["00000001"], ["line 2: NUL bytes"]),
        (HEADER + USER.replace(b"hi", b"h\xff"), ["00000001"], ["line 2: not UTF-8"]),
        (HEADER + USER + NOTE[:30], ["00000001"], ["torn line 3: not JSON"]),
        (HEADER + USER + NOTE[:30] + b"\n", ["00000001"], ["torn line 3: not JSON"]),
        (HEADER + USER + b"x\ny\n", ["00000001"], ["line 3: not JSON", "torn line 4: not JSON"]),
        (HEADER + USER + NOTE.rstrip(), ["00000001", "00000002"], []),
        (HEADER + USER + b"[1]\n" + NOTE, ["00000001", "00000002"], ["line 3: not a JSON object"]),
        (HEADER + USER + b'{"a":NaN}\n' + NOTE, ["00000001", "00000002"], ["line 3: not JSON"]),
        (HEADER + USER + b'{"a":1}\n', ["00000001"], ["object 3 is not an entry: no type"]),
        (HEADER + USER + b'{"type":"x"}\n', ["00000001"], ["object 3 is not an entry: no id"]),
        (HEADER + b'{"type":"from-the-future","id":"f","parentId":null,"new":[1]}\n', ["f"], []),
        (USER + NOTE, ["00000001", "00000002"], ["no header"]),
        (b'{"type":"session"}\n' + USER, ["00000001"], ["no header", "line 1: header without id"]),
        (HEADER + USER + USER, ["00000001", "00000001"], ["duplicate id 00000001"]),
        (HEADER + NOTE, ["00000002"], ["unknown parent 00000001 of entry 00000002"]),
        (HEADER + NOTE + USER, ["00000002", "00000001"], ["unknown parent 00000001 of entry 00000002"]),
        (HEADER.replace(b"3", b"9", 1) + USER, ["00000001"], []),
    ],
)
def test_damage_is_reported_and_passed_over(
    file: Path, open_transcript: OpenTranscript, content: bytes, ids: list[str], problems: list[str]
) -> None:
    file.write_bytes(content)
    report = read_entries(file)
    assert [entry.id for entry in report.entries] == ids
    assert report.problems == problems
    assert file.read_bytes() == content
    looked = open_transcript(file, read_only=True)
    assert [entry.id for entry in looked.entries] == ids
    assert file.read_bytes() == content
    opened = open_transcript(file)
    assert [entry.id for entry in opened.entries] == ids
    opened.append_custom("after", {})
    again = read_entries(file)
    assert [entry.id for entry in again.entries] == [*ids, opened.leaf_id]
    assert not [problem for problem in again.problems if problem.startswith("torn") or problem == "no header"]
    # Whatever was there is there still, in the file or in the copy.
    kept = (opened.backup.read_bytes() if opened.backup else b"") + file.read_bytes()
    assert content.rstrip(b"\r\n") in kept


def test_unpaired_tool_calls_are_problems(file: Path, say: Any) -> None:
    def line(entry_id: str, message: dict[str, Any]) -> bytes:
        return encode({"type": "message", "id": entry_id, "parentId": None, "timestamp": "t", "message": message})

    calls = line("a", say.assistant(calls=("c1", "c2")))
    aborted = line("b", say.assistant(calls=("c9",), stop="aborted"))
    file.write_bytes(HEADER + calls + line("r1", say.result("c1")) + aborted)
    assert read_entries(file).problems == ["unpaired tool call c2 of entry a"]
    file.write_bytes(HEADER + calls + b"".join(line(f"r{n}", say.result(c)) for n, c in enumerate(["c1", "c2", "c2"])))
    assert read_entries(file).problems == ["tool result without call: c2 in entry r2"]
    again = line("a2", say.assistant(calls=("c1",)))
    file.write_bytes(HEADER + calls + line("r1", say.result("c1")) + line("r2", say.result("c2")) + again)
    assert read_entries(file).problems == ["unpaired tool call c1 of entry a2"]


def test_a_report_gives_the_messages_in_file_order(data: Path) -> None:
    messages = read_entries(data / "abort-2026.5.7.jsonl").messages
    assert [(message["role"], message.get("model")) for message in messages] == [
        ("user", None), ("assistant", "deepseek-v3"), ("assistant", "gateway-injected"),
    ]  # fmt: skip


def test_a_version_1_file_becomes_one_chain(data: Path, file: Path, open_transcript: OpenTranscript) -> None:
    content = (data / "v1.jsonl").read_bytes()
    file.write_bytes(content)
    report = read_entries(file)
    assert report.problems == []
    ids = [entry.id for entry in report.entries]
    assert len(set(ids)) == 6
    assert [entry.parent_id for entry in report.entries] == [None, *ids[:-1]]
    assert report.entries[3].raw["firstKeptEntryId"] == ids[2]
    transcript = open_transcript(file)
    texts = [message["content"] if isinstance(message["content"], str) else message["content"][0]["text"]
             for message in transcript.context()]  # fmt: skip
    assert texts[0].endswith("<summary>\nthey said first\n</summary>")
    assert texts[1:] == ["second", "from a hook", "two"]
    assert [message["role"] for message in transcript.context()] == ["user", "user", "user", "assistant"]


def test_what_we_append_to_an_old_file_finds_its_parent_again(
    data: Path, file: Path, open_transcript: OpenTranscript, say: Any
) -> None:
    content = (data / "v1.jsonl").read_bytes()
    file.write_bytes(content)
    transcript = open_transcript(file)
    transcript.append_message(say.user("third"))
    assert file.read_bytes().startswith(content)
    again = open_transcript(file)
    assert again.entries == transcript.entries
    assert again.context() == transcript.context()
    assert read_entries(file).problems == []


def test_ids_of_twin_lines_in_an_old_file_differ(file: Path) -> None:
    line = b'{"type":"message","timestamp":"t","message":{"role":"user","content":"again"}}\n'
    file.write_bytes(b'{"type":"session","id":"s"}\n' + line * 50)
    report = read_entries(file)
    assert len({entry.id for entry in report.entries}) == 50
    assert report.problems == []


def test_version_2_renames_hook_messages_only(file: Path) -> None:
    file.write_bytes(
        b'{"type":"session","version":2,"id":"s"}\n'
        + USER
        + b'{"type":"message","id":"h","parentId":"00000001","message":{"role":"hookMessage","content":"x"}}\n'
    )
    assert [entry.role for entry in read_entries(file).entries] == ["user", "custom"]


def test_a_big_transcript_is_read_line_by_line(file: Path) -> None:
    filler = encode({"type": "custom", "customType": "x", "data": "y" * 1_000_000, "id": "f", "parentId": None})
    with file.open("wb") as stream:
        stream.write(HEADER)
        for _ in range(40):
            stream.write(filler.replace(b"{", b"[", 1))  # damaged: read, reported, and not kept
        stream.write(USER)
    tracemalloc.start()
    report = read_entries(file)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(report.problems) == 40
    assert [entry.id for entry in report.entries] == ["00000001"]
    assert peak_bytes < 12_000_000  # a few copies of one line, against 40 MB of file


def test_encoding_survives_what_models_send(file: Path) -> None:
    line = encode({"a": "ü€😀\u2028\ud83d", "b": float("nan"), "c": [float("inf"), (1, 2)], "d": "\x00\x1f\n"})
    assert line == '{"a":"ü€😀\u2028\\ud83d","b":null,"c":[null,[1,2]],"d":"\\u0000\\u001f\\n"}\n'.encode()
    assert json.loads(line)["a"].endswith("\ud83d")
