"""The client's side of one gateway connection, without a socket and without a clock.

The shell feeds text and "now" in (nominal seconds, any monotonic origin) and takes events, text to send and
the next deadline out::

    awaiting-challenge --challenge--> connecting --hello--> open --> closed

What this file guarantees, whatever the peer does: each request ends exactly once, by its final answer, its
deadline, the loss of the connection, or our stop. A second final, an answer after the deadline and an answer
to an id that we do not know are dropped (and counted). A request that was reported as never sent
(``definite``) is never sent afterwards.

Sources: protocol facts A2, A3, A7, B2; the upstream client for the order of checks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import UNSET

from lockjaw.errors import (
    ConnectionLost,
    InvalidFrame,
    LocalError,
    RemoteError,
    RemoteProtocolError,
    RequestRejected,
    RequestTimedOut,
)
from lockjaw.gateway.dialect import Dialect, HelloOk
from lockjaw.gateway.frames import MAX_FRAME_BYTES, EventFrame, RequestFrame, ResponseFrame, decode_frame, encode_frame
from lockjaw.gateway.params import ConnectParams

CONNECT_LIMIT_S = 30.0  # the connect request has the ordinary limit of a request
REFUSALS = frozenset({1002, 1008})  # close codes by which a gateway turns a client away: protocol, policy
MIN_WATCHDOG_S = 1.0  # a tick interval below this is checked once a second


class State(StrEnum):
    AWAITING_CHALLENGE = "awaiting-challenge"
    CONNECTING = "connecting"
    OPEN = "open"
    CLOSED = "closed"


#: (state, what happened) -> next state. What is not here cannot happen.
TRANSITIONS: dict[tuple[State, str], State] = {
    (State.AWAITING_CHALLENGE, "challenged"): State.CONNECTING,
    (State.AWAITING_CHALLENGE, "failed"): State.CLOSED,  # no challenge in time, or one without a nonce
    (State.AWAITING_CHALLENGE, "lost"): State.CLOSED,
    (State.AWAITING_CHALLENGE, "stopped"): State.CLOSED,
    (State.CONNECTING, "welcomed"): State.OPEN,
    (State.CONNECTING, "failed"): State.CLOSED,  # refused, or not answered in time
    (State.CONNECTING, "lost"): State.CLOSED,
    (State.CONNECTING, "stopped"): State.CLOSED,
    (State.OPEN, "silent"): State.CLOSED,  # the watchdog
    (State.OPEN, "lost"): State.CLOSED,
    (State.OPEN, "stopped"): State.CLOSED,
}


# --------------------------------------------------------------------------- events


class Challenge(msgspec.Struct, frozen=True):
    """What a connect has to sign. ``ts`` is the gateway's clock in Unix milliseconds, if it told it."""

    nonce: str
    ts: int | None


class Welcomed(msgspec.Struct, frozen=True):
    hello: HelloOk


class ConnectFailed(msgspec.Struct, frozen=True):
    """No hello. ``error``: RequestRejected, RequestTimedOut, RemoteProtocolError or ConnectionLost."""

    error: RemoteError


class Accepted(msgspec.Struct, frozen=True):
    """The first of two answers: the gateway took the run on."""

    request_id: str
    payload: dict[str, Any]


class Replied(msgspec.Struct, frozen=True):
    request_id: str
    payload: Any


class Failed(msgspec.Struct, frozen=True):
    """A request ended without an answer that counts: RequestRejected, RequestTimedOut or ConnectionLost."""

    request_id: str
    error: RemoteError


class EventReceived(msgspec.Struct, frozen=True):
    frame: EventFrame


class SeqGap(msgspec.Struct, frozen=True):
    """Broadcasts are missing between two that arrived."""

    expected: int
    received: int


class CloseNeeded(msgspec.Struct, frozen=True):
    """The shell closes the socket with this code."""

    code: int
    reason: str


Event = Welcomed | ConnectFailed | Accepted | Replied | Failed | EventReceived | SeqGap | CloseNeeded


# --------------------------------------------------------------------------- the protocol


@dataclass
class _Pending:
    method: str
    expect_final: bool
    deadline: float | None
    timeout_ms: int
    sent: bool = False
    accepted: bool = False
    run_id: str | None = None


