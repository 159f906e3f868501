"""Are kits of honest runs made? Runs of real processes in a row, a kit of each, and each kit opened again.

Usage: measure_kits.py [NUMBER]

Every scenario that real processes can play, under takeover and then under its baseline, until there are NUMBER runs
(default 53). Prints a line for each kit that was refused, and how many were made and can be opened.
"""

from __future__ import annotations

import sys
import tempfile
from itertools import islice
from pathlib import Path

from lockjaw.errors import LockjawError
from lockjaw.harness.incident.scenario import builtin_names, load_scenario
from lockjaw.harness.kit.making import make_kit
from lockjaw.harness.kit.reading import read_kit
from lockjaw.harness.run import run_policies
from lockjaw.reports import html


def main(number: int = 53) -> int:
    scenarios = [one for one in map(load_scenario, builtin_names()) if "real" in one.engines]
    plays = [*((one, "takeover") for one in scenarios), *((one, one.baseline) for one in scenarios)]
    played = made = 0
    with tempfile.TemporaryDirectory() as folder:
        for scenario, policy in islice(plays, number):
            [run] = run_policies(scenario, [policy], engine="real", out=Path(folder, "runs"))
            played += 1
            try:
                kit = make_kit(run.run_dir, Path(folder, f"{played}.zip"), render=html.render_run)
                made += read_kit(kit.path).manifest.verdict == run.verdict
            except LockjawError as error:
                print(f"{scenario.name}, {policy}: {error}", flush=True)
    print(f"{played} runs of real processes: {made} kits made and opened")
    return 0 if made == played else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:2])))
