"""Reset peer: both ends get a RST."""

from __future__ import annotations

import random
from math import inf

from .stage import Ending, Item, Seconds, Stage, Timed, Toxic


class ResetPeer(Toxic, frozen=True, kw_only=True, tag="reset_peer"):
    """The connection is cut with a real RST on both sides, ``after_s`` after the toxic began to apply to it."""

    after_s: Seconds = 0.0

    def stage(self, stream: random.Random, nth: int) -> Stage:
        return Doomed(self.after_s, Ending.RESET)


class Doomed(Stage):
    """Passes everything until its hour comes."""

    def __init__(self, after_s: float, ending: Ending) -> None:
        super().__init__()
        self._after_s, self._ending, self._ends_at, self._over = after_s, ending, inf, False

    def begin(self, at: float) -> None:
        self._ends_at = at + self._after_s

    def put(self, item: Item, at: float) -> None:
        if not self._over and at < self._ends_at:
            self.hold(item, at)

    def take(self, now: float) -> list[Timed]:
        passed = super().take(now)
        if now >= self._ends_at and not self._over:
            self._over = True
            passed.append((self._ends_at, self._ending))
        return passed

    def next_deadline(self) -> float | None:
        deadlines = [at for at in (super().next_deadline(), None if self._over else self._ends_at) if at is not None]
        return min((at for at in deadlines if at < inf), default=None)
