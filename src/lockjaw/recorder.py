"""Who hears what the runtime does. The records and their files are ``history``'s; this needs nothing but Python."""

from __future__ import annotations

from typing import Any, Literal, Protocol

Phase = Literal["invoke", "ok", "fail", "info"]


class Recorder(Protocol):
    def record(self, op: str, phase: Phase = "info", /, **data: Any) -> None: ...


class NullRecorder:
    """Nobody listens."""

    def record(self, op: str, phase: Phase = "info", /, **data: Any) -> None:
        return None
