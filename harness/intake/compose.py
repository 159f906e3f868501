"""From a report to a scenario: what it says is taken over, what it leaves open is assumed or searched for. Pure.

A *shape* is a way for such errors to come about: the cascade of a slow gateway, a gateway that dies, somebody who
holds the session. Each says which values it needs, which of them the report gave, and which are variables of the
search, the most likely value first. Classes that no shape makes are left to the catalogue's scenarios.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.documents import Document
from lockjaw.settings import CLIENT_GRACE_S

from ..incident.scenario import Scenario, scenario_from
from .draft import Draft
from .report import CLASSES, Candidate, Report

PROVIDER = "assumed"  # of a model that the report names without one
_DEFAULT_RUN_S = 60.0
_MODEL_NAME = re.compile(r"[A-Za-z0-9][\w.:@+-]{0,79}(?:/[\w.:@+-]{1,80}){0,3}")
#: HTTP status that makes the runner see each failover reason.
_STATUS = {
    "rate_limit": 429, "overloaded": 503, "auth": 401, "auth_permanent": 403, "billing": 402, "format": 400,
    "model_not_found": 404,
}  # fmt: skip
#: The runtime's own steps, as measured on the real program.
_CONNECT_S, _PREPARE_S, _SETUP_S, _GAP_S, _EMBEDDED_S = 2.6, 1.4, 0.65, 0.6, 0.4
_CHECKS = (
    "never_session_locked", "lock_is_not_a_model_failure", "answered", "executed_once", "same_conversation",
    "one_writer",
    "no_lock_left", "transcript_whole", "degradation_visible",
)  # fmt: skip

Values = Mapping[str, float]


@dataclass(frozen=True)
class Variable:
    """An unknown: its values, the most likely first, and why it is not known."""

    name: str
    values: tuple[float, ...]
    why: str


@dataclass(frozen=True)
class Composition:
    """A scenario with holes.

    Args:
        name: of the scenario; the same report gives the same one.
        shape: how it comes about, in words.
        policy: whose behaviour shows the report's errors.
        variables: what the search may vary.
        scenario: the scenario for one choice of the variables. Raises DocumentError.
        text: the same as YAML.
        assumed: what the report does not say and the scenario needs, in words.
        classes: what goes wrong in it.
        owner: of the lock that is met: alive, dead, other (another program has its pid), nobody (it names none); empty:
            no lock is met, or it is the runtime's own matter.
    """

    name: str
    shape: str
    policy: str
    variables: tuple[Variable, ...]
    scenario: Callable[[Values], Scenario]
    text: Callable[[Values], str]
    assumed: Callable[[Values], tuple[str, ...]]
    classes: tuple[str, ...]
    owner: str = ""

    def choices(self) -> Iterator[dict[str, float]]:
        """Every combination, the most likely first: values by their distance from the first guess, all told."""
        indexed = [range(len(variable.values)) for variable in self.variables]
        for places in sorted(itertools.product(*indexed), key=lambda places: (sum(places), places)):
            yield {v.name: v.values[place] for v, place in zip(self.variables, places, strict=True)}


@dataclass(frozen=True)
class _Basis:
    """What every shape needs of a report."""

    report: Report
    name: str
    policy: str
    policy_why: str
    chain: tuple[Candidate, ...]
    chain_why: str
    run_s: float
    run_why: str
    wait_s: float

    def composition(
        self, shape: str, variables: Sequence[Variable], drafted: Callable[[Values], Draft],
        classes: tuple[str, ...], owner: str,
    ) -> Composition:  # fmt: skip
        """A composition around a draft for each choice."""
        return Composition(
            self.name, shape, self.policy, tuple(variables),
            lambda values: scenario_from(Document.of(drafted(values).plain(), f"{self.name}.yaml"), name=self.name),
            lambda values: drafted(values).text(), lambda values: drafted(values).assumed(), classes, owner,
        )  # fmt: skip


def compose(report: Report) -> Composition | None:
    """The scenario that the report speaks for; None when no shape makes such errors.

    The shapes are tried in the order of how much they explain.
    """
    if not report.errors or (not report.classes and not report.possible):
        return None
    basis = _basis(report)
    way = next((way for way in _STORES if report.has(way.message) and way.classes[0] in report.classes[:1]), None)
    if way is not None:
        return _store(basis, way)
    if report.has(*_NO_SHAPE):
        return None
    if report.has("gateway_closed") and report.has("banner_same", "banner_failed"):
        return _killed(basis)
    if report.has("banner_same", "banner_fresh"):
        return _cascade(basis)
    if any(c.lock for c in basis.chain) and any("was aborted" in c.error for c in basis.chain):
        return _cascade(basis)  # a model is said to be aborted only where one was before it, as in the seed report
    if report.has("run_timeout", "abort_unsettled", "announce") or any("changed while" in c.error for c in basis.chain):
        return None
    if report.has("locked", "lock_error_code") or any(candidate.lock for candidate in report.chain):
        return _held(basis)
    return None


#: Messages that no shape here prints: the catalogue has their scenarios.
_NO_SHAPE = (
    "unauthorized", "refused", "file_system", "active_claim", "revision_conflict", "starting_conflict", "store_lock",
    "active_writer", "lease_held", "takeover", "changed_during_prompt", "lock_stale", "file_lock",
    "force_release", "stuck_session", "stalled_session", "recovery_skipped",
)  # fmt: skip


def name_of(report: Report) -> str:
    """A name for the scenario of a report: the same text, the same name; another text, another one."""
    told = report.digest or hashlib.sha256(json.dumps(report.document(), sort_keys=True).encode()).hexdigest()
    return f"report_{told[:12]}"


# --------------------------------------------------------------------------- what every shape needs


def _basis(report: Report) -> _Basis:
    policy, policy_why = _policy(report)
    chain, chain_why = _chain(report)
    run_s, run_why = _run_limit(report)
    wait_s = BEHAVIOURS[policy].lock_timeout_s
    return _Basis(report, name_of(report), policy, policy_why, chain, chain_why, run_s, run_why, wait_s)


def run_limit(report: Report) -> float | None:
    """The run limit that the report states, or that the client's deadline follows from; nominal seconds."""
    client_s, run_s = report.timers.get("client_timeout_s"), report.timers.get("run_timeout_s")
    if client_s is not None and client_s > CLIENT_GRACE_S:
        run_s = client_s - CLIENT_GRACE_S  # the deadline stands in the error text, so it decides
    return None if run_s is None else min(max(run_s, 1.0), 3600.0)


