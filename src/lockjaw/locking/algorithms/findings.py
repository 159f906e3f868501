"""What a contender of ours finds at a lock path, and what that means: free, dead or busy.

``examine`` only looks; it must run inside the guard's section, so that what it found is still so when its
caller acts on it (as far as our own kind goes; for others see ``guarded``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

from lockjaw.errors import LockStateError
from lockjaw.locking import guard_record
from lockjaw.locking.guard_record import OWNER_BASE, GuardRecord, GuardState, UnreadableGuard
from lockjaw.locking.operations import Calls, Contents, FileStatus, Handle, WaitForRelease
from lockjaw.locking.owner_record import NOBODY, Judgement, OwnerRecord, fingerprint, judge_owner, parse
from lockjaw.locking.request import LockRequest

#: How old a lock file that names no owner must be before it is taken: its creator may be about to write it.
#: OpenClaw's later versions wait as long (#80686: 5 s robbed a frozen creator).
OWNERLESS_GRACE_S = 30.0

#: How many generations one record may reserve.
MOST_RESERVED = 256
_READS = 3


@dataclass(frozen=True, slots=True)
class Free:
    """No lock file, no owner."""

    guard: GuardState


@dataclass(frozen=True, slots=True)
class Dead:
    """A lock file whose owner is proven dead, or that has named nobody for the whole grace.

    ``foreign``: what was judged, where the lock file is not our body file.
    """

    guard: GuardState
    reason: str
    owner: str
    foreign: Contents | None = None
    names_owner: bool = True


@dataclass(frozen=True)
class Busy:
    """Somebody holds the lock, or may.

    Args:
        owner: ``pid=N`` or ``unknown``.
        advice: sentences for a person: who, alive or not, since when, and what to do.
        wait: what to wait for (its ``until`` is the caller's).
        guard: what the guard said.
        look_again_s: after which time the judgement may change by itself.
        owned: the owner's byte is locked.
        live: the generation that has it, as far as the guard tells; 0: none was granted yet.
        fenceable: that owner is ours and the lock file is its own.
        foreign: the lock file, where it is not our body file.
    """

    owner: str
    advice: str
    wait: WaitForRelease
    guard: GuardState
    look_again_s: float = math.inf
    owned: bool = False
    live: int = 0
    fenceable: bool = False
    foreign: Contents | None = None

    @property
    def in_transit(self) -> bool:
        """An owner of ours without a lock file: it is about to make it, or has just removed it."""
        return self.owned and self.wait.seen is None


Finding: TypeAlias = Free | Dead | Busy


def examine(calls: Calls, request: LockRequest, guard: Handle) -> Finding:
    """Look at guard and lock file.

    A free lock is taken outside the section, so ``Free`` and ``Dead`` are only true for the contender that then gets
    the owner's byte.

    Raises:
        LockStateError: what lies at the lock path cannot be a lock, or the guard's record is damaged.
    """
    path = request.paths.lock
    state = read_state(calls, guard)
    owned = calls.locked_elsewhere(guard, OWNER_BASE + state.epoch)
    status = calls.status(path)
    ours = status is not None and guard.body is not None and status.identity == guard.body.identity
    foreign: Contents | FileStatus | None = None
    if status is not None and not ours:
        foreign = _read_lock_file(calls, path, status)
    if owned:
        return _live_owner(calls, request, guard, state, status if ours else None, foreign)
    if ours:
        return Dead(state, "owner-byte-free", f"pid={state.record.pid}")
    if foreign is None:
        return Free(state)
    if isinstance(foreign, FileStatus):
        return Busy(
            "unknown",
            "We may not read the lock file, so its owner counts as alive. Ask its user, or remove it.",
            WaitForRelease(path, foreign, math.inf),
            state,
        )
    if state.record.names(fingerprint(foreign.data)):
        return Dead(state, "owner-byte-free", f"pid={state.record.pid}", foreign)
    owner = parse(foreign.data)
    if owner.pid is None:
        return _ownerless(path, foreign, state)
    judgement = judge_owner(calls, owner, request.process, held_here=path in request.registry.holds)
    if judgement.alive is False:
        return Dead(state, judgement.reason, owner.owner, foreign)
    return _foreign_owner(calls, path, foreign, owner, judgement, state)


def last_generation(state: GuardState, body: OwnerRecord) -> int:
    """The generation that was granted last, as the body file tells it, or the highest that it can have been."""
    said = body.generation or 0
    return said if state.plain and state.generation - MOST_RESERVED < said <= state.generation else state.generation


def read_state(calls: Calls, guard: Handle) -> GuardState:
    """All that a guard says. Raises LockStateError if it is damaged."""
    for _ in range(_READS):
        data = calls.read(guard, guard_record.STATE_LENGTH)
        try:
            return understood(guard, data)
        except LockStateError:
            continue  # the very first record may be being written this moment
    return understood(guard, data)


def understood(guard: Handle, data: bytes) -> GuardState:
    """What these bytes of a guard mean. Raises LockStateError if it is damaged."""
    known: GuardState | None = guard.known
    if known is not None and known.data == data:
        return known
    try:
        state = guard.known = guard_record.since(known or GuardState(), data)
    except UnreadableGuard as error:
        raise LockStateError(
            guard.path, data[:80], f"{error}; once no process uses this lock, remove that file"
        ) from error
    return state


def _read_lock_file(calls: Calls, path: str, status: FileStatus) -> Contents | FileStatus | None:
    """Contents; the status alone if we may not read it; None if it is gone."""
    if status.kind != "file":
        raise LockStateError(path, status.kind, "something other than a file is in the lock file's place; remove it")
    try:
        return calls.read_file(path)
    except FileNotFoundError:
        return None
    except PermissionError:
        return status


def _live_owner(
    calls: Calls,
    request: LockRequest,
    guard: Handle,
    state: GuardState,
    status: FileStatus | None,
    foreign: Contents | FileStatus | None,
) -> Busy:
    """``status``: of the lock file, if it is our body file."""
    path, record = request.paths.lock, state.record
    now_ms = calls.wall_ms()
    has_file = status is not None
    data = b""
    if has_file and guard.body is not None:
        data = calls.read(guard.body, guard_record.SLOT_BYTES)
    elif isinstance(foreign, Contents):
        data, status = foreign.data, foreign.status
        has_file = bool(record.fingerprint) and fingerprint(data) == record.fingerprint
    else:
        status = foreign
    text = parse(data)
    generation = last_generation(state, text)
    limit = f", limit {_age(text.max_hold_ms)}" if text.max_hold_ms else ""
    since_ms = text.created_at_ms if has_file and text.created_at_ms else record.granted_ms
    held = f"has held the {request.subject.noun} for {_age(now_ms - since_ms)}{limit}"
    advice = f"Process {record.pid} is alive and {held} as generation {generation} (a Lockjaw lock). "
    advice += request.subject.way_out
    here = record.pid_namespace == request.process.pid_namespace
    # Whoever has the byte may not have recorded itself yet: the end of the dead owner before it is no news.
    here = here and not calls.process_state(record.pid).is_over(record.starttime)
    return Busy(
        f"pid={record.pid}",
        advice,
        WaitForRelease(
            path,
            status,
            math.inf,
            guard,
            OWNER_BASE + state.epoch,
            record.pid if here else None,
            record.starttime if here else None,
        ),
        state,
        owned=True,
        live=generation,
        fenceable=has_file,
        foreign=foreign if isinstance(foreign, Contents) else None,
    )


def blame(calls: Calls, request: LockRequest, guard: Handle, busy: Busy) -> tuple[str, str]:
    """Who stands in the way, and what a person can do about it.

    A locked byte tells that some process holds it, and not which. The record names the last owner, and only while that
    one lives and its lock file lies there does the advice speak of it: any other process may be innocent.
    """
    record = busy.guard.record
    seen = record.pid > 0 and _may_live(calls, request, record)
    if not busy.owned or (busy.fenceable and seen):
        return busy.owner, busy.advice
    if not seen:
        last = f" (the last one that is recorded, process {record.pid}, has ended)" if record.pid else ""
        who = f"A process that cannot be seen from here holds the lock{last}."
    elif busy.wait.seen is None:
        who = (
            f"Some process is taking the {request.subject.noun} this very moment, or the lock file of generation "
            f"{busy.live} was removed or replaced from outside; which process holds the lock cannot be seen."
        )
    else:
        who = (
            f"The lock file of generation {busy.live} was removed or replaced from outside; which process holds the "
            "lock cannot be seen."
        )
    owner = busy.owner if seen else NOBODY.owner
    return owner, f"{who} Try again later; `fuser {guard.path}` names the processes that have the lock open."


def _may_live(calls: Calls, request: LockRequest, record: GuardRecord) -> bool:
    """As far as this pid namespace can see."""
    if record.pid_namespace != request.process.pid_namespace:
        return True
    return not calls.process_state(record.pid).is_over(record.starttime)


def _ownerless(path: str, contents: Contents, state: GuardState) -> Dead | Busy:
    age_s = contents.status.age_s
    if age_s >= OWNERLESS_GRACE_S:
        return Dead(state, "missing-pid", NOBODY.owner, contents, names_owner=False)
    return Busy(
        NOBODY.owner,
        f"The lock file names no owner and was written {age_s:.1f} s ago: its owner may be about to write it. It is "
        f"taken over when it is {OWNERLESS_GRACE_S:g} s old.",
        WaitForRelease(path, contents.status, math.inf),
        state,
        # A little later than the grace, so that the next look does not fall just short of it.
        look_again_s=OWNERLESS_GRACE_S - age_s + 0.001,
    )


def _foreign_owner(
    calls: Calls, path: str, contents: Contents, owner: OwnerRecord, judgement: Judgement, state: GuardState
) -> Busy:
    age = "unknown age" if owner.created_at_ms is None else f"age {_age(calls.wall_ms() - owner.created_at_ms)}"
    what = f"its lock ({age}) was not made by a Lockjaw lock; our last generation is {state.generation}"
    here = judgement.pid_here
    wait = WaitForRelease(path, contents.status, math.inf, pid=here, starttime=owner.starttime)
    if judgement.alive is None:
        seen = f"; it may be process {here} here" if here else ""
        advice = (
            f"Process {owner.pid} belongs to another pid namespace and cannot be judged from here{seen}: {what}. Wait "
            "for its run, or remove the lock file if you know that it is dead."
        )
    elif here:
        advice = (
            f"Process {owner.pid} of another pid namespace, which is process {here} here, is alive: {what}. Wait for "
            f"its run or stop process {here}."
        )
    else:
        advice = f"Process {owner.pid} is alive: {what}. Wait for its run or stop process {owner.pid}."
        wait = wait._replace(pid=owner.pid)
    return Busy(owner.owner, advice, wait, state)


def _age(duration_ms: float) -> str:
    return f"{max(0.0, duration_ms / 1000):.1f} s"
