"""What is special about sessions in SQLite: the claim, who waits for whom, and what a killed writer leaves."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import resource
import sqlite3
import stat
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.databases import DatabaseBusy, DatabaseMalformed, LocalDatabases, Transaction, _translated
from lockjaw.errors import Fenced, SessionLocked, StoreLocked
from lockjaw.files import LOCAL_FILES, LocalFiles
from lockjaw.history import MemoryRecorder
from lockjaw.sessions import Claim, RowStore, StoreMalformed, Transcript, claim_of, read_entries

OpenTranscript = Callable[..., Transcript]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "s.sqlite"


@contextmanager
def held(file: Path) -> Iterator[None]:
    """Another program writes to the database meanwhile."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


# ------------------------------------------------------------------ the claim


def test_claim_names_the_run_that_writes(file: Path, open_transcript: OpenTranscript, clock: Any) -> None:
    assert claim_of(LOCAL_FILES, file) is None
    transcript = open_transcript(file, generation=3, run_id="run", clock=clock)
    assert not file.exists()  # the first write makes it
    transcript.append_custom("x", {})
    assert claim_of(LOCAL_FILES, file) == Claim(3, os.getpid(), None, "run", clock.wall_ms())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_database_refuses_an_older_generation_in_the_transaction(
    file: Path, open_transcript: OpenTranscript, recorder: MemoryRecorder
) -> None:
    old = open_transcript(file, generation=1, run_id="old", recorder=recorder)
    old.append_custom("x", {})
    new = open_transcript(file, generation=2, run_id="new", ids=random.Random(8))
    new.append_custom("x", {})
    with pytest.raises(Fenced) as refused:
        old.append_custom("x", {})
    assert (refused.value.generation, refused.value.current) == (1, 2)
    assert len(old.entries) == 1
    assert [entry.id for entry in read_entries(file).entries] == [entry.id for entry in new.entries]
    assert [(r.op, r.phase) for r in recorder.records] == [
        ("claim", "ok"), ("append", "ok"), ("append.refused", "fail"),
    ]  # fmt: skip


def test_claim_of_a_dead_run_is_taken_by_the_next_generation(file: Path, open_transcript: OpenTranscript) -> None:
    open_transcript(file, generation=1, run_id="died").append_custom("x", {})
    open_transcript(file, generation=2, run_id="next", ids=random.Random(8)).append_custom("x", {})
    claim = claim_of(LOCAL_FILES, file)
    assert claim is not None
    assert (claim.generation, claim.run_id) == (2, "next")


def test_owner_that_is_overruled_before_its_commit_has_written_nothing(
    file: Path, open_transcript: OpenTranscript
) -> None:
    overruled: list[bool] = []

    @contextmanager
    def section() -> Iterator[Callable[[], None]]:
        def check() -> None:
            if overruled:
                raise Fenced(str(file), 1, 2)

        yield check

    transcript = open_transcript(file, generation=1, section=section)
    transcript.append_custom("x", {})
    overruled.append(True)
    with pytest.raises(Fenced):
        transcript.append_custom("x", {})
    assert len(read_entries(file).entries) == len(transcript.entries) == 1


def test_owner_overruled_in_its_transaction_commits_where_nobody_looks(
    file: Path, open_transcript: OpenTranscript, recorder: MemoryRecorder
) -> None:
    """It stands still right before its commit. Its successor makes the database anew, and goes on at once."""
    overruled: list[bool] = []

    @contextmanager
    def section() -> Iterator[Callable[[], None]]:
        def check() -> None:
            if overruled:
                raise Fenced(str(file), 1, 2)

        yield check

    class StandsStill(LocalDatabases):
        def commit(self, path: str, connection: sqlite3.Connection) -> None:
            if len(successors) == 0 and len(old.entries) == 1:
                file.with_name("s.sqlite.overruled").touch()
                new = open_transcript(file, generation=2, run_id="new", ids=random.Random(8), wait_s=0.0)
                successors.append(new)
                assert claim_of(LOCAL_FILES, file) is None  # a new database, and not read through the old one's WAL
                new.append_custom("new", {})
                overruled.append(True)
            super().commit(path, connection)

    successors: list[Transcript] = []
    files = LocalFiles()
    files.databases = StandsStill()
    old = open_transcript(file, generation=1, run_id="old", section=section, files=files, recorder=recorder)
    old.append_custom("first", {})
    with pytest.raises(Fenced):
        old.append_custom("late", {})
    (new,) = successors
    new.append_custom("newer", {})
    report = read_entries(file)
    assert [entry.raw["customType"] for entry in report.entries] == ["first", "new", "newer"]
    assert report.problems == []
    assert [record.op for record in recorder.records] == ["claim", "append", "append.refused"]
    assert sorted(os.listdir(file.parent)) == ["s.sqlite"]


