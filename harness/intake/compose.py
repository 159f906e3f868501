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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.settings import CLIENT_GRACE_S

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
        render: the YAML text for one choice of the variables.
        assumed: what the report does not say and the scenario needs, in words.
    """

    name: str
    shape: str
    policy: str
    variables: tuple[Variable, ...]
    render: Callable[[Values], str]
    assumed: tuple[str, ...] = ()

    def choices(self) -> Iterator[dict[str, float]]:
        """Every combination, the most likely first: values by their distance from the first guess, all told."""
        indexed = [range(len(variable.values)) for variable in self.variables]
        for places in sorted(itertools.product(*indexed), key=lambda places: (sum(places), places)):
            yield {v.name: v.values[place] for v, place in zip(self.variables, places, strict=True)}


@dataclass
class _Draft:
    """A scenario's lines with comments; where each value came from is written beside it."""

    lines: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)

    def text(self, text: str) -> None:
        self.lines.append(text)

    def value(self, key: str, value: object, comment: str) -> None:
        shown = value if isinstance(value, str) else json.dumps(value)
        self.lines.append(f"{key}: {shown}" + (f"  # {comment}" if comment else ""))


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
    assumed: tuple[str, ...]


def compose(report: Report) -> Composition | None:
    """The scenario that the report speaks for; None when no shape makes such errors.

    The shapes are tried in the order of how much they explain.
    """
    if not report.errors or (not report.classes and not report.possible):
        return None
    basis = _basis(report)
    if report.has("unauthorized", "file_system", "revision_conflict", "busy_database", "active_writer", "lease_held"):
        return None
    if report.has("gateway_closed") and report.has("banner_same", "banner_failed"):
        return _killed(basis)
    if report.has("banner_same", "banner_fresh"):
        return _cascade(basis)
    if report.has("takeover", "changed_during_prompt", "lock_stale", "file_lock", "store_lock", "force_release"):
        return None
    if report.has("run_timeout", "abort_unsettled", "announce") or any("changed while" in c.error for c in basis.chain):
        return None
    if report.has("locked", "lock_error_code") or any(candidate.lock for candidate in report.chain):
        return _held(basis)
    return None


def name_of(report: Report) -> str:
    """A name for the scenario of a report: the same errors, the same name."""
    told = "\n".join((*report.errors, *(f"{k}={v}" for k, v in report.timers.items())))
    return f"report_{hashlib.sha256(told.encode()).hexdigest()[:8]}"


# --------------------------------------------------------------------------- what every shape needs


def _basis(report: Report) -> _Basis:
    assumed: list[str] = []
    policy, policy_why = _policy(report)
    chain, chain_why = _chain(report, assumed)
    wait_s = report.timers.get("lock_wait_s", BEHAVIOURS[policy].lock_timeout_s)
    if wait_s != BEHAVIOURS[policy].lock_timeout_s:
        assumed.append(
            f"the report's lock wait is {wait_s:g} s; {policy} waits {BEHAVIOURS[policy].lock_timeout_s:g} s"
        )
    run_s, run_why = _run_limit(report, assumed)
    return _Basis(report, name_of(report), policy, policy_why, chain, chain_why, run_s, run_why, wait_s, tuple(assumed))


def run_limit(report: Report) -> float | None:
    """The run limit that the report states, or that the client's deadline follows from; nominal seconds."""
    client_s, run_s = report.timers.get("client_timeout_s"), report.timers.get("run_timeout_s")
    if client_s is not None and client_s > CLIENT_GRACE_S:
        run_s = client_s - CLIENT_GRACE_S  # the deadline stands in the error text, so it decides
    return None if run_s is None else min(max(run_s, 1.0), 3600.0)


def _run_limit(report: Report, assumed: list[str]) -> tuple[float, str]:
    run_s, stated = run_limit(report), report.timers.get("run_timeout_s")
    if run_s is None:
        assumed.append(f"a run limit of {_DEFAULT_RUN_S:g} s")
        return _DEFAULT_RUN_S, "assumed"
    if stated is not None and abs(run_s - stated) <= 1:
        return run_s, "from the report"
    if stated is not None:
        assumed.append(
            f"a run limit of {run_s:g} s, which the client's deadline follows from (the report says {stated:g} s)"
        )
    return run_s, f"the client's deadline in the report less {CLIENT_GRACE_S:g} s"


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


