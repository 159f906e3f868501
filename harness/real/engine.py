"""One scenario with real processes.

Theory of operation
    Everything happens in one loop of small ticks: look at the processes, read what they recorded, perform the
    faults that are due, see whether the phase is over. No task races another, so a run is over exactly when the
    loop says so. A tick is a few real milliseconds, and that is how late the nemesis may come.

    Phases: models up -> gateway up -> client and cast up (imported, waiting) -> the stage is set -> **go**, which is
    nominal second 0 of the history -> the client has told its result, or has died; the awaited of the cast have ended
    -> the gateway's own work settles -> SIGTERM, and SIGKILL if that is not enough -> the client's process must be gone
    too -> what is left is recorded. (The result ends the client's part, not its exit: an interpreter needs 0.1 real
    seconds to end, which the clock shows as several.)

    An actor that is not ready in time, a gateway that dies unasked before go, a client that never ends: these are
    failures of the harness or of the machine (``HarnessError``), not verdicts.
"""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.clock import ScaledClock
from lockjaw.errors import HarnessError
from lockjaw.history import FileRecorder, Record, merge, read_records
from lockjaw.locking.identity import process_state
from lockjaw.process import ACTOR_KEY, EVENTS_KEY
from lockjaw.runner.approvals import APPROVED_KEY, write_approved
from lockjaw.runner.machine import THIS_MACHINE
from lockjaw.seeds import Seeds
from lockjaw.settings import PACING_KEY

from ..faults.nemesis import LINK_ACTIONS, Cue, Fault, Schedule, scheduled
from ..incident.actors import Caller
from ..incident.links import perform
from ..incident.scenario import Scenario
from ..play.opening import stage
from ..store import RunDirectory
from .actors import Actor, Actors, Descriptors, Role, environment, tail_of
from .aftermath import record_aftermath, record_next_turn
from .ambush import BLOCK, UNBLOCK
from .relays import Relays
from .rig import CONFIG, Launch, Programs, Target, Witness, prepare, workspace_of, write_config
from .tail import EventTail

HARNESS = "harness"
APPROVED = "approved-calls.json"
SEED_KEY = "LOCKJAW_SEED"


@dataclass(frozen=True)
class Limits:
    """Real seconds: how long the machine may take. The scenario's own limit is nominal and comes on top."""

    tick: float = 0.008
    ready: float = 60.0
    stop: float = 5.0  # from SIGTERM to SIGKILL, beside `drain_s`
    run: float = 20.0  # beside the scenario's limit
    drain_s: float = 10.0  # nominal: what a gateway may use to drain


LIMITS = Limits()


@dataclass(frozen=True)
class Lived:
    """What an engine hands back. ``never_due`` names faults that the run never reached."""

    history: list[Record]
    nominal_s: float
    never_due: tuple[Fault, ...]


Progress = Callable[[Record], None]


