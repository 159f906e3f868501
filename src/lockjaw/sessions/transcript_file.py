"""The file behind an open transcript: every byte that is written, and what others wrote meanwhile.

Theory of operation
    *One line, one write.* A line goes out in one system call on an ``O_APPEND`` descriptor. Two writers
    cannot mix their lines, and a killed one leaves at most a torn last line, which the next opening cuts off.

    *Every write inside the section.* ``section`` is the lock's short kernel-locked span: it checks that our
    generation is still the newest. A superseded run gets ``Fenced`` and has written nothing. The record of an
    append is made before the section ends; afterwards a newer generation could already have been granted, and
    the history would show an old owner writing.

    *Overruled in the section.* A writer that stands still inside it can be overruled all the same
    (``locking.algorithms.overruling``). So it looks again once the file is open and once its bytes are written: the
    first look keeps it from writing into its successor's file, the second from telling that something was written
    which the successor may not have (``severing``).

    *Others may write too.* The real program appends injected messages without taking the lock. ``news`` gives
    what came since our last look, so that ids stay unique and nobody's line is taken for ours; a line that
    they left unfinished is ended before ours begins. A file that is not ours any more (renamed away,
    rewritten, cut) is refused with ``TranscriptReplaced``.

This module knows lines and entries, and nothing of the conversation they make.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from lockjaw.clock import Clock
from lockjaw.errors import LocalError
from lockjaw.files import Files
from lockjaw.seeds import uuid4
from lockjaw.sessions import disk
from lockjaw.sessions.entries import Entry, encode, entries_of, is_header, read_lines
from lockjaw.sessions.repair import Survey, mend, put_aside, survey
from lockjaw.sessions.severing import is_due, sever
from lockjaw.sessions.writer import Section, Writer, unchecked

T = TypeVar("T")


class TranscriptReplaced(LocalError):
    """The file behind an open transcript is another one now. Nothing was written. Field: ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        super().__init__(
            f"{path}: the transcript was replaced, cut or removed while this run had it open; "
            "nothing was written. Open it again"
        )


