"""What the checkers say about the four policies, and where each law begins and ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest

from lockjaw.errors import LocalError
from lockjaw.harness.judge.checkers import CHECKERS, ScenarioFacts, law_of, run_checks
from lockjaw.harness.judge.checkers.examples import (
    CHAIN,
    EXAMPLES,
    FACTS,
    FOLDER,
    PATH,
    SESSION,
    Story,
    changed,
    find,
    inserted,
    op,
    without,
)
from lockjaw.history import Phase, Record
from lockjaw.history.ordered import numbered
from lockjaw.verdict import CheckResult, Verdict

H, V, U = Verdict.HELD, Verdict.VIOLATED, Verdict.UNKNOWN

#: example -> verdicts in the order of CHECKERS.
TABLE = {
    "takeover": (H, H, H, H, H, H, H, H, H, H, H, H, U, U, U, U, U, H),
    "reuse-session": (V, V, V, H, U, H, H, U, H, H, H, H, U, U, U, U, H, V),
    "fresh-session": (H, H, H, V, V, U, H, U, H, H, H, H, U, U, U, U, U, V),
    "no-fallback": (H, H, V, H, U, U, H, U, H, H, H, H, U, U, U, U, U, H),
    "gateway-killed": (H, H, H, H, H, H, H, H, H, H, H, U, U, U, U, U, U, H),
    "gateway-frozen": (H, H, H, H, H, H, H, U, H, H, H, H, U, U, U, U, H, H),
    "quiet": (U, U, H, U, H, U, H, U, H, U, H, H, U, U, U, U, U, U),
    "announced": (U, U, U, U, U, H, H, H, H, U, U, U, H, H, U, U, U, U),
    "databases": (U, U, H, U, H, U, U, U, H, U, H, U, U, U, H, H, H, U),
}


def judge(name: str, history: Sequence[Record], facts: ScenarioFacts = FACTS) -> CheckResult:
    return run_checks([name], history, facts)[0]


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize("position", range(len(CHECKERS)), ids=list(CHECKERS))
def test_each_policy_gets_the_verdict_that_was_measured(example: str, position: int) -> None:
    result = judge(list(CHECKERS)[position], EXAMPLES[example]())

    assert result.verdict is TABLE[example][position], result.finding


@pytest.mark.parametrize("name", CHECKERS)
def test_an_empty_history_proves_nothing(name: str) -> None:
    assert judge(name, []).verdict is U


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_violation_names_its_witnesses_and_a_held_law_has_none(example: str) -> None:
    history = EXAMPLES[example]()

    for result in run_checks(CHECKERS, history, FACTS):
        assert bool(result.witness) is (result.verdict is V)
        assert all(history[i].i == i for i in result.witness)


def test_laws_are_the_sentences_of_the_design() -> None:
    assert law_of("never_session_locked") == "No fallback attempt fails with a session-locked error."
    assert all(law_of(name).endswith((".", ":")) for name in CHECKERS)


def test_an_unknown_checker_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(LocalError, match=r"'typo'.*never_session_locked.*amplification"):
        run_checks(["answered", "typo"], [], FACTS)


def test_witnesses_are_positions_even_if_the_records_were_not_numbered() -> None:
    bare = [Record(r.t, r.actor, r.op, r.phase, r.data) for r in EXAMPLES["reuse-session"]()]

    assert judge("answered", bare).witness == judge("answered", EXAMPLES["reuse-session"]()).witness


class TestNeverSessionLocked:
    def test_a_fallback_that_found_the_lock_free_proves_nothing(self) -> None:
        story = Story()
        story.add(0.0, "client", "client.call", "invoke", method="agent", run_id="r")
        story.add(1.0, "client", "client.call", "fail", method="agent", run_id="r", kind="closed")
        story.add(1.0, "client", "fallback", step="continue")
        story.add(1.1, "client", "lock", "ok", path=PATH)

        assert judge("never_session_locked", story.history()).verdict is U

    def test_a_wait_that_ends_in_a_fork_is_no_failed_attempt(self) -> None:
        frozen = without(EXAMPLES["gateway-frozen"](), op("lock.fence"))
        assert judge("never_session_locked", frozen).verdict is V

        forked = inserted(frozen, Record(100.1, "client", "fallback", "info", {"step": "fork"}))
        assert judge("never_session_locked", forked).verdict is H

    def test_a_client_that_was_killed_right_after_its_wait_was_still_on_its_way(self) -> None:
        frozen = without(EXAMPLES["gateway-frozen"](), op("lock.fence"))
        wait = find(frozen, op("lock", "fail", "client"))
        dead = [r for r in frozen if r.actor != "client" or r.i <= wait.i]
        killed = Record(wait.t, "harness", "nemesis", "info", {"action": "kill", "target": "client"})

        assert judge("never_session_locked", inserted(dead)).verdict is V
        assert judge("never_session_locked", inserted(dead, killed)).verdict is not V

    def test_a_failed_fence_does_not_excuse_the_wait_before_it(self) -> None:
        frozen = without(EXAMPLES["gateway-frozen"](), op("lock.fence"))
        refused = inserted(frozen, Record(100.1, "client", "lock.fence", "fail", {"path": PATH, "error": "foreign"}))

        assert judge("never_session_locked", refused).verdict is V

    def test_the_lock_of_the_session_list_is_no_session(self) -> None:
        listed = Record(91.0, "client", "lock", "fail", {"path": f"{FOLDER}/sessions.json.lock", "kind": "timeout"})

        assert judge("never_session_locked", inserted(EXAMPLES["takeover"](), listed)).verdict is H

    def test_the_printed_lines_are_witnesses_only_where_nothing_was_recorded(self) -> None:
        line = find(EXAMPLES["reuse-session"](), op("client.result")).data["error"]
        printed = inserted(
            EXAMPLES["reuse-session"](), Record(123.0, "client", "client.stderr", "info", {"line": line})
        )
        assert find(printed, op("client.stderr", line=line)).i not in judge("never_session_locked", printed).witness

        foreign = [r for r in printed if r.op not in ("lock", "model.decision", "client.result")]
        assert judge("never_session_locked", inserted(foreign)).verdict is V

    def test_a_wait_that_was_called_off_is_no_lock_error(self) -> None:
        off = changed(EXAMPLES["reuse-session"](), op("lock", "fail"), kind="cancelled")
        off = without(off, op("model.decision"))
        off = changed(off, op("client.result"), error="interrupted")

        assert judge("never_session_locked", off).verdict is H

    def test_a_gateway_that_waited_in_vain_is_not_the_fallback(self) -> None:
        text = "session file locked (timeout 10000ms): pid=7"
        gateway = Record(2.0, "gateway", "turn", "fail", {"run_id": "other", "error": text})

        assert judge("never_session_locked", inserted(EXAMPLES["takeover"](), gateway)).verdict is H

    def test_a_call_that_says_ok_and_brings_no_answer_is_trouble_too(self) -> None:
        polite = changed(EXAMPLES["no-fallback"](), op("client.call", "ok"), status="ok")

        assert judge("never_session_locked", polite).verdict is H
        assert judge("executed_once", polite).verdict is H


class TestLockIsNotAModelFailure:
    def test_a_reason_that_was_rewritten_is_still_seen(self) -> None:
        masked = changed(EXAMPLES["reuse-session"](), op("model.decision"), detail="Request was aborted")

        assert judge("lock_is_not_a_model_failure", masked).verdict is V

    def test_a_model_that_was_asked_and_failed_after_the_wait_is_to_blame_itself(self) -> None:
        story = Story()
        story.add(0.0, "client", "lock", "invoke", path=PATH)
        story.add(9.0, "client", "lock", "fail", path=PATH, kind="timeout")
        story.add(9.1, "client", "model.call", "invoke", call_id="c", model="m")
        story.add(9.2, "client", "model.call", "fail", call_id="c", error="429", reason="rate_limit")
        story.add(9.2, "client", "model.decision", decision="candidate_failed", candidate="p/m", reason="rate_limit")

        assert judge("lock_is_not_a_model_failure", story.history()).verdict is H

    def test_success_after_a_lock_error_blames_no_model(self) -> None:
        story = Story()
        story.add(9.0, "client", "lock", "fail", path=PATH, kind="timeout")
        story.add(9.2, "client", "model.decision", decision="candidate_succeeded", candidate="p/m")

        assert judge("lock_is_not_a_model_failure", story.history()).verdict is H

    def test_two_turns_may_each_wait_once(self) -> None:
        story = Story()
        for n in (1, 2):
            story.add(n, "gateway", "turn", "invoke", turn_id=f"turn-{n}", run_id=f"run-{n}")
            story.add(n, "gateway", "lock", "fail", path=PATH, kind="timeout")
            story.add(n, "gateway", "turn", "fail", turn_id=f"turn-{n}", run_id=f"run-{n}")

        assert judge("lock_is_not_a_model_failure", story.history()).verdict is H

    @pytest.mark.parametrize("blame", ["rate_limit", "timeout"])
    def test_a_candidate_that_failed_before_any_lock_was_wanted_failed_by_itself(self, blame: str) -> None:
        story = Story()
        story.add(0.0, "client", "model.decision", decision="candidate_failed", candidate="p/m", reason=blame)
        story.add(1.0, "client", "lock", "invoke", path=PATH)
        story.add(9.0, "client", "lock", "fail", path=PATH, kind="timeout")
        story.add(9.0, "client", "model.decision", decision="skip_candidate", candidate="p/n", reason=blame)

        assert judge("lock_is_not_a_model_failure", story.history()).verdict is H

    def test_a_wait_that_was_granted_is_a_lock_in_the_way(self) -> None:
        story = Story()
        story.add(1.0, "gateway", "lock", "invoke", path=PATH)
        story.add(9.0, "gateway", "lock", "ok", path=PATH, waited_s=8.0)

        assert judge("lock_is_not_a_model_failure", story.history()).verdict is H

    def test_a_model_call_that_failed_with_the_lock_text_is_a_violation(self) -> None:
        failed = changed(EXAMPLES["no-fallback"](), op("model.call", "fail"), error="session file locked (timeout 1ms)")

        assert judge("lock_is_not_a_model_failure", failed).verdict is V


class TestAnswered:
    def test_a_client_that_asked_nothing_because_the_one_before_it_was_killed_is_owed_nothing(self) -> None:
        story = Story().add(0.0, "harness", "actor.ready", "info", actor="again", role="client")
        story.add(0.0, "client", "client.call", "invoke", method="agent", run_id="r")
        story.add(9.0, "harness", "run.end", "info", reason="done")
        killed = Record(1.0, "harness", "nemesis", "info", {"action": "kill", "target": "client"})

        assert judge("answered", story.history()).verdict is V
        assert judge("answered", inserted(story.history(), killed)).verdict is U

    def test_nobody_is_owed_what_no_model_could_have_said_in_time(self) -> None:
        slow = replace(FACTS, answers_s=dict.fromkeys(CHAIN, 500.0))
        assert judge("answered", EXAMPLES["reuse-session"](), slow).verdict is U
        assert judge("answered", EXAMPLES["takeover"](), replace(slow, budget_s=50.0)).verdict is U

    def test_a_late_answer_is_no_answer(self) -> None:
        result = judge("answered", EXAMPLES["takeover"](), replace(FACTS, budget_s=80.0))

        assert result.verdict is V
        assert "91.3 s" in result.finding

    def test_the_budget_counts_from_the_clients_own_start(self) -> None:
        late_start = [Record(r.t + 1000, r.actor, r.op, r.phase, r.data, r.i) for r in EXAMPLES["takeover"]()]

        assert judge("answered", late_start).verdict is H

    @pytest.mark.parametrize("reply", ["", "   ", None, "Request timed out before a response was generated. Please"])
    def test_an_empty_reply_and_the_timeout_text_are_no_answer(self, reply: str | None) -> None:
        hollow = changed(EXAMPLES["takeover"](), op("client.result"), reply=reply)

        assert judge("answered", hollow).verdict is V

    def test_a_client_that_ends_without_a_result_has_not_answered(self) -> None:
        silent = without(EXAMPLES["takeover"](), op("client.result"))
        assert judge("answered", silent).verdict is V
        assert judge("answered", without(silent, op("actor.exit"))).verdict is V  # run.end says that all is over
        assert judge("answered", silent[:20]).verdict is U  # the history simply stops

    @pytest.mark.parametrize("action", ["kill", "terminate"])
    def test_a_user_who_left_is_owed_nothing(self, action: str) -> None:
        gone = Record(91.0, "harness", "nemesis", "info", {"action": action, "target": "client"})
        silent = inserted(without(EXAMPLES["takeover"](), op("client.result")), gone)

        assert judge("answered", silent).verdict is U
        assert judge("degradation_visible", silent).verdict is U


class TestExecutedOnce:
    def test_an_execution_that_reached_no_model_executed_nothing(self) -> None:
        begun = Record(90.2, "client", "turn", "invoke", {"turn_id": "turn-1", "run_id": "run-2", "resumed": False})

        assert judge("executed_once", inserted(EXAMPLES["reuse-session"](), begun)).verdict is H

    def test_a_dead_process_stops_at_the_kill_and_not_when_the_harness_notices(self) -> None:
        noticed_late = [
            Record(50.0, r.actor, r.op, r.phase, r.data) if op("actor.exit", role="gateway")(r) else r
            for r in EXAMPLES["gateway-killed"]()
        ]

        assert judge("executed_once", inserted(noticed_late)).verdict is H
        unexplained = without(inserted(noticed_late), op("nemesis"))
        assert judge("executed_once", unexplained).verdict is V

    def test_a_fenced_run_that_starts_something_new_is_a_second_execution(self) -> None:
        tool = {"run_id": "run-1", "tool_call_id": "t9", "name": "exec", "key": "exec:other"}
        woken = inserted(EXAMPLES["gateway-frozen"](), Record(120.0, "gateway", "tool", "invoke", tool))

        assert judge("executed_once", woken).verdict is V

    def test_a_second_session_of_the_same_call_is_the_same_turn_whatever_it_calls_itself(self) -> None:
        renamed = changed(EXAMPLES["fresh-session"](), op("turn", actor="client"), turn_id="turn-of-the-fallback")

        assert judge("executed_once", renamed).verdict is V

    def test_a_turn_begun_anew_after_the_first_had_ended_is_a_second_execution(self) -> None:
        anew = changed(EXAMPLES["takeover"](), op("turn", "invoke", actor="client"), resumed=False)

        result = judge("executed_once", anew)
        assert result.verdict is V
        assert "started the turn again" in result.finding

    def test_candidates_of_one_run_are_one_execution(self) -> None:
        story = Story()
        story.add(0.0, "client", "client.call", "invoke", method="agent", run_id="r")
        for n in range(3):
            story.add(n + 0.1, "gateway", "turn", "invoke", turn_id="t", run_id="r", resumed=False)
            story.add(n + 0.2, "gateway", "model.call", "invoke", call_id=f"c{n}", run_id="r")
            story.add(n + 0.3, "gateway", "model.call", "fail", call_id=f"c{n}")
            story.add(n + 0.4, "gateway", "turn", "fail", turn_id="t", run_id="r")
        story.add(9.0, "client", "client.call", "fail", method="agent", run_id="r")

        assert judge("executed_once", story.history()).verdict is H

    def test_one_process_that_runs_the_turn_twice_at_once_is_named_once(self) -> None:
        story = Story()
        for n, run_id in enumerate(("r1", "r2")):
            story.add(n, "gateway", "turn", "invoke", turn_id="t", run_id=run_id)
            story.add(n, "gateway", "model.call", "invoke", call_id=run_id, run_id=run_id)

        assert judge("executed_once", story.history()).finding == "gateway executed the turn twice at the same time"

    def test_two_tools_with_the_same_words_are_two_acts(self) -> None:
        def acted(second: str) -> list[Record]:
            story = Story()
            for n, name in enumerate(("read_mail", second)):
                run = f"r{n}"
                story.add(n, "gateway", "turn", "invoke", turn_id="t", run_id=run, resumed=n > 0)
                story.add(n, "gateway", "model.call", "invoke", call_id=run, run_id=run)
                story.add(n + 0.1, "gateway", "tool", "invoke", run_id=run, tool_call_id=f"t{n}", name=name, key="k")
                story.add(n + 0.2, "gateway", "tool", "ok", run_id=run, tool_call_id=f"t{n}")
                story.add(n + 0.3, "gateway", "model.call", "ok", call_id=run)
                story.add(n + 0.4, "gateway", "turn", "fail", turn_id="t", run_id=run)
            return story.history()

        assert judge("executed_once", acted("send_mail")).verdict is not V
        assert "read_mail (k) ran twice" in judge("executed_once", acted("read_mail")).finding

    def test_another_users_turn_is_another_turn(self) -> None:
        story = Story()
        story.add(0.0, "a", "turn", "invoke", turn_id="t1", run_id="r1", message="same words")
        story.add(0.0, "b", "turn", "invoke", turn_id="t2", run_id="r2", message="same words")
        story.add(1.0, "a", "model.call", "invoke", call_id="c1", run_id="r1")
        story.add(1.0, "b", "model.call", "invoke", call_id="c2", run_id="r2")

        assert judge("executed_once", story.history()).verdict is U

    def test_a_harmless_tool_may_be_run_again(self) -> None:
        call = {"run_id": "run-1", "tool_call_id": "t2", "name": "exec", "key": "exec:touch done"}
        again = inserted(EXAMPLES["takeover"](), Record(91.15, "client", "tool", "invoke", call))
        assert judge("executed_once", again).verdict is V

        harmless = inserted(
            EXAMPLES["takeover"](), Record(91.15, "client", "tool", "invoke", call | {"harmless": True})
        )
        assert judge("executed_once", harmless).verdict is H

    def test_the_ledger_counts_against_what_the_scenario_allows(self) -> None:
        twice = changed(EXAMPLES["takeover"](), op("ledger"), count=2)

        assert judge("executed_once", twice).verdict is V
        assert judge("executed_once", twice, replace(FACTS, ledger={"exec:touch done": 2})).verdict is H

    def test_a_foreign_runtime_is_judged_by_what_the_model_server_saw(self) -> None:
        def seen(second_s: float) -> list[Record]:
            story = Story()
            story.add(0.0, "client", "client.call", "fail", method="agent", run_id="r")
            story.add(1.0, "models", "provider.request", "invoke", request_id="1")
            story.add(5.0, "models", "provider.request", "fail", request_id="1", client_gone=True)
            request = Record(second_s, "models", "provider.request", "invoke", {"request_id": "2"})
            return inserted(story.history(), request)

        assert judge("executed_once", seen(4.0)).verdict is V
        assert judge("executed_once", seen(6.0)).verdict is H
        assert judge("executed_once", without(seen(6.0), op("client.call"))).verdict is U


class TestAllDelivered:
    def handed(self, outcome: Phase, *, killed_s: float | None = None) -> list[Record]:
        story = Story()
        story.add(1.0, "subagent", "deliver", "invoke", text="result")
        if outcome != "invoke":
            story.add(2.0, "subagent", "deliver", outcome, text="result", entry_id="d1")
        if killed_s is not None:
            story.add(killed_s, "harness", "nemesis", action="kill", target="subagent")
        story.add(9.0, "harness", "transcript.final", path=PATH, entry_ids=["d1"])
        return story.history()

    def test_a_result_that_was_given_up_is_lost_whatever_its_actor_logged(self) -> None:
        assert judge("all_delivered", self.handed("ok")).verdict is H
        assert judge("all_delivered", self.handed("fail")).verdict is V

    def test_a_kill_excuses_what_was_under_way_and_not_what_had_been_given_up(self) -> None:
        assert judge("all_delivered", self.handed("invoke", killed_s=3.0)).verdict is U
        assert judge("all_delivered", self.handed("fail", killed_s=3.0)).verdict is V


class TestSameConversation:
    def test_what_is_written_after_the_result_was_shown_proves_nothing_about_it(self) -> None:
        blind = without(without(EXAMPLES["takeover"](), op("transcript.final")), op("append"))
        late = {"path": PATH, "entry_id": "e9", "role": "assistant", "type": "message"}

        assert judge("same_conversation", inserted(blind, Record(99.0, "client", "append", "info", late))).verdict is U

    def test_an_answer_before_the_question_is_named_by_the_last_answer(self) -> None:
        story = Story()
        for n, role in enumerate(("assistant", "assistant", "user")):
            story.add(n, "client", "append", path=PATH, entry_id=f"e{n}", role=role)
        story.add(5.0, "client", "client.result", answered=True, reply="x", session_id=SESSION)

        result = judge("same_conversation", story.history())
        assert (result.verdict, result.witness) == (V, (1, 2))

    def test_a_call_that_does_not_carry_a_turn_asks_nothing(self) -> None:
        """A look at the session's status under another key is not where the user asked."""
        looked = {"method": "status", "run_id": "s", "session_key": "agent:main:other"}
        before = inserted(EXAMPLES["takeover"](), Record(0.05, "client", "client.call", "invoke", looked))

        assert judge("same_conversation", before).verdict is H

    def test_a_fresh_session_is_seen_even_under_the_same_key(self) -> None:
        same_key = changed(EXAMPLES["fresh-session"](), op("client.result"), session_key="agent:main:main")

        assert judge("same_conversation", same_key).verdict is V

    def test_a_fork_carries_the_conversation_on(self) -> None:
        fork = changed(EXAMPLES["fresh-session"](), op("client.result"), session_key="agent:main:main")
        fork = changed(fork, op("fallback"), step="fork")
        assert judge("same_conversation", fork).verdict is H

        forgetful = changed(fork, op("transcript.final", session_id=SESSION), user_messages=["hello", "long task"])
        assert judge("same_conversation", forgetful).verdict is V

    def test_without_any_transcript_nobody_knows(self) -> None:
        blind = without(without(EXAMPLES["takeover"](), op("transcript.final")), op("append"))

        assert judge("same_conversation", blind).verdict is U

    def test_appends_are_proof_enough_where_no_transcript_was_read(self) -> None:
        assert judge("same_conversation", without(EXAMPLES["takeover"](), op("transcript.final"))).verdict is H

    def test_an_unreadable_answer_of_several_lines_is_found_line_by_line(self) -> None:
        lines = changed(EXAMPLES["takeover"](), op("client.result"), reply="done\n\nand more")
        assert judge("same_conversation", lines).verdict is V

        both = changed(lines, op("transcript.final"), assistant_texts=["done", "and more"])
        assert judge("same_conversation", both).verdict is H

    def test_an_answer_that_no_transcript_of_its_session_holds_is_unknown(self) -> None:
        other = {"answered": True, "reply": "x", "session_id": "nowhere", "session_key": "agent:main:main"}
        two = inserted(EXAMPLES["takeover"](), Record(92.0, "client-2", "client.result", "info", other))
        assert judge("same_conversation", two).verdict is V  # it was asked in another session

        alone = without(two, op("gateway.accepted"))
        assert judge("same_conversation", alone).verdict is U


