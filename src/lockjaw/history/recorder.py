"""What the runtime records through. The runtime does not know which recorder listens; this needs nothing but Python."""

from __future__ import annotations

from typing import Any, Literal, Protocol

__all__ = ["NullRecorder", "Phase", "Recorder"]

Phase = Literal["invoke", "ok", "fail", "info"]


class Recorder(Protocol):
    def record(self, op: str, phase: Phase = "info", /, **data: Any) -> None: ...


class NullRecorder:
    """Drops every record: the recorder of a program that is not under test."""

    def record(self, op: str, phase: Phase = "info", /, **data: Any) -> None:
        return None
