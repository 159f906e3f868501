"""``lockjaw.databases.Databases`` of a simulated process.

The SQL is SQLite's own, on databases in memory. What is modelled is what SQLite does between processes: one writer at
a time, readers who see what was committed when they began, a writer that waits for another one, and a killed one of
which nothing is left. To begin, to change a row and to commit are points of the schedule.

Theory of operation
    A database is an *image*, which never changes: a writer changes a copy of it, and its commit puts the copy in the
    image's place. So a snapshot costs nothing, and to die is to leave the image alone.

    ``aside`` has no thread. It waits for its turn as the event loop waits, and then does its work at once: no other
    part of the process can tell the difference.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from lockjaw.clock import Clock
from lockjaw.databases import POLL_S, Path, Transaction, waited_for

from .disk import Disk, Image
from .process import Process
from .tape import TEAR

__all__ = ["SimDatabases"]

T = TypeVar("T")
_CHANGES = ("INSERT", "UPDATE", "DELETE", "CREATE")


class _SimTransaction:
    def __init__(self, path: str, connection: sqlite3.Connection, act: Callable[[str, str, int], int], done: Any):
        self._path, self._connection, self._act, self._done = path, connection, act, done
        self._size_bytes = 0

    def all(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        if sql.startswith(_CHANGES):
            self._size_bytes += len(sql) + sum(len(str(value)) for value in parameters)
        return self._connection.execute(sql, parameters).fetchall()

    def commit(self) -> None:
        value = self._act("Commit", self._path, self._size_bytes)
        self._done(value, self._size_bytes)


class SimDatabases:
    """The databases as one process sees them."""

    def __init__(self, process: Process, disk: Disk) -> None:
        self._process, self._world, self._disk = process, process.world, disk
        self._bound = False  # what it holds ends with it
        self._writing: list[Image] = []

    @contextmanager
    def reading(self, path: Path) -> Iterator[Transaction]:
        name = os.fspath(path)
        self._point("Read", name)
        yield _SimTransaction(name, self._disk.image(name).connection, self._point, _never)

    @contextmanager
    def writing(self, path: Path, *, wait_s: float, clock: Clock) -> Iterator[Transaction]:
        name = os.fspath(path)
        value = self._point("Begin", name)
        image = self._disk.image(name, self._process)
        waited_for(lambda: self._began(image), name, wait_s=wait_s, clock=clock)
        if value:
            self._world.die(self._process, f"after Begin {self._world.short(name)}")
        copy = sqlite3.connect(":memory:", isolation_level=None)
        image.connection.backup(copy)

        def done(value: int, size_bytes: int) -> None:
            if value == TEAR:  # a part of a commit is none of it
                self._world.tear(self._process, "Commit", name, b"", lambda part: None)
            self._disk.commit(image, copy, size_bytes)
            if value:
                self._world.die(self._process, f"after Commit {self._world.short(name)}")

        try:
            yield _SimTransaction(name, copy, self._point, done)
        finally:
            self._let_go(image)
            self._writing.remove(image)

    def _point(self, operation: str, path: str, size_bytes: int = 0) -> int:
        return self._world.point(self._process, operation, path, size_bytes=size_bytes)

    def _began(self, image: Image) -> bool | None:
        if image.writer is not None:
            return None
        image.writer = self._process
        self._writing.append(image)
        if not self._bound:
            self._bound = True
            self._process.at_death.append(self._died)
        return True

    def _let_go(self, image: Image) -> None:
        if image.writer is self._process:
            image.writer = None
            self._disk.changed()

    def _died(self) -> None:
        for image in self._writing:
            self._let_go(image)

    async def aside(self, path: Path, work: Callable[[], T], *, wait_s: float, clock: Clock) -> T:
        name, until = os.fspath(path), self._world.now + wait_s
        while self._world.now < until and self._held(name):  # noqa: ASYNC110 - as the real one does
            await asyncio.sleep(POLL_S)
        return work()

    def replace(self, source: Path, target: Path) -> None:
        name = os.fspath(target)
        value = self._point("Replace", name)
        self._disk.replace(os.fspath(source), name)
        if value:
            self._world.die(self._process, f"after Replace {self._world.short(name)}")

    def _held(self, name: str) -> bool:
        inode = self._disk.names.get(name)
        return inode is not None and inode.image is not None and inode.image.writer is not None


def _never(value: int, size_bytes: int) -> None:
    raise AssertionError("a reader has nothing to commit")
