"""The session lock of a run that writes: where the section is never free, the run takes the lock anew.

An append waits 2 s for the section, on the thread of the event loop. Another process of ours may stand still inside it:
an owner that was overruled, woke up, and froze again while it gave back a lock that is no longer its own. The lock is
ours by its generation already, and no generation moves a frozen process. So the run does what a takeover does with an
owner that is frozen inside its append: it puts a new guard in the place of the old one, with the next generation, and
writes under that.

Who it is that stands still there is not known. It may be a process that is about to overrule *us*, and is not to be
overruled for that: so we give it time, look whether we still have the lock, and try once more. A gateway's run does no
more than that: what it meets is most likely its own client, which goes on with the turn. Nobody overrules a run in a
client's own process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from lockjaw.clock import Clock
from lockjaw.errors import Fenced, LockStateError, OwnerChanged
from lockjaw.locking import HeldLock, SessionLock
from lockjaw.sessions import Transcript

__all__ = ["SessionHold"]

T = TypeVar("T")
WAKES_WITHIN_S = 8.0  # with the two waits of 2 s around it as long as a takeover waits for an owner


class SessionHold:
    """What a run holds of its session.

    Args:
        held: the lock, as it was taken; the code that took it gives it back.
        another: makes a lock object for the same session; None: this run may not take the lock anew.
        clock: nominal time.
        log: gets one line when the lock is taken anew.

    Attributes:
        held: the lock as it is now.
    """

    def __init__(
        self, held: HeldLock, *, another: Callable[[], SessionLock] | None, clock: Clock, log: Callable[[str], None]
    ) -> None:
        self.held = held
        self._another, self._clock, self._log = another, clock, log

    async def perform(self, work: Callable[[], Awaitable[T]], transcript: Transcript | None = None) -> T:
        """Perform work that writes inside the section: once more, under a new guard, if the section was not to be had.

        Args:
            work: writes nothing before it has the section.
            transcript: what it writes to, if that is open.

        Raises:
            Fenced: another process has the session by now. LockStateError: the section is not to be had.
        """
        try:
            return await work()
        except LockStateError:
            if not self.held.generation:
                raise
        await self._clock.sleep(WAKES_WITHIN_S)
        self.held.verify()
        try:
            return await work()
        except LockStateError as stuck:
            if self._another is None:
                raise
            await self._take_anew(stuck, self._another)
        if transcript is not None:
            await transcript.continue_under(self.held.section, self.held.generation)
        return await work()

    async def _take_anew(self, stuck: LockStateError, another: Callable[[], SessionLock]) -> None:
        before = self.held
        before.verify()
        try:
            now = await another().fence_async(only=before.generation)
        except OwnerChanged as other:  # it overruled us in this very moment
            raise Fenced(stuck.path, before.generation, other.current) from None
        except LockStateError:
            raise stuck from None
        if not now.overruled:  # it did, and has given the session back since
            await now.release_async()
            raise Fenced(stuck.path, before.generation, now.generation)
        self.held = now
        self._log(
            f"[session-lock] a process stands still inside the section of {stuck.path}; going on under a new guard"
        )
        await before.release_async()

    async def end(self, first: HeldLock) -> None:
        """Give back what was taken anew. ``first``: the one that its taker gives back."""
        if self.held is not first:
            await self.held.release_async()
