"""Waiting: first come, first served, woken by the kernel, and without a trace of whoever gives up."""

import asyncio
import os
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from lockjaw.locking import LOCK_ALGORITHMS, SessionLock, SessionLocked, bells, kernel
from lockjaw.locking.algorithms.grants import Place
from lockjaw.locking.algorithms.queue import in_front
from lockjaw.locking.drivers import follow, run_blocking
from lockjaw.locking.guard_record import (
    SECTION,
    TICKET_BASE,
    TICKETS_OFFSET,
    GuardState,
    decode_waiter,
    encode_tickets,
    encode_waiter,
    state,
)
from lockjaw.locking.host import THIS_HOST
from lockjaw.locking.identity import this_process
from lockjaw.locking.operations import WaitForSection, observe
from lockjaw.locking.paths import LockPaths
from lockjaw.locking.request import LockRequest, Registry

sys.path.insert(0, str(Path(__file__).parent))
from torture import torture

FAR_S = 30.0  # a wait that nobody should ever see end by its deadline


async def queue_of(session_file, clock, count):
    """Holder's lock and ``count`` waiting tasks, in the order in which they came."""
    got, tasks = [], []

    async def wait(number):
        lock = SessionLock(session_file, timeout=FAR_S, clock=clock)
        await lock.acquire_async()
        got.append(number)
        await lock.release_async()

    for number in range(count):
        before = len(kernel._open_handles)
        tasks.append(asyncio.create_task(wait(number)))
        while len(kernel._open_handles) < before + 2:  # its guard and its bell
            await asyncio.sleep(0)
    return got, tasks


async def test_waiters_are_served_in_the_order_in_which_they_came(clock, session_file):
    holder = SessionLock(session_file, clock=clock)
    holder.acquire()
    got, tasks = await queue_of(session_file, clock, 12)
    holder.release()
    await asyncio.gather(*tasks)
    assert got == list(range(12))


async def test_newcomer_does_not_overtake_who_waits(clock, session_file):
    holder = SessionLock(session_file, clock=clock)
    holder.acquire()
    got, tasks = await queue_of(session_file, clock, 1)
    holder.release()  # the waiter has been rung and has not run yet
    with pytest.raises(SessionLocked, match="others are before us"):
        SessionLock(session_file, timeout=0.0, clock=clock).acquire()
    await asyncio.gather(*tasks)
    assert got == [0]
    with SessionLock(session_file, timeout=0.0, clock=clock):
        pass


async def test_waiters_that_give_up_leave_the_others_their_turn(clock, session_file):
    holder = SessionLock(session_file, clock=clock)
    holder.acquire()
    got, tasks = await queue_of(session_file, clock, 6)
    for number in (0, 2, 3, 5):
        tasks[number].cancel()
    await asyncio.wait([tasks[number] for number in (0, 2, 3, 5)])
    started = time.monotonic()
    holder.release()
    await asyncio.gather(tasks[1], tasks[4])
    assert got == [1, 4]
    assert time.monotonic() - started < 0.2  # by the bell; their own look comes after 0.25 s at the earliest


async def test_waiter_that_gives_up_when_it_is_rung_passes_the_ring_on(clock, session_file):
    holder = SessionLock(session_file, clock=clock)
    holder.acquire()
    got, tasks = await queue_of(session_file, clock, 2)
    rung = asyncio.Event()
    ring = bells.ring

    def heard(path, ticket):
        if ticket == 2:
            rung.set()
        return ring(path, ticket)

    holder.release()  # rings the first one, which has not run yet
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bells, "ring", heard)
        tasks[0].cancel()
        await asyncio.wait([tasks[0]])
        assert rung.is_set()
    await tasks[1]
    assert got == [1]


def test_ticket_that_is_drawn_during_a_release_waits_for_no_ring(clock, session_file):
    """The releaser has looked for waiters, and has not removed the lock file yet: it will ring nobody."""
    request = LockRequest(LockPaths.of(session_file), this_process(), Registry(), FAR_S)
    guarded, system = LOCK_ALGORITHMS["guarded"], kernel.Kernel(clock)
    held = THIS_HOST.run(clock, guarded.acquire, request)
    assert system.lock(held.guard, SECTION)
    waits, deaf = [], kernel.Kernel(clock)
    observe(deaf, lambda call: False if call.operation == "Ring" else call.make())

    def wait(operation):
        waits.append(type(operation))
        if len(waits) == 1:
            run_blocking(guarded.release(deaf, held), deaf)  # and rings nobody
        return False

    grant = follow(guarded.acquire(system, request), wait)
    assert waits == [WaitForSection]
    THIS_HOST.run(clock, guarded.release, grant)


