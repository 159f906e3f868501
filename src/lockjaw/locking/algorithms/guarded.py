"""Our session lock: OpenClaw's lock file for everybody, a guard file with kernel locks for our own kind.

Theory of operation
-------------------
The *lock file* ``<session>.jsonl.lock`` means *held*, to every program that knows OpenClaw's lock. It appears whole
and vanishes by unlink: the *body* file ``<session>.jsonl.body.guard`` is written first and then gets the lock file's
name as its second one. The body itself stays; making and destroying a file for each grant would cost more than all
the rest.

The *guard* ``<session>.jsonl.guard`` is never removed (one that is overruled is replaced), and carries four things:

* byte ``OWNER_BASE + epoch``: locked by the owner for as long as it owns. The kernel drops it at the owner's death,
  however it dies: a free byte *is* the proof of death. No pid is looked up for our own kind, so neither pid reuse nor
  another pid namespace can fool us. The *epoch* only rises when a live owner is overruled.
* byte 0, the *section*: whoever appends to the transcript, removes the lock file, or takes it from an owner that is
  dead or is overruled, holds it meanwhile. So an append cannot straddle a change of owner. Newcomers do not need it:
  an owner that gives the lock back does not wait for them.
* byte ``TICKET_BASE + ticket``: locked by the waiter with that ticket, and kept while it owns. The queue is the order
  of the tickets that are locked; a waiter that dies or gives up is out of it by the same act. Tickets are drawn under
  byte 1.
* the record of the last grant and the last ticket (``guard_record``).

*Taking a free lock* (``take``) needs no section: try the owner's byte; having it, no other contender of ours can take
or record anything, unless it overrules us, and it cannot yet: an overruler wants to see the lock file, and the link
that makes it is our last act. (The one that puts a new guard in the place of ours does not: so behind the link we see
that the guard still has its name, and that no process is about to replace it (byte 2), else we have nothing yet. So
whom an overruler saw is whom it overrules.) If there was no lock file when we had the byte, no dead owner's file is
waiting to be judged. So an uncontended acquire is: lock the byte, see that there is no lock file, read the guard, write
the guard, write the body, link, look at the guard's name and at byte 2; and a release is: lock the section, read the
guard, look at the lock file, unlink, unlock everything. (If we were the last owner and the guard is unchanged, we skip
looking for the lock file and writing the guard; see ``GuardState.generation``.) Each order matters: the byte before the
record, the record before the lock file, the lock file removed before the byte is free. A crash between any two leaves a
state that the next contender reads correctly.

*A contender that finds the lock taken, or others waiting*, takes a ticket and waits for its *bell*, which the
releaser rings for the first waiter alone, a moment before the lock is free: waking up takes longer than the rest of a
release. ``_join`` tells why no ring is missed. Bells are hints and may be lost, with their ringer for instance: so
the first waiter also watches the owner's process, every other one the process of the last waiter that is still in
front of it, and all look for themselves now and then. A newcomer that gets the byte while others wait lets go of it
again and rings, since it may have spoiled the only try of the waiter whose turn it was. A free lock whose first waiter
does not come (it is paused) goes to the next after ``overtake_s``: order is a promise to the living and the awake.

The *generation* is the fencing token. ``fence`` grants the next generation over a live owner, with the byte of the
next epoch; what stops the old owner is that each of its appends runs inside ``enter`` ... ``leave``, which checks,
under the section lock, that its generation still is the newest. An owner that is frozen inside its own append keeps
the section locked; then the guard itself is replaced, see ``overruling``.

Foreign owners (the lock file is neither the body nor what a take-over of ours wrote) are judged by the written rules
of ``owner_record``: a live one is honoured for as long as it lives, death needs proof, a file that names no owner is
taken only after a grace, and one from another pid namespace is never judged.

A dead owner's lock file is taken over *in place*, inside the section and with the owner's byte: same inode, content
compared right before, the name checked again after a moment. Other programs unlink stale lock files by path; had we
renamed our own file over the name, we could destroy the fresh lock of a faster one, and a slower one may still remove
ours. In place, the first cannot happen and the second is seen at once; if it happens later still, ``enter`` sees it
and refuses (``inheriting``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from lockjaw.errors import LockStateError, OwnerChanged, SessionLocked
from lockjaw.locking import guard_record
from lockjaw.locking.algorithms.findings import (
    MOST_RESERVED,
    Busy,
    Dead,
    Free,
    blame,
    examine,
    read_state,
    understood,
)
from lockjaw.locking.algorithms.grants import GuardedGrant, Place, Released, Superseded, same_grant
from lockjaw.locking.algorithms.inheriting import inherit, replace_live, stands, take_over
from lockjaw.locking.algorithms.overruling import newest, overrule
from lockjaw.locking.algorithms.queue import count_ahead, in_queue, next_waiter, queued, ring_next, waiter_ahead
from lockjaw.locking.guard_record import OVERRULE, OWNER_BASE, QUEUE, SECTION, STATE_LENGTH, TICKET_BASE, GuardState
from lockjaw.locking.operations import (
    Calls,
    Handle,
    Identity,
    Settle,
    Sleep,
    Steps,
    WaitForSection,
)
from lockjaw.locking.owner_record import BODY_BYTES, body_at
from lockjaw.locking.request import LockRequest
from lockjaw.locking.states import HOLDING, JUDGING, NEXT, OUTSIDE, TRYING, WAITING

TIMEOUT_S = 60.0
_CLAIM_TRIES = 60  # some microseconds each, while the process that rang us finishes its release
_HELD_UP = (
    "The lock lies free; some process is in the middle of a look at it. If it is paused there, resume or stop it."
)
_OVERRULER_STUCK = "the lock cannot be fenced: another process is frozen while it overrules the owner"
_HELD_UP_LOOKS = 100  # of a fence that finds the lock free each time
_IN_TRANSIT_LOOKS = 4  # a fence that meets an owner without a lock file looks so often whether it gets one


_REMOVED = Released(removed=True)


# --------------------------------------------------------------------------- what never waits


def take(
    calls: Calls, request: LockRequest, guard: Handle, place: Place | None, in_section: bool = False
) -> GuardedGrant | None:
    """Take the lock if it lies free and it is our turn; outside the section, and the whole of an uncontended acquire.

    Args:
        in_section: the caller holds the section and has seen that no lock file lies there, and that every waiter ahead
            of us has had the time to come.

    Returns:
        None: not now, and the section knows more.
    """
    body = guard.body
    assert body is not None
    guard.claim = body.identity
    if not calls.lock(guard, OWNER_BASE + guard.epoch):
        guard.claim = guard.mine = None  # there is an owner, so what the guard said when we left is over
        return None
    try:
        mine, guard.mine = guard.mine, None
        # If the guard says what it said when we removed our own lock file, then none of our kind has made one since:
        # what may lie there is foreign, and the link finds it.
        again = mine is not None and understood(guard, calls.read(guard, STATE_LENGTH)) is mine
        if again:
            free, state = True, mine
        else:
            # In this order: if no lock file lay there, and the epoch still is ours after that, only we can link one; so
            # nobody can overrule, and write to the guard, before our own link.
            free = in_section or not calls.exists(request.paths.lock)
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
            calls.write(body, body_at(request.body, now_ms, generation).ljust(BODY_BYTES), 0)
            try:
                calls.link(body, request.paths.lock)
            except FileExistsError:
                pass  # a foreign one
            except FileNotFoundError:
                guard.rests = False  # the folder is gone, and our files with it
            else:
                if calls.named(guard) and not calls.locked_now(guard, OVERRULE):
                    return GuardedGrant(request, guard, None, body.identity, generation, state, place)
                # We stood still, and were overruled before we had anything; or an overruler is about to, which has
                # looked whom it overrules, and may have seen another owner.
                calls.unlink(request.paths.lock)
        calls.unlock(guard, OWNER_BASE + guard.epoch)
        guard.claim, guard.epoch = None, state.epoch
        return None
    except BaseException:
        undo(calls, request, guard)
        raise


def undo(calls: Calls, request: LockRequest, guard: Handle) -> None:
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
            if state.epoch == guard.epoch and _identity(calls.look(request.paths.lock)) == claim:
                calls.unlink(request.paths.lock)
    except OSError:
        pass  # the freed byte tells the next contender that the file is void


def begin_append(calls: Calls, grant: GuardedGrant) -> bool:
    """Lock the section for an append. -> False if it is locked. Raises Superseded, outside the section."""
    guard = grant.guard
    if not calls.lock(guard, SECTION):
        return False
    try:
        verify(calls, grant)
        if not _is_ours(calls, grant):
            raise Superseded(grant.generation)  # what the guard says may be higher: it is what we reserved
    except BaseException:
        calls.unlock(guard, SECTION)
        raise
    return True


def check_named(calls: Calls, grant: GuardedGrant) -> None:
    """In mid-append, too: has another process put a new guard in the place of ours? Raises Superseded."""
    if not calls.named(grant.guard):
        raise Superseded(newest(calls, grant.request, grant.generation))


def verify(calls: Calls, grant: GuardedGrant) -> None:
    """Is this grant still the newest one? Raises Superseded."""
    current = _state(calls, grant)
    check_named(calls, grant)
    if not same_grant(current, grant.state):
        raise Superseded(current.generation)


def _is_ours(calls: Calls, grant: GuardedGrant) -> bool:
    """Is the lock file ours? Where an owner was overruled, it may have removed it late, as its own."""
    found = _identity(calls.look(grant.request.paths.lock))
    if found is None and grant.state.epoch and grant.apart is None and grant.guard.body is not None:
        try:
            calls.link(grant.guard.body, grant.request.paths.lock)
        except OSError:
            return False
        return True
    return found == grant.identity


def leave(calls: Calls, grant: GuardedGrant) -> None:
    """End an append."""
    calls.unlock(grant.guard, SECTION)


def give_back(calls: Calls, grant: GuardedGrant) -> Released | None:
    """Remove the lock file if it is ours, close everything, wake the first waiter. -> None if the section is locked."""
    request, guard = grant.request, grant.guard
    try:
        if not calls.lock(guard, SECTION):
            return None
    except BaseException:
        close(calls, grant)  # the lock file stays, and the freed byte tells that it is void
        raise
    rung = False
    try:
        state = _state(calls, grant)
        if not calls.named(guard) or (state is not grant.state and not same_grant(state, grant.state)):
            return Released(removed=False)  # fenced: the lock file is a newer generation's, even in our old inode
        if state.issued > state.ticket:
            # A moment early: while the first waiter wakes up we do the rest, and it tries until we have.
            rung = ring_next(calls, request, guard, state.ticket, state.issued)
        found = calls.look(request.paths.lock) or (0, 0, 0)
        removed = found[:2] == grant.identity
        if removed:
            calls.unlink(request.paths.lock)
            guard.mine = grant.state
            if found[2] == BODY_BYTES:
                return _REMOVED
        if grant.apart is None and guard.body is not None:
            # Another program may have written into the body; the next text shall be the whole of it.
            calls.write(guard.body, b"", truncate=True)
        return Released(removed, lost=not removed)
    finally:
        close(calls, grant, rung)


def _state(calls: Calls, grant: GuardedGrant) -> GuardState:
    """What the guard says now. Nearly always it is unchanged since our grant."""
    data = calls.read(grant.guard, STATE_LENGTH)
    return grant.state if data == grant.state.data else understood(grant.guard, data)


def _identity(found: tuple[int, int, int] | None) -> Identity | None:
    return None if found is None else found[:2]


def close(calls: Calls, grant: GuardedGrant, rung: bool = False) -> None:
    """Close everything that a grant has open. The lock file is gone before anybody sees the owner's byte free."""
    try:
        calls.close(grant.guard)  # frees the section and the owner's byte, at one stroke
    finally:
        if rung:
            calls.give_way()  # before the rest: the process that we rang may be waiting on our processor
        if grant.apart is not None:
            calls.close(grant.apart)
        if grant.place is not None and grant.place.bell is not None:
            calls.close(grant.place.bell)


