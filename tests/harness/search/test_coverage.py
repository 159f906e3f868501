"""What counts as one schedule, what as an ordering; how much is unseen."""

from __future__ import annotations

import pytest

from lockjaw.harness import load_scenario
from lockjaw.harness.search.coverage import Schedules, races_of, schedule_of
from lockjaw.harness.search.explore import explore
from lockjaw.harness.sim.log import Step
from lockjaw.harness.sim.tape import Place, Until


def steps(*said: str) -> list[Step]:
    """``a w f``: actor a writes f. ``a r f``: it reads it."""
    count: dict[str, int] = {}
    found: list[Step] = []
    for one in said:
        actor, how, thing = one.split()
        label = f"{actor}: {how} {thing}"
        found.append((actor, label, count.get(label, 0), ((thing, how == "w"),)))
        count[label] = count.get(label, 0) + 1
    return found


def same(one: list[Step], other: list[Step]) -> bool:
    return schedule_of(one).name == schedule_of(other).name


def test_two_changes_of_one_thing_in_another_order_are_another_schedule() -> None:
    assert not same(steps("a w f", "b w f"), steps("b w f", "a w f"))


def test_a_read_on_the_other_side_of_a_change_is_another_schedule() -> None:
    assert not same(steps("a r f", "b w f"), steps("b w f", "a r f"))


def test_reads_between_two_changes_may_be_swapped() -> None:
    assert same(steps("c w f", "a r f", "b r f", "c w f"), steps("c w f", "b r f", "a r f", "c w f"))


def test_steps_on_different_things_may_be_swapped() -> None:
    assert same(steps("a w f", "b w g"), steps("b w g", "a w f"))


def test_an_actors_own_order_counts() -> None:
    assert not same(steps("a w f", "a w g"), steps("a w g", "a w f"))


def test_the_harness_and_the_models_are_no_part_of_it() -> None:
    assert same(steps("a w f", "harness w f", "models r f"), steps("a w f"))


def test_orderings_are_pairs_right_before_each_other_of_two_actors_one_of_whom_changes() -> None:
    found = schedule_of(steps("a w f", "b r f", "c r f", "a w f", "a r f")).orderings
    assert found == {("f", "a: w f", "b: r f"), ("f", "a: w f", "c: r f"), ("f", "b: r f", "a: w f"),
                     ("f", "c: r f", "a: w f")}  # fmt: skip


def test_a_race_both_ways_is_counted_once() -> None:
    schedules = Schedules()
    schedules.add("1", schedule_of(steps("a w f", "b w f")).orderings)
    assert (schedules.different, len(schedules.orderings), schedules.both_ways) == (1, 1, 0)
    schedules.add("2", schedule_of(steps("b w f", "a w f")).orderings)
    assert (schedules.different, len(schedules.orderings), schedules.both_ways) == (2, 2, 1)
    schedules.add("2", ())
    assert (schedules.last_new_at, schedules.quiet_for) == (2, 1)
    assert schedules.unseen == pytest.approx(1 / 3)
    assert schedules.sentence() == (
        "3 runs, 2 different schedules; 2 orderings of conflicting steps, 1 races both ways; the last new one at run 2"
    )


def test_a_race_is_turned_round_by_a_wait_at_its_first_step() -> None:
    assert races_of(steps("a w f", "a w f", "b r f"), 10) == ((Place("a: w f", 1), Until("b: r f", 0, 60.0)),)
    assert races_of(steps("a r f", "b r f"), 10) == ()


def test_good_turing_is_near_what_the_next_runs_bring() -> None:
    """Schedules drawn with known chances: half of the runs one schedule, the others one of a hundred."""
    from random import Random

    drawn, schedules = Random(1), Schedules()
    names = ["0" if drawn.random() < 0.5 else str(1 + drawn.randrange(100)) for _ in range(1300)]
    for name in names[:300]:
        schedules.add(name, ())
    known = set(names[:300])
    new = sum(name not in known for name in names[300:]) / 1000
    assert schedules.unseen == pytest.approx(new, abs=0.06)


def test_exploration_says_what_it_has_seen() -> None:
    found = explore(load_scenario("gateway_timeout"), seeds=30, save=False, most_findings=0)
    document = found.document()
    assert document["schedules"]["different"] > 10
    assert document["schedules"]["races_both_ways"] > 5
    assert 1 <= document["schedules"]["last_new_at"] <= 30
    assert document["unseen"]["strategy"] == "random"
    assert 0 < document["unseen"]["chance"] < 1
    sweep = explore(load_scenario("gateway_timeout"), strategy="crash", seeds=3, save=False, most_findings=0)
    assert sweep.unseen is None  # a sweep is not drawn


def test_exploration_ends_when_nothing_new_comes() -> None:
    found = explore(load_scenario("metadata_drift"), strategy="everyday", seeds=200, until_quiet=20, save=False)
    assert found.quiet
    assert found.runs == found.schedules.last_new_at + 20 < 200
