"""How many cascades a second the simulation makes, with tape, history and checkers on.

A cascade is one whole run of ``gateway_timeout`` under takeover: gateway, client, three models of which each streams
150 s, the lock, the fallback, and the verdict on all of it. Figures are of CPU seconds, and beside them stands what a
naive loop makes of the same run without tape, history and checkers (``naive``), measured in turns in the same process:
a busy machine slows both down. ``pytest -s -m bench tests/benchmarks/test_simulation.py`` prints them.
"""

from __future__ import annotations

import os
import resource
import runpy
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lockjaw.harness import load_scenario
from lockjaw.harness.incident.scenario import builtin_names
from lockjaw.harness.search.explore import explore
from lockjaw.harness.sim.contention import Contention, run_contention
from lockjaw.harness.sim.tape import RandomChoices
from lockjaw.seeds import Seeds

ROUNDS, CASCADES, HOURS_RUNS = 5, 40, 25
NAIVE = runpy.run_path(str(Path(__file__).with_name("naive.py")))["cascade"]


def _cpu(work: Any) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def test_cascades_per_second_beside_a_naive_loop() -> None:
    scenario = load_scenario("gateway_timeout")

    def naive() -> None:
        for seed in range(CASCADES):
            answered, _ = NAIVE(scenario, seed)
            assert answered

    def ours() -> None:
        assert explore(scenario, seeds=CASCADES, save=False).runs == CASCADES

    naive()
    ours()  # imports and caches are made now
    rounds = [(CASCADES / _cpu(ours), CASCADES / _cpu(naive)) for _ in range(ROUNDS)]
    ratio = statistics.median(a / b for a, b in rounds)
    per_second = statistics.median(a for a, _ in rounds)
    hours = per_second * explore(scenario, seeds=1, save=False).simulated_s / 3600
    print(
        f"\ngateway_timeout, takeover: {per_second:.0f} cascades and {hours:.1f} simulated hours per CPU second, "
        f"{ratio:.2f} x a naive loop without tape, history and checkers "
        f"({', '.join(f'{a:.0f}/{b:.0f}' for a, b in rounds)})"
    )
    assert ratio > 0.9  # what the simulation adds must cost less than what its own loop saves


def test_simulated_hours_per_second() -> None:
    """What an hour costs depends on what happens in it, so scenarios lie far apart."""
    found = []
    for name in builtin_names():
        scenario = load_scenario(name)
        explore(scenario, seeds=3, save=False)  # imports and caches are made now
        began = time.process_time()
        explored = explore(scenario, seeds=HOURS_RUNS, save=False)
        assert explored.runs == HOURS_RUNS
        hours = explored.simulated_s / 3600 / (time.process_time() - began)
        found.append((hours, explored.simulated_s / HOURS_RUNS, name))
    print("\nsimulated hours per CPU second (seconds of a run), takeover:")
    for hours, run_s, name in sorted(found, reverse=True):
        print(f"  {hours:5.1f} ({run_s:5.0f} s) {name}")


def test_two_workers_make_nearly_twice_as_many() -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("one core")
    scenario = load_scenario("gateway_killed_mid_turn")
    found = {}
    for workers in (1, 2):
        explore(scenario, seeds=4, workers=workers, save=False)
        found[workers] = explore(scenario, seeds=2000, workers=workers, save=False)
    print(
        f"\ngateway_killed_mid_turn: {found[1].per_second:.0f} runs per second with one worker, "
        f"{found[2].per_second:.0f} with two ({found[2].per_second / found[1].per_second:.2f} x; "
        f"load {os.getloadavg()[0]:.1f})"
    )
    assert found[1].verdicts == found[2].verdicts


def test_start_up_and_four_policies_take_less_than_a_second(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lockjaw", "run", "gateway_timeout", "--policy", "all", "--engine", "sim"]
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path / "compiled")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program is compiled
    times = []
    for _ in range(6):
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([*command, "--out", tmp_path], env=env, capture_output=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 1, done.stderr.decode()  # VIOLATED, as the scenario expects
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        times.append((cpu_s, time.perf_counter() - began))
    cpu_s, wall_s = (statistics.median(column) for column in zip(*times[1:], strict=True))
    print(f"\nrun gateway_timeout --policy all --engine sim: {cpu_s:.2f} s of CPU, {wall_s:.2f} s of wall time")
    assert cpu_s < 1.2  # wall time is the same on a machine that has a core for it


def test_lock_contentions_per_second() -> None:
    count, cpu = 200, time.process_time()
    for seed in range(count):
        assert not run_contention(Contention(), seed=seed, choices=RandomChoices(Seeds(seed))).violated
    print(f"\ncontention: {count / (time.process_time() - cpu):.0f} runs per CPU second")