def claim(calls: Calls, request: LockRequest, guard: Handle, place: Place) -> GuardedGrant | None:
    """Take the lock, after a ring: its ringer is about to give it back, or was killed or paused over it."""
    for _ in range(_CLAIM_TRIES):
        grant = take(calls, request, guard, place)
        if grant is not None:
            return grant
        calls.give_way()
    return None


# --------------------------------------------------------------------------- the algorithm


def acquire(calls: Calls, request: LockRequest, mine: list[Handle] | None = None) -> Steps[GuardedGrant]:
    """Take the lock, waiting in the queue until the timeout. Tries at least once.

    Args:
        mine: gets what was opened, for ``give_up``.

    Raises:
        SessionLocked: with the owner and what can be done about it.
        LockStateError: a directory or a link lies at the lock file's path, or the guard's record is damaged.
    """
    mine = [] if mine is None else mine
    mine.clear()
    try:
        guard = _open_guard(calls, request)
        mine.append(guard)
        return take(calls, request, guard, None) or (yield from _Contender(calls, request, mine).contend())
    except GeneratorExit:
        raise
    except BaseException:
        if mine:
            undo(calls, request, mine[0])
            calls.close(mine[0])
        raise


class _Contender:
    """One contender for whom the lock was not free: the part of the table in ``states`` from trying to holding.

    Each state is a method that returns the event that ends it.
    """

    __slots__ = (
        "_busy",
        "_calls",
        "_deadline",
        "_grant",
        "_idle",
        "_joined_at",
        "_mine",
        "_missed",
        "_place",
        "_refusal",
        "_request",
        "_start",
    )

    def __init__(self, calls: Calls, request: LockRequest, mine: list[Handle]) -> None:
        self._calls, self._request = calls, request
        self._mine = mine  # the open guard first, for whoever must clean up
        self._start = calls.now()
        self._deadline = self._start + request.timeout_s
        self._place: Place | None = None
        self._joined_at: float | None = None  # just now; the lock may have become free meanwhile
        self._busy: Busy | None = None  # what stands in the way, from the look that it judged last
        self._idle: tuple[int, float] | None = None  # since when the lock of which generation lies free before us
        self._missed: bytes | None = None  # what the guard said when the lock lay free, and could not be had
        self._grant: GuardedGrant | None = None
        self._refusal: SessionLocked | None = None

    def contend(self) -> Steps[GuardedGrant]:
        states = {TRYING: self._try, WAITING: self._wait, JUDGING: self._judge}
        state = TRYING
        try:
            while state in states:
                event = yield from states[state]()
                state = NEXT[state, event]
            if state == OUTSIDE:
                assert self._refusal is not None
                raise self._refusal
        except GeneratorExit:
            raise
        except BaseException:
            self._leave()
            raise
        assert state == HOLDING
        assert self._grant is not None
        return self._grant

    @property
    def _guard(self) -> Handle:
        return self._mine[0]

    # ------------------------------------------------------------------ states

    def _try(self) -> Steps[str]:
        """Draw a ticket, if there is time to wait; without it, look whether a dead owner is in the way."""
        while _is_deleted(self._calls, self._guard):
            self._open_anew()
        now = self._calls.now()
        if now < self._deadline:
            yield from self._join(now)
            return "join"
        return self._look(now) or self._refuse(self._busy)

    def _wait(self) -> Steps[str]:
        """Look, wait, try; until the lock is ours, or it lies there without a live owner, or time is over."""
        calls, request = self._calls, self._request
        joined_at, self._joined_at = self._joined_at, None
        if joined_at is not None:
            if self._take(rung=False):
                return "take"
            if (event := self._look(joined_at)) is not None:
                return event
        while True:
            if self._busy is None:
                if _is_deleted(calls, self._guard):
                    self._ring_behind()
                    self._lose_place()
                    self._open_anew()
                    return "lose place"
                if (event := self._look(calls.now())) is not None:
                    return event
            busy, now, place = self._busy, calls.now(), self._place
            assert busy is not None
            if now >= self._deadline:
                return self._refuse(busy)
            if place is not None:
                busy = in_queue(calls, request, self._guard, place, busy)
            rung = yield busy.wait._replace(until=min(self._deadline, now + busy.look_again_s))
            if self._take(rung):
                return "take"
            self._busy = None

    def _judge(self) -> Steps[str]:
        """Under the section: take the lock from nobody or from a dead owner, if it still is so."""
        calls, request, guard = self._calls, self._request, self._guard
        # A try at the last instant still gets the moment that another's short section may take.
        patience = calls.now() + request.section_wait_s / 10
        if not (yield from _lock(calls, guard, SECTION, max(self._deadline, patience))):
            return self._refuse(None)
        finding = examine(calls, request, guard)
        if isinstance(finding, Busy):
            calls.unlock(guard, SECTION)
            self._busy = finding
            return self._refuse(finding) if calls.now() >= self._deadline else "not now"
        self._grant = yield from _grant(calls, request, guard, finding, self._place)
        calls.unlock(guard, SECTION)
        if self._grant is not None and not stands(calls, self._grant):
            self._grant = None
            return "not now"
        if self._grant is not None:
            self._mine += [] if self._grant.apart is None else [self._grant.apart]
            return "inherit"
        if finding.guard.data == self._missed:
            # Nobody was faster. Where a look is a short lock, a process that is paused in one is in the way.
            now = calls.now()
            if now >= self._deadline:
                return self._refuse(replace(queued(request, guard, finding.guard), advice=_HELD_UP))
            yield Sleep(min(self._deadline - now, request.overtake_s / 10))
        self._missed = finding.guard.data
        return "not now"

    # ------------------------------------------------------------------ on the way

    def _look(self, now: float) -> str | None:
        """What is there? -> the event that it is, or None: ``_busy`` tells what stands in the way."""
        calls, request, guard, place = self._calls, self._request, self._guard, self._place
        finding = examine(calls, request, guard)
        state = finding.guard
        self._busy = None
        if place is not None and place.ticket <= state.ticket:
            self._lose_place()
            return "lose place"
        if isinstance(finding, Busy):
            self._busy, self._idle = finding, None
            return None
        if waiter_ahead(calls, guard, state, place):
            if self._idle is None or self._idle[0] != state.generation:
                self._idle = (state.generation, now)
            if now - self._idle[1] < request.overtake_s:
                self._busy = queued(request, guard, state)
                # We may have stood in the way of its only try.
                ring_next(calls, request, guard, state.ticket, state.issued)
                return None
        return "judge"

    def _take(self, rung: bool) -> bool:
        calls, request, guard, place = self._calls, self._request, self._guard, self._place
        if calls.locked_now(guard, OVERRULE):
            return False  # our ticket would have had its turn in vain
        if rung and place is not None:
            self._grant = claim(calls, request, guard, place)
        else:
            self._grant = take(calls, request, guard, place)
        return self._grant is not None

    def _join(self, now: float) -> Steps[None]:
        """Take a ticket; none where range locks know no tickets, or the process that draws one is paused: then we poll.

        A process that gives the lock back while we draw may not see our ticket. It holds the section from before it
        looks until the lock is free; so once we have seen the section free, every later one will see the ticket, and
        every earlier one has left a free lock, which our next look finds.
        """
        calls, request, guard, deadline = self._calls, self._request, self._guard, self._deadline
        self._joined_at, self._busy = now, None
        if not (yield from _lock(calls, guard, QUEUE, min(deadline, now + request.section_wait_s))):
            return
        state = read_state(calls, guard)
        ticket = max(state.issued, state.ticket) + 1
        place = None
        if calls.lock(guard, TICKET_BASE + ticket):
            calls.write(guard, guard_record.encode_tickets(ticket), guard_record.TICKETS_OFFSET)
            waiter = guard_record.encode_waiter(ticket, request.process.pid)
            calls.write(guard, waiter, guard_record.waiter_offset(ticket))
            place = Place(ticket, None)
        calls.unlock(guard, QUEUE)
        if calls.locked_elsewhere(guard, SECTION):
            yield WaitForSection(guard, SECTION, min(deadline, now + request.overtake_s))
        if place is not None:
            self._place = place._replace(bell=calls.open_bell(request.paths.guard, ticket))
            self._mine += [] if self._place.bell is None else [self._place.bell]

    def _lose_place(self) -> None:
        """We were overtaken, being paused, or the guard is another file by now."""
        place, self._place = self._place, None
        if place is not None:
            self._calls.unlock(self._guard, TICKET_BASE + place.ticket)
            if place.bell is not None:
                self._calls.close(place.bell)

    def _ring_behind(self) -> None:
        """The guard is another file by now, and this is the last that a waiter behind us may hear of the old one."""
        if self._place is not None:
            state = read_state(self._calls, self._guard)
            ring_next(self._calls, self._request, self._guard, self._place.ticket, state.issued)

    def _open_anew(self) -> None:
        self._guard.rests = False
        self._calls.close(self._guard)
        self._mine[0] = _open_guard(self._calls, self._request)

    def _refuse(self, busy: Busy | None) -> str:
        """``busy`` None: the section could not be had."""
        calls, request, guard = self._calls, self._request, self._guard
        if busy is not None:
            owner, said = blame(calls, request, guard, busy)
            if busy.owned and calls.locked_elsewhere(guard, SECTION):
                said += " Some process is inside the lock's section: if it is paused there, resume or stop it."
            if self._place is not None:
                ahead = count_ahead(calls, guard, self._place)
                said += f" We were number {ahead + 1} in the queue."
        else:
            try:
                state = read_state(calls, guard)
            except LockStateError:
                state = GuardState()
            owner = "unknown"
            said = (
                "Some process keeps the lock's section locked, which takes an append milliseconds: it is paused there, "
                f"and which one cannot be seen. `fuser {guard.path}` names the processes that have the lock open. The "
                f"last generation is {state.generation}."
            )
        waited_s = calls.now() - self._start
        self._refusal = request.subject.locked(
            request.paths.lock, owner, timeout_s=request.timeout_s, waited_s=waited_s, advice=said
        )
        return "refused"

    def _leave(self) -> None:
        """Give up waiting: nothing is left of us, and the waiter behind us is rung."""
        calls, request, guard, place = self._calls, self._request, self._guard, self._place
        behind: int | None = None
        undo(calls, request, guard)
        if place is not None:
            try:
                behind = next_waiter(calls, guard, place.ticket, read_state(calls, guard).issued)
            except OSError:
                pass  # it looks for itself, a little later
        try:
            calls.close(guard)  # frees the ticket, the section and the owner's byte
        except OSError:
            pass  # and it has, although it failed; what led here must be told, and the next waiter rung
        if place is not None:
            if place.bell is not None:
                calls.close(place.bell)
            if behind is not None:
                calls.ring(request.paths.guard, behind)


