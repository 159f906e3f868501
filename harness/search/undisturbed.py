"""The undisturbed run of a scenario under a policy: what the strategies vary.

Always of the same seed, so that a seed of a strategy is the same run on every machine, whichever seed its search began
with.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

import msgspec

from ..incident.scenario import Scenario
from ..sim.engine import run_sim
from ..sim.log import Step
from ..sim.tape import POINT_BOUND, Choice, Place, SparseChoices
from .coverage import ALONE

SEED = 1

#: (index of the step, it changes the object)
Access = tuple[int, bool]


@dataclass(frozen=True)
class Undisturbed:
    """``places``: its operations in their order. ``steps``: its log. ``shared``: objects that two actors touch and one
    changes, by name, with each actor's accesses. ``place_of``: which operation a step is."""

    places: tuple[Place, ...]
    steps: tuple[Step, ...]
    shared: tuple[tuple[str, tuple[tuple[str, tuple[Access, ...]], ...]], ...]
    place_of: dict[int, Place]

    @property
    def length(self) -> int:
        return len(self.places)


def undisturbed(scenario: Scenario, policy: str) -> Undisturbed:
    """Make the run, or take it from those made already in this process."""
    key = (msgspec.json.encode(scenario), policy)
    found = _made.get(key)
    if found is None:
        while len(_made) >= _MOST_KEPT:
            del _made[next(iter(_made))]
        found = _made[key] = of_run(run_sim(scenario, policy=policy, seed=SEED, choices=SparseChoices({})))
    return found


_MOST_KEPT = 64
_made: dict[tuple[bytes, str], Undisturbed] = {}


class Logged(Protocol):
    """A run that left a tape and a log."""

    @property
    def tape(self) -> list[Choice]: ...
    @property
    def log(self) -> tuple[Step, ...]: ...


def of_run(lived: Logged) -> Undisturbed:
    """What an undisturbed run says, whichever world it was made in."""
    steps = lived.log
    operations = frozenset(choice.label for choice in lived.tape if choice.bound == POINT_BOUND)
    place_of = {n: Place(label, nth) for n, (_, label, nth, _) in enumerate(steps) if label in operations}
    return Undisturbed(places_of(lived.tape), steps, _shared(steps), place_of)


def places_of(tape: list[Choice]) -> tuple[Place, ...]:
    """Every operation of a run, in its order."""
    seen: Counter[str] = Counter()
    places = []
    for label, bound, _ in tape:
        if bound == POINT_BOUND:
            places.append(Place(label, seen[label]))
            seen[label] += 1
    return tuple(places)


def _shared(steps: tuple[Step, ...]) -> tuple[tuple[str, tuple[tuple[str, tuple[Access, ...]], ...]], ...]:
    objects: dict[str, dict[str, list[Access]]] = {}
    for n, (actor, _, _, touches) in enumerate(steps):
        if actor not in ALONE:
            for thing, changes in touches:
                objects.setdefault(thing, {}).setdefault(actor, []).append((n, changes))
    return tuple(
        (thing, tuple((actor, tuple(accesses)) for actor, accesses in by_actor.items()))
        for thing, by_actor in sorted(objects.items())
        if len(by_actor) > 1 and any(changes for accesses in by_actor.values() for _, changes in accesses)
    )
