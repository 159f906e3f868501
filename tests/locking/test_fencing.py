"""Live owners that are paused, fenced and resumed, in processes of their own."""

import json

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.locking import (
    LOCK_ALGORITHMS,
    Fenced,
    LockStateError,
    OwnerChanged,
    SessionLock,
    SessionLocked,
    inspect_lock,
)
from lockjaw.locking.drivers import run_blocking
from lockjaw.locking.guard_record import SECTION
from lockjaw.locking.identity import this_process
from lockjaw.locking.kernel import Kernel
from lockjaw.locking.operations import observe
from lockjaw.locking.paths import LockPaths
from lockjaw.locking.request import LockRequest, Registry

pytestmark = pytest.mark.real


def test_paused_owner_is_never_robbed(actor, clock, session_file, lock_file):
    owner = actor()
    owner.do("acquire", file=str(session_file))
    body = json.loads(lock_file.read_text())
    owner.pause()
    # As old as can be: neither the body's nor the file's age counts.
    lock_file.touch()
    with pytest.raises(SessionLocked, match=f"pid={owner.pid} .*Process {owner.pid} is alive"):
        SessionLock(session_file, timeout=0.3, clock=clock).acquire()
    owner.resume()
    assert owner.do("append", to=str(session_file), text="mine")["ok"]
    assert json.loads(lock_file.read_text()) == body
    assert owner.do("release")["ok"]
    assert not lock_file.exists()


async def test_paused_owner_that_was_fenced_can_neither_append_nor_remove(actor, clock, session_file, lock_file):
    owner = actor()
    assert owner.do("acquire", file=str(session_file))["generation"] == 1
    owner.pause()
    lock = SessionLock(session_file, clock=clock)
    held = await lock.fence_async()
    assert held.generation == 2
    with held.section():
        session_file.write_text("successor\n")
    owner.resume()
    refused = owner.do("append", to=str(session_file), text="zombie")
    assert (refused["ok"], refused["error"]) == (False, "Fenced")
    assert "generation 1 was superseded by 2" in refused["text"]
    owner.do("release")
    assert session_file.read_text() == "successor\n"
    assert lock_file.exists()
    with held.section():  # the old owner's release has taken nothing from us
        pass
    await lock.release_async()
    assert not lock_file.exists()


def test_holder_that_cannot_get_the_section_neither_writes_nor_removes(session_file, lock_file):
    clock = ScaledClock.start(0.1)
    lock = SessionLock(session_file, clock=clock)
    held = lock.acquire()
    other = Kernel(clock)  # a contender that is paused while it looks
    guard = other.open_guard(f"{session_file}.guard")
    assert other.lock(guard, SECTION)
    with pytest.raises(LockStateError, match="another process is paused inside the section"), held.section():
        pytest.fail("entered a section that another process holds")
    lock.release()
    assert lock_file.exists()
    assert inspect_lock(session_file, clock=clock).alive is False
    other.close(guard)
    with SessionLock(session_file, timeout=0.0, clock=clock) as held:
        assert held.reclaimed == "owner-byte-free"


async def test_fencing_twice_leaves_only_the_newest_owner(clock, session_file, lock_file):
    locks = [SessionLock(session_file, clock=clock) for _ in range(3)]
    first = locks[0].acquire()
    second = await locks[1].fence_async()
    third = await locks[2].fence_async()
    assert (first.generation, second.generation, third.generation) == (1, 2, 3)
    for loser in (first, second):
        with pytest.raises(Fenced) as caught, loser.section():
            pytest.fail("a superseded owner entered the section")
        assert (caught.value.generation, caught.value.current) == (loser.generation, 3)
    locks[0].release()
    locks[1].release()
    with third.section():
        assert lock_file.exists()
    locks[2].release()
    assert not lock_file.exists()


async def test_lock_freed_by_the_successor_is_free_although_the_fenced_owner_lives(clock, session_file):
    fenced, successor = SessionLock(session_file, clock=clock), SessionLock(session_file, clock=clock)
    fenced.acquire()
    await successor.fence_async()
    successor.release()
    with SessionLock(session_file, timeout=0.0, clock=clock) as held:
        assert held.generation == 3
        fenced.release()
        with held.section():
            pass


async def test_waiter_on_a_fenced_owner_gets_the_lock_when_the_successor_releases(actor, clock, session_file):
    owner, waiter = SessionLock(session_file, clock=clock), actor()
    owner.acquire()
    waiter.send("acquire", file=str(session_file), timeout=30.0)
    assert waiter.silent_for(0.1)
    successor = SessionLock(session_file, clock=clock)
    await successor.fence_async()
    assert waiter.silent_for(0.1)
    successor.release()
    assert waiter.reply()["generation"] == 3  # although the fenced owner has not released
    owner.release()
    assert waiter.do("append", to=str(session_file), text="x")["ok"]


