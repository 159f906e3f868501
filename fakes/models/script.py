"""The script language of the fake model server: what each model does with its 1st, 2nd, n-th request.

Values only: frozen, with units in their names, validated where they are read. Performing a script is the work of
``progress`` (which step comes next), ``reply_plan`` (what goes out, and when) and ``server`` (sockets). One language
for every vendor: a step says what happens, the surface (``fakes.models.wires``) in which form.

A **token** is the unit of pacing: one word or punctuation mark of ``reasoning``, one entry of ``tokens``, one
repetition of ``token``, one word or punctuation mark of ``text``, or one tool call. Token *k* (from 0) is due
``first_token_s + prefill_s_per_token * prompt tokens + k * inter_token_s`` after the request, plus ``stall_s`` if it
comes after the stall. Jitter and load change the gaps; all of them are drawn from the seed.

Model ``"*"`` answers for every model that has no steps of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import re2
from msgspec import Meta

from lockjaw.documents import Document, FieldError, convert
from lockjaw.documents.yaml import read_document

from .wires.surface import ChatRequest, ErrorKind

Seconds = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Positive = Annotated[int, Meta(ge=1)]
Name = Annotated[str, Meta(min_length=1)]
HowToBreak = Literal["rst", "fin", "mid_chunk", "mid_header", "mid_event", "mid_utf8"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
HowMalformed = Literal["truncated", "broken_event", "missing_done", "duplicate_done", "too_long", "too_short"]

FOREVER = "forever"
ANY_MODEL = "*"
MAX_PATTERN_CHARS = 1_000
_TOKEN = re.compile(r"\s*(?:\w+|[^\w\s])|\s+")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_FRAMING_HEADERS = {"content-length", "transfer-encoding", "connection", "content-type"}
_CONTENT = ("reasoning", "text", "tokens", "token", "tool_calls")


def _check_headers(headers: Mapping[str, str], *, framing: bool = False) -> None:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise FieldError("headers", "HTTP header names", name)
        if name.lower() in _FRAMING_HEADERS and not (framing and name.lower() == "content-type"):
            raise FieldError("headers", "no header that frames the body", name)
        if not value.isprintable() or not value.isascii() or value != value.strip():
            raise FieldError("headers", "printable ASCII values without spaces around them", value)


def _check_pattern(key: str | tuple[str, ...], pattern: str) -> None:
    if len(pattern) > MAX_PATTERN_CHARS:
        raise FieldError(key, f"a regular expression of at most {MAX_PATTERN_CHARS} characters", pattern[:80])
    try:
        _compiled(pattern)
    except re2.error as error:
        raise FieldError(key, f"a regular expression as RE2 reads it ({_told(error)})", pattern) from None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    """RE2 and not ``re``: a script may come from a stranger, and ``(a+)+$`` would stop the process for good. RE2 takes
    time in proportion to the text, whatever the pattern; look-around and back references it does not have."""
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def _told(error: Exception) -> str:
    told = error.args[0] if error.args else error
    return told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)


def _found(pattern: str, text: str) -> bool:
    return _compiled(pattern).search(text.encode("utf-8", "replace").decode()) is not None


class ToolCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One function call. ``arguments`` as text goes out as it stands (so it may be broken JSON)."""

    name: Name
    arguments: dict[str, Any] | str = {}
    id: Name | None = None  # None: drawn from the seed


class Usage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Token counts that the reply claims."""

    prompt: Count
    completion: Count
    cached: Count = 0
    reasoning: Count = 0


class ErrorReply(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An HTTP error in place of a completion, sent ``first_token_s`` after the request; in the vendor's own form.

    Either ``status`` or ``kind`` has to be there; the other, the message, the type and the code follow from it.
    """

    status: Annotated[int, Meta(ge=400, le=599)] | None = None
    kind: ErrorKind | None = None
    message: str | None = None  # None: the vendor's words
    type: Name | None = None  # None: what the vendor sends with this status
    code: str | None = None
    param: str | None = None
    headers: dict[str, str] = {}
    retry_after_s: Seconds | None = None  # Retry-After and the vendor's own ways to say it
    after_tokens: Count | None = None  # a stream begins with 200, and the error is an event after so many tokens

    def __post_init__(self) -> None:
        if self.status is None and self.kind is None:
            raise FieldError("status", "a status, or the kind of the error")
        _check_headers(self.headers)


