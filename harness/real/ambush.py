"""Faults at operations, inside the process that they strike.

``python -P -m lockjaw.harness.real.ambush PLAN lockjaw-arguments...`` is Lockjaw's command line in a process that may
be killed or paused right before an operation of a lock, or in which that operation fails, or whose event loop can be
blocked; scripted actors install the same. The runtime knows nothing of it: every operation of its locks passes
through ``LocalHost``, and here somebody stands at that door.

The struck process itself records what happens (as the harness, in a file beside its own), because nobody else can do so
between two operations. A pause ends when the harness says so; so does a block.
"""

from __future__ import annotations

import errno
import os
import runpy
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from lockjaw.clock import Clock, ScaledClock
from lockjaw.history import FileRecorder
from lockjaw.locking.host import LocalHost
from lockjaw.locking.kernel import Kernel
from lockjaw.locking.operations import ByOperation, Operation, Steps, Straight
from lockjaw.process import ACTOR_KEY, EVENTS_KEY

from ..faults.nemesis import Ambush, Fault

T = TypeVar("T")

BLOCK, UNBLOCK = signal.SIGUSR1, signal.SIGUSR2


class Ambushes:
    """The faults that wait for operations of this process."""

    def __init__(self, faults: Sequence[Fault], recorder: FileRecorder, actor: str) -> None:
        self._waiting = [Ambush(fault) for fault in faults]
        self._recorder, self._actor = recorder, actor

    def meet(self, operation: object) -> None:
        """An operation is about to be performed. Raises OSError if it is to fail."""
        name, path = type(operation).__name__, _path_of(operation)
        for ambush in self._waiting:
            if ambush.strikes(name, path):
                self._strike(ambush.fault, f"before {name} {path.rpartition('/')[2]}", path)

    def _strike(self, fault: Fault, where: str, path: str) -> None:
        told = {"action": fault.action, "target": self._actor, "pid": os.getpid(), "at": where}
        if fault.action == "fail":
            assert fault.errno is not None
            self._recorder.record("nemesis", **told, errno=fault.errno)
            number = getattr(errno, fault.errno)
            raise OSError(number, os.strerror(number), path)
        if fault.action == "pause":
            self._recorder.record("nemesis", **told, for_s=fault.for_s)
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            self._recorder.record("nemesis", **told)
            os.kill(os.getpid(), signal.SIGKILL)


def install(faults: Sequence[Fault]) -> None:
    """Stand at the door of this process's locks, and be ready to block its event loop."""
    events, actor = Path(os.environ[EVENTS_KEY]), os.environ[ACTOR_KEY]
    recorder = FileRecorder(events.with_name(f"{actor}.nemesis.jsonl"), ScaledClock.from_environment(), "harness")
    ambushes = Ambushes(faults, recorder, actor)
    straight, run, run_async = LocalHost.straight, LocalHost.run, LocalHost.run_async

    def run_met(self: LocalHost, steps: Steps[T], clock: Clock) -> T:
        return run(self, _met(steps, ambushes), clock)

    async def run_async_met(self: LocalHost, steps: Steps[T], clock: Clock, *, defer_cancel: bool = False) -> T:
        return await run_async(self, _met(steps, ambushes), clock, defer_cancel=defer_cancel)

    def straight_met(self: LocalHost, clock: Clock, run: Callable[..., T], *arguments: Any) -> T:
        return straight(self, clock, _straight_met(run, ambushes), *arguments)

    LocalHost.straight = straight_met  # type: ignore[method-assign]
    LocalHost.run = run_met  # type: ignore[method-assign]
    LocalHost.run_async = run_async_met  # type: ignore[method-assign]
    # Blocked, a signal stays pending until the handler below looks for it: it cannot come too early. (Blocked in this
    # thread and in those that it starts: call this before there are others.)
    signal.pthread_sigmask(signal.SIG_BLOCK, {UNBLOCK})
    signal.signal(BLOCK, lambda number, frame: signal.sigwait({UNBLOCK}))


def _met(steps: Steps[T], ambushes: Ambushes) -> Steps[T]:
    """The same steps, each operation told to the ambushes first."""
    result: Any = None
    raised: BaseException | None = None
    while True:
        try:
            operation = steps.send(result) if raised is None else steps.throw(raised)
        except StopIteration as stop:
            value: T = stop.value
            return value
        result = raised = None
        try:
            if isinstance(operation, Straight):
                operation = Straight(_straight_met(operation.run, ambushes), operation.arguments)
            else:
                ambushes.meet(operation)
            result = yield operation
        except BaseException as error:
            raised = error


def _straight_met(run: Callable[..., T], ambushes: Ambushes) -> Callable[..., T]:
    """The same run, each of its calls told to the ambushes first."""

    def met(kernel: Kernel, *arguments: Any) -> T:
        def perform(operation: Operation) -> Any:
            ambushes.meet(operation)
            return kernel.perform(operation)

        return run(ByOperation(perform), *arguments)

    return met


def _path_of(operation: Any) -> str:
    """The file that an operation concerns; empty for those that concern none."""
    for name in ("path", "target"):
        if isinstance(path := getattr(operation, name, None), str):
            return path
    return str(getattr(getattr(operation, "handle", None), "path", ""))


def main() -> None:
    plan, *arguments = sys.argv[1:]
    install(msgspec.json.decode(Path(plan).read_bytes(), type=tuple[Fault, ...]))
    sys.argv = ["lockjaw", *arguments]
    runpy.run_module("lockjaw", run_name="__main__")  # by name: the command line stands above this package


if __name__ == "__main__":
    main()
