"""What a run came to, in the numbers that scripts read. Pure: history -> Outcome."""

from __future__ import annotations

from collections.abc import Sequence

from lockjaw.history import Record
from lockjaw.history.holds import is_session_lock
from lockjaw.history.run import ClientOutcome, Outcome

from .clients import GIVEN_UP, clients, interrupted, results
from .executions import turn_executions


def outcome_of(history: Sequence[Record]) -> Outcome:
    """Summarise a history. Of several results of one client the last one counts."""
    every = tuple(_of_client(history, name) for name in clients(history))
    waited = [one for one in every if one.answered or not one.ended_by_fault]
    shown = _shown(history, waited or every)
    return Outcome(
        answered=bool(waited) and all(one.answered for one in waited),
        exit_code=shown.exit_code if shown else None,
        session_locked_errors=_locked_attempts(history, {one.name for one in every}),
        turn_executions=turn_executions(history),
        provider_calls=sum(1 for r in history if r.op == "provider.request" and r.phase == "invoke"),
        sessions=_sessions(history),
        duplicate_possible=any(one.duplicate_possible for one in every),
        reply=shown.reply if shown else None,
        error=shown.error if shown else None,
        client=shown.name if shown else None,
        clients=every,
    )


def _of_client(history: Sequence[Record], name: str) -> ClientOutcome:
    result = next((r.data for r in reversed(results(history)) if r.actor == name), {})
    exits = [
        r.data.get("code")
        for r in history
        if r.op == "actor.exit" and r.data.get("role") == "client" and str(r.data.get("actor") or r.actor) == name
    ]
    return ClientOutcome(
        name=name,
        answered=bool(result.get("answered")),
        exit_code=exits[-1] if exits else result.get("exit_code"),
        duplicate_possible=bool(result.get("duplicate_possible")),
        reply=_text(result.get("reply")),
        error=_text(result.get("error")),
        ended_by_fault=interrupted(history, name),
    )


def _shown(history: Sequence[Record], among: Sequence[ClientOutcome]) -> ClientOutcome | None:
    """The client whose words stand for all: the first without an answer, else the last that got one."""
    ended = [r.actor for r in results(history)]
    unanswered = next((one for one in among if not one.answered), None)
    return unanswered or max(among, key=lambda one: _last(ended, one.name), default=None)


def _last(names: Sequence[str], name: str) -> int:
    return max((at for at, one in enumerate(names) if one == name), default=-1)


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
