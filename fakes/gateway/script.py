"""The script language of the mock gateway: what it does with each connection and with each call of a method.

Values only, like ``model_script``. All durations are nominal seconds after the call (or, for a connection, after
its ``connect`` frame); wire fields that say Ms keep their unit. A step combines freely: an event after 1 s, the final
after 5 s and a close after 9 s are one step with three keys. What happens to a run goes on when its connection is
gone, as on the real gateway.

Text values that are exactly ``$name`` in a payload stand for a parameter of the call; ``$runId`` for the run,
``$requestId`` for the id of the request, and ``$now`` for the time in Unix milliseconds.

``lockjaw serve gateway --list`` names the scripts that come with Lockjaw (``gateway_scripts``), one for each way in
which a gateway is known to fail its clients.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from lockjaw.documents import Document, FieldError, convert
from lockjaw.documents.yaml import read_document
from lockjaw.locking import LOCK_ALGORITHMS

Seconds = Annotated[float, Meta(ge=0)]
Milliseconds = Annotated[int, Meta(ge=0)]
Name = Annotated[str, Meta(min_length=1)]
Times = Annotated[int, Meta(ge=1)]

DEFAULT_TEXT = "Hello from the mock gateway."
MAX_MALFORMED_BYTES = 64 * 1024 * 1024  # more than any client takes, and no danger to the machine


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
    """A frame exactly as written here: ``text``, or the bytes of ``hex``; ``form`` says what carries it.

    ``raw`` bytes go onto the socket past all framing, so the client sees a broken WebSocket.
    """

    text: str = "{this is not JSON"
    hex: str | None = None  # bytes in place of the text
    form: Literal["text", "binary", "raw"] = "text"
    size_bytes: Annotated[int, Meta(ge=1, le=MAX_MALFORMED_BYTES)] | None = None  # spaces are added up to this size
    after_s: Seconds = 0.0

    def __post_init__(self) -> None:
        if self.hex is not None:
            try:
                bytes.fromhex(self.hex)
            except ValueError:
                raise FieldError("hex", "pairs of hexadecimal digits, such as c328", self.hex[:60]) from None
        if self.form == "raw" and self.size_bytes is not None:
            raise FieldError("size_bytes", "no such key beside form: raw")

    @property
    def data(self) -> bytes:
        body = self.text.encode() if self.hex is None else bytes.fromhex(self.hex)
        return body.ljust(self.size_bytes or 0)


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An event broadcast to every connected client, with the next sequence number."""

    event: Name
    payload: Any = None
    after_s: Seconds = 0.0


