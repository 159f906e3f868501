"""SQLite databases that a contender holds, as another writer, reader or backup of a user's program does.

Each way takes the database file itself and changes nothing that the program could read in it. All are locks of the
kernel's: they end with their process. What a killed one may leave is a WAL with frames in it, which the next program to
open the database recovers.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from lockjaw.errors import LocalError

__all__ = ["DATABASE_LOCKS", "RETIRED", "DatabaseLock", "retire_wal"]

RETIRED = ".retired"  # behind the name of a WAL or its index that was taken from under a database
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_PRIMARY = 0xFF  # of an extended result code


class DatabaseLock:
    """One connection, and what it begins. ``try_lock`` never waits: the connection has no busy time-out.

    Args:
        begin: on a connection in autocommit mode; raises ``sqlite3.OperationalError`` as SQLite does.
    """

    def __init__(self, path: str, begin: Callable[[sqlite3.Connection], None]) -> None:
        self._path, self._begin = path, begin
        self._connection: sqlite3.Connection | None = None

    def try_lock(self) -> bool:
        """Raises LocalError: the file is no database, or not in the mode that the way needs."""
        # A timer's thread may be the one that gives it back.
        connection = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            self._begin(connection)
        except sqlite3.Error as error:
            connection.close()
            if (error.sqlite_errorcode & _PRIMARY) in _BUSY:
                return False
            raise LocalError(f"{self._path}: {error}") from None
        except LocalError:
            connection.close()
            raise
        self._connection = connection
        return True

    def unlock(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.rollback()
            connection.close()


def _write(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")


def _exclude(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN EXCLUSIVE")


def _read(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # only a read makes it hold its snapshot


def _write_into_wal(connection: sqlite3.Connection) -> None:
    """Commit a page that says what it said before, keep it from the database file, and hold the write lock."""
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        raise LocalError("sqlite-wal needs a database in WAL mode: PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA user_version={int(version)}")
    connection.execute("COMMIT")
    connection.execute("BEGIN IMMEDIATE")


#: By the name that the contender's ``algorithm`` takes: what holds a database.
DATABASE_LOCKS: Mapping[str, Callable[[str], DatabaseLock]] = {
    "sqlite": lambda path: DatabaseLock(path, _write),
    "sqlite-exclusive": lambda path: DatabaseLock(path, _exclude),
    "sqlite-read": lambda path: DatabaseLock(path, _read),
    "sqlite-wal": lambda path: DatabaseLock(path, _write_into_wal),
}


def retire_wal(path: str | os.PathLike[str]) -> list[Path]:
    """Move a database's WAL and its index aside while programs have it open, as backups and cleaners do.

    Those programs go on writing into the file that was moved; whoever opens the database anew sees none of it. Nothing
    is deleted: the files lie beside the database, with ``.retired`` behind their names.

    Returns the new paths. Raises LocalError if there is no WAL.
    """
    moved = []
    for suffix in ("-wal", "-shm"):
        file = Path(f"{os.fspath(path)}{suffix}")
        with suppress(FileNotFoundError):
            moved.append(file.replace(f"{file}{RETIRED}"))
    if not moved:
        raise LocalError(f"{os.fspath(path)}-wal does not exist: no program has this database open in WAL mode")
    return moved
