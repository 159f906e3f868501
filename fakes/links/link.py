"""A link: a TCP relay whose connections can be made slow, lossy, mute, or cut.

Theory of operation
    Each connection has two ends (``_End``, an asyncio protocol) and one ``Conversation`` (pure). Bytes that no toxic
    concerns go from one end to the other without touching it. All others are put into the conversation, and ``_pump``
    writes what comes out and sets one timer for the next deadline.

    Back-pressure: an end is not read while the other does not take what was written, nor while the conversation holds
    ``held_bytes`` of its stream. So a stall fills the buffers and then stops the sender, as on a real network, and no
    client can make us keep more.

    Ends: a FIN is passed on as a FIN (the other direction goes on), a RST as a RST, and both wait in the conversation
    behind the bytes before them. Whoever closes in order gets everything that was written before.

    The upstream is dialled when a client comes, and the client is not read before it is there. If it cannot be
    reached, the client gets a RST: the nearest thing to a refused connection that a listener has.

It knows no protocol above TCP and no scenario.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lockjaw.clock import Clock, ScaledClock
from lockjaw.errors import LocalError

from ..journal import Journal, Listener
from ..serving import FakeServer, require_loopback
from .toxics import Conversation, Direction, Ending, FaultyLink, Item, Toxic

_LINGER_ZERO = struct.pack("ii", 1, 0)
_LISTEN_BACKLOG = 512


@dataclass(frozen=True)
class LinkLimits:
    """What a link lets itself be made to do. Real seconds."""

    held_bytes: int = 256 * 1024  # per direction of a connection, about
    connections: int = 2048  # one more is reset
    dial_real_s: float = 10.0
    linger_real_s: float = 1.0  # how long the other side may take to see that we have closed


class Link(FaultyLink, FakeServer):
    """Relays TCP connections to ``upstream``, through toxics that can be added, changed and healed at any time.

    Args:
        upstream: ``host:port``.
        name: what the journal and the seed's streams call it.
        clock: the toxics' durations are nominal.
        seed: root of all chance.
        journal: file for JSON lines, appended; ``on_entry`` sees each entry. Never the bytes themselves.
        allow_remote: the upstream may be another machine.

    Raises:
        LocalError: the upstream is no address, or not loopback; two toxics have one name.
    """

    def __init__(
        self,
        upstream: str,
        *,
        name: str = "link",
        toxics: Sequence[Toxic] = (),
        clock: Clock | None = None,
        seed: int = 0,
        journal: str | Path | None = None,
        on_entry: Listener | None = None,
        limits: LinkLimits | None = None,
        allow_remote: bool = False,
    ) -> None:
        self.upstream = upstream
        self._dial_to = address_of(upstream)
        _require_loopback_upstream(self._dial_to[0], allow_remote=allow_remote)
        self.clock = clock or ScaledClock.start()
        self.limits = limits or LinkLimits()
        self._journal = Journal(journal, self.clock, on_entry)
        self._pairs: dict[int, _Pair] = {}
        super().__init__(name, seed, now=self.clock.monotonic, carried=self._pairs)
        self._one_ended = asyncio.Event()
        self._server: asyncio.Server | None = None
        for toxic in toxics:
            self.add(toxic)

    # ------------------------------------------------------------------ life

    async def _listen(self, host: str, port: int) -> int:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, host, port, backlog=_LISTEN_BACKLOG)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Listen no more and drop every connection; what toxics held is lost. Idempotent."""
        await self._shut("stopped")
        while self._pairs:  # their sockets are aborted; the loop tells us within a turn or two
            self._one_ended.clear()
            await self._one_ended.wait()
        self._journal.close()

    async def disable(self) -> None:
        """As if the upstream's process had ended: connections are refused, and every open one is closed. Idempotent."""
        if self.enabled:
            self.note("disabled")
        await self._shut("disabled")

    async def _shut(self, why: str) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for pair in list(self._pairs.values()):
            pair.drop(why)
        if server is not None:
            await server.wait_closed()

    async def enable(self) -> None:
        """Listen again, on the port from before. Idempotent. Raises LocalError if somebody has taken it."""
        if self._server is None:
            await self.start(self.host or "127.0.0.1", self.port, allow_remote=True)  # it was allowed the first time
            self.note("enabled")

    async def move(self, upstream: str, host: str, port: int, *, allow_remote: bool = False) -> None:
        """Another upstream, another address, or both: connections are dropped, toxics stay.

        Raises:
            LocalError: an address cannot be used; the link is as it was, but for its connections.
        """
        dial_to = address_of(upstream)
        _require_loopback_upstream(dial_to[0], allow_remote=allow_remote)
        require_loopback(host, allow_remote=allow_remote)
        enabled, before = self.enabled, (self.host, self.port)
        await self.disable()
        try:
            await self.start(host, port, allow_remote=allow_remote)
        except LocalError:
            if enabled:
                await self.start(*before, allow_remote=True)
            raise
        self.upstream, self._dial_to = upstream, dial_to
        self.note("moved", address=self.address, upstream=upstream)

    @property
    def enabled(self) -> bool:
        return self._server is not None

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._pairs)

    @property
    def held_bytes(self) -> int:
        """Memory that toxics hold back in all connections together, about."""
        held = (pair.conversation.held_bytes for pair in self._pairs.values())
        return sum(of("upstream") + of("downstream") for of in held)

    # ------------------------------------------------------------------ faults

    def _changed(self, what: str, toxic: Toxic) -> None:
        kind = {} if what == "healed" else {"type": toxic.type, "stream": toxic.stream}
        self.note(what, toxic=toxic.label, **kind)

    def cut(self) -> None:
        """Reset every connection that is open now, on both sides. New ones are served."""
        for pair in list(self._pairs.values()):
            pair.reset("cut")

    # ------------------------------------------------------------------ connections

    def _accept(self) -> asyncio.Protocol:
        pair = _Pair(self, self._next_number())
        if len(self._pairs) >= self.limits.connections:
            pair.refused = True
        else:
            self._pairs[pair.number] = pair
            self._begin(pair)
        return pair.client

    async def dial(self, end: _End) -> None:
        """Connect an end to the upstream. Raises OSError, TimeoutError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self.limits.dial_real_s):
            await loop.create_connection(lambda: end, *self._dial_to)

    def note(self, ev: str, **fields: Any) -> None:
        self._journal.write(ev, link=self.name, **fields)

    def forget(self, pair: _Pair) -> None:
        self._pairs.pop(pair.number, None)
        self._one_ended.set()


class _End(asyncio.Protocol):
    """One socket of a connection. ``direction``: where its bytes go."""

    def __init__(self, pair: _Pair, direction: Direction) -> None:
        self._pair, self.direction = pair, direction
        self.other: _End = self  # set by the pair
        self.transport: asyncio.Transport | None = None
        self.gone = False  # its socket is closed
        self.finished = False  # a FIN was written to it
        self.full = False  # it does not take what is written
        self.passed_bytes = 0
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._pair.came(self)

    def data_received(self, data: bytes) -> None:
        self.passed_bytes += len(data)
        other = self.other
        # The short way: nothing to wait for, nobody to ask.
        if self._pair.open and not other.gone and self._pair.conversation.untouched(self.direction):
            assert other.transport is not None, "nothing is read before both ends are there"
            other.transport.write(data)
        else:
            self._pair.arrived(self, data)

    def eof_received(self) -> bool:
        self._pair.arrived(self, Ending.FIN)
        return not self._pair.over  # our half stays open until the other side has finished too

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._pair.lost(self, cut=exc is not None)

    def pause_writing(self) -> None:
        self.full = True
        self._pair.balance(self.other)

    def resume_writing(self) -> None:
        self.full = False
        self._pair.balance(self.other)

    def read(self, wanted: bool) -> None:
        if self.transport is None or self.gone or wanted != self._paused:
            return
        if wanted:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()
        self._paused = not wanted

    def write(self, data: bytes) -> None:
        if self.transport is not None and not self.gone and not self.finished:
            self.transport.write(data)

    def finish(self) -> None:
        """Send a FIN behind what was written."""
        if self.transport is not None and not self.gone and not self.finished:
            self.finished = True
            with contextlib.suppress(OSError):  # it is being lost at this moment; connection_lost follows
                self.transport.write_eof()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def reset(self) -> None:
        """A real RST: linger zero makes the kernel throw away what it has not sent."""
        if self.transport is None or self.gone:
            return
        raw: socket.socket = self.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):  # closed under us: then there is nobody to tell
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self.transport.abort()

    def drop(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class _Pair:
    """One connection through the link."""

    def __init__(self, link: Link, number: int) -> None:
        self.number, self.conversation = number, Conversation()
        self._link = link
        self.client, self.upstream = _End(self, "upstream"), _End(self, "downstream")
        self.client.other, self.upstream.other = self.upstream, self.client
        self.open = False  # both ends are there, and neither side has been told of an end by us
        self.refused = False
        self._over = ""  # why it ends, once it does
        self._ended = False  # both sockets are closed
        self._timer: asyncio.TimerHandle | None = None
        self._dialling: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------ what the ends tell

    def came(self, end: _End) -> None:
        if end is self.upstream:
            if self._over:
                end.drop()
            return
        if self.refused:
            self._link.note("refused", conn=self.number, why=f"{self._link.limits.connections} connections are open")
            end.reset()
            return
        self._link.note("open", conn=self.number)
        end.read(False)
        self.pump()  # a toxic may end it before the upstream sees it
        if not self._over:
            self._dialling = asyncio.get_running_loop().create_task(self._dial())

    async def _dial(self) -> None:
        try:
            await self._link.dial(self.upstream)
        except (OSError, TimeoutError) as error:
            if not self._over:
                self.reset(f"the upstream {self._link.upstream} cannot be reached: {error or 'no answer'}")
            return
        if not self._over:
            self.open = True
            self.balance(self.client)
            self.pump()

    @property
    def over(self) -> bool:
        return bool(self._over)

    def arrived(self, end: _End, item: Item) -> None:
        if self._over:
            return
        self.conversation.put(end.direction, item, self._link.clock.monotonic())
        self.pump()

    def lost(self, end: _End, *, cut: bool) -> None:
        if self.refused:
            return
        if self._over:
            if self.client.gone and (self.upstream.gone or self.upstream.transport is None):
                self._end()
            return
        if not cut:
            self.drop("closed")
        elif end.other.gone:
            self.drop("reset by both sides")
        else:
            # The RST is a segment like any other: it arrives behind the bytes that were sent before it.
            self.arrived(end, Ending.RESET)

    def balance(self, end: _End) -> None:
        """Read an end only if what it sends can go somewhere."""
        room = self.conversation.held_bytes(end.direction) < self._link.limits.held_bytes
        end.read((self.open and room and not end.other.full) or bool(self._over))

    # ------------------------------------------------------------------ the stream

    def pump(self) -> None:
        """Write what has come out of the toxics, and come back when more is due."""
        if self._over:
            return
        now = self._link.clock.monotonic()
        for end in (self.client, self.upstream):
            for item in self.conversation.take(end.direction, now):
                self._deliver(end, item)
                if self._over:
                    return
        for end in (self.client, self.upstream):
            self.balance(end)
        self._set_timer(now)

    def _deliver(self, end: _End, item: Item) -> None:
        other = end.other
        match item:
            case Ending.FIN:
                other.finish()
                if end.finished:
                    self._close("finished by both sides")
                elif other.gone:
                    self.drop("closed")
            case Ending.CLOSE:
                self._close("closed by a toxic")
            case Ending.RESET:
                self.reset("reset by a toxic" if not end.gone else "reset by a side")
            case _:
                other.write(item)

    def _set_timer(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self.conversation.next_deadline()
        if deadline is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._link.clock.real_s(max(0.0, deadline - now)), self.pump)

    # ------------------------------------------------------------------ ends

    def _close(self, why: str) -> None:
        """Everything written arrives, then a FIN on both sides. Whoever does not see it is dropped after a while.

        Closing a socket with unread bytes would send a RST, which can take away what was written before it; so what
        still arrives is read, and thrown away.
        """
        finished = self.client.finished and self.upstream.finished
        self._begin_end(why)
        for end in (self.client, self.upstream):
            if finished:
                end.close()
            else:
                end.finish()
                end.read(True)
        if not finished:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._link.limits.linger_real_s, self._drop_ends)

    def reset(self, why: str) -> None:
        """A RST on both sides, now."""
        self._begin_end(why)
        self.client.reset()
        self.upstream.reset()

    def drop(self, why: str) -> None:
        """Close both sockets, now."""
        self._begin_end(why)
        self._drop_ends()

    def _drop_ends(self) -> None:
        self.client.drop()
        self.upstream.drop()

    def _begin_end(self, why: str) -> None:
        self.open = False
        self._over = self._over or why
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._dialling is not None and self.upstream.transport is None:
            self._dialling.cancel()
        if self.client.gone and (self.upstream.gone or self.upstream.transport is None):
            self._end()

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._link.note(
            "close", conn=self.number, why=self._over, upstream_bytes=self.client.passed_bytes,
            downstream_bytes=self.upstream.passed_bytes,
        )  # fmt: skip
        self._link.forget(self)


def address_of(text: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[v6]:port``. Raises LocalError."""
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not (port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise LocalError(f"expected HOST:PORT, such as 127.0.0.1:8080, got {text[:100]!r}")
    return host, int(port)


def _require_loopback_upstream(host: str, *, allow_remote: bool) -> None:
    try:
        require_loopback(host, allow_remote=allow_remote)
    except LocalError:
        raise LocalError(
            f"the upstream {host} is not a loopback address; "
            "let the link connect to other machines on purpose (--allow-remote)"
        ) from None
