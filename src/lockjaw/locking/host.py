"""The machine and the process that a lock lives in: the one seam between ``SessionLock`` and the outside.

``THIS_HOST`` is the process that runs this code. The simulation makes one host for each of its processes, and
runs the same ``SessionLock`` in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol, TypeVar, TypeVarTuple

from lockjaw.clock import Clock
from lockjaw.locking.drivers import run_async, run_blocking
from lockjaw.locking.identity import ProcessIdentity, this_process
from lockjaw.locking.kernel import Kernel
from lockjaw.locking.operations import Calls, Steps
from lockjaw.locking.paths import LockPaths
from lockjaw.locking.process_holds import PROCESS_HOLDS, ProcessHolds

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Host(Protocol):
    """What a lock needs of its process. Each algorithm is given the ``Calls`` of this host, then the arguments."""

    @property
    def holds(self) -> ProcessHolds:
        """What this process holds."""

    def process_id(self) -> int: ...
    def identity(self) -> ProcessIdentity: ...
    def paths(self, session_file: str | os.PathLike[str]) -> LockPaths: ...
    def call(self, clock: Clock, function: Callable[[Calls, *Ts], T], *args: *Ts) -> T:
        """Run what never waits."""

    def run(self, clock: Clock, algorithm: Callable[[Calls, *Ts], Steps[T]], *args: *Ts) -> T:
        """Run an algorithm to its end in this thread."""

    async def run_async(self, clock: Clock, algorithm: Callable[[Calls, *Ts], Steps[T]], *args: *Ts) -> T:
        """The same as part of this task. Cancelling throws into the algorithm, which leaves no trace."""

    async def run_to_end(self, clock: Clock, algorithm: Callable[[Calls, *Ts], Steps[T]], *args: *Ts) -> T:
        """As ``run_async``; a cancellation waits until the algorithm has ended."""


class LocalHost:
    """This process on this machine.

    Attributes:
        kernel: makes the calls of one run, on a clock.
    """

    holds = PROCESS_HOLDS
    process_id = staticmethod(os.getpid)
    identity = staticmethod(this_process)

    def __init__(self) -> None:
        self.kernel: Callable[[Clock], Kernel] = Kernel

    def paths(self, session_file: str | os.PathLike[str]) -> LockPaths:
        return LockPaths.of(session_file)

    def call(self, clock: Clock, function: Callable[[Calls, *Ts], T], *args: *Ts) -> T:
        kernel = self.kernel(clock)
        try:
            return function(kernel, *args)
        except BaseException:
            kernel.abandon()
            raise

    def run(self, clock: Clock, algorithm: Callable[[Calls, *Ts], Steps[T]], *args: *Ts) -> T:
        kernel = self.kernel(clock)
        return run_blocking(algorithm(kernel, *args), kernel)

    async def run_async(self, clock: Clock, algorithm: Callable[[Calls, *Ts], Steps[T]], *args: *Ts) -> T:
        kernel = self.kernel(clock)
        return await run_async(algorithm(kernel, *args), kernel)

    async def run_to_end(self, clock: Clock, algorithm: Callable[[Calls, *Ts], Steps[T]], *args: *Ts) -> T:
        kernel = self.kernel(clock)
        return await run_async(algorithm(kernel, *args), kernel, defer_cancel=True)


THIS_HOST = LocalHost()
