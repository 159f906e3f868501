"""From a step of the script to what goes out on the wire, and when. Pure.

A plan is a sequence of actions, each due at an instant ``at_s`` (nominal seconds after the request). The socket
server performs it; the simulation performs the same one. Instants are absolute, never "so long after the last
one": a performer that is late by a little for one token is not late for the next.
"""

from __future__ import annotations

import hashlib
import math
import string
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from lockjaw.seeds import Seeds

from .script import FOREVER, HowToBreak, Recorded, Step
from .wires.surface import EPOCH, ApiError, ChatRequest, Headers, Reply, ReplyCall, Surface, Tokens

JSON = "application/json"
_ALPHABET = (string.ascii_letters + string.digits).encode()
_AS_LETTERS = bytes(_ALPHABET[byte % len(_ALPHABET)] for byte in range(256))


class Whole(msgspec.Struct, frozen=True):
    """A complete response. ``length``: what its content-length says, if that is not the truth."""

    at_s: float
    status: int
    headers: Headers
    body: bytes
    tokens: int = 0
    length: int | None = None


class Open(msgspec.Struct, frozen=True):
    """Status and headers of a streamed response: chunked, or with a content-length (and then no chunks)."""

    at_s: float
    headers: Headers
    status: int = 200
    length: int | None = None


class Chunk(msgspec.Struct, frozen=True):
    """A piece of the streamed body; ``tokens`` are out with it. ``last``: the response ends here, in order."""

    at_s: float
    data: bytes
    tokens: int
    last: bool = False


class Break(msgspec.Struct, frozen=True):
    """The connection ends. ``half``: what is begun first, and not finished; ``how`` says where it is cut."""

    at_s: float
    how: HowToBreak
    half: Chunk | Whole | Open | None = None


class Silence(msgspec.Struct, frozen=True):
    """Nothing more, for as long as the client stays."""

    at_s: float


Action = Whole | Open | Chunk | Break | Silence


def cut_body(action: Break) -> bytes:
    """The bytes of the body that a break still sends of its half: what a client may read before the connection ends."""
    half = action.half
    if half is None or isinstance(half, Open) or action.how == "mid_header":
        return b""
    data = half.data if isinstance(half, Chunk) else half.body
    if action.how == "mid_utf8":
        first = next(index for index, byte in enumerate(data) if byte >= 0xC0)
        return data[: first + 1]
    cut = len(data) // 2
    while data[cut - 1 : cut] in (b"\r", b"\n"):  # a cut between two events would be no half of one
        cut -= 2
    return data[:cut]


def delivered(actions: Iterable[Action]) -> Iterator[Action]:
    """What a client's HTTP library makes of a plan whose content-length lies. For performers without a socket."""
    left: int | None = None  # bytes of the length that was promised
    for action in actions:
        match action:
            case Chunk() if left is None:  # most are
                yield action
            case Whole(length=int(length)) if length < len(action.body):
                yield replace(action, body=action.body[:length], length=None)
            case Whole(length=int()):
                yield Open(action.at_s, action.headers, action.status)
                yield Chunk(action.at_s, action.body, action.tokens)
                yield Break(action.at_s, "fin")
            case Open(length=int(left)):
                yield action
            case Chunk():
                assert left is not None
                data = action.data[:left]
                left -= len(data)
                yield replace(action, data=data, last=left == 0)
                if left == 0:
                    return
                if action.last:
                    yield Break(action.at_s, "fin")
            case _:
                yield action


# --------------------------------------------------------------------------- replies that no step asks for


def error_reply(surface: Surface, error: ApiError, request_id: str, at_s: float = 0.0) -> Whole:
    headers = (("content-type", JSON), *surface.error_headers(error), *error.headers.items())
    return Whole(at_s, error.status, headers, surface.error_body(error, request_id))


def json_reply(body: bytes) -> Whole:
    return Whole(0.0, 200, (("content-type", JSON),), body)


# --------------------------------------------------------------------------- plans


class Circumstances(msgspec.Struct, frozen=True):
    """What a plan depends on beside its step and request.

    Args:
        number: which request for this model it is, from 1.
        seeds: root of ids and jitter; the same root gives the same bytes and instants.
        active: requests that the model works on, this one included.
        request_id: as in the reply's headers.
        quota: rate-limit headers that every reply of a model with a quota carries.
    """

    number: int
    seeds: Seeds
    active: int = 1
    request_id: str = ""
    quota: Headers = ()


