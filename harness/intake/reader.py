"""A pasted text in, a ``Report`` out: the pieces put together. Streams; keeps a bounded number of messages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import msgspec

from .chains import summary_open
from .classes import findings_of, possible_of
from .events import events_of
from .incident import Incident, incident_of
from .lines import Line, Record
from .patterns import SETTINGS
from .private import key_shown, shown
from .records import blocks, interesting, records, with_next_model
from .report import Event, Finding, Report
from .source import CHUNK_BYTES, Reading, lines_of

MAX_EVENTS = 2_000
#: Text that is read closely, at most; the rest of a larger one is only counted. A log of 100 MB that is about nothing
#: but locks says in its first megabytes what it says in the others.
MAX_CLOSE_CHARS = 4 << 20
_LINE_COST = 100  # characters that a line costs beside its own
MAX_CONTEXT_CHARS = 8_000  # of a record that are searched for versions, platforms and keys
MAX_EXAMPLES = 5
_VERSION = re.compile(
    r"(?<![\w./-])v?(20[2-9]\d\.(?:1[0-2]|[1-9])\.(?:[12]\d|3[01]|[1-9]|\d{2})(?:-(?:beta|rc|alpha)?\.?\d{1,3})?)(?![\w/])"
)
_SESSION_KEY = re.compile(r"\bagent:[\w.-]{1,64}(?::[\w@.+-]{1,80}){1,6}")
_REPORT_NO = re.compile(r"\b([\w.-]{1,40}/[\w.-]{1,60})(?:#|/(?:issues|pull)/)(\d{1,7})\b")
_PLATFORMS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("windows", re.compile(r"\bwindows(?: \d{1,2}| server)?\b|"
                           r"\b[A-Z]:\\\\?(?:Users|\.?openclaw|Program)|\bwin32\b", re.IGNORECASE)),
    ("wsl", re.compile(r"\bWSL ?2?\b")),
    ("macos", re.compile(r"\bmacOS\b|\bdarwin\b|/Users/[\w<]", re.IGNORECASE)),
    ("container", re.compile(r"\bdocker\b|\bpodman\b|\bcontainer(?:s|d)?\b|/data/\.openclaw", re.IGNORECASE)),
    ("kubernetes", re.compile(r"\bkubernetes\b|\bk8s\b|\bkubectl\b|\[pod/", re.IGNORECASE)),
    ("linux", re.compile(r"\blinux\b(?!-\w)|\bubuntu\b|\bdebian\b|/home/[\w<]", re.IGNORECASE)),
)  # fmt: skip
_TELLING = re.compile(r"lock|error|timeout|fail|session", re.IGNORECASE)
_OURS = re.compile(
    r"openclaw|clawdbot|moltbot|\[session-|\[gateway\]|\[agent/|\[diagnostic\]|sessions?\.json|agent:\w+:",
    re.IGNORECASE,
)


def read_report(source: bytes | str | BinaryIO | Iterable[bytes]) -> Report:
    """Understand a pasted text.

    Never fails, whatever the bytes are; what could not be read is said in ``notes``.

    Args:
        source: the text, or a binary stream that is read in pieces (a file of any size).
    """
    reading = Reading()
    gathered = _Gathered()
    for block in blocks(lines_of(_chunks(source), reading)):
        gathered.take(block)
    return gathered.report(reading)


def read_file(path: str | Path) -> Report:
    """``read_report`` of a file. Raises OSError."""
    with Path(path).open("rb") as stream:
        return read_report(stream)


def _chunks(source: bytes | str | BinaryIO | Iterable[bytes]) -> Iterable[bytes]:
    if isinstance(source, str):
        return [source.encode("utf-8", "replace")]
    if isinstance(source, bytes):
        return [source]
    if hasattr(source, "read"):
        return iter(lambda: source.read(CHUNK_BYTES), b"")
    return source


class _Gathered:
    """What has been found so far."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.dropped = self.close = 0
        self.lines = 0
        self.understood = 0
        self.examples: list[str] = []
        self.plain_examples: list[str] = []
        self.timers: dict[str, float] = {}
        self.versions: dict[str, None] = {}
        self.platforms: dict[str, None] = {}
        self.sessions: dict[str, None] = {}
        self.reports: dict[str, None] = {}
        self.ours = False
        self._summary: Record | None = None  # of a chain, not whole yet

    def take(self, block: list[Line]) -> None:
        self.lines += len(block)
        if not interesting(block):
            self._ignore(block, frozenset())
            return
        if len(self.events) >= MAX_EVENTS or self.close >= MAX_CLOSE_CHARS:
            self.dropped += len(block)
            return
        self.close += sum(len(line.text) + _LINE_COST for line in block)
        known: set[int] = set()
        for record in records(block):
            if self._told(record):
                known.update(range(record.line, max(record.line, record.last_line) + 1))
        self.understood += len(known)
        self._ignore(block, known)

    def _told(self, record: Record) -> bool:
        """Take a record in; False if nothing in it is known."""
        if self._summary is not None:
            whole = with_next_model(self._summary, record)
            if whole is None:
                self._read(self._summary)
            self._summary = whole
            if whole is not None:
                return True
        if summary_open(record.text):
            self._summary = record
            return True
        return self._read(record)

    def _read(self, record: Record) -> bool:
        self._context(record)
        events = events_of(record)
        self.events += events[: MAX_EVENTS - len(self.events)]
        return self._settings(record) or bool(events)

    def _ignore(self, block: list[Line], known: frozenset[int] | set[int]) -> None:
        if len(self.examples) >= MAX_EXAMPLES:
            return
        for line in block:
            if line.number in known or (len(line.text) > 40 and " " not in line.text.strip()):
                continue  # no words: a key, a blob
            if _TELLING.search(line.text[:400]):
                if len(self.examples) < MAX_EXAMPLES:
                    self.examples.append(shown(line.text.strip(), 100))
            elif len(self.plain_examples) < MAX_EXAMPLES:
                self.plain_examples.append(shown(line.text.strip(), 100))

    def _settings(self, record: Record) -> bool:
        found = False
        for name, unit, pattern in SETTINGS:
            match = pattern.search(record.text)
            if match is not None:
                found = True
                self.timers.setdefault(name, round(int(match["n"]) * unit, 3))
        return found

    def _context(self, record: Record) -> None:
        text = record.text[:MAX_CONTEXT_CHARS]
        self.ours = self.ours or _OURS.search(text) is not None
        for match in _VERSION.finditer(text):
            if len(self.versions) < 8:
                self.versions[match[1]] = None
        for match in _SESSION_KEY.finditer(text):
            if len(self.sessions) < 8:
                self.sessions[key_shown(match[0].rstrip("."))] = None
        for match in _REPORT_NO.finditer(text):
            if len(self.reports) < 8:
                self.reports[f"{match[1]}#{match[2]}"] = None
        for name, pattern in _PLATFORMS:
            if name not in self.platforms and pattern.search(text):
                self.platforms[name] = None

    def report(self, reading: Reading) -> Report:
        if self._summary is not None:
            self._read(self._summary)
        events = [_with_origin(event, self.ours) for event in self.events]
        incident = incident_of(events)
        findings = findings_of(incident)
        eras = _eras(incident)
        notes = [*reading.notes(), *incident.notes]
        if incident.twins:
            notes.append(f"{incident.twins} errors were logged in two lanes and count once")
        if incident.repeated:
            notes.append(f"{incident.repeated} messages are quoted more than once and count once")
        if self.dropped:
            notes.append(f"the text is large: {self.dropped} further lines that may be of interest were only counted")
        examples = (self.examples + self.plain_examples)[:MAX_EXAMPLES]
        return Report(
            classes=tuple(finding.letter for finding in findings), findings=findings,
            possible=possible_of(incident, findings, eras), cause=_cause(findings, incident),
            consequences=_consequences(incident), errors=incident.errors, events=incident.events, chain=incident.chain,
            timers=_timers(self.timers, incident), locks=incident.locks, eras=eras, versions=tuple(self.versions),
            platforms=tuple(self.platforms), sessions=tuple(self.sessions), reports=tuple(self.reports),
            not_lock=_look_alikes(incident), lines=reading.lines, understood=self.understood,
            ignored=self.lines - self.understood, ignored_examples=tuple(example for example in examples if example),
            notes=tuple(notes),
        )  # fmt: skip


