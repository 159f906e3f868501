"""Search every scenario under takeover a little, and write down what was seen: ``docs/benchmarks/schedules.json``.

``python tests/benchmarks/schedules.py [NAME...]``: the first seeds of the default strategy, and of the sweeps of delays
and of crashes as many places, evenly spaced. A run whose time falls, or that escapes, ends it with the error. Scenarios
that are not named keep what stands there. ``docs/generate.py`` makes pages of it.

``python tests/benchmarks/schedules.py --minutes N``: other seeds and other places, as many as the time allows, every
scenario as long as every other. Writes nothing; prints each run that broke a law, and how many there were.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from lockjaw.harness import load_scenario
from lockjaw.harness.incident.scenario import Scenario
from lockjaw.harness.search.coverage import Schedules
from lockjaw.harness.search.runs import Work
from lockjaw.harness.search.strategies import plan
from lockjaw.scenarios import names

RUNS = {"random": 90, "delays": 60, "crash": 40}
FOUND = Path(__file__).parent.parent.parent / "docs" / "benchmarks" / "schedules.json"


def searched(scenario: Scenario, strategy: str, most: int) -> dict[str, Any]:
    began, seen = time.process_time(), Schedules()
    verdicts, laws = Counter[str](), Counter[str]()
    jobs = list(plan(scenario, "takeover", strategy, most if strategy == "random" else 0, 1).jobs)
    work = Work(scenario, "takeover", strategy)
    for n in range(min(most, len(jobs))):
        result = work.run(jobs[n * len(jobs) // min(most, len(jobs))])
        verdicts[result.verdict] += 1
        laws.update(result.violated)
        seen.add(result.schedule, result.orderings, violated=bool(result.violated))
    return {
        "places": len(jobs), "runs": seen.runs, "different": seen.different, "orderings": len(seen.orderings),
        "races_both_ways": seen.both_ways, "verdicts": dict(sorted(verdicts.items())),
        "broken": dict(sorted(laws.items())), "cpu_s": round(time.process_time() - began, 1),
    }  # fmt: skip


FIRST_SEED, MOST_SEEDS = 1000, 2000
SHARES = {"random": 4, "delays": 2, "crash": 1}
STRIDE = 7919  # a prime: so the places of a sweep come scattered, each once


def further(minutes: float) -> None:
    runs, broken, began, cpu = Counter[str](), 0, time.monotonic(), time.process_time()
    for n, name in enumerate(names(), 1):
        scenario, until = load_scenario(name), began + 60 * minutes * n / len(names())
        jobs = {
            strategy: list(
                plan(scenario, "takeover", strategy, MOST_SEEDS if strategy == "random" else 0, FIRST_SEED).jobs
            )
            for strategy in SHARES
        }
        order = {s: all_of if s == "random" else _scattered(all_of) for s, all_of in jobs.items()}
        work = {strategy: Work(scenario, "takeover", strategy) for strategy in SHARES}
        while any(order.values()) and time.monotonic() < until:
            for strategy, share in SHARES.items():
                for job in order[strategy][:share]:
                    result = work[strategy].run(job)
                    runs[strategy] += 1
                    if result.violated:
                        broken += 1
                        print(name, strategy, ", ".join(result.violated), job, flush=True)
                del order[strategy][:share]
    spent = f"{time.monotonic() - began:.0f} s, {time.process_time() - cpu:.0f} of them on the processor"
    print(f"{sum(runs.values())} runs ({dict(runs)}) of {len(names())} scenarios in {spent}: {broken} broke a law")


def _scattered(jobs: list[Any]) -> list[Any]:
    return [jobs[n * STRIDE % len(jobs)] for n in range(len(jobs))] if len(jobs) % STRIDE else jobs


def main(chosen: list[str]) -> None:
    found = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    for name in chosen or names():
        scenario = load_scenario(name)
        found[name] = {strategy: searched(scenario, strategy, most) for strategy, most in RUNS.items()}
        print(name, found[name], flush=True)
        FOUND.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--minutes"]:
        further(float(sys.argv[2]))
    else:
        main(sys.argv[1:])
