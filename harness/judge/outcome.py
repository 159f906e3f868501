"""What a run came to, in the numbers that scripts read. Pure: history -> Outcome."""

from __future__ import annotations

from collections.abc import Sequence

from lockjaw.history import Record
from lockjaw.history.holds import is_session_lock
from lockjaw.history.run import Outcome

from .clients import GIVEN_UP, clients
from .executions import turn_executions


def outcome_of(history: Sequence[Record]) -> Outcome:
    """Summarise a history. Of several results of the client the last one counts."""
    users = set(clients(history))
    results = [r.data for r in history if r.op == "client.result"]
    result = results[-1] if results else {}
    exits = [r.data.get("code") for r in history if r.op == "actor.exit" and r.data.get("role") == "client"]
    return Outcome(
        answered=bool(result.get("answered")),
        exit_code=exits[-1] if exits else result.get("exit_code"),
        session_locked_errors=_locked_attempts(history, users),
        turn_executions=turn_executions(history),
        provider_calls=sum(1 for r in history if r.op == "provider.request" and r.phase == "invoke"),
        sessions=_sessions(history),
        duplicate_possible=bool(result.get("duplicate_possible")),
        reply=_text(result.get("reply")),
        error=_text(result.get("error")),
    )


def _text(value: object) -> str | None:
    """A foreign client may have recorded anything; the document promises text."""
    return None if value is None else str(value)


def _locked_attempts(history: Sequence[Record], users: set[str]) -> int:
    """Failed acquires of a conversation's lock by a client, except waits that are a step of its policy: a takeover
    that waits for the lock and then fences its holder has not failed."""
    count = 0
    waiting: set[str] = set()
    for record in history:
        if record.actor not in users:
            continue
        if record.op == "fallback":
            (waiting.add if record.data.get("step") == "wait" else waiting.discard)(record.actor)
        elif record.op == "lock" and record.phase == "fail" and is_session_lock(record.data.get("path")):
            count += record.actor not in waiting and record.data.get("kind") not in GIVEN_UP
    return count


def _sessions(history: Sequence[Record]) -> int:
    """Transcripts found at the end; without any (nothing was durable yet) the sessions that the actors named."""
    stored = {r.data.get("path") for r in history if r.op == "transcript.final"}
    named = {r.data.get("session_id") for r in history if r.op in ("gateway.accepted", "turn")} - {None, ""}
    return len(stored) or len(named)