def test_waiter_whose_close_fails_tells_why_it_gave_up(clock, session_file):
    def fail(call):
        failing = call.operation == "Close" and call.arguments[0].body is not None
        result = call.make()
        if failing:
            raise OSError(5, "Input/output error")
        return result

    system = kernel.Kernel(clock)
    observe(system, fail)
    with SessionLock(session_file, clock=clock):
        request = LockRequest(LockPaths.of(session_file), this_process(), Registry(), 0.05)
        with pytest.raises(SessionLocked):
            run_blocking(LOCK_ALGORITHMS["guarded"].acquire(system, request), system)


def test_refusal_tells_the_place_in_the_queue(actor, clock, session_file):
    with SessionLock(session_file, clock=clock):
        waiter = actor()
        waiter.send("acquire", file=str(session_file), timeout=30.0)
        assert waiter.silent_for(0.3)
        with pytest.raises(SessionLocked, match=r"limit 300.0 s.*We were number 2 in the queue"):
            SessionLock(session_file, timeout=0.05, clock=clock).acquire()


def test_waiter_watches_the_last_one_in_front_of_it_that_has_not_given_up(clock, session_file):
    """Whoever it watched instead would not tell it that the one whose turn it is has died over its ring."""
    system = kernel.Kernel(clock)
    paths = LockPaths.of(session_file)
    guards = [system.open_guard(paths.guard, paths.body) for _ in range(4)]
    for ticket, guard in enumerate(guards, 1):
        assert system.lock(guard, TICKET_BASE + ticket)
    front = partial(in_front, system, guards[3], GuardState(), Place(4, None))
    assert front() == 3
    system.unlock(guards[2], TICKET_BASE + 3)
    assert front() == 2
    system.unlock(guards[1], TICKET_BASE + 2)
    assert front() == 1
    for guard in guards:
        system.close(guard)


def test_paused_first_waiter_does_not_block_those_behind_it(actor, clock, session_file):
    holder, paused = SessionLock(session_file, clock=clock), actor()
    holder.acquire()
    paused.send("acquire", file=str(session_file), timeout=30.0)
    assert paused.silent_for(0.2)
    paused.pause()
    holder.release()
    with SessionLock(session_file, timeout=10.0, clock=clock) as held:
        assert held.generation == 2
        paused.resume()
    assert paused.reply()["generation"] == 3  # it joined again


def test_lost_bell_delays_a_waiter_and_no_more(monkeypatch, actor, clock, session_file):
    holder, waiter = SessionLock(session_file, clock=clock), actor()
    holder.acquire()
    waiter.send("acquire", file=str(session_file), timeout=30.0)
    assert waiter.silent_for(0.3)
    monkeypatch.setattr(bells, "ring", lambda path, ticket: True)
    holder.release()
    assert waiter.reply()["ok"]


def test_waiting_costs_no_cpu(actor, clock, session_file):
    with SessionLock(session_file, clock=clock):
        waiters = [actor() for _ in range(4)]
        for waiter in waiters:
            waiter.send("acquire", file=str(session_file), timeout=60.0)
        assert waiters[-1].silent_for(0.5)
        before = sum(cpu_s(waiter.pid) for waiter in waiters)
        assert waiters[-1].silent_for(2.0)
        assert sum(cpu_s(waiter.pid) for waiter in waiters) - before < 0.01  # some looks; polling takes 0.05


def cpu_s(pid):
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def test_waiter_is_rung_exactly_once_by_a_release(clock, session_file, actor):
    rung = []

    def listen(call):
        if call.operation == "Ring":
            rung.append(call.arguments[1])
        return call.make()

    system = kernel.Kernel(clock)
    observe(system, listen)
    request = LockRequest(LockPaths.of(session_file), this_process(), Registry(), 1.0)
    guarded = LOCK_ALGORITHMS["guarded"]
    grant = THIS_HOST.run(clock, guarded.acquire, request)
    waiters = [actor(), actor()]
    for waiter in waiters:
        waiter.send("acquire", file=str(session_file), timeout=30.0)
        assert waiter.silent_for(0.3)
    run_blocking(guarded.release(system, grant), system)
    assert rung == [1]
    assert waiters[0].reply()["ok"]


def test_foreign_release_is_heard_without_polling(clock, session_file, lock_file, actor):
    lock_file.write_text(
        f'{{"pid": {os.getpid()}, "createdAt": "2026-05-14T07:35:46.405Z", "starttime": {this_process().starttime}}}'
    )
    waiter = actor()
    waiter.send("acquire", file=str(session_file), timeout=30.0)
    assert waiter.silent_for(0.6)
    started = time.monotonic()
    lock_file.unlink()
    assert waiter.reply()["ok"]
    assert time.monotonic() - started < 0.25  # by now it looks for itself only every 0.5 s


