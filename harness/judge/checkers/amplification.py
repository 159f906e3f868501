"""What a fault costs stays under the scenario's bounds: seconds and provider calls, for each second of fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lockjaw.history import Record
from lockjaw.history.spans import Span, spans
from lockjaw.verdict import CheckResult, Verdict

from ..clients import clients, results, started
from ..executions import Execution, executions
from ..requests import markers_in, requests_of_turns
from .facts import ScenarioFacts

NAME = "amplification"


def check(history: Sequence[Record], facts: ScenarioFacts) -> CheckResult:
    """What a fault costs in requests to models, or in lost seconds and wasted calls, stays under the scenario's bound.

    With ``calls``: the requests for the user's question, from every process. Else, per second of injected fault and
    for the client that paid most: lost is its time beyond the earliest answer that any model could have given (all of
    it when none would), wasted is every provider call that did not end well, and every good one of an execution whose
    answer it did not get. UNKNOWN without a bound, without an injected fault, or without a client.
    """
    users = clients(history)
    if facts.calls is not None:
        return _counted(history, facts.message, facts.calls)
    if facts.amplification is None or facts.fault_s <= 0 or not users:
        return CheckResult(NAME, Verdict.UNKNOWN, "the scenario names no bound, or no fault was injected")
    costs = [cost for user in users if (cost := _cost(history, user, facts.first_answer_s or 0.0)) is not None]
    if not costs:
        return CheckResult(NAME, Verdict.UNKNOWN, "no client ever started")
    worst = max(costs, key=lambda cost: cost.lost_s + len(cost.wasted))  # the first of equals
    value = (worst.lost_s + len(worst.wasted)) / facts.fault_s
    calls = f"{len(worst.wasted)} provider call{'s' if len(worst.wasted) != 1 else ''}"
    whose = f"{worst.client}: " if len(costs) > 1 else ""
    finding = (
        f"{whose}{worst.lost_s:.1f} s lost and {calls} wasted over {facts.fault_s:g} s of fault: "
        f"{value:.2f}; the bound is {facts.amplification:g}"
    )
    if value > facts.amplification:
        return CheckResult(NAME, Verdict.VIOLATED, finding, (*(c.start.i for c in worst.wasted), worst.end.i))
    return CheckResult(NAME, Verdict.HELD, finding)


@dataclass(frozen=True)
class _Cost:
    """What the fault cost one client: seconds, provider calls in vain, and the record at which it ended."""

    client: str
    lost_s: float
    wasted: list[Span]
    end: Record


def _cost(history: Sequence[Record], client: str, first_answer_s: float) -> _Cost | None:
    """None: the client never started."""
    begun = started(history, client)
    if begun is None:
        return None
    result = next((r for r in reversed(results(history)) if r.actor == client), None)
    end = result if result is not None else history[-1]
    lost_s = max(0.0, end.t - begun.t - first_answer_s)
    return _Cost(client, lost_s, _wasted(history, client, result), end)


def _counted(history: Sequence[Record], message: str, bound: int) -> CheckResult:
    """Each request for the question counts, by whichever process and however it ended: it is paid for."""
    mine = markers_in(message)
    asking = [r for r in requests_of_turns(history) if _asks(r) is None or mine & (_asks(r) or set())]
    if not asking:
        return CheckResult(NAME, Verdict.UNKNOWN, "no model was asked the user's question")
    finding = f"the models were asked the user's question {len(asking)} time(s); the bound is {bound}"
    if len(asking) > bound:
        return CheckResult(NAME, Verdict.VIOLATED, finding, tuple(request.start.i for request in asking))
    return CheckResult(NAME, Verdict.HELD, finding)


def _asks(request: Span) -> set[str] | None:
    asked = request.start.data.get("asks")
    return None if asked is None else set(asked)


def _wasted(history: Sequence[Record], client: str, result: Record | None) -> list[Span]:
    """Calls that the runtime recorded; for one that records none, what the model server saw."""
    answered = result is not None and bool(result.data.get("answered"))
    embedded = result is not None and result.data.get("transport") == "embedded"
    calls = spans(history, "model.call", "call_id")
    if not calls:
        requests = spans(history, "provider.request", "request_id")
        good = [r for r in requests if r.outcome == "ok"][-1:] if answered else []
        return [r for r in requests if r not in good]
    asked = {r.data.get("run_id") for r in history if r.op == "client.call" and r.actor == client}
    everybodys = executions(history)
    turns = {e.turn for e in everybodys if e.run_id in asked or e.actor == client}
    ours = [e for e in everybodys if e.turn in turns]
    calls = [c for e in ours for c in e.calls] if everybodys else calls
    winner = [e for e in ours if (e.actor == client) == embedded and e.actions][-1:] if answered else []
    # What a continued execution had built on is not wasted; what a fresh one repeats is.
    useful = [c for c in calls if c.outcome == "ok" and any(_built_on(c, e) for e in winner)]
    return [c for c in calls if c not in useful]


def _built_on(call: Span, answer: Execution) -> bool:
    return call in answer.calls or (answer.resumed and call.start.i < answer.start.i)
