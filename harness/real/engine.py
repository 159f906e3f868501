"""The machine as the world of a run: real processes on loopback, real signals and files, time sped up by a factor.

Theory of operation
    Everything happens in one loop of small ticks: look at the processes, read what they recorded, do what is due, see
    whether the wait is over. No task races another, so a run is over exactly when the loop says so. A tick is a few
    real milliseconds, and that is how late the nemesis may come.

    Programs that are not Lockjaw's are a subclass (``targets``): other commands, another configuration, and a look at
    what they print and write, because they record nothing themselves.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import uuid
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lockjaw.clock import ScaledClock
from lockjaw.errors import HarnessError
from lockjaw.history import FileRecorder, Record, merge, read_records
from lockjaw.locking.identity import process_state
from lockjaw.process import ACTOR_KEY, EVENTS_KEY, SEED_KEY
from lockjaw.runner.approvals import APPROVED_KEY, write_approved
from lockjaw.runner.machine import THIS_MACHINE, Machine
from lockjaw.seeds import Seeds
from lockjaw.settings import PACING_KEY

from ..faults import Fault
from ..faults.base import Slot
from ..faults.resume import Resume
from ..incident.actors import Caller
from ..incident.links import Faulty
from ..incident.scenario import Scenario
from ..play.play import Play
from ..play.world import HARNESS, Job, Noted, Slack, Wait, Waits
from ..store import RunDirectory
from .actors import Actor, Actors, Descriptors, environment, tail_of
from .ambush import BLOCK, UNBLOCK
from .board import slot_at
from .relays import Relays
from .rig import CONFIG, Launch, board_of, command_of, prepare, write_config
from .tail import EventTail

APPROVED = "approved-calls.json"

__all__ = ["LIMITS", "Limits", "Lived", "RealWorld", "run_real"]


@dataclass(frozen=True)
class Limits:
    """Real seconds: how long the machine may take. A wait's own limit is nominal and comes on top."""

    tick: float = 0.008
    ready: float = 60.0
    stop: float = 5.0  # from SIGTERM to SIGKILL
    run: float = 20.0  # beside the scenario's limit

    def slack(self, of: Slack) -> float:
        return getattr(self, of) if of else 0.0


LIMITS = Limits()


@dataclass(frozen=True)
class Lived:
    """What an engine hands back. ``never_due`` names faults that the run never reached."""

    history: list[Record]
    nominal_s: float
    never_due: tuple[Fault, ...]


async def run_real(world: RealWorld, *, progress: Callable[[Record], None] | None = None) -> Lived:
    """Run a scenario once. Cancelling ends every process before the cancellation goes on.

    Raises:
        HarnessError: an actor never became ready, or the client never ended; names the run folder and quotes
            the ends of the logs.
    """
    play = Play(world, world.scenario, policy=world.policy, seed=world.seed, progress=progress)
    with world.actors:
        try:
            world.open()
            for wait in play.run():
                await world.wait(wait)
        finally:
            await world.close()
    return Lived(collect(world.run.events, world.go_s), play.client_ended_s, play.never_due)


def collect(events: Path, go_s: float) -> list[Record]:
    """The actors' records as one history whose second 0 is the go; what came before has negative times."""
    parts = [read_records(path) for path in sorted(events.glob("*.jsonl"))]
    moved = [[msgspec.structs.replace(r, t=round(r.t - go_s, 6)) for r in part] for part in parts]
    return merge(moved)


