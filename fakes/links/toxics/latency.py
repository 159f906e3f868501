"""Latency: everything arrives late."""

from __future__ import annotations

import random

from .stage import Item, Seconds, Stage, Toxic


class Latency(Toxic, frozen=True, kw_only=True, tag="latency"):
    """Each piece arrives ``latency_s`` plus or minus up to ``jitter_s`` later; order is kept. Ends are delayed too."""

    latency_s: Seconds = 0.0
    jitter_s: Seconds = 0.0

    def stage(self, stream: random.Random, nth: int) -> Stage:
        return _Late(self, stream)


class _Late(Stage):
    def __init__(self, toxic: Latency, stream: random.Random) -> None:
        super().__init__()
        self._toxic, self._stream = toxic, stream

    def put(self, item: Item, at: float) -> None:
        jitter_s = self._toxic.jitter_s * self._stream.uniform(-1, 1) if self._toxic.jitter_s else 0.0
        self.hold(item, at + max(0.0, self._toxic.latency_s + jitter_s))
