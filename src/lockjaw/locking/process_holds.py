"""What this process holds, and how it gives it back when it ends.

Upstream removes its lock files at exit and on SIGINT, SIGTERM, SIGQUIT and SIGABRT, and runs a watchdog every
60 s. So do we: at exit always (through ``atexit``, from the first lock on), on signals only where somebody
asks (``release_on_signals``, or a handler of your own that calls ``release_all_held``). Nothing is installed
at import but the fork hook: a forked child holds nothing.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

from lockjaw.clock import Clock
from lockjaw.locking.algorithms import coarse
from lockjaw.locking.algorithms.coarse import Registry
from lockjaw.locking.drivers import run_blocking
from lockjaw.locking.operations import Steps

RELEASE_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGABRT)


class Releasable(Protocol):
    def release_at_exit(self) -> None: ...


class ProcessHolds:
    """One per process: the coarse locks' registry, every held lock, the watchdog's timer.

    Args:
        run: the blocking driver of this process.
        at_exit: give everything back when the interpreter ends.
    """

    def __init__(self, run: Callable[[Steps[None], Clock], Any] = run_blocking, *, at_exit: bool = True) -> None:
        self.registry = Registry()
        self._run = run
        self._held: dict[int, Releasable] = {}
        self._at_exit = not at_exit  # nothing left to install
        self._timer: threading.Timer | asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # the timer's, if it has one

    def add(self, held: Releasable) -> None:
        if not self._at_exit:
            self._at_exit = True
            atexit.register(release_all_held)
        self._held[id(held)] = held

    def discard(self, held: Releasable) -> None:
        self._held.pop(id(held), None)

    def release_all(self) -> None:
        for held in list(self._held.values()):
            self.discard(held)
            try:
                held.release_at_exit()
            except OSError:
                continue  # the disk refuses; the others shall still be given back

    def watch(self, clock: Clock) -> None:
        """Run the watchdog every 60 s for as long as a coarse lock is held.

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
            timer = threading.Timer(period, self._watchdog, (clock,))
            timer.daemon = True
            timer.start()
            self._timer = timer
        else:
            self._timer = self._loop.call_later(period, self._watchdog, clock)

    def rest(self) -> None:
        """Stop the watchdog's timer if no coarse lock is held any more."""
        if self._timer is not None and not self.registry.holds:
            self._timer.cancel()
            self._timer = None

    def _watchdog(self, clock: Clock) -> None:
        self._timer = None
        self._run(coarse.watchdog_pass(self.registry), clock)
        if self.registry.holds:
            self.watch(clock)


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
    PROCESS_HOLDS.registry = Registry()
    PROCESS_HOLDS._held = {}
    PROCESS_HOLDS._timer = PROCESS_HOLDS._loop = None


os.register_at_fork(after_in_child=_forget_parent)
