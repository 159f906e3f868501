"""``slow_disk``: what one process writes takes long, as on a worn disk or a busy volume."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from .base import WRITES, Hands, InForce, Met, Slot


class SlowDisk(InForce, frozen=True, kw_only=True, tag="slow_disk"):
    """Every write, flush and rename takes so much longer, until it is healed. The process stands still meanwhile."""

    latency_s: Annotated[float, Meta(gt=0)]  # of each operation

    @property
    def says(self) -> str:
        return f"slows the disk of the {self.target} ({self.latency_s:g} s for each write)"

    def meet(self, met: Met, hands: Hands, slot: Slot) -> None:
        if met.operation in (*WRITES, "Flush", "FlushFolder", "Replace"):
            hands.delay(self.latency_s)
