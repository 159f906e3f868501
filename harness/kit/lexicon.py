"""Words that are looked for in texts: where each stands alone, in time that does not grow with their number. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

__all__ = ["Hit", "Lexicon"]

T = TypeVar("T")
_TOKEN = re.compile(r"[^\W_]+")


class Hit(NamedTuple, Generic[T]):
    """A word of the lexicon at ``start`` to ``end``, and what was noted of it."""

    start: int
    end: int
    note: T


class Lexicon(Generic[T]):
    """Words (or whole sentences) with a note each. They are found where no letter or digit touches them.

    Args:
        any_case: ``ALICE`` is ``alice``.
    """

    def __init__(self, *, any_case: bool = False) -> None:
        self._any_case = any_case
        self._notes: dict[str, T] = {}
        #: The first run of letters and digits of each word -> (what stands before it, the word), the longest first.
        self._by_token: dict[str, list[tuple[int, str]]] = {}

    def __contains__(self, word: str) -> bool:
        return self._folded(word) in self._notes

    def __len__(self) -> int:
        return len(self._notes)

    def add(self, word: str, note: T) -> None:
        """Add a word; the first note of a word counts. A word without a letter or digit is not taken."""
        word = self._folded(word)
        first = _TOKEN.search(word)
        if first is None or word in self._notes:
            return
        self._notes[word] = note
        words = self._by_token.setdefault(first[0], [])
        words.append((first.start(), word))
        words.sort(key=lambda one: (-len(one[1]), one[1]))

    def find(self, text: str) -> Iterator[Hit[T]]:
        """Every place of a word, from left to right, without overlaps; of two at one place the longer."""
        if not self._notes:
            return
        folded = self._folded(text)
        at = 0
        for token in _TOKEN.finditer(folded):
            for lead, word in self._by_token.get(token[0], ()):
                start = token.start() - lead
                end = start + len(word)
                if start < at or not folded.startswith(word, start):
                    continue
                if _touched(folded, start, end):
                    continue
                yield Hit(start, end, self._notes[word])
                at = end
                break

    def _folded(self, text: str) -> str:
        if not self._any_case:
            return text
        lowered = text.lower()
        # One letter (U+0130) is two in lower case; places would no longer be places of the text.
        return lowered if len(lowered) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def _touched(text: str, start: int, end: int) -> bool:
    return (start > 0 and text[start - 1].isalnum() and text[start].isalnum()) or (
        end < len(text) and text[end].isalnum() and text[end - 1].isalnum()
    )
