"""What a connection of the gateway server runs over: all that the server asks of one.

So a simulation can put memory in the place of sockets (``listener.py``). Nothing here knows frames.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
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
        """The peer said hello: it does not count as an unauthenticated socket any more."""


class PreauthBudget:
    """How many sockets of one address have not said hello yet."""

    def __init__(self, limit: int = MAX_PREAUTH_SOCKETS) -> None:
        self._limit = limit
        self._open: Counter[str] = Counter()

    def acquire(self, address: str) -> bool:
        if self._open[address] >= self._limit:
            return False
        self._open[address] += 1
        return True

    def release(self, address: str) -> None:
        self._open[address] -= 1
        if self._open[address] <= 0:
            del self._open[address]


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own, without asking a name server."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
