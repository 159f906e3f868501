"""Links in scenarios: the same YAML, the same toxics and the same outcome in the simulation and between processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lockjaw.documents.yaml import load_document
from lockjaw.errors import DocumentError
from lockjaw.harness import run_scenario
from lockjaw.harness.incident.scenario import Scenario, scenario_from
from lockjaw.harness.run import Run

pytestmark = pytest.mark.timeout(180)
ENGINES = [pytest.param("sim"), pytest.param("real", marks=pytest.mark.real)]

BASE = """
story: A gateway runs a turn of some seconds, over a link.
message: hello
timeout_s: 60
settle_s: 0
time_scale: 0.04
chain: [fake/m, fake/n]
models:
  m: [{first_token_s: 1.0, inter_token_s: 1.0, token: "t", count: 20}]
  n: [{first_token_s: 0.5, text: "From the second model."}]
answers_s: {fake/m: 26, fake/n: 4}
checks: [never_session_locked, answered, executed_once, same_conversation, one_writer, no_lock_left, transcript_whole]
"""
ACCEPTED = "{op: gateway.accepted}"


def scenario(text: str) -> Scenario:
    return scenario_from(load_document(BASE + text, "links.yaml"), name="links")


def played(text: str, engine: str, folder: Path, policy: str = "takeover") -> Run:
    return run_scenario(scenario(text), policy=policy, engine=engine, seed=1, out=folder)


def calls(run: Run) -> list[str]:
    """How the client's calls to the gateway failed."""
    return [
        str(r.data.get("error", "")).splitlines()[0] for r in run.history if (r.op, r.phase) == ("client.call", "fail")
    ]


def at_most(engine: str, sharp_s: float) -> float:
    """An upper bound, sharp in virtual time; between processes a busy machine shows as nominal seconds."""
    return sharp_s if engine == "sim" else sharp_s + 400.0


def broken(run: Run) -> list[str]:
    """The laws that were broken. (A run without danger is UNKNOWN, not HELD.)"""
    return [f"{check.name}: {check.finding}" for check in run.checks if str(check.verdict) == "VIOLATED"]


def faults(run: Run) -> list[tuple[str, str, Any]]:
    told = [r for r in run.history if r.op == "nemesis"]
    return [(r.phase, r.data["action"], r.data.get("toxic")) for r in told if "pid" not in r.data]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_link_without_faults_changes_nothing(engine: str, tmp_path: Path) -> None:
    run = played("links: {up: {between: [client, gateway]}, down: {between: [gateway, models]}}", engine, tmp_path)
    assert broken(run) == []
    assert run.outcome.reply == "t" * 20
    assert calls(run) == []
    assert 20 < run.nominal_s < at_most(engine, 25)  # the model needs 20 s; a second 5 would be the link's doing


@pytest.mark.parametrize("engine", ENGINES)
def test_a_half_open_path_in_mid_turn_is_answered_by_takeover(engine: str, tmp_path: Path) -> None:
    text = f"""
links: {{up: {{between: [client, gateway]}}}}
faults: [{{action: part, target: up, when: {ACCEPTED}, after_s: 5}}]
sometimes: [{{says: the path was cut, seen: {{op: nemesis, data: {{action: part, target: up}}}}}}]
"""
    run = played(text, engine, tmp_path)
    assert calls(run)[0] == "gateway timeout after 90000ms"
    assert run.outcome.answered, run.outcome
    assert broken(run) == []
    assert faults(run) == [("info", "part", "part")]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_partition_that_heals_in_time_delays_the_answer_and_loses_nothing(engine: str, tmp_path: Path) -> None:
    text = f"""
links: {{up: {{between: [client, gateway]}}}}
faults: [{{action: part, target: up, when: {ACCEPTED}, after_s: 2, for_s: 40}}]
"""
    run = played(text, engine, tmp_path)
    assert faults(run) == [("info", "part", "part"), ("info", "heal", "part")]
    assert (run.outcome.reply, calls(run)) == ("t" * 20, [])
    healed = next(r.t for r in run.history if r.op == "nemesis" and r.data["action"] == "heal")
    assert run.nominal_s >= healed  # the answer was there at 21 s and could not pass
    assert broken(run) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_a_cut_connection_is_a_1006_and_the_next_one_finds_the_run(engine: str, tmp_path: Path) -> None:
    text = f"""
links: {{up: {{between: [client, gateway]}}}}
faults: [{{action: cut, target: up, when: {ACCEPTED}, after_s: 5}}]
"""
    run = played(text, engine, tmp_path)
    assert calls(run)[0].startswith("gateway closed (1006")
    assert run.outcome.turn_executions == 1
    assert broken(run) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_a_reset_on_the_way_to_the_models_is_a_failure_of_that_model(engine: str, tmp_path: Path) -> None:
    toxic = '{type: reset_peer, trigger: \'"content":"t"\', trigger_nth: 4}'
    run = played(f"links: {{down: {{between: [gateway, models], toxics: [{toxic}]}}}}", engine, tmp_path)
    assert run.outcome.reply == "From the second model."
    ends = [r for r in run.history if r.op == "provider.request" and r.phase != "invoke"]
    assert (ends[0].phase, ends[0].data.get("client_gone")) == ("fail", True)
    assert 4 <= ends[0].data["sent"] < 20  # it was cut in mid-stream, by what had passed
    assert calls(run) == []
    assert broken(run) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_a_toxic_comes_by_a_fault_and_is_healed_when_its_time_is_over(engine: str, tmp_path: Path) -> None:
    text = f"""
links: {{up: {{between: [client, gateway]}}}}
faults:
  - {{action: toxic, target: up, toxic: {{type: latency, name: slow, latency_s: 60}}, when: {ACCEPTED}, after_s: 3,
      for_s: 30}}
"""
    run = played(text, engine, tmp_path)
    assert faults(run) == [("info", "toxic", "slow"), ("info", "heal", "slow")]
    healed = next(r.t for r in run.history if r.op == "nemesis" and r.data["action"] == "heal")
    assert healed <= run.nominal_s < at_most(engine, healed + 5)  # what it held flowed on at once
    assert (run.outcome.reply, calls(run), broken(run)) == ("t" * 20, [], [])