def give_up(calls: Calls, request: LockRequest, mine: list[Handle]) -> Steps[None]:
    """An interruption (Ctrl-C) came between a grant and its holder, or while it was given back: close everything. The
    lock file is void from then on, and is removed as any contender may remove it."""
    for handle in mine:
        calls.close(handle)
    try:
        grant = yield from acquire(calls, replace(request, timeout_s=0.0))
    except OSError:  # SessionLocked is one
        return  # another process has it, or the next contender takes it over
    yield from release(calls, grant)


def fence(
    calls: Calls, request: LockRequest, mine: list[Handle] | None = None, only: int | None = None
) -> Steps[GuardedGrant]:
    """Raise the generation over a live owner of ours, past all waiters; take the lock if its owner is gone.

    Args:
        mine: gets what was opened, for ``give_up``.
        only: the generation that may be overruled; None: whichever it is. An owner in transit may be, whoever it is:
            it has been granted nothing yet, and begins anew, or it is giving the lock back.

    Raises:
        OwnerChanged: another generation than ``only`` has it.
        LockStateError: the lock file is a foreign program's, or another process is frozen while it overrules.
    """
    mine = [] if mine is None else mine
    mine[:] = [_open_guard(calls, request)]
    looks = 0
    grant: GuardedGrant | None
    try:
        while True:
            guard = mine[0]
            in_section = yield from _lock(calls, guard, SECTION, calls.now() + request.section_wait_s)
            if not in_section and not _is_deleted(calls, guard):
                if (grant := _overruled(calls, request, mine, only)) is not None:
                    return grant
                looks += 1
                if looks >= _IN_TRANSIT_LOOKS:
                    state = read_state(calls, guard)
                    raise LockStateError(
                        request.paths.lock, f"pid={state.record.pid} generation={state.generation}", _OVERRULER_STUCK
                    )
                continue
            if _is_deleted(calls, guard):
                guard.rests = False
                calls.close(guard)
                mine[0] = _open_guard(calls, request)
                continue
            finding = examine(calls, request, guard)
            grant = None
            if not isinstance(finding, Busy):
                grant = yield from _grant(calls, request, guard, finding, None)
                if grant is None and looks >= _HELD_UP_LOOKS:
                    raise LockStateError(request.paths.lock, "no owner", _HELD_UP)
            elif finding.fenceable:
                if only is not None and finding.live != only:
                    raise OwnerChanged(request.paths.lock, only, finding.live)
                grant = replace_live(calls, request, guard, finding)
            elif finding.in_transit and looks >= _IN_TRANSIT_LOOKS:
                # It stands still between its byte and its lock file.
                if (grant := _overruled(calls, request, mine, only, in_section=True)) is not None:
                    return grant
                if looks >= 2 * _IN_TRANSIT_LOOKS:
                    owner, _ = blame(calls, request, guard, finding)
                    raise LockStateError(request.paths.lock, owner, _OVERRULER_STUCK)
            elif not finding.in_transit:
                owner, said = blame(calls, request, guard, finding)
                raise LockStateError(request.paths.lock, owner, f"the lock cannot be fenced. {said}")
            calls.unlock(guard, SECTION)
            if grant is not None:
                # The first waiter watches the old owner.
                ring_next(calls, request, guard, grant.state.ticket, grant.state.issued)
                if stands(calls, grant):
                    mine += [] if grant.apart is None else [grant.apart]
                    return grant
            looks += 1
            yield Settle()  # an owner that has its byte and no lock file yet is about to link it
    except GeneratorExit:
        raise
    except BaseException:
        for handle in mine:
            undo(calls, request, handle)
            calls.close(handle)  # frees the section and the owner's byte as well
        raise


