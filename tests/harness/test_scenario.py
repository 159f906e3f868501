"""Scenario files: what is accepted, and that every mistake is answered with file, line, key and expectation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from lockjaw import scenarios
from lockjaw.behaviours import BEHAVIOURS
from lockjaw.errors import DocumentError
from lockjaw.harness import load_scenario
from lockjaw.harness.incident.scenario import Scenario
from lockjaw.harness.judge.checkers import CHECKERS

GOOD = """\
story: A user waits.
message: "long task"
chain: [p/fast, p/slow]
models:
  fast: [{text: hi}]
  slow: [{never_answer: true}]
checks: [answered, executed_once]
class: [A]
reports: ["a/b#1"]
answers_s: {p/fast: 5, p/slow: null}
pacing: {connect_s: 2.5}
effects: {ledger: out/ledger.txt, allowed: {paid: 2}}
bounds: {amplification: 2.0, fault_s: 10, recovered_within_s: 3}
faults:
  - {action: kill, target: gateway, at_s: 30}
  - {action: restart, target: gateway, when: {op: actor.exit, data: {role: gateway}}, after_s: 5}
sometimes:
  - says: it hurt
    seen: {op: client.call, phase: fail}
    while_locked_by: gateway
expect: {takeover: [], no-fallback: [answered]}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def test_file_becomes_a_scenario_named_after_it(tmp_path: Path) -> None:
    scenario = load_scenario(write(tmp_path, GOOD))
    assert scenario.name == "mine"
    assert [str(ref) for ref in scenario.refs] == ["p/fast", "p/slow"]
    assert scenario.classes == ("A",)
    assert scenario.pacing.connect_s == 2.5
    assert scenario.script() == {"models": {"fast": [{"text": "hi"}], "slow": [{"never_answer": True}]}}
    assert scenario.expect == {"takeover": (), "no-fallback": ("answered",)}
    assert scenario.run_limit_s == 920.0


def test_scenario_gives_the_checkers_its_numbers(tmp_path: Path) -> None:
    facts = load_scenario(write(tmp_path, GOOD)).facts
    assert facts.message == "long task"
    assert facts.budget_s == 400.0
    assert facts.chain == ("p/fast", "p/slow")
    assert facts.first_answer_s == 5.0
    assert (facts.amplification, facts.fault_s, facts.recovered_within_s) == (2.0, 10, 3)
    assert facts.ledger == {"paid": 2}


def test_own_name_and_limit_count_more_than_the_defaults(tmp_path: Path) -> None:
    scenario = load_scenario(str(write(tmp_path, GOOD + "name: other\nlimit_s: 50\n")))
    assert (scenario.name, scenario.run_limit_s) == ("other", 50.0)


def test_scenario_survives_its_own_json(tmp_path: Path) -> None:
    scenario = load_scenario(write(tmp_path, GOOD))
    assert msgspec.json.decode(msgspec.json.encode(scenario), type=Scenario) == scenario


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "expected"),
    [
        ("message:", "massage:", 2, "massage", "one of:"),
        ('message: "long task"', "message: 7", 2, "message", "text"),
        ('message: "long task"\n', "", 1, "message", "this key (it is required)"),
        ("chain: [p/fast, p/slow]", "chain: []", 3, "chain", "a list that is not empty"),
        ("chain: [p/fast, p/slow]", "chain: [p/fast, slow]", 3, "chain", "PROVIDER/MODEL"),
        ("chain: [p/fast, p/slow]", "chain: [p/fast, p/slow, p/x]", 4, "models", "a script for x"),
        ("chain: [p/fast, p/slow]", "chain: [p/fast]", 4, "models", "only models that the chain names"),
        ("checks: [answered, executed_once]", "checks: [answerd]", 7, "checks[0]", "names among:"),
        ("checks: [answered, executed_once]", "checks: []", 7, "checks", "a list that is not empty"),
        ("p/slow: null", "p/other: 3", 10, "answers_s", "models of the chain"),
        ("p/slow: null", "p/slow: -3", 10, "answers_s.p/slow", "a number >= 0"),
        ("connect_s: 2.5", "connect_ms: 2500", 11, "pacing.connect_ms", "one of:"),
        ("out/ledger.txt", "../ledger.txt", 12, "effects.ledger", "a path inside the workspace"),
        ("out/ledger.txt", "/ledger.txt", 12, "effects.ledger", "a path inside the workspace"),
        ("{paid: 2}", "{paid: -1}", 12, "effects.allowed.paid", "a whole number >= 0"),
        (", fault_s: 10", "", 13, "bounds.fault_s", "the seconds of injected fault"),
        ("action: kill", "action: explode", 15, "faults[0].action", "kill"),
        ("target: gateway, at_s: 30", "target: router, at_s: 30", 15, "faults[0].target", "gateway"),
        (", at_s: 30", "", 15, "faults[0]", "exactly one of at_s, when and before"),
        ("at_s: 30", "at_s: 30, after_s: 2", 15, "faults[0].at_s", "no after_s"),
        ("at_s: 30", "at_s: -1", 15, "faults[0].at_s", "a number >= 0"),
        ("op: actor.exit", "op: actor.left", 16, "faults[1].when.op", "an operation of the history"),
        ("phase: fail", "phase: failed", 19, "sometimes[0].seen.phase", "invoke"),
        ("says: it hurt", "saying: it hurt", 18, "sometimes[0].saying", "one of:"),
        ("takeover: []", "takeover: HELD", 21, "expect.takeover", "a list"),
        ("takeover: []", "takeover: [one_writer]", 21, "expect.takeover", "laws that the scenario checks"),
        ("takeover: []", "takeunder: []", 21, "expect.takeunder", "policies among:"),
        ("{action: kill, target: gateway", "{action: pause, target: client", 15, "faults[0]", "a resume of the client"),
        ("class: [A]", "time_scale: 0", 8, "time_scale", "a number > 0 and <= 1"),
        ("class: [A]", "budget_s: soon", 8, "budget_s", "a number > 0"),
        ("class: [A]", "message: again", 8, "message", "each key once"),
    ],
)
def test_every_mistake_names_file_line_key_and_expectation(
    tmp_path: Path, old: str, new: str, line: int, key: str, expected: str
) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(DocumentError) as caught:
        load_scenario(path)
    error = caught.value
    assert (error.path, error.line, error.key) == (str(path), line, key)
    assert expected in error.expected
    assert f"{path}:{line}:{error.column}: at {key} expected" in str(error)


