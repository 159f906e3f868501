"""A simulated process as the code in it meets it: its identity and its loop, its clock, its recorder, its death."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lockjaw.history import Phase

from ..faults.base import ShortWrite
from ..faults.door import Door
from .loop import SimLoop

if TYPE_CHECKING:
    from .world import World

HARNESS = "harness"  # the role of the harness's own actor: no choice delays it, freezes it or kills it
TICKS_PER_S = 100
_IN_CONTAINERS = 1_000_000  # what the machine calls the processes of other namespaces: from here on


class Killed(BaseException):
    """The process is dead. Not an Exception: no handler of its own shall stop it."""


class Process:
    """One simulated process.

    ``zombie``: dead and not reaped yet. ``skew_s``: its wall clock is that far ahead. ``lag_s``: what it sees of files
    that others change may be that old. ``host_pid``: its number on the machine (namespace 1), from where the processes
    of all others, containers on it, are seen.
    """

    def __init__(self, world: World, name: str, role: str, pid: int, namespace: int) -> None:
        self.world, self.name, self.role, self.pid, self.namespace = world, name, role, pid, namespace
        self.host_pid = pid if namespace == 1 else _IN_CONTAINERS + len(world.processes)
        self.starttime = int(world.now * TICKS_PER_S) + pid
        self.alive, self.zombie, self.paused = True, False, False
        self.blocked = False  # inside a system call that has not ended
        self.returning = False  # its system call has ended, and it has not gone on yet
        self.spared = role == HARNESS
        self.stack: Any = None  # the greenlet that serves its loop; None: not served yet
        self.code: int | None = None
        self.skew_s = self.lag_s = 0.0
        self.queued = False
        self.loop = SimLoop(self)  # type: ignore[abstract]  # what it has not is added below its class, as escapes
        self.at_death: list[Callable[[], None]] = []
        self.stop: Callable[[], Any] = lambda: None  # SIGTERM
        self.labels: dict[tuple[str, str], str] = {}
        self.door: Door | None = None  # where the scenario's faults meet its operations
        self.part: ShortWrite | None = None  # how much of the write that is about to happen does

    def spawn(self, coro: Any, name: str) -> Any:
        """Start a task in this process."""
        return self.loop.create_task(coro, name=name)


class SimClock:
    """The clock of one process."""

    def __init__(self, process: Process) -> None:
        self._process, self._world = process, process.world

    def monotonic(self) -> float:
        return self._world.now

    def wall_ms(self) -> int:
        return self._world.wall_ms(self._process)

    def real_s(self, nominal_s: float) -> float:
        return nominal_s

    async def sleep(self, nominal_s: float) -> None:
        await asyncio.sleep(nominal_s if nominal_s > 0 else 0)

    def sleep_blocking(self, nominal_s: float) -> None:
        self._world.block(self._process, max(0.0, nominal_s))


class SimRecorder:
    """Writes what an actor records into the one history, in the order in which it happens."""

    def __init__(self, process: Process) -> None:
        self._process, self._world = process, process.world

    def record(self, op: str, phase: Phase = "info", /, **data: Any) -> None:
        if self._process.alive:
            self._world.record(self._process.name, op, phase, data)
