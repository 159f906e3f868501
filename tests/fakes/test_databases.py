"""What a contender that holds a database leaves, and what it takes from under its other users."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lockjaw.cli.app import main
from lockjaw.clock import ScaledClock
from lockjaw.errors import LocalError
from lockjaw.fakes.contenders.contender import Contender
from lockjaw.fakes.contenders.databases import retire_wal
from lockjaw.fakes.contenders.service import ContenderPlan

pytestmark = pytest.mark.real


@pytest.fixture
def contender() -> Iterator[Contender]:
    with Contender(clock=ScaledClock.start()) as one:
        yield one


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes.sqlite"
    with closing(opened(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE notes (text)")
        connection.execute("PRAGMA user_version=7")
    return path


def opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=0, isolation_level=None)


def texts(path: Path) -> list[str]:
    with closing(opened(path)) as connection:
        return [text for (text,) in connection.execute("SELECT text FROM notes")]


def by_another_program(path: Path) -> str:
    """What SQLite finds that does not share its memory of open files with this process."""
    look = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT text FROM notes').fetchall())"
    found = subprocess.run([sys.executable, "-S", "-c", look, path], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def test_writer_that_waits_gets_the_database_when_its_holder_is_killed(contender: Contender, notes: Path) -> None:
    contender.acquire(notes, algorithm="sqlite")
    assert texts(notes) == []  # readers go on beside a writer
    contender.die()
    with closing(opened(notes)) as connection:
        connection.execute("INSERT INTO notes VALUES ('after')")
    assert texts(notes) == ["after"]


def test_holder_that_stands_still_keeps_the_database(contender: Contender, notes: Path) -> None:
    contender.acquire(notes, algorithm="sqlite")
    contender.pause()
    with closing(opened(notes)) as connection, pytest.raises(sqlite3.OperationalError, match="database is locked"):
        connection.execute("INSERT INTO notes VALUES ('meanwhile')")
    contender.resume()
    contender.release()
    with closing(opened(notes)) as connection:
        connection.execute("INSERT INTO notes VALUES ('after')")


def test_killed_writer_leaves_its_wal_and_the_next_one_recovers_it(contender: Contender, notes: Path) -> None:
    wal = notes.with_name("notes.sqlite-wal")
    contender.acquire(notes, algorithm="sqlite-wal")
    contender.die()
    assert wal.stat().st_size > 0
    with closing(opened(notes)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (7,)  # it changed nothing
        connection.execute("INSERT INTO notes VALUES ('after')")
    assert texts(notes) == ["after"]
    assert not wal.exists()  # the last one to close takes it in


def test_leaked_wal_takes_no_page_into_the_database_however_long_it_has_grown(
    contender: Contender, notes: Path
) -> None:
    """SQLite takes a WAL of 1,000 pages and more in with the next commit: the contender's must not be that one."""
    with closing(opened(notes)) as program:
        program.execute("PRAGMA wal_autocheckpoint=0")
        program.execute("INSERT INTO notes VALUES (zeroblob(?))", (1100 * 4096,))
        before = notes.read_bytes()
        assert notes.with_name("notes.sqlite-wal").stat().st_size > 1000 * 4096
        contender.acquire(notes, algorithm="sqlite-wal")
        assert notes.read_bytes() == before
        contender.release()


def test_reader_keeps_the_wal_from_being_taken_in_and_no_writer_from_writing(contender: Contender, notes: Path) -> None:
    contender.acquire(notes, algorithm="sqlite-read")
    with closing(opened(notes)) as connection:
        connection.execute("INSERT INTO notes VALUES ('beside it')")
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 1  # busy
        contender.release()
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


def test_retired_wal_takes_with_it_what_its_program_still_writes(contender: Contender, notes: Path) -> None:
    with closing(opened(notes)) as program:
        program.execute("INSERT INTO notes VALUES ('before')")
        contender.retire_wal(notes)
        program.execute("INSERT INTO notes VALUES ('lost')")  # no error: that is the trouble
        assert by_another_program(notes) == "[]"
    kept = notes.with_name("notes.sqlite-wal.retired")
    assert b"lost" in kept.read_bytes()
    assert b"before" in kept.read_bytes()


def test_database_without_a_wal_has_none_to_retire(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"x.sqlite-wal does not exist: no program has this database open"):
        retire_wal(tmp_path / "x.sqlite")


@pytest.mark.parametrize("kind", ["sqlite", "sqlite-exclusive", "sqlite-read", "sqlite-wal"])
def test_file_that_is_no_database_is_refused(contender: Contender, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "main.jsonl"
    file.write_text('{"type":"session"}\n' * 100)
    with pytest.raises(LocalError, match=r"main\.jsonl: file is not a database"):
        contender.acquire(file, algorithm=kind)
    assert file.read_text().startswith('{"type":"session"}')


def test_leaked_wal_needs_a_database_that_has_one(contender: Contender, tmp_path: Path) -> None:
    with closing(opened(tmp_path / "old.sqlite")) as connection:
        connection.execute("CREATE TABLE notes (text)")
    with pytest.raises(LocalError, match="sqlite-wal needs a database in WAL mode: PRAGMA journal_mode=WAL"):
        contender.acquire(tmp_path / "old.sqlite", algorithm="sqlite-wal")


def test_plan_takes_a_wal_from_databases_only() -> None:
    assert ContenderPlan(algorithm="sqlite", retire_wal=True).retire_wal
    with pytest.raises(LocalError, match=r"only a database has a WAL to take away \(--retire-wal\)"):
        ContenderPlan(algorithm="flock", retire_wal=True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "expected one of: a session file, --sqlite FILE, --flock FILE, got '0 of them'"),
        (["a.jsonl", "--sqlite", "b.sqlite"], "got '2 of them'"),
        (["--sqlite", "b.sqlite", "--algorithm", "flock"], "expected beside --sqlite FILE one of: sqlite"),
        (["--flock", "b.lock", "--algorithm", "sqlite"], "expected flock, beside --flock FILE"),
    ],
)
def test_command_takes_exactly_one_file_and_what_fits_it(
    arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["lockjaw", "serve", "contender", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert says in " ".join(capsys.readouterr().err.split())
