"""Who held which session lock from when to when, as stretches to draw. Pure.

``lockjaw.history.holds`` says who held what; here it becomes what a picture shows: one stretch for a living owner, one
for the lock file that a dead one left. ``lock_story.py`` makes sentences of it. The lock of the session list is one of
them only where an owner held it so long that others had to wait for it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import Literal

import msgspec
from msgspec.structs import replace

from lockjaw.history import Record
from lockjaw.history.holds import Hold, holds, is_session_list, lock_of, transcript_of
from lockjaw.history.ordered import numbered

__all__ = ["Doubled", "Ownership", "Stretch", "doubled", "handoffs", "ownership", "shown_locks"]

How = Literal["takes", "reclaims", "fences"]
#: Nominal seconds. An entry of the session list is changed within milliseconds; 5 s is the shortest busy time-out of
#: a store that was ever shipped. Real processes stay below it: 5 s are 200 ms at the usual time scale.
STORE_S = 5.0


class Stretch(msgspec.Struct, frozen=True):
    """One stretch in which ``owner`` held ``lock``. ``start`` and ``end`` are positions in the history.

    ``end`` is None when the lock was neither taken nor given back before the history ended. ``dead``: the owner's
    process was gone by then, and its lock file still stood. ``how``: ``reclaims`` and ``fences`` are handoffs by force.
    """

    lock: str
    owner: str
    start: int
    end: int | None
    dead: bool = False
    how: How = "takes"


class Ownership(msgspec.Struct, frozen=True):
    """All stretches of ownership of a run, in the order in which they began.

    ``before``: position of a record about a lock -> the owners that held that lock until then. ``locks``: those that
    an actor wanted, in that order.
    """

    stretches: tuple[Stretch, ...]
    before: Mapping[int, tuple[Stretch, ...]]
    locks: tuple[str, ...] = ()


def ownership(history: Sequence[Record]) -> Ownership:
    """Lay out the holds of a history."""
    ordered = numbered(history)
    locks = shown_locks(ordered)
    drawn = _joined(stretch for hold in holds(ordered) if hold.path in locks for stretch in _drawn(hold))
    return Ownership(drawn, _before(ordered, drawn, locks), tuple(locks))


def shown_locks(history: Sequence[Record]) -> dict[str, None]:
    """The locks that a report shows, in the order in which an actor first wanted them."""
    wanted = dict.fromkeys(lock for record in history if (lock := lock_of(record)) is not None)
    lists = [lock for lock in wanted if is_session_list(lock)]
    if not lists:
        return wanted
    missed = {lock_of(record) for record in history if (record.op, record.phase) == ("lock", "fail")}
    end_s = history[-1].t
    long = {h.path for h in holds(history) if (h.ended.t if h.ended else end_s) - h.granted.t >= STORE_S}
    return {lock: None for lock in wanted if lock not in lists or lock in missed or lock in long}


def _drawn(hold: Hold) -> Iterator[Stretch]:
    end = None if hold.ended is None else hold.ended.i
    yield Stretch(hold.path, hold.actor, hold.granted.i, end, how=hold.began)
    if hold.dead and end is not None:
        until = None if hold.blocks_until == inf else int(hold.blocks_until)
        yield Stretch(hold.path, hold.actor, end, until, dead=True)


def _joined(drawn: Iterable[Stretch]) -> tuple[Stretch, ...]:
    """What one owner held twice at the same time is one stretch: it ends when the owner lets go of both."""
    last: dict[tuple[str, str, bool], int] = {}
    found: list[Stretch] = []
    for one in sorted(drawn, key=lambda s: (s.start, s.lock, s.owner)):
        key = (one.lock, one.owner, one.dead)
        before = last.get(key)
        until = inf if before is None else _end(found[before])
        if before is not None and until > one.start:
            end = max(until, _end(one))
            found[before] = replace(found[before], end=None if end == inf else int(end))
        else:
            last[key] = len(found)
            found.append(one)
    return tuple(found)


def _end(stretch: Stretch) -> float:
    return inf if stretch.end is None else stretch.end


def _before(
    history: Sequence[Record], drawn: Sequence[Stretch], locks: Collection[str]
) -> dict[int, tuple[Stretch, ...]]:  # fmt: skip
    current: dict[str, list[Stretch]] = {}
    found = {}
    waiting = iter(drawn)
    coming = next(waiting, None)
    for at, record in enumerate(history):
        lock = lock_of(record)
        if lock is not None and lock in locks:
            current[lock] = [s for s in current.get(lock, ()) if s.end is None or s.end >= at]
            found[at] = tuple(current[lock])
        while coming is not None and coming.start == at:
            current.setdefault(coming.lock, []).append(coming)
            coming = next(waiting, None)
    return found


def handoffs(stretches: Sequence[Stretch]) -> list[tuple[Stretch, Stretch]]:
    """Neighbours on one lock with different owners."""
    last: dict[str, Stretch] = {}
    found = []
    for hold in stretches:
        before = last.get(hold.lock)
        if before is not None and before.owner != hold.owner:
            found.append((before, hold))
        last[hold.lock] = hold
    return found


class Doubled(msgspec.Struct, frozen=True):
    """A stretch in which two owners used one lock at once: the first one wrote although the second had it.

    ``end`` is None if it lasted to the end.
    """

    first: Stretch
    second: Stretch
    start: int
    end: int | None


def doubled(history: Sequence[Record], stretches: Sequence[Stretch]) -> tuple[Doubled, ...]:
    """Every stretch with two owners of one lock, in the order in which they began.

    An owner that has lost its lock unawares and never writes again does no harm: it is followed, not doubled.
    """
    found = []
    writes: dict[tuple[str, str], list[int]] = {}
    for at, record in enumerate(history):
        if (record.op, record.phase) == ("append", "ok"):
            writes.setdefault((transcript_of(record.data.get("path")), record.actor), []).append(at)

    def wrote(hold: Stretch, after: int) -> bool:
        known = writes.get((hold.lock, hold.owner), [])
        first = bisect_right(known, after)
        return first < len(known) and (hold.end is None or known[first] <= hold.end)

    current: dict[str, list[Stretch]] = {}
    for hold in stretches:
        if hold.dead:
            continue
        beside = [other for other in current.get(hold.lock, ()) if other.end is None or other.end > hold.start]
        for other in beside:
            if other.owner != hold.owner and wrote(other, hold.start):
                ends = [end for end in (other.end, hold.end) if end is not None]
                found.append(Doubled(other, hold, hold.start, min(ends) if ends else None))
        current[hold.lock] = [*beside, hold]
    return tuple(found)


def owners_named(owners: Sequence[Stretch]) -> str:
    """``gateway``, ``gateway (dead)``, ``a+b``."""
    return "+".join(dict.fromkeys(h.owner + (" (dead)" if h.dead else "") for h in owners))
