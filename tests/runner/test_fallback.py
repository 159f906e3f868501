"""The fallback chain: order, decisions, cool-downs, and what is raised at the end."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.errors import Fenced, ModelFailure, ModelsFailed, RunAborted, SessionLocked, UsageError, printed
from lockjaw.runner.fallback import (
    CONTINUE_PROMPT,
    Cooldowns,
    FallbackChain,
    candidate_prompt,
    order,
)
from lockjaw.sessions.disk import DiskFull
from lockjaw.settings import ModelRef

A, B, C = (ModelRef("qiniu", name) for name in ("deepseek-v3", "kimi-k2", "glm-4.5"))
D = ModelRef("other", "m1")
LOCK = "<state>/agents/main/sessions/b0bf5393-9e29-4526-ad6d-f87476720f57.jsonl.lock"

#: evidence/openclaw-2026.4.8/cli.stderr.log, lines of the fallback chain
EVIDENCE_4_8 = [
    "model fallback decision: decision=candidate_failed requested=qiniu/deepseek-v3 candidate=qiniu/deepseek-v3 "
    f"reason=timeout next=qiniu/kimi-k2 detail=session file locked (timeout 10000ms): pid=8621 {LOCK}",
    "model fallback decision: decision=candidate_failed requested=qiniu/deepseek-v3 candidate=qiniu/kimi-k2 "
    f"reason=timeout next=qiniu/glm-4.5 detail=session file locked (timeout 10000ms): pid=8621 {LOCK}",
    "model fallback decision: decision=candidate_failed requested=qiniu/deepseek-v3 candidate=qiniu/glm-4.5 "
    f"reason=timeout next=none detail=session file locked (timeout 10000ms): pid=8621 {LOCK}",
]


def chain(*refs: ModelRef, policy: str = "takeover", **options: Any) -> FallbackChain:
    return FallbackChain(refs, behaviour=BEHAVIOURS[policy], **options)


def locked() -> SessionLocked:
    return SessionLocked(LOCK, "pid=8621", timeout_s=10, waited_s=10.5)


def timeout(text: str = "LLM request timed out.") -> ModelFailure:
    return ModelFailure(text, "timeout")


# --------------------------------------------------------------------------- as upstream prints it


def test_2026_4_8_walks_the_whole_chain_on_a_lock_error_and_prints_the_evidence() -> None:
    walk = chain(A, B, C, policy="reuse-session")
    lines = []
    for _ in range(3):
        walk.advance(0)
        lines.append(walk.record_failure(locked(), 0).line())
    assert lines == EVIDENCE_4_8
    assert walk.ended
    failure = f"session file locked (timeout 10000ms): pid=8621 {LOCK} (timeout)"
    assert printed(walk.error()) == (
        f"FallbackSummaryError: All models failed (3): qiniu/deepseek-v3: {failure} | qiniu/kimi-k2: {failure} | "
        f"qiniu/glm-4.5: {failure}"
    )


def test_mixed_chain_of_the_field_report_gives_its_summary() -> None:
    walk = chain(A, B, policy="reuse-session")
    walk.advance(0)
    walk.record_failure(timeout(), 0)
    walk.advance(0)
    walk.record_failure(timeout("Request was aborted"), 0)
    assert str(walk.error()) == (
        "All models failed (2): qiniu/deepseek-v3: LLM request timed out. (timeout) | "
        "qiniu/kimi-k2: Request was aborted (timeout)"
    )
    assert walk.error().__cause__ is not None


def test_success_after_a_failure_is_logged_as_upstream_does() -> None:
    walk = chain(A, C)
    walk.advance(0)
    walk.record_failure(timeout(), 0)
    walk.advance(0)
    decision = walk.record_success(0)
    assert decision is not None
    # evidence/openclaw-2026.5.7/gateway.log
    assert decision.line() == (
        "model fallback decision: decision=candidate_succeeded requested=qiniu/deepseek-v3 "
        "candidate=qiniu/glm-4.5 reason=unknown next=none"
    )
    assert decision.data() == {
        "decision": "candidate_succeeded",
        "candidate": "qiniu/glm-4.5",
        "reason": "unknown",
        "next": None,
        "detail": None,
    }


def test_first_success_is_not_worth_a_line() -> None:
    walk = chain(A, B)
    assert walk.advance(5).not_before == 5
    assert walk.record_success(0) is None
    assert walk.ended


def test_2026_9_6_ends_the_chain_at_the_runs_own_limit() -> None:
    walk = chain(A, B, policy="no-fallback")
    walk.advance(0)
    error = timeout()
    # evidence/openclaw-2026.9.6/gateway.log
    assert walk.stop_on_run_timeout(error).line() == (
        "model fallback chain stopped: reason=agent_run_terminal_timeout candidate=qiniu/deepseek-v3"
    )
    assert walk.ended
    assert walk.error() is error


# --------------------------------------------------------------------------- what ends a chain


@pytest.mark.parametrize("error", [locked(), Fenced("/x", 1, 2)], ids=["locked", "fenced"])
def test_lock_error_costs_no_model_its_turn(error: BaseException) -> None:
    walk = chain(A, B)
    walk.advance(0)
    decision = walk.record_failure(error, 0)
    assert (decision.kind, decision.reason) == ("chain_stopped", "session_lock")
    assert walk.ended
    assert walk.error() is error
    assert walk.attempts == []


FAILED = OSError(errno.EIO, "Input/output error", "/s/a.jsonl")


@pytest.mark.parametrize("error", [FAILED, DiskFull(Path("/s/a.jsonl"), 10, 4)], ids=["EIO", "full"])
def test_a_disk_that_fails_costs_no_other_model_its_turn(error: OSError) -> None:
    walk = chain(A, B)
    walk.advance(0)
    decision = walk.record_failure(error, 0)
    assert (decision.kind, decision.reason) == ("chain_stopped", "session_files")
    assert walk.error() is error
    assert walk.attempts == []


@pytest.mark.parametrize("policy", ["reuse-session", "fresh-session", "no-fallback"])
def test_upstream_asks_the_next_model_after_an_error_of_the_disk(policy: str) -> None:
    walk = chain(A, B, policy=policy)
    walk.advance(0)
    assert walk.record_failure(FAILED, 0).kind == "candidate_failed"
    assert walk.advance(0).candidate == B


@pytest.mark.parametrize("error", [ConnectionResetError(errno.ECONNRESET, "reset"), TimeoutError(), ModelFailure("x")])
def test_what_goes_wrong_on_the_way_to_a_model_is_no_error_of_the_disk(error: BaseException) -> None:
    walk = chain(A, B)
    walk.advance(0)
    assert walk.record_failure(error, 0).kind == "candidate_failed"


def test_2026_5_7_walks_on_after_a_lock_error_and_raises_the_last_one_raw() -> None:
    walk = chain(A, B, policy="fresh-session")
    walk.advance(0)
    assert walk.record_failure(locked(), 0).reason == "unknown"
    walk.advance(0)
    last = locked()
    decision = walk.record_failure(last, 0)
    assert decision.line() == ""
    assert walk.error() is last


@pytest.mark.parametrize("policy", list(BEHAVIOURS))
@pytest.mark.parametrize(
    ("error", "reason"),
    [(RunAborted("r1"), "aborted"), (ModelFailure("too long", "context_overflow"), "context_overflow")],
)
def test_abort_and_overflow_end_the_chain_at_once(error: BaseException, reason: str, policy: str) -> None:
    walk = chain(A, B, policy=policy)
    walk.advance(0)
    decision = walk.record_failure(error, 0)
    assert (decision.kind, decision.reason) == ("chain_stopped", reason)
    assert walk.error() is error


def test_unclassifiable_error_is_recorded_as_unknown_while_another_candidate_is_left() -> None:
    walk = chain(A, B)
    walk.advance(0)
    assert walk.record_failure(RuntimeError("odd"), 0).reason == "unknown"
    assert not walk.ended
    assert str(walk.attempts[0]) == "qiniu/deepseek-v3: odd (unknown)"


def test_unclassifiable_error_of_the_last_candidate_is_raised_unchanged() -> None:
    walk = chain(A, B)
    walk.advance(0)
    walk.record_failure(timeout(), 0)
    walk.advance(0)
    odd = RuntimeError()
    assert walk.record_failure(odd, 0).detail == "RuntimeError"
    assert walk.error() is odd


def test_single_candidate_raises_its_own_error() -> None:
    walk = chain(A, A)
    walk.advance(0)
    error = timeout()
    assert walk.record_failure(error, 0).next is None
    assert walk.error() is error


def test_chain_needs_a_candidate() -> None:
    with pytest.raises(UsageError, match="at least one PROVIDER/MODEL"):
        chain()


def test_reporting_without_a_current_candidate_is_a_bug() -> None:
    walk = chain(A)
    with pytest.raises(AssertionError):
        walk.record_success(0)
    walk.advance(0)
    walk.record_failure(timeout(), 0)
    with pytest.raises(AssertionError):
        walk.advance(0)


# --------------------------------------------------------------------------- retry-after


def test_retry_after_puts_the_candidate_last_and_names_the_instant() -> None:
    walk = chain(A, B)
    walk.advance(100)
    first = walk.record_failure(ModelFailure("429 slow down", "rate_limit", status=429, retry_after_s=2), 100)
    assert first.next == B
    assert walk.advance(101).candidate == B
    assert walk.remaining == 2
    assert walk.record_failure(timeout(), 101).next == A
    again = walk.advance(101)
    assert (again.candidate, again.not_before) == (A, 102)
    walk.record_failure(ModelFailure("429 slow down", "rate_limit", retry_after_s=2), 102)
    assert walk.ended, "a candidate is tried again once"
    assert (walk.remaining, walk.index) == (0, 2)
    assert len(walk.attempts) == 3


def test_retry_after_of_an_only_candidate_is_waited_for() -> None:
    walk = chain(A)
    walk.advance(0)
    assert walk.record_failure(ModelFailure("429", "rate_limit", retry_after_s=0), 0).next == A
    assert walk.advance(7).not_before == 7
    assert walk.record_success(7) is not None


def test_retry_after_is_honoured_by_the_next_chain_of_the_process() -> None:
    book = Cooldowns()
    walk = chain(A, B, book=book)
    walk.advance(0)
    walk.record_failure(ModelFailure("429", "rate_limit", retry_after_s=30), 0)
    later = chain(A, B, book=book)
    advance = later.advance(10)
    assert advance.candidate == B
    assert [d.line() for d in advance.decisions] == [
        "model fallback decision: decision=skip_candidate requested=qiniu/deepseek-v3 candidate=qiniu/deepseek-v3 "
        "reason=rate_limit next=qiniu/kimi-k2 detail=qiniu/deepseek-v3 asked to wait 20s more (Retry-After)"
    ]
    assert chain(A, B, book=book).advance(31).candidate == A


def test_long_retry_after_is_not_waited_for() -> None:
    book = Cooldowns()
    walk = chain(A, book=book)
    walk.advance(0)
    error = ModelFailure("429", "rate_limit", retry_after_s=3600)
    assert walk.record_failure(error, 0).next is None
    assert walk.error() is error
    second = chain(A, book=book)
    assert second.advance(10).candidate is None
    assert str(second.error()) == (
        "All models failed (1): qiniu/deepseek-v3: qiniu/deepseek-v3 asked to wait 3590s more (Retry-After) "
        "(rate_limit)"
    )


def test_success_forgets_the_waiting_time() -> None:
    book = Cooldowns()
    book.wait(A, 30, 0)
    book.succeeded(A)
    assert book.model_until(A, 1) is None


# --------------------------------------------------------------------------- cool-downs


@pytest.mark.parametrize(
    ("reason", "lengths"),
    [
        ("rate_limit", [30, 60, 300, 300]),
        ("overloaded", [30, 60, 300]),
        ("billing", [5 * 3600, 10 * 3600, 20 * 3600, 24 * 3600, 24 * 3600]),
        ("auth_permanent", [600, 1200, 2400, 3600, 3600]),
    ],
)
def test_backoff_grows_with_the_failures(reason: str, lengths: list[float]) -> None:
    book, now = Cooldowns(), 0.0
    for length in lengths:
        book.provider_failed("p", reason, now)
        assert book.provider_cooling("p", now + length - 0.001) == reason
        assert book.provider_cooling("p", now + length) is None
        now += min(length, 3600)


@pytest.mark.parametrize("reason", ["timeout", "format", "model_not_found", "context_overflow"])
def test_timeouts_and_faults_of_the_request_never_mark_a_provider(reason: str) -> None:
    book = Cooldowns()
    book.provider_failed("p", reason, 0)
    assert book.provider_cooling("p", 0) is None


def test_failures_older_than_a_day_do_not_count() -> None:
    book = Cooldowns()
    book.provider_failed("p", "rate_limit", 0)
    book.provider_failed("p", "rate_limit", 25 * 3600)
    assert book.provider_cooling("p", 25 * 3600 + 31) is None


def failed_once(reason: str, at: float = 0.0) -> Cooldowns:
    book = Cooldowns()
    book.provider_failed("qiniu", reason, at)
    return book


def test_providers_do_not_cool_down_unless_asked() -> None:
    book = failed_once("auth")
    assert chain(A, book=book).advance(1).candidate == A


@pytest.mark.parametrize(
    ("reason", "detail"),
    [
        ("auth", "Provider qiniu has auth issue (skipping all models)"),
        ("auth_permanent", "Provider qiniu has auth issue (skipping all models)"),
        ("billing", "Provider qiniu has billing issue (skipping all models)"),
    ],
)
def test_provider_with_a_lasting_trouble_is_skipped_for_all_its_models(reason: str, detail: str) -> None:
    walk = chain(A, B, D, cooldowns=True, book=failed_once(reason))
    advance = walk.advance(1)
    assert advance.candidate == D
    assert [d.detail for d in advance.decisions] == [detail, detail]
    assert [attempt.error for attempt in walk.attempts] == [detail, detail]
    assert walk.record_success(1) is not None


def test_one_probe_of_a_cooling_provider_per_run() -> None:
    book = Cooldowns()
    for now in (0, 1, 2):
        book.provider_failed("qiniu", "rate_limit", now)  # 300 s: the primary is not due for a probe yet
    walk = chain(A, B, C, cooldowns=True, book=book)
    advance = walk.advance(10)
    assert [(d.kind, d.candidate) for d in advance.decisions] == [
        ("skip_candidate", A),
        ("probe_cooldown_candidate", B),
    ]
    assert advance.decisions[0].detail == "Provider qiniu is in cooldown (all profiles unavailable)"
    walk.record_failure(ModelFailure("429", "rate_limit"), 11)
    last = walk.advance(12)
    assert last.candidate is None
    assert last.decisions[0].detail == "Provider qiniu is in cooldown (probe already attempted this run)"
    assert isinstance(walk.error(), ModelsFailed)
    assert len(walk.attempts) == 3


def test_primary_is_probed_shortly_before_its_cooldown_ends_but_not_twice_in_a_row() -> None:
    book = failed_once("rate_limit")
    assert chain(A, cooldowns=True, book=book).advance(1).candidate == A
    assert chain(A, cooldowns=True, book=book).advance(2).candidate is None


def test_only_failures_of_a_model_mark_its_provider() -> None:
    book = Cooldowns()
    walk = chain(A, B, policy="reuse-session", cooldowns=True, book=book)
    walk.advance(0)
    walk.record_failure(locked(), 0)
    assert book.provider_cooling("qiniu", 0) is None
    walk.advance(0)
    walk.record_failure(ModelFailure("x", "overloaded"), 0)
    assert book.provider_cooling("qiniu", 1) == "overloaded"


# --------------------------------------------------------------------------- order and prompt


def test_takeover_asks_the_untried_then_the_interrupted_then_the_failed() -> None:
    assert order([A, B, C, D], [str(A)], str(B)) == (C, D, B, A)
    assert order([A, B, C], [A, B], B) == (C, B, A)
    assert order([A, B], [], None) == (A, B)


@given(st.lists(st.sampled_from([A, B, C, D])), st.sets(st.sampled_from([A, B, C, D])), st.sampled_from([None, A, D]))
def test_order_loses_and_repeats_nobody(refs: list[ModelRef], failed: set[ModelRef], stopped: ModelRef | None) -> None:
    result = order(refs, failed, stopped)
    assert sorted(result) == sorted(set(refs))


def test_later_candidates_continue_where_there_is_something_to_continue() -> None:
    assert candidate_prompt("task", index=0, has_history=True) == "task"
    assert candidate_prompt("task", index=1, has_history=False) == "task"
    assert candidate_prompt("task", index=1, has_history=True) == CONTINUE_PROMPT


# --------------------------------------------------------------------------- boundaries


@pytest.mark.parametrize(("after_s", "length_s"), [(1.0, 60.0), (24 * 3600.0, 60.0), (24 * 3600.0 + 1, 30.0)])
def test_a_failure_counts_for_a_day(after_s: float, length_s: float) -> None:
    book = failed_once("rate_limit")
    book.provider_failed("qiniu", "rate_limit", after_s)
    assert book.provider_cooling("qiniu", after_s + length_s - 0.5) == "rate_limit"
    assert book.provider_cooling("qiniu", after_s + length_s) is None


def test_another_reason_begins_to_count_anew() -> None:
    book = failed_once("overloaded")
    book.provider_failed("qiniu", "rate_limit", 1.0)
    assert book.provider_cooling("qiniu", 30.5) == "rate_limit"
    assert book.provider_cooling("qiniu", 31.0) is None


@pytest.mark.parametrize(
    ("left_s", "since_probe_s", "due"),
    [(120.0, None, True), (120.5, None, False), (-5.0, None, True), (60.0, 30.0, True), (60.0, 29.5, False)],
)
def test_when_a_provider_may_be_probed(left_s: float, since_probe_s: float | None, due: bool) -> None:
    book = failed_once("auth_permanent")  # for 600 s
    now = 600.0 - left_s
    if since_probe_s is not None:
        book.probed("qiniu", now - since_probe_s)
    assert book.probe_due("qiniu", now) is due


def test_a_waiting_time_is_kept_if_it_is_the_longer_one_and_never_negative() -> None:
    book = Cooldowns()
    for seconds, now, until in ((30.0, 0.0, 30.0), (5.0, 1.0, 30.0), (40.0, 1.0, 41.0), (-9.0, 2.0, 41.0)):
        book.wait(A, seconds, now)
        assert book.model_until(A, now) == until
    assert (book.model_until(A, 40.5), book.model_until(A, 41.0), book.model_until(B, 0.0)) == (41.0, None, None)
    book.wait(B, -9.0, 2.0)
    assert book.model_until(B, 2.0) is None


@pytest.mark.parametrize(("seconds", "waited"), [(-1.0, True), (0.0, True), (60.0, True), (60.5, False)])
def test_a_minute_is_waited_for_within_a_chain(seconds: float, waited: bool) -> None:
    walk = chain(A)
    walk.advance(100)
    decision = walk.record_failure(ModelFailure("429", "rate_limit", retry_after_s=seconds), 100)
    assert decision.next == (A if waited else None)
    assert walk.ended is not waited
    if waited:
        assert walk.advance(100).not_before == 100 + max(0.0, seconds)
    book = Cooldowns()
    book.wait(A, max(seconds, 0.1), 100)
    later = chain(A, B, book=book)
    assert later.advance(100).candidate == B
    assert (later.remaining, len(later.attempts)) == ((2, 0) if waited else (1, 1))


def test_of_two_that_asked_to_wait_the_first_to_be_free_comes_first() -> None:
    walk = chain(A, B)
    walk.advance(0)
    assert walk.record_failure(ModelFailure("429", "rate_limit", retry_after_s=50), 0).next == B
    walk.advance(0)
    assert walk.record_failure(ModelFailure("429", "rate_limit", retry_after_s=20), 0).next == B
    assert walk.remaining == 2
    again = walk.advance(1)
    assert (again.candidate, again.not_before, walk.index, walk.remaining) == (B, 20, 2, 2)
    assert walk.record_failure(timeout(), 20).next == A
    last = walk.advance(20)
    assert (last.candidate, last.not_before, walk.remaining) == (A, 50, 1)


@pytest.mark.parametrize("policy", list(BEHAVIOURS))
def test_what_ends_a_chain_is_logged_only_where_a_run_limit_ends_it(policy: str) -> None:
    walk = chain(A, B, policy=policy)
    walk.advance(0)
    decision = walk.record_failure(RunAborted("r"), 0)
    assert decision.quiet is not BEHAVIOURS[policy].run_timeout_ends_chain
    assert bool(decision.line()) is not decision.quiet
    last = chain(A, policy=policy)
    last.advance(0)
    assert last.record_failure(RuntimeError("odd"), 0).quiet is True


@pytest.mark.parametrize(
    ("reason", "primary", "said"),
    [
        ("auth", True, "has auth issue (skipping all models)"), ("auth", False, "has auth issue (skipping all models)"),
        ("auth_permanent", False, "has auth issue (skipping all models)"),
        ("billing", True, "has billing issue (skipping all models)"),
        ("billing", False, "has billing issue (skipping all models)"),
        ("overloaded", True, "is in cooldown (all profiles unavailable)"), ("overloaded", False, ""),
    ],
)  # fmt: skip
def test_why_a_candidate_of_a_cooling_provider_is_passed_over(reason: str, primary: bool, said: str) -> None:
    book = Cooldowns()
    for now in (0.0, 1.0, 2.0):
        book.provider_failed("qiniu", reason, now)
    walk = chain(A if primary else D, B, cooldowns=True, book=book)
    found = walk._obstacle(A if primary else B, reason, 3.0)
    assert found == (f"Provider qiniu {said}" if said else "")


def test_one_error_is_raised_itself_and_more_are_summed_up() -> None:
    walk = chain(A, B, C)
    errors = [timeout("1"), timeout("2"), timeout("3")]
    for n, error in enumerate(errors):
        assert (walk.index, walk.remaining, walk.ended) == (n - 1, 3 - n, False)
        walk.advance(0)
        assert (walk.index, walk.remaining) == (n, 3 - n)
        walk.record_failure(error, 0)
    assert walk.ended
    assert walk.error().__cause__ is errors[-1]
    assert list(walk.error().attempts) == walk.attempts  # type: ignore[attr-defined]
    one = chain(A)
    one.advance(0)
    one.record_failure(errors[0], 0)
    assert one.error() is errors[0]
