"""Who held which session lock from when to when: the intervals behind the lock-owner band. Pure.

The same small reading of the history as ``lockband.py`` (a test holds the two together), as intervals instead of
one text per record, and one sentence that answers the question of the report: who held the lock when the fallback
failed?
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lockjaw.history import Record
from lockjaw.reports.sentences import session_of

How = Literal["takes", "reclaims", "fences"]
_HANDOFF: dict[How, str] = {
    "takes": "got the session lock after",
    "reclaims": "took over the lock of",
    "fences": "fenced off",
}
MAX_MOMENTS = 4  # instants named in one sentence; more of them nobody reads


@dataclass(frozen=True)
class Hold:
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


def lock_path(record: Record) -> str | None:
    """The transcript whose lock this record is about; None for the session list and for other records."""
    if record.op not in ("lock", "lock.fence", "lock.release", "lock.lost"):
        return None
    path = str(record.data.get("path") or "").removesuffix(".lock")
    return None if path.endswith("sessions.json") else path


def died(record: Record) -> str | None:
    """The actor whose process is gone after this record."""
    if record.op == "actor.exit":
        return str(record.data.get("actor") or record.actor)
    if record.op == "nemesis" and record.data.get("action") == "kill" and record.phase in ("ok", "info"):
        return str(record.data.get("target"))
    return None


@dataclass(frozen=True)
class Ownership:
    """All stretches of ownership of a run, in the order in which they began.

    ``before``: position of a record about a lock -> who held that lock until then.
    """

    holds: tuple[Hold, ...]
    before: Mapping[int, tuple[Hold, ...]]


def ownership(history: Sequence[Record]) -> Ownership:
    """Work out who held which session lock, in one pass."""
    current: dict[tuple[str, str], Hold] = {}
    ended: dict[tuple[str, str, int], Hold] = {}
    before: dict[int, list[tuple[str, str, int]]] = {}

    def close(who: tuple[str, str], at: int) -> None:
        hold = current.pop(who, None)
        if hold is not None:
            ended[*who, hold.start] = replace(hold, end=at)

    for at, record in enumerate(history):
        path = lock_path(record)
        if path is not None:
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
    )


def locks_of(history: Sequence[Record]) -> tuple[str, ...]:
    """The session locks that somebody wanted, in that order."""
    return tuple(dict.fromkeys(path for record in history if (path := lock_path(record)) is not None))


def lock_story(history: Sequence[Record], owned: Ownership, begun: float, pids: Mapping[str, object]) -> str:
    """Who held the lock when somebody did not get it, or how it changed hands. Seconds count from ``begun``."""

    def moment(position: int) -> str:
        return f"{history[position].t - begun:.1f} s"

    def name(hold: Hold) -> str:
        pid = f" (pid {pids[hold.owner]})" if hold.owner in pids else ""
        return f"{'the dead ' if hold.dead else ''}{hold.owner}{pid}"

    parts = []
    failures: dict[tuple[str, Hold | None, str], list[int]] = {}
    for at, record in enumerate(history):
        path = lock_path(record)
        if path is not None and record.op == "lock" and record.phase == "fail":
            before = [h for h in owned.before[at] if h.owner != record.actor]
            failures.setdefault((record.actor, before[-1] if before else None, path), []).append(at)
    for (actor, holder, _), moments in failures.items():
        when = ", ".join(moment(at) for at in moments[:MAX_MOMENTS]) + (", ..." if len(moments) > MAX_MOMENTS else "")
        times = "" if len(moments) == 1 else f" {len(moments)} times"
        failed = f"{actor} failed to get the session lock{times} (at {when}): "
        if holder is None:
            parts.append(f"{failed}no holder is on record.")
        else:
            until = "to the end" if holder.end is None else f"to {moment(holder.end)}"
            parts.append(f"{failed}{name(holder)} held it from {moment(holder.start)} {until}.")
    if not parts:
        given = handoffs(owned.holds)
        forced = [pair for pair in given if pair[1].how != "takes"]
        if len(given) > MAX_MOMENTS:
            parts.append(f"The session lock changed hands {len(given):,} times.")
            given = forced
        parts += [
            f"At {moment(new.start)} {new.owner} {_HANDOFF[new.how]} {name(old)}." for old, new in given[:MAX_MOMENTS]
        ]
    beside = next(_beside(owned.holds), None)
    if beside is not None:
        first, second = beside
        parts.append(
            f"From {moment(second.start)} two sessions were locked at once: {name(first)} held "
            f"{session_of(first.lock)}, {name(second)} held {session_of(second.lock)}."
        )
    return " ".join(parts) or (
        "Nobody had to wait for a session lock." if owned.holds else "No session lock was taken."
    )


def _beside(spans: Sequence[Hold]) -> Iterator[tuple[Hold, Hold]]:
    """Two owners that held the locks of two sessions at the same time: a conversation in two places."""
    for n, second in enumerate(spans):
        for first in spans[max(0, n - MAX_MOMENTS) : n]:
            apart = first.end is not None and first.end <= second.start
            if first.lock != second.lock and first.owner != second.owner and not apart:
                yield first, second


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
