"""Range locks of Windows; ``range_locks`` says which.

Three ways of ``LockFileEx`` are bridged here. Locked bytes cannot be read or written through any other handle, so
bytes that hold data are locked by proxy, far behind the file's end. A lock stands in the way of its own handle, too,
and a shared one on top of it would, when it is dropped, drop the exclusive one first: what a handle has is
remembered, and is neither locked again nor tested. And there is no test: one is a short shared lock.

Knows no Windows: the two calls come in from outside.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from lockjaw.locking.guard_record import OWNER_BASE
from lockjaw.locking.operations import Handle
from lockjaw.locking.range_locks import RangeLocks, refuse_unsupported

#: Behind every byte of a guard, before every owner's: where its first bytes are locked.
_PROXIES = 1 << 31


class WindowsLocks:
    """Locks single bytes, tests ranges.

    Args:
        lock_bytes: (descriptor, offset, length, exclusive) -> locked? Tries once.
        unlock_bytes: (descriptor, offset, length), as they were locked.
    """

    def __init__(
        self, lock_bytes: Callable[[int, int, int, bool], bool], unlock_bytes: Callable[[int, int, int], None]
    ) -> None:
        self._lock_bytes, self._unlock_bytes = lock_bytes, unlock_bytes
        self._held: dict[Handle, set[int]] = {}

    def lock(self, handle: Handle, offset: int) -> bool:
        if offset in self._held.get(handle, ()):
            return True
        if not self._try(handle, offset, 1, True):
            return False
        self._held.setdefault(handle, set()).add(offset)
        return True

    def unlock(self, handle: Handle, offset: int) -> None:
        held = self._held.get(handle, set())
        if offset in held:
            self._unlock_bytes(handle.number, _place(offset), 1)
            held.discard(offset)

    def locked_elsewhere(self, handle: Handle, offset: int, length: int = 1) -> bool:
        for start, size in self._others(handle, offset, length):
            if not self._try(handle, start, size, False):
                return True
            self._unlock_bytes(handle.number, _place(start), size)
        return False

    def first_locked(self, handle: Handle, offset: int, length: int) -> int | None:
        if not self.locked_elsewhere(handle, offset, length):
            return None
        while length > 1:  # by halving
            half = length // 2
            if self.locked_elsewhere(handle, offset, half):
                length = half
            else:
                offset, length = offset + half, length - half
        return offset

    def unlock_all(self, handle: Handle) -> bool:
        return False  # closing does

    def closed(self, handle: Handle) -> None:
        self._held.pop(handle, None)

    def _others(self, handle: Handle, offset: int, length: int) -> Iterator[tuple[int, int]]:
        """The pieces of a range that this handle has not locked."""
        end = offset + length
        for mine in sorted(at for at in self._held.get(handle, ()) if offset <= at < end):
            if mine > offset:
                yield offset, mine - offset
            offset = mine + 1
        if end > offset:
            yield offset, end - offset

    def _try(self, handle: Handle, offset: int, length: int, exclusive: bool) -> bool:
        try:
            return self._lock_bytes(handle.number, _place(offset), length, exclusive)
        except OSError as error:
            refuse_unsupported(handle, error)
            raise


def _place(offset: int) -> int:
    return offset if offset >= OWNER_BASE else _PROXIES + offset


if sys.platform == "win32":
    from lockjaw.locking import windows

    _NATIVE = WindowsLocks(windows.lock_bytes, windows.unlock_bytes)  # one for all, as with FlockFiles

    def native_range_locks() -> RangeLocks:
        return _NATIVE
