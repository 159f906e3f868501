"""The shapes of composed scenarios: the ways in which a report's errors come about. Pure.

Each takes what the report says, says which values are variables of the search, the most likely value first, and writes
where every value is from.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.settings import CLIENT_GRACE_S

from .basis import (
    CONNECT_S,
    EMBEDDED_S,
    GAP_S,
    PREPARE_S,
    SETUP_S,
    STATUS,
    Basis,
    Composition,
    Values,
    Variable,
    cut_short,
    head,
    report_waits,
    tail,
)
from .draft import Draft
from .report import Candidate, Report

__all__ = ["STORES", "cascade", "held", "lost", "store"]


def cascade(basis: Basis) -> Composition:
    """The client gives up on a slow gateway and runs the turn itself."""
    slow_s = 2.5 * basis.run_s
    # When the gateway's first model is given up its lock is free for a moment; whoever polls then gets it. That moment
    # decides how many of the fallback's models fail on the lock: the unknown of every mixed chain.
    first_free = CONNECT_S + PREPARE_S + SETUP_S + basis.run_s
    guesses, gaps = _moments(basis, first_free)
    variables = [
        Variable("released_s", guesses, "when the gateway gives its first model up and its lock is free for a moment"),
        Variable("gap_s", gaps, "how long that moment is"),
    ]
    shape = "the client gives up on a slow gateway and runs the turn itself"

    def drafted(values: Values) -> Draft:
        lane_s = values["released_s"] - first_free
        draft = head(basis, shape, budget_s=6 * basis.run_s, slow_s=slow_s, quick=False)
        best_s = round(CONNECT_S + PREPARE_S + SETUP_S + lane_s + slow_s, 2)
        slow = [c.model for c in basis.chain if c.lock or STATUS.get(c.reason or "") is None]
        draft.put("answers_s", dict.fromkeys(slow, best_s), "follows from the models")
        pacing = draft.block("pacing", "the runtime's own steps: as measured on the real program")
        pacing.put("connect_s", CONNECT_S)
        searched = "searched for: time in the gateway's lane before the lock" if lane_s else ""
        pacing.put("prepare_s", round(PREPARE_S + lane_s, 2), searched)
        pacing.put("setup_s", SETUP_S)
        pacing.put("between_candidates_s", values["gap_s"], "the lock is free for so long")
        pacing.put("embedded_prepare_s", EMBEDDED_S)
        return tail(
            draft, "the client ran out of patience while the gateway held the session lock",
            {"op": "client.call", "phase": "fail", "data": {"kind": "timeout"}}, "gateway",
        )  # fmt: skip

    classes = ("A", "B") if basis.policy == "reuse-session" else ("A", "K", "L")
    return basis.composition(shape, variables, drafted, classes, "alive")


def _moments(basis: Basis, first_free: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Guesses for the moment at which the gateway's lock is free, and for how long it is."""
    deadline_s = basis.run_s + CLIENT_GRACE_S
    locked_first = _leading_locks(basis.chain)
    tries = max(len(basis.chain), 1)
    all_locked = locked_first == tries and any(c.lock for c in basis.chain)
    if first_free + (tries - 1) * (basis.run_s + GAP_S) < deadline_s + 5.0:
        # Its chain would end before the client's patience does: it must have begun late.
        return tuple(deadline_s + later for later in (15.0, 40.0, 100.0)), (GAP_S,)
    if basis.policy != "reuse-session" or all_locked or not any(c.lock for c in basis.chain):
        return (first_free,), (GAP_S, 0.0) if all_locked else (GAP_S,)
    per_try_s = 11.0 if basis.wait_s <= 10 else basis.wait_s + 1.0
    aimed = deadline_s + EMBEDDED_S + locked_first * per_try_s + 2.0
    offsets = (0.0, 0.75, -0.75, 1.5, -1.5, 2.5, 3.5, 5.0, 7.0, -3.0, 9.0, -5.0)
    guesses = tuple(round(aimed + offset, 2) for offset in offsets if aimed + offset >= first_free)
    return guesses or (first_free,), (GAP_S,)


def _leading_locks(chain: tuple[Candidate, ...]) -> int:
    return next((n for n, candidate in enumerate(chain) if not candidate.lock), len(chain))


