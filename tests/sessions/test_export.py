"""An export: the same sessions as files, complete or not there, whoever writes to the store meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
import stat
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any

import pytest

from lockjaw import cli
from lockjaw.clock import ScaledClock
from lockjaw.databases import DatabaseBusy
from lockjaw.errors import LocalError, UsageError
from lockjaw.files import LOCAL_FILES
from lockjaw.harness.targets.openclaw.reading import Expected, LockFile, Reading, Written
from lockjaw.harness.targets.openclaw.watch import FolderWatch
from lockjaw.sessions import RowStore, SessionPaths, SessionStore, Transcript, disk, read_entries
from lockjaw.sessions.export import Source, export_file, export_folder, only, sources, transcript_bytes
from lockjaw.sessions.rows import write_rows

OpenTranscript = Callable[..., Transcript]
CLOCK = ScaledClock.start()
KEY = "agent:main:main"


def lock(path: Path) -> AbstractContextManager[None]:
    return nullcontext()


class Unlocked:
    async def __aenter__(self) -> None: ...
    async def __aexit__(self, *_: object) -> None: ...


def store_of(paths: SessionPaths) -> SessionStore:
    path = paths.store("main")
    if paths.kind == ".sqlite":
        return RowStore(path, clock=CLOCK, wait_s=1.0, ids=random.Random(1))
    return SessionStore(path, clock=CLOCK, lock=lambda _: Unlocked(), ids=random.Random(1))


@pytest.fixture(params=["jsonl", "sqlite"])
def kept_in(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def state(tmp_path: Path, kept_in: str, open_transcript: OpenTranscript, say: Any) -> Path:
    """A state folder with a session that its key leads to, and an older one that no key leads to any more."""
    return make_state(tmp_path / "state", f".{kept_in}", open_transcript, say)


def make_state(root: Path, kind: str, open_transcript: OpenTranscript, say: Any) -> Path:
    paths = SessionPaths(root, kind)
    folder = paths.sessions_dir("main")
    store = store_of(paths)
    for session in ("older", "now"):
        entry = asyncio.run(store.ensure(KEY, session_id=session, sessions_dir=folder))
        transcript = open_transcript(Path(entry["sessionFile"]), run_id=f"run of {session}", generation=1)
        transcript.append_message(say.user(f"hello from {session} ❄ \ud83d"))
        transcript.append_message(say.assistant("hi", calls=("c1",)))
        transcript.append_message(say.result("c1"))
    asyncio.run(
        store.update("agent:main:other", lambda entry: entry.update(channel="telegram", skills=[1, {"a": None}]))
    )
    return root


@pytest.fixture
def lockjaw(monkeypatch: pytest.MonkeyPatch, capfdbinary: Any, tmp_path: Path) -> Callable[..., tuple[int, bytes, str]]:
    """The command line in this process: status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, bytes, str]:
        monkeypatch.setattr(sys, "argv", ["lockjaw", "sessions", "export", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capfdbinary.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err.decode()

    return run


# ------------------------------------------------------------------ what it holds


def test_export_read_back_by_the_store_of_files_is_equal(state: Path, kept_in: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_folder(sources(state, clock=CLOCK), out, clock=CLOCK)

    paths, exported = SessionPaths(state, f".{kept_in}"), SessionPaths(out)
    before, after = store_of(paths).read(), store_of(exported).read()
    assert list(before) == list(after) == [KEY, "agent:main:other"]
    assert after == {**before, KEY: {**before[KEY], "sessionFile": "now.jsonl"}}
    for session in ("older", "now"):
        original, copy = (
            read_entries(paths.transcript("main", session)),
            read_entries(exported.transcript("main", session)),
        )
        assert (copy.header, copy.entries, copy.problems) == (original.header, original.entries, [])
        assert len(copy.entries) == 3
    reopened = asyncio.run(store_of(exported).ensure(KEY, session_id=None, sessions_dir=exported.sessions_dir("main")))
    assert reopened["sessionId"] == "now"
    assert Path(reopened["sessionFile"]) == exported.transcript("main", "now")


def test_both_stores_export_the_same_bytes(tmp_path: Path, open_transcript: OpenTranscript, say: Any) -> None:
    found = [make_state(tmp_path / kind, f".{kind}", open_transcript, say) for kind in ("jsonl", "sqlite")]
    one, other = (transcript_bytes(only(sources(state, clock=CLOCK), KEY), clock=CLOCK)[0] for state in found)
    assert one == other
    assert one == (tmp_path / "jsonl/agents/main/sessions/now.jsonl").read_bytes()


def test_reader_of_an_openclaw_target_reads_an_export(state: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_folder(sources(state, clock=CLOCK), out, clock=CLOCK)

    watch = FolderWatch(SessionPaths(out).sessions_dir("main"), CLOCK, lambda _: "", sample=True)
    watch.close()
    reading = Reading(Expected("takeover", "hello", 10.0))
    seen = watch.take()
    records = [record for one in seen for record in reading.read(one)]

    assert [one.entry["type"] for one in seen if isinstance(one, Written)] == (["session"] + 3 * ["message"]) * 2
    assert not any(isinstance(one, LockFile) for one in seen)
    assert [record.data["role"] for record in records if record.op == "append" and record.data.get("role")] == (
        ["user", "assistant", "toolResult"] * 2
    )


def test_export_of_one_session_has_its_entries_alone(state: Path, tmp_path: Path) -> None:
    found = sources(state, clock=CLOCK)
    export_folder([only(found, "now")], tmp_path / "out", clock=CLOCK)
    folder = SessionPaths(tmp_path / "out").sessions_dir("main")
    assert sorted(path.name for path in folder.iterdir()) == ["now.jsonl", "sessions.json"]
    assert list(json.loads((folder / "sessions.json").read_bytes())) == [KEY]
    assert only(found, KEY).transcripts == only(found, "now").transcripts
    assert only(found, "older").listed == {}
    with pytest.raises(UsageError, match="one of agent:main:main, agent:main:other, now, older"):
        only(found, "never")
    with pytest.raises(UsageError, match="a session in which something was said"):
        transcript_bytes(Source("main", {"agent:main:x": {"sessionId": "x"}}, {}, state, ".jsonl"), clock=CLOCK)


def test_line_that_its_writer_has_not_finished_is_left_out_and_said(tmp_path: Path, say: Any) -> None:
    folder = SessionPaths(tmp_path).sessions_dir("main")
    folder.mkdir(parents=True)
    entry = b'{"type":"message","id":"a","parentId":null,"message":{"role":"user","content":"x"}}\n'
    (folder / "headless.jsonl").write_bytes(b"not JSON\n" + entry + b'{"type":"mess')
    (folder / "now.trajectory.jsonl").write_bytes(b"{}\n")
    os.mkfifo(folder / "pipe.jsonl")

    data, copied = transcript_bytes(only(sources(tmp_path, clock=CLOCK), "headless"), clock=CLOCK)

    header, damaged, line, end = data.split(b"\n")
    assert (json.loads(header)["id"], damaged, line + b"\n", end) == ("headless", b"not JSON", entry, b"")
    assert copied.problems == [
        "line 1: not JSON", "torn line 3: not JSON", "no header: one was put before the entries",
    ]  # fmt: skip
    assert list(sources(tmp_path, clock=CLOCK)[0].transcripts) == ["headless"]


def test_two_stores_of_one_agent_are_told_apart(tmp_path: Path, open_transcript: OpenTranscript, say: Any) -> None:
    for kind in (".jsonl", ".sqlite"):
        make_state(tmp_path, kind, open_transcript, say)
    with pytest.raises(UsageError, match="--sessions jsonl or --sessions sqlite: it has sessions"):
        sources(tmp_path, clock=CLOCK)
    for kind in ("jsonl", "sqlite"):
        (one,) = sources(tmp_path, clock=CLOCK, kept_in=kind)
        assert {path.suffix for path in one.transcripts.values()} == {f".{kind}"}
    (tmp_path / "agents/main/sessions/sessions.sqlite").unlink()
    (tmp_path / "agents/main/sessions/sessions.json").unlink()
    with pytest.raises(UsageError, match="session now is kept in both"):
        sources(tmp_path, clock=CLOCK)
    with pytest.raises(UsageError, match="a state folder in which agent 'work' has sessions"):
        sources(tmp_path, clock=CLOCK, agent="work")


# ------------------------------------------------------------------ the live store


def test_export_reads_what_is_committed_while_another_process_writes(
    tmp_path: Path, open_transcript: OpenTranscript, say: Any
) -> None:
    state = make_state(tmp_path / "state", ".sqlite", open_transcript, say)
    with closing(sqlite3.connect(state / "agents/main/sessions/now.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM transcript_events")
        _, copied = transcript_bytes(only(sources(state, clock=CLOCK), "now"), clock=CLOCK)
        other.execute("COMMIT")  # and the export has left nothing that keeps it waiting
    assert copied.lines == 4


def test_database_that_a_process_keeps_to_itself_is_named_with_its_owner(
    tmp_path: Path, open_transcript: OpenTranscript, say: Any, lockjaw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lockjaw.databases.RECOVERY_REAL_S", 0.05)
    state = make_state(tmp_path / "state", ".sqlite", open_transcript, say)
    file = state / "agents/main/sessions/now.sqlite"
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        other.execute("COMMIT")
        with pytest.raises(DatabaseBusy):
            export_folder(sources(state, clock=CLOCK), tmp_path / "out", clock=CLOCK)
        status, out, err = lockjaw("--state-dir", str(state), "-o", str(tmp_path / "out"))
    assert (status, out) == (1, b"")
    assert f"{file} is kept by pid {os.getpid()} (" in err
    assert "nothing was written. Let it finish or stop it, then export again" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state"]


# ------------------------------------------------------------------ complete or not there


@pytest.mark.parametrize("ends", ["interrupted", "disk full", "killed"])
def test_export_that_does_not_end_leaves_nothing_under_its_name(
    ends: str, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, write_new = sources(state, clock=CLOCK), disk.write_new

    def stops(files: Any, path: Path, chunks: Any) -> None:
        if path.name == "sessions.json":
            if ends == "killed":
                os._exit(9)
            raise KeyboardInterrupt if ends == "interrupted" else disk.DiskFull(path, 7)
        write_new(files, path, chunks)

    monkeypatch.setattr(disk, "write_new", stops)
    out = tmp_path / "out"
    if ends == "killed":
        if (child := os.fork()) == 0:
            export_folder(found, out, clock=CLOCK)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        assert [path.name for path in tmp_path.iterdir() if path != state] == [f".out-{child}"]
    else:
        with pytest.raises((KeyboardInterrupt, disk.DiskFull)):
            export_folder(found, out, clock=CLOCK)
        assert list(tmp_path.iterdir()) == [state]
    monkeypatch.undo()
    assert len(export_folder(found, out, clock=CLOCK)) == 2


def test_export_replaces_nothing(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = sources(state, clock=CLOCK)
    link = tmp_path / "link"
    link.symlink_to("nowhere")
    for there in (link, state, state / "agents" / "no" / "out"):
        with pytest.raises(UsageError, match="a new name in a folder that exists"):
            export_folder(found, there, clock=CLOCK)
    # One that comes while the export is written:
    monkeypatch.setattr("lockjaw.sessions.export._check", lambda target: None)
    mine = tmp_path / "mine.jsonl"
    mine.write_text("mine")
    with pytest.raises(LocalError, match="made meanwhile"):
        export_file(only(found, "now"), mine, clock=CLOCK)
    with pytest.raises(LocalError, match="made meanwhile"):
        export_folder(found, mine, clock=CLOCK)
    with pytest.raises(LocalError, match="made meanwhile"):
        export_folder(found, state, clock=CLOCK)
    assert mine.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "mine.jsonl", "state"]


def test_export_is_for_its_user_alone(state: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        export_folder(sources(state, clock=CLOCK), tmp_path / "out", clock=CLOCK)
        export_file(only(sources(state, clock=CLOCK), "now"), tmp_path / "one.jsonl", clock=CLOCK)
    finally:
        os.umask(before)
    written = [tmp_path / "out", tmp_path / "one.jsonl", *(tmp_path / "out").rglob("*")]
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in written}
    assert modes == {(True, 0o700), (False, 0o600)}


# ------------------------------------------------------------------ the verb


def test_verb_writes_a_folder_a_file_and_stdout(state: Path, tmp_path: Path, lockjaw: Any) -> None:
    where = ("--state-dir", str(state))
    status, out, err = lockjaw(*where, "-o", "all", "--json")
    document = json.loads(out)
    assert (status, err, document["command"], document["out"]) == (0, "", "sessions export", "all")
    assert [(one["session_id"], one["lines"], one["problems"]) for one in document["sessions"]] == [
        ("now", 4, []), ("older", 4, []),
    ]  # fmt: skip
    assert all((tmp_path / "all" / one["file"]).is_file() for one in document["sessions"])

    status, out, _ = lockjaw("now", *where, "-o", "one.jsonl")
    assert (status, out) == (0, b"one.jsonl: 1 session, 4 lines; nothing is redacted\n")
    status, out, _ = lockjaw(KEY, *where)
    assert (status, out) == (0, (tmp_path / "one.jsonl").read_bytes())
    again = lockjaw("now", *where, "-o", "one.jsonl")
    assert (again[0], "an export replaces nothing" in again[2]) == (2, True)


@pytest.mark.parametrize("arguments", [(), ("now", "--json"), ("-o", "x", "--sessions", "csv"), ("-o", "x")])
def test_verb_refuses_what_it_cannot_do(arguments: tuple[str, ...], tmp_path: Path, lockjaw: Any) -> None:
    status, out, err = lockjaw(*arguments, "--state-dir", str(tmp_path / "nowhere"))
    assert (status, out) == (2, b"")
    assert "expected" in err
    assert list(tmp_path.iterdir()) == []


def test_large_session_of_rows_is_exported_whole(tmp_path: Path) -> None:
    folder = SessionPaths(tmp_path).sessions_dir("main")
    folder.mkdir(parents=True)
    lines = [
        b'{"type":"session","version":3,"id":"s"}\n',
        *(b'{"type":"custom","id":"%08x"}\n' % n for n in range(3000)),
    ]
    write_rows(LOCAL_FILES, folder / "s.sqlite", lines, CLOCK)
    assert transcript_bytes(only(sources(tmp_path, clock=CLOCK), "s"), clock=CLOCK)[0] == b"".join(lines)
