"""An owner that stands still where no generation reaches it, and the new guard that is put in the place of the old."""

import contextlib
import json

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.errors import LockStateError, OwnerChanged, SessionLocked
from lockjaw.locking import LOCK_ALGORITHMS, SessionLock, inspect_lock, release_all_held
from lockjaw.locking.algorithms.grants import Superseded
from lockjaw.locking.algorithms.guarded import take
from lockjaw.locking.algorithms.overruling import overrule
from lockjaw.locking.drivers import run_blocking
from lockjaw.locking.guard_record import OVERRULE, OWNER_BASE, SECTION
from lockjaw.locking.host import THIS_HOST
from lockjaw.locking.identity import this_process
from lockjaw.locking.kernel import Kernel
from lockjaw.locking.operations import observe
from lockjaw.locking.paths import LockPaths
from lockjaw.locking.request import LockRequest, Registry

pytestmark = pytest.mark.real

GUARDED = LOCK_ALGORITHMS["guarded"]
CLOCK = ScaledClock.start()


@pytest.fixture(autouse=True)
def _nothing_stays_held():
    yield
    release_all_held()


def request_for(file, section_wait_s=0.02):
    return LockRequest(LockPaths.of(file), this_process(), Registry(), 5.0, section_wait_s=section_wait_s)


class Frozen(Kernel):
    """Stands still before the n-th operation until ``meanwhile`` has happened."""

    def __init__(self, at, meanwhile):
        super().__init__(CLOCK)
        self.left, self.meanwhile = at, meanwhile
        observe(self, self.around)

    def around(self, call):
        if self.left == 0:
            self.meanwhile()
        self.left -= 1
        return call.make()


def taken_over(file):
    """The grant of a process that waited in vain and overrules."""
    kernel = Kernel(CLOCK)
    return run_blocking(GUARDED.fence(kernel, request_for(file)), kernel)


def owns(grant):
    """May it append?"""
    kernel = Kernel(CLOCK)
    run_blocking(GUARDED.enter(kernel, grant), kernel)
    GUARDED.check(kernel, grant)
    GUARDED.leave(kernel, grant)


def given_back(grant):
    kernel = Kernel(CLOCK)
    return run_blocking(GUARDED.release(kernel, grant), kernel)


async def test_an_owner_paused_inside_its_append_is_overruled_and_learns_of_it(actor, clock, session_file, lock_file):
    owner = actor()
    owner.do("acquire", file=str(session_file))
    owner.do("enter")
    owner.pause()
    lock = SessionLock(session_file, clock=clock)

    held = await lock.fence_async()

    assert (held.generation, held.overruled) == (2, 1)
    with held.section() as check:
        check()
    owner.resume()
    refused = owner.do("check")
    assert (refused["ok"], refused["error"]) == (False, "Fenced")
    assert "generation 1 was superseded by 2" in refused["text"]
    assert owner.do("leave")["ok"]
    assert owner.do("append", to=str(session_file), text="zombie")["error"] == "Fenced"
    owner.do("release")
    assert not session_file.exists()
    assert json.loads(lock_file.read_text())["generation"] == 2, "the old owner's release has taken nothing from us"
    await lock.release_async()
    assert not lock_file.exists()
    with SessionLock(session_file, timeout=0.0, clock=clock) as next_one:
        assert (next_one.reclaimed, next_one.generation) == ("", 3)


def acquires(frozen, file):
    request = LockRequest(LockPaths.of(file), this_process(), Registry(), 0.0, section_wait_s=0.02)
    return run_blocking(GUARDED.acquire(frozen, request), frozen)


def appends(frozen, file):
    grant = THIS_HOST.run(CLOCK, GUARDED.acquire, request_for(file, section_wait_s=1.0))
    try:
        run_blocking(GUARDED.enter(frozen, grant), frozen)
        GUARDED.check(frozen, grant)
        GUARDED.leave(frozen, grant)
    except Superseded:
        pass  # and has nothing written, or writes where no name leads
    return grant


