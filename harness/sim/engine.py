"""The simulation as the world of a run: actors are loops of one process, time is virtual.

A run is a function of scenario, policy, seed and choices: same arguments, same history to the last byte.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from lockjaw.errors import HarnessError
from lockjaw.history import Record
from lockjaw.runner.machine import Machine
from lockjaw.seeds import Seeds

from ..faults import Fault
from ..faults.base import Slot
from ..incident.actors import Caller, Scripted
from ..incident.links import Faulty
from ..incident.scenario import Scenario
from ..play.play import Play
from ..play.world import Job, Noted, Slack, Wait, Waits
from .escapes import one_at_a_time, sealed
from .log import Step
from .machine import STATE, Rig
from .process import HARNESS, Process, SimClock, SimRecorder
from .tape import Choice, Choices
from .world import World

__all__ = ["SimLived", "SimWorld", "enclosed", "run_sim"]

SETUP_S = 1.0
NEMESIS_LATE_S = 0.025  # per step of the choice how late the nemesis comes
BOOTS_S = (0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0)  # 0.3 real seconds and more, at the usual time scales
POLL_S = 0.5  # how often something that goes on beside the run is looked at
#: Runs in which a process died in mid-work leave cycles that an ordinary collection is slow to find.
COLLECT_EVERY = 50
_killed_runs = [0]
#: Virtual machines start at once, and are never busy; to end they may take a minute in all.
SLACK_S: dict[Slack, float] = {"": 0.0, "run": 0.0, "ready": 60.0, "stop": 50.0}


class InVain(HarnessError):
    """What a run waited for did not come. Fields: ``what`` did not, in which ``run``."""

    def __init__(self, what: str, run: str) -> None:
        self.what, self.run = what, run
        super().__init__(f"{what}: {run}")

    def __reduce__(self) -> tuple[type[InVain], tuple[str, str]]:
        return type(self), (self.what, self.run)

    @property
    def of_cast(self) -> bool:
        """It was to come from an actor that the scenario needs, and which a choice may have ended: the danger was not
        reached. What the client itself owes its user is something else."""
        return not self.what.startswith("the client")


@dataclass(frozen=True)
class SimLived:
    """What a simulated run hands back. ``nominal_s`` is the user's wait, ``simulated_s`` all of it."""

    history: list[Record]
    tape: list[Choice]
    nominal_s: float
    simulated_s: float
    never_due: tuple[Fault, ...]
    logs: dict[str, list[str]] = field(default_factory=dict)
    complaints: tuple[str, ...] = ()
    steps: int = 0
    log: tuple[Step, ...] = ()


class _Timeline:
    def __init__(self, world: World) -> None:
        self.world, self.at = world, world.at

    def now(self) -> float:
        return self.world.now

    def latency(self, client: str) -> float:
        return self.world.latency(client, "models")


def run_sim(
    scenario: Scenario,
    *,
    policy: str,
    seed: int,
    choices: Choices,
    coalesce_s: float = 0.0,
    prepare: Callable[[Rig], None] | None = None,
    progress: Callable[[Record], None] | None = None,
) -> SimLived:
    """Run a scenario once.

    Args:
        choices: where decisions come from; their tape is part of the result.
        coalesce_s: see ``MemoryModels``.
        prepare: may change the rig before the actors start (tests, contenders).

    Raises:
        ReplayDiverged: the choices were a tape that does not fit.
        SimulationEscape: code under simulation used the real machine.
        HarnessError: the run does not end.
    """
    simulation = World(choices)
    world = SimWorld(simulation, scenario, policy, seed, coalesce_s)
    play = Play(world, scenario, policy=policy, seed=seed, progress=progress)

    def work() -> None:
        if prepare is not None:
            prepare(world.rig)
        for wait in play.run():
            world.wait(wait)

    enclosed(simulation, work)
    choices.finish()
    return SimLived(
        simulation.history, choices.tape, play.client_ended_s, simulation.now, play.never_due, world.rig.logs,
        tuple(simulation.complaints), simulation.steps, tuple(simulation.log.steps),
    )  # fmt: skip