# ------------------------------------------------------------------ who waits for whom


def test_held_database_is_reported_after_the_wait_and_nothing_is_written(
    file: Path, open_transcript: OpenTranscript, clock: Any
) -> None:
    transcript = open_transcript(file, clock=clock, wait_s=5.0)
    transcript.append_custom("x", {})
    with held(file), pytest.raises(DatabaseBusy, match=r"database is locked: another process writes") as busy:
        transcript.append_custom("x", {})
    assert isinstance(busy.value, SessionLocked)
    assert (busy.value.timeout_s, busy.value.waited_s) == (5.0, 5.0)
    assert len(transcript.entries) == 1
    transcript.append_custom("x", {})
    assert len(read_entries(file).entries) == 2


@pytest.mark.real
async def test_held_database_delays_its_own_session_and_no_other(
    tmp_path: Path, open_transcript: OpenTranscript
) -> None:
    clock = ScaledClock.start()
    names = [f"{n}.sqlite" for n in range(40)]  # more than an event loop's own pool has threads
    transcripts = [open_transcript(tmp_path / name, clock=clock, ids=random.Random(name)) for name in names]
    for transcript in transcripts:
        transcript.append_custom("x", {})
    *waiting, free = transcripts
    threads: set[int] = set()

    def append(transcript: Transcript) -> str:
        threads.add(threading.get_ident())
        return transcript.append_custom("x", {})

    holders = [sqlite3.connect(transcript.path, isolation_level=None) for transcript in waiting]
    try:
        for holder in holders:
            holder.execute("BEGIN IMMEDIATE")
        tasks = [asyncio.ensure_future(one.aside(lambda one=one: append(one))) for one in waiting]
        while len(threads) < len(waiting):
            await asyncio.sleep(0.001)
        await asyncio.wait_for(free.aside(lambda: append(free)), 20)
        assert not any(task.done() for task in tasks)
    finally:
        for holder in holders:
            holder.close()
    await asyncio.wait_for(asyncio.gather(*tasks), 20)
    assert threading.get_ident() not in threads
    assert all(len(read_entries(one.path).entries) == 2 for one in transcripts)


@pytest.mark.real
async def test_sixty_four_sessions_write_at_once(tmp_path: Path, open_transcript: OpenTranscript) -> None:
    async def talk(n: int) -> Transcript:
        path, clock = tmp_path / f"{n}.sqlite", ScaledClock.start()
        how = {"session_id": str(n), "cwd": tmp_path, "ids": random.Random(n), "generation": 1, "run_id": str(n)}
        transcript = await Transcript.opened(path, clock=clock, **how)
        for turn in range(3):
            await transcript.aside(lambda turn=turn: transcript.append_custom("x", {"turn": turn}))
        return transcript

    for transcript in await asyncio.gather(*(talk(n) for n in range(64))):
        report = read_entries(transcript.path)
        assert (report.problems, report.lines) == ([], 4)  # one header
        assert [entry.raw["data"]["turn"] for entry in report.entries] == [0, 1, 2]


@pytest.mark.real
async def test_append_whose_caller_is_cancelled_has_ended_when_the_caller_goes_on(
    file: Path, open_transcript: OpenTranscript
) -> None:
    transcript = open_transcript(file, clock=ScaledClock.start())
    begun = threading.Event()

    def append() -> str:
        begun.set()
        return transcript.append_custom("x", {})

    transcript.append_custom("x", {})
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        task = asyncio.ensure_future(transcript.aside(append))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.sleep(0.02)
        assert not task.done()
        other.execute("ROLLBACK")
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(transcript.entries) == len(read_entries(file).entries) == 2


async def test_held_store_is_busy_in_the_words_of_its_version(tmp_path: Path, clock: Any) -> None:
    path = tmp_path / "sessions.sqlite"
    ours = RowStore(path, clock=clock, wait_s=2.0)
    await ours.update("k", lambda entry: entry.update(x=1))
    theirs = RowStore(path, clock=clock, wait_s=2.0, busy_text="database is locked")
    with held(path):
        with pytest.raises(DatabaseBusy, match="another process writes to"):
            await ours.update("k", lambda entry: entry.update(x=2))
        with pytest.raises(StoreLocked, match=r"^database is locked$"):
            await theirs.update("k", lambda entry: entry.update(x=2))
        assert ours.read()["k"]["x"] == 1  # a reader waits for nobody
    await ours.update("k", lambda entry: entry.update(x=2))
    assert list(ours.read()) == ["k"]


