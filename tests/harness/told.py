"""Histories told in a line per record, for the tests of the checkers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from lockjaw.harness.judge.checkers import ScenarioFacts, run_checks
from lockjaw.harness.judge.checkers.examples import FACTS, PATH, Story
from lockjaw.history import Record
from lockjaw.verdict import CheckResult, Verdict

H, V, U = Verdict.HELD, Verdict.VIOLATED, Verdict.UNKNOWN
#: time, actor, operation with its phase ("lock ok"; "info" if there is none), data.
Told = tuple[float, str, str, dict[str, Any]]


def story(*told: Told) -> list[Record]:
    """The history as it comes from its file: no two of its texts are one object."""
    found = Story()
    for t, actor, what, data in told:
        name, _, phase = what.partition(" ")
        found.add(t, actor, name, phase or "info", **data)  # type: ignore[arg-type]
    return msgspec.json.decode(msgspec.json.encode(found.history()), type=list[Record])


def judge(name: str, history: Sequence[Record], facts: ScenarioFacts = FACTS) -> CheckResult:
    return run_checks([name], history, facts)[0]


def asks(t: float, actor: str = "client", **data: Any) -> Told:
    return t, actor, "client.call invoke", {"method": "agent", "run_id": f"run-of-{actor}", **data}


def result(t: float, actor: str = "client", **data: Any) -> Told:
    return t, actor, "client.result", {"answered": True, "reply": "done", **data}


def lock(t: float, actor: str, what: str, **data: Any) -> Told:
    return t, actor, what, {"path": PATH + ".lock", "owner": actor, **data}


END: Told = (99.0, "harness", "run.end", {})
