"""Foreign runtimes: what all share, and one folder each.

A target says what it is, what of a scenario it cannot do, and which world its programs live in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ..incident.scenario import Scenario
    from ..real.engine import RealWorld

__all__ = ["Target"]


class Target(Protocol):
    """Programs that are not Lockjaw's (``openclaw@2026.4.8``). They run in real time."""

    @property
    def name(self) -> str: ...
    @property
    def facts(self) -> dict[str, Any]:
        """For the manifest: what a replay needs."""

    @property
    def cannot(self) -> Mapping[str, str]:
        """law -> why it cannot be judged from outside."""

    def notes(self, scenario: Scenario, time_scale: float | None) -> list[str]:
        """What of the scenario it cannot do, a sentence each."""

    def world(self, scenario: Scenario, **how: Any) -> RealWorld:
        """The world of one run; ``how`` as ``RealWorld`` takes it."""
