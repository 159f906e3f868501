"""Slicer: a stream in small pieces."""

from __future__ import annotations

import random
from math import inf

from lockjaw.documents import FieldError

from .stage import Count, Cutting, Positive, Seconds, Stage, Toxic


class Slicer(Toxic, frozen=True, kw_only=True, tag="slicer"):
    """Pieces of ``average_bytes`` plus or minus up to ``variation_bytes``, each ``delay_s`` after the one before.

    Where the borders lie depends on the seed and the stream's own positions, not on how it was sent.
    """

    average_bytes: Positive
    variation_bytes: Count = 0
    delay_s: Seconds = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variation_bytes >= self.average_bytes:
            raise FieldError("variation_bytes", "less than average_bytes", self.variation_bytes)

    def stage(self, stream: random.Random, nth: int) -> Stage:
        return _Sliced(self, stream)


class _Sliced(Cutting):
    def __init__(self, toxic: Slicer, stream: random.Random) -> None:
        super().__init__()
        self._toxic, self._stream = toxic, stream
        self._left, self._at = 0, -inf  # bytes up to the next border; when the piece at hand may go

    def cut(self, available: int, at: float) -> tuple[int, float]:
        if not self._left:
            around = self._toxic.variation_bytes
            self._left = self._toxic.average_bytes + self._stream.randint(-around, around)
            self._at = max(at, self._at + self._toxic.delay_s)
        size = min(available, self._left)
        self._left -= size
        return size, max(at, self._at)
