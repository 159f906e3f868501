"""The session lock: at most one run writes a session's transcript at a time.

    with SessionLock(session_file, timeout=10.0) as held:
        with held.section():
            ...  # one append

Blocking and asyncio callers share everything but the driver. Not re-entrant unless asked: two SessionLock objects
exclude each other even in one thread.
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import ClassVar

from lockjaw.clock import Clock, surrounding_clock
from lockjaw.errors import LocalError, LockLost
from lockjaw.history.recorder import Recorder
from lockjaw.locking.catalogue import LOCK_ALGORITHMS, Granted
from lockjaw.locking.held_lock import FAILURES, HeldLock, Port
from lockjaw.locking.host import THIS_HOST, Host
from lockjaw.locking.lock_report import SILENT, LockReport
from lockjaw.locking.operations import Handle
from lockjaw.locking.request import LockRequest
from lockjaw.locking.subject import FILE, SESSION, Subject

# A release, an append or a fence waits that long for another's section: an append with its flush takes
# milliseconds. The real floor keeps a small time scale from calling a slow disk a frozen owner.
_SECTION_WAIT_S = 2.0
_SECTION_WAIT_FLOOR_REAL_S = 0.25
_OVERTAKE_S = 0.25  # a waiter that does not come for a free lock is paused, or this machine is very busy


#: The request of an object's acquires; where locks are made afresh for each turn, that of the one before.
_usual_request = lru_cache(maxsize=64)(LockRequest)


@lru_cache(maxsize=8)
def _patience(scale: float) -> tuple[float, float]:
    """How long for the section, and for the first waiter; nominal seconds, under a clock's scale."""
    floor_s = _SECTION_WAIT_FLOOR_REAL_S / scale
    return max(_SECTION_WAIT_S, floor_s), max(_OVERTAKE_S, floor_s)


