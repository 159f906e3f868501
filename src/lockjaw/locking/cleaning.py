"""``lockjaw locks clean``: removes the lock files of owners that are proven dead, and no others.

Not by looking and unlinking: between the two somebody faster may have put a fresh lock in the place of the dead one,
and would lose it. A dead lock is *taken over* as every contender of ours takes it over (in the guard's section, in
place, judged anew), and is then given back. A contender in between waits a moment and finds the session free.

What is never removed: the lock of a live owner, however old; of an owner in another pid namespace or on another
machine; a file that may not be read, or that names no owner (its creator may be about to write it); and the guard
files, which are part of the lock: a guard that is removed while somebody has it open makes two locks of one.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lockjaw.clock import Clock
from lockjaw.errors import LockStateError, SessionLocked
from lockjaw.locking.identity import process_state, this_process
from lockjaw.locking.listing import SUFFIX, WIDTH, LockRow, indented, list_locks, none_below, why
from lockjaw.locking.session_lock import SessionLock
from lockjaw.visible import visible

#: What ``inspect_lock`` and the lock algorithm call a proof. Neither its age nor an absent pid is a proof.
PROOFS = frozenset({"owner-byte-free", "dead-pid", "zombie", "recycled-pid", "orphan-self-pid"})

EXIT_REFUSED = 1
_FIRST_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO of Linux


@dataclass(frozen=True)
class Cleaned:
    """What became of one lock.

    Args:
        action: ``removed``, ``would remove`` (dry run), ``gone`` (by itself meanwhile), ``kept`` (its owner lives), or
            ``refused`` (nothing is proven, or it cannot be done).
        why: one sentence.
    """

    path: Path
    action: str
    why: str
    pid: int | None = None

    def document(self) -> dict[str, Any]:
        return {"path": str(self.path), "action": self.action, "why": self.why, "pid": self.pid}


def clean_locks(directory: Path, *, dry_run: bool = False, clock: Clock | None = None) -> list[Cleaned]:
    """Remove what is provably dead in a sessions folder, or below a state folder; sorted by path.

    Raises:
        LocalError: there is no such folder, or it may not be read.
    """
    return [clean_lock(row, dry_run=dry_run, clock=clock) for row in list_locks(directory, clock=clock)]


def clean_lock(row: LockRow, *, dry_run: bool = False, clock: Clock | None = None) -> Cleaned:
    """Remove one lock if its owner is dead. What ``row`` saw only chooses the words: it is judged again."""
    view = row.view
    if view.alive:
        return Cleaned(row.path, "kept", why(view), view.pid)
    if view.alive is None or view.dead_reason not in PROOFS:
        return Cleaned(row.path, "refused", why(view), view.pid)
    if not view.ours and (doubt := _doubt(row.path)) is not None:
        return Cleaned(row.path, "refused", doubt, view.pid)
    proof = why(view).split(";", maxsplit=1)[0]
    if dry_run:
        return Cleaned(row.path, "would remove", proof, view.pid)
    return _take_over_and_give_back(row, proof, clock)


def _take_over_and_give_back(row: LockRow, proof: str, clock: Clock | None) -> Cleaned:
    session = row.path.with_name(row.path.name.removesuffix(SUFFIX))
    lock = SessionLock(session, timeout=0.0, owner="lockjaw locks clean", clock=clock)
    try:
        with lock as held:
            reclaimed = held.reclaimed
    except SessionLocked as error:  # somebody was faster, or stands in the queue and takes it over
        return Cleaned(row.path, "kept", f"somebody has it now ({error.owner}), or is about to take it", row.view.pid)
    except (LockStateError, OSError) as error:
        return Cleaned(row.path, "refused", str(error), row.view.pid)
    if not reclaimed:
        return Cleaned(row.path, "gone", "its file had gone by itself", row.view.pid)
    return Cleaned(row.path, "removed", proof, row.view.pid)


def _doubt(path: Path) -> str | None:
    """Why the owner of a foreign file may live in a pid namespace around ours, which we cannot see; None: it cannot.

    OpenClaw's files do not name their namespace, so within a container its pid may mean no process, or another one.
    """
    began_s = _namespace_began_s()
    try:
        written_s = path.stat().st_ctime
    except OSError:
        return None  # it has just gone
    if began_s is not None and written_s < began_s:
        return (
            "it may be older than this container (pid namespace), and does not say where its owner lives: perhaps "
            "outside. Run this outside, or remove the file by hand if no process outside uses this folder"
        )
    return None


def _namespace_began_s() -> float | None:
    """When our pid namespace was made, in Unix time: the end of all time if we cannot tell; None in the machine's first
    one: outside of it there is no process."""
    if sys.platform == "win32" or this_process().pid_namespace in (None, _FIRST_NAMESPACE):
        return None
    ticks = process_state(1).starttime
    if ticks is None:
        return math.inf
    booted_s = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted_s + (ticks + 1) / os.sysconf("SC_CLK_TCK")


def exit_status(cleaned: Sequence[Cleaned]) -> int:
    """0: whatever is left has a live owner. 1: something was refused."""
    return EXIT_REFUSED if any(one.action == "refused" for one in cleaned) else 0


def render_cleaned(cleaned: Sequence[Cleaned], directory: Path, *, width: int = WIDTH) -> str:
    """What was done, as text of at most so many columns."""
    if not cleaned:
        return none_below(directory)
    lines = []
    for one in cleaned:
        lines += indented(f"{one.action}: {visible(os.path.relpath(one.path, directory))}", indent="", width=width)
        lines += indented(visible(one.why), width=width)
    counts = {
        action: sum(one.action == action for one in cleaned) for action in dict.fromkeys(c.action for c in cleaned)
    }
    return "\n".join([*lines, ", ".join(f"{count} {action}" for action, count in counts.items())])
