"""Our session lock: OpenClaw's lock file for everybody, a guard file with kernel locks for our own kind.

Theory of operation
-------------------
L = ``<session>.jsonl.lock`` means *held*, to every program that knows OpenClaw's lock. It appears whole and
vanishes by unlink: the body file B = ``<session>.jsonl.body.guard`` is written first and then gets L as its
second name. B itself stays; making and destroying a file for each grant would cost more than all the rest.

Q = ``<session>.jsonl.guard`` is never removed, and carries four things:

* byte 0, the *section*: whoever creates, replaces or removes L, or writes Q, or appends to the transcript,
  holds an exclusive range lock on it meanwhile. So contenders of ours cannot race at all, and an append cannot
  straddle a change of owner.
* byte ``OWNER_BASE + g``: locked by the owner of generation g for as long as it owns. The kernel drops it at
  the owner's death, however it dies: a free byte under a recorded generation *is* the proof of death. No pid
  is looked up for our own kind, so neither pid reuse nor another pid namespace can fool us.
* byte ``TICKET_BASE + t``: locked by the waiter with ticket t, and kept while it owns. The queue is the order of
  the tickets that are locked; a waiter that dies or gives up is out of it by the same act.
* the record of the last grant and the last ticket (``guard_record``). The byte is locked before the record is
  written, the record is written before L changes: a crash between any two of these leaves a state that the
  next contender reads correctly (see ``GuardRecord.replaces``).

Who finds the lock taken, or somebody waiting, takes a ticket and waits for its *bell*, which the releaser rings for
the first waiter alone. Bells are hints and may be lost, with their ringer for instance: so the first waiter
also watches the owner's process, every other one the process of the waiter in front, and all look for themselves now
and then. A free lock whose first waiter does not come (it is paused) goes to the next after ``overtake_s``: order is
a promise to the living and the awake.

The generation is the fencing token. ``fence`` grants g + 1 over a live owner; what stops the old owner is
that each of its appends runs inside ``enter`` ... ``leave``, which checks, under the section lock, that g is
still the newest. An owner that is frozen inside its own append keeps the section locked, and cannot be fenced.

Foreign owners (L whose content no grant of ours wrote) are judged by the written rules of ``owner_record``:
alive is honoured for as long as it lives, dead needs proof, a body that names nobody is taken only after a
grace, and a body from another pid namespace is never judged.

A dead owner's L is taken over *in place*: same inode, content compared right before, the name checked again
after a moment. Other programs unlink stale lock files by path; had we renamed ours over the name, we could
destroy the fresh lock of one that was faster, and one that is slower may still remove ours. In place, the
first cannot happen and the second is seen at once; if it happens later still, ``enter`` sees it and refuses.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import NamedTuple

from lockjaw.errors import LockStateError, SessionLocked
from lockjaw.locking import guard_record
from lockjaw.locking.algorithms.findings import (
    OWNER_BASE,
    SECTION,
    Busy,
    Dead,
    Free,
    GuardedRequest,
    examine,
    look,
    read_guard,
    read_state,
)
from lockjaw.locking.guard_record import TICKET_BASE, GuardRecord, GuardState
from lockjaw.locking.operations import (
    Close,
    FileStatus,
    Handle,
    Identify,
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
    Steps,
    Unlink,
    WaitForRelease,
    WaitForSection,
    WallNow,
    WriteInPlace,
)
from lockjaw.locking.owner_record import OwnerRecord, body, fingerprint

TIMEOUT_S = 60.0
_PAD_LIMIT_BYTES = 4096
_BODY_BYTES = 192  # of B, blanks behind the text: a shorter text never leaves the end of a longer one
_QUEUE_SCAN_LIMIT = 4096  # tickets that a release looks at to find the first waiter alive


class Place(NamedTuple):
    """A place in the queue. ``bell`` is None where there are none."""

    ticket: int
    bell: Handle | None


class GuardedGrant(NamedTuple):
    """Held. ``own`` is the lock file's inode, kept open; ``guard`` carries the owner's byte.

    Args:
        state: the guard's records as this grant left them.
        place: the one it waited at, if it waited.
        reclaimed: why the previous owner counted as dead, or empty.
        fenced: the live generation that this grant was raised over, or 0.
    """

    request: GuardedRequest
    guard: Handle
    own: Handle
    status: FileStatus
    generation: int
    state: bytes
    place: Place | None = None
    reclaimed: str = ""
    fenced: int = 0


class Released(NamedTuple):
    """``removed``: L was ours and is gone. ``lost``: it had been removed or replaced by somebody foreign."""

    removed: bool
    lost: bool = False


class Superseded(Exception):
    """The section was entered by a holder that holds no longer. ``current`` equals its own generation if no
    newer one was granted: then the lock file was taken away from outside."""

    def __init__(self, current: int) -> None:
        self.current = current
        super().__init__(current)


def acquire(request: GuardedRequest) -> Steps[GuardedGrant]:
    """Take the lock, waiting in the queue until the timeout. Tries at least once.

    Raises:
        SessionLocked: with the owner and what can be done about it.
        LockStateError: L is a directory or link, or the guard's record is damaged: nobody may go on.
    """
    start: float = yield Now()
    deadline = start + request.timeout_s
    guard = yield from _open_guard(request)
    place: Place | None = None
    idle: tuple[int, float] | None = None  # since when the lock of which generation lies free before us
    try:
        while True:
            busy: Busy | None = None
            if (yield RangeLock(guard, SECTION)) or (yield from _wait_for_section(request, guard, deadline)):
                finding = yield from examine(request, guard)
                if not isinstance(finding, Busy):
                    state = finding.guard
                    if place is not None and place.ticket <= state.record.ticket:
                        yield from _lose_place(guard, place)  # we were overtaken; join again
                        place = None
                    ahead = yield from _waiter_ahead(guard, state, place)
                    now: float = (yield Now()) if ahead else start
                    if ahead and idle is not None and idle[0] == state.record.generation:
                        ahead = now - idle[1] < request.overtake_s
                    elif ahead:
                        idle = (state.record.generation, now)
                    if not ahead:
                        grant = yield from _grant(request, guard, finding, place)
                        yield from _end_section(guard, grant)
                        if grant is not None:
                            return grant
                        request = request._replace(look_closely=True)
                        continue  # somebody foreign was faster
                    busy = _queued(request, guard, state)
                else:
                    busy, idle = finding, None
                now = yield Now()
                if now < deadline:
                    state = yield from read_state(guard)
                    if place is not None and place.ticket <= state.record.ticket:
                        yield from _lose_place(guard, place)
                        place = None
                    if place is None:
                        place = yield from _join(request, guard, state)
                    busy = yield from _in_queue(guard, state, place, busy)
                yield RangeUnlock(guard, SECTION)
                if place is not None and place.bell is None and now < deadline:
                    # Outside the section, which others want, too. A ring that came too early is made up for here.
                    place = place._replace(bell=(yield OpenBell(request.guard_path, place.ticket)))
                    yield Close((yield OpenGuard(request.body_path)))  # need not be opened when it is our turn
                    busy = replace(busy, wait=busy.wait._replace(bell=place.bell))
                    owner = busy.wait.offset
                    if owner and not (yield RangeTest(guard, owner)):
                        continue
            now = yield Now()
            if busy is None or now >= deadline:
                raise (yield from _locked(request, guard, busy, place, now - start))
            yield busy.wait._replace(until=min(deadline, now + busy.look_again_s))
    except GeneratorExit:
        raise
    except BaseException:
        yield from _leave(request, guard, place)
        raise


def fence(request: GuardedRequest) -> Steps[GuardedGrant]:
    """Raise the generation over a live owner of ours, past whoever waits; take the lock if its owner is gone.

    Raises:
        LockStateError: the owner is foreign, or frozen inside its append section: it cannot be fenced.
    """
    guard = yield from _open_guard(request)
    try:
        while True:
            until = (yield Now()) + request.section_wait_s
            if not (yield from _lock_section(guard, until)):
                record, _ = yield from read_guard(guard)
                raise LockStateError(
                    request.lock_path,
                    f"pid={record.pid} generation={record.generation}",
                    "the lock cannot be fenced: its owner is frozen inside its append section",
                )
            finding = yield from examine(request, guard)
            grant: GuardedGrant | None
            if not isinstance(finding, Busy):
                grant = yield from _grant(request, guard, finding, None)
            elif finding.fenceable:
                grant = yield from _replace_live(request, guard, finding)
            else:
                raise LockStateError(request.lock_path, finding.owner, f"the lock cannot be fenced. {finding.advice}")
            first = yield from _next_in_line(guard, 0)
            yield from _end_section(guard, grant)
            if first:
                yield Ring(request.guard_path, first)  # it watches the process of the old owner
            if grant is not None:
                return grant
            request = request._replace(look_closely=True)
    except GeneratorExit:
        raise
    except BaseException:
        yield Close(guard)  # frees the section and the owner's byte as well
        raise


def release(grant: GuardedGrant) -> Steps[Released]:
    """Give the lock back. Removes L only while it is ours; closes everything, whatever happens.

    If the section cannot be got (its owner is paused inside), L stays: the freed byte tells our own kind that
    it is void, and outside the section nobody may touch it.
    """
    first = 0
    try:
        released, first = yield from _remove_own(grant)
    except GeneratorExit:
        raise
    except BaseException:
        yield from _close(grant, first)
        raise
    yield from _close(grant, first)
    return released


def enter(grant: GuardedGrant) -> Steps[None]:
    """Begin an append: from here to ``leave`` no other process of ours can change the lock's owner.

    Raises:
        Superseded: this holder holds no longer; nothing may be written. The section is free again.
        LockStateError: the section cannot be got: another process is paused inside it.
    """
    until = (yield Now()) + grant.request.section_wait_s
    if not (yield from _lock_section(grant.guard, until)):
        raise LockStateError(
            grant.request.guard_path,
            f"generation={grant.generation}",
            "another process is paused inside the section; resume or stop it",
        )
    try:
        yield from _check(grant)
        if not grant.status.same_file((yield from look(grant.request.lock_path))):
            raise Superseded(grant.generation)
    except GeneratorExit:
        raise
    except BaseException:
        yield RangeUnlock(grant.guard, SECTION)
        raise


def leave(grant: GuardedGrant) -> Steps[None]:
    """End an append."""
    yield RangeUnlock(grant.guard, SECTION)


# --------------------------------------------------------------------------- the queue


def _waiter_ahead(guard: Handle, state: GuardState, place: Place | None) -> Steps[bool]:
    """Does somebody wait in front of us (of everybody, if we have no place)?"""
    last = place.ticket if place else state.issued + 1
    served = state.record.ticket
    if last <= served + 1:
        return False
    ahead: bool = yield RangeTest(guard, TICKET_BASE + served + 1, last - served - 1)
    return ahead


def _next_in_line(guard: Handle, above: int, state: GuardState | None = None) -> Steps[int]:
    """The lowest living ticket above ``above`` that has not had its turn, or 0."""
    state = state or (yield from read_state(guard))
    ticket = max(above, state.record.ticket) + 1
    if ticket <= state.issued and (yield RangeTest(guard, TICKET_BASE + ticket)):
        return ticket
    if ticket > state.issued or not (yield RangeTest(guard, TICKET_BASE + ticket, state.issued - ticket + 1)):
        return 0
    for candidate in range(ticket, min(state.issued, ticket + _QUEUE_SCAN_LIMIT) + 1):
        if (yield RangeTest(guard, TICKET_BASE + candidate)):
            return candidate
    return 0


def _join(request: GuardedRequest, guard: Handle, state: GuardState) -> Steps[Place | None]:
    """Take a ticket. -> None where the range locks know no tickets: such a waiter polls."""
    ticket = state.issued + 1
    if not (yield RangeLock(guard, TICKET_BASE + ticket)):
        return None
    yield WriteInPlace(guard, guard_record.encode_tickets(ticket), guard_record.TICKETS_OFFSET)
    waiter = guard_record.encode_waiter(ticket, request.process.pid)
    yield WriteInPlace(guard, waiter, guard_record.waiter_offset(ticket))
    return Place(ticket, None)


def _in_queue(guard: Handle, state: GuardState, place: Place | None, busy: Busy) -> Steps[Busy]:
    """What a waiter with this place waits for."""
    if place is None:
        return busy
    wait: WaitForRelease = busy.wait._replace(bell=place.bell)
    if (yield from _waiter_ahead(guard, state, place)):
        front = place.ticket - 1
        data: bytes = yield ReadAt(guard, 16, guard_record.waiter_offset(front))
        wait = wait._replace(pid=guard_record.decode_waiter(front, data), starttime=None, queued=True)
    return replace(busy, wait=wait)


def _queued(request: GuardedRequest, guard: Handle, state: GuardState) -> Busy:
    """The lock is free, and others wait for it."""
    owner = f"pid={state.record.pid}" if state.record.pid else "unknown"
    return Busy(
        owner,
        "The session is free this instant, and others are before us.",
        WaitForRelease(request.lock_path, None, 0.0, guard, OWNER_BASE + state.record.generation),
        look_again_s=request.overtake_s,
    )


def _lose_place(guard: Handle, place: Place) -> Steps[None]:
    yield RangeUnlock(guard, TICKET_BASE + place.ticket)
    if place.bell is not None:
        yield Close(place.bell)


def _leave(request: GuardedRequest, guard: Handle, place: Place | None) -> Steps[None]:
    """Give up waiting: nothing is left of us, and who stood behind us learns of it."""
    behind = 0
    if place is not None:
        try:
            behind = yield from _next_in_line(guard, place.ticket)
        except OSError:
            pass  # whoever is behind us looks for itself, a little later
    yield Close(guard)  # frees the ticket, the section and the owner's byte
    if place is not None and place.bell is not None:
        yield Close(place.bell)
    if behind:
        yield Ring(request.guard_path, behind)


def _count_ahead(guard: Handle, place: Place) -> Steps[int]:
    record, _ = yield from read_guard(guard)
    ahead = 0
    for ticket in range(max(record.ticket + 1, place.ticket - _QUEUE_SCAN_LIMIT), place.ticket):
        ahead += bool((yield RangeTest(guard, TICKET_BASE + ticket)))
    return ahead


# --------------------------------------------------------------------------- inside the section


def _open_guard(request: GuardedRequest) -> Steps[Handle]:
    try:
        guard: Handle = yield OpenGuard(request.guard_path)
    except FileNotFoundError:
        yield MakeDirectory(os.path.dirname(request.guard_path))
        guard = yield OpenGuard(request.guard_path)
    return guard


def _wait_for_section(request: GuardedRequest, guard: Handle, deadline: float) -> Steps[bool]:
    # A try at the last instant still gets the moment that another's short section may take.
    patience = (yield Now()) + request.section_wait_s / 10
    return (yield from _lock_section(guard, max(deadline, patience)))


def _lock_section(guard: Handle, until: float) -> Steps[bool]:
    while not (yield RangeLock(guard, SECTION)):
        if (yield Now()) >= until:
            return False
        yield WaitForSection(guard, SECTION, until)
    return True


def _end_section(guard: Handle, grant: GuardedGrant | None) -> Steps[None]:
    try:
        yield RangeUnlock(guard, SECTION)
    except GeneratorExit:
        raise
    except BaseException:  # interrupted: nobody will ever release this grant
        if grant is not None:
            yield from _undo(grant.request, grant.own, named=True)
        raise


def _grant(
    request: GuardedRequest, guard: Handle, finding: Free | Dead, place: Place | None
) -> Steps[GuardedGrant | None]:
    """-> None if somebody foreign was faster: look again."""
    if isinstance(finding, Dead):
        return (yield from _take_over(request, guard, finding, place))
    return (yield from _name_body(request, guard, finding.guard, place))


def _name_body(
    request: GuardedRequest, guard: Handle, state: GuardState, place: Place | None
) -> Steps[GuardedGrant | None]:
    """Write the body file, then give it the lock's name."""
    own: Handle = yield OpenGuard(request.body_path)
    named = False
    try:
        record = yield from _own_record(request)
        text = body(record)
        yield WriteInPlace(own, text.ljust(_BODY_BYTES))
        claim = yield from _claim(request, guard, state, record, text, "", place)
        named = True
        try:
            status: FileStatus = yield LinkFile(own, request.lock_path)
        except (FileExistsError, FileNotFoundError):
            named = False
            yield RangeUnlock(guard, OWNER_BASE + claim.generation)
            yield Close(own)
            return None
        if status.size_bytes > _BODY_BYTES:  # somebody wrote more into the lock file of an earlier grant
            yield WriteInPlace(own, text.ljust(_BODY_BYTES), truncate=True)
    except GeneratorExit:
        raise
    except BaseException:
        yield from _undo(request, own, named)
        raise
    return GuardedGrant(request, guard, own, status, claim.generation, claim.state, place)


