"""Patterns over records, and the conditions that show that a run reached the danger."""

from __future__ import annotations

import pytest

from lockjaw.documents import FieldError
from lockjaw.harness.incident.matching import Pattern, Sometimes
from lockjaw.history import Record

PATH = "/state/agents/main/sessions/s.jsonl.lock"
GAVE_UP = Record(90.0, "client", "client.call", "fail", {"kind": "timeout"})
CONDITION = Sometimes("in time", Pattern("client.call", "fail", data={"kind": "timeout"}), while_locked_by="gateway")


def lock(actor: str, path: str = PATH, phase: str = "ok", op: str = "lock") -> Record:
    return Record(4.0, actor, op, phase, {"path": path})  # type: ignore[arg-type]


def test_data_may_hold_more_than_the_pattern_names() -> None:
    assert Pattern("client.call", data={"kind": "timeout"}).matches(
        Record(1.0, "client", "client.call", "fail", {"kind": "timeout", "timeout_ms": 90000})
    )


def test_absent_key_is_not_a_null() -> None:
    assert not Pattern("client.call", data={"kind": None}).matches(Record(1.0, "client", "client.call", "fail"))


def test_pattern_knows_the_operations_of_a_history() -> None:
    with pytest.raises(FieldError, match="operation of the history"):
        Pattern("no.such.op")


def test_condition_without_a_lock_is_met_by_the_record_alone() -> None:
    assert Sometimes("x", Pattern("client.call", "fail")).witness([GAVE_UP]) == GAVE_UP


@pytest.mark.parametrize(
    ("before", "met"),
    [
        ([lock("gateway")], True),
        ([], False),
        ([lock("client")], False),
        ([lock("gateway", phase="fail")], False),
        ([lock("gateway"), lock("gateway", op="lock.release", phase="info")], False),
        ([lock("gateway"), lock("gateway", op="lock.lost", phase="info")], False),
        ([lock("gateway"), lock("client", op="lock.release", phase="info")], True),
        ([lock("gateway"), lock("gateway", op="lock.release", phase="info"), lock("gateway")], True),
        ([lock("gateway", path="/state/agents/main/sessions/sessions.json.lock")], False),
        ([lock("gateway"), Record(5.0, "harness", "actor.exit", "info", {"actor": "gateway"})], False),
        ([lock("gateway"), Record(5.0, "harness", "actor.exit", "info", {"actor": "models"})], True),
    ],
)
def test_condition_wants_the_session_lock_held_at_that_instant(before: list[Record], met: bool) -> None:
    found = CONDITION.witness([*before, GAVE_UP])
    assert (found is not None and found.t == GAVE_UP.t) is met


def test_lock_taken_afterwards_does_not_count() -> None:
    assert CONDITION.witness([GAVE_UP, lock("gateway")]) is None
