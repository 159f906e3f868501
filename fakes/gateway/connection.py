"""One socket of the mock gateway: frames out, the journal, and what a client cannot make us keep.

It knows the WebSocket library and no script. A client that does not read is cut off when too much waits for it, one
that dawdles before its hello likewise; the others notice nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgspec
from websockets.asyncio.server import ServerConnection, broadcast
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from lockjaw.gateway.listener import limit_message

from ..journal import Journal, redacted
from .answers import MAX_BUFFERED_BYTES, MAX_PAYLOAD_BYTES
from .script import Close, ConnectStep

PREAUTH_BYTES = 65_536
encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class GatewayLimits:
    """What a mock gateway lets clients make it do. Real seconds: these are about the machine, not the script."""

    connections: int = 4096  # one more is answered 503
    calls: int = 1000  # unanswered, of one connection; one more is refused
    hello_real_s: float = 60.0  # from the TCP connection to a connect frame; the script may be slow, clients may not
    buffered_bytes: int = MAX_BUFFERED_BYTES  # that a client has not read, before it is a slow consumer


class Socket(ServerConnection):
    """Knows when its TCP connection begins and ends, also when it never gets through the upgrade.

    ``there``: the open ones of one server, which has a subclass of its own (``socket_class``).
    """

    there: ClassVar[dict[Socket, None]]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.there[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.there.pop(self, None)
        super().connection_lost(exc)


def socket_class() -> type[Socket]:
    return type("ServerSocket", (Socket,), {"there": {}})


@dataclass(eq=False)
class Connection:
    """One socket. ``ready``: hello was said, so broadcasts reach it and its calls are answered."""

    number: int
    socket: ServerConnection
    nonce: str
    step: ConnectStep
    journal: Journal
    limits: GatewayLimits
    ready: bool = False
    muted: bool = False
    calls: int = 0  # under way
    ended: asyncio.Event = field(default_factory=asyncio.Event)  # what its client closed with is counted
    _held: list[tuple[str | bytes, dict[str, Any]]] = field(default_factory=list)
    _held_bytes: int = 0

    def welcome(self) -> None:
        """From here on its frames may be as long as the protocol allows."""
        self.ready = True
        limit_message(self.socket, MAX_PAYLOAD_BYTES)

    async def send(self, frame: dict[str, Any]) -> None:
        await self.send_text(encode(frame).decode(), {"frame": redacted(frame)})

    async def send_text(self, data: str | bytes, shown: dict[str, Any]) -> None:
        """Send a text frame, or a binary one for bytes; what cannot be delivered is in the journal."""
        if not self._may_send(data, shown):
            return
        try:
            await self.socket.send(data)
        except ConnectionClosed:
            self.journal.write("undelivered", conn=self.number, **shown)

    def offer(self, text: str, shown: dict[str, Any]) -> None:
        """Send a text frame and wait for nobody: a client that does not read must not hold up the others."""
        if self._may_send(text, shown):
            broadcast([self.socket], text)

    async def send_invalid_text(self, data: bytes) -> None:
        """A text frame that is no UTF-8, or whatever the script wants a text frame to hold."""
        if self._may_send(data, {"raw_bytes": len(data)}):
            self.socket.protocol.send_text(data)
            await self._flush()

    async def write_raw(self, data: bytes) -> None:
        """Bytes onto the socket, past all framing."""
        if self._may_send(data, {"raw_bytes": len(data)}):
            self.socket.transport.write(data)

    async def unmute(self) -> None:
        """What was held back goes out, in order."""
        self.muted = False
        held, self._held, self._held_bytes = self._held, [], 0
        for data, shown in held:
            await self.send_text(data, shown)

    async def close(self, close: Close) -> None:
        await self.socket.close(close.code, close.reason)

    def drop(self) -> None:
        self.journal.write("drop", conn=self.number)
        self.socket.transport.abort()

    # ------------------------------------------------------------------ inside

    def _may_send(self, data: str | bytes, shown: dict[str, Any]) -> bool:
        if self.socket.state is not State.OPEN:
            self.journal.write("undelivered", conn=self.number, **shown)
            return False
        if self.muted:
            self._held_bytes += len(data)
            if self._held_bytes <= self.limits.buffered_bytes:
                self._held.append((data, shown))
                self.journal.write("held", conn=self.number, **shown)
                return False
        elif self.socket.transport.get_write_buffer_size() <= self.limits.buffered_bytes:
            self.journal.write("out", conn=self.number, **shown)
            return True
        self.journal.write("drop", conn=self.number, why="slow consumer")
        self.socket.transport.abort()  # a close frame would wait behind what the client does not read
        return False

    async def _flush(self) -> None:
        for data in self.socket.protocol.data_to_send():
            self.socket.transport.write(data)
