"""One physical line: colours, quote marks and collectors' prefixes off, and the record that lines make. Pure."""

from __future__ import annotations

import html
import re
from typing import NamedTuple

from .passages import Place
from .private import mended
from .timestamps import Instant, at_head, read

__all__ = ["ANSI", "FENCE", "Line", "LogRecord", "cleaned", "spaced", "uncoloured"]


class Line(NamedTuple):
    """One physical line of a block, and where it stands."""

    number: int
    text: str
    place: Place = Place()


class LogRecord(NamedTuple):
    """One message of a log, or one paragraph of prose. ``printed``: a logger or a collector put something before it."""

    line: int
    text: str
    at: Instant | None = None
    last_line: int = 0
    place: Place = Place()
    printed: bool = False


ANSI = re.compile(r"\x1b(?:\[[0-9;:?]{0,40}[ -/]?[@-~]|\][^\x07\x1b]{0,400}(?:\x07|\x1b\\)|[@-Z\\-_])")
_LOST_ANSI = re.compile(r"(?:␛|\\x1b|\\u001b|\\033|\\e)\[[0-9;]{0,20}m|\[(?:\d{1,3};){0,4}\d{1,3}m")
_QUOTE = re.compile(r"[ \t]{0,8}(?:(?:>|&gt;)[ \t]?){1,8}")
_FRAME = re.compile(r"^[ \t]{0,8}[│┃║▏|][ \t]{0,4}(?=[^\s|-])|[ \t]*[│┃║╮╯]+[ \t]*$")
FENCE = re.compile(r"^[ \t]{0,12}(?:`{3,}|~{3,})[ \t]{0,4}[\w.+-]{0,20}[ \t]*$")

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


#: What a translator, an input method or a word processor makes of the program's punctuation.
_PUNCTUATION = str.maketrans(
    {"：": ": ", "（": " (", "）": ") ", "｜": "|", "，": ", ", "；": "; "}
    | dict.fromkeys("“”„", '"')
    | dict.fromkeys("‘’", "'")
)


def uncoloured(text: str) -> str:
    if "\x1b" in text:
        text = ANSI.sub("", text)
    return _LOST_ANSI.sub("", text) if "[" in text and "m" in text else text


def cleaned(text: str) -> tuple[str, Instant | None, bool, int]:
    """The line without colours, quote marks and prefixes; the time it bore; whether it bore a prefix; how long it was
    before the prefix went (a terminal cuts there)."""
    text = uncoloured(text)
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


# --------------------------------------------------------------------------- a whole record

#: Numbers that somebody's locale has put marks into: "60,000ms", "60 000 ms", "ageMs=1,020,000", "(timeout 10.000ms)".
_MARKED = re.compile(
    r"(?<![\d.,])\d{1,3}(?:[,'’_ \u202f]\d{3}){1,3}(?= ?(?:ms|milliseconds)\b)|(?<=Ms[=:])\d{1,3}(?:[,'’_]\d{3}){1,3}\b"
    r"|(?<=Ms\": )\d{1,3}(?:[,_]\d{3}){1,3}\b|(?<=timeout )\d{1,3}\.\d{3}(?= ?ms\b)"
)


def spaced(text: str) -> str:
    """A whole record in the shape that the tables expect: single blanks, plain numbers, paths in one piece."""
    text = _SPACES.sub(" ", text).strip()
    if "ms" in text or "Ms" in text:
        text = _MARKED.sub(lambda found: re.sub(r"\D", "", found[0]), text)
    return mended(text)
