"""How many cascades a second the simulation makes, with tape, history and checkers on.

The floor that is asserted is far below what an idle machine gives, because the suite runs on busy ones. For the
figure itself: ``pytest -s tests/benchmarks/test_simulation.py``, or ``lockjaw explore gateway_timeout --seeds 1000``.
"""

from __future__ import annotations

import time

import pytest

from lockjaw.harness import load_scenario
from lockjaw.harness.explore import explore
from lockjaw.harness.sim.contention import Contention, run_contention
from lockjaw.harness.sim.tape import RandomChoices
from lockjaw.seeds import Seeds

CASCADES = 60
FLOOR_PER_CPU_S = 15.0


@pytest.mark.parametrize("scenario", ["gateway_timeout", "gateway_killed_mid_turn"])
def test_cascades_per_second(scenario: str) -> None:
    loaded = load_scenario(scenario)
    explore(loaded, seeds=5, save=False)  # imports and caches
    began, cpu = time.perf_counter(), time.process_time()
    found = explore(loaded, seeds=CASCADES, save=False)
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    print(
        f"\n{scenario}: {CASCADES / cpu_s:.0f} cascades per CPU second ({CASCADES / wall_s:.0f} per wall second), "
        f"{found.simulated_s / 3600 / cpu_s:.1f} simulated hours per CPU second"
    )
    assert found.runs == CASCADES
    assert CASCADES / cpu_s > FLOOR_PER_CPU_S


def test_lock_contentions_per_second() -> None:
    count, cpu = 200, time.process_time()
    for seed in range(count):
        assert not run_contention(Contention(), seed=seed, choices=RandomChoices(Seeds(seed))).violated
    print(f"\ncontention: {count / (time.process_time() - cpu):.0f} runs per CPU second")
