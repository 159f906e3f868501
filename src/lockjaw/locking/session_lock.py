"""The session lock: at most one run writes a session's transcript at a time.

    with SessionLock(session_file, timeout=10.0) as held:
        with held.section():
            ...  # one append

Blocking and asyncio callers share everything but the driver. Not re-entrant unless asked (and then only by
upstream's algorithms): two SessionLock objects exclude each other even in one thread.
"""

from __future__ import annotations

import asyncio
import math
import os
from _thread import RLock as _RLock
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from lockjaw.clock import Clock, ScaledClock
from lockjaw.errors import Fenced, LocalError, LockLost, LockStateError, SessionChanged, SessionLocked
from lockjaw.history.recorder import NullRecorder, Recorder
from lockjaw.locking.algorithms.guarded import Released, Superseded
from lockjaw.locking.algorithms.released_for_prompt import Fingerprint
from lockjaw.locking.catalog import LOCK_ALGORITHMS, Granted, Order, ReleasedForPrompt
from lockjaw.locking.host import THIS_HOST, Host
from lockjaw.locking.identity import ProcessIdentity
from lockjaw.locking.operations import Handle, PrintError, Steps

# A release, an append or a fence waits that long for another's section: an append with its flush takes
# milliseconds. The real floor keeps a small time scale from calling a slow disk a frozen owner.
_SECTION_WAIT_S = 2.0
_SECTION_WAIT_FLOOR_REAL_S = 0.25
_FAILURES = (OSError, LocalError, asyncio.CancelledError, GeneratorExit)  # and no interruptions
_OVERTAKE_S = 0.25  # a waiter that does not come for a free lock is paused, or this machine is very busy


class _Report:
    """The records of one SessionLock; see ``history.OPERATIONS``.

    ``lock.release`` is recorded twice: ``invoke`` before anything is removed, ``ok`` after. Until ``invoke``
    the holder relies on the lock, and a successor's ``lock`` record can only come later than that.
    """

    def __init__(self, recorder: Recorder, path: str, owner: str, clock: Clock) -> None:
        self._recorder, self.path, self._owner, self._clock = recorder, path, owner, clock
        self._start = 0.0
        self.heard = not isinstance(recorder, NullRecorder)

    def acquiring(self, timeout_s: float) -> None:
        self._start = self._clock.monotonic()
        self._recorder.record("lock", "invoke", path=self.path, owner=self._owner, timeout_s=timeout_s)

    def acquired(self, grant: Granted) -> None:
        self._recorder.record(
            "lock",
            "ok",
            path=self.path,
            owner=self._owner,
            generation=grant.generation,
            waited_s=self._waited_s(),
            reclaimed=grant.reclaimed,
        )

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
            "lock", "fail", path=self.path, error=str(error), kind=kind, waited_s=self._waited_s(), owner=owner
        )

    def fenced(self, grant: Granted) -> None:
        self._recorder.record(
            "lock.fence",
            "ok",
            path=self.path,
            owner=self._owner,
            generation=grant.generation,
            previous=grant.fenced,
        )

    def not_fenced(self, error: BaseException) -> None:
        self._recorder.record("lock.fence", "fail", path=self.path, owner=self._owner, error=str(error))

    def over(self, generation: int, limit_s: float) -> Steps[None]:
        self._recorder.record(
            "lock.limit", path=self.path, owner=self._owner, generation=generation, max_hold_s=limit_s
        )
        who = f" by {self._owner}" if self._owner else ""
        yield PrintError(
            f"lockjaw: {self.path} was held{who} for longer than its limit of {limit_s:g} s (generation {generation}); "
            "this holder was stopped and may not write any more"
        )

    def lost(self, generation: int) -> None:
        self._recorder.record("lock.lost", path=self.path, owner=self._owner, generation=generation)

    def releasing(self, generation: int) -> None:
        self._recorder.record("lock.release", "invoke", path=self.path, owner=self._owner, generation=generation)

    def released(self, generation: int, removed: bool) -> None:
        self._recorder.record(
            "lock.release", "ok", path=self.path, owner=self._owner, generation=generation, removed=removed
        )

    def _waited_s(self) -> float:
        return round(self._clock.monotonic() - self._start, 6)


