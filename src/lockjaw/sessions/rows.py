"""The database behind an open transcript, where sessions are kept in SQLite: one file a session.

It holds what a ``<session>.jsonl`` holds, row by row in ``transcript_events`` (OpenClaw's name and columns from 2026.8
on), the header as the first one. One file for each session, and not one for all, because a database has one writer at a
time: whoever holds a session's delays that session and no other.

Theory of operation
    *Every write is one transaction*, and every transaction is short: what others wrote is taken in, our claim is
    checked, our rows are inserted. A killed writer leaves the state before it or after it; there is no torn tail.

    *The claim is the fence, and the database checks it.* ``writer_claims`` names the run that writes: its generation,
    process, start time and run id. A run writes its claim with its first row, over any lower generation, and finds a
    higher one instead of writing (``Fenced``). So a claim that a dead run left refuses nobody: the next turn has a
    higher generation from the session lock, which it gets by proof of death or by overruling.

    *Every transaction lies inside the lock's section*, so that an owner that stands still in one is overruled as one is
    that stands still in its append: the new owner copies the rows that are committed into a new database and renames it
    over the old one (``sever``), where the late commit lands unseen. Behind its commit each owner looks again, before
    it tells anybody that something was written. A run that waits for a stranger's transaction leaves the section
    meanwhile: its successor must not have to overrule it for that.
"""

from __future__ import annotations

import io
import os
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

from lockjaw.clock import Clock
from lockjaw.databases import POLL_S, DatabaseBusy, Transaction
from lockjaw.errors import Fenced
from lockjaw.files import Files
from lockjaw.seeds import uuid4
from lockjaw.sessions import disk
from lockjaw.sessions.entries import Entry, encode, entries_of, is_header, read_lines
from lockjaw.sessions.paths import is_database
from lockjaw.sessions.repair import Survey, survey, survey_stream
from lockjaw.sessions.severing import is_due, severed
from lockjaw.sessions.transcript_file import TranscriptReplaced
from lockjaw.sessions.writer import Section, Writer, unchecked

__all__ = ["Claim", "TranscriptRows", "claim_of", "stream_of", "survey_of", "write_rows"]

T = TypeVar("T")

WAIT_S = 60.0  # for a writer that is not this session's: a backup, maintenance

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS transcript_events (session_id TEXT NOT NULL, seq INTEGER NOT NULL, "
    "event_json TEXT NOT NULL, created_at INTEGER NOT NULL, PRIMARY KEY (session_id, seq))",
    "CREATE TABLE IF NOT EXISTS writer_claims (session_id TEXT PRIMARY KEY, generation INTEGER NOT NULL, "
    "pid INTEGER NOT NULL, starttime INTEGER, run_id TEXT NOT NULL, claimed_at INTEGER NOT NULL)",
)
# Beside a database that is being made anew SQLite has these; a killed process leaves them.
_TEMPORARIES = (disk.TEMPORARY, f"{disk.TEMPORARY}-wal", f"{disk.TEMPORARY}-shm")
_ROWS = "SELECT event_json FROM transcript_events WHERE session_id = ? AND seq >= ? ORDER BY seq"
_COUNT = "SELECT coalesce(max(seq) + 1, 0) FROM transcript_events WHERE session_id = ?"
_INSERT = "INSERT INTO transcript_events VALUES (?, ?, ?, ?)"
_CLAIM = "SELECT generation, pid, starttime, run_id, claimed_at FROM writer_claims WHERE session_id = ?"
_CLAIM_IT = "INSERT OR REPLACE INTO writer_claims VALUES (?, ?, ?, ?, ?, ?)"


class Claim(NamedTuple):
    """Which run writes to a session. ``starttime``: of its process, in clock ticks since boot; None: not known.
    ``claimed_at``: Unix milliseconds."""

    generation: int
    pid: int
    starttime: int | None
    run_id: str
    claimed_at: int


