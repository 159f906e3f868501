"""``cut``: what is open over a link now is reset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .on_links import OnLink

if TYPE_CHECKING:
    from ..incident.links import Faulty


class Cut(OnLink, frozen=True, kw_only=True, tag="cut"):
    """Resets every connection over a link; new ones are let through."""

    @property
    def says(self) -> str:
        return f"resets every connection over the link {self.target}"

    def act(self, link: Faulty) -> None:
        link.cut()
