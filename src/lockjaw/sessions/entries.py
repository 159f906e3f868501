"""Transcript lines and entries: what one line of a ``<session>.jsonl`` may be. Pure, except for reading a stream.

A transcript is one JSON object per line: headers (``type: session``) and entries, which form a tree by
``id`` and ``parentId`` (protocol facts D3). Whatever else a line holds is *damage*: it is reported and
passed over, never an error, because a conversation must survive what happened to its file.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import msgspec

from lockjaw.clock import iso

CURRENT_VERSION = 3
Message = dict[str, Any]

_to_text = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class Entry(msgspec.Struct, frozen=True):
    """One entry. ``raw`` is the whole object as on disk (after migration); treat it as read-only."""

    raw: dict[str, Any]

    @property
    def type(self) -> str:
        return str(self.raw["type"])

    @property
    def id(self) -> str:
        return str(self.raw["id"])

    @property
    def parent_id(self) -> str | None:
        parent = self.raw.get("parentId")
        return parent if isinstance(parent, str) else None

    @property
    def timestamp(self) -> str:
        """ISO 8601 with milliseconds; empty when the line has none."""
        return str(self.raw.get("timestamp", ""))

    @property
    def message(self) -> Message | None:
        """The message object of a ``message`` entry, else None."""
        message = self.raw.get("message")
        return message if self.type == "message" and isinstance(message, dict) else None

    @property
    def role(self) -> str:
        """``user``, ``assistant``, ``toolResult``, ...; empty for entries that are no messages."""
        return str((self.message or {}).get("role", ""))


class Line(msgspec.Struct, frozen=True):
    """One line of the file.

    ``number`` counts from 1; ``start`` and ``end`` are byte offsets (``end`` after the newline, if any);
    ``value`` is None for blank and damaged lines; ``flaw`` is empty for sound and blank ones and may stand
    beside a value (a line that could be read all the same).
    """

    number: int
    start: int
    end: int
    terminated: bool
    value: dict[str, Any] | None
    flaw: str = ""

    @property
    def damaged(self) -> bool:
        return self.value is None and bool(self.flaw)


def encode(value: dict[str, Any]) -> bytes:
    """One line, newline included, byte for byte as JavaScript's ``JSON.stringify`` would write it.

    Keys keep their order, non-ASCII stays as it is, lone surrogates are escaped, NaN and infinities become null.
    """
    try:
        text = _to_text(value)
    except ValueError:
        text = _to_text(_finite(value))
    return to_utf8(text) + b"\n"


def encode_indented(value: dict[str, Any]) -> bytes:
    """A whole file, without a newline at its end, as JavaScript's ``JSON.stringify(value, null, 2)`` would write it."""
    try:
        return msgspec.json.format(encode(value)[:-1], indent=2)
    except msgspec.DecodeError:  # half of a surrogate pair
        return to_utf8(json.dumps(_finite(value), ensure_ascii=False, indent=2))


def to_utf8(text: str) -> bytes:
    """JSON text as UTF-8; half a surrogate pair (a model's answer cut in the middle) becomes its escape."""
    return text.encode("utf-8", "backslashreplace")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def decode(text: str) -> Any:
    """Strict JSON (no NaN). Raises ValueError, also for nesting that is too deep."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass  # the slower decoder takes a little more (half of a surrogate pair), and says where it stopped
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_lines(stream: BinaryIO) -> Iterator[Line]:
    """The lines of a stream that stands at a line's beginning; holds one line in memory at a time."""
    offset = stream.tell()
    for number, raw in enumerate(stream, 1):
        yield parse_line(raw, number, offset)
        offset += len(raw)


def parse_line(raw: bytes, number: int, start: int) -> Line:
    end, terminated = start + len(raw), raw.endswith(b"\n")
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _parse_damaged(raw, number, start, end, terminated)
    if not isinstance(value, dict):
        return Line(number, start, end, terminated, None, "not a JSON object")
    return Line(number, start, end, terminated, value)


