"""The HTTP/1.1 side of a fake server: its connections, counted until the last one has gone.

What a connection is and costs is ``http_connection``'s; who answers is the fake's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .http_connection import Budget, Handler, HttpConnection, HttpLimits, Outbox
from .serving import Acceptor, FakeServer

__all__ = ["HttpServer"]

_BACKLOG = 1024


class HttpServer(FakeServer, Handler):
    """The handler of its own connections.

    Args:
        limits: what clients may cost.
        before: is called before the bytes of one turn of the event loop leave (``Outbox``): the journal's flush.
        most: connections at once; one more is not served.
    """

    def __init__(self, limits: HttpLimits, before: Callable[[], None], *, most: int | None = None) -> None:
        budget = Budget(limits.buffered_bytes)
        self._outbox = Outbox(before)
        self._acceptor = Acceptor(lambda: HttpConnection(self, limits, budget, self._outbox))
        self._connections: set[HttpConnection] = set()
        self._deserted = asyncio.Event()  # no connection is left
        self._most = most
        self.stopping = False

    async def _listen(self, host: str, port: int) -> int:
        return await self._acceptor.start(host, port, backlog=_BACKLOG)

    async def _close_door(self) -> None:
        """Listen no more, and serve no connection that was accepted meanwhile."""
        self.stopping = True
        await self._acceptor.close()

    async def _drop_connections(self) -> None:
        """Let go what waits for the journal, cut every connection, and wait until the last one knows it."""
        self._outbox.commit()
        for connection in list(self._connections):
            connection.abort()
        while self._connections:
            self._deserted.clear()
            await self._deserted.wait()

    # ------------------------------------------------------------------ the handler of the connections

    def opened(self, connection: HttpConnection) -> bool:
        """A client has connected; not served if it is too late for that, or one too many."""
        self._connections.add(connection)
        return not self.stopping and (self._most is None or len(self._connections) <= self._most)

    def closed(self, connection: HttpConnection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._deserted.set()
