"""Sessions out of whichever store keeps them, as the files that OpenClaw reads: ``sessions.json``, a ``.jsonl`` each.

Theory of operation
    *Each read is one snapshot and short.* The list of an agent is read first, then its transcripts, each in one go: no
    transcript is older than the list that leads to it. A database is read in one transaction, which waits for no
    writer and keeps none waiting; a file is read to its end. A line that its writer has not finished is left out.

    *Complete or not there.* Everything is written under a hidden name beside the target, flushed, and put in place by
    one rename (a folder) or one link (a file), which never replace what came in between. What a killed export leaves
    is its hidden name.

    *Lines stay as they are*, damaged ones between sound ones included. Only a header is put before entries that have
    none, because OpenClaw would take such a file for empty and write over it.

An export is the user's own copy: nothing in it is redacted.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from lockjaw.clock import Clock
from lockjaw.errors import InvalidSessionId, LocalError, UsageError
from lockjaw.files import LOCAL_FILES
from lockjaw.folders import make_private_folder
from lockjaw.sessions import disk
from lockjaw.sessions.entries import encode, encode_indented, header_of
from lockjaw.sessions.paths import (
    JSONL,
    SQLITE,
    SessionPaths,
    normalize_agent_id,
    transcript_of_entry,
    validate_session_id,
)
from lockjaw.sessions.repair import survey_stream
from lockjaw.sessions.row_store import RowStore
from lockjaw.sessions.rows import stream_of
from lockjaw.sessions.store import SessionStore

__all__ = ["Copied", "Source", "export_file", "export_folder", "only", "sources", "transcript_bytes"]

KINDS = {"jsonl": JSONL, "sqlite": SQLITE}  # what a configuration calls them, and what their files are called
_NO_TRANSCRIPTS = (".trajectory.jsonl",)  # OpenClaw's traces, which lie beside its transcripts


class Source(msgspec.Struct, frozen=True):
    """The sessions of one agent, as its list has them.

    Attributes:
        listed: session key -> entry, in the order of the list.
        transcripts: name of the exported file, without its suffix -> where the transcript is kept.
    """

    agent: str
    listed: dict[str, dict[str, Any]]
    transcripts: dict[str, Path]
    folder: Path
    kind: str


class Copied(msgspec.Struct, frozen=True):
    """One transcript of an export. ``file``: relative to the export; ``lines``: header included; ``problems``: what was
    left out or put right, one sentence each."""

    agent: str
    session_id: str
    file: str
    lines: int
    problems: list[str]


def sources(state_dir: Path, *, clock: Clock, agent: str | None = None, kept_in: str | None = None) -> list[Source]:
    """The agents of a state folder that have sessions, by name.

    Args:
        agent: this one alone.
        kept_in: ``jsonl`` or ``sqlite``; None: in whichever an agent has.

    Raises:
        UsageError: there are none, or an agent has a list in both.
        StoreMalformed, DatabaseBusy, DatabaseMalformed, OSError: a list cannot be read.
    """
    try:
        names = sorted(found.name for found in (state_dir / "agents").iterdir() if (found / "sessions").is_dir())
    except (FileNotFoundError, NotADirectoryError):
        names = []
    wanted = [name for name in names if agent is None or name == normalize_agent_id(agent)]
    found = [source for name in wanted if (source := _source(state_dir, name, kept_in, clock)) is not None]
    if not found:
        expected = "a state folder in which " + (f"agent {agent!r} has" if agent else "some agent has") + " sessions"
        raise UsageError(str(state_dir), "", expected + (f" kept in {kept_in}" if kept_in else ""))
    return found


def only(found: Sequence[Source], wanted: str) -> Source:
    """The one session that is meant, by its id or by a key that leads to it.

    Raises:
        UsageError: no agent has it, or several have.
    """
    matches = [source for source in (_narrowed(one, wanted) for one in found) if source is not None]
    if not matches:
        known = [name for one in found for name in (*one.listed, *one.transcripts)]
        shown = ", ".join(known[:8]) + (f" and {len(known) - 8} more" if len(known) > 8 else "")
        raise UsageError("SESSION", "", f"one of {shown}", wanted)
    if len(matches) > 1:
        agents = ", ".join(one.agent for one in matches)
        raise UsageError("SESSION", "", f"--agent beside it: {agents} each have one", wanted)
    return matches[0]


def export_folder(found: Sequence[Source], target: Path, *, clock: Clock) -> list[Copied]:
    """Write a state folder of files: ``agents/<agent>/sessions/`` with ``sessions.json`` and the transcripts.

    Raises:
        UsageError: ``target`` exists, or its parent does not.
        DatabaseBusy, DatabaseMalformed, DiskFull, OSError: nothing is left of the export.
    """
    _check(target)
    fresh = _hidden(target)
    done = False
    try:
        copied = [one for source in found for one in _copy_agent(source, fresh, clock)]
        _flush(fresh)
        with _replacing_nothing(target):
            os.rename(fresh, target)  # fails on a file, and on a folder that has something in it
        done = True
    finally:
        if not done:
            shutil.rmtree(fresh, ignore_errors=True)
    LOCAL_FILES.flush_folder(target.absolute().parent)
    return copied


def export_file(source: Source, target: Path, *, clock: Clock) -> Copied:
    """Write the transcript of a source that has one (``only``). Raises as ``export_folder``."""
    _check(target)
    fresh = _hidden(target)
    data, copied = transcript_bytes(source, clock=clock)
    try:
        disk.write_new(LOCAL_FILES, fresh, [data])
        with _replacing_nothing(target):
            os.link(fresh, target)  # unlike a rename it never replaces what came in between
    finally:
        fresh.unlink(missing_ok=True)
    LOCAL_FILES.flush_folder(target.absolute().parent)
    return msgspec.structs.replace(copied, file=target.name)


def transcript_bytes(source: Source, *, clock: Clock) -> tuple[bytes, Copied]:
    """The transcript of a source that has one (``only``), as its file.

    Raises:
        UsageError: the session is listed and nothing was ever said in it.
    """
    found = [_copy(source.agent, name, path, clock) for name, path in source.transcripts.items()]
    if len(found) == 1 and found[0] is not None:
        return found[0]
    raise UsageError("SESSION", "", "a session in which something was said", ", ".join(source.listed))


# --------------------------------------------------------------------------- what there is


def _source(state_dir: Path, agent: str, kept_in: str | None, clock: Clock) -> Source | None:
    lists = {kind: SessionPaths(state_dir, suffix).store(agent) for kind, suffix in KINDS.items()}
    there = [kind for kind, path in lists.items() if path.exists() and kept_in in (None, kind)]
    if len(there) > 1:
        both = " and ".join(path.name for path in lists.values())
        raise UsageError(str(lists["jsonl"].parent), "", f"--sessions jsonl or --sessions sqlite: it has {both}")
    folder = lists["jsonl"].parent
    listed = _listed(lists[there[0]], there[0], clock) if there else {}
    kinds = [KINDS[kind] for kind in (there or [kept_in] if kept_in else there or KINDS)]
    transcripts: dict[str, Path] = {}
    for path in (*_files_of(listed, folder, kinds[0]), *_files_in(folder, kinds)):
        if transcripts.setdefault(path.stem, path).resolve() != path.resolve():
            raise UsageError(
                str(folder), "", f"--sessions jsonl or --sessions sqlite: session {path.stem} is kept in both"
            )
    return Source(agent, listed, transcripts, folder, kinds[0]) if listed or transcripts else None


def _listed(path: Path, kind: str, clock: Clock) -> dict[str, dict[str, Any]]:
    if kind == "sqlite":
        return RowStore(path, clock=clock, wait_s=0.0).read()
    return SessionStore(path, clock=clock, lock=_unused).read()


def _unused(path: Path) -> Any:
    raise AssertionError(f"{path} is only read")


def _files_of(listed: Mapping[str, Mapping[str, Any]], folder: Path, kind: str) -> Iterator[Path]:
    for entry in listed.values():
        with suppress(InvalidSessionId):  # an entry that leads to no session, such as one of a channel
            path = transcript_of_entry(entry, folder, kind=kind)
            if path.is_file():
                yield path


def _files_in(folder: Path, kinds: Sequence[str]) -> Iterator[Path]:
    """Those that no key leads to (any more) included. A pipe or a device is none, and is not opened."""
    lists = {SessionPaths(folder, kind).store("main").name for kind in kinds}
    for path in sorted(folder.iterdir()):
        named_so = path.suffix in kinds and path.name not in lists and not path.name.endswith(_NO_TRANSCRIPTS)
        if named_so and path.is_file():
            with suppress(InvalidSessionId):
                validate_session_id(path.stem)
                yield path


def _narrowed(source: Source, wanted: str) -> Source | None:
    """What of an agent belongs to this one session."""

    def file_of(entry: Mapping[str, Any]) -> str:
        with suppress(InvalidSessionId):
            return transcript_of_entry(entry, source.folder, kind=source.kind).stem
        return ""

    if wanted in source.listed:
        session, name = source.listed[wanted].get("sessionId"), file_of(source.listed[wanted])
    else:
        entry = next((entry for entry in source.listed.values() if entry.get("sessionId") == wanted), {})
        session, name = wanted, file_of(entry) or wanted
    listed = {key: entry for key, entry in source.listed.items() if session and entry.get("sessionId") == session}
    transcripts = {name: source.transcripts[name]} if name in source.transcripts else {}
    if not listed and not transcripts:
        return None
    return msgspec.structs.replace(source, listed=listed, transcripts=transcripts)


# --------------------------------------------------------------------------- what is written


def _copy_agent(source: Source, root: Path, clock: Clock) -> Iterator[Copied]:
    folder = SessionPaths(root).sessions_dir(source.agent)
    make_private_folder(str(folder))
    for name, path in source.transcripts.items():
        copy = _copy(source.agent, name, path, clock)
        if copy is not None:
            disk.write_new(LOCAL_FILES, folder / f"{name}{JSONL}", [copy[0]])
            yield msgspec.structs.replace(copy[1], file=str((folder / f"{name}{JSONL}").relative_to(root)))
    # The name alone, which counts from the folder of the list: it is right wherever the export is moved to.
    listed = {key: _relocated(entry, source) for key, entry in source.listed.items()}
    disk.write_new(LOCAL_FILES, folder / "sessions.json", [encode_indented(listed), b"\n"])


def _relocated(entry: dict[str, Any], source: Source) -> dict[str, Any]:
    if "sessionFile" not in entry:
        return entry
    try:
        path = transcript_of_entry(entry, source.folder, kind=source.kind)
    except InvalidSessionId:
        return entry
    return {**entry, "sessionFile": f"{path.stem}{JSONL}"}


def _copy(agent: str, name: str, path: Path, clock: Clock) -> tuple[bytes, Copied] | None:
    """The bytes of an exported transcript; None: it was removed meanwhile."""
    try:
        with stream_of(LOCAL_FILES, path) as stream:
            data = stream.read()
    except FileNotFoundError:
        return None
    found = survey_stream(io.BytesIO(data))
    sound = data[: found.sound_end] + (b"" if found.terminated else b"\n")
    problems = list(found.problems)
    if found.headless:
        sound = encode(header_of(name, clock.wall_ms(), "")) + sound
        problems.append("no header: one was put before the entries")
    return sound, Copied(agent, name, "", sound.count(b"\n"), problems)


def _check(target: Path) -> None:
    if os.path.lexists(target) or not target.absolute().parent.is_dir():
        raise UsageError(str(target), "", "a new name in a folder that exists; an export replaces nothing")


def _hidden(target: Path) -> Path:
    return target.absolute().with_name(f".{target.name}-{os.getpid()}")


@contextmanager
def _replacing_nothing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if os.path.lexists(target):
            raise LocalError(f"{target}: it was made meanwhile; an export replaces nothing") from error
        raise


def _flush(root: Path) -> None:
    """The files are flushed; their names are with their folders."""
    for folder, _, _ in os.walk(root, topdown=False):
        LOCAL_FILES.flush_folder(Path(folder))
