"""A transcript of its own for a new owner, where the old one was overruled in mid-append.

The old owner stands still with the file open, and the kernel will let it write whenever it wakes. So what is there now
is copied into a new file, flushed, and renamed over the name: every entry that was whole is kept, and what the old
owner writes later lands where no name leads. It looks at its lock again behind each write, and learns that it was
overruled before it tells anybody that something was written. (Half an entry at the end is mended as ever, see
``repair``.)

The lock leaves a *marker* beside the file before it overrules; it stays until the file is made anew, so that the next
owner does it if the one that overruled dies first.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from lockjaw.files import OVERRULED_SUFFIX, Files
from lockjaw.sessions import disk
from lockjaw.sessions.repair import chunks_of

__all__ = ["is_due", "sever", "severed"]


def _marker(path: Path) -> Path:
    return path.with_name(path.name + OVERRULED_SUFFIX)


def is_due(files: Files, path: Path) -> bool:
    return files.exists(_marker(path))


def sever(files: Files, path: Path, *, temporary: Path) -> None:
    """Give the file a new inode with the same bytes; call it inside the new owner's section.

    Args:
        temporary: a fresh name in the same folder.

    Raises:
        OSError: (``disk.DiskFull``, for example) the file is as it was, and the marker is still there.
    """
    disk.sweep(files, path)
    if files.exists(path):
        disk.replace_file(files, path, chunks_of(files, path), temporary=temporary)
    severed(files, path)


def severed(files: Files, path: Path) -> None:
    """The file was made anew: take the marker away."""
    with suppress(FileNotFoundError):
        files.remove(_marker(path))
