"""Faults at operations, inside the process that they strike.

``python -P -m lockjaw.harness.real.ambush PLAN lockjaw-arguments...`` is Lockjaw's command line in a process that may
be killed or paused right before an operation of a lock, or in which that operation fails, or whose event loop can be
blocked; scripted actors install the same. The runtime knows nothing of it: every call of its locks is made by
a ``Kernel``, and here the process is given one that is observed.

The struck process itself records what happens (as the harness, in a file beside its own), because nobody else can do so
between two operations. A pause ends when the harness says so; so does a block.
"""

from __future__ import annotations

import errno
import os
import runpy
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from lockjaw.clock import Clock, ScaledClock
from lockjaw.history import FileRecorder
from lockjaw.locking.host import THIS_HOST
from lockjaw.locking.kernel import Kernel
from lockjaw.locking.operations import Call, observe
from lockjaw.process import ACTOR_KEY, EVENTS_KEY

from ..faults.nemesis import Ambush, Fault

BLOCK, UNBLOCK = signal.SIGUSR1, signal.SIGUSR2


class Ambushes:
    """The faults that wait for operations of this process."""

    def __init__(self, faults: Sequence[Fault], recorder: FileRecorder, actor: str) -> None:
        self._waiting = [Ambush(fault) for fault in faults]
        self._recorder, self._actor = recorder, actor

    def meet(self, call: Call) -> Any:
        """An operation is about to be performed. Raises OSError if it is to fail."""
        name, path = call.operation, call.path
        for ambush in self._waiting:
            if ambush.strikes(name, path):
                self._strike(ambush.fault, f"before {name} {path.rpartition('/')[2]}", path)
        return call.make()

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
    """Observe the calls of this process's locks, and be ready to block its event loop."""
    events, actor = Path(os.environ[EVENTS_KEY]), os.environ[ACTOR_KEY]
    recorder = FileRecorder(events.with_name(f"{actor}.nemesis.jsonl"), ScaledClock.from_environment(), "harness")
    ambushes = Ambushes(faults, recorder, actor)

    def observed(clock: Clock) -> Kernel:
        kernel = Kernel(clock)
        observe(kernel, ambushes.meet)
        return kernel

    THIS_HOST.kernel = observed
    # Blocked, a signal stays pending until the handler below looks for it: it cannot come too early. (Blocked in this
    # thread and in those that it starts: call this before there are others.)
    signal.pthread_sigmask(signal.SIG_BLOCK, {UNBLOCK})
    signal.signal(BLOCK, lambda number, frame: signal.sigwait({UNBLOCK}))


def main() -> None:
    plan, *arguments = sys.argv[1:]
    install(msgspec.json.decode(Path(plan).read_bytes(), type=tuple[Fault, ...]))
    sys.argv = ["lockjaw", *arguments]
    runpy.run_module("lockjaw", run_name="__main__")  # by name: the command line stands above this package


if __name__ == "__main__":
    main()
