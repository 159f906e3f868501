"""Where the laws of answers and claims begin and end: on the limit, one beside it, and what a finding counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lockjaw.harness.judge.checkers import ScenarioFacts
from lockjaw.harness.judge.checkers.examples import PATH, SESSION
from lockjaw.history import Record
from lockjaw.verdict import CheckResult, Verdict
from tests.harness.told import END, H, Told, U, V, asks, judge, result, story


class TestAllDelivered:
    @pytest.mark.parametrize(("count", "tail"), [(2, "'r0', 'r1'"), (3, "'r0', 'r1', 'r2'"), (5, "'r2' and 2 more")])
    def test_three_lost_results_are_named_and_the_rest_counted(self, count: int, tail: str) -> None:
        found = judge("all_delivered", story(*((1.0, "a", "deliver invoke", {"text": f"r{n}"}) for n in range(count))))

        assert (found.verdict, found.witness) == (V, tuple(range(count)))
        assert found.finding.startswith(f"{count} of {count} results never reached the conversation: 'r0'")
        assert found.finding.endswith(tail)

    def test_a_result_that_was_given_up_is_shown_from_its_beginning_to_its_end(self) -> None:
        found = judge("all_delivered", story(
            (1.0, "a", "deliver invoke", {"text": "r"}), (2.0, "b", "deliver invoke", {"text": "s"}),
            (3.0, "b", "deliver ok", {"text": "s"}), (4.0, "a", "deliver fail", {"text": "r"}),
        ))  # fmt: skip

        assert (found.verdict, found.witness) == (V, (0, 3))
        assert found.finding == "1 of 2 results never reached the conversation: 'r'"

    @pytest.mark.parametrize(
        ("leads", "verdict"), [([], H), ([SESSION], H), (["other"], V), (["nowhere"], H), (["other", SESSION], H)]
    )
    def test_a_result_counts_only_where_a_key_leads(self, leads: list[str], verdict: Verdict) -> None:
        """If no transcript of such a session was read, nothing says that it is lost."""
        found = judge("all_delivered", story(
            (1.0, "a", "deliver invoke", {"text": "r"}), (2.0, "a", "deliver ok", {"text": "r", "entry_id": "d1"}),
            *((3.0, "harness", "session.final", {"key": one, "session_id": one}) for one in leads),
            (3.0, "harness", "transcript.final", {"session_id": SESSION, "entry_ids": ["d1"]}),
            (3.0, "harness", "transcript.final", {"session_id": "other", "entry_ids": ["d2"]}),
            (3.0, "harness", "transcript.final", {"session_id": "bare"}),
        ))  # fmt: skip

        assert (found.verdict, found.witness) == (verdict, (0, 1) if verdict is V else ())


class TestAmplification:
    @pytest.mark.parametrize(
        ("lost_s", "bound", "fault_s", "verdict"),
        [(10.0, 1.0, 10.0, H), (10.1, 1.0, 10.0, V), (10.0, 0.9, 10.0, V), (0.4, 1.0, 0.5, H), (0.6, 1.0, 0.5, V),
         (10.0, 0.0, -1.0, U)],
    )  # fmt: skip
    def test_the_bound_itself_is_allowed(self, lost_s: float, bound: float, fault_s: float, verdict: Verdict) -> None:
        facts = ScenarioFacts(amplification=bound, fault_s=fault_s)

        assert judge("amplification", story(asks(5.0), result(5.0 + lost_s)), facts).verdict is verdict

    @pytest.mark.parametrize(("first_s", "lost"), [(None, "8.0"), (3.0, "5.0"), (8.0, "0.0"), (9.0, "0.0")])
    def test_only_time_beyond_the_first_possible_answer_is_lost(self, first_s: float | None, lost: str) -> None:
        facts = ScenarioFacts(amplification=1.0, fault_s=10.0, answers_s={"m": first_s})

        assert judge("amplification", story(asks(1.0), result(9.0)), facts).finding.startswith(f"{lost} s lost and 0 ")

    def test_what_the_server_saw_of_a_client_without_answer_is_all_wasted(self) -> None:
        def seen(answered: bool) -> CheckResult:
            facts = ScenarioFacts(amplification=0.0, fault_s=1.0)
            return judge("amplification", story(
                asks(0.0),
                (1.0, "models", "provider.request invoke", {"request_id": "1"}),
                (2.0, "models", "provider.request ok", {"request_id": "1"}),
                (3.0, "models", "provider.request invoke", {"request_id": "2"}),
                (4.0, "models", "provider.request ok", {"request_id": "2"}),
                (5.0, "models", "provider.request invoke", {"request_id": "3"}),
                (6.0, "models", "provider.request fail", {"request_id": "3"}),
                result(7.0, answered=answered),
            ), facts)  # fmt: skip

        assert seen(True).witness == (1, 5, 7)
        assert "7.0 s lost and 2 provider calls wasted over 1 s of fault: 9.00; the bound is 0" in seen(True).finding
        assert seen(False).witness == (1, 3, 5, 7)

    def test_the_one_good_request_of_an_answered_client_is_not_wasted(self) -> None:
        found = judge("amplification", story(
            asks(0.0),
            (1.0, "models", "provider.request invoke", {"request_id": "1"}),
            (2.0, "models", "provider.request ok", {"request_id": "1"}),
            result(7.0),
        ), ScenarioFacts(amplification=0.0, fault_s=1.0))  # fmt: skip

        assert found.witness == (3,)

    @pytest.mark.parametrize("what", ["append", "zz", "client.call invoke"])
    @pytest.mark.parametrize("actor", ["a", "client", "z"])
    def test_the_calls_for_another_clients_question_are_not_this_ones(self, what: str, actor: str) -> None:
        told: list[Told] = [asks(0.0), (0.0, actor, what, {"run_id": "r1"})]
        told += [
            (1.0, "gateway", "turn invoke", {"turn_id": "t", "run_id": "r1"}),
            (1.0, "gateway", "model.call invoke", {"call_id": "1", "run_id": "r1"}),
            (2.0, "gateway", "model.call fail", {"call_id": "1"}),
            result(9.0, answered=False),
        ]
        found = judge("amplification", story(*told), ScenarioFacts(amplification=0.0, fault_s=1.0))

        asked = what == "client.call invoke"
        assert found.witness == ((3, 5) if asked else (5,))
        if asked and actor != "client":
            assert found.finding.startswith(f"{actor}: ")

    def test_what_a_client_ran_itself_is_its_own_even_if_its_call_names_no_run(self) -> None:
        found = judge("amplification", story(
            (0.0, "client", "client.call invoke", {"method": "agent"}),
            (1.0, "client", "turn invoke", {"turn_id": "t", "run_id": "r1"}),
            (1.0, "client", "model.call invoke", {"call_id": "1", "run_id": "r1"}),
            (2.0, "client", "model.call fail", {"call_id": "1"}),
            result(9.0, answered=False),
        ), ScenarioFacts(amplification=0.0, fault_s=1.0))  # fmt: skip

        assert found.witness == (2, 4)

    def test_only_what_stood_there_when_the_answering_execution_began_was_built_on(self) -> None:
        def wasted(*, resumed: bool, earlier: bool) -> int:
            began = (5.0, "client", "turn invoke", {"turn_id": "t", "run_id": "r2", "resumed": resumed})
            history = story(
                asks(0.0, run_id="r1"),
                (0.0, "gateway", "turn invoke", {"turn_id": "t", "run_id": "r1"}),
                *(() if earlier else (began,)),
                (6.0, "gateway", "model.call invoke", {"call_id": "1", "run_id": "r1"}),
                (7.0, "gateway", "model.call ok", {"call_id": "1"}),
                *((7.0, *began[1:]),) * earlier,
                (8.0, "client", "model.call invoke", {"call_id": "2", "run_id": "r2"}),
                (9.0, "client", "model.call ok", {"call_id": "2"}),
                result(9.0, transport="embedded"),
            )
            found = judge("amplification", history, ScenarioFacts(amplification=0.0, fault_s=1.0))
            return len(found.witness) - 1

        assert wasted(resumed=True, earlier=True) == 0
        assert wasted(resumed=True, earlier=False) == 1
        assert wasted(resumed=False, earlier=True) == 1

    def test_the_answer_of_the_gateway_makes_the_clients_own_execution_wasted(self) -> None:
        def wasted(transport: str) -> tuple[int, ...]:
            calls: list[Told] = []
            for n, actor in enumerate(("gateway", "client")):
                calls += [
                    (1.0 + n, actor, "turn invoke", {"turn_id": "t", "run_id": f"r{n}"}),
                    (1.0 + n, actor, "model.call invoke", {"call_id": str(n), "run_id": f"r{n}"}),
                    (1.5 + n, actor, "model.call ok", {"call_id": str(n)}),
                ]
            history = story(asks(0.0, run_id="r0"), *calls, result(9.0, transport=transport))
            return judge("amplification", history, ScenarioFacts(amplification=0.0, fault_s=1.0)).witness

        assert wasted("gateway") == (5, 7)
        assert wasted("embedded") == (2, 7)

    def test_a_request_that_does_not_say_what_it_asks_counts_and_one_that_asks_nothing_does_not(self) -> None:
        history = story(
            (1.0, "models", "provider.request invoke", {"request_id": "1"}),
            (2.0, "models", "provider.request invoke", {"request_id": "2", "asks": []}),
        )
        found = judge("amplification", history, ScenarioFacts(message="LJ-1", calls=0))

        assert (found.verdict, found.witness) == (V, (0,))


class TestAnswered:
    FACTS = ScenarioFacts(budget_s=10.0, answers_s={"m": 10.0})

    @pytest.mark.parametrize(("after_s", "held_up_s", "verdict"), [
        (10.0, 0.0, H), (10.25, 0.0, V), (10.25, 0.25, H), (10.5, 0.25, V),
    ])  # fmt: skip
    def test_the_budget_itself_is_in_time(self, after_s: float, held_up_s: float, verdict: Verdict) -> None:
        held = (3.0, "harness", "held_up", {"target": "gateway", "for_s": held_up_s})

        assert judge("answered", story(asks(2.0), held, result(2.0 + after_s)), self.FACTS).verdict is verdict

    @pytest.mark.parametrize(("possible_s", "verdict"), [(10.0, V), (10.1, U), (None, U), (0.0, V)])
    def test_an_answer_at_the_end_of_the_budget_was_possible(self, possible_s: float | None, verdict: Verdict) -> None:
        facts = replace(self.FACTS, answers_s={"m": None, "n": possible_s})

        assert judge("answered", story(asks(0.0), result(1.0, answered=False)), facts).verdict is verdict
        assert judge("answered", story(asks(0.0), result(99.0)), facts).verdict is verdict

    def test_without_a_budget_no_answer_is_late(self) -> None:
        facts = ScenarioFacts(answers_s={"m": 5.0})
        assert judge("answered", story(asks(0.0), result(9999.0)), facts).verdict is H
        assert judge("answered", story(asks(0.0), result(9999.0, answered=False)), facts).verdict is V

    def test_of_two_results_the_last_counts(self) -> None:
        first = result(1.0, answered=False)
        assert judge("answered", story(asks(0.0), first, result(2.0)), self.FACTS).verdict is H
        found = judge("answered", story(asks(0.0), result(1.0), result(2.0, answered=False)), self.FACTS)
        assert (found.verdict, found.witness) == (V, (2,))

    @pytest.mark.parametrize(
        ("count", "more"), [(1, ""), (3, ""), (4, "; and 1 more clients alike"), (6, "; and 3 more clients alike")]
    )
    def test_three_clients_are_named_and_the_rest_counted(self, count: int, more: str) -> None:
        users = [f"user-{n}" for n in range(count)]
        history = story(*(asks(0.0, one) for one in users), *(result(1.0, one, answered=False) for one in users))
        found = judge("answered", history, self.FACTS)

        named = [one if count > 1 else "the user" for one in users[:3]]
        could = "got no answer although a model could have answered after 10 s"
        assert found.finding == "; ".join(f"{one} {could}" for one in named) + more
        assert found.witness == tuple(range(count, 2 * count))

    @pytest.mark.parametrize("late", [True, False])
    def test_findings_name_the_client_where_there_are_two(self, late: bool) -> None:
        def words(*others: Told) -> str:
            told = [asks(0.0), *([result(11.0)] if late else [(9.0, "client", "actor.exit", {"role": "client"})])]
            return judge("answered", story(*sorted([*others, *told], key=lambda one: one[0]), END), self.FACTS).finding

        two = words(asks(0.0, "z"), result(1.0, "z"))
        if late:
            assert words() == "the answer came after 11.0 s; the budget was 10 s"
            assert two == "the answer to client came after 11.0 s; the budget was 10 s"
        else:
            ends = "ended without telling the user anything, although a model could have answered after 10 s"
            assert (words(), two) == (f"the client {ends}", f"client {ends}")

    def test_the_end_of_the_client_is_shown_before_the_end_of_the_run(self) -> None:
        gone = (9.0, "client", "actor.exit", {"role": "client"})

        assert judge("answered", story(asks(0.0), gone, END), self.FACTS).witness == (1,)
        assert judge("answered", story(asks(0.0), (9.0, "x", "actor.exit", {}), END), self.FACTS).witness == (2,)


class TestClaimsEnd:
    CLAIM: Told = (1.0, "gateway", "claim ok", {"path": PATH, "run_id": "r1", "owner": "r1"})
    REFUSED: Told = (5.0, "client", "claim fail", {"path": PATH, "run_id": "r2", "owner": "r1"})

    def ended(self, phase: str, run_id: str = "r1", t: float = 2.0) -> Told:
        return t, "gateway", f"turn {phase}", {"turn_id": "t", "run_id": run_id}

    @pytest.mark.parametrize("phase", ["ok", "fail"])
    def test_a_claim_that_outlives_its_run_refuses_nobody(self, phase: str) -> None:
        found = judge("claims_end", story(self.CLAIM, self.ended(phase), self.ended(phase, t=3.0), self.REFUSED))

        assert (found.verdict, found.witness) == (V, (1, 3))
        assert found.finding == "client was refused for the claim of a run that had ended 3.0 s before"

    @pytest.mark.parametrize("history", [
        story(CLAIM, (2.0, "gateway", "turn invoke", {"run_id": "r1"}), REFUSED),
        story(CLAIM, (2.0, "gateway", "turn ok", {"run_id": "r0"}), REFUSED),
        story(CLAIM, (2.0, "gateway", "turn ok", {"run_id": "r3"}), REFUSED),
        story(CLAIM, REFUSED, (6.0, "gateway", "turn ok", {"run_id": "r1"})),
        story((0.0, "gateway", "actor.exit", {}), CLAIM, REFUSED),
        story((0.0, "gateway", "turn fail", {"run_id": "r1"}), CLAIM, REFUSED),
        story(CLAIM, (2.0, "gateway", "turn ok", {"run_id": "r1"}), (5.0, "client", "claim", REFUSED[3])),
        story(CLAIM, (2.0, "gateway", "turn ok", {"run_id": "r1"}), (*REFUSED[:3], {**REFUSED[3], "path": "other"})),
        story(CLAIM, (2.0, "gateway", "turn ok", {"run_id": "r1"}), (*REFUSED[:3], {**REFUSED[3], "owner": "r3"})),
        story(CLAIM, (2.0, "gateway", "turn ok", {"run_id": "r1"}), (*REFUSED[:3], {"path": PATH, "from": "r1"})),
        story((*CLAIM[:2], "claim fail", CLAIM[3]), (2.0, "gateway", "turn ok", {"run_id": "r1"}), REFUSED),
        story((*CLAIM[:2], "claim", CLAIM[3]), (2.0, "gateway", "turn ok", {"run_id": "r1"}), REFUSED),
        story((*CLAIM[:2], "claim invoke", CLAIM[3]), (2.0, "gateway", "turn ok", {"run_id": "r1"}), REFUSED),
    ])  # fmt: skip
    def test_a_claim_of_a_run_that_had_not_ended_may_refuse(self, history: list[Record]) -> None:
        assert judge("claims_end", history).verdict is U

    def test_claims_that_were_taken_over_are_counted(self) -> None:
        taken = {"path": PATH, "run_id": "r2", "owner": "r2", "from": "r1"}
        found = judge("claims_end", story(
            self.CLAIM, self.ended("ok"), (3.0, "client", "claim ok", taken),
            (4.0, "client", "turn ok", {"run_id": "r2"}),
            (5.0, "again", "claim ok", taken | {"run_id": "r3", "from": "r2"}),
        ))  # fmt: skip

        assert (found.verdict, found.finding) == (H, "2 claims of runs that had ended were taken over")


class TestDegradationVisible:
    def ended(self, *told: Told, code: int | None = 0, **data: Any) -> CheckResult:
        return judge("degradation_visible", story(
            asks(0.0), *told, result(50.0, **{"exit_code": 0, "transport": "gateway", **data}),
            (51.0, "client", "actor.exit", {"role": "client", "code": code}), END,
        ))  # fmt: skip

    @pytest.mark.parametrize(
        ("code", "verdict"), [(1001, H), (1002, V), (1003, H), (1006, H), (1007, H), (1008, V), (1009, H)]
    )
    def test_two_close_codes_are_refusals(self, code: int, verdict: Verdict) -> None:
        found = self.ended((1.0, "client", "client.call fail", {"method": "agent", "kind": "closed", "code": code}))

        assert found.verdict is verdict
        assert found.witness == ((1, 2, 3) if verdict is V else ())

    @pytest.mark.parametrize(
        ("actor", "what"),
        [
            ("other", "client.call fail"),
            ("client", "client.call info"),
            ("zz", "client.call fail"),
            ("client", "tool fail"),
        ],
    )
    def test_a_refusal_is_a_failed_call_of_the_client_itself(self, actor: str, what: str) -> None:
        told = story(
            asks(0.0), (1.0, actor, what, {"code": 1008}),
            (1.0, actor, "client.result", {"exit_code": 2, "answered": False}),
            (2.0, actor, "actor.exit", {"code": 2}), result(50.0, exit_code=0),
            (51.0, "client", "actor.exit", {"code": 0}),
        )  # fmt: skip
        assert judge("degradation_visible", told).verdict is not V

    @pytest.mark.parametrize(("promised", "code", "verdict"), [
        (0, 0, U), (0, 1, V), (1, 0, V), (2, 1, V), (None, 0, U), (0, None, U), (None, None, U), (1, 1, U), (-9, -9, U),
    ])  # fmt: skip
    def test_the_exit_code_is_the_one_that_the_result_promised(
        self, promised: int | None, code: int | None, verdict: Verdict
    ) -> None:
        assert self.ended(code=code, exit_code=promised).verdict is verdict

    @pytest.mark.parametrize(("data", "verdict"), [
        ({"answered": False}, V), ({"error": "x"}, V),
        ({"reply": "Request timed out before a response was generated"}, V),
        ({"duplicate_possible": True}, V), ({"duplicate_possible": True, "answered": False}, V),
    ])  # fmt: skip
    @pytest.mark.parametrize("code", [-1, 0, 1])
    def test_what_is_not_a_plain_answer_ends_with_another_code_than_0(
        self, data: dict[str, Any], verdict: Verdict, code: int
    ) -> None:
        assert self.ended(exit_code=code, code=code, **data).verdict is (verdict if code == 0 else self.shown(data))

    def shown(self, data: dict[str, Any]) -> Verdict:
        return H if data.get("answered") is False else U

    def test_a_code_that_only_the_result_tells_counts_too(self) -> None:
        assert self.ended(code=None, exit_code=0, answered=False).verdict is V
        assert self.ended(code=None, exit_code=3, answered=False).finding.startswith("exit code 3 and")

    def test_the_first_fork_is_shown_and_another_clients_fork_is_not_its_own(self) -> None:
        forks = [(t, "client", "fallback", {"step": "fork"}) for t in (1.0, 2.0)]
        assert self.ended(*forks, code=5, exit_code=5).witness == (1, 3)
        for actor in ("a", "z"):
            foreign = [
                (1.0, actor, "fallback", {"step": "fork"}),
                (1.0, actor, "client.result", {"exit_code": 5, "answered": True, "duplicate_possible": True}),
                (1.0, actor, "actor.exit", {"code": 5}),
            ]
            assert self.ended(*foreign).verdict is not V
        assert self.ended((1.0, "client", "fallback", {"step": "ask"})).verdict is H
        for kind in ("a.note", "z.note"):
            assert self.ended((1.0, "client", kind, {"step": "fork"})).verdict is U

    @pytest.mark.parametrize(("phase", "data", "verdict"), [
        ("ok", {}, V), ("fail", {}, H), ("ok", {"transport": "embedded"}, H), ("ok", {"degraded": True}, H),
        ("ok", {"transport": "a"}, V), ("ok", {"transport": "z"}, V),
    ])  # fmt: skip
    def test_an_answer_of_the_clients_own_execution_says_so(
        self, phase: str, data: dict[str, Any], verdict: Verdict
    ) -> None:
        ran: list[Told] = [(2.0, "client", "fallback", {"step": "continue"})]
        for n in (1, 2):
            ran += [
                (2.0 + n, "client", "turn invoke", {"turn_id": f"t{n}", "run_id": f"r{n}"}),
                (2.0 + n, "client", f"turn {phase}", {"turn_id": f"t{n}", "run_id": f"r{n}"}),
            ]
        found = self.ended(*ran, **data)

        assert (found.verdict, found.witness) == (verdict, (4, 6) if verdict is V else ())

    def test_the_process_ends_and_its_last_end_counts(self) -> None:
        gone: Told = (2.0, "client", "actor.exit", {"role": "client", "code": 7})
        assert self.ended(gone).verdict is U
        silent = story(asks(0.0), gone, (3.0, "client", "actor.exit", {"role": "client", "code": 0}), END)
        assert judge("degradation_visible", silent).witness == (2,)
        unfinished = story(asks(0.0), result(1.0), (98.0, "harness", "run.end", {}), END)
        assert judge("degradation_visible", unfinished).witness == (1, 3)
        assert judge("degradation_visible", story(asks(0.0), END)).witness == (1,)
        assert judge("degradation_visible", story(asks(0.0), result(1.0))).verdict is U

    def test_the_last_result_counts(self) -> None:
        assert self.ended((1.0, "client", "client.result", {"answered": True, "exit_code": 4})).verdict is U
        assert (
            self.ended((1.0, "client", "client.result", {"answered": True, "exit_code": 0}), exit_code=4).verdict is V
        )

    def test_of_two_clients_the_one_that_hides_something_is_named(self) -> None:
        def two(bad: str) -> str:
            told = [asks(0.0, "a"), asks(0.0, "b")]
            told += [result(1.0, one, exit_code=0, answered=one != bad) for one in ("a", "b")]
            told += [(2.0, one, "actor.exit", {"role": "client", "code": 0}) for one in ("a", "b")]
            return judge("degradation_visible", story(*told)).finding

        assert [two(bad) for bad in "ab"] == [f"{bad}: the user got no answer, and the exit code is 0" for bad in "ab"]
