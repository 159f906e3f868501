"""What a lock algorithm is asked for, and the table of the coarse locks that a process holds."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from functools import lru_cache

from lockjaw.locking.guard_record import GuardRecord, label, signature
from lockjaw.locking.identity import ProcessIdentity
from lockjaw.locking.operations import Handle
from lockjaw.locking.owner_record import OwnerRecord, body_parts
from lockjaw.locking.paths import LockPaths
from lockjaw.locking.subject import SESSION, Subject

__all__ = ["Hold", "LockRequest", "Registry"]


@dataclass(eq=False)
class Hold:
    """One lock file held by this process, ``count`` times."""

    path: str
    handle: Handle
    acquired_at: float
    max_hold_s: float
    count: int = 1


@dataclass(eq=False)
class Registry:
    """What one process holds by the coarse algorithms. Upstream has one per process; so have we."""

    holds: dict[str, Hold] = field(default_factory=dict)
    # Re-entrant: a signal handler that releases everything may interrupt the thread that is inside.
    _mutex: threading.RLock = field(default_factory=threading.RLock)

    def reenter(self, path: str) -> Hold | None:
        with self._mutex:
            hold = self.holds.get(path)
            if hold is not None:
                hold.count += 1
            return hold

    def enter(self, hold: Hold) -> None:
        with self._mutex:
            self.holds[hold.path] = hold

    def leave(self, hold: Hold, *, force: bool = False) -> bool:
        """Count one release. True if the file is to be removed now; False when it is held on, or was already
        given away (by the watchdog)."""
        with self._mutex:
            if self.holds.get(hold.path) is not hold:
                return False
            hold.count -= 1
            if hold.count > 0 and not force:
                return False
            del self.holds[hold.path]
            return True


@dataclass(slots=True, eq=False)
class LockRequest:
    """What an acquire needs to know, the same each time. Durations in nominal seconds.

    Args:
        registry: of the process.
        section_wait_s: how long a release, an append or a fence waits for the section.
        owner: what the holder calls itself (a run id).
        overtake_s: how long a free lock waits for the first waiter before the next one takes it.
        subject: what the lock guards, for its errors.

    Attributes:
        body: the lock file's bytes before and after the instant of the grant.
        signature: the same of the guard's record.
    """

    paths: LockPaths
    process: ProcessIdentity
    registry: Registry
    timeout_s: float
    max_hold_s: float = 300.0
    reentrant: bool = False
    section_wait_s: float = 2.0
    overtake_s: float = 0.25
    owner: str = ""
    subject: Subject = SESSION
    body: tuple[bytes, bytes] = field(init=False)
    signature: tuple[bytes, bytes] = field(init=False)

    def __post_init__(self) -> None:
        me = self.process
        self.body, self.signature = _texts(me.pid, me.starttime, me.pid_namespace, self.max_hold_s, self.owner)


@lru_cache(maxsize=64)
def _texts(
    pid: int, starttime: int | None, pid_namespace: int | None, max_hold_s: float, owner: str
) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    """What a lock file and a guard's record say of an owner around the instant of a grant. The same objects for the
    same owner: so a lock that is made afresh for each turn may use the generations that the one before it reserved."""
    named = OwnerRecord(
        pid, None, starttime, None if math.isinf(max_hold_s) else round(max_hold_s * 1000), pid_namespace
    )
    return body_parts(named), signature(GuardRecord(pid, starttime, pid_namespace, owner=label(owner)))