class HeldLock:
    """A lock that is held. Made by SessionLock.

    Attributes:
        generation: rises with every grant of this session's lock; 0 for algorithms without generations.
        path: the lock file.
        reclaimed: why the previous owner counted as dead; empty if the lock was free.
    """

    __slots__ = (
        "_before",
        "_depth",
        "_grant",
        "_lock",
        "_me",
        "_mutex",
        "_over",
        "_released",
        "due_real_s",
        "generation",
        "reclaimed",
    )

    def __init__(self, lock: SessionLock, grant: Granted, me: ProcessIdentity) -> None:
        self.generation = grant.generation
        self.reclaimed = grant.reclaimed
        self._lock, self._me = lock, me
        self._grant: Any = grant
        self._released = self._over = False
        self._depth = 0
        self._before: Fingerprint | None = None
        self._mutex = _RLock()
        self.due_real_s = math.inf

    @property
    def path(self) -> Path:
        return Path(self._lock._report.path)

    def __repr__(self) -> str:
        return f"HeldLock({str(self.path)!r}, generation={self.generation})"

    @contextmanager
    def section(self) -> Iterator[None]:
        """One append: nobody of ours can change the lock's owner until it ends.

        Keep it short and do not await inside: fencing waits for it. Blocks the calling thread for at most
        2 nominal seconds (0.25 real ones at least), normally for microseconds. Threads that share this
        HeldLock take turns; nesting in one thread is fine.

        Raises:
            Fenced: a newer generation was granted.
            LockLost: the lock file was taken away from outside, or the lock was released.
            LockStateError: another process is paused inside the section, or this is a fork of the holder.
        """
        if self.belongs_to_parent:
            raise LockStateError(
                str(self.path), f"pid={self._me.pid}", "a forked child does not hold its parent's lock"
            )
        with self._mutex:
            if self._depth == 0:
                self._enter()
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0 and not self._released:
                    self._lock._host.run(self._lock._algorithm.leave(self._grant), self._lock._clock)

    @property
    def belongs_to_parent(self) -> bool:
        """This process is a fork of the holder: it holds nothing."""
        return self._me is not self._lock._host.identity()

    def stop_at_limit(self) -> bool:
        """The hold limit is over: give the lock back, so that this holder may not write any more, and say so.

        Called by the watchdog, in its own thread. -> False: an append is being written; try again.
        """
        if not self._mutex.acquire(blocking=False):
            self._over = True  # no further append after this one
            return False
        try:
            if self._begin_release():
                self._over = True
                lock = self._lock
                lock._host.run(lock._report.over(self.generation, lock._max_hold_s), lock._clock)
                self._give_back()
        finally:
            self._mutex.release()
        return True

    def release_at_exit(self) -> None:
        """Release without regard to threads that are inside the section: the process is about to end."""
        if self._begin_release():
            self._give_back()

    @property
    def suspends(self) -> bool:
        """The algorithm gives the lock back while a model works: ``suspend_async`` and ``resume_async``."""
        return isinstance(self._lock._algorithm, ReleasedForPrompt)

    async def suspend_async(self) -> None:
        """Give the lock back for the length of a prompt."""
        assert isinstance(self._lock._algorithm, ReleasedForPrompt)
        self._lock._report.releasing(self.generation)
        self._before = await self._lock._host.run_async(
            self._lock._algorithm.suspend(self._grant), self._lock._clock, defer_cancel=True
        )
        self._lock._report.released(self.generation, removed=True)

    async def resume_async(self) -> None:
        """Take the lock again after the prompt. (Whether this hold was given back for good meanwhile, nobody asks.)

        Raises:
            SessionChanged: the transcript was written to. The lock is held, and may be given back.
            SessionLocked: the lock was not to be had, and is not held.
        """
        assert isinstance(self._lock._algorithm, ReleasedForPrompt)
        self._lock._report.acquiring(self._grant.order.timeout_s)
        try:
            assert self._before is not None
            resumed = self._lock._algorithm.resume(self._grant, self._before)
            self._grant, unchanged = await self._lock._host.run_async(resumed, self._lock._clock)
        except BaseException as error:
            self._lock._report.refused(error)
            self._released = True
            raise
        self._lock._host.holds.add(self)
        self._released = False
        self._lock._report.acquired(self._grant)
        if not unchanged:
            raise SessionChanged(self._lock._paths.session)

    def _enter(self) -> None:
        if self._over:
            reason = f"its hold limit of {self._lock._max_hold_s:g} s was over, so its holder was stopped"
            raise LockLost(self._lock._paths.session, self.generation, reason)
        if self._released:
            raise LockLost(self._lock._paths.session, self.generation, "it was released")
        try:
            enter_now = self._lock._algorithm.enter_now
            if enter_now is None or not self._lock._host.straight(self._lock._clock, enter_now, self._grant):
                self._lock._host.run(self._lock._algorithm.enter(self._grant), self._lock._clock)
        except Superseded as superseded:
            if superseded.current != self.generation:
                raise Fenced(self._lock._paths.session, self.generation, superseded.current) from None
            self._lock._report.lost(self.generation)
            raise LockLost(
                self._lock._paths.session, self.generation, "its lock file was removed or replaced from outside"
            ) from None

    def _release(self) -> None:
        if self._me is not self._lock._host.identity():
            return  # it is our parent's, and the mutex may be a copy of one that a thread there has locked
        with self._mutex:
            if self._begin_release():
                self._give_back()

    async def _release_async(self) -> None:
        # The steps of a release are immediate but for the section, so the mutex cannot be held over an await.
        if not self._begin_release():
            return
        try:
            released = self._give_now()
            if released is None:
                steps = self._lock._algorithm.release(self._grant)
                released = await self._lock._host.run_async(steps, self._lock._clock, defer_cancel=True)
        except OSError:
            # The disk refuses to remove the file. What the holder wrote stands, and must not be told as failed
            # (#128032): nobody holds the lock any more, the freed byte says so, and the next one takes it over.
            released = Released(removed=False)
        self._end_release(released)

    def _begin_release(self) -> bool:
        lock = self._lock
        if not lock._host.holds.discard(self) or self._released:
            return False  # released before (by a signal, by the watchdog), or our parent's: a fork holds nothing
        self._released = True
        if lock._report.heard:
            lock._report.releasing(self.generation)
        return True

    def _give_back(self) -> None:
        released = self._give_now()
        if released is None:
            released = self._lock._host.run(self._lock._algorithm.release(self._grant), self._lock._clock)
        self._end_release(released)

    def _abandon(self, error: BaseException) -> None:
        """Giving the lock back failed. If that was an interruption, do what is left of it; an append comes first."""
        lock = self._lock
        if (abandon := lock._algorithm.abandon) is None or isinstance(error, _FAILURES) or self.belongs_to_parent:
            return
        with self._mutex:
            self._begin_release()
            self._released = True
            lock._host.run(abandon(self._grant), lock._clock)
        self._end_release(Released(removed=True))

    def _give_now(self) -> Released | None:
        lock = self._lock
        if (give_now := lock._algorithm.give_now) is None:
            return None
        return lock._host.straight(lock._clock, give_now, self._grant)

    def _end_release(self, released: Released) -> None:
        lock = self._lock
        if lock._algorithm.watchdog == "sweep":
            lock._host.holds.rest()
        if released.lost:
            lock._report.lost(self.generation)
        if lock._report.heard:
            lock._report.released(self.generation, released.removed)


