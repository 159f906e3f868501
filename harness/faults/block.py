"""``block``: the process runs, and its event loop gets nothing done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..incident.timing import Seconds
from .base import Fault
from .resume import Resume

if TYPE_CHECKING:
    from ..play.world import World


class Block(Fault, frozen=True, kw_only=True, tag="block"):
    """The event loop is busy for so long: timers, heartbeats and answers are all late, while the process lives."""

    for_s: Seconds  # how long

    @property
    def says(self) -> str:
        return f"keeps the {self.target} busy"

    @property
    def inside(self) -> bool:
        return True

    def strike(self, world: World) -> bool:
        process = world.process(self.target)
        return self.record(world, process, world.block(process))

    def heal(self, world: World) -> None:
        Resume(target=self.target, at_s=0.0).strike(world)
