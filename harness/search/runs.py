"""One run of a search, and batches of them: what a worker does, here, in another process or on another machine."""

from __future__ import annotations

import os
import platform
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import msgspec

import lockjaw
from lockjaw.errors import HarnessError
from lockjaw.history import event_hash
from lockjaw.verdict import Verdict

from ..incident.scenario import Scenario
from ..run import judgement_of
from ..sim.engine import InVain, run_sim
from ..sim.tape import EVERYDAY, Chances, Choice, Choices, Place, Until
from .coverage import Ordering, races_of, schedule_of
from .strategies import FUZZ, Job, choices_of, kind_of

__all__ = ["BATCH_S", "Batch", "Build", "OtherBuild", "Result", "Work", "this_build"]

BATCH_S = 1.0  # real seconds that a worker works before it hands in what it has
_UNFINISHED = "unfinished"  # the schedule of a run that did not come to its end
_MOST_RACES = 200  # that a run names for the fuzzer


class Result(msgspec.Struct, frozen=True):
    """What one run came to.

    ``kind``: of the rota. ``schedule`` names it; ``orderings``: of a violated one all, else those that no earlier
    run of the batch had that broke no law. ``tape``:
    only of a violated one. ``races``: only for the fuzzer; waits that would turn two of its steps round. ``same``: it
    repeated, if it was made twice.
    """

    job: Job
    kind: str
    verdict: str
    violated: tuple[str, ...]
    unknown: tuple[str, ...]
    simulated_s: float
    steps: int
    event_hash: str
    schedule: str
    orderings: tuple[Ordering, ...]
    tape: tuple[Choice, ...] = ()
    races: tuple[tuple[Place, Until], ...] = ()
    same: bool = True


class Build(msgspec.Struct, frozen=True):
    """What must be the same wherever a run is made: the program, word for word, and the Python under it."""

    lockjaw: str
    source: str
    python: str

    def difference(self, other: Build) -> str:
        """What is another one there, in words; empty: nothing."""
        if self.python != other.python:
            return f"it has Python {other.python}, here it is {self.python}"
        if self.lockjaw != other.lockjaw:
            return f"it has Lockjaw {other.lockjaw}, here it is {self.lockjaw}"
        if self.source != other.source:
            return f"it has another build of Lockjaw {self.lockjaw} (source {other.source}, here {self.source})"
        return ""


class OtherBuild(HarnessError):
    """A worker would not make the same runs. Fields: ``worker``, ``difference``."""

    def __init__(self, worker: str, difference: str) -> None:
        self.worker, self.difference = worker, difference
        super().__init__(f"the worker {worker} is refused: {difference}; install the same one there")

    def __reduce__(self) -> tuple[type[OtherBuild], tuple[str, str]]:
        return type(self), (self.worker, self.difference)


@lru_cache(maxsize=1)
def this_build() -> Build:
    """The build of this process. Reads every source file of the package once."""
    digest = blake2b(digest_size=6)
    for package in ("", ".harness", ".fakes", ".reports", ".scenarios"):
        for folder in _folders(f"lockjaw{package}"):
            for path in sorted(p for p in folder.rglob("*") if p.suffix in (".py", ".yaml")):
                digest.update(f"{package} {path.relative_to(folder)}\n".encode() + path.read_bytes())
    return Build(lockjaw.__version__, digest.hexdigest(), platform.python_version())


def _folders(package: str) -> list[Path]:
    module = __import__(package, fromlist=["__path__"])
    return [Path(folder) for folder in module.__path__]


@lru_cache(maxsize=1)
def worker_name() -> str:
    return f"{socket.gethostname()} {os.getpid()}"


class Batch(msgspec.Struct, frozen=True):
    """What a worker hands in. ``results``: of the first jobs that it was given; the others were not begun."""

    results: tuple[Result, ...]
    worker: str
    cpu_s: float


@dataclass(frozen=True)
class Work:
    """What every run of an exploration has in common; travels to the workers. ``build``: None here at home."""

    scenario: Scenario
    policy: str
    strategy: str
    chances: Chances = EVERYDAY
    twice: bool = False
    build: Build | None = None

    def choices(self, job: Job) -> Choices:
        return choices_of(job, self.strategy, self.scenario, self.policy, self.chances)

    def run(self, job: Job) -> Result:
        kind = kind_of(self.strategy, job.seed) if job.deviations is None else self.strategy
        try:
            return self._judged(job, kind)
        except InVain as error:
            if not error.of_cast:
                raise
            return Result(job, kind, "UNKNOWN", (), (f"never: {error.what}",), 0.0, 0, "", _UNFINISHED, ())

    def _judged(self, job: Job, kind: str) -> Result:
        lived = run_sim(self.scenario, policy=self.policy, seed=job.seed, choices=self.choices(job))
        judged = judgement_of(self.scenario, lived.history, never_due=[str(fault) for fault in lived.never_due])
        hashed, same = event_hash(lived.history), True
        if self.twice:
            again = run_sim(self.scenario, policy=self.policy, seed=job.seed, choices=self.choices(job))
            same = hashed == event_hash(again.history)
        violated = tuple(check.name for check in judged.checks if check.verdict is Verdict.VIOLATED)
        unknown: tuple[str, ...] = ()
        if judged.verdict is Verdict.UNKNOWN:
            unknown = tuple(check.name for check in judged.checks if check.verdict is Verdict.UNKNOWN)
            unknown += tuple(f"never: {one.says}" for one in judged.reached if not one.met)
        schedule = schedule_of(lived.log)
        return Result(
            job, kind, str(judged.verdict), violated, unknown, lived.simulated_s, lived.steps, hashed, schedule.name,
            tuple(sorted(schedule.orderings)), tuple(lived.tape) if violated else (),
            races_of(lived.log, _MOST_RACES) if self.strategy == FUZZ else (), same,
        )  # fmt: skip


def work_on(
    work: Work,
    jobs: Sequence[Job],
    *,
    limit_s: float = BATCH_S,
    stop: Callable[[], bool] | None = None,
    name: str = "",
) -> Batch:
    """Make runs until the time is up; at least one. Where ``stop`` says so, no more.

    Raises:
        OtherBuild (names the worker): the work comes from another build of Lockjaw, or another Python.
    """
    if work.build is not None and (difference := work.build.difference(this_build())):
        raise OtherBuild(name or worker_name(), difference)
    began, cpu = time.perf_counter(), time.process_time()
    results: list[Result] = []
    known: set[Ordering] = set()
    for job in jobs:
        if results and (time.perf_counter() - began >= limit_s or (stop is not None and stop())):
            break
        result = work.run(job)
        new = tuple(ordering for ordering in result.orderings if ordering not in known)
        if work.strategy != FUZZ and not result.violated:
            result = msgspec.structs.replace(result, orderings=new)
        if not result.violated:
            known.update(new)
        results.append(result)
    return Batch(tuple(results), name or worker_name(), time.process_time() - cpu)
