"""Which records of a history are meant: the small language of a scenario's ``when`` and ``sometimes``."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from lockjaw.documents import FieldError
from lockjaw.history import OPERATIONS, Phase, Record
from lockjaw.history.holds import holds, is_session_lock
from lockjaw.history.ordered import numbered


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
        while_locked_by: an actor (or a pattern) that must hold a session lock when that record happens; an actor that
            the record itself kills had it until then.
    """

    says: str
    seen: Pattern
    while_locked_by: str | None = None

    def witness(self, history: Sequence[Record]) -> Record | None:
        """The first record that proves the condition, or None."""
        ordered = numbered(history)
        seen = (record for record in ordered if self.seen.matches(record))
        pattern = self.while_locked_by
        if pattern is None:
            return next(seen, None)
        held = [h for h in holds(ordered) if is_session_lock(h.path) and fnmatchcase(h.actor, pattern)]
        return next((record for record in seen if any(hold.held_when(record.i) for hold in held)), None)