class RealWorld(Noted):
    """``play.world.World`` on this machine, for one run of Lockjaw's own programs.

    Args:
        time_scale: real seconds per nominal second, above 0 and at most 1.
        run: where everything is kept.
        approved: keys of the only tool calls that our programs perform; None: all.
    """

    engine = "real"
    mends = True

    def __init__(
        self,
        scenario: Scenario,
        *,
        policy: str,
        seed: int,
        time_scale: float,
        run: RunDirectory,
        limits: Limits = LIMITS,
        approved: frozenset[str] | None = None,
    ) -> None:
        super().__init__(scenario.faults)
        self.scenario, self.policy, self.seed, self.run, self.limits = scenario, policy, seed, run, limits
        self.clock, self.scale, self.state = ScaledClock.start(time_scale), time_scale, run.state
        self.recorder = FileRecorder(run.events / f"{HARNESS}.jsonl", self.clock, HARNESS)
        self.refused: dict[str, str] = {}  # gateways that would not start beside another one, with their words
        self.go_s = self.clock.monotonic()
        self.relays = Relays(scenario, run, self.clock, seed)
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
            **self.clock.to_environment(),
            **limited,
            **self.environment(),
        )
        self.actors = Actors(uuid.uuid4().hex, run.logs, shared, run.home)
        self._machine = ScaledClock.start()  # real seconds, for limits
        self._tail = EventTail(run.events)
        self._ports: dict[str, int] = {}
        self._ahead: dict[str, Actor] = {}  # started before their turn
        self._starts: dict[str, int] = {}
        self._ended: list[Actor] = []
        self._timers: list[tuple[float, Callable[[], None]]] = []
        self._beside: list[tuple[Waits, Wait, float]] = []
        self._jobs: list[asyncio.Future[Any]] = []
        self._led: dict[str, asyncio.Future[None]] = {}  # the links that lead to an actor
        self._held_up: list[tuple[Actor, float, float | None]] = []  # paused at an operation: for how long, until when
        self._blocked: list[Actor] = []

    # ----------------------------------------------------------------- what other programs do in their own way

    def command(self, name: str, fds: Descriptors) -> Sequence[str]:
        """The command line of an actor."""
        return command_of(name, self.launch(name), fds)

    def launch(self, name: str) -> Launch:
        """What the command line of an actor is made of."""
        return Launch(self.scenario, self.policy, self.seed, self._script, self.run.logs, self._ports.get(name, 0))

    def environment(self) -> dict[str, str]:
        """What the programs want beside the usual."""
        return {}

    def configure(self, model_port: int) -> None:
        """Write the configuration, now that the models have a port."""
        write_config(self.run, self.scenario, model_port)

    def look(self, records: Sequence[Record]) -> None:
        """Called each tick with what our own programs have recorded since the last."""

    def finish(self) -> None:
        """Called once, when every actor has ended."""

    # ----------------------------------------------------------------- begin and end

    def prepare(self) -> None:
        """Write what the programs are to read."""
        self._script = prepare(self.run, self.scenario, self.policy)

    def open(self) -> None:
        """Prepare the folder, and start the processes that depend on no other."""
        self.prepare()
        self._ahead = {
            name: self._start(name) for name in self.scenario.cast if self.scenario.role_of(name) == "scripted"
        }

    def clear(self) -> None:
        """Every actor has ended: what they still have to tell, and what they have left running."""
        self._tick()
        self.finish()
        self.actors.end_all()
        self._see_ends()
        for pid, name in self.actors.strays:
            self.recorder.record("leftover", kind="process", path=name, pid=pid, alive=True)

    async def close(self) -> None:
        """Let go of what the harness itself has, whatever happened; ``actors`` end when their context is left."""
        for job in (*self._jobs, *self._led.values()):
            job.cancel()
        await asyncio.gather(*self._jobs, *self._led.values(), return_exceptions=True)
        await self.relays.stop()
        self._tail.close()
        self.recorder.close()

    # ----------------------------------------------------------------- time

    async def wait(self, wait: Wait) -> None:
        """Tick until a wait is over. Raises HarnessError if it was in vain."""
        until = self._until(wait)
        while not wait.done():
            if self._machine.monotonic() > until:
                self._in_vain(wait)
                return
            await self._machine.sleep(self.limits.tick)
            self._tick()

    def begin(self) -> None:
        self._tick()
        for name, actor in self._processes.items():
            if not actor.alive and name not in self.refused:
                raise self.failure(f"the {name} ended before the client started")
        self.go_s = self.clock.monotonic()

    def now(self) -> float:
        return self.clock.monotonic() - self.go_s

    def soon(self, act: Callable[[], None]) -> None:
        act()

    def at(self, when_s: float, act: Callable[[], None]) -> None:
        self._timers.append((when_s, act))

    def beside(self, waits: Waits) -> None:
        self._next(waits)

    def work(self, coroutine: Coroutine[Any, Any, Any]) -> Job:
        self._jobs.append(asyncio.ensure_future(coroutine))
        return self._jobs[-1]

    def _until(self, wait: Wait) -> float:
        return self._machine.monotonic() + self.clock.real_s(wait.limit_s) + self.limits.slack(wait.slack)

    def _in_vain(self, wait: Wait) -> None:
        if wait.otherwise:
            limit_s = self.clock.real_s(wait.limit_s) + self.limits.slack(wait.slack)
            raise self.failure(f"{wait.otherwise} within {limit_s:.0f} real seconds")

    def _next(self, waits: Waits) -> None:
        for wait in waits:
            if not wait.done():
                self._beside.append((waits, wait, self._until(wait)))
                return

    def _tick(self) -> None:
        self._see_ends()
        records = self._tail.read()
        self.look(records)
        for record in records:
            if record.op == "nemesis" and "at" in record.data and record.data["action"] == "pause":
                # It has paused itself right before an operation (``ambush``), or is just about to.
                held_up = self._processes[str(record.data["target"])]
                self._held_up.append((held_up, float(record.data["for_s"]), None))
            self.on_record(msgspec.structs.replace(record, t=record.t - self.go_s))
        self._release_held_up()
        beside, self._beside = self._beside, []
        for waits, wait, until in beside:
            if not wait.done() and self._machine.monotonic() <= until:
                self._beside.append((waits, wait, until))
            else:
                if not wait.done():
                    self._in_vain(wait)
                self._next(waits)
        now = self.now()
        due = sorted((timer for timer in self._timers if timer[0] <= now), key=lambda timer: timer[0])
        self._timers = [timer for timer in self._timers if timer[0] > now]
        for _, act in due:
            act()

    def _see_ends(self) -> None:
        self.actors.poll()
        for actor in self.actors.all:
            if not actor.alive and actor not in self._ended:
                self._ended.append(actor)
                self.on_end(actor)

    def _release_held_up(self) -> None:
        """Resume who has been paused for as long as its fault says, counted from when it really stood still."""
        now, held_up = self.clock.monotonic(), []
        for actor, for_s, until in self._held_up:
            if until is None and actor.stopped:
                actor.paused, until = True, now + for_s
            if until is not None and now >= until:
                Resume(target=actor.name, at_s=0.0).strike(self)
            elif actor.alive:
                held_up.append((actor, for_s, until))
        self._held_up = held_up

    # ----------------------------------------------------------------- processes

    def start(self, name: str) -> Actor:
        actor = self._ahead.pop(name, None) or self._start(name)
        self._processes[name] = actor
        return actor

    def _start(self, name: str) -> Actor:
        env = {EVENTS_KEY: str(self.run.events / f"{name}.jsonl"), ACTOR_KEY: name}
        role = self.scenario.role_of(name)
        if role == "client":
            # The port, not the address: the client's error texts shall say "Source: local loopback".
            env["OPENCLAW_GATEWAY_PORT"] = str(self._gateway_of(name))
        if role in ("gateway", "client"):
            env |= self.relays.environment(name, self._ports["models"])
        count = self._starts[name] = self._starts.get(name, 0) + 1
        if name in self.scenario.cast or count > 1:
            # A program of its own: with another's ids a client would ask for that one's run.
            stream = Seeds(self.seed).child(name).stream("seed" if count == 1 else f"seed/{count}")
            env[SEED_KEY] = str(stream.getrandbits(48))
        if name == "client" and self.scenario.client_token is not None:
            env["OPENCLAW_GATEWAY_TOKEN"] = self.scenario.client_token
        waits = role in ("client", "scripted")
        try:
            return self.actors.start(name, role, lambda fds: self.command(name, fds), env, waits_for_go=waits)
        except OSError as error:
            raise self.failure(f"the {name} cannot be started: {error}") from error

    def _gateway_of(self, client: str) -> int:
        """The port that a client dials."""
        actor = self.scenario.cast.get(client)
        asked = actor.asks if isinstance(actor, Caller) else "gateway"
        return self.relays.port(client, asked, self._ports.get(asked, 0))  # 0: one that did not come up

    def boots_s(self) -> float:
        return 0.0  # it takes what it takes

    def ready(self, process: Actor) -> bool:
        name = process.name
        if process.ready is None:
            if not process.alive:
                raise self.failure(f"the {name} ended with code {process.code} before it was ready")
            return False
        if process.role in ("client", "scripted"):
            return True
        if name not in self._ports:
            if not process.ready.port:
                raise self.failure(f"the {name} is ready and names no port")
            self._ports[name] = process.ready.port
            if name == "models":
                self.configure(process.ready.port)
            self._led[name] = asyncio.ensure_future(self.relays.lead_to(name, process.ready.port))
        return self._led[name].done() and self._led[name].result() is None

    def gone(self, process: Actor) -> bool:
        return process in self._ended

    def go(self, process: Actor) -> None:
        self._went.append(process)
        process.go()

    def kill(self, process: Actor) -> bool:
        return process.signal(signal.SIGKILL)

    def stop(self, process: Actor) -> bool:
        return process.signal(signal.SIGTERM)

    def pause(self, process: Actor) -> bool:
        return process.signal(signal.SIGSTOP)

    def block(self, process: Actor) -> bool:
        if process.signal(BLOCK):
            self._blocked.append(process)
            return True
        return False

    def resume(self, process: Actor) -> bool:
        if process in self._blocked:
            self._blocked.remove(process)
            return process.signal(UNBLOCK)
        return process.signal(signal.SIGCONT)

    def held_up(self, process: Actor) -> bool:
        return process.alive and (process.paused or process in self._blocked)

    def slot(self, fault: Fault) -> Slot:
        return slot_at(board_of(self.run), self.number_of(fault))

    # ----------------------------------------------------------------- links and files

    def link(self, name: str) -> Faulty:
        return self.relays.by_name[name]

    def machine(self) -> Machine:
        return THIS_MACHINE

    def files(self) -> list[str]:
        return sorted(map(str, (self.state / "agents").glob("*/sessions/*")))

    def ids(self, name: str) -> random.Random:
        return Seeds(self.seed).child(HARNESS).stream(name)

    def identity(self, process: Actor) -> tuple[int, int | None]:
        return process.pid, process_state(process.pid).starttime

    def failure(self, what: str) -> HarnessError:
        tails = [f"--- {a.log.name}\n{tail_of(a.log)}" for a in self.actors.all if tail_of(a.log)]
        return HarnessError("\n".join([f"{what}: {self.scenario.name}, {self.policy}", *tails]), str(self.run.path))
