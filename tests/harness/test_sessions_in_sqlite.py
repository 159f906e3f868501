"""The incidents come out alike whether sessions are kept in files or in databases."""

from __future__ import annotations

import msgspec
import pytest

from lockjaw.documents import FieldError
from lockjaw.harness import load_scenario, run_scenario
from lockjaw.harness.faults.pause import Pause
from lockjaw.harness.incident.scenario import Scenario

CHOSEN = (
    "client_gives_up_server_goes_on", "compaction_longer_than_wait", "fallback_meets_active_writer",
    "gateway_killed_mid_turn", "gateway_relaunched", "gateway_timeout", "rotated_while_waiting",
    "second_server", "server_frozen_mid_turn", "two_clients_one_session", "writer_during_prompt",
)  # fmt: skip


def in_sqlite(name: str) -> Scenario:
    return msgspec.structs.replace(load_scenario(name), sessions="sqlite")


@pytest.mark.parametrize("name", CHOSEN)
def test_takeover_holds_in_sqlite_what_it_holds_in_files(name: str) -> None:
    run = run_scenario(in_sqlite(name), policy="takeover", engine="sim", seed=1)
    assert run.verdict == "HELD", [(check.name, check.finding) for check in run.checks if check.verdict != "HELD"]
    paths = {str(r.data["path"]) for r in run.history if r.op in ("append", "transcript.final")}
    assert paths
    assert all(path.endswith(".sqlite") for path in paths)


def test_baseline_breaks_in_sqlite_what_it_breaks_in_files() -> None:
    run = run_scenario(in_sqlite("gateway_timeout"), policy="reuse-session", engine="sim", seed=1)
    broken = [check.name for check in run.checks if check.verdict == "VIOLATED"]
    assert broken == list(load_scenario("gateway_timeout").expect["reuse-session"])


def frozen_in_transaction(operation: str) -> Scenario:
    """``frozen_inside_append``, where the append is a transaction."""
    scenario = in_sqlite("frozen_inside_append")
    (pause,) = scenario.faults
    assert isinstance(pause, Pause)
    assert pause.before is not None
    before = msgspec.structs.replace(pause.before, operation=operation, path="*-*.sqlite", nth=4)
    return msgspec.structs.replace(scenario, faults=(msgspec.structs.replace(pause, before=before),))


@pytest.mark.parametrize("operation", ["Begin", "Commit"])
def test_owner_frozen_in_its_transaction_is_overruled_and_writes_nothing_that_counts(operation: str) -> None:
    run = run_scenario(frozen_in_transaction(operation), policy="takeover", engine="sim", seed=1)
    assert run.verdict == "HELD", [(check.name, check.finding) for check in run.checks if check.verdict != "HELD"]
    paused = [r for r in run.history if r.op == "nemesis" and r.data["action"] == "pause"]
    assert [r.data["at"] for r in paused] == [f"before {operation} #1.sqlite"]


def test_a_client_asks_a_gateway_that_is_there_and_only_a_database_can_be_held() -> None:
    other = load_scenario("second_server").actors["other"]
    with pytest.raises(FieldError, match=r"actors\.other\.asks: expected a gateway: gateway"):
        msgspec.structs.replace(load_scenario("second_server"), actors={"other": other})
    with pytest.raises(FieldError, match="sessions: expected sqlite, beside an actor that holds a database"):
        msgspec.structs.replace(load_scenario("store_held"), sessions="jsonl")


def test_each_client_is_served_by_the_gateway_that_it_asks() -> None:
    run = run_scenario("second_server", engine="sim", seed=1)
    accepted = [(r.actor, r.data["session_id"]) for r in run.history if r.op == "gateway.accepted"]
    assert [actor for actor, _ in accepted] == ["gateway", "second"]
    assert len({session for _, session in accepted}) == 1
