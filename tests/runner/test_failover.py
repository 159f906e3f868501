"""Which errors are faults of a provider."""

from __future__ import annotations

import asyncio
import errno

import pytest

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.errors import Fenced, LockStateError, ModelFailure, RunAborted, SessionLocked, UsageError
from lockjaw.runner.failover import by_status, classify, is_abort, is_disk_error, is_lock_error

OURS, UPSTREAM = BEHAVIOURS["takeover"], BEHAVIOURS["reuse-session"]
LOCK = "/s/agents/main/sessions/b0bf5393.jsonl.lock"


def locked(owner: str = "pid=8621", path: str = LOCK) -> SessionLocked:
    return SessionLocked(path, owner, timeout_s=10, waited_s=10.5)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("LLM request timed out.", "timeout"),
        ("Request was aborted", "timeout"),
        ("This operation was aborted", "timeout"),
        ("fetch failed", "timeout"),
        ("read ECONNRESET", "timeout"),
        ("socket hang up", "timeout"),
        ("Internal Server Error", "timeout"),
        ("rate limit reached", "rate_limit"),
        ("Too many requests", "rate_limit"),
        ("You have hit your weekly limit", "rate_limit"),
        ("payment required: try again in 5 minutes", "rate_limit"),
        ("payment required", "billing"),
        ("Your credit balance is too low", "billing"),
        ("the model is overloaded", "overloaded"),
        ("invalid api key", "auth"),
        ("token expired", "auth"),
        ("API key has been revoked", "auth_permanent"),
        ("model gpt-9 does not exist", "model_not_found"),
        ("session not found", "session_expired"),
        ("maximum context length is 8192 tokens", "context_overflow"),
        ("invalid request: roles must alternate", "format"),
        ("something else", None),
        ("", None),
    ],
)
def test_text_alone_classifies(text: str, reason: str | None) -> None:
    assert classify(text, behaviour=OURS) == reason
    assert classify(RuntimeError(text), behaviour=OURS) == reason


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        (400, "nope", "format"),
        (400, "maximum context length", "context_overflow"),
        (401, "timeout", "auth"),
        (402, "pay", "billing"),
        (402, "usage limit, resets in 1 hour", "rate_limit"),
        (403, "key was deactivated", "auth_permanent"),
        (403, "insufficient credits", "billing"),
        (404, "?", "model_not_found"),
        (404, "session not found", "session_expired"),
        (408, "", "timeout"),
        (410, "", "timeout"),
        (410, "session expired", "session_expired"),
        (413, "", "context_overflow"),
        (422, "", "format"),
        (429, "billing", "rate_limit"),
        (499, "", "timeout"),
        (500, "rate limit", "timeout"),
        (500, "context length exceeded", "context_overflow"),
        (503, "overloaded", "overloaded"),
        (503, "", "timeout"),
        (529, "", "overloaded"),
        (301, "", None),
        (418, "rate limit", "rate_limit"),
    ],
)
def test_status_goes_before_text(status: int, text: str, reason: str | None) -> None:
    assert classify(text, status, behaviour=OURS) == reason


def test_number_at_the_head_of_the_text_is_a_status() -> None:
    assert classify("503 overloaded", behaviour=OURS) == "overloaded"
    assert classify("HTTP 404: nothing here", behaviour=OURS) == "model_not_found"
    assert classify("4040 things", behaviour=OURS) is None


@pytest.mark.parametrize(
    ("code", "reason"),
    [("ECONNREFUSED", "timeout"), ("rate_limit_exceeded", "rate_limit"), ("overloaded_error", "overloaded"),
     ("ThrottlingException", "rate_limit"), ("weird", "billing")],
)  # fmt: skip
def test_code_goes_before_text(code: str, reason: str) -> None:
    assert classify("credit balance", code=code, behaviour=OURS) == reason


def test_operating_system_errors_are_known_by_their_number() -> None:
    assert classify(OSError(errno.ECONNREFUSED, "nope"), behaviour=OURS) == "timeout"
    assert classify(TimeoutError(), behaviour=OURS) == "timeout"
    assert classify(OSError(errno.ENOSPC, "disk full"), behaviour=OURS) is None


def test_model_failure_says_itself_what_it_is() -> None:
    assert classify(ModelFailure("429", "auth"), behaviour=OURS) == "auth"
    assert classify(ModelFailure("rate limit"), behaviour=OURS) == "rate_limit"
    assert classify(ModelFailure("?", status=529), behaviour=OURS) == "overloaded"
    assert classify(ModelFailure("Provider finish_reason: content_filter"), behaviour=OURS) is None


def test_cause_is_searched_when_the_error_says_nothing() -> None:
    error = RuntimeError("attempt failed")
    error.__cause__ = ModelFailure("x", "overloaded")
    assert classify(error, behaviour=OURS) == "overloaded"
    error.__cause__ = error
    assert classify(error, behaviour=OURS) is None