def _replace_live(request: GuardedRequest, guard: Handle, finding: Busy) -> Steps[GuardedGrant | None]:
    """Overwrite a live owner's lock file in place; from the record on, its generation is not the newest."""
    state = yield from read_state(guard)
    try:
        own: Handle = yield OpenExisting(request.lock_path, writable=True)
    except FileNotFoundError:
        return None
    named = False
    try:
        status: FileStatus = yield Identify(own)
        data: bytes = yield ReadAt(own, status.size_bytes)
        if fingerprint(data) != finding.fingerprint:
            yield Close(own)
            return None
        record = yield from _own_record(request)
        text = body(record)
        claim = yield from _claim(request, guard, state, record, text, finding.fingerprint, None)
        named = True
        yield WriteInPlace(own, text.ljust(status.size_bytes), truncate=True)
    except GeneratorExit:
        raise
    except BaseException:
        yield from _undo(request, own, named)
        raise
    return GuardedGrant(request, guard, own, status, claim.generation, claim.state, fenced=finding.live)


def _take_over(
    request: GuardedRequest, guard: Handle, finding: Dead, place: Place | None
) -> Steps[GuardedGrant | None]:
    """Overwrite a dead owner's lock file in place. -> None if it is another file by now."""
    seen = finding.contents
    try:
        own: Handle = yield OpenExisting(request.lock_path, writable=True)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise LockStateError(
            request.lock_path, finding.owner, "its owner is dead, but we may not write the file; remove it"
        ) from error
    named = False
    try:
        data: bytes = yield ReadAt(own, len(seen.data))
        status: FileStatus = yield Identify(own)
        if data != seen.data or not status.unchanged(seen.status):
            yield Close(own)
            return None
        record = yield from _own_record(request)
        text = body(record)
        padded = text
        if status.size_bytes <= _PAD_LIMIT_BYTES:
            padded = text.ljust(status.size_bytes)  # no instant at which a reader sees half of each
        replaces = fingerprint(data) if finding.names_owner else ""
        claim = yield from _claim(request, guard, finding.guard, record, text, replaces, place)
        named = True
        yield WriteInPlace(own, padded, truncate=True)
        yield Settle()
        if not status.same_file((yield from look(request.lock_path))):
            yield RangeUnlock(guard, OWNER_BASE + claim.generation)
            yield Close(own)
            return None
    except GeneratorExit:
        raise
    except BaseException:
        yield from _undo(request, own, named)
        raise
    return GuardedGrant(request, guard, own, status, claim.generation, claim.state, place, finding.reason)


