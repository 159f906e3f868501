"""Who has the lock when: every grant of a lock, and every attempt to get one. Pure.

This is the only reading of lock records. Checkers, ``while_locked_by``, the agreement of two worlds, pages, texts and
the live progress all ask here, so that a page cannot name another holder than the verdict does.

A dead holder's lock *file* outlives it, until another owner is granted the lock or a cleaner removes the file
(``Hold.blocks_until``). The order of a history is its index ``i``
(records of one instant included).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Literal

import msgspec
from msgspec.structs import replace

from lockjaw.history.ordered import once
from lockjaw.history.records import Record
from lockjaw.history.spans import Span, died, spans

__all__ = [
    "Hold",
    "Holders",
    "acquires",
    "holds",
    "is_fence",
    "is_session_list",
    "is_session_lock",
    "lock_of",
    "transcript_of",
]

SESSION_LISTS = ("sessions.json", "sessions.sqlite")
LOCK_OPS = frozenset({"lock", "lock.fence", "lock.release", "lock.lost"})

Ended = Literal["released", "died", "fenced", "lost", "open"]


def transcript_of(path: object) -> str:
    """The file that a lock path guards: records may name either. From ``agents/`` on, so that a lock path, whose
    folder is resolved, and a transcript path, whose folder need not be, are the same file."""
    text = str(path or "").removesuffix(".lock")
    _, found, inside = text.partition("/agents/")
    return f"agents/{inside}" if found else text


def is_session_list(path: object) -> bool:
    """True for the list of sessions (``sessions.json``) or its lock: no conversation stands in it."""
    return str(path or "").removesuffix(".lock").endswith(SESSION_LISTS)


def is_session_lock(path: object) -> bool:
    """True for a conversation's lock, or the transcript itself; false for the session list, which has a lock too."""
    return bool(path) and not is_session_list(path)


def is_fence(record: Record) -> bool:
    """True when a generation was raised; a fence that failed changed nothing."""
    return record.op == "lock.fence" and record.phase in ("ok", "info")


def lock_of(record: Record) -> str | None:
    """The file whose lock this record is about, as ``Hold.path`` names it; None for a record about no lock."""
    return transcript_of(record.data.get("path")) if record.op in LOCK_OPS else None


class Hold(msgspec.Struct, frozen=True):
    """One grant of a lock, from ``granted`` until ``ended`` (None: still held when the history ends).

    ``how`` it ended: released, died (the file stays), fenced (a newer generation was granted), lost, open.
    ``blocks_until``: index from which the lock file no longer stands in the way of any process.
    """

    path: str
    actor: str
    owner: str
    generation: int
    granted: Record
    ended: Record | None = None
    how: Ended = "open"
    blocks_until: float = inf

    @property
    def end_i(self) -> float:
        return self.ended.i if self.ended is not None else inf

    @property
    def dead(self) -> bool:
        """The holder's process ended before it gave the lock back."""
        return self.how == "died"

    @property
    def began(self) -> Literal["takes", "reclaims", "fences"]:
        """How the holder got the lock: ``reclaims`` and ``fences`` take it from another owner."""
        if self.granted.op == "lock.fence":
            return "fences"
        return "reclaims" if self.granted.data.get("reclaimed") else "takes"

    def live_at(self, i: int) -> bool:
        """True just after record ``i`` while the holder lives and has not let go."""
        return self.granted.i <= i < self.end_i

    def held_when(self, i: int) -> bool:
        """True if the holder had the lock when record ``i`` happened: a holder that is killed had it until then."""
        return self.granted.i <= i <= self.end_i

    def same_owner(self, other: Hold) -> bool:
        return (self.actor, self.owner) == (other.actor, other.owner)


