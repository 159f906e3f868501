"""A simulated process lets its guards rest as a real one does, so that sweeps and seeds go the short way, too."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

from lockjaw.harness.sim.disk import Disk
from lockjaw.harness.sim.locks import SimHost, Waiters
from lockjaw.harness.sim.process import Process, SimClock
from lockjaw.harness.sim.tape import POINT_BOUND, SparseChoices
from lockjaw.harness.sim.world import World
from lockjaw.locking import SessionLock, kernel
from lockjaw.locking.guard_record import state
from lockjaw.locking.host import THIS_HOST


class Real:
    """A session on this machine."""

    def __init__(self, folder: Path) -> None:
        self.lock = SessionLock(folder / "s.jsonl", timeout=1.0, host=THIS_HOST)
        self.guard = folder / "s.jsonl.guard"

    def inside(self) -> AbstractContextManager[None]:
        return nullcontext()

    def said(self) -> int:
        return state(self.guard.read_bytes()).generation

    def remove_guard(self) -> None:
        self.guard.unlink()

    def open_guards(self) -> int:
        return len(kernel._resting._by_path.get(str(self.guard), []))

    def later(self, patch: pytest.MonkeyPatch) -> None:
        now = kernel._resting._now
        patch.setattr(kernel._resting, "_now", lambda: now() + 1.0)


class Simulated:
    """The same session in a world of one process."""

    def __init__(self, folder: Path) -> None:
        self.world = World(SparseChoices({}))
        self.disk = Disk(lambda: self.world.now)
        self.disk.make_folder("/d")
        self.process = self.start("p")
        self.lock = self.lock_of(self.process)
        self.guard = "/d/s.jsonl.guard"

    def start(self, name: str) -> Process:
        process = self.world.start(name, "p")
        process.at_death.append(lambda: self.disk.close_all(process))
        return process

    def lock_of(self, process: Process) -> SessionLock:
        return SessionLock(
            "/d/s.jsonl", timeout=1.0, clock=SimClock(process), host=SimHost(process, self.disk, Waiters())
        )

    def inside(self) -> AbstractContextManager[None]:
        return running(self.process)

    def said(self) -> int:
        return state(bytes(self.disk.names[self.guard].data)).generation

    def remove_guard(self) -> None:
        self.disk.unlink(self.guard)

    def open_guards(self) -> int:
        return sum(file.path == self.guard for file in self.disk.open_files.values())

    def later(self, patch: pytest.MonkeyPatch) -> None:
        self.world.now += 1.0


@pytest.fixture(params=[Real, Simulated])
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Real | Simulated]:
    yield request.param(tmp_path)
    kernel._resting.close_all()


@contextmanager
def running(process: Process) -> Iterator[None]:
    """As if this were a callback of the process' event loop."""
    asyncio._set_running_loop(process.loop)
    try:
        yield
    finally:
        asyncio._set_running_loop(None)


def turn(session: Real | Simulated) -> tuple[int, int]:
    """The generation that was granted, and the one that the guard says is the highest."""
    with session.inside(), session.lock as held:
        return held.generation, session.said()


def test_generations_are_reserved_alike(session: Real | Simulated) -> None:
    assert [turn(session) for _ in range(6)] == [(1, 1), (2, 3), (3, 3), (4, 7), (5, 7), (6, 7)]
    assert session.open_guards() == 1


def test_guard_that_was_removed_rests_no_longer(session: Real | Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [turn(session) for _ in range(2)] == [(1, 1), (2, 3)]
    session.remove_guard()
    session.later(monkeypatch)
    assert turn(session) == (1, 1)  # of a new file
    assert session.open_guards() == 1


def test_taking_the_lock_again_takes_fewer_operations() -> None:
    session = Simulated(Path())
    counts = []
    for _ in range(3):
        before = len(session.world.choices.tape)
        turn(session)
        counts.append(sum(choice.bound == POINT_BOUND for choice in session.world.choices.tape[before:]))
    assert counts == [12, 11, 10]  # without a look for the lock file, then without a record


def test_what_rests_dies_with_its_process() -> None:
    session = Simulated(Path())
    turn(session)
    assert session.open_guards() == 1
    session.world.kill(session.process)
    assert session.open_guards() == 0
    other = session.start("other")
    with running(other), session.lock_of(other) as held:
        assert (held.generation, held.reclaimed) == (2, "")


def test_processes_share_no_guard_that_rests() -> None:
    session = Simulated(Path())
    other = session.start("other")
    lock = session.lock_of(other)
    for _ in range(3):
        turn(session)
        with running(other), lock:
            assert session.open_guards() == 2
    assert session.open_guards() == 2
