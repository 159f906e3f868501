"""What has nothing to do with the user's turn changes no verdict, wherever it stands in the history."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockjaw.harness.judge.checkers import CHECKERS, run_checks
from lockjaw.harness.judge.checkers.examples import EXAMPLES, FACTS
from lockjaw.history import Phase, Record
from lockjaw.history.ordered import numbered

#: Before and after every name in a history: a comparison that is not by equality lets one of them in.
MARKS = ("!", "~")


def bystander(mark: str) -> list[Record]:
    """A bystander's whole turn: its own session, its own message, nothing left behind."""
    name, run = f"{mark}bystander", f"{mark}run"
    path = f"/{mark}home/somebody/state/agents/other/sessions/5e551013.jsonl"
    lock = {"path": path + ".lock", "owner": run}
    told: list[tuple[str, Phase, dict[str, object]]] = [
        ("actor.ready", "info", {"role": "gateway", "pid": 9}),
        ("lane.wait", "invoke", {"run_id": run, "lane": "other"}),
        ("lock", "invoke", lock),
        ("lock", "ok", lock | {"generation": 7, "waited_s": 0.0}),
        ("turn", "invoke", {"turn_id": f"{mark}turn", "run_id": run, "message": "hello"}),
        ("model.call", "invoke", {"call_id": f"{mark}1", "run_id": run, "model": "m"}),
        ("model.call", "ok", {"call_id": f"{mark}1", "stop_reason": "toolUse"}),
        ("tool", "invoke", {"run_id": run, "tool_call_id": "t1", "name": "exec", "key": f"{mark}k"}),
        ("tool", "ok", {"run_id": run, "tool_call_id": "t1"}),
        ("turn", "ok", {"turn_id": f"{mark}turn", "run_id": run}),
        ("lock.release", "info", lock | {"generation": 7}),
        ("actor.exit", "info", {"role": "gateway", "code": 0}),
    ]
    return [Record(0.0, name, op, phase, data) for op, phase, data in told]


def woven(history: Sequence[Record], others: Sequence[Record], places: Sequence[int]) -> list[Record]:
    """``others``, in their order, before the records at ``places``; each takes the time of where it lands."""
    merged: list[Record] = []
    waiting = list(zip(sorted(places), others, strict=True))
    for n, record in enumerate(history):
        while waiting and waiting[0][0] <= n:
            other = waiting.pop(0)[1]
            merged.append(Record(record.t, other.actor, other.op, other.phase, other.data))
        merged.append(record)
    return numbered(merged)


def places(history: Sequence[Record], count: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, len(history) - 1), min_size=count, max_size=count)


#: Where nobody runs a turn (``announced``), a bystander's is the first, and laws of turns begin to prove something.
WITH_A_TURN = sorted(name for name in EXAMPLES if any(r.op == "turn" for r in EXAMPLES[name]()))


@settings(max_examples=60)
@given(st.data(), st.sampled_from(WITH_A_TURN), st.sampled_from(MARKS))
def test_a_bystander_changes_no_verdict(data: st.DataObject, example: str, mark: str) -> None:
    history = EXAMPLES[example]()
    turn = bystander(mark)
    crowded = woven(history, turn, data.draw(places(history, len(turn))))

    alone = run_checks(CHECKERS, history, FACTS)
    together = run_checks(CHECKERS, crowded, FACTS)
    assert [(r.name, r.verdict, r.finding) for r in together] == [(r.name, r.verdict, r.finding) for r in alone]


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("example", EXAMPLES)
def test_a_run_that_was_accepted_for_somebody_else_moves_no_conversation(example: str, mark: str) -> None:
    history = EXAMPLES[example]()
    told = {"run_id": f"{mark}run", "session_id": f"{mark}5e551013", "session_key": f"{mark}agent:other:main"}
    crowded = woven(history, [Record(0.0, "gateway", "gateway.accepted", "info", told)], [1])

    names = ["same_conversation", "store_delays_no_other", "executed_once", "never_session_locked"]
    alone, together = run_checks(names, history, FACTS), run_checks(names, crowded, FACTS)
    assert [(r.verdict, r.finding) for r in together] == [(r.verdict, r.finding) for r in alone]


@given(st.data(), st.sampled_from(sorted(EXAMPLES)))
def test_when_the_model_server_writes_its_records_changes_no_verdict(data: st.DataObject, example: str) -> None:
    history = EXAMPLES[example]()
    told = [r for r in history if r.actor == "models"]
    rest = [r for r in history if r.actor != "models"]
    moved = woven(rest, told, data.draw(places(rest, len(told))))

    before = {r.name: r.verdict for r in run_checks(CHECKERS, history, FACTS)}
    assert {r.name: r.verdict for r in run_checks(CHECKERS, moved, FACTS)} == before


@given(st.integers(0, 60), st.sampled_from(sorted(EXAMPLES)))
def test_a_history_that_was_cut_off_is_judged_without_an_error(length: int, example: str) -> None:
    history = EXAMPLES[example]()[:length]

    results = run_checks(CHECKERS, history, FACTS)
    assert [r.name for r in results] == list(CHECKERS)
    assert all(0 <= i < len(history) for r in results for i in r.witness)
