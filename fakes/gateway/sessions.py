"""The session locks that the runs of a mock gateway hold: real files in a real state directory.

For scripts that say ``session_lock``. A client that falls back to its embedded runner meets the same lock there, and so
does a second gateway on the same directory.
"""

from __future__ import annotations

from pathlib import Path

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.clock import Clock
from lockjaw.errors import UsageError
from lockjaw.history import Recorder
from lockjaw.locking import SessionLock
from lockjaw.runner.stores import session_store
from lockjaw.sessions import SessionPaths, transcript_of_entry

_STORE = BEHAVIOURS["takeover"]  # whose way of writing sessions.json is used


class SessionLocks:
    """Takes and gives back the lock of a run's session.

    Args:
        algorithm: a name of ``LOCK_ALGORITHMS``; its own time is what a run waits.

    Raises:
        UsageError: the state directory can be neither found nor made.
    """

    def __init__(self, state_dir: Path, algorithm: str, clock: Clock, recorder: Recorder) -> None:
        self._paths, self._algorithm, self._clock, self._recorder = SessionPaths(state_dir), algorithm, clock, recorder
        self._held: dict[str, SessionLock] = {}
        try:
            state_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(str(state_dir), "", f"a state directory that can be made ({error.strerror})") from error

    async def take(self, session_key: str, run_id: str) -> str:
        """Wait for the lock; returns the session's id.

        Raises:
            SessionLocked: somebody else held it all the time.
        """
        parts = session_key.split(":")
        agent_id = parts[1] if len(parts) > 2 and parts[0] == "agent" else "main"
        folder = self._paths.sessions_dir(agent_id)
        folder.mkdir(parents=True, exist_ok=True)
        store = session_store(self._paths, agent_id, behaviour=_STORE, clock=self._clock)
        entry = await store.ensure(session_key, session_id=None, sessions_dir=folder)
        path = transcript_of_entry(entry, folder)
        lock = SessionLock(
            path, algorithm=self._algorithm, clock=self._clock, recorder=self._recorder, owner="mock gateway"
        )
        await lock.acquire_async()
        self._held[run_id] = lock
        return str(entry["sessionId"])

    async def release(self, run_id: str) -> None:
        lock = self._held.pop(run_id, None)
        if lock is not None:
            await lock.release_async()

    async def release_all(self) -> None:
        for run_id in list(self._held):
            await self.release(run_id)
