"""The disk as a process with old caches sees it: delayed visibility, as network file systems and mounts into containers
have it.

What it looks up by name (contents, status, existence) is as it was ``lag_s`` ago, but for its own changes, which it
sees at once. What it does to files, and what it reads through a descriptor, is true, as are locks: those are the
server's to decide.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from .disk import Disk, Inode, OpenFile
from .process import Process


class View(Disk):
    """Shares everything with a disk that keeps its past, and remembers which changes are its own."""

    def __init__(self, disk: Disk, process: Process) -> None:
        assert disk.past is not None
        self.__dict__.update(disk.__dict__)
        self._process = process
        self._own: dict[str, float] = {}  # path -> when this process changed it last

    # ------------------------------------------------------------------ what may be old

    def inode(self, path: str) -> Inode:
        inode = self._seen(path)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return inode

    def exists(self, path: str) -> bool:
        return self._seen(path) is not None or path in self.folders

    def _seen(self, path: str) -> Inode | None:
        assert self.past is not None
        lag_s = self._process.lag_s
        if lag_s:
            then = max(self._now() - lag_s, self._own.get(path, 0.0))
            for changed_at, before in self.past.get(path, ()):
                if changed_at > then:
                    return before
        return self.names.get(path)

    # ------------------------------------------------------------------ its own changes

    def open(self, path: str, flags: int, owner: object) -> OpenFile:
        new = path not in self.names
        file = super().open(path, flags, owner)
        if new:
            self._changed(path)
        return file

    def unlink(self, path: str) -> None:
        super().unlink(path)
        self._changed(path)

    def link(self, source: str, target: str) -> None:
        super().link(source, target)
        self._changed(target)

    def replace(self, source: str, target: str) -> None:
        super().replace(source, target)
        self._changed(source, target)

    def write(self, file: OpenFile, data: Any, offset: int | None = None) -> None:
        super().write(file, data, offset)
        self._changed(file.path)

    def cut(self, file: OpenFile, length: int) -> None:
        super().cut(file, length)
        self._changed(file.path)

    def _changed(self, *paths: str) -> None:
        for path in paths:
            self._own[path] = self._now()
