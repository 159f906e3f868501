"""What every fake server needs around its sockets: a safe address to bind, and an end by signal."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from lockjaw.errors import LocalError

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
