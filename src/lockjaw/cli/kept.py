"""Finished runs as their folders hold them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from lockjaw.errors import UsageError
from lockjaw.harness.store import HISTORY, VERDICT
from lockjaw.history import Record, read_records

__all__ = ["KeptRun", "read_run"]


class KeptRun(msgspec.Struct, frozen=True):
    """A run as its folder holds it."""

    _document: dict[str, Any]
    history: Sequence[Record]

    def document(self) -> dict[str, Any]:
        return self._document


def read_run(run_dir: Path) -> KeptRun:
    """Read a finished run. Raises UsageError if the folder holds none."""
    try:
        verdict = msgspec.json.decode((run_dir / VERDICT).read_bytes(), type=dict[str, Any])
        return KeptRun(verdict, read_records(run_dir / HISTORY))
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(str(run_dir), "", f"the folder of a finished run ({error})") from error
