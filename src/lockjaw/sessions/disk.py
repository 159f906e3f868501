"""How this package touches the disk: whole lines or nothing, whole files or nothing.

Two operations only. ``append`` adds bytes to the end of a file in one system call and takes them back when
they did not fit. ``replace_file`` writes a new file beside the old one and renames it over. A reader that
comes at any moment sees the state before or the state after; a crash leaves at most a torn last line (which
``repair`` cuts off) or a ``*.tmp`` file that nobody reads.

This module knows nothing of what the bytes mean.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from lockjaw.errors import LocalError

FILE_MODE = 0o600  # conversations are private; OpenClaw uses the same for sessions.json
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class DiskFull(LocalError, OSError):
    """The bytes did not fit; the file is as it was before.

    Fields: ``path``, ``wanted_bytes``, ``written_bytes`` (what fitted before it was taken back), ``errno``.
    """

    errno: int | None = errno.ENOSPC

    def __init__(self, path: Path, wanted_bytes: int, written_bytes: int = 0) -> None:
        self.path, self.wanted_bytes, self.written_bytes = str(path), wanted_bytes, written_bytes
        super().__init__(
            f"{path}: the disk is full: {written_bytes} of {wanted_bytes} bytes fitted and were taken back, "
            "nothing that was there is lost. Free some space and try again"
        )


def append(fd: int, data: bytes, *, path: Path, durable: bool) -> None:
    """Add ``data`` at the end of the file behind ``fd`` (opened with ``O_APPEND``) with one write.

    Args:
        durable: flush to the device before returning.

    Raises:
        DiskFull: not everything fitted. The file has its previous length again.
        OSError: the device refused (``EIO`` ...). The file has its previous length again if the device allowed it.
    """
    before = os.fstat(fd).st_size
    written = 0
    try:
        written = os.write(fd, data)
        if written == len(data):
            if durable:
                os.fsync(fd)
            return
    except OSError as error:
        _take_back(fd, before, written)
        if error.errno in _FULL:
            raise DiskFull(path, len(data), written) from error
        raise
    _take_back(fd, before, written)
    raise DiskFull(path, len(data), written)


def _take_back(fd: int, before: int, written: int) -> None:
    try:
        # Somebody who does not take the lock (upstream's injected messages) may have appended behind us
        # meanwhile; then our torn line stays, and the next append starts a line of its own.
        if written and os.fstat(fd).st_size == before + written:
            os.ftruncate(fd, before)
    except OSError:
        pass  # the first error is the one to report; the next open repairs the tail


def write_new(path: Path, chunks: Iterable[bytes]) -> None:
    """Create ``path`` (mode 0600) with these bytes, flushed to the device; on any failure it is gone again.

    Raises:
        FileExistsError: ``path`` exists; it is left alone.
        DiskFull: see there.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    done = False
    try:
        for chunk in chunks:
            _write_all(fd, chunk, path)
        os.fsync(fd)
        done = True
    finally:
        os.close(fd)
        if not done:
            os.unlink(path)


def _write_all(fd: int, data: bytes, path: Path) -> None:
    view = memoryview(data)
    while view:
        try:
            written = os.write(fd, view)
        except OSError as error:
            if error.errno in _FULL:
                raise DiskFull(path, len(data), len(data) - len(view)) from error
            raise
        view = view[written:]


def replace_file(path: Path, chunks: Iterable[bytes], *, temporary: Path) -> None:
    """Put these bytes where ``path`` is, atomically and durably, by way of ``temporary`` in the same folder.

    Raises:
        OSError: nothing changed, and ``temporary`` is gone.
    """
    write_new(temporary, chunks)
    try:
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Make a created or renamed name in ``folder`` survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
