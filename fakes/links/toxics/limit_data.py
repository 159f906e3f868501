"""Limit data: a connection that ends after so many bytes."""

from __future__ import annotations

import random

from .stage import Count, Ending, Item, Stage, Toxic


class LimitData(Toxic, frozen=True, kw_only=True, tag="limit_data"):
    """Exactly ``limit_bytes`` pass, then the connection is closed; with ``reset`` it is cut."""

    limit_bytes: Count
    reset: bool = False

    def stage(self, stream: random.Random, nth: int) -> Stage:
        return _Limited(self.limit_bytes, Ending.RESET if self.reset else Ending.CLOSE)


class _Limited(Stage):
    def __init__(self, limit_bytes: int, ending: Ending) -> None:
        super().__init__()
        self._left, self._ending, self._over = limit_bytes, ending, False

    def put(self, item: Item, at: float) -> None:
        if self._over:
            return
        if isinstance(item, bytes):
            passed = item[: self._left]
            self._left -= len(passed)
            if passed:
                self.hold(passed, at)
            if not self._left:
                self._over = True
                self.hold(self._ending, at)
        else:
            self.hold(item, at)
