"""The real Anthropic SDK takes the fake for the real thing: replies parsed, errors raised as their classes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anthropic
import httpx
import pytest

CASES: list[tuple[int, type[anthropic.APIStatusError], str]] = [
    (400, anthropic.BadRequestError, "invalid_request_error"),
    (401, anthropic.AuthenticationError, "authentication_error"),
    (403, anthropic.PermissionDeniedError, "permission_error"),
    (404, anthropic.NotFoundError, "not_found_error"),
    (429, anthropic.RateLimitError, "rate_limit_error"),
    (500, anthropic.InternalServerError, "api_error"),
    (529, anthropic.InternalServerError, "overloaded_error"),
]
ASK: dict[str, Any] = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
TOOL = {"name": "exec", "input_schema": {"type": "object", "properties": {}}}
CALLS = [{"name": "exec", "arguments": {"command": "echo " + "x" * 60}}, {"name": "read", "arguments": {"path": "/é"}}]


@pytest.fixture
async def client(serve: Any) -> Any:
    """``sdk, rig = await client(models)``: an async SDK client of a fresh server."""
    opened: list[anthropic.AsyncAnthropic] = []

    async def connect(models: Any, *, max_retries: int = 0, **options: Any) -> Any:
        rig = await serve(models, **options)
        sdk = anthropic.AsyncAnthropic(base_url=rig.server.origin, api_key="k", max_retries=max_retries, timeout=20)
        opened.append(sdk)
        return sdk, rig

    yield connect
    for sdk in opened:
        await sdk.close()


async def test_a_reply_parses(client: Any) -> None:
    step = {"text": "Hello, wörld.", "reasoning": "Greet.", "usage": {"prompt": 9, "completion": 5, "cached": 2}}
    sdk, _ = await client({"m": [step]})
    reply = await sdk.messages.create(**ASK)
    assert [block.type for block in reply.content] == ["thinking", "text"]
    assert reply.content[0].thinking == "Greet."
    assert reply.content[1].text == "Hello, wörld."
    assert reply.stop_reason == "end_turn"
    assert (reply.usage.input_tokens, reply.usage.cache_read_input_tokens, reply.usage.output_tokens) == (7, 2, 5)
    assert reply._request_id == "req-1"
    assert [model.id async for model in sdk.models.list()] == ["m"]


@pytest.mark.parametrize(
    ("finish", "reason"), [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal")]
)
async def test_a_stream_parses_with_usage_and_stop_reason(client: Any, finish: str, reason: str) -> None:
    step = {"reasoning": "think hard", "text": "one two three", "inter_token_s": 0.5, "finish": finish}
    sdk, _ = await client({"m": [step]})
    async with sdk.messages.stream(**ASK) as stream:
        words = [text async for text in stream.text_stream]
        final = await stream.get_final_message()
    assert words == ["one", " two", " three"]
    assert final.content[0].thinking == "think hard"
    assert final.content[0].signature
    assert final.stop_reason == reason
    assert final.usage.output_tokens == 5


async def test_parallel_tool_calls_parse_streamed_and_whole_and_their_results_are_taken(client: Any) -> None:
    sdk, rig = await client({"m": [{"text": "Let me see.", "tool_calls": CALLS, "times": 2}, {"text": "Done."}]})
    whole = await sdk.messages.create(**ASK, tools=[TOOL])
    async with sdk.messages.stream(**ASK, tools=[TOOL]) as stream:
        streamed = await stream.get_final_message()
    for reply in (whole, streamed):
        assert reply.stop_reason == "tool_use"
        text, *calls = reply.content
        assert text.text == "Let me see."
        assert [call.name for call in calls] == ["exec", "read"]
        assert [call.input for call in calls] == [call["arguments"] for call in CALLS]
        assert len({call.id for call in calls}) == 2
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "ok"} for call in whole.content[1:]]
    turn = [{"role": "assistant", "content": whole.content}, {"role": "user", "content": results}]
    last = await sdk.messages.create(**ASK | {"messages": [*ASK["messages"], *turn]}, tools=[TOOL])
    assert last.content[0].text == "Done."
    with pytest.raises(anthropic.BadRequestError, match="were found without `tool_result` blocks immediately after"):
        await sdk.messages.create(**ASK | {"messages": [*ASK["messages"], turn[0], ASK["messages"][0]]})
    assert len(rig.server.verify()) == 1


async def test_the_sync_client_is_served_too(serve: Any) -> None:
    rig = await serve({"m": [{"text": "sync"}, {"error": {"kind": "overloaded"}}, {"text": "a b"}]})

    def talk() -> tuple[Any, Any, list[str]]:
        with anthropic.Anthropic(base_url=rig.server.origin, api_key="k", max_retries=0, timeout=20) as sdk:
            first = sdk.messages.create(**ASK)
            with pytest.raises(anthropic.InternalServerError) as caught:
                sdk.messages.create(**ASK)
            with sdk.messages.stream(**ASK) as stream:
                return first, caught.value, list(stream.text_stream)

    first, error, words = await asyncio.to_thread(talk)
    assert first.content[0].text == "sync"
    assert (error.status_code, error.body["error"]) == (529, {"type": "overloaded_error", "message": "Overloaded"})
    assert words == ["a", " b"]
    assert rig.server.verify(strict=True) == []


@pytest.mark.parametrize(("status", "kind", "type_"), CASES)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_are_raised_as_their_documented_classes(
    client: Any, status: int, kind: type[anthropic.APIStatusError], type_: str, stream: bool
) -> None:
    sdk, _ = await client({"m": [{"error": {"status": status, "message": "No.", "retry_after_s": 7}}]})
    with pytest.raises(kind) as caught:
        await sdk.messages.create(**ASK, stream=stream)
    assert caught.value.body["error"] == {"type": type_, "message": "No."}
    assert caught.value.response.headers["retry-after"] == "7"
    assert caught.value.request_id == "req-1"


async def test_an_error_in_mid_stream_raises_after_its_tokens(client: Any) -> None:
    sdk, _ = await client({"m": [{"text": "a b c", "error": {"kind": "overloaded", "after_tokens": 2}}]})
    seen: list[str] = []

    async def read() -> None:
        async with sdk.messages.stream(**ASK) as stream:
            async for text in stream.text_stream:
                seen.append(text)

    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        await read()
    assert seen == ["a", " b"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"messages": []}, "at least one message is required"),
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role: Input should be 'user' or 'assistant'"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 'first message must use the "user" role'),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}, "must be non-empty"),
        ({"tools": [{"name": "f"}]}, "tools.0.custom.input_schema: Field required"),
        ({"model": "claude"}, "model: claude"),
    ],
)
async def test_requests_are_refused_in_the_vendors_words(client: Any, change: dict[str, Any], message: str) -> None:
    sdk, rig = await client({"m": [{"text": "x"}]})
    with pytest.raises(anthropic.APIStatusError) as caught:
        await sdk.messages.create(**ASK | change)
    assert message in caught.value.body["error"]["message"]
    assert len(rig.server.verify()) == 1


async def test_retries_are_honoured_and_walk_the_script(client: Any) -> None:
    busy = {"error": {"kind": "overloaded", "headers": {"retry-after-ms": "1"}}, "times": 2}
    sdk, rig = await client({"m": [busy, {"text": "third time"}]}, max_retries=2)
    reply = await sdk.messages.create(**ASK)
    assert reply.content[0].text == "third time"
    assert rig.server.verify(strict=True) == []


async def test_every_block_of_a_stream_is_closed_before_the_next_one_opens(serve: Any) -> None:
    """The SDK forgives what other clients do not."""
    rig = await serve({"m": [{"reasoning": "a", "text": "b c", "tool_calls": [{"name": "f"}, {"name": "g"}]}]})
    async with httpx.AsyncClient(base_url=rig.server.origin, timeout=20) as client:
        reply = await client.post("/v1/messages", json=ASK | {"stream": True})
    events = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: ")]
    names = [line[7:] for line in reply.text.splitlines() if line.startswith("event: ")]
    assert names == [event["type"] for event in events]
    start, delta, stop = "content_block_start", "content_block_delta", "content_block_stop"
    assert names == [
        "message_start", start, "ping", delta, delta, stop, start, delta, delta, stop,
        start, delta, delta, stop, start, delta, delta, stop, "message_delta", "message_stop",
    ]  # fmt: skip
    blocks = [event["index"] for event in events if "index" in event]
    assert blocks == sorted(blocks)
    assert set(blocks) == {0, 1, 2, 3}


async def test_tokens_are_counted_without_taking_a_step(client: Any) -> None:
    sdk, rig = await client({"m": [{"text": "first"}]})
    ask = {"model": "m", "messages": [{"role": "user", "content": "x" * 400}], "tools": [TOOL]}
    counted = (await sdk.messages.count_tokens(**ask)).input_tokens
    reply = await sdk.messages.create(**ask, max_tokens=10)
    assert counted > 100
    assert (reply.content[0].text, reply.usage.input_tokens) == ("first", counted)
    assert rig.server.verify(strict=True) == []
    with pytest.raises(anthropic.NotFoundError, match="other"):
        await sdk.messages.count_tokens(model="other", messages=ASK["messages"])
    with pytest.raises(anthropic.BadRequestError, match="at least one message"):
        await sdk.messages.count_tokens(model="m", messages=[])
