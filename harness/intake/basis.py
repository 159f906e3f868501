"""What every shape of a composed scenario needs of a report: models, limits, policy, and where each is from. Pure."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.documents import Document
from lockjaw.settings import CLIENT_GRACE_S

from ..incident.scenario import Scenario, scenario_from
from .draft import Draft
from .report import CLASSES, Candidate, Report

__all__ = [
    "Basis",
    "Composition",
    "Values",
    "Variable",
    "basis_of",
    "model_names",
    "name_of",
    "report_waits",
    "run_limit",
]

PROVIDER = "assumed"  # of a model that the report names without one
_DEFAULT_RUN_S = 60.0
_MODEL_NAME = re.compile(r"[A-Za-z0-9][\w.:@+-]{0,79}(?:/[\w.:@+-]{1,80}){0,3}")
#: HTTP status that makes the runner see each failover reason.
STATUS = {
    "rate_limit": 429, "overloaded": 503, "auth": 401, "auth_permanent": 403, "billing": 402, "format": 400,
    "model_not_found": 404,
}  # fmt: skip
#: The runtime's own steps, as measured on the real program.
CONNECT_S, PREPARE_S, SETUP_S, GAP_S, EMBEDDED_S = 2.6, 1.4, 0.65, 0.6, 0.4
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
class Basis:
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


def name_of(report: Report) -> str:
    """A name for the scenario of a report: the same text, the same name; another text, another one."""
    told = report.digest or hashlib.sha256(json.dumps(report.document(), sort_keys=True).encode()).hexdigest()
    return f"report_{told[:12]}"


# --------------------------------------------------------------------------- what every shape needs


def basis_of(report: Report) -> Basis:
    policy, policy_why = _policy(report)
    chain, chain_why = _chain(report)
    run_s, run_why = _run_limit(report)
    wait_s = BEHAVIOURS[policy].lock_timeout_s
    return Basis(report, name_of(report), policy, policy_why, chain, chain_why, run_s, run_why, wait_s)


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


def head(
    basis: Basis,
    shape: str,
    *,
    budget_s: float,
    slow_s: float,
    quick: bool,
    run_limit: tuple[float, str] | None = None,
    time_scale: float | None = None,
) -> Draft:
    """What every shape begins with: story, limits and models. ``slow_s``, ``quick``: see ``_put_models``.

    ``run_limit``: in place of the report's, and where it is from. ``time_scale``: in place of what the limit asks for.
    """
    report, draft = basis.report, Draft()
    run_s, run_why = run_limit or (basis.run_s, basis.run_why)
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
    draft.put("timeout_s", run_s, run_why)
    draft.put("budget_s", round(max(400.0, budget_s)), "assumed")
    draft.put("settle_s", 0, "assumed: the gateway is stopped once the client has ended")
    draft.put("time_scale", time_scale or (0.04 if run_s <= 120 else 0.01))
    _put_models(basis, draft, slow_s, quick=quick)
    return draft


def _classes(report: Report) -> str:
    if not report.classes:
        return f"open ({', '.join(report.possible)})"
    return ", ".join(f"{letter} ({CLASSES[letter]})" for letter in report.classes)


def _put_models(basis: Basis, draft: Draft, slow_s: float, *, quick: bool) -> None:
    """The chain, and what each model does when it is asked."""
    draft.put("chain", [c.model for c in basis.chain], basis.chain_why)
    models = draft.block("models")
    count = max(1, round(slow_s / 2.0))
    for candidate in basis.chain:
        wire = candidate.model.partition("/")[2]
        status = None if candidate.lock else STATUS.get(candidate.reason or "")
        if status is not None:
            said = re.sub(r"^(?:HTTP )?N:? ", "", candidate.error)  # its error text without the status
            models.put(
                wire, [{"error": {"status": status, "message": said}}], f"failed with {candidate.reason} in the report"
            )
        elif quick and not cut_short(candidate):
            models.put(wire, [{"first_token_s": 1.0, "text": "Done."}], "assumed: it would have answered")
        else:
            slow = {"first_token_s": 2.0, "inter_token_s": 2.0, "token": ".", "count": count}
            models.put(wire, [slow], "assumed: how slow; its errors show that it is slower than the run limit")


def cut_short(candidate: Candidate) -> bool:
    """Did this model fail for being slow?"""
    return not candidate.lock and candidate.reason == "timeout"


def tail(draft: Draft, says: str, seen: dict[str, Any], holder: str | None) -> Draft:
    draft.put("checks", list(_CHECKS))
    danger: dict[str, Any] = {"says": says, "seen": seen}
    if holder is not None:
        danger["while_locked_by"] = holder
    draft.items("sometimes", (danger, ""))
    return draft
