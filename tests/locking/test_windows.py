"""Windows: its locks as they are there, on this machine's files; and a Windows Python, where somebody names one.

``LOCKJAW_WINDOWS_PYTHON`` is the command that starts it, such as ``wine64 /opt/python/python.exe``. It needs no
package, and must see this machine's files as drive Z:, as Wine shows them.
"""

import asyncio
import itertools
import json
import os
import random
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lockjaw.locking import LockStateError, SessionLock, SessionLocked, inspect_lock, kernel, release_all_held
from lockjaw.locking.guard_record import OWNER_BASE, QUEUE, SECTION, TICKET_BASE
from lockjaw.locking.kernel import Kernel
from lockjaw.locking.posix_locks import DescriptionLocks

sys.path.insert(0, str(Path(__file__).parent))
from contending import SIZE, Shared
from torture import torture

FAR_S = 30.0


# --------------------------------------------------------------------------- its locks


async def queue_up(session_file, clock, count, got):
    """``count`` tasks that wait, in this order; each notes its number in ``got`` when it has the lock."""

    async def wait(number):
        async with SessionLock(session_file, timeout=FAR_S, clock=clock):
            got.append(number)

    tasks = []
    async with asyncio.timeout(FAR_S):
        for number in range(count):
            tasks.append(asyncio.create_task(wait(number)))
            while len(inspect_lock(session_file).waiters) <= number:
                await asyncio.sleep(0.001)
    return tasks


async def test_waiters_that_nobody_rings_are_served_in_the_order_in_which_they_came(clock, session_file, lock_file_ex):
    got = []
    async with SessionLock(session_file, clock=clock):
        tasks = await queue_up(session_file, clock, 8, got)
        for number in (0, 3, 7):
            tasks[number].cancel()
        await asyncio.wait([tasks[number] for number in (0, 3, 7)])
        assert len(inspect_lock(session_file).waiters) == 5
    await asyncio.gather(*(task for task in tasks if not task.cancelled()))
    assert got == [1, 2, 4, 5, 6]


async def test_waiters_that_nobody_rings_hear_of_a_fence(clock, session_file, lock_file_ex):
    """The overruled owner keeps its byte for as long as it is frozen: whoever waits for that byte waits in vain."""
    got = []
    frozen, fencer = SessionLock(session_file, clock=clock), SessionLock(session_file, clock=clock)
    await frozen.acquire_async()
    tasks = await queue_up(session_file, clock, 3, got)
    await fencer.fence_async()
    await fencer.release_async()
    await asyncio.wait_for(asyncio.gather(*tasks), FAR_S / 2)
    assert got == [0, 1, 2]
    await frozen.release_async()


def test_section_that_is_locked_hides_no_byte_of_the_guard(clock, session_file, lock_file_ex):
    """Windows locks out readers, too."""
    with SessionLock(session_file, clock=clock) as held, held.section():
        with pytest.raises(SessionLocked, match="Some process is inside the lock's section"):
            SessionLock(session_file, timeout=0.0, clock=clock).acquire()
        assert inspect_lock(session_file).alive


async def test_process_that_is_paused_in_a_look_is_waited_for_until_the_deadline(clock, session_file, lock_file_ex):
    """A look is a short shared lock. The simulation found a waiter here that went round and round."""
    with SessionLock(session_file, clock=clock):
        pass
    system = Kernel(clock)
    paused = system.open_guard(f"{session_file}.guard")
    assert lock_file_ex._try(paused, OWNER_BASE, 1, False)
    with pytest.raises(SessionLocked, match="in the middle of a look"):
        SessionLock(session_file, timeout=0.1, clock=clock).acquire()
    with pytest.raises(LockStateError, match="in the middle of a look"):
        await SessionLock(session_file, clock=clock).fence_async()
    before = len(kernel._open_handles)
    waiter = asyncio.create_task(SessionLock(session_file, timeout=FAR_S, clock=clock).acquire_async())
    while len(kernel._open_handles) == before:
        await asyncio.sleep(0)
    system.close(paused)
    assert (await waiter).generation > 1
    release_all_held()


