"""What a history says about the command-line clients, and what went wrong for them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from lockjaw.history import Record
from lockjaw.history.holds import Hold, holds, is_fence, is_session_lock, transcript_of
from lockjaw.history.ordered import once

LOCK_TEXT = "session file locked"
LOCK_REASONS = frozenset({"session_locked", "session-locked", "lock", "locked"})
#: Lock waits that somebody called off, or that the machine ended: they say nothing about who holds the lock.
GIVEN_UP = frozenset({"cancelled", "aborted", "interrupted", "os"})
TURN_METHODS = frozenset({"", "agent", "chat.send", "connect"})  # the calls that carry the user's turn
SHOWN_NAMES = 3
TIMEOUT_REPLY = "Request timed out before a response was generated"


def is_lock_text(*texts: object) -> bool:
    """True if one of the texts tells of a session lock that was not free."""
    return any(isinstance(text, str) and (LOCK_TEXT in text or text in LOCK_REASONS) for text in texts)


def is_lock_error(record: Record) -> bool:
    """True for a failed acquire, unless somebody called the wait off."""
    return record.op == "lock" and record.phase == "fail" and record.data.get("kind") not in GIVEN_UP


@once
def clients(history: Sequence[Record]) -> list[str]:
    """Actors that are command-line clients, in order of appearance."""
    seen: dict[str, None] = {}
    for record in history:
        role = record.data.get("role") if record.op in ("actor.ready", "actor.exit") else None
        if role == "client" or record.op.startswith("client.") or record.op == "fallback":
            seen.setdefault(str(record.data.get("actor") or record.actor) if role else record.actor)
    return list(seen)


def named(names: Sequence[str]) -> str:
    """A few of the clients that a finding is about, and how many more."""
    different = list(dict.fromkeys(names))
    rest = f" and {len(different) - SHOWN_NAMES} more" if len(different) > SHOWN_NAMES else ""
    return ", ".join(different[:SHOWN_NAMES]) + rest


def started(history: Sequence[Record], client: str) -> Record | None:
    """Where the client's own clock starts: its first record after the readiness handshake."""
    return next((r for r in history if r.actor == client and r.op not in ("actor.ready", "actor.exit")), None)


@once
def locked_out(history: Sequence[Record]) -> list[Record]:
    """The clients' lock waits that failed for good: neither the lock nor a way round it came after them.

    A client that a fault ended before it said anything was still on its way.
    """
    ended = {r.actor for r in results(history)}
    users = {one for one in clients(history) if one in ended or not interrupted(history, one)}
    return [r for r in history if r.actor in users and is_lock_error(r) and not _went_on(history, r)]


def _went_on(history: Sequence[Record], failed: Record) -> bool:
    """After this failure the client got the lock after all, or left for a fork of the conversation."""
    path = transcript_of(failed.data.get("path"))
    if not is_session_lock(path):
        return True
    for record in history:
        if record.actor == failed.actor and record.i > failed.i:
            granted = is_fence(record) or (record.op == "lock" and record.phase == "ok")
            if granted and transcript_of(record.data.get("path")) == path:
                return True
            if record.op == "fallback" and record.data.get("step") == "fork":
                return True
    return False


def interrupted(history: Sequence[Record], client: str) -> bool:
    """The nemesis ended the client itself: a user who is gone gets no answer and reads no result."""
    return any(
        r.op == "nemesis" and r.data.get("action") in ("kill", "terminate") and r.data.get("target") == client
        for r in history
        if r.phase in ("info", "ok")
    )


@once
def results(history: Sequence[Record]) -> list[Record]:
    return [r for r in history if r.op == "client.result"]


@once
def trouble(history: Sequence[Record]) -> list[Record]:
    """The first record per client that shows that the gateway did not simply answer: the danger of this family."""
    found: dict[str, Record] = {}
    for record in history:
        if record.actor not in found and _is_trouble(record):
            found[record.actor] = record
    return list(found.values())


def _is_trouble(record: Record) -> bool:
    if record.op == "fallback":
        return True
    if record.op == "client.result":
        return not record.data.get("answered")
    if record.op != "client.call" or str(record.data.get("method") or "") not in TURN_METHODS:
        return False
    if record.phase == "ok":
        return record.data.get("status") not in (None, "ok", "completed")
    return record.phase in ("fail", "info")


@once
def contended(history: Sequence[Record]) -> list[tuple[Record, Hold]]:
    """``(trouble, hold)``: at a client's trouble, or before its end, somebody else's lock was in its way."""
    found = []
    all_holds = [h for h in holds(history) if is_session_lock(h.path)]
    for record in trouble(history):
        until = next((r.i for r in results(history) if r.actor == record.actor and r.i >= record.i), inf)
        for hold in (h for h in all_holds if _concerns(history, record.actor, h.path)):
            if hold.actor != record.actor and hold.granted.i <= until and hold.blocks_until > record.i:
                found.append((record, hold))
    return found


def _concerns(history: Sequence[Record], client: str, path: str) -> bool:
    """The client's conversation: the session its run was accepted into, or a lock that it asked for itself."""
    runs = {r.data.get("run_id") for r in history if r.op == "client.call" and r.actor == client}
    ids = {r.data.get("session_id") for r in history if r.op == "gateway.accepted" and r.data.get("run_id") in runs}
    named = {str(i) for i in ids if i}
    wanted = {transcript_of(r.data.get("path")) for r in history if r.op == "lock" and r.actor == client}
    return path in wanted or any(i in path for i in named) or not (named or wanted)


@once
def gave_up_at_once(history: Sequence[Record]) -> list[Record]:
    """Troubles of clients whose policy tried nothing more: no fallback, so no lock could stop one."""
    tried = {r.actor for r in history if r.op == "fallback" and r.data.get("step") != "give_up"}
    ended = {r.actor for r in results(history)}
    return [r for r in trouble(history) if r.actor not in tried and r.actor in ended]
