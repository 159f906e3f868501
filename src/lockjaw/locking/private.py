"""A lock's files are their user's alone.

A user that may open a guard, if only for reading, may hold a shared lock on its bytes and so keep all others from the
session; one that may write to its folder may put another file in its place.
"""

from __future__ import annotations

import stat
import sys

from lockjaw.errors import LockStateError
from lockjaw.locking.system import os

FILE_MODE = 0o600


def keep(path: str, descriptor: int) -> None:
    """Make this open file its user's alone, whatever the umask was and whichever process made it.

    Raises:
        LockStateError: it is another user's.
    """
    if sys.platform == "win32":
        return  # a file there has the rights of its folder
    status = os.fstat(descriptor)
    me = os.geteuid()
    if status.st_uid != me and me != 0:
        raise LockStateError(
            path, f"uid {status.st_uid}", "this file of the lock belongs to another user, who could stop it; remove it"
        )
    if stat.S_IMODE(status.st_mode) != FILE_MODE:
        os.fchmod(descriptor, FILE_MODE)


def refuse_open_folder(path: str) -> None:
    """Raises LockStateError: every local user may put another file in the place of the one at ``path``."""
    if sys.platform == "win32":
        return
    folder = os.path.dirname(path) or "."
    mode = os.stat(folder).st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise LockStateError(
            folder,
            stat.filemode(mode),
            "every local user may write to this folder, and so replace the lock's files; run: chmod o-w on it",
        )
