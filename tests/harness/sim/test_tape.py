"""Choices: drawn, written down, repeated, left out."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from lockjaw.errors import ReplayDiverged
from lockjaw.harness.search.shrink import in_words, shrink
from lockjaw.harness.sim.tape import (
    CRASH_BEFORE,
    DELAYS_S,
    EVERYDAY,
    POINT_BOUND,
    ROUGH,
    SHORT,
    Chances,
    Choice,
    Place,
    PriorityChoices,
    RandomChoices,
    SparseChoices,
    StrictReplay,
    deviations_of,
    read_tape,
    says,
    write_tape,
)
from lockjaw.seeds import Seeds


def draw(choices: RandomChoices, count: int = 400) -> list[int]:
    return [choices.point(f"op {n % 7}") if n % 3 else choices.pick("way", 5) for n in range(count)]


def test_same_seed_draws_the_same_choices() -> None:
    assert draw(RandomChoices(Seeds(7), ROUGH)) == draw(RandomChoices(Seeds(7), ROUGH))
    assert draw(RandomChoices(Seeds(7))) != draw(RandomChoices(Seeds(8)))


def test_everyday_choices_never_freeze_crash_or_fail() -> None:
    choices = RandomChoices(Seeds(1), EVERYDAY)
    values = {choices.point("op") for _ in range(5000)}
    assert values == set(range(SHORT))


def test_faults_do_not_reshuffle_the_schedule() -> None:
    calm = RandomChoices(Seeds(3), EVERYDAY)
    rough = RandomChoices(Seeds(3), Chances(fault_65536=3000, crash_65536=3000))
    pairs = [(calm.point("op"), rough.point("op")) for _ in range(2000)]
    assert any(b >= CRASH_BEFORE for _, b in pairs)
    assert all(a == b for a, b in pairs if b < CRASH_BEFORE)


def test_tape_comes_back_from_its_file(tmp_path: Path) -> None:
    choices = RandomChoices(Seeds(5), ROUGH)
    draw(choices)
    write_tape(tmp_path / "tape.jsonl", choices.tape)
    assert read_tape(tmp_path / "tape.jsonl") == choices.tape


def test_replay_repeats_the_values() -> None:
    choices = RandomChoices(Seeds(5))
    values = draw(choices)
    replay = StrictReplay(choices.tape)
    assert draw(replay) == values  # type: ignore[arg-type]
    replay.finish()


@pytest.mark.parametrize(
    ("label", "bound", "expected", "actual"),
    [("b", POINT_BOUND, "a (of 18)", "b (of 18)"), ("a", 3, "a (of 18)", "a (of 3)")],
)
def test_replay_names_both_at_the_first_mismatch(label: str, bound: int, expected: str, actual: str) -> None:
    replay = StrictReplay([Choice("x", 4, 1), Choice("a", POINT_BOUND, 0)])
    replay.pick("x", 4)
    with pytest.raises(ReplayDiverged) as caught:
        replay.pick(label, bound)
    assert (caught.value.step, caught.value.expected, caught.value.actual) == (1, expected, actual)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_replay_that_ends_early_or_goes_on_has_diverged() -> None:
    replay = StrictReplay([Choice("x", 4, 1), Choice("y", 4, 1)])
    replay.pick("x", 4)
    with pytest.raises(ReplayDiverged, match="the end of the run"):
        replay.finish()
    replay.pick("y", 4)
    with pytest.raises(ReplayDiverged, match="the end of the tape"):
        replay.pick("z", 4)


def test_sparse_choices_are_named_by_label_and_number() -> None:
    choices = SparseChoices({Place("a", 1): 3, Place("b", 0): 9})
    assert [choices.pick(label, 5) for label in "aabcab"] == [0, 3, 4, 0, 0, 0]  # 9 is cut to the bound
    assert choices.met == {Place("a", 1), Place("b", 0)}
    assert deviations_of(choices.tape) == {Place("a", 1): 3, Place("b", 0): 4}


def test_every_value_of_an_operation_has_words() -> None:
    words = [says(value) for value in range(POINT_BOUND)]
    assert len(set(words)) == POINT_BOUND
    assert words[:2] == ["goes on at once", "is delayed by 0.2 ms"]
    assert says(len(DELAYS_S) - 1) == "is frozen for 600 s"


# --------------------------------------------------------------------------- shrinking


def tape_of(values: dict[str, int]) -> list[Choice]:
    return [Choice(label, POINT_BOUND, value) for label, value in values.items()]


def test_shrinking_finds_the_two_choices_that_matter() -> None:
    tape = tape_of({f"p: Op {n}": 1 + n % 8 for n in range(60)})

    def fails(deviations: dict[Place, int]) -> bool:
        return deviations.get(Place("p: Op 7", 0), 0) >= 5 and Place("p: Op 40", 0) in deviations

    found = shrink(tape, fails)  # type: ignore[arg-type]
    assert found is not None
    assert found.deviations == {Place("p: Op 7", 0): 5, Place("p: Op 40", 0): 1}
    assert in_words(found.deviations) == ["1. p, at Op 7: is frozen for 0.5 s", "2. p, at Op 40: is delayed by 0.2 ms"]


def test_shrinking_stops_at_nothing_where_nothing_is_needed() -> None:
    found = shrink(tape_of({"p: Op": 3}), lambda deviations: True)
    assert found is not None
    assert found.deviations == {}


def test_shrinking_says_so_when_the_choices_alone_do_not_fail() -> None:
    assert shrink(tape_of({"p: Op": 3}), lambda deviations: False) is None


def test_shrinking_keeps_to_its_limit() -> None:
    runs = []

    def fails(deviations: object) -> bool:
        runs.append(deviations)
        return len(runs) == 1

    assert shrink(tape_of({f"p: Op {n}": 5 for n in range(50)}), fails, limit=10) is not None
    assert len(runs) == 10


def test_priorities_decide_who_goes_on_and_few_operations_are_frozen() -> None:
    choices = PriorityChoices(Seeds(3), 100, changes=3)
    for _ in range(100):
        choices.point("p: Read f")
    frozen = [choice.value for choice in choices.tape if choice.value]
    assert 1 <= len(frozen) <= 3
    assert all(SHORT <= value < CRASH_BEFORE for value in frozen)
    first = choices.pick("next: a|b|c", 3)
    assert {choices.pick("next: a|b|c", 3) for _ in range(20)} == {first}  # a priority, and no new draw
    winner = "abc"[first]
    assert choices.pick(f"next: {winner}|d", 2) in (0, 1)
    others = [name for name in "abc" if name != winner]
    assert choices.pick("next: " + "|".join([*others, winner]), 3) == 2


def test_priorities_are_another_order_with_another_seed() -> None:
    assert len({PriorityChoices(Seeds(seed), 10).pick("next: a|b|c|d", 4) for seed in range(40)}) == 4
