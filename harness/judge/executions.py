"""Executions of a turn: who ran it, how often, and whether two ran it at once. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import msgspec
from msgspec.structs import replace

from lockjaw.history import Record
from lockjaw.history.holds import Hold, holds
from lockjaw.history.ordered import once
from lockjaw.history.spans import Span, spans

from .clients import TURN_METHODS


class Execution(msgspec.Struct, frozen=True):
    """One execution of a turn by one actor: its provider calls and tool runs.

    ``fenced_at``: index from which its writes were refused, inf if never. Model candidates that one run tries one
    after the other are one execution.
    """

    turn: str
    actor: str
    run_id: str
    session_id: str
    resumed: bool
    start: Record
    end: Record | None
    calls: tuple[Span, ...] = ()
    tools: tuple[Span, ...] = ()
    fenced_at: float = inf

    @property
    def end_i(self) -> float:
        return self.end.i if self.end is not None else inf

    @property
    def actions(self) -> list[Record]:
        """Where it asked a model or ran a tool, in order; empty for an execution that never got that far."""
        return sorted((s.start for s in (*self.calls, *self.tools)), key=lambda r: r.i)


@once
def executions(history: Sequence[Record]) -> list[Execution]:
    """Every execution of every turn, ordered by its first action (those without any: by their start)."""
    turns = spans(history, "turn", "turn_id", "run_id")
    names = _turn_names(history, turns)
    found: list[Execution] = []
    for span in turns:
        data, run_id = span.start.data, str(span.start.data.get("run_id") or "")
        before = next((e for e in reversed(found) if (e.actor, e.run_id) == (span.actor, run_id)), None)
        if before is not None and before.turn == names[span.start.i] and _failed_before(before, span.start):
            # The next candidate of the same run, in the same process.
            found[found.index(before)] = replace(before, end=span.end)
            continue
        session_id = str(data.get("session_id") or "")
        resumed = bool(data.get("resumed"))
        found.append(Execution(names[span.start.i], span.actor, run_id, session_id, resumed, span.start, span.end))
    calls = _shared_out(found, spans(history, "model.call", "call_id"))
    tools = _shared_out(found, spans(history, "tool", "run_id", "tool_call_id"))
    fenced = [h for h in holds(history) if h.how == "fenced"]
    full = [
        replace(e, calls=tuple(calls[n]), tools=tuple(tools[n]), fenced_at=_fenced_at(e, fenced))
        for n, e in enumerate(found)
    ]
    return sorted(full, key=lambda e: e.actions[0].i if e.actions else e.start.i)


def _failed_before(execution: Execution, record: Record) -> bool:
    end = execution.end
    return end is not None and (end.op, end.phase) == ("turn", "fail") and end.i < record.i


def _turn_names(history: Sequence[Record], turns: Sequence[Span]) -> dict[int, str]:
    """Start index -> name of the turn. A client's own execution belongs to the turn of the call it had made."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            key = parent[key]
        return key

    names = {}
    for span in turns:
        data = span.start.data
        keys = [f"turn {data['turn_id']}" if data.get("turn_id") else f"message {data.get('message')}"]
        if data.get("run_id"):
            keys.append(f"run {data['run_id']}")
        asked = [
            r.data["run_id"]
            for r in history
            if r.op == "client.call" and r.phase == "invoke" and r.actor == span.actor and r.i < span.start.i
            if r.data.get("run_id") and str(r.data.get("method") or "") in TURN_METHODS
        ]
        keys += [f"run {run_id}" for run_id in asked[-1:]]
        for key in keys[1:]:
            parent[root(key)] = root(keys[0])
        names[span.start.i] = keys[0]
    return {i: root(key) for i, key in names.items()}


def _shared_out(found: Sequence[Execution], items: Sequence[Span]) -> list[list[Span]]:
    """Each call to the execution that made it: same actor and run, the last one begun before it."""
    shares: list[list[Span]] = [[] for _ in found]
    for item in items:
        run_id = str(item.start.data.get("run_id") or "")
        owners = [
            n
            for n, e in enumerate(found)
            if e.actor == item.actor and e.start.i < item.start.i and run_id in ("", e.run_id)
        ]
        if owners:
            shares[owners[-1]].append(item)
    return shares


def _fenced_at(execution: Execution, fenced: Sequence[Hold]) -> float:
    for hold in fenced:
        during = execution.start.i < hold.end_i < execution.end_i
        ours = not execution.session_id or execution.session_id in hold.path
        anew = hold.ended is not None and hold.ended.actor == hold.actor  # it took its own lock anew
        if hold.actor == execution.actor and during and ours and not anew:
            return hold.end_i
    return inf


@once
def turn_executions(history: Sequence[Record]) -> int:
    """How often the user's turn was executed: a continued (resumed) turn counts with the one it continues."""
    acted = [e for e in executions(history) if e.actions]
    per_turn: dict[str, int] = {}
    for n, execution in enumerate(acted):
        first = not any(e.turn == execution.turn for e in acted[:n])
        if first or not execution.resumed or together(history, execution, acted[:n]):
            per_turn[execution.turn] = per_turn.get(execution.turn, 0) + 1
    return max(per_turn.values(), default=0)


def together(history: Sequence[Record], late: Execution, earlier: Sequence[Execution]) -> tuple[Record, Record] | None:
    """Two records that prove that ``late`` ran while an earlier execution of its turn still did, or None.

    Either two provider calls overlap in time, or the earlier one acted again after the later one had begun to. A
    fenced run's open request does not count (a frozen process cannot hang up); whatever it starts after the
    fence does.
    """
    for early in earlier:
        if early.turn != late.turn or not late.actions:
            continue
        again = next((a for a in early.actions if a.i > late.actions[0].i), None)
        if again is not None:
            return late.actions[0], again
        for a in early.calls:
            end_s = a.end_s
            if a.start.i < early.fenced_at < a.end_i:
                end_s = history[int(early.fenced_at)].t
            for b in late.calls:
                if a.start.t < b.end_s and b.start.t < end_s:
                    return a.start, b.start
    return None
