"""Where two laws begin and end: a lock is no permission verdict, and an accepted turn ends once."""

from __future__ import annotations

import pytest

from lockjaw.harness.judge.checkers.examples import FOLDER, KEY, PATH
from lockjaw.history import Record
from lockjaw.verdict import CheckResult, Verdict
from tests.harness.told import END, H, Told, U, V, judge, story


class TestLockIsNotAPermissionVerdict:
    """A gateway has a tool call while maintenance holds the list of sessions from 2 s to 20 s."""

    STORE = f"{FOLDER}/sessions.sqlite"
    HELD: Told = (2.0, "maintenance", "database ok", {"path": STORE, "of": "store"})
    FREE: Told = (20.0, "maintenance", "database", {"path": STORE, "of": "store"})

    def tool(self, begins: float, ends: float, **data: object) -> tuple[Told, Told]:
        named = {"run_id": "r", "tool_call_id": "t", "name": "exec"}
        return (begins, "gateway", "tool invoke", named), (ends, "gateway", "tool ok", {**named, **data})

    def judged(self, *told: Told) -> CheckResult:
        return judge("lock_is_not_a_permission_verdict", story(*sorted(told, key=lambda one: one[0])))

    @pytest.mark.parametrize(
        ("begins", "ends", "verdict"),
        [(3.0, 8.0, V), (1.0, 8.0, V), (1.0, 1.5, U), (3.0, 20.0, V), (3.0, 20.1, H), (20.0, 21.0, U)],
    )
    def test_a_refusal_counts_if_the_store_was_held_until_it_came(
        self, begins: float, ends: float, verdict: Verdict
    ) -> None:
        found = self.judged(self.HELD, self.FREE, *self.tool(begins, ends, is_error=True, refused=True))

        assert found.verdict is verdict
        if verdict is V:
            assert len(found.witness) == 2
            assert found.finding == "gateway refused as forbidden what it could not look up: a lock was in the way"

    def test_a_tool_that_fails_or_is_refused_for_another_reason_is_allowed_to(self) -> None:
        failed = self.judged(self.HELD, self.FREE, *self.tool(3.0, 8.0, is_error=True))
        assert (failed.verdict, failed.finding) == (H, "a lock was in the way once, and nothing was forbidden for it")
        assert self.judged(*self.tool(3.0, 8.0, is_error=True, refused=True)).verdict is U

    def test_a_process_that_holds_the_store_itself_is_kept_out_by_no_other(self) -> None:
        held: Told = (2.0, "gateway", "database ok", {"path": self.STORE, "of": "store"})
        assert self.judged(held, *self.tool(3.0, 8.0, is_error=True, refused=True)).verdict is U

    def test_the_lock_of_the_session_list_is_a_store_too(self) -> None:
        listed = {"path": f"{FOLDER}/sessions.json.lock", "owner": "m"}
        held: Told = (2.0, "maintenance", "lock ok", listed)
        free: Told = (20.0, "maintenance", "lock.release", listed)
        refused = self.tool(3.0, 8.0, is_error=True, refused=True)
        assert self.judged(held, free, *refused).verdict is V
        session: Told = (2.0, "maintenance", "lock ok", {"path": PATH + ".lock", "owner": "m"})
        assert self.judged(session, *refused).verdict is U

    @pytest.mark.parametrize(("waiter", "at", "verdict"), [
        ("gateway", 5.0, V), ("gateway", 2.0, H), ("gateway", 9.0, H), ("client", 5.0, H),
    ])  # fmt: skip
    def test_a_wait_in_vain_of_the_process_that_refuses_is_the_cause(
        self, waiter: str, at: float, verdict: Verdict
    ) -> None:
        wait: Told = (at, waiter, "lock fail", {"path": PATH + ".lock", "kind": "timeout"})
        assert self.judged(wait, *self.tool(3.0, 8.0, is_error=True, refused=True)).verdict is verdict

    @pytest.mark.parametrize(("error", "verdict"), [
        ("request denied: session file locked (timeout 10000ms)", V),
        ("403 forbidden: SQLITE_BUSY", V),
        ("not authorized: the database is busy", V),
        ("HTTP 401: database is locked", V),
        ("unauthorized: gateway token mismatch", H),
        ("session file locked (timeout 10000ms): pid=401 /x.lock", H),
        ("the store is locked; 4031 entries", H),
        ("the block was forbidden by the clock", H),
    ])  # fmt: skip
    def test_words_that_name_a_lock_and_a_permission_are_a_verdict(self, error: str, verdict: Verdict) -> None:
        wait: Told = (0.5, "other", "lock fail", {"path": PATH + ".lock", "kind": "timeout"})  # so that H is possible
        for op in ("turn fail", "deliver fail", "client.result"):
            told: Told = (9.0, "client", op, {"error": error, "text": "x"})
            assert self.judged(wait, told).verdict is verdict, op
        assert self.judged(wait, (9.0, "client", "client.stderr", {"line": error})).verdict is verdict

    @pytest.mark.parametrize(("detail", "verdict"), [("session file locked", V), ("HTTP 401", H)])
    def test_a_model_is_given_up_for_its_credentials_only_if_they_were_refused(
        self, detail: str, verdict: Verdict
    ) -> None:
        step: Told = (9.0, "client", "model.decision", {"decision": "candidate_failed", "reason": "auth"})
        told: Told = (*step[:3], {**step[3], "detail": detail})
        assert self.judged(self.HELD, self.FREE, *self.tool(3.0, 4.0), told).verdict is verdict

    def test_a_client_that_is_refused_while_the_store_is_held_is_one(self) -> None:
        call = {"method": "agent", "run_id": "r"}
        asks: Told = (3.0, "client", "client.call invoke", call)
        refused: Told = (9.0, "client", "client.call fail", {**call, "error": "unauthorized", "kind": "rejected"})
        assert self.judged(self.HELD, self.FREE, asks, refused).verdict is V
        assert self.judged(self.HELD, self.FREE, asks, (25.0, *refused[1:])).verdict is H