def _overruled(
    calls: Calls, request: LockRequest, mine: list[Handle], only: int | None, in_section: bool = False
) -> GuardedGrant | None:
    """The grant of a new guard, over an owner that no generation reaches; see ``overruling``. ``mine``: the old guard.

    Args:
        in_section: we hold it; else it could not be had.
    """
    old = mine[0]
    queue = read_state(calls, old)
    done = overrule(calls, request, old, mine, in_section=in_section, only=only)
    if done is None:
        return None
    ring_next(calls, request, old, queue.ticket, queue.issued)  # and that waiter the next: their queue is gone
    old.rests = False
    calls.close(old)
    mine.remove(old)
    guard, state, previous = done
    assert guard.body is not None
    return GuardedGrant(request, guard, None, guard.body.identity, state.generation, state, fenced=previous)


def release(calls: Calls, grant: GuardedGrant) -> Steps[Released]:
    """Give the lock back. Removes the lock file only while it is ours; closes everything, whatever happens.

    If the section cannot be got (its owner is paused inside), the lock file stays: the freed byte tells our own kind
    that it is void, and outside the section none of us may touch it.
    """
    try:
        released = give_back(calls, grant)
        if released is None:
            if (yield from _lock(calls, grant.guard, SECTION, calls.now() + grant.request.section_wait_s)):
                released = give_back(calls, grant)
            else:
                state = read_state(calls, grant.guard)
                first = next_waiter(calls, grant.guard, state.ticket, state.issued)
                close(calls, grant)
                if first is not None:
                    calls.ring(grant.request.paths.guard, first)
    except GeneratorExit:
        raise
    except BaseException:
        close(calls, grant)
        raise
    return released or Released(removed=False)


