"""The blocking and the asyncio driver of lock algorithms.

Both perform the operations through one ``Kernel``; they differ in how they wait. The simulated driver is the
harness's and shares only ``operations``.

Drift. With a time scale of 0.04 every millisecond by which the operating system wakes us late is 25 nominal
milliseconds, and twenty sleeps of a 10 s wait would add up to a visible lie: fewer tries, a longer wait.
So under a scale below 1 each ``Sleep`` of one run counts from the instant the previous one was *due*, and
``Now`` reads that instant too, as long as we are late by no more than scheduling explains (``_LATE_S``
nominal or ``_LATE_REAL_S`` real, whichever is more). A process that was really paused is later than that and
sees it. At scale 1 nothing is compensated: lateness is part of what the program does.
"""

from __future__ import annotations

import asyncio
import math
from typing import TypeVar

from lockjaw.clock import Clock
from lockjaw.locking.alarms import Alarms
from lockjaw.locking.kernel import Kernel
from lockjaw.locking.operations import (
    Now,
    Operation,
    Settle,
    Sleep,
    Steps,
    Straight,
    WaitForRelease,
    WaitForSection,
)

T = TypeVar("T")

_WAITING = frozenset((Sleep, Settle, WaitForSection, WaitForRelease))

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
# Behind complete alarms, looks are only for what nobody tells: a lost bell.
_FIRST_LOOK_REAL_S = 0.25
_LAST_LOOK_REAL_S = 4.0  # 64 waiters, 10 s: under 0.1 s of CPU

# A contender that has judged a stale file acts on it within a millisecond, if it is not paused.
_SETTLE_REAL_S = 0.005


def run_blocking(steps: Steps[T], clock: Clock, kernel: Kernel | None = None) -> T:
    """Run an algorithm to its end in this thread. Raises what the algorithm raises."""
    kernel = kernel or Kernel(clock)
    waits: _Waits | None = None  # most runs never wait
    result: object = None
    raised: BaseException | None = None
    try:
        while True:
            try:
                operation = steps.send(result) if raised is None else steps.throw(raised)
            except StopIteration as stop:
                value: T = stop.value
                return value
            result, raised = None, None
            kind = type(operation)
            try:
                if kind is Straight:
                    result = operation.run(kernel.calls, *operation.arguments)  # type: ignore[union-attr]
                    continue
                waits = waits or _Waits(clock)
                if kind is Now:
                    result = waits.now()
                elif kind not in _WAITING:
                    result = kernel.perform(operation)
                elif not isinstance(operation, WaitForRelease) or (
                    (result := _sleep_on_alarms(operation, kernel, waits)) is None
                ):
                    plan = waits.plan(operation, kernel)
                    while (pause := plan.next_pause(kernel)) is not None:
                        clock.sleep_blocking(pause)
            except BaseException as error:  # Ctrl-C included: the algorithm cleans up, then lets it pass
                raised = error
    except BaseException:
        kernel.abandon()
        raise
    finally:
        if waits is not None:
            waits.alarms.close()


async def run_async(steps: Steps[T], clock: Clock, kernel: Kernel | None = None, *, defer_cancel: bool = False) -> T:
    """Run an algorithm to its end as part of this task.

    Cancelling throws into the algorithm, which undoes what it did and leaves no trace. With ``defer_cancel``
    (for releases) a cancellation waits until the algorithm has ended.
    """
    kernel = kernel or Kernel(clock)
    waits: _Waits | None = None
    result: object = None
    raised: BaseException | None = None
    cancelled: asyncio.CancelledError | None = None
    try:
        while True:
            try:
                operation = steps.send(result) if raised is None else steps.throw(raised)
            except StopIteration as stop:
                if cancelled is not None:
                    raise cancelled from None
                value: T = stop.value
                return value
            result, raised = None, None
            kind = type(operation)
            try:
                if kind is Straight:
                    result = operation.run(kernel.calls, *operation.arguments)  # type: ignore[union-attr]
                    continue
                waits = waits or _Waits(clock)
                if kind is Now:
                    result = waits.now()
                    continue
                if kind not in _WAITING:
                    result = kernel.perform(operation)
                    continue
                if isinstance(operation, WaitForRelease):
                    result = await _await_alarms(operation, kernel, waits)
                    if result is not None:
                        continue
                plan = waits.plan(operation, kernel)
                while (pause := plan.next_pause(kernel)) is not None:
                    try:
                        await clock.sleep(pause)
                    except asyncio.CancelledError as error:
                        if not defer_cancel:
                            raise
                        cancelled = error
            except BaseException as error:
                raised = error
    except BaseException:
        kernel.abandon()
        raise
    finally:
        if waits is not None:
            waits.alarms.close()


