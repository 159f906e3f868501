"""The door of a real process: faults that strike it from within, at operations on files and locks.

``python -P -m lockjaw.harness.real.ambush PLAN lockjaw-arguments...`` is Lockjaw's command line in a process that may
be killed, paused or delayed right before an operation, or in the middle of a write, or in which an operation fails, or
whose event loop can be blocked; scripted actors install the same. The runtime knows nothing of it: its locks call a
``Kernel`` and its sessions ``LOCAL_FILES``, and here both are observed.

The struck process itself records what happens (as the harness, in a file beside its own), because nobody else can do so
between two operations. A pause ends when the harness says so; so does a block.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from lockjaw.clock import Clock, ScaledClock
from lockjaw.files import LOCAL_FILES
from lockjaw.history import FileRecorder
from lockjaw.locking.host import THIS_HOST
from lockjaw.locking.kernel import Kernel
from lockjaw.locking.operations import Call, Handle, observe
from lockjaw.process import ACTOR_KEY, EVENTS_KEY

from ..faults import AnyFault
from ..faults.base import Fault, Met
from ..faults.door import Door
from .board import slot_at

BLOCK, UNBLOCK = signal.SIGUSR1, signal.SIGUSR2


class Struck(msgspec.Struct, frozen=True):
    """What strikes a process from within. ``board``: the file of the faults' slots; ``numbers``: whose slots."""

    board: str
    numbers: tuple[int, ...] = ()
    faults: tuple[AnyFault, ...] = ()


class RealHands:
    """``faults.base.Hands`` of this process."""

    def __init__(self, recorder: FileRecorder, clock: Clock, actor: str) -> None:
        self._recorder, self._clock, self._actor = recorder, clock, actor

    def record(self, fault: Fault, met: Met, **data: Any) -> None:
        self._act(fault.action, fault, f"before {met.operation} {met.name}", **data)

    def die(self, fault: Fault, met: Met, where: str) -> NoReturn:
        self._act("kill", fault, f"{where} {met.operation} {met.name}")
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("SIGKILL does not return")

    def freeze(self, fault: Fault, for_s: float) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)  # the harness has read the record, and resumes us

    def delay(self, for_s: float) -> None:
        self._clock.sleep_blocking(for_s)

    def _act(self, action: str, fault: Fault, at: str, **data: Any) -> None:
        self._recorder.record(
            "nemesis", action=action, target=self._actor, pid=os.getpid(), says=fault.says, at=at, **data
        )  # fmt: skip


ROW_BYTES = 256  # what SQLite does not tell of a commit: a guess at how much one row adds


def install(struck: Struck) -> None:
    """Let the faults meet this process's operations, and be ready to block its event loop."""
    events, actor = Path(os.environ[EVENTS_KEY]), os.environ[ACTOR_KEY]
    clock = ScaledClock.from_environment()
    recorder = FileRecorder(events.with_name(f"{actor}.nemesis.jsonl"), clock, "harness")
    slots = [slot_at(Path(struck.board), n) for n in struck.numbers]
    if struck.faults:
        door = Door(struck.faults, slots, RealHands(recorder, clock, actor))
        _observe_locks(door)
        _observe_files(door)
    # Blocked, a signal stays pending until the handler below looks for it: it cannot come too early. (Blocked in this
    # thread and in those that it starts: call this before there are others.)
    signal.pthread_sigmask(signal.SIG_BLOCK, {UNBLOCK})
    signal.signal(BLOCK, lambda number, frame: signal.sigwait({UNBLOCK}))


def _observe_locks(door: Door) -> None:
    def meet(call: Call) -> Any:
        door.meet(call.operation, call.path)
        return call.make()

    def observed(clock: Clock) -> Kernel:
        kernel = Kernel(clock)
        write = kernel.write
        observe(kernel, meet)

        def met_write(handle: Handle, data: bytes, offset: int = 0, truncate: bool = False) -> None:
            part = door.meet("WriteInPlace", handle.path, len(data))
            if part is not None:
                write(handle, data[: part.size_bytes], offset)
                part.then()
            write(handle, data, offset, truncate)

        kernel.write = met_write  # type: ignore[method-assign]
        return kernel

    THIS_HOST.kernel = observed


def _observe_files(door: Door) -> None:
    """The same operations, by the same names, as a simulated process's files have (``sim.files``)."""
    files: Any = LOCAL_FILES
    opened: dict[int, tuple[str, bool]] = {}  # descriptor -> path, and whether it appends
    real_open, real_close, real_write = files.open, files.close, files.write

    def open_met(path: str | os.PathLike[str], flags: int) -> int:
        if flags & (os.O_ACCMODE | os.O_CREAT):
            door.meet("Create" if flags & os.O_CREAT else "Open", os.fspath(path))
        fd: int = real_open(path, flags)
        opened[fd] = (os.fspath(path), bool(flags & os.O_APPEND))
        return fd

    def close_met(fd: int) -> None:
        opened.pop(fd, None)
        real_close(fd)

    def write_met(fd: int, data: bytes | memoryview) -> int:
        path, appends = opened.get(fd, ("", False))
        part = door.meet("Append" if appends else "Write", path, len(data))
        if part is not None:
            real_write(fd, data[: part.size_bytes])
            part.then()
        written: int = real_write(fd, data)
        return written

    files.open, files.close, files.write = open_met, close_met, write_met
    databases: Any = files.databases
    writing, commit = databases.writing, databases.commit

    def writing_met(path: str | os.PathLike[str], **how: Any) -> Any:
        door.meet("Begin", os.fspath(path))
        return writing(path, **how)

    def commit_met(path: str, connection: Any) -> None:
        part = door.meet("Commit", path, connection.total_changes * ROW_BYTES)
        if part is not None:
            part.then()
        commit(path, connection)

    databases.writing, databases.commit = writing_met, commit_met
    for name, operation in (("stream", "Read"), ("cut", "Truncate"), ("flush", "Flush")):
        setattr(files, name, _met(door, operation, getattr(files, name), lambda fd: opened.get(fd, ("", False))[0]))
    for name, operation, which in (
        ("read", "Read", 0), ("remove", "Unlink", 0), ("replace", "Replace", 1), ("flush_folder", "FlushFolder", 0)
    ):  # fmt: skip
        setattr(files, name, _met(door, operation, getattr(files, name), os.fspath, which))


def _met(
    door: Door, operation: str, make: Callable[..., Any], path_of: Callable[[Any], str], which: int = 0
) -> Callable[..., Any]:
    def met(*arguments: Any, **named: Any) -> Any:
        door.meet(operation, path_of(arguments[which]))
        return make(*arguments, **named)

    return met


def main() -> None:
    plan, *arguments = sys.argv[1:]
    install(msgspec.json.decode(Path(plan).read_bytes(), type=Struck))
    sys.argv = ["lockjaw", *arguments]
    runpy.run_module("lockjaw", run_name="__main__")  # by name: the command line stands above this package


if __name__ == "__main__":
    main()
