"""Our session lock: OpenClaw's lock file for everybody, a guard file with kernel locks for our own kind.

Theory of operation
-------------------
L = ``<session>.jsonl.lock`` means *held*, to every program that knows OpenClaw's lock. It appears whole (a
private file is linked to the name) and vanishes by unlink.

Q = ``<session>.jsonl.guard`` is never removed, and carries three things:

* byte 0, the *section*: whoever creates, replaces or removes L, or writes Q's record, or appends to the
  transcript, holds an exclusive range lock on it meanwhile. So contenders of ours cannot race at all, and an
  append cannot straddle a change of owner.
* byte ``OWNER_BASE + g``: locked by the owner of generation g for as long as it owns. The kernel drops it at
  the owner's death, however it dies: a free byte under a recorded generation *is* the proof of death. No pid
  is looked up for our own kind, so neither pid reuse nor another pid namespace can fool us.
* the record of the last grant (``guard_record``). The byte is locked before the record is written, the record
  is written before L changes: a crash between any two of these leaves a state that the next contender reads
  correctly (see ``GuardRecord.replaces``).

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
from dataclasses import dataclass, replace

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
)
from lockjaw.locking.guard_record import GuardRecord
from lockjaw.locking.operations import (
    Close,
    CreateExclusive,
    FileStatus,
    Handle,
    Identify,
    Link,
    MakeDirectory,
    Now,
    OpenExisting,
    OpenGuard,
    RangeLock,
    RangeUnlock,
    ReadAt,
    Replace,
    Settle,
    Steps,
    Unlink,
    WaitForSection,
    WallNow,
    WriteInPlace,
)
from lockjaw.locking.owner_record import OwnerRecord, body, fingerprint

TIMEOUT_S = 60.0
_PAD_LIMIT_BYTES = 4096


@dataclass(frozen=True)
class GuardedGrant:
    """Held. ``own`` keeps the lock file's inode from being reused; ``guard`` carries the owner's byte.

    ``reclaimed``: why the previous owner counted as dead, or empty. ``fenced``: the live generation that this
    grant was raised over, or 0.
    """

    request: GuardedRequest
    guard: Handle
    own: Handle
    status: FileStatus
    generation: int
    reclaimed: str = ""
    fenced: int = 0


@dataclass(frozen=True)
class Released:
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
    """Take the lock, waiting until the timeout. Tries at least once.

    Raises:
        SessionLocked: with the owner and what can be done about it.
        LockStateError: L is a directory or link, or the guard's record is damaged: nobody may go on.
    """
    start: float = yield Now()
    deadline = start + request.timeout_s
    yield MakeDirectory(os.path.dirname(request.lock_path))
    guard: Handle = yield OpenGuard(request.guard_path)
    try:
        while True:
            # A try at the last instant still gets the moment that another's short section may take.
            patience = (yield Now()) + request.section_wait_s / 10
            busy: Busy | None = None
            if (yield from _lock_section(guard, max(deadline, patience))):
                finding = yield from examine(request, guard)
                if not isinstance(finding, Busy):
                    grant = yield from _grant(request, guard, finding)
                    yield from _end_section(guard, grant)
                    if grant is not None:
                        return grant
                    continue  # somebody foreign was faster
                busy = finding
                yield RangeUnlock(guard, SECTION)
            now: float = yield Now()
            if busy is None or now >= deadline:
                raise (yield from _locked(request, guard, busy, now - start))
            yield replace(busy.wait, until=min(deadline, now + busy.look_again_s))
    except GeneratorExit:
        raise
    except BaseException:
        yield Close(guard)  # frees the section and the owner's byte as well
        raise


def fence(request: GuardedRequest) -> Steps[GuardedGrant]:
    """Raise the generation over a live owner of ours; take the lock if its owner is gone meanwhile.

    Raises:
        LockStateError: the owner is foreign, or frozen inside its append section: it cannot be fenced.
    """
    yield MakeDirectory(os.path.dirname(request.lock_path))
    guard: Handle = yield OpenGuard(request.guard_path)
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
                grant = yield from _grant(request, guard, finding)
            elif finding.fenceable:
                grant = yield from _replace_live(request, guard, finding)
            else:
                raise LockStateError(request.lock_path, finding.owner, f"the lock cannot be fenced. {finding.advice}")
            yield from _end_section(guard, grant)
            if grant is not None:
                return grant
    except GeneratorExit:
        raise
    except BaseException:
        yield Close(guard)
        raise


def release(grant: GuardedGrant) -> Steps[Released]:
    """Give the lock back. Removes L only while it is ours; closes everything, whatever happens.

    If the section cannot be got (its owner is paused inside), L stays: the freed byte tells our own kind that
    it is void, and outside the section nobody may touch it.
    """
    try:
        released = yield from _remove_own(grant)
    except GeneratorExit:
        raise
    except BaseException:
        yield from _close(grant)
        raise
    yield from _close(grant)
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
        record, _ = yield from read_guard(grant.guard)
        if record.generation != grant.generation:
            raise Superseded(record.generation)
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


# --------------------------------------------------------------------------- inside the section


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
            yield from _undo(grant.request, grant.own, grant.status)
        raise


def _grant(request: GuardedRequest, guard: Handle, finding: Free | Dead) -> Steps[GuardedGrant | None]:
    """-> None if somebody foreign was faster: look again."""
    if isinstance(finding, Dead):
        return (yield from _take_over(request, guard, finding))
    return (yield from _name_fresh_file(request, guard, replaces="", over_live=0))


def _replace_live(request: GuardedRequest, guard: Handle, finding: Busy) -> Steps[GuardedGrant | None]:
    # A fresh inode, not in place: the old owner must see at every look that the file is not its own.
    return (yield from _name_fresh_file(request, guard, replaces=finding.fingerprint, over_live=finding.live))


def _name_fresh_file(
    request: GuardedRequest, guard: Handle, *, replaces: str, over_live: int
) -> Steps[GuardedGrant | None]:
    """Write a lock file under its private name, then give it the real one."""
    fresh = request.fresh_path
    yield Unlink(fresh)
    own: Handle = yield CreateExclusive(fresh)
    status: FileStatus | None = None
    try:
        record = yield from _own_record(request)
        text = body(record)
        yield WriteInPlace(own, text)
        status = yield Identify(own)
        generation = yield from _claim(guard, record, request.owner, fingerprint(text), replaces)
        if over_live:
            yield Replace(fresh, request.lock_path)
        else:
            try:
                yield Link(fresh, request.lock_path)
            except FileExistsError:
                yield RangeUnlock(guard, OWNER_BASE + generation)
                yield Unlink(fresh)
                yield Close(own)
                return None
            yield Unlink(fresh)
    except GeneratorExit:
        raise
    except BaseException:
        yield from _undo(request, own, status)
        raise
    assert status is not None
    return GuardedGrant(request, guard, own, status, generation, fenced=over_live)


def _take_over(request: GuardedRequest, guard: Handle, finding: Dead) -> Steps[GuardedGrant | None]:
    """Overwrite a dead owner's lock file in place. -> None if it is another file by now."""
    seen = finding.contents
    yield Unlink(request.fresh_path)  # its maker may have died between giving it the second name and removing this
    try:
        own: Handle = yield OpenExisting(request.lock_path, writable=True)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise LockStateError(
            request.lock_path, finding.owner, "its owner is dead, but we may not write the file; remove it"
        ) from error
    status: FileStatus | None = None
    try:
        data: bytes = yield ReadAt(own, len(seen.data))
        now_there: FileStatus = yield Identify(own)
        if data != seen.data or not now_there.unchanged(seen.status):
            yield Close(own)
            return None
        record = yield from _own_record(request)
        text = body(record)
        if now_there.size_bytes <= _PAD_LIMIT_BYTES:
            text = text.ljust(now_there.size_bytes)  # no instant at which a reader sees half of each
        generation = yield from _claim(
            guard, record, request.owner, fingerprint(text), fingerprint(data) if finding.names_owner else ""
        )
        status = now_there
        yield WriteInPlace(own, text, truncate=True)
        yield Settle()
        if not status.same_file((yield from look(request.lock_path))):
            yield RangeUnlock(guard, OWNER_BASE + generation)
            yield Close(own)
            return None
    except GeneratorExit:
        raise
    except BaseException:
        yield from _undo(request, own, status)
        raise
    return GuardedGrant(request, guard, own, status, generation, reclaimed=finding.reason)


