"""The simulated file system: names, inodes, descriptors, range locks, databases. Knows a process only as an owner.

No operation here waits or chooses; that is done by who calls (``files``, ``locks``). Times are nanoseconds of virtual
time, rounded down to the file system's granularity.
"""

from __future__ import annotations

import errno
import itertools
import os
import sqlite3
from collections.abc import Callable
from typing import Any

from lockjaw.locking.operations import FileStatus

MTIME_GRANULARITY_NS = 4_000_000  # a kernel tick, as ext4 has


class Inode:
    """A file. ``links``: its names; ``held``: how many names and open descriptions keep it in being."""

    __slots__ = ("data", "held", "image", "links", "locks", "number", "written_ns")

    def __init__(self, number: int, now_ns: int) -> None:
        self.number, self.written_ns, self.held, self.links = number, now_ns, 0, 0
        self.data = bytearray()
        self.image: Image | None = None  # of one that is a database
        self.locks: list[tuple[int, int, bool, OpenFile]] = []  # offset, end, exclusive, owner


class OpenFile:
    """An open file description."""

    __slots__ = ("append", "fd", "inode", "owner", "path")

    def __init__(self, fd: int, path: str, inode: Inode, owner: object, *, append: bool) -> None:
        self.fd, self.path, self.inode, self.owner, self.append = fd, path, inode, owner, append

    @property
    def st_ino(self) -> int:
        return self.inode.number

    @property
    def st_size(self) -> int:
        return len(self.inode.data)


class Image:
    """A database as it is committed; the connection is never written to. ``writer``: whose transaction is open."""

    __slots__ = ("connection", "inode", "writer")

    def __init__(self, inode: Inode) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.inode = inode
        self.writer: object = None


def _copy(inode: Inode) -> Inode:
    copied = Inode(inode.number, inode.written_ns)
    copied.data += inode.data
    copied.links = inode.links
    return copied


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


