from __future__ import annotations

import errno
import json
import os
import pickle
import random
import stat
import subprocess
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from lockjaw.errors import Fenced, InvalidSessionId, LocalError, SessionLocked
from lockjaw.files import OVERRULED_SUFFIX, LocalFiles
from lockjaw.sessions import DiskFull, RowStore, SessionStore, StoreMalformed, disk
from lockjaw.sessions.store import LockFactory

MakeStore = Callable[..., SessionStore]


def free(path: Path) -> Any:
    return nullcontext()


@pytest.fixture
def make_store(tmp_path: Path, clock: Any) -> MakeStore:
    def make(lock: LockFactory = free, path: Path | None = None) -> SessionStore:
        return SessionStore(path or tmp_path / "sessions.json", clock=clock, lock=lock, ids=random.Random(1))

    return make


@pytest.fixture(params=["sessions.json", "sessions.sqlite"])
def make_either(request: pytest.FixtureRequest, tmp_path: Path, clock: Any) -> Callable[[], SessionStore]:
    """A store in a file or in a database, made anew each time; only the interface is the same."""

    def make() -> SessionStore:
        ids, path = random.Random(1), tmp_path / request.param
        if path.suffix == ".json":
            return SessionStore(path, clock=clock, lock=free, ids=ids)
        return RowStore(path, clock=clock, wait_s=1.0, ids=ids)

    return make


def temporaries(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(".tmp")]


def test_an_absent_store_is_empty_and_stays_absent(make_either: Callable[[], SessionStore], tmp_path: Path) -> None:
    assert make_either().read() == {}
    assert make_either().find_by_session_id("x") is None
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["sessions-2026.4.8.json", "sessions-2026.5.7.json"])
async def test_an_update_leaves_everything_else_as_it_was(
    make_store: MakeStore, tmp_path: Path, data: Path, clock: Any, name: str
) -> None:
    before = json.loads((data / name).read_text())
    (tmp_path / "sessions.json").write_bytes((data / name).read_bytes())
    clock.now_s = 10_000.0
    entry = await make_store().update("agent:main:main", lambda entry: entry.update(status="done"))
    text = (tmp_path / "sessions.json").read_text()
    after = json.loads(text)
    assert entry == after["agent:main:main"]
    assert list(after) == list(before)
    assert list(after["agent:main:main"]) == list(before["agent:main:main"])
    expected = {**before["agent:main:main"], "status": "done", "updatedAt": clock.wall_ms()}
    assert after == {**before, "agent:main:main": expected}
    assert text == json.dumps(after, indent=2) + "\n"


async def test_a_file_without_final_newline_keeps_having_none(make_store: MakeStore, tmp_path: Path) -> None:
    (tmp_path / "sessions.json").write_bytes(b'{"b": null, "a": [1, {"\xc3\xbc": "\\ud800"}]}')
    await make_store().update("k", lambda entry: entry.update(x=1))
    raw = (tmp_path / "sessions.json").read_bytes()
    assert raw.endswith(b"}")
    assert b"\xc3\xbc" in raw
    assert list(json.loads(raw)) == ["b", "a", "k"]
    assert json.loads(raw)["b"] is None
    assert make_store().read().keys() == {"k"}


async def test_the_file_is_private_and_replaced_as_a_whole(make_store: MakeStore, tmp_path: Path) -> None:
    await make_store().update("k", lambda entry: entry.update(x=1))
    first = (tmp_path / "sessions.json").stat()
    await make_store().update("k", lambda entry: entry.update(x=2))
    second = (tmp_path / "sessions.json").stat()
    assert stat.S_IMODE(second.st_mode) == 0o600
    assert first.st_ino != second.st_ino
    assert temporaries(tmp_path) == []