def _own_record(request: GuardedRequest) -> Steps[OwnerRecord]:
    wall_ms: int = yield WallNow()
    me = request.process
    return OwnerRecord(me.pid, wall_ms, me.starttime, round(request.max_hold_s * 1000), me.pid_namespace)


def _claim(guard: Handle, owner: OwnerRecord, name: str, content: str, replaces: str) -> Steps[int]:
    """Lock the next generation's byte and record the grant. -> the generation."""
    record, slot = yield from read_guard(guard)
    generation = record.generation + 1
    while not (yield RangeLock(guard, OWNER_BASE + generation)):
        generation += 1  # only where owners share lock files (see range_locks): a fenced owner still lives
    granted = GuardRecord(
        generation=generation,
        owner=guard_record.label(name),
        pid=owner.pid or 0,
        starttime=owner.starttime,
        pid_namespace=owner.pid_namespace,
        granted_ms=owner.created_at_ms or 0,
        fingerprint=content,
        replaces=replaces,
    )
    yield WriteInPlace(guard, guard_record.encode(granted), slot)
    return generation


def _undo(request: GuardedRequest, own: Handle, status: FileStatus | None) -> Steps[None]:
    """After a failure or an interruption inside the section: leave no lock file and no private file of ours.

    ``status`` is None until the file at the lock's name may be ours. An error on the way must not hide the
    one that led here, and each step counts for itself.
    """
    if status is not None:
        try:
            if status.same_file((yield from look(request.lock_path))):
                yield Unlink(request.lock_path)
        except OSError:
            pass  # the freed byte tells the next contender that the file is void
    try:
        yield Unlink(request.fresh_path)
    except OSError:
        pass  # the next contender removes it
    yield Close(own)


def _remove_own(grant: GuardedGrant) -> Steps[Released]:
    request, guard = grant.request, grant.guard
    until = (yield Now()) + request.section_wait_s
    if not (yield from _lock_section(guard, until)):
        return Released(removed=False)
    record, _ = yield from read_guard(guard)
    if record.generation != grant.generation:
        return Released(removed=False)  # fenced: L belongs to a newer generation, even if in our old inode
    if not grant.status.same_file((yield from look(request.lock_path))):
        return Released(removed=False, lost=True)
    yield Unlink(request.lock_path)
    return Released(removed=True)


def _close(grant: GuardedGrant) -> Steps[None]:
    yield Close(grant.own)
    yield Close(grant.guard)  # frees the section, then the owner's byte: L is gone before anybody sees it free


def _locked(request: GuardedRequest, guard: Handle, busy: Busy | None, waited_s: float) -> Steps[SessionLocked]:
    if busy is not None:
        owner, advice = busy.owner, busy.advice
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
