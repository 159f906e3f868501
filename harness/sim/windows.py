"""A simulated process on Windows: the range locks are the runtime's own ``windows_locks``, and nobody has a bell.

Each of their calls is a point of its own, where the process may be late or die: between the shared lock that a test is
and its unlock, too.
"""

from __future__ import annotations

from typing import Any

from lockjaw.locking import operations as ops
from lockjaw.locking.operations import Handle, Operation
from lockjaw.locking.windows_locks import WindowsLocks

from .disk import Disk
from .locks import SimHost, Waiters
from .world import Process


class WindowsHost(SimHost):
    def __init__(self, process: Process, disk: Disk, waiters: Waiters) -> None:
        super().__init__(process, disk, waiters)
        self._ranges = WindowsLocks(self._lock_bytes, self._unlock_bytes)

    def perform(self, operation: Operation) -> Any:
        match operation:
            case ops.RangeLock(handle, offset, length, exclusive):
                return self._ranges.lock(handle, offset, length, exclusive)
            case ops.RangeUnlock(handle, offset, length):
                return self._ranges.unlock(handle, offset, length)
            case ops.RangeTest(handle, offset, length):
                return self._ranges.locked_elsewhere(handle, offset, length)
            case ops.RangeFind(handle, offset, length):
                return self._ranges.first_locked(handle, offset, length)
            case ops.Close(handle):
                try:
                    return super().perform(operation)
                finally:
                    self._ranges.closed(handle)
            case ops.OpenBell():
                return None
            case ops.Ring():
                return False
        return super().perform(operation)

    def _unlock_all(self, handle: Handle) -> bool:
        return self._ranges.unlock_all(handle)

    def _lock_bytes(self, descriptor: int, offset: int, length: int, exclusive: bool) -> bool:
        file = self._disk.file(descriptor)
        value = self._world.point(self._process, "LockFileEx", file.path)
        got = self._disk.lock(file, offset, length, exclusive)
        if value:
            self._world.die(self._process, f"after LockFileEx {self._world.short(file.path)}")
        return got

    def _unlock_bytes(self, descriptor: int, offset: int, length: int) -> None:
        file = self._disk.file(descriptor)
        value = self._world.point(self._process, "UnlockFileEx", file.path)
        self._disk.unlock(file, offset, length)
        if value:
            self._world.die(self._process, f"after UnlockFileEx {self._world.short(file.path)}")
