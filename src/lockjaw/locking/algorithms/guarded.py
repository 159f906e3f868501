"""Our session lock: OpenClaw's lock file for everybody, a guard file with kernel locks for our own kind.

Theory of operation
-------------------
L = ``<session>.jsonl.lock`` means *held*, to every program that knows OpenClaw's lock. It appears whole and
vanishes by unlink: the body file B = ``<session>.jsonl.body.guard`` is written first and then gets L as its
second name. B itself stays; making and destroying a file for each grant would cost more than all the rest.

Q = ``<session>.jsonl.guard`` is never removed, and carries four things:

* byte ``OWNER_BASE + e``: locked by the owner for as long as it owns. The kernel drops it at the owner's death,
  however it dies: a free byte *is* the proof of death. No pid is looked up for our own kind, so neither pid reuse nor
  another pid namespace can fool us. e, the *epoch*, only rises when a live owner is overruled.
* byte 0, the *section*: whoever appends to the transcript, removes L, or takes it from an owner that is dead or is
  overruled, holds it meanwhile. So an append cannot straddle a change of owner. Newcomers do not need it: nobody who
  gives the lock back waits for them.
* byte ``TICKET_BASE + t``: locked by the waiter with ticket t, and kept while it owns. The queue is the order of
  the tickets that are locked; a waiter that dies or gives up is out of it by the same act. Tickets are drawn under
  byte 1.
* the record of the last grant and the last ticket (``guard_record``).

*Taking a free lock* (``take``) needs no section: try the owner's byte; having it, nobody else of ours can take or
record anything, unless it overrules us, and it cannot yet: who overrules wants to see L, and the link that makes L is
our last act. That no L lay there when we had the byte proves that no dead owner's is waiting to be judged.
So an uncontended acquire is: lock, see that there is no L, read Q, write Q, write B, link; and a release is: lock the
section, read Q, look at L, unlink, unlock everything. (Who took it last and finds Q as it left it need not see that
there is no L, nor write Q each time, see ``GuardState.generation``.)
Each order matters: the byte before the record, the record before L, L removed before the byte is free. A crash
between any two leaves a state that the next contender reads correctly.

*Who finds the lock taken, or somebody waiting*, takes a ticket and waits for its *bell*, which the releaser rings for
the first waiter alone, a moment before the lock is free: waking up takes longer than the rest of a release. How it
comes that no ring is missed, see ``_join``. Bells are hints and may be lost, with their ringer for
instance: so the first waiter also watches the owner's process, every other one the process of the waiter in front,
and all look for themselves now and then. A newcomer that gets the byte while others wait lets go of it again and
rings, since it may have spoiled the only try of the one whose turn it was. A free lock whose first waiter does not come
(it is paused) goes to the next after ``overtake_s``: order is a promise to the living and the awake.

The *generation* is the fencing token. ``fence`` grants g + 1 over a live owner, with the byte of the next epoch; what
stops the old owner is that each of its appends runs inside ``enter`` ... ``leave``, which checks, under the section
lock, that g is still the newest. An owner that is frozen inside its own append keeps the section locked, and cannot
be fenced.

Foreign owners (L is neither B nor what a take-over of ours wrote) are judged by the written rules of ``owner_record``:
alive is honoured for as long as it lives, dead needs proof, a body that names nobody is taken only after a
grace, and a body from another pid namespace is never judged.

A dead owner's L is taken over *in place*, inside the section and with the owner's byte: same inode, content compared
right before, the name checked again after a moment. Other programs unlink stale lock files by path; had we renamed ours
over the name, we could destroy the fresh lock of one that was faster, and one that is slower may still remove ours. In
place, the first cannot happen and the second is seen at once; if it happens later still, ``enter`` sees it and refuses.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from lockjaw.errors import LockStateError, SessionLocked
from lockjaw.locking import guard_record
from lockjaw.locking.algorithms.findings import (
    MOST_RESERVED,
    Busy,
    Dead,
    Free,
    GuardedRequest,
    examine,
    look,
    read_state,
    understood,
)
from lockjaw.locking.guard_record import OWNER_BASE, QUEUE, SECTION, STATE_LENGTH, TICKET_BASE, GuardState
from lockjaw.locking.operations import (
    Calls,
    Close,
    FileStatus,
    Handle,
    Identify,
    Identity,
    LinkFile,
    MakeDirectory,
    Now,
    OpenBell,
    OpenExisting,
    OpenGuard,
    RangeLock,
    RangeTest,
    RangeUnlock,
    ReadAt,
    Ring,
    Settle,
    Sleep,
    Steps,
    Straight,
    WaitForRelease,
    WaitForSection,
    WallNow,
    WriteInPlace,
)
from lockjaw.locking.owner_record import body_at, fingerprint

TIMEOUT_S = 60.0
_PAD_LIMIT_BYTES = 4096
_BODY_BYTES = 256  # of B, blanks behind the text: a shorter text never leaves the end of a longer one
_CLAIM_TRIES = 60  # some microseconds each, while whoever rang us finishes its release
_HELD_UP = (
    "The session lies free; some process is in the middle of a look at it. If it is paused there, resume or stop it."
)
_HELD_UP_LOOKS = 100  # of a fence that finds the lock free each time
_IN_TRANSIT_LOOKS = 4  # a fence that meets an owner without a lock file looks so often whether it gets one


class Place(NamedTuple):
    """A place in the queue. ``bell`` is None where there are none."""

    ticket: int
    bell: Handle | None


class GuardedGrant(NamedTuple):
    """Held. ``guard`` carries the owner's byte.

    Args:
        apart: the lock file, open, where it is not the guard's body file.
        identity: of the lock file.
        state: what the guard says since this grant.
        place: the one it waited at, if it waited.
        reclaimed: why the previous owner counted as dead, or empty.
        fenced: the live generation that this grant was raised over, or 0.
    """

    request: GuardedRequest
    guard: Handle
    apart: Handle | None
    identity: Identity
    generation: int
    state: GuardState
    place: Place | None = None
    reclaimed: str = ""
    fenced: int = 0


class Released(NamedTuple):
    """``removed``: L was ours and is gone. ``lost``: it had been removed or replaced by somebody foreign."""

    removed: bool
    lost: bool = False


_REMOVED = Released(removed=True)


class Superseded(Exception):
    """The section was entered by a holder that holds no longer. ``current`` equals its own generation if no
    newer one was granted: then the lock file was taken away from outside."""

    def __init__(self, current: int) -> None:
        self.current = current
        super().__init__(current)


# --------------------------------------------------------------------------- straight runs


def take(
    calls: Calls, request: GuardedRequest, guard: Handle, place: Place | None, in_section: bool = False
) -> GuardedGrant | None:
    """Take the lock if it lies free and it is our turn; outside the section, and the whole of an uncontended acquire.

    Args:
        in_section: the caller holds the section and has seen that no lock file lies there, and that whoever stands
            ahead of us has had the time to come.

    Returns:
        None: not now, and the section knows more.
    """
    body = guard.body
    assert body is not None
    guard.claim = body.identity
    if not calls.lock(guard, OWNER_BASE + guard.epoch):
        guard.claim = guard.mine = None  # somebody is here, so what the guard said when we left is over
        return None
    try:
        mine, guard.mine = guard.mine, None
        # If Q says what it said when we removed our own L, then nobody of ours has made one since: what may lie there
        # is foreign, and the link finds it.
        again = mine is not None and understood(guard, calls.read(guard, STATE_LENGTH)) is mine
        if again:
            free, state = True, mine
        else:
            # In this order: if no L lay there, and the epoch still is ours after that, nobody but us can link one; so
            # nobody can overrule, and write to Q, before our own link.
            free = in_section or not calls.exists(request.lock_path)
            state = understood(guard, calls.read(guard, STATE_LENGTH))
        ticket, issued = state.ticket, state.issued
        if place is not None:
            last, issued = place.ticket, place.ticket
        else:
            last = issued + 1
        ahead = last > ticket + 1 and calls.locked_elsewhere(guard, TICKET_BASE + ticket + 1, last - ticket - 1)
        if free and state.epoch == guard.epoch and last > ticket and (in_section or (not ahead and state.plain)):
            now_ms = calls.wall_ms()
            again = again and guard.signed is request.signature
            if again and guard.spare and issued == ticket:
                guard.spare -= 1  # nobody was here since we were, and a generation is left from then
            else:
                if ahead and place is None:
                    issued = ticket  # we go past the waiters, and they remain
                block = min(2 * guard.block, MOST_RESERVED) if again else 1
                slot = guard_record.encode(request.signature, now_ms, state.generation + block, state.epoch, issued)
                calls.write(guard, slot, state.slot)
                guard.known = state = state.granted(slot, state.generation + block, state.epoch, issued)
                guard.signed, guard.block, guard.spare = request.signature, block, block - 1
            generation = state.generation - guard.spare
            calls.write(body, body_at(request.body, now_ms, generation).ljust(_BODY_BYTES), 0)
            try:
                calls.link(body, request.lock_path)
            except FileExistsError:
                pass  # somebody foreign's
            except FileNotFoundError:
                guard.rests = False  # the folder is gone, and our files with it
            else:
                return GuardedGrant(request, guard, None, body.identity, generation, state, place)
        calls.unlock(guard, OWNER_BASE + guard.epoch)
        guard.claim, guard.epoch = None, state.epoch
        return None
    except BaseException:
        undo(calls, request, guard)
        raise


def try_now(calls: Calls, request: GuardedRequest, mine: list[Handle] | None = None) -> GuardedGrant | None:
    """``acquire``, if it need not wait. -> None: it may have to, or has to make the folder.

    Args:
        mine: gets what was opened, for ``give_up``.
    """
    try:
        guard = calls.open_guard(request.guard_path, request.body_path)
    except FileNotFoundError:
        return None
    if mine is not None:
        mine.append(guard)
    grant = None
    try:
        grant = take(calls, request, guard, None)
    finally:
        if grant is None:
            calls.close(guard)
    return grant


def undo(calls: Calls, request: GuardedRequest, guard: Handle) -> None:
    """After a failure or an interruption on the way to a grant: leave no lock file of ours.

    Only the owner's byte tells whether there can be one. An error on the way must not hide the one that led here.
    """
    claim, guard.claim = guard.claim, None
    if claim is None:
        return
    try:
        if calls.lock(guard, SECTION) and calls.lock(guard, OWNER_BASE + guard.epoch):
            state = understood(guard, calls.read(guard, STATE_LENGTH))
            # A fence that did not come as far as its record has overruled nobody.
            if state.epoch == guard.epoch and _identity(calls.look(request.lock_path)) == claim:
                calls.unlink(request.lock_path)
    except OSError:
        pass  # the freed byte tells the next contender that the file is void


def begin_append(calls: Calls, grant: GuardedGrant) -> bool:
    """Lock the section for an append. -> False if somebody else is inside. Raises Superseded, outside the section."""
    guard = grant.guard
    if not calls.lock(guard, SECTION):
        return False
    try:
        current = _state(calls, grant)
        if not _same_grant(current, grant.state):
            raise Superseded(current.generation)
        if _identity(calls.look(grant.request.lock_path)) != grant.identity:
            raise Superseded(grant.generation)  # what the guard says may be higher: it is what we reserved
    except BaseException:
        calls.unlock(guard, SECTION)
        raise
    return True


def end_append(calls: Calls, grant: GuardedGrant) -> None:
    calls.unlock(grant.guard, SECTION)


def give_back(calls: Calls, grant: GuardedGrant) -> Released | None:
    """Remove L if it is ours, close everything, wake the first waiter. -> None if somebody else is in the section."""
    request, guard = grant.request, grant.guard
    try:
        if not calls.lock(guard, SECTION):
            return None
    except BaseException:
        close(calls, grant)  # L stays, and the freed byte tells that it is void
        raise
    rung = False
    try:
        state = _state(calls, grant)
        if state is not grant.state and not _same_grant(state, grant.state):
            return Released(removed=False)  # fenced: L belongs to a newer generation, even in our old inode
        if state.issued > state.ticket:
            # A moment early: while the first waiter wakes up we do the rest, and it tries until we have.
            rung = ring_next(calls, request, guard, state.ticket, state.issued)
        found = calls.look(request.lock_path) or (0, 0, 0)
        removed = found[:2] == grant.identity
        if removed:
            calls.unlink(request.lock_path)
            guard.mine = grant.state
            if found[2] == _BODY_BYTES:
                return _REMOVED
        if grant.apart is None and guard.body is not None:
            calls.empty(guard.body)  # somebody may have written into it; the next text shall be the whole of it
        return Released(removed, lost=not removed)
    finally:
        close(calls, grant, rung)


def _state(calls: Calls, grant: GuardedGrant) -> GuardState:
    """What Q says now. Nearly always nobody has written since our grant."""
    data = calls.read(grant.guard, STATE_LENGTH)
    return grant.state if data == grant.state.data else understood(grant.guard, data)


def _identity(found: tuple[int, int, int] | None) -> Identity | None:
    return None if found is None else found[:2]


def _same_grant(one: GuardState, other: GuardState) -> bool:
    return one.generation == other.generation and one.epoch == other.epoch


def close(calls: Calls, grant: GuardedGrant, rung: bool = False) -> None:
    """Close everything that a grant has open. L is gone before anybody sees the owner's byte free."""
    try:
        calls.close(grant.guard)  # frees the section and the owner's byte, at one stroke
    finally:
        if rung:
            calls.give_way()  # before the rest: whoever was rung may be waiting on our processor
        if grant.apart is not None:
            calls.close(grant.apart)
        if grant.place is not None and grant.place.bell is not None:
            calls.close(grant.place.bell)


