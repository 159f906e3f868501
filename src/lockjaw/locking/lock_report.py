"""What a session lock writes into the history."""

from __future__ import annotations

from lockjaw.clock import Clock, ScaledClock
from lockjaw.errors import LockStateError, SessionLocked
from lockjaw.history.recorder import NullRecorder, Phase, Recorder
from lockjaw.locking.catalogue import Granted


class LockReport:
    """The records of one SessionLock; see ``history.OPERATIONS``.

    ``lock.release`` is recorded twice: ``invoke`` before anything is removed, ``ok`` after. Until ``invoke``
    the holder relies on the lock, and a successor's ``lock`` record can only come later than that.

    Attributes:
        heard: somebody listens.
    """

    def __init__(self, recorder: Recorder, path: str, owner: str, clock: Clock) -> None:
        self._recorder, self._path, self._owner, self._clock = recorder, path, owner, clock
        self._start = 0.0
        self.heard = not isinstance(recorder, NullRecorder)

    def acquiring(self, timeout_s: float) -> None:
        self._start = self._clock.monotonic()
        self._say("lock", "invoke", timeout_s=timeout_s)

    def acquired(self, grant: Granted) -> None:
        waited_s = self._waited_s()
        self._say("lock", "ok", generation=grant.generation, waited_s=waited_s, reclaimed=grant.reclaimed)

    def refused(self, error: BaseException) -> None:
        """``owner`` is the one in the way, as far as known."""
        kind, owner = "cancelled", "unknown"
        if isinstance(error, SessionLocked):
            kind, owner = "timeout", error.owner
        elif isinstance(error, LockStateError):
            kind = "state"
        elif isinstance(error, OSError):
            kind = "os"
        self._recorder.record(
            "lock", "fail", path=self._path, error=str(error), kind=kind, waited_s=self._waited_s(), owner=owner
        )

    def fenced(self, grant: Granted) -> None:
        self._say("lock.fence", "ok", generation=grant.generation, previous=grant.fenced)

    def not_fenced(self, error: BaseException) -> None:
        self._say("lock.fence", "fail", error=str(error))

    def over(self, generation: int, limit_s: float) -> None:
        self._say("lock.limit", generation=generation, max_hold_s=limit_s)

    def lost(self, generation: int) -> None:
        self._say("lock.lost", generation=generation)

    def releasing(self, generation: int) -> None:
        self._say("lock.release", "invoke", generation=generation)

    def released(self, generation: int, removed: bool) -> None:
        self._say("lock.release", "ok", generation=generation, removed=removed)

    def _say(self, op: str, phase: Phase = "info", **facts: object) -> None:
        self._recorder.record(op, phase, path=self._path, owner=self._owner, **facts)

    def _waited_s(self) -> float:
        return round(self._clock.monotonic() - self._start, 6) if self.heard else 0.0


#: For locks without a listener.
SILENT = LockReport(NullRecorder(), "", "", ScaledClock.start())
