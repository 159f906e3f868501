"""The script language of the mock gateway: what it does with each connection and with each call of a method.

Values only, like ``model_script``. All durations are nominal seconds after the call (or, for a connection, after
its ``connect`` frame); wire fields that say Ms keep their unit. A step combines freely: an event after 1 s, the final
after 5 s and a close after 9 s are one step with three keys. What happens to a run goes on when its connection is
gone, as on the real gateway.

Text values that are exactly ``$name`` in a payload stand for a parameter of the call; ``$runId`` for the run, and
``$now`` for the time in Unix milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from lockjaw.documents import Document, FieldError, convert, read_document

Seconds = Annotated[float, Meta(ge=0)]
Milliseconds = Annotated[int, Meta(ge=0)]
Name = Annotated[str, Meta(min_length=1)]
Times = Annotated[int, Meta(ge=1)]

DEFAULT_TEXT = "Hello from the mock gateway."


class Close(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A WebSocket close frame."""

    code: int = 1012
    reason: str = ""
    after_s: Seconds = 0.0

    def __post_init__(self) -> None:
        if not (self.code in range(1000, 1004) or self.code in range(1007, 1015) or self.code in range(3000, 5000)):
            raise FieldError("code", "a close code that can be sent (for 1006 use drop)", self.code)
        if len(self.reason.encode()) > 123:
            raise FieldError("reason", "at most 123 bytes of UTF-8")


