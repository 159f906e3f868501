"""Run scenarios and judge them: the harness's public face.

Every run ends with a verdict about its history. A law that was broken makes it VIOLATED; otherwise a run that
never reached the danger (a ``sometimes`` that did not happen, a fault that was never due) is UNKNOWN.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from lockjaw.behaviours import BEHAVIOURS, POLICIES
from lockjaw.clock import ScaledClock
from lockjaw.errors import UsageError
from lockjaw.history import Record, event_hash
from lockjaw.history.run import BUILTIN, Reached, Run
from lockjaw.seeds import Seeds

from .incident.scenario import Scenario, is_builtin, load_scenario
from .judge.judgement import judge, judgement_of, seen_from_outside
from .play.interruption import interruptible, run_to_the_end
from .sim.engine import SimLived, run_sim
from .sim.tape import Choices, RandomChoices, write_tape
from .store import SCENARIO, TAPE, Store, keep

if TYPE_CHECKING:
    from .real.engine import Limits, Lived, RealWorld
    from .targets import Target

__all__ = [
    "BUILTIN",
    "DEFAULT_POLICY",
    "ENGINES",
    "Progress",
    "Reached",
    "Run",
    "check_order",
    "check_playable",
    "judge",
    "judgement_of",
    "load_scenario",
    "run_async",
    "run_policies",
    "run_scenario",
    "run_to_the_end",
]

ENGINES = ("real", "sim")
DEFAULT_POLICY = "takeover"

Progress = Callable[[str, Record], None]
Simulate = Callable[[Scenario, str, int], SimLived]  # policy, seed


def run_scenario(
    scenario: Scenario | str | Path,
    *,
    policy: str = DEFAULT_POLICY,
    engine: str = "real",
    seed: int = 1,
    time_scale: float | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    simulate: Simulate | None = None,
) -> Run:
    """Run a scenario once and judge it.

    Args:
        scenario: a scenario, a built-in name, or the path of a file.
        policy: what the client does when the gateway fails.
        seed: root of the run's randomness, >= 0.
        time_scale: real seconds per nominal second; None: the scenario's own.
        out: where run folders go; None: ``.lockjaw/runs``.
        progress: called with the policy and each record while the run goes on.
        simulate: makes a simulated run elsewhere (``lockjaw.harness.search.cluster.Elsewhere``); it is judged and kept
            here.

    Raises:
        LocalError: unknown scenario, policy or engine, or called inside an event loop (use ``run_async``).
        HarnessError: the harness or the machine failed; names the run folder.
        KeyboardInterrupt: Ctrl-C; every process has been ended and reaped.
        SystemExit: SIGTERM; the same, status 143.
    """
    return run_policies(
        scenario, [policy], engine=engine, seed=seed, time_scale=time_scale, out=out, progress=progress,
        simulate=simulate,
    )[0]  # fmt: skip


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
    simulate: Simulate | None = None,
) -> list[Run]:
    """Run a scenario under several policies at the same time (the runs mostly wait), each in its own folder.

    Arguments and errors as ``run_scenario``; ``choices``, ``target``, ``limits``, ``approved`` and ``simulate`` as
    ``run_async``. The first failure of the harness ends the other runs too.
    """

    async def work() -> list[Run]:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(
                    run_async(
                        scenario, policy=policy, engine=engine, seed=seed, time_scale=time_scale, out=out,
                        progress=progress, choices=choices, target=target, limits=limits, approved=approved,
                        simulate=simulate,
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
    simulate: Simulate | None = None,
) -> Run:
    """``run_scenario`` for callers that have an event loop. Cancelling ends every process first.

    ``world`` makes the world of real processes in place of ``RealWorld``, ``limits`` are its real-time limits (for
    tests).
    ``target``: programs that are not ours (the real engine only, real time); ``policy`` is then a label.
    ``choices``, of a simulated run: where its decisions come from (default: the seed).
    ``simulate``, of one without ``choices``: makes it elsewhere.
    ``approved``, of a real one: keys of the tool calls that may be performed (``lockjaw.runner.approvals``); None: all.
    """
    loaded = scenario if isinstance(scenario, Scenario) else load_scenario(scenario)
    check_order(loaded, policy=policy, engine=engine, seed=seed, time_scale=time_scale)
    scale = loaded.time_scale if time_scale is None else time_scale
    facts: dict[str, Any] = {}
    if target is not None:
        check_playable(loaded, target.name)
        notes = tuple(target.notes(loaded, time_scale))
        scale, facts = 1.0, {"target": target.name, "notes": list(notes)} | target.facts
    store = Store(out)
    run = store.create(loaded.name, seed, policy, engine=engine, time_scale=scale, **facts)
    machine = ScaledClock.start()
    try:
        run.write(SCENARIO, msgspec.to_builtins(loaded))
        if engine == "real" and (target is not None or not is_builtin(loaded)):
            from .kit import origin  # here: only runs of real processes need it

            run.note(**{origin.ORIGIN: origin.mark(run.manifest(), (run.path / SCENARIO).read_bytes())})
        told = None if progress is None else lambda record: progress(policy, record)
        lived: Lived | SimLived
        exact: str | None = None
        if engine == "sim":
            with interruptible():
                if simulate is not None and choices is None:
                    lived = simulate(loaded, policy, seed)
                else:
                    choices = choices or RandomChoices(Seeds(seed))
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
            judged = seen_from_outside(
                replace(judged, target=target.name, notes=(*judged.notes, *notes)), target.cannot
            )
        keep(run, judged)
    except BaseException as error:
        store.finish(run, "failed", error=f"{type(error).__name__}: {error}".splitlines()[0])
        raise
    store.finish(run, verdict=str(judged.verdict))
    return judged


def check_order(scenario: Scenario, *, policy: str, engine: str, seed: int, time_scale: float | None = None) -> None:
    """Raises UsageError if such a run cannot be made; nothing is begun. Arguments as ``run_scenario``."""
    if policy not in BEHAVIOURS:
        raise UsageError("policy", "", f"one of {', '.join(BEHAVIOURS)}", policy)
    if engine not in ENGINES:
        raise UsageError("engine", "", f"one of {', '.join(ENGINES)}", engine)
    if engine == "real" and (why := scenario.not_real):
        raise UsageError("engine", "", f"sim: {why}", engine)
    if time_scale is not None and not 0 < time_scale <= 1:
        expected = "a number above 0 and at most 1 (real seconds per nominal second)"
        raise UsageError("--time-scale", "", expected, time_scale)
    if seed < 0:
        raise UsageError("seed", "", "a whole number >= 0", seed)


def check_playable(scenario: Scenario, target: str) -> None:
    """Raises UsageError if programs that are not ours cannot play the scenario."""
    if why := scenario.only_ours:
        raise UsageError("target", "", f"{BUILTIN}: {why}", target)
