"""OpenClaw's session write lock, as it was: 2026.4.8 (``coarse``) and 2026.5.7 (``coarse-60s``).

A file created with O_EXCL, then written; a contender polls with growing delays and unlinks what it judges to
be stale. The known faults are kept on purpose, because the harness must show them:

* create, then write: others can see an empty file;
* inspect, then unlink by path: the slower of two judges removes the faster one's new lock;
* a live owner is robbed after 30 minutes, and a dead one in another pid namespace is a live one here;
* release unlinks without looking whose file it is, and forgets it before it is gone;
* the watchdog gives the lock away while its run goes on.

2026.5.7 waits 60 s, cuts its last sleep to the time left, waits 5 s instead of 30 min before it takes a
file without a readable owner, is not re-entrant, and reclaims a file with its own pid and start time.

Source: protocol facts E1 and E3.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import NamedTuple

from lockjaw.errors import SessionLocked
from lockjaw.locking.identity import ProcessIdentity
from lockjaw.locking.operations import Calls, Handle, ProcessState, Sleep, Steps
from lockjaw.locking.owner_record import NOBODY, OwnerRecord, body, parse
from lockjaw.locking.request import Hold, LockRequest, Registry

WATCHDOG_PERIOD_S = 60.0
_FIRST_DELAY_S, _LAST_DELAY_S = 0.05, 1.0


@dataclass(frozen=True)
class CoarseRules:
    """Where the two versions differ; durations in nominal seconds."""

    name: str
    timeout_s: float
    reentrant: bool
    stale_s: float = 1800.0
    ownerless_grace_s: float = 1800.0
    cut_last_sleep: bool = False
    own_starttime_is_orphan: bool = False


COARSE = CoarseRules("coarse", timeout_s=10.0, reentrant=True)
COARSE_60S = CoarseRules(
    "coarse-60s",
    timeout_s=60.0,
    reentrant=False,
    ownerless_grace_s=5.0,
    cut_last_sleep=True,
    own_starttime_is_orphan=True,
)


class CoarseGrant(NamedTuple):
    """``reclaimed``: the reasons for which another's file was removed on the way, comma-separated."""

    request: LockRequest
    hold: Hold
    reclaimed: str = ""
    generation: int = 0
    fenced: int = 0


def acquire(calls: Calls, rules: CoarseRules, request: LockRequest) -> Steps[CoarseGrant]:
    """Take the lock, polling until the timeout.

    Raises:
        SessionLocked: with upstream's text; after about 20 tries and 10.5 s for a timeout of 10 s.
        OSError: the file system's, for anything but "the file exists".
    """
    path, registry = request.paths.lock, request.registry
    calls.make_directory(os.path.dirname(path))
    if request.reentrant and (held := registry.reenter(path)) is not None:
        return CoarseGrant(request, held)
    start = now = calls.now()
    attempt, reclaimed = 0, ""
    while now - start < request.timeout_s:
        attempt += 1
        try:
            handle = calls.create_exclusive(path)
        except FileExistsError:
            pass
        else:
            acquired_at = _write_owner(calls, path, handle, request.process)
            hold = Hold(path, handle, acquired_at, request.max_hold_s)
            registry.enter(hold)
            return CoarseGrant(request, hold, reclaimed)
        reasons = _reclaimable(calls, rules, request)
        if reasons:
            # The race: whoever judged the same content may have replaced the file by now.
            calls.unlink(path)
            reclaimed = ",".join(reasons)
        else:
            delay = min(_LAST_DELAY_S, _FIRST_DELAY_S * attempt)
            if rules.cut_last_sleep:
                delay = min(delay, max(0.0, request.timeout_s - (calls.now() - start)))
            yield Sleep(delay)
        now = calls.now()
    owner = _read_owner(calls, path)
    raise SessionLocked(path, owner.owner, timeout_s=request.timeout_s, waited_s=now - start)


def release(calls: Calls, registry: Registry, hold: Hold) -> bool:
    """Give up one hold. -> was the lock file removed? (It does not look whose file that is by now.)

    A file that cannot be removed stays, without an error (#128032): the table has forgotten it by then.
    """
    if not registry.leave(hold):
        return False
    try:
        calls.close(hold.handle)
        calls.unlink(hold.path)
    except OSError:
        return False
    return True


def watchdog_pass(calls: Calls, registry: Registry) -> None:
    """One round of the watchdog, due every ``WATCHDOG_PERIOD_S``: give away what is held for too long."""
    now = calls.now()
    for hold in list(registry.holds.values()):
        held_s = now - hold.acquired_at
        if held_s > hold.max_hold_s and registry.leave(hold, force=True):
            calls.print_error(
                f"[session-write-lock] releasing lock held for {round(held_s * 1000)}ms "
                f"(max={round(hold.max_hold_s * 1000)}ms): {hold.path}"
            )
            calls.close(hold.handle)
            calls.unlink(hold.path)


def stale_reasons(
    rules: CoarseRules,
    record: OwnerRecord,
    state: ProcessState | None,
    *,
    now_ms: int,
    process: ProcessIdentity,
    held_here: bool,
) -> list[str]:
    """Why upstream would call a lock file stale; empty if it would not. Pure.

    Args:
        state: of ``record.pid``; None where the record has no pid.
        now_ms: nominal Unix milliseconds.
        held_here: this process holds the path.
    """
    reasons = []
    if record.pid is None or state is None:
        reasons.append("missing-pid")
    elif not state.signalable or state.zombie:  # also a live process of another user: kill(pid, 0) fails
        reasons.append("dead-pid")
    elif state.is_another(record.starttime):
        reasons.append("recycled-pid")
    if record.created_at_ms is None:
        reasons.append("invalid-createdAt")
    elif now_ms - record.created_at_ms > rules.stale_s * 1000:
        reasons.append("too-old")
    if record.pid == process.pid and not held_here:
        own_start = rules.own_starttime_is_orphan and record.starttime == process.starttime
        if record.starttime is None or own_start:
            reasons.append("orphan-self-pid")
    return reasons


def _write_owner(calls: Calls, path: str, handle: Handle, process: ProcessIdentity) -> float:
    """-> the instant of the acquisition."""
    try:
        calls.write(handle, body(OwnerRecord(process.pid, calls.wall_ms(), process.starttime)))
        return calls.now()
    except BaseException:
        calls.close(handle)
        calls.unlink(path)
        raise


def _reclaimable(calls: Calls, rules: CoarseRules, request: LockRequest) -> list[str]:
    """The reasons to remove the contended file now, or none."""
    record = _read_owner(calls, request.paths.lock)
    reasons = stale_reasons(
        rules,
        record,
        None if record.pid is None else calls.process_state(record.pid),
        now_ms=calls.wall_ms(),
        process=request.process,
        held_here=request.paths.lock in request.registry.holds,
    )
    if reasons and set(reasons) <= {"missing-pid", "invalid-createdAt"}:
        # Its creator may be about to write it: only an old file is taken.
        try:
            status = calls.status(request.paths.lock)
        except OSError:
            return []
        if status is None or status.age_s <= rules.ownerless_grace_s:
            return []
    return reasons


def _read_owner(calls: Calls, path: str) -> OwnerRecord:
    """Anything unreadable is nobody's."""
    try:
        return parse(calls.read_file(path).data)
    except OSError:
        return NOBODY