class Disk:
    """One file system.

    Args:
        now: virtual seconds.

    ``changed`` is called after each change that a waiter could wait for. ``past``, if it is kept: by path, what there
    was before each change, and when that was (a ``View`` reads it).
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.names: dict[str, Inode] = {}
        self.folders: set[str] = set()
        self.open_files: dict[int, OpenFile] = {}
        self.written_bytes = 0  # ever; gaps that were filled with NULs included
        self.changed: Callable[[], None] = lambda: None
        self.past: dict[str, list[tuple[float, Inode | None]]] | None = None
        self._inodes, self._descriptors = itertools.count(1), itertools.count(1)
        self._free: list[int] = []

    def _now_ns(self) -> int:
        now_ns = int(self._now() * 1e9)
        return now_ns - now_ns % MTIME_GRANULARITY_NS

    def _keep(self, *paths: str) -> None:
        """What there is under these names, before it changes."""
        if self.past is not None:
            for path in paths:
                inode = self.names.get(path)
                self.past.setdefault(path, []).append((self._now(), None if inode is None else _copy(inode)))

    # ------------------------------------------------------------------ names

    def open(self, path: str, flags: int, owner: object) -> OpenFile:
        inode = self.names.get(path)
        if inode is None:
            if path in self.folders:
                raise _error(errno.EISDIR, path)
            if not flags & os.O_CREAT:
                raise _error(errno.ENOENT, path)
            if path.rpartition("/")[0] not in self.folders:
                raise _error(errno.ENOENT, path)
            self._keep(path)
            inode = self.names[path] = Inode(self._new_number(), self._now_ns())
            inode.held = inode.links = 1
            self.changed()
        elif flags & os.O_EXCL and flags & os.O_CREAT:
            raise _error(errno.EEXIST, path)
        inode.held += 1
        file = OpenFile(next(self._descriptors), path, inode, owner, append=bool(flags & os.O_APPEND))
        self.open_files[file.fd] = file
        return file

    def open_unnamed(self, path: str, owner: object) -> OpenFile:
        """A file without a name (a pipe, a bell): ``path`` is only what it is called."""
        file = OpenFile(next(self._descriptors), path, Inode(self._new_number(), 0), owner, append=False)
        file.inode.held = 1
        self.open_files[file.fd] = file
        return file

    def close(self, fd: int) -> None:
        file = self.open_files.pop(fd, None)
        if file is None:
            return
        self._let_go(file.inode)
        self.unlock_all(file)

    def _new_number(self) -> int:
        """Inode numbers are reused at once, as ext4 does: who compares them must keep the file open."""
        if self._free:
            return self._free.pop()
        return next(self._inodes)

    def _let_go(self, inode: Inode) -> None:
        inode.held -= 1
        if not inode.held:
            self._free.append(inode.number)

    def close_all(self, owner: object) -> None:
        """What the kernel does when a process ends."""
        for file in [file for file in self.open_files.values() if file.owner is owner]:
            self.close(file.fd)

    def make_folder(self, path: str) -> None:
        while path and path not in self.folders:
            self.folders.add(path)
            path = path.rpartition("/")[0]

    def unlink(self, path: str) -> None:
        inode = self._true(path)
        self._keep(path)
        del self.names[path]
        inode.links -= 1
        self._let_go(inode)
        self.changed()

    def link(self, source: str, target: str) -> None:
        if target in self.names:
            raise _error(errno.EEXIST, target)
        inode = self._true(source)
        self._keep(target)
        self.names[target] = inode
        inode.held += 1
        inode.links += 1
        self.changed()

    def replace(self, source: str, target: str) -> None:
        inode = self._true(source)
        self._keep(source, target)
        del self.names[source]
        replaced = self.names.get(target)
        self.names[target] = inode
        if replaced is not None:
            replaced.links -= 1
            self._let_go(replaced)
        self.changed()

    def inode(self, path: str) -> Inode:
        """What has this name, as whoever asks sees it."""
        return self._true(path)

    def _true(self, path: str) -> Inode:
        inode = self.names.get(path)
        if inode is None:
            raise _error(errno.ENOENT, path)
        return inode

    def exists(self, path: str) -> bool:
        return path in self.names or path in self.folders

    def listing(self, folder: str, suffix: str = "") -> list[str]:
        """Paths right inside a folder, sorted."""
        inside = f"{folder}/"
        return sorted(
            p for p in self.names if p.startswith(inside) and "/" not in p[len(inside) :] and p.endswith(suffix)
        )

    # ------------------------------------------------------------------ bytes

    def file(self, fd: int) -> OpenFile:
        file = self.open_files.get(fd)
        if file is None:
            raise _error(errno.EBADF, str(fd))
        return file

    def write(self, file: OpenFile, data: Any, offset: int | None = None) -> None:
        """Append, or write at an offset; a gap is filled with NULs."""
        if self.past is not None:
            self._keep(*(path for path, inode in self.names.items() if inode is file.inode))
        content = file.inode.data
        self.written_bytes += len(data) + max(0, (offset or 0) - len(content))
        if offset is None or file.append:
            content += data
        else:
            if len(content) < offset:
                content += bytes(offset - len(content))
            content[offset : offset + len(data)] = data
        self._touch(file.inode)

    def cut(self, file: OpenFile, length: int) -> None:
        if self.past is not None:
            self._keep(*(path for path, inode in self.names.items() if inode is file.inode))
        content = file.inode.data
        if len(content) < length:
            content += bytes(length - len(content))
        del content[length:]
        self._touch(file.inode)

    def _touch(self, inode: Inode) -> None:
        inode.written_ns = self._now_ns()
        self.changed()

    def touch(self, path: str) -> None:
        """New times and nothing else; one granule later at least, so that it can be seen."""
        inode = self.inode(path)
        self._keep(path)
        inode.written_ns = max(self._now_ns(), inode.written_ns + MTIME_GRANULARITY_NS)
        self.changed()

    def status(self, inode: Inode) -> FileStatus:
        age_s = max(0.0, self._now() - inode.written_ns / 1e9)
        return FileStatus(1, inode.number, len(inode.data), inode.written_ns, age_s, "file", inode.links)

    # ------------------------------------------------------------------ databases

    def image(self, path: str, maker: object = None) -> Image:
        """The database of this name, for a ``maker`` an empty one if there is none."""
        if path not in self.names:
            if maker is None:
                raise _error(errno.ENOENT, path)
            self.close(self.open(path, os.O_RDWR | os.O_CREAT, maker).fd)
        inode = self.names[path]
        if inode.image is None:
            inode.image = Image(inode)
        return inode.image

    def commit(self, image: Image, changed: sqlite3.Connection, size_bytes: int) -> None:
        image.connection = changed
        self.written_bytes += size_bytes
        self._touch(image.inode)

    # ------------------------------------------------------------------ range locks

    def locked_elsewhere(self, file: OpenFile, offset: int, length: int) -> bool:
        end = offset + length
        return any(o < end and offset < e and owner is not file for o, e, _, owner in file.inode.locks)

    def first_locked(self, file: OpenFile, offset: int, length: int) -> int | None:
        end = offset + length
        return min(
            (max(o, offset) for o, e, _, owner in file.inode.locks if o < end and offset < e and owner is not file),
            default=None,
        )

    def lock(self, file: OpenFile, offset: int, length: int, exclusive: bool) -> bool:
        end = offset + length
        for o, e, theirs, owner in file.inode.locks:
            if o < end and offset < e and owner is not file and (exclusive or theirs):
                return False
        file.inode.locks.append((offset, end, exclusive, file))
        return True

    def unlock(self, file: OpenFile, offset: int, length: int) -> None:
        # Whole locks only: nobody here unlocks a part of what was locked.
        kept = [k for k in file.inode.locks if not (k[3] is file and k[0] == offset and k[1] == offset + length)]
        if len(kept) != len(file.inode.locks):
            file.inode.locks = kept
            self.changed()

    def unlock_all(self, file: OpenFile) -> None:
        if file.inode.locks:
            file.inode.locks = [lock for lock in file.inode.locks if lock[3] is not file]
            self.changed()