def _chain(report: Report, assumed: list[str]) -> tuple[tuple[Candidate, ...], str]:
    named = _named(report)
    if named:
        missing = _count(report) - len(named)
        for number in range(len(named) + 1, len(named) + 1 + max(0, min(missing, 12))):
            named.append(msgspec.structs.replace(report.chain[-1], model=f"{PROVIDER}/model-{number}"))
            assumed.append(f"the name of model {number}")
        return tuple(named), "from the report"
    count = max(1, min(_count(report) or report_waits(report) or 1, 8))
    assumed.append(f"the models: the report names none; {count} of them")
    lock = any(event.session_lock for event in report.events)
    return tuple(
        Candidate(model=f"{PROVIDER}/model-{n}", error="", reason="timeout", lock=lock) for n in range(1, count + 1)
    ), "assumed"


def _count(report: Report) -> int:
    return max((event.number("count") or 0 for event in report.of("summary")), default=0)


def report_waits(report: Report) -> int:
    """How many lock waits ran out, each once."""
    return sum(line.startswith("session file locked") for line in report.errors)


def _head(basis: _Basis, draft: _Draft, shape: str) -> None:
    report = basis.report
    draft.text("story: |")
    for line in _wrapped(
        f"Composed from a pasted report: {shape}. Classes: {_classes(report)}. {basis.policy}: {basis.policy_why}."
    ):
        draft.text(f"  {line}")
    if report.reports:
        draft.value("reports", json.dumps(list(report.reports)), "")
    draft.value("class", json.dumps(list(report.classes or report.possible)), "as understood")
    draft.value("message", json.dumps("long task"), "assumed")
    draft.value("timeout_s", basis.run_s, basis.run_why)


def _classes(report: Report) -> str:
    if not report.classes:
        return f"open ({', '.join(report.possible)})"
    return ", ".join(f"{letter} ({CLASSES[letter]})" for letter in report.classes)


def _wrapped(text: str, width: int = 100) -> list[str]:
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + len(word) + 1 > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return [*lines, line]


def _models(basis: _Basis, draft: _Draft, slow_s: float, *, quick: bool) -> None:
    """The chain, and what each model does when it is asked."""
    draft.value("chain", json.dumps([c.model for c in basis.chain]), basis.chain_why)
    draft.text("models:")
    count = max(1, round(slow_s / 2.0))
    for candidate in basis.chain:
        wire = json.dumps(candidate.model.partition("/")[2])
        status = None if candidate.lock else _STATUS.get(candidate.reason or "")
        if status is not None:
            draft.text(f"  {wire}:  # failed with {candidate.reason} in the report")
            said = re.sub(r"^(?:HTTP )?N:? ", "", candidate.error)  # its error text without the status
            draft.text(f"    - {{error: {{status: {status}, message: {json.dumps(said)}}}}}")
        elif quick:
            draft.text(f"  {wire}:  # assumed: it would have answered")
            draft.text('    - {first_token_s: 1.0, text: "Done."}')
        else:
            draft.text(f"  {wire}:  # slower than the run limit, which its errors show; how slow is assumed")
            draft.text(f'    - {{first_token_s: 2.0, inter_token_s: 2.0, token: ".", count: {count}}}')


def _tail(basis: _Basis, draft: _Draft, says: str, seen: str, holder: str | None) -> str:
    draft.text(f"checks: [{', '.join(_CHECKS)}]")
    draft.text("sometimes:")
    draft.text(f"  - says: {says}")
    draft.text(f"    seen: {seen}")
    if holder is not None:
        draft.text(f"    while_locked_by: {holder}")
    return "\n".join(draft.lines) + "\n"


# --------------------------------------------------------------------------- shapes


