"""Conversations of versions that keep them in a database (2026.8.1 and later), as transcripts.

A database is read once, when everybody has ended, from a copy that SQLite may recover; the original is never opened.
Each conversation becomes a file of the form that earlier versions write, so that whoever reads transcripts reads
these too. What a version does with locks inside its database cannot be seen from outside, and is not made up.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from lockjaw.errors import HarnessError

DATABASE = "agents/*/agent/openclaw-agent.sqlite"


@dataclass(frozen=True)
class Event:
    """A line of a transcript; ``wall_ms``: when the database got it, in Unix milliseconds."""

    line: str
    wall_ms: int


@dataclass(frozen=True)
class Conversation:
    """``key``: the session key that leads to it, None when another session has taken its place.

    ``compressed``: events of which the database shows no more than their place in the tree, because their text is kept
    in a form (zstd) that Python's own library cannot read.
    """

    session_id: str
    key: str | None
    events: tuple[Event, ...]
    compressed: int = 0


def conversations(database: Path) -> list[Conversation]:
    """Every conversation in the database, by session id. Its files are only copied.

    Raises:
        HarnessError: it cannot be read, or its tables are not those of 2026.8.1 to 2026.9.6.
    """
    with tempfile.TemporaryDirectory(prefix="lockjaw-database-") as folder:
        copy = Path(folder, database.name)
        try:
            for suffix in ("", "-wal"):  # not -shm: SQLite makes it anew from the other two
                if (part := database.with_name(database.name + suffix)).exists():
                    shutil.copyfile(part, copy.with_name(part.name))
            with closing(sqlite3.connect(copy)) as connection:
                return list(_read(connection))
        except (OSError, sqlite3.Error) as error:
            raise HarnessError(
                f"{database} cannot be read: {error}; this version may keep sessions in a new form"
            ) from error


def _read(connection: sqlite3.Connection) -> Iterator[Conversation]:
    keys = dict(connection.execute("SELECT current_session_id, session_key FROM session_nodes"))
    rows = connection.execute(
        "SELECT e.session_id, event_json, e.created_at, event_id, event_type, parent_id FROM transcript_events e "
        "LEFT JOIN transcript_event_identities i ON i.session_id = e.session_id AND i.seq = e.seq "
        "ORDER BY e.session_id, e.seq"
    )
    found: dict[str, list[Event]] = {}
    compressed: dict[str, int] = {}
    for session_id, text, wall_ms, event_id, kind, parent in rows:
        if text is None:
            compressed[session_id] = compressed.get(session_id, 0) + 1
            text = json.dumps({"type": kind, "id": event_id, "parentId": parent, "compressed": True})
        found.setdefault(session_id, []).append(Event(text, wall_ms))
    for session_id, events in found.items():
        yield Conversation(session_id, keys.get(session_id), tuple(events), compressed.get(session_id, 0))


def write_transcript(conversation: Conversation, folder: Path) -> Path:
    """The conversation as ``<session id>.jsonl``. Returns its path."""
    path = folder / f"{conversation.session_id}.jsonl"
    path.write_text("".join(f"{event.line}\n" for event in conversation.events), encoding="utf-8")
    return path
