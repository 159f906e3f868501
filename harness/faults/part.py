"""``part``: a link is half open, or not at all: everything is held back in both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..incident.links import toxic_of
from ..incident.timing import Seconds
from .heal import PARTITION, Heal
from .on_links import OnLink

if TYPE_CHECKING:
    from ..incident.links import Faulty
    from ..play.world import World


class Part(OnLink, frozen=True, kw_only=True, tag="part"):
    """Holds back what passes a link, and new connections too; loses nothing when it is healed."""

    for_s: Seconds | None = None  # after so long it is healed

    @property
    def toxic_name(self) -> str:
        return PARTITION[0]

    @property
    def says(self) -> str:
        return f"blocks the link {self.target}"

    def act(self, link: Faulty) -> None:
        for name in PARTITION[1]:
            link.add(toxic_of({"type": "stall", "name": name, "stream": name.partition("_")[2]}))

    def heal(self, world: World) -> None:
        Heal(target=self.target, at_s=0.0, toxic=PARTITION[0]).strike(world)

    def __str__(self) -> str:
        return f"{self.action} {self.toxic_name} {self.target}"
