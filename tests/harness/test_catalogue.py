"""Playing the catalogue: what counts as told, what is said when it is not, and the two commands."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lockjaw.cli import explore as explore_verb
from lockjaw.cli.catalogue import catalogue as catalogue_verb
from lockjaw.cli.explore import explore_all
from lockjaw.errors import HarnessError, UsageError
from lockjaw.harness import load_scenario
from lockjaw.harness.search import agreeing, catalogue
from lockjaw.harness.search.catalogue import Play, play_all, plays_of
from lockjaw.runner.policy import POLICY_FUNCTIONS, reuse_session
from lockjaw.scenarios import names

SOME = ["busy_database", "wrong_token"]


def play(name: str, policy: str, out: Path, **changes: Any) -> catalogue.Played:
    scenario = msgspec.structs.replace(load_scenario(name), **changes)
    (played,) = play_all([Play(scenario, policy, "sim")], out=out)
    return played


def test_each_engine_that_can_plays_baseline_and_takeover() -> None:
    plays = list(plays_of([load_scenario("gateway_timeout"), load_scenario("cleaner_in_other_namespace")]))

    assert list(map(str, plays)) == [
        "gateway_timeout (reuse-session, sim)",
        "gateway_timeout (fresh-session, sim)",
        "gateway_timeout (no-fallback, sim)",
        "gateway_timeout (takeover, sim)",
        "cleaner_in_other_namespace (fresh-session, sim)",
        "cleaner_in_other_namespace (takeover, sim)",
        "gateway_timeout (reuse-session, real)",
        "gateway_timeout (takeover, real)",
    ]


def test_a_baseline_that_keeps_a_law_which_it_is_said_to_break_is_told(tmp_path: Path) -> None:
    expect = {"busy-store": ("answered", "transcript_whole"), "takeover": ()}

    played = play("busy_database", "busy-store", tmp_path, expect=expect)

    assert not played.as_told
    assert "VIOLATED, but not broken: transcript_whole; lockjaw replay" in played.complaint()


def test_a_law_that_is_broken_and_not_named_is_told_in_the_simulation(tmp_path: Path) -> None:
    expect = {"reuse-session": ("answered",), "takeover": ()}

    played = play("gateway_timeout", "reuse-session", tmp_path, expect=expect)
    on_processes = replace(played, play=replace(played.play, engine="real"))

    assert not played.as_told
    assert "but broken, and not named in expect: never_session_locked, lock_is_not_a_model_" in played.complaint()
    assert on_processes.as_told  # they race, and may break more


def test_a_policy_of_which_the_file_says_nothing_is_told_with_the_line_to_add(tmp_path: Path) -> None:
    held = play("gateway_timeout", "takeover", tmp_path, expect={})

    assert (held.verdict, held.as_told) == ("HELD", False)
    assert held.complaint().endswith("HELD, and the file's expect says nothing about it; add `takeover: []`")


def test_every_policy_that_the_file_names_is_played_where_it_costs_little() -> None:
    scenario = msgspec.structs.replace(load_scenario("wrong_token"), expect={"takeover": (), "no-fallback": ()})
    bare = msgspec.structs.replace(scenario, expect={})

    def policies(one: Any, *engines: str) -> list[str]:
        return [f"{play.policy} {play.engine}" for play in plays_of([one], engines)]

    assert policies(scenario, "sim", "real") == ["takeover sim", "no-fallback sim", "takeover real"]
    assert policies(scenario, "real") == ["takeover real", "no-fallback real"]
    assert policies(bare, "sim") == ["fresh-session sim", "takeover sim"]


def test_a_runtime_that_breaks_a_law_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POLICY_FUNCTIONS, "takeover", reuse_session)

    played = play("gateway_timeout", "takeover", tmp_path)

    assert (played.as_told, played.broken) == (False, ("executed_once",))
    assert "executed_once" in played.complaint()


def test_a_run_that_never_reached_the_danger_is_not_as_told(tmp_path: Path) -> None:
    """Without the model's slowness nothing goes wrong: the run proves nothing."""
    quick = {name: [{"text": "at once"}] for name in ("deepseek-v3", "kimi-k2", "glm-4.5")}

    played = play("gateway_timeout", "takeover", tmp_path, models=quick)

    assert (played.verdict, played.as_told) == ("UNKNOWN", False)
    assert "never: " in played.complaint()


def test_a_harness_that_fails_in_one_run_goes_on_with_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_async = catalogue.run_async

    async def failing(scenario: Any, **how: Any) -> Any:
        if how["policy"] == "takeover":
            raise HarnessError("it broke", "/run/dir")
        return await run_async(scenario, **how)

    monkeypatch.setattr(catalogue, "run_async", failing)

    status = catalogue_verb(["busy_database"], "sim", out=tmp_path, as_json=True)

    assert status == 4


