"""What a fake saw, as JSON lines for people: one write per line, nominal and wall time in each.

A full disk costs entries, never an answer: a client that waited for one would take the fake for the fault that is
played. The server says so once, and at the end how many entries are missing.

Secrets never reach a journal: its writers pass names and sizes, and frames only through ``redacted``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from lockjaw.clock import Clock
from lockjaw.errors import UsageError
from lockjaw.visible import tell

REDACTED = "[redacted]"
_SECRET_KEYS = {"token", "devicetoken", "bootstraptoken", "password", "signature", "authorization", "apikey"}

Listener = Callable[[dict[str, Any]], None]


class Journal:
    """Appends entries to a file (None: nowhere) and shows each to a listener (None: nobody).

    An entry is ``{"t": nominal seconds, "wall_ms": Unix milliseconds, "ev": what, ...}``.

    Args:
        batched: entries wait for ``flush``; its caller sees to it that none is lost that matters. Else each entry is a
            write of its own.
        say: told once that the file cannot be written, and at the end how many entries are missing.

    Raises:
        UsageError: the file cannot be opened.
    """

    def __init__(
        self,
        path: str | Path | None,
        clock: Clock,
        listener: Listener | None = None,
        *,
        batched: bool = False,
        say: Callable[[str], None] = tell,
    ) -> None:
        self._clock, self._listener, self._batched = clock, listener, batched
        self._encode = msgspec.json.Encoder().encode
        self._lines: list[bytes] = []
        self._path, self._say = path, say
        self._lost, self._torn = 0, False  # entries that are missing; the file ends in the middle of a line
        self._fd = -1
        if path is not None:
            try:
                self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise UsageError(str(path), "", f"a journal that can be written ({error.strerror})") from error

    def write(self, ev: str, /, **fields: Any) -> None:
        if self._fd < 0 and self._listener is None:
            return
        now = self._clock.monotonic()
        entry = {"t": round(now, 6), "wall_ms": self._clock.wall_ms(), "ev": ev, **fields}
        if self._fd >= 0:
            line = self._encode(entry) + b"\n"
            if self._batched:
                self._lines.append(line)
            else:
                self._append([line])
        if self._listener is not None:
            self._listener(entry)

    @property
    def pending(self) -> bool:
        """Entries wait for ``flush``."""
        return bool(self._lines)

    def flush(self) -> None:
        """Write what waits, whole lines in one write."""
        if self._lines and self._fd >= 0:
            lines, self._lines = self._lines, []
            self._append(lines)

    def close(self) -> None:
        """Flush and close the file; later entries reach the listener only. Idempotent."""
        if self._fd >= 0:
            self.flush()
            os.close(self._fd)
            self._fd = -1
            if self._lost:
                self._say(f"journal {self._path}: {self._lost} entries are missing in it")

    def _append(self, lines: list[bytes]) -> None:
        """One write: O_APPEND keeps lines whole. What a full disk does not take is left out and counted."""
        data = b"".join([b"\n", *lines] if self._torn else lines)
        try:
            taken = os.write(self._fd, data)
        except OSError as error:
            taken, why = 0, error.strerror
        else:
            if taken == len(data):
                self._torn = False
                return
            self._torn, why = not data[:taken].endswith(b"\n"), "no room for a whole entry"
        if not self._lost:
            self._say(f"journal {self._path} cannot be written ({why}): its entries are left out until it can be again")
        self._lost += len(lines) - data[:taken].lstrip(b"\n").count(b"\n")


def redacted(value: Any) -> Any:
    """A copy of plain data with every secret replaced, by the name of its key."""
    if isinstance(value, dict):
        return {
            key: REDACTED if key.lower() in _SECRET_KEYS and item else redacted(item) for key, item in value.items()
        }
    if isinstance(value, list):
        return [redacted(item) for item in value]
    return value
