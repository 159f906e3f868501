"""Operations with their beginning and end, and the deaths that cut them short. Pure.

An operation whose actor died ends where the actor died: at the nemesis' SIGKILL when it is recorded, else at the
actor's exit, which the harness notices a little later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import Literal

import msgspec

from lockjaw.history.ordered import once
from lockjaw.history.records import Record

__all__ = ["Span", "deaths", "died", "held_up_s", "spans"]


def died(record: Record) -> str | None:
    """The actor whose process is gone after this record; a SIGKILL and the exit that follows are two records."""
    if record.op == "actor.exit":
        return str(record.data.get("actor") or record.actor)
    if record.op == "nemesis" and record.data.get("action") == "kill" and record.phase in ("info", "ok"):
        return str(record.data.get("target", ""))
    return None


@once
def deaths(history: Sequence[Record]) -> list[tuple[str, Record]]:
    """``(actor, record)`` of every end of a process, in order."""
    return [(actor, record) for record in history if (actor := died(record)) is not None]


def held_up_s(history: Sequence[Record], from_s: float, to_s: float) -> float:
    """Seconds between two instants for which the search held actors up, each of them counted."""
    total_s = 0.0
    for record in history:
        if record.op == "held_up":
            began_s = record.t - float(record.data.get("for_s", 0.0))
            total_s += max(0.0, min(record.t, to_s) - max(began_s, from_s))
    return total_s


class Span(msgspec.Struct, frozen=True):
    """One operation: ``invoke`` and what ended it. ``end`` is None while it is open at the end of the history."""

    start: Record
    end: Record | None = None

    @property
    def actor(self) -> str:
        return self.start.actor

    @property
    def end_s(self) -> float:
        return self.end.t if self.end is not None else inf

    @property
    def end_i(self) -> float:
        return self.end.i if self.end is not None else inf

    @property
    def outcome(self) -> Literal["ok", "fail", "died", "open"]:
        if self.end is None:
            return "open"
        if self.end.op != self.start.op:
            return "died"
        return "ok" if self.end.phase == "ok" else "fail"


@once
def spans(history: Sequence[Record], op: str, *keys: str) -> list[Span]:
    """Pair each ``invoke`` of ``op`` with its end: the next other phase of the same actor with equal keys.

    A key that one of the two records lacks does not tell them apart. The actor's death ends what is still open: a
    process that was started again does not finish the operations of the one before.
    """
    begun: list[Record] = []
    waiting: dict[str, list[Record]] = {}  # actor -> its open operations, the oldest first
    ends: dict[int, Record] = {}
    for record in history:
        if record.op == op:
            mine = waiting.setdefault(record.actor, [])
            if record.phase == "invoke":
                begun.append(record)
                mine.append(record)
            else:
                n = next((n for n, start in enumerate(mine) if _agree(start, record, keys)), None)
                if n is not None:
                    ends[mine.pop(n).i] = record
        elif (dead := died(record)) is not None:
            ends.update((start.i, record) for start in waiting.pop(dead, ()))
    return [Span(start, ends.get(start.i)) for start in begun]


def _agree(a: Record, b: Record, keys: Iterable[str]) -> bool:
    return all(a.data[k] == b.data[k] for k in keys if k in a.data and k in b.data)
