"""Faults that only the simulation has, switched on from a scenario: each has its effect, and heals."""

from __future__ import annotations

import errno
import os
import re
from typing import Any

import pytest
from msgspec.structs import replace

from lockjaw.documents import FieldError
from lockjaw.documents.yaml import load_document
from lockjaw.errors import DocumentError
from lockjaw.harness import faults as every
from lockjaw.harness import load_scenario
from lockjaw.harness.faults import Fault, Point
from lockjaw.harness.faults.cut import Cut
from lockjaw.harness.faults.jump import Jump
from lockjaw.harness.faults.lag import Lag
from lockjaw.harness.faults.part import Part
from lockjaw.harness.faults.tear import Tear
from lockjaw.harness.incident.links import Link
from lockjaw.harness.incident.scenario import Scenario, read_builtin_text, scenario_from
from lockjaw.harness.run import judgement_of
from lockjaw.harness.sim.engine import SimLived, run_sim
from lockjaw.harness.sim.tape import FAULTS, FIRST_FAULT, Place, SparseChoices
from lockjaw.history import Record

UPLINK = {"uplink": Link(between=("client", "gateway"))}
FAULTS_SAY = [os.strerror(getattr(errno, name)) for name in FAULTS]
APPENDS_SAY = {"No space left on device": "the disk is full"}  # ``DiskFull``, which says what it took back
SIMULATED = {"engines": ("sim",), "engines_why": "its faults exist in the simulation alone"}


def scenario(name: str, *faults: Fault, **changes: Any) -> Scenario:
    return replace(load_scenario(name), faults=faults, **{**SIMULATED, **changes})


def play(loaded: Scenario, policy: str = "takeover", seed: int = 1) -> tuple[SimLived, str]:
    lived = run_sim(loaded, policy=policy, seed=seed, choices=SparseChoices({}))
    assert lived.never_due == ()
    assert lived.complaints == ()
    judged = judgement_of(loaded, lived.history)
    return lived, str(judged.verdict)


def all_of(lived: SimLived, op: str, **data: Any) -> list[Record]:
    return [r for r in lived.history if r.op == op and all(r.data.get(k) == v for k, v in data.items())]


def steps(lived: SimLived) -> list[str]:
    """What the takeover did, in order."""
    return [r.data["step"] for r in lived.history if r.op == "fallback"]


# --------------------------------------------------------------------------- links


def test_a_partition_that_heals_only_delays_the_answer() -> None:
    loaded = scenario("gateway_timeout", Part(target="uplink", at_s=10.0, for_s=20.0), links=UPLINK)
    lived, verdict = play(loaded)
    assert verdict == "HELD"
    assert [r.data["action"] for r in all_of(lived, "nemesis")] == ["part", "heal"]
    assert all_of(lived, "client.result")[0].data["answered"] is True


def test_behind_a_partition_that_stays_the_takeover_fences_a_gateway_that_cannot_hear_it() -> None:
    lived, verdict = play(scenario("gateway_timeout", Part(target="uplink", at_s=10.0), links=UPLINK))
    assert verdict == "HELD"
    assert steps(lived) == ["ask", "stop", "wait", "fence", "continue"]
    assert steps(play(scenario("gateway_timeout"))[0]) == ["ask", "stop", "wait", "continue"]


def test_a_cut_connection_is_found_again() -> None:
    lived, verdict = play(scenario("gateway_timeout", Cut(target="uplink", at_s=10.0), links=UPLINK, sometimes=()))
    assert verdict == "HELD"
    lost = [r for r in lived.history if r.op == "client.call" and r.phase == "fail"]
    assert lost[0].t < 11.0


# --------------------------------------------------------------------------- clocks


@pytest.mark.parametrize(
    ("by_s", "taken"),
    [
        (-60.0, ["ask", "stop", "wait", "continue"]),
        (60.0, ["ask", "stop", "wait", "continue"]),
        # More than the 120 s that a device's signature is good for: the gateway refuses the client that comes back to
        # ask, and the takeover fences what it cannot reach.
        (-3600.0, ["ask", "wait", "fence", "continue"]),
        (86_400.0, ["ask", "wait", "fence", "continue"]),
    ],
)
@pytest.mark.parametrize("target", ["gateway", "client"])
def test_a_wall_clock_that_jumps_does_not_break_the_takeover(target: str, by_s: float, taken: list[str]) -> None:
    lived, verdict = play(scenario("gateway_timeout", Jump(target=target, at_s=30.0, by_s=by_s)))
    assert verdict == "HELD"
    assert steps(lived) == taken


def test_a_lock_that_believes_in_age_is_robbed_by_a_clock_that_is_ahead() -> None:
    """The clock reaches the algorithms: upstream's coarse lock takes a live holder's lock for stale."""
    assert play(scenario("gateway_timeout"), "reuse-session")[0].history  # waits and fails, as reported
    ahead = scenario("gateway_timeout", Jump(target="client", at_s=30.0, by_s=86_400.0))
    lived, _ = play(ahead, "reuse-session")
    robbed = [r for r in lived.history if r.op == "lock" and r.phase == "ok" and r.actor == "client"]
    whole, _ = play(scenario("gateway_timeout"), "reuse-session")
    assert len(robbed) > len([r for r in whole.history if r.op == "lock" and r.phase == "ok" and r.actor == "client"])


