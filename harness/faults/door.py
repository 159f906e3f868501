"""Where the faults of a scenario meet the operations of one process, in every world."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from .base import AtOperation, Fault, Hands, Met, ShortWrite, Slot

__all__ = ["Door", "inside"]


def inside(faults: Iterable[Fault], actor: str) -> list[tuple[int, Fault]]:
    """The faults that strike an actor from within, with their places in the scenario."""
    return [(n, fault) for n, fault in enumerate(faults) if fault.inside and fault.target == actor]


class Door:
    """Every operation of a process passes here first.

    Args:
        slots: one for each fault. They outlive the process: its successor goes on counting.
    """

    def __init__(self, faults: Sequence[Fault], slots: Sequence[Slot], hands: Hands) -> None:
        self._faults, self._hands = list(zip(faults, slots, strict=True)), hands

    def meet(self, operation: str, path: str, size_bytes: int = 0) -> ShortWrite | None:
        """An operation is about to be performed. Raises OSError if it is to fail. -> how much of a write happens."""
        met = Met(operation, path, size_bytes)
        for fault, slot in self._faults:
            if _strikes(fault, slot, met) and (part := fault.meet(met, self._hands, slot)) is not None:
                return part
        return None


def _strikes(fault: Fault, slot: Slot, met: Met) -> bool:
    if not isinstance(fault, AtOperation):
        return slot.count > 0
    point = fault.before
    if point is None or met.operation != point.operation or not fnmatchcase(met.name, point.path):
        return False
    slot.count += 1
    return point.nth <= slot.count < point.nth + point.times
