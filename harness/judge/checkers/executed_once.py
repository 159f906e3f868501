"""The turn and each tool call's effect happen at most once."""

from __future__ import annotations

from collections.abc import Sequence

from lockjaw.history import Record
from lockjaw.history.spans import Span
from lockjaw.verdict import CheckResult, Verdict

from ..clients import trouble
from ..executions import Execution, executions, together
from ..requests import at_once, requests_of_turns, same_question
from .facts import ScenarioFacts

NAME = "executed_once"


def check(history: Sequence[Record], facts: ScenarioFacts) -> CheckResult:
    """The turn and each tool call's effect happen at most once.

    One turn may be *continued* by another process once the earlier execution has ended, was aborted or fenced, or
    its process died. Violations: two executions of one turn at work at the same time; a turn begun anew after an
    execution had reached a model or a tool; one tool call run by two executions; an effect in the ledger more
    often than allowed. An execution that reached neither model nor tool executed nothing.
    """
    found = [e for e in executions(history) if e.actions]
    for problem in (_ledger(history, facts), _at_once(history, found), _anew(found), _tools_twice(found)):
        if problem is not None:
            return problem
    if not found:
        return _from_outside(history)
    continued = len({e.turn for e in found}) < len(found)
    if continued or trouble(history):
        ran = "was continued, not run again" if continued else "ran once"
        return CheckResult(NAME, Verdict.HELD, f"the turn {ran}")
    return CheckResult(NAME, Verdict.UNKNOWN, "nothing went wrong that could have led to a second run of the turn")


def _ledger(history: Sequence[Record], facts: ScenarioFacts) -> CheckResult | None:
    for record in history:
        if record.op == "ledger":
            key, count = str(record.data.get("key")), int(record.data.get("count") or 0)
            allowed = facts.ledger.get(key, 1)
            if count > allowed:
                finding = f"the effect {key!r} happened {count} times; allowed: {allowed}"
                return CheckResult(NAME, Verdict.VIOLATED, finding, (record.i,))
    return None


def _at_once(history: Sequence[Record], found: Sequence[Execution]) -> CheckResult | None:
    for n, late in enumerate(found):
        proof = together(history, late, found[:n])
        if proof is not None:
            first, second = sorted(proof, key=lambda r: r.i)
            finding = f"{first.actor} and {second.actor} both executed the turn at the same time"
            if first.actor == second.actor:
                finding = f"{first.actor} executed the turn twice at the same time"
            return CheckResult(NAME, Verdict.VIOLATED, finding, (first.i, second.i))
    return None


def _anew(found: Sequence[Execution]) -> CheckResult | None:
    for n, late in enumerate(found):
        early = next((e for e in found[:n] if e.turn == late.turn), None)
        if early is not None and not late.resumed:
            finding = f"{late.actor} started the turn again although {early.actor} had already worked on it"
            witness = (early.actions[0].i, late.start.i, late.actions[0].i)
            return CheckResult(NAME, Verdict.VIOLATED, finding, witness)
    return None


def _tools_twice(found: Sequence[Execution]) -> CheckResult | None:
    """A call whose tool says that repeating does no harm (``harmless``) may run again."""
    seen: dict[tuple[str, str, str], tuple[int, Span]] = {}
    for n, execution in enumerate(found):
        for tool in execution.tools:
            data = tool.start.data
            if data.get("harmless"):
                continue
            name, key = str(data.get("name") or "?"), str(data.get("key") or data.get("tool_call_id"))
            by, first = seen.setdefault((execution.turn, name, key), (n, tool))
            if by != n:
                finding = f"the tool call {name} ({key}) ran twice: by {first.actor} and again by {tool.actor}"
                return CheckResult(NAME, Verdict.VIOLATED, finding, (first.start.i, tool.start.i))
    return None


def _from_outside(history: Sequence[Record]) -> CheckResult:
    """A runtime that records nothing itself: one turn asks one model at a time, so overlapping requests are two."""
    requests = [] if any(r.op == "turn" for r in history) else requests_of_turns(history)
    if not requests:
        return CheckResult(NAME, Verdict.UNKNOWN, "no execution of the turn reached a model or a tool")
    for early, late in at_once(requests):
        if same_question(early, late):
            finding = "the model server served two requests of one turn at the same time"
            return CheckResult(NAME, Verdict.VIOLATED, finding, (early.start.i, late.start.i))
    if trouble(history):
        return CheckResult(NAME, Verdict.HELD, "the model server never served two requests at the same time")
    return CheckResult(NAME, Verdict.UNKNOWN, "nothing went wrong that could have led to a second run of the turn")
