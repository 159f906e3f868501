"""Run scenarios and judge them: the harness's public face.

Every run ends with a verdict about its history. A law that was broken makes it VIOLATED; otherwise a run that
never reached the danger (a ``sometimes`` that did not happen, a fault that was never due) is UNKNOWN.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from lockjaw.behaviours import BEHAVIOURS, POLICIES
from lockjaw.clock import ScaledClock
from lockjaw.errors import HarnessError, LocalError, UsageError
from lockjaw.history import Record, event_hash, write_history
from lockjaw.history.ordered import numbered
from lockjaw.seeds import Seeds
from lockjaw.verdict import CheckResult, Verdict, combine
from lockjaw.visible import tell

from . import origin
from .incident.scenario import Scenario, is_builtin, load_scenario
from .judge.checkers import run_checks
from .judge.outcome import Outcome, outcome_of
from .judge.skeleton import skeleton_hash
from .sim.engine import SimLived, run_sim
from .sim.tape import Choices, RandomChoices, write_tape
from .store import HISTORY, SCENARIO, TAPE, VERDICT, RunDirectory, Store

if TYPE_CHECKING:
    from .real.engine import Limits, Lived, RealWorld
    from .targets import Target

ENGINES = ("real", "sim")
DEFAULT_POLICY = "takeover"
BUILTIN = "builtin"

Progress = Callable[[str, Record], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Reached:
    """One condition that shows that the run reached the danger. ``witness``: index of the record, None if unmet."""

    says: str
    witness: int | None

    @property
    def met(self) -> bool:
        return self.witness is not None


@dataclass(frozen=True)
class Run:
    """One finished run."""

    scenario: str
    policy: str
    engine: str
    seed: int
    verdict: Verdict
    checks: tuple[CheckResult, ...]
    reached: tuple[Reached, ...]
    outcome: Outcome
    event_hash: str
    nominal_s: float
    wall_s: float
    run_dir: Path
    history: tuple[Record, ...] = field(repr=False)
    target: str = BUILTIN
    notes: tuple[str, ...] = ()  # what of the scenario the target could not do

    @property
    def replay(self) -> str:
        """The command that repeats this run."""
        return f"lockjaw replay {_shown(self.run_dir)}"

    def check(self, name: str) -> CheckResult:
        """The result of one checker. Raises KeyError if it was not asked."""
        return {check.name: check for check in self.checks}[name]

    def document(self) -> dict[str, Any]:
        """The run as ``lockjaw run --json`` shows it (one element of ``runs``), and as ``verdict.json`` holds it."""
        return {
            "scenario": self.scenario,
            "policy": self.policy,
            "engine": self.engine,
            "target": self.target,
            "seed": self.seed,
            "verdict": str(self.verdict),
            "event_hash": self.event_hash,
            "nominal_s": round(self.nominal_s, 1),
            "wall_s": round(self.wall_s, 1),
            "outcome": msgspec.to_builtins(self.outcome),
            "checks": [msgspec.to_builtins(check) | {"witness": list(check.witness)} for check in self.checks],
            "sometimes": [{"says": r.says, "met": r.met, "witness": r.witness} for r in self.reached],
            **({"notes": list(self.notes)} if self.notes else {}),
            "run_dir": _shown(self.run_dir),
            "replay": self.replay,
        }


def run_scenario(
    scenario: Scenario | str | Path,
    *,
    policy: str = DEFAULT_POLICY,
    engine: str = "real",
    seed: int = 1,
    time_scale: float | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Run:
    """Run a scenario once and judge it.

    Args:
        scenario: a scenario, a built-in name, or the path of a file.
        policy: what the client does when the gateway fails.
        seed: root of the run's randomness, >= 0.
        time_scale: real seconds per nominal second; None: the scenario's own.
        out: where run folders go; None: ``.lockjaw/runs``.
        progress: called with the policy and each record while the run goes on.

    Raises:
        LocalError: unknown scenario, policy or engine, or called inside an event loop (use ``run_async``).
        HarnessError: the harness or the machine failed; names the run folder.
        KeyboardInterrupt: Ctrl-C; every process has been ended and reaped.
        SystemExit: SIGTERM; the same, status 143.
    """
    return run_policies(
        scenario, [policy], engine=engine, seed=seed, time_scale=time_scale, out=out, progress=progress
    )[0]


def run_policies(
    scenario: Scenario | str | Path,
    policies: Sequence[str] = POLICIES,
    *,
    engine: str = "real",
    seed: int = 1,
    time_scale: float | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    choices: Choices | None = None,
    target: Target | None = None,
    limits: Limits | None = None,
    approved: frozenset[str] | None = None,
) -> list[Run]:
    """Run a scenario under several policies at the same time (the runs mostly wait), each in its own folder.

    Arguments and errors as ``run_scenario``; ``choices``, ``target``, ``limits`` and ``approved`` as ``run_async``. The
    first failure of the harness ends the other runs too.
    """

    async def work() -> list[Run]:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(
                    run_async(
                        scenario, policy=policy, engine=engine, seed=seed, time_scale=time_scale, out=out,
                        progress=progress, choices=choices, target=target, limits=limits, approved=approved,
                    )
                )
                for policy in policies
            ]  # fmt: skip
        return [task.result() for task in tasks]

    return run_to_the_end(work())


async def run_async(
    scenario: Scenario | str | Path,
    *,
    policy: str = DEFAULT_POLICY,
    engine: str = "real",
    seed: int = 1,
    time_scale: float | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    world: Callable[..., RealWorld] | None = None,
    limits: Limits | None = None,
    choices: Choices | None = None,
    target: Target | None = None,
    approved: frozenset[str] | None = None,
) -> Run:
    """``run_scenario`` for callers that have an event loop. Cancelling ends every process first.

    ``world`` makes the world of real processes in place of ``RealWorld``, ``limits`` are its real-time limits (for
    tests).
    ``target``: programs that are not ours (the real engine only, real time); ``policy`` is then a label.
    ``choices``, of a simulated run: where its decisions come from (default: the seed).
    ``approved``, of a real one: keys of the tool calls that may be performed (``lockjaw.runner.approvals``); None: all.
    """
    loaded = scenario if isinstance(scenario, Scenario) else load_scenario(scenario)
    if policy not in BEHAVIOURS:
        raise UsageError("policy", "", f"one of {', '.join(BEHAVIOURS)}", policy)
    if engine not in ENGINES:
        raise UsageError("engine", "", f"one of {', '.join(ENGINES)}", engine)
    if engine == "real" and (why := loaded.not_real):
        raise UsageError("engine", "", f"sim: {why}", engine)
    scale = loaded.time_scale if time_scale is None else time_scale
    facts: dict[str, Any] = {}
    if target is not None:
        check_playable(loaded, target.name)
        notes = tuple(target.notes(loaded, time_scale))
        scale, facts = 1.0, {"target": target.name, "notes": list(notes)} | target.facts
    if not 0 < scale <= 1:
        raise UsageError("time scale", "", "real seconds per nominal second, above 0 and at most 1", scale)
    if seed < 0:
        raise UsageError("seed", "", "a whole number >= 0", seed)
    store = Store(out)
    run = store.create(loaded.name, seed, policy, engine=engine, time_scale=scale, **facts)
    machine = ScaledClock.start()
    try:
        run.write(SCENARIO, msgspec.to_builtins(loaded))
        if engine == "real" and (target is not None or not is_builtin(loaded)):
            run.note(**{origin.ORIGIN: origin.mark(run.manifest(), (run.path / SCENARIO).read_bytes())})
        told = None if progress is None else lambda record: progress(policy, record)
        lived: Lived | SimLived
        exact: str | None = None
        if engine == "sim":
            choices = choices or RandomChoices(Seeds(seed))
            with interruptible():
                lived = run_sim(loaded, policy=policy, seed=seed, choices=choices, progress=told)
            exact = event_hash(lived.history)
            write_tape(run.path / TAPE, lived.tape)
            for name, lines in lived.logs.items():
                (run.logs / f"{name}.log").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        else:
            # Here, because a simulated run does not need what starts processes.
            from .real.engine import LIMITS, RealWorld, run_real

            make = target.world if target is not None else world or RealWorld
            lived = await run_real(
                make(
                    loaded, policy=policy, seed=seed, time_scale=scale, run=run, limits=limits or LIMITS,
                    approved=approved,
                ),
                progress=told,
            )  # fmt: skip
        judged = judge(
            loaded, lived.history, never_due=[str(fault) for fault in lived.never_due], policy=policy, engine=engine,
            seed=seed, nominal_s=lived.nominal_s, wall_s=machine.monotonic(), run_dir=run.path, exact_hash=exact,
        )  # fmt: skip
        if target is not None:
            judged = replace(judged, target=target.name, notes=notes)
        keep(run, judged)
    except BaseException as error:
        store.finish(run, "failed", error=f"{type(error).__name__}: {error}".splitlines()[0])
        raise
    store.finish(run, verdict=str(judged.verdict))
    return judged


def check_playable(scenario: Scenario, target: str) -> None:
    """Raises UsageError if programs that are not ours cannot play the scenario."""
    if why := scenario.only_ours:
        raise UsageError("target", "", f"{BUILTIN}: {why}", target)


def judge(
    scenario: Scenario,
    history: Sequence[Record],
    *,
    never_due: Sequence[str] = (),
    policy: str,
    engine: str,
    seed: int,
    nominal_s: float,
    wall_s: float,
    run_dir: Path,
    exact_hash: str | None = None,
) -> Run:
    """Verdict and outcome of a history. Pure.

    ``exact_hash``: over the whole history, where the engine repeats it to the byte; else the skeleton's counts.
    """
    ordered = numbered(history)
    judgement = judgement_of(scenario, ordered, never_due=never_due)
    return Run(
        scenario=scenario.name, policy=policy, engine=engine, seed=seed, verdict=judgement.verdict,
        checks=judgement.checks, reached=judgement.reached, outcome=outcome_of(ordered),
        event_hash=exact_hash or skeleton_hash(ordered), nominal_s=nominal_s, wall_s=wall_s, run_dir=run_dir,
        history=tuple(history),
    )  # fmt: skip


@dataclass(frozen=True)
class Judgement:
    """The verdict on a history, and what it rests on."""

    verdict: Verdict
    checks: tuple[CheckResult, ...]
    reached: tuple[Reached, ...]


def judgement_of(scenario: Scenario, history: Sequence[Record], *, never_due: Sequence[str] = ()) -> Judgement:
    """The verdict alone, for who makes thousands of runs. Pure."""
    ordered = numbered(history)
    checks = tuple(run_checks(scenario.checks, ordered, scenario.facts))
    reached = [_reached(some.says, some.witness(ordered)) for some in scenario.sometimes]
    reached += [Reached(f"the nemesis was to {fault}", None) for fault in never_due]
    verdict = combine(check.verdict for check in checks)
    if verdict is Verdict.HELD and not all(condition.met for condition in reached):
        verdict = Verdict.UNKNOWN
    return Judgement(verdict, checks, tuple(reached))


def keep(run: RunDirectory, judged: Run) -> None:
    """Write the history and the verdict into the run folder; the actors' own event files are then redundant."""
    write_history(run.path / HISTORY, judged.history)
    run.write(VERDICT, judged.document())
    for part in run.events.iterdir():
        part.unlink()
    run.events.rmdir()


