"""Gemini generateContent and streamGenerateContent (server-sent events) on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import unquote

from .bodies import arguments_object, encode, rough_tokens, seconds_text, text_of
from .surface import (
    ApiError,
    ChatRequest,
    ErrorKind,
    ErrorWords,
    Reply,
    ReplyCall,
    Surface,
    Tokens,
    refused,
)

ERRORS: dict[ErrorKind, ErrorWords] = {
    "bad_request": ErrorWords(400, "Request contains an invalid argument."),
    "auth": ErrorWords(400, "API key not valid. Please pass a valid API key."),
    "billing": ErrorWords(400, "User location is not supported for the API use without a billing account linked."),
    "permission": ErrorWords(403, "The caller does not have permission"),
    "model_not_found": ErrorWords(
        404,
        "models/{model} is not found for API version v1beta, or is not supported for generateContent. "
        "Call ListModels to see the list of available models and their supported methods.",
    ),
    "not_found": ErrorWords(404, "Requested entity was not found."),
    "too_large": ErrorWords(413, "Request payload size exceeds the limit: 20971520 bytes."),
    "context_length": ErrorWords(
        400,
        "The input token count ({tokens}) exceeds the maximum number of tokens allowed (1048576).",
    ),
    "rate_limit": ErrorWords(429, "Resource has been exhausted (e.g. check quota)."),
    "quota": ErrorWords(429, "You exceeded your current quota, please check your plan and billing details."),
    "server_error": ErrorWords(500, "An internal error has occurred. Please retry."),
    "bad_gateway": ErrorWords(502, "Bad gateway"),
    "unavailable": ErrorWords(503, "The service is currently unavailable."),
    "timeout": ErrorWords(504, "Deadline expired before operation could complete."),
    "overloaded": ErrorWords(503, "The model is overloaded. Please try again later."),
}
#: The canonical names of Google's APIs.
_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "content_filter": "SAFETY"}
_STREAM = "streamGenerateContent"


class Gemini(Surface):
    """``POST .../models/MODEL:generateContent`` and ``:streamGenerateContent?alt=sse``."""

    name = "gemini"
    stream_type = "text/event-stream"
    broken_event = b'data: {"broken": \r\n\r\n'

    errors = ERRORS
    not_json = "Invalid JSON payload received. Unexpected token."
    not_an_object = "Invalid JSON payload received. Expected an object."
    id_header = "x-request-id"
    retry_headers: ClassVar[Mapping[str, int]] = {}  # how long to wait stands in the body

    def model_in_target(self, target: str) -> str:
        return split_target(target)[0]

    def model_in_body(self, value: dict[str, Any]) -> str:
        return ""

    def request(self, model: str, value: dict[str, Any], target: str) -> ChatRequest:
        return parse_request(model, value, target)

    @staticmethod
    def error_object(error: ApiError) -> dict[str, Any]:
        default = "INTERNAL" if error.status >= 500 else "FAILED_PRECONDITION"
        name = "FAILED_PRECONDITION" if error.meaning == "billing" else _NAMES.get(error.status, default)
        said: dict[str, Any] = {"code": error.status, "message": error.message, "status": error.type or name}
        details: list[dict[str, Any]] = []
        if error.meaning == "auth" and error.status == 400:
            said_by = {"reason": "API_KEY_INVALID", "domain": "googleapis.com"}
            details.append({"@type": "type.googleapis.com/google.rpc.ErrorInfo", **said_by})
        if error.retry_after_s is not None:
            delay = f"{seconds_text(error.retry_after_s)}s"
            details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
        return said | ({"details": details} if details else {})

    def models(self, names: Sequence[str], created: int) -> bytes:
        listed = [
            {
                "name": f"models/{name}",
                "version": "001",
                "displayName": name,
                "inputTokenLimit": 1_048_576,
                "outputTokenLimit": 65_536,
                "supportedGenerationMethods": ["generateContent", _STREAM],
            }
            for name in names
        ]
        return encode({"models": listed})

    def whole(self, reply: Reply) -> bytes:
        parts: list[dict[str, Any]] = []
        if reply.reasoning:
            parts.append({"text": reply.reasoning, "thought": True})
        if reply.text or not reply.calls:
            parts.append({"text": reply.text})
        parts += [call_part(call) for call in reply.calls]
        return encode(response(reply, parts, finished=True))

    def stream(self, reply: Reply) -> GeminiStream:
        return GeminiStream(reply)


def response(reply: Reply, parts: list[dict[str, Any]], *, finished: bool) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finished:
        candidate["finishReason"] = _FINISH[reply.reason]
    return {
        "candidates": [candidate],
        "usageMetadata": usage_object(reply.usage, finished=finished),
        "modelVersion": reply.request.model,
        "responseId": reply.key,
    }


def usage_object(usage: Tokens, *, finished: bool) -> dict[str, Any]:
    counts = {"promptTokenCount": usage.prompt, "totalTokenCount": usage.prompt}
    if finished:
        counts["candidatesTokenCount"] = usage.completion - usage.reasoning
        counts["totalTokenCount"] = usage.prompt + usage.completion
        if usage.reasoning:
            counts["thoughtsTokenCount"] = usage.reasoning
    if usage.cached:
        counts["cachedContentTokenCount"] = usage.cached
    return counts


def call_part(call: ReplyCall) -> dict[str, Any]:
    """Calls have ids only where the script gives them: this vendor pairs by name and order."""
    named = {"name": call.name, "args": arguments_object(call.arguments)}
    return {"functionCall": named | ({"id": call.id} if call.id else {})}


class GeminiStream:
    """Each event is a response of its own; the last one has the reason and the counts. There is no end mark."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        whole = encode(response(reply, [{"text": "\0"}], finished=False))
        before, after = whole.split(encode("\0"))
        self._before, self._after = b"data: " + before, after + b"\r\n\r\n"  # of a token: the hot path

    def reasoning(self, text: str) -> bytes:
        return self._event([{"text": text, "thought": True}])

    def token(self, text: str) -> bytes:
        return self._before + encode(text) + self._after

    def tool_call(self, index: int, call: ReplyCall) -> bytes:
        return self._event([call_part(call)])  # this vendor does not cut arguments up

    def finish(self) -> bytes:
        return self._event([{"text": ""}], finished=True)

    def done(self) -> bytes:
        return b""

    def error(self, error: ApiError) -> bytes:
        return b"data: " + encode({"error": Gemini.error_object(error)}) + b"\r\n\r\n"

    def _event(self, parts: list[dict[str, Any]], *, finished: bool = False) -> bytes:
        return b"data: " + encode(response(self._reply, parts, finished=finished)) + b"\r\n\r\n"


