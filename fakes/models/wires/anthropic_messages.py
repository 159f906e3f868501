"""Anthropic Messages on the wire.

A stream is made of content blocks that open and close: thinking, text, one per tool call. The pairing of ``tool_use``
and ``tool_result`` is checked as the vendor does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lockjaw.clock import iso

from .bodies import arguments_object, encode, fragments, rough_tokens
from .pairing import Pairing, PairingWords
from .surface import (
    EPOCH,
    ApiError,
    ChatRequest,
    ErrorKind,
    ErrorWords,
    Headers,
    Question,
    Reply,
    ReplyCall,
    RequestRefused,
    Surface,
    Tokens,
    refused,
)

ERRORS: dict[ErrorKind, ErrorWords] = {
    "bad_request": ErrorWords(400, "Invalid request.", "invalid_request_error"),
    "auth": ErrorWords(401, "invalid x-api-key", "authentication_error"),
    "billing": ErrorWords(402, "Your credit balance is too low to access the Anthropic API.", "billing_error"),
    "permission": ErrorWords(
        403, "Your API key does not have permission to use the specified resource.", "permission_error"
    ),
    "model_not_found": ErrorWords(404, "model: {model}", "not_found_error"),
    "not_found": ErrorWords(404, "Not found.", "not_found_error"),
    "too_large": ErrorWords(413, "Request exceeds the maximum size", "request_too_large"),
    "context_length": ErrorWords(400, "prompt is too long: {tokens} tokens > 200000 maximum", "invalid_request_error"),
    "rate_limit": ErrorWords(429, "This request would exceed your organization's rate limit.", "rate_limit_error"),
    "quota": ErrorWords(429, "You have reached your specified API usage limits.", "rate_limit_error"),
    "server_error": ErrorWords(500, "Internal server error", "api_error"),
    "bad_gateway": ErrorWords(502, "Bad gateway", "api_error"),
    "unavailable": ErrorWords(503, "Service unavailable", "api_error"),
    "timeout": ErrorWords(504, "Request timed out", "timeout_error"),
    "overloaded": ErrorWords(529, "Overloaded", "overloaded_error"),
}
_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_SIGNATURE = "bG9ja2phdw=="  # of a thinking block: opaque to clients, who have to hand it back


_PAIRS = PairingWords(
    unknown="{at}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a "
    "corresponding `tool_use` block in the previous message.",
    unanswered="{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {ids}. Each `tool_use` "
    "block must have a corresponding `tool_result` block in the next message.",
)


class AnthropicMessages(Surface):
    """``POST .../v1/messages``."""

    name = "anthropic-messages"
    stream_type = "text/event-stream; charset=utf-8"
    broken_event = b'event: content_block_delta\ndata: {"broken": \n\n'

    errors = ERRORS
    not_json = "The request body is not valid JSON: invalid JSON"
    not_an_object = "Input should be a valid dictionary"
    id_header = "request-id"

    def model_in_body(self, value: dict[str, Any]) -> str:
        if "model" not in value:
            raise refused("model: Field required")
        model = value["model"]
        if not isinstance(model, str) or not model:
            raise refused("model: Input should be a valid string")
        return model

    def request(self, model: str, value: dict[str, Any], target: str) -> ChatRequest:
        messages = _check_messages(value)
        _check_options(value)
        after_tool = _holds_a_result(messages[-1]["content"])
        return self.asked(model, value, messages, stream=value.get("stream") is True, after_tool=after_tool)

    @staticmethod
    def error_object(error: ApiError) -> dict[str, Any]:
        return {"type": error.type or ERRORS[error.meaning].type, "message": error.message}

    def error_body(self, error: ApiError, request_id: str) -> bytes:
        return encode({"type": "error", "error": self.error_object(error), "request_id": request_id or None})

    def quota_headers(self, limit: int, remaining: int, reset_s: float) -> Headers:
        return (
            ("anthropic-ratelimit-requests-limit", str(limit)),
            ("anthropic-ratelimit-requests-remaining", str(remaining)),
            ("anthropic-ratelimit-requests-reset", iso(round((EPOCH + reset_s) * 1000))),
        )

    def models(self, names: Sequence[str], created: int) -> bytes:
        made = iso(created * 1000)
        data = [{"type": "model", "id": name, "display_name": name, "created_at": made} for name in names]
        first, last = (names[0], names[-1]) if names else (None, None)
        return encode({"data": data, "has_more": False, "first_id": first, "last_id": last})

    def whole(self, reply: Reply) -> bytes:
        content: list[dict[str, Any]] = []
        if reply.reasoning:
            content.append({"type": "thinking", "thinking": reply.reasoning, "signature": _SIGNATURE})
        if reply.text:
            content.append({"type": "text", "text": reply.text})
        for call in reply.calls:
            content.append(_tool_use(call) | {"input": arguments_object(call.arguments)})
        return encode(_message(reply, content, _STOP_REASONS[reply.reason], usage_object(reply.usage)))

    def stream(self, reply: Reply) -> MessageStream:
        return MessageStream(reply)


def usage_object(usage: Tokens) -> dict[str, Any]:
    """The vendor does not count what the cache held among the input tokens."""
    return {
        "input_tokens": max(0, usage.prompt - usage.cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.completion,
        "service_tier": "standard",
    }


def _message(reply: Reply, content: list[dict[str, Any]], reason: str | None, usage: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"msg_{reply.key}",
        "type": "message",
        "role": "assistant",
        "model": reply.request.model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": usage,
    }


def _tool_use(call: ReplyCall) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id or f"toolu_{call.key}", "name": call.name, "input": {}}


def event(name: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), encode({"type": name, **fields}))


class MessageStream:
    """Events of one reply. A block stays open until something else comes."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._index = -1
        self._open = ""  # kind of the open block
        self._before = b""  # of a text delta: the hot path of a stream
        self._fresh = True

    def reasoning(self, text: str) -> bytes:
        opened = self._block("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        return opened + self._delta(type="thinking_delta", thinking=text)

    def token(self, text: str) -> bytes:
        if self._open == "text":
            return self._before + encode(text) + b"}}\n\n"
        opened = self._block("text", {"type": "text", "text": ""})
        start = f'{{"type":"content_block_delta","index":{self._index},"delta":{{"type":"text_delta","text":'
        self._before = b"event: content_block_delta\ndata: " + start.encode()
        return opened + self._before + encode(text) + b"}}\n\n"

    def tool_call(self, index: int, call: ReplyCall) -> bytes:
        opened = self._block(f"tool_use {index}", _tool_use(call))
        deltas = [self._delta(type="input_json_delta", partial_json=part) for part in ("", *fragments(call.arguments))]
        return opened + b"".join(deltas)

    def finish(self) -> bytes:
        reason = _STOP_REASONS[self._reply.reason]
        delta = {"stop_reason": reason, "stop_sequence": None}
        usage = usage_object(self._reply.usage)
        del usage["service_tier"]
        return self._begun() + self._closed() + event("message_delta", delta=delta, usage=usage)

    def done(self) -> bytes:
        return event("message_stop")

    def error(self, error: ApiError) -> bytes:
        return event("error", error=AnthropicMessages.error_object(error))

    def _block(self, kind: str, block: dict[str, Any]) -> bytes:
        """Make this the open block."""
        if self._open == kind:
            return b""
        before = self._begun() + self._closed()
        self._index, self._open = self._index + 1, kind
        first = event("ping") if self._index == 0 else b""
        return before + event("content_block_start", index=self._index, content_block=block) + first

    def _begun(self) -> bytes:
        if not self._fresh:
            return b""
        self._fresh = False
        usage = usage_object(self._reply.usage) | {"output_tokens": 1}
        return event("message_start", message=_message(self._reply, [], None, usage))

    def _closed(self) -> bytes:
        if not self._open:
            return b""
        signed = self._delta(type="signature_delta", signature=_SIGNATURE) if self._open == "thinking" else b""
        self._open = ""
        return signed + event("content_block_stop", index=self._index)

    def _delta(self, **delta: Any) -> bytes:
        return event("content_block_delta", index=self._index, delta=delta)


# --------------------------------------------------------------------------- requests


def _holds_a_result(content: Any) -> bool:
    return isinstance(content, list) and any(part.get("type") == "tool_result" for part in content)


def count_tokens(surface: Surface, body: bytes) -> Question:
    """``POST .../v1/messages/count_tokens``: the count that a reply to these messages would claim, unless its step says
    another. Raises RequestRefused with the vendor's words."""
    value = surface.object_of(body)
    model = surface.model_in_body(value)
    try:
        messages = _check_messages(value)
        _check_tools(value)
    except RequestRefused as no:
        raise RequestRefused(no.error, model) from None
    return Question(model, encode({"input_tokens": rough_tokens(message.get("content") for message in messages)}))


def _check_messages(value: dict[str, Any]) -> list[dict[str, Any]]:
    if "messages" not in value:
        raise refused("messages: Field required")
    messages = value["messages"]
    if not isinstance(messages, list):
        raise refused("messages: Input should be a valid list")
    if not messages:
        raise refused("messages: at least one message is required")
    pairing = Pairing(_PAIRS)
    for index, message in enumerate(messages):
        at = f"messages.{index}"
        if not isinstance(message, dict):
            raise refused(f"{at}: Input should be a valid dictionary")
        _check_message(at, message, pairing)
        if index == 0 and message["role"] != "user":
            raise refused('messages: first message must use the "user" role')
    return messages


def _check_message(at: str, message: dict[str, Any], pairing: Pairing) -> None:
    for key in ("role", "content"):
        if key not in message:
            raise refused(f"{at}.{key}: Field required")
    role, content = message["role"], message["content"]
    if role not in ("user", "assistant"):
        raise refused(f"{at}.role: Input should be 'user' or 'assistant'")
    if not isinstance(content, (str, list)):
        raise refused(f"{at}.content: Input should be a valid list")
    blocks = content if isinstance(content, list) else []
    calls = []
    for index, block in enumerate(blocks):
        where = f"{at}.content.{index}"
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise refused(f"{where}: Input should be a valid dictionary with a type")
        match block["type"]:
            case "tool_result":
                pairing.answered(_field(where, block, "tool_use_id"), where)
            case "tool_use":
                calls.append(_field(where, block, "id"))
                _field(where, block, "name")
                if not isinstance(block.get("input"), dict):
                    raise refused(f"{where}.tool_use.input: Input should be a valid dictionary")
            case "text" if not block.get("text"):
                raise refused(f"{at}: text content blocks must be non-empty")
    pairing.settled(at)
    if role == "assistant":
        pairing.called(calls)


def _field(where: str, block: dict[str, Any], key: str) -> str:
    value = block.get(key)
    if not isinstance(value, str):
        raise refused(f"{where}.{block['type']}.{key}: Field required")
    return value


def _check_options(value: dict[str, Any]) -> None:
    limit = value.get("max_tokens")
    if "max_tokens" not in value:
        raise refused("max_tokens: Field required")
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise refused("max_tokens: Input should be a valid integer")
    if limit < 1:
        raise refused("max_tokens: Input should be greater than or equal to 1")
    if not isinstance(value.get("stream", False), bool):
        raise refused("stream: Input should be a valid boolean")
    _check_tools(value)


def _check_tools(value: dict[str, Any]) -> None:
    tools = value.get("tools", [])
    if not isinstance(tools, list):
        raise refused("tools: Input should be a valid list")
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
            raise refused(f"tools.{index}.custom.name: Field required")
        if tool.get("type", "custom") == "custom" and "input_schema" not in tool:
            raise refused(f"tools.{index}.custom.input_schema: Field required")
