"""What a connection of the client runs over: anything that sends, receives and closes text frames.

The real one is in ``websocket.py``; the simulation brings its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from lockjaw.settings import GatewaySettings


class Transport(Protocol):
    """One open connection that carries text frames."""

    async def send(self, text: str) -> None:
        """Write one frame. Raises ConnectionLost."""

    async def receive(self) -> str | bytes:
        """The next frame. Raises ConnectionLost with the close code of the peer, 1006 without one."""

    async def close(self, code: int, reason: str, *, limit_s: float) -> tuple[int, str]:
        """Close, cut hard after ``limit_s`` *real* seconds; the peer's close code and reason if it sent any."""


Dial = Callable[[GatewaySettings], Awaitable[Transport]]
