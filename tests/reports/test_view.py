"""The view: who held the lock, which steps matter, what the table says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from lockjaw.harness.judge.checkers import run_checks
from lockjaw.harness.judge.checkers.examples import EXAMPLES, FACTS, FOLDER, PATH, Story
from lockjaw.harness.judge.outcome import outcome_of
from lockjaw.history.run import Outcome, Run, read_document
from lockjaw.reports.lockband import lock_band
from lockjaw.reports.text import render
from lockjaw.reports.view import DANGER, Row, headline, important, run_view, timeline, view
from lockjaw.verdict import Verdict

LOCK = PATH + ".lock"


def test_the_band_names_who_holds_a_lock_and_who_died_with_one() -> None:
    story = Story()
    story.add(1.0, "gateway", "lock", "invoke", path=LOCK)
    story.add(1.0, "gateway", "lock", "ok", path=LOCK)
    story.add(2.0, "client", "lock", "ok", path=f"{FOLDER}/fresh.jsonl.lock")
    story.add(3.0, "client", "lock.release", "invoke", path=f"{FOLDER}/fresh.jsonl.lock")
    story.add(4.0, "harness", "nemesis", "info", action="kill", target="gateway")
    story.add(4.1, "harness", "actor.exit", actor="gateway", code=-9)
    story.add(5.0, "client", "lock", "ok", path=LOCK, reclaimed=True)
    story.add(5.5, "other", "lock.fence", "fail", path=LOCK)
    story.add(6.0, "other", "lock.fence", "ok", path=LOCK)
    story.add(7.0, "other", "lock", "ok", path=f"{FOLDER}/sessions.json.lock")
    story.add(8.0, "other", "lock.release", path=LOCK)

    assert lock_band(story.history()) == [
        "-", "gateway", "gateway+client", "gateway", "gateway (dead)", "gateway (dead)", "client", "client", "other",
        "other", "-",
    ]  # fmt: skip


def test_time_counts_from_the_clients_start() -> None:
    story = Story()
    story.add(50.0, "gateway", "actor.ready", role="gateway")
    story.add(60.0, "client", "client.call", "invoke", method="agent")
    story.add(61.5, "gateway", "gateway.accepted", session_id="s")

    assert [row.at_s for row in timeline(story.history())] == [0.0, 1.5]


def test_repetitions_become_one_row_with_a_count() -> None:
    story = Story()
    story.add(0.0, "client", "client.call", "invoke", method="agent")
    for t in (1.0, 2.0, 3.0):
        story.add(t, "gateway", "append", path=PATH, role="assistant")
    story.add(4.0, "client", "append", path=PATH, role="assistant")

    rows = timeline(story.history(), witness=[2])
    assert [(row.actor, row.count, row.until_s) for row in rows[1:]] == [("gateway", 3, 3.0), ("client", 1, 4.0)]
    assert [row.witness for row in rows] == [False, True, False]


def test_a_lock_that_was_free_is_one_step() -> None:
    rows = timeline(EXAMPLES["takeover"]())

    assert not any(row.text.startswith("asks for the lock") and row.actor == "gateway" for row in rows)
    assert any(row.text.startswith("asks for the lock") and row.actor == "client" for row in rows)


def test_quiet_steps_are_told_when_a_checker_points_at_them() -> None:
    history = EXAMPLES["takeover"]()
    ledger = next(r.i for r in history if r.op == "ledger")

    assert not any(row.op == "ledger" for row in timeline(history))
    assert any(row.op == "ledger" and row.witness for row in timeline(history, [ledger]))


def test_an_exit_is_told_of_who_ended_and_not_of_who_noticed() -> None:
    row = next(row for row in timeline(EXAMPLES["gateway-killed"]()) if row.op == "actor.exit")

    assert row.actor == "gateway"


def test_a_holder_that_takes_its_lock_again_is_worth_less_than_a_new_one() -> None:
    story = Story()
    for t, actor in ((0.0, "gateway"), (1.0, "gateway"), (2.0, "client")):
        story.add(t, actor, "lock", "ok", path=LOCK)
        story.add(t + 0.5, actor, "lock.release", "ok", path=LOCK)
    first, _, again, _, other, _ = timeline(story.history())

    assert again.weight < first.weight == other.weight
    assert timeline(story.history(), [2])[2].weight > first.weight  # unless a checker points at it


def test_ends_that_are_as_they_should_be_are_not_told() -> None:
    story = Story()
    story.add(0.0, "harness", "actor.exit", actor="gateway", role="gateway", code=0)
    story.add(0.0, "harness", "actor.exit", actor="client", role="client", code=1)
    story.add(1.0, "harness", "next_turn", "ok")
    assert timeline(story.history()) == ()

    story.add(2.0, "harness", "actor.exit", actor="gateway", role="gateway", code=-9)
    story.add(3.0, "harness", "next_turn", "fail", error="locked")
    assert [row.op for row in timeline(story.history())] == ["actor.exit", "next_turn"]


@given(st.lists(st.tuples(st.sampled_from(["append", "lock", "turn"]), st.booleans()), max_size=40))
def test_the_important_rows_keep_their_order_and_every_witness_they_can(kinds: list[tuple[str, bool]]) -> None:
    rows = [Row(float(n), "a", "t", "-", "plain", n, op, witness) for n, (op, witness) in enumerate(kinds)]
    chosen = important(rows, 15)

    assert len(chosen) == min(15, len(rows))
    assert [row.index for row in chosen] == sorted(row.index for row in chosen)
    witnesses = sum(row.witness for row in rows)
    assert sum(row.witness for row in chosen) == min(15, witnesses)


def test_the_table_combines_the_seeds_of_a_policy(make_run: Callable[..., Any]) -> None:
    good = make_run("takeover", seed=1, checks=["answered"])
    bad = make_run("reuse-session", seed=2, checks=["answered"], policy="takeover")
    other = make_run("no-fallback", checks=["executed_once"])

    (scenario,) = view([good, bad, other])
    cell = scenario.cells["takeover", "answered"]
    assert (cell.verdict, cell.like, cell.total) == (Verdict.VIOLATED, 1, 2)
    assert scenario.cells["no-fallback", "answered"].verdict is None
    assert scenario.policy_verdict("takeover") is Verdict.VIOLATED
    assert scenario.policy_verdict("no-fallback") is Verdict.HELD
    assert scenario.verdict is Verdict.VIOLATED


def test_scenarios_are_kept_apart(make_run: Callable[..., Any]) -> None:
    scenarios = view([make_run("takeover"), make_run("takeover", scenario="other")])

    assert [s.name for s in scenarios] == ["gateway_timeout", "other"]


def test_a_danger_that_was_not_reached_is_a_row_of_its_own(make_run: Callable[..., Any]) -> None:
    unmet = [{"says": "the lock was held", "met": False, "witness": None}, {"says": "b", "met": True, "witness": 1}]
    run = run_view(make_run("quiet", checks=["answered"], verdict="UNKNOWN", sometimes=unmet))
    assert (run.checks[0].name, run.checks[0].verdict) == (DANGER, Verdict.UNKNOWN)
    assert run.checks[0].finding == "never happened: the lock was held"

    met = run_view(make_run("quiet", checks=["answered"], sometimes=unmet[1:]))
    assert met.checks[0].verdict is Verdict.HELD


def test_findings_and_errors_name_no_machine_folder(make_run: Callable[..., Any]) -> None:
    run = run_view(make_run("reuse-session"))

    ((who, error),) = run.errors
    assert who == "the user"
    assert "/home/" not in error
    assert "<state>/agents/main/sessions" in error


def test_headlines_say_what_the_user_got_and_at_what_price() -> None:
    good = Outcome(True, 0, 0, 1, 1, 1, False, "hello", None)
    assert headline(good) == "the user got an answer; 1 provider call"
    assert headline(replace(good, duplicate_possible=True)).startswith(
        "the user got an answer; a second answer is possible"
    )
    assert headline(Outcome(False, 1, 3, 0, 2, 2, False, None, "error")) == (
        "the user got NO answer; the fallback found the session locked 3 times; "
        "the conversation is spread over 2 sessions; 2 provider calls"
    )
    assert headline(Outcome(False, 1, 0, 0, 0, 1, False, None, "error")) == (
        "the user got NO answer; the turn was not executed; 0 provider calls"
    )
    assert "executed twice" in headline(replace(good, turn_executions=2))


def test_of_several_clients_the_report_says_which_one_got_an_answer() -> None:
    story = Story()
    for client in ("first", "client"):
        story.add(0.0, client, "client.call", "invoke", method="agent", run_id=client)
    story.add(1.0, "first", "lock", "ok", path=LOCK)
    story.add(2.0, "client", "lock", "invoke", path=LOCK)
    story.add(12.0, "client", "lock", "fail", path=LOCK, kind="timeout", owner="pid=7")
    story.add(13.0, "client", "client.result", answered=False, exit_code=1, error="E: session file locked")
    story.add(14.0, "first", "client.result", answered=True, exit_code=0, reply="hi")
    history = story.history()
    checks = run_checks(["never_session_locked", "answered"], history, FACTS)
    run = Run(
        "s", "p", "sim", 1, Verdict.VIOLATED, tuple(checks), (), outcome_of(history), "", 14.0, 0.0, Path("r"), history
    )

    shown = run_view(run)
    assert shown.headline.startswith("of 2 clients, first got an answer, client got NO answer;")
    assert shown.errors == (("client", "E: session file locked"),)
    assert [check.finding.partition(" although")[0] for check in shown.checks] == [
        "the fallback of client found the session locked: 1 lock wait timed out", "client got no answer"
    ]  # fmt: skip
    assert "does NOT get the lock; first has it" in [row.text for row in shown.rows]
    assert "client saw: E: session file locked" in render([run])
    assert read_document(json.loads(json.dumps(run.document())), history, Path("r")) == run


def test_no_step_stands_at_minus_zero() -> None:
    story = Story()
    story.add(0.98, "first", "turn", "invoke", session_id="s")
    story.add(1.0, "client", "client.call", "invoke", method="agent")

    assert [f"{row.at_s:.1f}" for row in timeline(story.history())] == ["0.0", "0.0"]
