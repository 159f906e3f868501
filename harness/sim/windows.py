"""A simulated process on Windows: the range locks are the runtime's own ``windows_locks``, and nobody has a bell.

Each of their calls is a point of its own, where the process may be late or die: between the shared lock that a test is
and its unlock, too.
"""

from __future__ import annotations

from lockjaw.locking.operations import Handle
from lockjaw.locking.windows_locks import WindowsLocks

from .disk import Disk
from .locks import SimCalls, SimHost, Waiters
from .process import Process


class WindowsHost(SimHost):
    def __init__(self, process: Process, disk: Disk, waiters: Waiters) -> None:
        super().__init__(process, disk, waiters, WindowsCalls(process, disk))


class WindowsCalls(SimCalls):
    def __init__(self, process: Process, disk: Disk) -> None:
        super().__init__(process, disk)
        self._ranges = WindowsLocks(self._lock_bytes, self._unlock_bytes)

    def lock(self, handle: Handle, offset: int) -> bool:
        return self._ranges.lock(handle, offset)

    def unlock(self, handle: Handle, offset: int) -> None:
        self._ranges.unlock(handle, offset)

    def locked_elsewhere(self, handle: Handle, offset: int, length: int = 1) -> bool:
        return self._ranges.locked_elsewhere(handle, offset, length)

    def locked_now(self, handle: Handle, offset: int) -> bool:
        return self._ranges.locked_elsewhere(handle, offset)

    def first_locked(self, handle: Handle, offset: int, length: int) -> int | None:
        return self._ranges.first_locked(handle, offset, length)

    def close(self, handle: Handle) -> None:
        try:
            super().close(handle)
        finally:
            self._ranges.closed(handle)

    def open_bell(self, path: str, ticket: int) -> Handle | None:
        return None

    def ring(self, path: str, ticket: int) -> bool:
        return False

    def _unlock_all(self, handle: Handle) -> bool:
        return self._ranges.unlock_all(handle)

    def _lock_bytes(self, descriptor: int, offset: int, length: int, exclusive: bool) -> bool:
        file = self.disk.file(descriptor)
        value = self._point("LockFileEx", file.path, descriptor, offset)
        got = self.disk.lock(file, offset, length, exclusive)
        self._after(value, "LockFileEx", file.path)
        return got

    def _unlock_bytes(self, descriptor: int, offset: int, length: int) -> None:
        file = self.disk.file(descriptor)
        value = self._point("UnlockFileEx", file.path, descriptor, offset)
        self.disk.unlock(file, offset, length)
        self._after(value, "UnlockFileEx", file.path)
