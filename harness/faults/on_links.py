"""What the faults on links have in common: they act on a link of the scenario, and are recorded before bytes move."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lockjaw.errors import LocalError

from .base import Fault

if TYPE_CHECKING:
    from ..incident.links import Faulty
    from ..play.world import World


class OnLink(Fault, frozen=True, kw_only=True):
    """An act on a link. ``toxic_name``: what it puts there or heals; None: not one toxic."""

    of_link: ClassVar[bool] = True

    @property
    def toxic_name(self) -> str | None:
        return None

    def act(self, link: Faulty) -> None:
        """Raises LocalError: it cannot be done (a toxic of this name is there already, or is not there)."""
        raise NotImplementedError

    def strike(self, world: World) -> bool:
        data = {
            "action": self.action, "target": self.target, "toxic": self.toxic_name, "for_s": self.for_s,
            "says": self.says,
        }  # fmt: skip
        data = {key: value for key, value in data.items() if value is not None}
        world.recorder.record("nemesis", **data)
        try:
            self.act(world.link(self.target))
        except LocalError as error:
            world.recorder.record("nemesis", "fail", **data, error=str(error))
        return True

    def __str__(self) -> str:
        what = f" {self.toxic_name}" if self.toxic_name is not None else ""
        return f"{self.action}{what} {self.target}"
