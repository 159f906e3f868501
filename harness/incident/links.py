"""Links of a scenario: where there is one, and what the nemesis does to it. The same data and acts in both engines.

A link stands between two actors and lets everything pass until a fault says otherwise. Toxics are the fakes' own, and
their names and keys are those of ``lockjaw serve link``. The real engine puts a TCP relay there; the simulation puts
the same toxics between its ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from lockjaw.documents import FieldError
from lockjaw.errors import LocalError

if TYPE_CHECKING:
    from ...fakes.links.toxics import Toxic

DIALLED = ("gateway", "models")


class Faulty(Protocol):
    """A link as the nemesis sees it. ``add`` and ``heal`` raise LocalError for a name that is there or is not."""

    def add(self, toxic: Any) -> None: ...
    def heal(self, name: str) -> None: ...
    def heal_all(self) -> None: ...
    def cut(self) -> None: ...


class Link(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A link between two actors, who dials first: ``[client, gateway]``, ``[gateway, models]`` or ``[client, models]``.
    Other clients of the cast dial as the client does.
    """

    between: tuple[str, str]  # who dials, and whom: [client, gateway], [gateway, models] or [client, models]
    toxics: tuple[dict[str, Any], ...] = ()  # those that are there from the beginning: {type: latency, latency_s: 0.2}

    def __post_init__(self) -> None:
        if self.between[1] not in DIALLED:
            raise FieldError("between", "[client, gateway], [gateway, models] or [client, models]", list(self.between))
        for n, data in enumerate(self.toxics):
            check_toxic(data, ("toxics", n))
        labels = [toxic_of(data).label for data in self.toxics]
        if len(set(labels)) < len(labels):
            raise FieldError("toxics", "a name of its own for each toxic", labels)

    @property
    def to_gateway(self) -> bool:
        return self.between[1] == "gateway"


def toxic_of(data: Mapping[str, Any]) -> Toxic:
    """The fakes' toxic of this data. Raises LocalError: what is wrong, and what is allowed."""
    from ...fakes.links import toxics  # most scenarios have no link

    return toxics.toxic_of(data)


def check_toxic(data: Mapping[str, Any], at: tuple[str | int, ...]) -> None:
    """Raises FieldError in the words of a scenario's mistakes."""
    try:
        toxic_of(data)
    except LocalError as error:
        raise FieldError(at, str(error)) from None
