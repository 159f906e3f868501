"""Which runs a search makes: a seed is a run wherever it is made, and the sweeps vary every actor."""

from __future__ import annotations

import pickle

import pytest

from lockjaw.harness import load_scenario
from lockjaw.harness.search.explore import explore
from lockjaw.harness.search.runs import Work, work_on
from lockjaw.harness.search.strategies import FREEZES, ROTA, Job, kind_of, operations, plan
from lockjaw.harness.search.swarm import SwarmChoices
from lockjaw.harness.search.undisturbed import undisturbed
from lockjaw.harness.sim.tape import CRASH_BEFORE, DELAYS_S, POINT_BOUND, SHORT, Place, Until, deviations_of
from lockjaw.seeds import Seeds


def test_the_rota_takes_turns_and_begins_with_everyday() -> None:
    assert [kind_of("random", seed) for seed in range(1, 7)] == [*ROTA, *ROTA]
    assert kind_of("swarm", 1) == "swarm"


@pytest.mark.parametrize("strategy", ["random", "swarm", "priority"])
def test_a_seed_is_the_same_run_whatever_was_run_before(strategy: str) -> None:
    work = Work(load_scenario("gateway_killed_mid_turn"), "takeover", strategy)
    there = {
        result.job.seed: result for result in work_on(work, [Job(seed) for seed in range(1, 10)], limit_s=60).results
    }
    for seed in (9, 3, 2):
        here = work.run(Job(seed))
        assert (here.event_hash, here.schedule) == (there[seed].event_hash, there[seed].schedule)


def test_swarm_draws_which_disturbances_are_on() -> None:
    base = undisturbed(load_scenario("gateway_timeout"), "takeover")
    seen: set[str] = set()
    for seed in range(1, 60):
        choices = SwarmChoices(Seeds(seed), base)
        kinds = set()
        for place in base.places:
            value = choices.point(place.label)
            if isinstance(value, Until):
                kinds.add("others" if value.label == "*" else "crossing")
            elif value:
                kinds.add("crash" if value >= CRASH_BEFORE else "freeze" if value >= SHORT else "delay")
        assert all(choice.bound == POINT_BOUND for choice in choices.tape)
        assert len(deviations_of(choices.tape)) < len(base.places)
        seen |= kinds or {"none"}
    assert seen == {"others", "crossing", "crash", "freeze", "delay", "none"}


def test_the_sweep_of_delays_outlasts_every_wait_of_the_runtime_and_varies_the_cast() -> None:
    assert [DELAYS_S[freeze] for freeze in FREEZES] == [0.5, 12.0, 45.0, 90.0, 600.0]
    scenario = load_scenario("busy_loop_holder")
    actors = {place.label.partition(":")[0] for place in operations(scenario, "takeover")}
    assert actors >= {"gateway", "client", *scenario.cast}
    assert "harness" not in actors
    planned = plan(scenario, "takeover", "delays", 0, 1)
    assert planned.planned == planned.points * len(FREEZES)


@pytest.mark.parametrize("strategy", ["delays", "crash", "fault"])
def test_a_part_of_a_sweep_is_spaced_evenly_over_the_whole_of_it(strategy: str) -> None:
    scenario = load_scenario("gateway_timeout")
    whole = list(plan(scenario, "takeover", strategy, 0, 1).jobs)
    for seeds in (1, 10, len(whole) - 1, len(whole)):
        some = plan(scenario, "takeover", strategy, seeds, 1)
        at = [whole.index(job) for job in some.jobs]
        assert len(at) == some.planned == seeds
        assert at == [n * len(whole) // seeds for n in range(seeds)]


def test_a_freeze_of_ten_minutes_is_no_failure_of_the_harness() -> None:
    scenario = load_scenario("gateway_timeout")
    for actor in ("gateway", "client"):
        place = next(place for place in operations(scenario, "takeover") if place.label.startswith(actor))
        result = Work(scenario, "takeover", "delays").run(Job(1, ((place, FREEZES[-1]),)))
        assert result.simulated_s > 600


def test_fuzz_learns_and_finds_more_orderings_than_it_began_with() -> None:
    found = explore(load_scenario("metadata_drift"), strategy="fuzz", seeds=60, save=False, most_findings=0)
    assert found.runs == 60
    assert found.schedules.different > 12  # without learning, from one seed, it would be one
    assert found.unseen is None  # it learns: no estimate


def test_jobs_travel_to_workers() -> None:
    job = Job(3, ((Place("a: B", 2), 5), (Place("a: C", 0), Until("b: D", 1, 60.0))))
    assert pickle.loads(pickle.dumps(job)) == job


def test_a_run_whose_cast_was_ended_by_a_choice_is_unknown_and_ends_no_search() -> None:
    """The client waits for what another actor does, and that one is killed before it: the danger was not reached."""
    scenario = load_scenario("busy_database")
    first = next(place for place in operations(scenario, "takeover") if place.label.startswith(tuple(scenario.cast)))
    result = Work(scenario, "takeover", "crash").run(Job(1, ((first, CRASH_BEFORE),)))
    assert result.verdict == "UNKNOWN"
    assert any("did not" in why for why in result.unknown)
