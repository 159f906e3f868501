"""One run, whatever the world: its phases, once, as a generator of waits.

Theory of operation
    ``Play.run`` yields each wait; whoever drives it (``sim.engine``, ``real.engine``) lets the world go on until the
    wait is over, and comes back. Between two waits the play acts on the world at once. What processes record
    reaches the play through ``World.on_record``: that is how it knows that the client has its answer, that a fault is
    due, that an actor begins.

    Phases: models, gateway, client and cast are up, and wait -> the session is set up -> **second 0** of the history
    -> the client has told its result, or has died; the awaited of the cast have ended -> the gateway's own work
    settles; what the nemesis has begun is brought to its end -> everybody is ended, the models last -> what is left
    is recorded. (The result ends the client's part, not its exit: an interpreter needs 0.1 real seconds to end,
    which a fast clock shows as several.)

    An actor that is not ready in time, a client or an awaited actor that never ends: these are failures of the
    harness, of the machine or of the scenario (``HarnessError``), not verdicts.
"""

from __future__ import annotations

from collections.abc import Callable

from lockjaw.history import Record
from lockjaw.sessions import SessionPaths

from ..faults import Fault
from ..incident.scenario import Scenario
from .aftermath import aftermath
from .nemesis import Nemesis
from .opening import stage
from .processes import bring_up, comes_up, put_down, record_end, see_off
from .world import Process, Wait, Waits, World

STAGE_LIMIT_S = 60.0


