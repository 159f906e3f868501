"""The nemesis of a run: performs the faults that are due, heals those whose time is over, gives actors their cues."""

from __future__ import annotations

from lockjaw.history import Record
from lockjaw.seeds import Seeds

from ..faults import Fault
from ..faults.base import AtOperation
from ..incident.scenario import Scenario
from .processes import comes_up
from .schedule import SAME_INSTANT_S, Schedule
from .world import Process, Waits, World


class Nemesis:
    """Acts between ``begin`` and ``end``."""

    def __init__(self, world: World, scenario: Scenario, seed: int) -> None:
        self._world = world
        seeds = Seeds(seed).child("nemesis")
        due = [fault for fault in scenario.faults if not isinstance(fault, AtOperation) or fault.before is None]
        self._faults = Schedule([(fault, (fault, False)) for fault in due], seeds.stream("jitter"))
        cast = scenario.cast
        cued = [(actor.start, name) for name, actor in cast.items() if name not in scenario.servers]
        self._cues = Schedule(cued, seeds.stream("cues"))
        self._planned = bool(scenario.faults or scenario.actors)
        self._acts = False
        self._timer_s: float | None = None

    @property
    def never_due(self) -> tuple[Fault, ...]:
        """The scenario's faults that it never came to. What heals one is none of them, and a fault at an operation that
        the policy's programs do not perform is none that the run had to reach: see ``sometimes``."""
        return tuple(fault for fault, _ in self._faults.never_due())

    def begin(self) -> None:
        self._acts = True
        self._arm()

    def end(self) -> None:
        self._acts = False

    def idle(self) -> bool:
        """Nothing is due, and nothing is under way."""
        return not self._world.restarting and not self._due(self._world.now())

    @property
    def expects_something(self) -> bool:
        """Something is under way, or due at a time that is known."""
        return bool(self._world.restarting) or self._next_due() is not None

    # ----------------------------------------------------------------- when

    def observe(self, record: Record) -> None:
        if self._acts and self._planned:
            self._faults.observe(record)
            self._cues.observe(record)
            self._arm()

    def _next_due(self) -> float | None:
        return min((t for t in (self._faults.next_due(), self._cues.next_due()) if t is not None), default=None)

    def _due(self, now: float) -> bool:
        due = self._next_due() if self._planned else None
        return due is not None and due <= now + SAME_INSTANT_S

    def _arm(self) -> None:
        due = self._next_due() if self._planned else None
        if due is not None and (self._timer_s is None or due < self._timer_s):
            self._timer_s = due
            self._world.at(due, self._strike)

    def _strike(self) -> None:
        self._timer_s = None
        if not self._acts:
            return
        now = self._world.now()
        for name in self._cues.take_due(now):
            self._cue(name)
        for fault, heals in self._faults.take_due(now):
            self._perform(fault, heals)
        self._arm()

    # ----------------------------------------------------------------- what

    def _cue(self, name: str) -> None:
        world = self._world
        try:
            process = world.process(name)
        except KeyError:
            process = world.start(name)
            world.beside(_goes_when_up(world, process))
        else:
            world.go(process)

    def _perform(self, fault: Fault, heals: bool) -> None:
        if heals:
            fault.heal(self._world)
        elif fault.strike(self._world) and fault.for_s is not None:
            self._faults.add(self._world.now() + fault.for_s, (fault, True))


def _goes_when_up(world: World, process: Process) -> Waits:
    yield from comes_up(world, process)
    world.go(process)
