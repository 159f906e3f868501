"""The lenient reader for checkers and people: what a transcript holds, and what is wrong with it.

Reads only. Unlike ``Transcript.open`` it mends nothing, so it may look at a file that somebody is writing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from lockjaw.files import LOCAL_FILES, Files
from lockjaw.sessions.entries import Entry, Message, entries_of
from lockjaw.sessions.rows import survey_of
from lockjaw.sessions.turns import is_failed, tool_calls_of


class TranscriptReport(msgspec.Struct, frozen=True):
    """What a transcript file holds.

    Attributes:
        exists: False for an absent file, which otherwise reads like an empty one.
        header: the first header as in the file, or None.
        entries: in file order, migrated to the current version; entries of unknown types included.
        problems: one sentence per flaw; empty means whole. Several headers are no problem (the real program
            writes two when a run was aborted before its first flush).
        lines: number of lines in the file, a torn last one included.
    """

    path: Path
    exists: bool
    header: dict[str, Any] | None
    entries: tuple[Entry, ...]
    problems: list[str]
    lines: int

    @property
    def messages(self) -> list[Message]:
        """Every message in file order, abandoned branches included."""
        return [entry.message for entry in self.entries if entry.message is not None]


def read_entries(path: Path, *, files: Files = LOCAL_FILES) -> TranscriptReport:
    """Read a transcript, whatever state it is in. Never raises for its content.

    Raises:
        OSError: it exists and cannot be read.
    """
    found = survey_of(files, path)
    entries, no_entries = entries_of(found.header, found.values)
    problems = [*found.problems, *no_entries, *_broken_tree(entries), *_unpaired_calls(entries)]
    if found.headless:
        problems.insert(0, "no header")
    return TranscriptReport(path, found.inode is not None, found.header, tuple(entries), problems, found.lines)


def _broken_tree(entries: Sequence[Entry]) -> Iterator[str]:
    # A parent must stand before its child: a writer has read or written the parent before it appends the child.
    known: set[str] = set()
    for entry in entries:
        if entry.id in known:
            yield f"duplicate id {entry.id}"
        parent = entry.raw.get("parentId")
        if parent is not None and parent not in known:
            yield f"unknown parent {parent} of entry {entry.id}"
        known.add(entry.id)


def _unpaired_calls(entries: Sequence[Entry]) -> Iterator[str]:
    # Some providers count their call ids anew in each reply ("call_0"), so a call is paired with the next
    # result of its id, not with any. Calls of failed attempts never ran and need no result.
    waiting: list[tuple[str, str]] = []
    for entry in entries:
        message = entry.message or {}
        if entry.role == "assistant" and not is_failed(message):
            waiting += [(str(call["id"]), entry.id) for call in tool_calls_of(message)]
        elif entry.role == "toolResult":
            call_id = str(message.get("toolCallId", ""))
            match = next((pair for pair in waiting if pair[0] == call_id), None)
            if match is None:
                yield f"tool result without call: {call_id} in entry {entry.id}"
            else:
                waiting.remove(match)
    for call_id, entry_id in waiting:
        yield f"unpaired tool call {call_id} of entry {entry_id}"
