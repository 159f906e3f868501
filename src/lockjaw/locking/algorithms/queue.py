"""The queue of the guarded lock: who stands in front of whom, and whom to ring.

The order is that of the tickets that are locked (see ``guarded``), so the kernel knows it: nothing here is kept.
"""

from __future__ import annotations

from dataclasses import replace

from lockjaw.locking import guard_record
from lockjaw.locking.algorithms.findings import Busy, read_state
from lockjaw.locking.algorithms.grants import Place
from lockjaw.locking.guard_record import OWNER_BASE, TICKET_BASE, GuardState
from lockjaw.locking.operations import Calls, Handle, WaitForRelease
from lockjaw.locking.request import LockRequest

__all__ = ["count_ahead", "in_front", "in_queue", "next_waiter", "queued", "ring_next", "waiter_ahead"]


def ring_next(calls: Calls, request: LockRequest, guard: Handle, ticket: int, issued: int) -> bool:
    """Ring the first waiter behind a ticket, if there is one. A waiter that has gone has no bell any more; one that has
    no bell yet looks for itself."""
    if issued <= ticket:
        return False
    if calls.ring(request.paths.guard, ticket + 1):
        return True  # nearly always
    first = next_waiter(calls, guard, ticket, issued)
    return first is not None and calls.ring(request.paths.guard, first)


def next_waiter(calls: Calls, guard: Handle, ticket: int, issued: int) -> int | None:
    """The first waiter's ticket behind this one. However many have gone, however far the numbers have jumped (see
    ``guard_record``): the kernel knows."""
    if issued <= ticket:
        return None
    first = calls.first_locked(guard, TICKET_BASE + ticket + 1, issued - ticket)
    return None if first is None else first - TICKET_BASE


def waiter_ahead(calls: Calls, guard: Handle, state: GuardState, place: Place | None) -> bool:
    """Does a waiter stand in front of us (of everybody, if we have no place)?"""
    last = place.ticket if place else state.issued + 1
    if last <= state.ticket + 1:
        return False
    return calls.locked_elsewhere(guard, TICKET_BASE + state.ticket + 1, last - state.ticket - 1)


def in_queue(calls: Calls, request: LockRequest, guard: Handle, place: Place, busy: Busy) -> Busy:
    """What a waiter with this place waits for."""
    wait = busy.wait._replace(bell=place.bell)
    deaf = place.bell is None  # we do not hear that the owner was overruled: what we wait for ends with that one
    if waiter_ahead(calls, guard, busy.guard, place):
        front = in_front(calls, guard, busy.guard, place)
        data = calls.read(guard, 16, guard_record.waiter_offset(front))
        pid = guard_record.decode_waiter(front, data)
        wait = wait._replace(pid=pid, starttime=None, queued=True)
        deaf = deaf or pid is None  # if it dies when it was rung, its ring was ours
    look_again_s = min(busy.look_again_s, request.overtake_s) if deaf else busy.look_again_s
    return replace(busy, wait=wait, look_again_s=look_again_s)


def in_front(calls: Calls, guard: Handle, state: GuardState, place: Place) -> int:
    """The ticket of the last waiter ahead of us. Those between it and us have given up: nobody is rung for them."""
    front = place.ticket - 1
    if calls.locked_elsewhere(guard, TICKET_BASE + front):
        return front  # nearly always
    ahead = state.ticket
    while (found := next_waiter(calls, guard, ahead, front - 1)) is not None:
        ahead = found
    return ahead


def queued(request: LockRequest, guard: Handle, state: GuardState) -> Busy:
    """The lock is free, and others wait for it."""
    pid = state.record.pid
    return Busy(
        f"pid={pid}" if pid else "unknown",
        f"The {request.subject.noun} is free this instant, and others are before us.",
        WaitForRelease(request.paths.lock, None, 0.0, guard, OWNER_BASE + state.epoch),
        state,
        look_again_s=request.overtake_s,
    )


def count_ahead(calls: Calls, guard: Handle, place: Place) -> int:
    ahead, ticket = 0, read_state(calls, guard).ticket
    while (found := next_waiter(calls, guard, ticket, place.ticket - 1)) is not None:
        ahead, ticket = ahead + 1, found
    return ahead