class TestOneWriter:
    def test_generation_0_has_no_order(self) -> None:
        mixed = changed(EXAMPLES["takeover"](), op("append", actor="client"), generation=0)

        assert judge("one_writer", mixed).verdict is H

    def test_a_stolen_lock_makes_the_first_owners_next_write_a_violation(self) -> None:
        story = Story()
        story.add(0.0, "a", "lock", "ok", path=PATH + ".lock", owner="a", generation=0)
        story.add(1.0, "a", "append", "ok", path=PATH, generation=0)
        story.add(2.0, "b", "lock", "ok", path=PATH + ".lock", owner="b", generation=0, reclaimed=True)
        story.add(3.0, "b", "append", "ok", path=PATH, generation=0)
        assert judge("one_writer", story.history()).verdict is H

        story.add(4.0, "a", "append", "ok", path=PATH, generation=0)
        assert judge("one_writer", story.history()).verdict is V

    def test_two_runs_of_one_process_are_two_owners(self) -> None:
        story = Story()
        story.add(0.0, "gateway", "lock", "ok", path=PATH, owner="run-1")
        story.add(1.0, "gateway", "lock", "ok", path=PATH, owner="run-2")
        story.add(2.0, "gateway", "append", path=PATH, run_id="run-1")
        story.add(2.0, "client", "lock", "fail", path=PATH, kind="timeout")

        assert judge("one_writer", story.history()).verdict is V

    def test_a_lock_path_with_a_resolved_folder_is_the_same_file(self) -> None:
        elsewhere = changed(EXAMPLES["takeover"](), op("append"), path=f"/link/to/agents/main/sessions/{SESSION}.jsonl")

        assert judge("one_writer", elsewhere).verdict is H

    def test_a_session_list_is_no_transcript(self) -> None:
        story = Story()
        for actor in ("a", "b"):
            story.add(0.0, actor, "append", path=f"{FOLDER}/sessions.json")

        assert judge("one_writer", story.history()).verdict is U

    def test_turns_of_two_clients_that_a_model_saw_one_after_the_other_had_one_writer_if_a_lock_was_seen(self) -> None:
        asking = replace(FACTS, message="LJ-1 Well?", messages={"other": "LJ-2 And?"})
        first, second = ({"asks": [mark], "markers": {mark: 1}} for mark in ("LJ-1", "LJ-2"))
        story = Story()
        story.add(0.5, "gateway", "lock", "ok", path=PATH + ".lock", owner="pid-7")
        story.add(1.0, "models", "provider.request", "invoke", request_id="1", **first)
        story.add(5.0, "models", "provider.request", "ok", request_id="1")
        story.add(6.0, "models", "provider.request", "invoke", request_id="2", **second)
        story.add(7.0, "models", "provider.request", "ok", request_id="2")
        after_each_other = story.history()
        next_turn = changed(after_each_other, op("provider.request", "invoke", request_id="2"), asks=["LJ-9"])
        at_once = [replace_t(r, 4.0) if r.data.get("request_id") == "2" else r for r in after_each_other]
        for history, verdict in (
            (after_each_other, H),
            (without(after_each_other, op("lock")), U),
            (next_turn, U),
            (numbered(sorted(at_once, key=lambda r: r.t)), V),
        ):
            assert run_checks(["one_writer"], history, asking)[0].verdict is verdict


