"""From a step of the script to what goes out on the wire, and when. Pure.

A plan is a sequence of actions, each due at an instant ``at_s`` (nominal seconds after the request). The socket
server performs it; the simulation performs the same one. Instants are absolute, never "so long after the last
one": a performer that is late by a little for one token is not late for the next.
"""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from lockjaw.fakes.model_script import FOREVER, HowToBreak, Step
from lockjaw.fakes.openai_chat import ApiError, Call, ChatRequest, StreamFormat, usage_object, whole_reply

#: ``created`` of the first reply (2026-01-01); it counts up by one per reply, so the same script gives the same bytes.
EPOCH = 1_767_225_600
_ALPHABET = string.ascii_letters + string.digits
_JSON = "application/json"


@dataclass(frozen=True)
class Whole:
    """A complete response."""

    at_s: float
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    tokens: int = 0


@dataclass(frozen=True)
class Open:
    """Status and headers of a streamed response."""

    at_s: float
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Chunk:
    """A piece of the streamed body; ``tokens`` are out with it. ``last``: the response ends here, in order."""

    at_s: float
    data: bytes
    tokens: int
    last: bool = False


@dataclass(frozen=True)
class Break:
    """The connection ends. ``half``: what is begun first, and not finished, in the middle of its framing."""

    at_s: float
    how: HowToBreak
    half: Chunk | Whole | None = None


@dataclass(frozen=True)
class Silence:
    """Nothing more, for as long as the client stays."""

    at_s: float


Action = Whole | Open | Chunk | Break | Silence


def error_reply(error: ApiError, at_s: float = 0.0) -> Whole:
    return Whole(at_s, error.status, (("content-type", _JSON), *error.headers.items()), error.body())


def json_reply(body: bytes) -> Whole:
    return Whole(0.0, 200, (("content-type", _JSON),), body)


def plan(step: Step, request: ChatRequest, number: int, ids: random.Random) -> Iterator[Action]:
    """Everything that one request gets.

    Args:
        number: which request for this model it is, from 1.
        ids: the stream for ids of this one request; the same stream gives the same bytes.
    """
    if step.error is not None:
        wanted = step.error
        error = ApiError(wanted.status, wanted.message, wanted.type, wanted.code, wanted.param, wanted.headers)
        return iter((error_reply(error, step.first_token_s),))
    if step.never_answer:
        return iter((Silence(0.0),))
    reply_id = f"chatcmpl-{_identifier(ids)}"
    calls = tuple(
        Call(
            call.id or f"call_{_identifier(ids)}",
            call.name,
            call.arguments if isinstance(call.arguments, str) else msgspec.json.encode(call.arguments).decode(),
        )
        for call in step.tool_calls
    )
    if request.stream:
        wire = StreamFormat(request, reply_id, EPOCH + number)
        return _streamed(step, wire, calls, _usage(step, request))
    body = whole_reply(
        request,
        reply_id,
        EPOCH + number,
        text="".join(step.pieces),
        calls=calls,
        reason=step.finish_reason,
        usage=_usage(step, request) or usage_object(request.prompt_tokens, step.token_count),
    )
    return _unstreamed(step, body)


def _identifier(ids: random.Random) -> str:
    return "".join(ids.choices(_ALPHABET, k=24))


def _usage(step: Step, request: ChatRequest) -> dict[str, Any] | None:
    if step.usage is not None:
        usage = step.usage
        return usage_object(usage.prompt, usage.completion, usage.cached, usage.reasoning)
    return usage_object(request.prompt_tokens, step.token_count) if request.include_usage else None


def token_due_s(step: Step, index: int) -> float:
    """When token ``index`` (from 0) is due; for ``index`` = number of tokens: when the finish is.

    The finish comes with the last token. After a stall that never ends, nothing is due (infinity).
    """
    most = step.token_count
    due = step.first_token_s + min(index, max(most - 1, 0)) * step.inter_token_s
    stalled_from = most if step.stall_after_tokens is None else step.stall_after_tokens
    if step.stall_s is not None and index >= stalled_from:
        due += float("inf") if step.stall_s == FOREVER else float(step.stall_s)
    return due


def _break_due_s(step: Step, after: int, how: HowToBreak) -> float:
    """A plain break follows the token before it at once; half a chunk goes out when the whole would have."""
    return token_due_s(step, after if how == "mid_chunk" or after == 0 else after - 1)


def _streamed(
    step: Step, wire: StreamFormat, calls: tuple[Call, ...], usage: dict[str, Any] | None
) -> Iterator[Action]:
    yield Open(0.0, (("content-type", wire.content_type), ("cache-control", "no-cache")))
    pieces, cut = step.pieces, step.disconnect
    count = len(pieces) + len(calls)
    for index in range(count + 1):
        due = token_due_s(step, index)
        if cut is not None and index == cut.after_tokens and cut.how != "mid_chunk":
            yield Break(_break_due_s(step, index, cut.how), cut.how)
            return
        if due == float("inf"):
            yield Silence(token_due_s(step, index - 1) if index else step.first_token_s)
            return
        if index < len(pieces):
            chunk = Chunk(due, wire.token(pieces[index]), index + 1)
        elif index < count:
            number = index - len(pieces)
            chunk = Chunk(due, wire.tool_call(number, calls[number]), index + 1)
        else:
            chunk = Chunk(due, wire.finish(step.finish_reason, usage), count, last=True)
        if cut is not None and index == cut.after_tokens:
            yield Break(due, cut.how, chunk)
            return
        yield chunk


def _unstreamed(step: Step, body: bytes) -> Iterator[Action]:
    count, cut = step.token_count, step.disconnect
    due = token_due_s(step, count)
    if due == float("inf"):
        yield Silence(0.0)
        return
    whole = Whole(due, 200, (("content-type", _JSON),), body, count)
    if cut is None:
        yield whole
    else:
        half = whole if cut.how == "mid_chunk" else None
        yield Break(_break_due_s(step, cut.after_tokens, cut.how), cut.how, half)