def enclosed(world: World, work: Callable[[], None]) -> None:
    """Do the work of a simulation with every way out sealed, and leave nothing of it behind.

    One simulation at a time in this process; one in another thread is waited for.

    Raises whatever broke the simulation, also when code under simulation had swallowed it.
    """
    with one_at_a_time:
        _enclosed(world, work)


def _enclosed(world: World, work: Callable[[], None]) -> None:
    def escaped(error: BaseException) -> None:
        world.broken = world.broken or error

    collecting, outer, hooks, unraisable = (
        gc.isenabled(), asyncio._get_running_loop(), sys.get_asyncgen_hooks(), sys.unraisablehook
    )  # fmt: skip
    asyncio._set_running_loop(None)
    # An abandoned async generator is dropped as it stands, and what the coroutines of the dead complain about while
    # they are dropped is not heard: their cleanup code does not run in the world.
    sys.set_asyncgen_hooks(firstiter=None, finalizer=lambda generator: None)
    gc.disable()  # when garbage is collected must not decide anything, and costs a fifth of the time
    try:
        with sealed(escaped):
            try:
                work()
            finally:
                world.on_record = None
                sys.unraisablehook = lambda unraisable: None
                _killed_runs[0] += world.bury()
    finally:
        if _killed_runs[0] >= COLLECT_EVERY:
            # After the seal: others are called back when garbage is collected, as Dask's monitor is, which opens files.
            _killed_runs[0] = 0
            gc.collect()
        sys.unraisablehook = unraisable
        asyncio._set_running_loop(outer)
        sys.set_asyncgen_hooks(*hooks)
        if collecting:
            gc.enable()
    if world.broken is not None:
        raise world.broken


