"""Where a turn stands, and what a model gets to see."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lockjaw.sessions import CONTINUE_TEXT, Transcript, read_turn
from lockjaw.sessions.entries import Entry
from lockjaw.sessions.tree import context_of, instant_of, path_to, text_of

OpenTranscript = Callable[..., Transcript]
RUN = "30f8b4c4-3160-4d88-b195-072edc400bfc"


@pytest.fixture
def transcript(either: Path, open_transcript: OpenTranscript) -> Transcript:
    return open_transcript(either)


def prompt_error(model: str, run_id: str = RUN) -> dict[str, Any]:
    return {"runId": run_id, "provider": "p", "model": model, "error": "request timed out"}


def test_a_run_that_left_no_trace_has_no_turn(transcript: Transcript, say: Any, tmp_path: Path) -> None:
    assert transcript.turn_of(RUN) is None
    assert read_turn(tmp_path / "absent.jsonl", RUN) is None
    transcript.append_message(say.user("hi"), idempotencyKey="another")
    assert transcript.turn_of(RUN) is None
    assert transcript.turn_of(RUN, "hi") is None  # marked as another run's
    assert transcript.turn_of("", "") is None


def test_a_turn_begins_unanswered(transcript: Transcript, say: Any) -> None:
    user = transcript.append_message(say.user("hi"), idempotencyKey=RUN)
    turn = transcript.turn_of(RUN)
    assert turn is not None
    assert (turn.run_id, turn.user_entry_id, turn.answer, turn.answer_entry_id) == (RUN, user, None, None)
    assert (turn.pending_tool_calls, turn.failed_models) == ([], [])
    assert (turn.last_entry_id, turn.on_path) == (user, True)


def test_the_final_assistant_message_is_the_answer(transcript: Transcript, say: Any) -> None:
    transcript.append_message(say.user("hi"), idempotencyKey=RUN)
    transcript.append_message(say.assistant("let me see", calls=("c1",)))
    turn = transcript.turn_of(RUN)
    assert turn is not None
    assert turn.answer is None
    assert turn.pending_tool_calls == [{"id": "c1", "name": "exec", "arguments": {"command": "c1"}}]
    transcript.append_message(say.result("c1"))
    answer = transcript.append_message(say.assistant("done"))
    turn = transcript.turn_of(RUN)
    assert turn is not None
    assert turn.answer == say.assistant("done")
    assert turn.answer_entry_id == answer
    assert turn.pending_tool_calls == []


def test_an_answer_before_a_tool_call_is_not_final(transcript: Transcript, say: Any) -> None:
    transcript.append_message(say.user("hi"), idempotencyKey=RUN)
    transcript.append_message(say.assistant("done?"))
    transcript.append_message(say.assistant(calls=("c1",)))
    turn = transcript.turn_of(RUN)
    assert turn is not None
    assert turn.answer is None


def test_only_calls_without_a_result_are_pending_in_their_order(transcript: Transcript, say: Any) -> None:
    transcript.append_message(say.user("hi"), idempotencyKey=RUN)
    transcript.append_message(say.assistant(calls=("a", "b", "c")))
    transcript.append_message(say.result("b"))
    transcript.append_message(say.assistant("cut off", calls=("z",), stop="aborted"))  # z never ran
    turn = transcript.turn_of(RUN)
    assert turn is not None
    assert [call["id"] for call in turn.pending_tool_calls] == ["a", "c"]


@pytest.mark.parametrize("stop", ["error", "aborted"])
def test_a_failed_attempt_is_no_answer_and_names_its_model_once(transcript: Transcript, say: Any, stop: str) -> None:
    transcript.append_message(say.user("hi"), idempotencyKey=RUN)
    transcript.append_custom("openclaw:prompt-error", prompt_error("slow"))
    transcript.append_message(say.assistant("....", stop=stop, model="slow"))
    transcript.append_message(say.user(CONTINUE_TEXT))
    transcript.append_message(say.assistant("..", stop=stop, model="b"))
    transcript.append_custom("openclaw:prompt-error", {"runId": RUN})  # names no model
    transcript.append_custom("openclaw:prompt-error", prompt_error("c"))
    turn = transcript.turn_of(RUN)
    assert turn is not None
    assert turn.answer is None
    assert turn.failed_models == ["p/slow", "p/b", "p/c"]
    transcript.append_message(say.assistant("done", model="d"))
    turn = transcript.turn_of(RUN)
    assert turn is not None
    assert turn.answer is not None
    assert turn.answer["model"] == "d"


@pytest.mark.parametrize(
    "injected",
    [
        {"provider": "openclaw", "model": "gateway-injected", "openclawAbort": {"aborted": True, "runId": RUN}},
        {"provider": "openclaw", "model": "delivery-mirror"},
        {"openclawAbort": {"aborted": True, "runId": RUN}},
    ],
)
def test_an_injected_message_is_no_answer(transcript: Transcript, say: Any, injected: dict[str, Any]) -> None:
    transcript.append_message(say.user("hi"), idempotencyKey=RUN)
    transcript.append_message({**say.assistant("partial"), **injected})
    turn = transcript.turn_of(RUN)
    assert turn is not None
    assert turn.answer is None
    assert turn.failed_models == []


def test_continuations_belong_to_the_turn_and_other_questions_end_it(transcript: Transcript, say: Any) -> None:
    transcript.append_message(say.user("one"), idempotencyKey=RUN)
    transcript.append_message(say.user(CONTINUE_TEXT))
    last = transcript.append_message(say.assistant("first"))
    transcript.append_message(say.user("two"), idempotencyKey="other")
    transcript.append_message(say.assistant("second"))
    transcript.append_message(say.user(CONTINUE_TEXT), idempotencyKey="other")
    turn = transcript.turn_of(RUN)
    assert turn is not None
    assert turn.answer == say.assistant("first")
    assert (turn.last_entry_id, turn.on_path) == (last, False)


def test_a_question_asked_again_beside_the_first_is_the_same_turn(transcript: Transcript, say: Any) -> None:
    transcript.append_message(say.assistant("before"))
    transcript.append_message(say.user("hi"), idempotencyKey=RUN)
    transcript.append_message(say.assistant("..", stop="error", model="a"))
    transcript._leaf_id = transcript.entries[0].id
    second = transcript.append_message(say.user("hi"), idempotencyKey=RUN)
    transcript.append_message(say.assistant("yes"))
    turn = transcript.turn_of(RUN)
    assert turn is not None
    assert (turn.user_entry_id, turn.failed_models) == (second, ["p/a"])
    assert turn.answer == say.assistant("yes")


@pytest.mark.parametrize(
    ("name", "run_id", "user", "failed"),
    [
        ("chain-2026.4.8", "aa71b9c5-5c9d-4fa3-85ba-b4c6498d6101", "8b30d275", ["qiniu/deepseek-v3"]),
        ("abort-2026.5.7", "afe469f8-4fda-49cc-b3c7-b0ce732825ba", "f35605f3", ["qiniu/deepseek-v3"]),
        ("chain-2026.5.7", RUN, "15ec3834", ["qiniu/deepseek-v3", "qiniu/kimi-k2", "qiniu/glm-4.5"]),
    ],
)
def test_the_turn_of_a_real_run_is_found_by_what_it_left_behind_and_by_its_text(
    data: Path, name: str, run_id: str, user: str, failed: list[str]
) -> None:
    path = data / f"{name}.jsonl"
    by_trace, by_text = read_turn(path, run_id), read_turn(path, "unknown", "long task", 1_795_364_487_133)
    for turn in (by_trace, by_text):
        assert turn is not None
        assert (turn.user_entry_id, turn.failed_models, turn.answer, turn.on_path) == (user, failed, None, True)
        assert turn.pending_tool_calls == []
    assert read_turn(path, "unknown") is None
    assert read_turn(path, "unknown", "long task", 1_895_364_487_133) is None
    assert read_turn(path, "unknown", "longer task") is None


def test_the_trace_of_a_run_is_also_in_its_injected_answer(transcript: Transcript, say: Any) -> None:
    user = transcript.append_message(say.user("hi"))
    transcript.append_message({**say.assistant("part"), "openclawAbort": {"aborted": True, "runId": RUN}})
    turn = transcript.turn_of(RUN)
    assert turn is not None
    assert turn.user_entry_id == user


def test_a_trace_without_a_question_above_it_proves_nothing(transcript: Transcript) -> None:
    transcript.append_custom("openclaw:prompt-error", prompt_error("a"))
    assert transcript.turn_of(RUN) is None


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        ("yes", True),
        ("[Sun 2026-11-22 16:21 UTC] yes", True),
        ("System: something happened\n\n[Sun 2026-11-22 16:21 UTC] yes", True),
        ("System: something happened\n\nyes", True),
        ("I said yes", False),
        ("no\nyes", False),
        ("yes!", False),
    ],
)
def test_a_message_is_found_by_its_text_with_what_the_gateway_puts_before_it(
    transcript: Transcript, say: Any, stored: str, found: bool
) -> None:
    transcript.append_message(say.user("yes"))
    last = transcript.append_message(say.user(stored))
    turn = transcript.turn_of(RUN, "yes")
    assert turn is not None
    assert (turn.user_entry_id == last) == found


def test_texts_are_joined_from_their_parts() -> None:
    assert text_of({"content": "plain"}) == "plain"
    parts = [{"type": "text", "text": "a"}, {"type": "image"}, "x", {"type": "text", "text": "b"}]
    assert text_of({"content": parts}) == "ab"
    assert text_of({"content": None}) == ""


def entry(entry_id: str, parent: str | None, **rest: Any) -> Entry:
    return Entry({"id": entry_id, "parentId": parent, "timestamp": "2026-11-22T16:21:27.099Z", **rest})


def message(entry_id: str, parent: str | None, text: str, role: str = "user", **rest: Any) -> Entry:
    return entry(entry_id, parent, type="message", message={"role": role, "content": text, **rest})


def test_the_walk_ends_at_an_unknown_parent_and_at_a_circle() -> None:
    entries = [message("a", "gone", "1"), message("b", "a", "2"), message("c", "d", "3"), message("d", "c", "4")]
    by_id = {one.id: one for one in entries}
    assert [one.id for one in path_to("b", by_id)] == ["a", "b"]
    assert [one.id for one in path_to("d", by_id)] == ["c", "d"]
    assert path_to("gone", by_id) == []
    assert path_to(None, by_id) == []


def test_the_newest_compaction_replaces_what_it_summed_up() -> None:
    path = [
        message("a", None, "1"),
        entry("k1", "a", type="compaction", summary="old", firstKeptEntryId="a"),
        message("b", "k1", "2"),
        message("c", "b", "3"),
        entry("k2", "c", type="compaction", summary="new", firstKeptEntryId="c"),
        message("d", "k2", "4"),
    ]
    first, *rest = context_of(path)
    assert first["role"] == "user"
    assert "<summary>\nnew\n</summary>" in first["content"][0]["text"]
    assert [one["content"] for one in rest] == ["3", "4"]
    lost = [*path[:4], entry("k2", "c", type="compaction", summary="new", firstKeptEntryId="gone"), path[5]]
    assert [one["content"] for one in context_of(lost)[1:]] == ["4"]


def test_entries_that_models_see_become_messages() -> None:
    path = [
        entry("0", None, type="model_change", provider="p", modelId="m"),
        entry("1", "0", type="branch_summary", summary="elsewhere", fromId="x"),
        entry("2", "1", type="branch_summary", summary=""),
        entry("3", "2", type="custom_message", customType="x", content="shown", display=True),
        entry("4", "3", type="custom", customType="x", data={}),
        message("5", "4", "hook", role="custom", timestamp=5),
        message("6", "5", "", role="bashExecution", command="ls", output="a"),
        message("7", "6", "", role="bashExecution", command="ls", output="a", excludeFromContext=True),
        message("8", "7", "?", role="fromTheFuture"),
        entry("9", "8", type="message", message="no object"),
        message("10", "9", "kept", role="toolResult"),
    ]
    assert [text_of(one) for one in context_of(path)] == [
        "The following is a summary of a branch that this conversation came back from:"
        "\n\n<summary>\nelsewhere\n</summary>",
        "shown",
        "hook",
        "Ran `ls`\n```\na\n```",
        "kept",
    ]
    assert {one["role"] for one in context_of(path)} == {"user", "toolResult"}


def test_the_instant_of_a_message_is_its_own_or_that_of_its_line() -> None:
    assert instant_of(message("a", None, "x", timestamp=7)) == 7
    assert instant_of(message("a", None, "x", timestamp="soon")) == 1_795_364_487_099
    assert instant_of(Entry({"type": "x", "id": "a"})) == 0


def test_calls_without_a_result_are_closed_once_and_counted(transcript: Transcript, say: Any) -> None:
    transcript.append_message(say.user("hi"))
    transcript.append_message(say.assistant("let me see", calls=("c1", "c2", "c3")))
    transcript.append_message(say.result("c2"))

    assert [transcript.close_open_calls() for _ in range(2)] == [2, 0]
    closed = [entry.message for entry in transcript.entries if entry.role == "toolResult"]
    assert [(m["toolCallId"], m.get("details")) for m in closed if m] == [
        ("c2", None), ("c1", {"interrupted": True}), ("c3", {"interrupted": True}),
    ]  # fmt: skip


def test_a_call_on_a_branch_that_the_conversation_has_left_is_not_closed(
    tmp_path: Path, open_transcript: OpenTranscript, say: Any
) -> None:
    file = tmp_path / "s.jsonl"
    before = open_transcript(file)
    before.append_message(say.user("hi"))
    before.append_message(say.assistant("let me see", calls=("c1",)))
    elsewhere = {"type": "message", "id": "beside00", "parentId": None, "timestamp": "t", "message": say.user("again")}
    with file.open("a") as stream:
        stream.write(json.dumps(elsewhere) + "\n")

    assert open_transcript(file).close_open_calls() == 0
