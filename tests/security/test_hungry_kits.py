"""Kits that would hang, or eat memory: refused within a second, or played in time."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from lockjaw.documents import FieldError
from lockjaw.fakes.models.script import Condition
from lockjaw.fakes.models.wires.surface import ChatRequest
from lockjaw.harness.kit.archive import BadKit
from lockjaw.harness.kit.reading import MAX_ACTORS, MAX_DEPTH, read_kit

from .kits import Plain, forged, lockjaw, scenario

SLEEP = {"do": "sleep", "for_s": 1}


def actors(number: int, copies: int, *script: Plain) -> Plain:
    return {f"a{n}": {"kind": "scripted", "copies": copies, "script": list(script) or [SLEEP]} for n in range(number)}


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"actors": actors(2_000, 100)}, "at most 500 actors, copies counted, not 200000"),
        ({"actors": actors(1, MAX_ACTORS + 1)}, "copies in its scenario.json is at most 100"),
        ({"actors": actors(6, 100)}, "not 600"),
        ({"actors": actors(5, 100, {"do": "append", "count": 100_000})}, "steps in all, not 50000000"),
        ({"actors": actors(1, 2, {"do": "deliver", "text": "x", "tries": 1000}, *[SLEEP] * 60_000)}, "steps in all"),
        ({"reports": nested(MAX_DEPTH + 1)}, "nested at most 40 deep"),
        ({"reports": nested(900)}, "nested at most 40 deep"),
        ({"actors": 7}, "scenario.json in it is wrong"),
        ({"actors": {"a": 7, "b": {"script": 5, "copies": "x"}}}, "scenario.json in it is wrong"),
    ],
    ids=["the bomb", "copies", "together", "counts", "steps", "deep", "deeper", "no actors", "odd actors"],
)
def test_products_and_depths_have_a_limit(changes: Plain, says: str, tmp_path: Path) -> None:
    kit = forged(tmp_path / "KIT.zip", scenario(**changes), engine="sim", tape=[])
    started = time.process_time()

    with pytest.raises(BadKit, match=says):
        read_kit(kit)

    assert time.process_time() - started < 1.0


@pytest.mark.parametrize("pattern", ["(" * 5_000 + ")" * 5_000, "(?=a)b", r"(a)\1", "(" * 10, "a" * 1_001, "x{1001}"])
def test_a_pattern_that_cannot_be_matched_in_time_is_refused(pattern: str, tmp_path: Path) -> None:
    step = {"when": {"text": pattern}, "text": "x"}
    kit = forged(tmp_path / "KIT.zip", scenario(step), engine="sim", tape=[])
    with pytest.raises(BadKit, match="regular expression"):
        read_kit(kit)
    with pytest.raises(FieldError):
        Condition(headers={"x": pattern})


def test_no_pattern_takes_more_time_than_its_text() -> None:
    """`re` needs 2 to the power of 30 steps for this, and hears no signal meanwhile."""
    asked = ChatRequest("m", False, False, 0, (), 0, text="a" * 100_000 + "b")
    started = time.process_time()

    assert not Condition(text="(a+)+$").fits(1, asked, lambda name: "")
    assert not Condition(text="(a|a)+$|(a|aa)+$").fits(1, asked, lambda name: "")
    assert Condition(text="(a+)+b$", model="^m$", headers={"x": "(b+)+"}).fits(1, asked, lambda name: "bb")

    assert time.process_time() - started < 2.0


def test_a_kit_with_a_hanging_pattern_is_played_to_its_end(tmp_path: Path) -> None:
    step = {"when": {"text": "(a+)+$"}, "text": "x"}
    plain = scenario(step, message="a" * 5_000 + "b")
    forged(tmp_path / "KIT.zip", plain, engine="sim", tape=[])

    done = lockjaw(tmp_path, "replay", "KIT.zip")

    assert done.returncode == 4  # no tape: it diverges at once, and says so
    assert "replay diverged" in done.stderr


def test_an_honest_scenario_is_far_from_the_limits(tmp_path: Path) -> None:
    plain = scenario(actors=actors(20, 5))
    assert len(read_kit(forged(tmp_path / "KIT.zip", plain, engine="sim", tape=[])).scenario.cast) == 100
    assert json.loads(json.dumps(plain)) == plain
