"""Physical lines in, log records out: quotes, colours, prefixes, wraps and JSON undone. Pure, streaming.

A *block* is a run of lines without a blank line between them, bounded in size. Most blocks of a large log have
nothing to do with a lock; a block is read closely only if it holds, blanks and quote marks left out, one of the
needles (so a message that was wrapped in the middle of a word is not missed). Then each line loses what was put
before it, and lines that continue the line before are joined again.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from .patterns import HEADS, NEEDLES, PHRASES
from .timestamps import Instant, at_head, read

MAX_BLOCK_LINES = 400
MAX_BLOCK_CHARS = 1 << 17
MAX_RECORD_CHARS = 1 << 15
MAX_JOINED = 60  # lines of one record
_JSON_DEPTH = 6
_COMMON_WIDTHS = frozenset((60, 64, 70, 72, 74, 76, 78, 79, 80, 90, 96, 98, 99, 100, 110, 118, 119, 120, 132, 140, 160))


class Line(NamedTuple):
    """One physical line of a block. ``tick``: it stood in a code fence that had opened before."""

    number: int
    text: str


class Record(NamedTuple):
    """One message of a log, or one paragraph of prose."""

    line: int
    text: str
    at: Instant | None = None
    last_line: int = 0


_ANSI = re.compile(r"\x1b(?:\[[0-9;:?]{0,40}[ -/]?[@-~]|\][^\x07\x1b]{0,400}(?:\x07|\x1b\\)|[@-Z\\-_])")
_LOST_ANSI = re.compile(r"(?:␛|\\x1b|\\u001b|\\033|\\e)\[[0-9;]{0,20}m|\[(?:\d{1,3};){0,4}\d{1,3}m")
_QUOTE = re.compile(r"[ \t]{0,8}(?:(?:>|&gt;)[ \t]?){1,8}")
_FRAME = re.compile(r"^[ \t]{0,8}[│┃║▏|][ \t]{0,4}(?=[^\s|-])|[ \t]*[│┃║╮╯]+[ \t]*$")
_FENCE = re.compile(r"^[ \t]{0,12}(?:`{3,}|~{3,})[ \t]{0,4}[\w.+-]{0,20}[ \t]*$")

#: What collectors put before a line. Each may hold the time in a group ``t``; tried in turn, at most four times.
_PREFIXES: tuple[re.Pattern[str], ...] = (
    re.compile(
        r"<\d{1,3}>1 (?P<t>\S{19,35}) \S{1,100} \S{1,60} \S{1,20} \S{1,40} (?:-|\[[^\]]{0,200}\]) ?"
    ),  # RFC 5424
    re.compile(r"<\d{1,3}>"),
    re.compile(r"(?P<t>\d{4}-\d\d-\d\dT\S{8,25}) (?:stdout|stderr) [FP] "),  # containerd
    re.compile(r"(?P<t>\d{4}-\d\d-\d\dT\S{8,25}) \S{1,100} [\w./@-]{1,60}\[\d{1,10}\]: "),  # journalctl -o short-iso
    re.compile(
        r"(?P<t>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d{1,6})?) \S{1,100} [\w./@-]{1,60}(?:\[\d{1,10}\])?: "
    ),
    re.compile(r"\[pod/[\w./-]{1,160}\] "),  # kubectl logs --prefix
    re.compile(r"[\w.-]{1,60}[ \t]+\| (?=\S)"),  # docker compose
    re.compile(r"\d{1,4}\|[\w.-]{1,60}[ \t]{0,20}\|?[ \t]"),  # pm2
    re.compile(r"PM2[ \t]{1,10}\| "),
    re.compile(r"[\w.-]{1,40}@[\w.-]{1,60}[:~][^$#\n]{0,80}[$#] (?=\S)"),  # a shell prompt
    re.compile(
        r"\d{1,6}(?:[:-]|[:|.)]?[ \t]{1,4})(?=\[[A-Za-z]|\d{4}-\d\d-|[A-Z][a-z]+ )"
    ),  # cat -n, grep -n, an editor
    re.compile(r"[+](?=\S)"),  # a diff
    re.compile(
        r"(?:[a-z_]{1,20}=[\w.-]{1,40} ){0,3}time=\"?(?P<t>[^\s\"]{8,40})\"? (?:[a-z_]{1,20}=[\w.-]{1,40} ){0,4}msg=\"?"
    ),
    re.compile(r"(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|FATAL|CRIT)[ \t]+(?=\d{4}-\d\d-)"),
    re.compile(r"[^{\[(\"'=]{1,60}?[ \t](?=\d{4}-\d\d-\d\dT[\d:.]{8,15}(?:Z|[+-]\d\d:?\d\d)?\]?[ \t]{1,3}[\[A-Z])"),
)
_LEVEL = re.compile(
    r"[\[(]?(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|FATAL|CRIT)[\])]?:?[ \t]+(?=\S)", re.IGNORECASE
)
_SPACES = re.compile(r"[ \t\u00a0\u2000-\u200b\u3000]+")


def blocks(lines: Iterable[str]) -> Iterator[list[Line]]:
    """Runs of lines without a blank one, numbered from 1."""
    block: list[Line] = []
    size = 0
    for number, line in enumerate(lines, 1):
        blank = not line or line.isspace() or _is_blank(line)
        if blank or len(block) >= MAX_BLOCK_LINES or size > MAX_BLOCK_CHARS:
            if block:
                yield block
            block, size = [], 0
        if not blank:
            block.append(Line(number, line))
            size += len(line)
    if block:
        yield block


def _is_blank(line: str) -> bool:
    """A quoted empty line, or the line of a code fence: both end what stood before."""
    if len(line) > 60 or line[0] not in "> \t│┃`~":
        return False
    stripped = line.strip("> \t│┃")
    return not stripped or _FENCE.match(stripped) is not None


def interesting(block: list[Line]) -> bool:
    """Might this block hold anything of ours? Never False for one that does."""
    text = "\n".join(line.text for line in block)
    text = _uncoloured(text)
    squeezed = "".join(text.replace(">", "").replace("│", "").replace("\\", "").replace('"', "").split()).lower()
    return any(needle in squeezed for needle in NEEDLES)


def records(block: list[Line]) -> Iterator[Record]:
    """The records of one block."""
    cleaned = [(line.number, *_cleaned(line.text)) for line in block]
    margin = min((len(text) - len(text.lstrip(" \t")) for _, text, _, _, _ in cleaned), default=0)
    width = _wrap_width([length for *_, length in cleaned])
    joined: list[Record] = []
    parts = full = 0
    for number, indented, at, prefixed, length in cleaned:
        text = indented[margin:]
        if joined and not prefixed and parts < MAX_JOINED and _continues(joined[-1].text, text):
            last = joined[-1]
            if len(last.text) + len(text) < MAX_RECORD_CHARS:
                parts += 1
                joined[-1] = last._replace(text=join(last.text, text, width=width, full=full), last_line=number)
                full = length
                continue
        parts, full = 1, length
        joined.append(Record(number, text, at, number))
    for record in joined:
        yield from _unpacked(record)


# --------------------------------------------------------------------------- one line

#: What a translator, an input method or a word processor makes of the program's punctuation.
_PUNCTUATION = str.maketrans(
    {"：": ": ", "（": " (", "）": ") ", "｜": "|", "，": ", ", "；": "; "}
    | dict.fromkeys("“”„", '"')
    | dict.fromkeys("‘’", "'")
)


def _uncoloured(text: str) -> str:
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    return _LOST_ANSI.sub("", text) if "[" in text and "m" in text else text


def _cleaned(text: str) -> tuple[str, Instant | None, bool, int]:
    """The line without colours, quote marks and prefixes; the time it bore; whether it bore a prefix; how long it was
    before the prefix went (a terminal cuts there)."""
    text = _uncoloured(text)
    if "\b" in text:
        text = text.replace("\b", "")
    if not text.isascii():
        text = text.translate(_PUNCTUATION)
    quoted = _QUOTE.match(text)
    if quoted is not None:
        text = text[quoted.end() :]
    if "&" in text:
        text = html.unescape(text)
    text = _FRAME.sub("", text)
    at: Instant | None = None
    prefixed = False
    length = len(text)
    for _ in range(4):
        rest = text.lstrip(" \t")
        cut = 0
        for pattern in _PREFIXES:
            found = pattern.match(rest)
            if found is not None:
                stamp = found.groupdict().get("t")
                at = (read(stamp) if stamp else None) or at
                cut = found.end()
                break
        else:
            stamped = at_head(rest.lstrip("-*• \t") if rest[:1] in "-*•" else rest)
            if stamped is not None:
                at = stamped[0]
                lead = len(rest) - len(rest.lstrip("-*• \t")) if rest[:1] in "-*•" else 0
                cut = lead + stamped[1]
        if not cut:
            break
        text, prefixed = rest[cut:], True
    if prefixed:
        text = text.lstrip(" \t:|-")
        level = _LEVEL.match(text)
        if level is not None:
            text = text[level.end() :]
    return text, at, prefixed, length


# --------------------------------------------------------------------------- lines that belong together

_SUMMARY = re.compile(r"All models failed ?\((\d{1,3})\)", re.IGNORECASE)
_LOCKED_OPEN = re.compile(
    r"(?:session file locked(?: ?\([^)]{0,60}\)?)?:?|pid=\d{1,10}|alive=(?:true|false)|ageMs=\d{1,12})$", re.IGNORECASE
)
_OPEN_END = re.compile(r"(?:[:|(=,/\\–—]|…|\b(?:for|session|timeout|error|locked|file|pid|after|was|prompt|lane))$")
_REASON_END = re.compile(r"\([a-z_]{3,24}\)[.\"']{0,2}$")
_JSON_START = re.compile(r"^\s{0,12}[{\[]")


_LEAD = r"(?:[\w-]{1,40}: |\[[\w/-]{1,40}\] )?"
_PART = re.compile(
    rf"{_LEAD}(?:\| ?\S|[^\s|:]{{1,100}}/[^\s|]{{1,100}}: ?\S.{{0,2000}}\([a-z_]{{3,24}}\)[ .|\"']{{0,3}}$)"
)


def with_next_model(before: Record, record: Record) -> Record | None:
    """Both as one if ``before`` is the summary of a chain that is not whole and ``record`` tells its next model.

    A program that writes a JSON record for each line of a message takes a summary to pieces, and so does whoever puts
    a blank line between any two.
    """
    if not summary_open(before.text) or _PART.match(record.text) is None:
        return None
    if len(before.text) + len(record.text) > MAX_RECORD_CHARS:
        return None
    barred = record.text.startswith("|") or before.text.endswith(("|", ":")) or _SUMMARY.search(before.text[-30:])
    return before._replace(
        text=f"{before.text} {'' if barred else '| '}{record.text}", last_line=max(record.line, record.last_line)
    )


def _continues(before: str, text: str) -> bool:
    """Does ``text`` go on with the record ``before``?"""
    stripped = text.lstrip(" \t")
    if stripped.startswith(('{"', "{'")) and len(stripped) > 2:
        return False  # a JSON record of its own; a nested object of a printed one starts with the bare brace
    if _JSON_START.match(before) and not _closed(before):
        return True
    tail = before[-100:].rstrip()
    if summary_open(before) and not _other_record(stripped):
        return True
    quoted = before.rfind('error="')
    if quoted >= 0 and '"' not in before[quoted + 7 :] and not _other_record(stripped):
        return True
    if _LOCKED_OPEN.search(tail) and not _starts_record(stripped):
        return True
    if _OPEN_END.search(tail) and not _other_record(stripped):
        return True
    if text[:1] in " \t" and not stripped.startswith(("at ", "- ", "* ", "• ")):
        return True
    return not _starts_record(stripped)


def summary_open(text: str) -> bool:
    """Does the text end in the summary of a chain, some of whose models are still to come?"""
    summary = _SUMMARY.search(text, max(0, len(text) - 8000)) if "odels" in text else None
    if summary is None:
        return False
    return text.count("|", summary.end()) + 1 < int(summary[1]) or _REASON_END.search(text[-100:].rstrip()) is None


def _starts_record(stripped: str) -> bool:
    return HEADS.match(stripped) is not None


_OTHER = re.compile(
    r"(?:\[[\w@][^\]\n]{0,60}\] |Gateway (?:agent failed|target:)|EMBEDDED FALLBACK:|FallbackSummaryError:|```|#{1,6} |"
    r"(?:Source|Config|Bind|Logs|Expected|Actual|Environment|Version|Steps|Reproduction)[: ]|[{}]|at \S|\$ )"
)


def _other_record(stripped: str) -> bool:
    """Surely a new record, even where the line before seems unfinished."""
    return _OTHER.match(stripped) is not None


def _closed(text: str) -> bool:
    """Are the brackets of a JSON text balanced? (Strings are not looked into: an honest guess is enough.)"""
    return text.count("{") <= text.count("}") and text.count("[") <= text.count("]")


def _wrap_width(lengths: list[int]) -> int:
    """The column at which a terminal or an editor cut this block, 0 if nobody did."""
    longest = max(lengths, default=0)
    at_most = lengths.count(longest)
    if longest >= 20 and at_most >= 2:
        return longest
    return longest if longest in _COMMON_WIDTHS and len(lengths) > 1 else 0


_KEY_START = re.compile(
    r"(?:alive|ageMs|runId|sessionId|sessionKey|timeoutMs|durationMs|error|errorMessage|errorCode|requested|candidate"
    r"|reason|next|detail|decision|stage|lane|provider|from|profile|rawError|pid|code|age|stale)="
)


def join(left: str, right: str, *, width: int, full: int) -> str:
    """Put a wrapped line together again: with a blank where a blank was lost, without where a word was cut.

    Args:
        width: the column at which the block was cut; 0: it was wrapped between words.
        full: length of the physical line that ends here.
    """
    ragged = left != left.rstrip() or right != right.lstrip()
    left_, right_ = left.rstrip(), right.lstrip()
    if not left_ or not right_:
        return left_ + right_
    told = _phrase_says(left_, right_)
    if told is not None:
        return left_ + told + right_
    if _KEY_START.match(right_) or right_[0] in "|(" or left_[-1] in "|)":
        return f"{left_} {right_}"
    if left_[-1] == "-" and len(left_) > 1 and left_[-2].isalnum() and right_[0].isalnum():
        return left_ + right_
    if width and full == width and not ragged:
        return left_ + right_
    if left_[-1] in "/\\" and not ragged:
        return left_ + right_
    return f"{left_} {right_}"


def _phrase_says(left: str, right: str) -> str | None:
    """What stands between two lines if a phrase of the program runs across the break; None if none does."""
    tail = "".join(left[-60:].split()).lower()
    head = "".join(right[:60].split()).lower()
    for start, rest, between in _CUTS.get(tail[-_LEAST:], ()):
        if tail.endswith(start) and (head.startswith(rest) or (len(head) > 3 and rest.startswith(head))):
            return between
    return None


def _blank_after(phrase: str, letters: int) -> bool:
    seen = 0
    for at, letter in enumerate(phrase):
        seen += not letter.isspace()
        if seen == letters:
            return phrase[at + 1 : at + 2].isspace()
    return False


#: Letters of a phrase that must stand before a break, and that are looked at before and behind it.
_LEAST, _BEFORE, _BEHIND = 4, 12, 8


def _cuts() -> dict[str, list[tuple[str, str, str]]]:
    """Every place where a phrase may be cut: by the last letters before it, the longest beginning first."""
    found: dict[str, set[tuple[str, str, str]]] = {}
    for phrase in PHRASES:
        squeezed = "".join(phrase.split()).lower()
        for cut in range(_LEAST, len(squeezed)):
            place = squeezed[max(0, cut - _BEFORE) : cut], squeezed[cut : cut + _BEHIND]
            between = " " if _blank_after(phrase, cut) else ""
            found.setdefault(squeezed[cut - _LEAST : cut], set()).add((*place, between))
    return {last: sorted(places, key=lambda place: (-len(place[0]), place)) for last, places in found.items()}


_CUTS = _cuts()


# --------------------------------------------------------------------------- JSON, and text inside of it

_MESSAGE_KEYS = frozenset(
    [
        "msg",
        "message",
        "MESSAGE",
        "log",
        "text",
        "error",
        "err",
        "errorMessage",
        "detail",
        "reason",
        "stack",
        "0",
        "1",
        "2",
        "3",
        "event",
        "body",
        "line",
        "raw",
        "cause",
    ]
)
_TIME_KEYS = ("time", "timestamp", "@timestamp", "ts", "date", "datetime", "__REALTIME_TIMESTAMP", "when")
_NO_MESSAGES = frozenset((*_TIME_KEYS, "_meta", "hostname"))


def _unpacked(record: Record) -> Iterator[Record]:
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
                yield record._replace(text=_spaced(text))
                return
            found = list(_messages(value, _time_of(value) or record.at, record, 0))
            if found:
                if start > 0 and (lead := text[:start].strip()):
                    yield record._replace(text=_spaced(lead))
                yield from found
                return
    for piece in _unescaped(text):
        yield record._replace(text=_spaced(piece))


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


def _messages(value: Any, at: Instant | None, record: Record, depth: int) -> Iterator[Record]:
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
                    yield record._replace(text=_spaced(stripped), at=at)
                else:
                    yield from _messages(inner, at, record, depth + 1)
                return
        for piece in re.split(r"[\r\n]+", value):
            for part in _unescaped(piece):
                cleaned, stamp, _, _ = _cleaned(part)
                if cleaned.strip():
                    yield record._replace(text=_spaced(cleaned), at=stamp or at)
    elif isinstance(value, dict):
        if (told := _decision(value)) is not None:
            yield record._replace(text=_spaced(told), at=at)
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
        text = _ANSI.sub("", text.replace("\\u001b", "\x1b").replace("\\u0022", '"'))
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


def _spaced(text: str) -> str:
    return _SPACES.sub(" ", text).strip()
