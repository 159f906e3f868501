"""Files that appear under their name whole, or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from lockjaw.folders import flush_folder

__all__ = ["write_whole"]


def write_whole(path: Path, data: bytes, *, mode: int = 0o666, replace: bool = True, durable: bool = False) -> None:
    """Write a file so that a reader sees the old one or all of the new one, whoever else writes it at that moment.

    Args:
        mode: of a new file, less what the umask takes.
        replace: False: a file that is there stays, and one that comes in between, too.
        durable: on the device, under its name, before this returns.

    Raises:
        FileExistsError: it is there and not to be replaced. OSError: as the system has it; nothing has changed.
    """
    fresh = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        number = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(number, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(number)
        if replace:
            fresh.replace(path)
        else:
            path.hardlink_to(fresh)  # unlike a rename it never replaces what came in between
    finally:
        with suppress(OSError):  # the first error is the one to tell
            fresh.unlink(missing_ok=True)
    if durable:
        flush_folder(path.parent)
