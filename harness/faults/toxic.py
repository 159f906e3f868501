"""``toxic``: a fault on the byte stream of a link."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..incident.links import check_toxic, toxic_of
from ..incident.timing import Seconds
from .heal import Heal
from .on_links import OnLink

if TYPE_CHECKING:
    from ..incident.links import Faulty
    from ..play.world import World


class AddToxic(OnLink, frozen=True, kw_only=True, tag="toxic"):
    """Puts a toxic on a link: latency, bandwidth, loss, ... as ``lockjaw serve link`` has them."""

    toxic: dict[str, Any]  # its keys, as {type: latency, latency_s: 1}
    for_s: Seconds | None = None  # after so long it is healed

    def __post_init__(self) -> None:
        super().__post_init__()
        check_toxic(self.toxic, ("toxic",))

    @property
    def toxic_name(self) -> str:
        return toxic_of(self.toxic).label

    @property
    def says(self) -> str:
        return f"puts the toxic {self.toxic_name} on the link {self.target}"

    def act(self, link: Faulty) -> None:
        link.add(toxic_of(self.toxic))

    def heal(self, world: World) -> None:
        Heal(target=self.target, at_s=0.0, toxic=self.toxic_name).strike(world)
