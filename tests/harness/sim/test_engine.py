"""Whole scenarios in virtual time: verdicts, exact repetition, replay, exploration, agreement of the engines."""

from __future__ import annotations

import asyncio
import json
import linecache
import os
import runpy
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lockjaw.behaviours import POLICIES
from lockjaw.cli.replay import replay
from lockjaw.errors import HarnessError, UsageError
from lockjaw.harness import load_scenario, run_scenario
from lockjaw.harness.judge.agreement import agreement, fallback_steps, lock_owners
from lockjaw.harness.run import run_async
from lockjaw.harness.search.explore import explore
from lockjaw.harness.search.strategies import operations
from lockjaw.harness.sim.contention import AGAIN_AND_AGAIN, Contention, run_contention
from lockjaw.harness.sim.engine import SimLived, run_sim
from lockjaw.harness.sim.tape import (
    CRASH_AFTER,
    CRASH_BEFORE,
    FIRST_FAULT,
    POINT_BOUND,
    ROUGH,
    TEAR,
    Place,
    RandomChoices,
    SparseChoices,
    StrictReplay,
    read_tape,
    write_tape,
)
from lockjaw.harness.store import TAPE
from lockjaw.history import event_hash
from lockjaw.runner.embedded import EmbeddedRunner
from lockjaw.scenarios import names
from lockjaw.seeds import Seeds

SCENARIOS = ("gateway_timeout", "gateway_timeout_mixed", "gateway_timeout_fast_backup", "gateway_killed_mid_turn")


def lived(scenario: str, policy: str, seed: int, **more: Any) -> SimLived:
    return run_sim(load_scenario(scenario), policy=policy, seed=seed, choices=RandomChoices(Seeds(seed)), **more)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_verdict_is_the_one_that_the_scenario_expects(scenario: str, policy: str, tmp_path: Path) -> None:
    assert set(SCENARIOS) <= set(names())
    run = run_scenario(scenario, policy=policy, engine="sim", seed=1, out=tmp_path)
    broken = {check.name for check in run.checks if check.verdict == "VIOLATED"}
    assert broken == set(load_scenario(scenario).expect[policy])
    assert run.verdict == ("VIOLATED" if broken else "HELD")
    assert (run.engine, run.nominal_s > 10.0) == ("sim", True)
    assert all(condition.met for condition in run.reached) or run.verdict == "VIOLATED"


def test_reuse_session_fails_three_times_on_the_lock_as_reported(tmp_path: Path) -> None:
    run = run_scenario("gateway_timeout", policy="reuse-session", engine="sim", seed=4, out=tmp_path)
    assert run.outcome.session_locked_errors == 3
    waits = [r.data["waited_s"] for r in run.history if r.op == "lock" and r.phase == "fail"]
    assert all(10.4 <= waited_s <= 11.5 for waited_s in waits)
    assert 123.0 < run.nominal_s < 126.0


@pytest.mark.parametrize("chances", ["everyday", "rough"])
def test_same_seed_gives_the_same_history(chances: str) -> None:
    scenario = load_scenario("gateway_killed_mid_turn")
    for seed in range(8):
        hashes = set()
        for _ in range(2):
            choices = RandomChoices(Seeds(seed), *([ROUGH] if chances == "rough" else []))
            hashes.add(event_hash(run_sim(scenario, policy="takeover", seed=seed, choices=choices).history))
        assert len(hashes) == 1, seed


def test_different_seeds_give_different_schedules() -> None:
    orders = {
        tuple((r.actor, r.op, r.phase) for r in lived("gateway_timeout", "takeover", seed).history)
        for seed in range(1, 21)
    }
    assert len(orders) > 1


