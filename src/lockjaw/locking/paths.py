"""Where a session's lock lies."""

from __future__ import annotations

import os
from dataclasses import dataclass

GUARD_SUFFIX = ".guard"  # must not end in .lock: OpenClaw sweeps the sessions folder for those


BODY_SUFFIX = ".body.guard"


@dataclass(frozen=True)
class LockPaths:
    """``session``, ``lock``, ``guard`` and ``body`` as absolute paths, the folder's symbolic links resolved.

    The folder is resolved and the file is not, as upstream does: two names of one folder give one lock.
    """

    session: str
    lock: str
    guard: str

    @property
    def body(self) -> str:
        """The lock file by its other name; see ``guarded``."""
        return f"{self.session}{BODY_SUFFIX}"

    @classmethod
    def of(cls, session_file: str | os.PathLike[str]) -> LockPaths:
        folder, name = os.path.split(os.path.abspath(os.fspath(session_file)))
        session = os.path.join(os.path.realpath(folder), name)
        return cls(session, f"{session}.lock", f"{session}{GUARD_SUFFIX}")
