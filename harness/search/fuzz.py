"""The strategy that learns: schedules that showed something new are kept, changed a little and combined.

A schedule is a set of choices that are not 0. One that showed a new ordering is kept with much weight, one that was
only different with little. With more than one worker the next schedules are drawn before the last ones are known, so
two such searches differ; each finding replays from its tape all the same.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from lockjaw.seeds import Seeds

from ..sim.tape import CRASH_BEFORE, DRAWN, SHORT, Place, Until, Value
from .coverage import Ordering
from .runs import Result
from .strategies import Job
from .undisturbed import Undisturbed

_MOST_KEPT = 400
_MOST_CHOICES = 8
_WEARS = 0.97  # of its weight, each time a schedule is changed


class _Kept:
    def __init__(self, choices: dict[Place, Value], races: tuple[tuple[Place, Until], ...], weight: float) -> None:
        self.choices, self.races, self.weight = choices, races, weight


class Fuzzer:
    """Draws jobs; ``learn`` from each result. ``seed``: of all runs, and of what is drawn."""

    def __init__(self, base: Undisturbed, seed: int) -> None:
        self._seed, self._places = seed, base.places
        self._drawn: random.Random = Seeds(seed).stream("fuzz")
        self._kept: list[_Kept] = []
        self._schedules: set[str] = set()
        self._orderings: set[Ordering] = set()

    def jobs(self, count: int | None = None) -> Iterator[Job]:
        """So many; None: for ever."""
        yield Job(self._seed, ())
        for _ in itertools.count() if count is None else range(count - 1):
            choices = self._changed() if self._kept else self._somewhere({})
            yield Job(self._seed, tuple(choices.items()))

    def learn(self, result: Result) -> None:
        new = [ordering for ordering in result.orderings if ordering not in self._orderings]
        if not new and result.schedule in self._schedules:
            return
        self._orderings.update(new)
        self._schedules.add(result.schedule)
        weight = 4.0 + len(new) if new else 1.0
        self._kept.append(_Kept(dict(result.job.deviations or ()), result.races, weight))
        if len(self._kept) > _MOST_KEPT:
            self._kept.sort(key=lambda one: -one.weight)
            del self._kept[_MOST_KEPT * 3 // 4 :]

    def _changed(self) -> dict[Place, Value]:
        drawn = self._drawn
        kept = drawn.choices(self._kept, [one.weight for one in self._kept])[0]
        kept.weight *= _WEARS
        choices = dict(kept.choices)
        for _ in range(drawn.choice((1, 1, 1, 2, 3))):
            way = drawn.random()
            if way < 0.45 and kept.races:
                place, until = drawn.choice(kept.races)
                choices[place] = until
            elif way < 0.70 or not choices:
                choices = self._somewhere(choices)
            elif way < 0.75:
                choices[drawn.choice(self._places)] = CRASH_BEFORE + drawn.randrange(3)
            elif way < 0.88:
                del choices[drawn.choice(list(choices))]
            else:
                choices |= drawn.choice(self._kept).choices
        while len(choices) > _MOST_CHOICES:
            del choices[drawn.choice(list(choices))]
        return choices

    def _somewhere(self, choices: dict[Place, Value]) -> dict[Place, Value]:
        drawn = self._drawn
        return {**choices, drawn.choice(self._places): drawn.randrange(1, DRAWN) if drawn.random() < 0.5 else
                drawn.randrange(SHORT, DRAWN)}  # fmt: skip