def _reached(says: str, record: Record | None) -> Reached:
    return Reached(says, None if record is None else record.i)


def _shown(path: Path) -> str:
    """Relative to the working folder where that is shorter to type."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


# --------------------------------------------------------------------------- interruption


def run_to_the_end(work: Coroutine[Any, Any, list[T]]) -> list[T]:
    """Run to the end, or until SIGINT or SIGTERM; in both cases no process of ours is left when this returns."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        work.close()
        raise LocalError("an event loop is running here: await lockjaw.harness.run_async(...) instead")
    stopping = _Stopping()

    async def guarded() -> list[T]:
        with _stop_on_signals(stopping):
            return await work

    try:
        done = asyncio.run(guarded())
        if stopping.caught is None:
            return done
    except asyncio.CancelledError:
        if stopping.caught is None:
            raise
    except BaseExceptionGroup as group:
        failed = _first(group)
        if stopping.caught is None:
            raise failed from None
    if not stopping.in_simulation:
        tell(f"lockjaw: {stopping.caught.name}: every process of the run has been ended")
    if stopping.caught is signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + stopping.caught)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """A failure of the harness among several errors, else simply the first."""
    errors: list[BaseException] = []
    todo: list[BaseException] = [group]
    while todo:
        error = todo.pop(0)
        if isinstance(error, BaseExceptionGroup):
            todo.extend(error.exceptions)
        else:
            errors.append(error)
    return next((error for error in errors if isinstance(error, HarnessError)), errors[0])