def _run_limit(report: Report) -> tuple[float, str]:
    run_s, stated = run_limit(report), report.timers.get("run_timeout_s")
    if run_s is None:
        return _DEFAULT_RUN_S, "assumed"
    if stated is not None and abs(run_s - stated) <= 1:
        return run_s, "from the report"
    other = f" (the report says {stated:g} s)" if stated is not None else ""
    return run_s, f"the client's deadline in the report less {CLIENT_GRACE_S:g} s{other}"


def model_names(report: Report) -> list[str]:
    """The models of the report's chain as a scenario names them; none where it names none."""
    return [candidate.model for candidate in _named(report)]


def _policy(report: Report) -> tuple[str, str]:
    """Whose behaviour it is: the banner says it, else the lock wait, else the era."""
    if report.has("banner_same"):
        return "reuse-session", "the banner is that of 2026.4.8 and before"
    if report.has("banner_fresh", "banner_failed"):
        return "fresh-session", "the banner is that of 2026.4.29 and after"
    wait_s = report.timers.get("lock_wait_s")
    if wait_s is not None:
        old = wait_s <= 10.0
        return ("reuse-session" if old else "fresh-session"), f"a lock wait of {wait_s:g} s"
    if report.eras and report.eras[0] != "1":
        return "fresh-session", "the wording is that of 2026.5"
    return "reuse-session", "assumed"


def _named(report: Report) -> list[Candidate]:
    """The chain's candidates, each with a name that a scenario can have, and no two with one on the wire."""
    named: dict[str, Candidate] = {}
    for number, candidate in enumerate(report.chain, 1):
        model = candidate.model if _MODEL_NAME.fullmatch(candidate.model) else f"model-{number}"
        if "/" not in model:
            model = f"{PROVIDER}/{model}"
        named.setdefault(model.partition("/")[2], msgspec.structs.replace(candidate, model=model))
    return list(named.values())


