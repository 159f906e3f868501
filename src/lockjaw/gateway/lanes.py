"""Lanes: how runs queue. One run per session at a time, then a limit for all.

A run passes ``session:<sessionKey>`` (limit 1), then a global lane (``main``, ``subagent``, ``cron``, or a
lane that the request names, limit 1). Waiting has no limit in time and is not part of the run's time-out.
First come, first served in each lane.

``Lanes`` is a state machine over futures: it knows no clock, socket or task. The race to mind is a waiter that
is withdrawn (aborted, or its task cancelled) in the same moment in which the lane is handed to it: the place
then goes to the next waiter, or the lane would stay occupied without an owner.

Source: protocol facts B7.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from lockjaw.clock import Clock
from lockjaw.errors import ModelsFailed, RunAborted, printed
from lockjaw.history import Recorder

MAIN_LANE = "main"
OTHER_LIMITS = {"subagent": 8, "cron": 1}


def lane_error_line(lane: str, duration_s: float, error: BaseException) -> str:
    """The log line of a task that failed in a lane; ``duration_s`` counts from when the lane let it in."""
    return f'[diagnostic] lane task error: lane={lane} durationMs={round(duration_s * 1000)} error="{printed(error)}"'


@dataclass(eq=False)
class Ticket:
    """One run's place in one lane: waiting, inside, or gone."""

    lane: str
    granted: asyncio.Future[None] = field(repr=False)
    _leave: Callable[[Ticket], None] = field(repr=False)

    async def wait(self) -> None:
        """Until the lane lets us in. Cancelling gives the place up.

        Raises:
            the error given to ``withdraw``.
        """
        try:
            await self.granted
        except BaseException:
            self._leave(self)
            raise

    def leave(self) -> None:
        """Give the place up, whether waiting or inside; the next waiter is let in. Idempotent."""
        self._leave(self)

    def withdraw(self, error: Exception) -> None:
        """Make ``wait`` raise ``error`` if it still waits; who is inside already stays inside."""
        if not self.granted.done():
            self.granted.set_exception(error)
            self._leave(self)


@dataclass
class _Lane:
    limit: int
    inside: set[Ticket] = field(default_factory=set)
    waiting: deque[Ticket] = field(default_factory=deque)


class Lanes:
    """All lanes of one gateway. ``max_concurrent`` is the limit of the lane ``main``."""

    def __init__(self, max_concurrent: int) -> None:
        self._limits = {MAIN_LANE: max_concurrent, **OTHER_LIMITS}
        self._lanes: dict[str, _Lane] = {}

    def enter(self, name: str) -> Ticket:
        """Queue for a lane. The ticket may be granted already. Needs a running event loop."""
        lane = self._lanes.setdefault(name, _Lane(self._limits.get(name, 1)))
        ticket = Ticket(name, asyncio.get_running_loop().create_future(), self._leave)
        lane.waiting.append(ticket)
        self._admit(lane)
        return ticket

    def depth(self, name: str) -> tuple[int, int]:
        """How many are (inside, waiting)."""
        lane = self._lanes.get(name)
        return (len(lane.inside), len(lane.waiting)) if lane else (0, 0)

    def _admit(self, lane: _Lane) -> None:
        while lane.waiting and len(lane.inside) < lane.limit:
            ticket = lane.waiting.popleft()
            if not ticket.granted.done():  # its task may have been cancelled, and has not run yet
                ticket.granted.set_result(None)
                lane.inside.add(ticket)

    def _leave(self, ticket: Ticket) -> None:
        lane = self._lanes.get(ticket.lane)
        if lane is None:
            return
        lane.inside.discard(ticket)
        if ticket in lane.waiting:
            lane.waiting.remove(ticket)
        self._admit(lane)
        if not lane.inside and not lane.waiting:
            del self._lanes[ticket.lane]  # session lanes would pile up for ever


@asynccontextmanager
async def in_lane(
    lanes: Lanes,
    name: str,
    *,
    run_id: str,
    clock: Clock,
    recorder: Recorder,
    log: Callable[[str], None],
    queued: Callable[[Ticket], None],
) -> AsyncIterator[None]:
    """Hold a place in a lane for the body.

    ``queued`` gets the ticket at once, so that an abort can withdraw it. An error of the body is logged as
    upstream does, except the two that never pass a lane there: a chain that failed as a whole (its candidates'
    errors were logged one by one) and an abort.
    """
    recorder.record("lane.wait", "invoke", run_id=run_id, lane=name)
    ticket = lanes.enter(name)
    queued(ticket)
    try:
        await ticket.wait()
    except BaseException:
        recorder.record("lane.wait", "fail", run_id=run_id, lane=name)
        raise
    recorder.record("lane.wait", "ok", run_id=run_id, lane=name)
    entered = clock.monotonic()
    try:
        yield
    except (ModelsFailed, RunAborted):
        raise
    except Exception as error:
        log(lane_error_line(name, clock.monotonic() - entered, error))
        raise
    finally:
        ticket.leave()