class SimWorld(Noted):
    """``play.world.World`` on a simulation. ``rig`` builds the actors."""

    engine, scale, mends, state = "sim", 0.0, True, STATE

    def __init__(self, simulation: World, scenario: Scenario, policy: str, seed: int, coalesce_s: float = 0.0) -> None:
        from ...fakes.models.memory import MemoryModels  # whoever runs processes only does not need it

        super().__init__(scenario.faults)
        self._sim, self._scenario, self._policy = simulation, scenario, policy
        simulation.origin_s = SETUP_S
        simulation.on_record = self._recorded
        self.rig = Rig(simulation, scenario, policy, Seeds(seed).child("data"), seed)
        self._goes: dict[Process, Callable[[], None]] = {}
        self._harness = self.rig.process(HARNESS, HARNESS)
        self.recorder, self.clock = SimRecorder(self._harness), SimClock(self._harness)
        self._models = MemoryModels(
            scenario.script(), timeline=_Timeline(simulation), recorder=self.recorder, seed=seed, coalesce_s=coalesce_s
        )

    def _recorded(self, record: Record) -> None:
        self.on_record(record)

    # ----------------------------------------------------------------- time

    def wait(self, wait: Wait) -> None:
        """Let the simulation go on until a wait is over. Raises HarnessError if it was in vain."""
        if wait.done():
            return
        self._sim.run_patiently(self._sim.now + self._limit_s(wait), wait.done)
        if wait.otherwise and not wait.done():
            raise self.failure(self._in_vain(wait))

    def begin(self) -> None:
        for name, process in self._processes.items():
            if not process.alive:
                raise self.failure(f"the {name} ended before the client started")

    def now(self) -> float:
        return self._sim.now - SETUP_S

    def soon(self, act: Callable[[], None]) -> None:
        self._sim.at(self._sim.now, act)

    def at(self, when_s: float, act: Callable[[], None]) -> None:
        late_s = NEMESIS_LATE_S * self._sim.pick("the nemesis is late", 8)
        self._sim.at(max(self._sim.now, SETUP_S + when_s + late_s), act)

    def beside(self, waits: Waits) -> None:
        self._go_on(waits, None, 0.0)

    def _go_on(self, waits: Waits, wait: Wait | None, until_s: float) -> None:
        while wait is None or wait.done() or self._sim.now >= until_s:
            if wait is not None and wait.otherwise and not wait.done():
                raise self.failure(self._in_vain(wait))
            wait = next(waits, None)
            if wait is None:
                return
            until_s = self._sim.now + self._limit_s(wait)
        self._sim.at(min(until_s, self._sim.now + POLL_S), self._go_on, waits, wait, until_s)

    def work(self, coroutine: Coroutine[Any, Any, Any]) -> Job:
        asyncio._set_running_loop(self._harness.loop)
        try:
            job: Job = self._harness.spawn(coroutine, HARNESS)
            return job
        finally:
            asyncio._set_running_loop(None)

    @staticmethod
    def _limit_s(wait: Wait) -> float:
        return wait.limit_s + SLACK_S[wait.slack]

    def _in_vain(self, wait: Wait) -> str:
        return f"{wait.otherwise} within {self._limit_s(wait):.0f} nominal seconds"

    # ----------------------------------------------------------------- processes

    def start(self, name: str) -> Process:
        rig, cast = self.rig, self._scenario.cast
        go: Callable[[], None] | None = None
        role = self._scenario.role_of(name)
        if role == "models":
            process = rig.process(name, role)
            self._models.recorder = SimRecorder(process)
            self._models.restart()
            process.at_death.append(self._models.kill)
            process.stop = lambda: self._sim.kill(process, 0)
        elif role == "gateway":
            process = rig.gateway(self._models, name)
        elif isinstance(actor := cast.get(name), Scripted):
            former = None if actor.pid_of is None else self._processes.get(actor.pid_of)
            process, go = rig.scripted(name, actor, None if former is None else former.pid)
        else:
            process, go = rig.client(self._models, name, actor if isinstance(actor, Caller) else None)
        if go is not None:
            self._goes[process] = go
        self._processes[name] = process
        process.at_death.append(lambda: self._died(process))
        return process

    def _died(self, process: Process) -> None:
        """The harness sees it when nobody is in the middle of an operation."""
        self._sim.at(self._sim.now, self._see_end, process)

    def _see_end(self, process: Process) -> None:
        self._sim.reap(process)
        self.on_end(process)

    def boots_s(self) -> float:
        return BOOTS_S[self._sim.pick("a restart takes", len(BOOTS_S))]

    def ready(self, process: Process) -> bool:
        if not process.alive:
            raise self.failure(f"the {process.name} ended with code {process.code} before it was ready")
        return True

    def gone(self, process: Process) -> bool:
        return not (process.alive or process.zombie)

    def go(self, process: Process) -> None:
        self._went.append(process)
        self._goes[process]()

    def kill(self, process: Process) -> bool:
        return self._sim.kill(process)

    def stop(self, process: Process) -> bool:
        if process.alive:
            process.stop()
        return process.alive

    def pause(self, process: Process) -> bool:
        if process.name == "models":
            self._models.pause()
        return self._sim.pause(process)

    block = pause  # a loop that is not served is one that is busy, as seen from outside

    def resume(self, process: Process) -> bool:
        if process.name == "models":
            self._models.resume()
        return self._sim.resume(process)

    def held_up(self, process: Process) -> bool:
        return process.alive and process.paused

    def clear(self) -> None:
        return None  # a simulated process starts no others

    def slot(self, fault: Fault) -> Slot:
        return self.rig.slots[self.number_of(fault)]

    # ----------------------------------------------------------------- links and files

    def link(self, name: str) -> Faulty:
        return self.rig.wires[name]

    def machine(self) -> Machine:
        return self.rig.machine(self._harness)

    def files(self) -> list[str]:
        return sorted(path for path in self.rig.disk.names if path.startswith(f"{STATE}/agents/"))

    def ids(self, name: str) -> random.Random:
        return self.rig.ids(name)

    def identity(self, process: Process) -> tuple[int, int | None]:
        return process.pid, process.starttime

    def failure(self, what: str) -> HarnessError:
        return InVain(what, f"{self._scenario.name}, {self._policy}")