def ring_next(calls: Calls, request: GuardedRequest, guard: Handle, ticket: int, issued: int) -> bool:
    """Ring the first waiter behind a ticket, if there is one. Who has gone has no bell any more; who has none yet looks
    for itself."""
    if issued <= ticket:
        return False
    if calls.ring(request.guard_path, ticket + 1):
        return True  # nearly always
    first = next_waiter(calls, guard, ticket, issued)
    return first is not None and calls.ring(request.guard_path, first)


def next_waiter(calls: Calls, guard: Handle, ticket: int, issued: int) -> int | None:
    """The first ticket behind this one that somebody waits with. However many have gone, however far the numbers have
    jumped (see ``guard_record``): the kernel knows."""
    if issued <= ticket:
        return None
    first = calls.first_locked(guard, TICKET_BASE + ticket + 1, issued - ticket)
    return None if first is None else first - TICKET_BASE


def claim(calls: Calls, request: GuardedRequest, guard: Handle, place: Place) -> GuardedGrant | None:
    """Take the lock, after a ring: whoever rang is about to give it back, or was killed or paused over it."""
    for _ in range(_CLAIM_TRIES):
        grant = take(calls, request, guard, place)
        if grant is not None:
            return grant
        calls.give_way()
    return None


# --------------------------------------------------------------------------- the algorithm


