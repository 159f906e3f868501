"""Processes of a stopped command that have left its process group (``setsid``, a daemon), found by a mark.

Each command gets a mark of its own in its environment, which its descendants inherit, whatever session they make for
themselves. A process that clears its environment loses the mark and is not found; nor is one of another user. Linux
alone shows the environment of other processes (``/proc``): elsewhere nothing is known.
"""

from __future__ import annotations

import os
import signal
import sys
import time

__all__ = ["MARK", "end_escaped"]

MARK = "LOCKJAW_COMMAND"
_ROUNDS = 20  # a process may start another one while we look; after so many rounds it is winning
_EXEC_LOOKS, _EXEC_S = 50, 0.002


def end_escaped(mark: str) -> bool:
    """Kill every process that carries this mark. -> is it certain that none of them is left?"""
    if sys.platform != "linux":
        return False
    wanted = f"{MARK}={mark}".encode()
    for _ in range(_ROUNDS):
        found = [pid for name in os.listdir("/proc") if name.isdigit() and _end(pid := int(name), wanted)]
        if not found:
            return True
    return False


def _end(pid: int, wanted: bytes) -> bool:
    """Kill it if it carries the mark. -> did it?"""
    try:
        descriptor = os.pidfd_open(pid)  # first, so that what is read and what is killed is one process
    except OSError:
        return False
    try:
        if wanted not in _environment(pid).split(b"\0"):
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except OSError:
        return False  # gone meanwhile, or another user's
    finally:
        os.close(descriptor)
    return True


def _environment(pid: int) -> bytes:
    """What it started with. Between the old and the new program of an ``exec`` it reads as empty for a moment, as it
    does for ever where it was cleared: looked at again. Kernel threads and zombies have no program: not waited for."""
    for _ in range(_EXEC_LOOKS):
        with open(f"/proc/{pid}/environ", "rb") as stream:
            if environment := stream.read():
                return environment
        os.readlink(f"/proc/{pid}/exe")  # fails without a program
        time.sleep(_EXEC_S)
    return b""