class TranscriptRows:
    """Where an open transcript's entries go; see ``TranscriptFile``, whose place it takes.

    Args:
        wait_s: nominal seconds that a write waits for another process's transaction.
        starttime: of this process, for the claim.
        blocks: ``aside`` waits on the thread of the event loop, and everything with it (to be shown, not used).
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
        wait_s: float = WAIT_S,
        starttime: int | None = None,
        blocks: bool = False,
    ) -> None:
        self.path, self.header = path, header
        self.begun = False
        self._session_id, self._files, self._clock, self._writer = path.stem, files, clock, writer
        self._wait_s, self._starttime, self._blocks, self._ids = wait_s, starttime, blocks, ids
        self._since: float | None = None  # when the work that is done aside began to wait
        self._known = 0  # rows that the caller knows of
        self._pending: list[Entry] = []
        self._taken: str | None = None  # the run from which the claim is being taken; empty: from none
        self._next = 0  # what ``_known`` becomes when they are committed

    async def aside(self, work: Callable[[], T]) -> T:
        """Perform work on this transcript while the event loop goes on."""
        if self._blocks:
            return work()
        self._since = self._clock.monotonic()
        try:
            return await self._files.databases.aside(self.path, work, wait_s=self._wait_s, clock=self._clock)
        finally:
            self._since = None

    # ------------------------------------------------------------------ opening

    def take_in(self, found: Survey) -> None:
        self.header = found.header or self.header
        self.begun = found.header is not None
        self._known = found.lines

    def sever(self) -> None:
        """If an owner was overruled in mid-transaction, make it anew: its late commit shall not land in ours."""
        if not is_due(self._files, self.path):
            return
        with self._writer.section():
            temporary = self.path.with_name(f"{self.path.name}.{uuid4(self._ids)}{disk.TEMPORARY}")
            disk.sweep(self._files, self.path, _TEMPORARIES)
            if self._files.exists(self.path):
                lines = _lines(self._files, self.path)
                write_rows(self._files, temporary, lines, self._clock, session_id=self._session_id)
                self._files.databases.replace(temporary, self.path)
            severed(self._files, self.path)

    def continue_under(self, section: Section, generation: int) -> None:
        """Go on under another grant of the lock; the database is made anew if it is due."""
        self._writer.continue_under(section, generation)
        self.sever()

    def make_sound(self, found: Survey) -> tuple[Survey, Path | None]:
        """A database keeps whole rows or none: there is nothing to mend."""
        return found, None

    # ------------------------------------------------------------------ writing

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """A transaction in which this run may write; what was written counts when the block ends.

        Raises:
            DatabaseBusy: another process's transaction did not end in time. Fenced: a newer generation writes.
        """
        self._files.make_folder(self.path.parent)
        with self._writer.admitted(), self._admitted() as (transaction, check):
            for statement in _SCHEMA:
                transaction.all(statement)
            self._taken, self._pending = None, []
            self._claim(transaction)
            yield transaction
            check()
            transaction.commit()
            check()
            self._committed()

    @contextmanager
    def _admitted(self) -> Iterator[tuple[Transaction, Callable[[], None]]]:
        """The section and in it the database, once both are to be had at the same time."""
        clock, databases = self._clock, self._files.databases
        start = clock.monotonic() if self._since is None else self._since
        while True:
            with ExitStack() as stack:
                check = stack.enter_context(self._writer.section())
                try:
                    transaction = stack.enter_context(databases.writing(self.path, wait_s=0.0, clock=clock))
                except DatabaseBusy:
                    waited_s = clock.monotonic() - start
                    if waited_s >= self._wait_s:
                        raise DatabaseBusy(str(self.path), timeout_s=self._wait_s, waited_s=waited_s) from None
                else:
                    yield transaction, check or unchecked
                    return
            clock.sleep_blocking(min(POLL_S, self._wait_s - waited_s))

    def _claim(self, transaction: Transaction) -> None:
        generation, run_id = self._writer.generation, self._writer.run_id
        if not generation:
            return
        claim = _claim_in(transaction, self._session_id)
        if claim is not None and claim.generation > generation:
            raise Fenced(str(self.path), generation, claim.generation)
        if claim is None or (claim.generation, claim.run_id) != (generation, run_id):
            pid, now_ms = self._files.process_id(), self._clock.wall_ms()
            transaction.all(_CLAIM_IT, self._session_id, generation, pid, self._starttime, run_id, now_ms)
            self._taken = "" if claim is None else claim.run_id

    def news(self, transaction: Transaction) -> list[Entry]:
        """The entries that others appended since our last look.

        Raises:
            TranscriptReplaced: rows that we knew of are gone.
        """
        count = transaction.all(_COUNT, self._session_id)[0][0]
        if count < self._known:
            raise TranscriptReplaced(self.path)
        if count == self._known:
            return []
        values = [
            line.value
            for line in read_lines(_stream(transaction.all(_ROWS, self._session_id, self._known)))
            if line.value is not None
        ]
        self._known = count
        self.begun = self.begun or any(is_header(value) for value in values)
        return entries_of(None, values)[0]

    def write(self, transaction: Transaction, entries: Sequence[Entry]) -> None:
        """Insert entries, the header before them if the session has none; they count when ``writing`` ends."""
        lines = [encode(entry.raw) for entry in entries]
        if not self.begun:
            lines.insert(0, encode(self.header))
        seq = transaction.all(_COUNT, self._session_id)[0][0]
        for n, line in enumerate(lines):
            transaction.all(_INSERT, self._session_id, seq + n, line.decode().rstrip("\n"), self._clock.wall_ms())
        self._pending = list(entries)
        self._next = seq + len(lines)

    def _committed(self) -> None:
        if not self._pending:
            return
        self._known, self.begun = self._next, True
        if self._taken is not None:
            self._writer.claimed(self._taken)
            self._taken = None
        self._writer.appended(self._pending)
        self._pending = []


def write_rows(
    files: Files, path: Path, lines: Iterable[bytes], clock: Clock, *, session_id: str | None = None
) -> None:
    """Make a session of its own that begins with these lines: all of them, or none. ``session_id``: not the file's."""
    with files.databases.writing(path, wait_s=WAIT_S, clock=clock) as transaction:
        for statement in _SCHEMA:
            transaction.all(statement)
        for seq, line in enumerate(lines):
            transaction.all(_INSERT, session_id or path.stem, seq, line.decode().rstrip("\n"), clock.wall_ms())
        transaction.commit()


