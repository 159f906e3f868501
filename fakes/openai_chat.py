"""OpenAI chat completions on the wire: what a request must look like, what a reply looks like.

Pure: bytes in, values out, bytes out. Knows no socket, no clock and no script. The error texts are the
vendor's, as its SDKs and their users know them; where the vendor's service would silently accept something
that this fake cannot honour (``n`` above 1), the fake refuses it aloud.

The vendor's own checks of the message list are kept, pairing of tool calls and results above all: a runtime
that replays a transcript after a crash is most likely to be wrong exactly there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_SHOWN_ROLES = "'system', 'assistant', 'user', 'function', 'tool', and 'developer'"
_ERROR_TYPES: dict[int, tuple[str, str | None]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    402: ("insufficient_quota", "insufficient_balance"),
    403: ("permission_error", None),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}
_FRAGMENT = 24  # characters of tool-call arguments per delta: small, so that clients must concatenate

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True)
class ApiError:
    """An error reply. ``type`` and ``code`` None: what the vendor sends with the status."""

    status: int
    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        type_, code = _ERROR_TYPES.get(self.status, ("server_error" if self.status >= 500 else None, None))
        if self.type is not None or type_ is None:
            type_, code = self.type or "invalid_request_error", None
        error = {"message": self.message, "type": type_, "param": self.param, "code": self.code or code}
        return _encode({"error": error})


class RequestRefused(Exception):
    """A request that the vendor would not take. Fields: ``error``; ``model`` if the body named one."""

    def __init__(self, error: ApiError, model: str = "") -> None:
        self.error, self.model = error, model
        super().__init__(error.message)


@dataclass(frozen=True)
class ChatRequest:
    """What a reply depends on. ``keys`` are the body's keys, sorted; ``prompt_tokens`` is a rough count."""

    model: str
    stream: bool
    include_usage: bool
    messages: int
    keys: tuple[str, ...]
    prompt_tokens: int


# --------------------------------------------------------------------------- requests


