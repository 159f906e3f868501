"""Intervals: who did what from when to when, also when a process died over it."""

from __future__ import annotations

from math import inf

from lockjaw.harness.judge.checkers.examples import EXAMPLES, FOLDER, PATH, Story, changed, op
from lockjaw.harness.judge.checkers.spans import (
    acquires,
    clients,
    executions,
    holds,
    spans,
    transcript_of,
    turn_executions,
)

LOCK = PATH + ".lock"


def test_a_span_ends_with_the_record_that_has_its_keys() -> None:
    story = Story()
    story.add(1.0, "a", "tool", "invoke", tool_call_id="1")
    story.add(2.0, "a", "tool", "invoke", tool_call_id="2")
    story.add(3.0, "b", "tool", "ok", tool_call_id="1")
    story.add(4.0, "a", "tool", "ok", tool_call_id="2")
    story.add(5.0, "a", "tool", "info", tool_call_id="1")

    first, second = spans(story.history(), "tool", "tool_call_id")
    assert (first.end_s, first.outcome) == (5.0, "fail")
    assert (second.end_s, second.outcome) == (4.0, "ok")


def test_a_span_without_an_end_is_open_or_ends_with_its_actor() -> None:
    story = Story()
    story.add(1.0, "a", "model.call", "invoke", call_id="1")
    story.add(1.0, "b", "model.call", "invoke", call_id="2")
    story.add(2.0, "harness", "nemesis", "fail", action="kill", target="b")
    story.add(3.0, "harness", "nemesis", "info", action="kill", target="b")
    story.add(4.0, "harness", "actor.exit", actor="b", code=-9)

    alive, dead = spans(story.history(), "model.call", "call_id")
    assert (alive.end_s, alive.end_i, alive.outcome) == (inf, inf, "open")
    assert (dead.end_s, dead.outcome) == (3.0, "died")


def test_a_restarted_actor_is_not_dead_for_what_it_does_later() -> None:
    story = Story()
    story.add(1.0, "harness", "actor.exit", actor="gateway", code=0)
    story.add(2.0, "gateway", "model.call", "invoke", call_id="1")

    assert spans(story.history(), "model.call", "call_id")[0].outcome == "open"


def test_lock_and_transcript_paths_are_the_same_file() -> None:
    assert transcript_of("/tmp/x/agents/main/sessions/a.jsonl.lock") == "agents/main/sessions/a.jsonl"
    assert transcript_of("/private/tmp/x/agents/main/sessions/a.jsonl") == "agents/main/sessions/a.jsonl"
    assert transcript_of("alone.jsonl.lock") == "alone.jsonl"
    assert transcript_of(None) == ""


def test_a_release_told_twice_ends_the_hold_at_the_first_and_nothing_else() -> None:
    story = Story()
    story.add(1.0, "a", "lock", "ok", path=LOCK, owner="outer", generation=1)
    story.add(2.0, "a", "lock", "ok", path=LOCK, owner="inner", generation=2)
    story.add(3.0, "a", "lock.release", "invoke", path=LOCK, owner="inner", generation=2)
    story.add(4.0, "a", "lock.release", "ok", path=LOCK, owner="inner", generation=2, removed=True)

    outer, inner = holds(story.history())
    assert (outer.how, inner.how) == ("open", "released")
    assert inner.ended is not None
    assert inner.ended.t == 3.0


def test_a_release_by_somebody_who_holds_nothing_ends_nothing() -> None:
    story = Story()
    story.add(1.0, "a", "lock", "ok", path=LOCK)
    story.add(2.0, "b", "lock.release", path=LOCK)

    assert [h.how for h in holds(story.history())] == ["open"]


def test_a_dead_holders_file_blocks_until_the_next_grant() -> None:
    story = Story()
    story.add(1.0, "a", "lock", "ok", path=LOCK)
    story.add(2.0, "harness", "actor.exit", actor="a", code=-9)
    dead = holds(story.history())[0]
    assert (dead.how, dead.end_i, dead.blocks_until) == ("died", 1, inf)

    story.add(3.0, "b", "lock", "ok", path=LOCK)
    assert holds(story.history())[0].blocks_until == 2


def test_a_fence_ends_the_old_hold_and_begins_a_new_one() -> None:
    story = Story()
    story.add(1.0, "a", "lock", "ok", path=LOCK, owner="a", generation=1)
    story.add(2.0, "b", "lock.fence", "fail", path=LOCK, owner="b", error="foreign")
    story.add(3.0, "b", "lock.fence", "ok", path=LOCK, owner="b", generation=2, previous=1)
    story.add(3.0, "b", "lock", "ok", path=LOCK, owner="b", generation=2)
    story.add(4.0, "b", "lock.release", path=LOCK, owner="b", generation=2)

    old, new = holds(story.history())
    assert (old.how, new.how, new.actor, new.generation) == ("fenced", "released", "b", 2)


def test_a_wait_that_ends_in_a_fence_is_a_wait_that_was_granted() -> None:
    story = Story()
    story.add(1.0, "b", "lock", "invoke", path=LOCK)
    story.add(1.0, "c", "lock", "invoke", path=f"{FOLDER}/other.jsonl")
    story.add(3.0, "b", "lock.fence", "ok", path=LOCK, generation=2)

    mine, others = acquires(story.history())
    assert (mine.end_s, others.end_s) == (3.0, inf)


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


def test_a_call_outside_any_turn_belongs_to_none() -> None:
    story = Story()
    story.add(0.0, "gateway", "model.call", "invoke", call_id="probe", run_id="r")
    story.add(1.0, "gateway", "turn", "invoke", turn_id="t", run_id="r")

    assert executions(story.history())[0].calls == ()
