"""Tool calls and their results: which vendors want paired, and how each says that they are not. Pure.

A runtime that replays a transcript after a crash is most likely to be wrong exactly here. When calls must be answered
(before the next message, in the next message, anywhere behind) is for each surface to ask: ``Pairing.settled``.
"""

from __future__ import annotations

import msgspec

from .surface import refused


class PairingWords(msgspec.Struct, frozen=True):
    """``{at}``: where in the body; ``{id}``: of the result; ``{ids}``: of the calls without one; ``{first}`` of them.

    ``again``: the vendor takes a second result of one call.
    """

    unknown: str
    unanswered: str
    again: bool = True


class Pairing:
    """Calls of one request and their results, in the order in which they stand there."""

    def __init__(self, words: PairingWords) -> None:
        self._words = words
        self._calls: list[str] = []
        self._answered: set[str] = set()

    def called(self, ids: list[str]) -> None:
        self._calls += ids

    def answered(self, call: str, at: str, param: str | None = None) -> None:
        """Raises RequestRefused: there is no such call, or it has its result already."""
        if call not in self._calls or (call in self._answered and not self._words.again):
            raise refused(self._words.unknown.replace("{at}", at).replace("{id}", call), param)
        self._answered.add(call)

    def settled(self, at: str, param: str | None = None) -> None:
        """Every call so far has its result; forget them. Raises RequestRefused."""
        left = [call for call in self._calls if call not in self._answered]
        if left:
            text = self._words.unanswered.replace("{at}", at).replace("{first}", left[0])
            raise refused(text.replace("{ids}", ", ".join(left)), param)
        self._calls, self._answered = [], set()
