"""Who a process is: pid, start time, pid namespace.

A pid alone proves nothing: it is reused, and another container counts its own. Linux tells the start time in
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
    """``starttime`` in ticks since boot and ``pid_namespace`` (an inode number) are None where they are unknown."""

    pid: int
    starttime: int | None = None
    pid_namespace: int | None = None


def this_process() -> ProcessIdentity:
    """The calling process; read once in each: a forked child is somebody else.

    One object however many threads ask first at once: a holder is recognised by it, and one of two would be taken for
    a parent's, whose release does nothing. ``setdefault`` is atomic.
    """
    if (known := _me.get("")) is not None:
        return known
    return _me.setdefault("", ProcessIdentity(os.getpid(), own_starttime(), pid_namespace()))


_me: dict[str, ProcessIdentity] = {}  # itself, once somebody has asked


def _forget_parent() -> None:
    _me.clear()  # a child in a new pid namespace may even have its parent's number


os.register_at_fork(after_in_child=_forget_parent)