def _own_record(request: GuardedRequest) -> Steps[OwnerRecord]:
    wall_ms: int = yield WallNow()
    me = request.process
    return OwnerRecord(me.pid, wall_ms, me.starttime, round(request.max_hold_s * 1000), me.pid_namespace)


class _Claim(NamedTuple):
    """A recorded generation; ``state``: the guard's records from now on."""

    generation: int
    state: bytes


def _claim(
    request: GuardedRequest,
    guard: Handle,
    state: GuardState,
    owner: OwnerRecord,
    text: bytes,
    replaces: str,
    place: Place | None,
) -> Steps[_Claim]:
    """Lock the next generation's byte and record the grant."""
    generation = state.record.generation + 1
    while not (yield RangeLock(guard, OWNER_BASE + generation)):
        generation += 1  # only where owners share lock files (see range_locks): a fenced owner still lives
    if place is not None:
        served = place.ticket
    elif (yield from _waiter_ahead(guard, state, None)):
        served = state.record.ticket  # a fence goes past the waiters, and they remain
    else:
        served = state.issued  # all who ever waited are gone: the next release need not look for them
    granted = GuardRecord(
        generation,
        owner.pid or 0,
        owner.starttime,
        owner.pid_namespace,
        owner.created_at_ms or 0,
        fingerprint(text),
        replaces,
        guard_record.label(request.owner),
        served,
    )
    slot = guard_record.encode(granted)
    yield WriteInPlace(guard, slot, state.slot)
    data = state.with_slot(slot)
    guard_record.written(data, granted, state.slot)
    return _Claim(generation, data)


