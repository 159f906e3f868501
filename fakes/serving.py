"""What fake servers share: a safe address to bind, start and stop, what did not go by the script, an end by signal.

``FakeServer`` is the base of all that listen, ``ScriptedServer`` of those that perform a script. It knows no protocol.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

from lockjaw.addresses import is_loopback
from lockjaw.errors import LocalError
from lockjaw.visible import tell

from .journal import Journal

__all__ = [
    "Acceptor",
    "FakeServer",
    "Ready",
    "ScriptedServer",
    "require_loopback",
    "serve",
]

# Of accept(): the client left before it was accepted, or we are out of descriptors for a while.
_PASSING = {errno.ECONNABORTED, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EPERM}
_BREATH_S = 0.1  # real
_KEPT_PROBLEMS = 1000

Ready = Callable[[int, int], None]
Listening = TypeVar("Listening")


def require_loopback(host: str, *, allow_remote: bool) -> None:
    """Refuse an address that other machines can reach, unless told otherwise: a fake has no authentication.

    Raises:
        LocalError: names the address and the way out.
    """
    if not is_loopback(host) and not allow_remote:
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


class FakeServer(ABC):
    """A server on one address. A fake says how it listens (``_listen``) and how it ends (``stop``).

    ``host`` and ``port`` are those that it listens on, or listened on last. As an async context manager it listens on
    a free port of 127.0.0.1.
    """

    host = ""
    port = 0
    _allow_remote = False

    async def start(self, host: str = "127.0.0.1", port: int = 0, *, allow_remote: bool = False) -> int:
        """Listen; returns the bound port.

        Raises:
            LocalError: the port is taken, or the address is not loopback and ``allow_remote`` is not set.
        """
        require_loopback(host, allow_remote=allow_remote)
        self._allow_remote = allow_remote
        self.port = await bind(lambda: self._listen(host, port), host, port)
        self.host = host
        return self.port

    @abstractmethod
    async def _listen(self, host: str, port: int) -> int:
        """Listen; returns the bound port. Raises OSError, as the system says it."""

    @abstractmethod
    async def stop(self) -> None:
        """Listen no more, drop every connection, close the journal. Idempotent."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def address(self) -> str:
        """``127.0.0.1:41234`` or ``[::1]:41234``."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ScriptedServer(FakeServer):
    """A server that performs a script, and keeps what did not go by it.

    ``title`` is what people are told it is. ``on_problem`` is called with each problem when it comes.
    """

    title: str

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.on_problem: Callable[[str], None] | None = None
        self._problems: list[str] = []

    def note(self, text: str, *, about: str = "", **more: object) -> None:
        """Keep and journal a problem. ``about``: the request that had it; ``more``: fields of the journal's entry."""
        if len(self._problems) < _KEPT_PROBLEMS:
            self._problems.append(f"{about}: {text}" if about else text)
        self.journal.write("error", error=text, **more)
        if self.on_problem is not None:
            self.on_problem(text)

    @abstractmethod
    def unmet(self) -> list[str]:
        """The expectations of the script that have not come true, one sentence each."""

    @abstractmethod
    def unused(self) -> list[str]:
        """The steps that were used less often than the script says, one sentence each."""

    def verify(self, *, strict: bool = False) -> list[str]:
        """What did not go by the script, one sentence each; empty: all is well. Unexpected requests come first, then
        the expectations that were not met.

        Args:
            strict: also list the steps that were used less often than the script says, whether it expects that or not.
        """
        return [*self._problems, *dict.fromkeys((*self.unmet(), *(self.unused() if strict else ())))]


class Acceptor:
    """Listens, and gives each connection to a protocol of its own.

    asyncio's own server may be closed between accepting a connection and making its transport; then nobody closes
    that connection (CPython 3.11 and 3.12). Here one task accepts, and closing waits for it.
    """

    def __init__(self, factory: Callable[[], asyncio.BaseProtocol]) -> None:
        self._factory = factory
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int, *, backlog: int) -> int:
        """Listen; returns the bound port. Raises OSError, as the system says it."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        self._socket = socket.create_server(address[:2], family=family, backlog=backlog)
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


async def serve(
    server: FakeServer,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    allow_remote: bool = False,
    ready: Ready | None = None,
    say_problem: Callable[[str], None] = tell,
) -> list[str]:
    """Serve until SIGTERM or SIGINT, and stop in order; then return what ``verify`` of a scripted server has to say.

    Cancelling stops the server too. Must run in the main thread.

    Args:
        ready: told ``(pid, port)`` once the server listens and signals end it in order.
        say_problem: told of each unexpected request when it comes, and at the end of what is still missing.

    Raises:
        LocalError: the address cannot be bound.
    """
    scripted = server if isinstance(server, ScriptedServer) else None
    if scripted is not None:
        scripted.on_problem = lambda text: say_problem(f"{scripted.title}: {text}")
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
    return [] if scripted is None else _account(scripted, say_problem)


def _account(server: ScriptedServer, say_problem: Callable[[str], None]) -> list[str]:
    """Say at the end what is still missing. -> what ``verify`` has to say."""
    unmet = server.unmet()
    for problem in unmet:
        say_problem(f"{server.title}: {problem}")
    for step in server.unused():
        if step not in unmet:
            say_problem(f"{server.title}: not used: {step}")
    return server.verify()
