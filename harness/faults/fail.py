"""``fail``: an operation of the process fails and has no effect."""

from __future__ import annotations

import errno
import os
from typing import Literal

from .base import AtOperation, Hands, Met, Slot, refuse

Errno = Literal["EIO", "ENOSPC", "EPERM", "EACCES", "EAGAIN", "EINTR", "EBUSY"]


class Fail(AtOperation, frozen=True, kw_only=True, tag="fail"):
    """The operation that ``before`` names raises OSError."""

    errno: Errno  # how the operation fails

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.before is None:
            refuse("before", "which operation is to fail")

    @property
    def says(self) -> str:
        return f"makes an operation of the {self.target} fail ({self.errno})"

    def meet(self, met: Met, hands: Hands, slot: Slot) -> None:
        hands.record(self, met, errno=self.errno)
        number = getattr(errno, self.errno)
        raise OSError(number, os.strerror(number), met.path)