def parse_request(body: bytes) -> ChatRequest:
    """Check the body of ``POST .../chat/completions``.

    Raises:
        RequestRefused: with the vendor's status, text, ``param`` and ``code``.
    """
    try:
        value = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _refused(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
            "library correctly. The API expects a JSON payload, but what was sent was not valid JSON.)"
        ) from None
    if not isinstance(value, dict):
        raise _refused("Invalid request body: expected a JSON object.")
    model = value.get("model")
    if not isinstance(model, str) or not model:
        raise _refused("you must provide a model parameter")
    try:
        messages = _check_messages(value)
        stream, include_usage = _check_streaming(value)
        _check_options(value)
    except RequestRefused as refused:
        raise RequestRefused(refused.error, model) from None
    size = sum(len(_encode(message.get("content"))) for message in messages)
    return ChatRequest(model, stream, include_usage, len(messages), tuple(sorted(value)), 1 + size // 4)


def _refused(message: str, param: str | None = None, code: str | None = None) -> RequestRefused:
    return RequestRefused(ApiError(400, message, "invalid_request_error", code, param))


def _missing(param: str) -> RequestRefused:
    return _refused(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def _wrong_type(param: str, expected: str, got: object) -> RequestRefused:
    return _refused(
        f"Invalid type for '{param}': expected {expected}, but got {_noun(got)} instead.", param, "invalid_type"
    )


def _noun(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def _check_messages(value: dict[str, Any]) -> list[dict[str, Any]]:
    if "messages" not in value:
        raise _missing("messages")
    messages = value["messages"]
    if not isinstance(messages, list):
        raise _wrong_type("messages", "an array of objects", messages)
    if not messages:
        text = (
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead."
        )
        raise _refused(text, "messages", "empty_array")
    awaited: list[str] = []  # tool call ids of the last assistant message that have no result yet
    for index, message in enumerate(messages):
        at = f"messages[{index}]"
        if not isinstance(message, dict):
            raise _wrong_type(at, "an object", message)
        awaited = _check_message(at, message, awaited)
    _all_answered(awaited, f"messages[{len(messages) - 1}].role")
    return messages


def _check_message(at: str, message: dict[str, Any], awaited: list[str]) -> list[str]:
    if "role" not in message:
        raise _missing(f"{at}.role")
    role, content, calls = message["role"], message.get("content"), message.get("tool_calls")
    if role not in _ROLES:
        text = f"Invalid value: '{role}'. Supported values are: {_SHOWN_ROLES}."
        raise _refused(text, f"{at}.role", "invalid_value")
    if content is None and not (role == "assistant" and (calls or message.get("function_call"))):
        raise _wrong_type(f"{at}.content", "one of a string or array of objects", content)
    if content is not None and not isinstance(content, (str, list)):
        raise _wrong_type(f"{at}.content", "one of a string or array of objects", content)
    if role == "tool":
        call_id = message.get("tool_call_id")
        if not isinstance(call_id, str):
            raise _missing(f"{at}.tool_call_id")
        if call_id not in awaited:
            text = (
                "Invalid parameter: messages with role 'tool' must be a response to a preceeding message "
                "with 'tool_calls'."
            )
            raise _refused(text, f"{at}.role")
        return [known for known in awaited if known != call_id]
    _all_answered(awaited, f"{at}.role")
    return _call_ids(at, calls) if role == "assistant" and calls is not None else []


def _all_answered(awaited: list[str], param: str) -> None:
    if awaited:
        text = (
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(awaited)}"
        )
        raise _refused(text, param)


def _call_ids(at: str, calls: object) -> list[str]:
    if not isinstance(calls, list):
        raise _wrong_type(f"{at}.tool_calls", "an array of objects", calls)
    ids = []
    for index, call in enumerate(calls):
        where = f"{at}.tool_calls[{index}]"
        if not isinstance(call, dict):
            raise _wrong_type(where, "an object", call)
        function = call.get("function")
        if not isinstance(call.get("id"), str):
            raise _missing(f"{where}.id")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise _missing(f"{where}.function.name")
        if not isinstance(function.get("arguments"), str):
            raise _wrong_type(f"{where}.function.arguments", "a string", function.get("arguments"))
        ids.append(call["id"])
    return ids


def _check_streaming(value: dict[str, Any]) -> tuple[bool, bool]:
    stream, options = value.get("stream"), value.get("stream_options")
    if stream is not None and not isinstance(stream, bool):
        raise _wrong_type("stream", "a boolean", stream)
    if options is None:
        return bool(stream), False
    if not isinstance(options, dict):
        raise _wrong_type("stream_options", "an object", options)
    if not stream:
        raise _refused("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
    return True, options.get("include_usage") is True


def _check_options(value: dict[str, Any]) -> None:
    for key in ("max_tokens", "max_completion_tokens", "n"):
        number = value.get(key)
        if number is None:
            continue
        if not isinstance(number, int) or isinstance(number, bool):
            raise _wrong_type(key, "an integer", number)
        if number < 1:
            text = f"Invalid '{key}': integer below minimum value. Expected a value >= 1, but got {number} instead."
            raise _refused(text, key, "integer_below_min_value")
    if value.get("n", 1) not in (None, 1):
        raise _refused("This fake answers with one choice: 'n' must be 1.", "n", "unsupported_value")
    tools = value.get("tools")
    if tools is None:
        return
    if not isinstance(tools, list):
        raise _wrong_type("tools", "an array of objects", tools)
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise _wrong_type(f"tools[{index}]", "an object", tool)
        if "type" not in tool:
            raise _missing(f"tools[{index}].type")
        function = tool.get("function")
        if tool["type"] == "function" and not (isinstance(function, dict) and isinstance(function.get("name"), str)):
            raise _missing(f"tools[{index}].function.name")


# --------------------------------------------------------------------------- replies


@dataclass(frozen=True)
class Call:
    """A tool call of the reply; ``arguments`` is the text as it goes out."""

    id: str
    name: str
    arguments: str


def usage_object(prompt: int, completion: int, cached: int = 0, reasoning: int = 0) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


class StreamFormat:
    """The server-sent events of one streamed reply. Each method gives the bytes of one or more whole events."""

    content_type = "text/event-stream"

    def __init__(self, request: ChatRequest, reply_id: str, created: int) -> None:
        self._request = request
        self._head = {"id": reply_id, "object": "chat.completion.chunk", "created": created, "model": request.model}
        self._fresh = True

    def token(self, text: str) -> bytes:
        return self._delta({"content": text})

    def tool_call(self, index: int, call: Call) -> bytes:
        """The call's head, then its arguments in fragments, as one group of events."""
        start = {"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        events = [self._delta({"tool_calls": [start]})]
        for at in range(0, len(call.arguments), _FRAGMENT):
            fragment = {"arguments": call.arguments[at : at + _FRAGMENT]}
            events.append(self._delta({"tool_calls": [{"index": index, "function": fragment}]}))
        return b"".join(events)

    def finish(self, reason: str, usage: dict[str, Any] | None) -> bytes:
        """The finish chunk, usage and ``[DONE]``.

        Usage stands in a chunk of its own, without choices, when the request asked for it (the vendor's way),
        else in the finish chunk (as compatible servers send it unasked).
        """
        if self._request.include_usage:
            last = self._event({"choices": [], "usage": usage})
            return self._delta({}, reason) + last + b"data: [DONE]\n\n"
        return self._delta({}, reason, usage) + b"data: [DONE]\n\n"

    def _delta(self, delta: dict[str, Any], reason: str | None = None, usage: dict[str, Any] | None = None) -> bytes:
        if self._fresh:
            self._fresh = False
            opening = {"role": "assistant"} if "content" in delta else {"role": "assistant", "content": None}
            delta = opening | delta
        chunk: dict[str, Any] = {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        if self._request.include_usage or usage is not None:
            chunk["usage"] = usage
        return self._event(chunk)

    def _event(self, chunk: dict[str, Any]) -> bytes:
        return b"data: " + _encode(self._head | chunk) + b"\n\n"


def whole_reply(
    request: ChatRequest,
    reply_id: str,
    created: int,
    *,
    text: str,
    calls: Sequence[Call],
    reason: str,
    usage: dict[str, Any],
) -> bytes:
    """The body of a reply that is not streamed."""
    message: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None}
    if calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in calls
        ]
    return _encode({
        "id": reply_id,
        "object": "chat.completion",
        "created": created,
        "model": request.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
        "usage": usage,
    })  # fmt: skip


def models_reply(models: Sequence[str], created: int) -> bytes:
    """The body of ``GET .../models``."""
    data = [{"id": model, "object": "model", "created": created, "owned_by": "lockjaw"} for model in models]
    return _encode({"object": "list", "data": data})


def unknown_model(model: str) -> ApiError:
    text = f"The model `{model}` does not exist or you do not have access to it."
    return ApiError(404, text, "invalid_request_error", "model_not_found")


def unknown_url(method: str, path: str) -> ApiError:
    return ApiError(404, f"Invalid URL ({method} {path})", "invalid_request_error", "unknown_url")
