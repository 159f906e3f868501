"""The transcript of one session: a tree of entries in memory, in step with its file.

*The file is the truth*: an entry joins the tree only after its line is on the disk. What a caller was told is
appended is appended; what failed did not happen, neither here nor there.

``durable=False`` is the real program's rule instead: nothing on disk before the first assistant message, then
everything at once, then line by line; a file that holds no assistant message is emptied at opening.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

from lockjaw.clock import Clock, iso
from lockjaw.errors import LocalError
from lockjaw.files import LOCAL_FILES, Files
from lockjaw.history import NullRecorder, Recorder
from lockjaw.seeds import uuid4
from lockjaw.sessions import disk
from lockjaw.sessions.entries import (
    CURRENT_VERSION,
    Entry,
    Message,
    decode,
    encode,
    entries_of,
    header_of,
    read_lines,
    version_of,
)
from lockjaw.sessions.paths import is_database
from lockjaw.sessions.repair import Survey
from lockjaw.sessions.rows import WAIT_S, TranscriptRows, stream_of, survey_of, write_rows
from lockjaw.sessions.transcript_file import TranscriptFile, TranscriptReplaced
from lockjaw.sessions.tree import context_of, path_to
from lockjaw.sessions.turns import TurnState, find_turn, interrupted_result, open_calls, tool_calls_of
from lockjaw.sessions.writer import Section, Writer

__all__ = ["ReadOnlyTranscript", "Transcript", "TranscriptReplaced", "read_turn"]

T = TypeVar("T")
_Frame = dict[str, Any]  # id, parentId, timestamp: what every entry has, in this order


class ReadOnlyTranscript(LocalError):
    """A write to a transcript that was opened for reading. Field: ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        super().__init__(f"{path}: the transcript was opened for reading only")


