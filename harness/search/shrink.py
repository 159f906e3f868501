"""From a failing run to the few choices that make it fail.

A run is its seed and the choices that are not 0. Shrinking leaves choices out, in halves, quarters and so on (delta
debugging), then one by one, then lowers the values that are left, and keeps whatever still breaks the same law. The
result is minimal in this sense: without any one of its steps the law is not broken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..sim.tape import (
    LIMITS_S,
    OTHERS,
    POINT_BOUND,
    SHORT,
    Choice,
    Deviations,
    Place,
    Until,
    Value,
    deviations_of,
    says,
)

Fails = Callable[[Deviations], bool]


@dataclass(frozen=True)
class Shrunk:
    """``deviations`` in the order in which they happen; ``tries`` runs were needed."""

    deviations: dict[Place, Value]
    tries: int


def shrink(tape: list[Choice], fails: Fails, *, limit: int = 2000) -> Shrunk | None:
    """The smallest set of choices found that still fails; None if the tape's own choices do not fail.

    Args:
        fails: runs with these choices (0 elsewhere), and says whether the same law is broken.
        limit: of runs.
    """
    search = _Search(fails, limit)
    found = deviations_of(tape)
    if not search.fails(found):
        return None
    if search.fails({}):
        return Shrunk({}, search.tries)
    # Everyday delays first: most of them are noise.
    loud = {place: value for place, value in found.items() if not _is_noise(place, value)}
    if len(loud) < len(found) and search.fails(loud):
        found = loud
    found = search.leave_out(found)
    found = search.lower(found)
    return Shrunk(search.leave_out(found), search.tries)


def _is_noise(place: Place, value: Value) -> bool:
    return isinstance(value, int) and value < SHORT


class _Search:
    def __init__(self, fails: Fails, limit: int) -> None:
        self._fails, self._limit = fails, limit
        self.tries = 0

    def fails(self, deviations: Deviations) -> bool:
        if self.tries >= self._limit:
            return False
        self.tries += 1
        return self._fails(deviations)

    def leave_out(self, found: dict[Place, Value]) -> dict[Place, Value]:
        """Delta debugging: ever smaller pieces, until no single choice can go."""
        pieces = 2
        while len(found) > 1:
            places = list(found)
            size = max(1, len(places) // pieces)
            for start in range(0, len(places), size):
                gone = set(places[start : start + size])
                rest = {place: value for place, value in found.items() if place not in gone}
                if self.fails(rest):
                    found, pieces = rest, max(2, pieces - 1)
                    break
            else:
                if size == 1:
                    return found
                pieces = min(len(places), pieces * 2)
        return found

    def lower(self, found: dict[Place, Value]) -> dict[Place, Value]:
        """The mildest value of each choice that still fails."""
        for place in list(found):
            while (milder := self._milder(found, place)) is not None:
                found = {**found, place: milder}
        return found

    def _milder(self, found: dict[Place, Value], place: Place) -> Value | None:
        return next((milder for milder in _milder(found[place]) if self.fails({**found, place: milder})), None)


def _milder(value: Value) -> Iterator[Value]:
    """The milder values, the mildest first. Of a wait: one that runs out sooner, or for fewer operations."""
    if isinstance(value, int):
        yield from range(1, value)
        return
    if value.label == OTHERS:
        yield from (value._replace(nth=count) for count in range(1, value.nth))
    yield from (value._replace(limit_s=limit_s) for limit_s in LIMITS_S if limit_s < value.limit_s)


def in_words(deviations: Deviations) -> list[str]:
    """One sentence per step of a minimal schedule."""
    return [f"{n}. {_sentence(place, value)}" for n, (place, value) in enumerate(deviations.items(), 1)]


def _sentence(place: Place, value: Value) -> str:
    label, nth = place
    times = "" if nth == 0 else f" (time {nth + 1} of this kind)"
    actor, colon, what = label.partition(": ")
    if isinstance(value, Until):
        return f"{actor}, at {what}{times}: {says(value)}"
    if label.startswith("next: "):
        names = what.split("|")
        return f"{names[value]} runs before {names[0]}{times}"
    if label.startswith("message "):
        return f"{label}{times} takes {0.2 * (1 + value):.1f} ms"
    if colon and value < POINT_BOUND and not what.startswith("hears"):
        return f"{actor}, at {what}{times}: {says(value)}"
    return f"{label}{times}: {value}"
