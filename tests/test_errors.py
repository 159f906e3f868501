"""Errors carry fields, say one sentence, and cross process boundaries whole."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from lockjaw import errors
from lockjaw.errors import (
    Attempt,
    ConnectionLost,
    DocumentError,
    Fenced,
    FileLocked,
    HarnessError,
    InvalidFrame,
    InvalidSessionId,
    LocalError,
    LockjawError,
    LockLost,
    LockStateError,
    ModelFailure,
    ModelsFailed,
    OwnerChanged,
    RemoteError,
    RemoteProtocolError,
    ReplayDiverged,
    RequestRejected,
    RequestTimedOut,
    RunAborted,
    SessionChanged,
    SessionLocked,
    StateInUse,
    StoreLocked,
    TurnClaimed,
    UsageError,
    printed,
)
from lockjaw.gateway.runs import AbortRefused
from lockjaw.runner.attempt import AttemptTimedOut
from lockjaw.sessions.disk import DiskFull
from lockjaw.sessions.transcript_file import TranscriptReplaced

LOCKED = "session file locked (timeout 10000ms): pid=47321 /s/a.jsonl.lock"

#: one of each, with the sentence that a person reads
SAMPLES: list[tuple[LockjawError, str]] = [
    (LockjawError("plain"), "plain"),
    (LocalError("fix the call"), "fix the call"),
    (UsageError("o.json", "gateway.port", "a port", "x"), "o.json: gateway.port: expected a port, got 'x'"),
    (UsageError("--policy", "", "one of a, b"), "--policy: expected one of a, b"),
    (DocumentError("s.yaml", 3, "chain", "a list", 7), "s.yaml:3: at chain expected a list, got 7"),
    (DocumentError("s.yaml", 0, "", "a file"), "s.yaml: expected a file"),
    (SessionChanged("/s/a.jsonl"), "session file changed while embedded prompt lock was released: /s/a.jsonl"),
    (TurnClaimed("s1", "r1"), 'Session "s1" already has an active turn claim (run r1)'),
    (
        StateInUse("/s", 18789),
        "another process owns the state directory /s: a gateway on port 18789; stop it first",
    ),
    (InvalidSessionId("../x"), "Invalid session ID: ../x"),
    (RemoteError("gone"), "gone"),
    (RemoteProtocolError("bad", 1002), "bad"),
    (InvalidFrame("no frame", is_json=True, frame_id="r1"), "no frame"),
    (ConnectionLost(1006), "gateway closed (1006 abnormal closure (no close frame)): no close reason"),
    (ConnectionLost(1000, "bye", definite=True), "gateway closed (1000 normal closure): bye"),
    (ConnectionLost(1012, "restart", details="Source: x", run_id="r"), "gateway closed (1012): restart\nSource: x"),
    (ConnectionLost(1006, message="never connected"), "never connected"),
    (RequestTimedOut(90_000, details="Bind: loopback", run_id="r"), "gateway timeout after 90000ms\nBind: loopback"),
    (RequestTimedOut(2_000, "agent.wait", definite=True), "gateway request timeout for agent.wait"),
    (RequestRejected("UNAVAILABLE", "later", {"a": 1}, retryable=True, retry_after_ms=5, payload={}), "later"),
    (SessionLocked("/s/a.jsonl.lock", "pid=47321", timeout_s=10.0, waited_s=10.4), LOCKED),
    (
        FileLocked("/s/a.json.lock", "pid=7", timeout_s=2, waited_s=2.04, advice="Wait."),
        "file locked (waited 2.0 s of 2 s): pid=7 /s/a.json.lock. Wait.",
    ),
    (SessionLocked("/s/a.jsonl.lock", "pid=47321", timeout_s=10, waited_s=1, advice="Wait."), f"{LOCKED}. Wait."),
    (
        StoreLocked(SessionLocked("/s/x.lock", "pid=1", timeout_s=5, waited_s=5), "database is locked"),
        "database is locked",
    ),
    (LockStateError("/l", {"pid": 1}, "two records"), "/l: two records (found: {'pid': 1})"),
    (OwnerChanged("/l", 3, 5), "/l: the owner of generation 3 has the lock no longer, and another one has (found: 5)"),
    (Fenced("/s", 1, 2), "/s: generation 1 was superseded by 2; this run may no longer write"),
    (LockLost("/s", 1, "removed"), "/s: generation 1 has lost its lock (removed); this run may no longer write"),
    (ModelFailure("slow down", "rate_limit", status=429, retry_after_s=2.0, provider="p", model="m"), "slow down"),
    (
        ModelsFailed([Attempt("p", "a", "boom", "timeout"), Attempt("p", "b", "bang")]),
        "All models failed (2): p/a: boom (timeout) | p/b: bang (unknown)",
    ),
    (RunAborted("r", "signal"), "run r was aborted (signal)"),
    (ReplayDiverged(3, "a", "b"), "replay diverged at step 3: expected 'a', got 'b'"),
    (HarnessError("broken", "/run"), "broken (kept: /run)"),
    (HarnessError("broken"), "broken"),
    (AbortRefused("unauthorized"), "unauthorized"),
    (AttemptTimedOut(60.0), "run limit of 60 s passed"),
    (TranscriptReplaced(Path("/s/a.jsonl")), "/s/a.jsonl: the transcript was replaced"),
    (DiskFull(Path("/s/a.jsonl"), 10, 4), "/s/a.jsonl: the disk is full: 4 of 10 bytes fitted"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "sentence"), SAMPLES, ids=lambda v: type(v).__name__ if isinstance(v, Exception) else ""
)
def test_every_error_says_one_sentence_and_pickles_with_its_fields(error: LockjawError, sentence: str) -> None:
    assert str(error).startswith(sentence)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert twin.args == error.args
        assert vars(twin) == vars(error)


def test_every_error_class_of_the_module_has_a_sample() -> None:
    declared = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, LockjawError)}

    assert declared - {type(error) for error, _ in SAMPLES} == set()


def test_a_pickled_cause_is_left_behind_and_the_error_still_raises() -> None:
    error = ModelsFailed([Attempt("p", "a", "boom")])
    error.__cause__ = SessionLocked("/l", "pid=1", timeout_s=1, waited_s=1)

    twin = pickle.loads(pickle.dumps(error))

    with pytest.raises(ModelsFailed) as caught:
        raise twin
    assert caught.value.attempts == error.attempts


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (SessionLocked("/l", "x", timeout_s=1, waited_s=1), TimeoutError),
        (RequestTimedOut(1), TimeoutError),
        (LockStateError("/l", None, "odd"), OSError),
        (LockLost("/l", 1, "gone"), Fenced),
    ],
)
def test_the_builtin_that_people_catch_already_catches_ours(error: LockjawError, builtin: type[Exception]) -> None:
    assert isinstance(error, builtin)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ModelsFailed([]), "FallbackSummaryError: All models failed (0): "),
        (ModelFailure("x"), "FailoverError: x"),
        (RequestRejected("A", "no"), "GatewayClientRequestError: no"),
        (RequestTimedOut(5), "GatewayTransportError: gateway timeout after 5ms"),
        (ConnectionLost(1008, "no"), "GatewayTransportError: gateway closed (1008): no"),
        (LocalError("no"), "Error: no"),
        (ValueError("odd"), "Error: odd"),
    ],
)
def test_errors_are_printed_under_the_names_of_the_real_program(error: BaseException, text: str) -> None:
    assert printed(error, transport_name="GatewayTransportError") == text
