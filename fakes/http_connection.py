"""One HTTP/1.1 connection of a fake server: requests in, bytes out, and every way to break the wire.

Theory of operation
    httptools (llhttp) reads requests; the bytes of responses are made here by hand, because a fake has to be able to
    stop in the middle of any of them. There is no task and no stream: a request is handed to the handler from inside
    ``data_received``, and a reply that has nothing to wait for is on the wire before that returns.

    One request is in the handler's hands at a time. What a client sends meanwhile (pipelining) is kept unread, up to
    a bound; beyond it the connection stops reading, and TCP makes the client wait. As long as it reads, it notices at
    once when the client hangs up. The next request has to wait as well while the client leaves its replies unread.

    A client that closes its writing side is taken for gone: an HTTP client has no reason to half-close, and a
    server cannot tell one from the other before it writes. What is due at once is still sent.

    Bytes leave through an ``Outbox``, which lets the journal go first.

    All limits on what a client may make us keep are here; their times are real seconds, because they protect this
    process and have no place in a scenario.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

import httptools

Headers = tuple[tuple[str, str], ...]
_REASONS = {status.value: status.phrase for status in HTTPStatus} | {529: "Overloaded"}
LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True)
class HttpLimits:
    """What a client may cost. Bytes, and *real* seconds."""

    header_bytes: int = 65_536
    body_bytes: int = 32 * 1024 * 1024
    buffered_bytes: int = 256 * 1024 * 1024  # bodies of all connections together
    pipelined_bytes: int = 65_536
    header_real_s: float = 30.0  # from the first byte (or from connecting) to the end of the headers
    request_real_s: float = 120.0  # from the same instant to the end of the body
    unsent_bytes: int = 65_536  # replies that wait for the journal; beyond it the next request waits too
    linger_real_s: float = 2.0  # how long to drain a refused client, so that it can read the refusal
    linger_bytes: int = 64 * 1024 * 1024  # and how much of it: a client that goes on is reset


@dataclass(slots=True)
class HttpRequest:
    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    keep_alive: bool
    chunks: bool  # the client takes chunked replies (HTTP/1.1)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def header(self, name: str) -> str:
        """The value of a header by its lower-case name; empty if it was not sent."""
        wanted = name.encode()
        for key, value in self.headers:
            if key.lower() == wanted:
                return value.decode("latin-1")
        return ""


@dataclass
class Budget:
    """Bytes of unfinished and unanswered bodies, over all connections of a server."""

    limit: int
    used: int = 0


class Refused(Exception):
    """Not HTTP, or more of it than the limits allow. Fields: ``status`` to answer with, ``message``."""

    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message
        super().__init__(message)


class Handler(ABC):
    """Who answers."""

    @abstractmethod
    def opened(self, connection: HttpConnection) -> bool:
        """A client has connected. False: it is not served."""

    @abstractmethod
    def serve(self, connection: HttpConnection, request: HttpRequest) -> None:
        """Answer one request, now or later; ``connection.finished`` says that it is over."""

    @abstractmethod
    def refuse(self, connection: HttpConnection, refused: Refused) -> tuple[int, Headers, bytes]:
        """The answer to what is no fair request."""

    def gone(self, connection: HttpConnection) -> None:  # noqa: B027 - most finish the answer all the same
        """The client has left while its request was being answered."""

    def writable(self, connection: HttpConnection) -> None:  # noqa: B027 - most wait for nothing
        """What was written has left: more may be."""

    @abstractmethod
    def closed(self, connection: HttpConnection) -> None:
        """The connection is no more."""


class Outbox:
    """Lets ``before`` (the journal's flush) happen before the bytes of one turn of the event loop leave.

    One flush for all the replies of a turn: what a client has read is in the journal, at a fraction of a write each.
    """

    def __init__(self, before: Callable[[], None]) -> None:
        self._before = before
        self._waiting: list[HttpConnection] = []

    def commit(self) -> None:
        """Flush, then let everything go that waits for it."""
        self._before()
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            connection.release()

    def wait(self, connection: HttpConnection) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.commit)
        self._waiting.append(connection)


# --------------------------------------------------------------------------- bytes of a response


def head(status: int, headers: Headers, framing: str) -> bytes:
    """Status line and headers; ``framing``: the line that says where the body ends (empty: at the close)."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {status} {_REASONS.get(status, '')}\r\n{lines}{framing}\r\n".encode("latin-1")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


class HttpConnection(asyncio.Protocol):
    """The server's end."""

    def __init__(self, handler: Handler, limits: HttpLimits, budget: Budget, outbox: Outbox) -> None:
        self._handler, self._limits, self._budget, self._outbox = handler, limits, budget, outbox
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._requests: deque[HttpRequest] = deque()
        self._inbox = bytearray()
        self._pending: list[bytes] = []  # written, and waiting for the outbox
        self._pending_bytes = self._drained = 0
        self._refused: Refused | None = None
        self._request: HttpRequest | None = None  # that is being answered
        self._busy = self._working = self._eof = self._discard = self._closing = self._begun = False
        self._reading = True
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0  # real, of the request that is being read; 0: none
        self._started = 0.0
        self._charged = 0
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: bytes | bytearray | None = None  # None: still in the head
        self._head_bytes = 0  # since the last piece of a body: of a head, of trailers, of a chunk's extensions
        self.paused = False
        self.exchange: object | None = None  # the handler's own

    # ------------------------------------------------------------------ the transport's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only
        self._transport.set_write_buffer_limits(high=0)  # pause_writing as soon as the client does not take all of it
        if self._handler.opened(self):
            self._restart_deadline()
            self._arm()
        else:
            self.abort()

    def data_received(self, data: bytes) -> None:
        if self._discard:
            self._drained += len(data)
            if self._drained > self._limits.linger_bytes:
                self.abort()
            return
        if self._busy or self._requests or self._refused is not None:
            self._inbox += data
            if len(self._inbox) >= self._limits.pipelined_bytes and self._reading:
                self._reading = False
                assert self._transport is not None
                self._transport.pause_reading()
            return
        self._feed(data)
        self._work()

    def eof_received(self) -> bool:
        self._eof = True
        if self._busy:
            self._handler.gone(self)
        elif not self._pending and self._refused is None:
            self.close()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._eof = self._closing = True
        self._charge(-self._charged)
        self._stop_timer()
        self._requests.clear()
        self._inbox.clear()
        self._pending.clear()
        if self._busy:
            self._handler.gone(self)
        self._handler.closed(self)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self._busy:
            self._handler.writable(self)
        else:
            self._work()

    # ------------------------------------------------------------------ the parser's callbacks

    def on_message_begin(self) -> None:
        self._target, self._headers, self._body, self._begun = b"", [], None, True

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        limits = self._limits
        size, host, awaits = len(self._target), False, False
        for name, value in self._headers:
            size += len(name) + len(value) + 4
            if len(name) == 4 and name.lower() == b"host":
                host = True
            elif len(name) == 14 and name.lower() == b"content-length":
                if int(value) > limits.body_bytes:
                    raise self._refuse(413, f"Request body over {limits.body_bytes} bytes")
            elif len(name) == 6 and name.lower() == b"expect":
                awaits = value.lower() == b"100-continue"
        if size > limits.header_bytes:
            raise self._refuse(431, f"Request headers over {limits.header_bytes} bytes")
        if not host and self._parser.get_http_version() != "1.0":
            raise self._refuse(400, "Not a valid HTTP request: Missing mandatory Host: header")
        self._body, self._head_bytes = b"", 0
        if self._deadline:
            self._deadline = self._started + limits.request_real_s
        if awaits and not self._busy:
            self.put(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        self._head_bytes = 0
        self._charge(len(data))
        if not self._body:
            self._body = data  # the usual case: all of it in one piece
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += data
            if len(self._body) > self._limits.body_bytes:
                raise self._refuse(413, f"Request body over {self._limits.body_bytes} bytes")

    def on_message_complete(self) -> None:
        parser = self._parser
        request = HttpRequest(
            parser.get_method().decode("ascii"),
            self._target.decode("latin-1"),
            self._headers,
            bytes(self._body or b""),
            parser.should_keep_alive(),
            parser.get_http_version() != "1.0",
        )
        self._requests.append(request)
        self._deadline, self._body, self._head_bytes, self._begun = 0.0, None, 0, False

    # ------------------------------------------------------------------ reading

    def _feed(self, data: bytes) -> None:
        """Give the parser what arrived. Afterwards: whole requests in the queue, a refusal, or a deadline."""
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refused = Refused(400, "Not a valid HTTP request: this fake upgrades no connection")
        except httptools.HttpParserError as error:
            self._refused = self._refused or Refused(400, f"Not a valid HTTP request: {error}")
        if self._refused is None and self._head_bytes > self._limits.header_bytes:
            self._refused = Refused(431, f"Request headers over {self._limits.header_bytes} bytes")
        if self._begun:
            if not self._deadline:
                self._restart_deadline()
            if self._timer is None:
                self._arm()

    def _restart_deadline(self) -> None:
        limits = self._limits
        self._started = self._loop.time()
        self._deadline = self._started + (limits.header_real_s if self._body is None else limits.request_real_s)

    def _refuse(self, status: int, message: str) -> Refused:
        """Kept here, because the parser wraps what its callbacks raise."""
        self._refused = Refused(status, message)
        return self._refused

    def _charge(self, size: int) -> None:
        if size > 0 and self._budget.used + size > self._budget.limit:
            raise self._refuse(503, "Too many request bodies at once")
        self._budget.used += size
        self._charged += size

    def _arm(self) -> None:
        self._timer = self._loop.call_at(self._deadline, self._overdue)

    def _overdue(self) -> None:
        """One timer per connection, armed anew only when it fires: requests that come whole cost none."""
        self._timer = None
        if not self._deadline or self._closing or self._discard:
            return
        if self._busy:
            self._restart_deadline()  # what it may have sent since is not read yet
            self._arm()
        elif self._loop.time() < self._deadline:
            self._arm()
        else:
            self._refused = Refused(408, "The request did not arrive in time")
            self._work()

    def _stop_timer(self) -> None:
        self._deadline = 0.0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _work(self) -> None:
        """Hand over what is there, one request at a time. A reply that is finished at once comes back to this loop."""
        if self._working:
            return
        self._working = True
        try:
            while not (self._busy or self._closing or self._discard):
                if self._requests:
                    if self.paused or self._pending_bytes > self._limits.unsent_bytes:
                        return  # there are replies to be read first; ``release`` or ``resume_writing`` goes on
                    self._request = self._requests.popleft()
                    self._busy = True
                    self._handler.serve(self, self._request)
                elif self._refused is not None:
                    self._answer_refused(self._refused)
                elif self._inbox:
                    data = bytes(self._inbox)
                    self._inbox.clear()
                    self._read_again()
                    self._feed(data)
                else:
                    if self._eof and not self._pending:
                        self.close()
                    return
        finally:
            self._working = False

    def _read_again(self) -> None:
        if not self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    # ------------------------------------------------------------------ writing

    @property
    def gone(self) -> bool:
        return self._eof or self._closing or self._transport is None or self._transport.is_closing()

    @property
    def takes_chunks(self) -> bool:
        return self._request is not None and self._request.chunks

    def framing(self, length: int | None) -> str:
        """The header lines that frame the body of the reply to the current request: chunked (None), or a length."""
        keeps = self._request is not None and self._request.keep_alive
        if length is not None:
            return f"content-length: {length}\r\n" + ("" if keeps else "connection: close\r\n")
        if not self.takes_chunks:
            return "connection: close\r\n"
        return "transfer-encoding: chunked\r\n" + ("" if keeps else "connection: close\r\n")

    def put(self, data: bytes) -> None:
        """Send, after the journal. Nothing happens if nobody is left to read it."""
        if not data or self._transport is None or self._transport.is_closing():
            return
        self._pending.append(data)
        self._pending_bytes += len(data)
        if len(self._pending) == 1:
            self._outbox.wait(self)

    def put_now(self, data: bytes) -> None:
        """Send what needs no entry in the journal: at once, unless something before it waits."""
        if self._pending:
            self._pending.append(data)
            self._pending_bytes += len(data)
        elif self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def release(self) -> None:
        """The outbox's call: the journal has been written."""
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        transport = self._transport
        if pending and transport is not None and not transport.is_closing():
            transport.write(pending[0] if len(pending) == 1 else b"".join(pending))
        if self._closing:
            self._close_transport()
        elif self._eof and not self._busy:
            self.close()
        elif self._requests or self._inbox:
            self._loop.call_soon(self._work)  # not now: another connection may be at work

    def finished(self, *, keep: bool) -> None:
        """The current request is over; ``keep``: another may follow on this connection."""
        request, self._busy, self._request, self.exchange = self._request, False, None, None
        if request is not None and request.body:
            self._charge(-len(request.body))
        if self._deadline:
            self._restart_deadline()
        if keep and request is not None and request.keep_alive and not self.gone:
            if not self._working and (self._requests or self._inbox or self._refused is not None):
                self._work()
        else:
            self.close()

    def reset(self) -> None:
        """RST: lingering off with time 0 makes the kernel drop what is queued and reset the connection."""
        self._outbox.commit()
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        sock = transport.get_extra_info("socket")
        # On a duplicate: not every event loop lets one set options on its own sockets.
        duplicate = socket.socket(fileno=os.dup(sock.fileno()))
        try:
            duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        finally:
            duplicate.close()
        transport.abort()

    def _answer_refused(self, refused: Refused) -> None:
        """Answer a request that was not read to its end, and let the client read the answer.

        Closing with unread bytes in the kernel's buffer would reset the connection and could destroy the answer
        on its way. So: answer, close our direction, drain for a bounded time.
        """
        status, headers, body = self._handler.refuse(self, refused)
        self._discard = True
        self._inbox.clear()
        self._headers, self._body = [], None
        self._stop_timer()
        self._charge(-self._charged)
        self._read_again()
        self.put(head(status, headers, f"content-length: {len(body)}\r\nconnection: close\r\n") + body)
        self._outbox.commit()
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._eof:
            self.close()
            return
        if transport.can_write_eof():
            transport.write_eof()
        self._timer = self._loop.call_later(self._limits.linger_real_s, self.abort)

    def close(self) -> None:
        """Close in order (FIN after what was written); a client that does not read for too long is cut off."""
        if self._closing:
            return
        self._closing = True
        if not self._pending:
            self._close_transport()

    def _close_transport(self) -> None:
        self._stop_timer()
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.close()
        if transport.get_write_buffer_size():
            self._timer = self._loop.call_later(self._limits.linger_real_s, self.abort)

    def abort(self) -> None:
        """Drop the socket, now."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()
