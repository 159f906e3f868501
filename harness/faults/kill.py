"""``kill``: the process ends at once, with whatever it was doing (SIGKILL)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import AtOperation, Hands, Met, Slot

if TYPE_CHECKING:
    from ..play.world import World


class Kill(AtOperation, frozen=True, kw_only=True, tag="kill"):
    """SIGKILL."""

    @property
    def says(self) -> str:
        return f"kills the {self.target}"

    def strike(self, world: World) -> bool:
        process = world.process(self.target)
        return self.record(world, process, world.kill(process))

    def meet(self, met: Met, hands: Hands, slot: Slot) -> None:
        hands.die(self, met, "before")