class Drop(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The TCP connection is cut without a close frame; the client sees 1006."""

    after_s: Seconds = 0.0


class Malformed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A text frame exactly as written here."""

    text: str = "{this is not JSON"
    after_s: Seconds = 0.0


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An event broadcast to every connected client, with the next sequence number."""

    event: Name
    payload: Any = None
    after_s: Seconds = 0.0


class SeqGap(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``skip`` sequence numbers are lost, then a ``tick`` shows it."""

    skip: Annotated[int, Meta(ge=1)] = 1
    after_s: Seconds = 0.0


class Final(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The second response of ``agent``. ``copies``: 2 is a duplicate final."""

    after_s: Seconds = 0.0
    text: str = DEFAULT_TEXT
    status: Name = "ok"
    summary: str = "completed"
    result: dict[str, Any] | None = None  # None: made of the text
    copies: Annotated[int, Meta(ge=1)] = 1


class Reply(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``ok: true`` with this payload."""

    payload: Any = None
    after_s: Seconds = 0.0


class Failure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``ok: false``. For ``agent`` after its acceptance: the failed final, with the run's payload."""

    code: Name = "UNAVAILABLE"
    message: Name = "Error: scripted failure"
    details: Any = None
    retryable: bool | None = None
    retry_after_ms: Milliseconds | None = None
    after_s: Seconds = 0.0


class Effects(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What can happen to a connection at any time."""

    events: tuple[Event, ...] = ()
    seq_gap: SeqGap | None = None
    malformed: Malformed | None = None
    close: Close | None = None
    drop: Drop | None = None


class MethodStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One call of a method (or ``times`` calls in a row).

    Nothing said about the answer: a healthy gateway's answer, after whatever else the step does; but none if the
    step closes or drops the connection. ``accept: false`` (``agent`` only) leaves the first response out, ``silence``
    the answer.
    """

    accept: bool | None = None
    silence: bool = False
    final: Final | None = None
    reply: Reply | None = None
    error: Failure | None = None
    events: tuple[Event, ...] = ()
    seq_gap: SeqGap | None = None
    malformed: Malformed | None = None
    close: Close | None = None
    drop: Drop | None = None
    times: Times = 1

    def __post_init__(self) -> None:
        given = [key for key in ("silence", "final", "reply", "error") if getattr(self, key)]
        if len(given) > 1:
            raise FieldError(given[1], f"only one of silence, final, reply and error ({given[0]} is given too)")

    @property
    def answers_by_default(self) -> bool:
        return not (self.silence or self.final or self.reply or self.error or self.close or self.drop)


class Rejection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``connect`` answered with ``ok: false``, then a close with the message as its reason."""

    code: Name = "INVALID_REQUEST"
    message: Name
    details: Any = None
    retryable: bool | None = None
    retry_after_ms: Milliseconds | None = None
    close_code: int = 1008
    after_s: Seconds = 0.0


class ConnectStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One connection (or ``times`` connections in a row). Nothing said: accepted at once.

    ``no_challenge``: the gateway stays mute. ``no_hello``: the connect frame is never answered. ``reject``, ``close``
    and ``drop`` come instead of hello. ``after_s`` delays hello, ``hello`` is laid over its payload, ``then`` follows.
    """

    after_s: Seconds = 0.0
    no_challenge: bool = False
    no_hello: bool = False
    reject: Rejection | None = None
    close: Close | None = None
    drop: Drop | None = None
    hello: dict[str, Any] = {}
    then: Effects | None = None
    times: Times = 1

    def __post_init__(self) -> None:
        endings = ("no_challenge", "no_hello", "reject", "close", "drop")
        given = [key for key in endings if getattr(self, key)]
        if len(given) > 1:
            raise FieldError(given[1], f"only one of {', '.join(endings)} ({given[0]} is given too)")
        for key in ("hello", "then", "after_s"):
            if given and getattr(self, key):
                raise FieldError(key, f"no such key beside {given[0]}")


class GatewayScript(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the mock gateway is and does. The last step of a list repeats for ever."""

    protocol: Literal[3, 4] = 3
    version: Name = "2026.4.8"
    tick_interval_ms: Annotated[int, Meta(ge=1)] = 30_000  # as told in hello, and as kept
    ticks: bool = True
    strict_auth: bool = False
    token: str | None = None  # the shared token that strict_auth demands; None: any
    connect: Annotated[tuple[ConnectStep, ...], Meta(min_length=1)] = (ConnectStep(),)
    methods: dict[Name, Annotated[tuple[MethodStep, ...], Meta(min_length=1)]] = {}

    def __post_init__(self) -> None:
        if self.token is not None and not self.strict_auth:
            raise FieldError("token", "strict_auth: true beside it")
        for method, steps in self.methods.items():
            for index, step in enumerate(steps):
                for key in ("accept", "final"):
                    if method != "agent" and getattr(step, key) is not None:
                        raise FieldError(("methods", method, index, key), "this key under agent only")
        if "connect" in self.methods:
            raise FieldError(("methods", "connect"), "connect beside methods, not below it")


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    gateway: GatewayScript


def load_gateway_script(
    source: str | Path | Mapping[str, Any] | Document, *, at: Sequence[str | int] = (), path: str = "<mapping>"
) -> GatewayScript:
    """Read and check a script: a file (or mapping) with the one key ``gateway``, or a part of a larger document.

    Args:
        source: a YAML file, a mapping, or a document that was loaded already.
        at: where in a larger document the gateway's mapping stands, such as ``("gateway",)``; empty: the document
            is a script file.
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
        return convert(document, GatewayScript, at)
    return convert(document, _File).gateway


Action = Event | SeqGap | Malformed | Final | Reply | Failure | Close | Drop


def actions(step: MethodStep | Effects) -> list[Action]:
    """The actions of a step in the order of their instants; at one instant: events, noise, answer, close, drop."""

    def listed() -> Iterator[Action | None]:
        yield from step.events
        yield step.seq_gap
        yield step.malformed
        if isinstance(step, MethodStep):
            yield step.final
            yield step.reply
            yield step.error
        yield step.close
        yield step.drop

    return sorted((action for action in listed() if action is not None), key=lambda action: action.after_s)


class StepCounter:
    """Where one list of steps stands. Each list has its own: calls of one method never move another."""

    def __init__(self, name: str, steps: Sequence[MethodStep] | Sequence[ConnectStep]) -> None:
        self.name, self._times, self.taken = name, [step.times for step in steps], 0

    def take(self) -> int:
        """The index of the step for the next call."""
        self.taken += 1
        before = 0
        for index, times in enumerate(self._times[:-1]):
            before += times
            if self.taken <= before:
                return index
        return len(self._times) - 1

    def unused(self) -> list[str]:
        """One sentence for each step that was not used as often as the script says."""
        problems, left = [], self.taken
        for index, times in enumerate(self._times):
            used = min(left, times)
            if used < times:
                problems.append(f"{self.name}[{index}] was used {used} of {times} times")
            left -= used
        return problems
