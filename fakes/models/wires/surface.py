"""What every wire surface shares: one vendor's form of requests, replies, streams and errors.

Pure: bytes in, values out, bytes out. A surface knows no socket, no clock and no script; it is handed values that
no vendor's name is in (``ChatRequest``, ``Reply``, ``ApiError``) and gives them the vendor's form. The error texts
are the vendors', as their SDKs and users know them; what a vendor would silently accept and this fake cannot honour
(``n`` above 1) is refused aloud.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, Protocol

import msgspec

#: What went wrong, in one vocabulary. Each surface knows the vendor's status, type, code and words for it.
ErrorKind = Literal[
    "bad_request",
    "auth",
    "billing",
    "permission",
    "model_not_found",
    "not_found",
    "too_large",
    "context_length",
    "rate_limit",
    "quota",
    "server_error",
    "bad_gateway",
    "unavailable",
    "timeout",
    "overloaded",
]

#: The kind that a bare status stands for.
KIND_OF_STATUS: dict[int, ErrorKind] = {
    400: "bad_request",
    401: "auth",
    402: "billing",
    403: "permission",
    404: "model_not_found",
    413: "too_large",
    429: "rate_limit",
    500: "server_error",
    502: "bad_gateway",
    503: "unavailable",
    504: "timeout",
    529: "overloaded",
}

Headers = tuple[tuple[str, str], ...]

#: The fakes' today, in Unix seconds (2026-01-01). ``created`` of a reply counts up from it by one per reply, so that
#: the same script gives the same bytes.
EPOCH = 1_767_225_600
FRAGMENT = 24  # characters of tool-call arguments per delta: small, so that clients must concatenate

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder().decode


@dataclass(frozen=True)
class ApiError:
    """An error reply. ``type`` and ``code`` None: what the vendor sends with the kind.

    ``retry_after_s``: seconds that the client is asked to wait, in the vendor's header and (where it has one) body.
    """

    status: int
    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: ErrorKind | None = None
    retry_after_s: float | None = None

    @property
    def meaning(self) -> ErrorKind:
        default: ErrorKind = "server_error" if self.status >= 500 else "bad_request"
        return self.kind or KIND_OF_STATUS.get(self.status, default)


class RequestRefused(Exception):
    """A request that the vendor would not take. Fields: ``error``; ``model`` if the request named one."""

    def __init__(self, error: ApiError, model: str = "") -> None:
        self.error, self.model = error, model
        super().__init__(error.message)


class ChatRequest(msgspec.Struct, frozen=True):
    """What a reply depends on. ``keys`` are the body's keys, sorted; ``prompt_tokens`` is a rough count;
    ``text`` is the last message of the user; ``after_tool``: the last message is the result of a tool."""

    model: str
    stream: bool
    include_usage: bool
    messages: int
    keys: tuple[str, ...]
    prompt_tokens: int
    text: str = ""
    after_tool: bool = False


class Call(msgspec.Struct, frozen=True):
    """A tool call of the reply; ``arguments`` is the text as it goes out; ``key`` makes its id where it has none."""

    id: str | None
    key: str
    name: str
    arguments: str


class Tokens(msgspec.Struct, frozen=True):
    """Token counts that the reply claims."""

    prompt: int
    completion: int
    cached: int = 0
    reasoning: int = 0


class Reply(msgspec.Struct, frozen=True):
    """What one reply says. ``key`` (24 letters and digits) makes its ids; ``created`` is Unix seconds.

    ``reason`` is stop, length, tool_calls or content_filter. ``usage_given``: the script states the counts, so they
    go out also where the vendor would send them on request only.
    """

    request: ChatRequest
    key: str
    created: int
    reasoning: str
    text: str
    calls: tuple[Call, ...]
    reason: str
    usage: Tokens
    usage_given: bool


class Question(msgspec.Struct, frozen=True):
    """What a client asks about a model without running it; takes no step of a script. ``answer``: the whole body."""

    model: str
    answer: bytes


class StreamFormat(Protocol):
    """The events of one streamed reply, asked for in order. Each method gives the bytes of one or more whole events."""

    def reasoning(self, text: str) -> bytes: ...
    def token(self, text: str) -> bytes: ...
    def tool_call(self, index: int, call: Call) -> bytes: ...
    def finish(self) -> bytes: ...
    def done(self) -> bytes:
        """The mark that ends the stream after the finish; empty where the vendor has none."""
        ...

    def error(self, error: ApiError) -> bytes:
        """An error in the middle of the stream, in its own event."""
        ...


class Surface(Protocol):
    """One vendor's wire form."""

    @property
    def name(self) -> str: ...
    @property
    def stream_type(self) -> str:
        """Content type of a streamed reply."""
        ...

    @property
    def broken_event(self) -> bytes:
        """An event of a stream whose data is no JSON."""
        ...

    def parse(self, target: str, body: bytes) -> ChatRequest:
        """Check a request; ``target`` is path and query. Raises RequestRefused with the vendor's status and words."""
        ...

    def error_status(self, kind: ErrorKind) -> int: ...
    def error_message(self, kind: ErrorKind, request: ChatRequest | None) -> str: ...
    def error_body(self, error: ApiError, request_id: str) -> bytes: ...
    def error_headers(self, error: ApiError) -> Headers: ...
    def reply_headers(self, request_id: str) -> Headers: ...
    def quota_headers(self, limit: int, remaining: int, reset_s: float) -> Headers: ...
    def whole(self, reply: Reply) -> bytes: ...
    def stream(self, reply: Reply) -> StreamFormat: ...
    def models(self, names: Sequence[str], created: int) -> bytes: ...


# --------------------------------------------------------------------------- requests


def decoded(body: bytes) -> Any:
    """The JSON value of a body. Raises ValueError if it is none (or nested beyond reason)."""
    try:
        return decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def text_of(content: Any) -> str:
    """The text of a message's content: itself, or that of its parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))


def rough_tokens(contents: Iterable[Any]) -> int:
    """A prompt's tokens, roughly: four characters of JSON each."""
    size = 0
    for content in contents:
        # Text is counted without rendering it: this runs for every request.
        size += len(content) + 2 if isinstance(content, str) and content.isascii() else len(encode(content))
    return 1 + size // 4


def noun(value: object) -> str:
    """A JSON value's kind, as OpenAI's error texts call it."""
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


def fragments(text: str) -> list[str]:
    return [text[at : at + FRAGMENT] for at in range(0, len(text), FRAGMENT)]


def arguments_object(text: str) -> Any:
    """Tool-call arguments for the vendors that send an object; broken JSON cannot, and goes out under ``_raw``."""
    try:
        value = decoded(text.encode())
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"_raw": text}


def filled(text: str, request: ChatRequest | None) -> str:
    """A message with what it says of the request. No format strings: a model's name may hold braces."""
    model, tokens = (request.model, request.prompt_tokens) if request is not None else ("", 0)
    return text.replace("{tokens}", str(tokens)).replace("{model}", model)


def seconds_text(seconds: float) -> str:
    """``2``, ``0.25``: as short as it is exact to the millisecond."""
    return f"{round(seconds, 3):g}"


def refuse(status: int, message: str, **fields: Any) -> NoReturn:
    raise RequestRefused(ApiError(status, message, **fields))
