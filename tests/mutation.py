"""A sample of mutants of one folder, made and run by cosmic-ray, and how many the tests kill.

Usage: mutation.py FOLDER [--sample N] [--seed S] -- PYTEST ARGUMENTS

Mutates the files of FOLDER in place, one at a time, and puts each back: run it on a clean tree. The tests see the tree
as it stands by way of links (``source_checks.assemble``). Prints the table, then each survivor as a diff.
"""

from __future__ import annotations

import argparse
import random
import shlex
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

from source_checks import ROOT, assemble

CONFIG = """[cosmic-ray]
module-path = "{folder}"
timeout = {timeout}
excluded-modules = []
test-command = "env PYTHONPATH={scratch} {python} -m pytest -q -x -p no:cacheprovider {tests}"
[cosmic-ray.distributor]
name = "local"
"""
#: Mutants of annotations, which no run sees.
ANNOTATIONS = "core/ReplaceBinaryOperator_BitOr_"


def sampled(session: Path, size: int, seed: int) -> int:
    """Leave so many of the mutants in the session; how many there were."""
    with sqlite3.connect(session) as base:
        rows = base.execute("SELECT job_id, operator_name FROM mutation_specs ORDER BY 1").fetchall()
        order = [job for job, operator in rows if not operator.startswith(ANNOTATIONS)]
        random.Random(seed).shuffle(order)
        for table in ("mutation_specs", "work_items"):
            marks = ",".join("?" * len(order[:size]))
            base.execute(f"DELETE FROM {table} WHERE job_id NOT IN ({marks})", order[:size])
    return len(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--sample", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=300.0, help="real seconds for the tests of one mutant")
    parser.add_argument("tests", nargs="+")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        assemble(Path(scratch), copies=False)
        config, session = Path(scratch) / "mutation.toml", Path(scratch) / "session.sqlite"
        config.write_text(
            CONFIG.format(
                folder=chosen.folder,
                timeout=chosen.timeout,
                scratch=scratch,
                python=sys.executable,
                tests=shlex.join(chosen.tests),
            )
        )
        tool = Path(sys.executable).with_name("cosmic-ray")
        subprocess.run([tool, "init", config, session], cwd=ROOT, check=True)
        total = sampled(session, chosen.sample, chosen.seed)
        subprocess.run([tool, "exec", config, session], cwd=ROOT, check=True)
        with sqlite3.connect(session) as base:
            outcomes = base.execute("SELECT test_outcome, diff FROM work_results").fetchall()
    killed = sum("KILLED" in str(outcome) for outcome, _ in outcomes)
    print(f"{chosen.folder}: {killed} of {len(outcomes)} killed, of {total} mutants in all (seed {chosen.seed})")
    for outcome, diff in outcomes:
        if "KILLED" not in str(outcome):
            print(f"--- {outcome}\n{diff}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
