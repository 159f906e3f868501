"""Files of a workspace, and nothing outside of it.

Two steps. First the path is resolved, symbolic links included, and refused unless it ends up inside. Then the
resolved path is opened component by component from the workspace's descriptor without following links: what
was exchanged between the two steps (a command of the same agent runs at the same time) is an error, never a
way out.

Knows no model, tool or clock. All functions are synchronous and bounded by the sizes below: a cancelled turn
never leaves a thread behind that writes later.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

READ_LIMIT_BYTES = 256 * 1024
WRITE_LIMIT_BYTES = 8 * 1024 * 1024

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Refused(Exception):
    """The workspace does not do that; the message is for the model."""


class Excerpt(msgspec.Struct, frozen=True):
    """A piece of a file: ``data`` begins at ``offset``; ``size`` is that of the whole file, in bytes."""

    data: bytes
    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


def read(workspace: Path, path: str, *, offset: int = 0, limit: int = READ_LIMIT_BYTES) -> Excerpt:
    """Read a regular file from ``offset`` on, at most ``limit`` bytes.

    Raises:
        Refused: outside the workspace, or not a regular file.
        OSError: as the system has it (no such file, permission).
    """
    folder, name = _locate(workspace, path)
    with _opened(workspace, folder, create=False) as parent:
        # Non-blocking: opening a FIFO must not wait for a writer.
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise Refused(f"{path} is not a regular file")
            data = b""
            while len(data) < limit and (piece := os.pread(fd, limit - len(data), offset + len(data))):
                data += piece
            return Excerpt(data, offset, max(status.st_size, offset + len(data)))
        finally:
            os.close(fd)


def write(workspace: Path, path: str, data: bytes, *, tag: str) -> bool:
    """Replace a file as a whole, making parent folders: readers see the old content or the new, never a part.

    Args:
        tag: names the temporary file; unique among writers at the same time (run and call id).

    Returns:
        True if the file is new.

    Raises:
        Refused: outside the workspace, too long, or the target is something other than a file.
        OSError: as the system has it; the target is then unchanged and the temporary file gone.
    """
    if len(data) > WRITE_LIMIT_BYTES:
        raise Refused(f"{len(data)} bytes are more than the limit of {WRITE_LIMIT_BYTES} bytes")
    folder, name = _locate(workspace, path)
    temporary = f".lockjaw-{hashlib.sha256(tag.encode()).hexdigest()[:16]}.tmp"
    with _opened(workspace, folder, create=True) as parent:
        mode: int | None = None
        try:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            pass
        else:
            if not stat.S_ISREG(status.st_mode):
                raise Refused(f"{path} is not a regular file")
            mode = stat.S_IMODE(status.st_mode)
        try:
            os.unlink(temporary, dir_fd=parent)  # of this very call, from a run that was killed in mid-write
        except FileNotFoundError:
            pass
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o666, dir_fd=parent)
        try:
            try:
                if mode is not None:
                    os.fchmod(fd, mode)
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            os.unlink(temporary, dir_fd=parent)
            raise
        os.fsync(parent)
    return mode is None


def _locate(workspace: Path, path: str) -> tuple[tuple[str, ...], str]:
    """Folder components and name of a path, both below the resolved workspace and free of links."""
    if not path or "\0" in path:
        raise Refused("the path is empty or holds a NUL character")
    root = os.path.realpath(workspace)
    target = os.path.realpath(os.path.join(root, path))
    if os.path.commonpath((root, target)) != root:
        raise Refused(f"{path} is outside the workspace")
    parts = Path(target).relative_to(root).parts
    if not parts or path.endswith("/"):
        raise Refused(f"{path} is a folder")
    return parts[:-1], parts[-1]


@contextmanager
def _opened(workspace: Path, folder: tuple[str, ...], *, create: bool) -> Iterator[int]:
    """The descriptor of a folder below the workspace, reached without following a link."""
    if create:
        workspace.mkdir(parents=True, exist_ok=True)
    fd = os.open(os.path.realpath(workspace), _DIRECTORY)
    try:
        for part in folder:
            if create:
                try:
                    os.mkdir(part, dir_fd=fd)
                except FileExistsError:
                    pass
            deeper = os.open(part, _DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = deeper
        yield fd
    finally:
        os.close(fd)
