"""What every fake server needs around its sockets: a safe address to bind, and an end by signal."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from lockjaw.errors import LocalError

# Of accept(): the client left before it was accepted, or we are out of descriptors for a while.
_PASSING = {errno.ECONNABORTED, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EPERM}
_BREATH_S = 0.1  # real

Ready = Callable[[int, int], None]
Listening = TypeVar("Listening")


class Server(Protocol):
    async def start(self, host: str = ..., port: int = ..., *, allow_remote: bool = ...) -> int: ...
    async def stop(self) -> None: ...


def require_loopback(host: str, *, allow_remote: bool) -> None:
    """Refuse an address that other machines can reach, unless told otherwise: a fake has no authentication.

    Raises:
        LocalError: names the address and the way out.
    """
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback and not allow_remote:
        raise LocalError(
            f"{host} is not a loopback address, and a fake answers anyone who can reach it; "
            "bind 127.0.0.1, or allow remote clients on purpose (--allow-remote)"
        )


async def bind(listen: Callable[[], Awaitable[Listening]], host: str, port: int) -> Listening:
    """Listen, or say in the user's words why not.

    Raises:
        LocalError: the port is taken, or the address is not one of this machine.
    """
    try:
        return await listen()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            text = f"port {port} on {host} is taken; end the program that listens there, or use port 0 for a free one"
        else:
            text = f"cannot listen on {host}:{port}: {error}"
        raise LocalError(text) from error


class Acceptor:
    """Listens, and gives each connection to a protocol of its own.

    asyncio's own server may be closed between accepting a connection and making its transport; then nobody closes
    that connection (CPython 3.11 and 3.12). Here one task accepts, and closing waits for it.
    """

    def __init__(self, factory: Callable[[], asyncio.BaseProtocol]) -> None:
        self._factory = factory
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int, *, backlog: int, share_port: bool = False) -> int:
        """Listen; returns the bound port. ``share_port``: other processes may listen on it too (SO_REUSEPORT).

        Raises:
            OSError: as the system says it.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        self._socket = socket.create_server(address[:2], family=family, backlog=backlog, reuse_port=share_port)
        self._socket.setblocking(False)
        self._task = asyncio.create_task(self._accept(self._socket), name="accept")
        bound: int = self._socket.getsockname()[1]
        return bound

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listening)
            except OSError as error:
                if error.errno not in _PASSING:
                    raise
                await asyncio.sleep(_BREATH_S)
                continue
            made = asyncio.ensure_future(loop.connect_accepted_socket(self._factory, accepted))
            try:
                await asyncio.shield(made)
            except asyncio.CancelledError:
                await made  # in a turn or two of the loop; afterwards the protocol knows its transport
                raise
            except OSError:
                accepted.close()  # reset before it began

    async def close(self) -> None:
        """Listen no more. Every connection that was accepted has had its ``connection_made``. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()
            self._socket = None


async def serve_until_signal(
    server: Server, host: str, port: int, *, allow_remote: bool, ready: Ready | None = None
) -> None:
    """Start, tell ``ready(pid, port)``, and stop in order on SIGTERM or SIGINT (then this returns).

    Cancelling stops the server too. Must run in the main thread.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    signals = (signal.SIGTERM, signal.SIGINT)
    # Before ready is told: whoever hears "ready" may send the signal in the next instant.
    for number in signals:
        loop.add_signal_handler(number, ended.set)
    try:
        bound = await server.start(host, port, allow_remote=allow_remote)
        if ready is not None:
            ready(os.getpid(), bound)
        await ended.wait()
    finally:
        await server.stop()
        for number in signals:
            loop.remove_signal_handler(number)
