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
    worth_going_on,
)
from lockjaw.runner.reply import MalformedReply

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


WAIT = [Step("wait", "session lock"), Look(), TakeLock(10.0)]
GO_ON = [Step("continue", "same session"), RunEmbedded("same", resume=True, locked=True)]
STUCK = LockReply(False, fenceable=True, owner="process 7", generation=1)
BUSY = LockReply(False, fenceable=True, foreign_run=True, owner="process 7")
MOVED_ON = LockReply(False, fenceable=True, owner="process 7", moved_on=True, generation=2)
LINE = "TAKEOVER: gateway timeout after 90000ms"
IS_BUSY = Say("TAKEOVER: process 7 is busy with another message of this session, waiting for it")
IS_FENCED = Say("TAKEOVER: process 7 holds the session and does not stop; its later writes are refused")
FORK = [
    Step("fork", "takeover-fork-new-id"),
    Say(
        "TAKEOVER: process 7 still holds the session and cannot be fenced; continuing in a copy of the conversation, "
        "session takeover-fork-new-id.\nDUPLICATE POSSIBLE: the first run may still answer in the original."
    ),
    RunEmbedded("fork", resume=True, locked=False, new_session_id="takeover-fork-new-id"),
]
ASKED = [Step("ask", "gateway timeout after 90000ms"), Ask(RUN, 2.0)]
STOPPED = [
    *ASKED, Step("stop", RUN), Stop(RUN, 5.0),
    Say(f"{LINE}; the gateway stopped its run, taking over in the same session"),
]  # fmt: skip
HAS_FAILED = Say(f"{LINE}; the gateway's run has failed meanwhile, going on in the same session")
OUT_OF_REACH = [*ASKED, Say(f"{LINE}; the gateway is out of reach, waiting for the session")]
MARKS = {"transport": "embedded", "fallbackFrom": "gateway", "fallbackReason": "gateway_timeout"}


@pytest.mark.parametrize(
    ("answers", "effects"),
    [
        ({}, [*STOPPED, *WAIT, *GO_ON]),
        (
            {Stop: StopReply(confirmed=False, reachable=True)},
            [*STOPPED[:-1], Say(f"{LINE}; the gateway does not stop its run, waiting for the session"), *WAIT, *GO_ON],
        ),
        ({Ask: RunState("unreachable")}, [*OUT_OF_REACH, *WAIT, *GO_ON]),
        ({Ask: RunState("finished")}, [*OUT_OF_REACH, *WAIT, *GO_ON]),  # without a result it is no answer
        ({Ask: RunState("running", RESULT)}, [*STOPPED, *WAIT, *GO_ON]),  # and a result without an end is none
        (
            {Ask: RunState("failed", RESULT, "timed out")},
            [*ASKED, HAS_FAILED, *WAIT, *GO_ON],
        ),
        (
            {TakeLock: LockReply(True, reclaimed=True, owner="dead process 7")},
            [*STOPPED, *WAIT, Step("reclaim", "dead process 7"), *GO_ON],
        ),
        (
            {TakeLock: STUCK, Fence: LockReply(True)},
            [*STOPPED, *WAIT, IS_FENCED, Fence(1), Step("fence", "process 7"), *GO_ON],
        ),
        ({TakeLock: STUCK, Fence: LockReply(False, owner="process 7")}, [*STOPPED, *WAIT, IS_FENCED, Fence(1), *FORK]),
        ({TakeLock: LockReply(False, owner="process 7")}, [*STOPPED, *WAIT, *FORK]),
        ({TakeLock: [BUSY, LockReply(True)]}, [*STOPPED, *WAIT, IS_BUSY, TakeLock(600.0), *GO_ON]),
        ({TakeLock: [BUSY, BUSY]}, [*STOPPED, *WAIT, IS_BUSY, TakeLock(600.0), *FORK]),  # another's run is not fenced
        ({Look: BUSY}, [*STOPPED, *WAIT[:-1], IS_BUSY, TakeLock(600.0), *GO_ON]),
        (
            {TakeLock: [STUCK, LockReply(True)], Fence: BUSY},
            [*STOPPED, *WAIT, IS_FENCED, Fence(1), IS_BUSY, TakeLock(600.0), *GO_ON],
        ),
        # An owner that came meanwhile is waited for as the one before it, and overruled by a decision of its own.
        (
            {TakeLock: [STUCK, STUCK], Fence: [MOVED_ON, LockReply(True)]},
            [*STOPPED, *WAIT, IS_FENCED, Fence(1), TakeLock(10.0), IS_FENCED, Fence(1), Step("fence", "process 7"),
             *GO_ON],
        ),
        ({TakeLock: [MOVED_ON, LockReply(True)]}, [*STOPPED, *WAIT, TakeLock(10.0), *GO_ON]),
        ({TakeLock: [MOVED_ON] * 4}, [*STOPPED, *WAIT, *[TakeLock(10.0)] * 3, *FORK]),
        ({TakeLock: [BUSY, MOVED_ON, LockReply(True)]},
         [*STOPPED, *WAIT, IS_BUSY, TakeLock(600.0), TakeLock(10.0), *GO_ON]),
        # Of a lock that it got a takeover asks nothing more.
        ({TakeLock: LockReply(True, foreign_run=True, fenceable=True)}, [*STOPPED, *WAIT, *GO_ON]),
    ],
)  # fmt: skip
def test_every_step_word_and_limit_of_a_takeover(answers: Script, effects: list[Effect]) -> None:
    seen, answer = drive("takeover", TIMEOUT, RUNNING | answers)
    assert seen == effects
    forked = effects[-1] == FORK[-1]
    more = {"fallbackSessionId": "takeover-fork-new-id", "duplicatePossible": True} if forked else {}
    assert answer == Answer(RESULT, "embedded", MARKS | more, duplicate_possible=forked)


