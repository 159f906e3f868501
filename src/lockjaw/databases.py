"""The database operations that the runtime asks of its machine: short transactions on SQLite files.

``LOCAL_DATABASES`` is this machine's; the simulation brings its own, which runs the same SQL, and in which beginning
and committing are also places where another process may come in between. As with SQLite, one process writes at a time,
readers see what was committed when they began, and a writer waits for another one as long as it is told to.

Theory of operation
    *A connection for each transaction.* It costs some hundred microseconds, and nothing of one turn is left for
    another: no snapshot that keeps the WAL from being taken in, no descriptor that a fork inherits.

    *Never on the thread of an event loop.* A transaction may wait for a stranger's; ``aside`` runs it in a thread, so
    that every other session of the process goes on. What was begun there ends before ``aside`` does, also when its
    caller is cancelled: a commit that happens behind its caller's back would be one that nobody knows of.

    *A thread for each that waits.* The event loop's own pool has a handful; as many transactions that wait for a held
    database would keep all others from beginning.

    *Waiting is ours, not SQLite's busy handler*, because it is counted on the runtime's own clock.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import stat
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Protocol, TypeVar

from lockjaw.clock import Clock
from lockjaw.errors import LocalError, SessionLocked
from lockjaw.folders import flush_folder

__all__ = ["LOCAL_DATABASES", "POLL_S", "DatabaseBusy", "DatabaseMalformed", "Databases", "Transaction", "waited_for"]

T = TypeVar("T")
Path = str | os.PathLike[str]

POLL_S = 0.05  # nominal; between two tries of a writer that waits
RECOVERY_REAL_S = 2.0  # what a reader gives a process that recovers the WAL of a killed one
FILE_MODE = 0o600
# Threads are made when there is no idle one, so that the number costs nothing.
_THREADS = ThreadPoolExecutor(max_workers=4096, thread_name_prefix="database")
_PRIMARY = 0xFF  # of an extended result code
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_MALFORMED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
_ERRNO = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_PERM: errno.EACCES,
}


class DatabaseBusy(SessionLocked):
    """Another process wrote to the database for as long as this one waited; nothing was written.

    SQLite does not tell which process that is. Fields: as SessionLocked; ``path`` is the database.
    """

    def __init__(self, path: str, *, timeout_s: float, waited_s: float) -> None:
        super().__init__(path, "unknown", timeout_s=timeout_s, waited_s=waited_s)
        self.args = (
            f"database is locked: another process writes to {path} (waited {waited_s:.1f} of {timeout_s:g} s)",
        )


class DatabaseMalformed(LocalError):
    """A file that is no database, or a damaged one; it was left untouched. Fields: ``path``, ``reason``."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path}: {reason}. It was left untouched; restore a copy, or move it away to begin anew")


