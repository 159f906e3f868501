"""Do the scenarios say what they are expected to say, every time, also on a loaded machine?

Usage: python tests/stability.py [--runs N] [--load WORKERS] [--first-seed S] [SCENARIO ...]

Runs each scenario under all policies N times, seed by seed, on the real engine, and compares the verdicts with
the ``expect`` table of the scenario file. ``--load`` keeps that many processes spinning meanwhile. Exit status 0
when every verdict was as expected. Not part of the suite: fifty runs take ten minutes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections import Counter

from lockjaw import scenarios
from lockjaw.harness import load_scenario
from lockjaw.harness.run import run_policies


def spin() -> None:
    while True:
        pass


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", nargs="*", default=list(scenarios.names()))
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--load", type=int, default=0)
    parser.add_argument("--first-seed", type=int, default=1)
    options = parser.parse_args()
    load = [multiprocessing.Process(target=spin, daemon=True) for _ in range(options.load)]
    for process in load:
        process.start()
    surprises: Counter[str] = Counter()
    try:
        for name in options.scenario:
            scenario = load_scenario(name)
            slowest = 0.0
            for seed in range(options.first_seed, options.first_seed + options.runs):
                began = time.monotonic()
                with tempfile.TemporaryDirectory() as out:
                    for run in run_policies(scenario, list(scenario.expect), seed=seed, out=out):
                        expected = set(scenario.expect[run.policy])
                        violated = {check.name for check in run.checks if check.verdict == "VIOLATED"}
                        if violated != expected or (not expected and run.verdict != "HELD"):
                            surprises[f"{name} {run.policy}"] += 1
                            found = [f"{c.name}: {c.finding}" for c in run.checks if c.verdict == "VIOLATED"]
                            found += [f"not reached: {r.says}" for r in run.reached if not r.met]
                            print(
                                f"{name} {run.policy} seed {seed}: {run.verdict}, expected {sorted(expected)}: {found}"
                            )
                slowest = max(slowest, time.monotonic() - began)
            print(f"{name}: {options.runs} runs, load {options.load}, slowest {slowest:.1f} s", flush=True)
    finally:
        for process in load:
            process.kill()
            process.join()
    print("every verdict as expected" if not surprises else f"surprises: {dict(surprises)}")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
