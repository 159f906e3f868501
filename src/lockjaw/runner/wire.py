"""From transcript messages to the messages of an OpenAI-compatible request. Pure.

A transcript may come from another program or from a run that was cut off anywhere; servers refuse a request
whose tool calls and results do not pair up. So every call that goes out is followed by exactly one result,
results without a call stay at home, and a message that says nothing is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lockjaw.runner.turn import ToolCall, calls_of, text_of

Message = dict[str, Any]

FAILED = ("error", "aborted")
NO_RESULT = "No result was recorded for this call; its outcome is unknown."
IMAGE_NOTE = "[{count} image(s) left out: this runner sends text only]"


def wire_messages(
    context: Sequence[Message], system: str, *, prompt: str | None = None, upstream: bool = False
) -> list[dict[str, Any]]:
    """The ``messages`` of a request.

    Args:
        context: transcript messages, oldest first.
        system: the system prompt; empty for none.
        prompt: one more user message at the end that is in no transcript (a continuation prompt).
        upstream: replay as the real program does: an assistant message that failed or was aborted is dropped
            whole, and neighbours of the same role stay apart. Otherwise what such a message had said is
            kept, so that the next candidate can go on from there, and neighbours are joined, because the
            chat templates of some servers refuse two users in a row.

    Returns:
        Messages with role ``system``, ``user``, ``assistant`` (with ``tool_calls``) or ``tool``.
    """
    results = _results(context)
    wire: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    for message in context:
        role = message.get("role")
        if role == "user":
            _add(wire, {"role": "user", "content": _user_text(message.get("content"))}, join=not upstream)
        elif role == "assistant":
            failed = message.get("stopReason") in FAILED
            if failed and upstream:
                continue
            _assistant(wire, message, results, failed=failed, join=not upstream)
    if prompt:
        _add(wire, {"role": "user", "content": prompt}, join=not upstream)
    return wire


def _results(context: Sequence[Message]) -> dict[str, Message]:
    """Tool results by call id. The first one counts: a second is the echo of a run that was taken over."""
    found: dict[str, Message] = {}
    for message in context:
        if message.get("role") == "toolResult":
            found.setdefault(str(message.get("toolCallId", "")), message)
    return found


def _assistant(
    wire: list[dict[str, Any]], message: Message, results: Mapping[str, Message], *, failed: bool, join: bool
) -> None:
    text = text_of(message.get("content"))
    calls = calls_of(message)
    if failed:  # an unfinished message's calls were cut off; only one with a result is known to have been run
        calls = [call for call in calls if call.id in results]
    if not text.strip() and not calls:
        return
    out: dict[str, Any] = {"role": "assistant", "content": text or None}
    if calls:
        out["tool_calls"] = [_wire_call(call) for call in calls]
    _add(wire, out, join=join)
    for call in calls:
        result = results.get(call.id)
        wire.append(
            {"role": "tool", "tool_call_id": call.id, "content": NO_RESULT if result is None else _result_text(result)}
        )


def _wire_call(call: ToolCall) -> dict[str, Any]:
    arguments = json.dumps(call.arguments, ensure_ascii=False, separators=(",", ":"))
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _result_text(result: Message) -> str:
    text = _user_text(result.get("content"))
    return text or "(no output)"


def _user_text(content: object) -> str:
    text = text_of(content)
    images = 0
    if isinstance(content, list):
        images = sum(1 for part in content if isinstance(part, dict) and part.get("type") == "image")
    if images:
        note = IMAGE_NOTE.format(count=images)
        return f"{text}\n{note}" if text else note
    return text


def _add(wire: list[dict[str, Any]], message: dict[str, Any], *, join: bool) -> None:
    """Append, or join with the neighbour of the same role. A message with tool calls ends its neighbourhood."""
    if message["role"] == "user" and not message["content"].strip():
        return
    last = wire[-1] if wire else None
    if not join or last is None or last["role"] != message["role"] or "tool_calls" in last:
        wire.append(message)
        return
    texts = [text for text in (last["content"], message["content"]) if text]
    wire[-1] = {**last, **message, "content": "\n\n".join(texts)}
