"""The two locks that a program without a lock library writes itself, as rivals: ``soft`` and ``flock``.

``soft`` is a file made with O_EXCL, polled, without an owner: whoever is killed blocks everybody for ever. ``flock``
is a kernel lock on a file that stays: right about death, but it polls as every library with a timeout does, so that
nobody queues, and no other program can see it.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from lockjaw.errors import SessionLocked
from lockjaw.locking.operations import Calls, Handle, Sleep, Steps

TIMEOUT_S = 60.0
_POLL_S = 0.05  # what filelock polls at


class PlainGrant(NamedTuple):
    """``unlink``: the file is the lock."""

    handle: Handle
    unlink: bool


def acquire_soft(calls: Calls, lock_path: str, timeout_s: float) -> Steps[PlainGrant]:
    """Raises SessionLocked that names no owner: the file does not tell."""
    calls.make_directory(os.path.dirname(lock_path))
    start = calls.now()
    while True:
        try:
            return PlainGrant(calls.create_exclusive(lock_path), unlink=True)
        except FileExistsError:
            yield from _pause(calls, lock_path, start, timeout_s)


def acquire_flock(calls: Calls, lock_path: str, timeout_s: float) -> Steps[PlainGrant]:
    calls.make_directory(os.path.dirname(lock_path))
    start = calls.now()
    handle = calls.open_guard(f"{lock_path}.flock")
    try:
        while not calls.lock(handle, 0):
            yield from _pause(calls, lock_path, start, timeout_s)
    except GeneratorExit:
        raise
    except BaseException:
        calls.close(handle)
        raise
    return PlainGrant(handle, unlink=False)


def release(calls: Calls, grant: PlainGrant) -> bool:
    """-> was a lock file removed?"""
    calls.close(grant.handle)
    if grant.unlink:
        calls.unlink(grant.handle.path)
    return grant.unlink


def _pause(calls: Calls, lock_path: str, start: float, timeout_s: float) -> Steps[None]:
    waited_s = calls.now() - start
    if waited_s >= timeout_s:
        raise SessionLocked(lock_path, "unknown", timeout_s=timeout_s, waited_s=waited_s)
    yield Sleep(min(_POLL_S, timeout_s - waited_s))