def _cascade(basis: _Basis) -> Composition:
    """The client gives up on a slow gateway and runs the turn itself."""
    deadline_s = basis.run_s + CLIENT_GRACE_S
    slow_s = 2.5 * basis.run_s
    locked_first = _leading_locks(basis.chain)
    tries = max(len(basis.chain), 1)
    per_try_s = 11.0 if basis.wait_s <= 10 else basis.wait_s + 1.0
    all_locked = locked_first == tries and any(c.lock for c in basis.chain)
    # When the gateway's first model is given up its lock is free for a moment; whoever polls then gets it. That moment
    # decides how many of the fallback's models fail on the lock: the unknown of every mixed chain.
    first_free = _CONNECT_S + _PREPARE_S + _SETUP_S + basis.run_s
    guesses: tuple[float, ...]
    gaps: tuple[float, ...]
    if first_free + (tries - 1) * (basis.run_s + _GAP_S) < deadline_s + 5.0:
        # Its chain would end before the client's patience does: it must have begun late.
        guesses, gaps = tuple(deadline_s + later for later in (15.0, 40.0, 100.0)), (_GAP_S,)
    elif basis.policy != "reuse-session" or all_locked or not any(c.lock for c in basis.chain):
        guesses = (first_free,)
        gaps = (_GAP_S, 0.0) if all_locked else (_GAP_S,)
    else:
        aimed = deadline_s + _EMBEDDED_S + locked_first * per_try_s + 2.0
        offsets = (0.0, 0.75, -0.75, 1.5, -1.5, 2.5, 3.5, 5.0, 7.0, -3.0, 9.0, -5.0)
        guesses = tuple(round(aimed + offset, 2) for offset in offsets if aimed + offset >= first_free)
        guesses, gaps = guesses or (first_free,), (_GAP_S,)
    variables = [
        Variable("released_s", guesses, "when the gateway gives its first model up and its lock is free for a moment"),
        Variable("gap_s", gaps, "how long that moment is"),
    ]
    assumed = (*basis.assumed, "how slow the models are", "the runtime's own steps: as measured on the real program")

    def render(values: Values) -> str:
        lane_s = values["released_s"] - first_free
        draft = _Draft()
        _head(basis, draft, "the client gives up on a slow gateway and runs the turn itself")
        draft.value("budget_s", round(max(400.0, 6 * basis.run_s)), "assumed")
        draft.value("settle_s", 0, "assumed: the gateway is stopped once the client has ended")
        draft.value("time_scale", 0.04 if basis.run_s <= 120 else 0.01, "")
        _models(basis, draft, slow_s, quick=False)
        best_s = json.dumps(round(_CONNECT_S + _PREPARE_S + _SETUP_S + lane_s + slow_s, 2))
        slow = [c.model for c in basis.chain if c.lock or _STATUS.get(c.reason or "") is None]
        draft.value("answers_s", json.dumps(dict.fromkeys(slow, float(best_s))), "follows from the models")
        draft.text("pacing:")
        draft.text(f"  connect_s: {_CONNECT_S}")
        comment = "searched for: time in the gateway's lane before the lock" if lane_s else "as measured"
        draft.text(f"  prepare_s: {round(_PREPARE_S + lane_s, 2)}  # {comment}")
        draft.text(f"  setup_s: {_SETUP_S}")
        draft.text(f"  between_candidates_s: {values['gap_s']}  # the lock is free for so long")
        draft.text(f"  embedded_prepare_s: {_EMBEDDED_S}")
        return _tail(
            basis, draft, "the client ran out of patience while the gateway held the session lock",
            "{op: client.call, phase: fail, data: {kind: timeout}}", "gateway",
        )  # fmt: skip

    return Composition(
        basis.name, "a slow gateway, a client that gives up and runs the turn itself", basis.policy,
        tuple(variables), render,
        assumed,
    )  # fmt: skip


def _leading_locks(chain: tuple[Candidate, ...]) -> int:
    return next((n for n, candidate in enumerate(chain) if not candidate.lock), len(chain))


