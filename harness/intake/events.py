# ruff: noqa: E501  patterns are not wrapped
"""Records in, recognised messages out: the table of patterns applied to one record. Pure.

A message may carry another (a lane error carries the lock error that ended the lane), so a container is matched
first, its inside is read by the same table, and the part of the record that it took is not searched again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import msgspec

from ..judge.normalise import normalised
from .chains import candidates_of
from .denial import denied
from .lines import LogRecord
from .needles import EVERY_ROW
from .passages import MENTIONING
from .patterns import CONTAINERS, Wording
from .private import shown
from .prose import SAYINGS
from .report import Event

_MAX_DEPTH = 4
_MAX_CONTAINED = 200  # messages in one record
_MAX_PROSE = 4_000  # characters of a record that are read as somebody's words: nobody's sentence is longer
_STEP_KEYS = re.compile(
    r"\b(decision|requested|candidate|reason|next|detail|rawError|runId|requestedProvider|requestedModel"
    r"|fallbackStepFromFailureReason|fallbackStepFromFailureDetail|candidateProvider|candidateModel|errorPreview)"
    r"[\"']?[=:] ?"
)
_STEP_NAMES = {
    "fallbackStepFromFailureReason": "reason", "fallbackStepFromFailureDetail": "detail", "errorPreview": "detail",
}  # fmt: skip
_OTHERS_DATABASE = re.compile(
    r"\b(?:my (?:own )?(?:app|project|script|program|bot's own)|prisma|django|rails|sqlalchemy|alembic|laravel|postgres|mysql|mongo|grafana"
    r"|home ?assistant|jellyfin|plex|sonarr|radarr|nextcloud|firefox|chrome|anki|calibre|rpmdb|jupyter|mlflow|airflow)\b",
    re.IGNORECASE,
)
_OF_ROW = ("own", "runtime", "means", "says")  # what a row knows of its message
_WAIT = re.compile(r"timeout (\d{1,12}) ?ms", re.IGNORECASE)  # see ``stated_wait``
_PID_IN = re.compile(r"pid ?= ?(\d{1,10})", re.IGNORECASE)
_BODY = re.compile(r"\{(?P<inside>[^{}]{0,800})(?:\}|$)")
_BODY_KEY = re.compile(
    r"[\"']?\b(pid|createdAt|starttime|maxHoldMs|pidNamespace|lock|created)[\"']?\s{0,3}:\s{0,3}[\"']?([^\s\"',}]{1,400})"
)


def events_of(record: LogRecord) -> list[Event]:
    """Everything that is recognised in a record; what it denies comes as a ``denied`` event."""
    found = list(_read(record.text, record, (), {}, 0))[:_MAX_CONTAINED]
    if not found:
        found = list(_bodies(record))
    return found


def _read(text: str, record: LogRecord, within: tuple[str, ...], about: dict[str, str], depth: int) -> Iterator[Event]:
    lower = text.lower()
    carried = False  # a container stood in this text, and it was no mention
    if depth < _MAX_DEPTH:
        for row in CONTAINERS:
            for _ in range(8):
                match = row.pattern.search(text) if row.needle in lower else None
                if match is None:
                    break
                mention = not within and not carried and _mentioned(record, text[: match.start()])
                carried = carried or not mention
                event, inside, taken = _contained(row, match, record, within, about)
                inner = (
                    list(_read(inside, record, (*within, row.kind), about | event.data, depth + 1)) if inside else []
                )
                if mention and denied(text, match.start(), match.end()):
                    yield _denied(row, match[0], record)
                else:
                    marked = [event] if row.kind in ("summary", "announce") or not inner or row.inner is None else []
                    marked += inner if row.kind != "summary" else []
                    for each in marked:
                        yield msgspec.structs.replace(each, mention=True) if mention else each
                text = f"{text[: match.start()]}\n{text[match.start() + taken :]}"
                lower = text.lower()
    found = list(_messages(text, lower, record, within, about, firm=carried or bool(within)))
    yield from (event for _, event in sorted(found, key=lambda pair: pair[0]))


def _messages(
    text: str, lower: str, record: LogRecord, within: tuple[str, ...], about: dict[str, str], *, firm: bool
) -> Iterator[tuple[int, Event]]:
    """The messages of a text that carry no other, with where each begins."""
    taken_spans: list[tuple[int, int]] = []
    for row in EVERY_ROW:
        if row.needle not in lower:
            continue
        for match in row.pattern.finditer(text):
            if len(taken_spans) >= _MAX_CONTAINED:
                return
            if any(start < match.end() and match.start() < end for start, end in taken_spans):
                continue
            data = _data(row, match)
            if data is None or (row.kind == "locked" and not within and not _stated(match)):
                continue
            taken_spans.append(match.span())
            mention = not firm and _mentioned(record, text[: match.start()])
            if not firm and not _printed(record) and denied(text, match.start(), match.end()):
                yield match.start(), _denied(row, match[0], record)
                continue
            yield match.start(), _event(row, match[0], record, within, about | data, mention=mention)


#: What a program or a shell may put before a message on its line.
_LEAD = re.compile(
    r"[\s>`\"'(\[]{0,4}(?:(?:[-*+•] |\d{1,3}[.)] |\[[^\]\n]{1,60}\] ?|[⚠❌✗✘🔴️️]{1,3} ?|\w{0,40}(?:Error|Exception|错误|エラー|Fehler|erreur|error)"
    r"\w{0,4}: ?|[\w /.\"-]{1,40}[:=] ?|(?:TRACE|DEBUG|INFO|WARN|WARNING|ERROR|FATAL) |->? |=> )[`\"'(]?){0,6}[\s`\"'(]{0,3}"
)


def _mentioned(record: LogRecord, lead: str) -> bool:
    """Is the message talked about, rather than printed here?"""
    if _printed(record):
        return False
    return record.place.role in MENTIONING or _LEAD.fullmatch(lead[-400:]) is None


def _printed(record: LogRecord) -> bool:
    return record.at is not None or record.printed or record.place.fenced


def _denied(row: Wording, text: str, record: LogRecord) -> Event:
    return _told("denied", "*", text, record, data={"what": row.kind})


def _event(
    row: Wording, text: str, record: LogRecord, within: tuple[str, ...], data: dict[str, str], **more: Any
) -> Event:
    return _told(
        row.kind, row.era, text, record, data=data, within=within, t_ms=None if record.at is None else record.at.ms,
        dated=record.at is not None and record.at.dated, session_lock=row.session_lock, not_lock=row.not_lock,
        passage=record.place.passage, **more,
    )  # fmt: skip


def _told(kind: str, era: str, text: str, record: LogRecord, **more: Any) -> Event:
    """An event at the lines of a record; no more than a reader can take of its text."""
    last_line = max(record.line, record.last_line)
    return Event(kind=kind, era=era, line=record.line, last_line=last_line, text=text[:400], **more)


def _data(row: Wording, match: re.Match[str]) -> dict[str, str] | None:
    """The fields of a message; None where it only looks like one."""
    fields = {key: value for key, value in match.groupdict().items() if value and key != row.inner}
    fields |= {name: told for name in _OF_ROW if (told := getattr(row, name))}
    if row.kind in ("locked", "lock_error_code"):
        inside = fields.pop("in", "")
        fields |= stated_wait(inside)
        if (pid := _PID_IN.search(inside)) and "pid" not in fields:
            fields["pid"] = pid[1]
        if "age" in fields and not fields["age"].isdecimal():
            del fields["age"]
    if row.kind == "compaction":
        duration = fields.pop("duration2", None) or fields.get("duration")
        if duration:
            fields["duration"] = duration
    if row.kind == "file_system" and not _of_a_session(fields.get("path", "")):
        return None
    if row.own and "alive" in fields:
        fields["alive"] = "true"  # the message calls it running, live or active
    if row.kind == "busy_database" and _OTHERS_DATABASE.search(
        match.string, max(0, match.start() - 100), match.end() + 100
    ):
        fields["says"] = "another program's database"
    if row.kind == "doctor_lock" and not fields["path"].endswith(".lock"):
        return None
    return fields


def stated_wait(text: str) -> dict[str, str]:
    """The wait that a lock error states, as the field of its message; empty if it states none."""
    stated = _WAIT.search(text)
    return {} if stated is None else {"wait_ms": stated[1]}


def _of_a_session(path: str) -> bool:
    return ".jsonl" in path or "sessions.json" in path or re.search(r"[\\/]sessions[\\/]", path) is not None


def _stated(match: re.Match[str]) -> bool:
    """A lock error as the program prints it, not a sentence about lock errors."""
    named = match.groupdict()
    if any(named.get(key) for key in ("pid", "unknown", "cut", "code", "name", "alive", "age")):
        return True
    if named.get("in") and (stated_wait(named["in"]) or _PID_IN.search(named["in"]) or named["in"] == "timeout"):
        return True
    return ".lock" in (named.get("path") or "")


# --------------------------------------------------------------------------- containers


def _contained(
    row: Wording, match: re.Match[str], record: LogRecord, within: tuple[str, ...], about: dict[str, str]
) -> tuple[Event, str, int]:
    """The container's own event, the text that it carries, and how much of the record it took."""
    data = about | (_data(row, match) or {})
    inside = (match.groupdict().get(row.inner) or "") if row.inner else ""
    head = match[0][: len(match[0]) - len(inside)] if inside else match[0]
    taken = match.end() - match.start()
    if row.kind == "summary":
        candidates, used = candidates_of(inside, int(match["count"]))
        event = _event(row, head + inside[:used], record, within, data, candidates=candidates)
        return event, inside[:used], taken - (len(inside) - used)
    if row.kind == "decision":
        fields = _step_fields(inside)
        return _event(row, match[0], record, within, data | fields), fields.get("detail", ""), taken
    if row.inner is not None and inside:
        data = data | {"inner": inside[:400]}
    return _event(row, match[0], record, within, data), inside, taken


