"""One run of the benchmark: every contestant in every round, so that a busy moment of the machine hits all alike."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from .contention import Contention, contend, handoff, recover, storm, wait_cpu
from .contestants import Absent, Contestant, contestants
from .node_rivals import NODE_FAILURES

Progress = Callable[[str], None]


@dataclass(frozen=True)
class BenchPlan:
    """How much is measured; durations in real seconds."""

    name: str
    rounds: int
    uncontended: int
    waiters: tuple[int, ...]
    handoff_s: float
    processes: tuple[int, ...]
    holds_s: tuple[float, ...]
    contention_s: float
    kills: int
    kill_limit_s: float
    storm_rounds: int
    cpu_waiters: int
    cpu_s: float


QUICK = BenchPlan("quick", 2, 300, (1, 4), 0.2, (8,), (0.0, 0.005), 0.25, 3, 0.4, 3, 8, 0.25)
FULL = BenchPlan("full", 2, 1000, (1, 4, 16), 1.0, (8, 16, 64), (0.0, 0.005, 0.2), 1.5, 5, 12.0, 40, 64, 10.0)

_MOST_NODES = 16  # a Node process with the whole of OpenClaw in it takes some 100 MB
_TURNS = 2  # that everybody could have had, however many they are and however long each holds
_LONG_S = 4.0  # a measurement that takes longer is not repeated


@dataclass
class Figures:
    """All of one contestant: medians of the rounds; durations in seconds, None: not measured."""

    name: str
    kind: str
    uncontended_p50_s: float | None = None  # of one object that is used again
    uncontended_p99_s: float | None = None
    afresh_p50_s: float | None = None  # of an object that is made for each turn
    afresh_p99_s: float | None = None
    handoff_p50_s: dict[int, float] = field(default_factory=dict)
    handoff_p99_s: dict[int, float] = field(default_factory=dict)
    contention: dict[str, Contention] = field(default_factory=dict)
    recovery_p50_s: float | None = None
    recovery_never: int = 0
    storm_overlaps: int | None = None
    storm_rounds: int = 0
    wait_cpu_s: float | None = None


@dataclass(frozen=True)
class BenchResult:
    plan: BenchPlan
    environment: dict[str, Any]
    figures: Sequence[Figures]
    absent: Sequence[Absent]
    took_s: float
    interrupted: bool = False

    def document(self) -> dict[str, Any]:
        return {
            "lockjaw": metadata.version("lockjaw"),
            "command": "bench locks",
            "plan": asdict(self.plan),
            "environment": self.environment,
            "locks": [asdict(figures) for figures in self.figures],
            "absent": [asdict(absent) for absent in self.absent],
            "took_s": round(self.took_s, 1),
            "interrupted": self.interrupted,
        }


def case(processes: int, hold_s: float) -> str:
    """The name of a contention measurement."""
    return f"{processes} x {hold_s * 1000:g} ms"


def contention_s(plan: BenchPlan, processes: int, hold_s: float) -> float:
    """How long one contention is watched."""
    return max(plan.contention_s, _TURNS * processes * hold_s if plan is FULL else 0.0)


def about_s(plan: BenchPlan, contestants: int) -> float:
    """Seconds that a plan takes with so many contestants, roughly: what is waited for, and a little for processes."""
    each = plan.rounds * len(plan.waiters) * (plan.handoff_s + 0.3)
    for processes in plan.processes:
        for hold_s in plan.holds_s:
            length_s = contention_s(plan, processes, hold_s)
            each += (length_s + 0.2) * (1 if length_s > _LONG_S else plan.rounds)
    each += plan.kills * 0.3 + plan.cpu_s + 0.5
    return contestants * each + 5 * plan.storm_rounds * 0.35 + (3 + plan.kills) * plan.kill_limit_s


def run(plan: BenchPlan, folder: Path, progress: Progress) -> BenchResult:
    """Measure in a new folder inside ``folder``, which decides the file system; it is removed afterwards.

    Ctrl-C ends the measurements; the result holds what was measured until then.
    """
    began = time.monotonic()
    interrupted = False
    here, absent = contestants()
    figures = {contestant.name: Figures(contestant.name, contestant.kind) for contestant in here}
    load_before = os.getloadavg()
    with tempfile.TemporaryDirectory(dir=folder, prefix=".lockjaw-bench-") as name:
        expected = _clock(about_s(plan, len(here)))

        def timed(what: str) -> None:
            progress(f"{what} ({_clock(time.monotonic() - began)} of about {expected})")

        bench = _Bench(plan, Path(name).resolve(), here, figures, timed)
        steps = (bench.uncontended, bench.handoffs, bench.contentions, bench.kills, bench.storms, bench.waits)
        try:
            for step in steps:
                step()
        except KeyboardInterrupt:
            interrupted = True
    absent, took_s = [*absent, *bench.failed], time.monotonic() - began
    return BenchResult(plan, environment(folder, load_before), list(figures.values()), absent, took_s, interrupted)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def environment(folder: Path, load_before: tuple[float, float, float]) -> dict[str, Any]:
    """What the figures depend on."""
    versions = {}
    for package in ("lockjaw", "filelock", "portalocker", "fasteners"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "cores": len(os.sched_getaffinity(0)),
        "file_system": _file_system(folder),
        "load_before": [round(value, 2) for value in load_before],
        "load_after": [round(value, 2) for value in os.getloadavg()],
        "versions": versions,
    }


def _middle_and_worst(values: list[float]) -> tuple[float, float]:
    """The median and the 99th percentile."""
    values.sort()
    return values[len(values) // 2], values[len(values) * 99 // 100]


def _file_system(folder: Path) -> str:
    best, kind = "", "unknown"
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, this, *_ = line.split()
        if str(folder.resolve()).startswith(mount) and len(mount) >= len(best):
            best, kind = mount, this
    return kind


class _Bench:
    """The measurements, each over all contestants."""

    def __init__(
        self, plan: BenchPlan, folder: Path, here: Sequence[Contestant], figures: dict[str, Figures], progress: Progress
    ) -> None:
        self._plan, self._folder, self._here, self._figures, self._progress = plan, folder, here, figures, progress
        self._made = 0
        self.failed: list[Absent] = []

    def _failed(self, contestant: Contestant, what: str, error: Exception) -> None:
        """A rival that gave up (proper-lockfile ends its process when it is late to renew its lock) is told of."""
        self.failed.append(Absent(contestant.name, f"{what}: {error}"))

    def _fresh(self) -> Path:
        self._made += 1
        folder = self._folder / str(self._made)
        folder.mkdir()
        return folder

    def uncontended(self) -> None:
        self._progress("uncontended acquire and release")
        samples: dict[str, list[float]] = {}
        afresh: dict[str, list[float]] = {}
        blocking = [one for one in self._here if one.open_async is None and one.node is None]
        paths = {contestant.name: str(self._fresh() / "s.jsonl") for contestant in blocking}
        opened = {contestant.name: contestant.open(paths[contestant.name]) for contestant in blocking}
        clock = time.perf_counter
        for _ in range(self._plan.rounds * 10):
            for contestant in blocking:
                name, turn = contestant.name, contestant.afresh
                acquire, release = opened[name]
                for _ in range(self._plan.uncontended // 10):
                    start = clock()
                    acquire()
                    release()
                    samples.setdefault(name, []).append(clock() - start)
                for _ in range(self._plan.uncontended // 10 if turn else 0):
                    assert turn is not None
                    start = clock()
                    turn(paths[name])
                    afresh.setdefault(name, []).append(clock() - start)
        for rival in self._here:
            if rival.node is not None:
                self._progress(f"uncontended acquire and release: {rival.name}")
                count = self._plan.uncontended // (10 if self._plan is QUICK else 1)
                try:
                    samples[rival.name] = rival.node.uncontended(self._fresh(), count)
                except NODE_FAILURES as error:
                    self._failed(rival, "uncontended", error)
        for name, values in samples.items():
            figures = self._figures[name]
            figures.uncontended_p50_s, figures.uncontended_p99_s = _middle_and_worst(values)
        for name, values in afresh.items():
            figures = self._figures[name]
            figures.afresh_p50_s, figures.afresh_p99_s = _middle_and_worst(values)

    def handoffs(self) -> None:
        for waiters in self._plan.waiters:
            samples: dict[str, list[list[float]]] = {}
            try:
                for number in range(self._plan.rounds):
                    self._handoff_round(waiters, number, samples)
            finally:
                for name, rounds in samples.items():
                    figures = self._figures[name]
                    figures.handoff_p50_s[waiters] = statistics.median(v[len(v) // 2] for v in rounds)
                    figures.handoff_p99_s[waiters] = statistics.median(v[len(v) * 99 // 100] for v in rounds)

    def _handoff_round(self, waiters: int, number: int, samples: dict[str, list[list[float]]]) -> None:
        for contestant in self._here:
            if contestant.node is not None and self._plan is QUICK and (waiters, number) != (1, 0):
                continue  # starting Node takes seconds
            self._progress(f"hand-off, {waiters} waiting, round {number + 1}: {contestant.name}")
            try:
                found = handoff(contestant, self._fresh(), waiters, self._plan.handoff_s)
            except NODE_FAILURES as error:
                self._failed(contestant, f"hand-off to {waiters}", error)
                continue
            if found:
                samples.setdefault(contestant.name, []).append(sorted(found))

    def contentions(self) -> None:
        for processes in self._plan.processes:
            for hold_s in self._plan.holds_s:
                found: dict[str, list[Contention]] = {}
                rounds = 1 if contention_s(self._plan, processes, hold_s) > _LONG_S else self._plan.rounds
                try:
                    for number in range(rounds):
                        self._contention_round(processes, hold_s, number, found)
                finally:
                    for name, all_of_it in found.items():
                        # The round with the median fairness, whole: medians of each figure would describe no round.
                        middle = sorted(all_of_it, key=lambda one: one.jain)[(len(all_of_it) - 1) // 2]
                        self._figures[name].contention[case(processes, hold_s)] = middle

    def _contention_round(self, processes: int, hold_s: float, number: int, found: dict[str, list[Contention]]) -> None:
        name = case(processes, hold_s)
        for contestant in self._here:
            if contestant.node is not None and (self._plan is QUICK or processes > _MOST_NODES):
                continue
            self._progress(f"contention {name}, round {number + 1}: {contestant.name}")
            duration_s = contention_s(self._plan, processes, hold_s)
            try:
                one = contend(contestant, self._fresh(), processes, hold_s, duration_s)
            except NODE_FAILURES as error:
                self._failed(contestant, f"contention {name}", error)
                continue
            found.setdefault(contestant.name, []).append(one)

    def kills(self) -> None:
        blocking = [contestant for contestant in self._here if contestant.open_async is None]
        samples: dict[str, list[float]] = {}
        try:
            for number in range(self._plan.kills):
                for contestant in blocking:
                    once = contestant.node is not None and self._plan is not FULL
                    if not (number and once) and not self._figures[contestant.name].recovery_never:
                        self._kill(contestant, number, samples)
        finally:
            for name, values in samples.items():
                middle = statistics.median_high(values)
                self._figures[name].recovery_p50_s = None if middle == float("inf") else middle

    def _kill(self, contestant: Contestant, number: int, samples: dict[str, list[float]]) -> None:
        self._progress(f"SIGKILL of the holder, {number + 1} of {self._plan.kills}: {contestant.name}")
        try:
            took_s = recover(contestant, self._fresh(), self._plan.kill_limit_s)
        except NODE_FAILURES as error:
            self._failed(contestant, "SIGKILL", error)
            return
        if took_s is None:
            self._figures[contestant.name].recovery_never += 1
        samples.setdefault(contestant.name, []).append(float("inf") if took_s is None else took_s)

    def storms(self) -> None:
        for contestant in self._here:
            if contestant.lock_file is None or not contestant.recovers or contestant.open_async is not None:
                continue
            self._progress(f"storm on a stale lock: {contestant.name}")
            overlaps, rounds = storm(contestant, self._fresh(), 16, self._plan.storm_rounds)
            self._figures[contestant.name].storm_overlaps = overlaps
            self._figures[contestant.name].storm_rounds = rounds

    def waits(self) -> None:
        for contestant in self._here:
            if contestant.open_async is None and contestant.node is None:
                self._progress(f"CPU of {self._plan.cpu_waiters} waiters: {contestant.name}")
                used = wait_cpu(contestant, self._fresh(), self._plan.cpu_waiters, self._plan.cpu_s)
                self._figures[contestant.name].wait_cpu_s = used