async def test_a_linked_store_stays_a_link(make_store: MakeStore, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "sessions.json"
    link.symlink_to(tmp_path / "real" / "s.json")
    await make_store().update("k", lambda entry: entry.update(x=1))
    assert link.is_symlink()
    assert json.loads((tmp_path / "real" / "s.json").read_text())["k"]["x"] == 1


async def test_updated_at_never_goes_back(make_either: Callable[[], SessionStore], clock: Any) -> None:
    store = make_either()
    future = clock.wall_ms() + 5000
    assert (await store.update("k", lambda entry: entry.update(updatedAt=future)))["updatedAt"] == future
    assert (await store.update("k", lambda entry: entry.update(updatedAt=1)))["updatedAt"] == future
    assert (await store.update("k", lambda entry: entry.pop("updatedAt", None)))["updatedAt"] == future
    assert (await store.update("new", lambda entry: None))["updatedAt"] == clock.wall_ms()


async def test_what_was_written_while_waiting_for_the_lock_is_kept(make_store: MakeStore, tmp_path: Path) -> None:
    path = tmp_path / "sessions.json"
    path.write_text('{"k": {"n": 1}}')

    @asynccontextmanager
    async def lock(_: Path) -> AsyncIterator[None]:
        path.write_text('{"k": {"n": 2, "theirs": true}, "other": {"sessionId": "x"}}')
        yield

    store = make_store(lock)
    assert store.read()["k"] == {"n": 1}
    await store.update("k", lambda entry: entry.update(n=entry["n"] + 1))
    assert store.read()["k"]["n"] == 3
    assert store.read()["k"]["theirs"] is True
    assert store.read()["other"] == {"sessionId": "x"}


async def test_the_lock_is_asked_for_the_store_file_and_held_during_the_write(
    make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[Path] = []
    seen: list[list[Path]] = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda *names: (seen.append(list(held)), replace(*names))[1])

    @asynccontextmanager
    async def lock(path: Path) -> AsyncIterator[None]:
        held.append(path)
        yield
        held.remove(path)

    await make_store(lock).update("k", lambda entry: entry.update(x=1))
    assert seen == [[tmp_path / "sessions.json"]]
    assert held == []


@pytest.mark.parametrize(
    ("content", "offset", "reason"),
    [
        (b'{"a": {"x": 1},\n "b": oops}', 22, "Expecting value"),
        ('{"ü": oops}'.encode(), 7, "Expecting value"),
        (b'\xef\xbb\xbf{"a" 1}', 8, "delimiter"),
        (b'{"a": "\xff"}', 7, "not UTF-8"),
        (b'\xef\xbb\xbf{"a": "\xff"}', 10, "not UTF-8"),
        (b"[1, 2]", 0, "not a JSON object"),
        (b'{"a": NaN}', 0, "NaN is not JSON"),
        (b"[" * 200_000, 0, "nested too deeply"),
        (b'{"a": {', 7, "property name"),
        (b"\0" * 64, 0, "Expecting value"),
    ],
)
async def test_a_malformed_store_is_named_with_its_offset_and_left_untouched(
    make_store: MakeStore, tmp_path: Path, content: bytes, offset: int, reason: str
) -> None:
    path = tmp_path / "sessions.json"
    path.write_bytes(content)
    with pytest.raises(StoreMalformed, match=reason) as read:
        make_store().read()
    assert read.value.offset == offset
    assert str(path) in str(read.value)
    assert isinstance(read.value, LocalError)
    assert pickle.loads(pickle.dumps(read.value)).offset == offset
    with pytest.raises(StoreMalformed):
        await make_store().update("k", lambda entry: entry.update(x=1))
    assert path.read_bytes() == content
    assert temporaries(tmp_path) == []


async def test_who_overruled_nobody_leaves_the_mark_of_an_overruling_alone(
    make_store: MakeStore, tmp_path: Path
) -> None:
    """The mark tells an owner that stands still that it was overruled; a lock that cannot overrule says nothing."""
    mark = tmp_path / f"sessions.json{OVERRULED_SUFFIX}"
    mark.touch()

    await make_store().update("k", lambda entry: entry.update(x=1))

    assert mark.exists()


@pytest.mark.parametrize("blocks", [False, True])
async def test_a_database_is_never_written_on_the_thread_of_the_event_loop_unless_that_is_shown(
    tmp_path: Path, clock: Any, blocks: bool
) -> None:
    threads: list[int] = []
    store = RowStore(tmp_path / "sessions.sqlite", clock=clock, wait_s=1.0, blocks=blocks)

    await store.update("k", lambda entry: threads.append(threading.get_ident()))

    assert (threads == [threading.get_ident()]) is blocks


async def test_an_empty_file_is_an_empty_store(make_store: MakeStore, tmp_path: Path) -> None:
    (tmp_path / "sessions.json").write_bytes(b" \n")
    assert make_store().read() == {}
    await make_store().update("k", lambda entry: entry.update(x=1))
    assert make_store().read()["k"]["x"] == 1


async def test_a_change_that_raises_writes_nothing(make_either: Callable[[], SessionStore], tmp_path: Path) -> None:
    await make_either().update("k", lambda entry: entry.update(x=1))
    before = make_either().read()
    with pytest.raises(ZeroDivisionError):
        await make_either().update("k", lambda entry: entry.update(x=1 / 0))
    assert make_either().read() == before


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
async def test_a_failure_at_any_step_of_the_write_leaves_the_old_file_and_no_temporary(
    make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    await make_store().update("k", lambda entry: entry.update(x=1))
    before = (tmp_path / "sessions.json").read_bytes()

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(OSError) as failed:
            await make_store().update("k", lambda entry: entry.update(x=2))
    assert failed.value.errno == number
    if step == "write":
        assert isinstance(failed.value, DiskFull) == (number == errno.ENOSPC)
    assert (tmp_path / "sessions.json").read_bytes() == before
    assert temporaries(tmp_path) == []
    await make_store().update("k", lambda entry: entry.update(x=3))
    assert make_store().read()["k"]["x"] == 3


async def test_short_writes_are_continued(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, view: write(fd, view[:10]))
    await make_store().update("k", lambda entry: entry.update(x="y" * 100))
    assert make_store().read()["k"]["x"] == "y" * 100


async def test_a_refused_lock_changes_nothing(make_store: MakeStore, tmp_path: Path) -> None:
    @asynccontextmanager
    async def lock(_: Path) -> AsyncIterator[None]:
        raise TimeoutError("locked")
        yield

    with pytest.raises(TimeoutError, match="locked"):
        await make_store(lock).update("k", lambda entry: entry.update(x=1))
    assert os.listdir(tmp_path) == []


async def test_ensure_makes_an_entry_as_openclaw_writes_it(
    make_either: Callable[[], SessionStore], tmp_path: Path, clock: Any
) -> None:
    entry = await make_either().ensure("agent:main:main", session_id=None, sessions_dir=tmp_path)
    assert str(uuid.UUID(entry["sessionId"], version=4)) == entry["sessionId"]
    assert list(entry) == ["sessionId", "updatedAt", "sessionFile"]
    assert entry["updatedAt"] == clock.wall_ms()
    assert entry["sessionFile"] == str(tmp_path / f"{entry['sessionId']}{make_either().kind}")
    again = await make_either().ensure("agent:main:main", session_id=None, sessions_dir=tmp_path)
    assert again == entry


async def test_ensure_keeps_a_stored_session_and_its_file(
    make_either: Callable[[], SessionStore], tmp_path: Path
) -> None:
    file = tmp_path / "abc-topic-4.jsonl"
    await make_either().update("k", lambda entry: entry.update(sessionId="abc", sessionFile=str(file), status="done"))
    for wanted in (None, "abc"):
        entry = await make_either().ensure("k", session_id=wanted, sessions_dir=tmp_path)
        assert (entry["sessionId"], entry["sessionFile"], entry["status"]) == ("abc", str(file), "done")


async def test_ensure_leads_a_key_to_another_session_with_a_file_of_its_own(
    make_either: Callable[[], SessionStore], tmp_path: Path
) -> None:
    await make_either().ensure("k", session_id="abc", sessions_dir=tmp_path)
    entry = await make_either().ensure("k", session_id="def", sessions_dir=tmp_path)
    assert (entry["sessionId"], entry["sessionFile"]) == ("def", str(tmp_path / f"def{make_either().kind}"))


@pytest.mark.parametrize("wanted", ["../x", "a/b", "", "x" * 129])
async def test_ensure_refuses_an_id_that_could_leave_the_folder(
    make_either: Callable[[], SessionStore], tmp_path: Path, wanted: str
) -> None:
    with pytest.raises(InvalidSessionId, match="Invalid session ID: "):
        await make_either().ensure("k", session_id=wanted, sessions_dir=tmp_path)
    assert os.listdir(tmp_path) == []


async def test_ensure_refuses_a_stored_id_that_could_leave_the_folder(make_store: MakeStore, tmp_path: Path) -> None:
    (tmp_path / "sessions.json").write_text('{"k": {"sessionId": "../../x"}}')
    with pytest.raises(InvalidSessionId):
        await make_store().ensure("k", session_id=None, sessions_dir=tmp_path)
    assert (tmp_path / "sessions.json").read_text() == '{"k": {"sessionId": "../../x"}}'


async def test_of_several_keys_of_a_session_the_last_updated_is_found(make_store: MakeStore, tmp_path: Path) -> None:
    (tmp_path / "sessions.json").write_text(
        '{"a": {"sessionId": "s", "updatedAt": 1}, "b": {"sessionId": "s", "updatedAt": 3},'
        ' "c": {"sessionId": "s"}, "d": {"sessionId": "t", "updatedAt": 9}, "e": 4}'
    )
    assert make_store().find_by_session_id("s") == ("b", {"sessionId": "s", "updatedAt": 3})


async def test_a_read_is_always_fresh(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()
    path = tmp_path / "sessions.json"
    path.write_text('{"a": {"x": 1}}')
    stamp = path.stat().st_mtime_ns
    assert store.read() == {"a": {"x": 1}}
    path.write_text('{"a": {"x": 2}}')
    os.utime(path, ns=(stamp, stamp))
    assert store.read() == {"a": {"x": 2}}


@pytest.mark.real
def test_two_processes_lose_no_update(tmp_path: Path) -> None:
    times = 60
    script = Path(__file__).with_name("store_writer.py")
    store = tmp_path / "sessions.json"
    writers = [
        subprocess.Popen(
            [sys.executable, str(script), str(store), key, str(times)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for key in ("a", "b")
    ]
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
    found = json.loads(store.read_text())
    assert {key: entry["count"] for key, entry in found.items()} == {"a": times, "b": times, "shared": 2 * times}
    assert temporaries(tmp_path) == []


class Granted:
    """What a lock gives to its holder. ``section`` is entered right before the store is put in place."""

    def __init__(self, *, reclaimed: str = "", overruled: int = 0, section: Callable[[], Any] = nullcontext) -> None:
        self.reclaimed, self.overruled, self.section = reclaimed, overruled, section

    def lock(self, path: Path) -> Any:
        return nullcontext(self)


ORPHAN = "sessions.json.0a1b2c3d-0000-4000-8000-123456789abc.tmp"


@pytest.mark.parametrize("left_by", [{"reclaimed": "owner-byte-free"}, {"overruled": 7}])
async def test_what_a_dead_or_overruled_owner_left_unfinished_is_swept(
    make_store: MakeStore, tmp_path: Path, left_by: dict[str, Any]
) -> None:
    others = ["sessions.json.tmp", "sessions.json.backup.tmp", "s.jsonl.0a1b2c3d-0000-4000-8000-123456789abc.tmp"]
    for name in (ORPHAN, *others):
        (tmp_path / name).write_text("{}")

    await make_store(Granted().lock).update("k", lambda entry: None)
    assert (tmp_path / ORPHAN).exists(), "its owner may be at work"

    await make_store(Granted(**left_by).lock).update("k", lambda entry: None)
    assert sorted(temporaries(tmp_path)) == sorted(others)


async def test_an_overruled_owner_finds_its_new_version_gone_and_begins_anew(
    make_store: MakeStore, tmp_path: Path
) -> None:
    store = make_store()
    overruled: list[bool] = []

    @contextmanager
    def frozen() -> Iterator[None]:
        if not overruled:  # the first time: it passed its check, and wakes when somebody else has written
            overruled.append(True)
            (mine,) = temporaries(tmp_path)
            (tmp_path / mine).unlink()
            (tmp_path / "sessions.json").write_text('{"k": {"theirs": true}}')
        yield

    await make_store(Granted(section=frozen).lock).update("k", lambda entry: entry.update(ours=True))

    kept = {name: value for name, value in store.read()["k"].items() if name != "updatedAt"}
    assert kept == {"theirs": True, "ours": True}
    assert temporaries(tmp_path) == []


async def test_an_update_that_is_fenced_every_time_says_so_and_leaves_nothing(
    make_store: MakeStore, tmp_path: Path
) -> None:
    @contextmanager
    def fenced() -> Iterator[None]:
        raise Fenced("sessions.json", 1, 2)
        yield

    with pytest.raises(Fenced):
        await make_store(Granted(section=fenced).lock).update("k", lambda entry: None)
    assert os.listdir(tmp_path) == []


async def test_a_store_that_is_locked_for_good_is_read_if_the_caller_can_do_with_that(
    tmp_path: Path, clock: Any
) -> None:
    def locked(path: Path) -> Any:
        raise SessionLocked(str(path), "pid=1", timeout_s=60, waited_s=60)

    (tmp_path / "sessions.json").write_text('{"k": {"sessionId": "s-1"}, "half": {}}')
    reads = SessionStore(tmp_path / "sessions.json", clock=clock, lock=locked, reads_when_locked=True)
    insists = SessionStore(tmp_path / "sessions.json", clock=clock, lock=locked)

    assert (await reads.ensure("k", session_id=None, sessions_dir=tmp_path))["sessionId"] == "s-1"
    for store, key, wanted in ((insists, "k", None), (reads, "half", None), (reads, "new", None), (reads, "k", "s-2")):
        with pytest.raises(SessionLocked):
            await store.ensure(key, session_id=wanted, sessions_dir=tmp_path)


class Failing(LocalFiles):
    """One operation on an open file fails, as the system reports it: without a name."""

    def __init__(self, operation: str, number: int) -> None:
        self._operation, self._number = operation, number

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self._fail("write")
        return super().write(fd, data)

    def flush(self, fd: int) -> None:
        self._fail("flush")
        super().flush(fd)

    def _fail(self, operation: str) -> None:
        if operation == self._operation:
            raise OSError(self._number, os.strerror(self._number))


@pytest.mark.parametrize("operation", ["write", "flush"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO], ids=errno.errorcode.get)
async def test_an_error_of_the_disk_names_the_file(tmp_path: Path, clock: Any, operation: str, number: int) -> None:
    store = SessionStore(tmp_path / "sessions.json", clock=clock, lock=free, files=Failing(operation, number))
    with pytest.raises(OSError, match=r"sessions\.json") as caught:
        await store.update("k", lambda entry: None)
    assert isinstance(caught.value, DiskFull) is (number != errno.EIO)

    append = open_append(tmp_path / "t.jsonl")
    try:
        with pytest.raises(OSError, match=r"t\.jsonl"):
            disk.append(Failing(operation, number), append, b"x\n", path=tmp_path / "t.jsonl", durable=True)
    finally:
        os.close(append)


def open_append(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
