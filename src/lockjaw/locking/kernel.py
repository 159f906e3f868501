"""The operations, performed on this machine.

One table of performers serves the blocking and the asyncio driver; only waiting differs, and that is theirs.
A Kernel lives for one run of an algorithm and knows what that run opened, so that an interruption at the
worst instant (between a system call and the assignment of its result) leaks no descriptor and no lock.
"""

from __future__ import annotations

import errno
import stat
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

from lockjaw.clock import Clock
from lockjaw.errors import LockStateError
from lockjaw.locking import bells, file_systems
from lockjaw.locking import operations as ops
from lockjaw.locking.identity import find_elsewhere, process_state
from lockjaw.locking.operations import Contents, FileStatus, Handle
from lockjaw.locking.range_locks import COMING_AND_GOING, RangeLocks
from lockjaw.locking.resting import RestingGuards
from lockjaw.locking.system import os

if sys.platform == "win32":
    from lockjaw.locking.windows_locks import native_range_locks
else:
    from lockjaw.locking.posix_locks import native_range_locks

_FILE_MODE = 0o644  # OpenClaw's lock files are readable by all
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
    """Performs every operation but the waiting ones.

    Args:
        clock: maps nominal to real time.
        range_locks: how bytes are locked; the platform's own by default.
    """

    def __init__(self, clock: Clock, range_locks: RangeLocks | None = None) -> None:
        self.clock = clock
        self._ranges = ranges = range_locks or native_range_locks()
        self.lock = ranges.lock  # without a step in between: a call costs a third of what it does
        self._opened: list[Handle] = []

    def perform(self, operation: ops.Operation) -> Any:
        """The operation's result. Raises the OSError that the operating system gave."""
        return _PERFORMERS[type(operation)](self, operation)

    def may_be_released(self, wait: ops.WaitForSection | ops.WaitForRelease) -> bool:
        """Has what the waiter waits for happened?"""
        if isinstance(wait, ops.WaitForSection):
            return not self._ranges.locked_elsewhere(wait.handle, wait.offset, 1)
        if wait.handle is not None and not self._ranges.locked_elsewhere(wait.handle, wait.offset, 1):
            return True
        if wait.pid is not None and self._gone(wait.pid, wait.starttime):
            return True
        if wait.queued:
            return False
        try:
            status: FileStatus | None = self._status(os.lstat(wait.path))
        except OSError:
            status = None
        return not (wait.seen is None if status is None else status.unchanged(wait.seen))

    @staticmethod
    def _gone(pid: int, starttime: int | None) -> bool:
        state = process_state(pid)
        reused = None not in (starttime, state.starttime) and starttime != state.starttime
        return not state.exists or state.zombie or reused

    @property
    def calls(self) -> ops.Calls:
        """What a straight run is performed by: this kernel itself, unless somebody listens in on ``perform``."""
        return self if type(self).perform is _PERFORM else ops.ByOperation(self.perform)

    def abandon(self) -> None:
        """Close whatever this run still has open: it failed or was interrupted."""
        for handle in self._opened:
            self.close(handle)

    # -------------------------------------------------------------------- files

    def _make_directory(self, op: ops.MakeDirectory) -> None:
        os.makedirs(op.path, exist_ok=True)

    def _create_exclusive(self, op: ops.CreateExclusive) -> Handle:
        return self._open(op.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)

    def _open_existing(self, op: ops.OpenExisting) -> Handle:
        return self._open(op.path, (os.O_RDWR if op.writable else os.O_RDONLY) | _NO_FOLLOW)

    def open_guard(self, path: str, body_path: str) -> Handle:
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
        if body_path:
            body = os.open(body_path, os.O_RDWR | os.O_CREAT | _NO_FOLLOW, _FILE_MODE)
            handle.body = Handle(body_path, body)
            status = os.fstat(body)
            handle.body.identity = status.st_dev, status.st_ino
        _resting.opened(handle)
        return handle

    def _open_guard(self, op: ops.OpenGuard) -> Handle:
        return self.open_guard(op.path, op.body_path)

    def _open(self, path: str, flags: int) -> Handle:
        with COMING_AND_GOING:
            handle = Handle(path, os.open(path, flags, _FILE_MODE))
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

    def _close(self, op: ops.Close) -> None:
        self.close(op.handle)

    def _read(self, op: ops.Read) -> Contents:
        descriptor = os.open(op.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not block us
        try:
            return Contents(os.read(descriptor, op.limit_bytes), self._status(os.fstat(descriptor)))
        finally:
            os.close(descriptor)

    def read(self, handle: Handle, length: int) -> bytes:
        return os.pread(handle.number, length, 0)

    def _read_at(self, op: ops.ReadAt) -> bytes:
        return os.pread(op.handle.number, op.length, op.offset)

    def write(self, handle: Handle, data: bytes, offset: int) -> None:
        if os.pwrite(handle.number, data, offset) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), handle.path)

    def _write_in_place(self, op: ops.WriteInPlace) -> None:
        self.write(op.handle, op.data, op.offset)
        if op.truncate:
            os.ftruncate(op.handle.number, op.offset + len(op.data))

    def _stat(self, op: ops.Stat) -> FileStatus:
        return self._status(os.lstat(op.path))

    def look(self, path: str) -> tuple[int, int, int] | None:
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino, status.st_size

    def empty(self, handle: Handle) -> None:
        os.ftruncate(handle.number, 0)

    def exists(self, path: str) -> bool:
        return os.access(path, os.F_OK)

    def _exists(self, op: ops.Exists) -> bool:
        return os.access(op.path, os.F_OK)

    def _identify(self, op: ops.Identify) -> FileStatus:
        return self._status(os.fstat(op.handle.number))

    def _status(self, result: os.stat_result) -> FileStatus:
        kind: Literal["file", "directory", "other"] = "file"
        if not stat.S_ISREG(result.st_mode):
            kind = "directory" if stat.S_ISDIR(result.st_mode) else "other"
        # File times are real instants; their distance from now is a real duration, made nominal here.
        age_s = max(0.0, (time.time_ns() - result.st_mtime_ns) / 1e9) / self.clock.real_s(1.0)
        return FileStatus(
            result.st_dev, result.st_ino, result.st_size, result.st_mtime_ns, age_s, kind, result.st_nlink
        )

    def unlink(self, path: str) -> None:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass

    def _unlink(self, op: ops.Unlink) -> None:
        try:
            os.unlink(op.path)
        except FileNotFoundError:
            if not op.missing_ok:
                raise

    def _link(self, op: ops.Link) -> None:
        os.link(op.source, op.target)

    def link(self, handle: Handle, target: str) -> None:
        try:
            os.link(handle.path, target)
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
                raise LockStateError(
                    target, error.strerror, "this file system has no hard links; keep the state folder on one that has"
                ) from error
            raise

    def _link_file(self, op: ops.LinkFile) -> None:
        self.link(op.handle, op.target)

    def _replace(self, op: ops.Replace) -> None:
        os.replace(op.source, op.target)

    # -------------------------------------------------------------------- locks, processes, time

    def unlock(self, handle: Handle, offset: int) -> None:
        self._ranges.unlock(handle, offset, 1)

    def locked_elsewhere(self, handle: Handle, offset: int, length: int) -> bool:
        return self._ranges.locked_elsewhere(handle, offset, length)

    def _range_lock(self, op: ops.RangeLock) -> bool:
        return self._ranges.lock(op.handle, op.offset, op.length, op.exclusive)

    def _range_unlock(self, op: ops.RangeUnlock) -> None:
        self._ranges.unlock(op.handle, op.offset, op.length)

    def _range_test(self, op: ops.RangeTest) -> bool:
        return self._ranges.locked_elsewhere(op.handle, op.offset, op.length)

    def first_locked(self, handle: Handle, offset: int, length: int) -> int | None:
        return self._ranges.first_locked(handle, offset, length)

    def _range_find(self, op: ops.RangeFind) -> int | None:
        return self._ranges.first_locked(op.handle, op.offset, op.length)

    def _open_bell(self, op: ops.OpenBell) -> Handle | None:
        with COMING_AND_GOING:
            descriptor = bells.open_bell(op.path, op.ticket)
            if descriptor is None:
                return None
            handle = Handle(op.path, descriptor)
            self._opened.append(handle)
            _open_handles.add(handle)
        return handle

    def ring(self, path: str, ticket: int) -> bool:
        return bells.ring(path, ticket)

    def _ring(self, op: ops.Ring) -> bool:
        return bells.ring(op.path, op.ticket)

    def give_way(self) -> None:
        # The kernel takes a datagram for a hint that its sender is about to sleep, and lets the receiver wait on the
        # sender's processor until it does.
        os.sched_yield()

    def _give_way(self, op: ops.GiveWay) -> None:
        self.give_way()

    def _process_status(self, op: ops.ProcessStatus) -> ops.ProcessState:
        return process_state(op.pid)

    def _find_elsewhere(self, op: ops.FindElsewhere) -> int | None:
        return find_elsewhere(op.pid, op.starttime)

    def _now(self, op: ops.Now) -> float:
        return self.clock.monotonic()

    def wall_ms(self) -> int:
        return self.clock.wall_ms()

    def _wall_now(self, op: ops.WallNow) -> int:
        return self.clock.wall_ms()

    def _print_error(self, op: ops.PrintError) -> None:
        print(op.line, file=sys.stderr, flush=True)


