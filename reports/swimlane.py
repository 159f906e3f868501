"""The swimlane of one run: lanes, bars, lock holds, messages, faults. Pure: history -> ``Swimlane``.

Both pictures of a run, the HTML page and the trace for Perfetto, are laid out from this. Everything refers to
records by their position in the history, so nothing here is a number that the history does not hold. What belongs
together is paired in ``swimlane_pairs.py``; who held which lock is worked out in
``swimlane_locks.py``, and what is marked as a moment in ``swimlane_moments.py``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from lockjaw.history import Record
from lockjaw.history.holds import is_session_list, lock_of
from lockjaw.history.ordered import numbered

from .lock_story import lock_story
from .sentences import sentence
from .swimlane_locks import Doubled, Ownership, Stretch, doubled, owners_named, ownership
from .swimlane_moments import FaultMark, Flag, fault_of, flag_of
from .swimlane_pairs import Arrow, Stay, arrows, stays
from .view import AT_ONCE_S, client_start, subject_of

BarKind = Literal["call", "turn", "wait", "model", "tool", "provider", "paused", "task", "other"]
#: Rows of bars in one lane. A fallback needs three (call, turn, wait or model); a lane of hundreds of requests at
#: once would push the other lanes off the screen, so later ones share the last row and the picture says "overlap".
MAX_ROWS = 6
#: Lanes of their own. With more the lanes no longer fit on two screens; the rest share the last lane, names kept.
MAX_LANES = 40
OTHERS = "others"
#: Roles in the order of the call chain, so that a message goes down and its answer comes back up.
_ORDER = {"client": 0, "gateway": 1, "models": 2, "model": 2}
_KINDS: dict[str, BarKind] = {
    "client.call": "call", "turn": "turn", "lock": "wait", "model.call": "model", "tool": "tool",
    "provider.request": "provider", "nemesis": "paused", "deliver": "task", "read": "task",
}  # fmt: skip
#: What a fault that lasts does to its lane. Others say it in their own words.
_LASTING = {
    "pause": ("frozen by a fault", "frozen"),
    "block": ("stuck in a busy loop: serves no request", "stuck in a busy loop", "stuck"),
    "part": ("blocks everything", "blocked"),
}
#: Lanes without a colour: they never own a lock.
UNCOLOURED = -1
#: Colours of owners: the client's, the gateway's, and so many more for all other owners, in turn.
COLOURS = 7


#: Setting up and clearing up.
_AROUND = frozenset({
    "actor.ready", "actor.exit", "run.start", "run.end", "ledger", "leftover", "next_turn", "transcript.final", "stage",
    "session.final",
})  # fmt: skip


class Lane(msgspec.Struct, frozen=True):
    """One actor. ``rows``: rows of bars that it needs, >= 1. ``pid``: None if the history does not say.

    ``colour``: the same for the same actor in every run of a scenario, so that pages can be compared.
    """

    actor: str
    pid: object = None
    rows: int = 1
    colour: int = UNCOLOURED


class Bar(msgspec.Struct, frozen=True):
    """Something that takes time. ``end`` is None when it never ended; ``labels`` from the longest to the shortest.

    A wait for a session lock names the ``lock`` (its path) and the lane of its ``holder``, if there was one.
    """

    kind: BarKind
    lane: int
    start: int
    end: int | None
    labels: tuple[str, ...]
    failed: bool = False
    row: int = 0
    lock: str | None = None
    holder: int | None = None


class Ownerless(msgspec.Struct, frozen=True):
    """A stretch in which a lock file was in somebody's way that no actor of the run had made, by the record."""

    lock: str
    start: int
    end: int | None
    text: str


class Swimlane(msgspec.Struct, frozen=True):
    """Everything that is drawn of one run. Positions index ``history``; ``begun`` is the client's start in s."""

    history: tuple[Record, ...]
    begun: float
    lanes: tuple[Lane, ...]
    lane_of: tuple[int, ...]
    locks: tuple[str, ...]
    holds: tuple[Stretch, ...]
    doubled: tuple[Doubled, ...]
    ownerless: tuple[Ownerless, ...]
    bars: tuple[Bar, ...]
    arrows: tuple[Arrow, ...]
    flags: tuple[Flag, ...]
    faults: tuple[FaultMark, ...]
    story: str
    span: tuple[int, int]


