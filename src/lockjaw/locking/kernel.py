"""The calls of lock algorithms, made on this machine.

A Kernel lives for one run of an algorithm and knows what that run opened, so that an interruption at the
worst instant (between a system call and the assignment of its result) leaks no descriptor and no lock.
"""

from __future__ import annotations

import errno
import stat
import sys
import time
from typing import Literal

from lockjaw.clock import Clock
from lockjaw.errors import LockStateError
from lockjaw.folders import make_private_folder
from lockjaw.locking import bells, file_systems, private
from lockjaw.locking.identity import find_elsewhere, process_state
from lockjaw.locking.operations import Contents, FileStatus, Handle, ProcessState, WaitForRelease, WaitForSection
from lockjaw.locking.range_locks import COMING_AND_GOING, RangeLocks
from lockjaw.locking.resting import RestingGuards
from lockjaw.locking.system import os
from lockjaw.visible import tell

if sys.platform == "win32":
    from lockjaw.locking.windows_locks import native_range_locks
else:
    from lockjaw.locking.posix_locks import native_range_locks

_READ_LIMIT_BYTES = 65_536
_NO_FOLLOW = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_GUARD = os.O_RDWR | os.O_CREAT | _NO_FOLLOW | getattr(os, "O_KEEP_NAME", 0)

#: Every handle open in this process.
_open_handles: set[Handle] = set()


def _close_for_good(handle: Handle) -> None:
    try:
        if handle.body is not None:
            os.close(handle.body.number)
    finally:
        os.close(handle.number)  # with the locks


def _is_named(handle: Handle) -> bool:
    named = os.fstat(handle.number).st_nlink > 0
    return named and (handle.body is None or os.fstat(handle.body.number).st_nlink > 0)


_resting = RestingGuards(_close_for_good, _is_named, time.monotonic)


def _forget_parent() -> None:
    """In a forked child: close our copies of the parent's descriptors.

    A child that kept them would keep the parent's range locks alive after the parent's death. Closing a copy
    drops nothing in the parent; unlocking through it would.
    """
    for handle in _open_handles:
        try:
            _close_for_good(handle)
        except OSError:
            pass  # the parent was in the middle of closing it
        handle.number = -1
    _open_handles.clear()
    _resting.close_all()


os.register_at_fork(after_in_child=_forget_parent)


