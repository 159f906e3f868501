"""What a connection of the gateway server runs over: all that the server asks of one.

So a simulation can put memory in the place of sockets (``listener.py``). Nothing here knows frames.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from lockjaw.gateway.auth import Peer

MAX_PREAUTH_SOCKETS = 32  # sockets of one address that have not said hello yet


class Link(Protocol):
    """One open connection. Methods raise ConnectionLost once it is closed; ``close`` never raises."""

    @property
    def peer(self) -> Peer: ...
    async def receive(self) -> str | bytes: ...
    async def send(self, text: str) -> None: ...
    async def close(self, code: int, reason: str) -> None: ...
    def buffered_bytes(self) -> int: ...
    def authenticated(self) -> None:
        """The peer said hello: it no longer counts as an unauthenticated socket."""


class Place:
    """A socket that has not said hello yet.

    Args:
        drop: cuts it.
    """

    def __init__(self, budget: PreauthBudget, address: str, drop: Callable[[], None]) -> None:
        self._budget, self.address, self.drop = budget, address, drop
        self.spoken = False

    def release(self) -> None:
        """It said hello, or is gone. Twice is no error."""
        self._budget.forget(self)


class PreauthBudget:
    """How many sockets of one address may be without a hello.

    One more is let in, and the oldest that has said nothing is cut for it (else the oldest of all): all users of this
    machine come from one address, and one of them that opens sockets and stays silent must not shut out the others.
    """

    def __init__(self, limit: int = MAX_PREAUTH_SOCKETS) -> None:
        self._limit = limit
        self._places: dict[str, dict[Place, None]] = {}  # in the order of their coming

    def admit(self, address: str, drop: Callable[[], None]) -> Place:
        places = self._places.setdefault(address, {})
        if len(places) >= self._limit:
            oldest = next((place for place in places if not place.spoken), next(iter(places)))
            self.forget(oldest)
            oldest.drop()
        place = Place(self, address, drop)
        self._places.setdefault(address, {})[place] = None
        return place

    def forget(self, place: Place) -> None:
        places = self._places.get(place.address, {})
        places.pop(place, None)
        if not places:
            self._places.pop(place.address, None)