class Transcript:
    """An open transcript. Made by ``Transcript.open``; holds no descriptor, so there is nothing to close.

    Attributes:
        path, session_id: as given to ``open``.
        backup: where ``open`` put the copy of a damaged file, or None.
        problems: what ``open`` passed over or mended, one sentence each.
    """

    def __init__(
        self,
        file: TranscriptFile | TranscriptRows,
        session_id: str,
        files: Files,
        clock: Clock,
        ids: random.Random,
        durable: bool,
    ) -> None:
        self.session_id = session_id
        self.backup: Path | None = None
        self.problems: list[str] = []
        self._file: Any = file  # what ``writing`` gives, only ``news`` and ``write`` of the same kind look at
        self._files, self._clock, self._ids = files, clock, ids
        self._durable, self._read_only = durable, False
        self._entries: list[Entry] = []
        self._by_id: dict[str, Entry] = {}
        self._leaf_id: str | None = None

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        session_id: str,
        cwd: Path,
        clock: Clock,
        ids: random.Random | None = None,
        recorder: Recorder | None = None,
        section: Section | None = None,
        generation: int = 0,
        run_id: str = "",
        durable: bool = True,
        read_only: bool = False,
        files: Files = LOCAL_FILES,
        wait_s: float = WAIT_S,
        starttime: int | None = None,
        blocks: bool = False,
    ) -> Transcript:
        """Open a transcript, or begin one; an absent file is created by the first write.

        A path that ends in ``.sqlite`` is a database (``rows``); then call this, and everything that writes, beside the
        event loop (``opened``, ``aside``).

        A torn tail is cut off after a copy was put aside (``backup``). Damage between sound lines, several
        headers and unknown entry types are passed over; versions 1 and 2 are migrated in memory.

        Args:
            cwd: the workspace, for the header of a new file.
            section: the lock's write section; every write happens inside.
            generation, run_id: for the records.
            durable: each entry is flushed to the device when ``append_*`` returns; else the real program's rule.
            read_only: touch nothing, for a file that somebody else is writing.
            wait_s, starttime, blocks: for a database, see ``TranscriptRows``.

        Raises:
            Fenced: the file needed mending and this run may no longer write.
            OSError: the file cannot be read or mended.
        """
        ids = ids or random.SystemRandom()
        header = header_of(session_id, clock.wall_ms(), str(cwd))
        writer = Writer(path, recorder or NullRecorder(), section=section, generation=generation, run_id=run_id)
        file: TranscriptFile | TranscriptRows
        if is_database(path):
            file = TranscriptRows(
                path, header, files=files, clock=clock, ids=ids, writer=writer, wait_s=wait_s, starttime=starttime,
                blocks=blocks,
            )  # fmt: skip
        else:
            file = TranscriptFile(path, header, files=files, clock=clock, ids=ids, writer=writer, durable=durable)
        transcript = cls(file, session_id, files, clock, ids, durable)
        if not read_only:
            file.sever()
        found = survey_of(files, path)
        transcript.problems += found.problems
        if read_only:
            transcript._read_only = True
        else:
            found, transcript.backup = file.make_sound(found)
        transcript._load(found)
        return transcript

    @classmethod
    async def opened(cls, path: Path, *, clock: Clock, files: Files = LOCAL_FILES, **how: Any) -> Transcript:
        """As ``open``, which a database is opened with beside the event loop."""

        def work() -> Transcript:
            return cls.open(path, clock=clock, files=files, **how)

        if not is_database(path) or how.get("blocks"):
            return work()
        return await files.databases.aside(path, work, wait_s=0.0, clock=clock)  # a reader waits for no writer

    async def aside(self, work: Callable[[], T]) -> T:
        """Perform work on this transcript: at once for a file, beside the event loop for a database. Cancelling waits
        until the work has ended."""
        return cast("T", await self._file.aside(work))

    async def continue_under(self, section: Section, generation: int) -> None:
        """Go on under a newer grant of the session's lock, which this process took over one of its own.

        Raises as ``append_message``; then nothing was written under the new grant, and what was, was kept.
        """
        await self.aside(lambda: self._file.continue_under(section, generation))

    def _load(self, found: Survey) -> None:
        self._file.take_in(found)
        entries, problems = entries_of(found.header, found.values)
        self.problems += problems
        for entry in entries:
            self._add(entry)
            self._leaf_id = entry.id

    # ------------------------------------------------------------------ what it holds

    @property
    def path(self) -> Path:
        return Path(self._file.path)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """In file order; abandoned branches and unknown types included."""
        return tuple(self._entries)

    @property
    def leaf_id(self) -> str | None:
        """Where the next entry goes: its parent. None: at the root."""
        return self._leaf_id

    def context(self) -> list[Message]:
        """The conversation up to the leaf, with its newest compaction applied; do not change the messages."""
        return context_of(path_to(self._leaf_id, self._by_id))

    def turn_of(self, run_id: str, message_text: str | None = None, since_ms: int | None = None) -> TurnState | None:
        """Where the turn of a run stands; see ``turns.find_turn``."""
        return find_turn(self._entries, self._leaf_id, run_id, message_text, since_ms)

    # ------------------------------------------------------------------ appending

    def append_message(self, message: Message, **extra: Any) -> str:
        """Append a message; ``extra`` keys join the message (``idempotencyKey=run_id``). Returns the entry's id.

        Raises:
            Fenced: a newer generation was granted.
            DiskFull, OSError, TranscriptReplaced: see there.
            For each of them: nothing was appended, on disk or in memory.
        """
        whole = {**message, **extra}
        whole.setdefault("timestamp", self._clock.wall_ms())
        adopt = whole.get("role") != "toolResult"  # nothing comes between a call and its result
        return self._append(lambda frame: {"type": "message", **frame, "message": whole}, adopt=adopt)

    def append_model_change(self, provider: str, model: str) -> str:
        return self._append(lambda frame: {"type": "model_change", **frame, "provider": provider, "modelId": model})

    def append_thinking_level(self, level: str) -> str:
        return self._append(lambda frame: {"type": "thinking_level_change", **frame, "thinkingLevel": level})

    def append_custom(self, custom_type: str, data: dict[str, Any]) -> str:
        """Append an entry that models do not see (``model-snapshot``, ``openclaw:prompt-error``, our own)."""
        return self._append(lambda frame: {"type": "custom", "customType": custom_type, "data": data, **frame})

    def append_compaction(self, summary: str, first_kept_id: str) -> str:
        """From here on models see the summary and what begins with this entry; nothing is removed from the file."""
        kept = {"summary": summary, "firstKeptEntryId": first_kept_id, "tokensBefore": 0}
        return self._append(lambda frame: {"type": "compaction", **frame, **kept})

    def branch_over_orphan_user(self) -> None:
        """Go on beside an unanswered user message at the leaf, so that two do not follow each other.

        It stays in the file and leaves the conversation. Writes nothing; the next entry makes it so.
        """
        leaf = self._by_id.get(self._leaf_id or "")
        if leaf is not None and leaf.role == "user":
            self._leaf_id = leaf.parent_id

    def close_open_calls(self) -> int:
        """Give each tool call of the conversation that has no result one that says so; how many those were.

        For the opening of the next turn: whoever called died, and so did whoever took over from it. A model server
        refuses a conversation with an open call. Raises as ``append_message``.
        """
        answered = {
            str((entry.message or {}).get("toolCallId")) for entry in self._entries if entry.role == "toolResult"
        }
        # A result may stand on another branch, where somebody else wrote between it and its call.
        calls = [c for c in open_calls(path_to(self._leaf_id, self._by_id)) if str(c["id"]) not in answered]
        for call in calls:
            self.append_message(interrupted_result(str(call["id"]), str(call["name"]), self._clock.wall_ms()))
        return len(calls)

    def fork(self, path: Path, session_id: str) -> None:
        """Write a new transcript that begins with the complete entries of this one.

        Entries keep their ids; the header names this file as ``parentSession``. Atomic: ``path`` holds
        everything or does not exist. What was appended to this file since it was opened is taken along.

        Raises:
            LocalError: ``path`` exists.
            OSError: it cannot be written; nothing is left of it.
        """
        if self._files.exists(path):
            raise LocalError(f"{path}: exists already; a fork needs a session of its own")
        header = header_of(session_id, self._clock.wall_ms(), self._file.header.get("cwd", ""))
        header["parentSession"] = str(self.path)
        self._files.make_folder(path.parent)
        if is_database(path):
            write_rows(self._files, path, self._forked(header), self._clock)
            return
        temporary = path.with_name(f"{path.name}.{uuid4(self._ids)}{disk.TEMPORARY}")
        disk.replace_file(self._files, path, self._forked(header), temporary=temporary)

    def _forked(self, header: dict[str, Any]) -> Iterator[bytes]:
        yield encode(header)
        copied: set[str] = set()
        if version_of(self._file.header) == CURRENT_VERSION and self._files.exists(self.path):
            with stream_of(self._files, self.path) as stream:
                for line in read_lines(stream):
                    for entry in entries_of(None, [line.value] if line.value else [])[0]:
                        copied.add(entry.id)
                        yield encode(entry.raw)
        for entry in self._entries:  # migrated ones, and those that durable=False has not written yet
            if entry.id not in copied:
                yield encode(entry.raw)

    # ------------------------------------------------------------------ inside

    def _append(self, build: Callable[[_Frame], dict[str, Any]], *, adopt: bool = True) -> str:
        if self._read_only:
            raise ReadOnlyTranscript(self.path)
        if self._durable:
            with self._file.writing() as fd:
                self._take_in(self._file.news(fd), adopt=adopt)
                entry = self._new_entry(build)
                self._file.write(fd, [entry])
            self._add(entry)
        else:
            entry = self._new_entry(build)
            begun = self._file.begun
            if begun or entry.role == "assistant":
                with self._file.writing() as fd:
                    self._file.write(fd, [entry] if begun else [*self._entries, entry])
            self._add(entry)
        self._leaf_id = entry.id
        return entry.id

    def _take_in(self, news: list[Entry], *, adopt: bool) -> None:
        """Add what others wrote; if it continues our leaf it becomes our leaf, except between call and result."""
        leaf = self._by_id.get(self._leaf_id or "")
        adopt = adopt and not tool_calls_of((leaf.message if leaf else None) or {})
        for entry in news:
            if self._by_id.get(entry.id) == entry:
                continue  # our own last one, when somebody appended at the same moment
            continues = entry.parent_id == self._leaf_id
            self._add(entry)
            if adopt and continues:
                self._leaf_id = entry.id

    def _add(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._by_id[entry.id] = entry

    def _new_entry(self, build: Callable[[_Frame], dict[str, Any]]) -> Entry:
        entry_id = f"{self._ids.getrandbits(32):08x}"
        while entry_id in self._by_id:
            entry_id = f"{self._ids.getrandbits(32):08x}"
        frame = {"id": entry_id, "parentId": self._leaf_id, "timestamp": iso(self._clock.wall_ms())}
        # By way of its line: memory holds what a reader will find, and nothing that the caller can change later.
        return Entry(decode(encode(build(frame)).decode()))


def read_turn(
    path: Path,
    run_id: str,
    message_text: str | None = None,
    since_ms: int | None = None,
    *,
    files: Files = LOCAL_FILES,
) -> TurnState | None:
    """Where a run's turn stands in a transcript that somebody else may be writing; touches nothing.

    Raises:
        OSError: the file exists and cannot be read.
    """
    found = survey_of(files, path)
    entries, _ = entries_of(found.header, found.values)
    return find_turn(entries, entries[-1].id if entries else None, run_id, message_text, since_ms)
