"""The history of a run: its records, and the one reading of who had which lock when.

``recorder``  what the runtime records through; needs nothing but Python
``records``   one step of one actor, and the files that keep them
``spans``     operations with their beginning and end; deaths
``holds``     who has the lock when: every checker, page, text and sentence asks here

A program that only takes a lock must not load msgspec for it, so the records are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lockjaw.history.recorder import NullRecorder, Phase, Recorder

if TYPE_CHECKING:
    from lockjaw.history.records import (
        OPERATIONS,
        FileRecorder,
        MemoryRecorder,
        Record,
        event_hash,
        merge,
        read_records,
        write_history,
    )

__all__ = [
    "OPERATIONS",
    "FileRecorder",
    "MemoryRecorder",
    "NullRecorder",
    "Phase",
    "Record",
    "Recorder",
    "event_hash",
    "merge",
    "read_records",
    "write_history",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lockjaw.history import records

    value = globals()[name] = getattr(records, name)  # found without this function from now on
    return value