def swimlane(history: Sequence[Record]) -> Swimlane:
    """Lay out a history. It is read in the order of time, whatever order it comes in."""
    told = tuple(sorted(history, key=lambda r: r.t))
    ordered = numbered(told)  # positions; a finding points at the numbers that the records came with
    begun = client_start(ordered)
    pids = {subject_of(r): r.data["pid"] for r in ordered if r.op == "actor.ready" and "pid" in r.data}
    actors = _actors(ordered)
    number = {actor: min(n, MAX_LANES - 1) for n, actor in enumerate(actors)}
    owned = ownership(ordered)
    bars = _pack([bar for stay in stays(ordered) if (bar := _bar(stay, ordered, owned, number)) is not None], ordered)
    names = actors if len(actors) <= MAX_LANES else [*actors[: MAX_LANES - 1], OTHERS]
    rows = [max((bar.row + 1 for bar in bars if bar.lane == n), default=1) for n in range(len(names))]
    colours = _colours(names, _roles(ordered))
    return Swimlane(
        history=told,
        begun=begun,
        lanes=tuple(Lane(actor, pids.get(actor), n, colours[actor]) for actor, n in zip(names, rows, strict=True)),
        lane_of=tuple(number[subject_of(record)] for record in ordered),
        locks=owned.locks,
        holds=owned.stretches,
        doubled=doubled(ordered, owned.stretches),
        ownerless=tuple(_ownerless(bars, ordered, owned, pids)),
        bars=tuple(bars),
        arrows=arrows(ordered),
        flags=tuple(flag for at, record in enumerate(ordered) if (flag := flag_of(at, record, owned)) is not None),
        faults=tuple(fault for at, r in enumerate(ordered) if (fault := fault_of(at, r, number)) is not None),
        story=lock_story(ordered, owned, begun, pids),
        span=_story_span(ordered),
    )  # fmt: skip


def _actors(history: Sequence[Record]) -> list[str]:
    """Client, gateway, models, then the others as they appear, the harness last."""
    seen = dict.fromkeys(subject_of(record) for record in history)
    seen |= dict.fromkeys(str(r.data["target"]) for r in history if r.op == "nemesis" and r.data.get("target"))
    roles = _roles(history)
    place = {actor: n for n, actor in enumerate(seen)}

    def rank(actor: str) -> tuple[int, int]:
        known = _ORDER.get(roles.get(actor, ""), _ORDER.get(actor, 3))
        return (9 if actor == "harness" else known, place[actor])

    return sorted(seen, key=rank)


def _roles(history: Sequence[Record]) -> dict[str, str]:
    return {subject_of(r): str(r.data.get("role") or "") for r in history if r.op == "actor.ready"}


def _colours(actors: Sequence[str], roles: dict[str, str]) -> dict[str, int]:
    """The first client 0, the first gateway 1, models, harness and the shared lane none, the others in turn."""
    found: dict[str, int] = {}
    for actor in actors:
        role = roles.get(actor) or actor
        first = {"client": 0, "gateway": 1}.get(role)
        if role in ("models", "model", "harness") or actor in ("harness", OTHERS):
            found[actor] = UNCOLOURED
        elif first is not None and first not in found.values():
            found[actor] = first
        else:
            found[actor] = 2 + sum(colour > 1 for colour in found.values()) % (COLOURS - 2)
    return found


def _story_span(history: Sequence[Record]) -> tuple[int, int]:
    """What a reader wants to see first: from the client's start to the last step that was not clearing up."""
    told = [at for at, record in enumerate(history) if record.op not in _AROUND]
    if not told:
        return (0, max(len(history) - 1, 0))
    first = next((at for at in told if history[at].op.startswith("client.")), told[0])
    return (min(first, told[0]) if history[told[0]].op == "nemesis" else first, told[-1])


# --------------------------------------------------------------------------- bars


def _bar(stay: Stay, history: Sequence[Record], owned: Ownership, lanes: dict[str, int]) -> Bar | None:
    """None for what takes no time that a person would call waiting."""
    begin = history[stay.start]
    end = None if stay.end is None else history[stay.end]
    lasted = None if end is None else end.t - begin.t
    kind = _KINDS.get(begin.op, "other")
    failed = stay.cut or (end is not None and end.phase == "fail")
    if kind in ("wait", "other") and lasted is not None and lasted < AT_ONCE_S and not failed:
        return None
    actor = str(begin.data.get("target")) if begin.op == "nemesis" else subject_of(begin)
    before = _before(stay, owned, begin.actor)
    labels = _labels(kind, begin, before)
    holder = lanes[before[-1].owner] if before else None
    lock = lock_of(begin)
    return Bar(
        kind, lanes[actor], stay.start, stay.end, labels, failed, lock=lock if lock in owned.locks else None,
        holder=holder,
    )  # fmt: skip