def acquire(request: GuardedRequest, mine: list[Handle] | None = None) -> Steps[GuardedGrant]:
    """Take the lock, waiting in the queue until the timeout. Tries at least once.

    Args:
        mine: gets what was opened, for ``give_up``.

    Raises:
        SessionLocked: with the owner and what can be done about it.
        LockStateError: L is a directory or link, or the guard's record is damaged: nobody may go on.
    """
    mine = [] if mine is None else mine
    mine.clear()
    try:
        try:
            grant: GuardedGrant | None = yield Straight(_attempt, (request, mine))
        except FileNotFoundError:
            yield MakeDirectory(os.path.dirname(request.guard_path))
            grant = yield Straight(_attempt, (request, mine))
        if grant is None:
            grant = yield from _wait_in_queue(request, mine)
        return grant
    except GeneratorExit:
        raise
    except BaseException:
        if mine:
            yield Straight(undo, (request, mine[0]))
            yield Close(mine[0])
        raise


def _attempt(calls: Calls, request: GuardedRequest, mine: list[Handle]) -> GuardedGrant | None:
    guard = calls.open_guard(request.guard_path, request.body_path)
    mine.append(guard)
    return take(calls, request, guard, None)


def _wait_in_queue(request: GuardedRequest, mine: list[Handle]) -> Steps[GuardedGrant]:
    """``mine``: the open guard, for whoever must clean up."""
    start: float = yield Now()
    deadline = start + request.timeout_s
    place: Place | None = None
    idle: tuple[int, float] | None = None  # since when the lock of which generation lies free before us
    drawn = False  # we have tried to get a place
    missed: bytes | None = None  # what the guard said when the lock lay free, and could not be had
    grant: GuardedGrant | None
    try:
        while True:
            guard = mine[0]
            if (yield from _is_deleted(guard)):
                yield from _lose_place(guard, place)
                place, drawn = None, False
                mine[0] = yield from _open_anew(request, guard)
                continue
            now: float = yield Now()
            if not drawn and now < deadline:
                drawn = True
                place = yield from _join(request, guard, deadline)
                if place is not None:
                    place = place._replace(bell=(yield OpenBell(request.guard_path, place.ticket)))
                    mine += [] if place.bell is None else [place.bell]
                grant = yield Straight(take, (request, guard, place))
                if grant is not None:
                    return grant
            finding = yield from examine(request, guard)
            state = finding.guard
            if place is not None and place.ticket <= state.ticket:
                yield from _lose_place(guard, place)  # we were overtaken; join again
                place, drawn = None, False
                continue
            busy: Busy | None = None
            if isinstance(finding, Busy):
                busy, idle = finding, None
            elif (yield from _waiter_ahead(guard, state, place)):
                if idle is None or idle[0] != state.generation:
                    idle = (state.generation, now)
                if now - idle[1] < request.overtake_s:
                    busy = _queued(request, guard, state)
                    # We may have stood in the way of its only try.
                    yield Straight(ring_next, (request, guard, state.ticket, state.issued))
            if busy is None and (yield from _wait_for_section(request, guard, deadline)):
                again = yield from examine(request, guard)
                busy = again if isinstance(again, Busy) else None
                if not isinstance(again, Busy):
                    grant = yield from _grant(request, guard, again, place)
                    yield RangeUnlock(guard, SECTION)
                    if grant is not None:
                        mine += [] if grant.apart is None else [grant.apart]
                        return grant
                    if again.guard.data == missed:
                        # Nobody was faster. Where a look is a short lock, who is paused in one is in the way.
                        now = yield Now()
                        if now >= deadline:
                            held_up = replace(_queued(request, guard, again.guard), advice=_HELD_UP)
                            raise (yield from _locked(request, guard, held_up, place, now - start))
                        yield Sleep(min(deadline - now, request.overtake_s / 10))
                    missed = again.guard.data
                    continue  # somebody was faster
                yield RangeUnlock(guard, SECTION)
            now = yield Now()
            if busy is None or now >= deadline:
                raise (yield from _locked(request, guard, busy, place, now - start))
            if place is not None:
                busy = yield from _in_queue(request, guard, state, place, busy)
            rung: bool = yield busy.wait._replace(until=min(deadline, now + busy.look_again_s))
            if rung and place is not None:
                grant = yield Straight(claim, (request, guard, place))
            else:
                grant = yield Straight(take, (request, guard, place))
            if grant is not None:
                return grant
    except GeneratorExit:
        raise
    except BaseException:
        yield from _leave(request, mine[0], place)
        raise


