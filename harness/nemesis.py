"""The nemesis: what is done to which actor, and when.

Pure. The schedule is told what happened and what time it is, and says which faults are due; performing them
is the engine's business. All times are nominal seconds after the client's clock started.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from lockjaw.documents import FieldError
from lockjaw.harness.pattern import Pattern
from lockjaw.history import Record

#: kill: SIGKILL. terminate: SIGTERM. pause, resume: SIGSTOP, SIGCONT. restart: end it in good order if it still
#: runs, then start it again on the same port.
Action = Literal["kill", "pause", "resume", "terminate", "restart"]
Target = Literal["gateway", "client", "models"]
Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One act, at a time (``at_s``) or some time after a record (``when``, its ``nth`` match, ``after_s``).

    ``jitter_s`` adds a random delay of up to that much, drawn from the run's seed.
    """

    action: Action
    target: Target
    at_s: Seconds | None = None
    when: Pattern | None = None
    nth: Annotated[int, msgspec.Meta(ge=1)] = 1
    after_s: Seconds = 0.0
    jitter_s: Seconds = 0.0

    def __post_init__(self) -> None:
        if (self.at_s is None) == (self.when is None):
            raise FieldError("", "exactly one of at_s and when")
        if self.at_s is not None and (self.after_s or self.nth != 1):
            raise FieldError("at_s", "no after_s and no nth beside it (they belong to when)", self.at_s)

    def __str__(self) -> str:
        return f"{self.action} {self.target}"


class Schedule:
    """The faults of one run, in progress."""

    def __init__(self, faults: Sequence[Fault], stream: random.Random) -> None:
        self._faults = tuple(faults)
        # One draw per fault whether it is used or not: a new fault at the end does not move the others.
        self._jitter = [fault.jitter_s * stream.random() for fault in self._faults]
        self._seen = [0] * len(self._faults)
        self._due = [None if f.at_s is None else f.at_s + j for f, j in zip(self._faults, self._jitter, strict=True)]
        self._taken: set[int] = set()

    def observe(self, record: Record) -> None:
        """Tell the schedule about one record; ``record.t`` counts from the client's start."""
        for n, fault in enumerate(self._faults):
            if fault.when is not None and self._due[n] is None and fault.when.matches(record):
                self._seen[n] += 1
                if self._seen[n] == fault.nth:
                    self._due[n] = record.t + fault.after_s + self._jitter[n]

    def take_due(self, now: float) -> list[Fault]:
        """The faults to perform now, in the order of their times; each is handed out once."""
        ready = sorted((due, n) for n, due in enumerate(self._due) if due is not None and due <= now)
        ready = [(due, n) for due, n in ready if n not in self._taken]
        self._taken.update(n for _, n in ready)
        return [self._faults[n] for _, n in ready]

    def next_due(self) -> float | None:
        """When the next fault that is known to come is due; None when none is."""
        return min((due for n, due in enumerate(self._due) if due is not None and n not in self._taken), default=None)

    def never_due(self) -> tuple[Fault, ...]:
        """Faults that were never handed out: the run did not reach the danger it was made for."""
        return tuple(fault for n, fault in enumerate(self._faults) if n not in self._taken)
