"""A bounded, fixed selection of the search, over every scenario under takeover, on each change.

Some seeds of the rota, and some places of the sweeps of delays and crashes. ``lockjaw explore --all --seeds 1000`` is
the whole of it, for a night (docs/how-to/search-on-many-machines.md).
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from lockjaw.harness import load_scenario
from lockjaw.harness.search.runs import Work
from lockjaw.harness.search.strategies import Job, plan
from lockjaw.scenarios import names

SEEDS, SWEPT = 6, 5
#: What may break under a schedule that docs/concepts/limits.md shows. No other law.
OF_LIMITS = {"same_conversation", "answered", "executed_once", "transcript_whole"}


@pytest.mark.parametrize("name", names())
def test_takeover_keeps_its_laws_on_a_selection_of_schedules(name: str) -> None:
    scenario = load_scenario(name)
    broken: Counter[tuple[str, str]] = Counter()
    different: set[str] = set()
    for strategy in ("random", "delays", "crash"):
        jobs = list(plan(scenario, "takeover", strategy, SEEDS if strategy == "random" else 0, 1).jobs)
        work = Work(scenario, "takeover", strategy)
        for job in jobs[:: max(1, len(jobs) // (SEEDS if strategy == "random" else SWEPT))]:
            result = work.run(job)
            different.add(result.schedule)
            broken.update((strategy, law) for law in result.violated)
            if result.kind == "everyday":
                assert result.verdict == "HELD", job
    assert not {one for one in broken if one[1] not in OF_LIMITS}, broken
    assert len(different) > 1


def test_an_everyday_run_of_seed_one_is_part_of_it() -> None:
    assert list(plan(load_scenario(names()[0]), "takeover", "random", 3, 1).jobs) == [Job(1), Job(2), Job(3)]


def test_a_scenario_says_why_its_actors_meet_in_few_ways_only_where_they_do() -> None:
    """By the table that ``tests/benchmarks/schedules.py`` has measured."""
    found = json.loads((Path(__file__).parents[3] / "docs" / "benchmarks" / "schedules.json").read_text())
    assert set(found) <= set(names())
    few = {name for name, one in found.items() if one["random"]["different"] < 20}
    assert few == {name for name in found if load_scenario(name).few_schedules}
