"""Clients, and how often they ran a turn."""

from __future__ import annotations

from math import inf

from msgspec import structs

from lockjaw.harness.judge.checkers.examples import EXAMPLES, Story, changed, op
from lockjaw.harness.judge.clients import clients
from lockjaw.harness.judge.executions import executions, turn_executions
from lockjaw.history import Record


def test_clients_are_known_by_role_or_by_what_they_do() -> None:
    story = Story()
    story.add(0.0, "harness", "actor.ready", role="client", actor="user-1")
    story.add(1.0, "user-2", "client.stderr", line="")
    story.add(1.0, "gateway", "turn", "invoke", run_id="r")

    assert clients(story.history()) == ["user-1", "user-2"]


def test_a_continued_turn_counts_once_and_a_repeated_one_twice() -> None:
    assert {name: turn_executions(EXAMPLES[name]()) for name in EXAMPLES} == {
        "takeover": 1,
        "reuse-session": 1,
        "fresh-session": 2,
        "no-fallback": 1,
        "gateway-killed": 1,
        "gateway-frozen": 1,
        "quiet": 1,
        "announced": 0,
        "databases": 0,
    }
    assert turn_executions([]) == 0
    anew = changed(EXAMPLES["takeover"](), op("turn", "invoke", actor="client"), resumed=False)
    assert turn_executions(anew) == 2


def test_a_turn_that_claims_to_continue_while_the_first_runs_on_counts_twice() -> None:
    claimed = changed(EXAMPLES["fresh-session"](), op("turn", "invoke", actor="client"), resumed=True)

    assert turn_executions(claimed) == 2


def test_a_run_that_ended_well_and_begins_again_is_a_second_execution() -> None:
    story = Story()
    for n in (1, 2):
        story.add(n, "gateway", "turn", "invoke", turn_id="t", run_id="r")
        story.add(n, "gateway", "model.call", "invoke", call_id=f"c{n}", run_id="r")
        story.add(n, "gateway", "model.call", "ok", call_id=f"c{n}")
        story.add(n, "gateway", "turn", "ok", turn_id="t", run_id="r")

    assert len(executions(story.history())) == 2
    assert turn_executions(story.history()) == 2


def test_turns_without_an_id_are_told_apart_by_their_message() -> None:
    story = Story()
    for n, message in enumerate(("hello", "hello", "other")):
        story.add(n, f"actor-{n}", "turn", "invoke", run_id=f"r{n}", message=message)
        story.add(n, f"actor-{n}", "model.call", "invoke", call_id=f"c{n}", run_id=f"r{n}")

    turns = [e.turn for e in executions(story.history())]
    assert turns[0] == turns[1] != turns[2]
    assert turn_executions(story.history()) == 2


def test_a_run_that_takes_its_own_lock_anew_is_not_fenced() -> None:
    story = Story()
    story.add(0.0, "gateway", "turn", "invoke", turn_id="t", run_id="r", session_id="s")
    story.add(1.0, "gateway", "lock", "ok", path="/a/s.jsonl.lock", owner="r", generation=1)
    story.add(2.0, "gateway", "model.call", "invoke", call_id="c", run_id="r")
    story.add(3.0, "gateway", "lock.fence", "ok", path="/a/s.jsonl.lock", owner="r", generation=2, previous=1)
    story.add(4.0, "gateway", "turn", "ok", turn_id="t", run_id="r")
    (own,) = executions(story.history())
    (taken_over,) = executions(changed_actor(story, "lock.fence", "client"))

    assert (own.fenced_at, taken_over.fenced_at) == (inf, 3)


def changed_actor(story: Story, name: str, actor: str) -> list[Record]:
    return [structs.replace(r, actor=actor) if r.op == name else r for r in story.history()]


def test_a_call_outside_any_turn_belongs_to_none() -> None:
    story = Story()
    story.add(0.0, "gateway", "model.call", "invoke", call_id="probe", run_id="r")
    story.add(1.0, "gateway", "turn", "invoke", turn_id="t", run_id="r")

    assert executions(story.history())[0].calls == ()
