"""Who holds a session lock, for people and tools; looks without taking anything."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lockjaw.clock import Clock, ScaledClock
from lockjaw.errors import LockStateError
from lockjaw.locking.algorithms.findings import last_generation, look, read_state
from lockjaw.locking.guard_record import OWNER_BASE, TICKET_BASE, GuardState, decode_waiter, waiter_offset
from lockjaw.locking.host import THIS_HOST, Host
from lockjaw.locking.identity import ProcessIdentity
from lockjaw.locking.operations import (
    Close,
    Contents,
    Handle,
    OpenExisting,
    RangeTest,
    Read,
    ReadAt,
    Steps,
    WallNow,
)
from lockjaw.locking.owner_record import fingerprint, judge_owner, parse
from lockjaw.locking.paths import LockPaths

#: How far behind the last ticket that had its turn waiters are looked for.
MAX_WAITING_TICKETS = 1 << 20


@dataclass(frozen=True)
class LockView:
    """A lock at one instant.

    Args:
        exists: something has the lock file's name.
        pid, created_at_ms, starttime: from its body; None where it does not say.
        alive: True, False (proven dead) or None (nothing is proven, or there is no lock).
        dead_reason: the proof, where alive is False: ``owner-byte-free``, ``dead-pid``, ``zombie``,
            ``recycled-pid``, ``orphan-self-pid``; or why nothing is proven: ``missing-pid``,
            ``other-pid-namespace``, ``unreadable``, ``not-a-file``.
        ours: a Lockjaw guard names it, so a live owner can be fenced.
        owner: what a holder of ours calls itself (a run id); empty otherwise.
        generation: the last one that the guard granted; 0 without a guard.
        age_s: nominal seconds since it was taken (by its body, else by the file's time).
        max_hold_s: how long its owner means to hold it at most, nominal seconds; None where it does not say. A promise
            for people: nobody of ours takes a lock for its age.
        waiters: pids of who waits with a lock of ours, first come first; 0 for one that cannot be named.
        pid_here: the owner's process as this pid namespace counts, where ``pid`` counts in another one and the process
            can be seen from here.
    """

    exists: bool
    pid: int | None = None
    created_at_ms: int | None = None
    starttime: int | None = None
    alive: bool | None = None
    dead_reason: str | None = None
    ours: bool = False
    generation: int = 0
    owner: str = ""
    age_s: float = 0.0
    max_hold_s: float | None = None
    waiters: tuple[int, ...] = ()
    pid_here: int | None = None


def inspect_lock(
    session_file: str | os.PathLike[str], *, clock: Clock | None = None, host: Host = THIS_HOST
) -> LockView:
    """Look at a session's lock. Never waits, never changes anything, raises only what the disk raises."""
    clock = clock or ScaledClock.from_environment()
    return host.run(inspect(host.paths(session_file), host.identity()), clock)


def inspect(paths: LockPaths, me: ProcessIdentity) -> Steps[LockView]:
    """The algorithm of ``inspect_lock``."""
    guard, owner_lives, waiters = yield from _guard(paths.guard)
    status = yield from look(paths.lock)
    record, generation = guard.record, guard.generation
    if generation:
        try:
            last: Contents = yield Read(paths.body)
        except OSError:
            pass
        else:
            generation = last_generation(guard, parse(last.data))
    if status is None:
        return LockView(False, generation=generation)
    if status.kind != "file":
        return LockView(True, dead_reason="not-a-file", generation=generation, age_s=status.age_s)
    try:
        contents: Contents = yield Read(paths.lock)
    except FileNotFoundError:
        return LockView(False, generation=generation)
    except PermissionError:
        return LockView(True, dead_reason="unreadable", generation=generation, age_s=status.age_s)
    owner = parse(contents.data)
    now_ms: int = yield WallNow()
    age_s = status.age_s if owner.created_at_ms is None else max(0.0, (now_ms - owner.created_at_ms) / 1000)
    body = yield from look(paths.body)
    ours = status.same_file(body) or record.names(fingerprint(contents.data))
    alive: bool | None = None
    reason: str | None = "missing-pid"
    pid_here: int | None = None
    if ours:
        alive, reason = owner_lives, None if owner_lives else "owner-byte-free"
    elif owner.pid is not None:
        # Somebody else looks, so whether *this* process holds the file by another algorithm is no question.
        judgement = yield from judge_owner(owner, me, held_here=True)
        alive, reason, pid_here = judgement.alive, judgement.reason or None, judgement.pid_here
    return LockView(
        True,
        owner.pid,
        owner.created_at_ms,
        owner.starttime,
        alive,
        reason,
        ours,
        generation,
        record.owner if ours else "",
        age_s,
        None if owner.max_hold_ms is None else owner.max_hold_ms / 1000,
        waiters,
        pid_here,
    )


def _guard(path: str) -> Steps[tuple[GuardState, bool, tuple[int, ...]]]:
    """What the guard says, whether that owner lives, and who waits; an absent or damaged guard says nothing."""
    try:
        guard = yield OpenExisting(path)
    except OSError:
        return GuardState(), False, ()
    try:
        state = yield from read_state(guard)
        lives: bool = yield RangeTest(guard, OWNER_BASE + state.epoch)
        tickets: list[int] = []
        yield from _locked(guard, TICKET_BASE + state.ticket + 1, MAX_WAITING_TICKETS, tickets)
        waiters = []
        for ticket in (offset - TICKET_BASE for offset in tickets):
            data: bytes = yield ReadAt(guard, 16, waiter_offset(ticket))
            waiters.append(decode_waiter(ticket, data) or 0)
    except LockStateError:
        state, lives, waiters = GuardState(), False, []
    yield Close(guard)
    return state, lives and state.generation > 0, tuple(waiters)


def _locked(guard: Handle, offset: int, length: int, found: list[int]) -> Steps[None]:
    """The bytes in a range that somebody has locked, by halving: 21 tests for each."""
    if not (yield RangeTest(guard, offset, length)):
        return
    if length == 1:
        found.append(offset)
        return
    half = length // 2
    yield from _locked(guard, offset, half, found)
    yield from _locked(guard, offset + half, length - half, found)