class TranscriptFile:
    """Where an open transcript's entries go.

    Args:
        header: the first line of a file that has none yet.
        writer: the run for which it is open.
        durable: flush to the device before a write returns.

    Attributes:
        header: the file's own header once it was surveyed, else the one given.
        begun: a header of this session is in the file.
    """

    def __init__(
        self,
        path: Path,
        header: dict[str, Any],
        *,
        files: Files,
        clock: Clock,
        ids: random.Random,
        writer: Writer,
        durable: bool,
    ) -> None:
        self.path, self.header = path, header
        self.begun = False
        self._files, self._clock, self._ids = files, clock, ids
        self._writer, self._durable = writer, durable
        self._check: Callable[[], None] = unchecked
        self._inode: int | None = None
        self._known_end = 0  # offset up to which the caller knows what the file holds

    async def aside(self, work: Callable[[], T]) -> T:
        """Perform work on this transcript. Appends to a file wait for no lock, so it happens at once."""
        return work()

    # ------------------------------------------------------------------ opening

    def take_in(self, found: Survey) -> None:
        """The caller now knows what this survey found."""
        self.header = found.header or self.header
        self.begun = found.header is not None and found.size > 0
        self._inode, self._known_end = found.inode, found.size

    def sever(self) -> None:
        """If an owner was overruled in mid-append, make the file anew: its late bytes shall not land in ours."""
        if is_due(self._files, self.path):
            with self._guarded():
                sever(self._files, self.path, temporary=self.temporary_of(self.path))

    def continue_under(self, section: Section, generation: int) -> None:
        """Go on under another grant of the lock; the file is made anew if it is due, and stays ours."""
        self._writer.continue_under(section, generation)
        with self._guarded():
            ours = self._inode is not None and self._inode == self._inode_now()
            if is_due(self._files, self.path):
                sever(self._files, self.path, temporary=self.temporary_of(self.path))
                if ours:
                    self._inode = self._inode_now()

    def _inode_now(self) -> int | None:
        try:
            fd = self._files.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            return self._files.info(fd).st_ino
        finally:
            self._files.close(fd)

    def make_sound(self, found: Survey) -> tuple[Survey, Path | None]:
        """Mend the file if the survey says so; returns what is there then, and where the copy is (or None).

        With ``durable=False`` a file without any assistant message is emptied, as the real program does.
        """
        emptied = not self._durable and found.size > 0 and not _has_assistant(found)
        if not (found.torn or found.headless or not found.terminated or emptied):
            return found, None
        with self._guarded():
            now_ms, temporary = self._clock.wall_ms(), self.temporary_of(self.path)
            copy = mend(
                self._files, self.path, encode(self.header), now_ms=now_ms, temporary=temporary, check=self._check
            )  # fmt: skip
            found = survey(self._files, self.path)
            if self._durable or _has_assistant(found):
                return found, copy
            # Upstream loses these entries for good. We show what it does to a session; we do not destroy
            # somebody's questions for it: they are put aside first.
            if copy is None and any(value.get("type") == "message" for value in found.values):
                copy = put_aside(self._files, self.path, now_ms)
            if found.size:
                fd = self._files.open(self.path, os.O_WRONLY)
                try:
                    self._check()
                    self._files.cut(fd, 0)
                finally:
                    self._files.close(fd)
            return Survey(inode=found.inode, header=found.header), copy

    # ------------------------------------------------------------------ writing

    @contextmanager
    def writing(self) -> Iterator[int]:
        """A descriptor for appending, inside the write section; the file and its folder are made if absent."""
        with self._guarded():
            self._files.make_folder(self.path.parent)
            fd = self._files.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            try:
                self._check()
                yield fd
            finally:
                self._files.close(fd)

    def news(self, fd: int) -> list[Entry]:
        """The entries that others appended since our last look; call it inside ``writing``.

        Raises:
            TranscriptReplaced: see there.
        """
        status = self._files.info(fd)
        if self._known_end and (status.st_ino != self._inode or status.st_size < self._known_end):
            raise TranscriptReplaced(self.path)
        if status.st_size == self._known_end:
            return []
        with self._files.stream(fd, keep=True) as stream:
            stream.seek(self._known_end)
            values = [line.value for line in read_lines(stream) if line.value is not None]
            self._known_end = stream.tell()
        self.begun = self.begun or any(is_header(value) for value in values)
        return entries_of(None, values)[0]

    def write(self, fd: int, entries: Sequence[Entry]) -> None:
        """Append entries with one write, the header before them if the file has none; call it inside ``writing``.

        Raises:
            DiskFull, OSError: the file is as it was.
            Fenced: we were overruled in the middle; the entries do not count, wherever the bytes are.
        """
        data = b"".join(encode(entry.raw) for entry in entries)
        if not self.begun:
            data = encode(self.header) + data
        size = self._files.info(fd).st_size
        if size and self._files.read_at(fd, 1, size - 1) != b"\n":
            data = b"\n" + data  # somebody else's unfinished line must not swallow ours
        disk.append(self._files, fd, data, path=self.path, durable=self._durable)
        if self._durable and self._inode is None:
            self._files.flush_folder(self.path.parent)
        self._check()
        status = self._files.info(fd)
        if size == self._known_end and status.st_size == size + len(data):
            self._known_end = status.st_size  # otherwise somebody came in between: the next look finds us both
        self._inode, self.begun = status.st_ino, True
        self._writer.appended(entries)

    def temporary_of(self, path: Path) -> Path:
        return path.with_name(f"{path.name}.{uuid4(self._ids)}.tmp")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        with self._writer.admitted(), self._writer.section() as check:
            self._check = check or unchecked
            yield


def _has_assistant(found: Survey) -> bool:
    entries, _ = entries_of(found.header, found.values)
    return any(entry.role == "assistant" for entry in entries)
