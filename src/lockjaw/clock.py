"""Nominal time.

Every duration in Lockjaw's code, messages and records is *nominal*: the 90000 ms of the field report stay
90000 ms. A clock maps nominal seconds to real ones by one factor, the time scale: at 0.02 the 90 s pass in
1.8 s of real time. Nothing but this module multiplies by the scale.

Processes of one harness run share the clock: origin and scale come in through the environment
(``LOCKJAW_CLOCK``), and ``CLOCK_MONOTONIC`` is the same for all processes of a machine. A user's process has
no such variable, and its clock is the ordinary one (scale 1).
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

ENVIRONMENT_KEY = "LOCKJAW_CLOCK"


class Clock(Protocol):
    """What the runtime may ask of time. All arguments and results are nominal seconds unless named otherwise."""

    def monotonic(self) -> float: ...
    def wall_ms(self) -> int: ...
    def real_s(self, nominal_s: float) -> float: ...
    async def sleep(self, nominal_s: float) -> None: ...
    def sleep_blocking(self, nominal_s: float) -> None: ...


@dataclass(frozen=True)
class ScaledClock:
    """The machine's clock, sped up.

    Args:
        scale: real seconds per nominal second; > 0. 1.0 is ordinary time.
        origin_ns: ``time.monotonic_ns()`` at nominal second 0.
        epoch_ms: Unix milliseconds at nominal second 0.
    """

    scale: float
    origin_ns: int
    epoch_ms: int

    @classmethod
    def start(cls, scale: float = 1.0) -> ScaledClock:
        """A clock whose nominal second 0 is now."""
        return cls(scale, time.monotonic_ns(), time.time_ns() // 1_000_000)

    @classmethod
    def from_environment(cls) -> ScaledClock:
        """The clock of the surrounding harness run; ordinary time where there is none."""
        text = os.environ.get(ENVIRONMENT_KEY)
        if not text:
            return cls.start()
        scale, origin_ns, epoch_ms = text.split(",")
        return cls(float(scale), int(origin_ns), int(epoch_ms))

    def to_environment(self) -> dict[str, str]:
        return {ENVIRONMENT_KEY: f"{self.scale!r},{self.origin_ns},{self.epoch_ms}"}

    def monotonic(self) -> float:
        return (time.monotonic_ns() - self.origin_ns) / 1e9 / self.scale

    def wall_ms(self) -> int:
        return self.epoch_ms + int(self.monotonic() * 1000)

    def real_s(self, nominal_s: float) -> float:
        """Real seconds of a nominal duration, for the time limits of libraries."""
        return nominal_s * self.scale

    async def sleep(self, nominal_s: float) -> None:
        await asyncio.sleep(max(0.0, nominal_s) * self.scale)

    def sleep_blocking(self, nominal_s: float) -> None:
        time.sleep(max(0.0, nominal_s) * self.scale)


class OrdinaryClock:
    """The machine's clock as it is: scale 1, second 0 when the machine started. It has no state, so one serves all."""

    monotonic = staticmethod(time.monotonic)

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def real_s(self, nominal_s: float) -> float:
        return nominal_s

    async def sleep(self, nominal_s: float) -> None:
        await asyncio.sleep(max(0.0, nominal_s))

    def sleep_blocking(self, nominal_s: float) -> None:
        time.sleep(max(0.0, nominal_s))


_ORDINARY = OrdinaryClock()

# What os.environ keeps its variables in, by encoded names: its own look for a missing one raises twice, which takes as
# long as two system calls of the lock that is made meanwhile.
_variables = getattr(os.environ, "_data", os.environ)
_variable = os.environ.encodekey(ENVIRONMENT_KEY) if _variables is not os.environ else ENVIRONMENT_KEY


def surrounding_clock() -> Clock:
    """The clock of the surrounding harness run; the machine's own where there is none, for whoever only measures spans
    and tells the time of day."""
    return ScaledClock.from_environment() if _variables.get(_variable) else _ORDINARY


def iso(wall_ms: int) -> str:
    """``2026-11-22T16:21:27.099Z``: how OpenClaw writes instants (JavaScript's ``toISOString``)."""
    instant = datetime.fromtimestamp(wall_ms // 1000, tz=UTC)
    return f"{instant.isoformat()[:19]}.{wall_ms % 1000:03d}Z"


def parse_iso(text: str) -> int | None:
    """Unix milliseconds of an ISO 8601 instant, or None if it is none."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return round(instant.timestamp() * 1000)
