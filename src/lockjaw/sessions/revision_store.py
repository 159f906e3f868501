"""The session store of OpenClaw 2026.6: compare and swap against a revision, one retry, at once.

A writer reads the store, prepares its change, and commits it if no other writer has meanwhile. On a conflict it
begins anew, once and without a pause; a frequent writer therefore starves every writer that takes longer to prepare
(#98220: "reply session initialization conflicted", 16 times in a day over six sessions). Kept to be shown, not used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lockjaw.errors import RemoteError
from lockjaw.sessions.store import SessionStore

PREPARE_S = 0.3  # what a reply's session initialisation takes between the snapshot and its commit
TRIES = 2


class SessionConflict(RemoteError):
    """Somebody else committed first, twice. Field: ``key``. Nothing was written.

    Args:
        text: the version's words for it, with ``{key}`` in them.
    """

    def __init__(self, key: str, text: str = "reply session initialization conflicted for {key}") -> None:
        self.key = key
        super().__init__(text.format(key=key))


class RevisionStore(SessionStore):
    """As ``SessionStore``; ``update`` raises SessionConflict instead of waiting its turn."""

    conflict_text = ""  # the version's words for a conflict; empty: those of 2026.6

    async def update(self, key: str, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        for _ in range(TRIES):
            revision = self._bytes()
            await self._clock.sleep(PREPARE_S)
            if self._bytes() == revision:
                return await super().update(key, change)
        raise SessionConflict(key, self.conflict_text) if self.conflict_text else SessionConflict(key)