def give_up(request: GuardedRequest, mine: list[Handle]) -> Steps[None]:
    """An interruption (Ctrl-C) came between a grant and whoever should have held it, or while it was given back: close
    everything. The lock file is void from then on, and is removed as any contender may remove it."""
    for handle in mine:
        yield Close(handle)
    try:
        grant = yield from acquire(request._replace(timeout_s=0.0))
    except OSError:  # SessionLocked is one
        return  # somebody has it, or whoever comes next takes it over
    yield from release(grant)


def fence(request: GuardedRequest, mine: list[Handle] | None = None) -> Steps[GuardedGrant]:
    """Raise the generation over a live owner of ours, past whoever waits; take the lock if its owner is gone.

    Args:
        mine: gets what was opened, for ``give_up``.

    Raises:
        LockStateError: the owner is foreign, or frozen inside its append section: it cannot be fenced.
    """
    mine = [] if mine is None else mine
    mine[:] = [(yield from _open_guard(request))]
    looks = 0
    try:
        while True:
            guard = mine[0]
            until = (yield Now()) + request.section_wait_s
            if not (yield from _lock(guard, SECTION, until)):
                state = yield from read_state(guard)
                raise LockStateError(
                    request.lock_path,
                    f"pid={state.record.pid} generation={state.generation}",
                    "the lock cannot be fenced: its owner is frozen inside its append section",
                )
            if (yield from _is_deleted(guard)):
                mine[0] = yield from _open_anew(request, guard)
                continue
            finding = yield from examine(request, guard)
            grant: GuardedGrant | None = None
            if not isinstance(finding, Busy):
                grant = yield from _grant(request, guard, finding, None)
                if grant is None and looks >= _HELD_UP_LOOKS:
                    raise LockStateError(request.lock_path, "no owner", _HELD_UP)
            elif finding.fenceable:
                grant = yield from _replace_live(request, guard, finding)
            elif not finding.live or finding.wait.seen is not None or looks >= _IN_TRANSIT_LOOKS:
                raise LockStateError(request.lock_path, finding.owner, f"the lock cannot be fenced. {finding.advice}")
            yield RangeUnlock(guard, SECTION)
            if grant is not None:
                # It watches the old owner.
                yield Straight(ring_next, (request, guard, grant.state.ticket, grant.state.issued))
                mine += [] if grant.apart is None else [grant.apart]
                return grant
            looks += 1
            yield Settle()  # whoever has the owner's byte and no lock file yet is about to link it
    except GeneratorExit:
        raise
    except BaseException:
        yield Straight(undo, (request, mine[0]))
        yield Close(mine[0])  # frees the section and the owner's byte as well
        raise


