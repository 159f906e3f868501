"""Reading a transcript file whole, and mending what a crash left of it.

Damage has three forms, each with its own cure:

- *a torn tail*: everything after the last sound line is damaged (a writer was killed, a disk was full, a
  power cut left NULs). Cut off, after a copy of the whole file was put aside.
- *an unterminated tail*: the last line is sound and lacks its newline only. Kept, and terminated.
- *no header*: entries without the line that names the session; the real program would take such a file for
  empty and write over it. A header is put before them, after a copy was put aside.

Damage between sound lines stays where it is: the reader passes over it, and no byte is moved for it.

A repair runs inside the session's write section (the caller provides it) and looks at the file anew there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from lockjaw.files import Files
from lockjaw.sessions import disk
from lockjaw.sessions.entries import Line, header_flaw, is_header, read_lines

CHUNK_BYTES = 1 << 20


@dataclass
class Survey:
    """What a transcript file holds.

    Attributes:
        inode: of the file; None when it is absent.
        size: bytes read.
        header: the first header, or None.
        values: every sound object in file order, headers included, as it stands in the file.
        sound_end: offset after the last sound line (its newline included).
        terminated: the last sound line ends in a newline; True for an empty file.
        damaged_tail: the number of the first damaged line after the last sound one, or 0.
        problems: one sentence per flaw; ``line N`` counts from 1.
    """

    inode: int | None = None
    size: int = 0
    header: dict[str, Any] | None = None
    values: list[dict[str, Any]] = field(default_factory=list)
    sound_end: int = 0
    terminated: bool = True
    damaged_tail: int = 0
    lines: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def torn(self) -> bool:
        return self.damaged_tail > 0

    @property
    def headless(self) -> bool:
        return self.header is None and bool(self.values)


def survey(files: Files, path: Path) -> Survey:
    """Read a transcript; an absent file is an empty one. Holds the entries, and one line of bytes at a time."""
    try:
        fd = files.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return Survey()
    inode = files.info(fd).st_ino
    with files.stream(fd) as stream:
        found = survey_stream(stream)
    found.inode = inode
    return found


def survey_stream(stream: BinaryIO) -> Survey:
    """As ``survey``, of lines that come from elsewhere."""
    found = Survey()
    damaged: list[Line] = []
    for line in read_lines(stream):
        found.size, found.lines = line.end, line.number
        if line.damaged:
            damaged.append(line)
        elif line.value is not None:
            _take(found, line, damaged)
            damaged = []
    found.problems += [_damage(line) for line in damaged[:-1]]
    if damaged:
        found.damaged_tail = damaged[0].number
        found.problems.append(f"torn line {damaged[-1].number}: {damaged[-1].flaw}")
    return found


def _take(found: Survey, line: Line, damaged: list[Line]) -> None:
    assert line.value is not None
    found.problems += [_damage(before) for before in damaged]
    found.values.append(line.value)
    found.sound_end, found.terminated = line.end, line.terminated
    if line.flaw:
        found.problems.append(_damage(line))
    if flaw := header_flaw(line.value) if is_header(line.value) else "":
        found.problems.append(f"line {line.number}: {flaw}")
    elif is_header(line.value) and found.header is None:
        found.header = line.value


def _damage(line: Line) -> str:
    return f"line {line.number}: {line.flaw}"


def mend(
    files: Files, path: Path, header: bytes, *, now_ms: int, temporary: Path, check: Callable[[], None] = lambda: None
) -> Path | None:
    """Cure every form of damage that a file has; call it inside the write section.

    Args:
        header: the line to put before entries that have none.
        now_ms: Unix milliseconds, for the copy's name.
        temporary: a fresh name in the same folder.
        check: asked with the file open, right before it is changed; raises for whoever may not change it any more.

    Returns:
        Where the copy of the damaged file is, or None if none was needed.

    Raises:
        OSError: (``disk.DiskFull``, for example) the file is as it was, or mended only in part.
    """
    found = survey(files, path)
    copy = None
    if found.torn or found.headless:
        copy = put_aside(files, path, now_ms)
    if found.torn or not found.terminated:
        fd = files.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            check()
            if found.torn:
                files.cut(fd, found.sound_end)
            if not found.terminated:
                disk.append(files, fd, b"\n", path=path, durable=True)
            files.flush(fd)
        finally:
            files.close(fd)
    if found.headless:
        disk.replace_file(files, path, _after(files, header, path), temporary=temporary)
    return copy


def _after(files: Files, header: bytes, path: Path) -> Iterator[bytes]:
    yield header
    yield from chunks_of(files, path)


def chunks_of(files: Files, path: Path) -> Iterator[bytes]:
    with files.stream(files.open(path, os.O_RDONLY)) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk


def put_aside(files: Files, path: Path, now_ms: int) -> Path:
    """Copy the file to ``<file>.bak-<pid>-<ms>`` (upstream's name for it), durably; never over another copy."""
    while True:
        copy = path.with_name(f"{path.name}.bak-{files.process_id()}-{now_ms}")
        try:
            disk.write_new(files, copy, chunks_of(files, path))
        except FileExistsError:
            now_ms += 1
            continue
        files.flush_folder(path.parent)
        return copy