def test_lock_error_underneath_decides_nothing() -> None:
    error = RuntimeError("attempt failed")
    error.__cause__ = locked()
    assert classify(error, behaviour=UPSTREAM) is None


@pytest.mark.parametrize("policy", ["fresh-session", "no-fallback", "takeover"])
@pytest.mark.parametrize("owner", ["pid=8621", "pid=4290", "pid=401"])
def test_lock_error_is_no_model_failure(policy: str, owner: str) -> None:
    error = locked(owner)
    assert classify(error, behaviour=BEHAVIOURS[policy]) is None
    assert classify(str(error), behaviour=BEHAVIOURS[policy]) is None


@pytest.mark.parametrize(
    ("owner", "path", "reason"),
    [
        ("pid=8621", LOCK, "timeout"),
        ("pid=4291", LOCK, "rate_limit"),
        ("pid=1", "/s/a4290000.jsonl.lock", "rate_limit"),
        ("pid=401", LOCK, "auth"),
        ("pid=403", LOCK, "auth"),
        ("pid=1", "/home/overloaded/x.jsonl.lock", "overloaded"),
        ("pid=1", "/home/expired/x.jsonl.lock", "auth"),
    ],
)
def test_2026_4_8_takes_a_lock_error_for_a_model_failure_by_its_text(owner: str, path: str, reason: str) -> None:
    assert classify(locked(owner, path), behaviour=UPSTREAM) == reason


@pytest.mark.parametrize("policy", list(BEHAVIOURS))
@pytest.mark.parametrize(
    "error",
    [
        Fenced("/x", 1, 2),
        LockStateError("/x", {}, "timeout"),
        RunAborted("run 429"),
        asyncio.CancelledError(),
        UsageError("f", "k", "timeout"),
    ],
)
def test_fences_aborts_and_our_own_mistakes_are_never_model_failures(error: BaseException, policy: str) -> None:
    assert classify(error, behaviour=BEHAVIOURS[policy]) is None


def test_aborts_and_lock_errors_are_told_apart() -> None:
    assert is_abort(RunAborted("r"))
    assert not is_abort(locked())
    assert is_lock_error(Fenced("/x", 1, 2))
    assert not is_lock_error(RunAborted("r"))


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        (400, "rate limit", "rate_limit"), (401, "key was revoked", "auth_permanent"), (401, "billing", "billing"),
        (402, "overloaded", "billing"), (403, "", "auth"), (403, "overloaded", "auth"),
        (404, "billing", "model_not_found"),
        (410, "billing", "billing"), (410, "forbidden", "auth"), (410, "key revoked", "auth_permanent"),
        (410, "overloaded", "timeout"), (422, "billing", "billing"), (499, "overloaded", "overloaded"),
        (503, "billing", "timeout"), (408, "billing", "timeout"), (502, "billing", "timeout"), (500, "", "timeout"),
        (599, "", "timeout"), (600, "", None), (499, "x", "timeout"), (405, "", None), (300, "", None),
        (529, "billing", "overloaded"), (413, "billing", "context_overflow"),
    ],
)  # fmt: skip
def test_what_a_status_means_with_and_without_words(status: int, text: str, reason: str | None) -> None:
    assert by_status(status, text) == reason


@pytest.mark.parametrize(
    ("error", "disk"),
    [(OSError(28, "full"), True), (PermissionError(13, "no"), True), (ConnectionResetError(), False),
     (TimeoutError(), False), (ModelFailure("x"), False), (ValueError(), False)],
)  # fmt: skip
def test_which_errors_are_the_disks(error: BaseException, disk: bool) -> None:
    assert is_disk_error(error) is disk


def test_statuses_and_codes_belong_to_the_outermost_error() -> None:
    error = RuntimeError("attempt failed")
    error.__cause__ = ModelFailure("nothing known", status=529)
    assert classify(error, 418, behaviour=OURS) == "overloaded"
    assert classify(error, code="ECONNRESET", behaviour=OURS) == "timeout"
    assert classify(ModelFailure("?", status=529), 401, behaviour=OURS) == "auth"
    assert classify(OSError(errno.ECONNRESET, "x"), code="overloaded", behaviour=OURS) == "overloaded"
    assert classify("x", code="zzz", behaviour=OURS) is None
    assert classify(" HTTP 529", behaviour=OURS) == "overloaded"
    assert classify("599 odd", behaviour=OURS) == "timeout"
    assert classify("399 odd", behaviour=OURS) is None


@pytest.mark.parametrize(
    ("error", "refused"),
    [("session file locked (x)", True), ("x session file locked", False), (locked(), True), ("", False),
     (Fenced("/x", 1, 2), True), (LockStateError("/x", {}, "x"), True), (OSError("session file locked"), False)],
)  # fmt: skip
def test_which_errors_are_the_locks(error: BaseException | str, refused: bool) -> None:
    assert is_lock_error(error) is refused