# --------------------------------------------------------------------------- requests


def split_target(target: str) -> tuple[str, str, str]:
    """-> model, method, query of a path such as ``/v1beta/models/gemini-2.5-pro:generateContent?alt=sse``."""
    path, _, query = target.partition("?")
    model, _, method = path.rpartition("/")[2].rpartition(":")
    return unquote(model), method, query


def parse_request(model: str, value: dict[str, Any], target: str) -> ChatRequest:
    """Check a request. Raises RequestRefused with the vendor's words."""
    _, method, query = split_target(target)
    stream = method == _STREAM
    if stream and "alt=sse" not in query.split("&"):
        raise refused("This fake streams server-sent events only: add ?alt=sse to the URL.")
    contents = value.get("contents")
    if not contents:
        raise refused("* GenerateContentRequest.contents: contents is not specified\n")
    if isinstance(contents, dict):
        contents = [contents]
    if not isinstance(contents, list):
        raise refused("Invalid value at 'contents' (type.googleapis.com/google.ai.generativelanguage.v1beta.Content)")
    text, called, results = "", 0, 0
    for index, content in enumerate(contents):
        parts = _check_content(index, content)
        results = sum("functionResponse" in part for part in parts)
        if called != results and (called or results):
            raise refused(
                "Please ensure that the number of function response parts is equal to the number of function call "
                "parts of the function call turn.",
            )
        called = sum("functionCall" in part for part in parts)
        if content.get("role", "user") == "user" and not results:
            text = text_of(parts)
    if called:
        raise refused(
            "Please ensure that function call turn comes immediately after a user turn or after a function response "
            "turn.",
        )
    size = rough_tokens([value.get("systemInstruction"), *(content["parts"] for content in contents)])
    return ChatRequest(model, stream, True, len(contents), tuple(sorted(value)), size, text, bool(results))


def _check_content(index: int, content: Any) -> list[dict[str, Any]]:
    if not isinstance(content, dict):
        raise refused(f"Invalid value at 'contents[{index}]'")
    if content.get("role", "user") not in ("user", "model", "function"):
        raise refused("Please use a valid role: user, model.")
    parts = content.get("parts")
    if isinstance(parts, dict):
        parts = content["parts"] = [parts]
    if not isinstance(parts, list) or not parts:
        raise refused(f"* GenerateContentRequest.contents[{index}].parts: contents.parts must not be empty.\n")
    for at, part in enumerate(parts):
        if not isinstance(part, dict):
            raise refused(f"Invalid value at 'contents[{index}].parts[{at}]'")
        if not part.keys() - {"thought", "thoughtSignature"}:
            where = f"* GenerateContentRequest.contents[{index}].parts[{at}].data"
            raise refused(f"{where}: required oneof field 'data' must have one initialized field\n")
    return parts
