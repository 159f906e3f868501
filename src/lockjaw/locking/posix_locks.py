"""Range locks of POSIX systems; ``range_locks`` says which and why."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from functools import lru_cache

from lockjaw.locking.guard_record import QUEUE, SECTION, TICKET_BASE
from lockjaw.locking.operations import Handle
from lockjaw.locking.private import FILE_MODE
from lockjaw.locking.range_locks import COMING_AND_GOING, RangeLocks, refuse_unsupported, unsupported

_SETLK = getattr(fcntl, "F_OFD_SETLK", 0)
_GETLK = getattr(fcntl, "F_OFD_GETLK", 0)
_FLOCK = struct.Struct("hhqqi4x")
_pack, _unpack = _FLOCK.pack, _FLOCK.unpack


@lru_cache(maxsize=64)
def _request(kind: int, offset: int, length: int) -> bytes:
    """struct flock: l_type, l_whence, l_start, l_len, l_pid (0: the description owns the lock)."""
    return _pack(kind, os.SEEK_SET, offset, length, 0)


def _asked(handle: Handle, command: int, kind: int, offset: int, length: int) -> bytes:
    """What the kernel answers. Raises LockStateError where there are no such locks."""
    try:
        return fcntl.fcntl(handle.number, command, _request(kind, offset, length))
    except OSError as error:
        refuse_unsupported(handle, error)
        raise


_EVERYTHING = _request(fcntl.F_UNLCK, 0, 0)  # length 0: to the end of all offsets
_UNLOCKED = struct.pack("h", fcntl.F_UNLCK)
_BUSY = (errno.EAGAIN, errno.EACCES)
_OWNER_FILES = 8
_SHARED = {SECTION: "section", QUEUE: "queue"}


class DescriptionLocks:
    """Linux open-file-description locks."""

    def lock(self, handle: Handle, offset: int) -> bool:
        try:
            fcntl.fcntl(handle.number, _SETLK, _request(fcntl.F_WRLCK, offset, 1))
        except OSError as error:
            if error.errno in _BUSY:
                return False
            refuse_unsupported(handle, error)
            raise
        return True

    def unlock(self, handle: Handle, offset: int) -> None:
        _asked(handle, _SETLK, fcntl.F_UNLCK, offset, 1)

    def locked_elsewhere(self, handle: Handle, offset: int, length: int = 1) -> bool:
        return _asked(handle, _GETLK, fcntl.F_WRLCK, offset, length)[:2] != _UNLOCKED

    def first_locked(self, handle: Handle, offset: int, length: int) -> int | None:
        # The kernel names some lock of the range, not the first one: ask for what is before it, until nothing is.
        first = None
        while length > 0:
            kind, _, start, _, _ = _unpack(_asked(handle, _GETLK, fcntl.F_WRLCK, offset, length))
            if kind == fcntl.F_UNLCK:
                break
            first = max(offset, start)
            length = first - offset
        return first

    def closed(self, handle: Handle) -> None:
        return None

    def unlock_all(self, handle: Handle) -> bool:
        try:
            fcntl.fcntl(handle.number, _SETLK, _EVERYTHING)
        except OSError:
            return False
        return True


class FlockFiles:
    """``flock`` on files beside the guard, for systems without description locks."""

    def __init__(self) -> None:
        self._files: dict[Handle, dict[str, int]] = {}

    def lock(self, handle: Handle, offset: int) -> bool:
        if offset >= TICKET_BASE:
            return False
        path = self._path(handle, offset)
        if path in self._files.get(handle, {}):
            return True
        with COMING_AND_GOING:
            descriptor = self._open(path)
            if not self._try(handle, descriptor, fcntl.LOCK_EX):
                os.close(descriptor)
                return False
            self._files.setdefault(handle, {})[path] = descriptor
        return True

    def unlock(self, handle: Handle, offset: int) -> None:
        descriptor = self._files.get(handle, {}).pop(self._path(handle, offset), None)
        if descriptor is not None:
            self._drop(descriptor)

    def locked_elsewhere(self, handle: Handle, offset: int, length: int = 1) -> bool:
        path = self._path(handle, offset)
        if offset >= TICKET_BASE or path in self._files.get(handle, {}):
            return False
        descriptor = self._open(path)
        try:
            return not self._try(handle, descriptor, fcntl.LOCK_SH)
        finally:
            self._drop(descriptor)

    def first_locked(self, handle: Handle, offset: int, length: int) -> int | None:
        return offset if self.locked_elsewhere(handle, offset, length) else None

    def unlock_all(self, handle: Handle) -> bool:
        self.closed(handle)
        return False

    def closed(self, handle: Handle) -> None:
        for descriptor in self._files.pop(handle, {}).values():
            self._drop(descriptor)

    def forget_parent(self) -> None:
        """In a forked child: close our copies of what the parent has locked, which drops nothing in the parent."""
        for descriptors in self._files.values():
            for descriptor in descriptors.values():
                os.close(descriptor)
        self._files.clear()

    @staticmethod
    def _drop(descriptor: int) -> None:
        """Closing alone would leave the lock to a child that was forked this moment and has not closed its copy yet."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    @staticmethod
    def _path(handle: Handle, offset: int) -> str:
        return f"{handle.path}.{_SHARED.get(offset) or f'owner{offset % _OWNER_FILES}'}"

    @staticmethod
    def _open(path: str) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)

    @staticmethod
    def _try(handle: Handle, descriptor: int, kind: int) -> bool:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (*_BUSY, errno.EWOULDBLOCK):
                return False
            raise unsupported(handle, error) from error
        return True


_DESCRIPTION_LOCKS = DescriptionLocks()
_FLOCK_FILES = FlockFiles()  # one for all: who gives a lock back is not who took it

os.register_at_fork(after_in_child=_FLOCK_FILES.forget_parent)


def native_range_locks() -> RangeLocks:
    return _DESCRIPTION_LOCKS if hasattr(fcntl, "F_OFD_SETLK") else _FLOCK_FILES
