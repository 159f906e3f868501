# ruff: noqa: E501  patterns are not wrapped
"""A pasted text in, a ``Report`` out: the pieces put together. Streams; keeps a bounded number of messages."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from .chains import summary_open
from .events import events_of, said
from .evidence import findings_of, settled
from .facts import Facts
from .incident import incident_of
from .lines import Line, LogRecord
from .patterns import SETTINGS
from .private import key_shown, shown
from .records import blocks, interesting, records, with_next_model
from .report import Event, Report
from .runtimes import NAMES, VERSION
from .shell import ShellTranscript
from .source import CHUNK_BYTES, SourceNotes, lines_of
from .telling import (
    cause,
    consequences,
    counted,
    denials,
    eras_of,
    look_alikes,
    not_ours,
    other_locks,
    runtimes_of,
    timers_of,
)

MAX_EVENTS = 2_000
#: Text that is read closely, at most; the rest of a larger one is only counted. A log of 100 MB that is about nothing
#: but locks says in its first megabytes what it says in the others.
MAX_CLOSE_CHARS = 4 << 20
#: Blocks that name nothing of ours are still read for what surrounds an error (versions, systems, the reporter's words),
#: so far into a text: an issue is shorter, and the rest of a log is not prose.
MAX_PLAIN_CHARS = 64 << 10
_LINE_COST = 100  # characters that a line costs beside its own
MAX_CONTEXT_CHARS = 8_000  # of a record that are searched for versions, platforms and keys
MAX_EXAMPLES = 5
MAX_NAMES = 8  # versions, session keys, reports that are told
_VERSION = re.compile(
    r"(?<![\w./-])v?(20[2-9]\d\.(?:1[0-2]|[1-9])\.(?:[12]\d|3[01]|[1-9]|\d{2})(?:-(?:beta|rc|alpha)?\.?\d{1,3})?)(?![\w/])"
)
_SESSION_KEY = re.compile(r"\bagent:[\w.-]{1,64}(?::[\w@.+-]{1,80}){1,6}")
_REPORT_NO = re.compile(r"\b([\w.-]{1,40}/[\w.-]{1,60})(?:#|/(?:issues|pull)/)(\d{1,7})\b")
_PLATFORMS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("windows", re.compile(r"\bwindows(?: \d{1,2}| server)?\b|"
                           r"\b[A-Z]:\\\\?(?:Users|\.?openclaw|Program)|\bwin32\b|\btasklist\b|\btaskkill\b|\bPS [A-Z]:\\", re.IGNORECASE)),
    ("wsl", re.compile(r"\bWSL ?2?\b")),
    ("macos", re.compile(r"\bmacOS\b|\bdarwin\b|/Users/[\w<]|\bOS X\b|\bMac ?(?:mini|Book|Studio)\b", re.IGNORECASE)),
    ("container", re.compile(r"\bdocker\b|\bpodman\b|\bcontainers?\b|\bcontainerd\b|/data/\.openclaw|容器|コンテナ|контейнер|conteneur|contenedor|컨테이너",
                             re.IGNORECASE)),
    ("kubernetes", re.compile(r"\bkubernetes\b|\bk8s\b|\bkubectl\b|\[pod/", re.IGNORECASE)),
    ("linux", re.compile(r"\blinux\b(?!-\w)|\bubuntu\b|\bdebian\b|\bfedora\b|\bRHEL\b|\bred hat\b|\bcentos\b|\brocky\b|\balma ?linux\b|\balpine\b"
                         r"|\barch linux\b|\bnixos\b|\braspberry\b|\braspbian\b|\bopensuse\b|\bsystemd\b|\bsystemctl\b|\bjournalctl\b|/home/[\w<]",
                         re.IGNORECASE)),
)  # fmt: skip
#: A version like OpenClaw's beside one of these words is OpenClaw's.
_GATEWAY = re.compile(r"\b(?:gateway|agents?|bot|sessions?|turns?)\b|网关|会话|ゲートウェイ|шлюз|бот", re.IGNORECASE)
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
    reading = SourceNotes()
    gathered = _Gathered()
    digest = hashlib.sha256()
    for block in blocks(lines_of(_digested(_chunks(source), digest), reading)):
        gathered.take(block)
    return gathered.report(reading, digest.hexdigest()[:16])


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


def _digested(chunks: Iterable[bytes], digest: Any) -> Iterator[bytes]:
    for chunk in chunks:
        digest.update(chunk)
        yield chunk


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
        self.other_versions: dict[str, None] = {}
        self.platforms: dict[str, None] = {}
        self.sessions: dict[str, None] = {}
        self.reports: dict[str, None] = {}
        self.runtimes: list[tuple[int, str]] = []  # where other runtimes are named
        self.ours = self.gateway = False
        self._plain = self._prose = MAX_PLAIN_CHARS
        self._transcript = ShellTranscript()
        self._summary: LogRecord | None = None  # of a chain, not whole yet

    def take(self, block: list[Line]) -> None:
        self.lines += len(block)
        close = interesting(block)
        if not close:
            size = sum(len(line.text) for line in block)
            if size > self._plain:
                self._ignore(block, frozenset())
                return
            self._plain -= size
        if len(self.events) >= MAX_EVENTS or self.close >= MAX_CLOSE_CHARS:
            self.dropped += len(block)
            return
        self.close += sum(len(line.text) + _LINE_COST for line in block)
        known: set[int] = set()
        for record in records(block):
            if self._told(record):
                known.update(range(record.line, max(record.line, record.last_line) + 1))
        known.update(self._proofs(block))
        self.understood += len(known)
        self._ignore(block, known)

    def _proofs(self, block: list[Line]) -> set[int]:
        """What a shell transcript in this block proves."""
        found: list[Event] = []
        for line in block:
            found += self._transcript.take(line)
        found += self._transcript.end()
        self.events += found[: MAX_EVENTS - len(self.events)]
        return {event.line for event in found}

    def _told(self, record: LogRecord) -> bool:
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

    def _read(self, record: LogRecord) -> bool:
        self._context(record)
        events = events_of(record)
        if self._prose > 0:
            self._prose -= len(record.text)
            events += said(record)
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

    def _settings(self, record: LogRecord) -> bool:
        found = False
        for name, unit, pattern in SETTINGS:
            match = pattern.search(record.text)
            if match is not None:
                found = True
                self.timers.setdefault(name, round(int(match["n"]) * unit, 3))
        return found

    def _context(self, record: LogRecord) -> None:
        text = record.text[:MAX_CONTEXT_CHARS]
        self.ours = self.ours or _OURS.search(text) is not None
        self.gateway = self.gateway or _GATEWAY.search(text) is not None
        for name, pattern in NAMES:
            if len(self.runtimes) < 100 and pattern.search(text):
                self.runtimes.append((record.line, name))
        _add(self.other_versions, (match["version"] for match in VERSION.finditer(text)))
        _add(self.versions, (match[1] for match in _VERSION.finditer(text)))
        _add(self.sessions, (key_shown(match[0].rstrip(".")) for match in _SESSION_KEY.finditer(text)))
        _add(self.reports, (f"{match[1]}#{match[2]}" for match in _REPORT_NO.finditer(text)))
        for name, pattern in _PLATFORMS:
            if name not in self.platforms and pattern.search(text):
                self.platforms[name] = None

    def report(self, reading: SourceNotes, digest: str = "") -> Report:
        if self._summary is not None:
            self._read(self._summary)
        ours = self.ours or bool(self.gateway and self.versions)
        events = [_with_origin(event, ours, _named(self.runtimes, event.line)) for event in self.events]
        incident = incident_of(sorted(events, key=lambda event: event.line))
        facts = Facts(incident, ours=ours or bool(self.runtimes))
        eras = eras_of(incident)
        findings, possible = settled(findings_of(facts), facts, eras)
        why_not = not_ours(incident) if not findings and not possible else None
        notes = [*reading.notes(), *incident.notes, *denials(incident)]
        if incident.twins:
            notes.append(counted(incident.twins, "error was", "errors were") + " logged in two lanes and counted once")
        if incident.repeated:
            notes.append(
                counted(incident.repeated, "message is", "messages are") + " told more than once and counted once"
            )
        if self.dropped:
            notes.append(f"the text is large: {self.dropped} further lines that may be of interest were only counted")
        examples = (self.examples + self.plain_examples)[:MAX_EXAMPLES]
        return Report(
            classes=tuple(finding.letter for finding in findings), findings=findings,
            possible=possible, cause=cause(findings, possible, incident, why_not),
            consequences=consequences(incident), errors=incident.errors, events=incident.events, chain=incident.chain,
            timers=timers_of(self.timers, incident), locks=incident.locks, eras=eras, versions=(*self.versions, *self.other_versions),
            platforms=tuple(self.platforms), sessions=tuple(self.sessions), reports=tuple(self.reports),
            not_lock=look_alikes(incident), other_locks=other_locks(incident), runtimes=runtimes_of(incident),
            not_ours=why_not, digest=digest, lines=reading.lines, understood=self.understood,
            ignored=self.lines - self.understood, ignored_examples=tuple(example for example in examples if example),
            notes=tuple(notes),
        )  # fmt: skip


def _add(known: dict[str, None], more: Iterable[str]) -> None:
    """The first ones that a text names; a log may name thousands."""
    for name in more:
        if len(known) < MAX_NAMES:
            known[name] = None


def _named(runtimes: list[tuple[int, str]], line: int) -> str:
    """The runtime that a line speaks of: the last one named up to it, else the first one named at all."""
    before = [name for at, name in runtimes if at <= line]
    return before[-1] if before else runtimes[0][1] if runtimes else ""


def _with_origin(event: Event, ours: bool, named: str) -> Event:
    """A busy database says nothing of who uses it: it counts only where the text speaks of OpenClaw or of a runtime."""
    if event.kind == "busy_database" and (ours or named) and "says" not in event.data:
        told = {"ours": "yes"} if ours else {"runtime": named}
        return msgspec.structs.replace(event, data=event.data | told)
    if event.kind == "active_writer" and named == "codex" and not ours:
        return msgspec.structs.replace(event, data=event.data | {"runtime": named})
    return event