def releases(frozen, file):
    grant = THIS_HOST.run(CLOCK, GUARDED.acquire, request_for(file, section_wait_s=1.0))
    run_blocking(GUARDED.release(frozen, grant), frozen)


@pytest.mark.parametrize("phase", [acquires, appends, releases])
def test_an_owner_that_stands_still_at_any_operation_is_overruled_and_changes_nothing_when_it_wakes(
    session_file, lock_file, phase
):
    session_file.write_text("so far\n")
    for at in range(40):
        taken = []
        frozen = Frozen(at, lambda taken=taken: taken.append(taken_over(session_file)))
        grant = None
        try:
            grant = phase(frozen, session_file)
        except SessionLocked:
            assert taken, "only a taker can be in the way"
        if not taken:
            if grant is not None:
                given_back(grant)
            break
        (new,) = taken
        assert new.generation > (grant.generation if grant else 0)
        owns(new)
        if grant is not None:
            with pytest.raises(Superseded) as superseded:
                owns(grant)
            assert superseded.value.current == new.generation
            given_back(grant)
        owns(new)
        given_back(new)
        assert not lock_file.exists()
        with SessionLock(session_file, timeout=0.0, clock=CLOCK) as free:
            assert free.generation > new.generation
    assert at >= 4


def test_a_waiter_of_the_old_guard_goes_on_waiting_at_the_new_one(actor, clock, session_file):
    owner, waiter = actor(), actor()
    owner.do("acquire", file=str(session_file))
    waiter.send("acquire", file=str(session_file), timeout=30.0)
    while waiter.pid not in inspect_lock(session_file, clock=clock).waiters:
        pass
    owner.do("enter")
    owner.pause()

    new = taken_over(session_file)
    while waiter.pid not in inspect_lock(session_file, clock=clock).waiters:
        pass
    assert waiter.silent_for(0.1)
    given_back(new)

    assert waiter.reply()["generation"] == 3
    owner.resume()
    assert waiter.do("append", to=str(session_file), text="mine")["ok"]
    assert owner.do("leave")["ok"]
    assert waiter.do("append", to=str(session_file), text="mine")["ok"]


def test_what_a_foreign_program_holds_is_never_overruled(clock, session_file, lock_file):
    old = Kernel(CLOCK)
    guard = old.open_guard(f"{session_file}.guard", f"{session_file}.body.guard")
    lock_file.write_text(json.dumps({"pid": 1, "createdAt": "2026-05-14T07:35:46.405Z"}))
    assert old.lock(guard, SECTION)  # some contender of ours is frozen in its look

    with pytest.raises(LockStateError, match="the lock file is not the one of its owner"):
        taken_over(session_file)

    assert json.loads(lock_file.read_text())["pid"] == 1
    assert not session_file.with_name("s.jsonl.guard.new").exists()
    old.close(guard)


def test_an_overruler_that_stands_still_is_no_reason_to_wait_for_ever(clock, session_file):
    SessionLock(session_file, clock=clock).acquire()
    old = Kernel(CLOCK)
    guard = old.open_guard(f"{session_file}.guard", f"{session_file}.body.guard")
    assert old.lock(guard, SECTION)
    assert old.lock(guard, OVERRULE)

    with pytest.raises(LockStateError, match="frozen while it overrules"):
        taken_over(session_file)
    old.close(guard)


def turns(file, times=3):
    """Other processes take and give back the lock; nothing, if somebody has it."""
    for _ in range(times):
        try:
            with SessionLock(file, timeout=0.0, clock=CLOCK):
                pass
        except SessionLocked:
            return


def owner_that_reserves_nothing(file):
    """Another process with the guard of this file open, each of whose grants has a record."""
    request, owner = request_for(file), Kernel(CLOCK)
    guard = owner.open_guard(request.paths.guard, request.paths.body)
    guard.mine = None
    return request, owner, guard