def release(grant: GuardedGrant) -> Steps[Released]:
    """Give the lock back. Removes L only while it is ours; closes everything, whatever happens.

    If the section cannot be got (its owner is paused inside), L stays: the freed byte tells our own kind that
    it is void, and outside the section nobody may touch it.
    """
    try:
        released: Released | None = yield Straight(give_back, (grant,))
        if released is None:
            until = (yield Now()) + grant.request.section_wait_s
            if (yield from _lock(grant.guard, SECTION, until)):
                released = yield Straight(give_back, (grant,))
            else:
                state = yield from read_state(grant.guard)
                first = yield Straight(next_waiter, (grant.guard, state.ticket, state.issued))
                yield Straight(close, (grant,))
                if first is not None:
                    yield Ring(grant.request.guard_path, first)
    except GeneratorExit:
        raise
    except BaseException:
        yield Straight(close, (grant,))
        raise
    return released or Released(removed=False)


def abandon(grant: GuardedGrant) -> Steps[None]:
    """An interruption came in the middle of a release: close what is open, and leave no lock file of ours."""
    bell = None if grant.place is None else grant.place.bell
    yield from give_up(grant.request, [one for one in (grant.guard, grant.apart, bell) if one is not None])


def enter(grant: GuardedGrant) -> Steps[None]:
    """Begin an append: from here to ``leave`` no other process of ours can change the lock's owner.

    Raises:
        Superseded: this holder holds no longer; nothing may be written. The section is free again.
        LockStateError: the section cannot be got: another process is paused inside it.
    """
    if (yield Straight(begin_append, (grant,))):
        return
    until = (yield Now()) + grant.request.section_wait_s
    if not (yield from _lock(grant.guard, SECTION, until)):
        raise LockStateError(
            grant.request.guard_path,
            f"generation={grant.generation}",
            "another process is paused inside the section; resume or stop it",
        )
    yield Straight(begin_append, (grant,))


