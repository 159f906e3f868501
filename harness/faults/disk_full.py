"""``disk_full``: the file system of one process has room for so many more bytes."""

from __future__ import annotations

import errno
import os
from typing import Annotated, NoReturn

from msgspec import Meta

from .base import WRITES, Hands, InForce, Met, ShortWrite, Slot

_FOUND = 2  # the slot's count once a write has found the disk full


class DiskFull(InForce, frozen=True, kw_only=True, tag="disk_full"):
    """Writes fail with ENOSPC once the room is used up, until it is healed: the last one with as many of its bytes as
    fit. Removing a file gives no room back."""

    room_bytes: Annotated[int, Meta(ge=0)] = 0  # what can still be written

    @property
    def says(self) -> str:
        return f"fills the disk of the {self.target} (room for {self.room_bytes} bytes)"

    @property
    def room(self) -> int:
        return self.room_bytes

    def meet(self, met: Met, hands: Hands, slot: Slot) -> ShortWrite | None:
        if met.operation not in WRITES:
            return None
        if met.size_bytes <= slot.left:
            slot.left -= met.size_bytes
            return None
        if slot.count != _FOUND:
            slot.count = _FOUND
            hands.record(self, met, errno="ENOSPC")
        fits, slot.left = slot.left, 0

        def fail() -> NoReturn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), met.path)

        return ShortWrite(fits, fail)