def lost(basis: Basis) -> Composition:
    """The gateway is lost in mid-turn, and the client runs the turn itself.

    Where the report has a lock error the gateway still lives, for a dead one's lock goes at once: its socket was cut.
    """
    report = basis.report
    lives = any(c.lock for c in basis.chain if c.error) or report.has("locked", "lock_error_code")
    slow_s = 2.5 * basis.run_s
    start_s = CONNECT_S + PREPARE_S + SETUP_S
    last_s = basis.run_s + CLIENT_GRACE_S - 1.0
    times = tuple(round(start_s + part * (last_s - start_s), 1) for part in (0.25, 0.6, 0.05, 0.9))
    variables = (Variable("lost_s", times, "when the socket closed"),)
    how = "the socket closes in mid-turn" if lives else "the gateway dies in mid-turn"
    shape = f"{how} and the client runs the turn itself"

    def drafted(values: Values) -> Draft:
        quick = not lives and not any(c.reason for c in basis.chain)
        draft = head(basis, shape, budget_s=6 * basis.run_s, slow_s=slow_s, quick=quick)
        draft.put("pacing", _pacing(CONNECT_S, PREPARE_S), "as measured on the real program")
        if lives:
            draft.put("links", {"cable": {"between": ["client", "gateway"]}})
            cut = {"action": "cut", "target": "cable", "at_s": values["lost_s"]}
            draft.items("faults", (cut, "the gateway lives on; searched for: when"))
        else:
            killed = {"action": "kill", "target": "gateway", "at_s": values["lost_s"]}
            draft.items("faults", (killed, "assumed: a kill (the report shows a closed socket); searched for: when"))
        lost = {"op": "client.call", "phase": "fail", "data": {"kind": "closed"}}
        return tail(draft, "the client lost its socket", lost, None)

    classes, owner = (("A", "B", "K"), "alive") if lives else (("A", "L", "K"), "dead")
    return basis.composition(shape, variables, drafted, classes, owner)


def _pacing(connect_s: float, prepare_s: float) -> dict[str, float]:
    return {
        "connect_s": connect_s, "prepare_s": prepare_s, "setup_s": SETUP_S, "between_candidates_s": GAP_S,
        "embedded_prepare_s": EMBEDDED_S,
    }  # fmt: skip


class _Holder(NamedTuple):
    """Who holds the session in a shape, and what goes wrong then."""

    name: str
    shape: str
    classes: tuple[str, ...]
    owner: str


_WORKS = _Holder("holder", "somebody works with the session when the message comes in", ("F", "B"), "alive")
_LEAKS = _Holder("leaker", "a live process never gives the session's lock back", ("E", "B"), "alive")
_DECOY = _Holder("decoy", "the session's lock names a pid that another program has by now", ("D", "C", "B"), "other")


def _holder_of(report: Report) -> _Holder:
    """Who held the lock: as the classes say, else as the owner's state says, else somebody who works."""
    cause = next((letter for letter in report.classes if letter in "CDEFG"), "")
    if cause in ("C", "D") or any(lock.alive is False for lock in report.locks):
        return _DECOY
    return _LEAKS if cause in ("E", "G") else _WORKS


def held(basis: Basis) -> Composition:
    """Somebody else holds the session while the message comes in."""
    waits = max(report_waits(basis.report), sum(c.lock for c in basis.chain), 1)
    per_try_s = basis.wait_s * 1.05 + 1.0
    whole_s = round(waits * per_try_s + 30.0)
    who = _holder_of(basis.report)
    compaction = basis.report.timers.get("compaction_s")
    holds = (float(round(compaction)),) if compaction else ()
    still_s = _leading_locks(basis.chain) * per_try_s
    variable = Variable(
        "held_s", tuple(dict.fromkeys((*holds, float(whole_s), round(still_s + 5.0), round(2.0 * whole_s)))),
        "how long the holder holds the session",
    )  # fmt: skip
    stated = "run_timeout_s" in basis.report.timers or any(map(cut_short, basis.chain))
    run_s = basis.run_s if stated else max(basis.run_s, round(whole_s + 60.0))
    limit = None if run_s == basis.run_s else (float(run_s), "assumed: longer than all the waits")

    def drafted(values: Values) -> Draft:
        held_s = values["held_s"]
        budget_s = held_s + 2 * whole_s
        draft = head(basis, who.shape, budget_s=budget_s, slow_s=2.5 * basis.run_s, quick=True, run_limit=limit)
        draft.put("pacing", _pacing(1.0, 1.0))
        if who is _DECOY:
            initial = draft.block("initial")
            initial.put("turns", 1)
            lock = {"owner": who.name, "starttime": "absent", "age_s": 60}
            initial.put("lock", lock, "assumed: its pid is another program's, for a dead owner's lock goes at once")
        actor = draft.block("actors").block(who.name)
        actor.put("kind", "scripted")
        _script(actor, who, held_s)
        seen = {"op": "lock", "phase": "invoke", "actor": "gateway"}
        says = "the gateway wanted the session while it was held"
        return tail(draft, says, seen, None if who is _DECOY else who.name)

    return basis.composition(who.shape, (variable,), drafted, who.classes, who.owner)


