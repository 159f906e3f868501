"""What every wire surface shares: one vendor's form of requests, replies, streams and errors.

Pure: bytes in, values out, bytes out. A surface knows no socket, no clock and no script; it is handed values that
no vendor's name is in (``ChatRequest``, ``Reply``, ``ApiError``) and gives them the vendor's form. What differs
between vendors is a table where it can be one: status and words of each error, the header that names a wait, how a
body is refused. The error texts are the vendors', as their SDKs and users know them; what a vendor would silently
accept and this fake cannot honour (``n`` above 1) is refused aloud.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import msgspec

from .bodies import decoded, encode, filled, rough_tokens, seconds_text, words_of_user

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


def refused(message: str, param: str | None = None, code: str | None = None) -> RequestRefused:
    """A request that the vendor takes for a bad one (400)."""
    return RequestRefused(ApiError(400, message, code=code, param=param))


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


class ReplyCall(msgspec.Struct, frozen=True):
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
    calls: tuple[ReplyCall, ...]
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
    def tool_call(self, index: int, call: ReplyCall) -> bytes: ...
    def finish(self) -> bytes: ...
    def done(self) -> bytes:
        """The mark that ends the stream after the finish; empty where the vendor has none."""
        ...

    def error(self, error: ApiError) -> bytes:
        """An error in the middle of the stream, in its own event."""
        ...


class ErrorWords(msgspec.Struct, frozen=True):
    """How a vendor says one kind of error. ``{model}`` and ``{tokens}`` in the message are the request's."""

    status: int
    message: str
    type: str | None = None
    code: str | None = None


class Surface(ABC):
    """One vendor's wire form."""

    name: ClassVar[str]
    stream_type: ClassVar[str]  # content type of a streamed reply
    broken_event: ClassVar[bytes]  # an event of a stream whose data is no JSON
    errors: ClassVar[Mapping[ErrorKind, ErrorWords]]
    not_json: ClassVar[str]  # what a body is refused with
    not_an_object: ClassVar[str]
    id_header: ClassVar[str] = ""  # of every reply
    retry_headers: ClassVar[Mapping[str, int]] = {"retry-after": 1}  # header -> its units per second

    # ------------------------------------------------------------------ requests

    def parse(self, target: str, body: bytes) -> ChatRequest:
        """Check a request; ``target`` is path and query. Raises RequestRefused with the vendor's status and words."""
        model = self.model_in_target(target)
        try:
            value = self.object_of(body)
            model = model or self.model_in_body(value)
            return self.request(model, value, target)
        except RequestRefused as no:
            raise RequestRefused(no.error, model) from None

    def object_of(self, body: bytes, not_an_object: str = "") -> dict[str, Any]:
        """The JSON object of a body. Raises RequestRefused."""
        try:
            value = decoded(body)
        except ValueError:
            raise refused(self.not_json) from None
        if not isinstance(value, dict):
            raise refused(not_an_object or self.not_an_object)
        return value

    def model_in_target(self, target: str) -> str:
        """Empty where the vendor has it in the body."""
        return ""

    @abstractmethod
    def model_in_body(self, value: dict[str, Any]) -> str:
        """Raises RequestRefused if the body names none."""

    @abstractmethod
    def request(self, model: str, value: dict[str, Any], target: str) -> ChatRequest:
        """Check all the rest of a request. Raises RequestRefused."""

    @staticmethod
    def asked(
        model: str,
        value: dict[str, Any],
        messages: Sequence[Mapping[str, Any]],
        *,
        stream: bool,
        after_tool: bool,
        include_usage: bool = True,
        texts: Iterable[Any] | None = None,
    ) -> ChatRequest:
        """A request with messages. ``texts``: what its prompt consists of, if not of their contents alone."""
        prompt = (message.get("content") for message in messages) if texts is None else texts
        keys, tokens = tuple(sorted(value)), rough_tokens(prompt)
        return ChatRequest(
            model, stream, include_usage, len(messages), keys, tokens, words_of_user(messages), after_tool
        )  # fmt: skip

    # ------------------------------------------------------------------ errors

    def error_status(self, kind: ErrorKind) -> int:
        return self.errors[kind].status

    def error_message(self, kind: ErrorKind, request: ChatRequest | None) -> str:
        model, tokens = (request.model, request.prompt_tokens) if request is not None else ("", 0)
        return filled(self.errors[kind].message, model=model, tokens=tokens)

    @staticmethod
    @abstractmethod
    def error_object(error: ApiError) -> Any:
        """What stands under ``error``, in replies and in streams."""

    def error_body(self, error: ApiError, request_id: str) -> bytes:
        return encode({"error": self.error_object(error)})

    def error_headers(self, error: ApiError) -> Headers:
        wait_s = error.retry_after_s
        if wait_s is None:
            return ()
        return tuple((name, seconds_text(wait_s * units)) for name, units in self.retry_headers.items())

    # ------------------------------------------------------------------ replies

    def reply_headers(self, request_id: str) -> Headers:
        return ((self.id_header, request_id),) if self.id_header else ()

    def quota_headers(self, limit: int, remaining: int, reset_s: float) -> Headers:
        """None where the vendor tells no limits before they are reached."""
        return ()

    @abstractmethod
    def whole(self, reply: Reply) -> bytes: ...
    @abstractmethod
    def stream(self, reply: Reply) -> StreamFormat: ...
    @abstractmethod
    def models(self, names: Sequence[str], created: int) -> bytes: ...
