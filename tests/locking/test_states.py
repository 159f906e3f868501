"""Real runs, followed through the table of states: no step that is not in it, and every step of it made."""

import asyncio
import os
import signal

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.locking import Fenced, SessionLock, SessionLocked
from lockjaw.locking.algorithms import guarded
from lockjaw.locking.algorithms.grants import Superseded
from lockjaw.locking.catalogue import Guarded
from lockjaw.locking.held_lock import HeldLock
from lockjaw.locking.session_lock import SessionLock as Lock
from lockjaw.locking.states import DEAD, HOLDING, NEXT, OUTSIDE, TRANSITIONS, TRYING, WAITING, diagram

FOREIGN_DEAD = '{"pid": 4194303, "createdAt": "2026-05-14T07:35:46.405Z"}'


class Follower:
    """One contender's way through the table. ``current`` is whose step it is."""

    def __init__(self, made):
        self.state, self.made = OUTSIDE, made

    def step(self, event):
        assert (self.state, event) in NEXT, f"{event!r} in state {self.state} is not in the table"
        self.made.add((self.state, event))
        self.state = NEXT[self.state, event]


@pytest.fixture
def follow(monkeypatch):
    """Wraps the places where the algorithm steps from state to state; events go to ``follow.who``."""

    class Following:
        def __init__(self):
            self.made, self.who = set(), None

        def contender(self):
            self.who = Follower(self.made)
            return self.who

    following = Following()

    def tell(event):
        if following.who is not None:
            following.who.step(event)

    class Told(dict):
        """The table, as the waiting loop goes through it."""

        def __getitem__(self, step):
            if following.who is not None:
                assert step[0] == following.who.state
                tell(step[1])
            return super().__getitem__(step)

    def on(owner, name, after):
        inner = getattr(owner, name)

        def outer(*arguments, **options):
            result = inner(*arguments, **options)
            after(result)
            return result

        monkeypatch.setattr(owner, name, outer)

    def taken(grant):
        if grant is not None and following.who is not None and following.who.state == TRYING:
            tell("take")

    monkeypatch.setattr(guarded, "NEXT", Told(NEXT))
    on(guarded, "take", taken)

    begin = guarded.begin_append

    def entered(calls, grant):
        try:
            done = begin(calls, grant)
        except Superseded:
            tell("superseded")
            raise
        if done:
            tell("enter")
        return done

    monkeypatch.setattr(guarded, "begin_append", entered)
    acquire, leave, stop, hold = Guarded.acquire, Guarded.leave, HeldLock.stop_at_limit, Lock._hold
    begin_release, stopping = HeldLock._begin_release, []

    def wants(*arguments):
        tell("acquire")
        return acquire(*arguments)

    def left(*arguments):
        leave(*arguments)
        tell("leave")

    def released(self):
        begun = begin_release(self)
        if begun and not stopping:
            tell("release")
        return begun

    def limited(self):
        stopping.append(True)
        stopped = stop(self)
        tell("limit")
        return stopped

    def held(self, attempt, grant):
        if attempt.fences and grant.fenced:
            tell("fence")
        return hold(self, attempt, grant)

    monkeypatch.setattr(Guarded, "acquire", staticmethod(wants))
    monkeypatch.setattr(Guarded, "leave", staticmethod(left))
    monkeypatch.setattr(HeldLock, "_begin_release", released)
    monkeypatch.setattr(HeldLock, "stop_at_limit", limited)
    monkeypatch.setattr(Lock, "_hold", held)
    return following


