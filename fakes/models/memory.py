"""The fake model server without sockets: an httpx transport that performs the same script at the same nominal times.

What a reply holds and when its pieces are due is ``reply_plan``'s, as for ``ModelServer``; here is only who carries
the pieces. A ``Timeline`` gives time and delays, so this module knows nothing of the simulation that uses it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Literal, Protocol

import httpx

from lockjaw.history import Recorder

from .exchange import Exchange
from .progress import ScriptProgress
from .reply_plan import Action, Break, Chunk, Open, Silence, Whole, cut_body, delivered
from .script import load_model_script
from .service import ModelService, Order
from .wires.surface import Headers


class Timer(Protocol):
    def cancel(self) -> None: ...


class Timeline(Protocol):
    """Virtual time as the server needs it. ``at`` belongs to no client process."""

    def now(self) -> float: ...
    def at(self, when: float, callback: Callable[..., Any], *args: Any) -> Timer: ...
    def latency(self, client: str) -> float: ...


class MemoryModels:
    """Serves one script to any number of clients.

    Args:
        script: ``{"models": {...}}``.
        coalesce_s: pieces that are due within this many nominal seconds after the first undelivered one travel
            together, as a buffering proxy would send them; 0: each on its own.
    """

    def __init__(
        self, script: Mapping[str, Any], *, timeline: Timeline, recorder: Recorder, seed: int, coalesce_s: float = 0.0
    ) -> None:
        self.service = ModelService(ScriptProgress(load_model_script(script)), seed)
        self.timeline, self.recorder, self.coalesce_s = timeline, recorder, coalesce_s
        self.up, self.paused = True, False
        self._held: list[Callable[[], None]] = []
        self._exchanges: list[MemoryExchange] = []

    def transport(self, client: str) -> MemoryTransport:
        """For one client process."""
        return MemoryTransport(self, client)

    def kill(self) -> None:
        """The server process is gone: open replies break, new requests are refused."""
        self.up = False
        for exchange in list(self._exchanges):
            exchange.break_off("rst")

    def restart(self) -> None:
        self.up = True

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        held, self._held = self._held, []
        for act in held:
            act()

    def drop_client(self, client: str) -> None:
        """A client process is gone, and its sockets with it."""
        for exchange in list(self._exchanges):
            if exchange.client == client:
                exchange.desert()

    # ------------------------------------------------------------------ requests

    def begin(self, client: str, request: httpx.Request) -> MemoryExchange:
        """Serve one request that arrives now."""
        target = request.url.raw_path.decode("ascii")
        headers = request.headers
        order = self.service.receive(
            request.method, target, request.content, self.timeline.now(), lambda name: headers.get(name, "")
        )
        exchange = MemoryExchange(self, client, order)
        exchange.ask()
        self.opened(exchange)
        exchange.enter(exchange.start)
        return exchange

    def hold(self, act: Callable[[], None]) -> None:
        """The server is frozen: ``act`` happens when it thaws."""
        self._held.append(act)

    def opened(self, exchange: MemoryExchange) -> None:
        self._exchanges.append(exchange)

    def over(self, exchange: MemoryExchange) -> None:
        if exchange in self._exchanges:
            self._exchanges.remove(exchange)
            exchange.leave()


class MemoryExchange(Exchange):
    """One request and its reply. ``inbox`` holds what has arrived at the client."""

    def __init__(self, models: MemoryModels, client: str, order: Order) -> None:
        super().__init__(models.service, order, models.recorder, models.timeline.now())
        self._models, self.client = models, client
        self._timeline = models.timeline
        self._actions: Iterator[Action] = iter(())
        self._timer: Timer | None = None
        self._gone = False  # the client has closed the connection
        self.status: int | None = None
        self.headers: Headers = ()
        self.inbox: deque[bytes] = deque()
        self.finished: str | None = None  # "end", or how it broke
        self._waiter: asyncio.Future[None] | None = None

    # ------------------------------------------------------------------ the server's side

    def start(self) -> None:
        """Begin to perform: at once, or when the model has a place free."""
        self._actions = delivered(self.plan(self._timeline.now()))
        self._next()

    def _next(self) -> None:
        action = next(self._actions, None)
        if action is None:
            self._models.over(self)
            if not self._gone:
                self._finish("end")
            return
        batch: list[Action] = [action]
        due = action.at_s
        coalesce_s = self._models.coalesce_s
        if coalesce_s and isinstance(action, Chunk) and not action.last:
            until = due + coalesce_s
            for action in self._actions:
                batch.append(action)
                due = action.at_s
                if not isinstance(action, Chunk) or action.last or due >= until:
                    break
        self._timer = self._timeline.at(self.began + due, self._act, batch)

    def _act(self, batch: list[Action]) -> None:
        if self._models.paused:
            self._models.hold(lambda: self._act(batch))
            return
        for action in batch:
            match action:
                case Chunk(data=data, tokens=tokens, last=last):  # most are
                    self.sent = tokens
                    if last:
                        self._end("ok")
                        self._models.over(self)
                    self._arrived(data, "end" if last else None)
                    if last:
                        return
                case Open(headers=headers, status=status):
                    self._began_reply(status, headers)
                case Whole(status=status, headers=headers, body=body, tokens=tokens):
                    self.sent = tokens
                    self._end("ok", **({} if status == 200 else {"status": status}))
                    self._models.over(self)
                    self._began_reply(status, headers)
                    self._arrived(body, "end")
                    return
                case Break(how=how, half=begun):
                    self._end("fail", client_gone=False, disconnect=how)
                    if isinstance(begun, Whole) and how != "mid_header":
                        self._began_reply(begun.status, begun.headers)
                    if half := cut_body(action):
                        self._arrived(half)
                    self.break_off(how)
                    return
                case Silence():
                    return
        self._next()

    def _end(self, phase: Literal["ok", "fail"], **more: Any) -> None:
        self.end(phase, self._timeline.now(), **more)

    def desert(self) -> None:
        """The client closed the connection; the server hears of it a little later."""
        if self._gone:
            return
        self._gone = True
        self._timeline.at(self._timeline.now() + self._timeline.latency(self.client), self._notice)

    def _notice(self) -> None:
        if self._models.paused:
            self._models.hold(self._notice)
            return
        if self.order.stays and not self.ended:
            return  # it goes on with nobody listening
        if self._timer is not None:
            self._timer.cancel()
        self._end("fail", client_gone=True)
        self._models.over(self)

    def break_off(self, how: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._end("fail", client_gone=False)
        self._models.over(self)
        self._timeline.at(self._timeline.now() + self._timeline.latency(self.client), self._finish, how)

    # ------------------------------------------------------------------ the client's side

    def _began_reply(self, status: int, headers: Headers) -> None:
        if not self._gone:
            self.status, self.headers = status, headers
            self._wake()

    def _arrived(self, data: bytes, finished: str | None = None) -> None:
        """A piece of the body. ``finished``: how the reply ended with it."""
        if not self._gone:
            self.inbox.append(data)
            self.finished = self.finished or finished
            self._wake()

    def _finish(self, how: str) -> None:
        """The reply is over, in order or not; the first end counts."""
        self.finished = self.finished or how
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def news(self) -> None:
        """Wait until something arrives."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiter = waiter
        try:
            await waiter
        finally:
            self._waiter = None

    def broken(self) -> httpx.TransportError | None:
        if self.finished in (None, "end"):
            return None
        if self.finished == "rst":
            return httpx.ReadError("connection reset by peer")
        return httpx.RemoteProtocolError("peer closed connection without sending complete message body")


