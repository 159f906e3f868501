"""The script language of the fake model server: what each model does with its 1st, 2nd, n-th request.

Values only: frozen, with units in their names, validated where they are read. Performing a script is the work
of ``reply_plan`` (what goes out, and when) and ``model_server`` (sockets).

A **token** is the unit of pacing: one entry of ``tokens``, one repetition of ``token``, one word or punctuation
mark of ``text``, or one tool call. Token *k* (from 0) is due ``first_token_s + k * inter_token_s`` after the
request, plus ``stall_s`` if it comes after the stall.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from lockjaw.documents import Document, FieldError, convert, read_document

Seconds = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Name = Annotated[str, Meta(min_length=1)]
HowToBreak = Literal["rst", "fin", "mid_chunk"]

FOREVER = "forever"
_TOKEN = re.compile(r"\s*(?:\w+|[^\w\s])|\s+")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_FRAMING_HEADERS = {"content-length", "transfer-encoding", "connection", "content-type"}


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
    """An HTTP error in place of a completion, sent ``first_token_s`` after the request."""

    status: Annotated[int, Meta(ge=400, le=599)]
    message: str = "The server had an error while processing your request."
    type: Name | None = None  # None: what the vendor sends with this status
    code: str | None = None
    param: str | None = None
    headers: dict[str, str] = {}

    def __post_init__(self) -> None:
        for name, value in self.headers.items():
            if not _HEADER_NAME.fullmatch(name):
                raise FieldError("headers", "HTTP header names", name)
            if name.lower() in _FRAMING_HEADERS:
                raise FieldError("headers", "no header that frames the body", name)
            if not value.isprintable() or not value.isascii() or value != value.strip():
                raise FieldError("headers", "printable ASCII values without spaces around them", value)


class Disconnect(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The connection breaks once ``after_tokens`` tokens are out.

    ``fin``: closed in order, the stream unfinished. ``rst``: reset (the client reads ECONNRESET).
    ``mid_chunk``: half of the next chunk at its due time, then closed.
    """

    after_tokens: Count = 0
    how: HowToBreak = "rst"


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the model does with one request (or with ``times`` requests in a row). Durations are nominal seconds."""

    first_token_s: Seconds = 0.0
    inter_token_s: Seconds = 0.0
    text: str | None = None
    tokens: tuple[str, ...] | None = None
    token: str | None = None
    count: Count | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish: Literal["stop", "length", "tool_calls"] | None = None  # None: tool_calls if there are any, else stop
    usage: Usage | None = None
    error: ErrorReply | None = None
    stall_s: Seconds | Literal["forever"] | None = None
    stall_after_tokens: Count | None = None  # None: after the last token, before the finish
    disconnect: Disconnect | None = None
    never_answer: bool = False
    ignore_disconnect: bool = False
    times: Annotated[int, Meta(ge=1)] = 1

    def __post_init__(self) -> None:
        self._check_tokens()
        self._check_ending()

    def _check_tokens(self) -> None:
        given = [key for key in ("text", "tokens", "token") if getattr(self, key) is not None]
        if len(given) > 1:
            raise FieldError(given[1], f"only one of text, tokens and token ({given[0]} is given too)")
        if self.count is not None and self.token is None:
            raise FieldError("count", "a token that it repeats")
        if self.finish == "tool_calls" and not self.tool_calls:
            raise FieldError("finish", "stop or length (the step calls no tool)", self.finish)
        most = self.token_count
        if self.disconnect is not None and self.disconnect.after_tokens > most:
            raise FieldError("disconnect", f"after_tokens of at most {most}, the tokens of this step")
        if self.stall_after_tokens is not None:
            if self.stall_s is None:
                raise FieldError("stall_after_tokens", "stall_s as well")
            if self.stall_after_tokens > most:
                raise FieldError("stall_after_tokens", f"at most {most}, the tokens of this step")

    def _check_ending(self) -> None:
        content = ("text", "tokens", "token", "tool_calls", "inter_token_s", "stall_s", "disconnect")
        ending = ("finish", "usage")
        if self.error is not None:
            self._refuse("error", *content, *ending, "never_answer")
        if self.never_answer:
            self._refuse("never_answer", *content, *ending, "first_token_s")
        if self.disconnect is not None:
            self._refuse("disconnect", *ending)
        if self.stall_s == FOREVER:
            self._refuse("stall_s: forever", *ending, "disconnect")

    def _refuse(self, because: str, *keys: str) -> None:
        """Keys that can never come to pass are a misunderstanding, not a script."""
        for key in keys:
            if getattr(self, key):
                raise FieldError(key, f"no such key beside {because}", getattr(self, key))

    @property
    def pieces(self) -> tuple[str, ...]:
        """The text tokens of the reply, in order; their concatenation is the text."""
        if self.tokens is not None:
            return self.tokens
        if self.token is not None:
            return (self.token,) * (1 if self.count is None else self.count)
        return split_tokens(self.text or "")

    @property
    def token_count(self) -> int:
        """Text tokens plus tool calls."""
        return len(self.pieces) + len(self.tool_calls)

    @property
    def finish_reason(self) -> str:
        return self.finish or ("tool_calls" if self.tool_calls else "stop")


def split_tokens(text: str) -> tuple[str, ...]:
    """A text as tokens: a word or one punctuation mark, each with the white space before it. Nothing is lost."""
    return tuple(_TOKEN.findall(text))


Models = Annotated[dict[Name, Annotated[tuple[Step, ...], Meta(min_length=1)]], Meta(min_length=1)]


class ModelScript(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Steps per model id, as on the wire. The last step of a model repeats for ever."""

    models: Models


def load_model_script(
    source: str | Path | Mapping[str, Any] | Document, *, at: Sequence[str | int] = (), path: str = "<mapping>"
) -> ModelScript:
    """Read and check a script.

    Args:
        source: a YAML file, a mapping, or a document that was loaded already (a scenario).
        at: where in a larger document the mapping of models stands, such as ``("models",)`` of a scenario; empty:
            the document is a script file, and ``models`` its only key.
        path: what to call a mapping in errors.

    Raises:
        ScenarioError: file, line and key of the first mistake; what is allowed there.
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


class ScriptProgress:
    """Where each model of a script stands. Models do not share counters: one model's requests never move another."""

    def __init__(self, script: ModelScript) -> None:
        self.script = script
        self._requests: dict[str, int] = {}

    def take(self, model: str) -> tuple[Step, int]:
        """The step for the model's next request, and the request's number for this model (from 1).

        Raises:
            KeyError: the script does not know the model.
        """
        steps = self.script.models[model]
        number = self._requests.get(model, 0) + 1
        self._requests[model] = number
        before = 0
        for step in steps[:-1]:
            before += step.times
            if number <= before:
                return step, number
        return steps[-1], number

    def unused(self) -> list[str]:
        """One sentence for each step that was not used as often as the script says."""
        problems = []
        for model, steps in self.script.models.items():
            left = self._requests.get(model, 0)
            for index, step in enumerate(steps):
                used = min(left, step.times)
                if used < step.times:
                    problems.append(f"models.{model}[{index}] was used {used} of {step.times} times")
                left -= used
        return problems