def leave(grant: GuardedGrant) -> Steps[None]:
    """End an append."""
    yield Straight(end_append, (grant,))


# --------------------------------------------------------------------------- the queue


def _waiter_ahead(guard: Handle, state: GuardState, place: Place | None) -> Steps[bool]:
    """Does somebody wait in front of us (of everybody, if we have no place)?"""
    last = place.ticket if place else state.issued + 1
    if last <= state.ticket + 1:
        return False
    ahead: bool = yield RangeTest(guard, TICKET_BASE + state.ticket + 1, last - state.ticket - 1)
    return ahead


def _join(request: GuardedRequest, guard: Handle, deadline: float) -> Steps[Place | None]:
    """Take a ticket. -> None where range locks know no tickets, or whoever draws one is paused: such a waiter polls.

    Whoever gives the lock back while we draw may not see our ticket. It holds the section from before it looks until
    the lock is free; so once we have seen the section free, every later one will see the ticket, and every earlier one
    has left a free lock, which our next look finds.
    """
    now: float = yield Now()
    if not (yield from _lock(guard, QUEUE, min(deadline, now + request.section_wait_s))):
        return None
    state = yield from read_state(guard)
    ticket = max(state.issued, state.ticket) + 1
    place = None
    if (yield RangeLock(guard, TICKET_BASE + ticket)):
        yield WriteInPlace(guard, guard_record.encode_tickets(ticket), guard_record.TICKETS_OFFSET)
        waiter = guard_record.encode_waiter(ticket, request.process.pid)
        yield WriteInPlace(guard, waiter, guard_record.waiter_offset(ticket))
        place = Place(ticket, None)
    yield RangeUnlock(guard, QUEUE)
    if (yield RangeTest(guard, SECTION)):
        yield WaitForSection(guard, SECTION, min(deadline, now + request.overtake_s))
    return place


def _in_queue(request: GuardedRequest, guard: Handle, state: GuardState, place: Place, busy: Busy) -> Steps[Busy]:
    """What a waiter with this place waits for."""
    wait: WaitForRelease = busy.wait._replace(bell=place.bell)
    if (yield from _waiter_ahead(guard, state, place)):
        front = place.ticket - 1
        data: bytes = yield ReadAt(guard, 16, guard_record.waiter_offset(front))
        wait = wait._replace(pid=guard_record.decode_waiter(front, data), starttime=None, queued=True)
    # Without a bell nobody tells that the owner was overruled, and what we wait for ends with the overruled one.
    look_again_s = min(busy.look_again_s, request.overtake_s) if place.bell is None else busy.look_again_s
    return replace(busy, wait=wait, look_again_s=look_again_s)


def _queued(request: GuardedRequest, guard: Handle, state: GuardState) -> Busy:
    """The lock is free, and others wait for it."""
    pid = state.record.pid
    return Busy(
        f"pid={pid}" if pid else "unknown",
        "The session is free this instant, and others are before us.",
        WaitForRelease(request.lock_path, None, 0.0, guard, OWNER_BASE + state.epoch),
        state,
        look_again_s=request.overtake_s,
    )


def _lose_place(guard: Handle, place: Place | None) -> Steps[None]:
    if place is not None:
        yield RangeUnlock(guard, TICKET_BASE + place.ticket)
        if place.bell is not None:
            yield Close(place.bell)