class _Body(httpx.AsyncByteStream):
    def __init__(self, exchange: MemoryExchange) -> None:
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        exchange = self._exchange
        while True:
            while not exchange.inbox and exchange.finished is None:
                await exchange.news()
            if exchange.inbox:
                piece = exchange.inbox.popleft() if len(exchange.inbox) == 1 else b"".join(exchange.inbox)
                exchange.inbox.clear()
                yield piece
                continue
            error = exchange.broken()
            if error is not None:
                raise error
            return

    async def aclose(self) -> None:
        if self._exchange.finished is None:
            self._exchange.desert()


class MemoryTransport(httpx.AsyncBaseTransport):
    """Carries one client's requests to ``MemoryModels``."""

    def __init__(self, models: MemoryModels, client: str) -> None:
        self._models, self._client = models, client

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(self._models.timeline.latency(self._client))
        if not self._models.up:
            raise httpx.ConnectError("All connection attempts failed")
        exchange = self._models.begin(self._client, request)
        try:
            while exchange.status is None and exchange.finished is None:
                await exchange.news()
        except asyncio.CancelledError:
            exchange.desert()
            raise
        if exchange.status is None:
            raise exchange.broken() or httpx.RemoteProtocolError("Server disconnected without sending a response.")
        return httpx.Response(exchange.status, headers=list(exchange.headers), stream=_Body(exchange))
