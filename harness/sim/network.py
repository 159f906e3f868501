"""Gateway connections in memory: text frames, close codes, delay, and the wires of the scenario (``wires``).

Both shells are here: ``Transport`` for the client (``dial``) and ``Link`` for the server. Frames of one direction keep
their order. A process that dies takes its ends down, and the peers see 1006; a paused one goes on receiving into its
socket's buffer and reads when it is resumed. Over a wire, frames are bytes with their length in front: a toxic may hold
them back or cut them in two, and a frame arrives when its last byte does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from lockjaw.errors import ConnectionLost
from lockjaw.gateway.auth import Peer

from .process import Process
from .world import World

if TYPE_CHECKING:
    from ...fakes.links.toxics import Direction
    from .wires import Crossing, Wire

UPSTREAM: Direction = "upstream"
DOWNSTREAM: Direction = "downstream"
Accept = Callable[[Any], Any]  # serves one ``Link``; a coroutine function


class End:
    """One end of a connection; a client ``Transport`` and a server ``Link`` alike."""

    def __init__(self, network: Network, process: Process) -> None:
        self._network, self.process, self._world = network, process, network.world
        self.other: End
        self._inbox: deque[str] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._closed: tuple[int, str] | None = None  # as the peer closed, or we did
        self._last_arrival = 0.0
        self._crossing: Crossing | None = None
        self._direction: Direction = UPSTREAM
        self._unread = b""  # the beginning of a frame

    # ------------------------------------------------------------------ what both shells use

    async def receive(self) -> str | bytes:
        while not self._inbox:
            if self._closed is not None:
                raise ConnectionLost(*self._closed)
            waiter: asyncio.Future[None] = self.process.loop.create_future()
            self._waiter = waiter
            try:
                await waiter
            finally:
                self._waiter = None
        text = self._inbox.popleft()
        self._world.log.heard(self.process.name, text)
        return text

    async def send(self, text: str) -> None:
        if self._closed is not None:
            raise ConnectionLost(*self._closed)
        self._carry(self.other._arrive, text)

    async def close(self, code: int, reason: str, *, limit_s: float = 10.0) -> tuple[int, str]:
        """The peer's close if it closed first, else ours. Waits for the peer's answer, bounded."""
        if self._closed is not None:
            return self._closed
        self._closed = (code, reason)
        self._wake()
        self._carry(self.other._closed_by_peer, code, reason)
        answers = self.other.process.alive and not self.other.process.paused
        answers = answers and (self._crossing is None or self._crossing.clear)
        await asyncio.sleep(min(limit_s, 0.001) if answers else limit_s)
        return code, reason

    # ------------------------------------------------------------------ Link only

    @property
    def peer(self) -> Peer:
        return Peer("127.0.0.1", True, False, None)

    def buffered_bytes(self) -> int:
        return self._crossing.held_bytes if self._crossing is not None else 0

    def authenticated(self) -> None:
        return None

    # ------------------------------------------------------------------ the wire

    def over(self, crossing: Crossing, direction: Direction) -> None:
        """This end sends over a wire."""
        self._crossing, self._direction = crossing, direction
        crossing.sinks[direction] = self.other._came

    def _carry(self, arrive: Callable[..., None], *args: Any) -> None:
        if self._crossing is None:
            self._travel(arrive, *args)
        else:
            body = msgspec.json.encode(args)  # a frame, or a close with its code and reason
            self._crossing.put(self._direction, len(body).to_bytes(4, "big") + body)

    def _came(self, item: Any) -> None:
        """What has come over the wire from the other end."""
        if not isinstance(item, bytes):
            self.other._travel(self._closed_by_peer, 1006, "")
            return
        self._unread += item
        while len(self._unread) >= 4 and len(self._unread) >= (end := 4 + int.from_bytes(self._unread[:4], "big")):
            args = msgspec.json.decode(self._unread[4:end])
            self._unread = self._unread[end:]
            self.other._travel(self._arrive if len(args) == 1 else self._closed_by_peer, *args)

    def _travel(self, arrive: Callable[..., None], *args: Any) -> None:
        world = self._world
        # Never earlier than what was sent before: one direction keeps its order.
        self._last_arrival = max(
            self._last_arrival, world.now + world.latency(self.process.name, self.other.process.name)
        )
        world.at(self._last_arrival, arrive, *args)

    def _arrive(self, text: str) -> None:
        if self._closed is None and self.process.alive:
            self._inbox.append(text)
            self._wake()

    def _closed_by_peer(self, code: int, reason: str) -> None:
        if self._closed is None:
            self._closed = (code, reason)
            self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done() and self.process.alive:
            waiter.set_result(None)

    def died(self) -> None:
        """Our process is gone: the kernel resets the connection."""
        if self._closed is None:
            self._closed = (1006, "")
            self._carry(self.other._closed_by_peer, 1006, "")


class Network:
    """Ports, connections, wires."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._listeners: dict[int, tuple[Process, Accept]] = {}
        self._wires: dict[tuple[str, str], Wire] = {}

    def lay(self, wire: Wire, dialler: str, dialled: str) -> None:
        """From now on, connections between two actors go over this wire."""
        self._wires[dialler, dialled] = wire

    def listen(self, process: Process, port: int, accept: Accept) -> None:
        self._listeners[port] = (process, accept)
        process.at_death.append(lambda: self.close(process, port))

    def close(self, process: Process, port: int) -> None:
        """Accept no more connections. (Not if a successor listens there already.)"""
        if port in self._listeners and self._listeners[port][0] is process:
            del self._listeners[port]

    async def dial(self, process: Process, port: int) -> End:
        """Connect. Raises ConnectionLost (definite) when no gateway listens."""
        world = self.world
        found = self._listeners.get(port)
        await asyncio.sleep(world.latency(process.name, found[0].name if found else "nobody"))
        found = self._listeners.get(port)
        if found is None:
            raise ConnectionLost(1006, definite=True)
        server, accept = found
        ours, theirs = End(self, process), End(self, server)
        ours.other, theirs.other = theirs, ours
        for end in (ours, theirs):
            end.process.at_death.append(end.died)
        wire = self._wires.get((process.name, server.name))
        if wire is not None:
            crossing = wire.open()
            ours.over(crossing, UPSTREAM)
            theirs.over(crossing, DOWNSTREAM)
            crossing.pump()  # a toxic may end it before anything was said
        world.at(world.now + world.latency(process.name, server.name), self._accept, server, accept, theirs)
        return ours

    def _accept(self, server: Process, accept: Accept, link: End) -> None:
        if server.alive:
            server.loop.call_soon(lambda: server.spawn(accept(link), "link"))
