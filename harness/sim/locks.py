"""The simulated side of lock algorithms: the same generators on a simulated kernel.

``SimCalls`` makes every call that ``lockjaw.locking.kernel`` makes on the real machine; ``SimHost`` waits as
``drivers`` does, except that it is told of changes instead of polling for them (and hears of them a little late, by
choice).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from lockjaw.clock import Clock
from lockjaw.locking.drivers import follow, follow_async
from lockjaw.locking.identity import ProcessIdentity
from lockjaw.locking.operations import (
    Calls,
    Contents,
    FileStatus,
    Handle,
    ProcessState,
    Settle,
    Sleep,
    Steps,
    WaitForRelease,
    WaitForSection,
    Waiting,
)
from lockjaw.locking.paths import LockPaths
from lockjaw.locking.process_holds import LOOK_AGAIN_REAL_S, ProcessHolds, Releasable, stop_overdue
from lockjaw.locking.resting import RestingGuards

from .disk import Disk
from .process import Process
from .tape import TEAR

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_READ_LIMIT_BYTES = 65_536
SETTLE_S = 0.005
_HEARD_AFTER_S = (0.0005, 0.002, 0.008, 0.025)  # a waiter polls at most every 25 ms
_SECTION_POLL_S = 0.0005
_LOOK_S = 4.0  # a waiter in the queue that hears nothing looks at most so seldom (drivers.py)


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


class SimCalls:
    """``lockjaw.locking.operations.Calls`` of one simulated process.

    Every call that touches the disk, the range locks or a bell is a point: a place where another process may run, where
    the call may fail, and where the process may die before it, after it or in the middle of a write.
    """

    def __init__(self, process: Process, disk: Disk, say: Callable[[str], None] = lambda line: None) -> None:
        self.process, self.world, self.disk, self._say = process, process.world, disk, say
        self._resting = RestingGuards(self._close_for_good, self._is_named, lambda: self.world.now)

    def _point(self, operation: str, path: str, number: int | None = None, offset: int | None = None) -> int:
        return self.world.point(self.process, operation, path, number, offset)

    def _after(self, value: int, operation: str, path: str) -> None:
        if value:
            self.world.die(self.process, f"after {operation} {self.world.short(path)}")

    # ------------------------------------------------------------------ files

    def make_directory(self, path: str) -> None:
        self.disk.make_folder(path)

    def create_exclusive(self, path: str) -> Handle:
        return self._open("CreateExclusive", path, os.O_RDWR | os.O_CREAT | os.O_EXCL)

    def open_existing(self, path: str, writable: bool = False) -> Handle:
        return self._open("OpenExisting", path, os.O_RDWR if writable else os.O_RDONLY)

    def _open(self, operation: str, path: str, flags: int) -> Handle:
        value = self._point(operation, path)
        handle = Handle(path, self.disk.open(path, flags, self.process).fd)
        self._after(value, operation, path)
        return handle

    def open_guard(self, path: str, body_path: str = "") -> Handle:
        value = self._point("OpenGuard", path)  # also for one that rests: a process is killed or late anywhere
        handle = self._resting.take(path, body_path)
        if handle is None:
            handle = Handle(path, self.disk.open(path, os.O_RDWR | os.O_CREAT, self.process).fd)
            if body_path:
                body = self.disk.open(body_path, os.O_RDWR | os.O_CREAT, self.process)
                handle.body = Handle(body_path, body.fd, (1, body.inode.number))
            self._resting.opened(handle)
        self._after(value, "OpenGuard", path)
        return handle

    def close(self, handle: Handle) -> None:
        if handle.number >= 0:
            path = handle.path
            try:
                value = self._point("Close", path, handle.number)
            except OSError:
                self._close_for_good(handle.again())  # as Linux: a close that fails has closed
                raise
            if not self._resting.keep(handle, self._unlock_all):
                self._close_for_good(handle.again())
            self._after(value, "Close", path)

    def _close_for_good(self, handle: Handle) -> None:
        self.disk.close(handle.number)
        if handle.body is not None:
            self.disk.close(handle.body.number)

    def _unlock_all(self, handle: Handle) -> bool:
        self.disk.unlock_all(self.disk.file(handle.number))
        return True

    def _is_named(self, handle: Handle) -> bool:
        files = [handle] if handle.body is None else [handle, handle.body]
        return all(self.disk.file(file.number).inode.links for file in files)

    def read_file(self, path: str) -> Contents:
        self._point("Read", path)
        inode = self.disk.inode(path)
        return Contents(bytes(inode.data[:_READ_LIMIT_BYTES]), self.disk.status(inode))

    def read(self, handle: Handle, length: int, offset: int = 0) -> bytes:
        self._point("ReadAt", handle.path, handle.number)
        return bytes(self.disk.file(handle.number).inode.data[offset : offset + length])

    def write(self, handle: Handle, data: bytes, offset: int = 0, truncate: bool = False) -> None:
        path = handle.path
        value = self.world.point(self.process, "WriteInPlace", path, handle.number, size_bytes=len(data))
        file = self.disk.file(handle.number)
        if value == TEAR:
            self.world.tear(
                self.process, "WriteInPlace", path, data, lambda part: self.disk.write(file, part, offset)
            )  # fmt: skip
        self.disk.write(file, data, offset)
        if truncate:
            self.disk.cut(file, offset + len(data))
        self._after(value, "WriteInPlace", path)

    def status(self, path: str) -> FileStatus | None:
        self._point("Stat", path)
        try:
            return self.disk.status(self.disk.inode(path))
        except FileNotFoundError:
            return None

    def look(self, path: str) -> tuple[int, int, int] | None:
        status = self.status(path)
        return None if status is None else (status.device, status.inode, status.size_bytes)

    def identify(self, handle: Handle) -> FileStatus:
        return self.disk.status(self.disk.file(handle.number).inode)

    def exists(self, path: str) -> bool:
        self._point("Exists", path)
        return self.disk.exists(path)

    def link(self, handle: Handle, target: str) -> None:
        value = self._point("LinkFile", target)
        self.disk.link(handle.path, target)
        self._after(value, "LinkFile", target)

    def unlink(self, path: str) -> None:
        value = self._point("Unlink", path)
        try:
            self.disk.unlink(path)
        except FileNotFoundError:
            pass
        self._after(value, "Unlink", path)

    def named(self, handle: Handle) -> bool:
        return self.disk.file(handle.number).inode.links > 0

    def replace(self, source: str, target: str) -> None:
        value = self._point("Replace", target)
        self.disk.replace(source, target)
        self._after(value, "Replace", target)

    # ------------------------------------------------------------------ range locks and bells

    def lock(self, handle: Handle, offset: int) -> bool:
        value = self._point("RangeLock", handle.path, handle.number, offset)
        got = self.disk.lock(self.disk.file(handle.number), offset, 1, True)
        self._after(value, "RangeLock", handle.path)
        return got

    def unlock(self, handle: Handle, offset: int) -> None:
        value = self._point("RangeUnlock", handle.path, handle.number, offset)
        self.disk.unlock(self.disk.file(handle.number), offset, 1)
        self._after(value, "RangeUnlock", handle.path)

    def locked_elsewhere(self, handle: Handle, offset: int, length: int = 1) -> bool:
        self._point("RangeTest", handle.path, handle.number, offset)
        return self.disk.locked_elsewhere(self.disk.file(handle.number), offset, length)

    def locked_now(self, handle: Handle, offset: int) -> bool:
        return self.disk.locked_elsewhere(self.disk.file(handle.number), offset, 1)

    def first_locked(self, handle: Handle, offset: int, length: int) -> int | None:
        self._point("RangeFind", handle.path, handle.number, offset)
        return self.disk.first_locked(self.disk.file(handle.number), offset, length)

    def open_bell(self, path: str, ticket: int) -> Handle | None:
        path = f"{path}.bell-{ticket}"
        return Handle(path, self.disk.open_unnamed(path, self.process).fd)

    def ring(self, path: str, ticket: int) -> bool:
        self._point("Ring", path)
        path = f"{path}.bell-{ticket}"
        rung = [file for file in self.disk.open_files.values() if file.path == path]
        for file in rung:
            self.disk.write(file, b"!", 0)
        return bool(rung)

    def give_way(self) -> None:
        self._point("GiveWay", "")

    # ------------------------------------------------------------------ processes, time, people

    def process_state(self, pid: int) -> ProcessState:
        found = self.world.find(pid, self.process.namespace)
        if found is None:
            return ProcessState(False, signalable=False)
        return ProcessState(True, zombie=found.zombie, starttime=found.starttime)

    def find_elsewhere(self, pid: int, starttime: int | None) -> int | None:
        found = self.world.find_elsewhere(pid, starttime, self.process.namespace)
        return None if found is None else found.host_pid

    def now(self) -> float:
        return self.world.now

    def wall_ms(self) -> int:
        return self.world.wall_ms(self.process)

    def print_error(self, line: str) -> None:
        self._say(line)


class SimHolds(ProcessHolds):
    """What a simulated process holds: nothing is installed at its exit, and it has no threads, so the watchdog is a
    timer of its event loop."""

    def __init__(self, calls: Calls) -> None:
        super().__init__(lambda clock: calls)
        self._at_exit = True  # nothing left to install
        self._say = calls.print_error
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def limit(self, held: Releasable, limit_real_s: float) -> None:
        self._timers[id(held)] = asyncio.get_running_loop().call_later(limit_real_s, self._stop, held)

    def _stop(self, held: Releasable) -> None:
        if not stop_overdue(held, self._say):
            self.limit(held, LOOK_AGAIN_REAL_S)

    def discard(self, held: Releasable) -> bool:
        if (timer := self._timers.pop(id(held), None)) is not None:
            timer.cancel()
        return super().discard(held)


class SimHost:
    """``lockjaw.locking.host.Host`` of one simulated process."""

    def __init__(self, process: Process, disk: Disk, waiters: Waiters, calls: SimCalls | None = None) -> None:
        self._process, self._world, self._disk, self._waiters = process, process.world, disk, waiters
        self._calls: Calls = calls or SimCalls(process, disk)
        self._holds = SimHolds(self._calls)
        self._identity = ProcessIdentity(process.pid, process.starttime, process.namespace)
        self._paths: dict[str, LockPaths] = {}
        self._rung: set[int] = set()  # bells that were heard

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
            found = self._paths[name] = LockPaths.beside(name)
        return found

    # ------------------------------------------------------------------ drivers

    def call(self, clock: Clock, function: Callable[[Calls, *Ts], T], *args: *Ts) -> T:
        return function(self._calls, *args)

    def run(self, clock: Clock, algorithm: Callable[[Calls, *Ts], Steps[T]], *args: *Ts) -> T:
        return follow(algorithm(self._calls, *args), lambda wait: self._wait_blocking(wait, clock))

    async def run_async(self, clock: Clock, algorithm: Callable[[Calls, *Ts], Steps[T]], *args: *Ts) -> T:
        return await follow_async(algorithm(self._calls, *args), lambda wait: self._wait(wait, clock))

    async def run_to_end(self, clock: Clock, algorithm: Callable[[Calls, *Ts], Steps[T]], *args: *Ts) -> T:
        steps = algorithm(self._calls, *args)
        return await follow_async(steps, lambda wait: self._wait(wait, clock), defer_cancel=True)

    # ------------------------------------------------------------------ waiting

    async def _wait(self, wait: Waiting, clock: Clock) -> bool:
        if isinstance(wait, Sleep):
            await clock.sleep(wait.duration_s)
        elif isinstance(wait, Settle):
            await clock.sleep(SETTLE_S)
        elif self._happened(wait):
            await clock.sleep(self._late())
        else:
            await self._told(wait)
        return self._has_rung(wait)

    async def _told(self, wait: WaitForSection | WaitForRelease) -> None:
        heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        loop = self._process.loop
        timer: asyncio.TimerHandle

        def hear() -> None:
            if not heard.done():
                heard.set_result(None)

        def look() -> None:
            nonlocal timer
            free = isinstance(wait, WaitForRelease) and wait.handle and not self._locked(wait.handle, wait.offset)
            if free or self._world.now >= wait.until:
                hear()
            else:
                timer = loop.call_at(min(wait.until, self._world.now + _LOOK_S), look)

        self._waiters.add(lambda: heard.done() or self._happened(wait), lambda: loop.call_later(self._late(), hear))
        looks = isinstance(wait, WaitForRelease) and wait.queued
        first = min(wait.until, self._world.now + _LOOK_S) if looks else wait.until
        timer = loop.call_at(first, look if looks else hear)
        try:
            await heard
        finally:
            timer.cancel()

    def _wait_blocking(self, wait: Waiting, clock: Clock) -> bool:
        if isinstance(wait, Sleep):
            clock.sleep_blocking(wait.duration_s)
        elif isinstance(wait, Settle):
            clock.sleep_blocking(SETTLE_S)
        else:
            pause_s = _SECTION_POLL_S
            while (left := wait.until - self._world.now) > 0:
                clock.sleep_blocking(min(left, pause_s))
                pause_s = min(0.025, pause_s * 1.5)
                if self._happened(wait):
                    break
        return self._has_rung(wait)

    def _has_rung(self, wait: Waiting) -> bool:
        """Was it the bell that ended this wait?"""
        bell = wait.bell if isinstance(wait, WaitForRelease) else None
        if bell is None or bell.number not in self._rung:
            return False
        self._rung.discard(bell.number)
        return True

    def _late(self) -> float:
        return _HEARD_AFTER_S[self._world.pick(f"{self._process.name}: hears of a change", len(_HEARD_AFTER_S))]

    def _happened(self, wait: WaitForSection | WaitForRelease) -> bool:
        """As ``Kernel.may_be_released``."""
        disk = self._disk
        if isinstance(wait, WaitForSection):
            return not self._locked(wait.handle, wait.offset)
        bell = wait.bell
        if bell is not None and (rung := disk.open_files.get(bell.number)) is not None and rung.inode.data:
            rung.inode.data.clear()
            self._rung.add(bell.number)
            return True
        if wait.queued and bell is not None:
            return self._is_gone(wait)
        if wait.handle is not None and not self._locked(wait.handle, wait.offset):
            return True
        if wait.queued:
            return self._is_gone(wait)
        inode = disk.names.get(wait.path)
        status = None if inode is None else disk.status(inode)
        if not (wait.seen is None if status is None else status.unchanged(wait.seen)):
            return True
        return self._is_gone(wait)

    def _locked(self, handle: Handle, offset: int) -> bool:
        file = self._disk.open_files.get(handle.number)
        return file is not None and self._disk.locked_elsewhere(file, offset, 1)

    def _is_gone(self, wait: WaitForRelease) -> bool:
        if wait.pid is None:
            return False
        owner = self._world.find(wait.pid, self._process.namespace)
        return owner is None or owner.zombie or (wait.starttime is not None and owner.starttime != wait.starttime)
