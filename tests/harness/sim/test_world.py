"""Virtual time, processes, death, escapes; the disk and its locks."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lockjaw.errors import ConnectionLost, HarnessError
from lockjaw.harness.faults.heal import Heal
from lockjaw.harness.faults.part import Part
from lockjaw.harness.sim.disk import Disk
from lockjaw.harness.sim.engine import enclosed
from lockjaw.harness.sim.escapes import SimulationEscape
from lockjaw.harness.sim.files import SimFiles
from lockjaw.harness.sim.network import End, Network
from lockjaw.harness.sim.process import HARNESS, Process, SimClock, SimRecorder
from lockjaw.harness.sim.tape import CRASH_AFTER, CRASH_BEFORE, FIRST_FAULT, TEAR, Place, SparseChoices
from lockjaw.harness.sim.view import View
from lockjaw.harness.sim.wires import Wire
from lockjaw.harness.sim.world import World


class Stage:
    """A world with a disk; ``play`` runs coroutine functions, one process each, to their end."""

    def __init__(self, **deviations: int) -> None:
        places = {Place(label.replace("__", ": ").replace("_", " "), 0): value for label, value in deviations.items()}
        self.choices = SparseChoices(places)
        self.world = World(self.choices)
        self.disk = Disk(lambda: self.world.now)
        self.disk.make_folder("/d")
        self.seen: list[tuple[float, object]] = []

    def note(self, what: object) -> None:
        self.seen.append((round(self.world.now, 6), what))

    def start(self, name: str, act: Callable[[Process], object]) -> Process:
        process = self.world.start(name, name)
        process.at_death.append(lambda: self.disk.close_all(process))
        task = process.spawn(act(process), name)
        task.add_done_callback(lambda task: self._ended(process, task))
        return process

    def _ended(self, process: Process, task: asyncio.Task[object]) -> None:
        self.failed = None if task.cancelled() else task.exception()
        if process.alive:
            self.world.kill(process, 0)

    def run(self) -> None:
        enclosed(
            self.world, lambda: self.world.run(1000.0, done=lambda: not any(p.alive for p in self.world.processes))
        )


def test_waiting_costs_no_real_time() -> None:
    stage = Stage()

    async def sleeper(process: Process) -> None:
        await SimClock(process).sleep(900.0)
        stage.note("awake")

    began = time.monotonic()
    stage.start("p", sleeper)
    stage.run()
    assert stage.seen == [(900.0, "awake")]
    assert time.monotonic() - began < 5.0  # far below 900; generous for a busy machine


def test_a_paused_process_is_not_served_and_its_timers_wait() -> None:
    stage = Stage()

    async def sleeper(process: Process) -> None:
        await asyncio.sleep(1.0)
        stage.note("awake")

    process = stage.start("p", sleeper)
    stage.world.at(0.5, stage.world.pause, process)
    stage.world.at(7.0, stage.world.resume, process)
    stage.run()
    assert stage.seen == [(7.0, "awake")]


def test_others_run_while_one_is_inside_a_system_call() -> None:
    stage = Stage(slow__Create_f=7)  # 12 s

    async def slow(process: Process) -> None:
        SimFiles(process, stage.disk).open("/d/f", os.O_WRONLY | os.O_CREAT)
        stage.note("slow has the file")

    async def quick(process: Process) -> None:
        await asyncio.sleep(3.0)
        stage.note(f"file there: {'/d/f' in stage.disk.names}")

    stage.start("slow", slow)
    stage.start("quick", quick)
    stage.run()
    assert stage.seen == [(3.0, "file there: False"), (12.0, "slow has the file")]


def test_a_process_inside_a_system_call_runs_nothing_of_its_own() -> None:
    stage = Stage(slow__Create_f=7)  # 12 s

    async def slow(process: Process) -> None:
        async def other() -> None:
            await asyncio.sleep(3.0)
            stage.note("its other task")

        task = asyncio.create_task(other())
        await asyncio.sleep(0)
        SimFiles(process, stage.disk).open("/d/f", os.O_WRONLY | os.O_CREAT)
        await task

    stage.start("slow", slow)
    stage.run()
    assert stage.seen == [(12.0, "its other task")]


def test_each_of_two_delayed_processes_goes_on_when_its_own_delay_is_over() -> None:
    """The one that was delayed first is free first, although the other one's delay began inside its own."""
    stage = Stage(first__Create_f=6, second__Create_g=7)  # 4 s, 12 s

    async def first(process: Process) -> None:
        SimFiles(process, stage.disk).open("/d/f", os.O_WRONLY | os.O_CREAT)
        stage.note("first has its file")

    async def second(process: Process) -> None:
        await asyncio.sleep(1.0)
        SimFiles(process, stage.disk).open("/d/g", os.O_WRONLY | os.O_CREAT)
        stage.note("second has its file")

    stage.start("first", first)
    stage.start("second", second)
    stage.run()
    assert stage.seen == [(4.0, "first has its file"), (13.0, "second has its file")]


