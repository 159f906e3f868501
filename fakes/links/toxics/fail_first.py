"""Fail first: connections that fail until one is let through."""

from __future__ import annotations

import random
from typing import Literal

from .reset_peer import Doomed
from .stage import Ending, Positive, Stage, Toxic
from .stall import Stalled


class FailFirst(Toxic, frozen=True, kw_only=True, tag="fail_first"):
    """The first ``connections`` after the toxic was added fail; those after them, and those before it, do not.

    ``how``: ``reset`` and ``close`` end them at once, and the upstream never sees them; ``silence`` says nothing.
    """

    connections: Positive = 1
    how: Literal["reset", "close", "silence"] = "reset"

    def stage(self, stream: random.Random, nth: int) -> Stage:
        if not 1 <= nth <= self.connections:
            return Stage()
        if self.how == "silence":
            return Stalled()
        return Doomed(0.0, Ending.RESET if self.how == "reset" else Ending.CLOSE)
