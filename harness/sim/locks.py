"""The simulated driver of lock algorithms: the same generators, the simulated kernel.

It performs every operation that ``lockjaw.locking.kernel`` performs on the real machine, and waits as ``drivers``
does, except that it is told of changes instead of polling for them (and hears of them a little late, by choice).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, TypeVar

from lockjaw.clock import Clock
from lockjaw.locking import operations as ops
from lockjaw.locking.identity import ProcessIdentity
from lockjaw.locking.operations import Contents, FileStatus, Handle, Operation, ProcessState, Steps
from lockjaw.locking.paths import GUARD_SUFFIX, LockPaths
from lockjaw.locking.process_holds import ProcessHolds
from lockjaw.locking.resting import RestingGuards

from .disk import Disk
from .tape import TEAR
from .world import Process

T = TypeVar("T")

SETTLE_S = 0.005
_HEARD_AFTER_S = (0.0005, 0.002, 0.008, 0.025)  # a waiter polls at most every 25 ms
_SECTION_POLL_S = 0.0005


class Waiters:
    """Who waits for a change on the disk or for the end of a process."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], bool], Callable[[], None]]] = []

    def add(self, happened: Callable[[], bool], wake: Callable[[], None]) -> None:
        self._waiting.append((happened, wake))

    def changed(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for happened, wake in waiting:
                if happened():
                    wake()
                else:
                    self._waiting.append((happened, wake))


class SimHost:
    """``lockjaw.locking.host.Host`` of one simulated process."""

    def __init__(self, process: Process, disk: Disk, waiters: Waiters) -> None:
        self._process, self._world, self._disk, self._waiters = process, process.world, disk, waiters
        self._holds = ProcessHolds(self.run, simulated=True)
        self._identity = ProcessIdentity(process.pid, process.starttime, process.namespace)
        self._paths: dict[str, LockPaths] = {}
        self._rung: set[int] = set()  # bells that were heard
        self._resting = RestingGuards(self._close_for_good, self._is_named, lambda: self._world.now)

    @property
    def holds(self) -> ProcessHolds:
        return self._holds

    def process_id(self) -> int:
        return self._process.pid

    def identity(self) -> ProcessIdentity:
        return self._identity

    def paths(self, session_file: str | os.PathLike[str]) -> LockPaths:
        name = os.fspath(session_file)
        found = self._paths.get(name)
        if found is None:
            found = self._paths[name] = LockPaths(name, f"{name}.lock", f"{name}{GUARD_SUFFIX}")
        return found

    # ------------------------------------------------------------------ drivers

    def straight(self, clock: Clock, run: Callable[..., T], *arguments: Any) -> T:
        return run(ops.ByOperation(self.perform), *arguments)

    def run(self, steps: Steps[T], clock: Clock) -> T:
        result: Any = None
        raised: BaseException | None = None
        while True:
            try:
                operation = steps.send(result) if raised is None else steps.throw(raised)
            except StopIteration as stop:
                value: T = stop.value
                return value
            result, raised = None, None
            try:
                if isinstance(operation, _WAITS):
                    self._wait_blocking(operation, clock)
                    result = self._has_rung(operation)
                else:
                    result = self.perform(operation)
            except BaseException as error:
                raised = error

    async def run_async(self, steps: Steps[T], clock: Clock, *, defer_cancel: bool = False) -> T:
        result: Any = None
        raised: BaseException | None = None
        cancelled: asyncio.CancelledError | None = None
        while True:
            try:
                operation = steps.send(result) if raised is None else steps.throw(raised)
            except StopIteration as stop:
                if cancelled is not None:
                    raise cancelled from None
                value: T = stop.value
                return value
            result, raised = None, None
            try:
                if isinstance(operation, _WAITS):
                    try:
                        await self._wait(operation, clock)
                        result = self._has_rung(operation)
                    except asyncio.CancelledError as error:
                        if not defer_cancel:
                            raise
                        cancelled = error
                else:
                    result = self.perform(operation)
            except BaseException as error:
                raised = error

    def perform(self, operation: Operation) -> Any:
        """The operation's result, or the OSError that the simulated kernel gives."""
        return _PERFORMERS[type(operation).__name__](self, operation)

    # ------------------------------------------------------------------ waiting

    async def _wait(self, wait: Any, clock: Clock) -> None:
        if isinstance(wait, ops.Sleep):
            await clock.sleep(wait.duration_s)
        elif isinstance(wait, ops.Settle):
            await clock.sleep(SETTLE_S)
        elif self._happened(wait):
            await clock.sleep(self._late())
        else:
            heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            loop = self._process.loop

            def hear() -> None:
                if not heard.done():
                    heard.set_result(None)

            self._waiters.add(lambda: heard.done() or self._happened(wait), lambda: loop.call_later(self._late(), hear))
            timer = loop.call_at(wait.until, hear)
            try:
                await heard
            finally:
                timer.cancel()

    def _has_rung(self, wait: Any) -> bool:
        """Was it the bell that ended this wait?"""
        bell = getattr(wait, "bell", None)
        if bell is None or bell.number not in self._rung:
            return False
        self._rung.discard(bell.number)
        return True

    def _late(self) -> float:
        return _HEARD_AFTER_S[self._world.pick(f"{self._process.name}: hears of a change", len(_HEARD_AFTER_S))]

    def _wait_blocking(self, wait: Any, clock: Clock) -> None:
        if isinstance(wait, ops.Sleep):
            clock.sleep_blocking(wait.duration_s)
        elif isinstance(wait, ops.Settle):
            clock.sleep_blocking(SETTLE_S)
        else:
            pause_s = _SECTION_POLL_S
            while (left := wait.until - self._world.now) > 0:
                clock.sleep_blocking(min(left, pause_s))
                pause_s = min(0.025, pause_s * 1.5)
                if self._happened(wait):
                    return

    def _happened(self, wait: ops.WaitForSection | ops.WaitForRelease) -> bool:
        """As ``Kernel.may_be_released``."""
        disk = self._disk
        bell = getattr(wait, "bell", None)
        if bell is not None and (rung := disk.open_files.get(bell.number)) is not None and rung.inode.data:
            rung.inode.data.clear()
            self._rung.add(bell.number)
            return True
        queued = getattr(wait, "queued", False)
        if queued and bell is not None:
            return self._is_gone(wait)
        if wait.handle is not None:
            file = disk.open_files.get(wait.handle.number)
            if file is None or not disk.locked_elsewhere(file, wait.offset, 1):
                return True
        if isinstance(wait, ops.WaitForSection):
            return False
        if queued:
            return self._is_gone(wait)
        inode = disk.names.get(wait.path)
        status = None if inode is None else disk.status(inode)
        if not (wait.seen is None if status is None else status.unchanged(wait.seen)):
            return True
        return self._is_gone(wait)

    def _is_gone(self, wait: Any) -> bool:
        if wait.pid is None:
            return False
        owner = self._world.find(wait.pid, self._process.namespace)
        return owner is None or owner.zombie or (wait.starttime is not None and owner.starttime != wait.starttime)

    # ------------------------------------------------------------------ files

    def _point(self, operation: Any, path: str) -> int:
        return self._world.point(self._process, type(operation).__name__, path)

    def _after(self, value: int, operation: Any, path: str) -> None:
        if value:
            self._world.die(self._process, f"after {type(operation).__name__} {self._world.short(path)}")

    def _make_directory(self, op: ops.MakeDirectory) -> None:
        self._disk.make_folder(op.path)

    def _open_file(self, op: Any, flags: int) -> Handle:
        value = self._point(op, op.path)
        handle = Handle(op.path, self._disk.open(op.path, flags, self._process).fd)
        if value:
            self._after(value, op, op.path)
        return handle

    def _create_exclusive(self, op: ops.CreateExclusive) -> Handle:
        return self._open_file(op, os.O_RDWR | os.O_CREAT | os.O_EXCL)

    def _open_existing(self, op: ops.OpenExisting) -> Handle:
        return self._open_file(op, os.O_RDWR if op.writable else os.O_RDONLY)

    def _open_guard(self, op: ops.OpenGuard) -> Handle:
        value = self._point(op, op.path)  # also for one that rests: whoever is killed or late is so anywhere
        handle = self._resting.take(op.path, op.body_path)
        if handle is None:
            handle = Handle(op.path, self._disk.open(op.path, os.O_RDWR | os.O_CREAT, self._process).fd)
            if op.body_path:
                body = self._disk.open(op.body_path, os.O_RDWR | os.O_CREAT, self._process)
                handle.body = Handle(op.body_path, body.fd, (1, body.inode.number))
            self._resting.opened(handle)
        if value:
            self._after(value, op, op.path)
        return handle

    def _close(self, op: ops.Close) -> None:
        handle = op.handle
        if handle.number >= 0:
            try:
                value = self._point(op, handle.path)
            except OSError:
                self._close_for_good(handle.again())  # as Linux: a close that fails has closed
                raise
            if not self._resting.keep(handle, self._unlock_all):
                self._close_for_good(handle.again())
            if value:
                self._after(value, op, handle.path)

    def _close_for_good(self, handle: Handle) -> None:
        self._disk.close(handle.number)
        if handle.body is not None:
            self._disk.close(handle.body.number)

    def _unlock_all(self, handle: Handle) -> bool:
        self._disk.unlock_all(self._disk.file(handle.number))
        return True

    def _is_named(self, handle: Handle) -> bool:
        files = [handle] if handle.body is None else [handle, handle.body]
        return all(self._disk.file(file.number).inode.links for file in files)

    def _read(self, op: ops.Read) -> Contents:
        self._point(op, op.path)
        inode = self._disk.inode(op.path)
        return Contents(bytes(inode.data[: op.limit_bytes]), self._disk.status(inode))

    def _read_at(self, op: ops.ReadAt) -> bytes:
        self._point(op, op.handle.path)
        return bytes(self._disk.file(op.handle.number).inode.data[op.offset : op.offset + op.length])

    def _write_in_place(self, op: ops.WriteInPlace) -> None:
        path = op.handle.path
        value = self._point(op, path)
        file = self._disk.file(op.handle.number)
        if value == TEAR:
            self._disk.write(file, op.data[: len(op.data) // 2], op.offset)
            self._world.die(self._process, f"in the middle of WriteInPlace {self._world.short(path)}")
        self._disk.write(file, op.data, op.offset)
        if op.truncate:
            self._disk.cut(file, op.offset + len(op.data))
        if value:
            self._after(value, op, path)

    def _stat(self, op: ops.Stat) -> FileStatus:
        self._point(op, op.path)
        return self._disk.status(self._disk.inode(op.path))

    def _identify(self, op: ops.Identify) -> FileStatus:
        return self._disk.status(self._disk.file(op.handle.number).inode)

    def _unlink(self, op: ops.Unlink) -> None:
        value = self._point(op, op.path)
        try:
            self._disk.unlink(op.path)
        except FileNotFoundError:
            if not op.missing_ok:
                raise
        if value:
            self._after(value, op, op.path)

    def _link(self, op: ops.Link) -> None:
        value = self._point(op, op.target)
        self._disk.link(op.source, op.target)
        if value:
            self._after(value, op, op.target)

    def _link_file(self, op: ops.LinkFile) -> None:
        value = self._point(op, op.target)
        self._disk.link(op.handle.path, op.target)
        if value:
            self._after(value, op, op.target)

    def _exists(self, op: ops.Exists) -> bool:
        self._point(op, op.path)
        return self._disk.exists(op.path)

    def _open_bell(self, op: Any) -> Handle:
        path = f"{op.path}.bell-{op.ticket}"
        return Handle(path, self._disk.open_unnamed(path, self._process).fd)

    def _ring(self, op: Any) -> bool:
        self._point(op, op.path)
        path = f"{op.path}.bell-{op.ticket}"
        rung = False
        for file in list(self._disk.open_files.values()):
            if file.path == path:
                self._disk.write(file, b"!", 0)
                rung = True
        return rung

    def _give_way(self, op: Any) -> None:
        self._world.point(self._process, "GiveWay", "")

    def _replace(self, op: ops.Replace) -> None:
        value = self._point(op, op.target)
        self._disk.replace(op.source, op.target)
        if value:
            self._after(value, op, op.target)

    # ------------------------------------------------------------------ locks, processes, time

    def _range_lock(self, op: ops.RangeLock) -> bool:
        value = self._point(op, op.handle.path)
        got = self._disk.lock(self._disk.file(op.handle.number), op.offset, op.length, op.exclusive)
        if value:
            self._after(value, op, op.handle.path)
        return got

    def _range_unlock(self, op: ops.RangeUnlock) -> None:
        value = self._point(op, op.handle.path)
        self._disk.unlock(self._disk.file(op.handle.number), op.offset, op.length)
        if value:
            self._after(value, op, op.handle.path)

    def _range_test(self, op: ops.RangeTest) -> bool:
        self._point(op, op.handle.path)
        return self._disk.locked_elsewhere(self._disk.file(op.handle.number), op.offset, op.length)

    def _range_find(self, op: ops.RangeFind) -> int | None:
        self._point(op, op.handle.path)
        return self._disk.first_locked(self._disk.file(op.handle.number), op.offset, op.length)

    def _process_status(self, op: ops.ProcessStatus) -> ProcessState:
        found = self._world.find(op.pid, self._process.namespace)
        if found is None:
            return ProcessState(False, signalable=False)
        return ProcessState(True, zombie=found.zombie, starttime=found.starttime)

    def _find_elsewhere(self, op: ops.FindElsewhere) -> int | None:
        found = self._world.find_elsewhere(op.pid, op.starttime, self._process.namespace)
        return None if found is None else found.host_pid

    def _now(self, op: ops.Now) -> float:
        return self._world.now

    def _wall_now(self, op: ops.WallNow) -> int:
        return self._world.wall_ms(self._process)

    def _straight(self, op: ops.Straight) -> Any:
        return op.run(ops.ByOperation(self.perform), *op.arguments)

    def _print_error(self, op: ops.PrintError) -> None:
        return None


_WAITS = (ops.Sleep, ops.Settle, ops.WaitForSection, ops.WaitForRelease)
#: By name, so that this table is complete before the runtime has an operation and after it has lost one.
_PERFORMERS: dict[str, Callable[[SimHost, Any], Any]] = {
    "MakeDirectory": SimHost._make_directory,
    "CreateExclusive": SimHost._create_exclusive,
    "OpenExisting": SimHost._open_existing,
    "OpenGuard": SimHost._open_guard,
    "Close": SimHost._close,
    "Read": SimHost._read,
    "ReadAt": SimHost._read_at,
    "WriteInPlace": SimHost._write_in_place,
    "Stat": SimHost._stat,
    "Exists": SimHost._exists,
    "Identify": SimHost._identify,
    "Unlink": SimHost._unlink,
    "Link": SimHost._link,
    "LinkFile": SimHost._link_file,
    "GiveWay": SimHost._give_way,
    "Replace": SimHost._replace,
    "RangeLock": SimHost._range_lock,
    "RangeUnlock": SimHost._range_unlock,
    "RangeTest": SimHost._range_test,
    "RangeFind": SimHost._range_find,
    "OpenBell": SimHost._open_bell,
    "Ring": SimHost._ring,
    "ProcessStatus": SimHost._process_status,
    "FindElsewhere": SimHost._find_elsewhere,
    "Now": SimHost._now,
    "WallNow": SimHost._wall_now,
    "PrintError": SimHost._print_error,
    "Straight": SimHost._straight,
}