@pytest.mark.parametrize("engine", ENGINES)
def test_latency_from_the_beginning_is_part_of_every_answer(engine: str, tmp_path: Path) -> None:
    slow = "links: {down: {between: [gateway, models], toxics: [{type: latency, latency_s: 10.0}]}}"
    run = played(slow, engine, tmp_path)
    assert run.outcome.reply == "t" * 20
    assert 30 < run.nominal_s < at_most(engine, 40)  # 20 s of the model and 10 s of the way, and less than another 10


@pytest.mark.parametrize("engine", ENGINES)
def test_healing_what_is_not_there_is_recorded_as_a_failed_act(engine: str, tmp_path: Path) -> None:
    text = f"""
links: {{up: {{between: [client, gateway]}}}}
faults: [{{action: heal, target: up, toxic: nothing, when: {ACCEPTED}}}]
"""
    run = played(text, engine, tmp_path)
    assert faults(run) == [("info", "heal", "nothing"), ("fail", "heal", "nothing")]
    assert broken(run) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("links: {up: {between: [gateway, client]}}", r"links\.up\.between expected \[client, gateway\], "),
        ("links: {up: {between: [gateway, gateway]}}", r"links\.up\.between expected who dials: client"),
        ("links: {up: {between: [models, models]}}", r"links\.up\.between expected who dials: client or gateway"),
        ("links: {client: {between: [client, gateway]}}", "links expected a name of its own"),
        ("links: {a: {between: [client, gateway]}, b: {between: [client, gateway]}}", "a place where no other link is"),
        ("links: {a: {between: [client, gateway], toxics: [{type: lag}]}}", r"toxics\[0\].* no toxic is called 'lag'"),
        (
            "links: {a: {between: [client, gateway], toxics: [{type: stall, trigger: x, stream: upstream}]}}",
            "what a WebSocket client sends is masked",
        ),
        ("faults: [{action: part, target: up, at_s: 1}]", r"faults\[0\]\.target expected a link: none; name one"),
        (
            "links: {up: {between: [client, gateway]}}\nfaults: [{action: kill, target: up, at_s: 1}]",
            r"faults\[0\]\.target expected an actor",
        ),
        (
            "links: {up: {between: [client, gateway]}}\nfaults: [{action: toxic, target: up, at_s: 1}]",
            r"faults\[0\]\.toxic expected this key",
        ),
        (
            "links: {up: {between: [client, gateway]}}\nfaults: [{action: toxic, target: up, at_s: 1, toxic: x}]",
            r"faults\[0\]\.toxic expected a mapping",
        ),
        (
            "links: {up: {between: [client, gateway]}}\n"
            "faults: [{action: toxic, target: up, at_s: 1, toxic: {type: latency, lag: 1}}]",
            r"no key 'lag'",
        ),
    ],
)  # fmt: skip
def test_mistakes_in_links_are_refused_by_key(text: str, told: str) -> None:
    with pytest.raises(DocumentError, match=told):
        scenario(text)
