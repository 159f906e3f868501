"""Waits for what others do: they turn two operations round, on the tape, with a limit, and shrink."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from lockjaw.harness import load_scenario
from lockjaw.harness.search.shrink import in_words, shrink
from lockjaw.harness.sim.disk import Disk
from lockjaw.harness.sim.engine import enclosed, run_sim
from lockjaw.harness.sim.files import SimFiles
from lockjaw.harness.sim.process import Process, SimClock
from lockjaw.harness.sim.tape import (
    OTHERS,
    POINT_BOUND,
    Choice,
    Place,
    SparseChoices,
    StrictReplay,
    Until,
    Value,
    deviations_of,
    read_tape,
    write_tape,
)
from lockjaw.harness.sim.world import World
from lockjaw.history import event_hash


def order_of(*waits: tuple[str, Until]) -> list[str]:
    """Two processes create three files each, ``a`` first; who created what, in what order."""
    world = World(SparseChoices({Place(label, 0): until for label, until in waits}))
    disk = Disk(lambda: world.now)
    disk.make_folder("/d")
    order: list[str] = []

    def creates(name: str, after_s: float) -> None:
        process = world.start(name, name)

        async def act() -> None:
            await SimClock(process).sleep(after_s)
            files = SimFiles(process, disk)
            for n in range(3):
                files.open(Path(f"/d/s.json.{name}{n}"), os.O_WRONLY | os.O_CREAT)
                order.append(f"{name}{n}")

        process.spawn(act(), name).add_done_callback(lambda task: world.kill(process, 0))

    creates("a", 1.0)
    creates("b", 2.0)
    enclosed(world, lambda: world.run(1000.0, done=lambda: not any(p.alive for p in world.processes)))
    order.append(f"{world.now:g}")
    return order


def test_an_actor_waits_until_the_other_ones_operation_is_past_and_goes_next() -> None:
    assert order_of() == ["a0", "a1", "a2", "b0", "b1", "b2", "2"]
    turned = order_of(("a: Create s.json.a1", Until("b: Create s.json.b1", 0, 60.0)))
    assert turned == ["a0", "b0", "b1", "a1", "a2", "b2", "2"]


def test_it_waits_for_so_many_operations_of_others_on_the_same_files() -> None:
    assert order_of(("a: Create s.json.a0", Until(OTHERS, 2, 60.0))) == ["b0", "b1", "a0", "a1", "a2", "b2", "2"]


def test_a_wait_in_vain_ends_at_its_limit() -> None:
    in_vain = order_of(("a: Create s.json.a1", Until("nobody: Create s.json.x", 0, 12.0)))
    assert in_vain == ["a0", "b0", "b1", "b2", "a1", "a2", "13"]


def test_a_wait_for_what_has_happened_is_over_at_once() -> None:
    assert order_of(("b: Create s.json.b0", Until("a: Create s.json.a0", 0, 12.0)))[-1] == "2"


def test_two_that_wait_for_each_other_go_on_at_their_limits() -> None:
    order = order_of(
        ("a: Create s.json.a0", Until("b: Create s.json.b2", 0, 4.0)),
        ("b: Create s.json.b0", Until("a: Create s.json.a2", 0, 12.0)),
    )
    assert order == ["a0", "a1", "a2", "b0", "b1", "b2", "5"]


def test_one_that_is_killed_while_it_waits_is_dead() -> None:
    world = World(SparseChoices({Place("p: Create f", 0): Until("q: Create f", 0, 60.0)}))
    disk = Disk(lambda: world.now)
    disk.make_folder("/d")

    async def creates(process: Process) -> None:
        SimFiles(process, disk).open(Path("/d/f"), os.O_WRONLY | os.O_CREAT)

    process = world.start("p", "p")
    process.spawn(creates(process), "p")
    world.at(5.0, world.kill, process)
    enclosed(world, lambda: world.run(100.0, done=lambda: not process.alive))
    assert (world.now, process.alive, disk.names) == (5.0, False, {})


# --------------------------------------------------------------------------- on the tape

WAIT = Until("client: Read sessions.json", 2, 60.0)


def test_a_wait_stands_on_the_tape_and_the_run_replays_from_it(tmp_path: Path) -> None:
    scenario = load_scenario("gateway_timeout")
    choices = SparseChoices({Place("gateway: Read sessions.json", 2): WAIT})
    history = run_sim(scenario, policy="takeover", seed=1, choices=choices).history
    assert [r.data["for_s"] > 1 for r in history if r.op == "held_up"] == [True]
    write_tape(tmp_path / "tape.jsonl", choices.tape)
    tape = read_tape(tmp_path / "tape.jsonl")
    assert list(deviations_of(tape).values()) == [WAIT]
    again = run_sim(scenario, policy="takeover", seed=1, choices=StrictReplay(tape)).history
    assert event_hash(again) == event_hash(history)


@pytest.mark.parametrize(
    "value",
    ["[\"a: B\", 2, -1.0]", "[\"a: B\", 2, 1e300]", "[\"a: B\", -1, 4.0]", "99", "-1"],
    ids=["limit below 0", "limit for ever", "a number below 0", "no such value", "a value below 0"],
)  # fmt: skip
def test_a_tape_with_a_choice_that_no_run_makes_is_refused(value: str, tmp_path: Path) -> None:
    (tmp_path / "tape.jsonl").write_text(f'["a: C", {POINT_BOUND}, {value}]\n')
    with pytest.raises(msgspec.DecodeError, match="no run makes"):
        read_tape(tmp_path / "tape.jsonl")


def shrunk(tape: dict[str, Value], fails: Callable[[dict[Place, Value]], bool]) -> list[str]:
    found = shrink([Choice(label, POINT_BOUND, value) for label, value in tape.items()], fails)  # type: ignore[arg-type]
    assert found is not None
    return in_words(found.deviations)


def test_a_wait_shrinks_to_the_shortest_limit_that_still_fails() -> None:
    words = shrunk(
        {"p: Read f": Until("q: Flush f", 2, 60.0), "p: Read g": 7},
        lambda found: isinstance(wait := found.get(Place("p: Read f", 0), 0), Until) and wait.limit_s >= 12.0,
    )
    assert words == ["1. p, at Read f: waits until q: Flush f (time 3 of this kind) has happened, at most 12 s"]


def test_a_wait_for_others_shrinks_to_the_fewest_operations() -> None:
    words = shrunk(
        {"p: Read f": Until(OTHERS, 9, 60.0)},
        lambda found: isinstance(wait := found.get(Place("p: Read f", 0), 0), Until) and wait.nth >= 3,
    )
    assert words == ["1. p, at Read f: waits for 3 operations of others on the same files, at most 0.5 s"]
