"""``locks clean`` removes what is provably dead, and never a lock that somebody has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lockjaw.clock import iso
from lockjaw.locking import SessionLock, proc
from lockjaw.locking.cleaning import Cleaned, clean_lock, clean_locks, exit_status, render_cleaned
from lockjaw.locking.identity import process_state, this_process
from lockjaw.locking.listing import LockRow, list_locks

LONG_AGO_MS = 1_000_000_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "agents" / "main" / "sessions"
    folder.mkdir(parents=True)
    return folder


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""])
    process.wait()
    return process.pid


def write_lock(folder: Path, body: object, name: str = "s.jsonl.lock", *, age_s: float = 3600.0) -> Path:
    path = folder / name
    path.write_text(body if isinstance(body, str) else json.dumps(body))
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - age_s))
    return path


def dead(folder: Path, **more: object) -> Path:
    return write_lock(folder, {"pid": dead_pid(), "createdAt": iso(LONG_AGO_MS), **more})


def only(folder: Path, **how: Any) -> Cleaned:
    (one,) = clean_locks(folder, **how)
    return one


# --------------------------------------------------------------------------- what is dead


def test_a_foreign_lock_of_a_dead_process_is_removed_and_the_session_is_free(folder: Path) -> None:
    path = dead(folder)

    assert (only(folder).action, only_if_any(folder)) == ("removed", [])
    assert not path.exists()
    with SessionLock(folder / "s.jsonl", timeout=0.0) as held:
        assert held.reclaimed == ""


def only_if_any(folder: Path) -> list[LockRow]:
    return list_locks(folder)


def test_a_lock_of_ours_is_removed_once_its_owner_was_killed(folder: Path, actor: Callable[[], Any]) -> None:
    holder = actor()
    holder.do("acquire", file=str(folder / "s.jsonl"))
    assert only(folder).action == "kept"

    holder.kill()

    assert (only(folder).action, list_locks(folder)) == ("removed", [])


def test_a_recycled_pid_and_a_zombie_are_proofs(folder: Path) -> None:
    starttime = process_state(os.getppid()).starttime
    assert starttime is not None
    write_lock(folder, {"pid": os.getppid(), "createdAt": iso(LONG_AGO_MS), "starttime": starttime + 1})
    zombie = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays
    write_lock(folder, {"pid": zombie.pid, "createdAt": iso(LONG_AGO_MS)}, "z.jsonl.lock")

    assert [one.action for one in clean_locks(folder)] == ["removed", "removed"]
    zombie.wait()


def test_the_lock_of_the_session_list_is_cleaned_too(folder: Path) -> None:
    write_lock(folder, {"pid": dead_pid()}, "sessions.json.lock")

    assert only(folder).action == "removed"


# --------------------------------------------------------------------------- what is not


@pytest.mark.parametrize("age_s", [0.0, 31.0, 1e7])
@pytest.mark.parametrize(
    "body",
    ["", "{", "garbage", "[]", '{"pid": null}', '{"pid": "7"}', '{"createdAt": "2020-01-01T00:00:00.000Z"}', "\0" * 9],
)  # fmt: skip
def test_a_file_that_names_nobody_is_refused_at_any_age(body: str, age_s: float, folder: Path) -> None:
    path = write_lock(folder, body, age_s=age_s)

    one = only(folder)

    assert (one.action, path.read_text()) == ("refused", body)
    assert exit_status([one]) == 1


@pytest.mark.parametrize("more", [{}, {"maxHoldMs": 1}])
def test_a_live_owner_keeps_its_lock_however_old_it_is(more: dict[str, int], folder: Path) -> None:
    path = write_lock(folder, {"pid": os.getppid(), "createdAt": iso(LONG_AGO_MS), **more}, age_s=1e8)

    one = only(folder)

    assert (one.action, path.exists(), exit_status([one])) == ("kept", True, 0)


def test_an_owner_in_another_pid_namespace_is_never_judged(folder: Path) -> None:
    mine = this_process().pid_namespace
    assert mine is not None
    path = dead(folder, pidNamespace=mine + 1)

    assert (only(folder).action, path.exists()) == ("refused", True)


def test_a_pid_that_lives_in_a_container_of_this_machine_is_not_dead(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenClaw's files do not name their namespace: a process that has the number inside its own is in doubt."""
    path = dead(folder)
    pid = json.loads(path.read_text())["pid"]
    monkeypatch.setattr(proc, "_numbers", lambda entry: [int(entry), pid] if entry == str(os.getppid()) else [])
    monkeypatch.setattr(proc, "pid_namespace", lambda: 1)

    one = only(folder)

    assert (one.action, path.exists()) == ("refused", True)
    assert f"process {os.getppid()} has that pid in its own pid namespace" in one.why


