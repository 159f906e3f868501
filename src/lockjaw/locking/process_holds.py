"""What this process holds, and how it gives it back when it ends.

Upstream removes its lock files at exit and on SIGINT, SIGTERM, SIGQUIT and SIGABRT, and runs a watchdog every
60 s. So do we: at exit always (through ``atexit``, from the first lock on), on signals only where somebody
asks (``release_on_signals``, or a handler of your own that calls ``release_all_held``). Nothing is installed
at import but the fork hook: a forked child holds nothing.
"""

from __future__ import annotations

import _thread
import asyncio
import atexit
import math
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Protocol

from lockjaw.clock import Clock
from lockjaw.locking.algorithms import coarse
from lockjaw.locking.kernel import Kernel
from lockjaw.locking.operations import Calls
from lockjaw.locking.request import Registry
from lockjaw.locking.system import os
from lockjaw.visible import tell

_NAMES = ("SIGINT", "SIGTERM", "SIGQUIT", "SIGBREAK", "SIGABRT")  # Windows has the fourth for the third
RELEASE_SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
LOOK_AGAIN_REAL_S = 0.02  # at a holder that was in the middle of an append when its limit was over


class Releasable(Protocol):
    due_real_s: float

    def release_at_exit(self) -> None: ...
    def stop_at_limit(self) -> bool: ...


class ProcessHolds:
    """One per process: the coarse locks' registry, every held lock, the watchdogs.

    Args:
        calls: what the watchdog of coarse locks does here, on a clock.
    """

    def __init__(self, calls: Callable[[Clock], Calls] = Kernel) -> None:
        self.registry = Registry()
        self._calls = calls
        self._held: dict[int, Releasable] = {}
        self._at_exit = False  # is it installed
        self._watchdog = Watchdog(self._held)
        self._timer: threading.Timer | asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # the timer's, if it has one

    def add(self, held: Releasable) -> None:
        if not self._at_exit:
            self._at_exit = True
            atexit.register(release_all_held)
        self._held[id(held)] = held

    def discard(self, held: Releasable) -> bool:
        """-> was it held? Exactly one of several threads that give a lock back is told so."""
        return self._held.pop(id(held), None) is not None

    @property
    def holding(self) -> bool:
        """Is there anything to give back?"""
        return bool(self._held)

    def release_all(self) -> None:
        for held in list(self._held.values()):
            try:
                held.release_at_exit()
            except OSError:
                continue  # the disk refuses; the others shall still be given back

    def limit(self, held: Releasable, limit_real_s: float) -> None:
        """Stop this holder when it has held for so long."""
        self._watchdog.add(held, limit_real_s)

    def sweep(self, clock: Clock) -> None:
        """Run the watchdog of coarse locks every 60 s for as long as one is held.

        Its timer lives where the lock was taken: in the running event loop (a stalled loop starves it, as
        upstream), else in a daemon thread. A timer whose loop was closed is replaced.
        """
        if self._timer is not None and not (self._loop is not None and self._loop.is_closed()):
            return
        period = clock.real_s(coarse.WATCHDOG_PERIOD_S)
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
            timer = threading.Timer(period, self._sweep, (clock,))
            timer.daemon = True
            timer.start()
            self._timer = timer
        else:
            self._timer = self._loop.call_later(period, self._sweep, clock)

    def rest(self) -> None:
        """Stop the sweep's timer if no coarse lock is held any more."""
        if self._timer is not None and not self.registry.holds:
            self._timer.cancel()
            self._timer = None

    def _sweep(self, clock: Clock) -> None:
        self._timer = None
        coarse.watchdog_pass(self._calls(clock), self.registry)
        if self.registry.holds:
            self.sweep(clock)


def stop_overdue(held: Releasable, say: Callable[[str], None]) -> bool:
    """-> False: it is inside an append; look again ``LOOK_AGAIN_REAL_S`` later."""
    try:
        return held.stop_at_limit()
    except (OSError, RuntimeError) as error:
        # The others shall still be stopped; this one may not write either, and its freed byte says so.
        say(f"lockjaw: the watchdog could not give back a lock: {error}")
        return True


class Watchdog:
    """Stops holders whose limit is over, in a daemon thread of its own, which a blocked event loop cannot starve.

    The thread starts with the first hold that has a limit and sleeps until the earliest one is over. Holds that are
    given back in time are not its business: it finds out when it wakes, so that a lock that is taken and given back all
    the time costs it nothing.
    """

    def __init__(self, held: dict[int, Releasable]) -> None:
        self._held = held
        self._look_at = math.inf
        self._changed, self._runs = threading.Condition(), False

    def add(self, held: Releasable, limit_real_s: float) -> None:
        held.due_real_s = due = time.monotonic() + limit_real_s
        if due < self._look_at:
            self._wake(due)

    def _wake(self, due: float) -> None:
        with self._changed:
            self._look_at = min(self._look_at, due)
            self._changed.notify()
            if not self._runs:
                self._runs = True
                # Not threading.Thread: its start waits until the thread runs, on a busy machine for others' time slice.
                _thread.start_new_thread(self._watch, ())

    def _watch(self) -> None:
        while True:
            with self._changed:
                while (left := self._look_at - time.monotonic()) > 0:
                    self._changed.wait(None if left == math.inf else min(left, threading.TIMEOUT_MAX))
                self._look_at = math.inf
            # From here on every new hold wakes us; those that came before are in the table.
            now, earliest = time.monotonic(), math.inf
            for held in list(self._held.values()):
                if held.due_real_s > now:
                    earliest = min(earliest, held.due_real_s)
                    continue
                if not stop_overdue(held, tell):
                    earliest = min(earliest, now + LOOK_AGAIN_REAL_S)  # the others must not wait for it
            if earliest < math.inf:
                with self._changed:
                    self._look_at = min(self._look_at, earliest)


PROCESS_HOLDS = ProcessHolds()


def release_all_held() -> None:
    """Give back every lock that this process holds, at once and in any thread: it is about to end.

    Safe in a signal handler and safe to call twice. Runs that still go on may not append any more.
    """
    PROCESS_HOLDS.release_all()


def release_on_signals() -> Callable[[], None]:
    """Release everything on SIGINT, SIGTERM, SIGQUIT and SIGABRT, then do what would have happened anyway.

    A former handler is called afterwards; the default action is restored and the signal raised again; an
    ignored signal stays ignored. Main thread only. Returns a function that restores the former handlers.
    """
    former: dict[int, Callable[[int, FrameType | None], object] | int] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        release_all_held()
        action = former[number]
        if callable(action):
            action(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in RELEASE_SIGNALS:
        action = signal.getsignal(number)
        if action is not None and action != signal.SIG_IGN:  # None: a handler that is not Python's
            former[number] = action
            signal.signal(number, handle)

    def restore() -> None:
        for number, action in former.items():
            signal.signal(number, action)

    return restore


def _forget_parent() -> None:
    at_exit = PROCESS_HOLDS._at_exit  # a child inherits what is installed, and else holds nothing
    PROCESS_HOLDS.__init__()  # type: ignore[misc]
    PROCESS_HOLDS._at_exit = at_exit


os.register_at_fork(after_in_child=_forget_parent)
