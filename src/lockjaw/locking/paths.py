"""Where a session's lock lies."""

from __future__ import annotations

import os
import stat
import time
from typing import NamedTuple

from lockjaw.errors import LocalError
from lockjaw.locking.resting import CHECK_AGAIN_S

GUARD_SUFFIX = ".guard"  # must not end in .lock: OpenClaw sweeps the sessions folder for those
BODY_SUFFIX = ".body.guard"

_KNOWN_NAMES = 256
_NO_FILES = ("", ".", "..")
_SEPARATORS = tuple(filter(None, (os.sep, os.altsep)))
_FOLDERS = (*_SEPARATORS, *(f"{separator}{dots}" for separator in _SEPARATORS for dots in (".", "..")))


class LockPaths(NamedTuple):
    """``session``, ``lock``, ``guard`` and ``body`` (see ``guarded``) as absolute paths, symbolic links resolved: all
    names of one transcript give one lock. Hard links do not: each of them is a transcript of its own.

    Upstream resolves the folder and not the file; beside OpenClaw, give both the same name.
    """

    session: str
    lock: str
    guard: str
    body: str

    @classmethod
    def beside(cls, session: str) -> LockPaths:
        """Those of a name that is resolved already."""
        return cls(session, f"{session}.lock", f"{session}{GUARD_SUFFIX}", f"{session}{BODY_SUFFIX}")

    @classmethod
    def of(cls, session_file: str | os.PathLike[str]) -> LockPaths:
        """Raises LocalError: this cannot be the name of a transcript."""
        name = os.fspath(session_file)
        if (known := _known.get(name)) is not None and known.holds():
            return known.paths
        if not isinstance(name, str) or "\0" in name or name in _NO_FILES or name.endswith(_FOLDERS):
            raise _refusal(name)
        absolute = os.path.abspath(name)
        if (known := _known.get(absolute)) is not None and known.holds():
            return known.paths
        if os.path.isdir(absolute):
            raise _refusal(name)
        paths = cls.beside(os.path.realpath(absolute))
        if paths.session == absolute:  # no link on the way, so one look at the folder tells that there still is none
            _remember(paths)
        return paths


class _Known:
    """The paths of a name without links, as they were found. ``folder``: device and inode of its folder."""

    __slots__ = ("checked_s", "folder", "parent", "paths")

    def __init__(self, paths: LockPaths, parent: str, folder: tuple[int, int]) -> None:
        self.paths, self.parent, self.folder, self.checked_s = paths, parent, folder, time.monotonic()

    def holds(self) -> bool:
        """Does the name still lead to that folder, and to no link in it? Looked at as rarely as a guard that rests:
        until then appends, which look for themselves, are refused where it does not."""
        now = time.monotonic()
        if now < self.checked_s + CHECK_AGAIN_S:
            return True
        try:
            folder = os.stat(self.parent)
        except OSError:
            return False
        if (folder.st_dev, folder.st_ino) != self.folder:
            return False
        try:
            if not stat.S_ISREG(os.lstat(self.paths.session).st_mode):
                return False
        except FileNotFoundError:
            pass  # a transcript that is not there yet is no link
        except OSError:
            return False
        self.checked_s = now
        return True


_known: dict[str, _Known] = {}


def _remember(paths: LockPaths) -> None:
    parent = os.path.dirname(paths.session)
    try:
        status = os.stat(parent)
    except OSError:
        return  # the folder is yet to be made
    if len(_known) >= _KNOWN_NAMES:
        _known.clear()
    _known[paths.session] = _Known(paths, parent, (status.st_dev, status.st_ino))


def _refusal(name: object) -> LocalError:
    if not isinstance(name, str):
        return LocalError(f"the file to lock is named by a str or a path of str, got {name!r:.80}")
    if "\0" in name:
        return LocalError(f"the name of the file to lock has no NUL in it, got {name!r:.80}")
    return LocalError(f"{name!r:.200} names no file; name the one to lock, such as sessions/ID.jsonl or state.json")