# --------------------------------------------------------------------------- files


def test_a_torn_write_leaves_half_a_line_and_the_takeover_mends_it() -> None:
    torn = Tear(target="gateway", before=Point("Append", "*.jsonl", nth=3))
    lived, verdict = play(scenario("gateway_timeout", torn, sometimes=()))
    killed = all_of(lived, "nemesis", action="kill")
    assert ["in the middle of Append" in r.data["at"] for r in killed] == [True]
    assert verdict == "HELD"


def test_only_a_write_can_be_torn() -> None:
    with pytest.raises(FieldError, match="a write, which can be torn"):
        Tear(target="gateway", before=Point("Unlink"))


@pytest.mark.parametrize("target", ["gateway", "client"])
def test_files_that_are_seen_late_do_not_break_the_takeover(target: str) -> None:
    late = Lag(target=target, at_s=0.0, by_s=3.0, for_s=300.0)
    lived, verdict = play(scenario("gateway_timeout", late))
    assert verdict == "HELD"
    assert next(r.data["action"] for r in all_of(lived, "nemesis")) == "lag"
    if target == "client":  # it comes second, and meets files that the gateway has just changed
        assert lived.tape != play(scenario("gateway_timeout"))[0].tape


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"action": "lag", "at_s": 1.0}, "faults[0].by_s expected this key"),
        ({"action": "lag", "at_s": 1.0, "by_s": -1.0}, "faults[0].by_s expected a number"),
        ({"action": "tear", "at_s": 1.0}, "faults[0].before expected which write"),
        ({"action": "fail", "at_s": 1.0, "errno": "EIO"}, "faults[0].before expected which operation"),
        (
            {"action": "jump", "at_s": 1.0, "by_s": 1.0, "for_s": 1.0},
            "faults[0].for_s expected one of: action, after_s, at_s, by_s, jitter_s",
        ),
        ({"action": "kill"}, "exactly one of at_s, when and before"),
        ({"action": "restart"}, "exactly one of at_s and when"),
    ],
)
def test_half_a_fault_is_refused_by_key(fault: dict[str, Any], message: str) -> None:
    document = load_document(read_builtin_text("gateway_timeout"), "x.yaml")
    document.data["faults"] = [{"target": "gateway", **fault}]
    with pytest.raises(DocumentError, match=re.escape(message)):
        scenario_from(document, name="x")


def test_a_fault_is_found_by_its_file_alone() -> None:
    """Whoever adds one writes a file; each says in which worlds it can be done, and reads as a sentence."""
    assert {"kill", "tear", "part", "lag"} <= set(every.FAULTS)
    for action, fault in every.FAULTS.items():
        assert fault.__module__ == f"lockjaw.harness.faults.{action}"
        assert set(fault.worlds) <= {"sim", "real"}
        assert fault.__doc__


# --------------------------------------------------------------------------- a disk that fails


@pytest.mark.parametrize("label", ["Read sessions.json", "Append #1.jsonl"])
@pytest.mark.parametrize("fault", range(len(FAULTS)))
def test_a_client_whose_disk_fails_says_so_in_its_result(label: str, fault: int) -> None:
    loaded = load_scenario("gateway_timeout")
    choices = SparseChoices({Place(f"client: {label}", 0): FIRST_FAULT + fault})
    lived = run_sim(loaded, policy="takeover", seed=1, choices=choices)
    assert choices.met, "the operation has another name by now"
    assert lived.complaints == ()
    judged = {check.name: str(check.verdict) for check in judgement_of(loaded, lived.history).checks}
    broken = {name for name, verdict in judged.items() if verdict == "VIOLATED"}
    assert broken <= {"answered"}, broken
    (result,) = all_of(lived, "client.result")
    assert result.data["answered"] == (result.data["exit_code"] == 0)
    if not result.data["answered"]:
        says = FAULTS_SAY[fault]
        assert (APPENDS_SAY.get(says, says) if label.startswith("Append") else says) in result.data["error"]


@pytest.mark.parametrize(
    ("label", "nth"), [("Close sessions.json.guard", nth) for nth in range(3)] + [("Close #1.jsonl.guard", 0)]
)
def test_a_close_that_fails_has_closed_all_the_same(label: str, nth: int) -> None:
    """As Linux does. Were the file still open, its locks would live as long as the gateway that has forgotten them."""
    loaded = load_scenario("gateway_timeout")
    choices = SparseChoices({Place(f"gateway: {label}", nth): FIRST_FAULT + FAULTS.index("EIO")})
    lived = run_sim(loaded, policy="takeover", seed=1, choices=choices)
    assert choices.met, "the operation has another name by now"
    broken = {c.name for c in judgement_of(loaded, lived.history).checks if str(c.verdict) == "VIOLATED"}
    assert broken <= {"answered"}, broken
