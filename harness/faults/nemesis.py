"""The nemesis: what is done to which actor, and when.

Pure but for the counting. The schedule is told what happened and what time it is, and says which faults are due;
performing them is the engine's business. All times are nominal seconds after the client's clock started.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Generic, Literal, Protocol, TypeVar

import msgspec

from lockjaw.documents import FieldError
from lockjaw.history import Record

from ..incident.links import PARTITION, check_toxic, toxic_of
from ..incident.matching import Pattern

#: kill: SIGKILL. terminate: SIGTERM. pause, resume: SIGSTOP, SIGCONT. restart: end it in good order if it still
#: runs, then start it again on the same port. fail: an operation of its fails. block: its event loop is busy.
#: tear: killed in the middle of a write, half of whose bytes are there. jump: its wall clock is set. lag: it sees files
#: as they were. Of a link: toxic: a fault on its byte stream. part: everything is held back. heal: the toxic of this
#: name is gone, or all are. cut: what is open now is reset.
Action = Literal[
    "kill",
    "pause",
    "resume",
    "terminate",
    "restart",
    "fail",
    "tear",
    "block",
    "toxic",
    "part",
    "heal",
    "cut",
    "jump",
    "lag",
]
Errno = Literal["EIO", "ENOSPC", "EPERM", "EACCES", "EAGAIN", "EINTR", "EBUSY"]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
PROCESS_ACTIONS = ("kill", "pause", "resume", "terminate", "restart", "block")
LINK_ACTIONS = ("toxic", "part", "heal", "cut")
OPERATION_ACTIONS = ("kill", "pause", "fail", "tear")  # what can happen right before (or in) an operation
SIMULATED_ACTIONS = ("jump", "lag")  # that processes of one machine cannot show
SAME_INSTANT_S = 1e-6  # as records count time
WRITES = ("Append", "Write", "WriteInPlace")  # the operations that can be torn


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operation of the target: the lock's (``CreateExclusive``, ``WriteInPlace``, ``Unlink``, ``Read``, ...).

    ``path``: a pattern of shell globs for the file's name. It is met the ``nth`` time, and ``times`` - 1 times more.
    """

    operation: str
    path: str = "*"
    nth: Count = 1
    times: Count = 1


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One act: at a time (``at_s``), some time after a record (``when``, its ``nth`` match, ``after_s``), or right
    before an operation (``before``).

    ``jitter_s`` adds a random delay of up to that much, drawn from the run's seed. ``for_s``: a pause (a block, a
    partition, a toxic, a lag) ends by itself after so long. ``by_s``: how far a wall clock jumps (below 0: back), or
    how old what a process sees of other processes' files may be (0: it sees everything at once). ``target``: an actor,
    or a link for ``toxic``, ``part``, ``heal`` and ``cut``. ``toxic``: its keys, as ``{type: latency, latency_s: 1}``,
    or its name for ``heal``.
    """

    action: Action
    target: str
    at_s: Seconds | None = None
    when: Pattern | None = None
    nth: Count = 1
    after_s: Seconds = 0.0
    jitter_s: Seconds = 0.0
    before: Point | None = None
    for_s: Seconds | None = None
    errno: Errno | None = None
    toxic: dict[str, Any] | str | None = None
    by_s: float | None = None

    def __post_init__(self) -> None:
        if sum(one is not None for one in (self.at_s, self.when, self.before)) != 1:
            raise FieldError("", "exactly one of at_s, when and before")
        if self.when is None and (self.after_s or self.nth != 1):
            blamed = "before" if self.at_s is None else "at_s"
            raise FieldError(blamed, "no after_s and no nth beside it (they belong to when)", getattr(self, blamed))
        if self.before is not None and self.action not in OPERATION_ACTIONS:
            raise FieldError("before", f"one of {', '.join(OPERATION_ACTIONS)} at an operation", self.action)
        if self.before is not None and self.action == "pause" and self.for_s is None:
            raise FieldError("for_s", "how long the pause at an operation lasts")
        wants = {
            "fail": ("errno", "before"),
            "tear": ("before",),
            "block": ("for_s",),
            "jump": ("by_s",),
            "lag": ("by_s",),
            "toxic": ("toxic",),
        }
        for name in wants.get(self.action, ()):
            if getattr(self, name) is None:
                raise FieldError(name, f"what {self.action} needs")
        for name, allowed in (
            ("errno", ("fail",)),
            ("by_s", ("jump", "lag")),
            ("toxic", ("toxic", "heal")),
            ("for_s", ("pause", "block", "part", "toxic", "lag")),
        ):
            if getattr(self, name) is not None and self.action not in allowed:
                raise FieldError(name, f"{name} only with {' or '.join(allowed)}", self.action)
        if self.action == "lag" and (self.by_s or 0.0) < 0:
            raise FieldError("by_s", "how old what it sees may be, 0 or more", self.by_s)
        if self.action == "tear" and self.before is not None and self.before.operation not in WRITES:
            raise FieldError(
                "before.operation", f"a write, which can be torn: {', '.join(WRITES)}", self.before.operation
            )
        if isinstance(self.toxic, dict) != (self.action == "toxic") and self.toxic is not None:
            raise FieldError("toxic", "its keys for toxic, its name for heal", self.toxic)
        if isinstance(self.toxic, dict):
            check_toxic(self.toxic, ("toxic",))

    def __str__(self) -> str:
        what = f" {self.toxic_name}" if self.toxic is not None else ""
        text = f"{self.action}{what} {self.target}"
        return text if self.before is None else f"{text} before {self.before.operation} {self.before.path}"

    @property
    def heals(self) -> Fault | None:
        """What ends it after ``for_s``, as a fault at that many seconds; None: nothing does."""
        if self.for_s is None:
            return None
        if self.action == "lag":
            return Fault("lag", self.target, at_s=self.for_s, by_s=0.0)
        if self.action in LINK_ACTIONS:
            return Fault("heal", self.target, at_s=self.for_s, toxic=self.toxic_name)
        return Fault("resume", self.target, at_s=self.for_s)

    @property
    def toxic_name(self) -> str | None:
        """What it is healed by; None: not one toxic."""
        if self.action == "part":
            return PARTITION
        return toxic_of(self.toxic).label if isinstance(self.toxic, dict) else self.toxic


def scheduled(faults: Sequence[Fault]) -> list[Fault]:
    """The faults that are due at a time or after a record."""
    return [fault for fault in faults if fault.before is None]


def ambushes(faults: Sequence[Fault], actor: str) -> tuple[Fault, ...]:
    """The faults that wait for an operation of one actor."""
    return tuple(fault for fault in faults if fault.before is not None and fault.target == actor)


class Ambush:
    """One fault at an operation, in progress: counts how often the operation was met."""

    def __init__(self, fault: Fault) -> None:
        assert fault.before is not None
        self.fault, self._point = fault, fault.before
        self._met = 0

    def strikes(self, operation: str, path: str) -> bool:
        """Tell it about one operation that is about to happen. True: now."""
        point = self._point
        if operation != point.operation or not fnmatchcase(path.rpartition("/")[2], point.path):
            return False
        self._met += 1
        return point.nth <= self._met < point.nth + point.times

    @property
    def happened(self) -> bool:
        return self._met >= self._point.nth


class Cue(msgspec.Struct, frozen=True):
    """When an actor of the cast begins."""

    name: str
    at_s: float | None
    when: Pattern | None
    nth: int
    after_s: float
    jitter_s: float

    @classmethod
    def of(cls, name: str, actor: Any) -> Cue:
        start = actor.start
        return cls(name, start.at_s, start.when, start.nth, start.after_s, start.jitter_s)


class Planned(Protocol):
    """What a schedule can hold."""

    @property
    def at_s(self) -> float | None: ...
    @property
    def when(self) -> Pattern | None: ...
    @property
    def nth(self) -> int: ...
    @property
    def after_s(self) -> float: ...
    @property
    def jitter_s(self) -> float: ...


P = TypeVar("P", bound=Planned)


class Schedule(Generic[P]):
    """The faults of one run, in progress, or whatever else is due at a time or after a record."""

    def __init__(self, faults: Sequence[P], stream: random.Random) -> None:
        self._faults = tuple(faults)
        self._given = len(self._faults)  # what is added later heals something, and is nobody's plan
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

    def add(self, fault: P) -> None:
        """One more, at a time: what heals a fault that was just performed."""
        self._faults += (fault,)
        self._jitter.append(0.0)
        self._seen.append(0)
        self._due.append(fault.at_s)

    def take_due(self, now: float) -> list[P]:
        """The faults to perform now, in the order of their times; each is handed out once.

        Whoever asks has usually set a timer for ``next_due`` and subtracted the beginning of the run again, which may
        end a rounding short of it. Without ``SAME_INSTANT_S`` nothing would be handed out and the timer be set again
        for the same instant, for ever.
        """
        now += SAME_INSTANT_S
        ready = sorted((due, n) for n, due in enumerate(self._due) if due is not None and due <= now)
        ready = [(due, n) for due, n in ready if n not in self._taken]
        self._taken.update(n for _, n in ready)
        return [self._faults[n] for _, n in ready]

    def next_due(self) -> float | None:
        """When the next fault that is known to come is due; None when none is."""
        return min((due for n, due in enumerate(self._due) if due is not None and n not in self._taken), default=None)

    def never_due(self) -> tuple[P, ...]:
        """The faults given at first that were never handed out: the run did not reach the danger it was made for."""
        return tuple(fault for n, fault in enumerate(self._faults[: self._given]) if n not in self._taken)
