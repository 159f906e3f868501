"""Says how much of an installation has arrived: npm and pip are silent for minutes when nobody watches a terminal."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["EVERY_REAL_S", "growing"]

EVERY_REAL_S = 10.0


@contextmanager
def growing(folder: Path, what: str, say: Callable[[str], None], every_real_s: float = EVERY_REAL_S) -> Iterator[None]:
    """While the block runs, say every few seconds how many MB the folder holds.

    Args:
        folder: may not exist yet.
        what: is being installed, as ``openclaw 2026.4.8``.
        every_real_s: between two sentences; > 0.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(every_real_s):
            say(f"installing {what}: {size_bytes(folder) / 1e6:.0f} MB so far")

    watcher = threading.Thread(target=watch, name="lockjaw-growing", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def size_bytes(folder: Path) -> int:
    """What the files below a folder hold; files that vanish while we look count nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except OSError:
                continue
    return total
