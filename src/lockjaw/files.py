"""The file operations that the runtime asks of its machine, behind one small interface.

``LOCAL_FILES`` is this machine's; the simulation brings its own, in which each call is also a place where another
process may come in between, where the disk may fail, and where the caller may be killed. Nothing here knows what
the bytes mean, and nothing here waits.
"""

from __future__ import annotations

import os
from typing import BinaryIO, Protocol

from lockjaw.databases import LOCAL_DATABASES, Databases
from lockjaw.folders import flush_folder, make_private_folder

Path = str | os.PathLike[str]


class FileInfo(Protocol):
    """What a descriptor refers to."""

    @property
    def st_ino(self) -> int: ...
    @property
    def st_size(self) -> int: ...


class Files(Protocol):
    """As ``os`` has them, ``OSError`` included, with these differences.

    ``open`` adds O_CLOEXEC and makes private files (mode 0600). ``stream`` gives a reader that owns the descriptor;
    with ``keep`` it reads through a copy of it. ``make_folder`` makes parents too and does not mind an old one.
    ``listing`` gives the paths right inside a folder whose names begin and end so, sorted. ``databases``: transactions
    on those that are SQLite's.
    """

    def open(self, path: Path, flags: int) -> int: ...
    def close(self, fd: int) -> None: ...
    def stream(self, fd: int, *, keep: bool = False) -> BinaryIO: ...
    def read_at(self, fd: int, length: int, offset: int) -> bytes: ...
    def write(self, fd: int, data: bytes | memoryview) -> int: ...
    def cut(self, fd: int, length: int) -> None: ...
    def flush(self, fd: int) -> None: ...
    def info(self, fd: int) -> FileInfo: ...
    def exists(self, path: Path) -> bool: ...
    def read(self, path: Path) -> bytes: ...
    def remove(self, path: Path) -> None: ...
    def replace(self, source: Path, target: Path) -> None: ...
    def make_folder(self, path: Path) -> None: ...
    def flush_folder(self, path: Path) -> None: ...
    def listing(self, folder: Path, prefix: str, suffix: str) -> list[str]: ...
    def real_path(self, path: Path) -> str: ...
    def process_id(self) -> int: ...
    @property
    def databases(self) -> Databases: ...


#: Behind a session file's name: its owner was overruled inside its section, and the file is to be made anew.
OVERRULED_SUFFIX = ".overruled"
FILE_MODE = 0o600  # conversations are private; OpenClaw uses the same for sessions.json


class LocalFiles:
    """This machine's files."""

    databases: Databases = LOCAL_DATABASES

    def open(self, path: Path, flags: int) -> int:
        return os.open(path, flags | os.O_CLOEXEC, FILE_MODE)

    def close(self, fd: int) -> None:
        os.close(fd)

    def stream(self, fd: int, *, keep: bool = False) -> BinaryIO:
        return os.fdopen(os.dup(fd) if keep else fd, "rb")

    def read_at(self, fd: int, length: int, offset: int) -> bytes:
        return os.pread(fd, length, offset)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        return os.write(fd, data)

    def cut(self, fd: int, length: int) -> None:
        os.ftruncate(fd, length)

    def flush(self, fd: int) -> None:
        os.fsync(fd)

    def info(self, fd: int) -> FileInfo:
        return os.fstat(fd)

    def exists(self, path: Path) -> bool:
        return os.path.exists(path)

    def read(self, path: Path) -> bytes:
        with open(path, "rb") as stream:
            return stream.read()

    def remove(self, path: Path) -> None:
        os.unlink(path)

    def replace(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def make_folder(self, path: Path) -> None:
        make_private_folder(os.fspath(path))

    def flush_folder(self, path: Path) -> None:
        flush_folder(path)

    def listing(self, folder: Path, prefix: str, suffix: str) -> list[str]:
        names = (name for name in os.listdir(folder) if name.startswith(prefix) and name.endswith(suffix))
        return sorted(os.path.join(folder, name) for name in names)

    def real_path(self, path: Path) -> str:
        return os.path.realpath(path)

    def process_id(self) -> int:
        return os.getpid()


LOCAL_FILES: Files = LocalFiles()