def _before(stay: Stay, owned: Ownership, actor: str) -> list[Stretch]:
    """The owners that blocked a wait when it ended, or else when it began; the waiter itself comes last."""
    found = owned.before.get(stay.start if stay.end is None else stay.end) or owned.before.get(stay.start, ())
    return [hold for hold in found if hold.owner != actor] or list(found)


def _ownerless(
    bars: Sequence[Bar], history: Sequence[Record], owned: Ownership, pids: dict[str, object]
) -> Iterator[Ownerless]:
    """Lock files without a known owner that blocked a wait; adjacent ones are merged."""
    known = {str(pid): actor for actor, pid in pids.items()}
    taken = {lock: [hold.start for hold in owned.stretches if hold.lock == lock] for lock in owned.locks}
    last: dict[tuple[str, str], Ownerless] = {}
    for bar in sorted(bars, key=lambda b: b.start):
        if bar.kind != "wait" or bar.lock is None or bar.holder is not None:
            continue
        named = "" if bar.end is None else str(history[bar.end].data.get("owner") or "")
        named = named if history[bar.end or 0].phase == "fail" else ""
        pid = named.removeprefix("pid=") if named.startswith("pid=") else ""
        text = f"lock file names pid {pid}" if pid else "lock file, owner unknown"
        text += f" ({known[pid]})" if pid in known else ""
        before = last.get((bar.lock, text))
        if before is None or before.end is None or _between(taken[bar.lock], before.end, bar.start):
            if before is not None:
                yield before
            last[bar.lock, text] = Ownerless(bar.lock, bar.start, bar.end, text)
        else:
            end = None if bar.end is None else max(before.end, bar.end)
            last[bar.lock, text] = replace(before, end=end)
    yield from last.values()


def _between(positions: Sequence[int], start: int, end: int) -> bool:
    """Is one of the sorted positions in between?"""
    after = bisect_right(positions, start)
    return after < len(positions) and positions[after] < end


def _labels(kind: BarKind, begin: Record, before: Sequence[Stretch]) -> tuple[str, ...]:
    data = begin.data
    model = str(data.get("model") or "model")
    match kind:
        case "wait":
            by = owners_named(before)
            if is_session_list(lock_of(begin) or ""):
                return (f"waits for the session list: {by} has it" if by else "waits for the session list", "waits")
            if not by:
                return ("waits for the lock", "waits")
            if by == begin.actor:
                return ("waits for the lock that it holds ITSELF", "waits for ITSELF", "itself")
            return (f"waits for the lock: {by} has it", f"waits: {by} has it", f"locked by {by}", by)
        case "turn":
            return ("continues the turn", "turn") if data.get("resumed") else ("runs the turn", "turn")
        case "call":
            method = str(data.get("method") or "agent")
            return (f"waits for the gateway's answer ({method})", f"calls the gateway: {method}", "call")
        case "model":
            return (f"waits for model {model}", f"model {model}", model)
        case "provider":
            return (f"answers the request for {model}", f"answers {model}", model)
        case "tool":
            return (f"runs tool {data.get('name') or '?'}", str(data.get("name") or "tool"))
        case "paused":
            action = str(data.get("action"))
            says = (str(data.get("says") or action), action.replace("_", " "))
            return {**_LASTING, "toxic": (f"toxic {data.get('toxic')}", "toxic")}.get(action, says)
        case "task":
            return (sentence(begin), begin.op)
        case _:
            return (sentence(begin), begin.op)


def _pack(bars: Sequence[Bar], history: Sequence[Record]) -> list[Bar]:
    """Give each bar a row of its lane that is free when it begins, the topmost one; beyond MAX_ROWS the last."""
    free: dict[int, list[float]] = {}
    packed = []
    for bar in sorted(bars, key=lambda b: (b.start, -(b.end or len(history)))):
        rows = free.setdefault(bar.lane, [])
        begin = history[bar.start].t
        until = float("inf") if bar.end is None else history[bar.end].t
        row = next((n for n, end in enumerate(rows) if end <= begin), None)
        if row is None and len(rows) < MAX_ROWS:
            rows.append(until)
            row = len(rows) - 1
        elif row is None:
            row = MAX_ROWS - 1
            rows[row] = max(rows[row], until)
        else:
            rows[row] = until
        packed.append(replace(bar, row=row))
    return packed