def _chain(report: Report) -> tuple[tuple[Candidate, ...], str]:
    named = _named(report)
    if named:
        missing = max(0, min(_count(report) - len(named), 12))
        for number in range(len(named) + 1, len(named) + 1 + missing):
            named.append(msgspec.structs.replace(report.chain[-1], model=f"{PROVIDER}/model-{number}"))
        return tuple(named), "from the report" if not missing else f"assumed: the names of the last {missing}"
    count = max(1, min(_count(report) or report_waits(report) or 1, 8))
    lock = any(event.session_lock for event in report.events)
    return tuple(
        Candidate(model=f"{PROVIDER}/model-{n}", error="", reason="timeout", lock=lock) for n in range(1, count + 1)
    ), "assumed: the report names none"


def _count(report: Report) -> int:
    return max((event.number("count") or 0 for event in report.of("summary")), default=0)


def report_waits(report: Report) -> int:
    """How many lock waits ran out, each once."""
    return sum(line.startswith("session file locked") for line in report.errors)


def _head(basis: _Basis, shape: str, **run_limit: object) -> Draft:
    report, draft = basis.report, Draft()
    classes = report.classes or report.possible
    draft.put(
        "story",
        f"Composed from a pasted report: {shape}. Classes: {_classes(report)}. {basis.policy}: {basis.policy_why}. "
        "Every value says where it is from.",
    )
    if report.reports:
        draft.put("reports", list(report.reports))
    draft.put("class", list(classes), "as understood" if report.classes else "open between these")
    draft.put("message", "long task", "assumed")
    draft.put("timeout_s", run_limit.get("value", basis.run_s), str(run_limit.get("why", basis.run_why)))
    return draft


def _classes(report: Report) -> str:
    if not report.classes:
        return f"open ({', '.join(report.possible)})"
    return ", ".join(f"{letter} ({CLASSES[letter]})" for letter in report.classes)


def _models(basis: _Basis, draft: Draft, slow_s: float, *, quick: bool) -> None:
    """The chain, and what each model does when it is asked."""
    draft.put("chain", [c.model for c in basis.chain], basis.chain_why)
    models = draft.block("models")
    count = max(1, round(slow_s / 2.0))
    for candidate in basis.chain:
        wire = candidate.model.partition("/")[2]
        status = None if candidate.lock else _STATUS.get(candidate.reason or "")
        if status is not None:
            said = re.sub(r"^(?:HTTP )?N:? ", "", candidate.error)  # its error text without the status
            models.put(
                wire, [{"error": {"status": status, "message": said}}], f"failed with {candidate.reason} in the report"
            )
        elif quick and not _cut_short(candidate):
            models.put(wire, [{"first_token_s": 1.0, "text": "Done."}], "assumed: it would have answered")
        else:
            slow = {"first_token_s": 2.0, "inter_token_s": 2.0, "token": ".", "count": count}
            models.put(wire, [slow], "assumed: how slow; its errors show that it is slower than the run limit")


def _cut_short(candidate: Candidate) -> bool:
    """Did this model fail for being slow?"""
    return not candidate.lock and candidate.reason == "timeout"


def _tail(draft: Draft, says: str, seen: dict[str, Any], holder: str | None) -> Draft:
    draft.put("checks", list(_CHECKS))
    danger: dict[str, Any] = {"says": says, "seen": seen}
    if holder is not None:
        danger["while_locked_by"] = holder
    draft.items("sometimes", (danger, ""))
    return draft


def _time_scale(run_s: float) -> float:
    return 0.04 if run_s <= 120 else 0.01


# --------------------------------------------------------------------------- shapes


