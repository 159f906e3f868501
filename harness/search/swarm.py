"""Swarm choices: each seed draws which kinds of disturbance are on, and how much of each.

A run in which everything may happen is like every other such run; a run in which only two kinds may happen goes to
places that it does not (swarm testing, Groce, 2012). The kinds: small delays, freezes, priorities among the actors
that could go on, *crossings* (at an operation that precedes a conflicting one of another actor in the undisturbed run,
wait until that one is past), rare waits for some operations of others, and seldom a crash.

Whatever is drawn is drawn from the seed alone. So a seed is a run, on any machine.
"""

from __future__ import annotations

import random

from lockjaw.seeds import Seeds

from ..sim.tape import (
    CRASH_BEFORE,
    DRAWN,
    LIMITS_S,
    NEXT,
    OTHERS,
    POINT_BOUND,
    SHORT,
    Choice,
    Place,
    Until,
    Value,
)
from .undisturbed import Undisturbed

__all__ = ["SwarmChoices", "crossing"]

_LONGEST_S = LIMITS_S[-1]
_MOST_OTHERS = 64


class SwarmChoices:
    """See above. ``base``: the undisturbed run, which says how long a run is and where its actors meet."""

    def __init__(self, seeds: Seeds, base: Undisturbed) -> None:
        self.tape: list[Choice] = []
        self._bits = seeds.stream("schedule").getrandbits
        drawn = seeds.stream("swarm")
        length = max(1, base.length)
        self._delay_256 = drawn.choice((4, 16, 64)) if drawn.random() < 0.5 else 0
        self._by_priority = drawn.random() < 0.5
        self._harm: dict[int, int] = {}
        if drawn.random() < 0.6:
            for _ in range(drawn.choice((1, 1, 2, 3))):
                self._harm[drawn.randrange(length)] = drawn.randrange(SHORT, DRAWN)
        if drawn.random() < 0.08:
            self._harm[drawn.randrange(length)] = CRASH_BEFORE + drawn.randrange(3)
        self._crossings: dict[Place, Until] = {}
        if drawn.random() < 0.7:
            for _ in range(drawn.choice((1, 2, 3, 4))):
                found = crossing(drawn, base)
                if found is not None:
                    self._crossings[found[0]] = found[1]
        self._wait_4096 = 0
        if drawn.random() < 0.4:
            self._wait_4096 = max(1, drawn.choice((1, 2, 4)) * 4096 // length)
        self._labels = frozenset(place.label for place in self._crossings)
        self._seen: dict[str, int] = dict.fromkeys(self._labels, 0)
        self._priority: dict[str, int] = {}
        self._points = 0

    def point(self, label: str) -> Value:
        value = self._value(label)
        self._points += 1
        self.tape.append(Choice(label, POINT_BOUND, value))
        return value

    def _value(self, label: str) -> Value:
        if label in self._labels:
            nth = self._seen[label]
            self._seen[label] = nth + 1
            wait = self._crossings.get(Place(label, nth))
            if wait is not None:
                return wait
        if self._points in self._harm:
            return self._harm[self._points]
        if self._wait_4096 and self._bits(12) < self._wait_4096:
            count = 1
            while count < _MOST_OTHERS and self._bits(1):
                count *= 2
            return Until(OTHERS, count + self._bits(6) % count, _LONGEST_S)
        if self._delay_256:
            drawn = self._bits(8)
            if drawn < self._delay_256:
                return 1 + drawn % (SHORT - 1)
        return 0

    def pick(self, label: str, bound: int) -> int:
        if self._by_priority and label.startswith(NEXT):
            actors = label.removeprefix(NEXT).split("|")
            for actor in actors:
                if actor not in self._priority:
                    self._priority[actor] = self._bits(24)
            value = max(range(bound), key=lambda n: self._priority[actors[n]])
        else:
            value = (self._bits(16) * bound) >> 16
        self.tape.append(Choice(label, bound, value))
        return value

    def finish(self) -> None:
        return None


def crossing(drawn: random.Random, base: Undisturbed, limit_s: float = _LONGEST_S) -> tuple[Place, Until] | None:
    """Draw two conflicting operations of the undisturbed run, and a wait at the first until the second is past.

    None: what was drawn is no such pair.
    """
    if not base.shared:
        return None
    _, by_actor = drawn.choice(base.shared)
    (_, ours), (_, theirs) = drawn.sample(by_actor, 2)
    at, changes = drawn.choice(ours)
    later = [n for n, theirs_changes in theirs if n > at and (changes or theirs_changes)]
    place = base.place_of.get(at)
    if place is None or not later:
        return None
    _, label, nth, _ = base.steps[later[min(int(drawn.expovariate(0.5)), len(later) - 1)]]
    return place, Until(label, nth, limit_s)
