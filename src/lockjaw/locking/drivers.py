"""The blocking and the asyncio driver of lock algorithms.

An algorithm makes its calls itself and yields only its waits; a driver waits and sends it on. Both drivers share
everything but how they sleep. The simulation brings waits of its own to the same two loops (``follow``,
``follow_async``).

Drift. With a time scale of 0.04 every millisecond by which the operating system wakes us late is 25 nominal
milliseconds, and twenty sleeps of a 10 s wait would add up to a visible lie: fewer tries, a longer wait.
So under a scale below 1 each ``Sleep`` of one run counts from the instant the previous one was *due*, and
``now`` reads that instant too, as long as we are late by no more than scheduling explains (``_LATE_S``
nominal or ``_LATE_REAL_S`` real, whichever is more). A process that was really paused is later than that and
sees it. At scale 1 nothing is compensated: lateness is part of what the program does.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

from lockjaw.clock import Clock
from lockjaw.locking.alarms import Alarms
from lockjaw.locking.kernel import Kernel
from lockjaw.locking.operations import Settle, Sleep, Steps, WaitForRelease, WaitForSection, Waiting

T = TypeVar("T")

_LATE_S = 1.0
_LATE_REAL_S = 0.1

# Polls, in real seconds: a waiter sleeps briefly at first, since most holds of a section or of a short lock
# end at once, and then no longer than a person or a scaled clock would notice.
_FIRST_POLL_REAL_S = 0.001
_LAST_POLL_S = 0.025  # nominal ...
_LAST_POLL_FLOOR_REAL_S = 0.002  # ... but never busier than this
# A section lasts some system calls. Short sleeps and no yields: on a busy machine each yield costs a whole time slice.
_SECTION_POLL_REAL_S = 0.00002
_SECTION_LAST_POLL_REAL_S = 0.002
_POLL_GROWTH = 1.5
_SECTION_GROWTH = 1.15
# When alarms cover everything, looking only guards against a lost bell.
_FIRST_LOOK_REAL_S = 0.25
_LAST_LOOK_REAL_S = 4.0  # 64 waiters, 10 s: under 0.1 s of CPU

# A contender that has judged a stale file acts on it within a millisecond, if it is not paused.
_SETTLE_REAL_S = 0.005


def follow(steps: Steps[T], wait_for: Callable[[Waiting], bool], first: Waiting | None = None) -> T:
    """Run an algorithm to its end in this thread.

    Args:
        first: the wait that it has come to already.
        wait_for: waits. -> did the bell ring? What it raises, Ctrl-C included, goes to the algorithm, which cleans up.
    """
    try:
        wait = first or next(steps)
        while True:
            try:
                rung = wait_for(wait)
            except BaseException as error:
                wait = steps.throw(error)
            else:
                wait = steps.send(rung)
    except StopIteration as stop:
        value: T = stop.value
        return value


async def follow_async(
    steps: Steps[T], wait_for: Callable[[Waiting], Awaitable[bool]], *, defer_cancel: bool = False
) -> T:
    """As ``follow``, in this task.

    Cancelling throws into the algorithm, which undoes what it did and leaves no trace. With ``defer_cancel``
    (for releases) a cancellation waits until the algorithm has ended.
    """
    cancelled: asyncio.CancelledError | None = None
    try:
        wait = next(steps)
        while True:
            try:
                rung = await wait_for(wait)
            except asyncio.CancelledError as error:
                if not defer_cancel:
                    wait = steps.throw(error)
                    continue
                cancelled = error
                wait = steps.send(False)
            except BaseException as error:
                wait = steps.throw(error)
            else:
                wait = steps.send(rung)
    except StopIteration as stop:
        if cancelled is not None:
            raise cancelled from None
        value: T = stop.value
        return value


def run_blocking(steps: Steps[T], kernel: Kernel) -> T:
    """Run an algorithm to its end in this thread. Raises what the algorithm raises.

    Args:
        kernel: makes its calls.
    """
    waits: _Waits | None = None
    try:
        try:
            first = next(steps)
        except StopIteration as stop:  # nearly always: it had nothing to wait for
            value: T = stop.value
            return value
        waits = _Waits(kernel)
        return follow(steps, waits.sleep, first)
    except BaseException:
        kernel.abandon()
        raise
    finally:
        if waits is not None:
            waits.end()


async def run_async(steps: Steps[T], kernel: Kernel, *, defer_cancel: bool = False) -> T:
    """Run an algorithm to its end as part of this task; see ``follow_async`` on cancelling."""
    waits = _Waits(kernel)
    try:
        return await follow_async(steps, waits.sleep_async, defer_cancel=defer_cancel)
    except BaseException:
        kernel.abandon()
        raise
    finally:
        waits.end()


class _Waits:
    """The waits of one run, and its time (see the module's text)."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel, self._clock = kernel, kernel.clock
        self._alarms: Alarms | None = None  # most runs never wait
        self._eager_real_s = 0.0

    def end(self) -> None:
        if self._alarms is not None:
            self._alarms.close()

    # ------------------------------------------------------------------ in this thread

    def sleep(self, wait: Waiting) -> bool:
        """Wait. -> did the bell ring?"""
        if isinstance(wait, WaitForRelease) and (alarms := self._set(wait)).complete:
            return self._sleep_on(alarms, wait)
        plan = self._plan(wait)
        while (pause := plan.next_pause(self._kernel)) is not None:
            self._clock.sleep_blocking(pause)
        return False

    def _sleep_on(self, alarms: Alarms, wait: WaitForRelease) -> bool:
        watch = _Watch(wait, alarms.late, self._kernel)
        while (timeout_s := watch.timeout_real_s()) > 0:
            if told := alarms.sleep(math.ceil(timeout_s * 1000)):
                return alarms.heard(told)
            watch.look()
        if (pause := self._eager_pause_s(watch)) > 0:
            self._clock.sleep_blocking(pause)
        return False

    # ------------------------------------------------------------------ in this task

    async def sleep_async(self, wait: Waiting) -> bool:
        """As ``sleep``."""
        if isinstance(wait, WaitForRelease) and (alarms := self._set(wait)).complete:
            rung = await self._await(alarms, wait)
            if rung is not None:
                return rung
        plan = self._plan(wait)
        while (pause := plan.next_pause(self._kernel)) is not None:
            await self._clock.sleep(pause)
        return False

    async def _await(self, alarms: Alarms, wait: WaitForRelease) -> bool | None:
        """None: this event loop knows no descriptors."""
        loop = asyncio.get_running_loop()
        watch = _Watch(wait, alarms.late, self._kernel)
        told: set[int] = set()
        over: asyncio.Future[None] | None = None

        def end(descriptor: int | None = None) -> None:
            if descriptor is not None:
                told.add(descriptor)
            if over is not None and not over.done():
                over.set_result(None)

        try:
            for descriptor in alarms.descriptors:
                loop.add_reader(descriptor, end, descriptor)
            while (timeout_s := watch.timeout_real_s()) > 0:
                over = loop.create_future()
                timer = loop.call_later(timeout_s, end)
                try:
                    await over
                finally:
                    timer.cancel()
                if told:
                    return alarms.heard(told)
                watch.look()
        except NotImplementedError:
            return None
        finally:
            for descriptor in alarms.descriptors:
                loop.remove_reader(descriptor)
        if (pause := self._eager_pause_s(watch)) > 0:
            await self._clock.sleep(pause)
        return False

    # ------------------------------------------------------------------ both

    def _set(self, wait: WaitForRelease) -> Alarms:
        """The alarms for this wait. If they do not cover all that it is for, it polls."""
        if self._alarms is None:
            self._alarms = Alarms()
        self._alarms.set(wait)
        self._kernel.due = None
        return self._alarms

    def _eager_pause_s(self, watch: _Watch) -> float:
        """Nominal seconds to sleep now. A waiter that hears "may be free" again and again must not spin."""
        if not watch.ended_at_once():
            self._eager_real_s = 0.0
            return 0.0
        self._eager_real_s = min(_LAST_POLL_S, max(_FIRST_POLL_REAL_S, self._eager_real_s * _POLL_GROWTH))
        return min(watch.left_s(), self._eager_real_s / self._clock.real_s(1.0))

    def _plan(self, wait: Waiting) -> _Pause | _Poll:
        kernel, clock, scale = self._kernel, self._clock, self._clock.real_s(1.0)
        match wait:
            case Sleep(duration_s):
                kernel.late_s = max(_LATE_S, _LATE_REAL_S / scale) if scale < 1 else 0.0
                kernel.due = kernel.time_s() + max(0.0, duration_s)
                return _Pause(clock, kernel.due)
            case Settle():
                return _Pause(clock, clock.monotonic() + _SETTLE_REAL_S / scale)
            case WaitForSection():
                kernel.due = None
                first, last = _SECTION_POLL_REAL_S / scale, _SECTION_LAST_POLL_REAL_S / scale
                return _Poll(clock, wait, first, last, _SECTION_GROWTH)
            case WaitForRelease():
                kernel.due = None
                last = max(_LAST_POLL_S, _LAST_POLL_FLOOR_REAL_S / scale)
                return _Poll(clock, wait, min(last, _FIRST_POLL_REAL_S / scale), last)


class _Watch:
    """How long one wait on complete alarms lasts, and how often it looks for itself besides."""

    def __init__(self, wait: WaitForRelease, late: bool, kernel: Kernel) -> None:
        self._wait, self._kernel, self._clock = wait, kernel, kernel.clock
        self._pause_real_s = _FIRST_LOOK_REAL_S
        self._start = self._clock.monotonic()
        # A file may have changed before we watched it. A bell was there before any process could ring it.
        self._over = late or (wait.handle is None and kernel.may_be_released(wait))

    def timeout_real_s(self) -> float:
        """0 or less: the wait is over."""
        if self._over:
            return 0.0
        return min(self._pause_real_s, self._clock.real_s(self.left_s()))

    def left_s(self) -> float:
        return self._wait.until - self._clock.monotonic()

    def look(self) -> None:
        self._over = self._kernel.may_be_released(self._wait)
        self._pause_real_s = min(_LAST_LOOK_REAL_S, self._pause_real_s * 2)

    def ended_at_once(self) -> bool:
        return self._over and self._clock.real_s(self._clock.monotonic() - self._start) <= _FIRST_POLL_REAL_S


class _Pause:
    """Sleep until an instant. ``next_pause`` is called until it gives None."""

    def __init__(self, clock: Clock, due: float) -> None:
        self._clock, self._due, self._slept = clock, due, False

    def next_pause(self, kernel: Kernel) -> float | None:
        remaining = self._due - self._clock.monotonic()
        if self._slept and remaining <= 0:
            return None
        # A sleep that is already overdue still gives way once: other tasks of the loop must get their turn.
        self._slept = True
        return max(0.0, remaining)


class _Poll:
    """Look, pause, look again, ever more slowly; the last pause ends exactly at the deadline."""

    def __init__(
        self,
        clock: Clock,
        wait: WaitForSection | WaitForRelease,
        first_pause_s: float,
        last_pause_s: float,
        growth: float = _POLL_GROWTH,
    ) -> None:
        self._growth = growth
        self._clock, self._wait = clock, wait
        self._pause_s, self._last_pause_s = first_pause_s, last_pause_s
        self._paused = False

    def next_pause(self, kernel: Kernel) -> float | None:
        remaining = self._wait.until - self._clock.monotonic()
        if remaining <= 0:
            return None
        # At least one pause: a waiter that hears "may be free" and finds it taken again must not spin.
        if self._paused and kernel.may_be_released(self._wait):
            return None
        self._paused = True
        pause, self._pause_s = self._pause_s, min(self._last_pause_s, self._pause_s * self._growth)
        return min(pause, remaining)
