"""The user gets the answer of some model whenever one would have answered within the scenario's budget."""

from __future__ import annotations

from collections.abc import Sequence

from lockjaw.history import Record
from lockjaw.history.spans import deaths, held_up_s
from lockjaw.verdict import CheckResult, Verdict, combine

from ..clients import SHOWN_NAMES, TIMEOUT_REPLY, clients, interrupted, started
from .facts import ScenarioFacts

NAME = "answered"


def check(history: Sequence[Record], facts: ScenarioFacts) -> CheckResult:
    """The user gets the answer of some model whenever one would have answered within the scenario's budget.

    The time-out text is no answer, whatever the exit code says. What the search held the actors up for is no fault of
    theirs: the budget is longer by it. UNKNOWN when no model could have answered (and
    none did), when the client was killed, or when there is no client.
    """
    parts = [_of_client(history, client, facts) for client in clients(history)]
    if not parts:
        return CheckResult(NAME, Verdict.UNKNOWN, "no client sent a message")
    verdict = combine(part.verdict for part in parts)
    alike = [part for part in parts if part.verdict is verdict]
    finding = "; ".join(dict.fromkeys(part.finding for part in alike[:SHOWN_NAMES]))
    rest = f"; and {len(alike) - SHOWN_NAMES} more clients alike" if len(alike) > SHOWN_NAMES else ""
    return CheckResult(NAME, verdict, finding + rest, tuple(i for part in alike for i in part.witness))


def _of_client(history: Sequence[Record], client: str, facts: ScenarioFacts) -> CheckResult:
    result = next((r for r in reversed(history) if r.op == "client.result" and r.actor == client), None)
    first = started(history, client)
    start_s = first.t if first is not None else 0.0
    alone = len(clients(history)) == 1
    user, ended = ("the user", "the client") if alone else (client, client)
    if result is not None and result.data.get("answered") and _is_answer(result.data.get("reply")):
        after_s = result.t - start_s
        if facts.budget_s is None or after_s <= facts.budget_s + held_up_s(history, start_s, result.t):
            return CheckResult(NAME, Verdict.HELD, f"{user} got an answer after {after_s:.1f} s")
        if facts.answer_possible:
            whose = "the answer" if alone else f"the answer to {client}"
            late = f"{whose} came after {after_s:.1f} s; the budget was {facts.budget_s:g} s"
            return CheckResult(NAME, Verdict.VIOLATED, late, (result.i,))
        return CheckResult(NAME, Verdict.UNKNOWN, "no model could have answered within the budget", (result.i,))
    if interrupted(history, client):
        return CheckResult(NAME, Verdict.UNKNOWN, f"a fault ended {ended} itself")
    if first is None and result is None and any(interrupted(history, other) for other in clients(history)):
        return CheckResult(
            NAME, Verdict.UNKNOWN, f"{client} asked nothing: a fault ended the client that it waited for"
        )
    if not facts.answer_possible:
        return CheckResult(
            NAME, Verdict.UNKNOWN, f"{user} got no answer, and no model could have given one within the budget"
        )
    could = f"a model could have answered after {facts.first_answer_s:g} s"
    if result is not None:
        return CheckResult(NAME, Verdict.VIOLATED, f"{user} got no answer although {could}", (result.i,))
    ends = [r for actor, r in deaths(history) if actor == client]
    over = ends or [r for r in history if r.op == "run.end"]
    if over:
        finding = f"{ended} ended without telling the user anything, although {could}"
        return CheckResult(NAME, Verdict.VIOLATED, finding, (over[-1].i,))
    return CheckResult(NAME, Verdict.UNKNOWN, f"the history ends before {ended} ends")


def _is_answer(reply: object) -> bool:
    return isinstance(reply, str) and bool(reply.strip()) and not reply.startswith(TIMEOUT_REPLY)
