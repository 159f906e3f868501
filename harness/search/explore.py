"""Many runs of one scenario in virtual time: look for a schedule that breaks a law, and say it in few words.

Strategies
    ``random``  one run per seed; every operation may be delayed a little, every message takes its own time.
    ``priority``  one run per seed; few operations are frozen, and of several actors the one with the highest priority
                acts (probabilistic concurrency testing).
    ``delays``  from the undisturbed run: one operation frozen, every operation in turn, then every two, every three.
    ``crash``   each actor killed before, in the middle of and after each of its operations.
    ``fault``   each operation failing once with EIO, ENOSPC, EPERM, EAGAIN.

The last three are systematic: they need no luck, and say how many places there were. A failure is shrunk, kept as a
run folder, and ends with the line that replays it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.errors import UsageError
from lockjaw.history import event_hash
from lockjaw.seeds import Seeds
from lockjaw.verdict import Verdict

from ..incident.scenario import Scenario
from ..run import judgement_of, run_async
from ..sim.engine import run_sim
from ..sim.tape import (
    CRASH_AFTER,
    CRASH_BEFORE,
    EVERYDAY,
    FAULTS,
    FIRST_FAULT,
    POINT_BOUND,
    TEAR,
    Chances,
    Choice,
    Choices,
    Deviations,
    Place,
    PriorityChoices,
    RandomChoices,
    SparseChoices,
)
from .shrink import in_words, shrink

STRATEGIES = ("random", "priority", "delays", "crash", "fault")
FREEZES = (5, 7, 8)  # of DELAYS_S: 0.5, 12 and 45 s
MAX_FINDINGS = 3  # that are shrunk; further ones are counted
BATCH = 5  # runs that travel to a worker together

Deviation = tuple[tuple[Place, int], ...]


class Job(msgspec.Struct, frozen=True):
    """One run to make: a seed, and the choices that are not 0 (None: drawn from the seed)."""

    seed: int
    deviations: Deviation | None = None


class Result(msgspec.Struct, frozen=True):
    """What one run came to. ``tape`` only of a violated one; ``hash`` only when asked."""

    job: Job
    verdict: str
    violated: tuple[str, ...]
    unknown: tuple[str, ...]
    simulated_s: float
    steps: int
    tape: tuple[Choice, ...] = ()
    same: bool = True


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
    different: int = 0  # runs that did not repeat (only looked for with ``twice``)
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
        if self.violations or self.different:
            return Verdict.VIOLATED
        # The other strategies disturb a run everywhere, so some never reach the danger; they look for violations.
        undecided = self.unknown if self.strategy == "random" else not self.runs
        return Verdict.UNKNOWN if undecided or not self.runs else Verdict.HELD

    def document(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario, "policy": self.policy, "strategy": self.strategy, "points": self.points,
            "runs": self.runs, "verdict": str(self.verdict), "verdicts": dict(sorted(self.verdicts.items())),
            "unknown": [{"why": list(why), "runs": n} for why, n in sorted(self.unknown.items())],
            "violations": self.violations, "broken": dict(self.broken.most_common()), "not_repeated": self.different,
            "findings": [finding.document() for finding in self.findings],
            "runs_per_s": round(self.per_second, 1), "simulated_hours": round(self.simulated_s / 3600, 2),
            "wall_s": round(self.wall_s, 2), "interrupted": self.interrupted,
        }  # fmt: skip


Progress = Callable[[Exploration], None]


def explore(
    scenario: Scenario,
    *,
    policy: str = "takeover",
    strategy: str = "random",
    seeds: int = 1000,
    first_seed: int = 1,
    workers: int = 1,
    chances: Chances = EVERYDAY,
    twice: bool = False,
    keep_going: bool = True,
    out: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    save: bool = True,
    pool: ProcessPoolExecutor | None = None,
    most_findings: int = MAX_FINDINGS,
) -> Exploration:
    """Explore. Ctrl-C ends it early, and what was found is returned.

    Args:
        seeds: how many runs at most (of the systematic strategies: 0 means all of them).
        workers: processes; 1 runs in this one.
        chances: what ``random`` may draw.
        twice: run each seed twice and compare the event hashes.
        keep_going: False ends at the first violation.
        save: keep the shrunk runs as run folders.
        pool: that many workers, started already: for who explores one scenario after the other.
        most_findings: how many violations are shrunk; the others are counted.

    Raises:
        UsageError: unknown policy or strategy.
        HarnessError: a run that does not end, an escape.
    """
    if strategy not in STRATEGIES:
        raise UsageError("strategy", "", f"one of {', '.join(STRATEGIES)}", strategy)
    if policy not in BEHAVIOURS:
        raise UsageError("policy", "", f"one of {', '.join(BEHAVIOURS)}", policy)
    jobs, planned, points = _jobs(scenario, policy, strategy, seeds, first_seed)
    found = Exploration(scenario.name, policy, strategy, planned, points)
    work = _Work(scenario, policy, chances, twice, points if strategy == "priority" else 0)
    began = time.perf_counter()
    interesting: dict[tuple[str, ...], Result] = {}
    try:
        for result in _results(work, jobs, workers, pool):
            found.runs += 1
            found.verdicts[result.verdict] += 1
            found.simulated_s += result.simulated_s
            found.different += not result.same
            if result.verdict == "UNKNOWN":
                found.unknown[result.unknown] += 1
            if result.violated:
                found.violations += 1
                found.broken.update(result.violated)
                if len(interesting) < most_findings:
                    interesting.setdefault(result.violated, result)
            found.wall_s = time.perf_counter() - began
            if progress is not None:
                progress(found)
            if result.violated and not keep_going:
                break
    except KeyboardInterrupt:
        found.interrupted = True
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


# --------------------------------------------------------------------------- which runs


def _jobs(
    scenario: Scenario, policy: str, strategy: str, seeds: int, first_seed: int
) -> tuple[Iterator[Job], int | None, int]:
    """The runs to make, how many, and how many operations they vary."""
    drawn = (Job(seed) for seed in range(first_seed, first_seed + seeds))
    if strategy == "random":
        return drawn, seeds, 0
    places = operations(scenario, policy, first_seed)
    if strategy == "priority":
        return drawn, seeds, len(places)
    if strategy == "crash":
        ways = [
            (place, how)
            for place in places
            for how in (CRASH_BEFORE, CRASH_AFTER, *((TEAR,) if _writes(place) else ()))
        ]
    elif strategy == "fault":
        ways = [(place, FIRST_FAULT + n) for place in places for n in range(len(FAULTS))]
    else:
        ways = [(place, freeze) for place in places for freeze in FREEZES]
        chains = itertools.chain.from_iterable(itertools.combinations(ways, count) for count in (1, 2, 3))
        jobs = (Job(first_seed, chain) for chain in chains if len({way[0] for way in chain}) == len(chain))
        return itertools.islice(jobs, seeds or len(ways)), seeds or len(ways), len(places)
    planned = min(seeds, len(ways)) if seeds else len(ways)
    return (Job(first_seed, (way,)) for way in ways[:planned]), planned, len(places)


def operations(scenario: Scenario, policy: str, seed: int) -> list[Place]:
    """Every operation of the gateway and the client in the undisturbed run, in its order."""
    choices = SparseChoices({})
    run_sim(scenario, policy=policy, seed=seed, choices=choices)
    seen: Counter[str] = Counter()
    places = []
    for choice in choices.tape:
        if choice.bound == POINT_BOUND and choice.label.startswith(("gateway: ", "client: ")):
            places.append(Place(choice.label, seen[choice.label]))
        seen[choice.label] += 1
    return places


def _writes(place: Place) -> bool:
    return any(word in place.label for word in (": Append ", ": WriteInPlace ", ": Write "))


# --------------------------------------------------------------------------- making them


@dataclass(frozen=True)
class _Work:
    """What every run of an exploration has in common; travels to the workers.

    ``length``: of strategy ``priority``, how many operations a run has; 0: it is another one.
    """

    scenario: Scenario
    policy: str
    chances: Chances
    twice: bool = False
    length: int = 0

    def choices(self, job: Job) -> Choices:
        if job.deviations is None:
            seeds = Seeds(job.seed)
            return PriorityChoices(seeds, self.length) if self.length else RandomChoices(seeds, self.chances)
        return SparseChoices(dict(job.deviations))

    def run(self, job: Job) -> Result:
        lived = run_sim(self.scenario, policy=self.policy, seed=job.seed, choices=self.choices(job))
        judged = judgement_of(self.scenario, lived.history, never_due=[str(fault) for fault in lived.never_due])
        same = True
        if self.twice:
            again = run_sim(self.scenario, policy=self.policy, seed=job.seed, choices=self.choices(job))
            same = event_hash(lived.history) == event_hash(again.history)
        violated = tuple(check.name for check in judged.checks if check.verdict is Verdict.VIOLATED)
        unknown: tuple[str, ...] = ()
        if judged.verdict is Verdict.UNKNOWN:
            unknown = tuple(check.name for check in judged.checks if check.verdict is Verdict.UNKNOWN)
            unknown += tuple(f"never: {one.says}" for one in judged.reached if not one.met)
        return Result(
            job, str(judged.verdict), violated, unknown, lived.simulated_s, lived.steps,
            tuple(lived.tape) if violated else (), same,
        )  # fmt: skip


def _batch(work: _Work, jobs: Sequence[Job]) -> list[Result]:
    return [work.run(job) for job in jobs]


def _results(
    work: _Work, jobs: Iterator[Job], workers: int, shared: ProcessPoolExecutor | None = None
) -> Iterator[Result]:
    if workers <= 1:
        for job in jobs:
            yield work.run(job)
        return
    batches = iter(lambda: list(itertools.islice(jobs, BATCH)), [])
    with nullcontext(shared) if shared else ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting: set[Future[list[Result]]] = set()
        try:
            for batch in itertools.islice(batches, 2 * workers):
                waiting.add(pool.submit(_batch, work, batch))
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    batch = next(batches, [])
                    if batch:
                        waiting.add(pool.submit(_batch, work, batch))
                    yield from future.result()
        finally:
            for future in waiting:
                future.cancel()


# --------------------------------------------------------------------------- what they found


def _minimal(work: _Work, result: Result, *, out: str | os.PathLike[str] | None, save: bool) -> Finding:
    """Shrink a violated run: the same first law is still broken."""
    law, seed = result.violated[0], result.job.seed

    def fails(deviations: Any) -> bool:
        return law in work.run(Job(seed, tuple(deviations.items()))).violated

    shrunk = shrink(list(result.tape), fails)
    tries = shrunk.tries if shrunk else 0
    return _kept(work, result, shrunk.deviations if shrunk else None, tries, out=out, save=save)


def _kept(
    work: _Work, result: Result, deviations: Deviations | None, tries: int, *, out: str | os.PathLike[str] | None,
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
