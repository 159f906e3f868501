"""``lockjaw serve contender``: real processes that hold, leak, die, stop and lie as they were told to."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lockjaw.clock import ScaledClock
from lockjaw.errors import LocalError
from lockjaw.fakes.contenders import contender
from lockjaw.fakes.contenders.service import ContenderPlan, ContenderService, Moment
from lockjaw.locking import LOCK_ALGORITHMS, SessionLock, SessionLocked, inspect_lock
from tests.live import live

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]
PATIENCE_S = 60.0  # real seconds after which a test gives up; never what it measures


class Service:
    """A service in a thread of its own, which lives as long as its processes."""

    def __init__(self, session: Path, plan: ContenderPlan) -> None:
        self.clock = ScaledClock.start(1.0)
        self.entries: list[dict[str, Any]] = []
        self.service = ContenderService(session, plan, clock=self.clock, on_entry=self._saw)
        self._news, self.ready = threading.Condition(), threading.Event()
        self.status: int | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.status = self.service.run(self.ready.set)

    def _saw(self, entry: dict[str, Any]) -> None:
        self.entries.append(entry)
        with self._news:
            self._news.notify_all()

    def wait(self, ev: str, count: int = 1) -> dict[str, Any]:
        """The entry of this kind that came as number ``count``."""

        def there() -> bool:
            return len(self.all(ev)) >= count

        with self._news:
            while not there():
                assert self._news.wait(PATIENCE_S), f"no {ev}: {self.entries}"
        return self.all(ev)[count - 1]

    def all(self, ev: str) -> list[dict[str, Any]]:
        return [entry for entry in self.entries if entry["ev"] == ev]

    def over(self) -> int:
        """The exit status, when the plan is over by itself."""
        self._thread.join(PATIENCE_S)
        assert self.status is not None
        assert [psutil.pid_exists(entry["pid"]) for entry in self.all("started")] == [False] * len(self.all("started"))
        return self.status

    def stop(self) -> int:
        self.service.stop()
        return self.over()


@pytest.fixture
def session(tmp_path: Path) -> Path:
    return tmp_path / "s.jsonl"


@pytest.fixture
def begin(session: Path) -> Iterator[Callable[..., Service]]:
    services: list[Service] = []

    def start(**plan: Any) -> Service:
        one = Service(session, ContenderPlan(**plan))
        services.append(one)
        assert one.ready.wait(PATIENCE_S)
        return one

    yield start
    for one in services:
        one.stop()


@pytest.mark.parametrize("algorithm", list(LOCK_ALGORITHMS))
def test_contenders_of_every_algorithm_hold_it_one_after_the_other(algorithm: str, begin: Any) -> None:
    one = begin(count=2, algorithm=algorithm, hold_s=0.02, think_s=0.01, rounds=3, timeout_s=60.0)
    assert one.over() == 0
    assert len(one.all("released")) == 6
    # What is written down lies inside the hold: "holds" after it was got, "released" after it was given back.
    holding: set[int] = set()
    for entry in one.entries:
        if entry["ev"] == "holds":
            holding.add(entry["contender"])
        elif entry["ev"] == "released":
            holding.discard(entry["contender"])
    assert holding == set()
    starts = sorted(entry["t"] for entry in one.all("holds"))
    assert all(later - earlier >= 0.015 for earlier, later in itertools.pairwise(starts))


def test_a_holder_without_an_end_holds_until_it_is_stopped(begin: Any, session: Path) -> None:
    one = begin(count=2)
    pids = {entry["pid"] for entry in one.all("started")}
    with pytest.raises(SessionLocked) as locked:
        SessionLock(session, timeout=0.1).acquire()
    assert any(f"pid={pid}" in str(locked.value) for pid in pids)
    assert one.stop() == 0
    with SessionLock(session, timeout=5.0) as held:
        assert held.reclaimed == ""  # it was given back, not left


def test_one_that_does_not_get_it_in_time_is_a_failure(begin: Any, session: Path) -> None:
    with SessionLock(session):
        one = begin(timeout_s=0.1)
        assert one.over() == 1
    assert "session file locked (timeout 100ms)" in one.wait("failed")["error"]


def test_a_leaked_lock_is_held_until_the_end_of_its_process(begin: Any, session: Path) -> None:
    one = begin(leak=True)
    one.wait("leaked")
    with pytest.raises(SessionLocked):
        SessionLock(session, timeout=0.1).acquire()
    assert one.stop() == 0
    with SessionLock(session, timeout=5.0):
        pass


@pytest.mark.parametrize("step", ["held", "WriteInPlace"])
@pytest.mark.parametrize("algorithm", ["guarded", "coarse"])
def test_one_killed_at_its_step_leaves_what_it_leaves_and_the_next_gets_the_lock(
    algorithm: str, step: str, begin: Any, session: Path
) -> None:
    one = begin(algorithm=algorithm, kill_at=Moment.parse(step))
    assert one.over() == 0
    assert one.wait("killed")["signal"] == "SIGKILL"
    assert len(one.all("holds")) == (1 if step == "held" else 0)
    if (algorithm, step) == ("coarse", "held"):
        assert inspect_lock(session).pid == one.wait("started")["pid"]
    if (algorithm, step) == ("coarse", "WriteInPlace"):  # an empty file that names nobody: the old lock's own fault
        with pytest.raises(SessionLocked, match="unknown"):
            SessionLock(session, timeout=0.1, algorithm=algorithm).acquire()
        return
    with SessionLock(session, timeout=60.0, algorithm=algorithm):
        pass


def test_a_step_that_never_comes_is_a_failure(begin: Any) -> None:
    one = begin(kill_at=Moment("held", 3), hold_s=0.0, rounds=2)
    assert one.over() == 1
    assert one.wait("failed")["error"] == "it never came to held:3"


def test_one_that_stands_still_goes_on_when_its_time_is_over(begin: Any, session: Path) -> None:
    one = begin(pause_at=Moment("held"), pause_s=0.5, hold_s=0.0)
    with pytest.raises(SessionLocked):
        SessionLock(session, timeout=0.05).acquire()
    assert one.over() == 0
    assert one.wait("resumed")["t"] - one.wait("paused")["t"] >= 0.5
    assert len(one.all("released")) == 1


def test_one_that_stands_still_for_good_is_reaped(begin: Any) -> None:
    one = begin(pause_at=Moment("LinkFile"))
    pid = one.wait("started")["pid"]
    assert psutil.Process(pid).status() == psutil.STATUS_STOPPED
    assert one.stop() == 0


# --------------------------------------------------------------------------- lock files without a holder


def test_a_foreign_pid_that_lives_keeps_everybody_out_and_is_taken_away_in_the_end(begin: Any, session: Path) -> None:
    one = begin(pid=os.getppid())
    with pytest.raises(SessionLocked, match=f"pid={os.getppid()}"):
        SessionLock(session, timeout=0.1).acquire()
    assert one.stop() == 0
    assert not contender.lock_file_of(session).exists()


def test_the_pid_of_a_recycled_process_keeps_nobody_out(begin: Any, session: Path) -> None:
    one = begin(recycled=True)
    assert str(os.getpid()) in one.wait("planted")["text"]
    with SessionLock(session, timeout=5.0) as held:
        assert held.reclaimed
    assert one.stop() == 0
    assert len(one.all("gone")) == 1


def test_garbage_is_planted_and_left_alone_if_somebody_wrote_to_it(begin: Any, session: Path) -> None:
    one = begin(garbage="{]")
    path = contender.lock_file_of(session)
    assert path.read_text(encoding="utf-8") == "{]"
    path.write_text("mine", encoding="utf-8")
    assert one.stop() == 0
    assert path.read_text(encoding="utf-8") == "mine"
    with pytest.raises(LocalError, match="is there already"):
        ContenderService(session, ContenderPlan(garbage="x")).run(lambda: None)


# --------------------------------------------------------------------------- another pid namespace


def in_namespaces() -> bool:
    try:
        contender.namespace_command()
    except LocalError:
        return False
    return True


needs_namespaces = pytest.mark.skipif(not in_namespaces(), reason="the kernel gives us no pid namespace")


@needs_namespaces
def test_a_holder_in_another_pid_namespace_is_waited_for_and_its_death_is_noticed(begin: Any, session: Path) -> None:
    one = begin(namespace=True, kill_at=Moment("held", 2), hold_s=0.3, rounds=2)
    here = os.stat("/proc/self/ns/pid").st_ino
    view = inspect_lock(session)
    assert view.pid is not None
    assert view.pid < 10  # counted from 1 over there
    assert view.pid != one.wait("started")["pid"]
    assert f'"pidNamespace": {here}' not in contender.lock_file_of(session).read_text(encoding="utf-8")
    with pytest.raises(SessionLocked):
        SessionLock(session, timeout=0.05).acquire()
    assert one.over() == 0
    with SessionLock(session, timeout=10.0) as held:
        assert held.reclaimed


def test_a_machine_without_pid_namespaces_says_so(monkeypatch: pytest.MonkeyPatch, session: Path) -> None:
    def refused(command: Any, **options: Any) -> Any:
        return subprocess.CompletedProcess(command, 1, "", "unshare: unshare failed: Operation not permitted\n")

    monkeypatch.setattr(subprocess, "run", refused)
    with pytest.raises(LocalError, match=r"no.* pid namespace .*Operation not permitted.*run as root"):
        ContenderService(session, ContenderPlan(namespace=True)).run(lambda: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(LocalError, match="needs the program `unshare`"):
        ContenderService(session, ContenderPlan(namespace=True)).run(lambda: None)


# --------------------------------------------------------------------------- refusals, and the command


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        ({"algorithm": "hope"}, "unknown lock algorithm 'hope'; known: "),
        ({"kill_at": Moment("held"), "pause_at": Moment("held")}, "not both"),
        ({"pause_s": 1.0}, "--pause-at STEP"),
        ({"garbage": "x", "pid": 1}, "one content"),
        ({"pid": 1, "leak": True}, "has no living owner"),
        ({"rounds": 2}, "--hold"),
    ],
)
def test_plans_that_make_no_sense_are_refused(plan: dict[str, Any], text: str) -> None:
    with pytest.raises(LocalError, match=text):
        ContenderPlan(**plan)


@pytest.mark.parametrize("step", ["Close:0", "Sleep", "WaitForRelease", "Rename", "Link", "Straight"])
def test_steps_that_no_lock_comes_to_are_refused(step: str) -> None:
    """An algorithm's waits are no operations, and an operation that none of them uses would never be met."""
    with pytest.raises(LocalError, match=rf"expected STEP or STEP:N, got '{step}'; the steps: held, Close"):
        Moment.parse(step)


