"""A listening socket when descriptors run out: say so once, accept nothing for a moment, and keep serving.

asyncio logs each connection that it cannot accept, tries as many at a time as the backlog is long, and sets a timer for
each: 287,000 lines in 20 s were seen. Here it tries one at a time (``backlog=1``; the kernel's own queue is made long
again), once a second, and what it has to say is said once. And some descriptors are kept free, because a run that
cannot open its session's files is no run.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["AcceptGate"]

QUEUE = 128  # connections that the kernel keeps for us
_OUT = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_OPENING = 64
_RESERVED = 48  # descriptors for sessions, locks, model calls and tools; of a small limit, a half


def _limit() -> int:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if limit == resource.RLIM_INFINITY else limit


class AcceptGate:
    """Counts the sockets of one listener and hears of those that cannot be accepted.

    Args:
        log: told once per shortage, which lasts until a quarter of its sockets have closed.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log, self._open = log, 0
        self._short_at = 0  # open sockets when it was last said that there can be no more; 0: there can
        self._loop: asyncio.AbstractEventLoop | None = None
        self._before: Any = None

    @property
    def full(self) -> bool:
        """One more socket would take a descriptor that is reserved."""
        limit = _limit()
        full = self._open > limit - min(_RESERVED, limit // 2)
        if full:
            self._say(f"{self._open} sockets are open, of {limit} descriptors")
        return full

    @property
    def most_opening(self) -> int:
        """How many sockets may be open that have not been upgraded."""
        return min(_OPENING, _limit() // 4)

    def accepted(self) -> None:
        self._open += 1

    def closed(self) -> None:
        self._open -= 1
        if self._open < self._short_at * 3 // 4:
            self._short_at = 0

    def install(self, loop: asyncio.AbstractEventLoop, sockets: Sequence[Any]) -> None:
        self._loop, self._before = loop, loop.get_exception_handler()
        loop.set_exception_handler(self._hear)
        for listening in sockets:
            with socket.socket(fileno=os.dup(listening.fileno())) as same:
                same.listen(QUEUE)

    def uninstall(self) -> None:
        if self._loop is not None and self._loop.get_exception_handler() == self._hear:
            self._loop.set_exception_handler(self._before)
        self._loop = None

    def _hear(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _OUT and "accept" in str(context.get("message")):
            self._say(os.strerror(error.errno))
        elif self._before is not None:
            self._before(loop, context)
        else:
            loop.default_exception_handler(context)

    def _say(self, why: str) -> None:
        if not self._short_at:
            self._short_at = max(1, self._open)
            self._log(
                f"[gateway] no more connections for now: {why}. Those that are open are served, new ones are tried "
                "once a second. Close some, or raise the limit (ulimit -n)"
            )
