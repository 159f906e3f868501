"""``sessions.json``: which session a key leads to. One file per agent, shared with OpenClaw.

The file holds much that is not ours (skills, token counts, routing): an update changes the one entry that it
was asked to change and writes everything else back as it was, in the same order. Two programs may update it
at once, so an update reads the file anew under the lock; nothing is cached.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from lockjaw.clock import Clock
from lockjaw.errors import Fenced, LocalError, LockStateError, SessionLocked
from lockjaw.files import LOCAL_FILES, OVERRULED_SUFFIX, Files
from lockjaw.seeds import uuid4
from lockjaw.sessions import disk
from lockjaw.sessions.entries import decode, encode_indented
from lockjaw.sessions.paths import JSONL, transcript_of_entry, transcript_path, validate_session_id

LockFactory = Callable[[Path], AbstractAsyncContextManager[Any]]
Section = Callable[[], AbstractContextManager[Any]]

OVERRULED_TRIES = 2  # an update that is overruled time and again is one of a machine that stands still


class StoreMalformed(LocalError):
    """``sessions.json`` is not a JSON object; it was left untouched.

    Fields: ``path``, ``offset`` (bytes from the beginning to where reading stopped), ``reason``.
    """

    def __init__(self, path: Path, offset: int, reason: str) -> None:
        self.path, self.offset, self.reason = str(path), offset, reason
        super().__init__(
            f"{path}: malformed session store at offset {offset}: {reason}. "
            "It was left untouched; repair it, or move it away to begin anew"
        )


class SessionStore:
    """The sessions of one agent.

    Args:
        path: of ``sessions.json``; it and its folder need not exist.
        lock: makes the lock of a file; entered around each update. What it gives may have a ``section`` (the file is
            replaced inside it), ``reclaimed`` and ``overruled`` (the owner before us left without cleaning up).
        reads_when_locked: ``ensure`` is content with what the store says when its lock is not to be had.
        ids: stream for session ids and temporary names.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        lock: LockFactory,
        ids: random.Random | None = None,
        files: Files = LOCAL_FILES,
        reads_when_locked: bool = False,
    ) -> None:
        self.kind = JSONL  # of the transcripts that its keys lead to
        self.path, self._files, self._reads_when_locked = path, files, reads_when_locked
        self._clock, self._lock = clock, lock
        self._ids = ids or random.SystemRandom()

    def read(self) -> dict[str, dict[str, Any]]:
        """Every entry, fresh from the disk; empty when there is no file.

        Raises:
            StoreMalformed: the file is no JSON object.
        """
        return {key: entry for key, entry in self._parse(self._bytes()).items() if isinstance(entry, dict)}

    async def read_locked(self) -> dict[str, dict[str, Any]]:
        """As ``read``, under the lock that writers take. (To be shown, not used: a reader needs none.)

        Raises as ``update``.
        """
        async with self._lock(self.path):
            return self.read()

    async def update(self, key: str, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Change one entry in place (an empty one if the key is new) and return it as written.

        ``updatedAt`` becomes the greatest of what was there, what ``change`` set, and now. When ``change``
        raises, nothing is written. Cancelling while waiting for the lock changes nothing; once the lock is
        ours the update completes. An update that was overruled before its file was in place begins anew.

        Raises:
            StoreMalformed, DiskFull, OSError: nothing was written.
            Whatever the lock raises: nothing was written.
        """
        self._files.make_folder(self.path.parent)
        for _ in range(OVERRULED_TRIES):
            try:
                return await self._update(key, change)
            except (Fenced, disk.Swept):
                pass  # nothing was written: a newer owner's update comes first
        return await self._update(key, change)

    async def _update(self, key: str, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        async with self._lock(self.path) as held:
            if getattr(held, "reclaimed", "") or getattr(held, "overruled", 0):
                self._clean_up()
            text = self._bytes()
            store = self._parse(text)
            stored = store.get(key)
            entry: dict[str, Any] = stored if isinstance(stored, dict) else {}
            before = instant_of(entry)
            change(entry)
            entry["updatedAt"] = max(before, instant_of(entry), self._clock.wall_ms())
            store[key] = entry
            section = getattr(held, "section", nullcontext)
            self._write(store, newline=not text or text.endswith(b"\n"), section=section)
            return entry

    async def ensure(self, key: str, *, session_id: str | None, sessions_dir: Path) -> dict[str, Any]:
        """The entry of a key with a ``sessionId`` and a ``sessionFile``, created or completed as needed.

        Args:
            session_id: the session that the key shall lead to; None: the stored one, or a new one.

        Raises:
            InvalidSessionId: given or stored; nothing was written.
        """
        wanted = None if session_id is None else validate_session_id(session_id)

        def change(entry: dict[str, Any]) -> None:
            stored = entry.get("sessionId")
            current = validate_session_id(stored) if isinstance(stored, str) and stored else None
            session = wanted or current or uuid4(self._ids)
            # A stored file belongs to the stored session: it does not follow the key to another one.
            file = (
                transcript_of_entry(entry, sessions_dir, files=self._files, kind=self.kind)
                if session == current
                else None
            )
            entry["sessionId"] = session
            entry.setdefault("updatedAt", 0)  # second key, where OpenClaw has it
            entry["sessionFile"] = str(file or transcript_path(sessions_dir, session, self.kind))

        try:
            return await self.update(key, change)
        except (SessionLocked, LockStateError):
            stored = self.read().get(key, {}) if self._reads_when_locked else {}
            session = stored.get("sessionId")
            if isinstance(session, str) and session and wanted in (None, session):
                return {**stored, "sessionId": validate_session_id(session)}
            raise

    def find_by_session_id(self, session_id: str) -> tuple[str, dict[str, Any]] | None:
        """The key and entry that lead to a session, or None; of several the last updated."""
        found = [(key, entry) for key, entry in self.read().items() if entry.get("sessionId") == session_id]
        return max(found, key=lambda pair: instant_of(pair[1]), default=None)

    def _bytes(self) -> bytes:
        try:
            return self._files.read(self.path)
        except FileNotFoundError:
            return b""

    def _parse(self, data: bytes) -> dict[str, Any]:
        body = data.removeprefix(b"\xef\xbb\xbf")
        if not body.strip():
            return {}  # what a crash leaves of a file that was created and never written: nothing to lose
        skipped = len(data) - len(body)
        try:
            text = body.decode()
        except UnicodeDecodeError as error:
            raise StoreMalformed(self.path, skipped + error.start, "not UTF-8") from None
        try:
            store = decode(text)
        except json.JSONDecodeError as error:
            offset = skipped + len(text[: error.pos].encode())
            raise StoreMalformed(self.path, offset, error.msg) from None
        except ValueError as error:
            raise StoreMalformed(self.path, skipped, str(error)) from None
        if not isinstance(store, dict):
            raise StoreMalformed(self.path, skipped, "not a JSON object")
        return store

    def _write(self, store: dict[str, Any], *, newline: bool, section: Section) -> None:
        text = encode_indented(store) + (b"\n" if newline else b"")
        path = self._real_path()
        temporary = path.with_name(f"{path.name}.{uuid4(self._ids)}{disk.TEMPORARY}")
        disk.replace_file(self._files, path, [text], temporary=temporary, section=section)

    def _clean_up(self) -> None:
        path = self._real_path()
        disk.sweep(self._files, path)
        marker = path.with_name(path.name + OVERRULED_SUFFIX)
        if self._files.exists(marker):
            self._files.remove(marker)

    def _real_path(self) -> Path:
        return Path(self._files.real_path(self.path))  # a link stays a link


def instant_of(entry: dict[str, Any]) -> int:
    """When an entry was updated last, in Unix milliseconds; 0: it does not say."""
    value = entry.get("updatedAt")
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0
