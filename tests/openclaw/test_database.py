"""Conversations that a version keeps in SQLite, with a database of ours that has the tables of 2026.9.6."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.errors import HarnessError
from lockjaw.harness.store import RunDirectory
from lockjaw.harness.targets.openclaw.database import conversations, write_transcript
from lockjaw.harness.targets.openclaw.reading import Expected
from lockjaw.harness.targets.openclaw.witness import Witness
from lockjaw.history import Record, merge, read_records
from lockjaw.sessions.report import read_entries

SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE session_nodes (session_key TEXT PRIMARY KEY, current_session_id TEXT NOT NULL, entry_json TEXT NOT NULL);
CREATE TABLE transcript_events (session_id TEXT, seq INTEGER, event_json TEXT, created_at INTEGER NOT NULL,
  event_zstd BLOB, PRIMARY KEY (session_id, seq)) STRICT;
CREATE TABLE transcript_event_identities (session_id TEXT, event_id TEXT, seq INTEGER, event_type TEXT, parent_id TEXT,
  created_at INTEGER NOT NULL, PRIMARY KEY (session_id, event_id)) STRICT;
"""
KEY, OLD, NEW = "agent:main:main", "1111", "2222"


class Database:
    """As the program leaves it when it is killed: what was written last stands in the write-ahead log only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True)
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.executescript(SCHEMA)

    def add(self, session_id: str, wall_ms: int, event: dict[str, Any], *, compressed: bool = False) -> None:
        seq = self.connection.execute("SELECT count(*) FROM transcript_events").fetchone()[0]
        row = (session_id, seq, None if compressed else json.dumps(event), wall_ms, b"zstd" if compressed else None)
        self.connection.execute("INSERT INTO transcript_events VALUES (?, ?, ?, ?, ?)", row)
        known = (session_id, event["id"], seq, event["type"], event.get("parentId"), wall_ms)
        self.connection.execute("INSERT INTO transcript_event_identities VALUES (?, ?, ?, ?, ?, ?)", known)

    def lead(self, key: str, session_id: str) -> None:
        self.connection.execute("INSERT OR REPLACE INTO session_nodes VALUES (?, ?, '{}')", (key, session_id))

    def files(self) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in self.path.parent.iterdir()}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    made = RunDirectory(tmp_path / "run")
    for folder in (made.state, made.events):
        folder.mkdir(parents=True)
    return made


@pytest.fixture
def database(run: RunDirectory) -> Iterator[Database]:
    made = Database(run.state / "agents" / "main" / "agent" / "openclaw-agent.sqlite")
    yield made
    made.connection.close()


def header(session_id: str) -> dict[str, Any]:
    return {"type": "session", "version": 4, "id": session_id, "timestamp": "2026-09-06T12:00:00.000Z", "cwd": "/w"}


def message(entry_id: str, parent: str | None, role: str, text: str) -> dict[str, Any]:
    content = {"role": role, "content": [{"type": "text", "text": text}]}
    return {
        "type": "message",
        "id": entry_id,
        "parentId": parent,
        "timestamp": "2026-09-06T12:00:01Z",
        "message": content,
    }


def a_turn(database: Database, wall_ms: int, session_id: str = NEW) -> None:
    database.lead(KEY, session_id)
    database.add(session_id, wall_ms, header(session_id))
    database.add(session_id, wall_ms + 1000, message("a", None, "user", "long task"))
    database.add(session_id, wall_ms + 2500, message("b", "a", "assistant", "Done."))


def test_conversation_becomes_a_transcript(database: Database, tmp_path: Path) -> None:
    a_turn(database, 1_000)
    (found,) = conversations(database.path)
    report = read_entries(write_transcript(found, tmp_path))
    assert (found.key, found.session_id, found.compressed) == (KEY, NEW, 0)
    assert [event.wall_ms for event in found.events] == [1_000, 2_000, 3_500]
    assert report.problems == []
    assert [m["role"] for m in report.messages] == ["user", "assistant"]


def test_database_itself_is_not_touched(database: Database) -> None:
    a_turn(database, 1_000)
    before = database.files()
    assert before["openclaw-agent.sqlite-wal"]  # and what the test wrote stands there
    assert len(conversations(database.path)[0].events) == 3
    assert database.files() == before


def test_session_that_was_replaced_has_no_key_any_more(database: Database) -> None:
    a_turn(database, 1_000, OLD)
    a_turn(database, 9_000, NEW)
    assert {c.session_id: c.key for c in conversations(database.path)} == {OLD: None, NEW: KEY}


def test_compressed_event_keeps_its_place_and_is_counted(database: Database, tmp_path: Path) -> None:
    database.add(NEW, 1, header(NEW))
    database.add(NEW, 2, message("a", None, "user", "long task"), compressed=True)
    database.add(NEW, 3, message("b", "a", "assistant", "Done."))
    (found,) = conversations(database.path)
    assert found.compressed == 1
    assert read_entries(write_transcript(found, tmp_path)).problems == []  # the parent of b is known


@pytest.mark.parametrize("text", ["", "no database at all"])
def test_file_that_is_not_the_expected_database_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "openclaw-agent.sqlite"
    path.write_text(text)
    with pytest.raises(HarnessError, match=r"openclaw-agent.sqlite cannot be read"):
        conversations(path)


def test_witness_tells_of_entries_when_they_were_written(run: RunDirectory, database: Database) -> None:
    clock = ScaledClock.start()
    sessions = run.state / "agents" / "main" / "sessions"
    sessions.mkdir()
    a_turn(database, clock.epoch_ms + 5_000)
    witness = Witness({}, sessions, run, clock, Expected("no-fallback", "long task", 60.0))
    witness.finish()
    witness.close()
    history = merge([read_records(path) for path in run.events.glob("*.jsonl")])
    appended = [(round(r.t, 2), r.actor, r.data["role"]) for r in history if r.op == "append"]
    assert appended == [(6.0, "gateway", "user"), (7.5, "gateway", "assistant")]
    final, leads = _one(history, "transcript.final"), _one(history, "session.final")
    assert (final.data["session_id"], final.data["assistant_texts"], final.data["problems"]) == (NEW, ["Done."], [])
    assert (leads.data["key"], leads.data["session_id"]) == (KEY, NEW)
    assert Path(final.data["path"]).is_file()


def _one(history: list[Record], op: str) -> Record:
    (found,) = [r for r in history if r.op == op]
    return found