def _sleep_on_alarms(wait: WaitForRelease, kernel: Kernel, waits: _Waits) -> bool | None:
    """Wait in this thread; None if the alarms are not complete, so that the caller must poll."""
    alarms = waits.alarms
    alarms.set(wait)
    if not alarms.complete:
        return None
    watch = waits.watch(wait, kernel)
    while (timeout_s := watch.timeout_real_s()) > 0:
        if told := alarms.sleep(math.ceil(timeout_s * 1000)):
            return alarms.heard(told)
        watch.look()
    if (pause := watch.eager_pause_s(waits)) > 0:
        waits.clock.sleep_blocking(pause)
    return False


async def _await_alarms(wait: WaitForRelease, kernel: Kernel, waits: _Waits) -> bool | None:
    """As ``_sleep_on_alarms``, in this task."""
    loop = asyncio.get_running_loop()
    alarms = waits.alarms
    alarms.set(wait)
    if not alarms.complete:
        return None
    watch = waits.watch(wait, kernel)
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
        return None  # an event loop without descriptors
    finally:
        for descriptor in alarms.descriptors:
            loop.remove_reader(descriptor)
    if (pause := watch.eager_pause_s(waits)) > 0:
        await waits.clock.sleep(pause)
    return False


class _Watch:
    """How long one wait on complete alarms lasts, and how often it looks for itself behind them."""

    def __init__(self, wait: WaitForRelease, late: bool, kernel: Kernel, clock: Clock) -> None:
        self._wait, self._kernel, self._clock = wait, kernel, clock
        self._pause_real_s = _FIRST_LOOK_REAL_S
        self._start = clock.monotonic()
        # A file may have changed before we watched it. A bell was there before anybody could want to ring it.
        self._over = late or (wait.handle is None and kernel.may_be_released(wait))

    def timeout_real_s(self) -> float:
        """0 or less: the wait is over."""
        if self._over:
            return 0.0
        return min(self._pause_real_s, self._clock.real_s(self._wait.until - self._clock.monotonic()))

    def look(self) -> None:
        self._over = self._kernel.may_be_released(self._wait)
        self._pause_real_s = min(_LAST_LOOK_REAL_S, self._pause_real_s * 2)

    def eager_pause_s(self, waits: _Waits) -> float:
        """Nominal seconds to sleep now. Whoever is told "may be free" at once, again and again, must not spin."""
        if not self._over or self._clock.real_s(self._clock.monotonic() - self._start) > _FIRST_POLL_REAL_S:
            waits.eager_real_s = 0.0
            return 0.0
        waits.eager_real_s = min(_LAST_POLL_S, max(_FIRST_POLL_REAL_S, waits.eager_real_s * _POLL_GROWTH))
        remaining = self._wait.until - self._clock.monotonic()
        return min(remaining, waits.eager_real_s / self._clock.real_s(1.0))


class _Waits:
    """Turns the waiting operations of one run into pauses, and keeps its time (see the module's text)."""

    def __init__(self, clock: Clock) -> None:
        self.clock = self._clock = clock
        self.alarms = Alarms()
        self.eager_real_s = 0.0
        self._scale = self._late_s = 0.0
        self._due: float | None = None

    def now(self) -> float:
        actual = self._clock.monotonic()
        if self._late_s and self._due is not None and self._due <= actual < self._due + self._late_s:
            return self._due
        return actual

    def watch(self, wait: WaitForRelease, kernel: Kernel) -> _Watch:
        self._due = None
        return _Watch(wait, self.alarms.late, kernel, self._clock)

    def plan(self, operation: Operation, kernel: Kernel) -> _Pause | _Poll:
        """How to wait."""
        if not self._scale:
            self._scale = scale = self._clock.real_s(1.0)
            self._late_s = max(_LATE_S, _LATE_REAL_S / scale) if scale < 1 else 0.0
        match operation:
            case Sleep(duration_s):
                self._due = self.now() + max(0.0, duration_s)
                return _Pause(self._clock, self._due)
            case Settle():
                return _Pause(self._clock, self._clock.monotonic() + _SETTLE_REAL_S / self._scale)
            case WaitForSection():
                self._due = None
                first, last = _SECTION_POLL_REAL_S / self._scale, _SECTION_LAST_POLL_REAL_S / self._scale
                return _Poll(self._clock, operation, first, last, _SECTION_GROWTH)
            case WaitForRelease():
                self._due = None
                last = max(_LAST_POLL_S, _LAST_POLL_FLOOR_REAL_S / self._scale)
                return _Poll(self._clock, operation, min(last, _FIRST_POLL_REAL_S / self._scale), last)
            case _:
                raise AssertionError(f"{operation} is not a wait")


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
        # At least one pause: whoever is told "may be free" and finds it taken again must not spin.
        if self._paused and kernel.may_be_released(self._wait):
            return None
        self._paused = True
        pause, self._pause_s = self._pause_s, min(self._last_pause_s, self._pause_s * self._growth)
        return min(pause, remaining)
