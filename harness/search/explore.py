"""Many runs of one scenario in virtual time: look for a schedule that breaks a law, and say it in few words.

What the runs are is ``strategies``'; where they are made is ``workers``'; what they have shown is ``coverage``'s. A
failure is shrunk here, whoever found it, kept as a run folder, and ends with the line that replays it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.errors import UsageError
from lockjaw.verdict import Verdict

from ..incident.scenario import Scenario
from ..run import run_async
from ..sim.tape import EVERYDAY, Chances, Deviations, SparseChoices
from .coverage import Schedules
from .fuzz import Fuzzer
from .runs import Batch, Result, Work
from .shrink import in_words, shrink
from .strategies import DRAWN, FUZZ, STRATEGIES, Job, Plan, plan
from .undisturbed import undisturbed
from .workers import Workers, results_of, started

__all__ = ["Exploration", "Finding", "explore"]

MAX_FINDINGS = 3  # that are shrunk; further ones are counted


@dataclass(frozen=True)
class Finding:
    """A broken law, and the fewest choices that break it."""

    job: Job
    violated: tuple[str, ...]
    steps: tuple[str, ...]
    tries: int
    run_dir: Path | None = None

    def document(self) -> dict[str, Any]:
        return {
            "seed": self.job.seed, "violated": list(self.violated), "steps": list(self.steps),
            "shrink_runs": self.tries, "run_dir": str(self.run_dir) if self.run_dir else None,
            "replay": f"lockjaw replay {_shown(self.run_dir)}" if self.run_dir else None,
        }  # fmt: skip


@dataclass
class Exploration:
    """What was found so far. ``planned`` is None where nobody can tell. ``points``: operations that were varied."""

    scenario: str
    policy: str
    strategy: str
    planned: int | None
    points: int = 0
    runs: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    unknown: Counter[tuple[str, ...]] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    violations: int = 0  # runs
    broken: Counter[str] = field(default_factory=Counter)  # law -> runs that broke it
    not_repeated: int = 0  # runs that did not repeat (only looked for with ``twice``)
    schedules: Schedules = field(default_factory=Schedules)
    by_kind: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # of the rota -> verdicts
    by_worker: Counter[str] = field(default_factory=Counter)  # -> runs
    cpu_s: float = 0.0  # of the workers
    quiet: bool = False  # ended because nothing new came any more
    simulated_s: float = 0.0
    wall_s: float = 0.0
    interrupted: bool = False
    shrinking: str = ""  # what is being shrunk, in words; empty: nothing yet

    @property
    def left_s(self) -> float | None:
        """Real seconds to the end at this speed; None: nobody can tell."""
        return (self.planned - self.runs) / self.per_second if self.planned and self.runs and self.wall_s else None

    @property
    def per_second(self) -> float:
        return self.runs / self.wall_s if self.wall_s else 0.0

    @property
    def verdict(self) -> Verdict:
        if self.violations or self.not_repeated:
            return Verdict.VIOLATED
        # The other strategies disturb a run everywhere, so some never reach the danger; they look for violations.
        undecided = self.by_kind["everyday"]["UNKNOWN"]
        return Verdict.UNKNOWN if undecided or not self.runs else Verdict.HELD

    @property
    def unseen(self) -> dict[str, Any] | None:
        """How likely the next run of this strategy is to bring a schedule that is new (Good-Turing). None where a run
        is not drawn: of a sweep, and of a search that learns, the estimate is wrong."""
        chance = self.schedules.unseen
        if self.strategy not in DRAWN or chance is None:
            return None
        return {"strategy": self.strategy, "chance": round(chance, 4)}

    def add(self, result: Result) -> None:
        """One run more."""
        self.runs += 1
        self.verdicts[result.verdict] += 1
        self.by_kind[result.kind][result.verdict] += 1
        self.simulated_s += result.simulated_s
        self.not_repeated += not result.same
        self.schedules.add(result.schedule, result.orderings, violated=bool(result.violated))
        if result.verdict == "UNKNOWN":
            self.unknown[result.unknown] += 1
        if result.violated:
            self.violations += 1
            self.broken.update(result.violated)

    def came(self, batch: Batch) -> None:
        """A worker has handed something in."""
        self.by_worker[batch.worker] += len(batch.results)
        self.cpu_s += batch.cpu_s

    def document(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario, "policy": self.policy, "strategy": self.strategy, "points": self.points,
            "runs": self.runs, "verdict": str(self.verdict), "verdicts": dict(sorted(self.verdicts.items())),
            "unknown": [{"why": list(why), "runs": n} for why, n in sorted(self.unknown.items())],
            "violations": self.violations, "broken": dict(self.broken.most_common()),
            "not_repeated": self.not_repeated, "schedules": self.schedules.document(), "unseen": self.unseen,
            "kinds": {kind: dict(sorted(one.items())) for kind, one in sorted(self.by_kind.items()) if one},
            "findings": [finding.document() for finding in self.findings],
            "runs_per_s": round(self.per_second, 1), "simulated_hours": round(self.simulated_s / 3600, 2),
            "wall_s": round(self.wall_s, 2), "cpu_s": round(self.cpu_s, 2), "interrupted": self.interrupted,
            "quiet": self.quiet, "workers": dict(sorted(self.by_worker.items())),
        }  # fmt: skip


Progress = Callable[[Exploration], None]


def explore(
    scenario: Scenario,
    *,
    policy: str = "takeover",
    strategy: str = "random",
    seeds: int = 1000,
    first_seed: int = 1,
    workers: int | str | Workers = 1,
    chances: Chances = EVERYDAY,
    twice: bool = False,
    fail_fast: int | None = None,
    until_quiet: int | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    save: bool = True,
    most_findings: int = MAX_FINDINGS,
) -> Exploration:
    """Explore. Ctrl-C ends it early, and what was found is returned.

    Args:
        seeds: how many runs at most (0 means all of them for the systematic strategies, no end for ``fuzz``).
        workers: processes (1: this one), the address of a cluster, or workers that were started already, which stay.
        chances: what ``everyday`` may draw.
        twice: run each seed twice and compare the event hashes.
        fail_fast: end when so many runs have broken a law.
        until_quiet: end when so many runs in a row have brought no new ordering of conflicting steps.
        save: keep the shrunk runs as run folders.
        most_findings: how many violations are shrunk; the others are counted.

    Raises:
        UsageError: unknown policy or strategy.
        HarnessError: a run that does not end, an escape, a worker of another build.
    """
    if strategy not in STRATEGIES:
        raise UsageError("strategy", "", f"one of {', '.join(STRATEGIES)}", strategy)
    if policy not in BEHAVIOURS:
        raise UsageError("policy", "", f"one of {', '.join(BEHAVIOURS)}", policy)
    learner = Fuzzer(undisturbed(scenario, policy), first_seed) if strategy == FUZZ else None
    if learner is None:
        planned = plan(scenario, policy, strategy, seeds, first_seed)
    else:
        planned = Plan(learner.jobs(seeds or None), seeds or None, undisturbed(scenario, policy).length)
    found = Exploration(scenario.name, policy, strategy, planned.planned, planned.points)
    work = Work(scenario, policy, strategy, chances, twice)
    began = time.perf_counter()
    interesting: dict[tuple[str, ...], Result] = {}
    seen = Counter[str]()

    def enough(result: Result) -> bool:
        seen["violated"] += 1
        return fail_fast is not None and seen["violated"] >= fail_fast

    crew = started(workers)
    results = results_of(work, planned.jobs, crew, found=enough, batch=found.came)
    try:
        for result in results:
            found.add(result)
            if learner is not None:
                learner.learn(result)
            if result.violated and len(interesting) < most_findings:
                interesting.setdefault(result.violated, result)
            found.wall_s = time.perf_counter() - began
            if progress is not None:
                progress(found)
            if until_quiet is not None and found.schedules.quiet_for >= until_quiet:
                found.quiet = True
                break
    except KeyboardInterrupt:
        found.interrupted = True
    finally:
        results.close()
        if crew is not workers:
            crew.close()
    for result in interesting.values():
        found.shrinking = f"{', '.join(result.violated)} (seed {result.job.seed})"
        if progress is not None:
            progress(found)
        try:
            found.findings.append(_minimal(work, result, out=out if save else None, save=save))
        except KeyboardInterrupt:  # once more: as it was found, then
            found.interrupted = True
            found.findings.append(_kept(work, result, None, 0, out=out if save else None, save=save))
    return found


# --------------------------------------------------------------------------- what they found


def _minimal(work: Work, result: Result, *, out: str | os.PathLike[str] | None, save: bool) -> Finding:
    """Shrink a violated run: the same first law is still broken."""
    law, seed = result.violated[0], result.job.seed

    def fails(deviations: Any) -> bool:
        return law in work.run(Job(seed, tuple(deviations.items()))).violated

    shrunk = shrink(list(result.tape), fails)
    tries = shrunk.tries if shrunk else 0
    return _kept(work, result, shrunk.deviations if shrunk else None, tries, out=out, save=save)


def _kept(
    work: Work, result: Result, deviations: Deviations | None, tries: int, *, out: str | os.PathLike[str] | None,
    save: bool,
) -> Finding:  # fmt: skip
    """A finding with its run folder. ``deviations``: the fewest choices; None: all that the run made."""
    run_dir = None
    if save:
        kept = asyncio.run(
            run_async(
                work.scenario, policy=work.policy, engine="sim", seed=result.job.seed, out=out,
                choices=work.choices(result.job) if deviations is None else SparseChoices(deviations),
            )
        )  # fmt: skip
        run_dir = kept.run_dir
    words = ["(not shrunk; all its choices are on the tape)"] if deviations is None else in_words(deviations)
    return Finding(result.job, result.violated, tuple(words), tries, run_dir)


def _shown(path: Path | None) -> str:
    if path is None:
        return ""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
