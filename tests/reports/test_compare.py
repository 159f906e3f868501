"""Where two runs part, actor by actor."""

from __future__ import annotations

import msgspec

from lockjaw.harness.judge.checkers.examples import EXAMPLES, Story, changed, op
from lockjaw.harness.judge.skeleton import skeleton
from lockjaw.history import Record
from lockjaw.reports.compare import divergences, lines, marks


def story(last: str, *, delay: float = 0.0, run_id: str = "r") -> list[Record]:
    told = Story()
    told.add(0.0, "harness", "run.start", policy=last, seed=1)
    told.add(1.0, "client", "client.call", "invoke", method="agent", run_id=run_id)
    told.add(2.0 + delay, "gateway", "turn", "invoke", turn_id=run_id, resumed=False)
    told.add(5.0 + delay, "client", "client.call", "fail", kind="timeout", timeout_ms=4000)
    told.add(6.0 + delay, "client", "fallback", policy=last, step=last)
    return told.history()


def test_the_same_steps_at_other_times_with_other_ids_do_not_part() -> None:
    assert divergences(story("ask"), story("ask", delay=3.0, run_id="other"), skeleton) == ()


def test_the_order_of_different_actors_does_not_count() -> None:
    one, two = Story(), Story()
    for told, actors in ((one, ("a", "b")), (two, ("b", "a"))):
        for n, actor in enumerate(actors):
            told.add(float(n), actor, "turn", "invoke", turn_id="t")
    assert divergences(one.history(), two.history(), skeleton) == ()


def test_the_first_step_that_differs_is_found_in_both_runs() -> None:
    (found,) = divergences(story("ask"), story("rerun", delay=1.0), skeleton)
    assert (found.actor, found.left, found.right, found.at_s) == ("client", 4, 4, 5.0)
    assert "asks the gateway" in found.says
    assert "falls back" in found.says


def test_a_run_that_ends_earlier_parts_where_the_other_goes_on() -> None:
    history = story("ask")
    (found,) = divergences(history, history[:-1], skeleton)
    assert (found.left, found.right) == (4, None)
    assert found.says.endswith("there: nothing more")


def test_the_earliest_actor_comes_first_and_is_the_only_first() -> None:
    left, right = EXAMPLES["reuse-session"](), EXAMPLES["takeover"]()
    found = divergences(left, right, skeleton)
    assert len(found) > 1
    assert [d.at_s for d in found] == sorted(d.at_s for d in found)
    ours, theirs = marks(left, right, found, ("reuse", "takeover"))
    assert [m.first for m in ours].count(True) == 1
    assert [m.first for m in theirs].count(True) == 1
    assert {m.against for m in ours} == {"takeover"}
    assert {m.against for m in theirs} == {"reuse"}


def test_what_runs_are_compared_by_is_no_difference() -> None:
    history = EXAMPLES["takeover"]()
    assert divergences(history, changed(history, op("run.start"), policy="reuse-session", seed=2), skeleton) == ()


def test_bookkeeping_entries_of_a_transcript_are_no_difference() -> None:
    history = EXAMPLES["takeover"]()
    at = next(n for n, r in enumerate(history) if r.op == "append")
    bare = msgspec.structs.replace(history[at], data={**history[at].data, "role": "", "type": "custom"})
    assert divergences(history, [*history[: at + 1], bare, *history[at + 1 :]], skeleton) == ()
    spoken = [*history[: at + 1], history[at], *history[at + 1 :]]
    assert [d.actor for d in divergences(history, spoken, skeleton)] == ["gateway"]


def test_the_lines_for_a_terminal_name_both_runs() -> None:
    found = divergences(story("ask"), story("rerun"), skeleton)
    assert lines(("a", "b"), found)[0] == "a and b part:"
    assert lines(("a", "b"), []) == ["a and b: the same steps, actor by actor"]


def test_the_first_difference_is_one_that_a_law_or_the_outcome_hangs_on() -> None:
    def told(answered: bool, *, early: str) -> list[Record]:
        steps = Story().add(0.0, "client", "client.call", "invoke", method="agent", run_id="r")
        steps.add(1.0, "gateway", early, "info", path="/s/agents/main/sessions/a.jsonl", role="user", type="message")
        steps.add(9.0, "client", "client.result", "info", answered=answered, exit_code=int(not answered))
        return steps.history()

    early, decisive = divergences(told(True, early="append"), told(False, early="gateway.accepted"), skeleton)
    assert (early.actor, early.first) == ("gateway", False)
    assert (decisive.actor, decisive.first) == ("client", True)
    assert "hangs on" in lines(("a", "b"), [early, decisive])[2]
    (only,) = divergences(told(True, early="append"), told(True, early="gateway.accepted"), skeleton)
    assert only.first, "where nothing hangs on any difference, the earliest is the first"
