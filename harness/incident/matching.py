"""Which records of a history are meant: the small language of a scenario's ``when`` and ``sometimes``."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from lockjaw.documents import FieldError
from lockjaw.history import OPERATIONS, Phase, Record


class Pattern(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record matches when every named part is equal; ``data`` may have more keys than are named here.

    ``actor`` may be a pattern of shell globs (``subagent-*``).
    """

    op: str
    phase: Phase | None = None
    actor: str | None = None
    data: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if self.op not in OPERATIONS:
            raise FieldError("op", f"an operation of the history: {', '.join(OPERATIONS)}", self.op)

    def matches(self, record: Record) -> bool:
        return (
            record.op == self.op
            and self.phase in (None, record.phase)
            and (self.actor is None or fnmatchcase(record.actor, self.actor))
            and all(key in record.data and record.data[key] == value for key, value in self.data.items())
        )


class Sometimes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that must have happened at least once, or the run never reached the danger.

    Args:
        says: the condition in plain words.
        seen: a record that proves it.
        while_locked_by: an actor (or a pattern) that must hold a session lock at the instant of that record.
    """

    says: str
    seen: Pattern
    while_locked_by: str | None = None

    def witness(self, history: Sequence[Record]) -> Record | None:
        """The first record that proves the condition, or None."""
        held: dict[str, set[str]] = {}
        for record in history:
            _follow_locks(held, record)
            if self.seen.matches(record) and (self.while_locked_by is None or self._locked(held)):
                return record
        return None

    def _locked(self, held: dict[str, set[str]]) -> bool:
        pattern = self.while_locked_by or ""
        return any(paths and fnmatchcase(actor, pattern) for actor, paths in held.items())


def is_session_lock(path: object) -> bool:
    """True for a transcript's lock (or the transcript itself); false for the lock of ``sessions.json``."""
    name = str(path).rpartition("/")[2]
    return name.endswith((".jsonl", ".jsonl.lock"))


def _follow_locks(held: dict[str, set[str]], record: Record) -> None:
    """Keep ``held`` (actor -> lock paths) in step with the history. A killed actor leaves its lock file behind,
    but holds nothing any more once its exit is recorded."""
    if record.op == "lock" and record.phase == "ok" and is_session_lock(path := str(record.data.get("path", ""))):
        held.setdefault(record.actor, set()).add(path)
    elif record.op in ("lock.release", "lock.lost"):
        held.get(record.actor, set()).discard(str(record.data.get("path", "")))
    elif record.op == "actor.exit":
        held.pop(str(record.data.get("actor") or record.data.get("role")), None)
