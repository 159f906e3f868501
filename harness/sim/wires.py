"""Links of the simulation: the toxics of ``lockjaw serve link`` between simulated ends, in virtual time.

A ``Wire`` stands where the real engine has a TCP relay, and each connection through it has the same ``Conversation``.
What passes are bytes here too (frames with their length in front, HTTP heads and bodies), so that bandwidth, slices
and limits mean the same; a WebSocket's masking and its upgrade are not among them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import httpx

from ...fakes.links.toxics import Conversation, Direction, Ending, FaultyLink
from ..incident.links import toxic_of
from .network import DOWNSTREAM, UPSTREAM
from .world import World

Sink = Callable[[Any], None]


class Crossing:
    """One connection through a wire. ``sinks`` get what comes out of each direction: bytes, or how it ended."""

    def __init__(self, wire: Wire, number: int, conversation: Conversation) -> None:
        self._wire, self.number, self.conversation = wire, number, conversation
        self.sinks: dict[str, Sink] = {}
        self.over = False
        self._timer: Any = None

    def put(self, direction: Direction, item: Any) -> None:
        if not self.over:
            self.conversation.put(direction, item, self._wire.world.now)
            self.pump()

    def pump(self) -> None:
        """Deliver what has come out, and come back when more is due."""
        world = self._wire.world
        for direction in (UPSTREAM, DOWNSTREAM):
            for item in self.conversation.take(direction, world.now):
                if self.over:
                    return
                if isinstance(item, bytes):
                    self.sinks[direction](item)
                else:
                    self._end(direction, item)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self.conversation.next_deadline()
        if deadline is not None and not self.over:
            self._timer = world.at(max(world.now, deadline), self.pump)

    def reset(self) -> None:
        """Both sides see a reset, now."""
        if not self.over:
            self._end(UPSTREAM, Ending.RESET)

    def forget(self) -> None:
        """The caller has stopped waiting."""
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wire.crossings.pop(self.number, None)

    @property
    def clear(self) -> bool:
        """Nothing that is put in would be held back."""
        return all(self.conversation.untouched(direction) for direction in (UPSTREAM, DOWNSTREAM))

    @property
    def held_bytes(self) -> int:
        return sum(self.conversation.held_bytes(direction) for direction in (UPSTREAM, DOWNSTREAM))

    def _end(self, direction: Direction, how: Any) -> None:
        if how is Ending.FIN:  # half a close: the other direction goes on
            self.sinks[direction](how)
            return
        self.forget()
        for sink in self.sinks.values():
            sink(how)


class Wire(FaultyLink):
    """A link of a scenario, between simulated processes."""

    def __init__(self, world: World, name: str, seed: int, toxics: Sequence[Mapping[str, Any]] = ()) -> None:
        self.world = world
        self.crossings: dict[int, Crossing] = {}
        super().__init__(name, seed, now=lambda: world.now, carried=self.crossings)
        for data in toxics:
            self.add(toxic_of(data))

    def open(self) -> Crossing:
        """A new connection; its sinks are to be set before anything is put in."""
        crossing = Crossing(self, self._next_number(), Conversation())
        self.crossings[crossing.number] = crossing
        self._begin(crossing)
        return crossing

    def cut(self) -> None:
        for crossing in list(self.crossings.values()):
            crossing.reset()

    def transport(self, inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        """The same transport, over this wire."""
        return _WiredTransport(inner, self)


# --------------------------------------------------------------------------- requests to models


class _WiredTransport(httpx.AsyncBaseTransport):
    """Carries the requests of one process over a wire; each is a connection of its own."""

    def __init__(self, inner: httpx.AsyncBaseTransport, wire: Wire) -> None:
        self._inner, self._wire = inner, wire

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        exchange = _Exchange(self._wire, self._inner, request)
        try:
            return await exchange.response()
        except BaseException:
            await exchange.leave()
            raise

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Exchange:
    """One request and its reply: a task carries them, the sinks say what has come out."""

    def __init__(self, wire: Wire, inner: httpx.AsyncBaseTransport, request: httpx.Request) -> None:
        self._wire, self._inner, self._request = wire, inner, request
        self._crossing = wire.open()
        self._crossing.sinks = {UPSTREAM: self._reached, DOWNSTREAM: self._came}
        self._sent_bytes = self._reached_bytes = 0
        self._head_bytes = 0  # of the reply's head that have not come out yet
        self._inner_response: httpx.Response | None = None
        self._body: list[bytes] = []
        self._ended: Any = None  # how, once it has
        self._failure: BaseException | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._work = asyncio.ensure_future(self._carry())

    async def response(self) -> httpx.Response:
        await self._until(lambda: self._inner_response is not None and not self._head_bytes)
        inner = self._inner_response
        assert inner is not None
        return httpx.Response(inner.status_code, headers=inner.headers, stream=_Body(self))

    async def pieces(self) -> AsyncIterator[bytes]:
        while True:
            await self._until(lambda: bool(self._body) or self._ended is Ending.FIN)
            if not self._body:
                return
            pieces, self._body = self._body, []
            yield b"".join(pieces)

    async def leave(self) -> None:
        """The client wants no more of it."""
        self._crossing.forget()
        self._work.cancel()
        await asyncio.gather(self._work, return_exceptions=True)
        if self._inner_response is not None:
            await self._inner_response.aclose()

    async def _carry(self) -> None:
        """The wire's far side."""
        try:
            request = self._request
            head = f"{request.method} {request.url.raw_path.decode()} HTTP/1.1\r\n".encode()
            lines = [b"%s: %s\r\n" % line for line in request.headers.raw]
            data = b"".join([head, *lines, b"\r\n", request.content])
            self._sent_bytes = len(data)
            self._crossing.put(UPSTREAM, data)
            await self._until(lambda: self._reached_bytes >= self._sent_bytes)
            self._inner_response = response = await self._inner.handle_async_request(request)
            lines = [b"%s: %s\r\n" % line for line in response.headers.raw]
            head = b"".join([b"HTTP/1.1 %d\r\n" % response.status_code, *lines, b"\r\n"])
            self._head_bytes = len(head)
            self._crossing.put(DOWNSTREAM, head)
            assert isinstance(response.stream, httpx.AsyncByteStream)
            async for piece in response.stream:
                if piece:
                    self._crossing.put(DOWNSTREAM, piece)
            self._crossing.put(DOWNSTREAM, Ending.FIN)
        except httpx.ConnectError as error:
            self._failure = error
            self._wake()
        except httpx.TransportError as error:
            self._crossing.put(DOWNSTREAM, Ending.RESET if isinstance(error, httpx.ReadError) else Ending.CLOSE)

    def _reached(self, item: Any) -> None:
        if isinstance(item, bytes):
            self._reached_bytes += len(item)
        else:
            self._ended = item
        self._wake()

    def _came(self, item: Any) -> None:
        if not isinstance(item, bytes):
            self._ended = item
        else:
            of_head = min(self._head_bytes, len(item))
            self._head_bytes -= of_head
            if item[of_head:]:
                self._body.append(item[of_head:])
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _until(self, ready: Callable[[], bool]) -> None:
        while not ready():
            if self._failure is not None:
                raise self._failure
            if self._ended is Ending.RESET:
                raise httpx.ReadError("connection reset by peer")
            if self._ended is Ending.CLOSE:
                raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                self._waiters.remove(waiter)


class _Body(httpx.AsyncByteStream):
    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._exchange.pieces():
            yield piece

    async def aclose(self) -> None:
        await self._exchange.leave()
