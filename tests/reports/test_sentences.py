"""Every operation of the history has a sentence, and no sentence leaks the machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockjaw.history import OPERATIONS, Record
from lockjaw.reports.sentences import condensed, sentence, session_of, shorten, tone_of

PHASES = ("invoke", "ok", "fail", "info")


def told(op: str, phase: str = "info", **data: object) -> str:
    return sentence(Record(0.0, "client", op, phase, data))  # type: ignore[arg-type]


@pytest.mark.parametrize("op", OPERATIONS)
@pytest.mark.parametrize("phase", PHASES)
def test_every_operation_is_told_even_without_data(op: str, phase: str) -> None:
    text = told(op, phase)

    assert text
    assert "\n" not in text
    assert text != f"{op} {phase}"
    tone_of(Record(0.0, "a", op, phase))  # type: ignore[arg-type]


def test_an_operation_of_the_future_is_named() -> None:
    assert told("new.thing", "ok") == "new.thing ok"


@pytest.mark.parametrize(
    ("expected", "op", "phase", "data"),
    [
        ('hands in "result 1"', "deliver", "invoke", {"text": "result 1"}),
        ('has handed in "result 1"', "deliver", "ok", {"text": "result 1", "entry_id": "e1"}),
        ('cannot hand in "result 1": locked', "deliver", "fail", {"text": "result 1", "error": "locked"}),
        ("sees 0 entries in session 35b8", "read", "ok", {"path": "/a/35b8.jsonl", "entries": 0}),
        ("REMOVES the lock file of session 35b8", "clean", "info", {"path": "/a/35b8.jsonl.lock", "removed": True}),
        ("examines and leaves the lock file of session 35b8", "clean", "info",
         {"path": "/a/35b8.jsonl.lock", "removed": False}),
        ("changes the session's entry in the session list 3 times", "maintain", "info", {"count": 3}),
        ("session 35b8 has 2 entries when the client starts", "stage", "info", {"path": "/a/35b8.jsonl", "entries": 2}),
        ("moves the conversation to the new session 77aa", "rotate", "info", {"session_id": "77aa"}),
        ("finds that the key agent:main:main leads to session 77aa", "session.final", "info",
         {"key": "agent:main:main", "session_id": "77aa"}),
        ("stops waiting after 90000 ms; the gateway works on", "client.call", "fail",
         {"kind": "timeout", "timeout_ms": 90000}),
        ("loses the connection to the gateway (1006)", "client.call", "fail", {"kind": "closed", "code": 1006}),
        ("is refused by the gateway: no such agent", "client.call", "fail", {"error": "no such agent\nx"}),
        ("asks the gateway; waits at most 90000 ms", "client.call", "invoke",
         {"method": "agent", "timeout_ms": 90000}),
        ("asks the gateway: agent.wait", "client.call", "invoke", {"method": "agent.wait"}),
        ("gets the gateway's answer to agent", "client.call", "ok", {"status": "ok"}),
        ("gets the lock of session 9e051a52 (pid 47321), generation 2", "lock", "ok",
         {"path": "/x/9e051a52.jsonl.lock", "pid": 47321, "generation": 2, "waited_s": 0.01}),
        ("takes over a dead owner's lock of session a after 0.1 s", "lock", "ok",
         {"path": "/x/a.jsonl.lock", "reclaimed": True, "waited_s": 0.1}),
        ("does NOT get the lock in 10.5 s; pid=101 has it", "lock", "fail",
         {"path": "a.jsonl.lock", "waited_s": 10.5, "owner": "pid=101"}),
        ("asks for the lock of the session list (waits at most 10 s)", "lock", "invoke",
         {"path": "/x/sessions.json.lock", "timeout_s": 10.0}),
        ("process 7 was killed by signal 9", "actor.exit", "info", {"pid": 7, "code": -9}),
        ("process 7 ends with exit code 0", "actor.exit", "info", {"pid": 7, "code": 0}),
        (
            "FAULT: asks the gateway to end (SIGTERM)", "nemesis", "info",
            {"action": "terminate", "target": "gateway", "says": "asks the gateway to end (SIGTERM)"},
        ),
        ("FAULT: kill gateway", "nemesis", "info", {"action": "kill", "target": "gateway"}),
        ("asks model p/m", "model.call", "invoke", {"provider": "p", "model": "m"}),
        ("asks model m", "model.call", "invoke", {"model": "m"}),
        ("counts p/m as failed (timeout); none left", "model.decision", "info",
         {"decision": "candidate_failed", "candidate": "p/m", "reason": "timeout", "next": "none"}),
        ("stops the chain of models at p/m (limit)", "model.decision", "info",
         {"decision": "chain_stopped", "candidate": "p/m", "reason": "limit", "next": None}),
        ("has its answer from p/m", "model.decision", "info", {"decision": "candidate_succeeded", "candidate": "p/m"}),
        ("continues the turn in session s", "turn", "invoke", {"session_id": "s", "resumed": True}),
        ("gives the user an answer from the fallback, and a second answer is possible (exit code 5)", "client.result",
         "info", {"answered": True, "transport": "embedded", "exit_code": 5, "duplicate_possible": True}),
    ],
)  # fmt: skip
def test_sentences_speak_plainly(expected: str, op: str, phase: str, data: dict[str, object]) -> None:
    assert told(op, phase, **data) == expected


def test_a_long_error_is_cut_inside_a_sentence() -> None:
    text = told("client.result", answered=False, exit_code=1, error="E" * 500)

    assert text.endswith("E...")
    assert len(text) < 120


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "pid=1 /home/me/runs/7/state/agents/main/sessions/a.jsonl.lock",
            "pid=1 <state>/agents/main/sessions/a.jsonl.lock",
        ),
        ("a /home/me/x b /root/y /Users/you/z", "a ~/x b ~/y ~/z"),
        (
            "<state>/agents/main/sessions/a and ws://127.0.0.1:1/x",
            "<state>/agents/main/sessions/a and ws://127.0.0.1:1/x",
        ),
        ("log in /runs/7/logs/a.log, /runs/7/state/openclaw.json", "log in <run>/logs/a.log, <state>/openclaw.json"),
        ("/rooted/tree", "/rooted/tree"),
    ],
)
def test_paths_of_the_machine_are_shortened(text: str, expected: str) -> None:
    assert shorten(text, "/runs/7") == expected


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="/'\"()|"), min_size=1))
def test_no_state_folder_gets_into_a_sentence(folder: str) -> None:
    path = f"/home/{folder}/state/agents/main/sessions/a.jsonl.lock"

    assert told("client.stderr", line=f"locked: {path}") == "prints: locked: <state>/agents/main/sessions/a.jsonl.lock"


def test_long_session_ids_keep_both_ends() -> None:
    assert session_of("/s/" + "a" * 20 + "b" * 20 + ".jsonl") == "aaaaaaaaaaaaaaaa...bbbbbbbb"
    assert session_of("/s/gateway-fallback-703eda88-72b0-43b2-952d-4c3cfc97f98e.jsonl") == "gateway-fallback-703eda88"
    assert session_of(None) == ""


UUID = "9e051a52-72b0-43b2-952d-4c3cfc97f98e"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("plain", "plain"),
        (f"locked: <state>/agents/main/sessions/{UUID}.jsonl.lock", "locked: 9e051a52.jsonl.lock"),
        ("All failed: p/a: slow (timeout) | p/b: slow (timeout) | p/c: other | p/d: other",
         "All failed: p/a: slow (timeout) | p/b: the same | p/c: other | p/d: the same"),
        ("a | b", "a | b"),
    ],
)  # fmt: skip
def test_a_condensed_error_says_everything_once(error: str, expected: str) -> None:
    assert condensed(error) == expected


def test_a_detail_that_repeats_the_step_is_not_said_twice() -> None:
    step = Record(0.0, "client", "fallback", "info", {"step": "wait", "detail": "session lock"}, 0)
    assert sentence(step) == "waits for the session lock"