@pytest.mark.parametrize(("queued_s", "waited_s"), [(0.0, 2.0), (1.5, 2.0), (2.0, 2.0), (5.0, 5.0)])
async def test_held_store_tells_the_whole_wait_also_what_the_update_waited_for_its_turn(
    queued_s: float, waited_s: float, tmp_path: Path, clock: Any
) -> None:
    """Its turn comes late where this process stands still, or waits for the database before it begins."""

    class LateTurn(LocalDatabases):
        async def aside(self, path: Any, work: Any, **how: Any) -> Any:
            clock.now_s += queued_s
            return work()

    path, files = tmp_path / "sessions.sqlite", LocalFiles()
    store = RowStore(path, clock=clock, wait_s=2.0, files=files)
    await store.update("k", lambda entry: entry.update(x=1))
    files.databases = LateTurn()
    began_s = clock.now_s
    with held(path), pytest.raises(DatabaseBusy, match=rf"\(waited {waited_s:.1f} of 2 s\)") as busy:
        await store.update("k", lambda entry: entry.update(x=2))
    assert (busy.value.timeout_s, busy.value.waited_s, clock.now_s - began_s) == (2.0, waited_s, waited_s)


async def test_locked_store_is_read_if_the_caller_can_do_with_that(tmp_path: Path, clock: Any) -> None:
    path = tmp_path / "sessions.sqlite"
    store = RowStore(path, clock=clock, wait_s=2.0, reads_when_locked=True)
    entry = await store.ensure("k", session_id=None, sessions_dir=tmp_path)
    with held(path):
        assert await store.ensure("k", session_id=None, sessions_dir=tmp_path) == entry
        with pytest.raises(DatabaseBusy):
            await store.ensure("k", session_id="another", sessions_dir=tmp_path)


async def test_two_stores_lose_no_update(tmp_path: Path, clock: Any) -> None:
    def add(entry: dict[str, Any]) -> None:
        entry["n"] = entry.get("n", 0) + 1

    stores = [RowStore(tmp_path / "sessions.sqlite", clock=ScaledClock.start(), wait_s=60.0) for _ in range(2)]
    await asyncio.gather(*(store.update("k", add) for store in stores for _ in range(10)))
    assert stores[0].read()["k"]["n"] == 20