class Disconnect(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The connection breaks once ``after_tokens`` tokens are out.

    ``fin``: closed in order, the stream unfinished. ``rst``: reset (the client reads ECONNRESET).
    ``mid_chunk``: half of the next HTTP chunk at its due time, then closed. ``mid_event``: an HTTP chunk that is whole
    and holds half an event. ``mid_utf8``: one that ends inside a character. ``mid_header``: half of the response's
    head, then closed.
    """

    after_tokens: Count = 0
    how: HowToBreak = "rst"


class Malformed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A reply that is wrong, on a connection that is not.

    ``truncated``: ends in order after ``after_tokens`` tokens, with no finish and no end mark. ``broken_event``: an
    event that is no JSON after so many tokens, then the rest. ``missing_done``, ``duplicate_done``: the mark that ends
    a stream ([DONE], message_stop). ``too_long``, ``too_short``: a content-length of twice, or half, the body.
    """

    how: HowMalformed
    after_tokens: Count = 0


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The requests that a step is for; all keys that are given must fit. Patterns are searched, not matched whole.

    They are regular expressions as RE2 reads them (https://github.com/google/re2/wiki/Syntax): no look-around.
    """

    nth: Positive | None = None  # the n-th request for this model
    model: str | None = None  # regular expression; of use under "*"
    text: str | None = None  # regular expression, searched in the user's last message
    headers: dict[str, str] = {}  # name -> regular expression
    stream: bool | None = None
    after_tool: bool | None = None  # the request's last message is (or is not) the result of a tool

    def __post_init__(self) -> None:
        for key in ("model", "text"):
            if getattr(self, key) is not None:
                _check_pattern(key, getattr(self, key))
        for name, pattern in self.headers.items():
            _check_pattern(("headers", name), pattern)

    def fits(self, number: int, request: ChatRequest, header: Callable[[str], str]) -> bool:
        if self.nth is not None and self.nth != number:
            return False
        if self.stream is not None and self.stream != request.stream:
            return False
        if self.after_tool is not None and self.after_tool != request.after_tool:
            return False
        if self.model is not None and not _found(self.model, request.model):
            return False
        if self.text is not None and not _found(self.text, request.text):
            return False
        return all(_found(pattern, header(name.lower())) for name, pattern in self.headers.items())


class Piece(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, array_like=True):
    """``[at_s, text]``: what was read, and when after the request."""

    at_s: Seconds
    text: str


class Recorded(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A reply of a real endpoint, byte for byte: what ``serve model --record`` writes."""

    status: Annotated[int, Meta(ge=200, le=599)] = 200
    headers: dict[str, str] = {}
    pieces: tuple[Piece, ...] = ()  # each is [at_s, text]: when it was read after the request, and what
    stream: bool = False  # sent piece by piece; else as a whole when the last piece was read
    broken: bool = False  # the upstream closed before the end

    def __post_init__(self) -> None:
        _check_headers(self.headers, framing=True)
        if any(after.at_s < before.at_s for before, after in zip(self.pieces, self.pieces[1:], strict=False)):
            raise FieldError("pieces", "instants that do not go back")


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, dict=True):
    """What the model does with one request (or with ``times`` requests in a row). Durations are nominal seconds."""

    first_token_s: Seconds = 0.0
    prefill_s_per_token: Seconds = 0.0  # of the prompt (a rough count: four characters each)
    inter_token_s: Seconds = 0.0
    jitter_s: Seconds = 0.0  # each gap is longer or shorter by up to so much, evenly
    lognormal_sigma: Annotated[float, Meta(ge=0, le=5)] = 0.0  # gaps are log-normal with mean inter_token_s
    slower_per_request: Seconds = 0.0  # gaps grow by this share for each other request under way at this model
    reasoning: str | None = None  # what the model thinks before it answers
    text: str | None = None
    tokens: tuple[str, ...] | None = None
    token: str | None = None
    count: Count | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish: FinishReason | None = None  # None: tool_calls if there are any, else stop
    usage: Usage | None = None
    error: ErrorReply | None = None
    stall_s: Seconds | Literal["forever"] | None = None
    stall_after_tokens: Count | None = None  # None: after the last token, before the finish
    disconnect: Disconnect | None = None
    malformed: Malformed | None = None
    slow_close_s: Seconds = 0.0  # the end of the response comes so long after its last event
    never_answer: bool = False
    ignore_disconnect: bool = False
    recorded: Recorded | None = None
    when: Condition | None = None  # None: the step stands in the sequence
    times: Positive | None = None  # None: once; with `when`: for every request that fits

    def __post_init__(self) -> None:
        self._check_tokens()
        self._check_ending()
        self._check_breaks()

    def in_words(self) -> str:
        """What a request gets, in a few words: ``error 503 (overloaded)``, ``an answer, then rst``."""
        if self.never_answer:
            return "no answer at all"
        if self.error is not None:
            named = [str(part) for part in (self.error.status, self.error.kind) if part is not None]
            words = f"error {' '.join(named)}"
        else:
            words = "a recorded reply" if self.recorded is not None else "an answer"
        if self.stall_s is not None:
            words += ", which stalls"
        if self.malformed is not None:
            words += f", malformed ({self.malformed.how})"
        if self.disconnect is not None:
            words += f", cut off ({self.disconnect.how})"
        return words

    def _check_tokens(self) -> None:
        given = [key for key in ("text", "tokens", "token") if getattr(self, key) is not None]
        if len(given) > 1:
            raise FieldError(given[1], f"only one of text, tokens and token ({given[0]} is given too)")
        if self.count is not None and self.token is None:
            raise FieldError("count", "a token that it repeats")
        if self.finish == "tool_calls" and not self.tool_calls:
            raise FieldError("finish", "stop or length (the step calls no tool)", self.finish)
        if self.jitter_s and self.lognormal_sigma:
            raise FieldError("lognormal_sigma", "no such key beside jitter_s", self.lognormal_sigma)
        for key in ("jitter_s", "lognormal_sigma", "slower_per_request"):
            if getattr(self, key) and not self.inter_token_s:
                raise FieldError(key, "an inter_token_s that it changes", getattr(self, key))
        most = self.token_count
        for key in ("disconnect", "malformed", "error"):
            after = getattr(getattr(self, key), "after_tokens", None)
            if after is not None and after > most:
                raise FieldError(key, f"after_tokens of at most {most}, the tokens of this step")
        if self.stall_after_tokens is not None:
            if self.stall_s is None:
                raise FieldError("stall_after_tokens", "stall_s as well")
            if self.stall_after_tokens > most:
                raise FieldError("stall_after_tokens", f"at most {most}, the tokens of this step")

    def _check_ending(self) -> None:
        content = (*_CONTENT, "inter_token_s", "stall_s", "disconnect", "malformed", "slow_close_s")
        ending = ("finish", "usage")
        if self.recorded is not None:
            self._refuse("recorded", *content, *ending, "first_token_s", "prefill_s_per_token", "error", "never_answer")
        if self.error is not None and self.error.after_tokens is None:
            self._refuse("error", *content, *ending, "never_answer")
        elif self.error is not None:
            self._refuse("error.after_tokens", *ending, "never_answer", "disconnect", "malformed")
        if self.never_answer:
            self._refuse("never_answer", *content, *ending, "first_token_s", "prefill_s_per_token")
        if self.disconnect is not None:
            self._refuse("disconnect", *ending, "malformed", "slow_close_s")
        if self.stall_s == FOREVER:
            self._refuse("stall_s: forever", *ending, "disconnect", "malformed", "slow_close_s")

    def _check_breaks(self) -> None:
        cut = self.disconnect
        if cut is None:
            return
        if cut.how == "mid_header" and cut.after_tokens:
            raise FieldError(("disconnect", "after_tokens"), "0 beside how: mid_header", cut.after_tokens)
        if cut.how == "mid_utf8":
            pieces = (*self.reasoning_pieces, *self.pieces)
            if cut.after_tokens >= len(pieces) or pieces[cut.after_tokens].isascii():
                raise FieldError("disconnect", "a token with a character beyond ASCII to cut (how: mid_utf8)")

    def _refuse(self, because: str, *keys: str) -> None:
        """Keys that can never come to pass are a misunderstanding, not a script."""
        for key in keys:
            if getattr(self, key):
                raise FieldError(key, f"no such key beside {because}", getattr(self, key))

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """The text tokens of the reply, in order; their concatenation is the text."""
        if self.tokens is not None:
            return self.tokens
        if self.token is not None:
            return (self.token,) * (1 if self.count is None else self.count)
        return split_tokens(self.text or "")

    @cached_property
    def reasoning_pieces(self) -> tuple[str, ...]:
        return split_tokens(self.reasoning or "")

    @cached_property
    def whole_text(self) -> str:
        return "".join(self.pieces)

    @cached_property
    def token_count(self) -> int:
        """Tokens of reasoning and text, plus tool calls."""
        return len(self.reasoning_pieces) + len(self.pieces) + len(self.tool_calls)

    @property
    def finish_reason(self) -> str:
        return self.finish or ("tool_calls" if self.tool_calls else "stop")


def split_tokens(text: str) -> tuple[str, ...]:
    """A text as tokens: a word or one punctuation mark, each with the white space before it. Nothing is lost."""
    return tuple(_TOKEN.findall(text))


Models = Annotated[dict[Name, Annotated[tuple[Step, ...], Meta(min_length=1)]], Meta(min_length=1)]


class Quota(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A bucket of requests: full at first, one comes back every ``refill_s``. An empty one answers 429."""

    requests: Positive
    refill_s: Annotated[float, Meta(gt=0)]


class Capacity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Requests that a model serves at once; the next ones wait their turn, and their time begins when it comes."""

    concurrent: Positive
    queue: Count | None = None  # that may wait; one more is answered as overloaded. None: any number


class Expect(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What must have happened when the server stops; ``verify`` says what did not."""

    requests: Count | None = None  # that steps answered, all models together
    models: dict[Name, Count] = {}  # the same, per model
    every_step: bool = False  # each step was used as often as it says


class ModelScript(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Steps per model id, as on the wire. The last step of a model repeats for ever."""

    models: Models
    quotas: dict[Name, Quota] = {}  # per model
    capacity: dict[Name, Capacity] = {}  # per model
    expect: Expect | None = None
    aside: tuple[Name, ...] = ()  # models that programs ask for purposes of their own (titles): no part of a turn

    def __post_init__(self) -> None:
        for key, names in (("quotas", self.quotas), ("capacity", self.capacity)):
            for name in names:
                if self.models and name not in self.models and ANY_MODEL not in self.models:
                    raise FieldError((key, name), "a model that the script has", name)


def load_model_script(
    source: str | Path | Mapping[str, Any] | Document, *, at: Sequence[str | int] = (), path: str = "<mapping>"
) -> ModelScript:
    """Read and check a script.

    Args:
        source: a YAML file, a mapping, or a document that was loaded already (a scenario).
        at: where in a larger document the mapping of models stands, such as ``("models",)`` of a scenario; empty:
            the document is a script file.
        path: what to call a mapping in errors.

    Raises:
        DocumentError: file, line and key of the first mistake; what is allowed there.
    """
    if isinstance(source, Document):
        document = source
    elif isinstance(source, Mapping):
        document = Document.of(dict(source), path)
    else:
        document = read_document(source)
    if at:
        models: dict[str, tuple[Step, ...]] = convert(document, Models, at)
        return ModelScript(models=models)
    return convert(document, ModelScript)
