"""Folders: made for this user alone, their names brought to the device, paths below the working one."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["flush_folder", "make_private_folder", "typed"]

_MODE = 0o700


def make_private_folder(path: str) -> None:
    """Make this folder and its parents, for this user alone whatever the umask is; no error if it is there."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        parent = os.path.dirname(path)
        if parent in ("", path):
            break
        path = parent
    for folder in reversed(missing):
        try:
            os.mkdir(folder, _MODE)
        except FileExistsError:
            if not os.path.isdir(folder):
                raise


def flush_folder(folder: str | os.PathLike[str]) -> None:
    """Names that were given and removed in it are on the device."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def typed(path: Path) -> str:
    """A path as a person types it: relative to the working folder where that is shorter."""
    whole = path.absolute()
    return os.path.relpath(whole) if whole.is_relative_to(Path.cwd()) else str(whole)
