"""Sets the stage: the session as the client finds it (``Initial``). Both engines do it right before the client's go."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.clock import Clock
from lockjaw.locking.owner_record import OwnerRecord, body
from lockjaw.runner.machine import Machine
from lockjaw.runner.stores import session_store
from lockjaw.sessions import SessionPaths, Transcript

from ..incident.actors import Initial, LockFile
from .performer import AGENT, KEY

NOBODYS_PID = 4_194_303  # the highest that Linux gives; taken only on a machine with millions of processes
OTHER_TICKS = 4242  # how much later another process with the same pid would have started


async def stage(
    initial: Initial,
    *,
    paths: SessionPaths,
    clock: Clock,
    ids: random.Random,
    machine: Machine,
    identity: Callable[[str], tuple[int, int | None]],
) -> Path:
    """Make the session of the main key: store entry, transcript, lock file. Returns the transcript's path.

    Args:
        identity: actor -> (pid, start time) of its process.
    """
    files = machine.files
    store = session_store(paths, AGENT, behaviour=BEHAVIOURS["takeover"], clock=clock, ids=ids, machine=machine)
    entry = await store.ensure(KEY, session_id=None, sessions_dir=paths.sessions_dir(AGENT))
    path = Path(entry["sessionFile"])
    if initial.turns:
        transcript = Transcript.open(
            path, session_id=entry["sessionId"], cwd=paths.state_dir, clock=clock, ids=ids, files=files
        )  # fmt: skip
        for n in range(1, initial.turns + 1):
            for role, text in (("user", f"earlier question {n}"), ("assistant", f"earlier answer {n}")):
                message: dict[str, object] = {"role": role, "content": [{"type": "text", "text": text}]}
                if role == "assistant":
                    message["stopReason"] = "stop"
                transcript.append_message(message)
    if initial.lock is not None:
        data = _lock_body(initial.lock, clock, identity)
        fd = files.open(machine.locks.paths(path).lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            if data:
                files.write(fd, data)
        finally:
            files.close(fd)
    return path


def _lock_body(lock: LockFile, clock: Clock, identity: Callable[[str], tuple[int, int | None]]) -> bytes:
    if lock.owner == "nobody":
        return b""
    if lock.owner == "garbage":
        return b'{"pid": 4'
    pid, starttime = (NOBODYS_PID, 1) if lock.owner == "dead" else identity(lock.owner)
    if lock.starttime == "absent":
        starttime = None
    elif lock.starttime == "other" and starttime is not None:
        starttime = max(0, starttime - OTHER_TICKS)
    return body(OwnerRecord(pid, clock.wall_ms() - round(lock.age_s * 1000), starttime))
