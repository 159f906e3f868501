"""Links over real WebSockets, and their listening socket; the only file of the server that knows ``websockets``.

Nothing here knows frames.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from lockjaw.addresses import is_loopback
from lockjaw.clock import Clock
from lockjaw.errors import ConnectionLost
from lockjaw.gateway.accepting import AcceptGate
from lockjaw.gateway.auth import Peer
from lockjaw.gateway.frames import MAX_FRAME_BYTES, MAX_PREAUTH_BYTES
from lockjaw.gateway.links import Link, Place, PreauthBudget
from lockjaw.gateway.websocket import loss_of

UPGRADE_S = 10.0  # nominal; for the HTTP upgrade alone
CLOSE_S = 10.0  # nominal; for the peer's answer to a close frame, then the TCP connection is cut
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip")


class _Socket(ServerConnection):
    """Knows when its TCP connection begins and ends, also when it never gets through the upgrade.

    ``opening`` holds the sockets of one listener that have not been upgraded yet.
    """

    opening: ClassVar[dict[_Socket, None]]
    gate: ClassVar[AcceptGate]
    place: Place | None = None

    def give_back(self) -> None:
        if self.place is not None:
            self.place.release()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.gate.accepted()
        self.opening[self] = None
        if len(self.opening) > self.gate.most_opening:
            next(iter(self.opening)).transport.abort()  # the oldest: it has had its time to say something

    def connection_lost(self, exc: Exception | None) -> None:
        self.opening.pop(self, None)
        self.gate.closed()
        self.give_back()
        super().connection_lost(exc)


@dataclass(frozen=True)
class Listener:
    """A listening socket and what it accepted."""

    port: int
    _server: Server
    _opening: dict[_Socket, None]
    _gate: AcceptGate

    def close(self) -> None:
        """Accept nothing more; cut what is not upgraded yet. Open links stay open."""
        self._server.close(close_connections=False)
        for socket in tuple(self._opening):
            socket.transport.abort()
        self._gate.uninstall()

    async def wait_closed(self) -> None:
        """Until every link's handler has returned."""
        await self._server.wait_closed()


class WebSocketLink:
    """A ``Link`` over an upgraded WebSocket."""

    def __init__(self, socket: ServerConnection, peer: Peer) -> None:
        self._socket, self._peer = socket, peer

    @property
    def peer(self) -> Peer:
        return self._peer

    async def receive(self) -> str | bytes:
        try:
            text = await self._socket.recv()
        except ConnectionClosed as error:
            raise loss_of(error) from None
        if isinstance(self._socket, _Socket) and self._socket.place is not None:
            self._socket.place.spoken = True
        return text

    async def send(self, text: str) -> None:
        try:
            await self._socket.send(text)
        except ConnectionClosed as error:
            raise loss_of(error) from None
        except AttributeError:
            raise ConnectionLost(1006) from None  # see close

    async def close(self, code: int, reason: str) -> None:
        # A transport that was closed while it still had data to send, and then sent it, forgets its loop without
        # noting that it is closed; websockets then aborts it once more and meets None (CPython 3.11, seen).
        with suppress(AttributeError):
            await self._socket.close(code, reason)

    def buffered_bytes(self) -> int:
        return self._socket.transport.get_write_buffer_size()

    def authenticated(self) -> None:
        limit_message(self._socket, MAX_FRAME_BYTES)
        if isinstance(self._socket, _Socket):
            self._socket.give_back()


def limit_message(socket: ServerConnection, limit_bytes: int) -> None:
    """The longest message that the library takes from now on; a longer one closes the connection with 1009."""
    protocol: Any = socket.protocol
    name = "max_message_size" if hasattr(protocol, "max_message_size") else "max_size"  # the latter before 16
    setattr(protocol, name, limit_bytes)


def peer_of(remote_address: Any, headers: Any) -> Peer:
    """The peer as its socket address and upgrade headers show it."""
    address = str(remote_address[0]) if isinstance(remote_address, tuple) and remote_address else "unknown"
    forwarded = any(name in headers for name in _FORWARDED)
    origins = headers.get_all("Origin")
    return Peer(address, is_loopback(address), forwarded, origins[0] if origins else None)


async def listen(
    handle: Callable[[Link], Awaitable[None]],
    host: str,
    port: int,
    *,
    clock: Clock,
    budget: PreauthBudget,
    log: Callable[[str], None] = lambda line: None,
) -> Listener:
    """Accept WebSockets and hand each to ``handle`` until the server is closed.

    Args:
        log: told once when no more connections can be accepted.

    Raises:
        OSError: the address cannot be listened on.
    """

    accept_gate = AcceptGate(log)

    class Socket(_Socket):
        opening: ClassVar[dict[_Socket, None]] = {}  # one per listener, in the order of their coming
        gate: ClassVar[AcceptGate] = accept_gate

    async def connected(socket: ServerConnection) -> None:
        assert isinstance(socket, Socket)
        socket.opening.pop(socket, None)
        assert socket.request is not None
        await handle(WebSocketLink(socket, peer_of(socket.remote_address, socket.request.headers)))

    def upgrade(socket: ServerConnection, request: Request) -> Response | None:
        address = peer_of(socket.remote_address, request.headers).address
        assert isinstance(socket, Socket)
        if accept_gate.full:
            return socket.respond(HTTPStatus.SERVICE_UNAVAILABLE, "Too many sockets\n")
        socket.place = budget.admit(address, socket.transport.abort)
        return None

    server = await serve(
        connected,
        host,
        port,
        process_request=upgrade,
        create_connection=Socket,
        backlog=1,  # how many asyncio accepts, or fails to accept, at a time; see AcceptGate
        compression=None,
        max_size=2 * MAX_PREAUTH_BYTES,  # until hello: the library must not keep what the protocol will refuse
        ping_interval=None,  # ticks are the keep-alive of this protocol
        open_timeout=clock.real_s(UPGRADE_S),
        close_timeout=clock.real_s(CLOSE_S),
        server_header=None,
        logger=logging.Logger("lockjaw.gateway", logging.CRITICAL + 1),  # strangers' garbage is not our news
    )
    accept_gate.install(asyncio.get_running_loop(), list(server.sockets))
    return Listener(next(iter(server.sockets)).getsockname()[1], server, Socket.opening, accept_gate)
