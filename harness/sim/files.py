"""``lockjaw.files.Files`` of a simulated process: each call is a point of the schedule, then happens on the disk."""

from __future__ import annotations

import io
import os
from typing import BinaryIO

from lockjaw.databases import Databases
from lockjaw.files import FileInfo, Path

from .databases import SimDatabases
from .disk import Disk, OpenFile
from .process import Process
from .tape import TEAR


class SimFiles:
    """The files as one process sees them."""

    def __init__(self, process: Process, disk: Disk) -> None:
        self._process, self._world, self._disk = process, process.world, disk
        self.databases: Databases = SimDatabases(process, disk)

    def _point(self, operation: str, path: str, fd: int | None = None) -> int:
        return self._world.point(self._process, operation, path, fd)

    def _done(self, value: int, operation: str, path: str) -> None:
        """After an operation at which the process was to die."""
        if value:
            self._world.die(self._process, f"after {operation} {self._world.short(path)}")

    def open(self, path: Path, flags: int) -> int:
        name = os.fspath(path)
        value = (
            self._point("Open" if not flags & os.O_CREAT else "Create", name) if flags & 3 or flags & os.O_CREAT else 0
        )
        fd = self._disk.open(name, flags, self._process).fd
        if value:
            self._done(value, "Open", name)
        return fd

    def close(self, fd: int) -> None:
        self._disk.close(fd)

    def stream(self, fd: int, *, keep: bool = False) -> BinaryIO:
        file = self._disk.file(fd)
        self._point("Read", file.path, fd)
        stream = io.BytesIO(bytes(file.inode.data))
        if not keep:
            self._disk.close(fd)
        return stream

    def read_at(self, fd: int, length: int, offset: int) -> bytes:
        return bytes(self._disk.file(fd).inode.data[offset : offset + length])

    def write(self, fd: int, data: bytes | memoryview) -> int:
        file = self._disk.file(fd)
        operation = "Append" if file.append else "Write"
        value = self._world.point(self._process, operation, file.path, fd, size_bytes=len(data))
        if value == TEAR:
            at = self._end(file)
            self._world.tear(self._process, operation, file.path, data, lambda part: self._disk.write(file, part, at))
        self._disk.write(file, data, self._end(file))
        if value:
            self._done(value, "Append", file.path)
        return len(data)

    @staticmethod
    def _end(file: OpenFile) -> int | None:
        return None if file.append else len(file.inode.data)

    def cut(self, fd: int, length: int) -> None:
        file = self._disk.file(fd)
        value = self._point("Truncate", file.path, fd)
        self._disk.cut(file, length)
        if value:
            self._done(value, "Truncate", file.path)

    def flush(self, fd: int) -> None:
        path = self._disk.file(fd).path
        value = self._point("Flush", path)
        if value:
            self._done(value, "Flush", path)

    def info(self, fd: int) -> FileInfo:
        if not self._process.alive:
            self._point("Info", "")
        return _Info(self._disk.file(fd))

    def exists(self, path: Path) -> bool:
        return self._disk.exists(os.fspath(path))

    def read(self, path: Path) -> bytes:
        name = os.fspath(path)
        self._point("Read", name)
        return bytes(self._disk.inode(name).data)

    def remove(self, path: Path) -> None:
        name = os.fspath(path)
        value = self._point("Unlink", name)
        self._disk.unlink(name)
        if value:
            self._done(value, "Unlink", name)

    def replace(self, source: Path, target: Path) -> None:
        name = os.fspath(target)
        value = self._point("Replace", name)
        self._disk.replace(os.fspath(source), name)
        if value:
            self._done(value, "Replace", name)

    def make_folder(self, path: Path) -> None:
        self._disk.make_folder(os.fspath(path))

    def flush_folder(self, path: Path) -> None:
        self._point("FlushFolder", os.fspath(path))

    def listing(self, folder: Path, prefix: str, suffix: str) -> list[str]:
        path = os.fspath(folder)
        self._point("List", path)
        return [name for name in self._disk.listing(path, suffix) if name.startswith(f"{path}/{prefix}")]

    def real_path(self, path: Path) -> str:
        return os.fspath(path)

    def process_id(self) -> int:
        return self._process.pid


class _Info:
    """A snapshot, as ``fstat`` gives one."""

    __slots__ = ("st_ino", "st_size")

    def __init__(self, file: OpenFile) -> None:
        self.st_ino, self.st_size = file.inode.number, len(file.inode.data)
