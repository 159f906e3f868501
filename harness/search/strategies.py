"""Which runs a search makes.

Of one run per seed (``random`` and its three parts): a seed is a run, on any machine, whichever seeds were made before.

    ``random``    the default: in turns ``everyday``, ``priority``, ``swarm``.
    ``everyday``  every operation may be delayed a little, every message takes its own time.
    ``priority``  few operations are frozen, and of several actors the one with the highest priority acts
                  (probabilistic concurrency testing).
    ``swarm``     each seed draws which disturbances are on: delays, freezes, waits for what others do, a crash.

Systematic, from the undisturbed run; they need no luck, and say how many places there were:

    ``delays``    one operation frozen, every operation in turn, then every two, every three.
    ``crash``     each actor killed before, in the middle of and after each of its operations.
    ``fault``     each operation failing once with EIO, ENOSPC, EPERM, EAGAIN.

And one that learns (``fuzz``, for a night): schedules that showed a new ordering are kept, changed and combined.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from lockjaw.seeds import Seeds

from ..incident.scenario import Scenario
from ..sim.tape import (
    CRASH_AFTER,
    CRASH_BEFORE,
    EVERYDAY,
    FAULTS,
    FIRST_FAULT,
    TEAR,
    Chances,
    Choices,
    Place,
    PriorityChoices,
    RandomChoices,
    SparseChoices,
    Value,
)
from .swarm import SwarmChoices
from .undisturbed import Undisturbed, undisturbed

__all__ = [
    "DRAWN",
    "FREEZES",
    "FUZZ",
    "ROTA",
    "STRATEGIES",
    "SWEEPS",
    "Deviation",
    "Job",
    "Plan",
    "choices_of",
    "kind_of",
    "operations",
    "plan",
]

ROTA = ("everyday", "priority", "swarm")
DRAWN = ("random", *ROTA)
SWEEPS = ("delays", "crash", "fault")
FUZZ = "fuzz"
STRATEGIES = (*DRAWN, *SWEEPS, FUZZ)
FREEZES = (5, 7, 8, 9, 10)  # of DELAYS_S: 0.5, 12, 45, 90 and 600 s; the last two outlast every wait of the runtime

Deviation = tuple[tuple[Place, Value], ...]


class Job(msgspec.Struct, frozen=True):
    """One run to make: a seed, and the choices that are not 0 (None: drawn from the seed)."""

    seed: int
    deviations: Deviation | None = None


@dataclass(frozen=True)
class Plan:
    """``planned``: how many runs; None: until somebody ends it. ``points``: operations that are varied."""

    jobs: Iterator[Job]
    planned: int | None
    points: int = 0


def kind_of(strategy: str, seed: int) -> str:
    """Which kind of run a seed of a drawn strategy is."""
    return ROTA[(seed - 1) % len(ROTA)] if strategy == "random" else strategy


def choices_of(
    job: Job, strategy: str, scenario: Scenario, policy: str, chances: Chances = EVERYDAY
) -> Choices:  # fmt: skip
    """Where the decisions of one run come from."""
    if job.deviations is not None:
        return SparseChoices(dict(job.deviations))
    kind = kind_of(strategy, job.seed)
    if kind == "everyday":
        return RandomChoices(Seeds(job.seed), chances)
    return drawn_choices(kind, Seeds(job.seed), undisturbed(scenario, policy))


def drawn_choices(kind: str, seeds: Seeds, base: Undisturbed) -> Choices:
    """``kind``: one of ``ROTA``."""
    if kind == "everyday":
        return RandomChoices(seeds)
    return PriorityChoices(seeds, base.length) if kind == "priority" else SwarmChoices(seeds, base)


def plan(scenario: Scenario, policy: str, strategy: str, seeds: int, first_seed: int) -> Plan:
    """The runs of every strategy but ``fuzz``.

    Args:
        seeds: how many at most. Of a sweep 0 means all of one deviation each, fewer are evenly spaced, and more are, of
            ``delays``, two and three deviations at once.
    """
    if strategy in DRAWN:
        jobs = (Job(seed) for seed in range(first_seed, first_seed + seeds))
        return Plan(jobs, seeds, 0 if strategy == "everyday" else undisturbed(scenario, policy).length)
    places = operations(scenario, policy)
    if strategy == "crash":
        ways = [
            (place, how)
            for place in places
            for how in (CRASH_BEFORE, CRASH_AFTER, *((TEAR,) if _writes(place) else ()))
        ]
    elif strategy == "fault":
        ways = [(place, FIRST_FAULT + n) for place in places for n in range(len(FAULTS))]
    else:
        ways = [(place, freeze) for place in places for freeze in FREEZES]
        if seeds > len(ways):
            chains = itertools.chain.from_iterable(itertools.combinations(ways, count) for count in (1, 2, 3))
            jobs = (Job(first_seed, chain) for chain in chains if len({way[0] for way in chain}) == len(chain))
            return Plan(itertools.islice(jobs, seeds), seeds, len(places))
    planned = min(seeds, len(ways)) if seeds else len(ways)
    some = (ways[n * len(ways) // planned] for n in range(planned))
    return Plan((Job(first_seed, (way,)) for way in some), planned, len(places))


def operations(scenario: Scenario, policy: str) -> tuple[Place, ...]:
    """Every operation of every actor in the undisturbed run, in its order; none of the harness's own."""
    return undisturbed(scenario, policy).places


def _writes(place: Place) -> bool:
    return any(word in place.label for word in (": Append ", ": WriteInPlace ", ": Write "))
