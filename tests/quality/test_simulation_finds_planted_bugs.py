"""The simulation finds the bugs that this family of failures is made of, and says each in at most six steps.

Each bug is a mutation of the runtime, switched on for as long as the search lasts. A search takes one seed of the
default strategy after the other until the law is broken, then shrinks. A schedule counts only if it breaks no law
without the bug. ``LOCKJAW_TRIALS=20 pytest -n 0 -s`` prints how many seeds and CPU seconds it took, as
docs/benchmarks/simulation.md shows it.
"""

from __future__ import annotations

import inspect
import os
import statistics
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lockjaw.errors import HarnessError, RunAborted
from lockjaw.harness import load_scenario
from lockjaw.harness.run import judge
from lockjaw.harness.search.shrink import in_words, shrink
from lockjaw.harness.search.strategies import drawn_choices, kind_of
from lockjaw.harness.search.undisturbed import SEED, Undisturbed, of_run
from lockjaw.harness.sim.contention import AGAIN_AND_AGAIN, Contention, run_contention
from lockjaw.harness.sim.disk import Disk
from lockjaw.harness.sim.engine import enclosed, run_sim
from lockjaw.harness.sim.files import SimFiles
from lockjaw.harness.sim.locks import SimHost, Waiters
from lockjaw.harness.sim.log import Step
from lockjaw.harness.sim.process import Process, SimClock
from lockjaw.harness.sim.tape import ROUGH, Choice, Choices, RandomChoices, SparseChoices
from lockjaw.harness.sim.world import World as Simulation
from lockjaw.locking import catalogue, session_lock
from lockjaw.locking.algorithms import coarse, guarded
from lockjaw.locking.algorithms.findings import read_state
from lockjaw.locking.algorithms.grants import Superseded
from lockjaw.locking.owner_record import parse
from lockjaw.locking.resting import RestingGuards
from lockjaw.runner.embedded import EmbeddedRunner
from lockjaw.runner.policy import POLICY_FUNCTIONS, reuse_session, takeover
from lockjaw.seeds import Seeds
from lockjaw.sessions import SessionStore, Transcript
from lockjaw.sessions.repair import survey
from lockjaw.sessions.transcript_file import TranscriptFile

TRIALS = int(os.environ.get("LOCKJAW_TRIALS", "1"))
MOST_SEEDS = 3000
MOST_STEPS = 6


@dataclass(frozen=True)
class Ran:
    """One run: the laws that it broke, and what it left for the search."""

    violated: tuple[str, ...]
    tape: list[Choice]
    log: tuple[Step, ...]


World = Callable[[int, Choices], Ran]


def turn(scenario: str, settle_s: float = 0.0, **changes: Any) -> World:
    """A whole turn under takeover; the gateway may go on for ``settle_s`` after the client has its answer.

    Law ``ends``: every actor that is waited for ends.
    """
    loaded = msgspec.structs.replace(load_scenario(scenario), settle_s=settle_s, **changes)

    def run(seed: int, choices: Choices) -> Ran:
        try:
            lived = run_sim(loaded, policy="takeover", seed=seed, choices=choices)
        except HarnessError as error:
            if "did not end" not in str(error):
                raise
            return Ran(("ends",), choices.tape, ())
        judged = judge(
            loaded, lived.history, policy="takeover", engine="sim", seed=seed, nominal_s=0.0, wall_s=0.0,
            run_dir=Path(), exact_hash="-",
        )  # fmt: skip
        broken = tuple(check.name for check in judged.checks if check.verdict == "VIOLATED")
        return Ran(broken, lived.tape, lived.log)

    return run


def contention(setup: Contention) -> World:
    def run(seed: int, choices: Choices) -> Ran:
        ran = run_contention(setup, seed=seed, choices=choices)
        return Ran(ran.violated, ran.tape, ran.log)

    return run