_PERFORM = Kernel.perform

_PERFORMERS: dict[type[Any], Callable[[Kernel, Any], Any]] = {
    ops.MakeDirectory: Kernel._make_directory,
    ops.CreateExclusive: Kernel._create_exclusive,
    ops.OpenExisting: Kernel._open_existing,
    ops.OpenGuard: Kernel._open_guard,
    ops.Close: Kernel._close,
    ops.Read: Kernel._read,
    ops.ReadAt: Kernel._read_at,
    ops.WriteInPlace: Kernel._write_in_place,
    ops.Stat: Kernel._stat,
    ops.Identify: Kernel._identify,
    ops.Unlink: Kernel._unlink,
    ops.Exists: Kernel._exists,
    ops.Link: Kernel._link,
    ops.LinkFile: Kernel._link_file,
    ops.Replace: Kernel._replace,
    ops.RangeLock: Kernel._range_lock,
    ops.RangeUnlock: Kernel._range_unlock,
    ops.RangeTest: Kernel._range_test,
    ops.RangeFind: Kernel._range_find,
    ops.OpenBell: Kernel._open_bell,
    ops.Ring: Kernel._ring,
    ops.GiveWay: Kernel._give_way,
    ops.ProcessStatus: Kernel._process_status,
    ops.FindElsewhere: Kernel._find_elsewhere,
    ops.Now: Kernel._now,
    ops.WallNow: Kernel._wall_now,
    ops.PrintError: Kernel._print_error,
}
