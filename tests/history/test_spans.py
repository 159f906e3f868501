"""Operations from their beginning to their end, also when a process died over one."""

from __future__ import annotations

from math import inf

from lockjaw.harness.judge.checkers.examples import Story
from lockjaw.history.spans import spans


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


def test_a_restarted_actor_does_not_finish_what_the_dead_process_began() -> None:
    story = Story()
    story.add(1.0, "gateway", "lock", "invoke", path="a.jsonl.lock")
    story.add(2.0, "harness", "actor.exit", actor="gateway", code=-9)
    story.add(3.0, "gateway", "lock", "invoke", path="a.jsonl.lock")
    story.add(4.0, "gateway", "lock", "ok", path="a.jsonl.lock")

    first, again = spans(story.history(), "lock", "path")
    assert (first.outcome, first.end_s) == ("died", 2.0)
    assert (again.outcome, again.end_s) == ("ok", 4.0)
