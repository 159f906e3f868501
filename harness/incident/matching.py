"""Which records of a history are meant: the small language of a scenario's ``when`` and ``sometimes``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from lockjaw.documents import FieldError
from lockjaw.history import OPERATIONS, Phase, Record
from lockjaw.history.holds import holds, is_session_lock
from lockjaw.history.ordered import numbered


class Pattern(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record matches when every named part is equal; ``data`` may have more keys than are named here."""

    op: str  # an operation of the history (see History)
    phase: Phase | None = None  # invoke: it begins; ok: it happened; fail: it did not; info: a fact, or unknown
    actor: str | None = None  # who did it, or a pattern of shell globs (`subagent-*`)
    data: dict[str, Any] = {}  # keys of the record, and what stands there

    def __post_init__(self) -> None:
        if self.op not in OPERATIONS:
            raise FieldError("op", f"an operation of the history: {', '.join(OPERATIONS)}", self.op)
        known = re.findall(r"\w+", OPERATIONS[self.op])
        for key in self.data:
            if key not in known:
                raise FieldError(("data", key), f"a key of {self.op}: {OPERATIONS[self.op].partition(': ')[2]}", key)

    def matches(self, record: Record) -> bool:
        return (
            record.op == self.op
            and self.phase in (None, record.phase)
            and (self.actor is None or fnmatchcase(record.actor, self.actor))
            and all(key in record.data and record.data[key] == value for key, value in self.data.items())
        )


class Sometimes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that must have happened at least once, or the run never reached the danger."""

    says: str  # the condition in plain words
    seen: Pattern  # a record that proves it
    #: an actor (or a pattern) that must hold a session lock when that record happens; an actor that the record itself
    #: kills had it until then
    while_locked_by: str | None = None
    while_at_work: str | None = None  # a gateway (or a pattern) that has accepted a run and not sent its final answer

    def __post_init__(self) -> None:
        if self.while_locked_by is not None and self.while_at_work is not None:
            raise FieldError("while_at_work", "while_locked_by or while_at_work, not both", self.while_at_work)

    def witness(self, history: Sequence[Record]) -> Record | None:
        """The first record that proves the condition, or None."""
        ordered = numbered(history)
        seen = (record for record in ordered if self.seen.matches(record))
        if self.while_at_work is not None:
            busy = _at_work(ordered, self.while_at_work)
            return next((record for record in seen if record.i in busy), None)
        pattern = self.while_locked_by
        if pattern is None:
            return next(seen, None)
        held = [h for h in holds(ordered) if is_session_lock(h.path) and fnmatchcase(h.actor, pattern)]
        return next((record for record in seen if any(hold.held_when(record.i) for hold in held)), None)


def _at_work(history: Sequence[Record], pattern: str) -> set[int]:
    """Indices of the records that happened while an actor that fits had a run under way."""
    found: set[int] = set()
    open_runs: set[str] = set()
    for record in history:
        if fnmatchcase(record.actor, pattern):
            run_id = str(record.data.get("run_id"))
            if record.op == "gateway.accepted":
                open_runs.add(run_id)
            elif record.op == "gateway.final":
                open_runs.discard(run_id)
        if open_runs:
            found.add(record.i)
    return found
