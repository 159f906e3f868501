"""How this package touches the disk: whole lines or nothing, whole files or nothing.

Two operations only. ``append`` adds bytes to the end of a file in one system call and takes them back when
they did not fit. ``replace_file`` writes a new file beside the old one and renames it over. A reader that
comes at any moment sees the state before or the state after; a crash leaves at most a torn last line (which
``repair`` cuts off) or a ``*.tmp`` file that no program reads.

This module knows nothing of what the bytes mean.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

from lockjaw.errors import LocalError
from lockjaw.files import Files

TEMPORARY = ".tmp"  # behind the name of a file and a UUID
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
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


class Swept(LocalError):
    """A temporary file of ours is gone: a newer owner took us for dead or overruled us. Field: ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        super().__init__(f"{path}: the temporary file was removed by a newer owner; nothing was written")


def sweep(files: Files, path: Path, endings: Sequence[str] = (TEMPORARY,)) -> None:
    """Remove the new versions of a file that earlier owners have left unfinished: whoever holds the lock calls it, so
    they are dead or overruled. One that is overruled and still runs finds its file gone, and puts nothing over ours."""
    for ending in endings:
        for found in files.listing(path.parent, f"{path.name}.", ending):
            middle = Path(found).name.removeprefix(f"{path.name}.").removesuffix(ending)
            if _UUID.fullmatch(middle):
                with suppress(FileNotFoundError):
                    files.remove(found)


def append(files: Files, fd: int, data: bytes, *, path: Path, durable: bool) -> None:
    """Add ``data`` at the end of the file behind ``fd`` (opened with ``O_APPEND``) with one write.

    Args:
        durable: flush to the device before returning.

    Raises:
        DiskFull: not everything fitted. The file has its previous length again.
        OSError: the device refused (``EIO`` ...). The file has its previous length again if the device allowed it.
    """
    before = files.info(fd).st_size
    written = 0
    try:
        written = files.write(fd, data)
        if written == len(data):
            if durable:
                files.flush(fd)
            return
    except OSError as error:
        _take_back(files, fd, before, written)
        if error.errno in _FULL:
            raise DiskFull(path, len(data), written) from error
        error.filename = error.filename or os.fspath(path)  # the system knows the descriptor alone
        raise
    _take_back(files, fd, before, written)
    raise DiskFull(path, len(data), written)


def _take_back(files: Files, fd: int, before: int, written: int) -> None:
    try:
        # Somebody who does not take the lock (upstream's injected messages) may have appended behind us
        # meanwhile; then our torn line stays, and the next append starts a line of its own.
        if written and files.info(fd).st_size == before + written:
            files.cut(fd, before)
    except OSError:
        pass  # the first error is the one to report; the next open repairs the tail


def write_new(files: Files, path: Path, chunks: Iterable[bytes]) -> None:
    """Create ``path`` (mode 0600) with these bytes, flushed to the device; on any failure it is gone again.

    Raises:
        FileExistsError: ``path`` exists; it is left alone.
        DiskFull: see there.
    """
    fd = files.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    done, size = False, 0
    try:
        for chunk in chunks:
            _write_all(files, fd, chunk, path)
            size += len(chunk)
        files.flush(fd)
        done = True
    except DiskFull:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(path, size, 0) from error
        error.filename = error.filename or os.fspath(path)
        raise
    finally:
        files.close(fd)
        if not done:
            files.remove(path)


def _write_all(files: Files, fd: int, data: bytes, path: Path) -> None:
    view = memoryview(data)
    while view:
        try:
            written = files.write(fd, view)
        except OSError as error:
            if error.errno in _FULL:
                raise DiskFull(path, len(data), len(data) - len(view)) from error
            raise
        view = view[written:]


def replace_file(
    files: Files,
    path: Path,
    chunks: Iterable[bytes],
    *,
    temporary: Path,
    section: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> None:
    """Put these bytes where ``path`` is, atomically and durably, by way of ``temporary`` in the same folder.

    Args:
        section: entered for the renaming alone, so that a writer that is slow or frozen before it or after it can be
            overruled; raises what a writer that was overruled gets.

    Raises:
        Swept: the process that overruled us has removed ``temporary``; nothing changed.
        OSError: nothing changed, and ``temporary`` is gone.
    """
    write_new(files, temporary, chunks)
    try:
        with section():
            try:
                files.replace(temporary, path)
            except FileNotFoundError as error:
                raise Swept(temporary) from error
    except Swept:
        raise
    except BaseException:
        with suppress(FileNotFoundError):
            files.remove(temporary)
        raise
    # A created or renamed name survives a power cut only with its folder.
    files.flush_folder(path.parent)
