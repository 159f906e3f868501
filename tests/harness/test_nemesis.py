"""The schedule: what is due when."""

from __future__ import annotations

import random

import pytest

from lockjaw.documents import FieldError
from lockjaw.harness.faults import Fault
from lockjaw.harness.faults.kill import Kill
from lockjaw.harness.faults.pause import Pause
from lockjaw.harness.faults.resume import Resume
from lockjaw.harness.incident.matching import Pattern
from lockjaw.harness.play.schedule import Schedule
from lockjaw.history import Record


def schedule(*faults: Fault, seed: int = 1) -> Schedule[Fault]:
    return Schedule([(fault, fault) for fault in faults], random.Random(seed))


def request(t: float, model: str = "m") -> Record:
    return Record(t, "models", "provider.request", "invoke", {"model": model})


def test_timed_fault_is_due_at_its_time_and_once() -> None:
    kill = Kill(target="gateway", at_s=30.0)
    plan = schedule(kill)
    assert plan.take_due(29.99) == []
    assert plan.take_due(30.0) == [kill]
    assert plan.take_due(99.0) == []
    assert plan.never_due() == ()


def test_faults_that_are_due_together_come_in_the_order_of_their_times() -> None:
    resume, pause = Resume(target="gateway", at_s=2.0), Pause(target="gateway", at_s=1.0)
    assert schedule(resume, pause).take_due(5.0) == [pause, resume]


def test_triggered_fault_counts_matches_and_waits_after_the_last() -> None:
    kill = Kill(target="gateway", when=Pattern("provider.request", phase="invoke"), nth=2, after_s=6.0)
    plan = schedule(kill)
    plan.observe(request(5.0))
    assert plan.take_due(100.0) == []
    plan.observe(request(7.0))
    plan.observe(request(50.0))  # a third match moves nothing
    assert plan.take_due(12.9) == []
    assert plan.take_due(13.0) == [kill]


def test_trigger_ignores_records_of_other_actors_phases_and_data() -> None:
    fault = Kill(target="gateway", when=Pattern("provider.request", "invoke", "models", {"model": "kimi"}))
    plan = schedule(fault)
    plan.observe(Record(1.0, "gateway", "provider.request", "invoke", {"model": "kimi"}))
    plan.observe(Record(1.0, "models", "provider.request", "ok", {"model": "kimi"}))
    plan.observe(Record(1.0, "models", "provider.request", "invoke", {"model": "glm"}))
    plan.observe(Record(1.0, "models", "provider.request", "invoke"))
    assert plan.never_due() == (fault,)
    assert plan.take_due(100.0) == []


def test_same_seed_gives_the_same_jitter_and_another_seed_another() -> None:
    fault = Kill(target="gateway", at_s=10.0, jitter_s=5.0)

    def due(seed: int) -> float:
        return next(t / 100 for t in range(1000, 1501) if schedule(fault, seed=seed).take_due(t / 100))

    assert due(1) == due(1)
    assert due(1) != due(2)
    assert 10.0 <= due(1) <= 15.0


def test_new_fault_at_the_end_does_not_move_the_others() -> None:
    first, second = Kill(target="gateway", at_s=10.0, jitter_s=5.0), Pause(target="models", at_s=0.0, jitter_s=1.0)
    alone, both = schedule(first), schedule(first, second)
    both.take_due(9.0)
    for t in range(1000, 1501):
        assert alone.take_due(t / 100) == both.take_due(t / 100)


def test_what_heals_a_fault_is_never_missed_even_if_it_is_one_of_the_plan() -> None:
    resume = Resume(target="gateway", at_s=50.0)
    plan = schedule(Pause(target="gateway", at_s=1.0), resume)
    assert len(plan.take_due(60.0)) == 2
    plan.add(99.0, resume)  # equal to one that was handed out, and the very same object
    assert plan.never_due() == ()
    assert plan.next_due() == 99.0


@pytest.mark.parametrize(
    "arguments",
    [{}, {"at_s": 1.0, "when": Pattern("turn")}, {"at_s": 1.0, "after_s": 1.0}, {"at_s": 1.0, "nth": 2}],
)
def test_fault_wants_exactly_one_kind_of_time(arguments: dict[str, object]) -> None:
    with pytest.raises(FieldError):
        Kill(target="gateway", **arguments)


def test_fault_reads_as_words() -> None:
    assert str(Pause(target="models", at_s=1.0)) == "pause models"