def _with_origin(event: Event, ours: bool) -> Event:
    """A busy database says nothing of who uses it: it counts only where the rest of the text speaks of OpenClaw."""
    if event.kind == "busy_database" and ours:
        return msgspec.structs.replace(event, data=event.data | {"ours": "yes"})
    return event


def _eras(incident: Incident) -> tuple[str, ...]:
    """The eras that the messages belong to, the most frequent first."""
    counts: dict[str, int] = {}
    for event in incident.events:
        era = event.era
        if event.kind == "locked" and (wait := event.number("wait_ms")):
            era = "1" if wait <= 10_000 else "2"
        if "alive" in event.data:
            era = "2"
        if era in ("1", "2", "3", "4"):
            counts[era] = counts.get(era, 0) + 1
    for candidate in incident.chain:
        if told := re.search(r"timeout (\d{1,12})ms", candidate.error if candidate.lock else ""):
            era = "1" if int(told[1]) <= 10_000 else "2"
            counts[era] = counts.get(era, 0) + 1
    return tuple(sorted(counts, key=lambda era: (-counts[era], era)))


_TIMER_OF: tuple[tuple[str, str, str], ...] = (
    ("gateway_timeout", "ms", "client_timeout_s"),
    ("locked", "wait_ms", "lock_wait_s"),
    ("run_timeout", "ms", "run_timeout_s"),
    ("abort_unsettled", "ms", "abort_settle_s"),
    ("force_release", "max", "max_hold_s"),
    ("force_release", "held", "held_s"),
    ("lock_body", "maxHoldMs", "max_hold_s"),
    ("compaction", "duration", "compaction_s"),
)


