"""A gateway that stands still at the wrong moment costs its user no answer, however long it does."""

from __future__ import annotations

import pytest
from msgspec import structs

from lockjaw.harness import Run, load_scenario, run_scenario
from lockjaw.harness.faults import FAULTS, Fault
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
