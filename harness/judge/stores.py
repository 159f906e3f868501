"""When a store that processes share was held: a database by a writer, the list of sessions by its lock. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lockjaw.history import Record
from lockjaw.history.holds import holds, is_session_list, transcript_of
from lockjaw.history.ordered import once

__all__ = ["HeldStore", "held_stores"]


class HeldStore(msgspec.Struct, frozen=True):
    """``of``: session (its database) or store (the list of all sessions). ``until_s``: up to the end of the history if
    it was not given back."""

    path: str
    of: str
    begun: Record
    until_s: float

    def throughout(self, start: Record, end: Record) -> bool:
        """It was held by another actor from one record to the other."""
        return self.begun.actor != end.actor and self.begun.i <= end.i and start.t < self.until_s >= end.t


@once
def held_stores(history: Sequence[Record]) -> list[HeldStore]:
    """Every time that an actor held a database, or the lock of the list of sessions; in order."""
    found = []
    for record in history:
        if record.op == "database" and record.phase == "ok":
            ended = (
                r.t for r in history[record.i :]
                if r.actor == record.actor and (r.op == "actor.exit" or (r.op == "database" and r.phase == "info"))
            )  # fmt: skip
            path, of = transcript_of(record.data.get("path")), str(record.data.get("of") or "")
            found.append(HeldStore(path, of, record, next(ended, history[-1].t)))
    for hold in holds(history):
        if is_session_list(hold.path):
            until = hold.ended if hold.ended is not None else history[-1]
            found.append(HeldStore(hold.path, "store", hold.granted, until.t))
    return sorted(found, key=lambda held: held.begun.i)