class SessionLock:
    """The write lock of one session. May be used again after a release, but not while it is held.

    Args:
        session_file: the transcript; the lock lies beside it.
        timeout: how long an acquire waits, in nominal seconds; None for the algorithm's own (guarded and
            coarse-60s 60, coarse 10). 0 tries once, ``math.inf`` waits for ever; coarse with 0 never tries.
        algorithm: a name of ``LOCK_ALGORITHMS``.
        clock: nominal time; the surrounding harness run's by default.
        recorder: hears ``lock``, ``lock.release``, ``lock.fence`` and ``lock.lost``.
        owner: a label for those records.
        max_hold_s: nominal seconds. The lock file says so, and after that a watchdog stops the holder: ours gives the
            lock back and refuses every later append; the coarse ones give it away while the holder goes on.
        reentrant: this process may take the lock again while it holds it (coarse algorithms only; 2026.4.8
            always did).
        host: the process that takes the lock; this one.

    Raises:
        LocalError: an unknown algorithm, a negative timeout, or re-entrancy asked of an algorithm without.
    """

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
        if reentrant and not self._algorithm.can_reenter:
            raise LocalError(f"the lock algorithm {algorithm!r} is not re-entrant")
        self._timeout_s = self._algorithm.timeout_s if timeout is None else timeout
        if not self._timeout_s >= 0:
            raise LocalError(f"a lock timeout must be >= 0 nominal seconds, got {timeout!r}")
        self._host, self._paths = host, host.paths(session_file)
        self._clock = clock or ScaledClock.from_environment()
        self._report = _Report(recorder or NullRecorder(), self._paths.lock, owner, self._clock)
        self._max_hold_s, self._reentrant, self._owner = max_hold_s, reentrant, owner
        self._held: list[HeldLock] = []
        self._order: Order | None = None
        self._limit_real_s = self._clock.real_s(max_hold_s)
        floor_s = _SECTION_WAIT_FLOOR_REAL_S / self._clock.real_s(1.0)
        self._section_wait_s, self._overtake_s = max(_SECTION_WAIT_S, floor_s), max(_OVERTAKE_S, floor_s)

    def acquire(self) -> HeldLock:
        """Wait for the lock and take it.

        Raises:
            SessionLocked: it was not free before the deadline. Never a model failure.
            LockStateError: what lies there cannot be waited for.
            OSError: the disk is full, the folder may not be written, ...
            LocalError: this object holds it already.
        """
        order = self._begin()
        if self._report.heard:
            self._report.acquiring(self._timeout_s)
        before, mine = len(self._held), list[Handle]()
        try:
            grant = self._try_now(order, mine) or self._host.run(self._algorithm.acquire(order, mine), self._clock)
            held = self._hold(grant, fenced=False)
        except BaseException as error:
            self._give_up(order, mine, before, error, self._report.refused)
            raise
        return held

    async def acquire_async(self) -> HeldLock:
        """As ``acquire``. Cancelling gives up the wait and leaves no trace."""
        order = self._begin()
        if self._report.heard:
            self._report.acquiring(self._timeout_s)
        before, mine = len(self._held), list[Handle]()
        try:
            grant = self._try_now(order, mine)
            grant = grant or await self._host.run_async(self._algorithm.acquire(order, mine), self._clock)
            held = self._hold(grant, fenced=False)
        except BaseException as error:
            self._give_up(order, mine, before, error, self._report.refused)
            raise
        return held

    async def fence_async(self) -> HeldLock:
        """Take the lock from a live owner of ours: whatever it appends from now on is refused.

        An owner that is gone meanwhile is no error: then this is an acquire. Cancelling leaves no trace; an
        interruption (Ctrl-C) leaves the lock to its owner or, if he is overruled already, to nobody.

        Raises:
            LockStateError: the owner is foreign, or paused inside an append: it cannot be fenced.
        """
        order = self._begin()
        before, mine = len(self._held), list[Handle]()
        try:
            grant = await self._host.run_async(self._algorithm.fence(order, mine), self._clock)
            held = self._hold(grant, fenced=True)
        except BaseException as error:
            self._give_up(order, mine, before, error, self._report.not_fenced)
            raise
        return held

    def release(self) -> None:
        """Give the lock back. No error if it is not held any more (fenced, lost, or released by a signal).

        An interruption (Ctrl-C) passes on when nothing of the lock is left.
        """
        if self._held:
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
        if self._held:
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

    def _give_up(
        self,
        order: Order,
        mine: list[Handle],
        before: int,
        error: BaseException,
        report: Callable[[BaseException], None],
    ) -> None:
        """An acquire or a fence failed. If that was no failure of its own but an interruption (Ctrl-C, an exception of
        a signal handler), the lock may have been granted, and the caller has nothing to release it with."""
        if len(self._held) > before:
            held = self._held.pop()
            self._host.holds.add(held)  # if it did not come as far
            held._release()
            return
        if not isinstance(error, _FAILURES):
            self._host.run(self._algorithm.give_up(order, mine), self._clock)
        report(error)

    def _try_now(self, order: Order, mine: list[Handle]) -> Any:
        if (try_now := self._algorithm.try_now) is None:
            return None
        return self._host.straight(self._clock, try_now, order, mine)

    def _begin(self) -> Order:
        if self._held and self._held[-1].belongs_to_parent:
            self._held.clear()
        if self._held and not self._reentrant:
            raise LocalError(f"{self._paths.lock}: this SessionLock holds the lock already; use another object")
        me = self._host.identity()
        if self._order is None or self._order.process is not me:
            self._order = Order(
                self._paths,
                me,
                self._host.holds.registry,
                self._timeout_s,
                self._max_hold_s,
                self._reentrant,
                self._section_wait_s,
                self._owner,
                self._overtake_s,
            )
        return self._order

    def _hold(self, grant: Granted, *, fenced: bool) -> HeldLock:
        assert self._order is not None
        held = HeldLock(self, grant, self._order.process)
        holds = self._host.holds
        self._held.append(held)
        holds.add(held)
        if self._report.heard:
            if fenced and grant.fenced:
                self._report.fenced(grant)
            else:
                self._report.acquired(grant)
        if self._algorithm.watchdog == "thread":
            holds.limit(held, self._limit_real_s)
        elif self._algorithm.watchdog == "sweep":
            holds.sweep(self._clock)
        return held
