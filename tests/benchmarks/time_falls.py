"""Does time ever fall? Every scenario under takeover and every strategy of ``explore``, and each history is read.

``python tests/benchmarks/time_falls.py [--runs N] [NAME...]``: N runs (200) of each strategy; where a sweep has fewer
places, all of them, where it has more, N of them, evenly spaced. A record whose time is before the one of the record
before it counts, and so does a run that the world itself ended because time fell. Prints one line for each scenario,
and exits with 1 if time fell anywhere.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from lockjaw.harness import load_scenario
from lockjaw.harness.search import runs
from lockjaw.harness.search.fuzz import Fuzzer
from lockjaw.harness.search.strategies import FUZZ, STRATEGIES, SWEEPS, Job, plan
from lockjaw.harness.search.undisturbed import undisturbed
from lockjaw.history import Record
from lockjaw.scenarios import names

POLICY = "takeover"
MADE = [name for name in STRATEGIES if name != "random"]  # that is its three parts in turns


def falls(history: Sequence[Record]) -> list[str]:
    """Where time falls in a history, in words."""
    return [f"from {a.t} to {b.t} s at record {b.i}" for a, b in itertools.pairwise(history) if b.t < a.t]


class Histories:
    """Stands in for ``run_sim`` where a search makes its runs, and reads what each left."""

    def __init__(self) -> None:
        self.read, self.fell, self.make = 0, list[str](), runs.run_sim

    def __call__(self, *args: Any, **more: Any) -> Any:
        lived = self.make(*args, **more)
        self.read += 1
        self.fell += falls(lived.history)
        return lived


def jobs_of(name: str, strategy: str, most: int) -> Iterator[Job]:
    scenario = load_scenario(name)
    if strategy not in SWEEPS:
        return plan(scenario, POLICY, strategy, most, 1).jobs
    every = list(plan(scenario, POLICY, strategy, 0, 1).jobs)
    return (every[n * len(every) // min(most, len(every))] for n in range(min(most, len(every))))


def searched(name: str, strategy: str, most: int) -> None:
    scenario = load_scenario(name)
    work = runs.Work(scenario, POLICY, strategy)
    if strategy != FUZZ:
        for job in jobs_of(name, strategy, most):
            work.run(job)
        return
    learner = Fuzzer(undisturbed(scenario, POLICY), 1)
    for job in itertools.islice(learner.jobs(), most):
        learner.learn(work.run(job))


def main() -> None:
    reader = argparse.ArgumentParser()
    reader.add_argument("names", nargs="*")
    reader.add_argument("--runs", type=int, default=200)
    chosen = reader.parse_args()
    histories, stopped, began = Histories(), 0, time.process_time()
    runs.run_sim = histories  # type: ignore[assignment]
    for name in chosen.names or names():
        read, fell = histories.read, len(histories.fell)
        for strategy in MADE:
            try:
                searched(name, strategy, chosen.runs)
            except Exception as error:  # the others are looked at all the same
                stopped += 1
                print(f"{name} {strategy}: {error}", flush=True)
        new = histories.fell[fell:]
        print(f"{name}: {histories.read - read} histories, time fell {len(new)} times", *new[:3], flush=True)
    spent_s = time.process_time() - began
    print(
        f"{histories.read} histories of {len(chosen.names or names())} scenarios and {len(MADE)} strategies, "
        f"{spent_s:.0f} s of CPU: time fell in {len(histories.fell)} places, {stopped} searches ended with an error"
    )
    sys.exit(1 if histories.fell or stopped else 0)


if __name__ == "__main__":
    main()