class GatewayProtocol:
    """One gateway connection, from the open socket to its end. Knows frames and deadlines only.

    Args:
        sign_in: the connect params that answer a challenge; pure.
        connect_id: request id of the connect.
        now: when the socket opened; the limit for the challenge counts from here.
        last_seq: number of the last broadcast seen on an earlier connection, or None.
    """

    def __init__(
        self,
        dialect: Dialect,
        sign_in: Callable[[Challenge], ConnectParams],
        *,
        connect_id: str,
        now: float,
        last_seq: int | None = None,
    ) -> None:
        self.dialect = dialect
        self.state = State.AWAITING_CHALLENGE
        self.last_seq = last_seq if dialect.keeps_seq else None
        self.malformed = 0  # frames that were none
        self.dropped = 0  # answers to nothing that waits: duplicates, late ones, unknown ids
        self._sign_in, self._connect_id = sign_in, connect_id
        self._opened = now
        self._handshake_deadline: float | None = now + dialect.challenge_limit_s
        self._pending: dict[str, _Pending] = {}
        self._outbox: dict[str, str] = {}  # request id -> text, in the order of sending
        self._last_seen = now
        self._tick_s, self._next_check = 0.0, float("inf")

    # ------------------------------------------------------------------ what the caller wants

    def send_request(
        self,
        request_id: str,
        method: str,
        params: object = UNSET,
        *,
        now: float,
        timeout_s: float | None,
        expect_final: bool = False,
    ) -> None:
        """Queue one request. ``timeout_s`` in nominal seconds from now; None: it may wait for ever.

        Raises:
            ConnectionLost: the connection is not open (definite: nothing was sent).
            LocalError: the params are no JSON, or longer than the protocol allows.
        """
        if self.state is not State.OPEN:
            raise ConnectionLost(1006, definite=True, message="gateway not connected")
        assert request_id not in self._pending, "request ids are unique"
        text = _encoded(RequestFrame(request_id, method, params))
        deadline = None if timeout_s is None else now + timeout_s
        self._pending[request_id] = _Pending(method, expect_final, deadline, round((timeout_s or 0) * 1000))
        self._outbox[request_id] = text

    def forget(self, request_id: str) -> None:
        """The caller has stopped waiting. A request that was not sent yet is not sent; answers to it are dropped."""
        self._pending.pop(request_id, None)
        self._outbox.pop(request_id, None)

    def stop(self) -> list[Event]:
        """Close on our own wish; every pending request fails with ``gateway client stopped``."""
        return self._close("stopped", CloseNeeded(1000, ""), message="gateway client stopped")

    # ------------------------------------------------------------------ what the socket gives and takes

    @property
    def text_waits(self) -> bool:
        """Whether ``text_to_send`` would give anything."""
        return bool(self._outbox)

    def text_to_send(self) -> list[str]:
        """The texts to write now. From here on their requests count as sent."""
        texts = list(self._outbox.values())
        for request_id in self._outbox:
            if request_id in self._pending:
                self._pending[request_id].sent = True
        self._outbox.clear()
        return texts

    def receive_text(self, text: str | bytes, *, now: float) -> list[Event]:
        """What one frame means. A text that is not a frame is ignored, as the real client does."""
        if self.state is State.CLOSED:
            return []
        try:
            frame = decode_frame(text)
        except InvalidFrame:
            self.malformed += 1
            return []
        match frame:
            case EventFrame(event="connect.challenge"):
                self._last_seen = now
                return self._challenged(frame.payload, now)
            case EventFrame():
                self._last_seen = now
                return self._numbered(frame)
            case ResponseFrame():
                self._last_seen = now
                return self._answered(frame, now)
            case _:  # a request: gateways do not send any to us
                self.malformed += 1
                return []

    def connection_lost(self, code: int, reason: str = "") -> list[Event]:
        """The socket is gone; every pending request fails with the close code."""
        return self._close("lost", ConnectionLost(code, reason))

    # ------------------------------------------------------------------ what time brings

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do at the latest; None: never."""
        if self.state is State.CLOSED:
            return None
        times = [pending.deadline for pending in self._pending.values() if pending.deadline is not None]
        if self._handshake_deadline is not None:
            times.append(self._handshake_deadline)
        if self.state is State.OPEN:
            times.append(self._next_check)
        return min(times, default=None)

    def tick(self, now: float) -> list[Event]:
        """What is due: request deadlines first, then the handshake's limit or the watchdog."""
        if self.state is State.CLOSED:
            return []
        events: list[Event] = []
        for request_id, pending in list(self._pending.items()):
            if pending.deadline is not None and pending.deadline <= now:
                self.forget(request_id)
                events.append(Failed(request_id, _timed_out(pending)))
        if self._handshake_deadline is not None and self._handshake_deadline <= now:
            return events + self._handshake_expired(now)
        if self.state is State.OPEN and self._next_check <= now:
            events += self._watch(now)
        return events

    # ------------------------------------------------------------------ inside

    def _go(self, cause: str) -> None:
        self.state = TRANSITIONS[self.state, cause]

    def _challenged(self, payload: object, now: float) -> list[Event]:
        if self.state is not State.AWAITING_CHALLENGE:
            return []  # a second challenge changes nothing: the connect is on its way
        fields = payload if isinstance(payload, dict) else {}
        nonce, ts = fields.get("nonce"), fields.get("ts")
        if not isinstance(nonce, str) or not nonce.strip():
            reason = "connect challenge missing nonce"
            return self._handshake_failed(RemoteProtocolError(f"gateway {reason}"), reason)
        challenge = Challenge(nonce.strip(), ts if isinstance(ts, int) and not isinstance(ts, bool) else None)
        self._go("challenged")
        self._handshake_deadline = now + CONNECT_LIMIT_S
        frame = RequestFrame(self._connect_id, "connect", self._sign_in(challenge))
        self._outbox[self._connect_id] = _encoded(frame)
        return []

    def _handshake_expired(self, now: float) -> list[Event]:
        if self.state is State.CONNECTING:
            error = RequestTimedOut(round(CONNECT_LIMIT_S * 1000), "connect", definite=True)
            return self._handshake_failed(error, "connect failed")
        waited, limit = round((now - self._opened) * 1000), round(self.dialect.challenge_limit_s * 1000)
        text = f"gateway connect challenge timeout (waited {waited}ms, limit {limit}ms)"
        return self._handshake_failed(RemoteProtocolError(text), "connect challenge timeout")

    def _handshake_failed(self, error: RemoteError, reason: str) -> list[Event]:
        self._go("failed")
        self._handshake_deadline = None
        self._outbox.clear()
        return [ConnectFailed(error), CloseNeeded(1008, reason)]

    def _answered(self, frame: ResponseFrame, now: float) -> list[Event]:
        if frame.id == self._connect_id and self.state is State.CONNECTING:
            return self._welcomed(frame, now)
        pending = self._pending.get(frame.id)
        if pending is None:
            # Late, doubled or unknown. A reply after its deadline must not complete anything: the caller has
            # gone on (perhaps to run the turn elsewhere).
            self.dropped += 1
            return []
        payload = None if frame.payload is UNSET else frame.payload
        if frame.ok and pending.expect_final and isinstance(payload, dict) and payload.get("status") == "accepted":
            if pending.accepted:
                self.dropped += 1
                return []
            pending.accepted = True
            run_id = payload.get("runId")
            pending.run_id = run_id if isinstance(run_id, str) else None
            return [Accepted(frame.id, payload)]
        self.forget(frame.id)
        return [Replied(frame.id, payload) if frame.ok else Failed(frame.id, _rejected(frame))]

    def _welcomed(self, frame: ResponseFrame, now: float) -> list[Event]:
        if not frame.ok:
            return self._handshake_failed(_rejected(frame), "connect failed")
        hello = HelloOk.read(frame.payload)
        self._go("welcomed")
        self._handshake_deadline = None
        self._tick_s = hello.tick_interval_s
        self._next_check = now + max(self._tick_s, MIN_WATCHDOG_S)
        return [Welcomed(hello)]

    def _numbered(self, frame: EventFrame) -> list[Event]:
        events: list[Event] = []
        if isinstance(frame.seq, int):
            if self.last_seq is not None and frame.seq > self.last_seq + 1:
                events.append(SeqGap(self.last_seq + 1, frame.seq))
            self.last_seq = frame.seq
        return [*events, EventReceived(frame)]

    def _watch(self, now: float) -> list[Event]:
        """The watchdog looks once per interval only, so it closes between 2 and 3 intervals of silence."""
        interval = max(self._tick_s, MIN_WATCHDOG_S)
        missed = int((now - self._next_check) / interval)  # checks that a suspended process slept through
        self._next_check += (missed + 1) * interval
        if now - self._last_seen <= 2 * self._tick_s:
            return []
        if self.dialect.spares_deadlines and any(p.deadline is not None for p in self._pending.values()):
            return []
        return self._close("silent", CloseNeeded(4000, "tick timeout"))

    def _close(self, cause: str, why: CloseNeeded | ConnectionLost, *, message: str = "") -> list[Event]:
        if self.state is State.CLOSED:
            return []
        in_handshake = self.state is not State.OPEN
        self._go(cause)
        self._handshake_deadline = None
        self._outbox.clear()
        events: list[Event] = []
        if in_handshake:
            refused = cause == "lost" and why.code in REFUSALS
            lost = ConnectionLost(why.code, why.reason, definite=True, message=message, refused=refused)
            events.append(ConnectFailed(lost))
        for request_id, pending in self._pending.items():
            error = ConnectionLost(
                why.code, why.reason, definite=not pending.sent, run_id=pending.run_id, message=message
            )
            events.append(Failed(request_id, error))
        self._pending.clear()
        return [*events, why] if isinstance(why, CloseNeeded) else events


def _encoded(frame: RequestFrame) -> str:
    try:
        text = encode_frame(frame)
    except (TypeError, ValueError, RecursionError) as error:  # ValueError: lone surrogates, too
        raise LocalError(f"the params of {frame.method} are not JSON: {error}") from error
    size_bytes = len(text) if text.isascii() else len(text.encode())
    if size_bytes > MAX_FRAME_BYTES:
        raise LocalError(
            f"the request {frame.method} is {size_bytes} bytes long; a gateway accepts {MAX_FRAME_BYTES}: send less"
        )
    return text


def _timed_out(pending: _Pending) -> RequestTimedOut:
    return RequestTimedOut(pending.timeout_ms, pending.method, run_id=pending.run_id, definite=not pending.sent)


def _rejected(frame: ResponseFrame) -> RequestRejected:
    payload = None if frame.payload is UNSET else frame.payload
    if frame.error is UNSET:
        return RequestRejected("UNAVAILABLE", "unknown error", payload=payload)
    return frame.error.to_error(payload)
