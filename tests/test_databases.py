"""A database that takes the place of another one is its own: nothing of the old one's WAL comes back in it."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from lockjaw.databases import LOCAL_DATABASES

LOOK = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT text FROM notes').fetchall())"
HAS_IT_OPEN = """
import sqlite3, sys
program = sqlite3.connect(sys.argv[1], isolation_level=None)
program.execute("INSERT INTO notes VALUES ('in its WAL')")
print("ready", flush=True)
sys.stdin.read()
"""


def made(path: Path, text: str) -> Path:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE notes (text)")
        connection.execute("INSERT INTO notes VALUES (?)", (text,))
    return path


def seen(path: Path) -> str:
    """What a program finds that opens the database now."""
    return subprocess.run([sys.executable, "-S", "-c", LOOK, path], capture_output=True, text=True, check=True).stdout


@pytest.mark.real
def test_replaced_database_takes_nothing_from_the_wal_of_the_one_before_it(tmp_path: Path) -> None:
    """The program that had the old one open was killed: whoever opens the new one then recovers a WAL that is there."""
    old, new = made(tmp_path / "old.sqlite", "old"), made(tmp_path / "new.sqlite", "new")
    command = [sys.executable, "-S", "-c", HAS_IT_OPEN, old]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        try:
            assert program.stdout.readline() == "ready\n"
            assert (tmp_path / "old.sqlite-wal").stat().st_size > 0

            LOCAL_DATABASES.replace(new, old)
        finally:
            program.send_signal(signal.SIGKILL)
    assert seen(old) == "[('new',)]\n"