def test_a_process_killed_inside_a_system_call_is_dead_at_once_and_the_other_one_goes_on() -> None:
    stage = Stage(first__Create_f=7, second__Create_g=6)  # 12 s, 4 s

    async def first(process: Process) -> None:
        try:
            SimFiles(process, stage.disk).open("/d/f", os.O_WRONLY | os.O_CREAT)
        finally:
            stage.note("its cleanup code")
            SimFiles(process, stage.disk).open("/d/h", os.O_WRONLY | os.O_CREAT)

    async def second(process: Process) -> None:
        SimFiles(process, stage.disk).open("/d/g", os.O_WRONLY | os.O_CREAT)
        stage.note("second has its file")

    process = stage.start("first", first)
    stage.start("second", second)
    stage.world.at(2.0, stage.world.kill, process)
    stage.run()
    assert stage.seen == [(2.0, "its cleanup code"), (4.0, "second has its file")]
    assert sorted(stage.disk.names) == ["/d/g"]


def test_a_process_paused_inside_a_system_call_goes_on_when_it_is_resumed() -> None:
    stage = Stage(p__Create_f=6)  # 4 s

    async def creates(process: Process) -> None:
        SimFiles(process, stage.disk).open("/d/f", os.O_WRONLY | os.O_CREAT)
        stage.note("has its file")

    process = stage.start("p", creates)
    stage.world.at(3.0, stage.world.pause, process)
    stage.world.at(60.0, stage.world.resume, process)
    stage.run()
    assert stage.seen == [(60.0, "has its file")]


def test_of_two_whose_calls_end_at_one_instant_a_choice_says_who_goes_on() -> None:
    for value, order in ((0, ["a", "b"]), (1, ["b", "a"])):
        stage = Stage(a__Create_f=6, b__Create_g=6)
        stage.choices = SparseChoices(
            {Place("a: Create f", 0): 6, Place("b: Create g", 0): 6, Place("next: a|b", 1): value}
        )
        stage.world.choices = stage.choices
        seen: list[str] = []

        def create(name: str, stage: Stage = stage, seen: list[str] = seen) -> Callable[[Process], object]:
            async def creates(process: Process) -> None:
                path = "/d/f" if process.name == "a" else "/d/g"
                SimFiles(process, stage.disk).open(path, os.O_WRONLY | os.O_CREAT)  # type: ignore[arg-type]
                seen.append(process.name)

            return creates

        stage.start("a", create("a"))
        stage.start("b", create("b"))
        stage.run()
        assert seen == order


def test_the_harness_is_left_alone_by_choices() -> None:
    world = World(SparseChoices({Place("harness: Read f", 0): CRASH_BEFORE}))
    actor = world.start(HARNESS, HARNESS)
    assert world.point(actor, "Read", "/d/f") == 0
    assert world.choices.tape == []