class Play:
    """One run in progress.

    Args:
        progress: called with each record while the run goes on.

    Attributes:
        client_ended_s: when the client told its result, or died, nominal seconds.
    """

    def __init__(
        self,
        world: World,
        scenario: Scenario,
        *,
        policy: str,
        seed: int,
        progress: Callable[[Record], None] | None = None,
    ) -> None:
        self._world, self._scenario, self._policy, self._seed = world, scenario, policy, seed
        self._progress = progress
        self._cast = scenario.cast
        self._nemesis = Nemesis(world, scenario, seed)
        self._open_runs: dict[str, None] = {}  # of the gateway
        self._asked = self._told = False
        self._may_ask = scenario.asks_when is None
        self.client_ended_s = 0.0
        world.on_record, world.on_end = self._observe, lambda process: record_end(world, process)

    @property
    def never_due(self) -> tuple[Fault, ...]:
        """The scenario's faults that this run never reached."""
        return self._nemesis.never_due

    # ----------------------------------------------------------------- the phases

    def run(self) -> Waits:
        """The whole run, wait by wait."""
        yield from self._open()
        yield from self._ask()
        yield from self._settle()
        yield from self._end()
        yield from aftermath(self._world, self._scenario, self._policy)
        self._world.recorder.record("run.end", reason="done")

    def _open(self) -> Waits:
        world, scenario = self._world, self._scenario
        for name in ("models", "gateway", *scenario.servers):
            yield from bring_up(world, name)
        # An actor with the pid of another one is born when its cue comes.
        waiting = [name for name in ("client", *self._cast) if name not in scenario.servers]
        begun = [world.start(name) for name in waiting if not self._late_born(name)]
        for process in begun:
            yield from comes_up(world, process)
        if world.now() < 0:
            yield Wait(lambda: False, -world.now())  # let everybody come to rest
        if scenario.staged:
            yield from self._set_up()
        world.begin()
        world.recorder.record(
            "run.start", scenario=scenario.name, policy=self._policy, seed=self._seed, engine=world.engine,
            scale=world.scale,
        )  # fmt: skip
        self._nemesis.begin()

    def _set_up(self) -> Waits:
        """The session as the client finds it."""
        world, initial = self._world, self._scenario.initial
        paths = SessionPaths(world.state, f".{self._scenario.sessions}")
        work = stage(
            initial, paths=paths, clock=world.clock, ids=world.ids("stage"), machine=world.machine(),
            identity=lambda name: world.identity(world.process(name)),
        )  # fmt: skip
        job = world.work(work)
        yield Wait(job.done, STAGE_LIMIT_S, "run", "the session was not set up")
        world.recorder.record("stage", "info", path=str(job.result()), entries=2 * initial.turns)

    def _ask(self) -> Waits:
        """The client's part, and that of the awaited actors."""
        world, scenario = self._world, self._scenario
        if self._may_ask:
            self._go()
        yield self._in_time(lambda: self._asked, "what the client waits for did not happen")
        yield self._in_time(lambda: self._told or self._over("client"), "the client did not end")
        if not self._told:
            self.client_ended_s = round(world.now(), 3)
        awaited = [name for name, actor in self._cast.items() if actor.awaited]
        yield self._in_time(lambda: all(map(self._over, awaited)) or self._quiet())
        if running := [name for name in awaited if self._goes_on(name)]:
            raise world.failure(
                f"an actor ({', '.join(running)}) did not end within {scenario.run_limit_s:g} nominal s (key limit_s); "
                "raise it if a fault keeps the actor that long"
            )

    def _settle(self) -> Waits:
        """Let the gateway finish what it is doing, as far as the scenario wants to see it, and the nemesis what it has
        begun; a fault that comes a little late is not left out."""
        world, scenario = self._world, self._scenario
        if scenario.settle_s and self._open_runs and world.process("gateway").alive:
            yield Wait(lambda: not self._open_runs or not world.process("gateway").alive, scenario.settle_s)
        yield Wait(self._nemesis.idle, slack="ready", otherwise="the nemesis did not finish what it had begun")
        self._nemesis.end()  # what it still has in mind can prove nothing any more

    def _end(self) -> Waits:
        world = self._world
        for name in self._cast:
            if not self._late_born(name) or self._is_born(name):
                yield from put_down(world, world.process(name))
        yield from put_down(world, world.process("gateway"))
        yield from see_off(world, self._client, limit_s=0.0)
        yield from put_down(world, world.process("models"))
        world.clear()

    # ----------------------------------------------------------------- who is where

    @property
    def _client(self) -> Process:
        return self._world.process("client")

    def _late_born(self, name: str) -> bool:
        return name in self._cast and self._cast[name].pid_of is not None

    def _is_born(self, name: str) -> bool:
        try:
            self._world.process(name)
        except KeyError:
            return False
        return True

    def _over(self, name: str) -> bool:
        """The actor has ended, and does not begin again. Asked after every step of a simulated run."""
        world = self._world
        try:
            process = world.process(name)
        except KeyError:
            return False
        return world.gone(process) and name not in world.restarting

    def _goes_on(self, name: str) -> bool:
        """The actor has begun and has not ended."""
        return self._is_born(name) and self._world.went(self._world.process(name)) and not self._over(name)

    def _quiet(self) -> bool:
        """Whoever has begun has ended, and nothing is due: an actor that still waits for its cue waits in vain."""
        if self._open_runs or self._nemesis.expects_something or not self._over("client"):
            return False
        return not any(map(self._goes_on, self._cast))

    def _in_time(self, done: Callable[[], bool], otherwise: str = "") -> Wait:
        left_s = max(0.0, self._scenario.run_limit_s - self._world.now())
        return Wait(done, left_s, "run", otherwise)

    def _go(self) -> None:
        self._asked = True
        self._world.go(self._client)

    # ----------------------------------------------------------------- what is recorded

    def _observe(self, record: Record) -> None:
        op = record.op
        if not self._may_ask:
            when = self._scenario.asks_when
            if when is not None and when.matches(record):
                self._may_ask = True
                self._world.soon(self._go)  # not while somebody else is in the middle of an operation
        if op == "gateway.accepted":
            self._open_runs[str(record.data.get("run_id"))] = None
        elif op == "gateway.final":
            self._open_runs.pop(str(record.data.get("run_id")), None)
        elif op == "client.result" and record.actor == "client" and "client" not in self._world.restarting:
            self._told, self.client_ended_s = True, round(record.t, 3)
        self._nemesis.observe(record)
        if self._progress is not None:
            self._progress(record)
