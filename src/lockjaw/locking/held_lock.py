"""A lock that is held: its sections, and how it is given back."""

from __future__ import annotations

import asyncio
import math
from _thread import RLock as _RLock
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, TypeVarTuple

from lockjaw.clock import Clock
from lockjaw.errors import Fenced, LocalError, LockLost, LockStateError, SessionChanged
from lockjaw.locking.algorithms.grants import Released, Superseded
from lockjaw.locking.algorithms.released_for_prompt import Fingerprint
from lockjaw.locking.catalogue import Granted, LockAlgorithm, ReleasedForPrompt
from lockjaw.locking.host import Host
from lockjaw.locking.identity import ProcessIdentity
from lockjaw.locking.lock_report import LockReport
from lockjaw.locking.operations import Calls, Steps
from lockjaw.locking.paths import LockPaths

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

FAILURES = (OSError, LocalError, asyncio.CancelledError, GeneratorExit)  # and no interruptions


class Port(NamedTuple):
    """What a held lock needs of the lock that was taken. ``max_hold_s``: nominal seconds."""

    algorithm: LockAlgorithm
    host: Host
    clock: Clock
    report: LockReport
    paths: LockPaths
    max_hold_s: float
    owner: str

    def run(self, algorithm: Callable[[Calls, *Ts], Steps[T]], *args: *Ts) -> T:
        return self.host.run(self.clock, algorithm, *args)

    def call(self, function: Callable[[Calls, *Ts], T], *args: *Ts) -> T:
        return self.host.call(self.clock, function, *args)


class Taker(Protocol):
    """The lock object that gives back what it took."""

    def release(self) -> None: ...
    async def release_async(self) -> None: ...


