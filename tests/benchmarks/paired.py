"""Two versions of Lockjaw, one beside the other: runs of a scenario per CPU second.

``python tests/benchmarks/paired.py "OLD/bin/lockjaw explore NAME" "NEW/bin/lockjaw explore NAME --strategy everyday"``:
each is a command that makes runs, of a version that is installed in an environment of its own. They take turns, so that
a busy machine slows both down; what starting costs is measured with a single run, and taken off.
"""

from __future__ import annotations

import resource
import shlex
import statistics
import subprocess
import sys

ROUNDS, RUNS = 5, 81


def cpu_s(command: str, runs: int) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*shlex.split(command), "--seeds", str(runs)], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1, 3):  # HELD, VIOLATED, UNKNOWN: the runs were made
        sys.exit(f"{command}: exit {done.returncode}\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def per_second(command: str) -> float:
    return (RUNS - 1) / (cpu_s(command, RUNS) - cpu_s(command, 1))


def main(old: str, new: str) -> None:
    rounds = [(per_second(old), per_second(new)) for _ in range(ROUNDS)]
    before, today = (statistics.median(pair[n] for pair in rounds) for n in (0, 1))
    ratio = statistics.median(pair[1] / pair[0] for pair in rounds)
    print(f"runs per CPU second, median of {ROUNDS}: {before:.1f} before, {today:.1f} today; ratio {ratio:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
