"""``resume``: a process that stood still goes on (SIGCONT)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Fault

if TYPE_CHECKING:
    from ..play.world import World


class Resume(Fault, frozen=True, kw_only=True, tag="resume"):
    """Ends a ``pause`` or a ``block``."""

    @property
    def says(self) -> str:
        return f"wakes the {self.target}"

    def strike(self, world: World) -> bool:
        process = world.process(self.target)
        happened = self.record(world, process, process.alive)
        world.resume(process)
        return happened
