"""What is due when: faults, and the cues of actors. Pure but for the counting.

A schedule is given what happened and what time it is, and says what is due; acting is somebody else's business. All
times are nominal seconds after the client's clock started.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Generic, TypeVar

from lockjaw.history import Record

from ..incident.timing import Timing

__all__ = ["Schedule"]

T = TypeVar("T")
SAME_INSTANT_S = 1e-6  # as records count time; a timer calls back a rounding before or after its time


class Schedule(Generic[T]):
    """Whatever is due at a time or after a record, in progress."""

    def __init__(self, planned: Sequence[tuple[Timing, T]], stream: random.Random) -> None:
        self._timings = [timing for timing, _ in planned]
        self._items = [item for _, item in planned]
        # One draw for each, whether it is used or not: a new fault at the end does not move the others.
        self._jitter = [timing.jitter_s * stream.random() for timing in self._timings]
        self._seen = [0] * len(planned)
        self._due = [
            None if t.at_s is None else t.at_s + jitter for t, jitter in zip(self._timings, self._jitter, strict=True)
        ]
        self._taken: set[int] = set()

    def observe(self, record: Record) -> None:
        """One record was written; ``record.t`` counts from the client's start."""
        for n, timing in enumerate(self._timings):
            if timing.when is not None and self._due[n] is None and timing.when.matches(record):
                self._seen[n] += 1
                if self._seen[n] == timing.nth:
                    self._due[n] = record.t + timing.after_s + self._jitter[n]

    def add(self, at_s: float, item: T) -> None:
        """One more, at a time: what heals a fault that was just performed."""
        self._items.append(item)
        self._due.append(at_s)

    def take_due(self, now: float) -> list[T]:
        """What is due now, in the order of the times; each is handed out once."""
        ready = sorted((due, n) for n, due in enumerate(self._due) if due is not None and due <= now + SAME_INSTANT_S)
        ready = [(due, n) for due, n in ready if n not in self._taken]
        self._taken.update(n for _, n in ready)
        return [self._items[n] for _, n in ready]

    def next_due(self) -> float | None:
        """When the next one that is known to come is due; None when none is."""
        return min((due for n, due in enumerate(self._due) if due is not None and n not in self._taken), default=None)

    def never_due(self) -> tuple[T, ...]:
        """Those planned at first that were never handed out: the run did not reach the danger it was made for."""
        return tuple(self._items[n] for n in range(len(self._timings)) if n not in self._taken)