def _cascade(basis: _Basis) -> Composition:
    """The client gives up on a slow gateway and runs the turn itself."""
    slow_s = 2.5 * basis.run_s
    # When the gateway's first model is given up its lock is free for a moment; whoever polls then gets it. That moment
    # decides how many of the fallback's models fail on the lock: the unknown of every mixed chain.
    first_free = _CONNECT_S + _PREPARE_S + _SETUP_S + basis.run_s
    guesses, gaps = _moments(basis, first_free)
    variables = [
        Variable("released_s", guesses, "when the gateway gives its first model up and its lock is free for a moment"),
        Variable("gap_s", gaps, "how long that moment is"),
    ]
    shape = "the client gives up on a slow gateway and runs the turn itself"

    def drafted(values: Values) -> Draft:
        lane_s = values["released_s"] - first_free
        draft = _head(basis, shape)
        draft.put("budget_s", round(max(400.0, 6 * basis.run_s)), "assumed")
        draft.put("settle_s", 0, "assumed: the gateway is stopped once the client has ended")
        draft.put("time_scale", _time_scale(basis.run_s))
        _models(basis, draft, slow_s, quick=False)
        best_s = round(_CONNECT_S + _PREPARE_S + _SETUP_S + lane_s + slow_s, 2)
        slow = [c.model for c in basis.chain if c.lock or _STATUS.get(c.reason or "") is None]
        draft.put("answers_s", dict.fromkeys(slow, best_s), "follows from the models")
        pacing = draft.block("pacing", "the runtime's own steps: as measured on the real program")
        pacing.put("connect_s", _CONNECT_S)
        searched = "searched for: time in the gateway's lane before the lock" if lane_s else ""
        pacing.put("prepare_s", round(_PREPARE_S + lane_s, 2), searched)
        pacing.put("setup_s", _SETUP_S)
        pacing.put("between_candidates_s", values["gap_s"], "the lock is free for so long")
        pacing.put("embedded_prepare_s", _EMBEDDED_S)
        return _tail(
            draft, "the client ran out of patience while the gateway held the session lock",
            {"op": "client.call", "phase": "fail", "data": {"kind": "timeout"}}, "gateway",
        )  # fmt: skip

    classes = ("A", "B") if basis.policy == "reuse-session" else ("A", "K", "L")
    return basis.composition(shape, variables, drafted, classes, "alive")


