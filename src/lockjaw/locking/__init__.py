"""The session write lock: algorithms that yield where they wait, drivers, and the lock that people use."""

from lockjaw.errors import Fenced, FileLocked, LockLost, LockStateError, OwnerChanged, SessionLocked
from lockjaw.locking.catalogue import LOCK_ALGORITHMS
from lockjaw.locking.held_lock import HeldLock
from lockjaw.locking.inspection import LockView, inspect_lock
from lockjaw.locking.process_holds import release_all_held, release_on_signals
from lockjaw.locking.session_lock import FileLock, SessionLock

__all__ = [
    "LOCK_ALGORITHMS",
    "Fenced",
    "FileLock",
    "FileLocked",
    "HeldLock",
    "LockLost",
    "LockStateError",
    "LockView",
    "OwnerChanged",
    "SessionLock",
    "SessionLocked",
    "inspect_lock",
    "release_all_held",
    "release_on_signals",
]