def _whoever() -> object:
    """The thread, and the task in it, that runs this."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return threading.get_ident(), task


def _seconds(what: str, value: object) -> float:
    """Raises LocalError: that is no duration."""
    # A tuple: the union of two types is made anew with each call.
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not value >= 0:
        raise LocalError(f"{what} must be a number of nominal seconds, 0 or more, got {value!r:.80}")
    return value


class _Attempt:
    """One acquire or fence. ``mine``: what it opened; ``before``: how often this object held the lock before."""

    __slots__ = ("before", "fences", "mine", "request")

    def __init__(self, request: LockRequest, before: int, fences: bool) -> None:
        self.request, self.before, self.fences = request, before, fences
        self.mine: list[Handle] = []


class SessionLock:
    """The write lock of one session. May be used again after a release, but not while it is held.

    Args:
        session_file: the transcript; the lock lies beside it. A symbolic link leads to the lock of its target.
        timeout: how long an acquire waits, in nominal seconds; None for the algorithm's own (guarded and
            coarse-60s 60, coarse 10). 0 tries once, ``math.inf`` waits for ever; coarse with 0 never tries.
        algorithm: a name of ``LOCK_ALGORITHMS``.
        clock: nominal time; the surrounding harness run's by default.
        recorder: hears ``lock``, ``lock.release``, ``lock.fence`` and ``lock.lost``.
        owner: a label for those records.
        max_hold_s: nominal seconds; ``math.inf``: no limit. The lock file says so, and after that a watchdog stops the
            holder: ours gives the lock back and refuses every later append; the coarse ones give it away while the
            holder goes on.
        reentrant: the thread (in asyncio the task) that holds this object's lock may acquire it again, and gives it
            back with as many releases. With the coarse algorithms: this process may, through any object (2026.4.8
            always did).
        host: the process that takes the lock; this one.

    Raises:
        LocalError: an unknown algorithm, a name of no file, or what is no number of seconds.
    """

    _subject: ClassVar[Subject] = SESSION

    def __init__(
        self,
        session_file: str | os.PathLike[str],
        *,
        timeout: float | None = None,
        algorithm: str = "guarded",
        clock: Clock | None = None,
        recorder: Recorder | None = None,
        owner: str = "",
        max_hold_s: float = 300.0,
        reentrant: bool = False,
        host: Host = THIS_HOST,
    ) -> None:
        if algorithm not in LOCK_ALGORITHMS:
            raise LocalError(f"unknown lock algorithm {algorithm!r}; known: {', '.join(LOCK_ALGORITHMS)}")
        self._algorithm = LOCK_ALGORITHMS[algorithm]
        self._timeout_s = self._algorithm.timeout_s if timeout is None else _seconds("a lock timeout", timeout)
        _seconds("max_hold_s", max_hold_s)
        self._host, self._paths = host, host.paths(session_file)
        self._clock = clock or surrounding_clock()
        self._report = SILENT if recorder is None else LockReport(recorder, self._paths.lock, owner, self._clock)
        self._port = Port(self._algorithm, host, self._clock, self._report, self._paths, max_hold_s, owner)
        self._reentrant = reentrant
        self._held: list[HeldLock] = []
        self._entered = 0  # how often more than once ...
        self._taker: object = None  # ... and by whom
        self._request: LockRequest | None = None
        self._limit_real_s = self._clock.real_s(max_hold_s)
        patience = _patience(self._clock.real_s(1.0))
        self._terms = (self._timeout_s, max_hold_s, reentrant, *patience, owner, self._subject)

    @property
    def path(self) -> Path:
        """The lock file, which others see while the lock is held."""
        return Path(self._paths.lock)

    @property
    def is_locked(self) -> bool:
        """This object holds the lock. (Who holds it otherwise: ``inspect_lock``.)"""
        held = self._held[-1] if self._held else None
        return held is not None and not held.belongs_to_parent and not held.is_over

    def acquire(self, timeout: float | None = None, *, blocking: bool = True) -> HeldLock:
        """Wait for the lock and take it. ``with lock.acquire(timeout=1.0) as held:`` gives it back.

        Args:
            timeout: nominal seconds to wait, this time; None: the object's own.
            blocking: False: try once, as with a timeout of 0.

        Raises:
            SessionLocked: it was not free before the deadline. Never a model failure.
            LockStateError: what lies there cannot be waited for.
            OSError: the disk is full, the folder may not be written, ...
            LocalError: this object holds it already and is not re-entrant, or both a timeout and ``blocking=False``.
        """
        if (self._held or timeout is not None) and (again := self._again(timeout, blocking)) is not None:
            return again
        attempt = self._begin(timeout, blocking)
        try:
            return self._hold(
                attempt, self._host.run(self._clock, self._algorithm.acquire, attempt.request, attempt.mine)
            )
        except BaseException as error:
            self._give_up(attempt, error)
            raise

    async def acquire_async(self, timeout: float | None = None, *, blocking: bool = True) -> HeldLock:
        """As ``acquire``. Cancelling gives up the wait and leaves no trace."""
        if (self._held or timeout is not None) and (again := self._again(timeout, blocking)) is not None:
            return again
        attempt = self._begin(timeout, blocking)
        try:
            return self._hold(
                attempt, await self._host.run_async(self._clock, self._algorithm.acquire, attempt.request, attempt.mine)
            )
        except BaseException as error:
            self._give_up(attempt, error)
            raise

    async def fence_async(self, only: int | None = None) -> HeldLock:
        """Take the lock from a live owner of ours: whatever it appends from now on is refused.

        An owner that is gone meanwhile is no error: then this is an acquire. Cancelling leaves no trace; an
        interruption (Ctrl-C) leaves the lock to its owner or, if that is overruled already, free.

        Args:
            only: overrule nobody but the owner of this generation (``LockView.generation``); None: whoever has it.

        Raises:
            OwnerChanged: another owner has it by now. Look again, and wait for that one as for any other.
            LockStateError: the owner is foreign, or another process stands still while it overrules.
        """
        attempt = self._begin(fences=True)
        try:
            return self._hold(
                attempt,
                await self._host.run_async(self._clock, self._algorithm.fence, attempt.request, attempt.mine, only),
            )
        except BaseException as error:
            self._give_up(attempt, error)
            raise

    def release(self) -> None:
        """Give the lock back; a re-entrant one with the last of its releases. No error if it is no longer held
        (fenced, lost, or released by a signal).

        An interruption (Ctrl-C) passes on when nothing of the lock is left.
        """
        if self._held and not (self._entered and self._is_entered_still()):
            held = self._held[-1]
            try:
                held._release()
            except BaseException as error:
                held._abandon(error)
                raise
            finally:
                self._forget(held)

    async def release_async(self) -> None:
        """As ``release``. A cancellation waits until the lock is given back."""
        if self._held and not (self._entered and self._is_entered_still()):
            held = self._held[-1]
            try:
                await held._release_async()
            except BaseException as error:
                held._abandon(error)
                raise
            finally:
                self._forget(held)

    def _forget(self, held: HeldLock) -> None:
        try:
            self._held.remove(held)
        except ValueError:
            pass  # another thread gave it back, too

    def __enter__(self) -> HeldLock:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    async def __aenter__(self) -> HeldLock:
        return await self.acquire_async()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.release_async()

    def _again(self, timeout: float | None, blocking: bool) -> HeldLock | None:
        """What this object holds, entered once more by the thread (and task) that took it; None: it is to be taken."""
        if timeout is not None:
            _seconds("a lock timeout", timeout)
            if not blocking:
                raise LocalError(f"blocking=False waits for nothing, so it takes no timeout, got timeout={timeout!r}")
        if not self._held or not self._reentrant or self._algorithm.can_reenter or self._taker != _whoever():
            return None
        held = self._held[-1]
        if held.belongs_to_parent:
            return None
        if held.is_over:
            raise LockLost(self._paths.session, held.generation, "it was released")
        self._entered += 1
        return held

    def _is_entered_still(self) -> bool:
        """One release of several, in an object that was acquired again."""
        if not self._held[-1].belongs_to_parent:
            self._entered -= 1
            return True
        return False

    def _begin(self, timeout: float | None = None, blocking: bool = True, *, fences: bool = False) -> _Attempt:
        if self._held and self._held[-1].belongs_to_parent:
            self._held.clear()
            self._entered = 0
        if self._held and not (self._reentrant and self._algorithm.can_reenter):
            raise LocalError(
                f"{self._paths.lock}: this {type(self).__name__} holds the lock already; use another object in "
                "each thread and task"
            )
        me = self._host.identity()
        if self._request is None or self._request.process is not me:
            self._request = _usual_request(self._paths, me, self._host.holds.registry, *self._terms)
        request = self._request
        if timeout is not None or not blocking:
            request = replace(request, timeout_s=timeout or 0.0)
        if self._report.heard and not fences:
            self._report.acquiring(request.timeout_s)
        return _Attempt(request, len(self._held), fences)

    def _hold(self, attempt: _Attempt, grant: Granted) -> HeldLock:
        held = HeldLock(self._port, grant, attempt.request.process, self)
        holds = self._host.holds
        self._held.append(held)
        holds.add(held)
        if self._reentrant:
            self._taker = _whoever()
        if self._report.heard:
            if attempt.fences and grant.fenced:
                self._report.fenced(grant)
            else:
                self._report.acquired(grant)
        if self._algorithm.watchdog == "thread" and self._limit_real_s < math.inf:
            holds.limit(held, self._limit_real_s)
        elif self._algorithm.watchdog == "sweep":
            holds.sweep(self._clock)
        return held

    def _give_up(self, attempt: _Attempt, error: BaseException) -> None:
        """An acquire or a fence failed. If that was no failure of its own but an interruption (Ctrl-C, an exception of
        a signal handler), the lock may have been granted, and the caller has nothing to release it with."""
        if len(self._held) > attempt.before:
            held = self._held.pop()
            self._host.holds.add(held)  # if it did not come as far
            held._release()
            return
        if not isinstance(error, FAILURES):
            self._host.run(self._clock, self._algorithm.give_up, attempt.request, attempt.mine)
        if attempt.fences:
            self._report.not_fenced(error)
        else:
            self._report.refused(error)


class FileLock(SessionLock):
    """The same lock for any file: ``FileLock("state.json")`` keeps other writers from ``state.json``.

    Its arguments are SessionLock's. Name the file that is written, not a lock file: ``state.json.lock`` and the guard
    beside it are the lock's own. OpenClaw knows nothing of it unless the file is a transcript. A wait in vain raises
    FileLocked, a SessionLocked that speaks of a file. A folder that does not exist is made (mode 0700).
    """

    _subject = FILE
