"""``hashes.py SEEDS [SCENARIO...]``: one hash over the event hashes of many simulated runs.

Every scenario (or those named) under each of its policies, with everyday and with rough chances. Another interpreter,
machine, locale or folder must print the same: ``python3.13 tests/harness/sim/hashes.py 2``.
"""

from __future__ import annotations

import hashlib
import sys

from lockjaw.harness import load_scenario
from lockjaw.harness.incident.scenario import builtin_names
from lockjaw.harness.sim.engine import run_sim
from lockjaw.harness.sim.tape import EVERYDAY, ROUGH, RandomChoices
from lockjaw.history import event_hash
from lockjaw.seeds import Seeds


def hash_of_hashes(seeds: int, names: list[str]) -> tuple[int, str]:
    runs, digest = 0, hashlib.sha256()
    for name in names or builtin_names():
        scenario = load_scenario(name)
        for policy in scenario.policies:
            for seed in range(1, seeds + 1):
                for chances in (EVERYDAY, ROUGH):
                    choices = RandomChoices(Seeds(seed), chances)
                    history = run_sim(scenario, policy=policy, seed=seed, choices=choices).history
                    digest.update(f"{name} {policy} {seed} {event_hash(history)}\n".encode())
                    runs += 1
    return runs, digest.hexdigest()


if __name__ == "__main__":
    count, found = hash_of_hashes(int(sys.argv[1]), sys.argv[2:])
    print(f"{found}  {count} runs, Python {sys.version.split()[0]}")