class StoreTrouble(NamedTuple):
    """A way in which the session store refuses a writer."""

    message: str  # the kind of its error
    error: str  # how its error line begins
    policy: str
    policy_why: str
    shape: str
    classes: tuple[str, ...]


_HELD_STORE = "a writer holds the session store for longer than others wait for it"
_CHANGED = "the store changes while a turn is prepared, a few times a second"
#: The first whose message the report has.
STORES = (
    StoreTrouble("store_lock", "timeout acquiring session store lock", "reuse-session",
           "the wording is that of 2026.2", _HELD_STORE, ("F", "J")),
    StoreTrouble("starting_conflict", "session changed while starting work", "starting-check",
           "the wording is that of 2026.8", _CHANGED, ("N",)),
    StoreTrouble("revision_conflict", "reply session initialization conflicted", "revision-check",
           "the wording is that of 2026.6", _CHANGED, ("N",)),
    StoreTrouble("busy_database", "database is locked", "busy-store", "SQLite waits 5 s", _HELD_STORE, ("N",)),
)  # fmt: skip


def store(basis: Basis, way: StoreTrouble) -> Composition:
    """The session store refuses messages: its lock is held for too long, or its revision changes all the time."""
    wait_s = BEHAVIOURS[way.policy].store_wait_s
    basis = replace(basis, policy=way.policy, policy_why=way.policy_why, wait_s=wait_s)
    refused = max(1, min(sum(line.startswith(way.error) for line in basis.report.errors), 8))
    whole_s = round((wait_s * 1.2 if way.shape == _HELD_STORE else 4.0) + 4.0 * refused + 6.0)
    variable = Variable("busy_s", (float(whole_s), 2.0 * whole_s), "how long the store is busy")

    def drafted(values: Values) -> Draft:
        draft = head(basis, way.shape, budget_s=0.0, slow_s=2.5 * basis.run_s, quick=True, time_scale=0.1)
        draft.put("pacing", _pacing(1.0, 0.5))
        draft.put("initial", {"turns": 1})
        actors = draft.block("actors")
        writer = actors.block("writer")
        writer.put("kind", "scripted")
        if way.shape == _HELD_STORE:
            draft.put("asks_when", {"op": "lock", "phase": "ok", "actor": "writer"})
            writer.items("script", ({"do": "hold_store", "for_s": values["busy_s"]}, "searched for: how long"))
            seen: dict[str, Any] = {"op": "lock", "phase": "ok", "actor": "writer"}
        else:
            often = {"do": "maintain", "count": round(10 * values["busy_s"]), "every_s": 0.1}
            writer.items("script", (often, "assumed: how often; searched for: how long"))
            seen = {"op": "maintain", "actor": "writer"}
        for number in range(2, refused + 1):
            other = actors.block(f"other-{number}", "assumed: one more message for each further error")
            other.put("kind", "client")
            other.put("message", f"message {number}")
            other.put("start", {"at_s": 2.0 * number})
        return tail(draft, "the store was busy while the message came in", seen, None)

    return basis.composition(way.shape, (variable,), drafted, way.classes, "")


def _script(actor: Draft, who: _Holder, held_s: float) -> None:
    """What the holder does."""
    sleep = {"do": "sleep", "for_s": held_s}
    if who is _DECOY:
        actor.put("awaited", False)
        actor.put("script", [sleep])
        return
    take = {"do": "take", "max_hold_s": max(300.0, held_s + 60)}, ""
    note = {"do": "append", "what": "metadata"}, ""
    if who is _LEAKS:
        actor.put("awaited", False)
        lives = {"do": "sleep", "for_s": held_s + 600}, "assumed: it lives on, idle"
        actor.items("script", take, note, ({"do": "leak"}, "its run is over, and the lock stays"), lives)
        return
    actor.items("script", take, note, (sleep, "searched for: how long"), ({"do": "release"}, ""))
