"""From transcript to request."""

from __future__ import annotations

from typing import Any

from lockjaw.runner.fallback import CONTINUE_PROMPT
from lockjaw.runner.wire import IMAGE_NOTE, NO_RESULT, wire_messages


def user(words: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": words}]}


def assistant(*parts: dict[str, Any], stop: str = "stop") -> dict[str, Any]:
    return {"role": "assistant", "content": list(parts), "stopReason": stop}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def call(call_id: str) -> dict[str, Any]:
    return {"type": "toolCall", "id": call_id, "name": "exec", "arguments": {"command": "ä"}}


def result(call_id: str, words: str = "out") -> dict[str, Any]:
    return {"role": "toolResult", "toolCallId": call_id, "toolName": "exec", "content": [text(words)]}


def test_system_prompt_comes_first_and_may_be_absent() -> None:
    assert wire_messages([user("hi")], "be kind") == [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "hi"},
    ]
    assert wire_messages([{"role": "user", "content": "hi"}], "") == [{"role": "user", "content": "hi"}]


def test_calls_and_results_go_out_paired() -> None:
    wire = wire_messages([user("hi"), assistant(call("a"), call("b"), stop="toolUse"), result("a"), result("b")], "")
    assert wire[1] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": i, "type": "function", "function": {"name": "exec", "arguments": '{"command":"ä"}'}} for i in "ab"
        ],
    }
    assert wire[2:] == [{"role": "tool", "tool_call_id": i, "content": "out"} for i in "ab"]


def test_result_follows_its_call_wherever_the_transcript_has_it() -> None:
    context = [user("hi"), assistant(call("a"), stop="toolUse"), assistant(text("cut"), stop="aborted"), result("a")]
    assert [message["role"] for message in wire_messages(context, "")] == ["user", "assistant", "tool", "assistant"]


def test_call_without_result_gets_one_that_says_so() -> None:
    wire = wire_messages([user("hi"), assistant(call("a"), stop="toolUse")], "")
    assert wire[-1] == {"role": "tool", "tool_call_id": "a", "content": NO_RESULT}


def test_orphan_and_second_results_stay_at_home() -> None:
    context = [user("hi"), assistant(call("a"), stop="toolUse"), result("a", "1"), result("a", "2"), result("z")]
    tools = [message for message in wire_messages(context, "") if message["role"] == "tool"]
    assert tools == [{"role": "tool", "tool_call_id": "a", "content": "1"}]


def test_empty_result_says_that_there_was_no_output() -> None:
    context = [assistant(call("a"), stop="toolUse"), {**result("a"), "content": []}]
    assert wire_messages(context, "")[-1]["content"] == "(no output)"


def test_failed_messages_keep_their_words_but_not_their_cut_off_calls() -> None:
    context = [user("hi"), assistant(text("half"), call("a"), stop="aborted"), user("go on")]
    assert wire_messages(context, "") == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "half"},
        {"role": "user", "content": "go on"},
    ]


def test_failed_message_keeps_a_call_that_has_a_result() -> None:
    wire = wire_messages([user("hi"), assistant(call("a"), call("b"), stop="error"), result("a")], "")
    assert [c["id"] for c in wire[1]["tool_calls"]] == ["a"]


def test_messages_that_say_nothing_are_left_out() -> None:
    context = [user("hi"), assistant(stop="aborted"), assistant(text(" "), stop="error"), user("  "), {"role": "x"}]
    assert wire_messages(context, "") == [{"role": "user", "content": "hi"}]


def test_neighbours_of_one_role_are_joined() -> None:
    context = [user("a"), user("b"), assistant(text("c"), stop="aborted"), assistant(text("d"))]
    assert [m["content"] for m in wire_messages(context, "")] == ["a\n\nb", "c\n\nd"]


def test_message_with_calls_joins_a_partial_answer_before_it_but_not_one_after_it() -> None:
    context = [assistant(text("c"), stop="aborted"), assistant(call("a"), stop="toolUse"), result("a")]
    wire = wire_messages(context, "")
    assert (wire[0]["content"], len(wire[0]["tool_calls"]), wire[1]["role"]) == ("c", 1, "tool")


def test_upstream_mode_sends_three_messages_to_the_second_candidate() -> None:
    # evidence/openclaw-2026.4.8/model-requests.jsonl: nmsgs 2, then 3
    context = [user("long task"), assistant(text("..."), stop="aborted"), user(CONTINUE_PROMPT)]
    wire = wire_messages(context, "s", upstream=True)
    assert [m["role"] for m in wire] == ["system", "user", "user"]
    # 5.7: the prompt is sent but stands in no transcript
    assert wire == wire_messages(context[:2], "s", prompt=CONTINUE_PROMPT, upstream=True)


def test_continuation_prompt_follows_the_partial_answer() -> None:
    wire = wire_messages([user("long task"), assistant(text("..."), stop="aborted")], "", prompt=CONTINUE_PROMPT)
    assert [m["role"] for m in wire] == ["user", "assistant", "user"]


def test_images_are_left_out_with_a_note() -> None:
    image = {"type": "image", "data": "", "mimeType": "image/png"}
    note = IMAGE_NOTE.format(count=1)
    context = [{"role": "user", "content": [text("look"), image]}, assistant(text("?"))]
    assert wire_messages(context, "")[0]["content"] == f"look\n{note}"
    assert wire_messages([{"role": "user", "content": [image]}], "")[0]["content"] == note
