"""A gateway that stands still at the wrong moment costs its user no answer, however long it does."""

from __future__ import annotations

import pytest
from msgspec import structs

from lockjaw.harness import Run, load_scenario, run_scenario
from lockjaw.harness.faults import FAULTS, Fault
from lockjaw.harness.faults.base import Point
from lockjaw.harness.incident.links import Link
from lockjaw.harness.incident.matching import Pattern
from lockjaw.verdict import Verdict

SLOW_CABLE = {"cable": Link(between=("client", "gateway"), toxics=({"type": "latency", "latency_s": 0.5},))}


def played(scenario: str, *faults: Fault, **changes: object) -> Run:
    changed = structs.replace(load_scenario(scenario), faults=faults, **changes)
    return run_scenario(changed, policy="takeover", engine="sim", seed=1)


@pytest.mark.parametrize("action", ["block", "pause"])
@pytest.mark.parametrize("for_s", [31, 60, 3600])
def test_a_gateway_that_stands_still_while_the_client_connects_is_taken_over(action: str, for_s: float) -> None:
    # The cable is slow, so that the gateway stops between its challenge and the client's connect.
    dials = Pattern(op="client.call", phase="invoke")

    run = played("gateway_timeout", FAULTS[action](target="gateway", when=dials, for_s=for_s), links=SLOW_CABLE)  # type: ignore[arg-type]

    (failed,) = [r for r in run.history if r.op == "client.call" and r.phase == "fail"]
    assert (failed.data["error"], failed.data["refused"]) == ("gateway closed (1008): connect failed", False)
    assert run.check("answered").verdict is Verdict.HELD, run.check("answered").finding
    assert run.check("executed_once").verdict is not Verdict.VIOLATED


APPENDING = [("Append", "*.jsonl"), ("Flush", "*.jsonl"), ("RangeUnlock", "*.jsonl.guard"), ("ReadAt", "*.jsonl.guard")]
RELEASING = [("Unlink", "*.jsonl.lock"), ("Close", "*.jsonl.guard")]


@pytest.mark.parametrize("for_s", [20, 90, 600])
@pytest.mark.parametrize("nth", [1, 4, 6, 8])
@pytest.mark.parametrize(("operation", "path"), APPENDING)
def test_a_gateway_that_stands_still_inside_its_append_is_taken_over_in_the_same_conversation(
    operation: str, path: str, nth: int, for_s: float
) -> None:
    run = played("gateway_timeout", frozen_before(operation, path, nth, for_s))
    held(run)


@pytest.mark.parametrize("for_s", [20, 90, 600])
@pytest.mark.parametrize(("operation", "path"), RELEASING)
def test_a_gateway_that_stands_still_while_it_gives_the_lock_back_is_taken_over_in_the_same_conversation(
    operation: str, path: str, for_s: float
) -> None:
    run = played("gateway_timeout", frozen_before(operation, path, 1, for_s))
    assert [r for r in run.history if r.op == "nemesis"]
    held(run)


@pytest.mark.parametrize(("operation", "path"), APPENDING[:3])
@pytest.mark.parametrize("nth", [2, 3, 4, 5, 6, 7, 8])
def test_the_answer_that_the_frozen_owner_had_written_is_the_answer_and_is_paid_once(
    operation: str, path: str, nth: int
) -> None:
    """A turn with a bill: whatever append the gateway is frozen in, the bill is paid once and the answer is one."""
    run = played("store_owner_stands_still", frozen_before(operation, path, nth, 300), settle_s=240)
    held(run)


@pytest.mark.parametrize(("operation", "path", "nth"), [("Close", "*.jsonl.guard", 1), ("ReadAt", "*.jsonl.guard", 12)])
def test_an_owner_that_was_overruled_wakes_and_freezes_again_inside_the_section_costs_no_answer(
    operation: str, path: str, nth: int
) -> None:
    """Overruled by a generation while it stood still outside; the guard is still the one that both have open."""
    asleep = FAULTS["pause"](target="gateway", at_s=80, for_s=32)
    run = played("gateway_timeout", asleep, frozen_before(operation, path, nth, 600))

    fences = [r for r in run.history if r.op == "lock.fence" and r.phase == "ok"]
    assert [r.data["generation"] for r in fences] == [2, 3], "its client, and its client once more"
    held(run)


def frozen_before(operation: str, path: str, nth: int, for_s: float) -> Fault:
    return FAULTS["pause"](target="gateway", before=Point(operation, path, nth), for_s=for_s)


def held(run: Run) -> None:
    verdicts = {check.name: check for check in run.checks if check.verdict is Verdict.VIOLATED}
    assert not verdicts, {name: check.finding for name, check in verdicts.items()}
    (result,) = [r for r in run.history if r.op == "client.result"]
    assert not result.data["duplicate_possible"], "a fork, where the owner is of our own kind"
