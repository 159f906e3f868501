"""After the holder ended or died, the next acquire succeeds within the scenario's bound."""

from __future__ import annotations

from collections.abc import Sequence

from lockjaw.history import Record
from lockjaw.history.holds import Hold, acquires, holds, transcript_of
from lockjaw.history.spans import Span, held_up_s
from lockjaw.verdict import CheckResult, Verdict

from ..clients import GIVEN_UP
from .facts import ScenarioFacts

NAME = "recovered_within"


def check(history: Sequence[Record], facts: ScenarioFacts) -> CheckResult:
    """After the holder ended or died, the next acquire succeeds within the scenario's bound.

    The clock starts when the lock is free *and* somebody wants it; it stops while the search holds an actor up.
    Waits that were called off, and waiters that died, prove nothing. UNKNOWN without a bound, or when no
    process wanted a lock that had had a holder.
    """
    bound_s = facts.recovered_within_s
    if bound_s is None:
        return CheckResult(NAME, Verdict.UNKNOWN, "the scenario names no bound")
    grants, asked = holds(history), acquires(history)
    slowest: float | None = None
    for hold in grants:
        if hold.ended is None or hold.how == "fenced" or any(h.live_at(hold.ended.i) for h in _others(grants, hold)):
            continue
        found = _recovery(history, hold, hold.ended, grants, asked, bound_s)
        if isinstance(found, CheckResult):
            return found
        slowest = max(slowest or 0.0, found) if found is not None else slowest
    if slowest is None:
        return CheckResult(NAME, Verdict.UNKNOWN, "no process wanted the lock after its holder had ended")
    return CheckResult(NAME, Verdict.HELD, f"the slowest recovery took {slowest:.2f} s; the bound is {bound_s:g} s")


def _others(grants: Sequence[Hold], hold: Hold) -> list[Hold]:
    return [h for h in grants if h.path == hold.path and h is not hold]


def _recovery(
    history: Sequence[Record], hold: Hold, free: Record, grants: Sequence[Hold], asked: Sequence[Span], bound_s: float
) -> CheckResult | float | None:
    """Seconds from free-and-wanted to the next grant, a violation, or None if no living process asked for it."""
    after = next((h for h in grants if h.path == hold.path and h.granted.i > free.i), None)
    until = after.granted.i if after is not None else len(history)
    waiting = [
        a
        for a in asked
        if transcript_of(a.start.data.get("path")) == hold.path and free.i < a.end_i and a.start.i < until
        if a.outcome != "died" and not (a.outcome == "fail" and a.end and a.end.data.get("kind") in GIVEN_UP)
    ]
    if not waiting:
        return None
    first = min(waiting, key=lambda a: a.start.i)
    wanted_s = max(free.t, first.start.t)
    took_s = (after.granted.t if after is not None else history[-1].t) - wanted_s
    ended = "died" if hold.how == "died" else "let go"
    if after is None and any(a.outcome == "fail" for a in waiting):
        ends = tuple(a.end.i for a in waiting if a.end is not None and a.outcome == "fail")
        finding = f"{hold.actor} {ended}, and {first.actor} still did not get the lock"
        return CheckResult(NAME, Verdict.VIOLATED, finding, (free.i, *ends))
    bound_s += held_up_s(history, wanted_s, wanted_s + took_s)
    if took_s > bound_s:
        finding = f"{took_s:.2f} s passed after {hold.actor} {ended}; the bound is {bound_s:g} s"
        witness = (free.i, after.granted.i) if after is not None else (free.i, first.start.i)
        return CheckResult(NAME, Verdict.VIOLATED, finding, witness)
    return took_s if after is not None else None