def test_locks_of_windows_answer_as_those_of_linux(clock, tmp_path, lock_file_ex):
    """The same random steps, through both, on the same handles."""
    rng, system, linux = random.Random(5), Kernel(clock), DescriptionLocks()
    handles = [system.open_guard(str(tmp_path / "g")) for _ in range(3)]
    tickets = [TICKET_BASE + at for at in range(1, 12)]
    offsets = [SECTION, QUEUE, OWNER_BASE, OWNER_BASE + 1, *tickets]
    answers = {True: 0, False: 0}
    for step in range(3000):
        handle, offset = rng.choice(handles), rng.choice(offsets)
        first, length = rng.choice(tickets), rng.choice((1, 2, 7, 1 << 20))
        match rng.randrange(4):
            case 0:
                asked = [ranges.lock(handle, offset) for ranges in (linux, lock_file_ex)]
            case 1:
                asked = [ranges.unlock(handle, offset) for ranges in (linux, lock_file_ex)]
            case 2:
                where = (first, length) if offset >= TICKET_BASE else (offset, 1)
                asked = [ranges.locked_elsewhere(handle, *where) for ranges in (linux, lock_file_ex)]
            case 3:
                asked = [ranges.first_locked(handle, first, length) for ranges in (linux, lock_file_ex)]
        assert asked[0] == asked[1], step
        if isinstance(asked[0], bool):
            answers[asked[0]] += 1
    assert min(answers.values()) > 300
    system.abandon()


# --------------------------------------------------------------------------- a Windows Python

SWITCH = "LOCKJAW_WINDOWS_PYTHON"
_HERE = Path(__file__).parent
_RUN = (
    "import runpy, sys; sys.path[:0] = sys.argv[1:3]; del sys.argv[:3]; runpy.run_path(sys.argv[0], None, '__main__')"
)
LEFT = ["s.jsonl.body.guard", "s.jsonl.guard"]


def on_drive_z(path):
    return "Z:" + str(path).replace("/", "\\")


@pytest.fixture(scope="module")
def windows():
    """The beginning of the command that runs the actors there."""
    if not (python := shlex.split(os.environ.get(SWITCH, ""))):
        pytest.skip(f"no Windows here: {SWITCH} names no command that starts a Windows Python")
    sources = _HERE.parents[1] / "src"
    return [*python, "-c", _RUN, *map(on_drive_z, (sources, _HERE, _HERE / "actors.py"))]


@pytest.fixture
def there(actor, windows):
    """Starts an actor there, which takes orders, or does what the arguments say. Wine takes no file for stderr."""
    return lambda *arguments: actor(*arguments, command=windows, stderr=subprocess.DEVNULL)


@pytest.fixture
def file(session_file):
    return on_drive_z(session_file)


@pytest.mark.real
def test_windows_owner_excludes_names_itself_and_is_succeeded_when_killed(there, session_file, file):
    owner, other = there(), there()
    assert owner.do("acquire", file=file)["generation"] == 1
    refused = other.do("acquire", file=file, timeout=0.05)
    assert refused["error"] == "SessionLocked"
    assert f"Process {owner.calls_itself} is alive" in refused["text"]
    view = other.do("look", file=file)
    assert (view["pid"], view["alive"], view["ours"]) == (owner.calls_itself, True, True)
    other.send("acquire", file=file, timeout=FAR_S)
    while owner.do("look", file=file)["waiters"] != [other.calls_itself]:
        pass
    owner.kill()
    assert other.reply() == {"ok": True, "generation": 2, "reclaimed": "owner-byte-free"}
    assert other.do("append", to=file, text="after it")["ok"]
    assert other.do("release")["ok"]
    assert session_file.read_text() == "after it\n"
    assert sorted(os.listdir(session_file.parent)) == ["s.jsonl", *LEFT]


@pytest.mark.real
def test_waiter_on_windows_that_is_cancelled_leaves_no_trace(there, session_file, file):
    owner, waiter = there(), there()
    owner.do("acquire", file=file)
    assert waiter.do("give up in the queue", file=file) == {"ok": True}
    assert owner.do("look", file=file)["waiters"] == []
    owner.do("release")
    assert waiter.do("acquire", file=file, timeout=0)["generation"] == 2
    waiter.do("release")
    assert sorted(os.listdir(session_file.parent)) == LEFT


@pytest.mark.real
def test_guard_that_is_in_use_on_windows_cannot_be_removed(there, session_file, file):
    """A removed guard that somebody goes on using makes two locks of one."""
    owner, other = there(), there()
    owner.do("acquire", file=file)
    assert other.do("remove", file=f"{file}.guard")["error"] == "PermissionError"
    owner.do("release")
    assert other.do("remove", file=f"{file}.guard") == {"ok": True}
    assert other.do("acquire", file=file)["ok"]
    other.do("release")
    assert sorted(os.listdir(session_file.parent)) == LEFT


@pytest.mark.real
def test_cleaner_on_windows_removes_what_is_provably_dead(there, session_file, lock_file, file):
    owner, dead, cleaner = there(), there(), there()
    owner.do("acquire", file=file.replace("s.jsonl", "live.jsonl"))
    dead.do("exit")
    dead.process.wait()
    lock_file.write_text(json.dumps({"pid": dead.calls_itself, "createdAt": "2026-05-14T07:35:46.405Z"}))
    cleaned = cleaner.do("clean", folder=on_drive_z(session_file.parent))["cleaned"]
    assert [(one["pid"], one["action"]) for one in cleaned] == [
        (owner.calls_itself, "kept"),
        (dead.calls_itself, "removed"),
    ]
    assert not lock_file.exists()
    assert owner.do("release")["ok"]


