"""What the faults of a run remember, seen by the harness and by every process that they strike from within."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from ..faults.base import Slot

__all__ = ["make_board", "slot_at"]

SLOT_BYTES = 16


class _SharedSlot(Slot):
    """Two whole numbers in a file that several processes have mapped. Each is written by one of them at a time: the
    harness switches a fault on and off, the struck process counts."""

    def __init__(self, memory: mmap.mmap, at: int) -> None:
        self._memory, self._at = memory, at

    @property
    def count(self) -> int:
        return int.from_bytes(self._memory[self._at : self._at + 8], "little", signed=True)

    @count.setter
    def count(self, value: int) -> None:
        self._memory[self._at : self._at + 8] = value.to_bytes(8, "little", signed=True)

    @property
    def left(self) -> int:
        return int.from_bytes(self._memory[self._at + 8 : self._at + 16], "little", signed=True)

    @left.setter
    def left(self, value: int) -> None:
        self._memory[self._at + 8 : self._at + 16] = value.to_bytes(8, "little", signed=True)


def make_board(path: Path, faults: int) -> None:
    """A board for so many faults, all of them at 0."""
    path.write_bytes(bytes(max(1, faults) * SLOT_BYTES))


def slot_at(path: Path, n: int) -> Slot:
    """The slot of the scenario's fault number ``n``."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        return _SharedSlot(mmap.mmap(fd, 0), n * SLOT_BYTES)
    finally:
        os.close(fd)
