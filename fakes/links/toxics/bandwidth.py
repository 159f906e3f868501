"""Bandwidth: a line that carries so many bytes a second."""

from __future__ import annotations

import random
from math import inf

from .stage import Count, Cutting, Stage, Toxic

SLICE_S = 0.05  # how coarse the flow may be, nominal: one delivery carries the line's bytes of this time


class Bandwidth(Toxic, frozen=True, kw_only=True, tag="bandwidth"):
    """At most ``rate_bytes_per_s``; 0: nothing passes. A byte arrives when the line has carried it."""

    rate_bytes_per_s: Count

    def stage(self, stream: random.Random, nth: int) -> Stage:
        return _Line(self.rate_bytes_per_s)


class _Line(Cutting):
    def __init__(self, rate: int) -> None:
        super().__init__()
        self._rate, self._free_at = rate, -inf
        self._slice = max(1, int(rate * SLICE_S))

    def cut(self, available: int, at: float) -> tuple[int, float]:
        size = min(available, self._slice)
        # On absolute instants: what a late delivery lost is not lost to the line.
        self._free_at = max(self._free_at, at) + size / self._rate if self._rate else inf
        return size, self._free_at

    def end(self, at: float) -> float:
        return at if self._rate else inf
