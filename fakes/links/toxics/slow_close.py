"""Slow close: the end of a stream is late."""

from __future__ import annotations

import random

from .stage import Item, Seconds, Stage, Toxic


class SlowClose(Toxic, frozen=True, kw_only=True, tag="slow_close"):
    """Bytes pass at once; FIN, close and RST come ``delay_s`` later."""

    delay_s: Seconds

    def stage(self, stream: random.Random, nth: int) -> Stage:
        return _Lingering(self.delay_s)


class _Lingering(Stage):
    def __init__(self, delay_s: float) -> None:
        super().__init__()
        self._delay_s = delay_s

    def put(self, item: Item, at: float) -> None:
        self.hold(item, at if isinstance(item, bytes) else at + self._delay_s)