@pytest.mark.parametrize("stuck", ["in its append", "in transit"])
def test_what_is_granted_while_an_overruler_stands_still_has_a_lower_generation_than_its_own(session_file, stuck):
    """The process that it overrules wakes at any of its operations: at once, or after others had their turns."""
    for at in range(60):
        file = session_file.with_name(f"{at}.jsonl")
        request, owner, guard = owner_that_reserves_nothing(file)
        byte = SECTION if stuck == "in its append" else OWNER_BASE + guard.epoch
        assert owner.lock(guard, byte)
        granted = []

        def wakes(owner=owner, file=file, request=request, guard=guard, byte=byte, granted=granted):
            owner.unlock(guard, byte)
            if byte == SECTION:
                turns(file)
                owner.lock(guard, SECTION)  # and stands still in it again
            grant = take(owner, request, guard, None)
            granted.extend([] if grant is None else [grant])

        overruler = Frozen(at, wakes)
        old = overruler.open_guard(request.paths.guard, request.paths.body)
        done = overrule(overruler, request, old, [], in_section=stuck == "in transit" and overruler.lock(old, SECTION))
        assert done is not None
        assert all(grant.generation < done.state.generation for grant in granted)
        for handle in (guard, old, done.guard):
            owner.close(handle)
        if overruler.left >= 0:
            break
        with SessionLock(file, timeout=0.0, clock=CLOCK) as free:
            assert free.generation > done.state.generation
    assert at >= 16


@pytest.mark.parametrize("beside", ["an owner in transit", "another fence"])
def test_no_two_grants_share_a_generation_wherever_a_fence_stands_still(session_file, beside):
    """Meanwhile an owner in transit records its grant, or another process fences; the higher generation owns."""
    for at in range(40):
        file = session_file.with_name(f"{at}.jsonl")
        request, owner, guard = owner_that_reserves_nothing(file)
        granted = []

        def meanwhile(owner=owner, file=file, request=request, guard=guard, granted=granted):
            if beside == "another fence":
                granted.append(taken_over(file))
            else:
                owner.unlock(guard, OWNER_BASE + guard.epoch)
                grant = take(owner, request, guard, None)
                granted.extend([] if grant is None else [grant])

        if beside == "another fence":
            take(owner, request, guard, None)
        else:
            assert owner.lock(guard, OWNER_BASE + guard.epoch)
        frozen = Frozen(at, meanwhile)
        fence = run_blocking(GUARDED.fence(frozen, request_for(file)), frozen)
        for other in granted:
            lower, higher = sorted([fence, other], key=lambda grant: grant.generation)
            with pytest.raises(Superseded) as superseded:
                owns(lower)
            assert superseded.value.current == higher.generation > lower.generation
            owns(higher)
            if other is not fence and other.guard is not guard:
                given_back(other)
        given_back(fence)
        owner.close(guard)
        if frozen.left >= 0:
            break
    assert at >= 12


def test_a_grant_that_is_void_from_its_beginning_is_none(session_file):
    """An owner that finds the guard as it left it stands still, at any operation, until it has been overruled and its
    successor has given the lock back."""
    for at in range(20):
        file, new = session_file.with_name(f"{at}.jsonl"), []
        turns(file, 1)

        def meanwhile(file=file, new=new):
            new.append(taken_over(file))
            given_back(new[0])

        frozen = Frozen(at, meanwhile)
        grant = run_blocking(GUARDED.acquire(frozen, request_for(file)), frozen)
        if new and new[0].fenced != grant.generation:  # else its link was there, and it was fenced like any owner
            assert grant.generation > new[0].generation
            owns(grant)
        given_back(grant)
        if not new:
            break
    assert at >= 6


@pytest.mark.parametrize("times", [1, 2])
async def test_an_owner_that_stands_still_in_the_section_is_overruled_only_under_the_generation_that_was_named(
    actor, clock, session_file, times
):
    owner = SessionLock(session_file, clock=clock)
    for _ in range(times):
        owner.release()
        held = owner.acquire()
    frozen = Kernel(CLOCK)  # stands still in the section of another process: nobody gets it
    guard = frozen.open_guard(f"{session_file}.guard")
    assert frozen.lock(guard, SECTION)
    request, kernel = request_for(session_file), Kernel(CLOCK)

    with pytest.raises(OwnerChanged):
        run_blocking(GUARDED.fence(kernel, request, None, held.generation + 1), kernel)
    assert not session_file.with_name(session_file.name + ".guard.new").exists()
    held.verify()

    grant = run_blocking(GUARDED.fence(kernel, request, None, held.generation), kernel)
    assert grant.fenced == held.generation
    owns(grant)
    given_back(grant)
    frozen.close(guard)
    owner.release()


