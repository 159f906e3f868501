"""Who a process is: pid, start time, pid namespace.

A pid alone names nobody: it is reused, and another container counts its own. Linux tells the start time in
clock ticks since boot (field 22 of ``/proc/<pid>/stat``), which OpenClaw writes into its lock files; where
there is no ``/proc``, or only that of another pid namespace, the start time is unknown and psutil says who is alive.
Windows tells the instant, in microseconds.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from lockjaw.locking.system import os

if sys.platform == "win32":
    from lockjaw.locking.windows import find_elsewhere, own_starttime, pid_namespace, process_state
else:
    from lockjaw.locking.proc import find_elsewhere, own_starttime, pid_namespace, process_state

__all__ = ["ProcessIdentity", "find_elsewhere", "process_state", "this_process"]


@dataclass(frozen=True)
class ProcessIdentity:
    """``starttime`` in ticks since boot and ``pid_namespace`` (an inode number) are None where nobody tells."""

    pid: int
    starttime: int | None = None
    pid_namespace: int | None = None


def this_process() -> ProcessIdentity:
    """The calling process; read once in each: a forked child is somebody else."""
    global _me  # noqa: PLW0603
    if _me is None:
        _me = ProcessIdentity(os.getpid(), own_starttime(), pid_namespace())
    return _me


_me: ProcessIdentity | None = None


def _forget_parent() -> None:
    global _me  # noqa: PLW0603 -- a child in a new pid namespace may even have its parent's number
    _me = None


os.register_at_fork(after_in_child=_forget_parent)
