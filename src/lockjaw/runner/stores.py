"""``sessions.json`` as a version keeps it.

Apart from the runner: a program that needs only the store (an actor of the harness, say) need not load model clients.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from lockjaw.behaviours import Behaviour
from lockjaw.clock import Clock
from lockjaw.errors import LockStateError, SessionLocked, StoreLocked
from lockjaw.locking import HeldLock, LockView, SessionLock, inspect_lock
from lockjaw.runner.machine import THIS_MACHINE, Machine
from lockjaw.sessions import RowStore, SessionPaths, SessionStore
from lockjaw.sessions.paths import JSONL, SQLITE
from lockjaw.sessions.revision_store import RevisionStore
from lockjaw.settings import Settings

__all__ = ["StoreLock", "paths_of", "session_store"]

STORE_MAX_HOLD_S = 15.0
LAST_TRY_S = 1.0


class StoreLock:
    """The lock of one update. An update takes milliseconds, so an owner that keeps the lock stands still: after
    ``store_bound_s`` a live owner of our own kind is overruled, as the owner of a session is.

    Args:
        path: of the store.
    """

    def __init__(self, path: Path, *, behaviour: Behaviour, clock: Clock, machine: Machine) -> None:
        self._path, self._behaviour, self._clock, self._machine = path, behaviour, clock, machine
        self._lock: SessionLock | None = None

    async def __aenter__(self) -> HeldLock:
        """Raises:
        SessionLocked: it could be neither waited for nor overruled within ``store_wait_s``; in the words of the
            version (``StoreLocked``) where it has words of its own for that.
        """
        try:
            return await self._acquired()
        except SessionLocked as error:
            if not self._behaviour.store_busy_text:
                raise
            raise StoreLocked(error, self._behaviour.store_busy_text.format(path=error.path)) from None

    async def _acquired(self) -> HeldLock:
        bound_s = self._behaviour.store_bound_s
        if bound_s is None:
            self._lock = self._made(self._behaviour.store_wait_s)
            return await self._lock.acquire_async()
        deadline = self._clock.monotonic() + self._behaviour.store_wait_s
        while True:
            before = self._view()
            # The last try comes after the deadline: it may be this process that stood still.
            last = self._clock.monotonic() >= deadline
            self._lock = self._made(LAST_TRY_S if last else min(bound_s, deadline - self._clock.monotonic()))
            try:
                return await self._lock.acquire_async()
            except SessionLocked:
                now = self._view()
                # Its owner by now may have it for the first time: only an owner that stood in the way for the
                # whole of our wait is overruled.
                if ((now.ours and now.alive) or now.in_transit) and now.generation == before.generation:
                    try:
                        return await self._lock.fence_async(only=now.generation)
                    except LockStateError:
                        pass  # another one has it, or is at it, or the lock file is a foreign one
                if last:
                    raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            await self._lock.release_async()

    def _made(self, timeout_s: float) -> SessionLock:
        return SessionLock(
            self._path, timeout=timeout_s, algorithm=self._behaviour.lock_algorithm, clock=self._clock,
            max_hold_s=STORE_MAX_HOLD_S, owner="store", host=self._machine.locks,
        )  # fmt: skip

    def _view(self) -> LockView:
        return inspect_lock(self._path, clock=self._clock, host=self._machine.locks)


def paths_of(settings: Settings) -> SessionPaths:
    """Where this configuration keeps its sessions, and in what."""
    return SessionPaths(settings.state_dir, SQLITE if settings.sessions == "sqlite" else JSONL)


def session_store(
    paths: SessionPaths,
    agent_id: str,
    *,
    behaviour: Behaviour,
    clock: Clock,
    ids: random.Random | None = None,
    machine: Machine = THIS_MACHINE,
    wait_s: float | None = None,
) -> SessionStore:
    """``sessions.json`` of an agent, under the session lock's own algorithm, or its ``sessions.sqlite``.

    Args:
        wait_s: how long an update waits for its lock, nominal seconds; None: as long as the behaviour says.
    """
    if wait_s is not None:
        behaviour = replace(behaviour, store_wait_s=wait_s)
    if paths.kind == SQLITE:
        return RowStore(
            paths.store(agent_id), clock=clock, wait_s=behaviour.store_wait_s, busy_text=behaviour.store_busy_text,
            ids=ids, files=machine.files, reads_when_locked=not behaviour.bookkeeping_decides,
            blocks=behaviour.store_blocks,
        )  # fmt: skip

    def lock(path: Path) -> StoreLock:
        return StoreLock(path, behaviour=behaviour, clock=clock, machine=machine)

    kind = RevisionStore if behaviour.store == "revision" else SessionStore
    store = kind(
        paths.store(agent_id), clock=clock, lock=lock, ids=ids, files=machine.files,
        reads_when_locked=not behaviour.bookkeeping_decides,
    )  # fmt: skip
    if isinstance(store, RevisionStore):
        store.conflict_text = behaviour.store_conflict_text
    return store