@pytest.mark.parametrize(
    ("flags", "env"),
    [
        ((), {"PYTHONHASHSEED": "1"}),
        (("-O",), {"PYTHONHASHSEED": "77", "TZ": "Pacific/Auckland"}),
        (("-X", "utf8=0"), {"LC_ALL": "C", "PYTHONHASHSEED": "0", "TZ": "UTC"}),
    ],
    ids=["another hash seed", "without asserts, elsewhere on earth", "plain C locale"],
)
def test_the_hash_does_not_depend_on_where_it_runs(flags: Sequence[str], env: dict[str, str], tmp_path: Path) -> None:
    program = Path(__file__).with_name("hashes.py")
    scenarios = ("gateway_timeout", "gateway_killed_mid_turn")
    _, here = runpy.run_path(str(program))["hash_of_hashes"](1, [*scenarios])
    there = subprocess.run(
        [sys.executable, *flags, program, "1", *scenarios], env={**os.environ, **env}, cwd=tmp_path,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert there.stdout.split()[0] == here


# --------------------------------------------------------------------------- replay


def test_replay_gives_the_same_verdict_and_the_same_event_hash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_scenario("gateway_timeout", policy="reuse-session", engine="sim", seed=9, out=tmp_path)
    assert replay(run.run_dir, as_json=True) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["replay"]["same_event_hash"] is True
    assert document["runs"][0]["event_hash"] == run.event_hash


def test_replay_of_a_changed_tape_names_the_first_difference(tmp_path: Path) -> None:
    run = run_scenario("gateway_timeout", engine="sim", seed=9, out=tmp_path)
    tape = read_tape(run.run_dir / TAPE)
    tape[40] = tape[40]._replace(label="somebody: Else file")
    write_tape(run.run_dir / TAPE, tape)
    with pytest.raises(HarnessError, match=r"diverged at step 40: expected 'somebody: Else file"):
        replay(run.run_dir, as_json=True)


def test_replay_of_a_cut_tape_diverges_also_where_the_runtime_swallows_errors(tmp_path: Path) -> None:
    run = run_scenario("gateway_timeout", engine="sim", seed=9, out=tmp_path)
    for length in (5, 150, len(read_tape(run.run_dir / TAPE)) - 1):
        write_tape(run.run_dir / TAPE, read_tape(run.run_dir / TAPE)[:length])
        with pytest.raises(HarnessError, match="the end of the tape"):
            replay(run.run_dir, as_json=True)
        asyncio.run(_again(run.run_dir, tmp_path))


async def _again(run_dir: Path, out: Path) -> None:
    kept = await run_async("gateway_timeout", engine="sim", seed=9, out=out)
    write_tape(run_dir / TAPE, read_tape(kept.run_dir / TAPE))


def test_a_schedule_of_few_choices_replays_from_its_folder(tmp_path: Path) -> None:
    place = operations(load_scenario("gateway_timeout"), "takeover")[-1]

    async def work() -> Any:
        return await run_async("gateway_timeout", engine="sim", seed=1, out=tmp_path, choices=SparseChoices({place: 6}))

    run = asyncio.run(work())
    again = StrictReplay(read_tape(run.run_dir / TAPE))
    history = run_sim(load_scenario("gateway_timeout"), policy="takeover", seed=1, choices=again).history
    assert event_hash(history) == run.event_hash


# --------------------------------------------------------------------------- exploration


@pytest.mark.parametrize("scenario", ["gateway_timeout", "gateway_killed_mid_turn"])
def test_takeover_holds_on_everyday_seeds_and_each_repeats(scenario: str) -> None:
    """Few: test_whole_catalogue tries all scenarios with every strategy."""
    found = explore(load_scenario(scenario), strategy="everyday", seeds=60, twice=True, save=False)
    assert (found.runs, dict(found.verdicts), found.not_repeated) == (60, {"HELD": 60}, 0)


def test_exploration_shrinks_a_failure_and_keeps_a_run_that_replays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = load_scenario("gateway_timeout")
    found = explore(scenario, policy="reuse-session", strategy="everyday", seeds=3, out=tmp_path)
    assert (found.verdict, found.violations) == ("VIOLATED", 3)
    assert found.broken == dict.fromkeys(load_scenario("gateway_timeout").expect["reuse-session"], 3)
    (finding,) = found.findings
    assert finding.steps == ()  # the undisturbed run breaks the law
    assert finding.run_dir is not None
    assert replay(finding.run_dir, as_json=True) == 1
    assert json.loads(capsys.readouterr().out)["replay"]["same_event_hash"] is True


def test_exploration_in_workers_finds_what_one_process_finds() -> None:
    scenario = load_scenario("gateway_timeout")
    alone = explore(scenario, seeds=30, save=False)
    shared = explore(scenario, seeds=30, workers=2, save=False)
    assert (alone.runs, alone.verdicts, alone.simulated_s) == (
        shared.runs, shared.verdicts, pytest.approx(shared.simulated_s),
    )  # fmt: skip


def test_exploration_by_priorities_repeats_and_breaks_nothing() -> None:
    """Not even where an owner is frozen in its write section for longer than the taker waits: it is overruled."""
    found = explore(load_scenario("gateway_timeout"), strategy="priority", seeds=12, twice=True, save=False)
    assert (found.runs, found.not_repeated) == (12, 0)
    assert found.points > 100
    assert (found.violations, found.verdict) == (0, "HELD")


def test_a_test_runner_whose_time_is_over_ends_the_simulation_and_prints_its_stack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class TimeIsOver(BaseException):
        """As pytest-timeout raises it, in whatever runs at that moment."""

    async def run_too_long(self: EmbeddedRunner, plan: object, **more: object) -> object:
        linecache.clearcache()
        traceback.format_stack()
        raise TimeIsOver

    monkeypatch.setattr(EmbeddedRunner, "run", run_too_long)
    with pytest.raises(TimeIsOver):
        run_sim(load_scenario("gateway_timeout"), policy="takeover", seed=1, choices=SparseChoices({}))


def test_interrupted_exploration_keeps_what_was_found() -> None:
    def stop(found: Any) -> None:
        if found.runs == 5:
            raise KeyboardInterrupt

    found = explore(load_scenario("gateway_timeout"), seeds=50, save=False, progress=stop)
    assert (found.runs, found.interrupted, found.verdict) == (5, True, "HELD")
    assert found.left_s == pytest.approx(45 / found.per_second)


def test_interrupted_once_more_while_it_shrinks_it_keeps_the_run_as_it_was_found(tmp_path: Path) -> None:
    def stop(found: Any) -> None:
        if found.runs == 3 and not found.shrinking:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lockjaw.harness.search.explore.shrink", lambda tape, fails: stop_shrinking())
        found = explore(load_scenario("gateway_timeout"), policy="reuse-session", seeds=50, out=tmp_path, progress=stop)
    assert (found.runs, found.violations, found.interrupted, found.verdict) == (3, 3, True, "VIOLATED")
    assert len({finding.violated for finding in found.findings}) == len(found.findings) > 0  # one for each set of laws
    for finding in found.findings:
        assert finding.steps == ("(not shrunk; all its choices are on the tape)",)
        assert finding.run_dir is not None
        assert replay(finding.run_dir, as_json=True) == 1


def stop_shrinking() -> None:
    raise KeyboardInterrupt


def test_unknown_strategy_is_refused() -> None:
    with pytest.raises(UsageError, match="one of random, everyday, priority, swarm, delays, crash, fault, fuzz"):
        explore(load_scenario("gateway_timeout"), strategy="luck")


@pytest.mark.parametrize("strategy", ["delays", "fault"])
def test_systematic_strategies_vary_every_operation(strategy: str) -> None:
    scenario = load_scenario("gateway_killed_mid_turn")
    found = explore(scenario, strategy=strategy, seeds=60, save=False)
    assert (found.runs, found.points) == (60, len(operations(scenario, "takeover")))


def test_a_crash_of_the_taker_at_a_sample_of_its_operations_leaves_nothing_in_the_way() -> None:
    """The whole sweep is ``lockjaw explore gateway_timeout --strategy crash``."""
    scenario = load_scenario("gateway_killed_mid_turn")
    places = operations(scenario, "takeover")
    tried = 0
    for place in places[::5]:
        for how in (CRASH_BEFORE, CRASH_AFTER, TEAR):
            choices = SparseChoices({place: how})
            history = run_sim(scenario, policy="takeover", seed=1, choices=choices).history
            assert not [r for r in history if r.op == "next_turn" and r.phase == "fail"], (place, how)
            assert not [r.data["problems"] for r in history if r.op == "transcript.final" and r.data["problems"]
                        and any("torn" in p for p in r.data["problems"])], (place, how)  # fmt: skip
            tried += 1
    print(f"crash points tried: {tried}")
    assert tried > 100


def operations_of(setup: Contention, every: int) -> list[Place]:
    """Each operation of the contenders in the undisturbed run, or every so manieth."""
    base = SparseChoices({})
    run_contention(setup, seed=1, choices=base)
    seen: Counter[str] = Counter()
    places = []
    for label, bound, _ in base.tape:
        if bound == POINT_BOUND and not label.startswith("harness"):
            places.append(Place(label, seen[label]))
        seen[label] += 1
    return places[::every]


STALE = pytest.param(Contention(rounds=1, stale=True), 1, id="stale")
AGAIN = pytest.param(AGAIN_AND_AGAIN, 4, id="again and again")  # all of them take half a minute


ON_WINDOWS = pytest.param(Contention(rounds=1, stale=True, windows=True), 1, id="on Windows")


@pytest.mark.parametrize(
    ("setup", "every"), [pytest.param(Contention(rounds=1), 1, id="free"), STALE, AGAIN, ON_WINDOWS]
)
def test_crash_sweep_of_the_guarded_lock(setup: Contention, every: int) -> None:
    tried = 0
    for place in operations_of(setup, every):
        for how in (CRASH_BEFORE, CRASH_AFTER, TEAR):
            found = run_contention(setup, seed=1, choices=SparseChoices({place: how}))
            assert not found.violated, (place, how, found.checks)
            tried += 1
    print(f"crash points tried: {tried}")
    assert tried > 100


@pytest.mark.parametrize(("setup", "every"), [STALE, AGAIN, ON_WINDOWS])
def test_guarded_lock_survives_each_fault_at_each_operation(setup: Contention, every: int) -> None:
    for place in operations_of(setup, every):
        for fault in range(FIRST_FAULT, POINT_BOUND):
            found = run_contention(setup, seed=1, choices=SparseChoices({place: fault}))
            broken = {"one_writer", "one_holder", "generations_rise"} & set(found.violated)
            assert not broken, (place, fault, found.checks)


# --------------------------------------------------------------------------- agreement


def test_engines_that_did_the_same_agree(tmp_path: Path) -> None:
    one = run_scenario("gateway_timeout", policy="reuse-session", engine="sim", seed=1, out=tmp_path)
    two = run_scenario("gateway_timeout", policy="reuse-session", engine="sim", seed=2, out=tmp_path)
    assert agreement(one, two).agrees
    assert set(lock_owners(one.history)) == {"gateway (acquire)"}
    assert fallback_steps(one.history)[:2] == ["client: rerun", "client: candidate_failed qiniu/deepseek-v3"]


def test_a_disagreement_names_the_first_difference(tmp_path: Path) -> None:
    one = run_scenario("gateway_timeout", policy="takeover", engine="sim", seed=1, out=tmp_path)
    other = run_scenario("gateway_timeout", policy="reuse-session", engine="sim", seed=1, out=tmp_path)
    assert agreement(one, other).first_difference == "verdict, number 1: real HELD, sim VIOLATED"
    scenario = msgspec.structs.replace(load_scenario("gateway_timeout"), checks=("one_writer",), expect={})
    third = run_scenario(scenario, policy="takeover", engine="sim", seed=1, out=tmp_path)
    assert agreement(one, third).first_difference == (
        "checks, number 1: real never_session_locked HELD, sim one_writer HELD"
    )


@pytest.mark.real
def test_both_engines_agree_on_the_killed_gateway(tmp_path: Path) -> None:
    runs = [
        run_scenario("gateway_killed_mid_turn", policy="takeover", engine=engine, seed=1, out=tmp_path)
        for engine in ("real", "sim")
    ]
    assert agreement(*runs).agrees, agreement(*runs).first_difference