def test_the_lock_of_a_live_process_in_a_container_stays(
    folder: Path, namespace: list[str], foreign_owner: Any
) -> None:
    path = folder / "s.jsonl.lock"
    with foreign_owner([*namespace, "--mount-proc"], path, "starttime"):  # its pid, 1, is somebody else's here
        one = only(folder)
        assert (one.action, path.exists()) == ("kept", True)
        assert "in its own pid namespace" in one.why


@pytest.mark.parametrize("mount", [["--mount-proc"], []], ids=["own proc", "proc of the host"])
def test_from_within_a_container_the_lock_of_a_live_process_outside_is_refused(
    mount: list[str], folder: Path, namespace: list[str], foreign_owner: Any
) -> None:
    path = folder / "s.jsonl.lock"
    with foreign_owner([], path):
        # The pid means nobody in there, or the cleaner itself.
        inside = [*namespace, *mount, sys.executable, "-m", "lockjaw", "locks", "clean", str(folder), "--json"]
        done = subprocess.run(inside, capture_output=True, text=True, timeout=60)

    assert path.exists(), done.stdout
    assert (done.returncode, json.loads(done.stdout)["locks"][0]["action"]) == (1, "refused")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_refused(folder: Path) -> None:
    path = dead(folder)
    path.chmod(0)

    assert (only(folder).action, path.exists()) == ("refused", True)


def test_what_is_no_file_is_refused(folder: Path) -> None:
    (folder / "d.jsonl.lock").mkdir()
    (folder / "l.jsonl.lock").symlink_to(folder / "nowhere")

    assert [one.action for one in clean_locks(folder)] == ["refused", "refused"]
    assert (folder / "d.jsonl.lock").is_dir()
    assert (folder / "l.jsonl.lock").is_symlink()


def test_guards_transcripts_and_other_files_stay(folder: Path) -> None:
    dead(folder)
    for name in ("s.jsonl", "s.jsonl.guard", "other.lock", "x.tmp"):
        (folder / name).touch()

    clean_locks(folder)

    assert {"s.jsonl", "s.jsonl.guard", "other.lock", "x.tmp"} <= {path.name for path in folder.iterdir()}


def test_a_dry_run_changes_nothing(folder: Path) -> None:
    path = dead(folder)
    before = {entry.name: (entry.stat().st_mtime_ns, entry.stat().st_ino) for entry in folder.iterdir()}

    one = only(folder, dry_run=True)

    assert (one.action, exit_status([one])) == ("would remove", 0)
    assert {entry.name: (entry.stat().st_mtime_ns, entry.stat().st_ino) for entry in folder.iterdir()} == before
    assert path.exists()


# --------------------------------------------------------------------------- the race


def naive(row: LockRow) -> Cleaned:
    """The planted bug, which is what everybody writes first: it was dead when we looked."""
    row.path.unlink()
    return Cleaned(row.path, "removed", "it was dead when we looked")


def robbed(clean: Callable[[LockRow], Cleaned], folder: Path, contender: Any) -> bool:
    """Look; let somebody take the dead lock over and hold it; then clean by what was seen."""
    dead(folder)
    (row,) = list_locks(folder)
    assert row.state == "dead"
    contender.do("acquire", file=str(folder / "s.jsonl"), timeout=10.0)

    cleaned = clean(row)

    assert cleaned.action in ("kept", "removed")
    return not row.path.exists()


def test_a_lock_that_was_taken_after_we_looked_is_kept(folder: Path, actor: Callable[[], Any]) -> None:
    assert not robbed(clean_lock, folder, actor())


def test_looking_and_unlinking_robs_the_faster_one(folder: Path, actor: Callable[[], Any]) -> None:
    """The test above can fail."""
    assert robbed(naive, folder, actor())


def test_a_lock_that_was_given_back_after_we_looked_is_gone(folder: Path, actor: Callable[[], Any]) -> None:
    dead(folder)
    (row,) = list_locks(folder)
    contender = actor()
    contender.do("acquire", file=str(folder / "s.jsonl"), timeout=10.0)
    contender.do("release")

    assert clean_lock(row).action == "gone"
    assert list_locks(folder) == []


