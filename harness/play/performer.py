"""Performs the script of an actor: the steps of ``cast`` against the session's files.

It knows no engine: clock, files, locks, recorder and ids come in. Locks and transcripts are the runtime's own, in the
manner of the policy (``Behaviour``): under an old policy an actor waits, gives up, cleans and reads as was done then.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from lockjaw.behaviours import Behaviour
from lockjaw.clock import Clock
from lockjaw.errors import Fenced, LockjawError, LockStateError, SessionLocked
from lockjaw.history import Recorder
from lockjaw.locking import HeldLock, SessionLock, inspect_lock
from lockjaw.locking.operations import Calls
from lockjaw.locking.owner_record import NOBODY, parse
from lockjaw.runner.machine import Machine
from lockjaw.runner.stores import session_store
from lockjaw.seeds import uuid4
from lockjaw.sessions import SessionPaths, SessionStore, Transcript, main_session_key, transcript_of_entry
from lockjaw.sessions.report import read_entries

from ..incident.actors import (
    Append,
    Clean,
    Deliver,
    HoldDatabase,
    HoldStore,
    Leak,
    Maintain,
    Read,
    Release,
    Rotate,
    Scripted,
    Sleep,
    Step,
    Take,
    Touch,
)

AGENT = "main"
KEY = main_session_key(AGENT)
DATABASE_WAIT_S = 60.0  # as long as our own runs wait
OWNERLESS_GRACE_S = 30.0  # how old a lock that names no owner must be for the cleaners of 2026.5


class Performer:
    """One scripted actor.

    Args:
        touch: sets a file's times to now, without a write.
        say: takes a line that the program which the actor stands for prints where it gives up.
    """

    def __init__(
        self,
        name: str,
        actor: Scripted,
        *,
        paths: SessionPaths,
        behaviour: Behaviour,
        clock: Clock,
        recorder: Recorder,
        machine: Machine,
        ids: random.Random,
        touch: Callable[[Path], None],
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._name, self._actor, self._behaviour = name, actor, behaviour
        self._clock, self._recorder, self._machine, self._ids, self._touch = clock, recorder, machine, ids, touch
        self._say = say
        self._paths = paths
        self._store = session_store(
            self._paths, AGENT, behaviour=behaviour, clock=clock, ids=ids, machine=machine
        )  # fmt: skip
        self._lock: SessionLock | None = None
        self._held: HeldLock | None = None
        self._leaked: list[HeldLock] = []

    async def run(self) -> int:
        """Perform the script; the exit status: 0, or 1 when a step did not succeed.

        Cancelling gives back what is held and not leaked.
        """
        try:
            for step in self._actor.script:
                await self._perform(step)
        except (SessionLocked, LockStateError, Fenced, OSError) as error:
            self._say(f"Error: {error}")
            return 1  # what failed is recorded; a lock that is gone or not to be had ends the script
        finally:
            await self._let_go()
        return 0

    async def _perform(self, step: Step) -> None:
        match step:
            case Take():
                await self._take(step.timeout_s, step.max_hold_s)
            case Release():
                await self._let_go()
            case Leak():
                if self._held is not None:
                    self._leaked.append(self._held)
                self._lock = self._held = None
            case Append():
                await self._append(step)
            case Sleep(for_s=seconds):
                await self._clock.sleep(seconds)
            case Deliver():
                await self._deliver(step)
            case Read():
                await self._read()
            case Clean():
                await self._clean()
            case Touch():
                self._touch(self._file())
            case Rotate():
                await self._rotate(step)
            case HoldStore():
                await self._hold_store(step)
            case HoldDatabase():
                await self._hold_database(step)
            case Maintain():
                await self._maintain(step)

    # ------------------------------------------------------------------ the lock

    def _file(self) -> Path:
        """The transcript to which the key leads now."""
        entry = self._store.read().get(KEY, {})
        return transcript_of_entry(
            entry, self._paths.sessions_dir(AGENT), files=self._machine.files, kind=self._paths.kind
        )

    async def _take(self, timeout_s: float | None = None, max_hold_s: float = 300.0) -> None:
        self._lock = SessionLock(
            self._file(), timeout=self._behaviour.lock_timeout_s if timeout_s is None else timeout_s,
            algorithm=self._behaviour.lock_algorithm, clock=self._clock, recorder=self._recorder, owner=self._name,
            max_hold_s=max_hold_s, host=self._machine.locks,
        )  # fmt: skip
        self._held = await self._lock.acquire_async()

    async def _let_go(self) -> None:
        if self._lock is not None:
            lock, self._lock, self._held = self._lock, None, None
            await lock.release_async()

    def _transcript(self, *, locked: bool = True) -> Transcript:
        held = self._held if locked else None
        path = self._file()
        return Transcript.open(
            path, session_id=path.stem, cwd=self._paths.state_dir, clock=self._clock, ids=self._ids,
            recorder=self._recorder, section=held.section if held else None,
            generation=held.generation if held else 0, run_id=self._name, files=self._machine.files,
        )  # fmt: skip

    # ------------------------------------------------------------------ steps

    async def _append(self, step: Append) -> None:
        transcript = self._transcript(locked=step.locked)
        for n in range(step.count):
            if n and step.every_s:
                await self._clock.sleep(step.every_s)
            if step.what == "user":
                text = f"message {n + 1} of {self._name}"
                transcript.append_message({"role": "user", "content": [{"type": "text", "text": text}]})
            else:
                transcript.append_custom("lockjaw:note", {"by": self._name, "number": n + 1})

    async def _deliver(self, step: Deliver) -> None:
        told = {"text": step.text}
        self._recorder.record("deliver", "invoke", **told)
        why = ""
        for _ in range(step.tries):
            try:
                await self._take()
                await self._clock.sleep(step.think_s)
                entry_id = self._transcript().append_custom("lockjaw:delivery", told)
            except (LockjawError, OSError) as error:
                why = str(error).splitlines()[0]
                await self._let_go()
                continue
            await self._let_go()
            self._recorder.record("deliver", "ok", **told, entry_id=entry_id)
            return
        self._recorder.record("deliver", "fail", **told, error=why)
        self._say(f"Subagent announce give up (retry-limit) error={why}")

    async def _read(self) -> None:
        path = self._file()
        self._recorder.record("read", "invoke", path=str(path))
        if self._behaviour.readers_lock:
            try:
                await self._take()
            except SessionLocked:
                # 2026.4's readers: no lock, no entries, no error (#65060).
                self._recorder.record("read", "ok", path=str(path), entries=0)
                return
        entries = len(read_entries(path, files=self._machine.files).entries)
        await self._let_go()
        self._recorder.record("read", "ok", path=str(path), entries=entries)

    async def _clean(self) -> None:
        path, host = self._file(), self._machine.locks
        lock_path = host.paths(path).lock
        if self._behaviour.cleaners_trust_pids:
            removed = host.call(self._clock, sweep_by_pid, lock_path)
        else:
            try:
                view = inspect_lock(path, clock=self._clock, host=host)
            except OSError:
                removed = False  # what cannot be read proves nothing
            else:
                removed = view.exists and view.alive is False
            if removed:  # whoever takes it over and gives it back has removed it, and cannot race
                lock = SessionLock(path, timeout=0, clock=self._clock, host=host, owner=self._name)
                try:
                    await lock.acquire_async()
                except (SessionLocked, LockStateError):
                    removed = False
                else:
                    await lock.release_async()
        self._recorder.record("clean", "info", path=lock_path, removed=removed)

    async def _rotate(self, step: Rotate) -> None:
        await self._take()
        await self._clock.sleep(step.think_s)
        transcript, session_id = self._transcript(), uuid4(self._ids)
        target = self._paths.transcript(AGENT, session_id)
        transcript.fork(target, session_id)

        def change(entry: dict[str, object]) -> None:
            entry["sessionId"], entry["sessionFile"] = session_id, str(target)

        await self._store.update(KEY, change)
        self._recorder.record("rotate", "info", path=str(target), session_id=session_id)
        await self._let_go()

    async def _maintain(self, step: Maintain) -> None:
        for n in range(step.count):
            await self._clock.sleep(step.every_s)

            def change(entry: dict[str, object], n: int = n) -> None:
                entry["maintenanceCount"] = n + 1

            # The maintenance of one store commits what it has at hand: it never meets its own revision check.
            await SessionStore.update(self._store, KEY, change)
        self._recorder.record("maintain", "info", count=step.count)

    async def _hold_store(self, step: HoldStore) -> None:
        lock = SessionLock(
            self._paths.store(AGENT), timeout=60.0, algorithm=self._behaviour.lock_algorithm, clock=self._clock,
            owner=self._name, max_hold_s=step.for_s + 60.0, host=self._machine.locks, recorder=self._recorder,
        )  # fmt: skip
        async with lock:
            await self._clock.sleep(step.for_s)

    async def _hold_database(self, step: HoldDatabase) -> None:
        path = self._file() if step.of == "session" else self._paths.store(AGENT)
        told = {"path": str(path), "of": step.of}
        self._recorder.record("database", "invoke", **told)
        with self._machine.files.databases.writing(path, wait_s=DATABASE_WAIT_S, clock=self._clock):
            self._recorder.record("database", "ok", **told)
            await self._clock.sleep(step.for_s)
        self._recorder.record("database", "info", **told)


def sweep_by_pid(calls: Calls, lock_path: str) -> bool:
    """What cleaners did up to 2026.6: ask the process table of where they run, and unlink by path. -> removed?

    The known faults are kept on purpose: a pid of another namespace is nobody here (#126524), and a lock file that
    cannot be read just now names no owner (#102155).
    """
    try:
        record = parse(calls.read_file(lock_path).data)
    except FileNotFoundError:
        return False
    except OSError:
        record = NOBODY
    if record.pid is None:
        status = calls.status(lock_path)
        if status is None or status.age_s < OWNERLESS_GRACE_S:
            return False
    else:
        state = calls.process_state(record.pid)
        if state.exists and not state.zombie:
            return False
    calls.unlink(lock_path)
    return True