class Transaction(Protocol):
    """What is done between begin and end. Without ``commit`` nothing of it happens."""

    def all(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Perform one statement; its rows."""

    def commit(self) -> None:
        """Make it durable. Raises OSError (ENOSPC, EIO): nothing of it happened."""


class Databases(Protocol):
    """Transactions on database files, and a way to perform them beside the event loop."""

    def reading(self, path: Path) -> AbstractContextManager[Transaction]:
        """What is committed now. Waits for no writer.

        Raises:
            FileNotFoundError: there is no database. DatabaseMalformed: see there. OSError: the device refused.
            DatabaseBusy: another process is recovering it from a crash, or keeps it exclusively.
        """

    def writing(self, path: Path, *, wait_s: float, clock: Clock) -> AbstractContextManager[Transaction]:
        """A transaction that may change rows; makes the file (mode 0600, WAL). Blocks the caller while it waits.

        Args:
            wait_s: nominal seconds for another writer that is at work.

        Raises:
            DatabaseBusy: it did not end in time. DatabaseMalformed, OSError: as above.
        """

    def replace(self, source: Path, target: Path) -> None:
        """Put one database in the place of another one, which programs may still have open; atomically.

        Nobody but the caller may write to ``target`` meanwhile; a commit that is under way there is lost.
        """

    async def aside(self, path: Path, work: Callable[[], T], *, wait_s: float, clock: Clock) -> T:
        """Perform work with transactions on this database, while the event loop goes on.

        Args:
            wait_s: how long the work waits for another writer at most, counted from now.
        """


def waited_for(begin: Callable[[], T | None], path: str, *, wait_s: float, clock: Clock) -> T:
    """What ``begin`` gives once it gives something. Raises DatabaseBusy."""
    start = clock.monotonic()
    while (begun := begin()) is None:
        waited_s = clock.monotonic() - start
        if waited_s >= wait_s:
            raise DatabaseBusy(path, timeout_s=wait_s, waited_s=waited_s)
        clock.sleep_blocking(min(POLL_S, wait_s - waited_s))
    return begun


class _LocalTransaction:
    def __init__(self, path: str, connection: sqlite3.Connection, commit: Callable[[str, sqlite3.Connection], None]):
        self._path, self._connection, self._commit = path, connection, commit

    def all(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        with _translating(self._path):
            return self._connection.execute(sql, parameters).fetchall()

    def commit(self) -> None:
        with _translating(self._path):
            self._commit(self._path, self._connection)


@contextmanager
def _opened(path: str, *, writes: bool, patience_real_s: float) -> Iterator[sqlite3.Connection]:
    # By name, and by no descriptor of the file, not even for a moment: closing one drops all the locks that this
    # process has on the file, those of transactions in its other threads too. A process that then closes the database
    # takes itself for the last one and removes the WAL that such a transaction commits into.
    _check(path, writes=writes)
    try:
        connection = sqlite3.connect(path, timeout=patience_real_s, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise _translated(error, path) from None
    try:
        yield connection
    finally:
        with suppress(sqlite3.Error):
            connection.rollback()
        connection.close()


def _check(path: str, *, writes: bool) -> None:
    """Raises what opening the file would; makes it if it is to be written."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        if not writes:
            raise
        _make(os.path.realpath(path))
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(mode):
        raise DatabaseMalformed(path, "it is no file")
    if not os.access(path, os.R_OK | os.W_OK if writes else os.R_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def _make(path: str) -> None:
    """An empty private file under this name; it is closed before it has the name. Another one's may come first."""
    fresh = f"{path}.{uuid.uuid4()}.tmp"
    try:
        os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
        with suppress(FileExistsError):
            os.link(fresh, path)
    except OSError as error:
        error.filename, error.filename2 = path, None
        raise
    finally:
        with suppress(FileNotFoundError):
            os.unlink(fresh)


class LocalDatabases:
    """This machine's databases."""

    @contextmanager
    def reading(self, path: Path) -> Iterator[Transaction]:
        name = os.fspath(path)
        with _opened(name, writes=False, patience_real_s=RECOVERY_REAL_S) as connection:
            with _translating(name):
                connection.execute("BEGIN")
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # now it has its snapshot
            yield _LocalTransaction(name, connection, self.commit)

    @contextmanager
    def writing(self, path: Path, *, wait_s: float, clock: Clock) -> Iterator[Transaction]:
        name = os.fspath(path)
        with _opened(name, writes=True, patience_real_s=0.0) as connection:

            def begun() -> sqlite3.Connection | None:
                try:
                    self.begin(name, connection)
                except sqlite3.Error as error:
                    if _code(error) in _BUSY:
                        return None
                    raise _translated(error, name) from None
                return connection

            waited_for(begun, name, wait_s=wait_s, clock=clock)
            yield _LocalTransaction(name, connection, self.commit)

    def begin(self, path: str, connection: sqlite3.Connection) -> None:
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")  # a commit is on the device when it returns
        connection.execute("BEGIN IMMEDIATE")

    def commit(self, path: str, connection: sqlite3.Connection) -> None:
        connection.execute("COMMIT")

    def replace(self, source: Path, target: Path) -> None:
        """The WAL must not stay for the new file, which would take it for its own: first everything that is committed
        goes into the old file, then the WAL goes, then the old file. What is there at each step is whole. (A program
        that still has the old one open finds that its file has moved, and leaves the new one's WAL alone.)"""
        name = os.fspath(target)
        with _opened(name, writes=False, patience_real_s=RECOVERY_REAL_S) as connection:
            with _translating(name):
                busy, logged, taken_in = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if busy or logged != taken_in:
                raise DatabaseBusy(name, timeout_s=RECOVERY_REAL_S, waited_s=0.0)
            for suffix in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    os.unlink(f"{name}{suffix}")
        os.replace(source, target)
        flush_folder(os.path.dirname(name))

    async def aside(self, path: Path, work: Callable[[], T], *, wait_s: float, clock: Clock) -> T:
        begun = asyncio.get_running_loop().run_in_executor(_THREADS, work)
        try:
            return await asyncio.shield(begun)
        except asyncio.CancelledError:
            await asyncio.wait({begun})
            if not begun.cancelled():
                begun.exception()  # the caller is not there any more to hear of it
            raise


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & _PRIMARY


@contextmanager
def _translating(path: str) -> Iterator[None]:
    """SQLite's errors as those that ``Databases`` names."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translated(error, path) from None


def _translated(error: sqlite3.Error, path: str) -> Exception:
    code = _code(error)
    if code in _BUSY:
        return DatabaseBusy(path, timeout_s=0.0, waited_s=0.0)
    if code in _MALFORMED:
        return DatabaseMalformed(path, str(error))
    if code == sqlite3.SQLITE_CANTOPEN:
        return _not_opened(path)
    if code in _ERRNO:
        return OSError(_ERRNO[code], os.strerror(_ERRNO[code]), path)
    return LocalError(f"{path}: {error}")


def _not_opened(path: str) -> OSError:
    """Why SQLite could not open the database or a file beside it, which it does not say."""
    try:
        os.stat(path)
        os.close(os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_CLOEXEC))  # there are descriptors left
    except OSError as error:
        error.filename = path
        return error
    return PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


LOCAL_DATABASES = LocalDatabases()
