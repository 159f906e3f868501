"""Which session a key leads to, in SQLite (``sessions.sqlite``) instead of ``sessions.json``.

An update is one transaction, beside the event loop: it waits for another writer, and nothing else of the process waits
with it. No lock file is needed: the database has one writer at a time, and a killed one has written nothing.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from lockjaw.clock import Clock
from lockjaw.databases import DatabaseBusy, Transaction
from lockjaw.errors import StoreLocked
from lockjaw.files import LOCAL_FILES, Files
from lockjaw.sessions.entries import decode, encode
from lockjaw.sessions.paths import SQLITE
from lockjaw.sessions.store import SessionStore, StoreMalformed, instant_of

__all__ = ["RowStore"]

T = TypeVar("T")

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS session_entries (position INTEGER PRIMARY KEY, session_key TEXT NOT NULL UNIQUE, "
    "entry_json TEXT NOT NULL, updated_at INTEGER NOT NULL)"
)
_CLAIMS = "CREATE TABLE IF NOT EXISTS turn_claims (session_id TEXT PRIMARY KEY, run_id TEXT NOT NULL)"
_ALL = "SELECT session_key, entry_json FROM session_entries ORDER BY position"
_ONE = "SELECT session_key, entry_json FROM session_entries WHERE session_key = ?"
_PUT = (
    "INSERT INTO session_entries (session_key, entry_json, updated_at) VALUES (?, ?, ?) "
    "ON CONFLICT (session_key) DO UPDATE SET entry_json = excluded.entry_json, updated_at = excluded.updated_at"
)


class RowStore(SessionStore):
    """As ``SessionStore``, in a database.

    Args:
        wait_s: nominal seconds that an update waits for another writer.
        blocks: an update waits on the thread of the event loop, and everything with it (to be shown, not used).
        busy_text: the version's words for one that did not end in time; empty: the database's own.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        wait_s: float,
        busy_text: str = "",
        blocks: bool = False,
        ids: random.Random | None = None,
        files: Files = LOCAL_FILES,
        reads_when_locked: bool = False,
    ) -> None:
        super().__init__(path, clock=clock, lock=_no_lock, ids=ids, files=files, reads_when_locked=reads_when_locked)
        self.kind = SQLITE
        self._wait_s, self._busy_text, self._blocks = wait_s, busy_text, blocks

    def read(self) -> dict[str, dict[str, Any]]:
        if not self._files.exists(self.path):
            return {}
        with self._files.databases.reading(self.path) as transaction:
            if not transaction.all("SELECT 1 FROM sqlite_schema WHERE name = 'session_entries'"):
                return {}
            return self._entries(transaction)

    async def read_locked(self) -> dict[str, dict[str, Any]]:
        def work(transaction: Transaction) -> dict[str, dict[str, Any]]:
            transaction.all(_SCHEMA)
            return self._entries(transaction)

        return await self._writing(work)

    async def update(self, key: str, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """As ``SessionStore.update``. Raises DatabaseBusy, in the version's words StoreLocked: nothing was written."""
        return await self._writing(lambda transaction: self._changed(transaction, key, change))

    async def claim(self, session_id: str, run_id: str) -> str:
        """Note that a run has the session, unless another one does. Returns the run that has it now. (To be shown, not
        used: a row does not end with its run.)"""

        def work(transaction: Transaction) -> str:
            transaction.all(_CLAIMS)
            transaction.all("INSERT OR IGNORE INTO turn_claims VALUES (?, ?)", session_id, run_id)
            return str(transaction.all("SELECT run_id FROM turn_claims WHERE session_id = ?", session_id)[0][0])

        return await self._writing(work)

    async def unclaim(self, session_id: str, run_id: str) -> None:
        """Take the note of ``claim`` back."""
        await self._writing(
            lambda transaction: transaction.all(
                "DELETE FROM turn_claims WHERE session_id = ? AND run_id = ?", session_id, run_id
            )
        )

    async def _writing(self, work: Callable[[Transaction], T]) -> T:
        """Perform work in one transaction, beside the event loop, and commit it."""
        self._files.make_folder(self.path.parent)
        start = self._clock.monotonic()

        def in_transaction() -> T:
            wait_s = max(0.0, start + self._wait_s - self._clock.monotonic())
            try:
                with self._files.databases.writing(self.path, wait_s=wait_s, clock=self._clock) as transaction:
                    done = work(transaction)
                    transaction.commit()
                    return done
            except DatabaseBusy as error:  # it tells of this last part of the wait alone
                waited_s = self._clock.monotonic() - start
                raise DatabaseBusy(error.path, timeout_s=self._wait_s, waited_s=waited_s) from None

        try:
            if self._blocks:
                return in_transaction()
            return await self._files.databases.aside(self.path, in_transaction, wait_s=self._wait_s, clock=self._clock)
        except DatabaseBusy as error:
            if not self._busy_text:
                raise
            raise StoreLocked(error, self._busy_text.format(path=error.path)) from None

    def _entries(self, transaction: Transaction) -> dict[str, dict[str, Any]]:
        return dict(self._parsed(key, text) for key, text in transaction.all(_ALL))

    def _changed(self, transaction: Transaction, key: str, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        transaction.all(_SCHEMA)
        rows = transaction.all(_ONE, key)
        entry = self._parsed(*rows[0])[1] if rows else {}
        before = instant_of(entry)
        change(entry)
        entry["updatedAt"] = max(before, instant_of(entry), self._clock.wall_ms())
        transaction.all(_PUT, key, encode(entry).decode().rstrip("\n"), entry["updatedAt"])
        return entry

    def _parsed(self, key: str, text: str) -> tuple[str, dict[str, Any]]:
        try:
            entry = decode(text)
        except (json.JSONDecodeError, ValueError) as error:
            raise StoreMalformed(self.path, 0, f"the entry of {key!r:.80}: {error}") from None
        return key, entry if isinstance(entry, dict) else {}


def _no_lock(path: Path) -> Any:
    raise AssertionError(f"{path} is a database, which excludes writers by itself")
