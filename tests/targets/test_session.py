"""What is read of a runtime's session: messages from files and databases, owners from /proc/locks and owner records."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from pathlib import Path

import pytest

from lockjaw.harness.targets.codex.target import from_rollout
from lockjaw.harness.targets.session import Message, Owner, flock_owners, messages_of, owners_of, problems_of
from lockjaw.harness.targets.spec import Holder, Messages


def test_the_owner_of_a_flock_is_seen_and_a_free_file_has_none(tmp_path: Path) -> None:
    lock = tmp_path / "s.lock"
    assert flock_owners(lock) == []
    with lock.open("w") as file:
        assert flock_owners(lock) == []
        fcntl.flock(file, fcntl.LOCK_EX)
        assert flock_owners(lock) == [Owner(os.getpid())]
    assert flock_owners(lock) == []


def test_an_owner_record_gives_pid_and_generation_and_a_torn_one_nobody(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    holder = Holder(pid_file=str(path), pid_key="owner_pid", generation_key="generation")
    assert owners_of(holder, {}) == []
    path.write_text(json.dumps({"owner_pid": 12, "generation": 3}))
    assert owners_of(holder, {}) == [Owner(12, 3)]
    path.write_text('{"owner_pid": 1')
    assert owners_of(holder, {}) == []
    assert owners_of(Holder(), {}) is None


def test_a_database_is_read_from_a_copy_while_a_writer_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with sqlite3.connect(path) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("CREATE TABLE m (session, role, text, calls, answers)")
        writer.execute("""INSERT INTO m VALUES ('a', 'assistant', NULL, '[{"id": "c1"}]', NULL)""")
        writer.execute("INSERT INTO m VALUES ('a', 'tool', 'done', NULL, 'c1'), ('b', 'user', 'x', NULL, NULL)")
    before = sorted(p.name for p in tmp_path.iterdir())
    writer.execute("BEGIN IMMEDIATE")
    where = Messages(sqlite=str(path), sql="SELECT role, text, calls, answers FROM m WHERE session = ?")
    assert messages_of(where, {}, "a") == [Message("assistant", "", ("c1",)), Message("tool", "done", (), "c1")]
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    writer.rollback()
    writer.close()
    assert messages_of(Messages(sqlite=str(tmp_path / "none"), sql="SELECT 1"), {}, "a") == []


def test_the_newest_transcript_is_read_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "talk.jsonl").write_text('{"type": "header"}\n{"role": "user", "content": [{"text": "hi"}]}\n')
    assert messages_of(Messages(jsonl=f"{tmp_path}/*.jsonl"), {}, "talk") == [Message("user", "hi")]


def test_a_rollout_of_codex_is_read_without_what_the_program_adds() -> None:
    def item(**payload: object) -> str:
        return json.dumps({"type": "response_item", "payload": payload})

    lines = [
        json.dumps({"type": "session_meta", "payload": {}}),
        item(type="message", role="user", content=[{"type": "input_text", "text": "<environment_context>"}]),
        item(type="message", role="user", content=[{"type": "input_text", "text": "pay"}]),
        item(type="function_call", call_id="c", name="exec_command", arguments="{}"),
        item(type="function_call_output", call_id="c", output="done"),
        item(type="message", role="assistant", content=[{"type": "output_text", "text": "Paid."}]),
        "",
    ]
    assert [(m.role, m.text, m.calls, m.answers) for m in from_rollout(lines)] == [
        ("user", "pay", (), None), ("assistant", "", ("c",), None), ("tool", "", (), "c"),
        ("assistant", "Paid.", (), None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("messages", "problems"),
    [
        ([Message("user", "a"), Message("assistant", "b")], []),
        ([Message("user", "a")], ["a question without an answer: 'a'"]),
        ([Message("user", "a"), Message("user", "b"), Message("assistant")], ["a question without an answer: 'a'"]),
        ([Message("user", "a"), Message("assistant", "", ("c",))], ["1 tool call(s) without a result"]),
        ([Message("user", "a"), Message("user", "a"), Message("assistant", "b")], []),  # asked twice, answered once
        (
            [Message("user", "a"), Message("user", "a"), Message("assistant", "b"), Message("assistant", "b")],
            ["a question without an answer: 'a'"],  # two runs at once
        ),
    ],
)
def test_what_is_not_whole_is_said(messages: list[Message], problems: list[str]) -> None:
    assert problems_of(messages) == problems
