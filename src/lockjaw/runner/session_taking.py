"""The session's lock in a fallback: who has it, the wait for it, its owner overruled.

Performs ``Look``, ``TakeLock`` and ``Fence`` of ``runner/policy.py``, which decides when. The policy names the
generation that is overruled: an owner that was granted the session since is waited for as any other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lockjaw.behaviours import Behaviour
from lockjaw.clock import Clock
from lockjaw.errors import LockStateError, OwnerChanged, SessionLocked
from lockjaw.history import Recorder
from lockjaw.locking import HeldLock, LockView, SessionLock, inspect_lock
from lockjaw.runner.embedded import hold_limit_s
from lockjaw.runner.machine import Machine
from lockjaw.runner.policy import LOCK_BOUND_S, Fence, LockReply, TakeLock

__all__ = ["Session", "SessionTaking", "has_gone", "in_the_way"]

LOCK_TRIES = 2  # more, for a lock that looks free each time when its wait is over


@dataclass(frozen=True)
class Session:
    """Which conversation is asked."""

    key: str
    session_id: str
    agent_id: str


class SessionTaking:
    """The lock of one fallback.

    Args:
        file: where a session's transcript is.
        moved: the session to which the key of one leads now.
        turn_s: how long the turn may take; nominal seconds.
        say: prints one line for the user on stderr.

    Attributes:
        session: whose lock was waited for last: another one than was asked for, if the conversation was rotated.
        held: the lock, while it is held.
    """

    def __init__(
        self,
        behaviour: Behaviour,
        *,
        file: Callable[[Session], Path],
        moved: Callable[[Session], Session],
        turn_s: float,
        clock: Clock,
        recorder: Recorder,
        machine: Machine,
        say: Callable[[str], None],
    ) -> None:
        self.behaviour, self.clock, self.recorder, self.machine = behaviour, clock, recorder, machine
        self._file, self._moved, self._turn_s, self._say = file, moved, turn_s, say
        self.session: Session | None = None
        self.held: HeldLock | None = None
        self._lock: SessionLock | None = None

    def made(self, session: Session, timeout_s: float, run_id: str) -> SessionLock:
        """A lock object for the session."""
        path = self._file(session)
        self.machine.files.make_folder(path.parent)
        return SessionLock(
            path, timeout=timeout_s, algorithm=self.behaviour.lock_algorithm, clock=self.clock,
            recorder=self.recorder, owner=run_id, max_hold_s=hold_limit_s(self._turn_s), host=self.machine.locks,
        )  # fmt: skip

    def look(self, session: Session, run_id: str) -> LockReply:
        """Who has it? Waits for nothing."""
        view = self._view(session)
        return in_the_way(view, run_id) if view.exists and view.alive else LockReply(False)

    async def take(self, effect: TakeLock, session: Session, run_id: str, tries: int = LOCK_TRIES) -> LockReply:
        """Wait for it, bounded."""
        self.session, self._lock = session, self.made(session, effect.bound_s, run_id)
        before = self._view(session)
        try:
            self.held = await self._lock.acquire_async()
            if self.behaviour.follows_rotation and (moved := self._moved(session)) != session:
                # The conversation was rotated while we waited: its lock is the new transcript's.
                await self.give_back()
                return await self.take(effect, moved, run_id)
        except (SessionLocked, LockStateError):
            view = self._view(session)
            if tries and has_gone(before, view):
                return await self.take(effect, session, run_id, tries - 1)
            return in_the_way(view, run_id, moved_on=view.ours and view.generation != before.generation)
        dead = before.exists and before.alive is False
        return LockReply(True, reclaimed=dead, owner=f"dead process {before.pid}" if dead else "")

    async def fence(self, effect: Fence, session: Session, run_id: str, tries: int = LOCK_TRIES) -> LockReply:
        """Overrule the owner of one generation."""
        assert self._lock is not None, "TakeLock comes first"
        try:
            self.held = await self._lock.fence_async(only=effect.generation)
        except (LockStateError, SessionLocked) as error:
            view = self._view(session)
            if not view.in_transit and (not view.exists or view.alive is False):
                # Its owner woke up in the middle of our overruling it, and gave it back: no reason for a fork.
                return await self.take(TakeLock(LOCK_BOUND_S), session, run_id)
            if not isinstance(error, OwnerChanged):
                return LockReply(False, owner=str(error).splitlines()[0])
            if view.owner == run_id and tries:  # our run still, which gave the session back and took it again
                return await self.fence(Fence(view.generation), session, run_id, tries - 1)
            return in_the_way(view, run_id, moved_on=True)
        return LockReply(True)

    async def give_back(self) -> None:
        """No error: the answer does not depend on it."""
        if self._lock is not None and self.held is not None:
            try:
                await self._lock.release_async()
            except OSError as error:
                self._say(f"the session could not be given back, and is free when this process has ended: {error}")
        self.held = None

    def _view(self, session: Session) -> LockView:
        return inspect_lock(self._file(session), clock=self.clock, host=self.machine.locks)


def has_gone(before: LockView, now: LockView) -> bool:
    """A wait for the lock has ended without it. Does nothing stand in the way any more?

    It was given back while we looked who has it, or this process stood still meanwhile; or the next owner is about to
    take it, and may work on another run than ours.
    """
    if now.in_transit:
        return not before.in_transit
    return not now.exists or now.alive is False


def in_the_way(view: LockView, run_id: str, *, moved_on: bool = False) -> LockReply:
    """``moved_on``: since our wait began there was another grant. One of our own run is still the same owner."""
    return LockReply(
        False,
        fenceable=(view.ours and bool(view.alive)) or view.in_transit,
        foreign_run=bool(view.owner) and view.owner != run_id,
        owner=f"process {view.pid}" if view.pid else "an unknown process",
        moved_on=moved_on and view.owner != run_id,
        generation=view.generation,
    )