@pytest.mark.parametrize(("value", "left"), [(CRASH_BEFORE, b""), (CRASH_AFTER, b"0123456789"), (TEAR, b"01234")])
def test_no_finally_block_of_a_killed_process_has_an_effect(value: int, left: bytes) -> None:
    stage = Stage(p__Append_f=value)

    async def writer(process: Process) -> None:
        files = SimFiles(process, stage.disk)
        fd = files.open("/d/f", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            files.write(fd, b"0123456789")
            stage.note("never")
        finally:
            SimRecorder(process).record("leftover")
            files.remove("/d/f")
            await asyncio.sleep(0)
            stage.note("nor this")

    process = stage.start("p", writer)
    stage.run()
    assert bytes(stage.disk.names["/d/f"].data) == left
    assert stage.seen == []
    assert [record.op for record in stage.world.history] == ["nemesis"]
    assert (process.alive, process.zombie, process.code) == (False, True, -9)
    assert stage.disk.open_files == {}


def test_a_fault_is_an_os_error_without_an_effect() -> None:
    stage = Stage(p__Append_f=FIRST_FAULT + 1)

    async def writer(process: Process) -> None:
        files = SimFiles(process, stage.disk)
        fd = files.open("/d/f", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        with pytest.raises(OSError) as caught:
            files.write(fd, b"x")
        assert caught.value.errno == errno.ENOSPC
        assert files.write(fd, b"y") == 1
        stage.note("went on")

    stage.start("p", writer)
    stage.run()
    assert stage.seen == [(0.0, "went on")]
    assert bytes(stage.disk.names["/d/f"].data) == b"y"


def test_a_pid_can_be_used_again() -> None:
    world = World(SparseChoices({}))
    first = world.start("a", "a")
    world.kill(first)
    assert world.find(first.pid, 1) is first  # a zombie until it is reaped
    world.reap(first)
    assert world.find(first.pid, 1) is None
    world.now, world.pid_reuse = 5.0, [first.pid]
    second = world.start("b", "b")
    assert (second.pid, second.starttime == first.starttime) == (first.pid, False)
    assert world.find(first.pid, 2) is None  # in another pid namespace it is nobody


def test_the_machine_sees_the_processes_of_its_containers_by_numbers_of_its_own() -> None:
    world = World(SparseChoices({}))
    inside, sibling = world.start("a", "a", namespace=2), world.start("b", "b", namespace=3)
    assert world.find(inside.pid, 1) is None
    assert world.find(inside.host_pid, 1) is inside
    assert world.find_elsewhere(inside.pid, inside.starttime, 1) is inside
    assert world.find_elsewhere(inside.pid, inside.starttime + 1, 1) is None
    assert world.find_elsewhere(sibling.pid, None, 2) is None  # from within a container nobody else is seen
    world.kill(inside)
    assert world.find_elsewhere(inside.pid, None, 1) is None


ESCAPES = [
    ("open", lambda: open("/dev/null")),  # noqa: SIM115
    ("os.open", lambda: os.open("/dev/null", os.O_RDONLY)),
    ("io.open", lambda: Path("/dev/null").open()),  # noqa: SIM115
    ("os.stat", lambda: Path("/dev/null").exists()),
    ("time.time", lambda: time.time()),
    ("time.monotonic", lambda: time.monotonic()),
    ("time.sleep", lambda: time.sleep(0)),
    ("socket.socket", lambda: socket.socket()),
    ("subprocess.Popen", lambda: subprocess.Popen(["true"])),
    ("Thread.start", lambda: threading.Thread(target=print).start()),
    ("loop.run_in_executor", lambda: asyncio.get_running_loop().run_in_executor(None, print)),
    ("loop.create_connection", lambda: asyncio.get_running_loop().create_connection()),
]


@pytest.mark.parametrize(("name", "escape"), ESCAPES, ids=[name for name, _ in ESCAPES])
def test_an_escape_fails_with_its_name_and_a_hint(name: str, escape: Callable[[], object]) -> None:
    stage = Stage()

    async def fugitive(process: Process) -> None:
        try:
            escape()
        except Exception as error:
            stage.note(error)  # swallowed by the code under simulation ...

    stage.start("p", fugitive)
    if name.startswith("loop."):
        stage.run()
        error = stage.seen[0][1]
    else:
        with pytest.raises(SimulationEscape) as caught:  # ... and raised by the simulation all the same
            stage.run()
        error = caught.value
    assert isinstance(error, SimulationEscape)
    assert error.escape == name
    assert error.hint in str(error)
    assert len(error.hint) > 10


def test_the_ways_out_are_open_again_afterwards(tmp_path: Path) -> None:
    before = (open, os.open, time.time, socket.socket, subprocess.Popen, threading.Thread.start)
    stage = Stage()

    async def nothing(process: Process) -> None:
        assert open is not before[0]

    stage.start("p", nothing)
    stage.run()
    assert before == (open, os.open, time.time, socket.socket, subprocess.Popen, threading.Thread.start)
    (tmp_path / "x").write_text("real")


def test_a_world_in_which_nothing_can_happen_says_so() -> None:
    stage = Stage()

    async def waits(process: Process) -> None:
        await asyncio.Event().wait()

    stage.start("p", waits)
    with pytest.raises(HarnessError, match="stands still"):
        enclosed(stage.world, stage.world.run)


# --------------------------------------------------------------------------- disk


def test_range_locks_exclude_and_go_with_their_process() -> None:
    disk = Disk(lambda: 0.0)
    disk.make_folder("/d")
    one, two = (disk.open("/d/f", os.O_RDWR | os.O_CREAT, owner) for owner in ("one", "two"))
    assert disk.lock(one, 0, 1, exclusive=True)
    assert not disk.lock(two, 0, 1, exclusive=True)
    assert disk.lock(two, 1, 1, exclusive=True)  # another byte
    assert disk.locked_elsewhere(two, 0, 1)
    assert not disk.locked_elsewhere(one, 0, 1)
    disk.close_all("one")
    assert disk.lock(two, 0, 1, exclusive=True)


def test_names_appear_and_vanish_as_in_a_file_system() -> None:
    disk = Disk(lambda: 1.0)
    disk.make_folder("/d")
    file = disk.open("/d/f", os.O_RDWR | os.O_CREAT | os.O_EXCL, None)
    with pytest.raises(FileExistsError):
        disk.open("/d/f", os.O_RDWR | os.O_CREAT | os.O_EXCL, None)
    with pytest.raises(FileNotFoundError):
        disk.open("/d/g", os.O_RDONLY, None)
    disk.link("/d/f", "/d/g")
    with pytest.raises(FileExistsError):
        disk.link("/d/f", "/d/g")
    disk.unlink("/d/f")
    assert disk.inode("/d/g") is file.inode
    disk.replace("/d/g", "/d/h")
    assert disk.listing("/d") == ["/d/h"]


def test_an_inode_number_is_used_again_once_nobody_holds_the_file() -> None:
    disk = Disk(lambda: 1.0)
    disk.make_folder("/d")
    held = disk.open("/d/a", os.O_RDWR | os.O_CREAT, None)
    number = held.inode.number
    disk.unlink("/d/a")
    other = disk.open("/d/b", os.O_RDWR | os.O_CREAT, None)
    assert other.inode.number != number
    disk.close(held.fd)
    assert disk.open("/d/c", os.O_RDWR | os.O_CREAT, None).inode.number == number


# --------------------------------------------------------------------------- delayed visibility


def _look(files: SimFiles) -> str:
    return files.read("/d/f").decode() if files.exists("/d/f") else "absent"


def test_what_others_change_is_seen_late_and_what_it_does_itself_at_once() -> None:
    stage = Stage()
    stage.disk.past = {}

    async def late(process: Process) -> None:
        process.lag_s = 5.0
        files = SimFiles(process, View(stage.disk, process))
        for at in (0.5, 5.9, 6.1, 10.9, 11.1):
            await SimClock(process).sleep(at - stage.world.now)
            stage.note(_look(files))
        with pytest.raises(FileExistsError):
            files.open("/d/g", os.O_WRONLY | os.O_CREAT | os.O_EXCL)  # what the server decides is never old
        stage.note(files.exists("/d/g"))
        fd = files.open("/d/f", os.O_WRONLY | os.O_APPEND)
        files.write(fd, b"+mine")
        stage.note(_look(files))
        process.lag_s = 0.0
        stage.note(files.exists("/d/g"))

    async def other(process: Process) -> None:
        files = SimFiles(process, stage.disk)
        await SimClock(process).sleep(1.0)
        files.write(files.open("/d/f", os.O_WRONLY | os.O_CREAT), b"one")
        await SimClock(process).sleep(5.0)
        files.replace("/d/f", "/d/other")
        files.write(files.open("/d/f", os.O_WRONLY | os.O_CREAT), b"two")
        await SimClock(process).sleep(1.0)
        files.open("/d/g", os.O_WRONLY | os.O_CREAT)

    stage.start("late", late)
    stage.start("other", other)
    stage.run()
    assert stage.seen == [
        (0.5, "absent"), (5.9, "absent"), (6.1, "one"), (10.9, "one"), (11.1, "two"),
        (11.1, False), (11.1, "two+mine"), (11.1, True),
    ]  # fmt: skip


# --------------------------------------------------------------------------- links


async def _echo(link: object) -> None:
    assert isinstance(link, End)
    while True:
        await link.send(f"echo {await link.receive()}")  # type: ignore[str-bytes-safe]


def linked(stage: Stage, talk: Callable[[End], object], wire: Wire | None = None) -> tuple[Network, Process, Process]:
    network = Network(stage.world)
    if wire is not None:
        network.lay(wire, "client", "server")
    server = stage.world.start("server", "server")
    network.listen(server, 1, _echo)

    async def client(process: Process) -> None:
        await talk(await network.dial(process, 1))  # type: ignore[misc]
        stage.world.kill(server, 0)

    return network, server, stage.start("client", client)


def test_frames_keep_their_order_and_take_time() -> None:
    stage = Stage()

    async def talk(link: End) -> None:
        for n in range(3):
            await link.send(str(n))
        for _ in range(3):
            stage.note(await link.receive())

    linked(stage, talk)
    stage.run()
    assert [text for _, text in stage.seen] == ["echo 0", "echo 1", "echo 2"]
    assert stage.seen[0][0] > 0


def test_a_killed_peer_is_seen_as_1006() -> None:
    stage = Stage()
    _, server, _ = linked(stage, lambda link: _until_lost(stage, link))
    stage.world.at(5.0, stage.world.kill, server)
    stage.run()
    assert stage.seen == [(5.0002, 1006)]


async def _until_lost(stage: Stage, link: End) -> None:
    with pytest.raises(ConnectionLost) as caught:
        await link.receive()
    stage.note(caught.value.code)


def test_a_partition_holds_frames_back_until_it_is_healed() -> None:
    stage = Stage()

    async def talk(link: End) -> None:
        await asyncio.sleep(2.0)
        await link.send("held")
        stage.note(await link.receive())

    wire, other = Wire(stage.world, "wire", 1), Wire(stage.world, "other", 1)
    linked(stage, talk, wire)
    for one in (wire, other):
        stage.world.at(1.0, Part(target="one", at_s=0.0).act, one)
    stage.world.at(15.0, Heal(target="other", at_s=0.0, toxic="part").act, other)
    stage.world.at(30.0, Heal(target="wire", at_s=0.0, toxic="part").act, wire)
    stage.run()
    assert stage.seen == [(30.0004, "echo held")]


def test_nobody_listens_is_a_definite_loss() -> None:
    stage = Stage()
    network = Network(stage.world)

    async def client(process: Process) -> None:
        with pytest.raises(ConnectionLost) as caught:
            await network.dial(process, 1)
        stage.note((caught.value.code, caught.value.definite))

    stage.start("client", client)
    stage.run()
    assert [what for _, what in stage.seen] == [(1006, True)]
