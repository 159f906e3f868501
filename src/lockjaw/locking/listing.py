"""``lockjaw locks list``: every lock of a session or of FileLock below a folder.

Owner, alive or not and why, age, limit, who waits.

Looks, never touches; ``cleaning`` removes.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from lockjaw.clock import Clock
from lockjaw.errors import LocalError
from lockjaw.locking.algorithms.findings import OWNERLESS_GRACE_S
from lockjaw.locking.inspection import LockView, inspect_lock
from lockjaw.locking.paths import GUARD_SUFFIX
from lockjaw.visible import visible

SUFFIX = ".lock"
STORE = "sessions.json"  # guarded by a lock of the same kind
WIDTH = 80
SHOWN_WAITERS = 8


@dataclass(frozen=True)
class LockRow:
    """One lock. ``path`` is the lock file's."""

    path: Path
    view: LockView

    @property
    def state(self) -> str:
        """``held``, ``dead`` (the next run takes it over) or ``unclear`` (nothing is proven)."""
        return {True: "held", False: "dead", None: "unclear"}[self.view.alive]

    def document(self) -> dict[str, Any]:
        """The row as ``--json`` shows it: path, state, why, and the fields of ``LockView``."""
        view = asdict(self.view)
        del view["exists"]
        seen = {**view, "age_s": round(self.view.age_s, 3), "waiters": list(self.view.waiters)}
        return {"path": str(self.path), "state": self.state, "why": why(self.view), **seen}


def list_locks(directory: Path, *, clock: Clock | None = None) -> list[LockRow]:
    """The locks in a sessions folder, or in all those below a state folder; sorted by path.

    A lock that vanishes while we look is left out. Symbolic links to folders are not followed.

    Raises:
        LocalError: there is no such folder, or it may not be read.
    """
    if not directory.is_dir():
        if directory.is_file() or Path(f"{directory}{SUFFIX}").exists():
            return _lock_of_file(directory, clock)
        raise LocalError(
            f"{directory}: expected a folder that exists, such as ~/.openclaw or a sessions folder in it, or a file "
            "with a lock"
        )
    rows = []
    for path in sorted(_lock_files(directory)):
        view = inspect_lock(path.with_name(path.name.removesuffix(SUFFIX)), clock=clock)
        if view.exists:
            rows.append(LockRow(path, view))
    return rows


def _lock_of_file(file: Path, clock: Clock | None) -> list[LockRow]:
    """The lock of one file of any name, such as one that ``FileLock`` guards; the lock file's name is right too."""
    guarded = file.with_name(file.name.removesuffix(SUFFIX))
    view = inspect_lock(guarded, clock=clock)
    return [LockRow(guarded.with_name(f"{guarded.name}{SUFFIX}"), view)] if view.exists else []


def render_locks(rows: Sequence[LockRow], directory: Path, *, width: int = WIDTH) -> str:
    """The rows as text of at most so many columns; paths are relative to the folder, long ones on their own lines."""
    if not rows:
        return none_below(directory)
    base = directory if directory.is_dir() else directory.parent
    lines = [f"{'STATE':<8} {'OWNER':<12} {'AGE':>8} {'GEN':>5}  LOCK"]
    for row in rows:
        view = row.view
        owner = "unknown" if view.pid is None else f"pid {view.pid}"
        program = program_of(view.pid_here or view.pid) if view.alive else ""
        head = f"{row.state:<8} {owner:<12} {_age(view.age_s):>8} {view.generation or '-':>5}  "
        name = visible(os.path.relpath(row.path, base))
        if len(head) + len(name) <= width:
            lines.append(head + name)
        else:
            lines += [head.rstrip(), *(f"    {part}" for part in _folded(name, width - 4))]
        lines += indented(visible(why(view) + (f"; it is {program}" if program else "")), width=width)
        if view.max_hold_s is not None:
            over = ", and has held it for longer" if view.age_s > view.max_hold_s else ""
            lines += indented(f"its owner means to hold it for {_age(view.max_hold_s)} at most{over}", width=width)
        if view.waiters:
            shown = ", ".join(f"pid {pid}" if pid else "unknown" for pid in view.waiters[:SHOWN_WAITERS])
            more = len(view.waiters) - SHOWN_WAITERS
            lines += indented(
                f"{len(view.waiters)} waiting: {shown}{f' and {more} more' if more > 0 else ''}", width=width
            )
        if view.owner:
            lines += [f"    run {part}" for part in _folded(visible(view.owner), width - 8)]
    return "\n".join(lines)