def replace_t(record: Record, t: float) -> Record:
    return msgspec.structs.replace(record, t=t)


class TestNoLockLeft:
    def left(self, **data: object) -> list[Record]:
        record = Record(
            32.0, "harness", "leftover", "info", {"kind": "lock", "path": PATH + ".lock", "pid": 101, **data}
        )
        return inserted(EXAMPLES["gateway-killed"](), record)

    def test_what_the_next_turn_got_past_blocks_nobody(self) -> None:
        assert judge("no_lock_left", self.left(alive=False)).verdict is H

    def test_what_a_dead_owner_left_and_no_turn_met_proves_nothing(self) -> None:
        assert judge("no_lock_left", without(self.left(alive=False), op("next_turn"))).verdict is U
        elsewhere = changed(self.left(alive=False), op("next_turn"), path=f"{FOLDER}/other.jsonl")
        assert judge("no_lock_left", elsewhere).verdict is U

    def test_what_a_living_owner_left_blocks_the_next_turn(self) -> None:
        assert judge("no_lock_left", without(self.left(alive=True), op("next_turn"))).verdict is V

    def test_a_next_turn_that_failed_for_another_reason_proves_nothing(self) -> None:
        story = [r for r in EXAMPLES["takeover"]() if r.op != "next_turn"]
        failed = inserted(story, Record(94.0, "harness", "next_turn", "fail", {"error": "no model"}))

        assert judge("no_lock_left", failed).verdict is U

    def test_without_a_next_turn_released_locks_are_enough(self) -> None:
        assert judge("no_lock_left", without(EXAMPLES["takeover"](), op("next_turn"))).verdict is H

    def test_without_any_lock_there_is_none_to_leave(self) -> None:
        assert judge("no_lock_left", Story().add(1.0, "harness", "run.end").history()).verdict is U

    def test_a_history_that_stops_early_proves_nothing(self) -> None:
        assert judge("no_lock_left", EXAMPLES["takeover"]()[:25]).verdict is U


