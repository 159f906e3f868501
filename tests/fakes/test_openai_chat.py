"""The vendor's wire form: what is refused, in which words, and what replies look like."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockjaw.fakes.models.wires import OPENAI_CHAT
from lockjaw.fakes.models.wires.openai_chat import ChatStream, OpenAIChat, usage_object
from lockjaw.fakes.models.wires.surface import ApiError, ChatRequest, Reply, ReplyCall, RequestRefused, Tokens

MISSING = "missing_required_parameter"
USER = {"role": "user", "content": "hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ASKED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "done"}


def parse(**body: Any) -> ChatRequest:
    return OpenAIChat().parse("", json.dumps({"model": "m", "messages": [USER], **body}).encode())


def refusal(body: bytes | dict[str, Any]) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        OpenAIChat().parse("", body if isinstance(body, bytes) else json.dumps(body).encode())
    return caught.value


def test_a_request_tells_what_the_journal_and_the_reply_need() -> None:
    request = parse(stream=True, stream_options={"include_usage": True}, max_completion_tokens=5, tools=[
        {"type": "function", "function": {"name": "f"}}])  # fmt: skip
    assert (request.model, request.stream, request.include_usage, request.messages) == ("m", True, True, 1)
    assert request.keys == ("max_completion_tokens", "messages", "model", "stream", "stream_options", "tools")
    assert request.prompt_tokens >= 1


@pytest.mark.parametrize(
    ("change", "message", "param", "code"),
    [
        (
            {"messages": None},
            "Invalid type for 'messages': expected an array of objects, but got null",
            "messages",
            "invalid_type",
        ),
        ({"messages": "hi"}, "but got a string instead.", "messages", "invalid_type"),
        ({"messages": []}, "Invalid 'messages': empty array.", "messages", "empty_array"),
        ({"messages": [3]}, "but got an integer instead.", "messages[0]", "invalid_type"),
        (
            {"messages": [{"content": "x"}]},
            "Missing required parameter: 'messages[0].role'.",
            "messages[0].role",
            MISSING,
        ),
        (
            {"messages": [{"role": "robot", "content": "x"}]},
            "Invalid value: 'robot'. Supported values are: 'system'",
            "messages[0].role",
            "invalid_value",
        ),
        (
            {"messages": [{"role": "user"}]},
            "Invalid type for 'messages[0].content'",
            "messages[0].content",
            "invalid_type",
        ),
        (
            {"messages": [{"role": "user", "content": 1.5}]},
            "but got a decimal number",
            "messages[0].content",
            "invalid_type",
        ),
        (
            {"messages": [{"role": "assistant"}]},
            "Invalid type for 'messages[0].content'",
            "messages[0].content",
            "invalid_type",
        ),
        ({"messages": [RESULT]}, "messages with role 'tool' must be a response", "messages[0].role", None),
        (
            {"messages": [{"role": "tool", "content": "x"}]},
            "Missing required parameter",
            "messages[0].tool_call_id",
            MISSING,
        ),
        ({"messages": [USER, ASKED]}, "did not have response messages: c1", "messages[1].role", None),
        ({"messages": [USER, ASKED, USER]}, "did not have response messages: c1", "messages[2].role", None),
        (
            {"messages": [USER, ASKED, RESULT, RESULT]},
            "must be a response to a preceeding message",
            "messages[3].role",
            None,
        ),
        (
            {"messages": [{"role": "assistant", "content": "x", "tool_calls": {}}]},
            "but got an object",
            "messages[0].tool_calls",
            "invalid_type",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [1]}]},
            "Invalid type",
            "messages[0].tool_calls[0]",
            "invalid_type",
        ),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "Missing", "messages[0].tool_calls[0].id", MISSING),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "x"}]}]},
            "Missing",
            "messages[0].tool_calls[0].function.name",
            MISSING,
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{"id": "x", "function": {"name": "f", "arguments": {}}}]}
                ]
            },
            "expected a string",
            "messages[0].tool_calls[0].function.arguments",
            "invalid_type",
        ),
        ({"stream": "yes"}, "Invalid type for 'stream': expected a boolean", "stream", "invalid_type"),
        ({"stream_options": {"include_usage": True}}, "only allowed when 'stream' is enabled", "stream_options", None),
        ({"stream": True, "stream_options": []}, "but got an array", "stream_options", "invalid_type"),
        ({"max_tokens": 0}, "Expected a value >= 1, but got 0", "max_tokens", "integer_below_min_value"),
        ({"max_completion_tokens": "9"}, "expected an integer", "max_completion_tokens", "invalid_type"),
        ({"max_tokens": True}, "but got a boolean", "max_tokens", "invalid_type"),
        ({"n": 2}, "'n' must be 1", "n", "unsupported_value"),
        ({"tools": {}}, "but got an object", "tools", "invalid_type"),
        ({"tools": ["f"]}, "expected an object", "tools[0]", "invalid_type"),
        ({"tools": [{"function": {}}]}, "Missing", "tools[0].type", MISSING),
        ({"tools": [{"type": "function", "function": {}}]}, "Missing", "tools[0].function.name", MISSING),
    ],
)
def test_bad_requests_are_refused_in_the_vendors_words(
    change: dict[str, Any], message: str, param: str, code: str | None
) -> None:
    refused = refusal({"model": "m", "messages": [USER], **change})
    assert refused.model == "m"
    assert message in refused.error.message
    body = json.loads(OPENAI_CHAT.error_body(refused.error, ""))["error"]
    assert (body["type"], body["param"], body["code"]) == ("invalid_request_error", param, code)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "could not parse the JSON body"),
        (b"{", "could not parse the JSON body"),
        (b"\xff", "could not parse the JSON body"),
        (b"[" * 100_000, "could not parse the JSON body"),
        (b"[]", "expected a JSON object"),
        (b"{}", "you must provide a model parameter"),
        (b'{"model": 4}', "you must provide a model parameter"),
        (b'{"model": "m"}', "Missing required parameter: 'messages'."),
    ],
)
def test_bodies_that_are_no_request_are_refused(body: bytes, message: str) -> None:
    assert message in refusal(body).error.message


def test_answered_tool_calls_pass_in_any_order_and_other_tools_are_the_vendors_business() -> None:
    second = {**CALL, "id": "c2"}
    asked = {"role": "assistant", "tool_calls": [CALL, second]}
    answers = [{**RESULT, "tool_call_id": "c2"}, RESULT]
    assert parse(messages=[USER, asked, *answers, USER], tools=[{"type": "custom"}], n=1).messages == 5
    assert parse(messages=[{"role": "assistant", "function_call": {"name": "f"}}], n=None, stream=None).stream is False
    assert parse(messages=[{"role": "user", "content": [{"type": "text", "text": "hi"}]}]).messages == 1


KEYS = st.sampled_from(["role", "content", "tool_calls", "tool_call_id", "id", "function", "name", "arguments"])
LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text() | st.sampled_from(["assistant", "tool"])


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner)))
def test_any_json_is_a_request_or_a_refusal(value: Any) -> None:
    outcome: Any = None
    try:
        outcome = OpenAIChat().parse("", msgspec.json.encode({"model": "m", "messages": [value]}))
    except RequestRefused as refused:
        outcome = refused.error
    assert isinstance(outcome, ChatRequest) or outcome.status == 400


@pytest.mark.parametrize(
    ("error", "type_", "code"),
    [
        (ApiError(429, "x"), "requests", "rate_limit_exceeded"),
        (ApiError(401, "x"), "invalid_request_error", "invalid_api_key"),
        (ApiError(500, "x"), "server_error", None),
        (ApiError(503, "x", code="busy"), "server_error", "busy"),
        (ApiError(418, "x"), "invalid_request_error", None),
        (ApiError(429, "x", "tokens"), "tokens", None),
        (
            ApiError(400, "x", "invalid_request_error", "context_length_exceeded", "messages"),
            "invalid_request_error",
            "context_length_exceeded",
        ),
    ],
)
def test_errors_take_the_vendors_type_and_code_unless_the_script_names_them(
    error: ApiError, type_: str, code: str | None
) -> None:
    body = json.loads(OPENAI_CHAT.error_body(error, ""))["error"]
    assert (body["message"], body["type"], body["code"]) == ("x", type_, code)


def events(wire: bytes) -> list[Any]:
    assert wire.endswith(b"\n\n")
    return [part.removeprefix(b"data: ") for part in wire.split(b"\n\n")[:-1]]


def reply(*calls: ReplyCall, text: str = "", usage: Tokens | None = None, include_usage: bool = False) -> Reply:
    request = ChatRequest("m", True, include_usage, 1, (), 3)
    return Reply(request, "KEY", 7, "", text, calls, "stop", usage or Tokens(1, 1), usage is not None)


def test_a_tool_call_goes_out_as_a_head_and_fragments_that_concatenate() -> None:
    arguments = json.dumps({"command": "echo ünïcødé " * 5}, ensure_ascii=False)
    wire = ChatStream(reply()).tool_call(0, ReplyCall("c9", "key", "exec", arguments))
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events(wire)]
    assert deltas[0]["role"] == "assistant"
    assert deltas[0]["content"] is None
    assert deltas[0]["tool_calls"][0]["id"] == "c9"
    assert len(deltas) > 3
    assert "".join(delta["tool_calls"][0]["function"]["arguments"] for delta in deltas) == arguments


def test_usage_stands_alone_when_it_was_asked_for_and_in_the_finish_chunk_when_the_script_states_it() -> None:
    usage = Tokens(1, 2, 3, 4)
    asked = events(ChatStream(reply(usage=usage, include_usage=True)).finish())
    assert json.loads(asked[0])["usage"] is None
    assert json.loads(asked[1])["choices"] == []
    assert json.loads(asked[1])["usage"] == usage_object(usage)
    unasked = events(ChatStream(reply(usage=usage)).finish())
    assert json.loads(unasked[0])["usage"] == usage_object(usage)
    assert "usage" not in json.loads(events(ChatStream(reply()).finish())[0])


def test_a_whole_reply_without_text_has_null_content_only_beside_tool_calls() -> None:
    empty = json.loads(OPENAI_CHAT.whole(reply()))
    assert empty["choices"][0]["message"] == {"role": "assistant", "content": ""}
    called = json.loads(OPENAI_CHAT.whole(reply(ReplyCall("c", "key", "f", "{}"))))
    assert called["choices"][0]["message"]["content"] is None
    assert called["choices"][0]["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
