"""``sessions.json`` as a version keeps it.

Apart from the runner: whoever needs only the store (an actor of the harness, say) must not load model clients for it.
"""

from __future__ import annotations

import random
from pathlib import Path

from lockjaw.behaviours import Behaviour
from lockjaw.clock import Clock
from lockjaw.locking import SessionLock
from lockjaw.runner.machine import THIS_MACHINE, Machine
from lockjaw.sessions import SessionPaths, SessionStore
from lockjaw.sessions.revision_store import RevisionStore

STORE_MAX_HOLD_S = 15.0


def session_store(
    paths: SessionPaths,
    agent_id: str,
    *,
    behaviour: Behaviour,
    clock: Clock,
    ids: random.Random | None = None,
    machine: Machine = THIS_MACHINE,
) -> SessionStore:
    """``sessions.json`` of an agent, under the session lock's own algorithm."""

    def lock(path: Path) -> SessionLock:
        return SessionLock(
            path, timeout=behaviour.store_wait_s, algorithm=behaviour.lock_algorithm, clock=clock,
            max_hold_s=STORE_MAX_HOLD_S, owner="store", host=machine.locks,
        )  # fmt: skip

    kind = RevisionStore if behaviour.store == "revision" else SessionStore
    return kind(paths.store(agent_id), clock=clock, lock=lock, ids=ids, files=machine.files)
