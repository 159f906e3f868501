"""The machine and the process that a lock lives in: the one seam between ``SessionLock`` and the outside.

``THIS_HOST`` is the process that runs this code. The simulation makes one host for each of its processes, and
runs the same ``SessionLock`` in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from lockjaw.clock import Clock
from lockjaw.locking.drivers import run_async, run_blocking
from lockjaw.locking.identity import ProcessIdentity, this_process
from lockjaw.locking.kernel import Kernel
from lockjaw.locking.operations import Steps
from lockjaw.locking.paths import LockPaths
from lockjaw.locking.process_holds import PROCESS_HOLDS, ProcessHolds

T = TypeVar("T")


class Host(Protocol):
    """``straight``, ``run`` and ``run_async`` are drivers, as in ``drivers``; ``holds`` is what this process holds."""

    @property
    def holds(self) -> ProcessHolds: ...
    def process_id(self) -> int: ...
    def identity(self) -> ProcessIdentity: ...
    def paths(self, session_file: str | os.PathLike[str]) -> LockPaths: ...
    def straight(self, clock: Clock, run: Callable[..., T], *arguments: Any) -> T: ...
    def run(self, steps: Steps[T], clock: Clock) -> T: ...
    async def run_async(self, steps: Steps[T], clock: Clock, *, defer_cancel: bool = False) -> T: ...


class LocalHost:
    """This process on this machine. What every turn of a lock needs is here without a step in between."""

    holds = PROCESS_HOLDS
    process_id = staticmethod(os.getpid)
    identity = staticmethod(this_process)

    def paths(self, session_file: str | os.PathLike[str]) -> LockPaths:
        return LockPaths.of(session_file)

    def straight(self, clock: Clock, run: Callable[..., T], *arguments: Any) -> T:
        # Without the machinery around an algorithm: what its first step may spare.
        kernel = Kernel(clock)
        try:
            return run(kernel.calls, *arguments)
        except BaseException:
            kernel.abandon()
            raise

    def run(self, steps: Steps[T], clock: Clock) -> T:
        return run_blocking(steps, clock)

    async def run_async(self, steps: Steps[T], clock: Clock, *, defer_cancel: bool = False) -> T:
        return await run_async(steps, clock, defer_cancel=defer_cancel)


THIS_HOST: Host = LocalHost()
