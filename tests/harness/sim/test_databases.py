"""Databases in the simulation behave as SQLite's do between real processes: one body of tests for both."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lockjaw.clock import Clock
from lockjaw.databases import DatabaseBusy
from lockjaw.files import LOCAL_FILES, Files
from lockjaw.harness.sim.disk import Disk
from lockjaw.harness.sim.engine import enclosed
from lockjaw.harness.sim.files import SimFiles
from lockjaw.harness.sim.process import Process, SimClock
from lockjaw.harness.sim.tape import CRASH_AFTER, CRASH_BEFORE, FIRST_FAULT, TEAR, Place, SparseChoices
from lockjaw.harness.sim.world import World
from lockjaw.sessions import Transcript, read_entries
from tests.sessions.conftest import ManualClock

SQL = ("CREATE TABLE IF NOT EXISTS t (x)", "INSERT INTO t VALUES (1)")


def add(files: Files, path: Path, clock: Clock, wait_s: float = 5.0) -> None:
    with files.databases.writing(path, wait_s=wait_s, clock=clock) as transaction:
        for statement in SQL:
            transaction.all(statement)
        transaction.commit()


def count(files: Files, path: Path) -> int:
    with files.databases.reading(path) as transaction:
        return int(transaction.all("SELECT count(*) FROM t")[0][0])


def one_writer_and_snapshots(files: Files, path: Path, clock: Clock) -> list[object]:
    """What a program sees that works with several transactions at once."""
    seen: list[object] = []
    try:
        count(files, path)
    except OSError as error:
        seen.append(error.errno)
    add(files, path, clock)
    with files.databases.reading(path) as before:
        add(files, path, clock)  # a reader is in no writer's way
        seen.append(before.all("SELECT count(*) FROM t")[0][0])
    with files.databases.writing(path, wait_s=5.0, clock=clock) as open_one:
        open_one.all(SQL[1])
        seen.append(count(files, path))  # not committed
        began = clock.monotonic()
        try:
            add(files, path, clock, wait_s=2.0)
        except DatabaseBusy as busy:
            seen += [str(busy).partition(":")[0], busy.waited_s, round(clock.monotonic() - began, 3)]
    seen.append(count(files, path))  # ended without a commit
    add(files, path, clock)
    return [*seen, count(files, path), files.exists(path)]


EXPECTED = [errno.ENOENT, 1, 2, "database is locked", 2.0, 2.0, 2, 3, True]


class Arena:
    """Some simulated processes with one disk."""

    def __init__(self, choices: dict[Place, int] | None = None) -> None:
        self.world = World(SparseChoices(choices or {}))
        self.disk = Disk(lambda: self.world.now)
        self.disk.make_folder("/sim")
        self.world.log.disk = self.disk
        self.done: list[object] = []

    def start(self, name: str, act: Callable[[Files, Clock], Any]) -> Process:
        process = self.world.start(name, "test")
        process.at_death.append(lambda: self.disk.close_all(process))
        files, clock = SimFiles(process, self.disk), SimClock(process)

        async def run() -> None:
            result = act(files, clock)
            self.done.append((name, await result if hasattr(result, "__await__") else result, self.world.now))

        process.spawn(run(), name)
        return process

    def play(self, until: float = 100.0) -> None:
        enclosed(self.world, lambda: self.world.run(until))


PATH = Path("/sim/s.sqlite")


def test_real_and_simulated_databases_are_alike(tmp_path: Path) -> None:
    assert one_writer_and_snapshots(LOCAL_FILES, tmp_path / "s.sqlite", ManualClock()) == EXPECTED
    arena = Arena()
    arena.start("a", lambda files, clock: one_writer_and_snapshots(files, PATH, clock))
    arena.play()
    assert [seen for _, seen, _ in arena.done] == [EXPECTED]


def hold(files: Files, clock: Clock, for_s: float) -> None:
    with files.databases.writing(PATH, wait_s=60.0, clock=clock) as transaction:
        transaction.all(SQL[0])
        clock.sleep_blocking(for_s)
        transaction.commit()


def test_writer_waits_for_another_process_and_no_longer_than_told() -> None:
    arena = Arena()
    arena.start("holder", lambda files, clock: hold(files, clock, 10.0))

    async def both(files: Files, clock: Clock) -> list[object]:
        await clock.sleep(1.0)
        try:
            add(files, PATH, clock, wait_s=3.0)
        except DatabaseBusy:
            given_up_s = clock.monotonic()
        add(files, PATH, clock, wait_s=60.0)
        return [given_up_s, count(files, PATH)]

    arena.start("waiter", both)
    arena.play()
    assert [name for name, _, _ in arena.done] == ["holder", "waiter"]
    (_, _, free_s), (_, [given_up_s, rows], got_s) = arena.done  # type: ignore[misc]
    assert (free_s, round(given_up_s, 6), rows) == (10.0, 4.0, 1)
    assert free_s <= got_s <= free_s + 0.1


def test_aside_leaves_the_rest_of_the_process_alone_and_blocking_does_not() -> None:
    for aside in (True, False):
        arena = Arena()
        arena.start("holder", lambda files, clock: hold(files, clock, 10.0))

        async def work(files: Files, clock: Clock, aside: bool = aside) -> list[float]:
            beats: list[float] = []

            async def beat() -> None:
                while True:
                    await clock.sleep(1.0)
                    beats.append(clock.monotonic())

            task = asyncio.ensure_future(beat())
            await clock.sleep(0.5)
            if aside:
                await files.databases.aside(PATH, lambda: add(files, PATH, clock), wait_s=60.0, clock=clock)
            else:
                add(files, PATH, clock, wait_s=60.0)
            task.cancel()
            return beats

        arena.start("other", work)
        arena.play()
        beats = next(seen for name, seen, _ in arena.done if name == "other")
        assert len(beats) == (10 if aside else 0), beats  # type: ignore[arg-type]


def test_append_aside_waits_as_long_as_it_is_told_and_then_says_so() -> None:
    arena = Arena()
    arena.start("holder", lambda files, clock: hold(files, clock, 10.0))

    async def work(files: Files, clock: Clock) -> str:
        await clock.sleep(0.5)
        transcript = Transcript.open(PATH, session_id="s", cwd=PATH.parent, clock=clock, files=files, wait_s=3.0)
        try:
            await transcript.aside(lambda: transcript.append_custom("x", {}))
        except DatabaseBusy:
            return "busy"
        return "written"

    arena.start("other", work)
    arena.play()
    (name, seen, at_s) = arena.done[0]  # type: ignore[misc]
    assert (name, seen) == ("other", "busy")
    assert 3.5 <= at_s <= 3.6


@pytest.mark.parametrize("value", [CRASH_BEFORE, CRASH_AFTER, TEAR, FIRST_FAULT])
def test_process_that_ends_at_any_point_leaves_its_transaction_or_nothing_and_frees_the_database(value: int) -> None:
    """The next one gets the database at once, and finds all of a commit or none."""
    for operation in ("Begin", "Commit"):
        arena = Arena({Place(f"writer: {operation} s.sqlite", 0): value})
        told: list[str] = []

        def write(files: Files, clock: Clock, told: list[str] = told) -> None:
            transcript = Transcript.open(PATH, session_id="s", cwd=Path("/sim"), clock=clock, files=files)
            with suppress(OSError):
                told.append(transcript.append_custom("x", {}))

        async def follow(files: Files, clock: Clock, told: list[str] = told) -> tuple[list[str], float]:
            await clock.sleep(50.0)
            found = [entry.id for entry in read_entries(PATH, files=files).entries]
            began = clock.monotonic()
            add(files, PATH, clock, wait_s=20.0)
            return found, clock.monotonic() - began

        arena.start("writer", write)
        arena.start("next", follow)
        arena.play()
        found, waited_s = next(seen for name, seen, _ in arena.done if name == "next")  # type: ignore[misc]
        assert waited_s == 0.0
        assert set(told) <= set(found)
        assert len(found) == int(value == CRASH_AFTER and operation == "Commit")


def test_two_runs_of_the_same_choices_are_the_same() -> None:
    histories = []
    for _ in range(2):
        arena = Arena()
        arena.start("holder", lambda files, clock: hold(files, clock, 1.0))
        arena.start("other", lambda files, clock: add(files, PATH, clock, wait_s=60.0))
        arena.play()
        histories.append((arena.done, arena.world.log.steps))
    assert histories[0] == histories[1]
    assert os.fspath(PATH).rpartition("/")[2] in str(histories[0][1])
