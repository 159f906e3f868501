"""The simulation finds the bugs that this family of failures is made of, and says each in at most six steps.

Each bug is a mutation of the runtime, switched on for as long as the search lasts. A search draws one seed after the
other until the law is broken, then shrinks. ``LOCKJAW_TRIALS=20 pytest -n 0 -s`` prints how many seeds it took, with
uniform delays and with priorities, as docs/concepts/simulation.md shows it.
"""

from __future__ import annotations

import inspect
import os
import statistics
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lockjaw.errors import RunAborted
from lockjaw.harness import load_scenario
from lockjaw.harness.run import judge
from lockjaw.harness.search.shrink import in_words, shrink
from lockjaw.harness.sim.contention import AGAIN_AND_AGAIN, Contention, run_contention, violated_by
from lockjaw.harness.sim.engine import run_sim
from lockjaw.harness.sim.tape import (
    EVERYDAY,
    POINT_BOUND,
    ROUGH,
    Chances,
    Choices,
    PriorityChoices,
    RandomChoices,
    SparseChoices,
)
from lockjaw.locking import catalog, session_lock
from lockjaw.locking.algorithms import coarse, guarded
from lockjaw.locking.owner_record import parse
from lockjaw.locking.resting import RestingGuards
from lockjaw.runner.embedded import EmbeddedRunner
from lockjaw.runner.policy import POLICY_FUNCTIONS, reuse_session
from lockjaw.seeds import Seeds

TRIALS = int(os.environ.get("LOCKJAW_TRIALS", "1"))
MOST_SEEDS = 3000
MOST_STEPS = 6

World = Callable[[int, Choices], Sequence[str]]


def turn(scenario: str, settle_s: float = 0.0) -> World:
    """A whole turn under takeover; the gateway may go on for ``settle_s`` after the client has its answer."""
    loaded = msgspec.structs.replace(load_scenario(scenario), settle_s=settle_s)

    def run(seed: int, choices: Choices) -> Sequence[str]:
        lived = run_sim(loaded, policy="takeover", seed=seed, choices=choices)
        judged = judge(
            loaded, lived.history, policy="takeover", engine="sim", seed=seed, nominal_s=0.0, wall_s=0.0,
            run_dir=Path(), exact_hash="-",
        )  # fmt: skip
        return [check.name for check in judged.checks if check.verdict == "VIOLATED"]

    return run


def contention(setup: Contention) -> World:
    return lambda seed, choices: violated_by(setup, seed=seed, choices=choices)


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
    other = catalog.Coarse(replace(coarse.COARSE, **rules))
    return patched((session_lock, "LOCK_ALGORITHMS", {**catalog.LOCK_ALGORITHMS, "coarse": other}))


def never_superseded() -> AbstractContextManager[None]:
    """An append locks the section and looks at no generation."""

    def enter(calls: Any, grant: Any) -> Any:
        until = calls.now() + grant.request.section_wait_s
        yield from guarded._lock(calls, grant.guard, guarded.SECTION, until)

    return patched((guarded, "enter", enter))


def settles_late() -> AbstractContextManager[None]:
    """The gateway says that it has stopped its run; a moment later the run begins anew."""
    run = EmbeddedRunner.run

    async def late(self: EmbeddedRunner, plan: Any, *, abort: Any, emit: Any) -> Any:
        try:
            return await run(self, plan, abort=abort, emit=emit)
        except RunAborted:
            await self.clock.sleep(1.0)
            return await run(self, plan, abort=type(abort)(), emit=emit)

    return patched((EmbeddedRunner, "run", late))


# --------------------------------------------------------------------------- the same bugs in our own lock

_ACQUIRE, _RELEASE = catalog.Guarded.acquire, catalog.Guarded.release


def robs_by_age(self: Any, calls: Any, order: Any, mine: Any = None) -> Any:
    """Whoever wants the lock removes a lock file that is older than 10 s, then asks."""
    status = calls.status(order.paths.lock)
    if status is not None and status.age_s > 10.0:
        calls.unlink(order.paths.lock)
    return (yield from _ACQUIRE(self, calls, order, mine))


def inspects_then_unlinks(self: Any, calls: Any, order: Any, mine: Any = None) -> Any:
    """Whoever sees a dead owner removes the lock file by path; by then it may be another's."""
    try:
        owner = parse(calls.read_file(order.paths.lock).data)
    except OSError:
        owner = None
    if owner is not None and owner.pid is not None:
        process = calls.process_state(owner.pid)
        if not process.exists or process.zombie:
            calls.unlink(order.paths.lock)
    return (yield from _ACQUIRE(self, calls, order, mine))


def releases_blindly(self: Any, calls: Any, grant: Any) -> Any:
    """Whoever gives the lock back removes the lock file, whoever's it is."""
    calls.unlink(grant.request.lock_path)
    return (yield from _RELEASE(self, calls, grant))


@dataclass(frozen=True)
class Bug:
    """``plant`` switches it on; ``law`` is what it breaks."""

    says: str
    law: str
    plant: Callable[[], AbstractContextManager[None]]
    world: Callable[[], World]
    chances: Chances = ROUGH