@pytest.mark.real
async def test_runs_make_the_steps_of_the_table_and_no_others(follow, actor, session_file, lock_file):
    clock = ScaledClock.start()

    def lock(timeout=20.0, **options):
        return SessionLock(session_file, timeout=timeout, clock=clock, **options)

    # free, appended to, given back
    one = follow.contender()
    with lock() as held, held.section():
        pass
    assert one.state == OUTSIDE

    # taken, with and without time to wait
    holder = actor()
    holder.do("acquire", file=str(session_file))
    one = follow.contender()
    for timeout in (0.0, 0.05):
        with pytest.raises(SessionLocked):
            lock(timeout).acquire()
        assert one.state == OUTSIDE

    # waited for, until it is given back
    one = follow.contender()
    waiter = lock()
    waiting = asyncio.create_task(waiter.acquire_async())
    while one.state != WAITING:
        await asyncio.sleep(0)
    holder.do("release")
    await waiting
    waiter.release()

    # a dead owner, without and with time to wait
    for timeout in (0.0, 20.0):
        follow.contender()
        lock_file.write_text(FOREIGN_DEAD)
        with lock(timeout):
            pass

    # a dead owner's file lies there, and while we judge it a live foreign one takes its place
    for timeout, at_look in ((0.0, 1), (20.0, 2)):
        dead = actor()
        dead.do("acquire", file=str(session_file))
        dead.kill()
        looks, examine = [], guarded.examine

        def replaced(calls, request, guard, examine=examine, looks=looks, at_look=at_look):
            finding = examine(calls, request, guard)
            looks.append(finding)
            if len(looks) == at_look:
                fresh = lock_file.with_name("fresh")
                fresh.write_text(f'{{"pid": {os.getppid()}, "createdAt": "2026-05-14T07:35:46.405Z"}}')
                fresh.replace(lock_file)
            return finding

        one = follow.contender()
        guarded.examine = replaced
        try:
            judge = lock(timeout)
            task = asyncio.create_task(judge.acquire_async())
            while not task.done() and len(looks) < 3:
                await asyncio.sleep(0)
        finally:
            guarded.examine = examine
        if timeout:
            while one.state != WAITING:
                await asyncio.sleep(0)
            lock_file.unlink()
            await task
            judge.release()
        else:
            assert isinstance(task.exception(), SessionLocked)
            lock_file.unlink()
        assert one.state == OUTSIDE

    # fenced
    one = follow.contender()
    slow = lock()
    held = slow.acquire()
    two = follow.contender()
    newer = lock()
    await newer.fence_async()
    assert two.state == HOLDING
    follow.who = one
    with pytest.raises(Fenced), held.section():
        pytest.fail("a fenced owner entered")
    slow.release()
    follow.who = two
    newer.release()

    # beyond its limit
    one = follow.contender()
    lock(max_hold_s=0.05).acquire()
    while one.state != OUTSIDE:
        await asyncio.sleep(0.002)
    follow.who = None

    # overtaken, being paused
    holder.do("acquire", file=str(session_file))
    one = follow.contender()
    late = lock()
    overtaken = asyncio.create_task(late.acquire_async())
    while one.state != WAITING:
        await asyncio.sleep(0)
    follow.who = None
    behind = actor()
    behind.send("acquire", file=str(session_file), timeout=30.0)
    assert behind.silent_for(0.2)
    holder.do("release")
    assert behind.reply()["ok"]  # the loop has stood still meanwhile
    follow.who = one
    behind.send("release")
    await overtaken
    late.release()

    # death of a holder and of a waiter is the kernel's business: they are free right after it
    killed, waiter = actor(), actor()
    killed.do("acquire", file=str(session_file))
    waiter.send("acquire", file=str(session_file), timeout=30.0)
    assert waiter.silent_for(0.2)
    follow.who = None
    for process, state in ((waiter, WAITING), (killed, HOLDING)):
        os.kill(process.pid, signal.SIGKILL)
        process.process.wait()
        follow.made.add((state, "death"))
    assert NEXT[HOLDING, "death"] == DEAD
    with lock(0.0) as held:
        assert held.reclaimed == "owner-byte-free"

    missing = set(NEXT) - follow.made
    assert not missing


def test_diagram_shows_every_transition():
    text = diagram()
    for one in TRANSITIONS:
        assert f"{one.state} --> {one.next}: {one.event}" in text
