"""Who held which session lock from when to when: the intervals behind the lock-owner band. Pure.

The same small reading of the history as ``lockband.py`` (a test holds the two together), as intervals instead of
one text per record. The sentence about it is told in ``lock_story.py``. The lock of the session list (the store)
is one of them only where it was held so long that others had to wait for it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from lockjaw.history import Record

How = Literal["takes", "reclaims", "fences"]
#: Nominal seconds. An entry of the session list is changed within milliseconds; 5 s is the shortest busy time-out of
#: a store that was ever shipped. Real processes stay below it: 5 s are 200 ms at the usual time scale.
STORE_S = 5.0


class Hold(msgspec.Struct, frozen=True):
    """One stretch in which ``owner`` held ``lock``. ``start`` and ``end`` are positions in the history.

    ``end`` is None when nobody took or gave back the lock before the history ended. ``dead``: the owner's process
    was gone by then, and its lock file still stood. ``how``: ``reclaims`` and ``fences`` are handoffs by force.
    """

    lock: str
    owner: str
    start: int
    end: int | None
    dead: bool = False
    how: How = "takes"


def is_store(path: str) -> bool:
    """Is it the session list, and not a conversation?"""
    return path.endswith("sessions.json")


def lock_path(record: Record) -> str | None:
    """The file whose lock this record is about: a transcript or the session list; None for other records."""
    if record.op not in ("lock", "lock.fence", "lock.release", "lock.lost"):
        return None
    return str(record.data.get("path") or "").removesuffix(".lock")


def long_held_stores(history: Sequence[Record]) -> frozenset[str]:
    """The session lists whose lock somebody held for STORE_S or longer, or that somebody did not get."""
    found, since = set(), {}
    for record in history:
        path = lock_path(record)
        if path is None or not is_store(path):
            continue
        if record.op == "lock" and record.phase == "ok":
            since[path, record.actor] = record.t
        elif record.op == "lock" and record.phase == "fail":
            found.add(path)
        elif record.op in ("lock.release", "lock.lost"):
            begun = since.pop((path, record.actor), record.t)
            found |= {path} if record.t - begun >= STORE_S else set()
    found |= {path for (path, _), begun in since.items() if history[-1].t - begun >= STORE_S}
    return frozenset(found)


def died(record: Record) -> str | None:
    """The actor whose process is gone after this record."""
    if record.op == "actor.exit":
        return str(record.data.get("actor") or record.actor)
    if record.op == "nemesis" and record.data.get("action") == "kill" and record.phase in ("ok", "info"):
        return str(record.data.get("target"))
    return None


class Ownership(msgspec.Struct, frozen=True):
    """All stretches of ownership of a run, in the order in which they began.

    ``before``: position of a record about a lock -> who held that lock until then. ``locks``: those that somebody
    wanted, in that order.
    """

    holds: tuple[Hold, ...]
    before: Mapping[int, tuple[Hold, ...]]
    locks: tuple[str, ...] = ()


def ownership(history: Sequence[Record]) -> Ownership:
    """Work out who held which session lock, in one pass."""
    current: dict[tuple[str, str], Hold] = {}
    ended: dict[tuple[str, str, int], Hold] = {}
    before: dict[int, list[tuple[str, str, int]]] = {}
    stores = long_held_stores(history)
    locks: dict[str, None] = {}

    def close(who: tuple[str, str], at: int) -> None:
        hold = current.pop(who, None)
        if hold is not None:
            ended[*who, hold.start] = replace(hold, end=at)

    for at, record in enumerate(history):
        path = lock_path(record)
        if path is not None and (path in stores or not is_store(path)):
            locks[path] = None
            who = (path, record.actor)
            before[at] = [(*w, h.start) for w, h in current.items() if w[0] == path]
            if record.op in ("lock.release", "lock.lost"):
                close(who, at)
            elif record.phase in ("ok", "info"):
                fenced = record.op == "lock.fence"
                for other in [w for w, h in current.items() if w[0] == path and (fenced or h.dead)]:
                    close(other, at)
                how: How = "fences" if fenced else "reclaims" if record.data.get("reclaimed") else "takes"
                current.setdefault(who, Hold(path, record.actor, at, None, how=how))
        dead = died(record)
        if dead is not None:
            for who in [w for w, h in current.items() if w[1] == dead and not h.dead]:
                close(who, at)
                current[who] = Hold(who[0], who[1], at, None, dead=True)
    every = ended | {(*who, hold.start): hold for who, hold in current.items()}
    return Ownership(
        tuple(sorted(every.values(), key=lambda h: (h.start, h.lock, h.owner))),
        {at: tuple(every[key] for key in keys) for at, keys in before.items()},
        tuple(locks),
    )


def handoffs(spans: Sequence[Hold]) -> list[tuple[Hold, Hold]]:
    """Neighbours on one lock with different owners."""
    last: dict[str, Hold] = {}
    found = []
    for hold in spans:
        before = last.get(hold.lock)
        if before is not None and before.owner != hold.owner:
            found.append((before, hold))
        last[hold.lock] = hold
    return found


class Doubled(msgspec.Struct, frozen=True):
    """A stretch in which two owners used one lock at once: the first one wrote although the second had it.

    ``end`` is None if it lasted to the end.
    """

    first: Hold
    second: Hold
    start: int
    end: int | None


def doubled(history: Sequence[Record], holds: Sequence[Hold]) -> tuple[Doubled, ...]:
    """Every stretch with two owners of one lock, in the order in which they began.

    An owner that has lost its lock unawares and never writes again harms nobody: it is followed, not doubled.
    """
    found = []
    writes: dict[tuple[str, str], list[int]] = {}
    for at, record in enumerate(history):
        if (record.op, record.phase) == ("append", "ok"):
            writes.setdefault((str(record.data.get("path")), record.actor), []).append(at)

    def wrote(hold: Hold, after: int) -> bool:
        known = writes.get((hold.lock, hold.owner), [])
        first = bisect_right(known, after)
        return first < len(known) and (hold.end is None or known[first] <= hold.end)

    current: dict[str, list[Hold]] = {}
    for hold in holds:
        if hold.dead:
            continue
        beside = [other for other in current.get(hold.lock, ()) if other.end is None or other.end > hold.start]
        for other in beside:
            if other.owner != hold.owner and wrote(other, hold.start):
                ends = [end for end in (other.end, hold.end) if end is not None]
                found.append(Doubled(other, hold, hold.start, min(ends) if ends else None))
        current[hold.lock] = [*beside, hold]
    return tuple(found)
