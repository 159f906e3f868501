"""What every fault is: data with units, and what it does to a world.

A fault is a struct in a file of its own in this folder (``docs/how-to/add-a-fault.md``). It may act in three ways:

``strike``  on the world, when it is due: ends a process, holds a link back, sets a clock.
``heal``    takes it back when ``for_s`` is over.
``meet``    from within the struck process, at each of its operations on files and locks: right before the one that
            ``before`` names (``AtOperation``), or at all of them from ``strike`` to ``heal`` (``InForce``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn, Protocol

import msgspec

from lockjaw.documents import FieldError

from ..incident.timing import Count, Seconds, Timing

if TYPE_CHECKING:
    from ..play.world import Process, World

__all__ = ["AtOperation", "Fault", "Hands", "InForce", "Met", "Point", "ShortWrite", "Slot"]

#: The operations that write bytes, and so can be torn or find a disk full. (Of a torn commit nothing is left.)
WRITES = ("Append", "Write", "WriteInPlace", "Commit")


class Met(NamedTuple):
    """An operation that is about to be performed. ``size_bytes``: of what it writes, else 0."""

    operation: str  # of the lock or of files: CreateExclusive, WriteInPlace, Unlink, Read, Append, ...
    path: str
    size_bytes: int = 0

    @property
    def name(self) -> str:
        """The file's, without its folder."""
        return self.path.rpartition("/")[2]


class ShortWrite(NamedTuple):
    """Only so many bytes of a write reach the file, and ``then`` happens: it raises, or ends the process."""

    size_bytes: int
    then: Callable[[], NoReturn]


class Slot:
    """What a fault remembers in one run, whichever process of its target it meets. Whole numbers; 0 at first."""

    count = 0
    left = 0


class Hands(Protocol):
    """What a fault can do from within the process that it strikes, at one operation of it."""

    def record(self, fault: Fault, met: Met, **data: Any) -> None:
        """Record the act, as the nemesis's."""

    def die(self, fault: Fault, met: Met, where: str) -> NoReturn:
        """Record it and end the process, as SIGKILL does. ``where``: before or in the middle of the operation."""

    def freeze(self, fault: Fault, for_s: float) -> None:
        """Stop the process where it stands (SIGSTOP), for so many nominal seconds."""

    def delay(self, for_s: float) -> None:
        """The operation takes so much longer; no other part of the process gets on meanwhile."""


class Fault(Timing, frozen=True, kw_only=True, tag_field="action"):
    """One act of the nemesis, at a time (``at_s``) or some time after a record (``when``, its ``nth`` match,
    ``after_s``).

    Class attributes: ``worlds`` that can do it; ``of_link``: the target is a link, not an actor; ``needs_past``: the
    simulated disk must keep what was there before each change.
    """

    target: str  # an actor, or a link

    worlds: ClassVar[tuple[str, ...]] = ("sim", "real")
    of_link: ClassVar[bool] = False
    needs_past: ClassVar[bool] = False

    @property
    def action(self) -> str:
        """What it is called, in a scenario and in the history."""
        return str(self.__struct_config__.tag)

    @property
    def says(self) -> str:
        """What it does, for reports: a sentence whose subject is the nemesis."""
        raise NotImplementedError

    @property
    def for_s(self) -> float | None:
        """After how many nominal seconds it is healed; None: never, unless another fault does."""
        return None

    @property
    def inside(self) -> bool:
        """It strikes from within the target's process, which must be Lockjaw's own."""
        return False

    def strike(self, world: World) -> bool:
        """Do it and record it. False: it could not be done, and nothing has to be healed."""
        raise NotImplementedError

    def heal(self, world: World) -> None:
        """Take it back and record that."""
        raise NotImplementedError

    def meet(self, met: Met, hands: Hands, slot: Slot) -> ShortWrite | None:
        """Strike at an operation. May return how much of a write happens, or raise what the operation raises."""
        raise NotImplementedError

    def check_among(self, faults: Sequence[Fault]) -> None:
        """Raises FieldError if the scenario's other faults do not go with it."""

    def __str__(self) -> str:
        return f"{self.action} {self.target}"

    def record(self, world: World, process: Process, happened: bool = True, **data: Any) -> bool:
        """Record an act on a process, or that it came too late. Returns ``happened``.

        Call it on the right side of the effects: after an act that stops a process, so that nothing the process
        still did stands behind it; before one that sets a process in motion.
        """
        data = {"action": self.action, "target": process.name, "pid": process.pid, "says": self.says, **data}
        if happened:
            world.recorder.record("nemesis", **data)
        else:
            world.recorder.record("nemesis", "fail", **data, error="it had ended already")
        return happened


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operation of the target: the lock's (``CreateExclusive``, ``WriteInPlace``, ``Unlink``, ``Read``, ...) or the
    transcript's and the store's (``Append``, ``Write``, ``Flush``, ``Replace``, ...).

    ``path``: a pattern of shell globs for the file's name. It is met the ``nth`` time, and ``times`` - 1 times more.
    """

    operation: str  # of the lock or of files: CreateExclusive, WriteInPlace, Unlink, Read, Append, ...
    path: str = "*"  # a pattern of shell globs for the name of the file
    nth: Count = 1  # which time that it is met
    times: Count = 1  # how many times in all, from there on


class AtOperation(Fault, frozen=True, kw_only=True):
    """A fault that may also strike right before an operation of its target (``before``)."""

    before: Point | None = None  # in place of at_s and when: right before this operation

    def _given(self) -> dict[str, object]:
        return {**super()._given(), "before": self.before}

    @property
    def inside(self) -> bool:
        return self.before is not None

    def __str__(self) -> str:
        text = super().__str__()
        return text if self.before is None else f"{text} before {self.before.operation} {self.before.path}"


class InForce(Fault, frozen=True, kw_only=True):
    """A fault that the target meets at each operation, from when it strikes until it is healed."""

    for_s: Seconds | None = None  # a key of the file; until it is healed

    @property
    def inside(self) -> bool:
        return True

    @property
    def room(self) -> int:
        """What stands in the slot's ``left`` when it strikes."""
        return 0

    def strike(self, world: World) -> bool:
        process = world.process(self.target)
        slot = world.slot(self)
        if process.alive:
            slot.left, slot.count = self.room, 1
        for_s = {} if self.for_s is None else {"for_s": self.for_s}
        return self.record(world, process, process.alive, lasts=True, **for_s)

    def heal(self, world: World) -> None:
        world.slot(self).count = 0
        process = world.process(self.target)
        world.recorder.record(
            "nemesis", action="heal", target=process.name, pid=process.pid, heals=self.action,
            says=f"heals the {self.action} of the {process.name}",
        )  # fmt: skip


def refuse(key: str, expected: str, got: object = None) -> NoReturn:
    """Blame a key of a scenario."""
    raise FieldError(key, expected, got)
