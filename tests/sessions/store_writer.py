"""A second process for the store tests: waits for a line, then counts up one key many times under a file lock.

Usage: store_writer.py STORE KEY TIMES
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
from lockjaw.sessions import SessionStore


@asynccontextmanager
async def flocked(path: Path) -> AsyncIterator[None]:
    fd = os.open(f"{path}.flock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


async def main(store_path: str, key: str, times: str) -> None:
    store = SessionStore(Path(store_path), clock=ScaledClock.start(), lock=flocked)

    def count(entry: dict[str, Any]) -> None:
        entry["count"] = entry.get("count", 0) + 1

    for _ in range(int(times)):
        await store.update(key, count)
        await store.update("shared", count)


if __name__ == "__main__":
    print("ready", flush=True)
    sys.stdin.readline()
    asyncio.run(main(*sys.argv[1:]))
