"""What a run needs of the world that it happens in: processes, time, links, files. Nothing here knows how.

A world is an adapter on what there is: the simulation, this machine's processes, programs of other people. ``play``
says what happens in which order; a world does it, reports what its processes record, and waits. How to write one:
``docs/how-to/add-a-world.md``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Generator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from lockjaw.clock import Clock
from lockjaw.errors import HarnessError
from lockjaw.history import Record, Recorder
from lockjaw.runner.machine import Machine

from ..faults.base import Fault, Slot
from ..incident.links import Faulty

__all__ = ["Job", "Noted", "Process", "Slack", "Wait", "Waits", "World"]

HARNESS = "harness"  # the actor that records what the run itself does
#: What the machine may need beside the nominal limit of a wait: to start programs, to end them, to run a scenario.
Slack = Literal["ready", "stop", "run", ""]


class Wait(msgspec.Struct, frozen=True):
    """The run goes on when ``done()`` is true, or when ``limit_s`` nominal seconds (and the world's slack) have passed.

    ``otherwise``: what did not happen within the limit, which is then a failure of the harness; empty: that is fine.
    """

    done: Callable[[], bool]
    limit_s: float = 0.0
    slack: Slack = ""
    otherwise: str = ""


Waits = Generator[Wait, None, None]


class Process(Protocol):
    """One process of an actor. ``code`` is None while it lives; below 0: ended by that signal."""

    @property
    def name(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def pid(self) -> int: ...
    @property
    def alive(self) -> bool: ...
    @property
    def code(self) -> int | None: ...


class Job(Protocol):
    """Work of the harness itself that goes on while a run waits. ``result`` raises what the work raised."""

    def done(self) -> bool: ...
    def result(self) -> Any: ...


class World(Protocol):
    """Where a run happens. Times are nominal seconds after ``begin``; before it they are negative or mean nothing.

    Attributes:
        engine: what reports call it.
        scale: real seconds per nominal second; 0: no real time passes.
        mends: the programs are Lockjaw's own, so that the next turn mends what a killed writer has left.
        state: the state folder of the programs; ``clock`` and ``machine`` are the harness's own way to it.
        recorder: writes the harness's records into the history.
        on_record, on_end: called with each record, and once with each process that has ended.
        restarting: actors whose process ends to begin again; who restarts them keeps it true.
    """

    on_record: Callable[[Record], None]
    on_end: Callable[[Any], None]
    restarting: list[str]

    @property
    def engine(self) -> str: ...
    @property
    def scale(self) -> float: ...
    @property
    def mends(self) -> bool: ...
    @property
    def state(self) -> Path: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def recorder(self) -> Recorder: ...

    # ----------------------------------------------------------------- time

    def begin(self) -> None:
        """This is second 0. Raises HarnessError if a process has ended already."""

    def now(self) -> float: ...

    def soon(self, act: Callable[[], None]) -> None:
        """Act at this instant, but when no process is in the middle of an operation."""

    def at(self, when_s: float, act: Callable[[], None]) -> None:
        """Act at an instant or a little later, never earlier: the nemesis is a process like others."""

    def beside(self, waits: Waits) -> None:
        """Go through these waits while the run goes on; up to the first one now."""

    def work(self, coroutine: Coroutine[Any, Any, Any]) -> Job:
        """Begin work of the harness."""

    # ----------------------------------------------------------------- processes

    def start(self, name: str) -> Process:
        """Start an actor's process, whose predecessor has ended if there was one. It waits for ``go``, if its role
        does."""

    def process(self, name: str) -> Process:
        """The newest process of an actor. Raises KeyError if it was never started."""

    def boots_s(self) -> float:
        """What a process needs before it is up again, where starting one takes no time by itself."""

    def ready(self, process: Any) -> bool:
        """It can be used. Raises HarnessError if it has ended instead."""

    def gone(self, process: Any) -> bool:
        """It has ended, and ``on_end`` was called."""

    def go(self, process: Any) -> None:
        """A process that waits begins. (Without effect on one that has ended.)"""

    def went(self, process: Any) -> bool:
        """It was told to go."""

    def kill(self, process: Any) -> bool:
        """End it at once (SIGKILL). False, as of all the following: it has ended already."""

    def stop(self, process: Any) -> bool:
        """Ask it to end (SIGTERM), which may take its time."""

    def pause(self, process: Any) -> bool: ...

    def block(self, process: Any) -> bool:
        """Its event loop is busy: the process runs, and nothing in it gets on."""

    def resume(self, process: Any) -> bool:
        """End a pause or a block."""

    def held_up(self, process: Any) -> bool:
        """It is paused or blocked."""

    def slot(self, fault: Fault) -> Slot:
        """What a fault of the scenario remembers; the processes that it strikes from within see the same."""

    def clear(self) -> None:
        """Every actor has ended: end what they have left running, and record it as ``leftover``."""

    # ----------------------------------------------------------------- links and files

    def link(self, name: str) -> Faulty: ...

    def machine(self) -> Machine: ...

    def files(self) -> list[str]:
        """The paths of all files in the sessions folders, sorted."""

    def ids(self, name: str) -> random.Random:
        """A stream of random ids, by the run's seed."""

    def identity(self, process: Any) -> tuple[int, int | None]:
        """What a lock file says about a process: its pid and its start time."""

    def failure(self, what: str) -> HarnessError:
        """The error that says so, with what helps to find out why (the ends of the logs)."""


class Noted:
    """What every world keeps of a run in the same way: a base for worlds, which note a process when they start it and
    when they let it go."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.on_record: Callable[[Record], None] = lambda record: None
        self.on_end: Callable[[Any], None] = lambda process: None
        self.restarting: list[str] = []
        self._faults = faults
        self._processes: dict[str, Any] = {}  # the newest of each actor
        self._went: list[Any] = []

    def process(self, name: str) -> Any:
        return self._processes[name]

    def went(self, process: Any) -> bool:
        return process in self._went

    def number_of(self, fault: Fault) -> int:
        """Its place among the scenario's faults, by which its slot is found: two of them may be equal."""
        return next(n for n, one in enumerate(self._faults) if one is fault)
