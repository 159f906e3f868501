"""How well a replay tells the errors of a report: 0 to 1. Pure.

People paste excerpts, so the question is not whether the two texts are equal but whether the report's error lines
stand in the replay, in the same order. Both are normalised the same way (``incident``). The similarity is the weight
of the best order-preserving alignment divided by the number of the report's error lines: an equal line counts 1, a line
of the same kind with other contents counts what difflib finds equal of its words, times ``SAME_KIND``. Lines that only
the replay has cost nothing, except that a report which shows a chain's last line fixes every model's error in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache

SAME_KIND = 0.8
MAX_LINES = 120  # of each side; a report with more repeats itself
_ASSUMED = re.compile(r"\bassumed/")
_UNKNOWN = "?"


@dataclass(frozen=True)
class Mismatch:
    """The first line of the report that the replay does not have. ``replay``: what stands in its place, if anything."""

    line: int
    report: str
    replay: str | None


@dataclass(frozen=True)
class Likeness:
    """``similarity`` 0 to 1, where it falls short first, and the report's lines that the replay has not at all."""

    similarity: float
    mismatch: Mismatch | None
    missing: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        return self.mismatch is None


def likeness(report: Sequence[str], replay: Sequence[str]) -> Likeness:
    """Compare normalised error lines. An empty report is like nothing."""
    ours, theirs = list(report[:MAX_LINES]), list(replay[:MAX_LINES])
    if not ours:
        return Likeness(0.0, None)
    rows, columns = len(ours), len(theirs)
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            worth = credit(ours[i], theirs[j])
            taken = worth + best[i + 1][j + 1] if worth else 0.0
            best[i][j] = max(best[i + 1][j], best[i][j + 1], taken)
    total = best[0][0] / rows
    missing = dict.fromkeys(line for line in ours if not any(credit(line, other) for other in theirs))
    return Likeness(min(1.0, total), _first_mismatch(ours, theirs, best), tuple(missing))


def _first_mismatch(ours: list[str], theirs: list[str], best: list[list[float]]) -> Mismatch | None:
    i = j = 0
    while i < len(ours):
        if j == len(theirs):
            return Mismatch(i + 1, ours[i], None)
        worth = credit(ours[i], theirs[j])
        if worth and abs(best[i][j] - (worth + best[i + 1][j + 1])) < 1e-9:
            if worth < 1.0:
                return Mismatch(i + 1, ours[i], theirs[j])
            i, j = i + 1, j + 1
        elif best[i][j] == best[i][j + 1]:
            j += 1
        else:
            return Mismatch(i + 1, ours[i], theirs[j])
    return None


@lru_cache(maxsize=20_000)
def credit(ours: str, theirs: str) -> float:
    """What a pair of lines is worth: 1 for equal, 0 for lines of different kinds."""
    theirs = _ASSUMED.sub("", theirs)
    if ours == theirs:
        return 1.0
    if _kind(ours) != _kind(theirs):
        return 0.0
    if _UNKNOWN in ours and _fits(ours, theirs):
        return 1.0
    return round(SAME_KIND * SequenceMatcher(None, ours.split(), theirs.split(), autojunk=False).ratio(), 4)


def _kind(line: str) -> str:
    return " ".join(re.split(r"[ (:,]", line, maxsplit=3)[:3]).lower()


def _fits(ours: str, theirs: str) -> bool:
    """The report leaves a value open (``?``): any value fits there."""
    if ours.count(_UNKNOWN) > 40 or len(ours) > 4_000:
        return False
    parts = [re.escape(part) for part in ours.split(_UNKNOWN)]
    return re.fullmatch("[^|:]{0,200}?".join(parts), theirs) is not None