class TestAcceptedTurnsEndOnce:
    CALL: Told = (0.0, "client", "client.call invoke", {"method": "agent", "run_id": "r", "session_key": KEY})
    ACCEPTED: Told = (1.0, "gateway", "gateway.accepted", {"run_id": "r", "session_key": KEY})
    LATE: Told = (90.0, "client", "client.call fail", {"method": "agent", "run_id": "r", "kind": "timeout"})

    def run(self, actor: str, run_id: str, begins: float, ends: float, stop: str = "stop", **calls: str) -> list[Told]:
        """An execution that asked a model, and ended in an answer."""
        turn, call = {"turn_id": "r", "run_id": run_id}, {"call_id": f"c {actor} {begins}", "run_id": run_id}
        asked = calls.get("asked", "ok")
        model: list[Told] = [] if asked == "never" else [
            (begins, actor, "model.call invoke", call), (ends, actor, f"model.call {asked}", call)
        ]  # fmt: skip
        return [(begins, actor, "turn invoke", turn), *model, (ends, actor, "turn ok", {**turn, "stop_reason": stop})]

    def told(self, t: float, **data: object) -> Told:
        return t, "client", "client.result", {"answered": False, "error": None, "exit_code": 0, **data}

    def history(self, *told: Told | list[Told], end: bool = True) -> list[Record]:
        flat: list[Told] = [self.CALL, self.ACCEPTED]
        for one in told:
            flat += one if isinstance(one, list) else [one]
        return story(*sorted(flat, key=lambda one: one[0]), *([END] if end else []))

    def judged(self, *told: Told | list[Told], end: bool = True) -> CheckResult:
        return judge("accepted_turns_end_once", self.history(*told, end=end))

    def test_two_answers_to_one_turn_are_one_too_many_whichever_came_first(self) -> None:
        for first, second in ((95.0, 99.0), (99.0, 95.0)):
            found = self.judged(
                self.LATE, self.run("gateway", "r", 2.0, first), self.run("client", "r2", 91.0, second),
                self.told(max(first, second), answered=True),
            )  # fmt: skip
            assert found.verdict is V
            assert "one accepted turn was answered twice: by" in found.finding
            assert "4.0 s later" in found.finding
            assert found.witness == tuple(sorted(found.witness))

    @pytest.mark.parametrize(
        ("stop", "asked"), [("aborted", "ok"), ("error", "ok"), ("stop", "fail"), ("stop", "never")]
    )
    def test_an_execution_that_ends_without_an_answer_of_its_own_is_none(self, stop: str, asked: str) -> None:
        """It was aborted, or found the answer of the other one in the transcript."""
        found = self.judged(
            self.LATE, self.run("gateway", "r", 2.0, 95.0), self.run("client", "r2", 96.0, 97.0, stop, asked=asked),
            self.told(98.0, answered=True),
        )  # fmt: skip
        assert (found.verdict, found.finding) == (H, "the accepted turn ended once")

    def test_a_failure_that_was_reported_is_no_answer_later(self) -> None:
        reported = self.told(91.0, error="gateway timeout after 90000ms", exit_code=1)
        assert self.judged(self.LATE, reported).verdict is H
        found = self.judged(self.LATE, reported, self.run("gateway", "r", 2.0, 98.0))
        assert (found.verdict, len(found.witness)) == (V, 2)
        assert found.finding == "client told its user of a failure, and gateway answered the turn all the same"
        killed: Told = (89.0, "harness", "nemesis", {"action": "kill", "target": "client"})
        assert self.judged(killed, reported, self.run("gateway", "r", 2.0, 98.0)).verdict is not V

    @pytest.mark.parametrize(("data", "verdict"), [
        ({}, V), ({"error": "closed"}, H), ({"exit_code": 1}, H), ({"answered": True}, H),
    ])  # fmt: skip
    def test_a_client_that_says_nothing_has_lost_the_turn(self, data: dict[str, object], verdict: Verdict) -> None:
        found = self.judged(self.LATE, self.told(91.0, **data))
        assert found.verdict is verdict
        if verdict is V:
            assert found.finding == "client was told nothing of a turn that was accepted and not answered"
            assert found.witness == (1,)

    def test_a_turn_is_lost_only_when_all_is_over(self) -> None:
        assert self.judged(self.LATE).verdict is V
        assert self.judged(self.LATE, end=False).verdict is U
        final: Told = (60.0, "gateway", "gateway.final", {"run_id": "r", "status": "error"})
        assert self.judged(final, self.LATE, end=False).verdict is U

    def test_a_client_that_a_fault_ended_waits_for_no_end(self) -> None:
        killed: Told = (50.0, "harness", "nemesis", {"action": "kill", "target": "client"})
        found = self.judged(killed)
        assert (found.verdict, found.finding) == (
            U, "a fault ended the client of an accepted turn, and no process said how the turn ended"
        )  # fmt: skip
        struck: Told = (40.0, "harness", "nemesis", {"action": "pause", "target": "gateway"})
        final: Told = (60.0, "gateway", "gateway.final", {"run_id": "r", "status": "error"})
        assert self.judged(struck, killed, final).verdict is H
        assert self.judged(struck, killed, (60.0, "gateway", "gateway.final", {"run_id": "q"})).verdict is U
        failed: Told = (3.0, "gateway", "turn invoke", {"turn_id": "r", "run_id": "r"})
        assert self.judged(struck, killed, failed).verdict is U
        assert self.judged(struck, killed, failed, (60.0, "gateway", "turn fail", failed[3])).verdict is H
        died: Told = (60.0, "harness", "nemesis", {"action": "kill", "target": "gateway"})
        assert self.judged(killed, failed, died).verdict is U

    def test_a_turn_for_which_nothing_went_wrong_proves_nothing(self) -> None:
        fine = [*self.run("gateway", "r", 2.0, 9.0), self.told(9.0, answered=True)]
        assert self.judged(fine).verdict is U
        for actor, verdict in (("gateway", H), ("model", U)):
            paused: Told = (5.0, "harness", "nemesis", {"action": "pause", "target": actor})
            assert self.judged(paused, fine).verdict is verdict
        died: Told = (5.0, "harness", "actor.exit", {"actor": "gateway", "role": "gateway", "code": -9})
        taken = [*self.run("client", "r2", 6.0, 9.0), self.told(9.0, answered=True)]
        assert self.judged(died, taken).verdict is H
        late: Told = (10.0, "harness", "nemesis", {"action": "kill", "target": "gateway"})
        assert self.judged(fine, late).verdict is U

    def test_runtimes_that_do_not_show_what_they_accept_are_not_judged(self) -> None:
        found = judge("accepted_turns_end_once", story(self.CALL, self.LATE, self.told(91.0), END))
        assert (found.verdict, found.finding) == (U, "no accepted turn was seen")