STORM = """
import os, sys, time
from pathlib import Path
from lockjaw.locking import SessionLock
from lockjaw.locking.cleaning import clean_locks
from lockjaw.locking import cleaning

folder, children, together = Path(sys.argv[1]), 24, 4
honest = cleaning.clean_lock

def clean_lock(row, **how):
    # Between looking and acting: longer than ``Settle``, by which our lock outlasts faster ones of this kind.
    time.sleep(0.03)
    if sys.argv[2] == "ours":
        return honest(row, **how)
    if row.view.alive is False:
        row.path.unlink(missing_ok=True)
    return cleaning.Cleaned(row.path, "removed", "")

cleaning.clean_lock = clean_lock
inside = folder / "inside"

def child(number):
    lock = SessionLock(folder / "s.jsonl", timeout=1000.0)
    lock.acquire()
    os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails if another one is inside
    for _ in range(20):
        time.sleep(0.002)
        os.stat(folder / "s.jsonl.lock")  # fails if our lock was removed
    inside.unlink()
    if number % 2:
        os._exit(0)  # dies with the lock
    lock.release()
    os._exit(0)

cleaner = os.fork()
if cleaner == 0:
    while not (folder / "stop").exists():
        clean_locks(folder)
    os._exit(0)
running, bad = set(), 0
for number in range(children):
    pid = os.fork()
    if pid == 0:
        try:
            child(number)
        except BaseException:
            os._exit(3)
    running.add(pid)
    # One at a time mostly, so that a dead lock lies there for a moment; now and then a queue.
    while running and (number % 8 != 0 or number == children - 1 or len(running) == together):
        pid, status = os.wait()
        if pid != cleaner:
            running.discard(pid)
            bad += status != 0
(folder / "stop").touch()
os.waitpid(cleaner, 0)
clean_locks(folder)
print(bad, (folder / "s.jsonl.lock").exists())
"""


def storm(folder: Path, cleaner: str) -> tuple[int, bool]:
    """-> how many contenders were robbed or met another one inside; is a lock left?

    By chance: the cleaner ``naive`` robs somebody in three storms of four. The barrier above needs no luck.
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", STORM, str(folder), cleaner],
        capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    bad, left = done.stdout.split()
    return int(bad), left == "True"


def test_cleaning_robs_nobody_while_contenders_come_go_and_die(folder: Path) -> None:
    assert storm(folder, "ours") == (0, False)


# --------------------------------------------------------------------------- the command


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lockjaw", "locks", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_command_says_what_it_refused_and_why(folder: Path, tmp_path: Path) -> None:
    dead(folder)
    write_lock(folder, "garbage", "g.jsonl.lock")
    write_lock(folder, {"pid": os.getpid(), "createdAt": iso(LONG_AGO_MS)}, "h.jsonl.lock")

    done = command("clean", str(tmp_path), "--json")

    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert {Path(lock["path"]).name: lock["action"] for lock in told["locks"]} == {
        "g.jsonl.lock": "refused", "h.jsonl.lock": "kept", "s.jsonl.lock": "removed",
    }  # fmt: skip
    again = command("clean", str(tmp_path))
    assert again.returncode == 1
    assert "names no owner" in again.stdout
    assert "1 refused, 1 kept" in again.stdout
    (folder / "g.jsonl.lock").unlink()
    assert command("clean", str(tmp_path), "--dry-run").returncode == 0
    assert command("clean", str(tmp_path / "nowhere")).returncode == 2


def test_the_text_fits_80_columns(folder: Path) -> None:
    write_lock(folder, {"pid": dead_pid()}, f"{'x' * 150}.jsonl.lock")

    assert max(len(line) for line in render_cleaned(clean_locks(folder, dry_run=True), folder).splitlines()) <= 80


def test_who_waits_and_how_long_it_may_last_is_listed(folder: Path, actor: Callable[[], Any]) -> None:
    first, second = actor(), actor()
    with SessionLock(folder / "s.jsonl", max_hold_s=30.0):
        first.send("acquire", file=str(folder / "s.jsonl"), timeout=60.0)
        while not list_locks(folder)[0].view.waiters:
            pass  # until it stands in the queue
        second.send("acquire", file=str(folder / "s.jsonl"), timeout=60.0)
        while len(list_locks(folder)[0].view.waiters) < 2:
            pass
        view = list_locks(folder)[0].view

    assert view.waiters == (first.pid, second.pid)
    assert view.max_hold_s == 30.0
