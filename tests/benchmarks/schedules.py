"""Search every scenario under takeover a little, and write down what was seen: ``docs/benchmarks/schedules.json``.

``python tests/benchmarks/schedules.py [NAME...]``: the first seeds of the default strategy, and of the sweeps of delays
and of crashes as many places, evenly spaced. A run whose time falls, or that escapes, ends it with the error. Scenarios
that are not named keep what stands there. ``docs/generate.py`` makes pages of it.
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


def main(chosen: list[str]) -> None:
    found = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    for name in chosen or names():
        scenario = load_scenario(name)
        found[name] = {strategy: searched(scenario, strategy, most) for strategy, most in RUNS.items()}
        print(name, found[name], flush=True)
        FOUND.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