class _Stopping:
    """The first SIGINT or SIGTERM, and whether a simulated run is going on, which no event loop can be asked to end."""

    def __init__(self) -> None:
        self.caught: signal.Signals | None = None
        self.in_simulation = False


_STOPPING: ContextVar[_Stopping] = ContextVar("stopping")


@contextmanager
def interruptible() -> Generator[None, None, None]:
    """Around a simulated run: a signal breaks into it, because it does not wait and has no processes to leave behind.

    The task is cancelled then, also where the run's own code has swallowed what the signal raised.
    """
    stopping = _STOPPING.get(None)
    if stopping is None:
        yield
        return
    if stopping.caught is not None:
        raise asyncio.CancelledError
    stopping.in_simulation = True
    try:
        yield
    except KeyboardInterrupt:
        if stopping.caught is None:
            raise
    finally:
        stopping.in_simulation = stopping.caught is not None
    if stopping.caught is not None:
        raise asyncio.CancelledError


@contextmanager
def _stop_on_signals(stopping: _Stopping) -> Generator[None, None, None]:
    """Cancel this task on the first SIGINT or SIGTERM. Later ones are ignored: what they ask for is under way, and
    breaking into it would leave processes behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def stop(number: int, frame: FrameType | None) -> None:
        if stopping.caught is None:
            stopping.caught = signal.Signals(number)
            if stopping.in_simulation:
                raise KeyboardInterrupt
            loop.call_soon_threadsafe(task.cancel)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    reset = _STOPPING.set(stopping)
    try:
        yield
    finally:
        _STOPPING.reset(reset)
        for number, handler in before.items():
            signal.signal(number, handler)
