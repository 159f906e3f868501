"""The outcome object, from hand-written histories."""

from __future__ import annotations

from typing import Any

import pytest

from lockjaw.harness.judge.outcome import outcome_of
from lockjaw.harness.judge.skeleton import skeleton, skeleton_hash
from lockjaw.history import Record
from lockjaw.history.run import ClientOutcome, Outcome

LOCK = "/state/agents/main/sessions/s.jsonl.lock"


def history(*steps: tuple[str, str, str, dict[str, Any]]) -> list[Record]:
    return [Record(float(i), actor, op, phase, data, i) for i, (actor, op, phase, data) in enumerate(steps)]  # type: ignore[arg-type]


def locked(
    actor: str = "client", path: str = LOCK, kind: str = "timeout"
) -> list[tuple[str, str, str, dict[str, Any]]]:
    return [
        (actor, "lock", "invoke", {"path": path, "timeout_s": 10.0}),
        (actor, "lock", "fail", {"path": path, "kind": kind, "waited_s": 10.5}),
    ]


def step(name: str) -> tuple[str, str, str, dict[str, Any]]:
    return ("client", "fallback", "info", {"policy": "p", "step": name})


CALL = ("client", "client.call", "invoke", {"method": "agent", "run_id": "r"})


def test_empty_history_answers_nothing() -> None:
    assert outcome_of([]) == Outcome(False, None, 0, 0, 0, 0, False, None, None)


def test_result_of_the_client_is_the_outcome() -> None:
    found = outcome_of(
        history(
            CALL,
            ("models", "provider.request", "invoke", {}),
            ("models", "provider.request", "ok", {}),
            ("models", "provider.request", "invoke", {}),
            (
                "client",
                "client.result",
                "info",
                {"answered": True, "reply": "hi", "exit_code": 5, "duplicate_possible": True},
            ),
            ("harness", "actor.exit", "info", {"role": "client", "code": 5, "actor": "client"}),
            ("harness", "actor.exit", "info", {"role": "gateway", "code": -9, "actor": "gateway"}),
            ("harness", "transcript.final", "info", {"path": "/a.jsonl"}),
            ("harness", "transcript.final", "info", {"path": "/b.jsonl"}),
        )
    )
    alone = ClientOutcome("client", True, 5, True, "hi", None)
    assert found == Outcome(True, 5, 0, 0, 2, 2, True, "hi", None, "client", (alone,))


def result_of(client: str, **data: Any) -> tuple[str, str, str, dict[str, Any]]:
    return (
        client,
        "client.result",
        "info",
        {"answered": "reply" in data, "exit_code": int("reply" not in data)} | data,
    )


def test_of_several_clients_the_one_without_an_answer_speaks_and_each_is_named() -> None:
    found = outcome_of(history(result_of("first", error="E: locked"), result_of("second", reply="hi")))
    assert (found.answered, found.client, found.error, found.reply, found.exit_code) == (
        False, "first", "E: locked", None, 1
    )  # fmt: skip
    assert [(one.name, one.answered, one.reply, one.error) for one in found.clients] == [
        ("first", False, None, "E: locked"), ("second", True, "hi", None)
    ]  # fmt: skip


def test_of_several_clients_that_all_got_an_answer_the_last_speaks() -> None:
    found = outcome_of(history(result_of("b", reply="1"), result_of("a", reply="2"), result_of("b", reply="3")))
    assert (found.answered, found.client, found.reply) == (True, "b", "3")


def test_a_client_that_a_fault_ended_waits_for_no_answer() -> None:
    killed = ("harness", "nemesis", "info", {"action": "kill", "target": "first"})
    began = ("first", "client.call", "invoke", {"method": "agent"})
    found = outcome_of(history(began, killed, result_of("second", reply="hi")))
    assert (found.answered, found.client, found.clients[0].ended_by_fault) == (True, "second", True)
    assert not outcome_of(history(began, killed)).answered


def test_exit_code_of_the_process_beats_the_promised_one() -> None:
    result = ("client", "client.result", "info", {"answered": False, "exit_code": 1, "error": "E: no"})
    assert outcome_of(history(CALL, result)).exit_code == 1
    killed = ("harness", "actor.exit", "info", {"role": "client", "code": -9, "actor": "client"})
    found = outcome_of(history(CALL, result, killed))
    assert (found.exit_code, found.error) == (-9, "E: no")


