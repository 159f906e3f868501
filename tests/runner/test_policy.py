"""The fallback policies, driven by lists of answers: no socket, file or clock."""

from __future__ import annotations

from typing import Any

import pytest

from lockjaw.behaviours import BEHAVIOURS, POLICIES
from lockjaw.errors import ConnectionLost, LockjawError, RequestRejected, RequestTimedOut
from lockjaw.runner.policy import (
    POLICY_FUNCTIONS,
    Answer,
    Ask,
    Effect,
    Fence,
    GatewayFailure,
    LockReply,
    Look,
    RunEmbedded,
    RunState,
    Say,
    Step,
    Stop,
    StopReply,
    TakeLock,
)

RUN = "run-1"
RESULT = {"payloads": [{"text": "done"}], "meta": {}}
TIMEOUT = RequestTimedOut(90_000, details="Gateway target: ws://127.0.0.1:18999", run_id=RUN)
LOST = ConnectionLost(1006)
REFUSED_TCP = ConnectionLost(1006, definite=True)
RESTART = ConnectionLost(1012, "service restart")
UNAUTHORIZED = ConnectionLost(1008, "unauthorized: gateway token mismatch", definite=True, refused=True)
STOOD_STILL = ConnectionLost(1008, "connect challenge timeout", definite=True)  # the client's own close
TOO_SLOW = ConnectionLost(1008, "slow consumer", run_id=RUN)  # the gateway's, long after it took the run on
REJECTED = RequestRejected("UNAVAILABLE", "FallbackSummaryError: All models failed (3): ...")
LATE = RequestRejected("UNAVAILABLE", "FallbackSummaryError: All models failed (1): a/b: timed out (timeout)")


Script = dict[type, Any]


def drive(
    policy: str, error: LockjawError, answers: Script, *, late: bool = False
) -> tuple[list[Effect], Answer | LockjawError]:
    """Run a policy against answers by effect type; an answer that is an exception is thrown, a list is consumed."""
    generator = POLICY_FUNCTIONS[policy](GatewayFailure(error, RUN, late), BEHAVIOURS[policy], lambda: "new-id")
    seen: list[Effect] = []
    try:
        effect = next(generator)
        while True:
            seen.append(effect)
            answer = answers.get(type(effect), LockReply(False) if isinstance(effect, Look) else None)
            if isinstance(answer, list):
                answer = answer.pop(0)
            effect = generator.throw(answer) if isinstance(answer, LockjawError) else generator.send(answer)
    except StopIteration as stop:
        return seen, stop.value
    except LockjawError as raised:
        return seen, raised


def steps(effects: list[Effect]) -> list[str]:
    return [effect.step for effect in effects if isinstance(effect, Step)]


def said(effects: list[Effect]) -> str:
    return "\n".join(effect.text for effect in effects if isinstance(effect, Say))


def only(effects: list[Effect], kind: type) -> Any:
    (found,) = [effect for effect in effects if isinstance(effect, kind)]
    return found


RUNNING: Script = {
    Ask: RunState("running"),
    Stop: StopReply(confirmed=True, reachable=True),
    TakeLock: LockReply(True),
    RunEmbedded: RESULT,
}


