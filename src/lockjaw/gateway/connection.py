"""One live connection: a transport, a protocol, and what carries between them: two tasks and a timer.

The reader feeds frames in, the writer sends what the protocol has to say, the timer ticks it. All decisions
are the protocol's. The connection ends when the socket does, when the protocol wants it closed, or on
``close``; then tasks and timer are gone and every request has its answer or its error.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from msgspec import UNSET

from lockjaw import seeds
from lockjaw.clock import Clock
from lockjaw.errors import ConnectionLost
from lockjaw.gateway.dialect import HelloOk
from lockjaw.gateway.frames import EventFrame
from lockjaw.gateway.protocol import (
    Accepted,
    CloseNeeded,
    ConnectFailed,
    Event,
    EventReceived,
    Failed,
    GatewayProtocol,
    Replied,
    SeqGap,
    Welcomed,
)
from lockjaw.gateway.transport import Transport

STOP_LIMIT_S = 0.25  # nominal: how long a close may take before the socket is cut
STOP_FLOOR_REAL_S = 0.02  # real: a peer on loopback needs this long to answer a close at any time scale


class Connection:
    """One connection from its open socket to its end.

    ``ended`` resolves to the loss (close code and reason as the peer gave them) and never raises.
    """

    def __init__(
        self,
        transport: Transport,
        protocol: GatewayProtocol,
        *,
        clock: Clock,
        ids: random.Random,
        on_event: Callable[[EventFrame], None] | None = None,
        on_gap: Callable[[SeqGap], None] | None = None,
    ) -> None:
        self._transport, self._protocol, self._clock, self._ids = transport, protocol, clock, ids
        self._on_event, self._on_gap = on_event, on_gap
        loop = asyncio.get_running_loop()
        self._hello: asyncio.Future[HelloOk] = loop.create_future()
        self.ended: asyncio.Future[ConnectionLost] = loop.create_future()
        self._replies: dict[str, asyncio.Future[Any]] = {}
        self._accepted: dict[str, Callable[[dict[str, Any]], None]] = {}
        self._text_waits = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0  # nominal: the deadline that the timer was set for
        self._close_needed: asyncio.Future[CloseNeeded] = loop.create_future()
        self._runner = loop.create_task(self._run(), name="lockjaw gateway connection")

    @property
    def last_seq(self) -> int | None:
        return self._protocol.last_seq

    async def hello(self) -> HelloOk:
        """Wait for the gateway's welcome. Cancelling leaves the connection to ``close``.

        Raises:
            RequestRejected, RequestTimedOut, RemoteProtocolError, ConnectionLost: there is none; the
                connection is closing.
        """
        return await asyncio.shield(self._hello)

    async def request(
        self,
        method: str,
        params: object = UNSET,
        *,
        timeout_s: float | None,
        expect_final: bool = False,
        on_accepted: Callable[[dict[str, Any]], None] | None = None,
    ) -> Any:
        """Send one request and wait for its final answer; cancelling drops the answer, not the connection.

        Raises:
            RequestRejected, RequestTimedOut, ConnectionLost.
        """
        request_id = seeds.uuid4(self._ids)
        self._protocol.send_request(
            request_id, method, params, now=self._clock.monotonic(), timeout_s=timeout_s, expect_final=expect_final
        )
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._replies[request_id] = reply
        if on_accepted is not None:
            self._accepted[request_id] = on_accepted
        self._kick()
        try:
            return await reply
        finally:
            self._protocol.forget(request_id)  # does nothing unless we were cancelled
            self._replies.pop(request_id, None)
            self._accepted.pop(request_id, None)

    async def close(self) -> None:
        """Stop: pending requests fail with ``gateway client stopped``, the socket closes or is cut."""
        self._handle(self._protocol.stop())
        await asyncio.shield(self._runner)

    # ------------------------------------------------------------------ tasks

    async def _run(self) -> None:
        tasks = [asyncio.create_task(work()) for work in (self._read, self._write)]
        self._arm()
        lost = ConnectionLost(1006)
        try:
            ends: list[asyncio.Future[Any]] = [*tasks, self._close_needed]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                error = task.exception() if task.done() else None
                if isinstance(error, ConnectionLost):
                    lost = error
                elif error is not None:
                    _report("a gateway connection failed", error)  # a bug of ours, or of a transport: loud
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            wanted = self._close_needed.result() if self._close_needed.done() else CloseNeeded(lost.code, lost.reason)
            lost = await self._shut(lost, wanted)
            self._handle(self._protocol.connection_lost(lost.code, lost.reason))
            self._disarm()
            self._close_needed.cancel()
            self.ended.set_result(lost)

    async def _shut(self, lost: ConnectionLost, wanted: CloseNeeded) -> ConnectionLost:
        limit_s = max(self._clock.real_s(STOP_LIMIT_S), STOP_FLOOR_REAL_S)
        code = wanted.code if wanted.code not in (1005, 1006) else 1000  # those two may not stand in a frame
        code, reason = await self._transport.close(code, wanted.reason, limit_s=limit_s)
        return ConnectionLost(code, reason) if self._close_needed.done() else lost

    async def _read(self) -> None:
        while True:
            text = await self._transport.receive()
            self._handle(self._protocol.receive_text(text, now=self._clock.monotonic()))

    async def _write(self) -> None:
        while True:
            await self._text_waits.wait()
            self._text_waits.clear()
            for text in self._protocol.text_to_send():
                await self._transport.send(text)

    def _arm(self) -> None:
        """Set the timer for the next deadline. A deadline that moved away costs nothing: the timer rings too early,
        finds nothing due and is set anew."""
        deadline = self._protocol.next_deadline()
        if deadline is None or (self._timer is not None and self._timer_at <= deadline):
            return
        self._disarm()
        left_s = self._clock.real_s(max(0.0, deadline - self._clock.monotonic()))
        self._timer, self._timer_at = asyncio.get_running_loop().call_later(left_s, self._ring), deadline

    def _ring(self) -> None:
        self._timer = None
        try:
            self._handle(self._protocol.tick(self._clock.monotonic()))
        except Exception as error:  # a bug of ours: loud, and the end of this connection
            _report("a gateway connection failed", error)
            _resolve(self._close_needed, CloseNeeded(1006, ""))

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _kick(self) -> None:
        if self._protocol.text_waits:
            self._text_waits.set()
        self._arm()

    # ------------------------------------------------------------------ events

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case EventReceived(frame):  # most are
                    self._tell(self._on_event, frame)
                case Welcomed(hello):
                    _resolve(self._hello, hello)
                case ConnectFailed(error):
                    _fail(self._hello, error)
                case Accepted(request_id, payload):
                    self._tell(self._accepted.get(request_id), payload)
                case Replied(request_id, payload):
                    _resolve(self._replies.get(request_id), payload)
                case Failed(request_id, error):
                    _fail(self._replies.get(request_id), error)
                case SeqGap():
                    self._tell(self._on_gap, event)
                case CloseNeeded():
                    _resolve(self._close_needed, event)
        self._kick()

    def _tell(self, listener: Callable[[Any], None] | None, value: object) -> None:
        if listener is None:
            return
        try:
            listener(value)
        except Exception as error:  # a listener's fault must not lose the connection for everybody else
            _report("a gateway client's listener failed", error)


def _report(message: str, error: BaseException) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})


def _resolve(future: asyncio.Future[Any] | None, value: object) -> None:
    if future is not None and not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any] | None, error: Exception) -> None:
    if future is not None and not future.done():
        future.set_exception(error)
        future.exception()  # seen: nobody may be waiting for the hello of a connection that is being closed