def _undo(request: GuardedRequest, own: Handle, named: bool) -> Steps[None]:
    """After a failure or an interruption inside the section: leave no lock file of ours.

    ``named``: the file at the lock's name may be ours. An error on the way must not hide the one that led here.
    """
    if named:
        try:
            status: FileStatus = yield Identify(own)
            if status.same_file((yield from look(request.lock_path))):
                yield Unlink(request.lock_path)
        except OSError:
            pass  # the freed byte tells the next contender that the file is void
    yield Close(own)


def _check(grant: GuardedGrant) -> Steps[GuardState | None]:
    """Raises Superseded if a newer generation was granted. -> the guard's state, None if it is as we left it
    and nobody waits."""
    data: bytes = yield ReadAt(grant.guard, guard_record.STATE_LENGTH)
    state = guard_record.state(data)
    if state.data != grant.state and state.record.generation != grant.generation:
        raise Superseded(state.record.generation)
    return state if state.issued > state.record.ticket else None


def _remove_own(grant: GuardedGrant) -> Steps[tuple[Released, int]]:
    """-> what became of L, and the ticket of the waiter whose turn it is."""
    request, guard = grant.request, grant.guard
    if not (yield RangeLock(guard, SECTION)):
        until = (yield Now()) + request.section_wait_s
        if not (yield from _lock_section(guard, until)):
            return Released(removed=False), (yield from _next_in_line(guard, 0))
    try:
        state = yield from _check(grant)
    except Superseded:
        return Released(removed=False), 0  # fenced: L belongs to a newer generation, even in our old inode
    first = 0 if state is None else (yield from _next_in_line(guard, 0, state))
    if not grant.status.same_file((yield from look(request.lock_path))):
        return Released(removed=False, lost=True), first
    yield Unlink(request.lock_path)
    return Released(removed=True), first


def _close(grant: GuardedGrant, first: int) -> Steps[None]:
    """L is gone before anybody sees the owner's byte free, and the byte is free before the bell rings."""
    yield Close(grant.guard)  # frees the section and the owner's byte, at one stroke
    yield Close(grant.own)
    if first:
        yield Ring(grant.request.guard_path, first)
    if grant.place is not None and grant.place.bell is not None:
        yield Close(grant.place.bell)


def _locked(
    request: GuardedRequest, guard: Handle, busy: Busy | None, place: Place | None, waited_s: float
) -> Steps[SessionLocked]:
    if busy is not None:
        owner, advice = busy.owner, busy.advice
        if place is not None:
            ahead = yield from _count_ahead(guard, place)
            advice += f" We were number {ahead + 1} in the queue."
    else:
        try:
            record, _ = yield from read_guard(guard)
        except LockStateError:
            record = GuardRecord()
        owner = f"pid={record.pid}" if record.pid else "unknown"
        advice = (
            f"Some process is paused inside the lock's section; the last owner is pid {record.pid}, generation "
            f"{record.generation}. Resume or stop it."
        )
    return SessionLocked(request.lock_path, owner, timeout_s=request.timeout_s, waited_s=waited_s, advice=advice)