def abandon(calls: Calls, grant: GuardedGrant) -> Steps[None]:
    """An interruption came in the middle of a release: close what is open, and leave no lock file of ours."""
    bell = None if grant.place is None else grant.place.bell
    yield from give_up(calls, grant.request, [one for one in (grant.guard, grant.apart, bell) if one is not None])


def enter(calls: Calls, grant: GuardedGrant) -> Steps[None]:
    """Begin an append: from here to ``leave`` no other process of ours can change the lock's owner.

    Raises:
        Superseded: this holder holds no longer; nothing may be written. The section is free again.
        LockStateError: the section cannot be got: another process is paused inside it.
    """
    if begin_append(calls, grant):
        return
    if not (yield from _lock(calls, grant.guard, SECTION, calls.now() + grant.request.section_wait_s)):
        raise LockStateError(
            grant.request.paths.guard,
            f"generation={grant.generation}",
            "another process is paused inside the section; resume or stop it",
        )
    begin_append(calls, grant)


# --------------------------------------------------------------------------- inside the section


def _open_guard(calls: Calls, request: LockRequest) -> Handle:
    try:
        return calls.open_guard(request.paths.guard, request.paths.body)
    except FileNotFoundError:
        calls.make_directory(os.path.dirname(request.paths.guard))
        return calls.open_guard(request.paths.guard, request.paths.body)