@pytest.mark.parametrize("text", ["", "- a\n", "just words\n", "story: [\n"])
def test_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DocumentError, match=r"mine\.yaml"):
        load_scenario(write(tmp_path, text))


@pytest.mark.parametrize("name", ["no_such_scenario", "gateway-timeout", "..", ""])
def test_unknown_name_is_answered_with_those_that_exist(name: str) -> None:
    with pytest.raises(DocumentError, match="gateway_timeout"):
        load_scenario(name)


def test_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"absent\.yaml"):
        load_scenario(str(tmp_path / "absent.yaml"))


# --------------------------------------------------------------------------- the built-in ones


def test_every_row_of_the_field_reports_has_a_scenario() -> None:
    rows = [scenarios.load(name).row for name in scenarios.names()]
    assert set(range(1, 25)) - set(rows) == set()


@pytest.mark.parametrize("name", scenarios.names())
def test_builtin_scenario_is_complete(name: str) -> None:
    scenario = scenarios.load(name)  # checks the model scripts as well
    assert scenario == load_scenario(name)
    assert len(scenario.story.split()) > 30
    assert scenario.reports
    assert scenario.classes
    assert scenario.sometimes
    assert scenario.era is not None
    assert scenario.expect["takeover"] == ()
    assert scenario.expect[scenario.baseline]
    assert set(scenario.expect) <= set(BEHAVIOURS)
    assert set(scenario.answers_s) <= set(scenario.chain)
    assert set(scenario.checks) <= set(CHECKERS)


def gateway_times(scenario: Scenario) -> dict[str, float]:
    """When what happens, on the client's clock, from the scenario's own durations (the real 2026.4.8's, evidence)."""
    pacing, limit = scenario.pacing, scenario.timeout_s
    lock = pacing.connect_s + pacing.prepare_s
    first_given_up = lock + pacing.setup_s + limit
    locked_again = first_given_up + pacing.between_candidates_s
    return {
        "lock": lock, "asked": lock + pacing.setup_s, "free": first_given_up, "locked_again": locked_again,
        "second_given_up": locked_again + pacing.setup_s + limit,
    }  # fmt: skip


COARSE_WAIT_S = 10.5  # 20 polls, then the check fails
DEADLINE_S = 90.0


def test_uniform_chain_ends_before_the_gateways_second_model_gives_up() -> None:
    scenario = load_scenario("gateway_timeout")
    times = gateway_times(scenario)
    pacing = scenario.pacing
    third_wait_ends = DEADLINE_S + 3 * (pacing.embedded_prepare_s + COARSE_WAIT_S) + 2 * pacing.between_candidates_s
    assert times["lock"] == pytest.approx(4.0)
    assert 0.5 <= scenario.pacing.between_candidates_s <= 0.7
    assert times["locked_again"] < DEADLINE_S
    assert third_wait_ends == pytest.approx(123.9)
    assert third_wait_ends + 1.9 < times["second_given_up"]  # as on the real program: 2 s before


def poll_times(start: float) -> list[float]:
    """When the 4.8 lock looks: pauses of 50, 100, ... 1000 ms."""
    times, t = [], start
    for attempt in range(1, 21):
        times.append(t)
        t += min(1.0, 0.05 * attempt)
    return times


@pytest.mark.parametrize("late_s", [-0.3, 0.0, 0.4, 1.2])
@pytest.mark.parametrize("gateway_late_s", [-1.0, -0.5, 0.0, 0.5, 1.0])
def test_mixed_chain_finds_the_window_even_if_both_are_a_second_off(late_s: float, gateway_late_s: float) -> None:
    scenario = load_scenario("gateway_timeout_mixed")
    times = gateway_times(scenario)
    free, locked = times["free"] + gateway_late_s, times["locked_again"] + gateway_late_s
    first = DEADLINE_S + scenario.pacing.embedded_prepare_s + late_s
    second = first + COARSE_WAIT_S + scenario.pacing.between_candidates_s + scenario.pacing.embedded_prepare_s
    assert times["lock"] < DEADLINE_S
    assert not [t for t in poll_times(first) if free <= t < locked]  # the first candidate must not get it
    assert [t for t in poll_times(second) if free <= t < locked]  # the second must


def test_model_script_of_a_scenario_is_checked_with_its_line(tmp_path: Path, monkeypatch: Any) -> None:
    from lockjaw.documents.yaml import load_document

    broken = load_document(GOOD.replace("{text: hi}", "{txt: hi}"), "mine.yaml")
    monkeypatch.setattr(scenarios, "find", lambda name: broken)
    with pytest.raises(DocumentError, match=r"mine\.yaml:5:\d+: at models\.fast\[0\]\.txt"):
        scenarios.load("mine")