class TestRecoveredWithin:
    def test_without_a_bound_nothing_is_promised(self) -> None:
        assert judge("recovered_within", EXAMPLES["takeover"](), replace(FACTS, recovered_within_s=None)).verdict is U

    def test_a_waiter_that_died_or_left_proves_nothing(self) -> None:
        story = Story()
        story.add(0.0, "a", "lock", "ok", path=PATH)
        story.add(1.0, "b", "lock", "invoke", path=PATH)
        story.add(1.0, "c", "lock", "invoke", path=PATH)
        story.add(2.0, "a", "lock.release", path=PATH)
        story.add(2.5, "c", "lock", "fail", path=PATH, kind="cancelled")
        story.add(2.6, "b", "actor.exit", actor="b", code=-9)
        story.add(99.0, "harness", "run.end")

        assert judge("recovered_within", story.history()).verdict is U

    def test_a_waiter_that_fails_on_a_free_lock_was_not_recovered(self) -> None:
        story = Story()
        story.add(0.0, "a", "lock", "ok", path=PATH)
        story.add(1.0, "b", "lock", "invoke", path=PATH)
        story.add(2.0, "a", "actor.exit", actor="a", code=-9)
        story.add(2.5, "b", "lock", "fail", path=PATH, kind="timeout")

        assert judge("recovered_within", story.history()).verdict is V

    def test_a_waiter_that_still_waits_beyond_the_bound_was_not_recovered(self) -> None:
        story = Story()
        story.add(0.0, "a", "lock", "ok", path=PATH)
        story.add(1.0, "b", "lock", "invoke", path=PATH)
        story.add(2.0, "a", "lock.release", path=PATH)
        story.add(9.0, "harness", "run.end")

        assert judge("recovered_within", story.history()).verdict is V
        assert judge("recovered_within", story.history(), replace(FACTS, recovered_within_s=20.0)).verdict is U

    def test_a_lock_with_another_live_holder_is_not_free(self) -> None:
        story = Story()
        story.add(0.0, "a", "lock", "ok", path=PATH)
        story.add(0.5, "thief", "lock", "ok", path=PATH, reclaimed=True)
        story.add(1.0, "b", "lock", "invoke", path=PATH)
        story.add(2.0, "a", "lock.lost", path=PATH)
        story.add(50.0, "thief", "lock.release", path=PATH)
        story.add(51.0, "b", "lock", "ok", path=PATH)

        result = judge("recovered_within", story.history())
        assert (result.verdict, "1.00 s" in result.finding) == (H, True)