class TestTakeover:
    def test_timeout_with_a_run_that_stops_continues_in_the_same_session_under_the_lock(self) -> None:
        effects, answer = drive("takeover", TIMEOUT, RUNNING)
        assert isinstance(answer, Answer)
        assert steps(effects) == ["ask", "stop", "wait", "continue"]
        assert only(effects, RunEmbedded) == RunEmbedded("same", resume=True, locked=True)
        assert not answer.duplicate_possible
        assert answer.marks["fallbackReason"] == "gateway_timeout"

    def test_nothing_runs_before_the_lock_is_ours(self) -> None:
        effects, _ = drive("takeover", TIMEOUT, RUNNING)
        kinds = [type(effect) for effect in effects]
        assert kinds.index(Ask) < kinds.index(Stop) < kinds.index(TakeLock) < kinds.index(RunEmbedded)

    @pytest.mark.parametrize("error", [TIMEOUT, LOST, RESTART])
    def test_finished_run_is_the_answer_and_nothing_runs_again(self, error: LockjawError) -> None:
        late = {"runId": RUN, "status": "ok", "result": RESULT}
        effects, answer = drive("takeover", error, {Ask: RunState("finished", late)})
        assert isinstance(answer, Answer)
        assert answer.result is late
        assert answer.transport == "gateway"
        assert not any(isinstance(effect, RunEmbedded | Stop | TakeLock) for effect in effects)

    @pytest.mark.parametrize("failure", [TIMEOUT, LOST, LATE])
    @pytest.mark.parametrize(
        "error",
        [
            "FallbackSummaryError: All models failed (2): a/b: LLM request timed out. (timeout) | a/c: 401 no (auth)",
            "FailoverError: LLM request timed out.",
            "session file locked (timeout 60000ms): pid=7 /s.jsonl.lock",
            "Error: /s.jsonl: generation 1 was superseded by 2; this run may no longer write",
        ],
    )
    def test_a_run_that_failed_for_want_of_time_is_gone_on_with(self, error: str, failure: Any) -> None:
        answers = {**RUNNING, Ask: RunState("failed", error=error)}
        seen, answer = drive("takeover", failure, answers, late=failure is LATE)
        assert isinstance(answer, Answer)
        assert steps(seen) == ["ask", "wait", "continue"]  # it has ended: there is nothing to stop
        assert only(seen, RunEmbedded) == RunEmbedded("same", resume=True, locked=True)
        assert "the gateway's run has failed meanwhile" in said(seen)

    @pytest.mark.parametrize("error", ["401 invalid api key", "aborted", "DiskFull: no space", "402 payment required"])
    def test_a_run_that_failed_for_good_is_not(self, error: str) -> None:
        seen, raised = drive("takeover", TIMEOUT, {**RUNNING, Ask: RunState("failed", error=error)})
        assert isinstance(raised, RequestRejected)
        assert steps(seen) == ["ask", "give_up"]

    def test_failed_run_is_an_error_and_nothing_runs_again(self) -> None:
        effects, error = drive("takeover", TIMEOUT, {Ask: RunState("failed", error="All models failed")})
        assert isinstance(error, RequestRejected)
        assert "All models failed" in str(error)
        assert steps(effects)[-1] == "give_up"

    def test_unreachable_gateway_is_not_asked_to_stop(self) -> None:
        effects, answer = drive("takeover", LOST, RUNNING | {Ask: RunState("unreachable")})
        assert isinstance(answer, Answer)
        assert steps(effects) == ["ask", "wait", "continue"]
        assert answer.marks["fallbackReason"] == "gateway_lost"

    def test_gateway_that_never_saw_the_request_is_not_asked(self) -> None:
        effects, answer = drive("takeover", REFUSED_TCP, RUNNING)
        assert isinstance(answer, Answer)
        assert steps(effects) == ["wait", "continue"]
        assert "no gateway is running" in said(effects)

    def test_gateway_that_stood_still_while_the_client_connected_has_refused_nobody(self) -> None:
        effects, answer = drive("takeover", STOOD_STILL, RUNNING)
        assert isinstance(answer, Answer)
        assert steps(effects) == ["wait", "continue"]
        assert "the gateway was sent nothing" in said(effects)

    def test_gateway_that_drops_a_run_which_it_had_accepted_has_refused_nobody(self) -> None:
        effects, answer = drive("takeover", TOO_SLOW, RUNNING)
        assert isinstance(answer, Answer)
        assert steps(effects) == ["ask", "stop", "wait", "continue"]

    def test_dead_holder_is_reclaimed(self) -> None:
        reclaimed = LockReply(True, reclaimed=True, owner="dead process 7")
        effects, _ = drive("takeover", LOST, RUNNING | {Ask: RunState("unreachable"), TakeLock: reclaimed})
        assert steps(effects) == ["ask", "wait", "reclaim", "continue"]

    def test_live_holder_that_honours_generations_is_fenced(self) -> None:
        blocked = LockReply(False, fenceable=True, owner="process 7")
        effects, answer = drive("takeover", TIMEOUT, RUNNING | {TakeLock: blocked, Fence: LockReply(True)})
        assert isinstance(answer, Answer)
        assert steps(effects) == ["ask", "stop", "wait", "fence", "continue"]
        assert only(effects, RunEmbedded).session == "same"
        assert not answer.duplicate_possible

    @pytest.mark.parametrize(
        "answers",
        [
            pytest.param({TakeLock: LockReply(False, owner="process 7")}, id="foreign holder"),
            pytest.param(
                {
                    TakeLock: LockReply(False, fenceable=True, owner="process 7"),
                    Fence: LockReply(False, owner="frozen"),
                },
                id="owner frozen inside its append",
            ),
        ],
    )
    def test_holder_that_cannot_be_fenced_leads_to_a_fork_that_says_so(self, answers: Script) -> None:
        effects, answer = drive("takeover", TIMEOUT, RUNNING | answers)
        assert isinstance(answer, Answer)
        assert steps(effects)[-1] == "fork"
        assert only(effects, RunEmbedded) == RunEmbedded("fork", True, False, "takeover-fork-new-id")
        assert answer.duplicate_possible
        assert answer.marks["duplicatePossible"] is True
        assert "DUPLICATE POSSIBLE" in said(effects)

    def test_another_turn_that_holds_the_session_is_waited_for_and_never_fenced(self) -> None:
        busy = LockReply(False, fenceable=True, foreign_run=True, owner="process 7")
        effects, answer = drive("takeover", TIMEOUT, RUNNING | {TakeLock: [busy, LockReply(True)]})
        assert isinstance(answer, Answer)
        assert not any(isinstance(effect, Fence) for effect in effects)
        waits = [effect.bound_s for effect in effects if isinstance(effect, TakeLock)]
        assert waits[1] > waits[0]

    def test_another_turn_that_has_the_session_by_the_time_of_the_fence_is_waited_for(self) -> None:
        stuck = LockReply(False, fenceable=True, owner="process 7")
        busy = LockReply(False, fenceable=True, foreign_run=True, owner="process 7")
        effects, answer = drive("takeover", TIMEOUT, RUNNING | {TakeLock: [stuck, LockReply(True)], Fence: busy})
        assert isinstance(answer, Answer)
        assert steps(effects)[-2:] == ["wait", "continue"]  # neither fenced nor forked
        assert [effect.bound_s for effect in effects if isinstance(effect, TakeLock)] == [10.0, 600.0]

    def test_another_turn_that_is_seen_to_hold_the_session_is_waited_for_once(self) -> None:
        busy = LockReply(False, fenceable=True, foreign_run=True, owner="process 7")
        effects, answer = drive("takeover", TIMEOUT, RUNNING | {Look: busy})
        assert isinstance(answer, Answer)
        assert only(effects, TakeLock).bound_s == 600.0
        assert "process 7 is busy with another message" in said(effects)

    @pytest.mark.parametrize("error", [REJECTED, UNAUTHORIZED], ids=["answered with an error", "wrong token"])
    def test_refusal_is_an_error_and_no_embedded_run_hides_it(self, error: LockjawError) -> None:
        effects, raised = drive("takeover", error, RUNNING)
        assert raised is error
        assert not any(isinstance(effect, RunEmbedded) for effect in effects)

    def test_error_of_the_continued_turn_reaches_the_caller(self) -> None:
        _, raised = drive("takeover", TIMEOUT, RUNNING | {RunEmbedded: REJECTED})
        assert raised is REJECTED