@pytest.mark.real
def test_fenced_owner_on_windows_may_not_append(there, session_file, file):
    old, new = there(), there()
    old.do("acquire", file=file)
    old.do("append", to=file, text="old")
    assert new.do("fence", file=file)["generation"] == 2
    refused = old.do("append", to=file, text="too late")
    assert (refused["error"], "superseded by 2" in refused["text"]) == ("Fenced", True)
    new.do("append", to=file, text="new")
    for one in (new, old):
        assert one.do("release")["ok"]
    assert session_file.read_text() == "old\nnew\n"
    assert sorted(os.listdir(session_file.parent)) == ["s.jsonl", *LEFT]


@pytest.mark.real
def test_lock_on_windows_goes_from_hand_to_hand_in_order(there, session_file, file):
    owner, *waiters = there(), there(), there()
    owner.do("acquire", file=file)
    for number, waiter in enumerate(waiters, 1):
        waiter.send("acquire", file=file, timeout=FAR_S)
        while len(owner.do("look", file=file)["waiters"]) < number:
            pass
    for generation, (before, after) in enumerate(itertools.pairwise((owner, *waiters)), 2):
        assert before.do("release")["ok"]
        # Taken as a free lock: its file had gone, although the waiters have that very file open by its other name.
        assert after.reply() == {"ok": True, "generation": generation, "reclaimed": ""}
        assert after.do("append", to=file, text=str(generation))["ok"]
    assert waiters[-1].do("release")["ok"]
    assert session_file.read_text() == "2\n3\n"
    assert sorted(os.listdir(session_file.parent)) == ["s.jsonl", *LEFT]


@pytest.mark.real
@pytest.mark.parametrize("proof", ["dead-pid", "recycled-pid"])
def test_foreign_lock_file_on_windows_is_honoured_while_its_process_lives(there, session_file, lock_file, file, proof):
    foreign, ours = there(), there()
    body = {"pid": foreign.calls_itself, "createdAt": "2026-05-14T07:35:46.405Z"}
    lock_file.write_text(json.dumps(body))
    refused = ours.do("acquire", file=file, timeout=0)
    assert f"Process {foreign.calls_itself} is alive: its lock" in refused["text"]
    if proof == "recycled-pid":
        lock_file.write_text(json.dumps({**body, "starttime": 1}))
    else:
        foreign.do("exit")
        foreign.process.wait()
    assert ours.do("acquire", file=file, timeout=0)["reclaimed"] == proof
    assert ours.do("release")["ok"]
    assert sorted(os.listdir(session_file.parent)) == LEFT


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("phase", ["acquire", "release"])
def test_process_on_windows_that_dies_at_any_operation_blocks_nobody(there, session_file, lock_file, file, phase):
    heir = there()
    for step in range(100):
        generation = heir.do("look", file=file)["generation"]
        victim = there("die", file, phase, step)
        finished = victim.process.wait() == 0
        if phase == "acquire" and finished:
            lock_file.unlink()  # it has exited without a release
        got = heir.do("acquire", file=file, timeout=5.0)
        assert (got["ok"], got["generation"] > generation) == (True, True), step
        assert heir.do("append", to=file, text=str(step))["ok"]
        assert heir.do("release")["ok"]
        assert sorted(os.listdir(session_file.parent)) == ["s.jsonl", *LEFT], step
        if finished:
            break
    assert step >= 5  # a release locks, reads, looks, unlinks, closes


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_windows_processes_exclude_each_other_whatever_is_killed(windows, tmp_path, monkeypatch):
    """The torture, with a witness in a file that both worlds have mapped."""
    witness = tmp_path / "witness"
    witness.write_bytes(bytes(SIZE))
    monkeypatch.setenv("TORTURE_DIR", str(tmp_path))

    def begin(shared, file, number, seed, target):
        arguments = (on_drive_z(witness), on_drive_z(file), number, seed, target)
        command = [*windows, "contend", *map(str, arguments)]
        mute = [(os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) for number in range(3)]
        return os.posix_spawnp(command[0], command, os.environ, file_actions=mute)

    counts = {}
    # It rests for longer than a process takes to start.
    wrong = torture(1000, 1, counts=counts, processes=6, begin=begin, shared=Shared(witness), rest_s=1.0)
    assert wrong == []
    assert counts["kills"] > 3
    assert counts["cancelled"] > 0
