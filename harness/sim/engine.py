"""One scenario in virtual time. The phases are the real engine's; the actors are loops of one world.

A run is a function of scenario, policy, seed and choices: same arguments, same history to the last byte.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.errors import HarnessError
from lockjaw.history import Record
from lockjaw.locking import HeldLock
from lockjaw.seeds import Seeds
from lockjaw.sessions import SessionStore, Transcript

from ..faults.nemesis import LINK_ACTIONS, Cue, Fault, Schedule, scheduled
from ..incident.actors import Caller
from ..incident.links import perform
from ..incident.scenario import Scenario
from ..play.opening import stage
from ..real.aftermath import (
    record_keys,
    record_ledger,
    record_lock,
    record_transcript,
    try_next_turn,
    unlocked,
)
from .escapes import sealed
from .machine import STATE, Rig
from .tape import Choice, Choices
from .world import HARNESS, Process, SimClock, SimRecorder, World

MODELS_MODULE = "lockjaw.fakes.models.memory"  # named as data: harness and fakes are siblings
SETUP_S = 1.0
NEMESIS_LATE_S = 0.025  # per step of the choice how late the nemesis comes
#: Runs in which a process died in mid-work leave cycles that an ordinary collection is slow to find.
COLLECT_EVERY = 50
_killed_runs = [0]
STOP_S = 60.0  # from SIGTERM to SIGKILL


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
    world = World(choices)
    live = _Live(world, scenario, policy, seed, coalesce_s, progress)

    def work() -> None:
        if prepare is not None:
            prepare(live.rig)
        live.play()

    enclosed(world, work)
    choices.finish()
    return SimLived(
        world.history, choices.tape, live.client_ended_s, world.now, live.never_due(), live.rig.logs,
        tuple(world.complaints), world.steps,
    )  # fmt: skip


def enclosed(world: World, work: Callable[[], None]) -> None:
    """Do the work of a simulation with every way out sealed, and leave nothing of it behind.

    Raises whatever broke the simulation, also when code under simulation had swallowed it.
    """

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
                if world.bury():
                    _killed_runs[0] += 1
                    if _killed_runs[0] % COLLECT_EVERY == 0:
                        gc.collect()
    finally:
        sys.unraisablehook = unraisable
        asyncio._set_running_loop(outer)
        sys.set_asyncgen_hooks(*hooks)
        if collecting:
            gc.enable()
    if world.broken is not None:
        raise world.broken


class _Live:
    """The run while it goes on."""

    def __init__(
        self,
        world: World,
        scenario: Scenario,
        policy: str,
        seed: int,
        coalesce_s: float,
        progress: Callable[[Record], None] | None,
    ) -> None:
        self.world, self.scenario, self.policy, self.seed = world, scenario, policy, seed
        self._progress = progress
        seeds = Seeds(seed).child("data")
        self.rig = Rig(world, scenario, policy, seeds, seed)
        nemesis = Seeds(seed).child("nemesis")
        self.schedule = Schedule(scheduled(scenario.faults), nemesis.stream("jitter"))
        self._cast = scenario.cast
        self._cues = Schedule([Cue.of(name, actor) for name, actor in self._cast.items()], nemesis.stream("cues"))
        self._goes: dict[str, Callable[[], None]] = {}
        self.client_ended_s = 0.0
        self._open_runs: dict[str, None] = {}
        self._told = False
        self._ask: Callable[[], None] | None = None
        self._nemesis_acts = False
        self._nemesis_timer: float | None = None
        self._harness = self.rig.process(HARNESS, HARNESS)
        self._recorder = SimRecorder(self._harness)
        self._planned = bool(scenario.faults or scenario.actors)
        self._processes: dict[str, Process] = {}
        self._stop_gateway: Any = None
        self._models_process = self.rig.process("models", "models")
        module = importlib.import_module(MODELS_MODULE)
        self._models: Any = module.MemoryModels(
            scenario.script(), timeline=_Timeline(world), recorder=SimRecorder(self._models_process), seed=seed,
            coalesce_s=coalesce_s,
        )  # fmt: skip

    # ------------------------------------------------------------------ phases

    def play(self) -> None:
        world = self.world
        world.origin_s = SETUP_S
        self._ready(self._models_process)
        gateway = self._start_gateway()
        client, go = self.rig.client(self._models, lambda outcome: None)
        self._processes["client"] = client
        self._ready(client)
        for name, actor in self._cast.items():
            if actor.pid_of is None:
                self._enter(name)
        world.run(SETUP_S)
        if self.scenario.staged:
            self._set_stage()
        self._recorder.record(
            "run.start", scenario=self.scenario.name, policy=self.policy, seed=self.seed, engine="sim", scale=0.0
        )
        world.on_record = self._observe
        self._nemesis_acts = True
        self._arm_nemesis()
        limit_s = SETUP_S + self.scenario.run_limit_s
        if self.scenario.asks_when is None:
            go()
        else:
            self._ask = go
            self._until(lambda: self._ask is None, limit_s, "what the client waits for did not happen")
        self._until(lambda: self._told or not client.alive, limit_s, "the client did not end")
        if not self._told:
            self.client_ended_s = round(world.now - SETUP_S, 3)
        self._until(self._cast_ended, limit_s, "an actor did not end", fatal=False)
        self._settle()
        self._nemesis_acts = False
        for name in self._cast:
            self._dismiss(name)
        gateway = self._processes["gateway"]
        self._end(gateway, self._stop_gateway)
        self._reap(gateway)
        self._until(lambda: not client.alive, world.now + STOP_S, "", fatal=False)
        if client.alive:
            self._force(client)
        self._reap(client)
        world.kill(self._models_process, 0)
        self._models.kill()
        self._reap(self._models_process)
        self._aftermath()
        self._recorder.record("run.end", reason="done")

    def never_due(self) -> tuple[Fault, ...]:
        """The scenario's faults that this run never reached."""
        known = set(map(id, self.scenario.faults))
        missed = [fault for fault in self.schedule.never_due() if id(fault) in known]
        # A fault that the target's algorithm has no place for is none that the run had to reach: see `sometimes`.
        return tuple(missed)

    def _start_gateway(self) -> Process:
        process, stop = self.rig.gateway(self._models)

        def terminate() -> None:
            process.loop.call_soon(stop.set)

        process.stop = terminate
        self._stop_gateway = terminate
        self._processes["gateway"] = process
        self._ready(process)
        return process

    # ------------------------------------------------------------------ the cast

    def _enter(self, name: str) -> None:
        """Start an actor's process; it waits for its cue."""
        actor = self._cast[name]
        if isinstance(actor, Caller):
            process, go = self.rig.client(self._models, lambda outcome: None, name, actor)
        else:
            former = None if actor.pid_of is None else self._processes.get(actor.pid_of)
            if former is not None:
                self.world.reap(former)
            process, go = self.rig.scripted(name, actor, None if former is None else former.pid)
        self._processes[name], self._goes[name] = process, go
        self._ready(process)

    def _cast_ended(self) -> bool:
        waited = [name for name, actor in self._cast.items() if actor.awaited]
        return all(name in self._processes and not self._processes[name].alive for name in waited)

    def _dismiss(self, name: str) -> None:
        process = self._processes.get(name)
        if process is not None:
            self._end(process, process.stop)
            self._reap(process)

    def _set_stage(self) -> None:
        machine = self.rig.machine(self._harness)

        def identity(name: str) -> tuple[int, int | None]:
            process = self._processes[name]
            return process.pid, process.starttime

        work = stage(
            self.scenario.initial, state_dir=STATE, clock=SimClock(self._harness), ids=self.rig.ids("stage"),
            machine=machine, identity=identity,
        )  # fmt: skip
        asyncio._set_running_loop(self._harness.loop)
        try:
            task = self._harness.spawn(work, "stage")
        finally:
            asyncio._set_running_loop(None)
        self._until(task.done, self.world.now + 60.0, "the stage was not set")
        path = task.result()
        self._recorder.record("stage", "info", path=str(path), entries=2 * self.scenario.initial.turns)

    def _ready(self, process: Process) -> None:
        self._recorder.record("actor.ready", role=process.role, pid=process.pid, actor=process.name)

    def _settle(self) -> None:
        gateway = self._processes["gateway"]
        until = self.world.now + self.scenario.settle_s
        if self.scenario.settle_s and self._open_runs and gateway.alive:
            self._until(lambda: not self._open_runs or not gateway.alive, until, "", fatal=False)

    def _end(self, process: Process, stop: Callable[[], None]) -> None:
        if process.paused:
            self.world.resume(process)
            self._nemesis("resume", process, True)
        if process.alive:
            stop()
            self._until(lambda: not process.alive, self.world.now + STOP_S, "", fatal=False)
        if process.alive:
            self._force(process)

    def _force(self, process: Process) -> None:
        self._recorder.record("leftover", kind="process", path=process.name, pid=process.pid, alive=True)
        self.world.kill(process)

    def _reap(self, process: Process) -> None:
        self.world.reap(process)
        self._recorder.record("actor.exit", role=process.role, pid=process.pid, code=process.code, actor=process.name)

    def _until(self, done: Callable[[], bool], until: float, otherwise: str, *, fatal: bool = True) -> None:
        world = self.world
        if not done():
            world.run(until, done=done)
        if fatal and not done():
            raise HarnessError(f"{otherwise} within {until:.0f} nominal seconds: {self.scenario.name}, {self.policy}")

    def _aftermath(self) -> None:
        """As the real engine's, on the simulated disk, by a process of the harness."""
        rig, recorder = self.rig, self._recorder
        machine = rig.machine(self._harness)
        clock = SimClock(self._harness)
        folders = sorted({p.rpartition("/")[0] for p in rig.disk.names if p.startswith(f"{STATE}/agents/")})
        for folder in folders:
            for lock in rig.disk.listing(folder, ".lock"):
                record_lock(Path(lock), recorder, clock=clock, host=machine.locks)
            for name in rig.disk.listing(folder):
                if ".tmp" in name.rpartition("/")[2]:
                    recorder.record("leftover", kind="temporary", path=name, pid=None, alive=None)
        for folder in folders:
            if f"{folder}/sessions.json" in rig.disk.names:
                store = SessionStore(Path(f"{folder}/sessions.json"), clock=clock, lock=unlocked, files=machine.files)
                record_keys(store.read(), recorder)
        effects = self.scenario.effects
        if effects is not None and (ledger := rig.disk.names.get(f"{STATE}/workspace/{effects.ledger}")) is not None:
            record_ledger(bytes(ledger.data).decode(errors="replace"), recorder)
        transcripts = [Path(name) for folder in folders for name in rig.disk.listing(folder, ".jsonl")]
        ids = rig.ids(HARNESS)

        def mend(path: Path, held: HeldLock) -> None:
            # Recovery's chance includes the torn tail that a killed writer leaves.
            Transcript.open(
                path, session_id=path.stem, cwd=STATE, clock=clock, ids=ids, section=held.section, files=machine.files
            )

        async def next_turns() -> None:
            for path in transcripts:
                algorithm = BEHAVIOURS[self.policy].lock_algorithm
                await try_next_turn(path, algorithm, clock, recorder, host=machine.locks, use=mend)

        if transcripts:
            task = self._harness.spawn(next_turns(), "next turn")
            self._until(task.done, self.world.now + 600.0, "the next turn did not end")
            task.result()
        for path in transcripts:
            record_transcript(path, recorder, files=machine.files)

    # ------------------------------------------------------------------ the nemesis

    def _observe(self, record: Record) -> None:
        op = record.op
        if self._ask is not None and self.scenario.asks_when is not None and self.scenario.asks_when.matches(record):
            ask, self._ask = self._ask, None
            self.world.at(self.world.now, ask)  # also while somebody else is inside a system call
        if op == "gateway.accepted":
            self._open_runs[str(record.data.get("run_id"))] = None
        elif op == "gateway.final":
            self._open_runs.pop(str(record.data.get("run_id")), None)
        elif op == "client.result" and record.actor == "client":
            self._told, self.client_ended_s = True, round(record.t, 3)
        if self._nemesis_acts and self._planned:
            self.schedule.observe(record)
            self._cues.observe(record)
            self._arm_nemesis()
        if self._progress is not None:
            self._progress(record)

    def _arm_nemesis(self) -> None:
        due = None
        if self._planned:
            due = min((t for t in (self.schedule.next_due(), self._cues.next_due()) if t is not None), default=None)
        if due is not None and (self._nemesis_timer is None or due < self._nemesis_timer):
            self._nemesis_timer = due
            late_s = NEMESIS_LATE_S * self.world.pick("the nemesis is late", 8)
            self.world.at(max(self.world.now, SETUP_S + due + late_s), self._strike)

    def _strike(self) -> None:
        self._nemesis_timer = None
        if not self._nemesis_acts:
            return
        now = self.world.now - SETUP_S
        for cue in self._cues.take_due(now):
            if cue.name not in self._processes:
                self._enter(cue.name)
            self._goes[cue.name]()
        for fault in self.schedule.take_due(now):
            self._perform(fault)
            if fault.heals is not None:
                self.schedule.add(replace(fault.heals, at_s=now + (fault.for_s or 0.0)))
        self._arm_nemesis()

    def _perform(self, fault: Fault) -> None:
        world = self.world
        if fault.action in LINK_ACTIONS:
            perform(self.rig.wires, fault, self._recorder)
            return
        process = self._models_process if fault.target == "models" else self._processes[fault.target]
        match fault.action:
            case "kill":
                happened = world.kill(process)
            case "pause" | "block":
                happened = world.pause(process)
            case "jump":
                happened = process.alive
                process.skew_s += fault.by_s or 0.0
            case "lag":
                happened = process.alive
                process.lag_s = fault.by_s or 0.0
            case "resume":
                happened = world.resume(process)
            case "terminate":
                happened = process.alive
                if happened:
                    process.stop()
            case "restart":
                happened = True
                world.resume(process)
                self._restart(process)
            case _:
                raise HarnessError(f"the simulation cannot {fault.action}")
        if fault.target == "models":
            act = {"kill": "kill", "terminate": "kill", "pause": "pause", "block": "pause", "resume": "resume"}.get(
                fault.action
            )
            if act is not None:
                getattr(self._models, act)()
        self._nemesis(fault.action, process, happened)

    def _nemesis(self, action: str, process: Process, happened: bool) -> None:
        why = {} if happened else {"error": "it had ended already"}
        data = {"action": action, "target": process.name, "pid": process.pid, **why}
        self._recorder.record("nemesis", "info" if happened else "fail", **data)

    def _restart(self, process: Process) -> None:
        """End it in good order if it still runs, then start it again on the same port."""
        if process.name == "models":
            self._models.kill()
            self.world.at(self.world.now + 1.0, self._models.restart)
            return
        if process.name != "gateway":
            return
        if process.alive:
            process.stop()

        def again() -> None:
            if process.alive:
                self.world.at(self.world.now + 0.5, again)
            else:
                self._reap(process)
                self._start_gateway()

        again()