def _step_fields(text: str) -> dict[str, str]:
    """``key=value`` in a fallback decision; the detail runs to the end."""
    fields: dict[str, str] = {}
    marks = list(_STEP_KEYS.finditer(text))
    for mark, following in zip_longest(marks, marks[1:]):
        name = _STEP_NAMES.get(mark[1], mark[1])
        if name == "detail":
            fields["detail"] = text[mark.end() :].strip(" \"'")[:2000]
            break
        value = text[mark.end() : following.start() if following else len(text)].strip(" \"',")
        fields[name] = value.split(" ", 1)[0][:160] if name != "rawError" else value[:160]
    for whose in ("candidate", "requested"):
        if model := fields.pop(f"{whose}Model", None):
            fields.setdefault("candidate", f"{fields.pop(f'{whose}Provider', 'provider')}/{model}")
    return fields


# --------------------------------------------------------------------------- lock files, and what people say

_BODY_ROW = Wording("lock_body", "*", "", re.compile(""), "lock files of every era")


def _bodies(record: LogRecord) -> Iterator[Event]:
    """Lock files that were pasted, whole or cut short."""
    text = record.text
    if "pid" not in text and "createdA" not in text and '"lock"' not in text:
        return
    for match in _BODY.finditer(text):
        fields = dict(_BODY_KEY.findall(match["inside"]))
        known = fields.keys() & {"createdAt", "starttime", "maxHoldMs"}
        if known or ("lock" in fields and "created" in fields) or ("pid" in fields and "createdA" in match["inside"]):
            if "lock" in fields:
                fields["path"] = fields.pop("lock")
            yield _event(_BODY_ROW, match[0], record, (), fields)