def plan(step: Step, surface: Surface, request: ChatRequest, around: Circumstances) -> Iterator[Action]:
    """Everything that one request gets."""
    if step.recorded is not None:
        return _replayed(step.recorded)
    if step.never_answer:
        return iter((Silence(0.0),))
    due = due_times(step, request, around)
    error = None
    if step.error is not None:
        error = scripted_error(step, surface, request)
        if step.error.after_tokens is None or not request.stream:
            return iter((error_reply(surface, error, around.request_id, due(step.error.after_tokens or 0)),))
    reply = Reply(
        request,
        identifier(around, 0),
        EPOCH + around.number,
        step.reasoning or "",
        step.whole_text,
        tuple(
            ReplyCall(
                call.id,
                identifier(around, index + 1),
                call.name,
                call.arguments if isinstance(call.arguments, str) else msgspec.json.encode(call.arguments).decode(),
            )
            for index, call in enumerate(step.tool_calls)
        ),
        step.finish_reason,
        _usage(step, request),
        step.usage is not None,
    )
    if request.stream:
        actions = _streamed(step, surface, reply, due, error)
        wrong = step.malformed is not None and step.malformed.how in ("too_long", "too_short")
        return _with_wrong_length(step, list(actions)) if wrong else actions
    return _unstreamed(step, surface.whole(reply), due)


def identifier(around: Circumstances, index: int) -> str:
    """24 letters and digits that depend on nothing but the seed, the place in the script and ``index``."""
    key = f"{around.seeds.root}|{around.seeds.path}/{around.number}/{index}".encode()
    return hashlib.blake2b(key, digest_size=24).digest().translate(_AS_LETTERS).decode()


def scripted_error(step: Step, surface: Surface, request: ChatRequest) -> ApiError:
    wanted = step.error
    assert wanted is not None
    asked = ApiError(wanted.status or 0, "", kind=wanted.kind)
    return ApiError(
        wanted.status or surface.error_status(asked.meaning),
        surface.error_message(asked.meaning, request) if wanted.message is None else wanted.message,
        wanted.type,
        wanted.code,
        wanted.param,
        wanted.headers,
        wanted.kind,
        wanted.retry_after_s,
    )


def _usage(step: Step, request: ChatRequest) -> Tokens:
    usage = step.usage
    if usage is not None:
        return Tokens(usage.prompt, usage.completion, usage.cached, usage.reasoning)
    return Tokens(request.prompt_tokens, step.token_count, 0, len(step.reasoning_pieces))


# --------------------------------------------------------------------------- instants


def due_times(step: Step, request: ChatRequest, around: Circumstances) -> Callable[[int], float]:
    """When token ``index`` (from 0) is due; for ``index`` = number of tokens: when the finish is.

    The finish comes with the last token. After a stall that never ends, nothing is due (infinity).
    """
    most = step.token_count
    stalled_from = most if step.stall_after_tokens is None else step.stall_after_tokens
    stall_s = 0.0 if step.stall_s is None else math.inf if step.stall_s == FOREVER else float(step.stall_s)
    first_s = step.first_token_s + step.prefill_s_per_token * request.prompt_tokens
    gap_s = step.inter_token_s * (1.0 + step.slower_per_request * (around.active - 1))
    offsets = _drawn_offsets(step, gap_s, around) if step.jitter_s or step.lognormal_sigma else None

    def due(index: int) -> float:
        token = min(index, most - 1) if most else 0
        at_s = first_s + (token * gap_s if offsets is None else offsets[token])
        return at_s + stall_s if index >= stalled_from else at_s

    return due


def _drawn_offsets(step: Step, gap_s: float, around: Circumstances) -> Sequence[float]:
    stream = around.seeds.stream(f"pace/{around.number}")
    offsets, at_s, sigma = [0.0], 0.0, step.lognormal_sigma
    for _ in range(step.token_count - 1):
        if sigma:
            at_s += gap_s * math.exp(stream.gauss(0.0, sigma) - sigma * sigma / 2)  # its mean is gap_s
        else:
            at_s += max(0.0, gap_s + stream.uniform(-step.jitter_s, step.jitter_s))
        offsets.append(at_s)
    return offsets


# --------------------------------------------------------------------------- streams