class Holders:
    """Follows a history record by record, also one that is still being written.

    ``grants``: every hold so far, in the order of the grants. A raised generation (``lock.fence``) is a grant to the
    actor that raised it.
    """

    def __init__(self) -> None:
        self.grants: list[Hold] = []
        self._standing: dict[str, list[int]] = {}  # path -> grants that live, or whose lock file a dead owner left
        self._releasing: set[tuple[object, ...]] = set()

    def standing(self) -> list[Hold]:
        """The current holders, in the order of their grants. A dead holder stays until another owner gets its lock."""
        standing = list(self._standing.values())  # a copy: the live progress is drawn in a thread of its own
        return [self.grants[n] for n in sorted(n for numbers in standing for n in numbers)]

    def see(self, record: Record) -> bool:
        """Take the next record in. True if it may have changed who has a lock."""
        dead = died(record)
        if dead is not None:
            self._end_of(dead, record)
            return True
        if record.op == "clean" and record.data.get("removed"):
            self._removed(record)
            return True
        path = lock_of(record)
        if path is None:
            return False
        if is_fence(record):
            self._grant(record, path, fencing=True)
        elif record.op == "lock" and record.phase == "ok":
            if not self._is_known(record, path):
                self._grant(record, path)
        elif record.op in ("lock.release", "lock.lost"):
            self._let_go(record, path)
        return True

    def _end_of(self, actor: str, record: Record) -> None:
        for numbers in self._standing.values():
            for n in numbers:
                hold = self.grants[n]
                if hold.actor == actor and hold.ended is None:
                    self.grants[n] = replace(hold, ended=record, how="died")

    def _grant(self, record: Record, path: str, *, fencing: bool = False) -> None:
        before = self._standing.get(path, [])
        alive = []
        for n in before:
            hold = self.grants[n]
            if hold.dead:  # what a dead holder left is out of the way once somebody else has the lock
                self.grants[n] = replace(hold, blocks_until=record.i)
            elif fencing:
                self.grants[n] = replace(hold, ended=record, how="fenced", blocks_until=record.i)
            else:
                alive.append(n)
        owner = str(record.data.get("owner") or "")
        self.grants.append(Hold(path, record.actor, owner, int(record.data.get("generation") or 0), record))
        self._standing[path] = [*alive, len(self.grants) - 1]  # last: another thread may be drawing what stands

    def _removed(self, record: Record) -> None:
        """A cleaner removed the lock file. A living holder does not know, and works on."""
        numbers = self._standing.get(transcript_of(record.data.get("path")), [])
        for n in [n for n in numbers if self.grants[n].dead]:
            self.grants[n] = replace(self.grants[n], blocks_until=record.i)
            numbers.remove(n)

    def _is_known(self, record: Record, path: str) -> bool:
        """A fence is recorded as such, and by some owners once more as the end of their wait."""
        n = self._spoken_of(record, path)
        if n is None:
            return False
        hold = self.grants[n]
        return hold.granted.op == "lock.fence" and hold.generation == record.data.get("generation")

    def _let_go(self, record: Record, path: str) -> None:
        # A release may be recorded twice, before (invoke) and after (ok): from the first on no process relies on it.
        key = (record.actor, path, record.data.get("generation"), record.data.get("owner"))
        if record.phase == "invoke":
            self._releasing.add(key)
        elif key in self._releasing:
            self._releasing.discard(key)
            return
        n = self._spoken_of(record, path)
        if n is not None:
            how: Ended = "released" if record.op == "lock.release" else "lost"
            self.grants[n] = replace(self.grants[n], ended=record, how=how, blocks_until=record.i)
            self._standing[path].remove(n)

    def _spoken_of(self, record: Record, path: str) -> int | None:
        """The live hold that a record of its holder is about: same generation and owner if it names them."""
        live = [n for n in self._standing.get(path, ()) if self._alive(n) and self.grants[n].actor == record.actor]
        for key in ("generation", "owner"):
            live = [n for n in live if getattr(self.grants[n], key) == record.data.get(key)] or live
        return live[-1] if live else None

    def _alive(self, n: int) -> bool:
        return self.grants[n].ended is None


@once
def holds(history: Sequence[Record]) -> list[Hold]:
    """Every grant of a numbered history, in the order of the grants."""
    holders = Holders()
    for record in history:
        holders.see(record)
    return holders.grants


@once
def acquires(history: Sequence[Record]) -> list[Span]:
    """Every attempt to get a lock, waits included. (A failure's ``owner`` is the blocker, so it is no key.)"""
    found = spans(history, "lock", "path")
    if all(span.end is not None for span in found):
        return found
    fences = [r for r in history if is_fence(r)]

    def fence_after(start: Record) -> Record | None:
        # A takeover may begin as a wait and end as a fence, without an ``ok`` of its own.
        path = transcript_of(start.data.get("path"))
        return next((f for f in fences if f.i > start.i and f.actor == start.actor and lock_of(f) == path), None)

    return [Span(s.start, fence_after(s.start)) if s.end is None else s for s in found]
