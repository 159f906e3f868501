"""Every accepted turn ends once: answered, refused or reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lockjaw.history import Record
from lockjaw.history.spans import died
from lockjaw.verdict import CheckResult, Verdict

from ..clients import interrupted, trouble
from ..executions import Execution, executions
from .facts import ScenarioFacts

NAME = "accepted_turns_end_once"
_NO_ANSWERS = frozenset({"aborted", "error"})  # how an execution stops that ends without an answer


class _Turn(NamedTuple):
    """An accepted turn. ``client``: which asked for it, empty if none that is known; ``told``: what it was told."""

    accepted: Record
    client: str
    told: Record | None
    answers: list[Record]
    ended: bool  # the gateway, or a process that executed it, said that it was over


def check(history: Sequence[Record], facts: ScenarioFacts) -> CheckResult:
    """Every accepted turn ends once: answered, refused or reported.

    VIOLATED when a turn that a gateway had accepted was answered by two executions; when its client was told that it
    had failed, and it was answered all the same; or when it ended neither in an answer nor in an error, and its client
    was told nothing. A client that a fault ended waits for no end; then the end is what a gateway or a runner said.
    UNKNOWN when no accepted turn was seen (most runtimes of other people do not show when they accept one), when the
    end of one was not, or when nothing went wrong for any.
    """
    turns = [_turn(history, record) for record in history if record.op == "gateway.accepted"]
    if not turns:
        return CheckResult(NAME, Verdict.UNKNOWN, "no accepted turn was seen")
    for turn in turns:
        for problem in (_answered_twice(turn), _failed_and_answered(history, turn), _lost(history, turn)):
            if problem is not None:
                return problem
    unseen = [turn for turn in turns if not _has_end(turn) and not (turn.ended and _gone(history, turn))]
    if unseen:
        finding = "a fault ended the client of an accepted turn, and no process said how the turn ended"
        return CheckResult(NAME, Verdict.UNKNOWN, finding)
    if not _endangered(history, turns):
        return CheckResult(NAME, Verdict.UNKNOWN, "nothing went wrong that could have cost an accepted turn its end")
    many = f"all {len(turns)} accepted turns ended once" if len(turns) > 1 else "the accepted turn ended once"
    return CheckResult(NAME, Verdict.HELD, many)


def _turn(history: Sequence[Record], accepted: Record) -> _Turn:
    run_id = accepted.data.get("run_id")
    ids = {str(run_id)}
    names = {e.turn for e in executions(history) if ids & {str(e.start.data.get("turn_id")), e.run_id}}
    mine = [e for e in executions(history) if e.turn in names]
    client = next(
        (r.actor for r in history if r.op == "client.call" and r.phase == "invoke" and r.data.get("run_id") == run_id),
        "",
    )
    told = next((r for r in reversed(history) if r.op == "client.result" and r.actor == client), None)
    final = any(r.op == "gateway.final" and r.data.get("run_id") == run_id for r in history)
    answers = sorted((e.end for e in mine if e.end is not None and _answers(e)), key=lambda end: end.i)
    over = final or any(e.end is not None and e.end.op == "turn" for e in mine)
    return _Turn(accepted, client, told, answers, over)


def _answers(execution: Execution) -> bool:
    end = execution.end
    assert end is not None
    asked = any(call.outcome == "ok" for call in execution.calls)  # else it found the answer of another execution
    return (end.op, end.phase) == ("turn", "ok") and asked and end.data.get("stop_reason") not in _NO_ANSWERS


def _answered_twice(turn: _Turn) -> CheckResult | None:
    if len(turn.answers) < 2:
        return None
    first, second = turn.answers[:2]
    finding = f"one accepted turn was answered twice: by {first.actor} and, {second.t - first.t:.1f} s later, by "
    return CheckResult(NAME, Verdict.VIOLATED, finding + second.actor, (first.i, second.i))


def _failed_and_answered(history: Sequence[Record], turn: _Turn) -> CheckResult | None:
    if turn.told is None or turn.told.data.get("answered") or not turn.answers or interrupted(history, turn.client):
        return None
    answer = turn.answers[0]
    finding = f"{turn.client} told its user of a failure, and {answer.actor} answered the turn all the same"
    return CheckResult(NAME, Verdict.VIOLATED, finding, tuple(sorted((answer.i, turn.told.i))))


def _lost(history: Sequence[Record], turn: _Turn) -> CheckResult | None:
    if _has_end(turn):
        return None
    if _gone(history, turn) or not any(r.op == "run.end" for r in history):
        return None
    return CheckResult(
        NAME, Verdict.VIOLATED, f"{turn.client} was told nothing of a turn that was accepted and not answered",
        (turn.accepted.i,),
    )  # fmt: skip


def _has_end(turn: _Turn) -> bool:
    return bool(turn.answers) or (turn.told is not None and _says_anything(turn.told))


def _gone(history: Sequence[Record], turn: _Turn) -> bool:
    """No client waits for the end: it was ended by a fault, or is not known."""
    return not turn.client or interrupted(history, turn.client)


def _says_anything(told: Record) -> bool:
    return bool(told.data.get("answered") or told.data.get("error") or told.data.get("exit_code"))


def _endangered(history: Sequence[Record], turns: Sequence[_Turn]) -> bool:
    """Something went wrong for one of them: its client was in trouble, or its gateway was struck before the end."""
    in_trouble = {record.actor for record in trouble(history)}
    for turn in turns:
        end = turn.answers[0].i if turn.answers else len(history)
        struck = [
            r for r in history[turn.accepted.i : end]
            if died(r) == turn.accepted.actor or (r.op == "nemesis" and r.data.get("target") == turn.accepted.actor)
        ]  # fmt: skip
        if turn.client in in_trouble or struck:
            return True
    return False