def _leave(request: GuardedRequest, guard: Handle, place: Place | None) -> Steps[None]:
    """Give up waiting: nothing is left of us, and who stood behind us learns of it."""
    behind: int | None = None
    yield Straight(undo, (request, guard))
    if place is not None:
        try:
            issued = (yield from read_state(guard)).issued
            behind = yield Straight(next_waiter, (guard, place.ticket, issued))
        except OSError:
            pass  # whoever is behind us looks for itself, a little later
    try:
        yield Close(guard)  # frees the ticket, the section and the owner's byte
    except OSError:
        pass  # and it has, although it failed; what led here must be told, and the next one rung
    if place is not None:
        if place.bell is not None:
            yield Close(place.bell)
        if behind is not None:
            yield Ring(request.guard_path, behind)


def _count_ahead(guard: Handle, place: Place) -> Steps[int]:
    state = yield from read_state(guard)
    ahead, ticket = 0, state.ticket
    while (found := (yield Straight(next_waiter, (guard, ticket, place.ticket - 1)))) is not None:
        ahead, ticket = ahead + 1, found
    return ahead


# --------------------------------------------------------------------------- inside the section


def _open_guard(request: GuardedRequest) -> Steps[Handle]:
    try:
        guard: Handle = yield OpenGuard(request.guard_path, request.body_path)
    except FileNotFoundError:
        yield MakeDirectory(os.path.dirname(request.guard_path))
        guard = yield OpenGuard(request.guard_path, request.body_path)
    return guard


def _open_anew(request: GuardedRequest, guard: Handle) -> Steps[Handle]:
    guard.rests = False
    yield Close(guard)
    return (yield from _open_guard(request))


def _is_deleted(guard: Handle) -> Steps[bool]:
    """Somebody has removed the guard or the body file, or the folder: this handle guards nothing any more."""
    for handle in _files(guard):
        status: FileStatus = yield Identify(handle)
        if not status.links:
            return True
    return not guard.rests


def _files(guard: Handle) -> Iterator[Handle]:
    yield guard
    if guard.body is not None:
        yield guard.body


def _wait_for_section(request: GuardedRequest, guard: Handle, deadline: float) -> Steps[bool]:
    # A try at the last instant still gets the moment that another's short section may take.
    patience = (yield Now()) + request.section_wait_s / 10
    return (yield from _lock(guard, SECTION, max(deadline, patience)))


def _lock(guard: Handle, byte: int, until: float) -> Steps[bool]:
    while not (yield RangeLock(guard, byte)):
        if (yield Now()) >= until:
            return False
        yield WaitForSection(guard, byte, until)
    return True


def _grant(
    request: GuardedRequest, guard: Handle, finding: Free | Dead, place: Place | None
) -> Steps[GuardedGrant | None]:
    """-> None if somebody was faster: look again."""
    state = finding.guard
    guard.epoch = state.epoch
    if isinstance(finding, Free):
        grant: GuardedGrant | None = yield Straight(take, (request, guard, place, True))
        return grant
    guard.claim = guard.body.identity if guard.body else None
    if (yield RangeLock(guard, OWNER_BASE + state.epoch)):
        if (yield from read_state(guard)).data == state.data:
            grant = yield from (_take_over if finding.foreign else _inherit)(request, guard, finding, place)
            if grant is not None:
                return grant
        yield RangeUnlock(guard, OWNER_BASE + state.epoch)
    guard.claim = None
    return None


def _inherit(request: GuardedRequest, guard: Handle, finding: Dead, place: Place | None) -> Steps[GuardedGrant | None]:
    """L is our body file, and its owner is dead: write our name into it. -> None if L is another file by now."""
    own = guard.body
    assert own is not None
    state = yield from _record(request, guard, finding.guard, finding.guard.epoch, place)
    text = body_at(request.body, state.record.granted_ms, state.generation)
    yield WriteInPlace(own, text.ljust(_BODY_BYTES), truncate=True)
    yield Settle()
    try:
        # Who sees names late (delayed visibility) may have seen an L that its owner had removed. A link cannot be
        # fooled: it finds L there, or makes it.
        yield LinkFile(own, request.lock_path)
    except FileNotFoundError:
        guard.rests = False  # the folder is gone, and our files with it
        return None
    except FileExistsError:
        status = yield from look(request.lock_path)
        if status is None or status.identity != own.identity:
            return None
    return GuardedGrant(request, guard, None, own.identity, state.generation, state, place, finding.reason)


