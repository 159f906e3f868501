"""Stall: from now on nothing arrives."""

from __future__ import annotations

import random
from math import inf

from .stage import Ending, Item, Seconds, Stage, Timed, Toxic


class Stall(Toxic, frozen=True, kw_only=True, tag="stall"):
    """Everything is held back. After ``timeout_s`` the connection is closed and what was held is lost; 0: never.

    Healed, the stream flows on where it stopped. With ``discard`` what arrives is thrown away, so healing can only
    close the connection (what Toxiproxy's ``timeout`` does).
    """

    timeout_s: Seconds = 0.0
    discard: bool = False

    def stage(self, stream: random.Random, nth: int) -> Stage:
        return Stalled(self.timeout_s, discard=self.discard)


class Stalled(Stage):
    """Holds everything; closes after ``timeout_s`` unless that is 0."""

    def __init__(self, timeout_s: float = 0.0, *, discard: bool = False) -> None:
        super().__init__()
        self._timeout_s, self._discard = timeout_s, discard
        self._ends_at, self._lost = inf, False

    def begin(self, at: float) -> None:
        self._ends_at = at + self._timeout_s if self._timeout_s else inf

    def put(self, item: Item, at: float) -> None:
        if self._discard and isinstance(item, bytes):
            self._lost = True
        else:
            self.hold(item, inf)

    def take(self, now: float) -> list[Timed]:
        if now < self._ends_at:
            return []
        ended, self._ends_at = self._ends_at, inf
        self.drop()
        return [(ended, Ending.CLOSE)]

    def next_deadline(self) -> float | None:
        return self._ends_at if self._ends_at < inf else None

    def heal(self, now: float) -> list[Timed]:
        return [(now, Ending.CLOSE)] if self._lost else super().heal(now)