class TestTranscriptWhole:
    def test_entries_are_compared_by_id_where_the_reader_gives_them(self) -> None:
        known = changed(EXAMPLES["takeover"](), op("transcript.final"), entry_ids=["e1", "e2", "e3", "e4"])
        assert judge("transcript_whole", known).verdict is H

        lost = changed(known, op("transcript.final"), entry_ids=["e1", "e2", "e4", "x1"])
        result = judge("transcript_whole", lost)
        assert result.verdict is V
        assert find(known, op("append", entry_id="e3")).i in result.witness

    def test_a_message_accepted_into_a_session_without_id_may_stand_anywhere(self) -> None:
        unnamed = changed(EXAMPLES["takeover"](), op("gateway.accepted"), session_id=None)

        assert judge("transcript_whole", unnamed).verdict is H

    def test_each_client_is_asked_for_its_own_message(self) -> None:
        """It is not the main client's that a second client's run was accepted with."""
        history = EXAMPLES["takeover"]()
        caller = find(history, op("client.call", phase="invoke")).actor
        other = replace(FACTS, message="Nobody sent this.")
        for name in ("transcript_whole", "same_conversation"):
            assert run_checks([name], history, other)[0].verdict is V
            theirs = replace(other, messages={caller: FACTS.message})
            assert run_checks([name], history, theirs)[0].verdict is H

    def test_a_message_that_no_model_was_asked_about_may_be_missing(self) -> None:
        accepted = {"run_id": "never-began", "session_id": "elsewhere"}
        waiting = inserted(EXAMPLES["takeover"](), Record(2.0, "gateway", "gateway.accepted", "info", accepted))

        assert judge("transcript_whole", waiting).verdict is H

    def test_a_question_that_was_answered_stands_in_its_transcript_whoever_ran_the_turn(self) -> None:
        """No gateway accepted it: a process of its own answered, and another one wrote its older copy over it."""
        answered = {"answered": True, "reply": "yes", "session_id": SESSION, "exit_code": 0}
        other = replace(FACTS, messages={"other": "And this?"})
        lost = inserted(EXAMPLES["takeover"](), Record(30.0, "other", "client.result", "info", answered))
        result = run_checks(["transcript_whole"], lost, other)[0]
        assert result.verdict is V
        assert result.witness == (
            find(lost, op("client.result", actor="other")).i,
            find(lost, op("transcript.final")).i,
        )

        kept = changed(lost, op("transcript.final"), user_messages=[FACTS.message, "And this?"])
        elsewhere = changed(lost, op("client.result", actor="other"), session_id="not-read")
        unanswered = changed(lost, op("client.result", actor="other"), answered=False)
        for history in (kept, elsewhere, unanswered):
            assert run_checks(["transcript_whole"], history, other)[0].verdict is H


