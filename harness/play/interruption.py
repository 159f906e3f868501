"""Runs to the end, or until SIGINT or SIGTERM: no process of ours is left in either case."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any, TypeVar

from lockjaw.errors import HarnessError, LocalError
from lockjaw.visible import tell

__all__ = ["interruptible", "run_to_the_end"]

T = TypeVar("T")


def run_to_the_end(work: Coroutine[Any, Any, list[T]]) -> list[T]:
    """Run to the end, or until SIGINT or SIGTERM; in both cases no process of ours is left when this returns."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        work.close()
        raise LocalError("an event loop is running here: await lockjaw.harness.run_async(...) instead")
    stopping = _Stopping()

    async def guarded() -> list[T]:
        with _stop_on_signals(stopping):
            return await work

    try:
        done = asyncio.run(guarded())
        if stopping.caught is None:
            return done
    except asyncio.CancelledError:
        if stopping.caught is None:
            raise
    except BaseExceptionGroup as group:
        failed = _first(group)
        if stopping.caught is None:
            raise failed from None
    if not stopping.in_simulation:
        tell(f"lockjaw: {stopping.caught.name}: every process of the run has been ended")
    if stopping.caught is signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + stopping.caught)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """A failure of the harness among several errors, else simply the first."""
    errors: list[BaseException] = []
    todo: list[BaseException] = [group]
    while todo:
        error = todo.pop(0)
        if isinstance(error, BaseExceptionGroup):
            todo.extend(error.exceptions)
        else:
            errors.append(error)
    return next((error for error in errors if isinstance(error, HarnessError)), errors[0])


class _Stopping:
    """The first SIGINT or SIGTERM, and whether a simulated run is going on, which no event loop can be asked to end."""

    def __init__(self) -> None:
        self.caught: signal.Signals | None = None
        self.in_simulation = False


_STOPPING: ContextVar[_Stopping] = ContextVar("stopping")


@contextmanager
def interruptible() -> Generator[None, None, None]:
    """Around a simulated run: a signal breaks into it, because it does not wait and has no processes to leave behind.

    The task is cancelled then, also where the run's own code has swallowed what the signal raised.
    """
    stopping = _STOPPING.get(None)
    if stopping is None:
        yield
        return
    if stopping.caught is not None:
        raise asyncio.CancelledError
    stopping.in_simulation = True
    try:
        yield
    except KeyboardInterrupt:
        if stopping.caught is None:
            raise
    finally:
        stopping.in_simulation = stopping.caught is not None
    if stopping.caught is not None:
        raise asyncio.CancelledError


@contextmanager
def _stop_on_signals(stopping: _Stopping) -> Generator[None, None, None]:
    """Cancel this task on the first SIGINT or SIGTERM. Later ones are ignored: what they ask for is under way, and
    breaking into it would leave processes behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def stop(number: int, frame: FrameType | None) -> None:
        if stopping.caught is None:
            stopping.caught = signal.Signals(number)
            if stopping.in_simulation:
                raise KeyboardInterrupt
            loop.call_soon_threadsafe(task.cancel)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    reset = _STOPPING.set(stopping)
    try:
        yield
    finally:
        _STOPPING.reset(reset)
        for number, handler in before.items():
            signal.signal(number, handler)