#: Facts about processes and effects, which count wherever they stand; the rest is somebody's judgement, and a log has
#: no judgement ("restart" in a log line is no window of a restart).
_SAID_ANYWHERE = frozenset(("says_dead", "says_killed", "says_gateway_down", "says_recycled", "says_twice"))


def said(record: LogRecord) -> list[Event]:
    """What the reporter's own words say in this record."""
    text = record.text[:_MAX_PROSE]
    printed = _printed(record)
    found: list[Event] = []
    for saying in SAYINGS:
        if printed and saying.kind not in _SAID_ANYWHERE:
            continue
        for match in saying.pattern.finditer(text):
            if saying.deniable and denied(text, match.start(), match.start()):
                continue
            pid = next((value for key, value in match.groupdict().items() if key.startswith("pid") and value), None)
            data = {"pid": pid} if pid else {}
            found.append(
                _told(saying.kind, "*", match[0], record, data=data, passage=record.place.passage, mention=True)
            )
            break
    return found


# --------------------------------------------------------------------------- error lines as they are compared


def canonical(event: Event, row: Wording, usual: dict[str, str]) -> str | None:
    """The event as an error line without what differs from run to run; None if it is no error line.

    ``usual``: values for what a line leaves out ("session file locked ... (timeout)"), from the rest of the text.
    """
    if row.canonical is None:
        return normalised_text(shown(event.data["inner"])) if row.inner and event.data.get("inner") else None
    fields = dict.fromkeys(re.findall(r"\{(\w+)\}", row.canonical), "?")
    fields |= {key: value for key, value in usual.items() if key in fields}
    fields |= {key: value for key, value in event.data.items() if key in fields}
    if "owner" in fields:
        fields["owner"] = "unknown" if event.data.get("unknown") else "pid=N"
    return row.canonical.format(**fields)


def normalised_text(text: str) -> str:
    """Any error text without ids, numbers and paths."""
    lines = normalised(text[:400])
    return re.sub(r"\d+", "N", " ".join(lines))[:160].strip(" .\"'")