@pytest.mark.parametrize("algorithm", ["coarse", "coarse-60s"])
async def test_foreign_owner_cannot_be_fenced(actor, clock, session_file, lock_file, algorithm):
    owner = actor()
    owner.do("acquire", file=str(session_file), algorithm=algorithm)
    before = lock_file.read_bytes()
    with pytest.raises(LockStateError, match="cannot be fenced"):
        await SessionLock(session_file, clock=clock).fence_async()
    assert lock_file.read_bytes() == before
    with pytest.raises(LockStateError, match="cannot be fenced"):
        await SessionLock(session_file, clock=clock, algorithm=algorithm).fence_async()
    assert inspect_lock(session_file, clock=clock).ours is False


async def test_fence_over_a_dead_or_absent_owner_is_an_acquire(actor, clock, session_file):
    owner = actor()
    owner.do("acquire", file=str(session_file))
    owner.kill()
    lock = SessionLock(session_file, clock=clock)
    held = await lock.fence_async()
    assert (held.generation, held.reclaimed) == (2, "owner-byte-free")
    lock.release()
    assert (await lock.fence_async()).generation == 3
    lock.release()


async def test_owner_of_ours_whose_file_was_taken_cannot_be_fenced(clock, session_file, lock_file):
    owner = SessionLock(session_file, clock=clock)
    owner.acquire()
    lock_file.unlink()
    lock_file.write_text('{"pid": 1, "createdAt": "2026-05-14T07:35:46.405Z"}')
    with pytest.raises(LockStateError, match=r"cannot be fenced.*removed or replaced from outside"):
        await SessionLock(session_file, clock=clock).fence_async()
    owner.release()


async def test_owner_whose_fencer_died_half_way_is_fenced_all_the_same(clock, session_file, lock_file):
    """The fencer had recorded its grant but not yet replaced the lock file: the next one takes over the old
    owner's very inode, so only the generation tells them apart."""

    def dies_before_it(call):
        if call.operation == "WriteInPlace" and not call.path.endswith("jsonl.guard"):  # the guard was before
            raise OSError("the fencer's end")
        return call.make()

    owner = SessionLock(session_file, clock=clock)
    old = owner.acquire()
    inode = lock_file.stat().st_ino
    request = LockRequest(LockPaths.of(session_file), this_process(), Registry(), 0.0)
    system = Kernel(clock)
    observe(system, dies_before_it)
    with pytest.raises(OSError, match="the fencer's end"):
        run_blocking(LOCK_ALGORITHMS["guarded"].fence(system, request), system)
    with SessionLock(session_file, timeout=0.0, clock=clock) as held:
        assert (held.generation, held.reclaimed) == (3, "")
        assert lock_file.stat().st_ino == inode
        with pytest.raises(Fenced), old.section():
            pytest.fail("a fenced owner entered the section")
        owner.release()
        assert lock_file.exists()
        with held.section():
            pass
    assert not lock_file.exists()


async def test_handle_that_missed_a_fence_does_not_take_the_lock_by_the_old_byte(clock, session_file, lock_file):
    first, second = SessionLock(session_file, clock=clock), SessionLock(session_file, clock=clock)
    first.acquire()
    await second.fence_async()
    first.release()  # its handle rests, and knows nothing of the new epoch; the byte of the old one is free
    lock_file.unlink()
    with pytest.raises(SessionLocked, match="removed or replaced from outside"):
        SessionLock(session_file, timeout=0.0, clock=clock).acquire()
    second.release()


async def test_only_the_owner_of_the_named_generation_is_overruled(clock, session_file, lock_file):
    first, second = SessionLock(session_file, clock=clock), SessionLock(session_file, clock=clock)
    first.acquire()
    seen = inspect_lock(session_file, clock=clock).generation
    first.release()
    held = second.acquire()
    before = lock_file.read_bytes(), (session_file.with_name(session_file.name + ".guard")).read_bytes()

    with pytest.raises(OwnerChanged, match="generation 1 has the lock no longer") as caught:
        await first.fence_async(only=seen)

    assert (caught.value.seen, caught.value.current) == (1, 2)
    assert before == (lock_file.read_bytes(), (session_file.with_name(session_file.name + ".guard")).read_bytes())
    with held.section():
        pass  # and nothing of the lock is left with the one that was refused
    assert not first.is_locked
    newer = await first.fence_async(only=held.generation)
    assert newer.overruled == 2 < newer.generation
    first.release()
    second.release()


@pytest.mark.parametrize("times", [1, 2, 5])
async def test_a_generation_that_is_named_is_the_one_that_a_look_shows_also_where_some_are_reserved(
    clock, session_file, times
):
    owner, fencer = SessionLock(session_file, clock=clock), SessionLock(session_file, clock=clock)
    for _ in range(times):
        owner.release()
        held = owner.acquire()
    assert inspect_lock(session_file, clock=clock).generation == held.generation == times
    newer = await fencer.fence_async(only=times)
    assert newer.overruled == times < newer.generation
    fencer.release()
    owner.release()


@pytest.mark.parametrize("only", [0, 7])
async def test_a_lock_that_is_free_is_taken_whatever_generation_was_to_be_overruled(clock, session_file, only):
    lock = SessionLock(session_file, clock=clock)
    assert (await lock.fence_async(only=only)).overruled == 0
    lock.release()