def _killed(basis: _Basis) -> Composition:
    """The gateway dies in mid-turn, and the client runs the turn itself."""
    slow_s = 2.5 * basis.run_s
    start_s = _CONNECT_S + _PREPARE_S + _SETUP_S
    last_s = basis.run_s + CLIENT_GRACE_S - 1.0
    times = tuple(round(start_s + part * (last_s - start_s), 1) for part in (0.25, 0.6, 0.05, 0.9))
    variables = (Variable("killed_s", times, "when the gateway was lost"),)
    assumed = (
        *basis.assumed, "the gateway was killed: the report only shows that its socket closed",
        "how slow the models are",
    )  # fmt: skip

    def render(values: Values) -> str:
        draft = _Draft()
        _head(basis, draft, "the gateway is lost in mid-turn and the client runs the turn itself")
        draft.value("budget_s", round(max(400.0, 6 * basis.run_s)), "assumed")
        draft.value("settle_s", 0, "assumed")
        draft.value("time_scale", 0.04 if basis.run_s <= 120 else 0.01, "")
        _models(basis, draft, slow_s, quick=not any(c.reason for c in basis.chain))
        draft.text(
            f"pacing: {{connect_s: {_CONNECT_S}, prepare_s: {_PREPARE_S}, setup_s: {_SETUP_S}, "
            f"between_candidates_s: {_GAP_S}, embedded_prepare_s: {_EMBEDDED_S}}}"
        )
        draft.text("faults:")
        draft.text(f"  - {{action: kill, target: gateway, at_s: {values['killed_s']}}}  # searched for")
        return _tail(
            basis, draft, "the client lost its socket", "{op: client.call, phase: fail, data: {kind: closed}}", None
        )

    return Composition(basis.name, "a gateway that is lost in mid-turn", basis.policy, variables, render, assumed)


def _held(basis: _Basis) -> Composition:
    """Somebody else holds the session while the message comes in."""
    waits = max(report_waits(basis.report), sum(c.lock for c in basis.chain), 1)
    per_try_s = basis.wait_s * 1.05 + 1.0
    whole_s = round(waits * per_try_s + 30.0)
    dead = any(lock.alive is False for lock in basis.report.locks)
    compaction = basis.report.timers.get("compaction_s")
    holds = (float(round(compaction)),) if compaction else ()
    still_s = _leading_locks(basis.chain) * per_try_s
    variable = Variable(
        "held_s", tuple(dict.fromkeys((*holds, float(whole_s), round(still_s + 5.0), round(2.0 * whole_s)))),
        "how long the holder holds the session",
    )  # fmt: skip
    who = "decoy" if dead or "D" in basis.report.classes else "holder"
    run_s = max(basis.run_s, round(whole_s + 60.0)) if "run_timeout_s" not in basis.report.timers else basis.run_s
    assumed = [*basis.assumed, "who holds the session: the report shows only that somebody does"]
    if who == "decoy":
        assumed.append("the owner's pid looked alive to the waiter, for a dead owner's lock is removed at once")

    def render(values: Values) -> str:
        draft = _Draft()
        _head(basis, draft, "somebody else holds the session when the message comes in")
        if run_s != basis.run_s:
            draft.lines[-1] = f"timeout_s: {json.dumps(float(run_s))}  # assumed: longer than all the waits"
        draft.value("budget_s", round(max(400.0, values["held_s"] + 2 * whole_s)), "assumed")
        draft.value("settle_s", 0, "assumed")
        draft.value("time_scale", 0.04 if run_s <= 120 else 0.01, "")
        _models(basis, draft, 2.5 * basis.run_s, quick=True)
        draft.text(
            f"pacing: {{connect_s: 1.0, prepare_s: 1.0, setup_s: {_SETUP_S}, between_candidates_s: {_GAP_S}, "
            f"embedded_prepare_s: {_EMBEDDED_S}}}"
        )
        if who == "decoy":
            draft.text("initial:")
            draft.text("  turns: 1")
            draft.text("  lock: {owner: decoy, starttime: absent, age_s: 60}  # assumed: its pid is somebody else's")
        draft.text("actors:")
        draft.text(f"  {who}:")
        draft.text("    kind: scripted")
        if who == "decoy":
            draft.text("    awaited: false")
            draft.text(f"    script: [{{do: sleep, for_s: {values['held_s']}}}]")
        else:
            draft.text("    script:")
            draft.text(f"      - {{do: take, max_hold_s: {max(300.0, values['held_s'] + 60)}}}")
            draft.text("      - {do: append, what: metadata}")
            draft.text(f"      - {{do: sleep, for_s: {values['held_s']}}}  # searched for")
            draft.text("      - {do: release}")
        says = "the gateway wanted the session while it was held"
        holder = None if who == "decoy" else who
        return _tail(basis, draft, says, "{op: lock, phase: invoke, actor: gateway}", holder)

    return Composition(
        basis.name,
        "somebody who holds the session when the message comes in",
        basis.policy,
        (variable,),
        render,
        tuple(assumed),
    )