def program_of(pid: int | None) -> str:
    """The program of a living owner, as far as this machine shows it: its name and what it was started as."""
    try:
        process = psutil.Process(pid) if pid else None
        return "" if process is None else _started_as(process.name(), process.cmdline())
    except (psutil.Error, OSError, ValueError):
        return ""


def _started_as(name: str, command: Sequence[str]) -> str:
    """``node (openclaw.mjs)``, ``python3 (lockjaw)``: no other part of a command line, which may hold a message."""
    script = next((word for word in command[1:3] if word.endswith((".py", ".js", ".mjs", ".cjs"))), "")
    if command[1:2] == ["-m"]:
        script = command[2]
    return f"{name} ({os.path.basename(script)})" if script else name


def why(view: LockView) -> str:
    """Why its owner counts as alive, as dead, or as neither, in one sentence."""
    if view.pid_here and view.alive is None:
        return f"process {view.pid_here} has that pid in its own pid namespace, and may or may not be the owner"
    if view.pid_here:
        return f"alive: it is process {view.pid_here} here, which has that pid in its own pid namespace"
    if view.dead_reason == "missing-pid" and view.age_s > OWNERLESS_GRACE_S:
        return f"it names no owner and is stale ({_age(view.age_s)} old); the next run takes it over"
    if view.dead_reason:
        return _REASONS.get(view.dead_reason, view.dead_reason)
    if view.ours:
        return "alive: the kernel holds its byte in the guard file"
    if view.starttime is None:
        return f"alive: process {view.pid} runs (the file does not say when it started)"
    return f"alive: process {view.pid} runs, and started when the file says"


_REASONS = {
    "owner-byte-free": "its owner is dead (the kernel has dropped its byte); the next run takes it over",
    "dead-pid": "no such process; the next run takes it over",
    "zombie": "its process has ended and was not reaped; the next run takes it over",
    "recycled-pid": "another process has that pid now; the next run takes it over",
    "orphan-self-pid": "an earlier process with the same pid wrote it; the next run takes it over",
    "missing-pid": f"it names no owner; the next run takes it over once it is {OWNERLESS_GRACE_S:.0f} s old",
    "other-pid-namespace": "its owner lives in another container; whether it is alive cannot be seen from here",
    "unreadable": "this user may not read it, so it counts as held",
    "not-a-file": "this is a folder or a device, not a lock file; remove it by hand",
}


def _lock_files(directory: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise LocalError(f"{error.filename}: {error.strerror}") from error

    for folder, folders, files in os.walk(directory, onerror=refuse):
        # Something that is no file may lie in a lock's place, and is as much in the way.
        present = set(files)
        for name in (*files, *folders):
            file = name.removesuffix(SUFFIX)
            ours = name != file and file + GUARD_SUFFIX in present  # a guard beside it: a FileLock, whatever the name
            if ours or name.endswith((f".jsonl{SUFFIX}", f".sqlite{SUFFIX}", f"{STORE}{SUFFIX}")):
                yield Path(folder, name)


def _age(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 360_000 else f"{seconds / 86400:.0f} d"


def _folded(text: str, width: int) -> list[str]:
    """A long path in lines, broken after a slash where there is one. A name that fits 80 columns is not broken."""
    lines = []
    while len(text) > width:
        end = text.rfind("/", 0, width) + 1 or max(width, min(WIDTH - 4, text.find("/") + 1 or len(text)))
        lines.append(text[:end])
        text = text[end:]
    return [*lines, text]


def none_below(directory: Path) -> str:
    """That no lock was found. A folder named ``.`` is shown whole: its dot would end the sentence twice."""
    return f"No lock of {directory}." if directory.is_file() else f"No locks below {directory.absolute()}."


def indented(sentence: str, *, indent: str = "    ", width: int = WIDTH) -> list[str]:
    """A sentence in lines of so many columns; names that are longer than a line are cut."""
    return textwrap.wrap(sentence, width, initial_indent=indent, subsequent_indent="    ")
