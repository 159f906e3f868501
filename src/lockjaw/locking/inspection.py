"""Who holds a session lock, for people and tools; looks without taking anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from lockjaw.clock import Clock, ScaledClock
from lockjaw.errors import LockStateError
from lockjaw.locking.algorithms.findings import last_generation, read_state
from lockjaw.locking.guard_record import OWNER_BASE, TICKET_BASE, GuardState, decode_waiter, waiter_offset
from lockjaw.locking.host import THIS_HOST, Host
from lockjaw.locking.identity import ProcessIdentity
from lockjaw.locking.operations import Calls, Handle
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
            for people: no process of ours takes a lock for its age.
        waiters: pids of who waits with a lock of ours, first come first; 0 for one that cannot be named.
        pid_here: the owner's process as this pid namespace counts, where ``pid`` counts in another one and the process
            can be seen from here.
        in_transit: an owner of ours lives and has no lock file: it is about to make it, or has just removed it. Lasts
            for microseconds, unless the owner stands still there; then it can be overruled.
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
    in_transit: bool = False


def inspect_lock(
    session_file: str | os.PathLike[str], *, clock: Clock | None = None, host: Host = THIS_HOST
) -> LockView:
    """Look at a session's lock. Never waits, never changes anything, raises only what the disk raises."""
    clock = clock or ScaledClock.from_environment()
    return host.call(clock, inspect, host.paths(session_file), host.identity())


def inspect(calls: Calls, paths: LockPaths, me: ProcessIdentity) -> LockView:
    """What ``inspect_lock`` does."""
    guard, taken, waiters = _guard(calls, paths.guard)
    owner_lives = taken and guard.generation > 0
    status = calls.status(paths.lock)
    record, generation = guard.record, guard.generation
    if generation:
        try:
            last = calls.read_file(paths.body)
        except OSError:
            pass
        else:
            generation = last_generation(guard, parse(last.data))
    if status is None:
        return LockView(False, generation=generation, in_transit=taken)
    if status.kind != "file":
        return LockView(True, dead_reason="not-a-file", generation=generation, age_s=status.age_s)
    try:
        contents = calls.read_file(paths.lock)
    except FileNotFoundError:
        return LockView(False, generation=generation)
    except PermissionError:
        return LockView(True, dead_reason="unreadable", generation=generation, age_s=status.age_s)
    owner = parse(contents.data)
    now_ms = calls.wall_ms()
    age_s = status.age_s if owner.created_at_ms is None else max(0.0, (now_ms - owner.created_at_ms) / 1000)
    body = calls.status(paths.body)
    ours = status.same_file(body) or record.names(fingerprint(contents.data))
    alive: bool | None = None
    reason: str | None = "missing-pid"
    pid_here: int | None = None
    if ours:
        alive, reason = owner_lives, None if owner_lives else "owner-byte-free"
    elif owner.pid is not None:
        # We only look: whether *this* process holds the file by another algorithm does not matter here.
        judgement = judge_owner(calls, owner, me, held_here=True)
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


def _guard(calls: Calls, path: str) -> tuple[GuardState, bool, tuple[int, ...]]:
    """What the guard says, whether that owner lives, and who waits; an absent or damaged guard says nothing."""
    try:
        guard = calls.open_existing(path)
    except OSError:
        return GuardState(), False, ()
    try:
        state = read_state(calls, guard)
        lives = calls.locked_elsewhere(guard, OWNER_BASE + state.epoch)
        tickets = [offset - TICKET_BASE for offset in _locked(calls, guard, TICKET_BASE + state.ticket + 1)]
        waiters = [decode_waiter(ticket, calls.read(guard, 16, waiter_offset(ticket))) or 0 for ticket in tickets]
    except LockStateError:
        state, lives, waiters = GuardState(), False, []
    calls.close(guard)
    return state, lives, tuple(waiters)


def _locked(calls: Calls, guard: Handle, offset: int, length: int = MAX_WAITING_TICKETS) -> Iterator[int]:
    """The bytes in a range that somebody has locked, by halving: 21 tests for each."""
    if not calls.locked_elsewhere(guard, offset, length):
        return
    if length == 1:
        yield offset
        return
    half = length // 2
    yield from _locked(calls, guard, offset, half)
    yield from _locked(calls, guard, offset + half, length - half)
