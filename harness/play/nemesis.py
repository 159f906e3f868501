"""The nemesis of a run: performs the faults that are due, heals those whose time is over, gives actors their cues."""

from __future__ import annotations

from msgspec.structs import replace

from lockjaw.errors import LocalError
from lockjaw.history import Record
from lockjaw.seeds import Seeds

from ..faults.nemesis import LINK_ACTIONS, Cue, Fault, Schedule, scheduled
from ..incident.links import act
from ..incident.scenario import Scenario
from .processes import bring_up, comes_up, see_off
from .world import Process, Waits, World

ROUNDING_S = 1e-6  # between when something is due and the instant at which a world calls back


class Nemesis:
    """Acts between ``begin`` and ``end``."""

    def __init__(self, world: World, scenario: Scenario, seed: int) -> None:
        self._world = world
        seeds = Seeds(seed).child("nemesis")
        self._faults = Schedule(scheduled(scenario.faults), seeds.stream("jitter"))
        cast = scenario.cast
        self._cues = Schedule([Cue.of(name, actor) for name, actor in cast.items()], seeds.stream("cues"))
        self._planned = bool(scenario.faults or scenario.actors)
        self._acts = False
        self._timer_s: float | None = None
        self._restarting: list[str] = []

    @property
    def never_due(self) -> tuple[Fault, ...]:
        """The scenario's faults that it never came to. What heals one is none of them, and a fault at an operation that
        the policy's programs do not perform is none that the run had to reach: see ``sometimes``."""
        return self._faults.never_due()

    def begin(self) -> None:
        self._acts = True
        self._arm()

    def end(self) -> None:
        self._acts = False

    def idle(self) -> bool:
        """Nothing is due, and nothing is under way."""
        return not self._restarting and not self._due(self._world.now())

    @property
    def expects_something(self) -> bool:
        """Something is under way, or due at a time that is known."""
        return bool(self._restarting) or self._next_due() is not None

    def restarts(self, name: str) -> bool:
        """The actor is being restarted."""
        return name in self._restarting

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
        return due is not None and due <= now + ROUNDING_S

    def _arm(self) -> None:
        due = self._next_due() if self._planned else None
        if due is not None and (self._timer_s is None or due < self._timer_s):
            self._timer_s = due
            self._world.at(due, self._strike)

    def _strike(self) -> None:
        self._timer_s = None
        if not self._acts:
            return
        now = self._world.now() + ROUNDING_S
        for cue in self._cues.take_due(now):
            self._cue(cue.name)
        for fault in self._faults.take_due(now):
            self._perform(fault)
        self._arm()

    def _cue(self, name: str) -> None:
        world = self._world
        try:
            process = world.process(name)
        except KeyError:
            process = world.start(name)
            world.beside(_goes_when_up(world, process))
        else:
            world.go(process)

    # ----------------------------------------------------------------- what

    def _perform(self, fault: Fault) -> None:
        """Act, and record it on the right side of its effects: what stops a process is recorded after the act, so that
        nothing the process still did stands behind it; what sets one in motion is recorded before it moves."""
        world = self._world
        if fault.action in LINK_ACTIONS:
            self._on_link(fault)
            self._heal_later(fault)
            return
        process = world.process(fault.target)
        if fault.action in ("kill", "pause", "block"):
            happened = getattr(world, fault.action)(process)
            self._record(fault, process, happened)
            if happened:
                self._heal_later(fault)
        elif fault.action == "restart" or process.alive:
            self._record(fault, process, True)
            if fault.action == "restart":
                world.beside(self._restart(process))
            elif fault.action == "terminate":
                world.stop(process)
            else:
                getattr(world, fault.action)(process, *(() if fault.by_s is None else (fault.by_s,)))
                self._heal_later(fault)
        else:
            self._record(fault, process, False)

    def _heal_later(self, fault: Fault) -> None:
        if fault.heals is not None and fault.for_s is not None:
            self._faults.add(replace(fault.heals, at_s=self._world.now() + fault.for_s))

    def _record(self, fault: Fault, process: Process, happened: bool) -> None:
        why = {} if happened else {"error": "it had ended already"}
        data = {"action": fault.action, "target": process.name, "pid": process.pid, **why}
        self._world.recorder.record("nemesis", "info" if happened else "fail", **data)

    def _on_link(self, fault: Fault) -> None:
        """Recorded before bytes move because of it."""
        data = {"action": fault.action, "target": fault.target, "toxic": fault.toxic_name, "for_s": fault.for_s}
        data = {key: value for key, value in data.items() if value is not None}
        self._world.recorder.record("nemesis", **data)
        try:
            act(self._world.link(fault.target), fault.action, fault.toxic)
        except LocalError as error:
            self._world.recorder.record("nemesis", "fail", **data, error=str(error))

    def _restart(self, process: Process) -> Waits:
        """End it in good order if it still runs, then start it again; one that had begun begins again."""
        world, name = self._world, process.name
        self._restarting.append(name)
        went = world.went(process)
        if process.alive:
            world.resume(process)
            world.stop(process)
            yield from see_off(world, process)
        successor = yield from bring_up(world, name)
        if went:
            world.go(successor)
        self._restarting.remove(name)


def _goes_when_up(world: World, process: Process) -> Waits:
    yield from comes_up(world, process)
    world.go(process)