def _moments(basis: _Basis, first_free: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Guesses for the moment at which the gateway's lock is free, and for how long it is."""
    deadline_s = basis.run_s + CLIENT_GRACE_S
    locked_first = _leading_locks(basis.chain)
    tries = max(len(basis.chain), 1)
    all_locked = locked_first == tries and any(c.lock for c in basis.chain)
    if first_free + (tries - 1) * (basis.run_s + _GAP_S) < deadline_s + 5.0:
        # Its chain would end before the client's patience does: it must have begun late.
        return tuple(deadline_s + later for later in (15.0, 40.0, 100.0)), (_GAP_S,)
    if basis.policy != "reuse-session" or all_locked or not any(c.lock for c in basis.chain):
        return (first_free,), (_GAP_S, 0.0) if all_locked else (_GAP_S,)
    per_try_s = 11.0 if basis.wait_s <= 10 else basis.wait_s + 1.0
    aimed = deadline_s + _EMBEDDED_S + locked_first * per_try_s + 2.0
    offsets = (0.0, 0.75, -0.75, 1.5, -1.5, 2.5, 3.5, 5.0, 7.0, -3.0, 9.0, -5.0)
    guesses = tuple(round(aimed + offset, 2) for offset in offsets if aimed + offset >= first_free)
    return guesses or (first_free,), (_GAP_S,)


def _leading_locks(chain: tuple[Candidate, ...]) -> int:
    return next((n for n, candidate in enumerate(chain) if not candidate.lock), len(chain))


def _killed(basis: _Basis) -> Composition:
    """The gateway is lost in mid-turn, and the client runs the turn itself.

    Where the report has a lock error the gateway still lives, for a dead one's lock goes at once: its socket was cut.
    """
    report = basis.report
    lives = any(c.lock for c in basis.chain if c.error) or report.has("locked", "lock_error_code")
    slow_s = 2.5 * basis.run_s
    start_s = _CONNECT_S + _PREPARE_S + _SETUP_S
    last_s = basis.run_s + CLIENT_GRACE_S - 1.0
    times = tuple(round(start_s + part * (last_s - start_s), 1) for part in (0.25, 0.6, 0.05, 0.9))
    variables = (Variable("lost_s", times, "when the socket closed"),)
    how = "the socket closes in mid-turn" if lives else "the gateway dies in mid-turn"
    shape = f"{how} and the client runs the turn itself"

    def drafted(values: Values) -> Draft:
        draft = _head(basis, shape)
        draft.put("budget_s", round(max(400.0, 6 * basis.run_s)), "assumed")
        draft.put("settle_s", 0, "assumed")
        draft.put("time_scale", _time_scale(basis.run_s))
        _models(basis, draft, slow_s, quick=not lives and not any(c.reason for c in basis.chain))
        draft.put("pacing", _pacing(_CONNECT_S, _PREPARE_S), "as measured on the real program")
        if lives:
            draft.put("links", {"cable": {"between": ["client", "gateway"]}})
            cut = {"action": "cut", "target": "cable", "at_s": values["lost_s"]}
            draft.items("faults", (cut, "the gateway lives on; searched for: when"))
        else:
            killed = {"action": "kill", "target": "gateway", "at_s": values["lost_s"]}
            draft.items("faults", (killed, "assumed: a kill (the report shows a closed socket); searched for: when"))
        lost = {"op": "client.call", "phase": "fail", "data": {"kind": "closed"}}
        return _tail(draft, "the client lost its socket", lost, None)

    classes, owner = (("A", "B", "K"), "alive") if lives else (("A", "L", "K"), "dead")
    return basis.composition(shape, variables, drafted, classes, owner)


def _pacing(connect_s: float, prepare_s: float) -> dict[str, float]:
    return {
        "connect_s": connect_s, "prepare_s": prepare_s, "setup_s": _SETUP_S, "between_candidates_s": _GAP_S,
        "embedded_prepare_s": _EMBEDDED_S,
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


def _held(basis: _Basis) -> Composition:
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
    stated = "run_timeout_s" in basis.report.timers or any(map(_cut_short, basis.chain))
    run_s = basis.run_s if stated else max(basis.run_s, round(whole_s + 60.0))
    limit = {} if run_s == basis.run_s else {"value": float(run_s), "why": "assumed: longer than all the waits"}

    def drafted(values: Values) -> Draft:
        held_s = values["held_s"]
        draft = _head(basis, who.shape, **limit)
        draft.put("budget_s", round(max(400.0, held_s + 2 * whole_s)), "assumed")
        draft.put("settle_s", 0, "assumed")
        draft.put("time_scale", _time_scale(run_s))
        _models(basis, draft, 2.5 * basis.run_s, quick=True)
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
        return _tail(draft, says, seen, None if who is _DECOY else who.name)

    return basis.composition(who.shape, (variable,), drafted, who.classes, who.owner)


class _Store(NamedTuple):
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
_STORES = (
    _Store("store_lock", "timeout acquiring session store lock", "reuse-session",
           "the wording is that of 2026.2", _HELD_STORE, ("F", "J")),
    _Store("starting_conflict", "session changed while starting work", "starting-check",
           "the wording is that of 2026.8", _CHANGED, ("N",)),
    _Store("revision_conflict", "reply session initialization conflicted", "revision-check",
           "the wording is that of 2026.6", _CHANGED, ("N",)),
    _Store("busy_database", "database is locked", "busy-store", "SQLite waits 5 s", _HELD_STORE, ("N",)),
)  # fmt: skip


def _store(basis: _Basis, way: _Store) -> Composition:
    """The session store refuses messages: its lock is held for too long, or its revision changes all the time."""
    wait_s = BEHAVIOURS[way.policy].store_wait_s
    basis = replace(basis, policy=way.policy, policy_why=way.policy_why, wait_s=wait_s)
    refused = max(1, min(sum(line.startswith(way.error) for line in basis.report.errors), 8))
    whole_s = round((wait_s * 1.2 if way.shape == _HELD_STORE else 4.0) + 4.0 * refused + 6.0)
    variable = Variable("busy_s", (float(whole_s), 2.0 * whole_s), "how long the store is busy")

    def drafted(values: Values) -> Draft:
        draft = _head(basis, way.shape)
        draft.put("budget_s", 400, "assumed")
        draft.put("settle_s", 0, "assumed")
        draft.put("time_scale", 0.1)
        _models(basis, draft, 2.5 * basis.run_s, quick=True)
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
        return _tail(draft, "the store was busy while the message came in", seen, None)

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