def _is_deleted(calls: Calls, guard: Handle) -> bool:
    """The guard's or the body's name was removed, or the folder was: this handle guards nothing any more."""
    return not all(calls.identify(handle).links for handle in _files(guard)) or not guard.rests


def _files(guard: Handle) -> Iterator[Handle]:
    yield guard
    if guard.body is not None:
        yield guard.body


def _lock(calls: Calls, guard: Handle, byte: int, until: float) -> Steps[bool]:
    while not calls.lock(guard, byte):
        if calls.now() >= until:
            return False
        yield WaitForSection(guard, byte, until)
    return True


def _grant(
    calls: Calls, request: LockRequest, guard: Handle, finding: Free | Dead, place: Place | None
) -> Steps[GuardedGrant | None]:
    """-> None if another contender was faster: look again."""
    state = finding.guard
    guard.epoch = state.epoch
    if calls.locked_now(guard, OVERRULE):
        return None  # it ends, or its new guard takes the place of this one
    if isinstance(finding, Free):
        return take(calls, request, guard, place, in_section=True)
    guard.claim = guard.body.identity if guard.body else None
    if calls.lock(guard, OWNER_BASE + state.epoch):
        if read_state(calls, guard).data == state.data:
            grant = yield from (take_over if finding.foreign else inherit)(calls, request, guard, finding, place)
            if grant is not None:
                return grant
        calls.unlock(guard, OWNER_BASE + state.epoch)
    guard.claim = None
    return None
