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
from lockjaw.locking.request import LockRequest

TIMEOUT_S = 60.0
_POLL_S = 0.05  # what filelock polls at


class PlainGrant(NamedTuple):
    """``unlink``: the file is the lock."""

    handle: Handle
    unlink: bool
    generation: int = 0
    reclaimed: str = ""
    fenced: int = 0


def acquire_soft(calls: Calls, request: LockRequest) -> Steps[PlainGrant]:
    """Raises SessionLocked that names no owner: the file does not tell."""
    calls.make_directory(os.path.dirname(request.paths.lock))
    start = calls.now()
    while True:
        try:
            return PlainGrant(calls.create_exclusive(request.paths.lock), unlink=True)
        except FileExistsError:
            yield from _pause(calls, request, start)


def acquire_flock(calls: Calls, request: LockRequest) -> Steps[PlainGrant]:
    calls.make_directory(os.path.dirname(request.paths.lock))
    start = calls.now()
    handle = calls.open_guard(f"{request.paths.lock}.flock")
    try:
        while not calls.lock(handle, 0):
            yield from _pause(calls, request, start)
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


def _pause(calls: Calls, request: LockRequest, start: float) -> Steps[None]:
    waited_s, timeout_s = calls.now() - start, request.timeout_s
    if waited_s >= timeout_s:
        raise SessionLocked(request.paths.lock, "unknown", timeout_s=timeout_s, waited_s=waited_s)
    yield Sleep(min(_POLL_S, timeout_s - waited_s))
