"""The store of installed programs: each version installed once, checked, and never changed afterwards.

A folder gets its name when the installation is complete; until then it has a hidden name, which Ctrl-C and SIGTERM
remove. The installer (npm, pip) holds our lock too: after a SIGKILL the next one waits for the installer that was left
alone, and then removes what it left.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lockjaw.errors import HarnessError
from lockjaw.visible import tell
from lockjaw.whole_files import write_whole

__all__ = ["MANIFEST", "Say", "Store", "default_root", "keep_json", "until_complete"]

MANIFEST = "installed.json"

Say = Callable[[str], None]


def default_root() -> Path:
    """The user's cache folder for Lockjaw."""
    from platformdirs import user_cache_path

    return user_cache_path("lockjaw", appauthor=False)


class Store:
    """Installed programs below ``root`` (default: the user's cache folder). ``say``: hears what takes long."""

    def __init__(self, root: Path | None = None, say: Say | None = None) -> None:
        self.root = (root or default_root()).absolute()
        self.say: Say = say or tell

    def require_space(self, folder: Path, what: str, needed_bytes: int) -> None:
        free = shutil.disk_usage(folder).free
        if free < needed_bytes:
            raise HarnessError(
                f"{folder}: {free / 1e9:.1f} GB free, {needed_bytes / 1e9:.1f} GB needed to install {what}; "
                f"free some space or point --cache at another disk"
            )

    def manifest(self, folder: Path) -> dict[str, Any] | None:
        try:
            value = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    @contextmanager
    def alone(self, name: str) -> Iterator[int]:
        """One installer at a time, over all processes; the others wait for its result. Yields the lock's descriptor."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.root / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HarnessError(f"the cache folder {self.root} cannot be used: {error}") from error
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.say(f"waiting for another installation of {name}")
                fcntl.flock(fd, fcntl.LOCK_EX)
            yield fd
        finally:
            os.close(fd)


@contextmanager
def until_complete(folder: Path) -> Iterator[Path]:
    """A hidden folder that gets its name when nothing went wrong, and else is removed. The caller holds the lock, so
    whoever made an older one is gone."""
    for old in folder.parent.glob(f".{folder.name}.part-*"):  # a dot: 2026.5.3 and 2026.5.3-1 are two versions
        shutil.rmtree(old)
    hidden = folder.with_name(f".{folder.name}.part-{os.getpid()}")
    try:
        with _terminable():
            yield hidden
            hidden.rename(folder)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends us as Ctrl-C does: npm first, then what it made. Only the main thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def keep_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees all of it or nothing, whoever else writes it at that moment."""
    write_whole(path, json.dumps(value).encode())
