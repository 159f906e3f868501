"""Where one turn stands, read from the transcript alone. Pure.

A takeover asks this: the gateway is gone or was stopped, and the transcript is all that is left of its run.
The turn of a run is the user's message, everything that descends from it, and the "Continue where you left
off" messages by which a fallback chain goes on; it ends where another question begins.

The user's message is found, in this order, by our own mark (``message.idempotencyKey`` is the run id), by
what a run of the real program leaves behind (``runId`` in its ``prompt-error`` entries and injected
partial answers), and by its text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lockjaw.sessions.entries import Entry, Message
from lockjaw.sessions.tree import instant_of, path_to, text_of

CONTINUE_TEXT = "Continue where you left off. The previous model attempt failed or timed out."
_CONTINUE_START = "Continue where you left off"
PROMPT_ERROR = "openclaw:prompt-error"
# "[Sun 2026-11-22 16:21 UTC] " before the text, and sometimes paragraphs of system events before that.
_GATEWAY_PREFIX = re.compile(r"(?:.*\n)?\[[^\[\]\n]{3,64}\] |.*\n\n", re.DOTALL)


@dataclass(frozen=True)
class TurnState:
    """One turn.

    Attributes:
        user_entry_id: the user's message that began it.
        answer: the final assistant message, or None: the turn is not finished.
        answer_entry_id: of that message; None with it.
        pending_tool_calls: ``{"id", "name", "arguments"}`` of calls that have no result, in order. Their
            outcome is unknown.
        failed_models: ``provider/model`` of each model that ended in error or was aborted, once, in order.
        last_entry_id: the newest entry of the turn.
        on_path: the transcript's leaf belongs to the turn (no other question was asked since).
    """

    run_id: str
    user_entry_id: str
    answer: Message | None
    answer_entry_id: str | None
    pending_tool_calls: list[dict[str, Any]] = field(default_factory=list)
    failed_models: list[str] = field(default_factory=list)
    last_entry_id: str = ""
    on_path: bool = True


def find_turn(
    entries: Sequence[Entry],
    leaf_id: str | None,
    run_id: str,
    message_text: str | None = None,
    since_ms: int | None = None,
) -> TurnState | None:
    """The turn of a run, or None if its user message is not there.

    Args:
        entries: in file order.
        message_text: what the user said, for transcripts written by the real program, which may put a
            time stamp before it; None or empty: do not look by text.
        since_ms: Unix milliseconds; a message found by its text must not be older.
    """
    starts = _starts(entries, run_id, message_text, since_ms)
    if not starts:
        return None
    start_ids = {entry.id for entry in starts}
    members: dict[str, Entry] = {}
    for entry in entries:
        if entry.id in start_ids or (entry.parent_id in members and _same_turn(entry, run_id)):
            members[entry.id] = entry
    turn = list(members.values())
    answer = _answer(turn)
    return TurnState(
        run_id=run_id,
        user_entry_id=starts[-1].id,
        answer=answer.message if answer else None,
        answer_entry_id=answer.id if answer else None,
        pending_tool_calls=open_calls(turn),
        failed_models=_failed(turn),
        last_entry_id=turn[-1].id,
        on_path=leaf_id in members,
    )


def is_failed(message: Message) -> bool:
    """An assistant message that is the rest of a failed or aborted attempt."""
    return message.get("stopReason") in ("error", "aborted")


def is_injected(message: Message) -> bool:
    """An assistant message that no model wrote: a delivery mirror, or the partial text of an aborted run."""
    return message.get("provider") == "openclaw" or "openclawAbort" in message


def tool_calls_of(message: Message) -> list[dict[str, Any]]:
    """``{"id", "name", "arguments"}`` of the calls in an assistant message."""
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return [
        {"id": part.get("id", ""), "name": part.get("name", ""), "arguments": part.get("arguments", {})}
        for part in parts
        if isinstance(part, dict) and part.get("type") == "toolCall"
    ]


# ------------------------------------------------------------------ where it begins


def _starts(entries: Sequence[Entry], run_id: str, text: str | None, since_ms: int | None) -> list[Entry]:
    # A chain that fails before any model said a word asks the original question again, as a sibling of the
    # first one: all of them begin this turn, and the last one is where it stands.
    questions = [entry for entry in entries if entry.role == "user" and not _continues(entry)]
    marked = [entry for entry in questions if run_id and _key(entry) == run_id]
    if marked:
        return marked
    by_id = {entry.id: entry for entry in entries}
    for trace in (entry for entry in reversed(entries) if run_id and run_id in _run_ids(entry)):
        above = [entry for entry in path_to(trace.id, by_id) if entry.role == "user" and not _continues(entry)]
        if above:
            return above[-1:]
    if not text:
        return []
    return [
        entry
        for entry in questions
        if _key(entry) is None
        and (since_ms is None or instant_of(entry) >= since_ms)
        and _says(text_of(entry.message or {}), text)
    ][-1:]


def _says(stored: str, text: str) -> bool:
    if not stored.endswith(text):
        return False
    prefix = stored.removesuffix(text)  # "not a long task" is not the question "long task"
    return not prefix or _GATEWAY_PREFIX.fullmatch(prefix) is not None


def _key(entry: Entry) -> str | None:
    key = (entry.message or {}).get("idempotencyKey")
    return key if isinstance(key, str) else None


def _run_ids(entry: Entry) -> set[str]:
    """The runs that an entry of the real program names."""
    data, abort = entry.raw.get("data"), (entry.message or {}).get("openclawAbort")
    named = {part.get("runId") for part in (data, abort) if isinstance(part, dict)}
    return {run_id for run_id in named if isinstance(run_id, str)}


def _continues(entry: Entry) -> bool:
    return text_of(entry.message or {}).startswith(_CONTINUE_START)


def _same_turn(entry: Entry, run_id: str) -> bool:
    return entry.role != "user" or (_continues(entry) and _key(entry) in (None, run_id))


# ------------------------------------------------------------------ how far it came


def _answer(turn: Sequence[Entry]) -> Entry | None:
    answer = None
    for entry in turn:
        message = entry.message
        if message is None or entry.role != "assistant" or is_failed(message) or is_injected(message):
            continue
        answer = None if tool_calls_of(message) else entry  # calling a tool again: it was not the end
    return answer


def interrupted_result(call_id: str, name: str, now_ms: int) -> Message:
    """What stands in for the result of a call whose run ended in the middle of it."""
    text = (
        f"The call of {name} was interrupted; its outcome is unknown. It may have happened completely, "
        "in part, or not at all. Check before you repeat it."
    )
    return {
        "role": "toolResult", "toolCallId": call_id, "toolName": name, "content": [{"type": "text", "text": text}],
        "details": {"interrupted": True}, "isError": True, "timestamp": now_ms,
    }  # fmt: skip


def open_calls(turn: Sequence[Entry]) -> list[dict[str, Any]]:
    """The calls that have no result, of entries in their order: of one turn, or of a conversation."""
    pending: list[dict[str, Any]] = []
    for entry in turn:
        message = entry.message or {}
        if entry.role == "toolResult":
            pending = [call for call in pending if call["id"] != message.get("toolCallId")]
        elif entry.role == "assistant" and not is_failed(message) and not is_injected(message):
            # A model that spoke again has left older calls behind; a failed attempt's calls never ran.
            pending = tool_calls_of(message)
    return pending


def _failed(turn: Sequence[Entry]) -> list[str]:
    failed: dict[str, None] = {}
    for entry in turn:
        named: object = None
        if entry.role == "assistant" and is_failed(entry.message or {}) and not is_injected(entry.message or {}):
            named = entry.message
        elif entry.type == "custom" and entry.raw.get("customType") == PROMPT_ERROR:
            named = entry.raw.get("data")
        if isinstance(named, dict) and named.get("provider") and named.get("model"):
            failed[f"{named['provider']}/{named['model']}"] = None
    return list(failed)
