"""The witness of a run: gathers what can be seen of the real program, has it read, and writes the records."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from lockjaw.clock import Clock
from lockjaw.files import LOCAL_FILES
from lockjaw.history import FileRecorder, Record

from ...play.aftermath import record_keys, record_transcript
from ...store import RunDirectory
from ..launch import Line
from .database import DATABASE, conversations, write_transcript
from .reading import Expected, Observation, Printed, Reading, Seen, Written
from .watch import FolderWatch, entry_of

_lines = msgspec.json.Decoder(Line)
_encoder = msgspec.json.Encoder()


class Witness:
    """Looks at one run of the real program.

    Args:
        lines: actor -> the file that its scribe writes.
        sessions: folder of the transcripts; exists.
        run: the run's folder; the engine merges the history from its events.
    """

    def __init__(
        self, lines: dict[str, Path], sessions: Path, run: RunDirectory, clock: Clock, expected: Expected
    ) -> None:
        self._pids: dict[int, str] = {}
        self._watch = FolderWatch(sessions, clock, self._actor_of)
        self._tails = {actor: _Tail(path) for actor, path in lines.items()}
        self._reading = Reading(expected)
        self._run, self._clock = run, clock
        self._written: dict[str, int] = {}

    @property
    def how(self) -> str:
        """How lock files are watched: inotify or sampling."""
        return self._watch.how

    def look(self, records: Sequence[Record]) -> None:
        """Read what is new: ``records`` of our own programs, lines, lock files, transcripts."""
        for record in records:
            if record.op == "actor.ready" and isinstance(record.data.get("pid"), int):
                self._pids[record.data["pid"]] = str(record.data.get("actor") or record.actor)
        told = ("provider.request", "actor.exit", "client.call", "lock")
        seen: list[Observation] = [Seen(record) for record in records if record.op in told]
        seen += self._watch.take()
        for actor, tail in self._tails.items():
            seen += [Printed(line.t, actor, line.text, line.out) for line in tail.read()]
        for one in sorted(seen, key=_time):
            self._write(self._reading.read(one))

    def finish(self) -> None:
        """Everybody has ended."""
        self._watch.close()
        self.look(())
        self._write(self._reading.finish())
        databases = sorted(self._run.state.glob(DATABASE))
        if databases:
            self._read_databases(databases)

    def close(self) -> None:
        self._watch.close()
        for tail in self._tails.values():
            tail.close()
        for fd in self._written.values():
            os.close(fd)
        self._written.clear()

    def _read_databases(self, databases: Sequence[Path]) -> None:
        """What the conversations hold, told as if their entries had been seen as they were written: the database
        knows when that was. Only the gateway writes to it."""
        folder = self._run.path / "transcripts"
        folder.mkdir()
        recorder = FileRecorder(self._run.events / "seen-harness.jsonl", self._clock, "harness")
        began_ms = self._clock.wall_ms() - round(self._clock.monotonic() * 1000)
        try:
            for found in (one for database in databases for one in conversations(database)):
                path = write_transcript(found, folder)
                for event in found.events:
                    entry = entry_of(event.line)
                    if entry is not None:
                        t = (event.wall_ms - began_ms) / 1000
                        self._write(self._reading.read(Written(t, str(path), entry)))
                record_transcript(path, recorder, files=LOCAL_FILES)
                if found.key:
                    record_keys({found.key: {"sessionId": found.session_id}}, recorder)
        finally:
            recorder.close()

    def _write(self, records: Iterable[Record]) -> None:
        for record in records:
            fd = self._written.get(record.actor)
            if fd is None:
                path = self._run.events / f"seen-{record.actor}.jsonl"
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
                self._written[record.actor] = fd
            os.write(fd, _encoder.encode(record) + b"\n")

    def _actor_of(self, pid: int) -> str:
        """The actor whose process that is: actors lead their process groups, whoever they start is in them."""
        if pid in self._pids:
            return self._pids[pid]
        try:
            return self._pids.get(os.getpgid(pid), "")
        except ProcessLookupError:
            return ""


def _time(seen: Observation) -> float:
    return seen.record.t if isinstance(seen, Seen) else seen.t


class _Tail:
    """A file of lines that somebody else writes; it may not be there yet."""

    def __init__(self, path: Path) -> None:
        self._path, self._fd, self._rest = path, -1, b""

    def read(self) -> list[Line]:
        if self._fd < 0:
            try:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return []
        found = []
        while data := os.read(self._fd, 1 << 16):
            *whole, self._rest = (self._rest + data).split(b"\n")
            found += [_lines.decode(line) for line in whole]
        return found

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
