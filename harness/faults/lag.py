"""``lag``: one process sees files as they were a while ago, as network file systems and mounts into containers do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..incident.timing import Seconds
from .base import Fault

if TYPE_CHECKING:
    from ..play.world import World


class Lag(Fault, frozen=True, kw_only=True, tag="lag"):
    """What the target sees of files that others change is old. Its own changes it sees at once."""

    by_s: Seconds  # how old it may be; 0: it sees everything at once
    for_s: Seconds | None = None  # after so long it sees everything at once

    worlds = ("sim",)
    needs_past = True

    @property
    def says(self) -> str:
        return f"shows the {self.target} the files as they were {self.by_s:g} s ago"

    def strike(self, world: World) -> bool:
        process: Any = world.process(self.target)
        if process.alive:
            process.lag_s = self.by_s
        return self.record(world, process, process.alive, by_s=self.by_s)

    def heal(self, world: World) -> None:
        Lag(target=self.target, at_s=0.0, by_s=0.0).strike(world)
