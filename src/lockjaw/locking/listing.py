"""``lockjaw locks list``: every session lock below a folder, for people and scripts. Looks, never touches."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lockjaw.clock import Clock
from lockjaw.errors import LocalError
from lockjaw.locking.inspection import LockView, inspect_lock

SUFFIX = ".lock"
STORE = "sessions.json"  # guarded by a lock of the same kind
WIDTH = 80


@dataclass(frozen=True)
class LockRow:
    """One lock. ``path`` is the lock file's."""

    path: Path
    view: LockView

    @property
    def state(self) -> str:
        """``held``, ``dead`` (whoever comes next takes it over) or ``unclear`` (nothing is proven)."""
        return {True: "held", False: "dead", None: "unclear"}[self.view.alive]

    def document(self) -> dict[str, Any]:
        """The row as ``--json`` shows it: path, state, and the fields of ``LockView``."""
        view = asdict(self.view)
        del view["exists"]
        return {"path": str(self.path), "state": self.state, **view, "age_s": round(self.view.age_s, 3)}


def list_locks(directory: Path, *, clock: Clock | None = None) -> list[LockRow]:
    """The locks in a sessions folder, or in all those below a state folder; sorted by path.

    A lock that vanishes while we look is left out. Symbolic links to folders are not followed.

    Raises:
        LocalError: there is no such folder, or it may not be read.
    """
    if not directory.is_dir():
        raise LocalError(f"{directory}: expected a folder, such as ~/.openclaw or a sessions folder in it")
    rows = []
    for path in sorted(_lock_files(directory)):
        view = inspect_lock(path.with_name(path.name.removesuffix(SUFFIX)), clock=clock)
        if view.exists:
            rows.append(LockRow(path, view))
    return rows


def render_locks(rows: Sequence[LockRow], directory: Path) -> str:
    """The rows as text of at most 80 columns; paths are relative to the folder, long ones on a line of their own."""
    if not rows:
        return f"No session locks below {directory}."
    lines = [f"{'STATE':<8} {'OWNER':<12} {'AGE':>8} {'GEN':>5}  LOCK"]
    for row in rows:
        view = row.view
        owner = "unknown" if view.pid is None else f"pid {view.pid}"
        head = f"{row.state:<8} {owner:<12} {_age(view.age_s):>8} {view.generation or '-':>5}  "
        name = os.path.relpath(row.path, directory)
        if len(head) + len(name) <= WIDTH:
            lines.append(head + name)
        else:
            lines += [head.rstrip(), *(f"    {part}" for part in _folded(name, WIDTH - 4))]
        if view.dead_reason:
            lines.append(f"    {_REASONS.get(view.dead_reason, view.dead_reason)}")
        if view.owner:
            lines += [f"    run {part}" for part in _folded(view.owner, WIDTH - 8)]
    return "\n".join(lines)


_REASONS = {
    "owner-byte-free": "its owner is dead (the kernel has dropped its byte); the next run takes it over",
    "dead-pid": "no such process; the next run takes it over",
    "zombie": "its process has ended and was not reaped; the next run takes it over",
    "recycled-pid": "another process has that pid now; the next run takes it over",
    "orphan-self-pid": "an earlier process with the same pid wrote it; the next run takes it over",
    "missing-pid": "it names no owner; it counts as held until it is 30 s old",
    "other-pid-namespace": "its owner lives in another container: nothing is proven",
    "unreadable": "we may not read it, so it counts as held",
    "not-a-file": "no lock file but something else: remove it",
}


def _lock_files(directory: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise LocalError(f"{error.filename}: {error.strerror}") from error

    for folder, folders, files in os.walk(directory, onerror=refuse):
        # Something that is no file may lie in a lock's place, and is as much in the way.
        for name in (*files, *folders):
            if name.endswith((f".jsonl{SUFFIX}", f"{STORE}{SUFFIX}")):
                yield Path(folder, name)


def _age(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 360_000 else f"{seconds / 86400:.0f} d"


def _folded(text: str, width: int) -> list[str]:
    return [text[start : start + width] for start in range(0, len(text), width)]
