"""OpenAI chat completions on the wire, and every service that is compatible with them.

The vendor's own checks of the message list are kept, pairing of tool calls and results above all: a runtime
that replays a transcript after a crash is most likely to be wrong exactly there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from .bodies import encode, fragments, noun
from .pairing import Pairing, PairingWords
from .surface import (
    ApiError,
    ChatRequest,
    ErrorKind,
    ErrorWords,
    Headers,
    Reply,
    ReplyCall,
    RequestRefused,
    Surface,
    Tokens,
    refused,
)

_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_SHOWN_ROLES = "'system', 'assistant', 'user', 'function', 'tool', and 'developer'"

_INVALID = "invalid_request_error"
_CONTEXT = (
    "This model's maximum context length is 8192 tokens. However, your messages resulted in {tokens} tokens. "
    "Please reduce the length of the messages."
)
ERRORS: dict[ErrorKind, ErrorWords] = {
    "bad_request": ErrorWords(400, "Invalid request.", _INVALID),
    "auth": ErrorWords(401, "Incorrect API key provided: k.", _INVALID, "invalid_api_key"),
    "billing": ErrorWords(402, "Insufficient Balance", "insufficient_quota", "insufficient_balance"),
    "permission": ErrorWords(403, "You are not allowed to use this model.", "permission_error"),
    "model_not_found": ErrorWords(
        404, "The model `{model}` does not exist or you do not have access to it.", _INVALID, "model_not_found"
    ),
    "not_found": ErrorWords(404, "Not found.", _INVALID),
    "too_large": ErrorWords(413, "Request too large.", _INVALID),
    "context_length": ErrorWords(400, _CONTEXT, _INVALID, "context_length_exceeded"),
    "rate_limit": ErrorWords(
        429, "Rate limit reached for {model} on requests per min (RPM).", "requests", "rate_limit_exceeded"
    ),
    "quota": ErrorWords(
        429,
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
        "insufficient_quota",
    ),
    "server_error": ErrorWords(
        500, "The server had an error while processing your request. Sorry about that!", "server_error"
    ),
    "bad_gateway": ErrorWords(502, "Bad gateway.", "server_error"),
    "unavailable": ErrorWords(
        503, "That model is currently overloaded with other requests. You can retry your request.", "server_error"
    ),
    "timeout": ErrorWords(504, "Gateway timeout.", "server_error"),
    "overloaded": ErrorWords(503, "The engine is currently overloaded, please try again later.", "server_error"),
}
_PAIRS = PairingWords(
    unknown="Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
    "'tool_calls'.",
    unanswered="An assistant message with 'tool_calls' must be followed by tool messages responding to each "
    "'tool_call_id'. The following tool_call_ids did not have response messages: {ids}",
    again=False,
)


class OpenAISurface(Surface):
    """What chat completions and Responses share."""

    stream_type = "text/event-stream"
    broken_event = b'data: {"broken": \n\n'
    errors = ERRORS
    not_json = (
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
        "library correctly. The API expects a JSON payload, but what was sent was not valid JSON.)"
    )
    not_an_object = "Invalid request body: expected a JSON object."
    id_header = "x-request-id"
    retry_headers: ClassVar[Mapping[str, int]] = {"retry-after": 1, "retry-after-ms": 1000}

    @staticmethod
    def error_object(error: ApiError) -> dict[str, Any]:
        words = ERRORS[error.meaning]
        type_, code = (words.type, words.code) if error.type is None else (error.type, None)
        param = error.param or ("messages" if error.meaning == "context_length" else None)
        return {"message": error.message, "type": type_, "param": param, "code": error.code or code}

    def quota_headers(self, limit: int, remaining: int, reset_s: float) -> Headers:
        return (
            ("x-ratelimit-limit-requests", str(limit)),
            ("x-ratelimit-remaining-requests", str(remaining)),
            ("x-ratelimit-reset-requests", f"{round(reset_s * 1000)}ms"),
        )

    def models(self, names: Sequence[str], created: int) -> bytes:
        data = [{"id": model, "object": "model", "created": created, "owned_by": "lockjaw"} for model in names]
        return encode({"object": "list", "data": data})


class OpenAIChat(OpenAISurface):
    """``POST .../chat/completions``."""

    name = "openai-chat"

    def model_in_body(self, value: dict[str, Any]) -> str:
        model = value.get("model")
        if not isinstance(model, str) or not model:
            raise refused("you must provide a model parameter")
        return model

    def request(self, model: str, value: dict[str, Any], target: str) -> ChatRequest:
        messages = _check_messages(value)
        stream, include_usage = _check_streaming(value)
        _check_options(value)
        after_tool = messages[-1]["role"] in ("tool", "function")
        return self.asked(model, value, messages, stream=stream, after_tool=after_tool, include_usage=include_usage)

    def whole(self, reply: Reply) -> bytes:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": reply.text if reply.text or not reply.calls else None,
        }
        if reply.reasoning:
            message["reasoning_content"] = reply.reasoning
        if reply.calls:
            message["tool_calls"] = [
                {"id": call_id(call), "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in reply.calls
            ]
        return encode({
            "id": f"chatcmpl-{reply.key}",
            "object": "chat.completion",
            "created": reply.created,
            "model": reply.request.model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reply.reason}],
            "usage": usage_object(reply.usage),
        })  # fmt: skip

    def stream(self, reply: Reply) -> ChatStream:
        return ChatStream(reply)


def usage_object(usage: Tokens) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def call_id(call: ReplyCall) -> str:
    return call.id or f"call_{call.key}"


class ChatStream:
    """Chunks of one reply. The first one names the role."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._asked = reply.request.include_usage
        head = {
            "id": f"chatcmpl-{reply.key}",
            "object": "chat.completion.chunk",
            "created": reply.created,
            "model": reply.request.model,
        }
        self._head = b"data: " + encode(head)[:-1]
        # Every token's chunk is the same but for its text: this is the hot path of a stream.
        self._before = self._head + b',"choices":[{"index":0,"delta":{"content":'
        self._after = b'},"finish_reason":null}]' + (b',"usage":null}\n\n' if self._asked else b"}\n\n")
        self._fresh = True

    def reasoning(self, text: str) -> bytes:
        return self._delta({"reasoning_content": text})

    def token(self, text: str) -> bytes:
        if self._fresh:
            return self._delta({"content": text})
        return self._before + encode(text) + self._after

    def tool_call(self, index: int, call: ReplyCall) -> bytes:
        """The call's head, then its arguments in fragments, as one group of events."""
        function = {"name": call.name, "arguments": ""}
        events = [
            self._delta(
                {"tool_calls": [{"index": index, "id": call_id(call), "type": "function", "function": function}]}
            )
        ]
        for fragment in fragments(call.arguments):
            events.append(self._delta({"tool_calls": [{"index": index, "function": {"arguments": fragment}}]}))
        return b"".join(events)

    def finish(self) -> bytes:
        """The finish chunk and usage.

        Usage stands in a chunk of its own, without choices, when the request asked for it (the vendor's way),
        else, if the script states it, in the finish chunk (as compatible servers send it unasked).
        """
        usage = usage_object(self._reply.usage)
        if self._asked:
            return self._delta({}, self._reply.reason) + self._event({"choices": [], "usage": usage})
        return self._delta({}, self._reply.reason, usage if self._reply.usage_given else None)

    def done(self) -> bytes:
        return b"data: [DONE]\n\n"

    def error(self, error: ApiError) -> bytes:
        return b"data: " + encode({"error": OpenAISurface.error_object(error)}) + b"\n\n"

    def _delta(self, delta: dict[str, Any], reason: str | None = None, usage: dict[str, Any] | None = None) -> bytes:
        if self._fresh:
            self._fresh = False
            opening = {"role": "assistant"} if "content" in delta else {"role": "assistant", "content": None}
            delta = opening | delta
        chunk: dict[str, Any] = {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        if self._asked or usage is not None:
            chunk["usage"] = usage
        return self._event(chunk)

    def _event(self, chunk: dict[str, Any]) -> bytes:
        return self._head + b"," + encode(chunk)[1:] + b"\n\n"


# --------------------------------------------------------------------------- requests


def missing(param: str) -> RequestRefused:
    return refused(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def wrong_type(param: str, expected: str, got: object) -> RequestRefused:
    return refused(
        f"Invalid type for '{param}': expected {expected}, but got {noun(got)} instead.", param, "invalid_type"
    )


def _check_messages(value: dict[str, Any]) -> list[dict[str, Any]]:
    if "messages" not in value:
        raise missing("messages")
    messages = value["messages"]
    if not isinstance(messages, list):
        raise wrong_type("messages", "an array of objects", messages)
    if not messages:
        text = (
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead."
        )
        raise refused(text, "messages", "empty_array")
    pairing = Pairing(_PAIRS)
    for index, message in enumerate(messages):
        at = f"messages[{index}]"
        if not isinstance(message, dict):
            raise wrong_type(at, "an object", message)
        _check_message(at, message, pairing)
    pairing.settled(at, f"{at}.role")
    return messages


def _check_message(at: str, message: dict[str, Any], pairing: Pairing) -> None:
    if "role" not in message:
        raise missing(f"{at}.role")
    role, content, calls = message["role"], message.get("content"), message.get("tool_calls")
    if role not in _ROLES:
        text = f"Invalid value: '{role}'. Supported values are: {_SHOWN_ROLES}."
        raise refused(text, f"{at}.role", "invalid_value")
    if content is None and not (role == "assistant" and (calls or message.get("function_call"))):
        raise wrong_type(f"{at}.content", "one of a string or array of objects", content)
    if content is not None and not isinstance(content, (str, list)):
        raise wrong_type(f"{at}.content", "one of a string or array of objects", content)
    if role == "tool":
        call_id = message.get("tool_call_id")
        if not isinstance(call_id, str):
            raise missing(f"{at}.tool_call_id")
        pairing.answered(call_id, at, f"{at}.role")
        return
    pairing.settled(at, f"{at}.role")
    if role == "assistant" and calls is not None:
        pairing.called(_call_ids(at, calls))


def _call_ids(at: str, calls: object) -> list[str]:
    if not isinstance(calls, list):
        raise wrong_type(f"{at}.tool_calls", "an array of objects", calls)
    ids = []
    for index, call in enumerate(calls):
        where = f"{at}.tool_calls[{index}]"
        if not isinstance(call, dict):
            raise wrong_type(where, "an object", call)
        function = call.get("function")
        if not isinstance(call.get("id"), str):
            raise missing(f"{where}.id")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise missing(f"{where}.function.name")
        if not isinstance(function.get("arguments"), str):
            raise wrong_type(f"{where}.function.arguments", "a string", function.get("arguments"))
        ids.append(call["id"])
    return ids


def _check_streaming(value: dict[str, Any]) -> tuple[bool, bool]:
    stream, options = value.get("stream"), value.get("stream_options")
    if stream is not None and not isinstance(stream, bool):
        raise wrong_type("stream", "a boolean", stream)
    if options is None:
        return bool(stream), False
    if not isinstance(options, dict):
        raise wrong_type("stream_options", "an object", options)
    if not stream:
        raise refused("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
    return True, options.get("include_usage") is True


def _check_options(value: dict[str, Any]) -> None:
    for key in ("max_tokens", "max_completion_tokens", "n"):
        number = value.get(key)
        if number is None:
            continue
        if not isinstance(number, int) or isinstance(number, bool):
            raise wrong_type(key, "an integer", number)
        if number < 1:
            text = f"Invalid '{key}': integer below minimum value. Expected a value >= 1, but got {number} instead."
            raise refused(text, key, "integer_below_min_value")
    if value.get("n", 1) not in (None, 1):
        raise refused("This fake answers with one choice: 'n' must be 1.", "n", "unsupported_value")
    for index, tool in enumerate(checked_tools(value)):
        function = tool.get("function")
        if tool["type"] == "function" and not (isinstance(function, dict) and isinstance(function.get("name"), str)):
            raise missing(f"tools[{index}].function.name")


def checked_tools(value: dict[str, Any]) -> list[dict[str, Any]]:
    """The tools of a request; each is an object with a type. Raises RequestRefused."""
    tools = value.get("tools")
    if tools is None:
        return []
    if not isinstance(tools, list):
        raise wrong_type("tools", "an array of objects", tools)
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise wrong_type(f"tools[{index}]", "an object", tool)
        if "type" not in tool:
            raise missing(f"tools[{index}].type")
    return tools
