"""One answer of a chat-completions server, put together from its chunks. Pure.

Knows the fields that upstream reads (protocol facts G4) and tolerates everything else: fields of a wrong type
are ignored, because servers that call themselves compatible send nulls and strings in odd places.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.errors import ModelFailure
from lockjaw.runner.failover import classify
from lockjaw.runner.turn import text_of, zero_usage

THINKING_KEYS = ("reasoning_content", "reasoning", "reasoning_text")

#: finish_reason on the wire -> stopReason of the transcript. Every other reason is an error.
STOP_REASONS = {
    "stop": "stop",
    "end": "stop",
    "length": "length",
    "tool_calls": "toolUse",
    "function_call": "toolUse",
}


class TextDelta(msgspec.Struct, frozen=True):
    text: str


class ThinkingDelta(msgspec.Struct, frozen=True):
    text: str


class ToolCallDelta(msgspec.Struct, frozen=True):
    """A piece of a call. ``index`` counts the calls of the reply; ``arguments`` is the piece of JSON text."""

    index: int
    id: str
    name: str
    arguments: str


Delta = TextDelta | ThinkingDelta | ToolCallDelta


@dataclass(frozen=True)
class ModelReply:
    """A complete answer.

    ``content`` holds transcript parts in the order in which they came; ``usage`` is the transcript's usage
    object; ``stop_reason`` is ``stop``, ``length`` or ``toolUse``. ``invalid_arguments`` maps the id of each
    call whose arguments are no JSON object to their raw text; such a call has ``{}`` in ``content`` and must
    not be run: a repaired half of a command is another command.
    """

    content: list[dict[str, Any]]
    usage: dict[str, Any]
    stop_reason: str
    response_id: str | None = None
    invalid_arguments: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Call:
    position: int
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class Partial:
    """What has arrived so far of one answer. Make one per attempt; it stays readable after a failure."""

    def __init__(self) -> None:
        self.response_id: str | None = None
        self.usage: dict[str, Any] = zero_usage()
        self.finish_reason: str | None = None
        self.size = 0  # characters taken, to bound an endless answer
        self._parts: list[tuple[str, list[str] | _Call]] = []
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}

    @property
    def text(self) -> str:
        return text_of(self.content())

    def content(self) -> list[dict[str, Any]]:
        """Text and thinking parts so far; calls are left out, for an unfinished call must not be kept."""
        return [_text_part(kind, piece) for kind, piece in self._parts if isinstance(piece, list)]

    def take(self, chunk: object) -> list[Delta]:
        """Add one chunk (or one whole, unstreamed answer); what is new in it.

        Raises:
            ModelFailure: the chunk is no object, or reports an error (with the server's message).
        """
        if not isinstance(chunk, dict):
            raise ModelFailure("unreadable stream chunk: not a JSON object")
        if chunk.get("error"):
            text, status = error_text(chunk) or "the stream reported an error", error_status(chunk)
            reason = classify(text, status, error_code(chunk), behaviour=BEHAVIOURS["takeover"])
            raise ModelFailure(text, reason or "unknown", status=status)
        if not self.response_id and isinstance(chunk.get("id"), str):
            self.response_id = chunk["id"]
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        for usage in (chunk.get("usage"), choice.get("usage")):
            if isinstance(usage, dict):
                self.usage = _usage(usage)
        if isinstance(choice.get("finish_reason"), str):
            self.finish_reason = choice["finish_reason"]
        delta = choice.get("delta") or choice.get("message")
        return self._delta(delta) if isinstance(delta, dict) else []

    def finish(self) -> ModelReply:
        """The answer is complete. An end without a finish reason counts as ``stop``, as upstream has it.

        Raises:
            ModelFailure: the finish reason is an error.
        """
        stop_reason = STOP_REASONS.get(self.finish_reason or "stop")
        if stop_reason is None:
            raise ModelFailure(f"Provider finish_reason: {self.finish_reason}")
        invalid: dict[str, str] = {}
        content: list[dict[str, Any]] = []
        seen: set[str] = set()
        for kind, piece in self._parts:
            if isinstance(piece, list):
                content.append(_text_part(kind, piece))
                continue
            call_id = piece.id or f"call_{piece.position}"
            while call_id in seen:
                call_id += "_"
            seen.add(call_id)
            raw = "".join(piece.arguments)
            arguments = _arguments(raw)
            if arguments is None:
                invalid[call_id] = raw
            content.append({"type": "toolCall", "id": call_id, "name": piece.name, "arguments": arguments or {}})
        return ModelReply(content, self.usage, stop_reason, self.response_id, invalid)

    # ------------------------------------------------------------------ deltas

    def _delta(self, delta: dict[str, Any]) -> list[Delta]:
        deltas: list[Delta] = []
        for key in THINKING_KEYS:
            thinking = delta.get(key)
            if thinking and isinstance(thinking, str):
                self._text("thinking", thinking)
                deltas.append(ThinkingDelta(thinking))
                break
        text = delta.get("content")
        if isinstance(text, str) and text:
            self._text("text", text)
            deltas.append(TextDelta(text))
        calls = delta.get("tool_calls")
        for piece in calls if isinstance(calls, list) else []:
            if isinstance(piece, dict):
                deltas.append(self._tool_call(piece))
        return deltas

    def _text(self, kind: str, text: str) -> None:
        self.size += len(text)
        if self._parts and self._parts[-1][0] == kind:
            last = self._parts[-1][1]
            assert isinstance(last, list)
            last.append(text)
        else:
            self._parts.append((kind, [text]))

    def _tool_call(self, piece: dict[str, Any]) -> ToolCallDelta:
        function = piece.get("function")
        function = function if isinstance(function, dict) else {}
        call = self._call(_string(piece.get("id")), piece.get("index"))
        call.name = call.name or _string(function.get("name"))
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # some servers do not encode them
            arguments = json.dumps(arguments)
        text = _string(arguments)
        call.arguments.append(text)
        self.size += len(text)
        return ToolCallDelta(call.position, call.id, call.name, text)

    def _call(self, call_id: str, index: object) -> _Call:
        """The call that a piece belongs to: by index where given, else the latest; a new id starts a new one."""
        known = self._by_index.get(index) if isinstance(index, int) else (self._calls[-1] if self._calls else None)
        if known is None or (call_id and known.id and call_id != known.id):
            known = _Call(len(self._calls))
            self._calls.append(known)
            self._parts.append(("toolCall", known))
            if isinstance(index, int):
                self._by_index[index] = known
        known.id = known.id or call_id
        return known


def error_text(body: object) -> str:
    """The message in a server's error object, in the shapes that servers use; empty if there is none."""
    if not isinstance(body, dict):
        return ""
    error = body.get("error", body)
    if isinstance(error, str):
        return error
    if isinstance(error, dict):
        message = error.get("message") or error.get("detail")
        return message if isinstance(message, str) else json.dumps(error)[:2000] if "error" in body else ""
    return ""


def error_code(body: object) -> str | None:
    """The code (or type) in a server's error object."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return None
    return next((error[key] for key in ("code", "type", "status") if isinstance(error.get(key), str)), None)


def error_status(body: object) -> int | None:
    """The HTTP status that an error object names: proxies report the status behind them within a 200 stream."""
    error = body.get("error") if isinstance(body, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code <= 599 else None


def _text_part(kind: str, pieces: list[str]) -> dict[str, Any]:
    return {"type": kind, kind: "".join(pieces)}


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _usage(wire: dict[str, Any]) -> dict[str, Any]:
    details = wire.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else 0
    prompt, output = _count(wire.get("prompt_tokens")), _count(wire.get("completion_tokens"))
    cached = min(cached, prompt)
    return {
        **zero_usage(),
        "input": prompt - cached,
        "output": output,
        "cacheRead": cached,
        "totalTokens": prompt + output,
    }


def _arguments(raw: str) -> dict[str, Any] | None:
    """The arguments of a call; None if they are no JSON object. No text at all means none."""
    if not raw.strip():
        return {}
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