def test_each_lock_wait_that_ran_out_counts() -> None:
    assert outcome_of(history(CALL, step("rerun"), *locked(), *locked(), *locked())).session_locked_errors == 3


@pytest.mark.parametrize(
    "steps",
    [
        locked("gateway"),  # not the user's attempt
        locked(path="/state/agents/main/sessions/sessions.json.lock"),  # no conversation
        locked(kind="aborted"),  # called off
        [step("wait"), *locked(), step("fence")],  # a step of the takeover
    ],
)
def test_other_lock_failures_are_no_attempts_of_the_user(steps: list[Any]) -> None:
    assert outcome_of(history(CALL, *steps)).session_locked_errors == 0


def test_lock_error_after_the_policys_own_wait_counts() -> None:
    assert outcome_of(history(CALL, step("wait"), *locked(), step("rerun"), *locked())).session_locked_errors == 1


def run_of(actor: str, run_id: str, resumed: bool = False) -> list[tuple[str, str, str, dict[str, Any]]]:
    turn = {"turn_id": "r", "run_id": run_id, "session_id": "s", "message": "m"}
    return [
        (actor, "turn", "invoke", turn | {"resumed": resumed}),
        (actor, "model.call", "invoke", {"call_id": run_id, "run_id": run_id}),
        (actor, "model.call", "fail", {"call_id": run_id, "run_id": run_id}),
        (actor, "turn", "fail", turn),
    ]


def test_turn_that_was_continued_was_executed_once() -> None:
    assert outcome_of(history(CALL, *run_of("gateway", "r"), *run_of("client", "t", resumed=True))).turn_executions == 1


def test_turn_that_was_begun_again_was_executed_twice() -> None:
    found = outcome_of(history(CALL, *run_of("gateway", "r"), *run_of("client", "f")))
    assert (found.turn_executions, found.sessions) == (2, 1)


# --------------------------------------------------------------------------- the skeleton


def test_skeleton_forgets_times_ids_and_the_interleaving() -> None:
    one = history(
        ("a", "turn", "invoke", {"run_id": "1", "resumed": False}), ("b", "lock", "ok", {"path": "/x", "waited_s": 1.0})
    )
    two = history(
        ("b", "lock", "ok", {"path": "/y", "waited_s": 2.0}), ("a", "turn", "invoke", {"run_id": "2", "resumed": False})
    )
    assert skeleton_hash(one) == skeleton_hash(two)
    assert skeleton_hash(one).startswith("sha256:")


def test_skeleton_keeps_order_within_an_actor_and_what_happened() -> None:
    base = history(("a", "lock", "ok", {}), ("a", "turn", "invoke", {"resumed": False}))
    swapped = history(("a", "turn", "invoke", {"resumed": False}), ("a", "lock", "ok", {}))
    resumed = history(("a", "lock", "ok", {}), ("a", "turn", "invoke", {"resumed": True}))
    failed = history(("a", "lock", "fail", {}), ("a", "turn", "invoke", {"resumed": False}))
    assert len({skeleton_hash(h) for h in (base, swapped, resumed, failed)}) == 4


def test_skeleton_sorts_what_was_collected_and_drops_what_was_printed() -> None:
    left = [
        ("harness", "ledger", "info", {"key": "a", "count": 1}),
        ("harness", "ledger", "info", {"key": "b", "count": 1}),
    ]
    said = ("client", "client.stderr", "info", {"line": "lane task error durationMs=1"})
    assert skeleton_hash(history(*left)) == skeleton_hash(history(said, *reversed(left)))
    assert [r.i for r in skeleton(history(*left, CALL))] == [0, 1, 2]


def test_what_a_client_recorded_instead_of_text_becomes_text() -> None:
    odd = ("client", "client.result", "info", {"answered": True, "reply": ["a", 1], "error": 7})
    found = outcome_of(history(CALL, odd))
    assert (found.reply, found.error) == ("['a', 1]", "7")
