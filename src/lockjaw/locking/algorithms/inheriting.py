"""Writing our name into a lock file that lies there: a dead owner's, or, to fence it, a live one's.

All of it runs inside the section, with the owner's byte; see ``guarded`` on why in place.
"""

from __future__ import annotations

from lockjaw.errors import LockStateError
from lockjaw.locking import guard_record
from lockjaw.locking.algorithms.findings import Busy, Dead, read_state
from lockjaw.locking.algorithms.grants import GuardedGrant, Place, same_grant
from lockjaw.locking.algorithms.queue import waiter_ahead
from lockjaw.locking.guard_record import OWNER_BASE, GuardState
from lockjaw.locking.operations import Calls, Handle, Settle, Steps
from lockjaw.locking.owner_record import BODY_BYTES, body_at, fingerprint
from lockjaw.locking.request import LockRequest

__all__ = ["inherit", "replace_live", "stands", "take_over"]

_PAD_LIMIT_BYTES = 4096


def stands(calls: Calls, grant: GuardedGrant) -> bool:
    """Is the guard of this new grant still the guard? If we stood still in the section, we may have been overruled
    there: then the grant is void from its beginning, and closed."""
    if calls.named(grant.guard):
        return True
    grant.guard.claim = None
    if grant.apart is not None:
        calls.close(grant.apart)
    return False


def inherit(
    calls: Calls, request: LockRequest, guard: Handle, finding: Dead, place: Place | None
) -> Steps[GuardedGrant | None]:
    """The lock file is our body, and its owner is dead: write our name into it. -> None: it is another file by now."""
    own = guard.body
    assert own is not None
    state = _record(calls, request, guard, finding.guard, finding.guard.epoch, place)
    text = body_at(request.body, state.record.granted_ms, state.generation)
    calls.write(own, text.ljust(BODY_BYTES), truncate=True)
    yield Settle()
    try:
        # A process that sees names late (delayed visibility) may have seen a lock file that its owner had removed. A
        # link cannot be fooled: it finds the name there, or makes it.
        calls.link(own, request.paths.lock)
    except FileNotFoundError:
        guard.rests = False  # the folder is gone, and our files with it
        return None
    except FileExistsError:
        status = calls.status(request.paths.lock)
        if status is None or status.identity != own.identity:
            return None
    return GuardedGrant(request, guard, None, own.identity, state.generation, state, place, finding.reason)


def take_over(
    calls: Calls, request: LockRequest, guard: Handle, finding: Dead, place: Place | None
) -> Steps[GuardedGrant | None]:
    """Overwrite a dead foreign owner's lock file in place. -> None if it is another file by now."""
    seen = finding.foreign
    assert seen is not None
    try:
        own = calls.open_existing(request.paths.lock, writable=True)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise LockStateError(
            request.paths.lock, finding.owner, "its owner is dead, but we may not write the file; remove it"
        ) from error
    data = calls.read(own, len(seen.data))
    status = calls.identify(own)
    if data == seen.data and status.unchanged(seen.status):
        wall_ms = calls.wall_ms()
        text = body_at(request.body, wall_ms, finding.guard.generation + 1)
        replaces = fingerprint(data) if finding.names_owner else ""
        more = guard_record.fingerprints(fingerprint(text), replaces)
        state = _record(calls, request, guard, finding.guard, finding.guard.epoch, place, wall_ms, more)
        guard.claim = status.identity
        # Padded: no instant at which a reader sees half of each.
        padded = text.ljust(status.size_bytes) if status.size_bytes <= _PAD_LIMIT_BYTES else text
        calls.write(own, padded, truncate=True)
        yield Settle()
        if status.same_file(calls.status(request.paths.lock)):
            return GuardedGrant(request, guard, own, status.identity, state.generation, state, place, finding.reason)
    calls.close(own)
    return None


def replace_live(calls: Calls, request: LockRequest, guard: Handle, finding: Busy) -> GuardedGrant | None:
    """Overwrite a live owner's lock file in place; from the record on, its generation is not the newest.

    Returns:
        None: look again. If we stood still in our look, the owner was in transit at its beginning: its record is newer
        than what we read, and lay there before the lock file that we have seen.
    """
    old = read_state(calls, guard)
    if not same_grant(old, finding.guard):
        return None
    epoch = old.epoch + 1
    while not calls.lock(guard, OWNER_BASE + epoch):
        epoch += 1  # only where owners share lock files (see range_locks): a fenced owner still lives
    guard.epoch = epoch
    if finding.foreign is None:
        own = guard.body
        assert own is not None
        guard.claim = own.identity
        state = _record(calls, request, guard, old, epoch, None)
        text = body_at(request.body, state.record.granted_ms, state.generation)
        calls.write(own, text.ljust(BODY_BYTES), truncate=True)
        return GuardedGrant(request, guard, None, own.identity, state.generation, state, fenced=finding.live)
    try:
        own = calls.open_existing(request.paths.lock, writable=True)
    except FileNotFoundError:
        return None
    data = calls.read(own, len(finding.foreign.data))
    status = calls.identify(own)
    if data != finding.foreign.data:
        calls.close(own)
        return None
    wall_ms = calls.wall_ms()
    text = body_at(request.body, wall_ms, old.generation + 1)
    more = guard_record.fingerprints(fingerprint(text), fingerprint(data))
    state = _record(calls, request, guard, old, epoch, None, wall_ms, more)
    guard.claim = status.identity
    calls.write(own, text.ljust(status.size_bytes), truncate=True)
    return GuardedGrant(request, guard, own, status.identity, state.generation, state, fenced=finding.live)


def _record(
    calls: Calls,
    request: LockRequest,
    guard: Handle,
    state: GuardState,
    epoch: int,
    place: Place | None,
    wall_ms: int | None = None,
    more: bytes = b"",
) -> GuardState:
    """Write down the next generation, whose owner's byte we have. -> the guard's state from now on."""
    if place is not None:
        ticket = place.ticket
    else:
        # A fence goes past the waiters, and they remain.
        ticket = state.ticket if waiter_ahead(calls, guard, state, None) else state.issued
    now_ms = calls.wall_ms() if wall_ms is None else wall_ms
    generation = state.generation + 1
    slot = guard_record.encode(request.signature, now_ms, generation, epoch, ticket, more)
    calls.write(guard, slot, state.slot)
    guard.signed = None  # nothing is reserved
    granted = guard.known = state.granted(slot, generation, epoch, ticket, plain=not more)
    return granted