def stream_of(files: Files, path: Path) -> BinaryIO:
    """The lines of a transcript, a file or a database, as they are now.

    Raises:
        FileNotFoundError: there is none. DatabaseBusy, DatabaseMalformed, OSError: it cannot be read.
    """
    if is_database(path):
        return _stream(_rows(files, path))
    return files.stream(files.open(path, os.O_RDONLY))


def survey_of(files: Files, path: Path) -> Survey:
    """What a transcript holds, a file or a database; an absent one is empty."""
    if not is_database(path):
        return survey(files, path)
    if not files.exists(path):
        return Survey()
    found = survey_stream(_stream(_rows(files, path)))
    found.inode = 1  # it is there; nothing asks a database which inode it has
    return found


def claim_of(files: Files, path: Path) -> Claim | None:
    """Which run wrote to the session last, or None."""
    if not files.exists(path):
        return None
    with files.databases.reading(path) as transaction:
        return _claim_in(transaction, path.stem) if _has(transaction, "writer_claims") else None


def _claim_in(transaction: Transaction, session_id: str) -> Claim | None:
    rows = transaction.all(_CLAIM, session_id)
    return Claim(*rows[0]) if rows else None


def _lines(files: Files, path: Path) -> list[bytes]:
    return [_line(row) for row in _rows(files, path)]


def _rows(files: Files, path: Path) -> list[tuple[Any, ...]]:
    with files.databases.reading(path) as transaction:
        return transaction.all(_ROWS, path.stem, 0) if _has(transaction, "transcript_events") else []


def _has(transaction: Transaction, table: str) -> bool:
    return bool(transaction.all("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", table))


def _stream(rows: Sequence[tuple[Any, ...]]) -> io.BytesIO:
    return io.BytesIO(b"".join(_line(row) for row in rows))


def _line(row: tuple[Any, ...]) -> bytes:
    # Whoever else wrote it may have broken its lines; JSON has none inside a string.
    return str(row[0]).replace("\n", " ").encode(errors="replace") + b"\n"