def updates(seed: int, choices: Choices) -> Ran:
    """Three processes each count the same entry of a store up, twice. Law: ``no_update_lost``."""
    world = Simulation(choices)
    disk, waiters = Disk(lambda: world.now), Waiters()
    world.log.disk, disk.changed = disk, waiters.changed
    disk.make_folder("/d")
    path, accepted = Path("/d/sessions.json"), []

    def store_of(process: Process) -> SessionStore:
        clock, host = SimClock(process), SimHost(process, disk, waiters)
        ids = Seeds(seed).stream(process.name)
        return SessionStore(
            path, clock=clock, ids=ids, files=SimFiles(process, disk),
            lock=lambda path: session_lock.SessionLock(path, timeout=300.0, clock=clock, host=host),
        )  # fmt: skip

    async def count(process: Process) -> None:
        store = store_of(process)
        for _ in range(2):
            await store.update("main", lambda entry: entry.update(count=entry.get("count", 0) + 1))
            accepted.append(process.name)
            await SimClock(process).sleep(0.05)

    for name in ("one", "two", "three"):
        process = world.start(name, name)
        process.at_death.append(lambda process=process: disk.close_all(process))
        task = process.spawn(count(process), name)
        task.add_done_callback(lambda task, process=process: world.kill(process, 0) if process.alive else None)
    found: list[int] = []

    def work() -> None:
        world.run_patiently(2000.0, lambda: not any(process.alive for process in world.processes))
        found.append(store_of(world.start("harness", "harness")).read().get("main", {}).get("count", 0))

    enclosed(world, work)
    return Ran(("no_update_lost",) if found[0] < len(accepted) else (), choices.tape, tuple(world.log.steps))