BUGS = (
    Bug(
        "the fallback runs the turn again in the same session", "executed_once",
        lambda: patched((POLICY_FUNCTIONS, "takeover", reuse_session)),
        lambda: turn("gateway_timeout"), EVERYDAY,
    ),
    Bug(
        "a live holder loses its lock for its age", "one_writer",
        lambda: with_rules(stale_s=10.0), lambda: contention(Contention("coarse", timeout_s=60.0)),
    ),
    Bug(
        "inspect, then unlink: two contenders break one stale lock", "one_writer",
        lambda: patched(), lambda: contention(Contention("coarse", stale=True)),
    ),
    Bug(
        "release without looking whose lock it is", "one_writer",
        lambda: patched(),
        lambda: contention(Contention("coarse", contenders=4, think_s=1.0, robbed_at_s=0.5, timeout_s=60.0, rounds=1)),
    ),
    Bug(
        "an empty lock file is taken after 5 s while its owner is frozen", "one_writer",
        lambda: with_rules(ownerless_grace_s=5.0),
        lambda: contention(Contention("coarse", timeout_s=60.0, think_s=8.0, rounds=4)),
    ),
    Bug(
        "the generation is not checked on append", "one_writer",
        never_superseded, lambda: contention(Contention("guarded", contenders=1, rounds=4, taker_after_s=5.0)),
    ),
    Bug(
        "an abort that settles late and takes the lock again", "executed_once",
        settles_late, lambda: turn("gateway_timeout_fast_backup", 30.0), EVERYDAY,
    ),
    Bug(
        "our own lock robs a live holder for its age", "all_delivered",
        lambda: patched((catalog.Guarded, "acquire", robs_by_age)), lambda: turn("busy_loop_holder"), EVERYDAY,
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
        says_instead(RestingGuards, "take", "if self._is_named(guard)", "if True"),
        lambda: contention(replace(AGAIN_AND_AGAIN, guard_removed_at_s=2.0, pause_s=1.0, turns=1, rounds=5)),
    ),
    Bug(
        "a guard rests with its locks", "recovered_within",
        says_instead(RestingGuards, "keep", " or not unlock(guard)", ""),
        lambda: contention(Contention(timeout_s=60.0, pause_s=500.0)), EVERYDAY,
    ),
)  # fmt: skip


def length_of(world: World) -> int:
    """Operations of the undisturbed run."""
    choices = SparseChoices({})
    world(1, choices)
    return sum(choice.bound == POINT_BOUND for choice in choices.tape)


def by_priorities(bug: Bug, world: World, first_seed: int, length: int) -> int:
    """Seeds needed, or ``MOST_SEEDS``."""
    for n in range(MOST_SEEDS):
        seed = first_seed + n
        if bug.law in world(seed, PriorityChoices(Seeds(seed), length)):
            return n + 1
    return MOST_SEEDS


def search(bug: Bug, world: World, first_seed: int) -> tuple[int, list[str], int]:
    """Seeds needed, the minimal schedule in words, runs that shrinking took."""
    for n in range(MOST_SEEDS):
        seed = first_seed + n
        choices = RandomChoices(Seeds(seed), bug.chances)
        if bug.law in world(seed, choices):

            def fails(deviations: Any, seed: int = seed) -> bool:
                return bug.law in world(seed, SparseChoices(deviations))

            found = shrink(choices.tape, fails)
            assert found is not None, f"seed {seed} fails, its choices alone do not"
            return n + 1, in_words(found.deviations), found.tries
    raise AssertionError(f"not found in {MOST_SEEDS} seeds: {bug.says}")


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.says.replace(" ", "-"))
def test_planted_bug_is_found_and_shrunk(bug: Bug) -> None:
    world = bug.world()
    needed, steps, otherwise = [], [], []
    with bug.plant():
        length = length_of(world)
        for trial in range(TRIALS):
            seeds, words, _ = search(bug, world, first_seed=1 + 10_000 * trial)
            needed.append(seeds)
            steps.append(words)
            if TRIALS > 1:
                otherwise.append(by_priorities(bug, world, 1 + 10_000 * trial, length))
    longest = max(steps, key=len)
    other = f" {statistics.median(otherwise):g} | {max(otherwise)} |" if otherwise else ""
    print(
        f"\n| {bug.says} | `{bug.law}` | {statistics.median(needed):g} | {max(needed)} |{other} {len(longest)} |\n    "
        + "\n    ".join(longest)
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
    with patched((catalog.Guarded, name, bug)):
        for seed in range(1, 81):
            ran = run_contention(setup, seed=seed, choices=RandomChoices(Seeds(seed), ROUGH))
            assert not {"one_writer", "transcript_whole"} & set(ran.violated), (seed, ran.violated)
            lost += sum(record.op == "lock.lost" for record in ran.history)
    assert lost >= 5  # it was not idle: lock files vanished under their owners


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.says.replace(" ", "-"))
def test_the_law_holds_without_the_bug(bug: Bug) -> None:
    """What finds the bug does not fire at the healthy runtime. (Upstream's locks have theirs built in.)"""
    setup_of_ours = {"coarse": "guarded"}
    world = bug.world()
    if bug.law == "one_writer":
        healthy = Contention(setup_of_ours["coarse"], contenders=3, stale=True, taker_after_s=5.0, robbed_at_s=0.5)
        world = contention(healthy)
    for seed in range(1, 31):
        assert bug.law not in world(seed, RandomChoices(Seeds(seed), bug.chances)), seed