def _parse_damaged(raw: bytes, number: int, start: int, end: int, terminated: bool) -> Line:
    """A line that is not plainly JSON: blank, or as much of it as can be read."""
    flaw = ""
    body = raw.strip()
    if not body:
        return Line(number, start, end, terminated, None)
    if b"\0" in body:
        # What a power cut leaves of a block that was allocated and never written; an entry may follow it.
        flaw, body = "NUL bytes", body.strip(b"\0")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        flaw, text = "not UTF-8", body.decode(errors="replace")  # as Node reads it
    try:
        value = decode(text.lstrip("\ufeff"))
    except ValueError:
        return Line(number, start, end, terminated, None, flaw or "not JSON")
    if not isinstance(value, dict):
        return Line(number, start, end, terminated, None, "not a JSON object")
    return Line(number, start, end, terminated, value, flaw)


def header_of(session_id: str, now_ms: int, cwd: str) -> dict[str, Any]:
    """The first line of a session that begins now (Unix milliseconds)."""
    return {"type": "session", "version": CURRENT_VERSION, "id": session_id, "timestamp": iso(now_ms), "cwd": cwd}


def is_header(value: dict[str, Any]) -> bool:
    return value.get("type") == "session"


def version_of(header: dict[str, Any] | None) -> int:
    """The format version that a header names: 1 when it names none, the current one when there is no header."""
    if header is None:
        return CURRENT_VERSION
    version = header.get("version", 1)
    return version if isinstance(version, int) and not isinstance(version, bool) else CURRENT_VERSION


def migrate(values: Iterable[dict[str, Any]], version: int) -> list[dict[str, Any]]:
    """The lines of an older version as lines of the current one, in memory; headers stay where they are.

    Version 1 had no ids: entries form one chain in file order. The ids made here depend on the line alone,
    so an entry that we append with such a parent finds it again at the next reading. Version 2 called
    ``custom`` messages ``hookMessage``.
    """
    lines = [dict(value) for value in values]
    if version < 2:
        _chain(lines)
    if version < 3:
        for line in lines:
            message = line.get("message")
            if isinstance(message, dict) and message.get("role") == "hookMessage":
                line["message"] = {**message, "role": "custom"}
    return lines


def _chain(lines: list[dict[str, Any]]) -> None:
    taken = {line["id"] for line in lines if isinstance(line.get("id"), str)}
    previous: str | None = None
    for index, line in enumerate(lines):
        if is_header(line):
            continue
        if not isinstance(line.get("id"), str):
            digest = hashlib.sha256(f"{index}|{json.dumps(line, sort_keys=True)}".encode()).hexdigest()
            line["id"] = next(part for part in (digest[n : n + 8] for n in range(56)) if part not in taken)
            line["parentId"] = previous
            taken.add(line["id"])
        previous = line["id"]
    for line in lines:
        index_kept = line.pop("firstKeptEntryIndex", None)
        if isinstance(index_kept, int) and 0 <= index_kept < len(lines) and not is_header(lines[index_kept]):
            line["firstKeptEntryId"] = lines[index_kept]["id"]


def header_flaw(value: dict[str, Any]) -> str:
    """Why this header names no session; empty if it does."""
    return "" if isinstance(value.get("id"), str) and value["id"] else "header without id"


def entry_flaw(value: dict[str, Any]) -> str:
    """Why this object cannot be an entry (after migration); empty if it can. Unknown types are entries."""
    if not isinstance(value.get("type"), str):
        return "no type"
    if not (isinstance(value.get("id"), str) and value["id"]):
        return "no id"
    return ""


def entries_of(header: dict[str, Any] | None, values: Iterable[dict[str, Any]]) -> tuple[list[Entry], list[str]]:
    """The entries among the objects of a file, migrated, and one problem for each object that is not an entry."""
    version = version_of(header)
    lines = migrate(values, version) if version < CURRENT_VERSION else values
    entries, problems = [], []
    for number, value in enumerate(lines, 1):
        if is_header(value):
            continue
        if flaw := entry_flaw(value):
            problems.append(f"object {number} is not an entry: {flaw}")
        else:
            entries.append(Entry(value))
    return entries, problems
