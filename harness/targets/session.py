"""What can be seen of a runtime's session from outside: its messages, and who owns it. Reads; changes nothing.

A database is copied first and the copy is read: a long read of the live file keeps its write-ahead log from being
checkpointed, and would so become part of the incident.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import msgspec

from lockjaw.locking.proc import kernel_lock_owners

from .spec import Holder, Messages, filled

__all__ = [
    "Message",
    "Owner",
    "flock_owners",
    "lock_name",
    "messages_of",
    "owners_of",
    "problems_of",
    "transcript_name",
]


class Message(msgspec.Struct, frozen=True):
    """One message of a conversation. ``calls``: ids of the tool calls that it makes; ``answers``: of the one that it is
    the result of."""

    role: str
    text: str = ""
    calls: tuple[str, ...] = ()
    answers: str | None = None


class Owner(msgspec.Struct, frozen=True):
    """Who owns a session, as a lock or an owner record shows it."""

    pid: int
    generation: int = 0


def transcript_name(session: str) -> str:
    """How records call the conversation; wherever it stands, it is one."""
    return f"{session or 'session'}.jsonl"


def lock_name(session: str) -> str:
    """How records call the session's lock."""
    return f"{transcript_name(session)}.lock"


# --------------------------------------------------------------------------- messages


def messages_of(where: Messages, values: Mapping[str, str], session: str) -> list[Message]:
    """The conversation as it stands on disk; empty if there is none yet.

    Raises:
        OSError, sqlite3.Error: the store cannot be read.
        ValueError: a line of a JSONL transcript is no JSON.
    """
    if where.sqlite is not None and where.sql is not None:
        return _rows(Path(filled(where.sqlite, values)), where.sql, session, re.compile(where.call_id))
    if where.jsonl is not None:
        found = sorted(glob.glob(filled(where.jsonl, values)), key=os.path.getmtime)
        return from_jsonl(Path(found[-1]).read_text(encoding="utf-8").splitlines()) if found else []
    return []


def from_jsonl(lines: Iterable[str]) -> list[Message]:
    """Messages in OpenAI's shape, one a line; lines without a role are something else (a header, say)."""
    found = []
    for line in lines:
        data = json.loads(line)
        if isinstance(data, dict) and isinstance(data.get("role"), str):
            calls = tuple(str(call.get("id")) for call in data.get("tool_calls") or [] if isinstance(call, dict))
            found.append(Message(data["role"], words(data.get("content")), calls, data.get("tool_call_id")))
    return found


def words(content: Any) -> str:
    """The text of a message's content: itself, or that of its parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(str(part["text"]) for part in parts if isinstance(part, dict) and "text" in part)


def _rows(database: Path, sql: str, session: str, call_id: re.Pattern[str]) -> list[Message]:
    if not database.exists():
        return []
    with tempfile.TemporaryDirectory(prefix="lockjaw-copy-") as scratch:
        copy = Path(scratch) / database.name
        for suffix in ("", "-wal"):  # the shared-memory index is rebuilt by who opens the copy
            part = database.with_name(database.name + suffix)
            if part.exists():
                shutil.copyfile(part, copy.with_name(copy.name + suffix))
        connection = sqlite3.connect(copy)
        try:
            rows = connection.execute(sql, (session,)).fetchall()
        finally:
            connection.close()
    return [
        Message(str(role), str(text or ""), tuple(call_id.findall(str(calls or ""))), answers and str(answers))
        for role, text, calls, answers in rows
    ]


def problems_of(messages: Sequence[Message]) -> list[str]:
    """What is not whole in a conversation that should have come to rest, one sentence each.

    A user who gave up and asked the same again has asked one question, and one answer will do. With two answers behind
    both, two runs have written at once.
    """
    found = []
    answered = {message.answers for message in messages}
    open_calls = [call for message in messages for call in message.calls if call not in answered]
    if open_calls:
        found.append(f"{len(open_calls)} tool call(s) without a result")
    for n, message in enumerate(messages):
        if message.role == "user" and not _has_answer(message, messages[n + 1 :]):
            found.append(f"a question without an answer: {message.text[:60]!r}")
    return found


def _has_answer(question: Message, later: Sequence[Message]) -> bool:
    if not later or later[0].role != "user":
        return bool(later)
    again = list(takewhile(lambda m: m.role == "user" and m.text == question.text, later))
    replies = takewhile(lambda m: m.role != "user", later[len(again) :])
    return bool(again) and len([m for m in replies if m.role == "assistant" and m.text and not m.calls]) == 1


# --------------------------------------------------------------------------- owners


def owners_of(holder: Holder, values: Mapping[str, str]) -> list[Owner] | None:
    """Who owns the session now; None: it cannot be seen."""
    if holder.flock is not None:
        return flock_owners(Path(filled(holder.flock, values)))
    if holder.pid_file is not None:
        return _named_owner(Path(filled(holder.pid_file, values)), holder)
    return None


def flock_owners(path: Path) -> list[Owner]:
    """Processes that hold a lock on this file."""
    return [Owner(pid) for pid in kernel_lock_owners(path)]


def _named_owner(path: Path, holder: Holder) -> list[Owner]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        generation = data.get(holder.generation_key) if holder.generation_key else 0
        return [Owner(int(data[holder.pid_key]), int(generation or 0))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []  # none yet, or one that is being written: the next look sees it