class HeldLock:
    """A lock that is held. Made by SessionLock; as a context manager (``with lock.acquire() as held:``) it ends with
    the block.

    Attributes:
        generation: rises with every grant of this session's lock; 0 for algorithms without generations.
        path: the lock file.
        reclaimed: why the previous owner counted as dead; empty if the lock was free.
    """

    __slots__ = (
        "_before",
        "_depth",
        "_grant",
        "_me",
        "_mutex",
        "_over",
        "_port",
        "_released",
        "_taker",
        "due_real_s",
        "generation",
        "reclaimed",
    )

    def __init__(self, port: Port, grant: Granted, me: ProcessIdentity, taker: Taker) -> None:
        self.generation = grant.generation
        self.reclaimed = grant.reclaimed
        self._port, self._me, self._taker = port, me, taker
        self._grant: Any = grant
        self._released = self._over = False
        self._depth = 0
        self._before: Fingerprint | None = None
        self._mutex = _RLock()
        self.due_real_s = math.inf

    @property
    def path(self) -> Path:
        return Path(self._port.paths.lock)

    @property
    def overruled(self) -> int:
        """The live generation that this grant was raised over; 0 if the lock was free or its owner dead."""
        return int(self._grant.fenced)

    def __repr__(self) -> str:
        return f"HeldLock({str(self.path)!r}, generation={self.generation})"

    @property
    def belongs_to_parent(self) -> bool:
        """This process is a fork of the holder: it holds nothing."""
        return self._me is not self._port.host.identity()

    @property
    def is_over(self) -> bool:
        """It was given back: by its holder, at its hold limit, or by a signal. (Whether it was fenced, a section
        tells.)"""
        return self._released

    def release(self) -> None:
        """Give the lock back, as ``SessionLock.release``."""
        self._taker.release()

    async def release_async(self) -> None:
        """Give the lock back, as ``SessionLock.release_async``."""
        await self._taker.release_async()

    def __enter__(self) -> HeldLock:
        return self

    def __exit__(self, *error: object) -> None:
        self._taker.release()

    async def __aenter__(self) -> HeldLock:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._taker.release_async()

    # ------------------------------------------------------------------ appends

    @contextmanager
    def section(self) -> Iterator[Callable[[], None]]:
        """One append: no process of ours can change the lock's owner until it ends, unless this process stands still.

        What it gives raises Fenced once this holder was overruled inside the section: ask it with the file open,
        before the first byte, and again behind the last one, before your program reports the write.

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
                yield self._check
            finally:
                self._depth -= 1
                if self._depth == 0 and not self._released:
                    self._port.call(self._port.algorithm.leave, self._grant)

    def verify(self) -> None:
        """Is this generation still the newest? Ask before anything is done that cannot be taken back.

        What a process does right after the answer is not fenced; only an append is.

        Raises:
            Fenced: a newer generation was granted.
            LockLost: the lock was released.
        """
        if self.generation:
            self._refuse_if_released()
            with self._superseded():
                self._port.call(self._port.algorithm.verify, self._grant)

    def _enter(self) -> None:
        self._refuse_if_released()
        with self._superseded():
            self._port.run(self._port.algorithm.enter, self._grant)

    def _refuse_if_released(self) -> None:
        port = self._port
        if self._over:
            reason = f"its hold limit of {port.max_hold_s:g} s was over, so its holder was stopped"
            raise LockLost(port.paths.session, self.generation, reason)
        if self._released:
            raise LockLost(port.paths.session, self.generation, "it was released")

    def _check(self) -> None:
        with self._superseded():
            self._port.call(self._port.algorithm.check, self._grant)

    @contextmanager
    def _superseded(self) -> Iterator[None]:
        port = self._port
        try:
            yield
        except Superseded as superseded:
            if superseded.current != self.generation:
                raise Fenced(port.paths.session, self.generation, superseded.current) from None
            port.report.lost(self.generation)
            raise LockLost(
                port.paths.session, self.generation, "its lock file was removed or replaced from outside"
            ) from None

    # ------------------------------------------------------------------ giving it back

    def _release(self) -> None:
        if self.belongs_to_parent:
            return  # and the mutex may be a copy of one that a thread there has locked
        with self._mutex:
            if self._begin_release():
                self._give_back()

    async def _release_async(self) -> None:
        port = self._port
        # The steps of a release are immediate but for the section, so the mutex cannot be held over an await.
        if not self._begin_release():
            return
        try:
            released = await port.host.run_to_end(port.clock, port.algorithm.release, self._grant)
        except OSError:
            # The disk refuses to remove the file. What the holder wrote stands, and must not be reported as failed
            # (#128032): the lock no longer has a holder, the freed byte says so, and the next one takes it over.
            released = Released(removed=False)
        self._end_release(released)

    def release_at_exit(self) -> None:
        """Release without regard to threads that are inside the section: the process is about to end."""
        if self._begin_release():
            self._give_back()

    def stop_at_limit(self) -> bool:
        """The hold limit is over: give the lock back, so that this holder may no longer write, and say so.

        Called by the watchdog, in its own thread. -> False: an append is being written; try again.
        """
        if not self._mutex.acquire(blocking=False):
            self._over = True  # no further append after this one
            return False
        try:
            if self._begin_release():
                self._over = True
                self._port.report.over(self.generation, self._port.max_hold_s)
                self._port.call(self._tell_limit)
                self._give_back()
        finally:
            self._mutex.release()
        return True

    def _tell_limit(self, calls: Calls) -> None:
        who = f" by {self._port.owner}" if self._port.owner else ""
        calls.print_error(
            f"lockjaw: {self._port.paths.lock} was held{who} for longer than its limit of {self._port.max_hold_s:g} s "
            f"(generation {self.generation}); this holder was stopped and may no longer write"
        )

    def _begin_release(self) -> bool:
        if not self._port.host.holds.discard(self) or self._released:
            return False  # released before (by a signal, by the watchdog), or our parent's: a fork holds nothing
        self._released = True
        if self._port.report.heard:
            self._port.report.releasing(self.generation)
        return True

    def _give_back(self) -> None:
        self._end_release(self._port.run(self._port.algorithm.release, self._grant))

    def _end_release(self, released: Released) -> None:
        report = self._port.report
        if self._port.algorithm.watchdog == "sweep":
            self._port.host.holds.rest()
        if released.lost:
            report.lost(self.generation)
        if report.heard:
            report.released(self.generation, released.removed)

    def _abandon(self, error: BaseException) -> None:
        """Giving the lock back failed. If that was an interruption, do what is left of it; an append comes first."""
        port = self._port
        if not port.algorithm.has_generations or isinstance(error, FAILURES) or self.belongs_to_parent:
            return
        with self._mutex:
            self._begin_release()
            self._released = True
            port.run(port.algorithm.abandon, self._grant)
        self._end_release(Released(removed=True))

    # ------------------------------------------------------------------ locks that are released for a prompt

    @property
    def suspends(self) -> bool:
        """The algorithm gives the lock back while a model works: ``suspend_async`` and ``resume_async``."""
        return isinstance(self._port.algorithm, ReleasedForPrompt)

    async def suspend_async(self) -> None:
        """Give the lock back for the length of a prompt."""
        port = self._port
        assert isinstance(port.algorithm, ReleasedForPrompt)
        port.report.releasing(self.generation)
        self._before = port.call(port.algorithm.suspend, self._grant)
        port.report.released(self.generation, removed=True)

    async def resume_async(self) -> None:
        """Take the lock again after the prompt. (It does not ask whether this hold was given back for good meanwhile.)

        Raises:
            SessionChanged: the transcript was written to. The lock is held, and may be given back.
            SessionLocked: the lock was not to be had, and is not held.
        """
        port = self._port
        assert isinstance(port.algorithm, ReleasedForPrompt)
        port.report.acquiring(self._grant.request.timeout_s)
        try:
            assert self._before is not None
            self._grant, unchanged = await port.host.run_async(
                port.clock, port.algorithm.resume, self._grant, self._before
            )
        except BaseException as error:
            port.report.refused(error)
            self._released = True
            raise
        port.host.holds.add(self)
        self._released = False
        port.report.acquired(self._grant)
        if not unchanged:
            raise SessionChanged(port.paths.session)
