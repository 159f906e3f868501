"""Where two runs part: the first step of each actor that the other run did not take. Pure.

Which of a record's values count is the harness's business (its causal skeleton); it is passed in, because reports
and harness do not know each other. Times never count, nor how the steps of different actors interleave: real
processes would differ in that every time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from lockjaw.history import Record
from lockjaw.history.holds import is_session_list

from .sentences import sentence
from .view import client_start, subject_of

Skeleton = Callable[[Sequence[Record]], Sequence[Record]]

#: They differ between runs that one compares on purpose (old lock algorithms count no generations), and do not say
#: what happened.
_GIVEN = ("policy", "seed", "engine", "scenario", "scale", "generation")
_LEFT_OUT = frozenset({"run.start", "actor.ready", "lane.wait"})
_to_json = json.JSONEncoder(sort_keys=True, default=str).encode


#: Steps that a law or the outcome hangs on. The others (which entry is written first, which request comes in when)
#: also differ between runs that come to the same.
_DECIDES = frozenset({
    "nemesis", "client.call", "client.result", "fallback", "lock", "lock.fence", "lock.lost", "lock.limit", "turn",
    "tool", "model.decision", "append.refused", "gateway.abort", "deliver", "read", "clean", "rotate", "next_turn",
})  # fmt: skip


class Divergence(msgspec.Struct, frozen=True):
    """Where one actor's steps part. ``left`` and ``right``: positions in the two histories, None: no more steps there.

    ``at_s``: nominal seconds from the client's start, the earlier of the two. ``first``: of all actors' differences
    the first that a law or the outcome hangs on; without any such difference, the earliest.
    """

    actor: str
    left: int | None
    right: int | None
    at_s: float
    says: str
    first: bool = False


class Mark(msgspec.Struct, frozen=True):
    """What a page marks in one run. ``first`` as in ``Divergence``. ``against``: the other run's name."""

    at: int
    says: str
    first: bool
    against: str


def divergences(left: Sequence[Record], right: Sequence[Record], skeleton: Skeleton) -> tuple[Divergence, ...]:
    """One entry per actor whose steps differ, the earliest first; empty: both runs did the same."""
    ours, theirs = _steps(left, skeleton), _steps(right, skeleton)
    found = []
    for actor in dict.fromkeys([*ours, *theirs]):
        mine, other = ours.get(actor, []), theirs.get(actor, [])
        same = next(
            (n for n, (a, b) in enumerate(zip(mine, other, strict=False)) if a[1] != b[1]), min(len(mine), len(other))
        )
        a = mine[same][0] if same < len(mine) else None
        b = other[same][0] if same < len(other) else None
        if a is None and b is None:
            continue
        moments = [_since(h, at) for h, at in ((left, a), (right, b)) if at is not None]
        found.append(Divergence(actor, a, b, min(moments), f"{actor}: {_told(left, a)}; there: {_told(right, b)}"))
    found.sort(key=lambda d: d.at_s)
    decisive = (n for n, d in enumerate(found) if _decides(left, d.left) or _decides(right, d.right))
    first = next(decisive, 0)
    return tuple(msgspec.structs.replace(d, first=n == first) for n, d in enumerate(found))


def _decides(history: Sequence[Record], at: int | None) -> bool:
    return at is not None and history[at].op in _DECIDES


def marks(
    left: Sequence[Record], right: Sequence[Record], found: Sequence[Divergence], names: tuple[str, str]
) -> tuple[tuple[Mark, ...], tuple[Mark, ...]]:
    """What to mark in each of the two runs, which are called ``names``."""
    ours, theirs = [], []
    for d in found:
        if d.left is not None:
            ours.append(Mark(d.left, d.says, d.first, names[1]))
        if d.right is not None:
            says = f"{d.actor}: {_told(right, d.right)}; there: {_told(left, d.left)}"
            theirs.append(Mark(d.right, says, d.first, names[0]))
    return tuple(ours), tuple(theirs)


def lines(names: tuple[str, str], found: Sequence[Divergence]) -> list[str]:
    """The differences as text, for a terminal."""
    if not found:
        return [f"{names[0]} and {names[1]}: the same steps, actor by actor"]
    told = [f"  {d.at_s:8.1f} s  {d.says}{' (the first that a law or the outcome hangs on)' * d.first}" for d in found]
    return [f"{names[0]} and {names[1]} part:", *told]


def _steps(history: Sequence[Record], skeleton: Skeleton) -> dict[str, list[tuple[int, str]]]:
    """Actor -> (position, what happened) of each step that counts."""
    steps: dict[str, list[tuple[int, str]]] = {}
    for at, record in enumerate(history):
        for bare in skeleton([record]):
            if bare.op in _LEFT_OUT or _bookkeeping(record):
                continue
            # An exit is the actor's: the order in which different processes end means nothing.
            data: dict[str, Any] = {k: v for k, v in bare.data.items() if k not in _GIVEN}
            steps.setdefault(subject_of(record), []).append((at, _to_json((bare.op, bare.phase, data))))
    return steps


def _bookkeeping(record: Record) -> bool:
    """Transcript entries that are no message, and a moment's lock on the session list."""
    if record.op == "append":
        return not record.data.get("role")
    return is_session_list(record.data.get("path"))


def _told(history: Sequence[Record], at: int | None) -> str:
    return "nothing more" if at is None else f"'{sentence(history[at])}' at {_since(history, at):.1f} s"


def _since(history: Sequence[Record], at: int) -> float:
    return history[at].t - client_start(history)
