"""What has nothing to do with the user's turn changes no verdict, wherever it stands in the history."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from lockjaw.harness.judge.checkers import CHECKERS, run_checks
from lockjaw.harness.judge.checkers.examples import EXAMPLES, FACTS
from lockjaw.history import Record
from lockjaw.history.ordered import numbered

OTHER = "/home/somebody/state/agents/other/sessions/5e551013.jsonl"

#: A bystander's whole turn: its own session, its own message, nothing left behind.
BYSTANDER = [
    Record(0.0, "bystander", "actor.ready", "info", {"role": "gateway", "pid": 9}),
    Record(0.0, "bystander", "lane.wait", "invoke", {"run_id": "b-run", "lane": "other"}),
    Record(0.0, "bystander", "lock", "invoke", {"path": OTHER + ".lock", "owner": "b-run"}),
    Record(0.0, "bystander", "lock", "ok", {"path": OTHER + ".lock", "owner": "b-run", "generation": 7}),
    Record(0.0, "bystander", "turn", "invoke", {"turn_id": "b-turn", "run_id": "b-run", "message": "hello"}),
    Record(0.0, "bystander", "model.call", "invoke", {"call_id": "b1", "run_id": "b-run", "model": "m"}),
    Record(0.0, "bystander", "model.call", "ok", {"call_id": "b1", "stop_reason": "toolUse"}),
    Record(0.0, "bystander", "tool", "invoke", {"run_id": "b-run", "tool_call_id": "t1", "name": "exec", "key": "k"}),
    Record(0.0, "bystander", "tool", "ok", {"run_id": "b-run", "tool_call_id": "t1"}),
    Record(0.0, "bystander", "turn", "ok", {"turn_id": "b-turn", "run_id": "b-run"}),
    Record(0.0, "bystander", "lock.release", "info", {"path": OTHER + ".lock", "owner": "b-run", "generation": 7}),
    Record(0.0, "bystander", "actor.exit", "info", {"role": "gateway", "code": 0}),
]


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


@given(st.data(), st.sampled_from(WITH_A_TURN))
def test_a_bystander_changes_no_verdict(data: st.DataObject, example: str) -> None:
    history = EXAMPLES[example]()
    crowded = woven(history, BYSTANDER, data.draw(places(history, len(BYSTANDER))))

    alone = run_checks(CHECKERS, history, FACTS)
    together = run_checks(CHECKERS, crowded, FACTS)
    assert [(r.name, r.verdict, r.finding) for r in together] == [(r.name, r.verdict, r.finding) for r in alone]


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
