"""A model script performed without a socket: an httpx transport, also for the SDKs that carry a fork of httpx.

What goes out and when is ``reply_plan``'s, as for the server. A client library is taken by the module that its request
comes from, because the SDKs of one environment may use ``httpx`` and ``httpx2`` side by side, and each of them
accepts nothing but its own responses and errors.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from lockjaw.clock import Clock
from lockjaw.errors import LocalError
from lockjaw.fakes.models.exchange import Exchange
from lockjaw.fakes.models.progress import ScriptProgress
from lockjaw.fakes.models.reply_plan import Action, Break, Chunk, Open, Silence, Whole, cut_body, delivered
from lockjaw.fakes.models.service import ModelService, Order


class ScriptTransport:
    """Answers requests by a script, for sync and async clients. ``problems``: what the script does not know.

    It derives from no class of httpx: SDKs that carry a fork refuse every transport that does.
    """

    def __init__(self, progress: ScriptProgress, *, clock: Clock, seed: int, on_body: Callable[[bytes], None]) -> None:
        self._service, self._clock, self._on_body = ModelService(progress, seed), clock, on_body
        self.problems: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        exchange = self._begin(request, request.read())
        exchange.wait_for_head()
        return exchange.response()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        exchange = self._begin(request, await request.aread())
        await exchange.wait_for_head_async()
        return exchange.response()

    def close(self) -> None:
        """Nothing is open."""

    async def aclose(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> ScriptTransport:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def __aenter__(self) -> ScriptTransport:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def answer(self, request: httpx.Request) -> httpx.Response | Awaitable[httpx.Response]:
        """A respx side effect: an awaitable where an event loop runs, else the response."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self.handle_request(request)
        return self.handle_async_request(request)

    def _begin(self, request: httpx.Request, body: bytes) -> TransportExchange:
        target, now = request.url.raw_path.decode("ascii"), self._clock.monotonic()
        order = self._service.receive(
            request.method, target, body, now, lambda name: str(request.headers.get(name, ""))
        )
        if order.what == "chat":
            self._on_body(body)
        if order.problem:
            self.problems.append(f"{order.request_id}: {order.problem}")
        return TransportExchange(self._service, order, request, self._clock, self.problems)


class TransportExchange(Exchange):
    """One request on its way through a plan. Waiting honours the request's read timeout, as a socket would.

    No request waits for a turn here (capacity is the server's), and nothing is recorded.
    """

    def __init__(self, service: ModelService, order: Order, request: Any, clock: Clock, problems: list[str]) -> None:
        super().__init__(service, order, None, clock.monotonic())
        self.enter(lambda: None)
        self._request, self._clock, self._problems = request, clock, problems
        self._actions = delivered(self.plan(self.began))
        self._heard = self.began
        self._family: Any = importlib.import_module(type(request).__module__.partition(".")[0])
        timeouts = request.extensions.get("timeout") or {}
        self._read_real_s: float | None = timeouts.get("read")
        self._head: Open | Whole | None = None

    # ------------------------------------------------------------------ until the status line

    def wait_for_head(self) -> None:
        with self._under_way():
            action = next(self._actions)
            self._wait(action)
            self._take_head(action)

    async def wait_for_head_async(self) -> None:
        with self._under_way():
            action = next(self._actions)
            await self._wait_async(action)
            self._take_head(action)

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        """The model is at work until the reply has ended, and no longer: that paces the others."""
        try:
            yield
        except BaseException:
            self.leave()
            raise

    def _take_head(self, action: Action) -> None:
        if isinstance(action, Break):
            raise self._broken(action)
        assert isinstance(action, Open | Whole), action
        self._head = action
        if isinstance(action, Whole):
            self.leave()

    def response(self) -> httpx.Response:
        """Of the client library's own kind, which may be a fork of httpx."""
        head = self._head
        assert head is not None
        status, body = (
            (head.status, {"content": head.body})
            if isinstance(head, Whole)
            else (head.status, {"stream": self._body()})
        )
        headers = [*head.headers, ("x-request-id", self.order.request_id)]
        response: httpx.Response = self._family.Response(status, headers=headers, request=self._request, **body)
        return response

    # ------------------------------------------------------------------ the streamed body

    def _body(self) -> Any:
        """A stream of the client library's own kind, for either of its faces."""
        exchange = self

        class Body(self._family.SyncByteStream, self._family.AsyncByteStream):  # type: ignore[misc, name-defined]
            def __iter__(self) -> Iterator[bytes]:
                with exchange._under_way():
                    for action in exchange._actions:
                        exchange._wait(action)
                        yield from exchange._pieces(action)
                exchange.leave()

            async def __aiter__(self) -> AsyncIterator[bytes]:
                with exchange._under_way():
                    for action in exchange._actions:
                        await exchange._wait_async(action)
                        for piece in exchange._pieces(action):
                            yield piece
                exchange.leave()

        return Body()

    def _pieces(self, action: Action) -> Iterator[bytes]:
        match action:
            case Chunk(data=data):
                yield data
            case Break(half=Chunk()):
                yield cut_body(action)
                raise self._broken(action)
            case Break():
                raise self._broken(action)

    def _broken(self, action: Break) -> Exception:
        error, text = self._family.RemoteProtocolError, "peer closed connection without sending complete message body"
        if action.how == "rst":
            error, text = self._family.ReadError, "[Errno 104] Connection reset by peer"
        broken: Exception = error(text, request=self._request)
        return broken

    # ------------------------------------------------------------------ waiting

    def _wait(self, action: Action) -> None:
        left_s, gives_up = self._patience(action)
        if left_s == float("inf"):
            problem = (
                "the script never answers this request, and the client has no read timeout, so the test would hang; "
                "give the client a timeout"
            )
            self._problems.append(
                f"{self.order.request_id}: {problem}"
            )  # an SDK may hide the error behind one of its own
            raise LocalError(problem)
        self._clock.sleep_blocking(left_s)
        self._arrived(gives_up)

    async def _wait_async(self, action: Action) -> None:
        left_s, gives_up = self._patience(action)
        if left_s == float("inf"):
            await asyncio.Event().wait()  # for ever: until the client cancels
        await self._clock.sleep(left_s)
        self._arrived(gives_up)

    def _patience(self, action: Action) -> tuple[float, bool]:
        """Nominal seconds to wait, and whether the client's read timeout (real seconds) ends first."""
        due = float("inf") if isinstance(action, Silence) else self.began + action.at_s
        limit = float("inf")
        if self._read_real_s is not None:
            limit = self._heard + self._read_real_s / self._clock.real_s(1.0)
        return max(0.0, min(due, limit) - self._clock.monotonic()), limit < due

    def _arrived(self, gives_up: bool) -> None:
        if gives_up:
            raise self._family.ReadTimeout("The read operation timed out", request=self._request)
        self._heard = self._clock.monotonic()
