"""Known words are found where they stand alone, and nowhere else."""

from __future__ import annotations

import pytest

from lockjaw.harness.kit.lexicon import Lexicon
from lockjaw.harness.kit.pseudonyms import Pseudonyms


def found(words: list[str], text: str, *, any_case: bool = True) -> list[str]:
    lexicon: Lexicon[str] = Lexicon(any_case=any_case)
    for word in words:
        lexicon.add(word, word)
    return [text[hit.start : hit.end] for hit in lexicon.find(text)]


@pytest.mark.parametrize(
    ("words", "text", "hits"),
    [
        (["bob"], "bob Bob bobby kebob bob", ["bob", "Bob", "bob"]),
        (["bob"], "bob_x x_bob x-bob.", ["bob", "bob", "bob"]),
        (["bo", "bob jones"], "bob jones bo", ["bob jones", "bo"]),
        (["bob jones", "bob jones jr"], "bob jones jr, bob jones", ["bob jones jr", "bob jones"]),
        (["+49 17"], "call +49 17, +49 171", ["+49 17"]),
        (["a.b-"], "a.b- a.b-c xa.b-", ["a.b-", "a.b-"]),
        (["bob"], "bob", ["bob"]),
        (["--"], "-- a", []),
        ([], "bob", []),
    ],
)
def test_words_are_found_where_no_letter_or_digit_touches_them(words: list[str], text: str, hits: list[str]) -> None:
    assert found(words, text) == hits


def test_case_counts_only_when_asked() -> None:
    assert found(["Bob"], "bob Bob", any_case=False) == ["Bob"]
    assert found(["ß"], "ẞ ß \u0130", any_case=True) == ["ẞ", "ß"]


def test_the_first_note_of_a_word_counts() -> None:
    lexicon: Lexicon[int] = Lexicon(any_case=True)
    lexicon.add("Bob", 1)
    lexicon.add("bob", 2)
    assert [hit.note for hit in lexicon.find("BOB")] == [1]
    assert len(lexicon) == 1
    assert "BOB" in lexicon


def test_markers_and_places_to_fill_in_stay_in_a_made_up_text() -> None:
    """Without its marker a run of another program cannot find the turn, and the scenario is refused."""
    shown = Pseudonyms(bytes(32)).text("Please LJ-1 water {n} plants LJ-x")
    words = shown.split()
    assert (words[1], words[3]) == ("LJ-1", "{n}")
    assert not {"Please", "water", "plants"} & set(words)
