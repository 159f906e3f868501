"""Where the effects of a tool are counted: a JSONL file that several server processes share.

A runtime starts an MCP server of its own in each of its processes, and again after a crash; so the number of a call is
the ledger's, not a process's. An entry is on disk before the call is answered.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from lockjaw.errors import LocalError, unreadable

__all__ = ["Entry", "Ledger"]

_FILE_MODE = 0o600


class Entry(msgspec.Struct, frozen=True):
    """One call of the tool. ``number`` counts all calls from 1; ``outcome``: it had its effect, or was denied without.

    ``at``: seconds since 1970. ``pid``: of the server process.
    """

    number: int
    tool: str
    outcome: Literal["done", "denied"]
    pid: int
    at: float
    arguments: dict[str, Any] = {}


class Ledger:
    """Reads and writes one file. Any number of processes may do so at the same time."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def enter(self, tool: str, arguments: Mapping[str, Any], *, denied_first: int = 0) -> Entry:
        """Enter a call; when this returns, it is on disk. The first ``denied_first`` calls have no effect.

        Raises:
            LocalError: the file cannot be written, or is no ledger.
        """
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _FILE_MODE)
        except OSError as error:
            raise LocalError(f"{self.path}: {unreadable(error)}") from error
        with open(fd, "r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            number = len(self.entries()) + 1
            outcome: Literal["done", "denied"] = "denied" if number <= denied_first else "done"
            entry = Entry(number, tool, outcome, os.getpid(), round(time.time(), 6), dict(arguments))
            file.write(msgspec.json.encode(entry) + b"\n")
            os.fsync(fd)
        return entry

    def entries(self) -> list[Entry]:
        """Every call so far, oldest first; none if there is no file yet. Raises LocalError if it is no ledger."""
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise LocalError(f"{self.path}: {unreadable(error)}") from error
        try:
            return [msgspec.json.decode(line, type=Entry) for line in lines]
        except msgspec.MsgspecError as error:
            raise LocalError(f"{self.path} is no ledger of a fake MCP server: {error}") from error

    def effects(self) -> dict[str, int]:
        """Tool and arguments, as JSON -> how often this very call had its effect; more than 1: executed again."""
        done = [entry for entry in self.entries() if entry.outcome == "done"]
        return dict(Counter(_name(entry) for entry in done))


def _name(entry: Entry) -> str:
    return f"{entry.tool} {msgspec.json.encode(entry.arguments, order='sorted').decode()}"
