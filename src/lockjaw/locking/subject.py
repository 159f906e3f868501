"""What a lock guards, and how its errors speak of it: the one place that tells a session from any other file."""

from __future__ import annotations

from typing import NamedTuple

from lockjaw.errors import FileLocked, SessionLocked

__all__ = ["FILE", "SESSION", "Subject"]


class Subject(NamedTuple):
    """``way_out``: what someone can do who waits for a live owner. ``locked``: the error of a wait in vain."""

    noun: str
    way_out: str
    locked: type[SessionLocked]


SESSION = Subject("session", "Wait for its run, abort it, or take the session over.", SessionLocked)
FILE = Subject("file", "Wait for it, or stop that process.", FileLocked)
