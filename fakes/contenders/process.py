"""A lock contender's own process: ``python -m lockjaw.fakes.contenders.process`` performs one order a line.

Tests have ``contender.Contender`` for it, people ``lockjaw serve contender``.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lockjaw.clock import Clock, ScaledClock
from lockjaw.errors import LocalError, LockjawError
from lockjaw.locking import HeldLock, SessionLock
from lockjaw.locking.host import THIS_HOST
from lockjaw.locking.kernel import Kernel
from lockjaw.locking.operations import Call, observe

from .contender import INIT, TOLD_FIELDS, check_algorithm, lock_file_of, plant_lock
from .databases import retire_wal
from .user_locks import USER_LOCKS, UserLock

USER_TIMEOUT_S = 60.0  # nominal; how long it tries for a lock that has no patience of its own


class _Performer:
    """Inside the process: one lock at a time."""

    def __init__(self) -> None:
        self._clock = ScaledClock.from_environment()
        self._lock: SessionLock | UserLock | None = None
        self._held: HeldLock | UserLock | None = None
        self._file = Path()
        self._section = ExitStack()

    def perform(self, order: dict[str, Any]) -> dict[str, Any]:
        match order["order"]:
            case "acquire":
                if self._lock is not None:
                    raise LocalError("it holds a lock already")
                return self._acquire(order)
            case "append":
                with self._holding_session().section(), self._file.open("a", encoding="utf-8") as file:
                    file.write(order["text"] + "\n")
            case "enter":
                self._section.enter_context(self._holding_session().section())
            case "leave":
                self._section.close()
            case "release":
                self._holding()
                self.let_go()
            case "release_after":
                self._holding()
                threading.Timer(self._clock.real_s(order["hold_s"]), self.let_go).start()
            case "leak":
                _leaked.append(self._holding())
                self._lock = self._held = None
            case "fault":
                _plan_fault(order["at"], order["nth"], order["number"])
            case "garbage":
                lock_file_of(order["file"]).write_text(order["text"], encoding="utf-8")
            case "claim":
                plant_lock(order["file"], pid=order["pid"], starttime=order["starttime"])
            case "retire":
                retire_wal(order["file"])
            case other:
                raise LocalError(f"no such order: {other!r}")
        return {}

    def let_go(self) -> None:
        self._section.close()
        if self._lock is not None:
            self._lock.release()
        self._lock = self._held = None

    def _acquire(self, order: dict[str, Any]) -> dict[str, Any]:
        self._file = Path(order["file"])
        algorithm, timeout = check_algorithm(order["algorithm"]), order["timeout"]
        lock: SessionLock | UserLock
        if algorithm in USER_LOCKS:
            timeout_s = USER_TIMEOUT_S if timeout is None else timeout
            lock = UserLock(order["file"], algorithm, timeout_s=timeout_s, clock=self._clock)
        else:
            lock = SessionLock(
                self._file, timeout=timeout, algorithm=algorithm, clock=self._clock, owner=order["owner"]
            )
        _say({"begun": True})
        self._held = lock.acquire()
        self._lock = lock
        return {"generation": self._held.generation}

    def _holding(self) -> HeldLock | UserLock:
        if self._held is None:
            raise LocalError("it holds no lock")
        return self._held

    def _holding_session(self) -> HeldLock:
        held = self._holding()
        if not isinstance(held, HeldLock):
            raise LocalError("only a session lock has a section to append in; what it holds is a lock of a file")
        return held


_leaked: list[HeldLock | UserLock] = []


def _plan_fault(name: str, nth: int, number: int) -> None:
    """Signal ourselves right before an operation; no tracer, and the process is really killed or stopped."""
    left = nth

    def around(call: Call) -> Any:
        nonlocal left
        if name in ("any", call.operation):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), number)
        return call.make()

    def observed(clock: Clock) -> Kernel:
        kernel = Kernel(clock)
        observe(kernel, around)
        return kernel

    THIS_HOST.kernel = observed


def _told(error: Exception) -> dict[str, Any]:
    kind = next((cls for cls in TOLD_FIELDS if isinstance(error, cls)), None)
    return {
        "error": f"{type(error).__name__}: {error}",
        "kind": kind.__name__ if kind else "",
        "fields": {name: getattr(error, name) for name in TOLD_FIELDS[kind]} if kind else {},
    }


def _say(answer: dict[str, Any]) -> None:
    os.write(1, json.dumps(answer).encode() + b"\n")


def _stand_in_for_init() -> None:
    """As pid 1 of a namespace: start the contender as a child, and end as it does."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))


def main(arguments: Sequence[str]) -> None:
    """Perform orders until end of file, then give back what is held."""
    if INIT in arguments:
        _stand_in_for_init()
    performer = _Performer()
    _say({"ready": os.getpid()})
    for line in sys.stdin:
        try:
            answer = performer.perform(json.loads(line))
        except (LockjawError, OSError, sqlite3.Error) as error:
            answer = _told(error)
        _say(answer)
    performer.let_go()


if __name__ == "__main__":
    main(sys.argv[1:])
