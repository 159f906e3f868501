"""JSON log lines, and text that was put into JSON: out again. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from .lines import ANSI, LogRecord, cleaned, spaced
from .patterns import HEADS
from .timestamps import Instant, at_head, read

_JSON_DEPTH = 6
_MESSAGE_KEYS = frozenset({
    "msg", "message", "MESSAGE", "log", "text", "error", "err", "errorMessage", "detail", "reason", "stack",
    "0", "1", "2", "3", "event", "body", "line", "raw", "cause",
})  # fmt: skip
_TIME_KEYS = ("time", "timestamp", "@timestamp", "ts", "date", "datetime", "__REALTIME_TIMESTAMP", "when")
_NO_MESSAGES = frozenset((*_TIME_KEYS, "_meta", "hostname"))


def unpacked(record: LogRecord) -> Iterator[LogRecord]:
    """The record, or the records inside it when it is a JSON log line."""
    text = record.text
    start = text.find("{") if "{" in text[:2000] else -1
    if start >= 0 and text.rstrip().endswith("}"):
        try:
            value = msgspec.json.decode(text[start:].strip())
        except (msgspec.DecodeError, RecursionError):
            value = None
        if isinstance(value, dict):
            if _lock_body(value):
                yield record._replace(text=spaced(text))
                return
            found = list(_messages(value, _time_of(value) or record.at, record, 0))
            if found:
                if start > 0 and (lead := text[:start].strip()):
                    yield record._replace(text=spaced(lead))
                yield from found
                return
    for piece in _unescaped(text):
        yield record._replace(text=spaced(piece))


def _lock_body(value: dict[str, Any]) -> bool:
    return "createdAt" in value or ("lock" in value and "created" in value)


def _time_of(value: dict[str, Any]) -> Instant | None:
    meta = value.get("_meta")
    for source in (value, meta if isinstance(meta, dict) else {}):
        for key in _TIME_KEYS:
            found = source.get(key)
            if isinstance(found, (str, int, float)) and not isinstance(found, bool):
                instant = read(f"{found:.0f}" if isinstance(found, float) else str(found)[:60])
                if instant is not None:
                    return instant
    return None


def _messages(value: Any, at: Instant | None, record: LogRecord, depth: int) -> Iterator[LogRecord]:
    """Every text in a JSON value that may be a message, nested ones decoded."""
    if depth > _JSON_DEPTH:
        return
    if isinstance(value, str):
        stripped = value.strip()
        if stripped[:1] in "{[" and len(stripped) > 2:
            try:
                inner = msgspec.json.decode(stripped)
            except (msgspec.DecodeError, RecursionError):
                inner = None
            if isinstance(inner, (dict, list)):
                if isinstance(inner, dict) and _lock_body(inner):
                    yield record._replace(text=spaced(stripped), at=at)
                else:
                    yield from _messages(inner, at, record, depth + 1)
                return
        for piece in re.split(r"[\r\n]+", value):
            for part in _unescaped(piece):
                bare, stamp, _, _ = cleaned(part)
                if bare.strip():
                    yield record._replace(text=spaced(bare), at=stamp or at)
    elif isinstance(value, dict):
        if (told := _decision(value)) is not None:
            yield record._replace(text=spaced(told), at=at)
            return
        tag = _subsystem(value)
        for key, item in value.items():
            if isinstance(item, (str, list, dict)) and key not in _NO_MESSAGES and not (key == "0" and tag):
                if isinstance(item, str) and key not in _MESSAGE_KEYS and len(item) < 12:
                    continue
                for found in _messages(item, at, record, depth + 1):
                    yield found._replace(text=f"[{tag}] {found.text}") if tag and key in _MESSAGE_KEYS else found
    elif isinstance(value, list):
        for item in value[:50]:
            yield from _messages(item, at, record, depth + 1)


#: Where a structured log has the parts of a fallback decision: the first key that is there.
_DECISION: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("decision", ("decision",)),
    ("provider", ("candidateProvider", "requestedProvider", "provider")),
    ("candidate", ("fallbackStepFromModel", "candidate", "candidateModel", "requestedModel", "model")),
    ("reason", ("fallbackStepFromFailureReason", "reason", "failoverReason")),
    ("detail", ("fallbackStepFromFailureDetail", "detail", "errorPreview", "rawErrorPreview", "error", "errorMessage")),
)  # fmt: skip


def _decision(value: dict[str, Any]) -> str | None:
    """A structured fallback decision as the line that the program prints for one; None if it is none."""
    if value.get("event") != "model_fallback_decision" and not (
        "decision" in value and value.keys() & {"candidate", "candidateModel", "requestedModel"}
    ):
        return None
    said = {
        name: next((value[key] for key in keys if isinstance(value.get(key), str) and value[key]), "")
        for name, keys in _DECISION
    }
    provider = said.pop("provider")
    if provider and said["candidate"] and "/" not in said["candidate"]:
        said["candidate"] = f"{provider}/{said['candidate']}"
    return "model fallback decision: " + " ".join(f"{name}={text[:2000]}" for name, text in said.items() if text)


def _subsystem(value: dict[str, Any]) -> str:
    """``{"0": "{\\"subsystem\\":\\"diagnostic\\"}", "1": "lane task error: ..."}``: the program's own log file."""
    first = value.get("0")
    if isinstance(first, str) and first.startswith("{") and len(first) < 400:
        try:
            named = msgspec.json.decode(first)
        except (msgspec.DecodeError, RecursionError):
            return ""
        if isinstance(named, dict) and isinstance(named.get("subsystem"), str):
            return str(named["subsystem"])[:60]
    named = value.get("subsystem")
    return named[:60] if isinstance(named, str) else ""


def _unescaped(text: str) -> list[str]:
    """Text that was put into JSON once or more and never taken out again (a field of a log that was cut short)."""
    if "\\" not in text:
        return [text]
    for _ in range(4):
        fresh = text.replace('\\"', '"').replace("\\/", "/") if '\\"' in text or "\\/" in text else text
        if "\\\\" in fresh:
            fresh = fresh.replace("\\\\", "\\")
        if fresh == text:
            break
        text = fresh
    if "\\u00" in text:
        text = ANSI.sub("", text.replace("\\u001b", "\x1b").replace("\\u0022", '"'))
    if "\\n" not in text:
        return [text]
    # A backslash and an n: a line's end, or the start of a Windows folder's name. What follows decides.
    pieces, rest = [], text
    while (at := rest.find("\\n")) >= 0:
        after = rest[at + 2 :]
        if not _ends_line(rest[:at], after):
            kept = at + 2
            more = rest.find("\\n", kept)
            while more >= 0 and not _ends_line(rest[:more], rest[more + 2 :]):
                more = rest.find("\\n", more + 2)
            if more < 0:
                break
            at = more
            after = rest[at + 2 :]
        pieces.append(rest[:at])
        rest = after
        if len(pieces) > 200:
            break
    pieces.append(rest)
    return pieces


def _ends_line(before: str, after: str) -> bool:
    if not after or HEADS.match(after) or after.startswith(("\\n", " ", '"', "session file", "FallbackSummary")):
        return True
    return at_head(after[:40]) is not None or (before[-1:] in ")}.:;\"'" and not after[:1].islower())