async def run_real(
    scenario: Scenario,
    *,
    policy: str,
    seed: int,
    time_scale: float,
    run: RunDirectory,
    programs: Programs,
    limits: Limits = LIMITS,
    progress: Progress | None = None,
    target: Target | None = None,
    approved: frozenset[str] | None = None,
) -> Lived:
    """Run a scenario once. Cancelling ends every process before the cancellation goes on.

    ``target``: programs that are not ours; they stand in for ``programs``.
    ``approved``: keys of the only tool calls that our programs perform; None: all.

    Raises:
        HarnessError: an actor never became ready, or the client never ended; names the run folder and quotes
            the ends of the logs.
    """
    clock = ScaledClock.start(time_scale)
    recorder = FileRecorder(run.events / f"{HARNESS}.jsonl", clock, HARNESS)
    try:
        script = prepare(run, scenario, policy)
        launch = Launch(scenario, policy, seed, script, run.logs)
        limited = {}
        if approved is not None:
            write_approved(run.path / APPROVED, approved)
            limited[APPROVED_KEY] = run.path / APPROVED
        shared = environment(
            os.environ,
            HOME=run.home,
            OPENCLAW_STATE_DIR=run.state,
            OPENCLAW_CONFIG_PATH=run.state / CONFIG,
            **{PACING_KEY: msgspec.json.encode(scenario.pacing).decode(), SEED_KEY: seed},
            **clock.to_environment(),
            **limited,
            **(target.environment(run) if target else {}),
        )
        with Actors(uuid.uuid4().hex, run.logs, shared, run.home) as actors:
            live = _Live(
                scenario, launch, run, clock, recorder, actors, target or programs, limits, progress, target
            )  # fmt: skip
            try:
                await live.play()
                live.finish()
            finally:
                live.close()
                await live.relays.stop()
        live.record_exits()
        for pid, name in actors.strays:
            recorder.record("leftover", kind="process", path=name, pid=pid, alive=True)
        ledger = workspace_of(run) / scenario.effects.ledger if scenario.effects else None
        record_aftermath(run.state, ledger, recorder)
        await record_next_turn(run.state, BEHAVIOURS[policy].lock_algorithm, clock, recorder)
        recorder.record("run.end", reason="done")
    finally:
        recorder.close()
    history = collect(run.events, live.go_s)
    return Lived(history, live.client_ended_s, live.never_due())


def collect(events: Path, go_s: float) -> list[Record]:
    """The actors' records as one history whose second 0 is the go; what came before has negative times."""
    parts = [read_records(path) for path in sorted(events.glob("*.jsonl"))]
    moved = [[msgspec.structs.replace(r, t=round(r.t - go_s, 6)) for r in part] for part in parts]
    return merge(moved)