def test_another_owner_that_comes_while_one_is_overruled_is_never_overruled_for_it(session_file):
    """The named owner gives the lock back, and another one takes it, before each operation of a fence in turn."""
    request = request_for(session_file)
    at_once = LockRequest(LockPaths.of(session_file), this_process(), Registry(), 0.0, section_wait_s=0.02)
    came = 0
    for at in range(40):
        owner, others = THIS_HOST.run(CLOCK, GUARDED.acquire, request), []

        def meanwhile(owner=owner, others=others):
            given_back(owner)
            try:
                others.append(THIS_HOST.run(CLOCK, GUARDED.acquire, at_once))
            except SessionLocked:
                pass  # the fence has the section

        frozen, grant = Frozen(at, meanwhile), None
        try:
            grant = run_blocking(GUARDED.fence(frozen, request, None, owner.generation), frozen)
        except OwnerChanged:
            assert others
        for other in others:
            came += 1
            assert grant is None
            owns(other)
            given_back(other)
        if grant is not None:
            owns(grant)
            given_back(grant)
        if frozen.left >= 0:
            given_back(owner)
            break
    else:
        pytest.fail("a fence has fewer operations")
    assert came > 2


@pytest.mark.parametrize("again", [False, True])
def test_nobody_is_granted_the_lock_in_the_middle_of_an_overruling(session_file, again):
    """Before each of its operations the frozen process wakes, the named owner gives the lock back, another one tries to
    take it, and a process freezes in the section again. A grant of that other one stands, or there is none.

    ``again``: it has had the lock before, and its guard rests.
    """
    tried = granted = 0
    for at in range(80):
        file = session_file.with_name(f"{at}.jsonl")
        request, other = request_for(file), SessionLock(file, clock=CLOCK, timeout=0.0)
        for _ in range(3 * again):
            other.acquire().release()
        owner, stuck = THIS_HOST.run(CLOCK, GUARDED.acquire, request), Kernel(CLOCK)
        guard = stuck.open_guard(f"{file}.guard")
        assert stuck.lock(guard, SECTION)

        def wakes(owner=owner, other=other, stuck=stuck, guard=guard):
            stuck.unlock(guard, SECTION)
            given_back(owner)
            with contextlib.suppress(SessionLocked):
                other.acquire()
            assert stuck.lock(guard, SECTION)

        frozen, grant = Frozen(at, wakes), None
        with contextlib.suppress(OwnerChanged, LockStateError):
            grant = run_blocking(GUARDED.fence(frozen, request, None, owner.generation), frozen)
        stuck.close(guard)
        if other.is_locked:
            assert grant is None
            granted += 1
            with other._held[-1].section() as check:
                check()
            other.release()
        tried += frozen.left < 0
        if grant is not None:
            owns(grant)
            given_back(grant)
        if frozen.left >= 0:
            given_back(owner)
            break
    assert tried > granted > 2


def test_a_lock_that_was_free_all_the_while_is_taken_behind_an_overruler_that_died(session_file):
    guard = Kernel(CLOCK)
    handle = guard.open_guard(f"{session_file}.guard", f"{session_file}.body.guard")
    assert guard.lock(handle, OVERRULE)
    waiter = SessionLock(session_file, clock=CLOCK, timeout=5.0)
    with pytest.raises(SessionLocked, match="The lock lies free"):
        waiter.acquire(timeout=0.0)
    guard.close(handle)  # as the kernel does with a dead process's
    with waiter.acquire(timeout=0.0) as held:
        held.verify()
