"""What tells early that a rule need not be tried never hides a find: with all rules tried, the same is found."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockjaw.harness.kit.finding import Finder, Found
from lockjaw.harness.kit.rules import NEAR, RULES

from .shapes import SHAPES
from .test_redaction_time import UNITS

HERE = Path(__file__).parent
KNOWN = [
    json.loads(line)["text"]
    for name in ("secrets.jsonl", "more_secrets.jsonl", "first_look.jsonl", "second_look.jsonl")
    for line in (HERE / name).read_text("utf-8").splitlines()
]
TEXTS = [*KNOWN, *(text for texts in SHAPES.values() for text, _ in texts)]
EVERYTHING = frozenset([*(word for rule in RULES for group in rule.hints for word in group), *(f"\0{n}" for n in NEAR)])


class _All:
    def of(self, text: str) -> frozenset[str]:
        return EVERYTHING


def found(text: str, *, all_rules: bool) -> set[Found]:
    finder = Finder()
    if all_rules:
        finder._hints = _All()  # type: ignore[assignment]
    return set(finder.find(text))


def test_every_near_is_of_a_rule() -> None:
    assert NEAR.keys() <= {rule.name for rule in RULES}


def test_all_that_is_known_is_found_without_trying_every_rule() -> None:
    for text in TEXTS:
        assert found(text, all_rules=False) == found(text, all_rules=True), text


PIECES = st.sampled_from([*TEXTS, *UNITS])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(PIECES | st.text(max_size=8), min_size=1, max_size=4),
    st.sampled_from(["", " ", "\n", "\\n", "\u200b"]),
    st.sampled_from([str, str.upper, str.lower, str.title]),
)
def test_whatever_is_put_together_is_found_without_trying_every_rule(
    pieces: list[str], glue: str, case: object
) -> None:
    text = case(glue.join(pieces))  # type: ignore[operator]
    assert found(text, all_rules=False) == found(text, all_rules=True)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([rule.name for rule in RULES]), min_size=1, max_size=3), st.data())
def test_cut_shapes_are_found_without_trying_every_rule(names: list[str], data: st.DataObject) -> None:
    """Pieces of the shapes, cut anywhere: where a rule only just matches."""
    whole = " ".join(SHAPES[name][0][0] for name in names if SHAPES.get(name))
    start = data.draw(st.integers(0, len(whole)))
    text = whole[start : data.draw(st.integers(start, len(whole)))]
    assert found(text, all_rules=False) == found(text, all_rules=True)


@pytest.mark.parametrize("length", [1_000, 200_000])
def test_a_text_of_all_hints_in_any_order_loses_none(length: int) -> None:
    """What the matcher remembers grows with every order in which words come; out of memory it must not say "none"."""
    hints = Finder()._hints
    stream = random.Random(length)
    words = [*hints._words[1:]] * (length // 3_000 + 1)
    stream.shuffle(words)
    text = " ".join(words)[:length]
    there = {word for word in hints._words[1:] if word in text.lower()}
    assert there <= hints.of(text)
