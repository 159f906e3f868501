"""What a fake saw, as JSON lines for people: one write per line, nominal and wall time in each.

Secrets never reach a journal: its writers pass names and sizes, and frames only through ``redacted``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from lockjaw.clock import Clock

REDACTED = "[redacted]"
_SECRET_KEYS = {"token", "devicetoken", "bootstraptoken", "password", "signature", "authorization", "apikey"}

Listener = Callable[[dict[str, Any]], None]


class Journal:
    """Appends entries to a file (None: nowhere) and shows each to a listener (None: nobody).

    An entry is ``{"t": nominal seconds, "wall_ms": Unix milliseconds, "ev": what, ...}``.
    """

    def __init__(self, path: str | Path | None, clock: Clock, listener: Listener | None = None) -> None:
        self._clock, self._listener = clock, listener
        self._encode = msgspec.json.Encoder().encode
        self._fd = -1
        if path is not None:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, ev: str, /, **fields: Any) -> None:
        if self._fd < 0 and self._listener is None:
            return
        now = self._clock.monotonic()
        entry = {"t": round(now, 6), "wall_ms": self._clock.wall_ms(), "ev": ev, **fields}
        if self._fd >= 0:
            os.write(self._fd, self._encode(entry) + b"\n")  # one write: O_APPEND keeps lines whole
        if self._listener is not None:
            self._listener(entry)

    def close(self) -> None:
        """Close the file; later entries reach the listener only. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def redacted(value: Any) -> Any:
    """A copy of plain data with every secret replaced, by the name of its key."""
    if isinstance(value, dict):
        return {
            key: REDACTED if key.lower() in _SECRET_KEYS and item else redacted(item) for key, item in value.items()
        }
    if isinstance(value, list):
        return [redacted(item) for item in value]
    return value