class SeqGap(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``skip`` sequence numbers are lost (a negative number: so many come again), then a ``tick`` shows it."""

    skip: int = 1
    after_s: Seconds = 0.0

    def __post_init__(self) -> None:
        if self.skip == 0:
            raise FieldError("skip", "how many numbers are lost; below 0: how many come again", 0)


class Mute(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The connection stays open and nothing more is sent on it, as from a gateway that is frozen or a path that is
    half open. After ``for_s`` everything that was held back is sent; not given: never."""

    for_s: Seconds | None = None
    after_s: Seconds = 0.0


class Restart(Close, frozen=True, kw_only=True):
    """The gateway ends and comes back: a ``shutdown`` event, a close on every connection, no process listens for
    ``down_s``, then the same port answers again. It has forgotten its runs, unless ``keep_runs``."""

    reason: str = "service restart"
    down_s: Seconds = 2.0
    keep_runs: bool = False


class Accept(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The first response of ``agent``. ``copies``: 2 is a doubled acceptance."""

    after_s: Seconds = 0.0
    copies: Times = 1


class Final(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The second response of ``agent``. ``copies``: 2 is a duplicate final."""

    after_s: Seconds = 0.0
    text: str = DEFAULT_TEXT
    status: Name = "ok"
    summary: str = "completed"
    result: dict[str, Any] | None = None  # made of the text if not given
    copies: Times = 1
    request_id: Name | None = None  # of the response; the request's own if not given


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


class Disturbances(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What can happen to a connection at any time."""

    events: tuple[Event, ...] = ()
    seq_gap: SeqGap | None = None
    malformed: Malformed | None = None
    mute: Mute | None = None
    close: Close | None = None
    drop: Drop | None = None
    restart: Restart | None = None


class MethodStep(Disturbances, frozen=True, kw_only=True):
    """One call of a method (or ``times`` calls in a row): its answer, and what else happens to its connection.

    Nothing said about the answer: a healthy gateway's answer, after whatever else the step does; but none if the
    step closes or drops the connection, or restarts the gateway. ``accept`` (``agent`` only) says when the first
    response comes; ``false`` leaves it out. ``silence`` leaves the answer out.
    """

    accept: bool | Accept | None = None
    silence: bool = False
    final: Final | None = None
    reply: Reply | None = None
    error: Failure | None = None
    times: Times = 1

    def __post_init__(self) -> None:
        given = [key for key in ("silence", "final", "reply", "error") if getattr(self, key)]
        if len(given) > 1:
            raise FieldError(given[1], f"only one of silence, final, reply and error ({given[0]} is given too)")

    @property
    def answers_by_default(self) -> bool:
        said = (self.silence, self.final, self.reply, self.error, self.close, self.drop, self.restart)
        return not any(said)

    @property
    def acceptance(self) -> Accept | None:
        """None: it is left out."""
        return self.accept if isinstance(self.accept, Accept) else None if self.accept is False else Accept()


class Rejection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``connect`` answered with ``ok: false``, then a close with the message as its reason."""

    code: Name = "INVALID_REQUEST"
    message: Name
    details: Any = None
    retryable: bool | None = None
    retry_after_ms: Milliseconds | None = None
    close_code: int = 1008
    after_s: Seconds = 0.0


class Challenge(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How ``connect.challenge`` comes. ``payload`` is laid over ``{nonce, ts}``; a null takes the key away."""

    after_s: Seconds = 0.0
    payload: dict[str, Any] = {}


class HttpRefusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The upgrade is answered with this in place of 101."""

    status: Annotated[int, Meta(ge=200, le=599)] = 503
    body: str = "Gateway websocket handlers unavailable"


class ConnectStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One connection (or ``times`` connections in a row). Nothing said: accepted at once.

    ``refuse``: there is no WebSocket at all. ``no_challenge``: the gateway stays mute. ``no_hello``: the connect frame
    is never answered. ``reject``, ``close`` and ``drop`` come instead of hello. ``after_s`` delays hello, ``hello`` is
    laid over its payload (a null takes the key away), ``then`` follows.
    """

    after_s: Seconds = 0.0
    refuse: HttpRefusal | None = None
    challenge: Challenge = Challenge()
    no_challenge: bool = False
    no_hello: bool = False
    reject: Rejection | None = None
    close: Close | None = None
    drop: Drop | None = None
    hello: dict[str, Any] = {}
    then: Disturbances | None = None
    times: Times = 1

    def __post_init__(self) -> None:
        endings = ("refuse", "no_challenge", "no_hello", "reject", "close", "drop")
        given = [key for key in endings if getattr(self, key)]
        if len(given) > 1:
            raise FieldError(given[1], f"only one of {', '.join(endings)} ({given[0]} is given too)")
        for key in ("hello", "then", "after_s"):
            if given and getattr(self, key):
                raise FieldError(key, f"no such key beside {given[0]}")
        if self.challenge != Challenge() and given in (["refuse"], ["no_challenge"]):
            raise FieldError("challenge", f"no such key beside {given[0]}")


class ClientClose(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A close that a client was to send."""

    code: int
    reason: str | None = None  # any, if not given


class Expect(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What clients must have done by the time the gateway stops. ``verify`` says what they did not do."""

    connections: Annotated[int, Meta(ge=0)] | None = None
    calls: dict[Name, Annotated[int, Meta(ge=0)]] = {}  # per method; 0: never
    closes: tuple[ClientClose, ...] = ()  # each was sent by some client
    every_step: bool = True  # each step was used as often as it says


class GatewayScript(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the mock gateway is and does. The last step of a list repeats for ever."""

    protocol: Literal[3, 4] = 3
    version: Name = "2026.4.8"
    tick_interval_ms: Annotated[int, Meta(ge=1)] = 30_000  # as told in hello, and as kept
    ticks: bool = True
    strict_auth: bool = False
    token: str | None = None  # the shared token that strict_auth demands; any, if not given
    #: runs hold the session's lock file of a state directory, taken with this algorithm (see `lockjaw bench locks`);
    #: a run that does not get it fails with the lock error
    session_lock: Name | None = None
    connect: Annotated[tuple[ConnectStep, ...], Meta(min_length=1)] = (ConnectStep(),)
    methods: dict[Name, Annotated[tuple[MethodStep, ...], Meta(min_length=1)]] = {}
    expect: Expect | None = None

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
        if self.session_lock is not None and self.session_lock not in LOCK_ALGORITHMS:
            raise FieldError("session_lock", f"one of {', '.join(LOCK_ALGORITHMS)}", self.session_lock)


class ScriptFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A script file: ``gateway``, and what people should know of it."""

    gateway: GatewayScript
    about: str = ""
    group: str = ""
    #: what one `agent` call with a limit of 90 s comes to for a client that does as the real one does: the first line
    #: of the error that it prints, or the text of the reply
    error: str | None = None
    reply: str | None = None


def load_gateway_script(
    source: str | Path | Mapping[str, Any] | Document, *, at: Sequence[str | int] = (), path: str = "<mapping>"
) -> GatewayScript:
    """Read and check a script: a file (or mapping) with the one key ``gateway``, or a part of a larger document.

    Args:
        source: a YAML file, a mapping, or a document that was loaded already.
        at: where in a larger document the gateway's mapping stands, such as ``("gateway",)``; empty: the document
            is a script file (``ScriptFile``).
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
        return convert(document, GatewayScript, at)
    return convert(document, ScriptFile).gateway


Action = Event | SeqGap | Malformed | Mute | Final | Reply | Failure | Close | Drop | Restart


def actions(step: Disturbances) -> list[Action]:
    """The actions of a step in the order of their instants; at one instant: events, noise, answer, ends."""

    def listed() -> Iterator[Action | None]:
        yield from step.events
        yield step.seq_gap
        yield step.malformed
        yield step.mute
        if isinstance(step, MethodStep):
            yield step.final
            yield step.reply
            yield step.error
        yield step.close
        yield step.drop
        yield step.restart

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