class TestDegradationVisible:
    def test_a_gateway_answer_after_a_deadline_is_no_fallback_of_the_client(self) -> None:
        asked = inserted(EXAMPLES["quiet"](), Record(20.45, "client", "fallback", "info", {"step": "ask"}))

        assert judge("degradation_visible", asked).verdict is H

    @pytest.mark.parametrize(("refused", "verdict"), [(False, H), (True, V), (None, V)])
    def test_a_refusal_is_a_close_of_the_gateway_and_not_of_the_client(
        self, refused: bool | None, verdict: Verdict
    ) -> None:
        said = {} if refused is None else {"refused": refused}
        closed = changed(EXAMPLES["takeover"](), op("client.call", "fail"), kind="closed", code=1008, **said)

        assert judge("degradation_visible", closed).verdict is verdict

    def test_a_client_that_does_not_exit_is_a_violation_once_all_is_over(self) -> None:
        stuck = without(EXAMPLES["takeover"](), op("actor.exit"))
        assert judge("degradation_visible", stuck).verdict is V
        assert judge("degradation_visible", without(stuck, op("run.end"))).verdict is U

    def test_a_client_that_says_nothing_is_a_violation(self) -> None:
        assert judge("degradation_visible", without(EXAMPLES["takeover"](), op("client.result"))).verdict is V

    def test_a_client_that_dies_without_a_word_is_a_violation_before_the_run_is_over(self) -> None:
        silent = without(EXAMPLES["takeover"](), op("client.result"))

        assert judge("degradation_visible", without(silent, op("run.end"))).verdict is V
        assert judge("degradation_visible", without(silent, op("actor.exit"))).verdict is V

    def test_a_fork_must_show_in_the_result_and_in_the_exit_code(self) -> None:
        forked = changed(EXAMPLES["takeover"](), op("fallback", step="continue"), step="fork")
        assert judge("degradation_visible", forked).verdict is V

        said = changed(forked, op("client.result"), duplicate_possible=True)
        assert judge("degradation_visible", said).verdict is V

        shown = changed(said, op("client.result"), exit_code=5)
        assert judge("degradation_visible", shown).verdict is V  # the process ended with 0 all the same
        shown = changed(shown, op("actor.exit"), code=5)
        assert judge("degradation_visible", shown).verdict is H


