"""From the log of a run to its schedule, and from many schedules to how much was seen. Pure.

Two runs that did the same steps in the same causal order are one *schedule*: for each object that two actors touch and
one changes, the order of what changes it and which reads came between; and for each actor the order of its own steps.
Reads between two changes may be swapped. Times do not matter.

An *ordering* is a pair of steps of two actors that conflict, one right before the other on that object, without the
numbers in them: ``client: Read sessions.json`` before ``gateway: Replace sessions.json``. A *race both ways* is such a
pair seen in both orders. What was never turned round is where to look next.

``unseen`` is the Good-Turing estimate: the share of runs so far whose schedule came once is about the chance that the
next run of the same strategy brings one that is new. It speaks of no other strategy, and of no search that learns.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from ..sim.log import Step
from ..sim.tape import LIMITS_S, Place, Until

__all__ = ["ALONE", "Ordering", "Schedule", "Schedules", "races_of", "schedule_of"]

ALONE = frozenset({"harness", "models"})  # actors that are not part of what is tested
#: (object, step before, step after)
Ordering = tuple[str, str, str]
_NUMBER = re.compile(r" \d+$")
_pack = struct.Struct("<I").pack


@dataclass(frozen=True)
class Schedule:
    """Of one run. ``name``: 16 hexadecimal digits, the same on every machine."""

    name: str
    orderings: frozenset[Ordering]


@lru_cache(maxsize=1 << 16)
def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=8).digest()


@lru_cache(maxsize=1 << 16)
def _without_number(thing: str) -> str:
    return _NUMBER.sub("", thing)


class _Object:
    """What was done to one object, so far."""

    __slots__ = ("actors", "changed", "last", "order", "reads", "since")

    def __init__(self) -> None:
        self.order: list[bytes] = []
        self.reads: list[bytes] = []  # since the last change
        self.since: list[tuple[str, str]] = []  # (actor, label) of those
        self.last: tuple[str, str] | None = None  # the last change
        self.actors: set[str] = set()
        self.changed = False

    def touch(self, actor: str, label: str, step: bytes, changes: bool) -> Sequence[tuple[str, str]]:
        """Returns the conflicting steps right before this one."""
        self.actors.add(actor)
        if not changes:
            self.reads.append(step)
            self.since.append((actor, label))
            return (self.last,) if self.last is not None else ()
        before = self.since or ((self.last,) if self.last is not None else ())
        self._close()
        self.order.append(step)
        self.last, self.since, self.changed = (actor, label), [], True
        return before

    def _close(self) -> None:
        if self.reads:
            self.reads.sort()
            self.order.append(b"r" + b"".join(self.reads))
            self.reads = []

    def digest(self) -> bytes | None:
        """None: nobody can tell an order here."""
        if not self.changed or len(self.actors) < 2:
            return None
        self._close()
        return b"".join(self.order)


def schedule_of(steps: Iterable[Step]) -> Schedule:
    """The schedule of a run, of its log."""
    objects: dict[str, _Object] = {}
    own: dict[str, list[bytes]] = {}
    orderings: set[Ordering] = set()
    for actor, label, nth, touches in steps:
        if actor in ALONE:
            continue
        name = _digest(label)
        own.setdefault(actor, []).append(name)
        if not touches:
            continue
        step = name + _pack(nth)
        for thing, changes in touches:
            known = objects.get(thing)
            if known is None:
                known = objects[thing] = _Object()
            for other, before in known.touch(actor, label, step, changes):
                if other != actor:
                    orderings.add((_without_number(thing), before, label))
    whole = blake2b(digest_size=8)
    for thing in sorted(objects):
        order = objects[thing].digest()
        if order is not None:
            whole.update(_digest(thing) + order)
    for actor in sorted(own):
        whole.update(_digest(actor) + b"".join(own[actor]))
    return Schedule(whole.hexdigest(), frozenset(orderings))


@dataclass
class Schedules:
    """What many runs have shown, in the order in which they were made."""

    runs: int = 0
    times: Counter[str] = field(default_factory=Counter)  # schedule -> runs
    orderings: dict[Ordering, int] = field(default_factory=dict)  # -> the run that showed it first, from 1
    violated: Counter[Ordering] = field(default_factory=Counter)  # -> runs that broke a law and had it
    healthy: set[Ordering] = field(default_factory=set)  # that a run had which broke none
    last_new_at: int = 0  # the last run with a new ordering
    last_new_schedule_at: int = 0

    def add(self, name: str, orderings: Iterable[Ordering], *, violated: bool = False) -> None:
        """One run more. ``orderings``: where it broke no law, those that earlier runs had can be left out."""
        self.runs += 1
        if not self.times[name]:
            self.last_new_schedule_at = self.runs
        self.times[name] += 1
        for ordering in orderings:
            if ordering not in self.orderings:
                self.orderings[ordering] = self.last_new_at = self.runs
            if violated:
                self.violated[ordering] += 1
            else:
                self.healthy.add(ordering)

    @property
    def only_violated(self) -> dict[Ordering, int]:
        """Orderings that were seen in runs that broke a law and in no other, with how many."""
        return {ordering: runs for ordering, runs in self.violated.items() if ordering not in self.healthy}

    @property
    def different(self) -> int:
        return len(self.times)

    @property
    def both_ways(self) -> int:
        """Pairs of conflicting steps that were seen in both orders."""
        return sum(1 for thing, a, b in self.orderings if a <= b and (thing, b, a) in self.orderings)

    @property
    def quiet_for(self) -> int:
        """Runs since one brought a new ordering."""
        return self.runs - self.last_new_at

    @property
    def unseen(self) -> float | None:
        """Good-Turing; None before there are runs."""
        return sum(1 for times in self.times.values() if times == 1) / self.runs if self.runs else None

    def document(self) -> dict[str, Any]:
        return {
            "different": self.different, "orderings": len(self.orderings), "races_both_ways": self.both_ways,
            "last_new_at": self.last_new_at, "last_new_schedule_at": self.last_new_schedule_at,
        }  # fmt: skip

    def sentence(self) -> str:
        """For people."""
        return (
            f"{self.runs:,} runs, {self.different:,} different schedules; {len(self.orderings):,} orderings of "
            f"conflicting steps, {self.both_ways:,} races both ways; the last new one at run {self.last_new_at:,}"
        )


def races_of(steps: Sequence[Step], most: int) -> tuple[tuple[Place, Until], ...]:
    """Waits that would turn two conflicting steps of a run round: at the first, until the second is past."""
    last: dict[str, list[tuple[str, str, int, bool]]] = {}  # object -> the latest steps, each of another actor
    found: dict[tuple[Place, Until], None] = {}
    for actor, label, nth, touches in steps:
        if actor in ALONE:
            continue
        for thing, changes in touches:
            before = last.setdefault(thing, [])
            for other, their_label, their_nth, theirs_change in before:
                if other != actor and (changes or theirs_change):
                    found[Place(their_label, their_nth), Until(label, nth, LIMITS_S[-1])] = None
            last[thing] = [one for one in before if one[0] != actor] + [(actor, label, nth, changes)]
    return tuple(found)[-most:]
