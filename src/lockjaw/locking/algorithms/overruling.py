"""Overruling an owner that no generation reaches: one that is frozen inside the section.

An owner that stands still in its own append, or while it gives the lock back, keeps the section locked; so does a
contender that is frozen while it judges. The kernel takes no lock from a live process. But a lock guards only the file
that it lies on: we make a new guard, in which we own the next generation, and rename it over the name of the old one.

From that instant on, and it is one instant, the old guard guards nothing: every process of ours that has it open sees
that it has no name any more (``Calls.named``), and begins anew with the new one. What the frozen process still does:

* *an append*: it looks again before its write and after it, and learns that it was overruled. In between it may have
  written to a file that it had open before: the new owner gives the transcript a new file (``sessions.severing``), so
  such bytes land where no name leads. The *marker* says that this is still to be done, should the new owner die first.
* *a release*: it may remove the lock file by name, which by then is ours. We have the owner's byte and make it anew.
* *a take-over of a dead owner's lock*: it writes its record into the old guard, and finds its grant void.

A foreign lock file is never touched: what is overruled is an owner that the guard itself names, or nobody.
"""

from __future__ import annotations

from typing import NamedTuple

from lockjaw.errors import LockStateError, OwnerChanged
from lockjaw.files import OVERRULED_SUFFIX
from lockjaw.locking import guard_record
from lockjaw.locking.algorithms.findings import MOST_RESERVED, Busy, Dead, examine, read_state
from lockjaw.locking.algorithms.grants import same_grant
from lockjaw.locking.guard_record import OVERRULE, OWNER_BASE, SECTION, SLOT_BYTES, TICKETS_OFFSET, GuardState
from lockjaw.locking.operations import Calls, Handle
from lockjaw.locking.owner_record import BODY_BYTES, body_at
from lockjaw.locking.request import LockRequest

_FRESH = ".new"  # of the guard's new file, until it has the guard's name
#: Of the new generation over the last one, where no owner keeps others from recording theirs in the old guard: if we
#: die right behind the rename, this still is more than they can have recorded.
_MARGIN = 4 * MOST_RESERVED


class Overruled(NamedTuple):
    """``guard``: the new one, with the owner's byte. ``previous``: the generation that was overruled."""

    guard: Handle
    state: GuardState
    previous: int


def overrule(
    calls: Calls,
    request: LockRequest,
    old: Handle,
    mine: list[Handle],
    *,
    in_section: bool,
    only: int | None = None,
) -> Overruled | None:
    """Own the next generation in a new guard.

    Args:
        old: the guard whose section is not to be had.
        mine: gets the new one as soon as it is open, for ``give_up``.
        in_section: the caller holds the section, and the owner stands still outside.
        only: the generation that may be overruled, as in ``guarded.fence``.

    Returns:
        None: the section is free again, or there is another grant by now. Look again.

    Raises:
        OwnerChanged: another generation than ``only`` has the lock, or was recorded in the instant of the rename. (That
            owner has lost it then, and so have we.)
        LockStateError: the lock file is a foreign one. OSError: the disk refuses; the old guard is as it was.
    """
    if not calls.lock(old, OVERRULE):
        return None
    try:
        return _make_new(calls, request, old, mine, in_section, only)
    finally:
        calls.unlock(old, OVERRULE)


def _make_new(
    calls: Calls, request: LockRequest, old: Handle, mine: list[Handle], in_section: bool, only: int | None
) -> Overruled | None:
    if not calls.named(old):
        return None
    finding = examine(calls, request, old)
    if _foreign(finding):
        owner = finding.owner if isinstance(finding, Busy | Dead) else ""
        raise LockStateError(
            request.paths.lock, owner, "the lock cannot be fenced: some process is frozen inside its section, and the "
            "lock file is not the one of its owner",
        )  # fmt: skip
    if only is not None and isinstance(finding, Busy) and not finding.in_transit and finding.live != only:
        raise OwnerChanged(request.paths.lock, only, finding.live)
    margin = 1 if isinstance(finding, Busy) else _MARGIN
    fresh = request.paths.guard + _FRESH
    calls.unlink(fresh)  # of one that died here
    guard = calls.open_guard(fresh, request.paths.body)
    mine.append(guard)
    guard.rests = False  # until it has its name
    body = guard.body
    assert body is not None
    calls.lock(guard, SECTION)  # no other contender may judge the new guard while its record may still rise
    try:
        calls.close(calls.create_exclusive(request.paths.lock.removesuffix(".lock") + OVERRULED_SUFFIX))
    except FileExistsError:
        pass
    woken = not in_section and calls.lock(old, SECTION)  # no need
    if woken:
        calls.unlock(old, SECTION)
    state = read_state(calls, old)
    if woken or (only is not None and not same_grant(state, finding.guard)):
        calls.unlink(fresh)
        calls.close(mine.pop())
        return None
    guard.epoch = state.epoch + 1
    calls.lock(guard, OWNER_BASE + guard.epoch)
    now_ms, generation = calls.wall_ms(), state.generation + margin
    calls.write(guard, guard_record.encode(request.signature, now_ms, generation, guard.epoch, state.issued), 0)
    calls.write(guard, guard_record.encode_tickets(state.issued), TICKETS_OFFSET)
    calls.replace(fresh, request.paths.guard)
    guard.path, guard.rests = request.paths.guard, True
    guard.claim = body.identity
    # If we stood still before the rename, an owner in transit may have recorded a generation in the old guard, and been
    # granted it. From the rename on, none is granted there.
    late = read_state(calls, old)
    if only is not None and not same_grant(late, state):
        raise OwnerChanged(request.paths.lock, only, late.generation)
    if late.generation >= generation:
        generation = late.generation + margin
        again = guard_record.encode(request.signature, now_ms, generation, guard.epoch, state.issued)
        calls.write(guard, again, SLOT_BYTES)
    calls.write(body, body_at(request.body, now_ms, generation).ljust(BODY_BYTES), truncate=True)
    if calls.look(request.paths.lock) is None:
        try:
            calls.link(body, request.paths.lock)
        except FileExistsError:
            pass  # a foreign program was faster; the look tells
    found = calls.look(request.paths.lock)
    if found is None or found[:2] != body.identity:
        raise LockStateError(request.paths.lock, "", "another program took the lock file in this very moment")
    calls.unlock(guard, SECTION)
    # An owner that reserved generations has a lower one than its record tells.
    previous = finding.live if isinstance(finding, Busy) and same_grant(late, state) else late.generation
    return Overruled(guard, read_state(calls, guard), previous)


def newest(calls: Calls, request: LockRequest, generation: int) -> int:
    """The newest generation, for a holder whose guard has no name any more; its own ``generation`` if none is newer."""
    try:
        guard = calls.open_existing(request.paths.guard)
        try:
            return max(generation, read_state(calls, guard).generation)
        finally:
            calls.close(guard)
    except OSError:
        return generation


def _foreign(finding: object) -> bool:
    """Is there a lock file that is not of the owner whom the guard names?"""
    if isinstance(finding, Dead | Busy) and finding.foreign is not None:
        return True  # also one that an owner of ours has taken over in place: it stays the foreign file
    return isinstance(finding, Busy) and not (finding.fenceable or finding.in_transit)
