"""The two locks that a program without a lock library writes itself, as rivals: ``soft`` and ``flock``.

``soft`` is a file made with O_EXCL, polled, without an owner: whoever is killed blocks everybody for ever. ``flock``
is a kernel lock on a file that stays: right about death, but it polls as every library with a timeout does, so that
nobody queues, and no other program can see it.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from lockjaw.errors import SessionLocked
from lockjaw.locking.operations import (
    Close,
    CreateExclusive,
    Handle,
    MakeDirectory,
    Now,
    OpenGuard,
    RangeLock,
    Sleep,
    Steps,
    Unlink,
)

TIMEOUT_S = 60.0
_POLL_S = 0.05  # what filelock polls at


class PlainGrant(NamedTuple):
    """``unlink``: the file is the lock."""

    handle: Handle
    unlink: bool


def acquire_soft(lock_path: str, timeout_s: float) -> Steps[PlainGrant]:
    """Raises SessionLocked without a word about the owner: nobody knows it."""
    yield MakeDirectory(os.path.dirname(lock_path))
    start: float = yield Now()
    while True:
        try:
            handle: Handle = yield CreateExclusive(lock_path)
        except FileExistsError:
            yield from _pause(lock_path, start, timeout_s)
        else:
            return PlainGrant(handle, unlink=True)


def acquire_flock(lock_path: str, timeout_s: float) -> Steps[PlainGrant]:
    yield MakeDirectory(os.path.dirname(lock_path))
    start: float = yield Now()
    handle: Handle = yield OpenGuard(f"{lock_path}.flock")
    try:
        while not (yield RangeLock(handle, 0)):
            yield from _pause(lock_path, start, timeout_s)
    except GeneratorExit:
        raise
    except BaseException:
        yield Close(handle)
        raise
    return PlainGrant(handle, unlink=False)


def release(grant: PlainGrant) -> Steps[bool]:
    """-> was a lock file removed?"""
    yield Close(grant.handle)
    if grant.unlink:
        yield Unlink(grant.handle.path)
    return grant.unlink


def _pause(lock_path: str, start: float, timeout_s: float) -> Steps[None]:
    waited_s = (yield Now()) - start
    if waited_s >= timeout_s:
        raise SessionLocked(lock_path, "unknown", timeout_s=timeout_s, waited_s=waited_s)
    yield Sleep(min(_POLL_S, timeout_s - waited_s))