class _Live:
    """The run while it goes on."""

    def __init__(
        self,
        scenario: Scenario,
        launch: Launch,
        run: RunDirectory,
        clock: ScaledClock,
        recorder: FileRecorder,
        actors: Actors,
        programs: Programs,
        limits: Limits,
        progress: Progress | None,
        target: Target | None = None,
    ) -> None:
        self._target = target
        self._witness: Witness | None = target.witness(run, scenario, clock) if target else None
        self._scenario, self._launch, self._run = scenario, launch, run
        self._clock, self._recorder, self._actors = clock, recorder, actors
        self._programs, self._limits, self._progress = programs, limits, progress
        self._machine = ScaledClock.start()  # real seconds, for limits
        self._tail = EventTail(run.events)
        self._ports: dict[str, int] = {}
        self._running: dict[str, Actor] = {}
        self.relays = Relays(scenario, run, clock, launch.seed)
        self._open_runs: set[str] = set()
        self._restarts: list[tuple[Actor, float]] = []  # with the real time at which patience ends
        self._coming: list[Actor] = []  # restarted, not ready yet
        self._exits: set[int] = set()
        nemesis = Seeds(launch.seed).child("nemesis")
        self.schedule = Schedule(scheduled(scenario.faults), nemesis.stream("jitter"))
        self._cast = scenario.cast
        self._cues = Schedule([Cue.of(name, actor) for name, actor in self._cast.items()], nemesis.stream("cues"))
        self._held_up: list[tuple[Actor, float, float | None]] = []  # paused at an operation: for how long, until when
        self._blocked: set[str] = set()
        self.go_s = clock.monotonic()
        self.client_ended_s = 0.0
        self._told = False
        self._may_ask = False
        self._nemesis_acts = False

    # ----------------------------------------------------------------- phases

    async def play(self) -> None:
        scripted = [self._start(name) for name, actor in self._cast.items() if not isinstance(actor, Caller)]
        await self._up("models")
        configure = self._target.configure if self._target else write_config
        configure(self._run, self._scenario, self._ports["models"])
        await self.relays.lead_to("models", self._ports["models"])
        await self._up("gateway")
        await self.relays.lead_to("gateway", self._ports["gateway"])
        asking = [self._start(name) for name in self._cast if name not in self._running]
        client = await self._up("client")
        for actor in (*scripted, *asking):
            await self._until_up(actor)
        if self._scenario.staged:
            await self._set_stage()
        self._begin()
        if self._scenario.asks_when is not None:
            await self._until(lambda: self._may_ask, self._limits.ready, "what the client waits for did not happen")
        client.go()
        limit_real_s = self._clock.real_s(self._scenario.run_limit_s) + self._limits.run
        await self._until(lambda: self._told or not client.alive, limit_real_s, "the client did not end")
        if not self._told:
            self.client_ended_s = round(self._clock.monotonic() - self.go_s, 3)
        await self._until(self._cast_ended, limit_real_s, "the cast did not end")
        await self._settle()
        await self._until(
            lambda: not (self._restarts or self._coming), self._limits.ready, "who was restarted did not become ready"
        )
        self._nemesis_acts = False  # what it still has in mind can prove nothing any more
        for name in self._cast:
            await self._stop(self._running[name])
        await self._stop(self._running["gateway"])
        if not await self._ends(client, self._limits.stop):
            await self._end_by_force(client)
        await self._stop(self._running["models"])

    def _begin(self) -> None:
        self._tick()
        for name, actor in self._running.items():
            if not actor.alive:
                raise self._failure(f"the {name} ended before the client started")
        self.go_s = self._clock.monotonic()
        self._recorder.record(
            "run.start", scenario=self._scenario.name, policy=self._launch.policy, seed=self._launch.seed,
            engine="real", scale=self._clock.scale,
        )  # fmt: skip
        self._nemesis_acts = True

    def never_due(self) -> tuple[Fault, ...]:
        """The scenario's faults that this run never reached; what heals one is none of them."""
        return tuple(fault for fault in self.schedule.never_due() if fault in self._scenario.faults)

    async def _set_stage(self) -> None:
        """The session as the client finds it."""

        def identity(name: str) -> tuple[int, int | None]:
            pid = self._running[name].pid
            return pid, process_state(pid).starttime

        path = await stage(
            self._scenario.initial, state_dir=self._run.state, clock=self._clock,
            ids=Seeds(self._launch.seed).child(HARNESS).stream("stage"), machine=THIS_MACHINE, identity=identity,
        )  # fmt: skip
        self._recorder.record("stage", path=str(path), entries=2 * self._scenario.initial.turns)

    def _cast_ended(self) -> bool:
        return not any(self._running[name].alive for name, actor in self._cast.items() if actor.awaited)

    async def _settle(self) -> None:
        """Let the gateway finish what it is doing, as far as the scenario wants to see it."""
        gateway = self._running["gateway"]
        until_s = self._clock.monotonic() + self._scenario.settle_s
        while self._open_runs and gateway.alive and self._clock.monotonic() < until_s:
            await self._pause()

    async def _stop(self, actor: Actor) -> None:
        """End an actor in good order; a paused or blocked one is resumed first. One that will not end is killed."""
        if not actor.alive:
            return
        if actor.paused or actor.name in self._blocked:
            self._resume(actor)
        actor.signal(signal.SIGTERM)
        if not await self._ends(actor, self._stop_limit_real_s):
            await self._end_by_force(actor)

    async def _end_by_force(self, actor: Actor) -> None:
        self._recorder.record("leftover", kind="process", path=actor.name, pid=actor.pid, alive=True)
        actor.signal(signal.SIGKILL)
        await self._ends(actor, self._limits.stop)

    @property
    def _stop_limit_real_s(self) -> float:
        return self._limits.stop + self._clock.real_s(self._limits.drain_s)

    # ----------------------------------------------------------------- actors

    async def _up(self, name: str) -> Actor:
        return await self._until_up(self._start(name))

    async def _until_up(self, actor: Actor) -> Actor:
        await self._until(lambda: self._is_up(actor), self._limits.ready, f"the {actor.name} did not become ready")
        return actor

    def _start(self, name: str) -> Actor:
        launch = replace(self._launch, port=self._ports.get(name, 0))

        def command(fds: Descriptors) -> list[str]:
            if name in self._cast:
                return list(self._programs.actor(name, launch, fds))
            return list(getattr(self._programs, name)(launch, fds))

        env = {EVENTS_KEY: str(self._run.events / f"{name}.jsonl"), ACTOR_KEY: name}
        role = self._role(name)
        if role == "client":
            # The port, not the address: the client's error texts shall say "Source: local loopback".
            env["OPENCLAW_GATEWAY_PORT"] = str(self.relays.port(name, "gateway", self._ports["gateway"]))
        if role in ("gateway", "client"):
            env |= self.relays.environment(name, self._ports["models"])
        if name in self._cast:  # a program of its own: another client's ids would make it ask for that one's run
            env[SEED_KEY] = str(Seeds(self._launch.seed).child(name).stream("seed").getrandbits(48))
        if name == "client" and self._scenario.client_token is not None:
            env["OPENCLAW_GATEWAY_TOKEN"] = self._scenario.client_token
        try:
            actor = self._actors.start(name, role, command, env, waits_for_go=role in ("client", "scripted"))
        except OSError as error:
            raise self._failure(f"the {name} cannot be started: {error}") from error
        self._running[name] = actor
        return actor

    def _role(self, name: str) -> Role:
        if name in self._cast:
            return "client" if isinstance(self._cast[name], Caller) else "scripted"
        return name  # type: ignore[return-value]

    def _is_up(self, actor: Actor) -> bool:
        if actor.ready is not None:
            if actor.name not in self._ports and actor.role not in ("client", "scripted"):
                if not actor.ready.port:
                    raise self._failure(f"the {actor.name} is ready and names no port")
                self._ports[actor.name] = actor.ready.port
            self._recorder.record("actor.ready", role=actor.role, pid=actor.pid, actor=actor.name)
            return True
        if not actor.alive:
            raise self._failure(f"the {actor.name} ended with code {actor.code} before it was ready")
        return False

    async def _ends(self, actor: Actor, limit_real_s: float) -> bool:
        until = self._machine.monotonic() + limit_real_s
        while actor.alive and self._machine.monotonic() < until:
            await self._pause()
        return not actor.alive

    # ----------------------------------------------------------------- the loop

    async def _until(self, done: Callable[[], bool], limit_real_s: float, otherwise: str) -> None:
        until = self._machine.monotonic() + limit_real_s
        while not done():
            if self._machine.monotonic() > until:
                raise self._failure(f"{otherwise} within {limit_real_s:.0f} real seconds")
            await self._pause()

    async def _pause(self) -> None:
        await self._machine.sleep(self._limits.tick)
        self._tick()

    def _tick(self) -> None:
        self.record_exits()
        records = self._tail.read()
        if self._witness is not None:
            self._witness.look(records)
        for record in records:
            moved = msgspec.structs.replace(record, t=record.t - self.go_s)
            self._follow(moved)
            if self._nemesis_acts:
                self.schedule.observe(moved)
                self._cues.observe(moved)
            if self._progress is not None:
                self._progress(moved)
        self._go_on_with_restarts()
        self._release_held_up()
        if self._nemesis_acts:
            now = self._clock.monotonic() - self.go_s
            for cue in self._cues.take_due(now):
                self._running[cue.name].go()
            for fault in self.schedule.take_due(now):
                self._perform(fault)

    def _follow(self, record: Record) -> None:
        if self._scenario.asks_when is not None and self._scenario.asks_when.matches(record):
            self._may_ask = True
        run_id = str(record.data.get("run_id", ""))
        if record.op == "gateway.accepted":
            self._open_runs.add(run_id)
        elif record.op == "gateway.final":
            self._open_runs.discard(run_id)
        elif record.op == "client.result" and record.actor == "client":
            self._told, self.client_ended_s = True, round(record.t, 3)
        elif record.op == "nemesis" and "at" in record.data and record.data["action"] == "pause":
            # It has paused itself right before an operation (``ambush``), or is just about to.
            self._held_up.append((self._running[str(record.data["target"])], float(record.data["for_s"]), None))

    def record_exits(self) -> None:
        """Record each end of a process, once."""
        self._actors.poll()
        for actor in self._actors.all:
            if not actor.alive and actor.pid not in self._exits:
                self._exits.add(actor.pid)
                self._recorder.record("actor.exit", role=actor.role, pid=actor.pid, code=actor.code, actor=actor.name)

    # ----------------------------------------------------------------- the nemesis

    def _perform(self, fault: Fault) -> None:
        """Act, and record it on the right side of its effects: what stops an actor is recorded after the act, so that
        nothing the actor still did stands behind it; what sets one in motion is recorded before it moves."""
        if fault.action in LINK_ACTIONS:
            perform(self.relays.by_name, fault, self._recorder)
            if (heal := fault.heals) is not None and fault.for_s is not None:
                at_s = self._clock.monotonic() - self.go_s + fault.for_s
                self.schedule.add(msgspec.structs.replace(heal, at_s=at_s))
            return
        actor = self._running[fault.target]
        data = {"action": fault.action, "target": fault.target, "pid": actor.pid}
        if fault.action in ("kill", "pause", "block"):
            if actor.signal(_SIGNALS[fault.action]):
                self._recorder.record("nemesis", **data)
                if fault.action == "block":
                    self._blocked.add(actor.name)
                if (heal := fault.heals) is not None:
                    assert fault.for_s is not None
                    at_s = self._clock.monotonic() - self.go_s + fault.for_s
                    self.schedule.add(msgspec.structs.replace(heal, at_s=at_s))
                return
        elif fault.action == "resume" and actor.alive:
            self._resume(actor)
            return
        elif fault.action == "restart" or actor.process.poll() is None:
            self._recorder.record("nemesis", **data)
            if fault.action == "restart":  # one that has ended already is simply started again
                self._restarts.append((actor, self._machine.monotonic() + self._stop_limit_real_s))
                actor.signal(signal.SIGCONT)
            actor.signal(_SIGNALS[fault.action])
            return
        self._recorder.record("nemesis", "fail", **data, error="it had ended already")

    def _release_held_up(self) -> None:
        """Resume who has been paused for as long as its fault says, counted from when it really stood still."""
        now, held_up = self._clock.monotonic(), []
        for actor, for_s, until in self._held_up:
            if until is None and actor.stopped:
                actor.paused, until = True, now + for_s
            if until is not None and now >= until:
                self._resume(actor)
            elif actor.alive:
                held_up.append((actor, for_s, until))
        self._held_up = held_up

    def _resume(self, actor: Actor) -> None:
        self._recorder.record("nemesis", action="resume", target=actor.name, pid=actor.pid)
        blocked = actor.name in self._blocked
        self._blocked.discard(actor.name)
        actor.signal(UNBLOCK if blocked else signal.SIGCONT)

    def _go_on_with_restarts(self) -> None:
        for actor, until in list(self._restarts):
            if not actor.alive:
                self._restarts.remove((actor, until))
                self._coming.append(self._start(actor.name))
            elif self._machine.monotonic() > until:
                actor.signal(signal.SIGKILL)
        self._coming = [actor for actor in self._coming if not self._is_up(actor)]

    # ----------------------------------------------------------------- failures and the end

    def _failure(self, what: str) -> HarnessError:
        tails = [f"--- {a.log.name}\n{tail_of(a.log)}" for a in self._actors.all if tail_of(a.log)]
        return HarnessError(
            "\n".join([f"{what}: {self._scenario.name}, {self._launch.policy}", *tails]), str(self._run.path)
        )

    def finish(self) -> None:
        """Every actor has ended: what the witness still knows."""
        if self._witness is not None:
            self.record_exits()
            self._witness.look(self._tail.read())
            self._witness.finish()

    def close(self) -> None:
        self._tail.close()
        if self._witness is not None:
            self._witness.close()


_SIGNALS = {
    "kill": signal.SIGKILL,
    "terminate": signal.SIGTERM,
    "pause": signal.SIGSTOP,
    "block": BLOCK,
    "restart": signal.SIGTERM,
}