def test_the_catalogue_command_shows_a_table_and_ends_with_how_many_are_as_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = catalogue_verb(SOME, "sim", out=tmp_path)

    out = capsys.readouterr().out.splitlines()
    assert status == 0
    assert out[2].split() == ["busy_database", "busy-store", "VIOLATED", "-", "HELD", "-"]
    assert out[-1].startswith("5 of 5 runs as their files say, in ")
    assert max(map(len, out)) <= 80


def test_the_catalogue_as_json_is_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = catalogue_verb(SOME, "sim", out=tmp_path, as_json=True)

    told = capsys.readouterr()
    document = json.loads(told.out)
    assert (status, told.err, document["as_told"], len(document["runs"])) == (0, "", True, 5)
    assert all(run["as_told"] for run in document["runs"])


@pytest.mark.real
def test_processes_that_do_what_no_simulated_run_does_are_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert catalogue_verb(["busy_database"], "both", out=tmp_path) == 0
    assert "2 of 2 runs of processes agree with the simulation" in capsys.readouterr().out

    monkeypatch.setattr(agreeing, "tale_of", lambda run: {"remains": [run.engine]})
    assert catalogue_verb(["busy_database"], "both", out=tmp_path) == 4
    out = capsys.readouterr().out
    assert "X engines DISAGREE: remains, number 1: real real, sim sim (busy_database, takeover, seed 1)" in out
    assert "0 of 2 runs of processes agree" in out


def test_an_engine_that_cannot_play_what_is_named_is_refused() -> None:
    with pytest.raises(UsageError, match="pid namespace"):
        catalogue_verb(["cleaner_in_other_namespace"], "real", as_json=True)
    with pytest.raises(UsageError, match="one of real, sim, both"):
        catalogue_verb([], "both-of-them", as_json=True)


def test_ctrl_c_ends_the_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(played: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    plays = list(plays_of([load_scenario(name) for name in SOME], ("sim",)))
    with pytest.raises(KeyboardInterrupt):
        play_all(plays, out=tmp_path, done=interrupt)


def test_explore_all_explores_every_scenario_under_its_baseline_and_ours() -> None:
    planned = [(scenario.name, policy, strategy) for scenario, policy, strategy in explore_verb._planned(None)]

    for scenario in map(load_scenario, names()):
        wanted = [(scenario.baseline, "random"), ("takeover", "random")]
        held = [policy for policy in (scenario.baseline, "takeover") if not scenario.expect.get(policy)]
        swept = [(policy, sweep) for policy in held for sweep in ("delays", "crash")]
        assert sorted(p[1:] for p in planned if p[0] == scenario.name) == sorted([*wanted, *swept])
    assert {name for name, _, _ in planned} == set(names())


@pytest.mark.parametrize("workers", [1, 2])
def test_explore_all_shows_a_line_for_each_search(
    workers: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ["wrong_token"]  # its sweep is the shortest; tests/harness/search has a selection of all
    monkeypatch.setattr(explore_verb, "names", lambda: few)

    status = explore_all(None, seeds=2, seed=1, workers=workers, until_quiet=None, out=tmp_path, as_json=False)

    out = capsys.readouterr().out.splitlines()
    marks = [line for line in out if line.startswith(("+ ", "X "))]
    assert status == 0, out
    assert [(line.split()[0], line.split()[1], line.split()[3]) for line in marks] == [
        ("+", name, strategy) for name in few for strategy in ("random", "random", "delays", "crash")
    ]
    assert out[-1].startswith("4 of 4 as their files say: ")


def test_explore_all_finds_a_bug_and_says_how_to_replay_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(POLICY_FUNCTIONS, "takeover", reuse_session)
    searches = [(load_scenario(name), "takeover", "random") for name in ("busy_database", "gateway_timeout")]
    monkeypatch.setattr(explore_verb, "_planned", lambda policy: searches)  # a sweep of a bug takes a minute

    status = explore_all("takeover", seeds=2, seed=1, workers=1, until_quiet=None, out=tmp_path, as_json=False)

    out = capsys.readouterr().out.splitlines()
    assert status == 1
    searched = [line.split()[:4] for line in out if "schedules" in line]
    assert searched[0] == ["+", "busy_database", "takeover", "random"]
    assert searched[1] == ["X", "gateway_timeout", "takeover", "random"]
    assert any("executed_once: lockjaw replay" in line for line in out)
