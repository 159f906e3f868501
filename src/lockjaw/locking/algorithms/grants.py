"""What a grant of the guarded lock is, and how it ends."""

from __future__ import annotations

from typing import NamedTuple

from lockjaw.locking.guard_record import GuardState
from lockjaw.locking.operations import Handle, Identity
from lockjaw.locking.request import LockRequest

__all__ = ["GuardedGrant", "Place", "Released", "Superseded", "same_grant"]


class Place(NamedTuple):
    """A place in the queue. ``bell`` is None where there are none."""

    ticket: int
    bell: Handle | None


class GuardedGrant(NamedTuple):
    """Held. ``guard`` carries the owner's byte.

    Args:
        apart: the lock file, open, where it is not the guard's body file.
        identity: of the lock file.
        state: what the guard says since this grant.
        place: the one it waited at, if it waited.
        reclaimed: why the previous owner counted as dead, or empty.
        fenced: the live generation that this grant was raised over, or 0.
    """

    request: LockRequest
    guard: Handle
    apart: Handle | None
    identity: Identity
    generation: int
    state: GuardState
    place: Place | None = None
    reclaimed: str = ""
    fenced: int = 0


class Released(NamedTuple):
    """``removed``: the lock file was ours and is gone. ``lost``: a foreign program had removed or replaced it."""

    removed: bool
    lost: bool = False


class Superseded(Exception):
    """The section was entered by a holder that holds no longer. ``current`` equals its own generation if no
    newer one was granted: then the lock file was taken away from outside."""

    def __init__(self, current: int) -> None:
        self.current = current
        super().__init__(current)


def same_grant(one: GuardState, other: GuardState) -> bool:
    return one.generation == other.generation and one.epoch == other.epoch
