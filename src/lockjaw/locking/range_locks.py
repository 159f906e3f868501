"""Exclusive locks on bytes of a file that die with their process.

On Linux: open-file-description locks. They belong to the open file description, so two handles of one
process exclude each other and closing some other descriptor of the file drops nothing (classic fcntl locks
fail on both counts). Elsewhere on POSIX: ``flock`` on one small file per byte beside the guard (owners share
eight of them, which the generations take in turn); a test there is a short shared lock and may make another
process's attempt fail once, which costs it one more poll. There are no tickets there: nobody can lock one, nobody
sees one locked, and waiters poll in no order.

On Windows: ``LockFileEx``, whose locks belong to the handle. There are tickets, so there is order; a test is a short
shared lock there, too, and no waiter is rung, so waiters poll.

Where a test is a lock, a process that is paused in the middle of one (some microseconds of each poll) keeps the others
from what it tests until it goes on or dies. They wait for that until their deadlines; no two are let in.

A file system without such locks (some NFS, 9p and FUSE mounts) fails closed with LockStateError.
"""

from __future__ import annotations

import errno
from _thread import RLock as _RLock
from typing import Protocol

from lockjaw.errors import LockStateError
from lockjaw.locking.operations import Handle
from lockjaw.locking.system import os

_NO_LOCKS_HERE = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

#: Held while a descriptor that may carry a lock comes or goes, and by a thread that forks: a child knows every one that
#: it was born with, and closes it. One that it did not know would keep its parent's locks beyond the parent's death.
COMING_AND_GOING = _RLock()

os.register_at_fork(
    before=COMING_AND_GOING.acquire,
    after_in_parent=COMING_AND_GOING.release,
    after_in_child=COMING_AND_GOING.release,
)


class RangeLocks(Protocol):
    def lock(self, handle: Handle, offset: int) -> bool: ...
    def unlock(self, handle: Handle, offset: int) -> None: ...
    def locked_elsewhere(self, handle: Handle, offset: int, length: int = 1) -> bool: ...
    def first_locked(self, handle: Handle, offset: int, length: int) -> int | None: ...
    def closed(self, handle: Handle) -> None: ...
    def unlock_all(self, handle: Handle) -> bool:
        """Drop every lock of an open handle. -> may its descriptor serve another handle?"""


def refuse_unsupported(handle: Handle, error: OSError) -> None:
    if error.errno in _NO_LOCKS_HERE:
        raise unsupported(handle, error) from error


def unsupported(handle: Handle, error: OSError) -> LockStateError:
    return LockStateError(
        handle.path,
        error.strerror,
        "this file system has no locks that end with their process; keep the state folder on a local one",
    )