@contextmanager
def patched(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for owner, name, value in changes:
            if isinstance(owner, dict):
                patch.setitem(owner, name, value)
            else:
                patch.setattr(owner, name, value)
        yield


def rewritten(function: Any, old: str, new: str) -> Any:
    """The function with one piece of its text replaced."""
    text = textwrap.dedent(inspect.getsource(function))
    assert text.count(old) == 1, f"{function.__qualname__} does not say {old!r} any more, or says it twice"
    scope: dict[str, Any] = {}
    exec("from __future__ import annotations\n" + text.replace(old, new), function.__globals__, scope)
    return scope[function.__name__]


def says_instead(owner: Any, name: str, old: str, new: str) -> Callable[[], AbstractContextManager[None]]:
    return lambda: patched((owner, name, rewritten(getattr(owner, name), old, new)))


def with_rules(**rules: Any) -> AbstractContextManager[None]:
    """The coarse lock with other rules."""
    other = replace(catalogue.LOCK_ALGORITHMS["coarse"], rules=replace(coarse.COARSE, **rules))
    return patched((session_lock, "LOCK_ALGORITHMS", {**catalogue.LOCK_ALGORITHMS, "coarse": other}))


def never_superseded() -> AbstractContextManager[None]:
    """An append locks the section and looks at no generation."""

    def enter(calls: Any, grant: Any) -> Any:
        until = calls.now() + grant.request.section_wait_s
        yield from guarded._lock(calls, grant.guard, guarded.SECTION, until)

    return patched((catalogue.Guarded, "enter", staticmethod(enter)))


def names_are_not_looked_at() -> AbstractContextManager[None]:
    """A guard that rested is not looked at, neither before it is locked nor with the lock file made."""
    rested = rewritten(RestingGuards.take, "if self._is_named(guard)", "if True")
    taken = rewritten(guarded.take, "if calls.named(guard)", "if True")
    return patched((RestingGuards, "take", rested), (guarded, "take", taken))


def settles_late() -> AbstractContextManager[None]:
    """The gateway says that it has stopped its run. Three seconds later the run looks whether its turn was answered
    meanwhile, waits for the lock, and begins anew: with the lock in hand it does not look again."""
    run, begun = EmbeddedRunner.run, EmbeddedRunner._begun
    again: set[str] = set()

    async def late(self: EmbeddedRunner, plan: Any, *, abort: Any, emit: Any) -> Any:
        try:
            return await run(self, plan, abort=abort, emit=emit)
        except RunAborted:
            await self.clock.sleep(3.0)
            if self.machine.files.exists(plan.file):
                transcript = Transcript.open(
                    plan.file, session_id=plan.session_id, cwd=Path(), clock=self.clock, read_only=True,
                    files=self.machine.files,
                )  # fmt: skip
                state = transcript.turn_of(plan.turn_id)
                if state is not None and state.answer is not None:
                    raise
            again.add(plan.run_id)
            return await run(self, plan, abort=type(abort)(), emit=emit)

    async def with_the_lock(self: EmbeddedRunner, plan: Any, held: Any) -> Any:
        return None if plan.run_id in again else await begun(self, plan, held)

    return patched((EmbeddedRunner, "run", late), (EmbeddedRunner, "_begun", with_the_lock))


# --------------------------------------------------------------------------- the same bugs in our own lock

_ACQUIRE, _RELEASE = catalogue.Guarded.acquire, catalogue.Guarded.release


def robs_by_age(calls: Any, request: Any, mine: Any = None) -> Any:
    """Whoever wants the lock removes a lock file that is older than 10 s, then asks."""
    status = calls.status(request.paths.lock)
    if status is not None and status.age_s > 10.0:
        calls.unlink(request.paths.lock)
    return (yield from _ACQUIRE(calls, request, mine))


def inspects_then_unlinks(calls: Any, request: Any, mine: Any = None) -> Any:
    """Whoever sees a dead owner removes the lock file by path; by then it may be another's."""
    try:
        owner = parse(calls.read_file(request.paths.lock).data)
    except OSError:
        owner = None
    if owner is not None and owner.pid is not None:
        process = calls.process_state(owner.pid)
        if not process.exists or process.zombie:
            calls.unlink(request.paths.lock)
    return (yield from _ACQUIRE(calls, request, mine))


def releases_blindly(calls: Any, grant: Any) -> Any:
    """Whoever gives the lock back removes the lock file, whoever's it is."""
    calls.unlink(grant.request.paths.lock)
    return (yield from _RELEASE(calls, grant))


# --------------------------------------------------------------------------- bugs that need two things at once


def looks_then_locks() -> AbstractContextManager[None]:
    """An append looks at the generation, then locks the section."""

    def enter(calls: Any, grant: Any) -> Any:
        guarded.begin_append(calls, grant)
        guarded.leave(calls, grant)
        yield from guarded._lock(calls, grant.guard, guarded.SECTION, calls.now() + grant.request.section_wait_s)

    return patched((catalogue.Guarded, "enter", staticmethod(enter)))


def passes_when_overruled_twice() -> AbstractContextManager[None]:
    begin = guarded.begin_append

    def lenient(calls: Any, grant: Any) -> bool:
        try:
            return begin(calls, grant)
        except Superseded:
            if read_state(calls, grant.guard).generation - grant.generation != 2:
                raise
            return bool(calls.lock(grant.guard, guarded.SECTION))

    return patched((guarded, "begin_append", lenient))


def compacts_in_place() -> AbstractContextManager[None]:
    """After its second entry a contender writes its transcript anew, as a compaction does that rewrites; outside of the
    section."""
    append = Transcript.append_custom

    def compact(self: Any, custom_type: str, data: dict[str, Any]) -> str:
        entry_id = append(self, custom_type, data)
        if data["owner"] != "taker":
            path = self.path
            kept = self._files.read(path)
            fd = self._files.open(path.with_name(f"{path.name}.tmp"), os.O_WRONLY | os.O_CREAT)
            self._files.write(fd, kept)
            self._files.close(fd)
            self._files.replace(path.with_name(f"{path.name}.tmp"), path)
            self._file.take_in(survey(self._files, path))
        return entry_id

    return patched((Transcript, "append_custom", compact))


async def updates_what_it_read_before(self: Any, key: str, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The store is read, then locked."""
    store = self._parse(self._bytes())
    async with self._lock(self.path) as held:
        entry: dict[str, Any] = store.get(key) or {}
        change(entry)
        store[key] = entry
        self._write(store, newline=True, section=held.section)
        return entry


def reruns() -> AbstractContextManager[None]:
    """The run that was asked for has ended by the time it is to be stopped: nothing was stopped, so it is run again."""
    again = rewritten(
        takeover, 'RunEmbedded("same", resume=True, locked=True)',
        'RunEmbedded("same", resume=failure.definite or asked.state != "running" or stopped.confirmed, locked=True)',
    )  # fmt: skip
    return patched((POLICY_FUNCTIONS, "takeover", again))


def answers_while_asked(first_token_s: float) -> World:
    """The gateway's second model answers a second after the client's patience: while the client asks."""
    models = load_scenario("gateway_timeout").models
    reply = {"first_token_s": first_token_s, "inter_token_s": 0.0, "token": ".", "count": 1}
    return turn("gateway_timeout", 30.0, models={**models, "kimi-k2": [reply]})


@dataclass(frozen=True)
class Bug:
    """``plant`` switches it on; ``law`` is what it breaks. ``innate``: it is the other program's own, always there."""

    says: str
    law: str
    plant: Callable[[], AbstractContextManager[None]]
    world: Callable[[], World]
    innate: bool = False


BUGS = (
    Bug(
        "the fallback runs the turn again in the same session", "executed_once",
        lambda: patched((POLICY_FUNCTIONS, "takeover", reuse_session)),
        lambda: turn("gateway_timeout"),
    ),
    Bug(
        "a live holder loses its lock for its age", "one_writer",
        lambda: with_rules(stale_s=10.0), lambda: contention(Contention("coarse", timeout_s=60.0)), innate=True,
    ),
    Bug(
        "inspect, then unlink: two contenders break one stale lock", "one_writer",
        lambda: patched(), lambda: contention(Contention("coarse", stale=True)), innate=True,
    ),
    Bug(
        "release without looking whose lock it is", "one_writer",
        lambda: patched(),
        lambda: contention(Contention("coarse", contenders=4, think_s=1.0, robbed_at_s=0.5, timeout_s=60.0, rounds=1)),
        innate=True,
    ),
    Bug(
        "an empty lock file is taken after 5 s while its owner is frozen", "one_writer",
        lambda: with_rules(ownerless_grace_s=5.0),
        lambda: contention(Contention("coarse", timeout_s=60.0, think_s=8.0, rounds=4)), innate=True,
    ),
    Bug(
        "the generation is not checked on append", "one_writer",
        never_superseded, lambda: contention(Contention("guarded", contenders=1, rounds=4, taker_after_s=5.0)),
    ),
    Bug(
        "an abort that settles late, and takes the lock again without another look", "executed_once",
        settles_late, lambda: turn("gateway_timeout_fast_backup", 30.0),
    ),
    Bug(
        "our own lock robs a live holder for its age", "answered",
        lambda: patched((catalogue.Guarded, "acquire", staticmethod(robs_by_age))),
        lambda: turn("cleaner_misreads_lock"),
    ),
    Bug(
        "who takes the lock again believes its note, whatever the guard says by now", "generations_rise",
        says_instead(guarded, "take", "understood(guard, calls.read(guard, STATE_LENGTH)) is mine", "True"),
        lambda: contention(AGAIN_AND_AGAIN),
    ),
    Bug(
        "generations in reserve are used although somebody else was there", "generations_rise",
        says_instead(guarded, "take", "if again and guard.spare", "if guard.spare"),
        lambda: contention(replace(AGAIN_AND_AGAIN, turns=2)),
    ),
    Bug(
        "generations are reserved and not written down", "generations_rise",
        says_instead(guarded, "take", "now_ms, state.generation + block", "now_ms, state.generation + 1"),
        lambda: contention(AGAIN_AND_AGAIN),
    ),
    Bug(
        "a guard that rested while a live owner was overruled goes by the old owner's byte", "one_holder",
        says_instead(guarded, "take", "state.epoch == guard.epoch and ", ""),
        lambda: contention(Contention(think_s=2.0, pause_s=10.0, taker_after_s=2.5, robbed_at_s=8.0)),
    ),
    Bug(
        "a guard rests although its file was removed", "one_holder",
        names_are_not_looked_at,
        lambda: contention(replace(AGAIN_AND_AGAIN, guard_removed_at_s=2.0, pause_s=1.0, turns=1, rounds=5)),
    ),
    Bug(
        "a guard rests with its locks", "recovered_within",
        says_instead(RestingGuards, "keep", " or not unlock(guard)", ""),
        lambda: contention(Contention(timeout_s=60.0, pause_s=500.0)),
    ),
    Bug(
        "the generation is looked at before the section is locked", "one_writer",
        looks_then_locks, lambda: contention(Contention("guarded", contenders=1, rounds=4, taker_after_s=5.0)),
    ),
    Bug(
        "an append passes if its owner was overruled exactly twice", "one_writer",
        passes_when_overruled_twice,
        lambda: contention(Contention("guarded", contenders=3, turns=2, taker_after_s=5.0)),
    ),
    Bug(
        "an answer that arrives while it is being asked for: the run is made again", "executed_once",
        reruns, lambda: answers_while_asked(25.1),
    ),
    Bug(
        "a transcript's repair races an append", "transcript_whole",
        says_instead(TranscriptFile, "make_sound", "with self._guarded():", "if True:"),
        lambda: contention(Contention("guarded", contenders=2, torn=True, taker_after_s=5.0)),
    ),
    Bug(
        "a compaction that rewrites races a late append", "transcript_whole",
        compacts_in_place, lambda: contention(Contention("guarded", contenders=2, taker_after_s=5.0)),
    ),
    Bug(
        "a lost update: the store is read before it is locked", "no_update_lost",
        lambda: patched((SessionStore, "_update", updates_what_it_read_before)), lambda: updates,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What a search came to. ``tries``: runs that shrinking took."""

    seeds: int
    cpu_s: float
    words: list[str]
    tries: int


def base_of(world: World) -> Undisturbed:
    return of_run(world(SEED, SparseChoices({})))


def choices_at(seed: int, base: Undisturbed) -> Choices:
    """Of the default strategy."""
    return drawn_choices(kind_of("random", seed), Seeds(seed), base)


def search(bug: Bug, world: World, first_seed: int) -> Found:
    began = time.process_time()
    base = base_of(world)
    for n in range(MOST_SEEDS):
        seed = first_seed + n
        choices = choices_at(seed, base)
        with bug.plant():
            if bug.law not in world(seed, choices).violated:
                continue
        if not bug.innate and bug.law in world(seed, choices_at(seed, base)).violated:
            continue
        cpu_s = time.process_time() - began

        def fails(deviations: Any, seed: int = seed) -> bool:
            with bug.plant():
                if bug.law not in world(seed, SparseChoices(deviations)).violated:
                    return False
            return bug.innate or bug.law not in world(seed, SparseChoices(deviations)).violated

        found = shrink(choices.tape, fails)
        assert found is not None, f"seed {seed} fails, its choices alone do not"
        return Found(n + 1, cpu_s, in_words(found.deviations), found.tries)
    raise AssertionError(f"not found in {MOST_SEEDS} seeds: {bug.says}")


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.says.replace(" ", "-"))
def test_planted_bug_is_found_and_shrunk(bug: Bug) -> None:
    world = bug.world()
    found = [search(bug, world, first_seed=1 + 10_000 * trial) for trial in range(TRIALS)]
    longest = max((one.words for one in found), key=len)
    print(
        f"\n| {bug.says} | `{bug.law}` | {statistics.median(one.seeds for one in found):g} | "
        f"{max(one.seeds for one in found)} | {statistics.median(one.cpu_s for one in found):.2f} | "
        f"{max(one.cpu_s for one in found):.2f} | {len(longest)} |\n    " + "\n    ".join(longest)
    )
    assert len(longest) <= MOST_STEPS, longest


@pytest.mark.parametrize(
    ("setup", "name", "bug"),
    [
        (Contention(stale=True, contenders=3), "acquire", inspects_then_unlinks),
        (Contention(contenders=3, rounds=3, think_s=1.0), "release", releases_blindly),
        (Contention(contenders=1, rounds=4, taker_after_s=5.0), "release", releases_blindly),
        (Contention(contenders=2, rounds=2, think_s=15.0), "acquire", robs_by_age),
    ],
    ids=["inspect then unlink", "blind release", "blind release after a fence", "robbed for its age"],
)
def test_our_lock_lets_nobody_write_beside_another_with_one_line_of_defence_gone(
    setup: Contention, name: str, bug: Any
) -> None:
    """What is lost is the lock file; the owner's byte and the generation still say who may write."""
    lost = 0
    with patched((catalogue.Guarded, name, staticmethod(bug))):
        for seed in range(1, 81):
            ran = run_contention(setup, seed=seed, choices=RandomChoices(Seeds(seed), ROUGH))
            assert not {"one_writer", "transcript_whole"} & set(ran.violated), (seed, ran.violated)
            lost += sum(record.op == "lock.lost" for record in ran.history)
    assert lost >= 5  # it was not idle: lock files vanished under their owners


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.says.replace(" ", "-"))
def test_the_law_holds_without_the_bug(bug: Bug) -> None:
    """What finds the bug does not fire at the healthy runtime. (Upstream's locks have theirs built in.)"""
    world = bug.world()
    if bug.innate:
        healthy = Contention("guarded", contenders=3, stale=True, taker_after_s=5.0, robbed_at_s=0.5)
        world = contention(healthy)
    for seed in range(1, 31):
        assert bug.law not in world(seed, RandomChoices(Seeds(seed))).violated, seed
