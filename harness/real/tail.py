"""Reads what the actors record while they record it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from lockjaw.history import Record

_decoder = msgspec.json.Decoder(Record)


class EventTail:
    """The event files of a folder, followed. A file may appear at any time; only whole lines are handed out."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, tuple[int, bytes]] = {}

    def read(self) -> list[Record]:
        """New records, in the order of their times."""
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name not in self._open:
                    self._open[entry.name] = (os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC), b"")
        found: list[Record] = []
        for name, (fd, rest) in self._open.items():
            while data := os.read(fd, 1 << 16):
                *lines, rest = (rest + data).split(b"\n")
                found += [record for line in lines if (record := _decoded(line)) is not None]
            self._open[name] = (fd, rest)
        return sorted(found, key=lambda record: record.t)

    def close(self) -> None:
        for fd, _ in self._open.values():
            os.close(fd)
        self._open.clear()


def _decoded(line: bytes) -> Record | None:
    try:
        return _decoder.decode(line)
    except msgspec.DecodeError:
        return None  # as the merge at the end does: a torn line is not a record