def _timers(stated: dict[str, float], incident: Incident) -> dict[str, float]:
    """What the configuration says, and what the messages say; of several values the most frequent one."""
    found = dict(stated)
    for kind, key, name in _TIMER_OF:
        values: dict[int, int] = {}
        for event in incident.events:
            value = event.number(key) if event.kind == kind and "announce" not in event.within else None
            if value is not None:
                values[value] = values.get(value, 0) + 1
        if kind == "locked":
            for candidate in incident.chain:
                if wait := re.search(r"timeout (\d{1,12})ms", candidate.error):
                    values[int(wait[1])] = values.get(int(wait[1]), 0) + 1
        if values and name not in found:
            found[name] = max(values, key=lambda value: (values[value], value)) / 1000
    return dict(sorted(found.items()))


_PLAIN = {
    "locked": "the session was locked for others", "lock_error_code": "the session was locked for others",
    "summary": "every model of the chain was counted as failed", "takeover": "the takeover fence ended a run",
    "announce": "a sub-agent's result could not be handed over", "compaction": "a compaction was under way or failed",
    "synthetic_result": "a tool result was missing", "run_timeout": "a run reached its time limit",
    "abort_unsettled": "an aborted run did not settle", "banner_same": "the command line ran the turn itself",
    "banner_failed": "the command line ran the turn itself",
    "banner_fresh": "the command line ran the turn itself, in a new session",
    "gateway_timeout": "the client gave up waiting for the gateway",
    "gateway_closed": "the connection to the gateway was lost",
    "stuck_session": "a session was stuck", "stuck_recovery": "recovery was tried",
    "force_release": "the watchdog took a lock away", "lock_stale": "a stale lock was reported",
    "file_lock": "a lock was called stale", "revision_conflict": "two commits collided",
    "busy_database": "the database was busy", "file_system": "a file operation failed",
}  # fmt: skip


def _cause(findings: tuple[Finding, ...], incident: Incident) -> str:
    """The incident in one sentence."""
    if not findings:
        if any(event.session_lock for event in incident.events):
            return "a session was locked; the text does not say why"
        return "no error of a session lock"
    return findings[0].why


def _consequences(incident: Incident) -> tuple[str, ...]:
    """What else happened, in order, each once."""
    told: dict[str, None] = {}
    for event in incident.events:
        if event.kind in _PLAIN:
            told[_PLAIN[event.kind]] = None
    return tuple(told)


def _look_alikes(incident: Incident) -> tuple[str, ...]:
    """Messages that sound like a lock error and are none."""
    told: dict[str, None] = {}
    for event in incident.events:
        if event.not_lock and event.kind in (
            "aborted",
            "gateway_closed",
            "busy_database",
            "foreign_lock",
            "idle_timeout",
            "gateway_running",
            "unauthorized",
            "model_timeout",
        ):
            told[event.error or shown(event.text)] = None
    return tuple(told)