class TestAmplification:
    def test_the_bound_decides(self) -> None:
        for bound, verdict in ((0.30, V), (0.32, H)):
            result = judge("amplification", EXAMPLES["takeover"](), replace(FACTS, amplification=bound))
            assert result.verdict is verdict, result.finding

    @pytest.mark.parametrize("facts", [replace(FACTS, amplification=None), replace(FACTS, fault_s=0.0)])
    def test_without_a_bound_or_a_fault_nothing_is_promised(self, facts: ScenarioFacts) -> None:
        assert judge("amplification", EXAMPLES["takeover"](), facts).verdict is U

    def test_what_a_continued_turn_builds_on_is_not_wasted(self) -> None:
        continued = judge("amplification", EXAMPLES["takeover"]())
        anew = changed(EXAMPLES["takeover"](), op("turn", "invoke", actor="client"), resumed=False)

        assert "1 provider call wasted" in continued.finding
        assert "2 provider calls" in judge("amplification", anew).finding

    def test_a_foreign_runtime_is_judged_by_what_the_model_server_saw(self) -> None:
        foreign = [r for r in EXAMPLES["takeover"]() if r.op not in ("model.call", "turn")]
        assert "2 provider calls" in judge("amplification", inserted(foreign)).finding

    def test_a_client_that_never_ended_has_lost_all_the_time_there_was(self) -> None:
        silent = without(EXAMPLES["reuse-session"](), op("client.result"))

        assert "95.4 s lost" in judge("amplification", silent).finding

    def test_requests_for_the_users_question_are_counted_and_no_others(self) -> None:
        facts = replace(FACTS, message="LJ-1 Why?", calls=2)
        story = Story()
        asked: list[tuple[float, dict[str, object]]] = [
            (1.0, {"asks": ["LJ-1"]}),
            (2.0, {"asks": ["LJ-1"], "aside": True}),  # a title
            (3.0, {"asks": ["LJ-1"]}),
            (4.0, {"asks": ["LJ-9"]}),  # another question, in the same conversation
        ]
        for n, (t, more) in enumerate(asked):
            story.add(t, "models", "provider.request", "invoke", request_id=str(n), **more)
        result = judge("amplification", story.history(), facts)
        assert (result.verdict, result.finding) == (
            H,
            "the models were asked the user's question 2 time(s); the bound is 2",
        )

        story.add(5.0, "models", "provider.request", "invoke", request_id="5", asks=["LJ-1", "LJ-2"])
        assert judge("amplification", story.history(), facts).verdict is V
        assert judge("amplification", [], facts).verdict is U

    def test_of_several_clients_the_one_that_paid_most_counts(self) -> None:
        def two(paid: str) -> CheckResult:
            """Each asks at 0 s; one has its answer after 20 s and one call, the other none after 60 s and two."""
            story = Story()
            for name in ("client", "other"):
                story.add(0.0, name, "client.call", "invoke", method="agent", run_id=name)
                story.add(0.0, name, "turn", "invoke", turn_id=name, run_id=name, resumed=False)
            for name in ("client", "other", paid):
                story.add(1.0, name, "model.call", "invoke", call_id=str(len(story.history())), run_id=name)
                story.add(
                    1.0, name, "model.call", "fail" if name == paid else "ok", call_id=str(len(story.history()) - 1)
                )
            story.add(
                20.0, "client" if paid == "other" else "other", "client.result", answered=True, transport="embedded"
            )
            story.add(60.0, paid, "client.result", answered=False, transport="embedded")
            return judge("amplification", story.history(), replace(FACTS, answers_s={"p/m": 10.0}, fault_s=10.0))

        assert two("client").finding.startswith("client: 50.0 s lost and 2 provider calls wasted over 10 s")
        assert two("other").finding.startswith("other: 50.0 s lost and 2 provider calls wasted over 10 s")

    def test_a_client_that_only_appeared_has_lost_nothing(self) -> None:
        ready = Story().add(0.0, "client", "actor.ready", role="client").history()

        assert judge("amplification", ready).verdict is U
