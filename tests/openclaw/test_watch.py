from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.harness.targets.openclaw.reading import LockFile, Written
from lockjaw.harness.targets.openclaw.watch import FolderWatch, Seen

OURS, THEIRS = 4711, 4712


@pytest.fixture(params=["inotify", "sampling"])
def watch(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FolderWatch]:
    sample = request.param == "sampling"
    made = FolderWatch(tmp_path, ScaledClock.start(), _actor, sample=sample)
    if made.how != request.param:
        made.close()
        pytest.skip("no inotify here")
    yield made
    made.close()


def _actor(pid: int) -> str:
    return {OURS: "gateway"}.get(pid, "")


def until(watch: FolderWatch, count: int) -> list[Seen]:
    found: list[Seen] = []
    deadline = time.monotonic() + 10
    while len(found) < count and time.monotonic() < deadline:
        found += watch.take()
        time.sleep(0.002)
    return found


def test_lock_is_seen_with_its_owner_and_its_end(watch: FolderWatch, tmp_path: Path) -> None:
    lock = tmp_path / "s.jsonl.lock"
    lock.write_text(json.dumps({"pid": OURS}))
    (there,) = until(watch, 1)
    assert isinstance(there, LockFile)
    assert (there.there, there.actor, there.pid, there.path) == (True, "gateway", OURS, str(lock))
    lock.unlink()
    (gone,) = until(watch, 1)
    assert isinstance(gone, LockFile)
    assert not gone.there
    assert gone.t >= there.t


def test_empty_lock_counts_from_the_moment_it_names_its_owner(watch: FolderWatch, tmp_path: Path) -> None:
    lock = tmp_path / "s.jsonl.lock"
    with lock.open("w") as file:
        (tmp_path / "t.jsonl").write_text('{"type": "message", "id": "1"}\n')
        (first,) = until(watch, 1)
        assert isinstance(first, Written)  # the lock was there before, and is not told yet
        file.write(json.dumps({"pid": THEIRS}))
        file.flush()
        (there,) = until(watch, 1)
    assert isinstance(there, LockFile)
    assert (there.there, there.actor, there.pid) == (True, "", THEIRS)


def test_entries_are_seen_once_and_whole(watch: FolderWatch, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    with path.open("wb", buffering=0) as file:
        for n in range(20):
            line = json.dumps({"type": "message", "id": str(n)}).encode() + b"\n"
            file.write(line[:7])
            file.write(line[7:])
    found = until(watch, 20)
    assert [w.entry["id"] for w in found if isinstance(w, Written)] == [str(n) for n in range(20)]


def test_debug_logs_and_store_locks_are_not_watched(watch: FolderWatch, tmp_path: Path) -> None:
    (tmp_path / "s.trajectory.jsonl").write_text('{"id": "1"}\n')
    (tmp_path / "sessions.json.lock").write_text(json.dumps({"pid": OURS}))
    (tmp_path / "z.jsonl").write_text('{"id": "last"}\n')
    found = until(watch, 1)
    watch.close()
    assert [getattr(w, "entry", w) for w in [*found, *watch.take()]] == [{"id": "last"}]


def test_short_hold_is_not_missed_where_the_kernel_tells(tmp_path: Path) -> None:
    watch = FolderWatch(tmp_path, ScaledClock.start(), _actor)
    if watch.how != "inotify":
        watch.close()
        pytest.skip("no inotify here")
    fresh = tmp_path / "made"
    for _ in range(20):
        fresh.write_text(json.dumps({"pid": OURS}))
        fresh.rename(tmp_path / "s.jsonl.lock")  # there at once with its content
        until(watch, 1)
        (tmp_path / "s.jsonl.lock").unlink()
        (gone,) = until(watch, 1)
        assert isinstance(gone, LockFile)
        assert not gone.there
    watch.close()


def test_what_was_there_before_is_seen(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl.lock").write_text(json.dumps({"pid": OURS}))
    watch = FolderWatch(tmp_path, ScaledClock.start(), _actor)
    (there,) = until(watch, 1)
    assert isinstance(there, LockFile)
    watch.close()
