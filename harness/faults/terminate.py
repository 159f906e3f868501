"""``terminate``: the process is asked to end in good order (SIGTERM)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Fault

if TYPE_CHECKING:
    from ..play.world import World


class Terminate(Fault, frozen=True, kw_only=True, tag="terminate"):
    """SIGTERM."""

    @property
    def says(self) -> str:
        return f"asks the {self.target} to end (SIGTERM)"

    def strike(self, world: World) -> bool:
        process = world.process(self.target)
        happened = self.record(world, process, process.alive)
        world.stop(process)
        return happened