class Kernel:
    """``operations.Calls`` on this machine, for one run of an algorithm.

    Args:
        clock: maps nominal to real time.
        range_locks: how bytes are locked; the platform's own by default.

    Attributes:
        due: when the run's last sleep was to end; see ``drivers`` on drift.
        late_s: how much later than that ``now`` still says so.
    """

    def __init__(self, clock: Clock, range_locks: RangeLocks | None = None) -> None:
        self.clock = clock
        self._ranges = ranges = range_locks or native_range_locks()
        self.lock = ranges.lock  # without a step in between: a call costs a third of what it does
        self._opened: list[Handle] = []
        self.due: float | None = None
        self.late_s = 0.0

    # -------------------------------------------------------------------- for drivers

    def may_be_released(self, wait: WaitForSection | WaitForRelease) -> bool:
        """Has what the waiter waits for happened?"""
        locked = self._ranges.locked_elsewhere
        if isinstance(wait, WaitForSection):
            return not locked(wait.handle, wait.offset)
        if wait.handle is not None and not locked(wait.handle, wait.offset):
            return True
        if wait.pid is not None and process_state(wait.pid).is_over(wait.starttime):
            return True
        if wait.queued:
            return False
        try:
            status: FileStatus | None = self._status(os.lstat(wait.path))
        except OSError:
            status = None
        return not (wait.seen is None if status is None else status.unchanged(wait.seen))

    def time_s(self) -> float:
        """What ``now`` says."""
        actual = self.clock.monotonic()
        if self.due is not None and self.due <= actual < self.due + self.late_s:
            return self.due
        return actual

    def abandon(self) -> None:
        """Close whatever this run still has open: it failed or was interrupted."""
        for handle in self._opened:
            Kernel.close(self, handle)

    # -------------------------------------------------------------------- files

    def make_directory(self, path: str) -> None:
        make_private_folder(path)

    def create_exclusive(self, path: str) -> Handle:
        return self._open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)

    def open_existing(self, path: str, writable: bool = False) -> Handle:
        return self._open(path, (os.O_RDWR if writable else os.O_RDONLY) | _NO_FOLLOW)

    def open_guard(self, path: str, body_path: str = "") -> Handle:
        with COMING_AND_GOING:
            handle = _resting.take(path, body_path)
            if handle is None:
                handle = self._open_new_guard(path, body_path)
            else:
                self._opened.append(handle)
                _open_handles.add(handle)
        return handle

    def _open_new_guard(self, path: str, body_path: str) -> Handle:
        handle = self._open(path, _GUARD)
        file_systems.refuse_odd(path, handle.number)
        private.refuse_open_folder(path)
        private.keep(path, handle.number)
        if body_path:
            body = os.open(body_path, os.O_RDWR | os.O_CREAT | _NO_FOLLOW, private.FILE_MODE)
            handle.body = Handle(body_path, body)
            private.keep(body_path, body)
            status = os.fstat(body)
            handle.body.identity = status.st_dev, status.st_ino
        _resting.opened(handle)
        return handle

    def _open(self, path: str, flags: int) -> Handle:
        with COMING_AND_GOING:
            handle = Handle(path, os.open(path, flags, private.FILE_MODE))
            self._opened.append(handle)
            _open_handles.add(handle)
        return handle

    def close(self, handle: Handle) -> None:
        with COMING_AND_GOING:
            if handle.number >= 0:
                _open_handles.discard(handle)
                if not _resting.keep(handle, self._ranges.unlock_all):
                    self._ranges.closed(handle)
                    _close_for_good(handle.again())

    def read_file(self, path: str) -> Contents:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not block us
        try:
            return Contents(os.read(descriptor, _READ_LIMIT_BYTES), self._status(os.fstat(descriptor)))
        finally:
            os.close(descriptor)

    def read(self, handle: Handle, length: int, offset: int = 0) -> bytes:
        return os.pread(handle.number, length, offset)

    def write(self, handle: Handle, data: bytes, offset: int = 0, truncate: bool = False) -> None:
        try:
            if os.pwrite(handle.number, data, offset) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if truncate:
                os.ftruncate(handle.number, offset + len(data))
        except OSError as error:
            error.filename = error.filename or handle.path  # the system knows the descriptor alone
            raise

    def status(self, path: str) -> FileStatus | None:
        try:
            return self._status(os.lstat(path))
        except FileNotFoundError:
            return None

    def look(self, path: str) -> tuple[int, int, int] | None:
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino, status.st_size

    def identify(self, handle: Handle) -> FileStatus:
        return self._status(os.fstat(handle.number))

    def _status(self, result: os.stat_result) -> FileStatus:
        kind: Literal["file", "directory", "other"] = "file"
        if not stat.S_ISREG(result.st_mode):
            kind = "directory" if stat.S_ISDIR(result.st_mode) else "other"
        # File times are real instants; their distance from now is a real duration, made nominal here.
        age_s = max(0.0, (time.time_ns() - result.st_mtime_ns) / 1e9) / self.clock.real_s(1.0)
        return FileStatus(
            result.st_dev, result.st_ino, result.st_size, result.st_mtime_ns, age_s, kind, result.st_nlink
        )

    def exists(self, path: str) -> bool:
        return os.access(path, os.F_OK)

    def link(self, handle: Handle, target: str) -> None:
        try:
            os.link(handle.path, target)
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
                raise LockStateError(
                    target, error.strerror, "this file system has no hard links; keep the state folder on one that has"
                ) from error
            raise

    def unlink(self, path: str) -> None:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass

    def named(self, handle: Handle) -> bool:
        return os.fstat(handle.number).st_nlink > 0

    def replace(self, source: str, target: str) -> None:
        os.replace(source, target)

    # -------------------------------------------------------------------- locks, bells, processes, time

    def unlock(self, handle: Handle, offset: int) -> None:
        self._ranges.unlock(handle, offset)

    def locked_elsewhere(self, handle: Handle, offset: int, length: int = 1) -> bool:
        return self._ranges.locked_elsewhere(handle, offset, length)

    def locked_now(self, handle: Handle, offset: int) -> bool:
        return self._ranges.locked_elsewhere(handle, offset)

    def first_locked(self, handle: Handle, offset: int, length: int) -> int | None:
        return self._ranges.first_locked(handle, offset, length)

    def open_bell(self, path: str, ticket: int) -> Handle | None:
        with COMING_AND_GOING:
            descriptor = bells.open_bell(path, ticket)
            if descriptor is None:
                return None
            handle = Handle(path, descriptor)
            self._opened.append(handle)
            _open_handles.add(handle)
        return handle

    def ring(self, path: str, ticket: int) -> bool:
        return bells.ring(path, ticket)

    def give_way(self) -> None:
        # The kernel takes a datagram for a hint that its sender is about to sleep, and lets the receiver wait on the
        # sender's processor until it does.
        os.sched_yield()

    def process_state(self, pid: int) -> ProcessState:
        return process_state(pid)

    def find_elsewhere(self, pid: int, starttime: int | None) -> int | None:
        return find_elsewhere(pid, starttime)

    def now(self) -> float:
        return self.time_s()

    def wall_ms(self) -> int:
        return self.clock.wall_ms()

    def print_error(self, line: str) -> None:
        tell(line)
