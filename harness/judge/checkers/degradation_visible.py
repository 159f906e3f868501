"""A fallback, a fork or a masked error shows in the exit code and in the JSON result, and the process exits."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lockjaw.history import Record
from lockjaw.history.spans import deaths
from lockjaw.verdict import CheckResult, Verdict, combine

from ..clients import TIMEOUT_REPLY, clients, interrupted, results, trouble
from ..executions import executions
from .facts import ScenarioFacts

NAME = "degradation_visible"
REFUSALS = (1002, 1008)


def check(history: Sequence[Record], facts: ScenarioFacts) -> CheckResult:
    """A fallback, a fork or a masked error shows in the exit code and in the JSON result, and the process exits.

    UNKNOWN when nothing was degraded: no fallback, no failure.
    """
    parts = [(client, _of_client(history, client)) for client in clients(history)]
    if not parts:
        return CheckResult(NAME, Verdict.UNKNOWN, "no client sent a message")
    verdict = combine(part.verdict for _, part in parts)
    client, found = next((client, part) for client, part in parts if part.verdict is verdict)
    return found if len(parts) == 1 else msgspec.structs.replace(found, finding=f"{client}: {found.finding}")


def _of_client(history: Sequence[Record], client: str) -> CheckResult:
    ends = [r for actor, r in deaths(history) if actor == client]
    over = [r for r in history if r.op == "run.end"]
    result = next((r for r in reversed(results(history)) if r.actor == client), None)
    if interrupted(history, client):
        return CheckResult(NAME, Verdict.UNKNOWN, "a fault ended the client itself")
    if result is None and (ends or over):
        return _violated("the client ended without saying what became of the turn", (ends or over)[-1])
    if result is not None and not ends and over:
        return _violated("the client reported its result, and its process did not exit", result, over[-1])
    if result is None or not ends:
        return CheckResult(NAME, Verdict.UNKNOWN, "the history ends before the client ends")
    return _result(history, client, result, ends[-1])


def _result(history: Sequence[Record], client: str, result: Record, end: Record) -> CheckResult:
    data, code = result.data, end.data.get("code")
    promised = data.get("exit_code")
    if code is not None and promised is not None and code != promised:
        return _violated(f"the result says exit code {promised}, the process ended with {code}", result, end)
    code = promised if code is None else code
    answered = bool(data.get("answered"))
    refused = next((r for r in history if r.actor == client and _is_refusal(r)), None)
    if code == 0 and refused is not None:
        finding = f"the gateway refused the client (close code {refused.data['code']}), and the exit code is 0"
        return _violated(finding, refused, result, end)
    masked = data.get("error") or str(data.get("reply") or "").startswith(TIMEOUT_REPLY)
    if code == 0 and (masked or not answered):
        return _violated("the user got no answer, and the exit code is 0", result, end)
    forks = [r for r in history if r.actor == client and r.op == "fallback" and r.data.get("step") == "fork"]
    duplicate = bool(data.get("duplicate_possible"))
    if answered and forks and not duplicate:
        return _violated("the answer comes from a fork, and the result does not say so", forks[0], result)
    if answered and duplicate and code == 0:
        return _violated("a second answer is possible, and the exit code is 0", result, end)
    own = [e for e in executions(history) if e.actor == client and e.end is not None and e.end.phase == "ok"]
    if answered and own and not (data.get("transport") == "embedded" or data.get("degraded")):
        return _violated("the fallback answered, and the result does not say so", own[-1].start, result)
    if not answered or trouble(history):
        return CheckResult(NAME, Verdict.HELD, f"exit code {code} and the result say what happened")
    return CheckResult(NAME, Verdict.UNKNOWN, "nothing was degraded")


def _is_refusal(record: Record) -> bool:
    """Wrong token, not paired, wrong protocol: whatever answers then, it is not the gateway that was asked.

    The client closes with the same codes when the gateway says nothing in time; ``refused`` tells the two apart.
    """
    if record.op != "client.call" or record.phase != "fail":
        return False
    return bool(record.data.get("refused", record.data.get("code") in REFUSALS))


def _violated(finding: str, *witness: Record) -> CheckResult:
    return CheckResult(NAME, Verdict.VIOLATED, finding, tuple(r.i for r in witness))