def _take_over(
    request: GuardedRequest, guard: Handle, finding: Dead, place: Place | None
) -> Steps[GuardedGrant | None]:
    """Overwrite a dead foreign owner's lock file in place. -> None if it is another file by now."""
    seen = finding.foreign
    assert seen is not None
    try:
        own: Handle = yield OpenExisting(request.lock_path, writable=True)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise LockStateError(
            request.lock_path, finding.owner, "its owner is dead, but we may not write the file; remove it"
        ) from error
    data: bytes = yield ReadAt(own, len(seen.data))
    status: FileStatus = yield Identify(own)
    if data == seen.data and status.unchanged(seen.status):
        wall_ms: int = yield WallNow()
        text = body_at(request.body, wall_ms, finding.guard.generation + 1)
        replaces = fingerprint(data) if finding.names_owner else ""
        more = guard_record.fingerprints(fingerprint(text), replaces)
        state = yield from _record(request, guard, finding.guard, finding.guard.epoch, place, wall_ms, more)
        guard.claim = status.identity
        # Padded: no instant at which a reader sees half of each.
        padded = text.ljust(status.size_bytes) if status.size_bytes <= _PAD_LIMIT_BYTES else text
        yield WriteInPlace(own, padded, truncate=True)
        yield Settle()
        if status.same_file((yield from look(request.lock_path))):
            return GuardedGrant(request, guard, own, status.identity, state.generation, state, place, finding.reason)
    yield Close(own)
    return None


def _replace_live(request: GuardedRequest, guard: Handle, finding: Busy) -> Steps[GuardedGrant | None]:
    """Overwrite a live owner's lock file in place; from the record on, its generation is not the newest."""
    old = finding.guard
    epoch = old.epoch + 1
    while not (yield RangeLock(guard, OWNER_BASE + epoch)):
        epoch += 1  # only where owners share lock files (see range_locks): a fenced owner still lives
    guard.epoch = epoch
    if finding.foreign is None:
        own = guard.body
        assert own is not None
        guard.claim = own.identity
        state = yield from _record(request, guard, old, epoch, None)
        text = body_at(request.body, state.record.granted_ms, state.generation)
        yield WriteInPlace(own, text.ljust(_BODY_BYTES), truncate=True)
        return GuardedGrant(request, guard, None, own.identity, state.generation, state, fenced=finding.live)
    try:
        own = yield OpenExisting(request.lock_path, writable=True)
    except FileNotFoundError:
        return None
    data: bytes = yield ReadAt(own, len(finding.foreign.data))
    status: FileStatus = yield Identify(own)
    if data != finding.foreign.data:
        yield Close(own)
        return None
    wall_ms: int = yield WallNow()
    text = body_at(request.body, wall_ms, old.generation + 1)
    more = guard_record.fingerprints(fingerprint(text), fingerprint(data))
    state = yield from _record(request, guard, old, epoch, None, wall_ms, more)
    guard.claim = status.identity
    yield WriteInPlace(own, text.ljust(status.size_bytes), truncate=True)
    return GuardedGrant(request, guard, own, status.identity, state.generation, state, fenced=finding.live)


def _record(
    request: GuardedRequest,
    guard: Handle,
    state: GuardState,
    epoch: int,
    place: Place | None,
    wall_ms: int | None = None,
    more: bytes = b"",
) -> Steps[GuardState]:
    """Write down the next generation, whose owner's byte we have. -> the guard's state from now on."""
    if place is not None:
        ticket = place.ticket
    else:
        ahead = yield from _waiter_ahead(guard, state, None)
        ticket = state.ticket if ahead else state.issued  # a fence goes past the waiters, and they remain
    now_ms: int = (yield WallNow()) if wall_ms is None else wall_ms
    generation = state.generation + 1
    slot = guard_record.encode(request.signature, now_ms, generation, epoch, ticket, more)
    yield WriteInPlace(guard, slot, state.slot)
    guard.signed = None  # nothing is reserved
    granted = guard.known = state.granted(slot, generation, epoch, ticket, plain=not more)
    return granted


def _locked(
    request: GuardedRequest, guard: Handle, busy: Busy | None, place: Place | None, waited_s: float
) -> Steps[SessionLocked]:
    if busy is not None:
        owner, advice = busy.owner, busy.advice
        if busy.live and (yield RangeTest(guard, SECTION)):
            advice += " Somebody is inside the lock's section: if it is paused there, resume or stop it."
        if place is not None:
            ahead = yield from _count_ahead(guard, place)
            advice += f" We were number {ahead + 1} in the queue."
    else:
        try:
            state = yield from read_state(guard)
        except LockStateError:
            state = GuardState()
        pid = state.record.pid
        owner = f"pid={pid}" if pid else "unknown"
        advice = (
            f"Some process is paused inside the lock's section; the last owner is pid {pid}, generation "
            f"{state.generation}. Resume or stop it."
        )
    return SessionLocked(request.lock_path, owner, timeout_s=request.timeout_s, waited_s=waited_s, advice=advice)