class TestUpstream:
    @pytest.mark.parametrize("error", [TIMEOUT, LOST, REJECTED, UNAUTHORIZED])
    def test_reuse_session_reruns_on_the_same_session_whatever_went_wrong(self, error: LockjawError) -> None:
        effects, answer = drive("reuse-session", error, {RunEmbedded: RESULT})
        assert isinstance(answer, Answer)
        assert only(effects, RunEmbedded) == RunEmbedded("same", resume=False, locked=False)
        assert said(effects).startswith("Gateway agent failed; falling back to embedded: ")

    def test_fresh_session_reruns_a_timeout_in_a_new_session(self) -> None:
        effects, answer = drive("fresh-session", TIMEOUT, {RunEmbedded: RESULT})
        assert isinstance(answer, Answer)
        assert only(effects, RunEmbedded) == RunEmbedded("fresh", False, False, "gateway-fallback-new-id")
        assert said(effects).startswith(
            "EMBEDDED FALLBACK: Gateway agent timed out; running embedded agent with fresh session "
            "gateway-fallback-new-id: GatewayTransportError: gateway timeout after 90000ms\nGateway target:"
        )
        assert answer.marks == {
            "transport": "embedded",
            "fallbackFrom": "gateway",
            "fallbackReason": "gateway_timeout",
            "fallbackSessionId": "gateway-fallback-new-id",
        }

    def test_fresh_session_still_reuses_the_session_after_a_closed_socket(self) -> None:
        effects, _ = drive("fresh-session", LOST, {RunEmbedded: RESULT})
        assert only(effects, RunEmbedded).session == "same"
        assert "EMBEDDED FALLBACK: Gateway agent failed; running embedded agent: " in said(effects)

    def test_fresh_session_raises_what_the_gateway_rejected(self) -> None:
        _, raised = drive("fresh-session", REJECTED, {})
        assert raised is REJECTED

    @pytest.mark.parametrize("error", [TIMEOUT, LOST, REJECTED])
    def test_no_fallback_raises(self, error: LockjawError) -> None:
        effects, raised = drive("no-fallback", error, {})
        assert raised is error
        assert steps(effects) == ["give_up"]


def test_every_policy_has_a_behaviour_and_a_function() -> None:
    assert set(POLICY_FUNCTIONS) == set(POLICIES) == {behaviour.fallback for behaviour in BEHAVIOURS.values()}


@pytest.mark.parametrize(
    ("error", "kind", "definite"),
    [
        (TIMEOUT, "timeout", False),
        (RequestTimedOut(90_000, definite=True), "timeout", True),
        (LOST, "closed", False),
        (REFUSED_TCP, "closed", True),
        (STOOD_STILL, "closed", True),
        (REJECTED, "rejected", False),
    ],
)
def test_failure_knows_its_kind_and_whether_the_request_was_sent(
    error: LockjawError, kind: str, definite: bool
) -> None:
    failure = GatewayFailure(error, RUN)
    assert (failure.kind, failure.definite) == (kind, definite)
