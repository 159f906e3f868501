"""A checker that no planted bug can make fire is a defect.

Each bug is what a runtime, a lock or a report of ours could get wrong, written as the history that it would leave:
a good history with one thing changed. The checker that owns the law must say VIOLATED, and must not have said so
before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from lockjaw.harness.judge.checkers import CHECKERS, ScenarioFacts, run_checks
from lockjaw.harness.judge.checkers.examples import (
    CHAIN,
    EXAMPLES,
    FACTS,
    PATH,
    SESSION,
    changed,
    find,
    inserted,
    op,
    without,
)
from lockjaw.history import Phase, Record
from lockjaw.verdict import Verdict

History = list[Record]
LOCKED = f"session file locked (timeout 10000ms): pid=101 {PATH}.lock"


@dataclass(frozen=True)
class Bug:
    """``plant`` turns the good history of ``example`` into the one that the bug leaves."""

    checker: str
    says: str
    example: str
    plant: Callable[[History], History]
    facts: ScenarioFacts = FACTS


def at(t: float, actor: str, name: str, phase: str = "info", /, **data: object) -> Record:
    return Record(t, actor, name, phase, data)  # type: ignore[arg-type]


def moved(history: History, where: Callable[[Record], bool], t: float) -> History:
    """The matching records happen at another time."""
    find(history, where)
    return inserted([r for r in history if not where(r)], *(replace_t(r, t) for r in history if where(r)))


def replace_t(record: Record, t: float) -> Record:
    return Record(t, record.actor, record.op, record.phase, record.data)


def lock_timed_out(t: float) -> list[Record]:
    path = PATH + ".lock"
    return [
        at(t, "client", "lock", "invoke", path=path, owner="run-1"),
        at(t + 0.1, "client", "lock", "fail", path=path, owner="pid=101", kind="timeout", error=LOCKED),
    ]


CLIENT_TURN = op("turn", "invoke", actor="client")

BUGS = [
    Bug("never_session_locked", "the fallback does not fence a holder that lives", "gateway-frozen",
        lambda h: without(h, op("lock.fence"))),
    Bug("never_session_locked", "the lock error reaches the user", "no-fallback",
        lambda h: changed(h, op("client.result"), error=f"FailoverError: {LOCKED}")),
    Bug("never_session_locked", "the fallback's turn ends with the lock error", "takeover",
        lambda h: inserted(h, at(91.25, "client", "turn", "fail", run_id="run-9", error=LOCKED))),
    Bug("never_session_locked", "a candidate fails on the lock and only the log tells", "takeover",
        lambda h: inserted(h, at(90.5, "client", "client.stderr", line=f"detail={LOCKED}"))),
    Bug("lock_is_not_a_model_failure", "a lock error walks the chain", "takeover",
        lambda h: inserted(h, at(90.5, "client", "model.decision", decision="candidate_failed", candidate=CHAIN[0],
                                 reason="timeout", detail=LOCKED))),
    Bug("lock_is_not_a_model_failure", "a lock error starts a cool-down", "takeover",
        lambda h: inserted(h, at(90.5, "client", "model.decision", decision="skip_candidate", candidate=CHAIN[0],
                                 reason="session_locked"))),
    Bug("lock_is_not_a_model_failure", "the reason is rewritten to a model's time-out", "takeover",
        lambda h: inserted(h, *lock_timed_out(90.25), at(90.36, "client", "model.decision", reason="timeout",
                                                         decision="candidate_failed", candidate=CHAIN[0]))),
    Bug("lock_is_not_a_model_failure", "every attempt waits for the lock anew", "gateway-frozen",
        lambda h: inserted(h, *lock_timed_out(100.0))),
    Bug("answered", "the fallback's answer is thrown away", "takeover",
        lambda h: changed(h, op("client.result"), answered=False, reply=None)),
    Bug("answered", "the time-out text passes for an answer", "takeover",
        lambda h: changed(h, op("client.result"), reply="Request timed out before a response was generated.")),
    Bug("answered", "the client ends without a word", "takeover", lambda h: without(h, op("client.result"))),
    Bug("answered", "the answer comes after the user has gone home", "takeover", lambda h: h,
        replace(FACTS, budget_s=90.0)),
    Bug("executed_once", "the gateway is not stopped before the fallback asks a model", "takeover",
        lambda h: moved(h, op("model.call", "fail", call_id="c2"), 93.0)),
    Bug("executed_once", "the fallback begins anew instead of continuing", "takeover",
        lambda h: changed(h, CLIENT_TURN, resumed=False)),
    Bug("executed_once", "a finished tool call is run again", "takeover",
        lambda h: inserted(h, at(90.7, "client", "tool", "invoke", run_id="run-1", tool_call_id="t1", name="exec",
                                 key="exec:touch done"))),
    Bug("executed_once", "the effect is there twice", "gateway-killed", lambda h: changed(h, op("ledger"), count=2)),
    Bug("executed_once", "a fenced run goes on asking models", "gateway-frozen",
        lambda h: inserted(h, at(120.0, "gateway", "model.call", "invoke", call_id="c9", run_id="run-1"))),
    Bug("executed_once", "a dead gateway was only thought dead", "gateway-killed",
        lambda h: without(without(h, op("nemesis")), op("actor.exit", role="gateway"))),
    Bug("same_conversation", "the answer stands under another key", "takeover",
        lambda h: changed(h, op("client.result"), session_key="agent:main:explicit:other")),
    Bug("same_conversation", "the answer stands in another session", "takeover",
        lambda h: changed(h, op("client.result"), session_id="gateway-fallback-1")),
    Bug("same_conversation", "the user's message is not in the conversation", "takeover",
        lambda h: changed(h, op("transcript.final"), user_messages=["Continue where you left off."])),
    Bug("same_conversation", "the answer is not in the conversation", "takeover",
        lambda h: changed(h, op("transcript.final"), assistant_texts=[""])),
    Bug("same_conversation", "the answer stands before the question", "takeover",
        lambda h: moved(h, op("append", role="user"), 91.3)),
    Bug("one_writer", "a fenced holder's write is not refused", "gateway-frozen",
        lambda h: inserted(h, at(154.3, "gateway", "append", path=PATH, entry_id="z", generation=1, run_id="run-1"))),
    Bug("one_writer", "the lock is granted without waiting for its release", "takeover",
        lambda h: moved(moved(h, op("lock.release", actor="gateway"), 93.0), op("append", entry_id="e3"), 91.25)),
    Bug("one_writer", "generations are granted in the wrong order", "takeover",
        lambda h: changed(changed(h, op("lock", "ok", actor="client"), generation=1), op("lock", "ok", actor="gateway"),
                          generation=2)),
    Bug("one_writer", "somebody writes without the lock", "takeover",
        lambda h: inserted(h, at(20.0, "client", "append", path=PATH, entry_id="z", role="assistant"))),
    Bug("no_lock_left", "the release is forgotten", "takeover",
        lambda h: without(without(h, op("lock.release", actor="client")), op("next_turn"))),
    Bug("no_lock_left", "the next turn finds the lock taken", "takeover",
        lambda h: [*without(h, op("next_turn")), at(95.0, "harness", "next_turn", "fail", error=LOCKED)]),
    Bug("no_lock_left", "a lock file in an unclear state is not reclaimed", "gateway-killed",
        lambda h: [*without(h, op("next_turn")), at(35.0, "harness", "next_turn", "fail", path=PATH,
                                                    error="empty owner record")]),
    Bug("no_lock_left", "a living process keeps the lock", "takeover",
        lambda h: inserted(without(h, op("next_turn")), at(94.0, "harness", "leftover", kind="lock", pid=101,
                                                           path=PATH + ".lock", alive=True))),
    Bug("recovered_within", "a dead owner's lock is reclaimed only when it is old", "gateway-killed",
        lambda h: [replace_t(r, r.t + 1800 if r.i > find(h, op("lock", "invoke", actor="client")).i else r.t)
                   for r in h]),
    Bug("recovered_within", "the waiter sleeps through the release", "takeover",
        lambda h: [replace_t(r, r.t + 3.0 if r.i > find(h, op("lock.release", actor="gateway")).i else r.t)
                   for r in h]),
    Bug("recovered_within", "a waiter gives up on a lock that nobody holds", "gateway-killed",
        lambda h: changed_phase(h, op("lock", "ok", actor="client"))),
    Bug("transcript_whole", "a torn line is left in the transcript", "takeover",
        lambda h: changed(h, op("transcript.final"), problems=["torn line 4"])),
    Bug("transcript_whole", "an entry that was on disk is gone", "takeover",
        lambda h: changed(h, op("transcript.final"), lines=3)),
    Bug("transcript_whole", "the repair throws an entry away", "takeover",
        lambda h: changed(h, op("transcript.final"), entry_ids=["e1", "e2", "e4"])),
    Bug("transcript_whole", "the user's message is never written", "gateway-killed",
        lambda h: changed(h, op("transcript.final"), user_messages=[])),
    Bug("transcript_whole", "a transcript is removed", "fresh-session",
        lambda h: without(h, op("transcript.final", session_id=SESSION))),
    Bug("degradation_visible", "an unanswered turn ends with exit code 0", "no-fallback",
        lambda h: changed(changed(h, op("client.result"), exit_code=0), op("actor.exit"), code=0)),
    Bug("degradation_visible", "the fallback answers in the gateway's name", "takeover",
        lambda h: changed(h, op("client.result"), transport="gateway", degraded=False)),
    Bug("degradation_visible", "a fork is not marked", "takeover",
        lambda h: changed(h, op("fallback", step="continue"), step="fork")),
    Bug("degradation_visible", "a possible duplicate ends with exit code 0", "takeover",
        lambda h: changed(h, op("client.result"), duplicate_possible=True)),
    Bug("degradation_visible", "result and exit code disagree", "takeover",
        lambda h: changed(h, op("actor.exit"), code=1)),
    Bug("degradation_visible", "the process does not exit", "takeover", lambda h: without(h, op("actor.exit"))),
    Bug("degradation_visible", "the client dies without a result", "takeover",
        lambda h: without(h, op("client.result"))),
    Bug("amplification", "every candidate waits for a lock that is not free", "takeover",
        lambda h: [replace_t(r, r.t + 120.0) if r.t > 90.2 else r for r in h]),
    Bug("amplification", "the fallback retries without end", "takeover",
        lambda h: inserted(h, *(at(90.65, "client", "model.call", "invoke", call_id=f"x{n}", run_id="run-1")
                                for n in range(70)))),
    Bug("nothing_held_after_end", "the lock of a run that has ended stays held", "no-fallback",
        lambda h: without(h, op("lock.release", actor="gateway"))),
    Bug("nothing_held_after_end", "an ended run takes its lock again", "no-fallback",
        lambda h: inserted(h, at(66.0, "gateway", "lock", "ok", path=PATH + ".lock", owner="run-1", generation=2))),
    Bug("nothing_held_after_end", "a run gives its lock back long after its end", "no-fallback",
        lambda h: moved(h, op("lock.release", actor="gateway"), 69.9)),
    Bug("all_delivered", "a result is given up", "announced",
        lambda h: [replace_phase(r, "fail") if op("deliver", "ok", text="result 2")(r) else r for r in h]),
    Bug("all_delivered", "a result is neither delivered nor given up", "announced",
        lambda h: without(h, op("deliver", "ok", text="result 2"))),
    Bug("all_delivered", "a delivered result is left behind in another transcript", "announced",
        lambda h: changed(h, op("transcript.final"), entry_ids=["e1", "e2"])),
    Bug("reads_are_true", "a reader that gets no lock shows an empty conversation", "announced",
        lambda h: changed(h, op("read", "ok"), entries=0)),
    Bug("reads_are_true", "a reader misses the entry that was written last", "announced",
        lambda h: changed(h, op("read", "ok"), entries=2)),
    Bug("store_delays_no_other", "the neighbour is answered when the database is free", "databases",
        lambda h: moved(h, op("client.result", actor="neighbour"), 62.5)),
    Bug("store_delays_no_other", "the neighbour is turned away", "databases",
        lambda h: changed(h, op("client.result", actor="neighbour"), answered=False, reply=None)),
    Bug("store_delays_no_other", "the database is never given back, and the neighbour never answered", "databases",
        lambda h: without(without(h, op("client.result", actor="neighbour")), op("database", "info"))),
    Bug("claims_end", "the claim of a run whose process was killed refuses the next one", "databases",
        lambda h: changed(changed_phase(h, op("claim", "ok", actor="client")), op("claim", "fail"), owner="run-1")),
    Bug("claims_end", "the claim of a run that failed refuses the next one", "databases",
        lambda h: inserted(
            changed(changed_phase(without(h, op("nemesis")), op("claim", "ok", actor="client")), op("claim", "fail"),
                    owner="run-1"),
            at(3.0, "gateway", "turn", "fail", turn_id="run-1", run_id="run-1", error="aborted"))),
    Bug("lock_is_not_a_permission_verdict", "the neighbour is turned away as unauthorized", "databases",
        lambda h: changed(h, op("client.result", actor="neighbour"), answered=False, error="request denied (403)")),
    Bug("lock_is_not_a_permission_verdict", "a tool is forbidden because its policy could not be read", "databases",
        lambda h: inserted(
            h, at(11.0, "gateway", "tool", "invoke", run_id="run-9", tool_call_id="t9", name="exec"),
            at(16.0, "gateway", "tool", "ok", run_id="run-9", tool_call_id="t9", is_error=True, refused=True))),
    Bug("lock_is_not_a_permission_verdict", "a wait in vain ends as a forbidden call", "gateway-frozen",
        lambda h: inserted(
            h, at(99.0, "client", "tool", "invoke", run_id="run-1", tool_call_id="t9", name="exec"),
            *lock_timed_out(99.5),
            at(99.7, "client", "tool", "ok", run_id="run-1", tool_call_id="t9", is_error=True, refused=True))),
    Bug("lock_is_not_a_permission_verdict", "the gateway calls a busy session unauthorized", "takeover",
        lambda h: changed(h, op("client.call", "fail"), error=f"unauthorized: {LOCKED}")),
    Bug("lock_is_not_a_permission_verdict", "a lock error costs a model its credentials", "takeover",
        lambda h: inserted(h, at(90.5, "client", "model.decision", decision="candidate_failed", candidate=CHAIN[0],
                                 reason="auth", detail=LOCKED))),
    Bug("accepted_turns_end_once", "the gateway answers what the fallback has answered", "takeover",
        lambda h: inserted(
            without(h, op("turn", "fail", actor="gateway")),
            at(200.0, "gateway", "turn", "ok", turn_id="turn-1", run_id="run-1", stop_reason="stop"))),
    Bug("accepted_turns_end_once", "the user is told of a failure, and the turn answered", "takeover",
        lambda h: changed(h, op("client.result"), answered=False, error="gateway timeout after 90000ms", exit_code=1)),
    Bug("accepted_turns_end_once", "the client ends without a word", "no-fallback",
        lambda h: without(h, op("client.result"))),
    Bug("accepted_turns_end_once", "the client exits with 0 and prints nothing", "no-fallback",
        lambda h: changed(h, op("client.result"), answered=False, reply=None, error=None, exit_code=0)),
]  # fmt: skip


def replace_phase(record: Record, phase: Phase) -> Record:
    return Record(record.t, record.actor, record.op, phase, record.data)


def changed_phase(history: History, where: Callable[[Record], bool]) -> History:
    """The lock attempt fails instead."""
    find(history, where)
    return [Record(r.t, r.actor, r.op, "fail", {**r.data, "kind": "timeout"}, r.i) if where(r) else r for r in history]


@pytest.mark.parametrize("bug", BUGS, ids=[f"{bug.checker}: {bug.says}" for bug in BUGS])
def test_a_checker_catches_the_bug_that_was_planted_for_it(bug: Bug) -> None:
    good = EXAMPLES[bug.example]()

    (before,) = run_checks([bug.checker], good, FACTS)
    assert before.verdict is not Verdict.VIOLATED, "the history was broken before the bug was planted"
    (after,) = run_checks([bug.checker], bug.plant(good), bug.facts)
    assert after.verdict is Verdict.VIOLATED, after.finding
    assert after.witness
    assert after.finding


def test_every_registered_checker_has_planted_bugs() -> None:
    planted = {name: [bug for bug in BUGS if bug.checker == name] for name in CHECKERS}

    assert {bug.checker for bug in BUGS} == set(CHECKERS)
    assert {name: len(bugs) for name, bugs in planted.items() if len(bugs) < 2} == {}