def _streamed(
    step: Step, surface: Surface, reply: Reply, due: Callable[[int], float], error: ApiError | None
) -> Iterator[Action]:
    cut, broken = step.disconnect, step.malformed
    head = Open(0.0, (("content-type", surface.stream_type), ("cache-control", "no-cache")))
    if cut is not None and cut.how == "mid_header":
        yield Break(due(0), cut.how, head)
        return
    yield head
    wire = surface.stream(reply)
    thoughts, pieces, calls = step.reasoning_pieces, step.pieces, reply.calls
    first_piece, first_call = len(thoughts), len(thoughts) + len(pieces)
    count = first_call + len(calls)
    error_at = step.error.after_tokens if step.error is not None else None
    for index in range(count + 1):
        at_s = due(index)
        if cut is not None and index == cut.after_tokens and cut.how in ("rst", "fin"):
            # A plain break follows the token before it at once; half of something goes out when the whole would have.
            yield Break(due(index - 1) if index else at_s, cut.how)
            return
        if at_s == math.inf:
            yield Silence(due(index - 1) if index else step.first_token_s)
            return
        if error is not None and index == error_at:
            yield Chunk(at_s, wire.error(error), index, last=True)
            return
        if broken is not None and index == broken.after_tokens:
            if broken.how == "truncated":
                yield Chunk(due(index - 1) if index else at_s, b"", index, last=True)
                return
            if broken.how == "broken_event":
                yield Chunk(at_s, surface.broken_event, index)
        if index < first_piece:
            data = wire.reasoning(thoughts[index])
        elif index < first_call:
            data = wire.token(pieces[index - first_piece])
        elif index < count:
            data = wire.tool_call(index - first_call, calls[index - first_call])
        else:
            done = {"missing_done": 0, "duplicate_done": 2}.get(broken.how if broken else "", 1)
            data = wire.finish() + wire.done() * done
        last = index == count
        if cut is not None and index == cut.after_tokens:
            yield Break(at_s, cut.how, Chunk(at_s, data, min(index + 1, count), last))
            return
        if last and step.slow_close_s:
            yield Chunk(at_s, data, count)
            yield Chunk(at_s + step.slow_close_s, b"", count, last=True)
        else:
            yield Chunk(at_s, data, min(index + 1, count), last)


def _with_wrong_length(step: Step, actions: list[Action]) -> Iterator[Action]:
    """The same stream under a content-length that is twice, or half, of what it has."""
    assert step.malformed is not None
    true = sum(len(action.data) for action in actions if isinstance(action, Chunk))
    length = true * 2 if step.malformed.how == "too_long" else true // 2
    for action in actions:
        yield Open(action.at_s, action.headers, action.status, length) if isinstance(action, Open) else action


def _unstreamed(step: Step, body: bytes, due: Callable[[int], float]) -> Iterator[Action]:
    count, cut, broken = step.token_count, step.disconnect, step.malformed
    at_s = due(count)
    if at_s == math.inf:
        yield Silence(0.0)
        return
    length: int | None = None
    if broken is not None:
        match broken.how:
            case "truncated":
                body = body[: len(body) // 2]
            case "broken_event":
                body = body[:-1]
            case "too_long":
                length = len(body) * 2
            case "too_short":
                length = len(body) // 2
    whole = Whole(at_s, 200, (("content-type", JSON),), body, count, length)
    if cut is None:
        if step.slow_close_s:
            yield Open(at_s, whole.headers, 200)
            yield Chunk(at_s, body, count)
            yield Chunk(at_s + step.slow_close_s, b"", count, last=True)
        else:
            yield whole
    elif cut.how in ("rst", "fin"):
        yield Break(due(cut.after_tokens - 1) if cut.after_tokens else due(0), cut.how)
    else:
        yield Break(due(cut.after_tokens), cut.how, whole)


def _replayed(recorded: Recorded) -> Iterator[Action]:
    headers = tuple(recorded.headers.items())
    pieces = recorded.pieces
    last_s = pieces[-1].at_s if pieces else 0.0
    if not recorded.stream:
        whole = Whole(last_s, recorded.status, headers, "".join(piece.text for piece in pieces).encode())
        yield Break(last_s, "mid_chunk", whole) if recorded.broken else whole
        return
    yield Open(pieces[0].at_s if pieces else 0.0, headers, recorded.status)
    for index, piece in enumerate(pieces):
        final = index == len(pieces) - 1 and not recorded.broken
        yield Chunk(piece.at_s, piece.text.encode(), 0, last=final)
    if recorded.broken:
        yield Break(last_s, "fin")
    elif not pieces:
        yield Chunk(last_s, b"", 0, last=True)
