"""One event loop per simulated process. It has no selector, no threads, and no time of its own.

The loop keeps its callbacks in order, first come first served, as asyncio promises; *when* they run is the world's
decision. What a loop cannot do here (sockets, subprocesses, executors, signals) raises ``SimulationEscape``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from .escapes import SimulationEscape

if TYPE_CHECKING:
    from .process import Process


GRAIN_S = 1e-9


def waited_s(delay_s: float) -> float:
    """How long a wait takes. One of a rounding error ends later than now, too: whoever waits in a loop until an
    instant has come would otherwise do so for ever."""
    return GRAIN_S if 0.0 < delay_s < GRAIN_S else delay_s


class SimHandle:
    """A callback that was asked for. Shaped like ``asyncio.TimerHandle``."""

    __slots__ = ("_args", "_callback", "_context", "_when")

    def __init__(
        self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context | None, when: float
    ) -> None:
        self._callback: Callable[..., Any] | None = callback
        self._args, self._context, self._when = args, context, when

    def cancel(self) -> None:
        self._callback = None
        self._args = ()

    def cancelled(self) -> bool:
        return self._callback is None

    def when(self) -> float:
        return self._when

    def run(self) -> None:
        callback = self._callback
        if callback is not None:
            context = self._context
            if context is None:
                callback(*self._args)
            else:
                context.run(callback, *self._args)


class SimFuture(asyncio.Future[Any]):
    """A future with a place of its own in sets, the same in each run: asyncio keeps what it waits for in sets."""

    number = 0  # given when somebody asks; few are asked

    def __hash__(self) -> int:
        if not self.number:
            self.number = self.get_loop().number()  # type: ignore[attr-defined]
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class SimTask(asyncio.Task[Any]):
    """As ``SimFuture``."""

    number = 0

    def __hash__(self) -> int:
        if not self.number:
            self.number = self.get_loop().number()  # type: ignore[attr-defined]
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class SimLoop(asyncio.AbstractEventLoop):
    """The loop of one process. ``ready`` holds what may run; ``born`` counts the tasks and futures in sets."""

    def __init__(self, process: Process) -> None:
        self.process, self.world = process, process.world
        self.ready: deque[SimHandle] = deque()
        self.born = self.tasks_made = 0
        self.tasks: list[SimTask] = []
        self._closed = False

    # ------------------------------------------------------------------ what asyncio asks of a loop

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        handle = SimHandle(callback, args, context if context is not None else copy_context(), 0.0)
        self.ready.append(handle)
        if not self.process.queued:
            self.world.has_work(self.process)
        return handle

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        return self.call_at(self.world.now + waited_s(delay), callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        handle = SimHandle(callback, args, context if context is not None else copy_context(), when)
        self.world.set_timer(when, self, handle)
        return handle

    def time(self) -> float:
        return self.world.now

    def create_future(self) -> SimFuture:
        return SimFuture(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None, **more: Any) -> Any:
        self.tasks_made += 1
        task = SimTask(coro, loop=self, name=name or f"task {self.tasks_made}", context=context)
        # asyncio keeps a weak set of the tasks of every loop there ever was. Ours are in ``tasks``; in that set their
        # numbers, which begin anew with each loop, would only collide.
        asyncio._unregister_task(task)
        self.tasks.append(task)
        return task

    def number(self) -> int:
        """For a task or a future of this loop."""
        self.born += 1
        return self.born

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.world.complain(self.process, context)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.world.complain(self.process, context)

    async def shutdown_asyncgens(self) -> None:
        return None

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        return None


def _escape(name: str, hint: str) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise SimulationEscape(f"loop.{name}", hint)

    return refuse


for _name, _hint in (
    ("run_in_executor", "threads do not exist here: do the work in the loop"),
    ("call_soon_threadsafe", "threads do not exist here: use call_soon"),
    ("create_connection", "use the injected transport (httpx transport, gateway dial)"),
    ("create_server", "use the injected listener (GatewayServer.serve_link)"),
    ("create_datagram_endpoint", "there is no network but gateway links and model calls"),
    ("subprocess_exec", "inject a tool that needs no subprocess"),
    ("subprocess_shell", "inject a tool that needs no subprocess"),
    ("connect_read_pipe", "there are no pipes"),
    ("connect_write_pipe", "there are no pipes"),
    ("add_reader", "there is no selector"),
    ("add_writer", "there is no selector"),
    ("add_signal_handler", "the nemesis ends simulated processes by Process.terminate and Process.kill"),
    ("getaddrinfo", "there is no name server"),
    ("sock_recv", "there are no sockets"),
    ("sock_sendall", "there are no sockets"),
    ("sock_connect", "there are no sockets"),
    ("sock_accept", "there are no sockets"),
):
    setattr(SimLoop, _name, _escape(_name, _hint))
