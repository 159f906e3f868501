"""A second process for the store tests: waits for a line, then counts up one key many times, and a shared one with it.

Usage: store_writer.py STORE KEY TIMES [SESSIONS]: under a file lock; a STORE that is a database has SESSIONS keys
counted at once, each in a task of its own.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lockjaw.clock import ScaledClock
from lockjaw.sessions import RowStore, SessionStore


@asynccontextmanager
async def flocked(path: Path) -> AsyncIterator[None]:
    fd = os.open(f"{path}.flock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


async def main(store_path: str, key: str, times: str, sessions: str = "1") -> None:
    path, clock = Path(store_path), ScaledClock.start()
    in_rows = path.suffix == ".sqlite"
    store = RowStore(path, clock=clock, wait_s=60.0) if in_rows else SessionStore(path, clock=clock, lock=flocked)

    def count(entry: dict[str, Any]) -> None:
        entry["count"] = entry.get("count", 0) + 1

    async def talk(name: str) -> None:
        for _ in range(int(times)):
            await store.update(name, count)
            await store.update("shared", count)

    names = [key] if sessions == "1" else [f"{key}{n}" for n in range(int(sessions))]
    await asyncio.gather(*map(talk, names))


if __name__ == "__main__":
    print("ready", flush=True)
    sys.stdin.readline()
    asyncio.run(main(*sys.argv[1:]))
