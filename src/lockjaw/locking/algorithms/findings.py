"""What a contender of ours finds at a lock path, and what that means: free, dead or busy.

``examine`` only looks; it must run inside the guard's section, so that what it found is still so when its
caller acts on it (as far as our own kind goes; for others see ``guarded``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from lockjaw.errors import LockStateError
from lockjaw.locking import guard_record
from lockjaw.locking.guard_record import OWNER_BASE, SECTION, GuardRecord, GuardState, UnreadableGuard
from lockjaw.locking.identity import ProcessIdentity
from lockjaw.locking.operations import (
    Contents,
    Exists,
    FileStatus,
    Handle,
    ProcessState,
    ProcessStatus,
    RangeTest,
    Read,
    ReadAt,
    Stat,
    Steps,
    WaitForRelease,
    WallNow,
)
from lockjaw.locking.owner_record import NOBODY, Judgement, OwnerRecord, fingerprint, judge, parse

__all__ = ["OWNER_BASE", "SECTION", "Busy", "Dead", "Finding", "Free", "GuardedRequest", "examine", "look"]

#: How old a lock file that names nobody must be before it is taken: its creator may be about to write it.
#: OpenClaw's later versions wait as long (#80686: 5 s robbed a frozen creator).
OWNERLESS_GRACE_S = 30.0


class GuardedRequest(NamedTuple):
    """Durations in nominal seconds.

    Args:
        section_wait_s: how long a release, an append or a fence waits for the section.
        overtake_s: how long a free lock waits for the first waiter before the next one takes it.
        owner: what the holder calls itself, for whoever wants to know whose turn is in the way.
        held_here: does this process hold that lock file by another algorithm?
        look_closely: something that ``Exists`` does not see may have the lock's name.
    """

    lock_path: str
    guard_path: str
    process: ProcessIdentity
    timeout_s: float
    max_hold_s: float
    section_wait_s: float = 2.0
    owner: str = ""
    held_here: Callable[[str], bool] = lambda path: False
    look_closely: bool = False
    overtake_s: float = 0.25

    @property
    def body_path(self) -> str:
        """The lock file by its other name; see ``guarded``."""
        return f"{self.guard_path.removesuffix('.guard')}.body.guard"


@dataclass(frozen=True, slots=True)
class Free:
    """No lock file, no owner."""

    guard: GuardState


@dataclass(frozen=True)
class Dead:
    """A lock file whose owner is proven dead, or that has named nobody for the whole grace."""

    contents: Contents
    reason: str
    owner: str
    names_owner: bool
    guard: GuardState


@dataclass(frozen=True)
class Busy:
    """Somebody holds the lock, or may.

    Args:
        owner: ``pid=N`` or ``unknown``.
        advice: sentences for a person: who, alive or not, since when, and what to do.
        wait: what to wait for (its ``until`` is the caller's).
        look_again_s: after which time the judgement may change by itself.
        live: generation of a live owner of ours, or 0.
        fenceable: that owner is ours and the lock file is its own.
        fingerprint: of the lock file's content.
    """

    owner: str
    advice: str
    wait: WaitForRelease
    look_again_s: float = math.inf
    live: int = 0
    fenceable: bool = False
    fingerprint: str = ""


Finding: TypeAlias = Free | Dead | Busy


def examine(request: GuardedRequest, guard: Handle) -> Steps[Finding]:
    """Look at guard and lock file.

    Raises:
        LockStateError: what lies at the lock path cannot be a lock, or the guard's record is damaged.
    """
    path = request.lock_path
    state = yield from read_state(guard)
    record = state.record
    owned = record.generation and (yield RangeTest(guard, OWNER_BASE + record.generation))
    if not owned and not request.look_closely and not (yield Exists(path)):
        return Free(state)
    contents = yield from _read_lock_file(path)
    if owned:
        return (yield from _live_owner(request, guard, record, contents))
    if contents is None:
        return Free(state)
    if isinstance(contents, FileStatus):
        return Busy(
            "unknown",
            "We may not read the lock file, so its owner counts as alive. Ask its user, or remove it.",
            WaitForRelease(path, contents, math.inf),
        )
    if record.names(fingerprint(contents.data)):
        return Dead(contents, "owner-byte-free", f"pid={record.pid}", names_owner=True, guard=state)
    owner = parse(contents.data)
    if owner.pid is None:
        return _ownerless(path, contents, state)
    process: ProcessState = yield ProcessStatus(owner.pid)
    judgement = judge(owner, process, request.process, held_here=request.held_here(path))
    if judgement.alive is False:
        return Dead(contents, judgement.reason, owner.owner, names_owner=True, guard=state)
    return (yield from _foreign_owner(path, contents, owner, judgement, record))


def look(path: str) -> Steps[FileStatus | None]:
    """Status of a name; None if there is none."""
    try:
        status: FileStatus = yield Stat(path)
    except FileNotFoundError:
        return None
    return status


def read_guard(guard: Handle) -> Steps[tuple[GuardRecord, int]]:
    """The last grant, and where to write the next one."""
    state = yield from read_state(guard)
    return state.record, state.slot


def read_state(guard: Handle) -> Steps[GuardState]:
    """All that a guard says. Raises LockStateError if it is damaged."""
    data: bytes = yield ReadAt(guard, guard_record.STATE_LENGTH)
    try:
        return guard_record.state(data)
    except UnreadableGuard as error:
        raise LockStateError(
            guard.path, data[:80], f"{error}; when no process uses this session any more, remove that file"
        ) from error


def _read_lock_file(path: str) -> Steps[Contents | FileStatus | None]:
    """Contents; the status alone if we may not read it; None if it is absent."""
    status = yield from look(path)
    if status is None:
        return None
    if status.kind != "file":
        raise LockStateError(path, status.kind, "there is no lock file but something else in its place; remove it")
    try:
        contents: Contents = yield Read(path)
    except FileNotFoundError:
        return None
    except PermissionError:
        return status
    return contents


def _live_owner(
    request: GuardedRequest, guard: Handle, record: GuardRecord, contents: Contents | FileStatus | None
) -> Steps[Busy]:
    path = request.lock_path
    now_ms: int = yield WallNow()
    seen = contents.status if isinstance(contents, Contents) else contents
    content = fingerprint(contents.data) if isinstance(contents, Contents) else ""
    has_file = bool(content) and content == record.fingerprint
    limit = ""
    if isinstance(contents, Contents) and (limit_ms := parse(contents.data).max_hold_ms):
        limit = f", limit {_age(limit_ms)}"
    advice = (
        f"Process {record.pid} is alive and has held the session for {_age(now_ms - record.granted_ms)}{limit} as "
        f"generation {record.generation} (a Lockjaw lock). "
    )
    here = record.pid_namespace == request.process.pid_namespace
    if has_file:
        advice += "Wait for its run, abort it, or take the session over."
    else:
        advice += f"Its lock file was removed or replaced from outside; stop process {record.pid}."
    return Busy(
        f"pid={record.pid}",
        advice,
        WaitForRelease(
            path,
            seen,
            math.inf,
            guard,
            OWNER_BASE + record.generation,
            record.pid if here else None,
            record.starttime if here else None,
        ),
        live=record.generation,
        fenceable=has_file,
        fingerprint=content,
    )


def _ownerless(path: str, contents: Contents, state: GuardState) -> Dead | Busy:
    age_s = contents.status.age_s
    if age_s >= OWNERLESS_GRACE_S:
        return Dead(contents, "missing-pid", NOBODY.owner, names_owner=False, guard=state)
    return Busy(
        NOBODY.owner,
        f"The lock file names no owner and was written {age_s:.1f} s ago: its owner may be about to write it. It is "
        f"taken over when it is {OWNERLESS_GRACE_S:g} s old.",
        WaitForRelease(path, contents.status, math.inf),
        # A little later than the grace, so that the next look does not fall just short of it.
        look_again_s=OWNERLESS_GRACE_S - age_s + 0.001,
    )


def _foreign_owner(
    path: str, contents: Contents, owner: OwnerRecord, judgement: Judgement, record: GuardRecord
) -> Steps[Busy]:
    now_ms: int = yield WallNow()
    age = "unknown age" if owner.created_at_ms is None else f"age {_age(now_ms - owner.created_at_ms)}"
    what = f"its lock ({age}) was not made by a Lockjaw lock; our last generation is {record.generation}"
    if judgement.alive is None:
        advice = (
            f"Process {owner.pid} belongs to another pid namespace and cannot be judged from here: {what}. Wait for "
            "its run, or remove the lock file if you know that it is dead."
        )
        return Busy(owner.owner, advice, WaitForRelease(path, contents.status, math.inf))
    return Busy(
        owner.owner,
        f"Process {owner.pid} is alive: {what}. Wait for its run or stop process {owner.pid}.",
        WaitForRelease(path, contents.status, math.inf, pid=owner.pid, starttime=owner.starttime),
    )


def _age(duration_ms: float) -> str:
    return f"{max(0.0, duration_ms / 1000):.1f} s"
