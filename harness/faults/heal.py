"""``heal``: a toxic of a link is gone, or all are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .on_links import OnLink

if TYPE_CHECKING:
    from ..incident.links import Faulty

PARTITION = ("part", ("part_upstream", "part_downstream"))  # what a partition is healed by, and what it consists of


class Heal(OnLink, frozen=True, kw_only=True, tag="heal"):
    """Takes a toxic off a link; what it held back flows on."""

    toxic: str | None = None  # its name; part: a partition; none: everything that is there

    @property
    def toxic_name(self) -> str | None:
        return self.toxic

    @property
    def says(self) -> str:
        return f"removes {self.toxic or 'every toxic'} from the link {self.target}"

    def act(self, link: Faulty) -> None:
        if self.toxic is None:
            link.heal_all()
        else:
            for name in PARTITION[1] if self.toxic == PARTITION[0] else (self.toxic,):
                link.heal(name)
