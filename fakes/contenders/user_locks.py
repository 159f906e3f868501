"""The locks that users' own programs take, so that a contender can hold just that lock.

Each takes the file that it is given, not one beside it: name to the contender what your program names. All but
``o-excl`` are kernel locks, which end with their process; the file of ``o-excl`` stays behind when its process is
killed. Databases are held as ``databases`` says.
"""

from __future__ import annotations

import errno
import fcntl
import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from lockjaw.clock import Clock
from lockjaw.errors import LocalError, SessionLocked

from .databases import DATABASE_LOCKS

__all__ = ["USER_LOCKS", "UserLock"]

_POLL_S = 0.01
_BUSY = (errno.EAGAIN, errno.EACCES)
_FILE_MODE = 0o600


class _Way(Protocol):
    """One way to lock a file. ``try_lock`` never waits."""

    def try_lock(self) -> bool: ...
    def unlock(self) -> None: ...


class _KernelLock:
    def __init__(self, path: str, lock: Callable[[int, int], object]) -> None:
        self._path, self._lock, self._fd = path, lock, -1

    def try_lock(self) -> bool:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
        try:
            self._lock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if error.errno in _BUSY:
                return False
            raise
        self._fd = fd
        return True

    def unlock(self) -> None:
        os.close(self._fd)


class _Exclusive:
    def __init__(self, path: str) -> None:
        self._path = path

    def try_lock(self) -> bool:
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE))
        except FileExistsError:
            return False
        return True

    def unlock(self) -> None:
        os.unlink(self._path)


class _Library:
    """``busy``: the error by which the library says that the lock is taken."""

    def __init__(self, lock: Any, take: Callable[[Any], object], busy: type[Exception]) -> None:
        self._lock, self._take, self._busy = lock, take, busy

    def try_lock(self) -> bool:
        try:
            self._take(self._lock)
        except self._busy:
            return False
        return True

    def unlock(self) -> None:
        self._lock.release()


def _filelock(path: str) -> _Way:
    library = _imported("filelock")
    return _Library(library.FileLock(path), lambda lock: lock.acquire(blocking=False), library.Timeout)


def _portalocker(path: str) -> _Way:
    library = _imported("portalocker")
    lock = library.Lock(path, mode="a", timeout=0, fail_when_locked=True)
    return _Library(lock, lambda lock: lock.acquire(), library.LockException)


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise LocalError(f"a {name} lock needs the package {name}: pip install 'lockjaw[bench]'") from error


#: By the name that the contender's ``algorithm`` takes: what locks a file as a user's program does.
USER_LOCKS: Mapping[str, Callable[[str], _Way]] = {
    "flock": lambda path: _KernelLock(path, fcntl.flock),
    "posix-range": lambda path: _KernelLock(path, fcntl.lockf),
    "o-excl": _Exclusive,
    "filelock": _filelock,
    "portalocker": _portalocker,
    **DATABASE_LOCKS,
}


class UserLock:
    """One such lock, with a contender's patience.

    Args:
        timeout_s: nominal seconds that ``acquire`` tries for.
    """

    generation = 0

    def __init__(self, path: str, kind: str, *, timeout_s: float, clock: Clock) -> None:
        self._path, self._timeout_s, self._clock = path, timeout_s, clock
        self._way = USER_LOCKS[kind](path)

    def acquire(self) -> UserLock:
        """Raises SessionLocked: the file was not free in time; such locks name no owner."""
        start = self._clock.monotonic()
        while not self._way.try_lock():
            waited_s = self._clock.monotonic() - start
            if waited_s >= self._timeout_s:
                raise SessionLocked(self._path, "unknown", timeout_s=self._timeout_s, waited_s=waited_s)
            self._clock.sleep_blocking(min(_POLL_S, self._timeout_s - waited_s))
        return self

    def release(self) -> None:
        self._way.unlock()
