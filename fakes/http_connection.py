"""One HTTP/1.1 connection of a fake server: requests in, bytes out, and every way to break the wire.

Theory of operation
    h11 knows the protocol; this module knows the socket. A *pump* task reads all the time, also while a reply is
    being performed: that is how a client that hangs up is noticed at once and not at the next token, and how
    pipelined requests are kept (a bounded number of bytes; beyond it the pump stops reading until there is room,
    and TCP makes the client wait).

    A client that closes its writing side is taken for gone: an HTTP client has no reason to half-close, and a
    server cannot tell one from the other before it writes.

    All limits on what a client may make us keep are here; their times are real seconds, because they protect this
    process and have no place in a scenario.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import h11

from lockjaw.clock import Clock

_READ = 65_536


@dataclass(frozen=True)
class Limits:
    """What a client may cost. Bytes, and *real* seconds."""

    header_bytes: int = 65_536
    body_bytes: int = 32 * 1024 * 1024
    buffered_bytes: int = 256 * 1024 * 1024  # bodies of all connections together
    pipelined_bytes: int = 65_536
    header_real_s: float = 30.0  # from the first byte (or from connecting) to the end of the headers
    request_real_s: float = 120.0  # from the same instant to the end of the body
    linger_real_s: float = 2.0  # how long to drain a refused client, so that it can read the refusal


class ClientGone(Exception):
    """The client closed or reset the connection."""


class BadRequest(Exception):
    """Not HTTP, or more of it than the limits allow. Fields: ``status`` to answer with, ``message``."""

    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message
        super().__init__(message)


@dataclass(frozen=True)
class HttpRequest:
    method: str
    target: str
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


@dataclass
class Budget:
    """Bytes of unfinished and unanswered bodies, over all connections of a server."""

    limit: int
    used: int = 0


class HttpConnection:
    """The server's end. Use: ``start``, then ``next_request`` and one response, again and again; at last ``close``."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, clock: Clock, limits: Limits, budget: Budget
    ) -> None:
        self._reader, self._writer, self._clock = reader, writer, clock
        self._limits, self._budget, self._charged = limits, budget, 0
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.header_bytes)
        self._inbox = bytearray()
        self._arrived, self._room = asyncio.Event(), asyncio.Event()
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._discard = False
        self._first = True
        self._pump: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._pump = asyncio.create_task(self._read_all(), name="pump")

    # ------------------------------------------------------------------ reading

    async def _read_all(self) -> None:
        try:
            while True:
                while len(self._inbox) >= self._limits.pipelined_bytes and not self._discard:
                    self._room.clear()
                    await self._room.wait()
                data = await self._reader.read(_READ)
                if not data:
                    return
                if not self._discard:
                    self._inbox += data
                    self._arrived.set()
        except OSError:
            return  # reset by the client: gone, like a close
        finally:
            if not self._gone.done():
                self._gone.set_result(None)
            self._arrived.set()

    async def next_request(self) -> HttpRequest | None:
        """The next request with its whole body; None when the client has closed or this connection may not go on.

        Raises:
            BadRequest: answer it with ``refuse`` and close.
        """
        self._charge(-self._charged)
        if not self._first:
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return None
            self._http.start_next_cycle()
        loop = asyncio.get_running_loop()
        # A kept connection may idle; once a byte of a request is here, the rest of it has to come in time.
        busy = self._first or bool(self._http.trailing_data[0])
        self._first = False
        limit = asyncio.timeout(None)
        try:
            async with limit:
                began = loop.time()
                if busy:
                    limit.reschedule(began + self._limits.header_real_s)
                head: h11.Request | None = None
                body = bytearray()
                while True:
                    event = self._next_event()
                    if event is h11.NEED_DATA:
                        if self._http.they_are_waiting_for_100_continue:
                            self._put(self._http.send(h11.InformationalResponse(status_code=100, headers=[])))
                        if not await self._feed():
                            return None
                        if not busy:
                            busy, began = True, loop.time()
                            limit.reschedule(began + self._limits.header_real_s)
                    elif isinstance(event, h11.Request):
                        self._check_head(event)
                        head = event
                        limit.reschedule(began + self._limits.request_real_s)
                    elif isinstance(event, h11.Data):
                        self._charge(len(event.data))
                        body += event.data
                        if len(body) > self._limits.body_bytes:
                            raise BadRequest(413, f"Request body over {self._limits.body_bytes} bytes")
                    elif isinstance(event, h11.EndOfMessage):
                        assert head is not None
                        return HttpRequest(head.method.decode("ascii"), head.target.decode("latin-1"), bytes(body))
                    else:  # h11.ConnectionClosed (PAUSED cannot be: the cycle was just begun)
                        return None
        except TimeoutError:
            raise BadRequest(408, "The request did not arrive in time") from None

    def _next_event(self) -> object:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise BadRequest(error.error_status_hint, f"Not a valid HTTP request: {error}") from None

    async def _feed(self) -> bool:
        """Give h11 what arrived; False when nothing more will."""
        while not self._inbox:
            if self._gone.done():
                return False
            self._arrived.clear()
            await self._arrived.wait()
        data = bytes(self._inbox)
        self._inbox.clear()
        self._room.set()
        self._http.receive_data(data)
        return True

    def _check_head(self, head: h11.Request) -> None:
        size = len(head.target) + sum(len(name) + len(value) + 4 for name, value in head.headers)
        if size > self._limits.header_bytes:
            raise BadRequest(431, f"Request headers over {self._limits.header_bytes} bytes")
        for name, value in head.headers:
            if name == b"content-length" and int(value) > self._limits.body_bytes:
                raise BadRequest(413, f"Request body over {self._limits.body_bytes} bytes")

    def _charge(self, size: int) -> None:
        if size > 0 and self._budget.used + size > self._budget.limit:
            raise BadRequest(503, "Too many request bodies at once")
        self._budget.used += size
        self._charged += size

    # ------------------------------------------------------------------ waiting

    @property
    def gone(self) -> bool:
        return self._gone.done() or self._writer.transport.is_closing()

    async def wait_until(self, due: float) -> None:
        """Wait for a nominal instant, or for ever (infinity).

        Raises:
            ClientGone: at once when the client leaves while this waits. If nothing is left to wait for, it is not
                looked at: what is due now is sent, and may still be read by a client that only half-closed.
        """
        remaining = due - self._clock.monotonic()
        if remaining <= 0:
            await asyncio.sleep(0)  # a script without delays must not starve the other connections
        while remaining > 0:
            limit = None if remaining == float("inf") else self._clock.real_s(remaining)
            await asyncio.wait([self._gone], timeout=limit)
            if self._gone.done():
                raise ClientGone
            remaining = due - self._clock.monotonic()

    # ------------------------------------------------------------------ writing

    async def respond(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        """A whole response, in one write. Raises ClientGone."""
        self._put(self._whole(status, headers, body))
        await self._flush()

    async def open(self, headers: Sequence[tuple[str, str]]) -> None:
        """Status 200 and headers of a streamed response. Raises ClientGone."""
        self._put(self._http.send(h11.Response(status_code=200, headers=_raw(headers))))
        await self._flush()

    async def send(self, data: bytes, *, last: bool = False) -> None:
        """A piece of a streamed body, as one HTTP chunk; ``last`` ends the response. Raises ClientGone."""
        wire = self._http.send(h11.Data(data=data)) or b""
        if last:
            wire += self._http.send(h11.EndOfMessage()) or b""
        self._put(wire)
        await self._flush()

    async def send_half(self, data: bytes) -> None:
        """The first half of what ``send`` would have put on the wire, chunk framing included. Raises ClientGone."""
        wire = self._http.send(h11.Data(data=data)) or b""
        self._put(wire[: len(wire) // 2])
        await self._flush()

    async def respond_half(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        """Head, with the whole body's length, and the first half of the body. Raises ClientGone."""
        wire = self._whole(status, headers, body)
        self._put(wire[: len(wire) - (len(body) + 1) // 2])
        await self._flush()

    def reset(self) -> None:
        """RST: lingering off with time 0 makes the kernel drop what is queued and reset the connection."""
        sock: socket.socket | None = self._writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def refuse(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        """Answer a request that was not read to its end, and let the client read the answer.

        Closing with unread bytes in the kernel's buffer would reset the connection and could destroy the answer
        on its way. So: answer, close our direction, drain for a bounded time.
        """
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        self._discard = True
        self._inbox.clear()
        self._room.set()
        try:
            await self.respond(status, (*headers, ("connection", "close")), body)
            self._writer.write_eof()
        except (ClientGone, OSError):
            return
        await asyncio.wait([self._gone], timeout=self._limits.linger_real_s)

    async def close(self) -> None:
        """Close in order (FIN after what was written); a client that does not read for too long is cut off."""
        self._charge(-self._charged)
        self._discard = True
        self._writer.close()
        try:
            async with asyncio.timeout(self._limits.linger_real_s):
                await self._writer.wait_closed()
        except (TimeoutError, OSError):
            self._writer.transport.abort()
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop the socket and the pump, now."""
        self._writer.transport.abort()
        if self._pump is not None:
            self._pump.cancel()

    def _whole(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> bytes:
        head = h11.Response(status_code=status, headers=_raw((*headers, ("content-length", str(len(body))))))
        parts = (self._http.send(head), self._http.send(h11.Data(data=body)), self._http.send(h11.EndOfMessage()))
        return b"".join(part for part in parts if part)

    def _put(self, wire: bytes | None) -> None:
        if self._writer.transport.is_closing():
            raise ClientGone
        self._writer.write(wire or b"")

    async def _flush(self) -> None:
        try:
            await self._writer.drain()
        except OSError:
            raise ClientGone from None


def _raw(headers: Sequence[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in headers]
