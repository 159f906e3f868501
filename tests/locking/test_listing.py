"""``locks list`` shows every lock below a folder as it is, and touches none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lockjaw.clock import iso
from lockjaw.errors import LocalError
from lockjaw.locking import SessionLock
from lockjaw.locking.listing import LockRow, list_locks, render_locks

NOW_MS = 1_800_000_000_000


def sessions_folder(state: Path, agent: str = "main") -> Path:
    folder = state / "agents" / agent / "sessions"
    folder.mkdir(parents=True)
    return folder


def write_lock(folder: Path, name: str, body: object) -> Path:
    path = folder / name
    path.write_text(body if isinstance(body, str) else json.dumps(body))
    return path


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""])
    process.wait()
    return process.pid


def only(state: Path) -> LockRow:
    (row,) = list_locks(state)
    return row


def test_a_folder_without_locks_says_so(tmp_path: Path) -> None:
    assert list_locks(tmp_path) == []
    assert render_locks([], tmp_path) == f"No locks below {tmp_path}."


def test_a_lock_of_ours_is_held_with_its_generation_and_run(tmp_path: Path) -> None:
    folder = sessions_folder(tmp_path)
    with SessionLock(folder / "s.jsonl", owner="run-7"):
        row = only(tmp_path)
        assert (row.state, row.view.pid, row.view.generation, row.view.owner) == ("held", os.getpid(), 1, "run-7")
        text = render_locks([row], tmp_path)
    assert f"held     pid {os.getpid()}" in text
    assert "run run-7" in text
    assert list_locks(tmp_path) == []  # given back


def test_a_foreign_lock_of_a_living_process_is_held(tmp_path: Path) -> None:
    write_lock(sessions_folder(tmp_path), "s.jsonl.lock", {"pid": os.getppid(), "createdAt": iso(NOW_MS)})

    assert (only(tmp_path).state, only(tmp_path).view.pid) == ("held", os.getppid())


def test_a_lock_of_a_dead_process_is_dead_and_stays_where_it_is(tmp_path: Path) -> None:
    path = write_lock(sessions_folder(tmp_path), "s.jsonl.lock", {"pid": dead_pid(), "createdAt": iso(NOW_MS)})

    row = only(tmp_path)

    assert (row.state, row.view.dead_reason) == ("dead", "dead-pid")
    assert "no such process" in render_locks([row], tmp_path)
    assert path.exists()


@pytest.mark.parametrize("garbage", ["", "{", "[1, 2]", '{"pid": "me"}', "\x00" * 40])
def test_garbage_is_unclear(garbage: str, tmp_path: Path) -> None:
    write_lock(sessions_folder(tmp_path), "s.jsonl.lock", garbage)

    assert (only(tmp_path).state, only(tmp_path).view.dead_reason) == ("unclear", "missing-pid")
    assert "unknown" in render_locks([only(tmp_path)], tmp_path)


def test_a_narrow_terminal_breaks_no_name(tmp_path: Path) -> None:
    name = "f1ed789f-4c82-4e54-a10a-0141cd1ecdca.jsonl.lock"
    write_lock(sessions_folder(tmp_path), name, "")
    narrow = render_locks(list_locks(tmp_path), tmp_path, width=50).splitlines()
    assert [line for line in narrow if len(line) > 50] == [f"    {name}"]
    assert all(len(line) <= 80 for line in render_locks(list_locks(tmp_path), tmp_path).splitlines())


def test_a_folder_in_a_locks_place_is_shown(tmp_path: Path) -> None:
    (sessions_folder(tmp_path) / "s.jsonl.lock").mkdir()

    assert only(tmp_path).view.dead_reason == "not-a-file"
    assert "not a lock file; remove it by hand" in render_locks([only(tmp_path)], tmp_path)


def test_every_agents_locks_and_the_stores_are_found_and_other_files_are_not(tmp_path: Path) -> None:
    for agent in ("main", "work"):
        folder = sessions_folder(tmp_path, agent)
        for name in ("a.jsonl.lock", "b.sqlite.lock", "sessions.json.lock", "b.jsonl", "c.lock", "a.jsonl.guard"):
            write_lock(folder, name, {"pid": os.getppid()})

    names = [str(row.path.relative_to(tmp_path / "agents")) for row in list_locks(tmp_path)]

    assert names == [
        f"{a}/sessions/{n}" for a in ("main", "work") for n in ("a.jsonl.lock", "b.sqlite.lock", "sessions.json.lock")
    ]
    assert len(list_locks(tmp_path / "agents" / "main" / "sessions")) == 3


def test_the_text_fits_80_columns_whatever_a_lock_is_called(tmp_path: Path) -> None:
    folder = sessions_folder(tmp_path)
    for name in ("x" * 150, "41e36c0a-2d2c-4c9e-9b1e-a7f70b0d9a8a"):
        write_lock(folder, f"{name}.jsonl.lock", {"pid": dead_pid(), "createdAt": iso(0)})
    with SessionLock(folder / "s.jsonl", owner="r" * 60):
        text = render_locks(list_locks(tmp_path), tmp_path)

    assert max(len(line) for line in text.splitlines()) <= 80
    assert "".join(line.strip() for line in text.splitlines()).count("x" * 150) == 1
    assert " d " in text  # a lock of 1970 is days old


def test_the_document_has_path_state_and_what_was_seen(tmp_path: Path) -> None:
    path = write_lock(sessions_folder(tmp_path), "s.jsonl.lock", {"pid": dead_pid(), "createdAt": iso(NOW_MS)})

    document = only(tmp_path).document()

    assert document["path"] == str(path)
    assert document["state"] == "dead"
    assert document["created_at_ms"] == NOW_MS
    assert set(document) == {
        "path", "state", "why", "pid", "created_at_ms", "starttime", "alive", "dead_reason", "ours", "generation",
        "owner", "age_s", "max_hold_s", "waiters", "pid_here", "in_transit",
    }  # fmt: skip
    assert json.loads(json.dumps(document)) == document


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="expected a folder"):
        list_locks(tmp_path / "nowhere")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_may_not_be_read_is_a_usage_error(tmp_path: Path) -> None:
    folder = sessions_folder(tmp_path)
    folder.chmod(0)
    try:
        with pytest.raises(LocalError, match="Permission denied"):
            list_locks(tmp_path)
    finally:
        folder.chmod(0o700)
