"""The real OpenAI SDK takes the fake for the real thing: replies parsed, errors raised as their classes."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import openai
import pytest

CASES: list[tuple[int, type[openai.APIStatusError]]] = [
    (400, openai.BadRequestError),
    (401, openai.AuthenticationError),
    (403, openai.PermissionDeniedError),
    (404, openai.NotFoundError),
    (409, openai.ConflictError),
    (422, openai.UnprocessableEntityError),
    (429, openai.RateLimitError),
    (500, openai.InternalServerError),
    (503, openai.InternalServerError),
]
ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
TOOL = {"type": "function", "function": {"name": "exec", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
async def client(serve: Any) -> Any:
    """``client = await client(models)``: an async SDK client of a fresh server."""
    opened: list[openai.AsyncOpenAI] = []

    async def connect(models: Any, *, max_retries: int = 0, **options: Any) -> Any:
        rig = await serve(models, **options)
        sdk = openai.AsyncOpenAI(base_url=rig.server.base_url, api_key="k", max_retries=max_retries, timeout=20)
        opened.append(sdk)
        return sdk, rig

    yield connect
    for sdk in opened:
        await sdk.close()


async def test_a_reply_parses(client: Any) -> None:
    sdk, _ = await client({"m": [{"text": "Hello, wörld.", "usage": {"prompt": 3, "completion": 5, "cached": 2}}]})
    reply = await sdk.chat.completions.create(**ASK)
    assert reply.choices[0].message.content == "Hello, wörld."
    assert reply.choices[0].finish_reason == "stop"
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (3, 5, 8)
    assert reply.usage.prompt_tokens_details.cached_tokens == 2
    assert reply._request_id == "req-1"
    assert [model.id async for model in sdk.models.list()] == ["m"]


async def test_a_stream_parses_with_usage_and_finish_reason(client: Any) -> None:
    sdk, _ = await client({"m": [{"text": "one two three", "inter_token_s": 0.5, "finish": "length"}]})
    stream = await sdk.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "one two three"
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage.completion_tokens == 3
    assert len({chunk.id for chunk in chunks}) == 1


async def test_parallel_tool_calls_parse_streamed_and_whole(client: Any) -> None:
    calls = [
        {"name": "exec", "arguments": {"command": "echo " + "x" * 60}},
        {"name": "read", "arguments": {"path": "/é"}},
    ]
    sdk, _ = await client({"m": [{"text": "Let me see.", "tool_calls": calls}]})
    whole = (await sdk.chat.completions.create(**ASK, tools=[TOOL])).choices[0]
    async with sdk.chat.completions.stream(**ASK, tools=[TOOL]) as stream:
        streamed = (await stream.get_final_completion()).choices[0]
    for choice in (whole, streamed):
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content == "Let me see."
        assert [call.function.name for call in choice.message.tool_calls] == ["exec", "read"]
        assert choice.message.tool_calls[0].function.arguments == '{"command":"echo ' + "x" * 60 + '"}'
        assert choice.message.tool_calls[1].function.arguments == '{"path":"/é"}'
        assert len({call.id for call in choice.message.tool_calls}) == 2


async def test_the_sync_client_is_served_too(serve: Any) -> None:
    rig = await serve({"m": [{"text": "sync"}, {"error": {"status": 429, "message": "Slow down."}}, {"text": "a b"}]})

    def talk() -> tuple[Any, Any, list[Any]]:
        with openai.OpenAI(base_url=rig.server.base_url, api_key="k", max_retries=0, timeout=20) as sdk:
            first = sdk.chat.completions.create(**ASK)
            with pytest.raises(openai.RateLimitError) as caught:
                sdk.chat.completions.create(**ASK)
            return first, caught.value, list(sdk.chat.completions.create(**ASK, stream=True))

    first, error, chunks = await asyncio.to_thread(talk)
    assert first.choices[0].message.content == "sync"
    assert error.body["message"] == "Slow down."
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "a b"
    assert rig.server.verify(strict=True) == []


@pytest.mark.parametrize(("status", "kind"), CASES)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_are_raised_as_their_documented_classes(
    client: Any, status: int, kind: type[openai.APIStatusError], stream: bool
) -> None:
    error = {"status": status, "message": "No.", "code": "because", "headers": {"retry-after": "7"}}
    sdk, _ = await client({"m": [{"error": error}]})
    with pytest.raises(kind) as caught:
        await sdk.chat.completions.create(**ASK, stream=stream)
    assert type(caught.value) is kind
    assert caught.value.code == "because"
    assert caught.value.response.headers["retry-after"] == "7"


async def test_an_unknown_model_is_not_found_and_a_bad_request_is_bad(client: Any) -> None:
    sdk, rig = await client({"m": [{"text": "x"}]})
    with pytest.raises(openai.NotFoundError) as missing:
        await sdk.chat.completions.create(**ASK | {"model": "gpt"})
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="empty array"):
        await sdk.chat.completions.create(model="m", messages=[])
    assert len(rig.server.verify()) == 2


async def test_retries_are_honoured_and_walk_the_script(client: Any) -> None:
    refused = {"error": {"status": 429, "headers": {"retry-after-ms": "1"}}, "times": 2}
    sdk, rig = await client({"m": [refused, {"text": "third time"}]}, max_retries=2)
    reply = await sdk.chat.completions.create(**ASK)
    assert reply.choices[0].message.content == "third time"
    assert reply._request_id == "req-3"
    assert rig.server.verify(strict=True) == []


@pytest.mark.parametrize("how", ["rst", "mid_chunk", "fin"])
async def test_a_stream_that_breaks_raises_after_its_tokens(client: Any, how: str) -> None:
    sdk, _ = await client({"m": [{"text": "a b c", "disconnect": {"after_tokens": 2, "how": how}}]})
    stream = await sdk.chat.completions.create(**ASK, stream=True)
    seen: list[str | None] = []

    async def read() -> None:
        async for chunk in stream:
            seen.append(chunk.choices[0].delta.content)

    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError, openai.APIConnectionError)):
        await read()
    assert seen == ["a", " b"]


async def test_cancelling_the_client_ends_the_request_on_the_server(client: Any) -> None:
    sdk, rig = await client({"m": [{"never_answer": True}]})
    call = asyncio.create_task(sdk.chat.completions.create(**ASK, stream=True))
    await rig.entries.wait("req")
    call.cancel()
    assert (await rig.entries.wait("client-gone"))["request_id"] == "req-1"
    with pytest.raises(asyncio.CancelledError):
        await call


# --------------------------------------------------------------------------- Responses


async def test_a_response_parses_with_reasoning_calls_and_usage(client: Any) -> None:
    calls = [{"name": "exec", "arguments": {"command": "ls"}}, {"name": "read", "arguments": {"path": "/é"}}]
    usage = {"prompt": 9, "completion": 8, "cached": 2, "reasoning": 1}
    step = {"reasoning": "Look first.", "text": "Let me see.", "tool_calls": calls, "usage": usage}
    sdk, _ = await client({"m": [step]})
    whole = await sdk.responses.create(model="m", input="hi")
    async with sdk.responses.stream(model="m", input="hi") as stream:
        types = [event.type async for event in stream]
        streamed = await stream.get_final_response()
    for reply in (whole, streamed):
        assert reply.output_text == "Let me see."
        assert [item.type for item in reply.output] == ["reasoning", "message", "function_call", "function_call"]
        assert reply.output[0].summary[0].text == "Look first."
        assert [item.arguments for item in reply.output[2:]] == ['{"command":"ls"}', '{"path":"/é"}']
        assert len({item.call_id for item in reply.output[2:]}) == 2
        assert (reply.usage.input_tokens, reply.usage.total_tokens) == (9, 17)
        assert (reply.usage.input_tokens_details.cached_tokens, reply.status) == (2, "completed")
    assert types[:2] == ["response.created", "response.in_progress"]
    assert types[-1] == "response.completed"
    assert types.count("response.output_item.added") == types.count("response.output_item.done") == 4


async def test_a_cut_short_response_says_why(client: Any) -> None:
    sdk, _ = await client({"m": [{"text": "x", "finish": "length"}]})
    reply = await sdk.responses.create(model="m", input="hi")
    assert (reply.status, reply.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    stream = await sdk.responses.create(model="m", input="hi", stream=True)
    assert [event async for event in stream][-1].type == "response.incomplete"


async def test_a_tool_result_needs_its_call_and_a_call_its_result(client: Any) -> None:
    sdk, _ = await client({"m": [{"text": "Done."}]})
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c1", "output": "ok"}
    reply = await sdk.responses.create(model="m", input=[{"role": "user", "content": "hi"}, call, result])
    assert reply.output_text == "Done."
    for items, message in (([result], "No tool call found for function call output"), ([call], "No tool output found")):
        with pytest.raises(openai.BadRequestError, match=message):
            await sdk.responses.create(model="m", input=items)
    with pytest.raises(openai.BadRequestError, match="must be provided"):
        await sdk.responses.create(model="m")


async def test_an_error_in_mid_stream_raises_or_is_an_event(client: Any) -> None:
    error = {"kind": "server_error", "after_tokens": 1, "message": "It broke."}
    sdk, _ = await client({"m": [{"text": "a b", "error": error}]})
    stream = await sdk.chat.completions.create(**ASK, stream=True)
    assert (await anext(stream)).choices[0].delta.content == "a"
    with pytest.raises(openai.APIError, match=r"It broke\."):
        await anext(stream)
    events = [event async for event in await sdk.responses.create(model="m", input="hi", stream=True)]
    assert (events[-1].type, events[-1].message, events[-1].code) == ("error", "It broke.", "server_error")


async def test_reasoning_content_stands_beside_the_text(client: Any) -> None:
    sdk, _ = await client({"m": [{"reasoning": "Think.", "text": "Say."}]})
    whole = (await sdk.chat.completions.create(**ASK)).choices[0].message
    assert (whole.reasoning_content, whole.content) == ("Think.", "Say.")
    chunks = [chunk async for chunk in await sdk.chat.completions.create(**ASK, stream=True)]
    thoughts = [getattr(chunk.choices[0].delta, "reasoning_content", None) or "" for chunk in chunks]
    assert "".join(thoughts) == "Think."