@pytest.mark.real
@pytest.mark.parametrize("times", [4, pytest.param(60, marks=pytest.mark.nightly)])
def test_sixty_four_sessions_of_two_processes_lose_no_update_of_the_shared_list(times: int, tmp_path: Path) -> None:
    """Each process opens and closes the database in many threads, and so in the middle of its other transactions."""
    path = tmp_path / "sessions.sqlite"
    count_up(path, "a", "b", times=times, sessions=32)
    counts = {
        key: entry["count"] for key, entry in RowStore(path, clock=ScaledClock.start(), wait_s=0.0).read().items()
    }
    assert counts.pop("shared") == 2 * 32 * times
    assert counts == {f"{key}{n}": times for key in "ab" for n in range(32)}
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def count_up(path: Path, *keys: str, times: int, sessions: int) -> None:
    """A process for each key, all at the same time."""
    script = str(Path(__file__).with_name("store_writer.py"))
    writers = [
        subprocess.Popen(
            [sys.executable, script, str(path), key, str(times), str(sessions)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )
        for key in keys
    ]  # fmt: skip
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        for writer in writers:
            writer.communicate(timeout=60)
            assert writer.returncode == 0
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()


# ------------------------------------------------------------------ what goes wrong


class Failing(LocalDatabases):
    """Fails or ends the writer at one of its steps: begin, each statement, commit, replace, right after them."""

    def __init__(self, at: int, error: type[BaseException]) -> None:
        self.at, self.error, self.fired = at, error, False

    def _step(self) -> None:
        self.at -= 1
        if self.at == -1:
            self.fired = True
            raise self.error(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def replace(self, source: Any, target: Any) -> None:
        self._step()
        super().replace(source, target)
        self._step()

    @contextmanager
    def writing(self, path: Any, *, wait_s: float, clock: Any) -> Iterator[Transaction]:
        self._step()
        with super().writing(path, wait_s=wait_s, clock=clock) as transaction:
            inner, step = transaction, self._step

            class Stepping:
                def all(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
                    step()
                    return inner.all(sql, *parameters)

                def commit(self) -> None:
                    step()
                    inner.commit()
                    step()

            yield Stepping()


class Killed(BaseException):
    """Nobody catches it: what a process does after SIGKILL."""


@pytest.mark.parametrize("error", [OSError, Killed])
@pytest.mark.parametrize("act", ["append", "fork"])
def test_writer_that_ends_at_any_step_leaves_the_state_before_or_after(
    tmp_path: Path, open_transcript: OpenTranscript, say: Any, error: type[BaseException], act: str
) -> None:
    for step in range(40):
        file = tmp_path / f"{step}.sqlite"
        first = open_transcript(file, generation=1, run_id="one")
        first.append_message(say.user("one"))
        files = LocalFiles()
        files.databases = databases = Failing(step, error)
        second = open_transcript(file, generation=2, run_id="two", ids=random.Random(8), files=files)
        target = file.with_name(f"{step}-fork.sqlite")
        try:
            if act == "append":
                second.append_message(say.assistant("two"))
            else:
                second.fork(target, "fork")
        except (OSError, Killed):
            pass
        for path, entries in ((file, (1, 2)), (target, (0, 1))):
            report = read_entries(path)
            assert len(report.entries) in entries
            assert report.problems == []
            open_transcript(path, generation=3, run_id="three", ids=random.Random(9)).append_custom("after", {})
            assert read_entries(path).problems == []
        if not databases.fired:
            assert step > 5
            return
    pytest.fail("it never came through")


@pytest.mark.parametrize("error", [OSError, Killed])
def test_successor_that_ends_while_it_makes_a_database_anew_loses_no_entry(
    tmp_path: Path, open_transcript: OpenTranscript, error: type[BaseException]
) -> None:
    """An owner was overruled in mid-transaction. Whichever step its successor ends at, the next one finds every entry,
    and the mark of what is to be done until it is done."""
    for step in range(40):
        file = tmp_path / f"{step}.sqlite"
        first = open_transcript(file, generation=1, run_id="one")
        entries = [first.append_custom("x", {"n": n}) for n in range(3)]
        mark = file.with_name(f"{file.name}.overruled")
        mark.touch()
        for ending in ("", "-wal", "-shm"):  # of a successor that was killed before
            file.with_name(f"{file.name}.{uuid.UUID(int=step)}.tmp{ending}").touch()
        old_inode = file.stat().st_ino
        files = LocalFiles()
        files.databases = databases = Failing(step, error)
        try:
            open_transcript(file, generation=2, run_id="two", ids=random.Random(8), files=files)
        except (OSError, Killed):
            assert databases.fired
        assert mark.exists() or file.stat().st_ino != old_inode
        third = open_transcript(file, generation=3, run_id="three", ids=random.Random(9))
        third.append_custom("after", {})
        assert [entry.id for entry in read_entries(file).entries] == [*entries, third.entries[-1].id]
        assert read_entries(file).problems == []
        left = {path.name.removesuffix("-wal").removesuffix("-shm") for path in tmp_path.glob(f"{step}.*")}
        assert left == {file.name}
        if not databases.fired:
            assert step > 5
            return
    pytest.fail("it never came through")


@pytest.mark.parametrize("error", [OSError, Killed])
async def test_update_that_ends_at_any_step_leaves_the_list_before_or_after(
    tmp_path: Path, clock: Any, error: type[BaseException]
) -> None:
    for step in range(40):
        path = tmp_path / f"{step}.sqlite"
        store = RowStore(path, clock=clock, wait_s=1.0)
        await store.update("k", lambda entry: entry.update(n=1))
        files = LocalFiles()
        files.databases = databases = Failing(step, error)
        ending = RowStore(path, clock=clock, wait_s=1.0, files=files, blocks=True)
        try:
            await ending.update("k", lambda entry: entry.update(n=2, more="x"))
        except (OSError, Killed):
            assert databases.fired
        found = store.read()["k"]
        assert (found["n"], found.get("more")) in ((1, None), (2, "x"))
        assert (await store.update("k", lambda entry: entry.update(n=3)))["n"] == store.read()["k"]["n"] == 3
        if not databases.fired:
            assert step > 3
            return
    pytest.fail("it never came through")


class Small(LocalDatabases):
    """A file system with room for a page more."""

    def begin(self, path: str, connection: sqlite3.Connection) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages + 1}")
        super().begin(path, connection)


async def test_list_of_sessions_on_a_full_disk_is_as_it_was(tmp_path: Path, clock: Any) -> None:
    path, files = tmp_path / "sessions.sqlite", LocalFiles()
    files.databases = Small()
    store, full = RowStore(path, clock=clock, wait_s=1.0), RowStore(path, clock=clock, wait_s=1.0, files=files)
    await store.update("k", lambda entry: entry.update(n=1))
    before = store.read()
    with pytest.raises(OSError, match="No space left on device") as refused:
        await full.update("k", lambda entry: entry.update(text="x" * 100_000))
    assert (refused.value.errno, refused.value.filename) == (errno.ENOSPC, str(path))
    assert store.read() == before
    await store.update("k", lambda entry: entry.update(text="x" * 100_000))
    assert len(store.read()["k"]["text"]) == 100_000


def test_full_disk_loses_nothing_and_says_so(file: Path, open_transcript: OpenTranscript, say: Any) -> None:
    transcript = open_transcript(file)
    transcript.append_message(say.user("one"))
    before = read_entries(file).entries
    files = LocalFiles()
    files.databases = Small()
    full = open_transcript(file, files=files, ids=random.Random(8))
    with pytest.raises(OSError, match="No space left on device") as refused:
        full.append_message(say.user("x" * 100_000))
    assert (refused.value.errno, refused.value.filename) == (errno.ENOSPC, str(file))
    assert read_entries(file).entries == before == full.entries
    open_transcript(file, ids=random.Random(9)).append_message(say.user("x" * 100_000))
    assert len(read_entries(file).entries) == 2


@pytest.mark.real
@pytest.mark.parametrize("name", ["s.sqlite", pytest.param("sessions.sqlite", marks=pytest.mark.nightly)])
def test_hundred_killed_writers_lose_nothing_that_they_were_told_of(name: str, tmp_path: Path) -> None:
    writer = Path(__file__).with_name("row_writer.py")
    ended = subprocess.run(
        [sys.executable, writer, tmp_path / name], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    written, told = map(int, ended.stdout.split())
    assert written >= told >= 100


def test_file_that_is_no_database_is_named_and_left_alone(file: Path, open_transcript: OpenTranscript) -> None:
    file.write_text("not a database, and much longer than the header of one would have to be" * 20)
    before = file.read_bytes()
    with pytest.raises(DatabaseMalformed, match=r"s\.sqlite: file is not a database\. It was left untouched"):
        open_transcript(file)
    with pytest.raises(DatabaseMalformed):
        RowStore(file, clock=ScaledClock.start(), wait_s=1.0).read()
    assert file.read_bytes() == before


async def test_entry_that_is_not_json_is_named_by_its_key(tmp_path: Path, clock: Any) -> None:
    store = RowStore(tmp_path / "sessions.sqlite", clock=clock, wait_s=1.0)
    await store.update("k", lambda entry: entry.update(x=1))
    with closing(sqlite3.connect(store.path)) as other, other:
        other.execute("UPDATE session_entries SET entry_json = '{'")
    with pytest.raises(StoreMalformed, match="the entry of 'k'"):
        store.read()


def test_fork_goes_from_either_kind_to_either(tmp_path: Path, open_transcript: OpenTranscript, say: Any) -> None:
    for source, target in ((".jsonl", ".sqlite"), (".sqlite", ".jsonl")):
        first = open_transcript(tmp_path / f"from{source}", ids=random.Random(source))
        first.append_message(say.user("one"))
        first.fork(tmp_path / f"to{target}", "to")
        second = open_transcript(tmp_path / f"to{target}")
        assert second.entries == first.entries
        assert (read_entries(second.path).header or {})["parentSession"] == str(first.path)


def test_thread_that_opens_a_database_drops_no_lock_of_another_threads_transaction(file: Path, clock: Any) -> None:
    """POSIX drops a process's locks on a file whenever it closes any descriptor of it. Another process that closes the
    database then takes itself for the last one, and removes the WAL into which this one commits."""
    databases = LocalDatabases()
    with databases.writing(file, wait_s=0.0, clock=clock) as first:
        first.all("CREATE TABLE t (x)")
        first.commit()
    with databases.reading(file) as kept, databases.writing(file, wait_s=0.0, clock=clock) as transaction:
        kept.all("SELECT x FROM t")
        transaction.all("INSERT INTO t VALUES (1)")
        with databases.reading(file) as other:
            assert other.all("SELECT x FROM t") == []
        assert rows_seen_by_another_process(file) == "[]"
        assert file.with_name("s.sqlite-wal").exists()
        transaction.commit()
        assert rows_seen_by_another_process(file) == "[(1,)]"


def rows_seen_by_another_process(file: Path) -> str:
    """What a process sees that opens the database, reads and closes it."""
    reads = "c = sqlite3.connect(sys.argv[1]); print(c.execute('SELECT x FROM t').fetchall()); c.close()"
    code = f"import sqlite3, sys; {reads}"
    return subprocess.run(
        [sys.executable, "-S", "-c", code, str(file)], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_database_that_many_threads_make_at_once_is_one_private_file(file: Path, clock: Any) -> None:
    databases = LocalDatabases()

    def make(n: int) -> None:
        with databases.writing(file, wait_s=60.0, clock=ScaledClock.start()) as transaction:
            transaction.all("CREATE TABLE IF NOT EXISTS t (x)")
            transaction.all("INSERT INTO t VALUES (?)", n)
            transaction.commit()

    threads = [threading.Thread(target=make, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with databases.reading(file) as transaction:
        assert sorted(transaction.all("SELECT x FROM t")) == [(n,) for n in range(8)]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not list(file.parent.glob("*.tmp"))


def test_what_is_no_database_file_is_not_opened(tmp_path: Path, clock: Any) -> None:
    databases = LocalDatabases()
    os.mkfifo(tmp_path / "pipe.sqlite")  # opening one would wait for a writer
    for name, error in (
        ("pipe.sqlite", DatabaseMalformed),
        ("", IsADirectoryError),
        ("no/s.sqlite", FileNotFoundError),
    ):
        with pytest.raises(error), databases.writing(tmp_path / name, wait_s=0.0, clock=clock):
            pass
    with pytest.raises(FileNotFoundError), databases.reading(tmp_path / "no.sqlite"):
        pass
    link = tmp_path / "link.sqlite"
    link.symlink_to(tmp_path / "real.sqlite")
    with databases.writing(link, wait_s=0.0, clock=clock) as transaction:
        transaction.all("CREATE TABLE t (x)")
        transaction.commit()
    assert stat.S_IMODE((tmp_path / "real.sqlite").stat().st_mode) == 0o600


def test_locked_read_waits_for_a_writer_as_an_update_does(tmp_path: Path, clock: Any) -> None:
    path = tmp_path / "sessions.sqlite"
    store = RowStore(path, clock=clock, wait_s=5.0)
    asyncio.run(store.update("k", lambda entry: entry.update(a=1)))
    assert asyncio.run(store.read_locked()) == store.read()
    with held(path):
        assert store.read()["k"]["a"] == 1
        with pytest.raises(DatabaseBusy):
            asyncio.run(store.read_locked())
        assert clock.now_s == 5.0


def test_database_for_which_there_is_no_descriptor_is_not_taken_for_an_absent_one(file: Path, clock: Any) -> None:
    databases = LocalDatabases()
    with databases.writing(file, wait_s=0.0, clock=clock) as transaction:
        transaction.all("CREATE TABLE t (x)")
        transaction.commit()
    before, opened = resource.getrlimit(resource.RLIMIT_NOFILE), []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 2, before[1]))
        with contextlib.suppress(OSError):
            while True:
                opened.append(os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(OSError, match="Too many open files") as reading, databases.reading(file):
            pass
        with pytest.raises(OSError, match="Too many open files"), databases.writing(file, wait_s=0.0, clock=clock):
            pass
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert (reading.value.errno, reading.value.filename) == (errno.EMFILE, str(file))
    with databases.reading(file) as transaction:
        assert transaction.all("SELECT x FROM t") == []


@pytest.mark.parametrize(("there", "error"), [(True, PermissionError), (False, FileNotFoundError)])
def test_what_sqlite_cannot_open_is_named_by_what_is_there(there: bool, error: type[OSError], file: Path) -> None:
    if there:
        file.touch()  # then it was the WAL that could not be made: the folder is not for writing
    refused = _translated(cannot_open(), str(file))
    assert type(refused) is error
    assert isinstance(refused, OSError)
    assert refused.filename == str(file)


def cannot_open() -> sqlite3.Error:
    with pytest.raises(sqlite3.OperationalError) as raised:
        sqlite3.connect("/nowhere/at/all.sqlite")
    return raised.value