@pytest.mark.parametrize(
    ("number", "more"),
    [
        (signal.SIGINT, ()),
        (signal.SIGTERM, ()),
        (signal.SIGKILL, ()),
        pytest.param(signal.SIGINT, ("--namespace",), marks=needs_namespaces),
        pytest.param(signal.SIGKILL, ("--namespace",), marks=needs_namespaces),
    ],
)
async def test_however_the_command_ends_no_contender_is_left(
    number: signal.Signals, more: tuple[str, ...], tmp_path: Path
) -> None:
    async with live(tmp_path) as one:
        journal = tmp_path / "journal.jsonl"
        options = ("--count", "3", "--pause-at", "held", "--journal", str(journal))
        command = await one.server("contenders", "serve", "contender", "s.jsonl", *options, *more)
        below = psutil.Process(command.pid).children(recursive=True)
        assert len(below) == (9 if more else 3)  # in a namespace each has `unshare` and an init above it
        async with asyncio.timeout(PATIENCE_S):  # all are up; the first one comes to its step a moment later
            while psutil.STATUS_STOPPED not in [process.status() for process in below]:
                await asyncio.sleep(0.01)
        command.send(number)
        status = await command.ended()
        gone, left = psutil.wait_procs(below, timeout=PATIENCE_S)
        assert (len(gone), left) == (len(below), [])
        assert one.orphans() == []
        if number != signal.SIGKILL:
            assert status == 1  # two of them never held it, so they never stood still
            assert (
                "contender 1 failed error=it never came to held:1" in command.stderr() or "paused" in command.stderr()
            )
            assert all('"wall_ms":' in line for line in journal.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("place", ["a folder", "a link into nothing", "no database"])
def test_a_database_that_cannot_be_opened_is_a_sentence_of_the_contender(place: str, tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    if place == "a folder":
        file.mkdir()
        with pytest.raises(LocalError, match=r"store\.db is a folder; name a file"):
            ContenderService(file, ContenderPlan(algorithm="sqlite"), clock=ScaledClock.start(1.0)).run(lambda: None)
        return
    if place == "no database":
        file.write_text("hello")
    else:
        file.symlink_to("nowhere/store.db")
    one = Service(file, ContenderPlan(algorithm="sqlite", timeout_s=1.0))
    assert one.over() == 1
    assert "database" in one.wait("failed")["error"]


def test_a_hold_of_infinite_seconds_ends_when_it_is_stopped(begin: Any) -> None:
    one = begin(hold_s=float("inf"))
    one.wait("holds")
    assert one.stop() == 0


def test_stop_waits_for_no_lock_that_the_signalled_thread_may_hold(tmp_path: Path) -> None:
    """A signal comes while the main thread waits for the event of the plan's end, and holds the event's lock."""
    service = ContenderService(tmp_path / "s.jsonl", ContenderPlan())
    with service._over._cond:
        caller = threading.Thread(target=service.stop, daemon=True)
        caller.start()
        caller.join(5.0)
        assert not caller.is_alive()
