"""``jump``: the wall clock of one process is set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .base import Fault

if TYPE_CHECKING:
    from ..play.world import World


class Jump(Fault, frozen=True, kw_only=True, tag="jump"):
    """The wall clock jumps, the monotonic one does not. Processes of one machine share theirs."""

    by_s: float  # below 0: back

    worlds = ("sim",)

    @property
    def says(self) -> str:
        return f"sets the clock of the {self.target} by {self.by_s:g} s"

    def strike(self, world: World) -> bool:
        process: Any = world.process(self.target)
        if process.alive:
            process.skew_s += self.by_s
        return self.record(world, process, process.alive, by_s=self.by_s)