@pytest.mark.parametrize(
    ("error", "kind", "definite", "refused"),
    [
        (TIMEOUT, "timeout", False, False), (RequestTimedOut(1, definite=True), "timeout", True, False),
        (LOST, "closed", False, False), (REFUSED_TCP, "closed", True, False), (UNAUTHORIZED, "closed", True, True),
        (REJECTED, "rejected", False, False), (MalformedReply(RUN, "odd"), "malformed", False, False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("late", [False, True])
def test_what_a_failure_says(error: LockjawError, kind: str, definite: bool, refused: bool, late: bool) -> None:
    """Only a gateway's "no" is another thing if it was read late."""
    failure = GatewayFailure(error, RUN, late)
    expected = "timeout" if late and kind == "rejected" else kind
    assert (failure.kind, failure.definite, failure.refused) == (expected, definite, refused)


def test_late_is_off_unless_said_and_reasons_have_their_names() -> None:
    assert GatewayFailure(REJECTED, RUN).kind == "rejected"
    for error, reason in ((LOST, "gateway_lost"), (MalformedReply(RUN, "odd"), "gateway_malformed")):
        _, answer = drive("takeover", error, RUNNING)
        assert answer == Answer(RESULT, "embedded", MARKS | {"fallbackReason": reason})
    late = {"runId": RUN, "status": "ok", "result": RESULT}
    _, answer = drive("takeover", TIMEOUT, {Ask: RunState("finished", late)})
    assert answer == Answer(late, "gateway", {"fallbackReason": "gateway_timeout", "lateAnswer": True})


@pytest.mark.parametrize("error", [REJECTED, MalformedReply(RUN, "odd")])
def test_fresh_session_falls_back_from_no_answer_that_came(error: LockjawError) -> None:
    assert drive("fresh-session", error, {RunEmbedded: RESULT}) == ([], error)


def test_published_policies_step_by_step() -> None:
    marks = {"transport": "embedded", "fallbackFrom": "gateway"}
    seen, answer = drive("fresh-session", LOST, {RunEmbedded: RESULT})
    assert seen[1:] == [Step("rerun", "same session"), RunEmbedded("same", resume=False, locked=False)]
    assert answer == Answer(RESULT, "embedded", marks)
    seen, answer = drive("fresh-session", TIMEOUT, {RunEmbedded: RESULT})
    assert seen[1] == Step("rerun", "fresh session")
    assert isinstance(answer, Answer)
    assert not answer.duplicate_possible
    seen, answer = drive("reuse-session", LOST, {RunEmbedded: RESULT})
    assert seen[1:] == [Step("rerun", "same session"), RunEmbedded("same", resume=False, locked=False)]
    assert answer == Answer(RESULT, "embedded", {})
    for error, kind in ((LOST, "closed"), (TIMEOUT, "timeout"), (REJECTED, "rejected")):
        assert drive("no-fallback", error, {})[0] == [Step("give_up", kind)]


@pytest.mark.parametrize(
    ("error", "goes_on"),
    [
        ("session file locked (timeout 1ms): pid=7", True), ("this run may no longer write", True),
        ("All models failed (1): a/b: x (timeout)", True), ("a/b: x (overloaded) | a/c: y (auth)", True),
        ("a/b: x (rate_limit)", True), ("a/b: x (auth)", False), ("a/b: x (billing) | a/c: y (format)", False),
        ("request timed out", True), ("invalid api key", False), ("nothing known", False), ("", False),
    ],
)  # fmt: skip
def test_time_heals_slowness_and_not_a_wrong_key(error: str, goes_on: bool) -> None:
    assert worth_going_on(error) is goes_on
