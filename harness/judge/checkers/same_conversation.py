"""The answer stands in the conversation that was asked, after the user's message."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import msgspec

from lockjaw.history import Record
from lockjaw.history.holds import transcript_of
from lockjaw.verdict import CheckResult, Verdict, combine

from ..clients import TURN_METHODS, clients, results
from .facts import ScenarioFacts

NAME = "same_conversation"


def check(history: Sequence[Record], facts: ScenarioFacts) -> CheckResult:
    """The answer stands in the conversation that was asked, after the user's message.

    A conversation is a session key. The session behind the key may have changed if it was rotated meanwhile, and then
    the answer stands in the new one; or if the client forked it, and then its transcript holds every user message of
    the session that was asked. UNKNOWN when no client was answered, or
    nothing shows where the answer went.
    """
    answers = [r for r in results(history) if r.data.get("answered")]
    if not answers:
        return CheckResult(NAME, Verdict.UNKNOWN, "the user got no answer, so no conversation can contain it")
    verdicts = [(r.actor, _of(history, r, facts)) for r in answers]
    verdict = combine(found.verdict for _, found in verdicts)
    client, found = next((client, found) for client, found in verdicts if found.verdict is verdict)
    if len(clients(history)) == 1 or verdict is Verdict.HELD:
        return found
    return msgspec.structs.replace(found, finding=f"{client}: {found.finding}")


def _of(history: Sequence[Record], result: Record, facts: ScenarioFacts) -> CheckResult:
    call = _asked(history, result)
    key, session_id = result.data.get("session_key"), result.data.get("session_id")
    if call is not None and key and call.data.get("session_key") and key != call.data["session_key"]:
        finding = f"the user asked in {call.data['session_key']}, and the answer is in {key}"
        return CheckResult(NAME, Verdict.VIOLATED, finding, (call.i, result.i))
    accepted = _accepted(history, call)
    asked_id = accepted.data.get("session_id") if accepted is not None else None
    finals = {str(r.data.get("session_id")): r for r in history if r.op == "transcript.final"}
    answer, asked = finals.get(str(session_id or asked_id)), finals.get(str(asked_id))
    led = _leads_to(history, key)
    if session_id and led not in (None, session_id):
        finding = f"the answer is in session {session_id}, but the key {key} leads to session {led}"
        return CheckResult(NAME, Verdict.VIOLATED, finding, (result.i, history[-1].i))
    moved = accepted is not None and session_id and asked_id and asked_id != session_id != led
    if moved and accepted is not None and not _forked(history, result, asked, answer):
        finding = f"the user asked in session {asked_id}, and the answer is in session {session_id}"
        return CheckResult(NAME, Verdict.VIOLATED, finding, (accepted.i, result.i))
    return _placed(history, result, answer, facts) or _order(history, result, answer)


def _leads_to(history: Sequence[Record], key: object) -> object:
    """The session behind a key at the end: rotation may have moved the conversation on. None: not known."""
    finals = (r for r in history if r.op == "session.final" and key and r.data.get("key") == key)
    return next((r.data.get("session_id") for r in finals), None)


def _forked(history: Sequence[Record], result: Record, asked: Record | None, answer: Record | None) -> bool:
    """The client said that it forks, and the answer's transcript carries on what stands in the one asked."""
    told = any(r.op == "fallback" and r.actor == result.actor and r.data.get("step") == "fork" for r in history)
    if not told or asked is None or answer is None:
        return False
    return all(text in _texts(answer, "user_messages") for text in _texts(asked, "user_messages"))


def _placed(
    history: Sequence[Record], result: Record, answer: Record | None, facts: ScenarioFacts
) -> CheckResult | None:
    if answer is None:
        return None
    message = facts.message_of(result.actor)
    if message and not any(message in text for text in _texts(answer, "user_messages")):
        finding = "the conversation that contains the answer lacks the user's message"
        return CheckResult(NAME, Verdict.VIOLATED, finding, (result.i, answer.i))
    said = "\n".join(_texts(answer, "assistant_texts"))
    if not all(line.strip() in said for line in str(result.data.get("reply") or "").splitlines()):
        finding = "the conversation lacks the answer that the user saw"
        return CheckResult(NAME, Verdict.VIOLATED, finding, (result.i, answer.i))
    return None


def _order(history: Sequence[Record], result: Record, answer: Record | None) -> CheckResult:
    """The last answer was appended after some user message of the same transcript."""
    path = transcript_of(answer.data.get("path")) if answer is not None else ""
    session_id = str(result.data.get("session_id") or "")
    appends = ((r, transcript_of(r.data.get("path"))) for r in history if r.op == "append" and r.i < result.i)
    # A transcript is called as its session, whatever it is kept in.
    ours = [r for r, file in appends if file and (file == path or PurePosixPath(file).stem == session_id)]
    users = [r.i for r in ours if r.data.get("role") == "user"]
    answers = [r.i for r in ours if r.data.get("role") == "assistant"]
    if answers and users and answers[-1] < users[0]:
        finding = "the answer stands before the user's message"
        return CheckResult(NAME, Verdict.VIOLATED, finding, (answers[-1], users[0]))
    if answer is None and not answers:
        return CheckResult(NAME, Verdict.UNKNOWN, "no transcript shows where the answer went", (result.i,))
    return CheckResult(NAME, Verdict.HELD, "the answer stands in the conversation in which the user asked")


def _asked(history: Sequence[Record], result: Record) -> Record | None:
    """The client's own call of the turn."""
    calls = (r for r in history if r.op == "client.call" and r.phase == "invoke" and r.actor == result.actor)
    return next((r for r in calls if str(r.data.get("method") or "") in TURN_METHODS), None)


def _accepted(history: Sequence[Record], call: Record | None) -> Record | None:
    run_id = call.data.get("run_id") if call is not None else None
    for record in history:
        if record.op == "gateway.accepted" and (run_id is None or record.data.get("run_id") == run_id):
            return record
    return None


def _texts(final: Record | None, key: str) -> list[str]:
    values: Any = final.data.get(key) if final is not None else None
    return [str(value) for value in values or ()]
