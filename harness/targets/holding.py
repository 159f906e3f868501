"""Somebody else holds a runtime's store: ``python -P -m ... holding PLAN READY_FD GO_FD``.

What backups, migrations and siblings do: a write transaction in the database, or the lock of the file, for some
seconds. Nothing in the store is changed. The plan is read at the go: only then the session has an id.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from lockjaw.clock import ScaledClock
from lockjaw.errors import LockjawError
from lockjaw.process import perform_at_go, recorder_from_environment, watch_lifeline
from lockjaw.visible import tell

from ...fakes.contenders.user_locks import UserLock

__all__ = ["Hold"]

WAITS_S = 60.0


class Hold(msgspec.Struct, frozen=True):
    """``pattern``: of the file's path, the newest wins. ``kind``: how a contender names the lock. Seconds: nominal."""

    pattern: str
    kind: str
    for_s: float


async def hold(plan: Hold, env: os._Environ[str]) -> int:
    """Exit status 0, or 1 if there is no such file or it was not to be had."""
    clock = ScaledClock.from_environment()
    recorder = recorder_from_environment(env, clock)
    found = sorted(glob.glob(plan.pattern, include_hidden=True), key=os.path.getmtime)
    path = found[-1] if found else plan.pattern
    recorder.record("database", "invoke", path=path, of="session")
    try:
        if not found:
            raise FileNotFoundError(path)
        lock = UserLock(path, plan.kind, timeout_s=WAITS_S, clock=clock).acquire()
    except (LockjawError, OSError) as error:
        recorder.record("database", "fail", path=path, error=str(error))
        tell(str(error))
        return 1
    recorder.record("database", "ok", path=path, of="session")
    try:
        await clock.sleep(plan.for_s)
    finally:
        lock.release()
        recorder.record("database", "info", path=path, of="session")
    return 0


def _read(plan: Path) -> Hold:
    return msgspec.json.decode(plan.read_bytes(), type=Hold)


def main(arguments: Sequence[str]) -> int:
    plan_file, ready_fd, go_fd = arguments
    watch_lifeline(os.environ)

    async def perform() -> int:
        return await hold(_read(Path(plan_file)), os.environ)

    return perform_at_go(perform, int(ready_fd), int(go_fd))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