def resting(session_file, clock, turns=6):
    """A lock that has had several turns: its guard rests, and generations are reserved."""
    lock = SessionLock(session_file, timeout=0.0, clock=clock)
    for _ in range(turns):
        lock.acquire()
        lock.release()
    return lock


def test_lock_file_that_a_release_could_not_remove_is_not_written_outside_the_section(clock, session_file, lock_file):
    lock = resting(session_file, clock)
    lock.acquire()
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(kernel.os, "unlink", refuse)
        with pytest.raises(OSError, match="Input/output error"):
            lock.release()
    left = lock_file.read_bytes()
    held_section = False

    def watch(call):
        nonlocal held_section
        result = call.make()
        held_section = held_section or (call.operation == "RangeLock" and call.arguments[1] == SECTION)
        assert held_section or lock_file.read_bytes() == left
        return result

    system = kernel.Kernel(clock)
    observe(system, watch)
    grant = run_blocking(LOCK_ALGORITHMS["guarded"].acquire(system, lock._begin().request), system)
    assert grant.reclaimed == "owner-byte-free"
    THIS_HOST.run(clock, LOCK_ALGORITHMS["guarded"].release, grant)


def refuse(*arguments):
    raise OSError(5, "Input/output error")


def test_foreign_lock_that_appears_between_two_turns_is_honoured(clock, session_file, lock_file):
    lock = resting(session_file, clock)
    foreign = f'{{"pid": {os.getppid()}, "createdAt": "2026-05-14T07:35:46.405Z"}}'
    lock_file.write_text(foreign)
    with pytest.raises(SessionLocked):
        lock.acquire()
    assert lock_file.read_text() == foreign
    lock_file.unlink()
    with lock:
        pass


async def test_generation_rises_after_a_fence_by_who_has_generations_in_reserve(clock, session_file):
    lock, owner, system = resting(session_file, clock), SessionLock(session_file, clock=clock), kernel.Kernel(clock)
    aside = system.open_guard(f"{session_file}.guard", f"{session_file}.body.guard")
    held = owner.acquire()  # through another descriptor
    system.close(aside)
    seen = [held.generation]
    fenced = await lock.fence_async()
    seen.append(fenced.generation)
    lock.release()
    for _ in range(3):
        seen.append(lock.acquire().generation)
        lock.release()
    assert seen == sorted(set(seen))
    owner.release()


def test_spoiled_ticket_number_is_skipped_over():
    assert state(bytes(1024) + encode_tickets(7)).issued == 7
    assert state(bytes(1024) + encode_tickets(7)[:30]).issued > 1_000_000
    assert state(b"").issued == 0
    assert decode_waiter(5, encode_waiter(5, 77)) == 77
    assert decode_waiter(133, encode_waiter(5, 77)) is None


def test_deleted_folder_is_made_again(clock, tmp_path):
    folder = tmp_path / "sessions"
    lock = SessionLock(folder / "s.jsonl", clock=clock)
    with lock:
        pass
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    with lock as held, held.section():
        assert held.path.exists()


def test_waiter_behind_a_jump_of_the_ticket_number_is_rung(clock, session_file, actor, monkeypatch):
    """Whoever died while it wrote the number leaves a gap of a million tickets; the ring must not get lost in it."""
    told, ring = [], bells.ring

    def heard(path, ticket):
        told.append((ticket, ring(path, ticket)))
        return told[-1][1]

    monkeypatch.setattr(bells, "ring", heard)
    holder = SessionLock(session_file, clock=clock)
    holder.acquire()
    with open(f"{session_file}.guard", "r+b") as guard:
        guard.seek(TICKETS_OFFSET)
        guard.write(encode_tickets(1)[:30])
    waiters = [actor(), actor()]
    for waiter in waiters:
        waiter.send("acquire", file=str(session_file), timeout=30.0)
        assert waiter.silent_for(0.3)
    with pytest.raises(SessionLocked, match="We were number 3 in the queue"):
        SessionLock(session_file, timeout=0.1, clock=clock).acquire()
    holder.release()
    rung = [ticket for ticket, heard in told if heard is True]
    assert len(rung) == 1
    assert rung[0] > 1 << 20
    assert len(told) <= 3  # no search by trying: the kernel knows who is first
    assert waiters[0].reply()["ok"]
    waiters[0].do("release")
    assert waiters[1].reply()["ok"]


@pytest.mark.real
def test_torture_finds_no_overlap_no_lost_waiter_and_nothing_left():
    assert torture(1500, seed=7) == []
