"""The model client: requests, answers, failures, time limits, and connections that must close."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from lockjaw.clock import ScaledClock
from lockjaw.errors import ModelFailure, UsageError
from lockjaw.runner import completion, models
from lockjaw.runner.completion import error_code, error_text
from lockjaw.runner.models import (
    Delta,
    ModelClient,
    ModelReply,
    ModelRequest,
    Partial,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    retry_after_s,
)
from lockjaw.runner.sse import EventStream
from lockjaw.settings import ModelRef, Provider

KEY = "sk-very-secret-key"
REF = ModelRef("mock", "m1")
BASE = "http://127.0.0.1:18080/v1"
URL = f"{BASE}/chat/completions"
SSE = {"content-type": "text/event-stream"}
REQUEST = ModelRequest(REF, [{"role": "user", "content": "hi"}])


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": "c1", "choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **more}


def sse(*chunks: Any, done: bool = True) -> bytes:
    lines = [f"data: {c if isinstance(c, str) else json.dumps(c)}\n\n" for c in chunks]
    return "".join([*lines, "data: [DONE]\n\n"] if done else lines).encode()


def client_for(
    handler: Callable[[httpx.Request], httpx.Response] | None = None, *, base: str = BASE, **provider: Any
) -> ModelClient:
    transport = httpx.MockTransport(handler) if handler else None
    settings = {"mock": Provider("mock", base, provider.pop("api_key", KEY), provider)}
    return ModelClient(settings, clock=ScaledClock.start(0.01), transport=transport)


async def ask(content: bytes, *, headers: dict[str, str] = SSE, status: int = 200, **more: Any) -> ModelReply:
    client = client_for(lambda request: httpx.Response(status, content=content, headers=headers))
    try:
        return await client.complete(REQUEST, idle_timeout_s=60, **more)
    finally:
        await client.aclose()


async def refused(status: int, body: Any = None, headers: dict[str, str] | None = None) -> ModelFailure:
    content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
    with pytest.raises(ModelFailure) as caught:
        await ask(content, status=status, headers=headers or {})
    return caught.value


# --------------------------------------------------------------------------- the request


@respx.mock
async def test_request_has_upstreams_keys_and_no_others() -> None:
    route = respx.post(URL).mock(return_value=httpx.Response(200, content=sse(chunk({"content": "x"})), headers=SSE))
    client = client_for(m1=64_000)
    request = ModelRequest(REF, [{"role": "user", "content": "hi"}], [{"type": "function"}])
    await client.complete(request, idle_timeout_s=60)
    await client.aclose()
    sent = route.calls.last.request
    assert json.loads(sent.content) == {
        "model": "m1",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "max_completion_tokens": 32_000,
        "tools": [{"type": "function"}],
    }
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert "x-stainless-lang" not in sent.headers


@respx.mock
async def test_request_leaves_out_what_is_not_known() -> None:
    route = respx.post(URL).mock(return_value=httpx.Response(200, content=sse(chunk({"content": "x"})), headers=SSE))
    client = client_for(api_key="")
    await client.complete(REQUEST, idle_timeout_s=0)
    await client.aclose()
    assert sorted(json.loads(route.calls.last.request.content)) == ["messages", "model", "stream"]
    assert "authorization" not in route.calls.last.request.headers


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with served([sse(chunk({"content": "direct"}))]) as (base, _):
        client = client_for(base=base)
        assert (await client.complete(REQUEST, idle_timeout_s=60)).content == [{"type": "text", "text": "direct"}]
        await client.aclose()


async def test_unknown_provider_is_the_callers_mistake() -> None:
    client = client_for()
    with pytest.raises(UsageError, match="a provider among: mock"):
        await client.complete(ModelRequest(ModelRef("nobody", "m"), []), idle_timeout_s=1)
    await client.aclose()


def test_key_is_in_no_repr() -> None:
    client = client_for()
    assert KEY not in repr(client) + repr(vars(client))


# --------------------------------------------------------------------------- answers


async def test_text_and_thinking_come_in_order_and_at_once() -> None:
    deltas: list[Delta] = []
    body = sse(
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning_content": "hm"}),
        chunk({"reasoning": "m"}),
        chunk({"content": "größe "}),
        chunk({"content": "🔒"}),
        chunk(finish="stop"),
        {"id": "c1", "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 4,
                                              "prompt_tokens_details": {"cached_tokens": 3}}},
    )  # fmt: skip
    reply = await ask(body, on_delta=deltas.append)
    assert deltas == [ThinkingDelta("hm"), ThinkingDelta("m"), TextDelta("größe "), TextDelta("🔒")]
    assert reply.content == [{"type": "thinking", "thinking": "hmm"}, {"type": "text", "text": "größe 🔒"}]
    assert (reply.stop_reason, reply.response_id) == ("stop", "c1")
    assert reply.usage == {
        "input": 7,
        "output": 4,
        "cacheRead": 3,
        "cacheWrite": 0,
        "totalTokens": 14,
        "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "total": 0},
    }


async def test_tool_calls_are_put_together_from_their_pieces() -> None:
    deltas: list[Delta] = []
    body = sse(
        chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "exec", "arguments": '{"com'}}]}),
        chunk({"tool_calls": [{"index": 1, "id": "b", "function": {"name": "read", "arguments": ""}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": 'mand": "ls"}'}}]}),
        chunk(finish="tool_calls"),
    )
    reply = await ask(body, on_delta=deltas.append)
    assert deltas[2] == ToolCallDelta(0, "a", "exec", 'mand": "ls"}')
    assert reply.content == [
        {"type": "toolCall", "id": "a", "name": "exec", "arguments": {"command": "ls"}},
        {"type": "toolCall", "id": "b", "name": "read", "arguments": {}},
    ]
    assert (reply.stop_reason, reply.invalid_arguments) == ("toolUse", {})


async def test_new_id_starts_a_new_call_even_without_or_with_the_same_index() -> None:
    def piece(arguments: str, **more: Any) -> dict[str, Any]:
        return chunk({"tool_calls": [{**more, "function": {"name": "f", "arguments": arguments}}]})

    body = sse(piece("{", id="a"), piece("}"), piece("{}", id="b"), piece("{}", id="c", index=0),
               piece("{}", id="d", index=0), "{}")  # fmt: skip
    reply = await ask(body)
    assert [part["id"] for part in reply.content] == ["a", "b", "c", "d"]
    assert reply.invalid_arguments == {}


@pytest.mark.parametrize("ids", [("a", "b"), ("b", "a")])
async def test_a_new_id_starts_a_new_call_whatever_its_order(ids: tuple[str, str]) -> None:
    """Ids are names: a later one may sort before an earlier one."""
    pieces = [chunk({"tool_calls": [{"id": one, "function": {"name": "f", "arguments": "{}"}}]}) for one in ids]

    reply = await ask(sse(*pieces))

    assert [part["id"] for part in reply.content] == list(ids)


async def test_calls_without_or_with_equal_ids_get_ids_of_their_own() -> None:
    calls = [{"index": n, "id": call_id, "function": {"name": "f"}} for n, call_id in enumerate(["", "x", "x"])]
    reply = await ask(sse(chunk({"tool_calls": calls}), chunk(finish="tool_calls")))
    assert [part["id"] for part in reply.content] == ["call_0", "x", "x_"]


@pytest.mark.parametrize("raw", ['{"command": "rm -rf /tmp/x', "[1]", "nonsense", '"text"'])
async def test_arguments_that_are_no_object_are_never_repaired(raw: str) -> None:
    body = sse(chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "exec", "arguments": raw}}]}))
    reply = await ask(body)
    assert reply.content[0]["arguments"] == {}
    assert reply.invalid_arguments == {"a": raw}


@pytest.mark.parametrize(
    ("finish", "stop_reason"),
    [("stop", "stop"), ("end", "stop"), ("length", "length"), ("tool_calls", "toolUse"), ("function_call", "toolUse")],
)
async def test_finish_reasons_are_those_of_upstream(finish: str, stop_reason: str) -> None:
    assert (await ask(sse(chunk({"content": "x"}, finish)))).stop_reason == stop_reason


@pytest.mark.parametrize("finish", ["content_filter", "network_error", "sabotage"])
async def test_other_finish_reasons_are_failures(finish: str) -> None:
    with pytest.raises(ModelFailure, match=f"Provider finish_reason: {finish}") as caught:
        await ask(sse(chunk({"content": "x"}, finish)))
    assert (caught.value.provider, caught.value.model) == ("mock", "m1")


async def test_clean_end_without_a_finish_reason_counts_as_stop() -> None:
    reply = await ask(sse(chunk({"content": "x"}), done=False))
    assert (reply.content, reply.stop_reason) == ([{"type": "text", "text": "x"}], "stop")


async def test_last_event_without_its_empty_line_is_taken() -> None:
    assert (await ask(sse(chunk({"content": "x"}), done=False).rstrip(b"\n"))).content[0]["text"] == "x"
    assert (await ask(sse(chunk({"content": "x"})).rstrip(b"\n"))).content[0]["text"] == "x"


async def test_plain_json_answer_is_accepted() -> None:
    message = {"role": "assistant", "content": "whole", "tool_calls": [
        {"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]}  # fmt: skip
    body = {"id": "c", "choices": [{"message": message, "finish_reason": "tool_calls", "usage": {"prompt_tokens": 2}}]}
    reply = await ask(json.dumps(body).encode(), headers={"content-type": "application/json; charset=utf-8"})
    assert [part["type"] for part in reply.content] == ["text", "toolCall"]
    assert reply.content[1]["arguments"] == {"x": 1}
    assert reply.usage["input"] == 2


async def test_fields_of_a_wrong_type_are_ignored() -> None:
    odd = {"id": 7, "choices": "none", "usage": "much"}
    odder = {"choices": [{"delta": {"content": 5, "tool_calls": ["?", {"function": "f", "index": "0"}]}}]}
    counts = {"choices": [{}], "usage": {"prompt_tokens": True, "completion_tokens": -4, "prompt_tokens_details": []}}
    reply = await ask(sse(odd, odder, counts, {"choices": [None]}, {"choices": [{"delta": {"tool_calls": 3}}]}))
    assert reply.content == [{"type": "toolCall", "id": "call_0", "name": "", "arguments": {}}]
    assert reply.usage["totalTokens"] == 0


@given(st.text(max_size=40), st.integers(1, 12), st.sampled_from(["\n", "\r\n"]))
async def test_answer_is_the_same_in_any_chunking(words: str, size: int, end: str) -> None:
    raw = "".join(f"data: {json.dumps(chunk({'content': c}), ensure_ascii=False)}{end}{end}" for c in words)
    raw += f": bye{end}data: [DONE]{end}{end}"
    data = raw.encode("utf-8", errors="surrogatepass")

    async def pieces() -> AsyncIterator[bytes]:
        for i in range(0, len(data), size):
            yield data[i : i + size]

    client = client_for(lambda request: httpx.Response(200, content=pieces(), headers=SSE))
    partial = Partial()
    await client.complete(REQUEST, idle_timeout_s=0, partial=partial)
    await client.aclose()
    assert partial.text == words


# --------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("status", "body", "reason", "text"),
    [
        (429, {"error": {"message": "slow down"}}, "rate_limit", "429 slow down"),
        (503, {"error": {"message": "overloaded", "type": "overloaded_error"}}, "overloaded", "503 overloaded"),
        (500, {"error": "kaputt"}, "timeout", "500 kaputt"),
        (401, {"message": "who are you"}, "auth", "401 who are you"),
        (400, {"error": {"code": 7}}, "format", '400 {"code": 7}'),
        (404, b"<html>nothing</html>", "model_not_found", "404 <html>nothing</html>"),
        (400, {"error": {"message": "?", "code": "context_length_exceeded"}}, "format", "400 ?"),
        (418, {"error": {"message": "?", "code": "rate_limit_exceeded"}}, "rate_limit", "418 ?"),
        (502, b"", "timeout", "502 status code (no body)"),
        (400, [], "format", "400 []"),
        (307, b"", "unknown", "307 status code (no body)"),
    ],
)
async def test_refusals_carry_status_and_reason(status: int, body: Any, reason: str, text: str) -> None:
    failure = await refused(status, body)
    assert (failure.status, failure.reason, failure.message) == (status, reason, text)
    assert (failure.provider, failure.model) == ("mock", "m1")


async def test_key_that_the_server_quotes_does_not_reach_the_error() -> None:
    failure = await refused(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}})
    assert failure.message == "401 Incorrect API key provided: ***"


async def test_a_key_is_hidden_from_the_length_on_at_which_no_word_is_meant() -> None:
    client = client_for(lambda _: httpx.Response(401, json={"error": "no: 12345678"}), api_key="12345678")

    with pytest.raises(ModelFailure) as caught:
        await client.complete(REQUEST, idle_timeout_s=60)

    assert "12345678" not in str(caught.value)


async def test_a_long_answer_is_read_to_its_end() -> None:
    text = "x" * 200_000

    reply = await ask(sse(*[chunk({"content": text})] * 5))

    assert reply.content == [{"type": "text", "text": text * 5}]


async def test_endless_error_body_is_cut() -> None:
    failure = await refused(500, b"x" * (models.MAX_ERROR_BYTES + 1))
    assert len(failure.message) < 600


async def test_retry_after_reaches_the_failure() -> None:
    assert (await refused(429, {}, {"retry-after": "2"})).retry_after_s == 2.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "-1"}, 0.0),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "x", "retry-after": "Sun, 22 Nov 2026 16:21:37 GMT"}, 10.0),
        ({"retry-after": "Sun, 22 Nov 2026 16:21:37 -0000"}, 10.0),
        ({"retry-after": "Sun, 22 Nov 2026 16:00:00 GMT"}, 0.0),
    ],
)
def test_retry_after_is_read_in_seconds_and_as_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, 1795364487000) == seconds  # 2026-11-22T16:21:27Z


def test_error_objects_of_odd_shapes_give_no_text() -> None:
    assert error_text(None) == ""
    assert error_text({"detail": "no"}) == "no"
    assert error_text({}) == ""
    assert error_text({"error": 5}) == ""
    assert error_code([]) is None
    assert error_code({"error": {"code": 5, "type": "t"}}) == "t"


# --------------------------------------------------------------------------- broken streams


@pytest.mark.parametrize(
    ("event", "message", "reason"),
    [
        ({"error": {"message": "the engine is overloaded"}}, "the engine is overloaded", "overloaded"),
        ({"error": {"message": "no", "code": 429}}, "no", "rate_limit"),
        ({"error": {"message": "no", "code": "rate_limit_exceeded"}}, "no", "rate_limit"),
        ({"error": True}, "the stream reported an error", "unknown"),
        ("[1]", "unreadable stream chunk: not a JSON object", "unknown"),
        ("{", "unreadable stream chunk: '{'", "unknown"),
    ],
)
async def test_bad_event_fails_the_attempt_and_keeps_what_came_before(event: Any, message: str, reason: str) -> None:
    partial = Partial()
    with pytest.raises(ModelFailure) as caught:
        await ask(sse(chunk({"content": "half"}), event), partial=partial)
    assert message in caught.value.message
    assert caught.value.reason == reason
    assert partial.content() == [{"type": "text", "text": "half"}]


async def test_answer_without_any_event_is_a_failure_not_an_empty_answer() -> None:
    with pytest.raises(ModelFailure, match=r"held no event \(text/html\)"):
        await ask(b"<html>login</html>", headers={"content-type": "text/html"})


async def test_unfinished_calls_are_not_part_of_the_partial_content() -> None:
    partial = Partial()
    calls = {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "exec", "arguments": '{"c'}}]}
    with pytest.raises(ModelFailure):
        await ask(sse(chunk({"content": "so"}), chunk(calls), "{"), partial=partial)
    assert partial.content() == [{"type": "text", "text": "so"}]


async def test_line_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "EventStream", lambda: EventStream(limit_bytes=64))
    with pytest.raises(ModelFailure, match="longer than 64 bytes") as caught:
        await ask(b"data: " + b"x" * 100)
    assert caught.value.reason == "format"


async def test_json_answer_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "MAX_LINE_BYTES", 64)
    with pytest.raises(ModelFailure, match="longer than 64 bytes"):
        await ask(b" " * 65, headers={"content-type": "application/json"})


async def test_endless_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "MAX_REPLY_CHARS", 10)
    with pytest.raises(ModelFailure, match="longer than 10 characters"):
        await ask(sse(*[chunk({"content": "abc"})] * 4))


async def test_refused_connection_is_a_timeout_kind_of_failure() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("All connection\nattempts failed")

    client = client_for(refuse)
    with pytest.raises(ModelFailure, match="connection error: All connection attempts failed") as caught:
        await client.complete(REQUEST, idle_timeout_s=60)
    assert caught.value.reason == "timeout"
    await client.aclose()


# --------------------------------------------------------------------------- real sockets


@asynccontextmanager
async def served(pieces: list[bytes], *, then: str = "end") -> AsyncIterator[tuple[str, asyncio.Future[str]]]:
    """A server that sends one chunked stream. ``then``: end, hold (until the client leaves), cut, silent.

    The future tells what became of the client: ``gone`` or ``served``.
    """
    fate: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        if then != "silent":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for piece in pieces:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()
        if then == "end":
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        elif then == "cut":
            writer.write(b"ff\r\ndata: {")
            await writer.drain()
        if then in ("hold", "silent"):
            assert await reader.read() == b""  # the end of the stream: the client closed its side
            fate.set_result("gone")
        else:
            fate.set_result("served")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", fate
    finally:
        server.close()
        await server.wait_closed()


async def test_server_sees_a_cancelled_client_leave_and_the_text_so_far_is_kept() -> None:
    async with served([sse(chunk({"content": "half"}), done=False)], then="hold") as (base, fate):
        client, partial, arrived = client_for(base=base), Partial(), asyncio.Event()
        asking = asyncio.ensure_future(
            client.complete(REQUEST, idle_timeout_s=0, on_delta=lambda d: arrived.set(), partial=partial)
        )
        await arrived.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await asyncio.wait_for(fate, 5) == "gone"  # while the client object is still open
        assert partial.text == "half"
        await client.aclose()


async def test_server_sees_a_client_leave_that_is_cancelled_before_the_answer() -> None:
    async with served([], then="silent") as (base, fate):
        client = client_for(base=base)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.complete(REQUEST, idle_timeout_s=60)
        assert await asyncio.wait_for(fate, 5) == "gone"
        await client.aclose()


async def test_connection_closes_when_the_listener_raises() -> None:
    def listen(delta: Delta) -> None:
        raise TimeoutError("of the listener")

    async with served([sse(chunk({"content": "half"}), done=False)], then="hold") as (base, fate):
        client = client_for(base=base)
        with pytest.raises(TimeoutError, match="of the listener") as caught:
            await client.complete(REQUEST, idle_timeout_s=60, on_delta=listen)
        # The traceback keeps every frame alive: the connection is closed on purpose, not by the collector.
        assert caught.value.__traceback__ is not None
        assert await asyncio.wait_for(fate, 5) == "gone"
        await client.aclose()


@pytest.mark.parametrize("then", ["hold", "silent"])
async def test_idle_limit_is_nominal_and_closes_the_connection(then: str) -> None:
    pieces = [sse(chunk({"content": "half"}), done=False)] if then == "hold" else []
    async with served(pieces, then=then) as (base, fate):
        client, partial = client_for(base=base), Partial()
        began = asyncio.get_running_loop().time()
        with pytest.raises(ModelFailure) as caught:
            await client.complete(REQUEST, idle_timeout_s=60, partial=partial)
        took = asyncio.get_running_loop().time() - began
        assert str(caught.value) == "LLM idle timeout (60s): no response from model"
        assert caught.value.reason == "timeout"
        assert took >= 0.6  # not before 60 nominal seconds at scale 0.01 ...
        assert took < 10  # ... and not 60 real ones
        assert await asyncio.wait_for(fate, 5) == "gone"
        assert partial.text == ("half" if then == "hold" else "")
        await client.aclose()


async def test_events_push_the_idle_limit_back() -> None:
    body = sse(*[chunk({"content": "."})] * 4)
    events = [event + b"\n\n" for event in body.split(b"\n\n") if event]

    async def slowly() -> AsyncIterator[bytes]:
        for event in events:
            await asyncio.sleep(0.2)
            yield event

    client = client_for(lambda request: httpx.Response(200, content=slowly(), headers=SSE))
    reply = await client.complete(REQUEST, idle_timeout_s=80)  # 0.8 s of real time; the stream takes 1 s
    await client.aclose()
    assert reply.content[0]["text"] == "...."


async def test_broken_stream_is_a_failure_and_keeps_its_text() -> None:
    async with served([sse(chunk({"content": "half"}), done=False)], then="cut") as (base, _):
        client, partial = client_for(base=base), Partial()
        with pytest.raises(ModelFailure, match="connection error") as caught:
            await client.complete(REQUEST, idle_timeout_s=60, partial=partial)
        assert caught.value.reason == "timeout"
        assert partial.text == "half"
        await client.aclose()


async def test_stream_that_stays_open_after_its_end_does_not_hold_the_answer_back() -> None:
    async with served([sse(chunk({"content": "x"}))], then="hold") as (base, fate):
        client = client_for(base=base)
        reply = await asyncio.wait_for(client.complete(REQUEST, idle_timeout_s=0), 5)
        assert reply.content[0]["text"] == "x"
        assert await asyncio.wait_for(fate, 5) == "gone"
        await client.aclose()


# --------------------------------------------------------------------------- limits and boundaries


@pytest.mark.parametrize(
    ("own", "providers", "sent"),
    [(None, None, None), (100, None, 100), (None, 200, 200), (100, 200, 100), (32_001, None, 32_000), (0, None, None),
     (32_000, None, 32_000), (31_999, 200, 31_999)],
)  # fmt: skip
def test_the_limit_of_an_answer_is_the_requests_then_the_providers_and_never_above_upstreams(
    own: int | None, providers: int | None, sent: int | None
) -> None:
    provider = Provider("mock", BASE, KEY, {} if providers is None else {"m1": providers})
    body = json.loads(models._body(provider, ModelRequest(REF, [], max_tokens=own)))
    assert body == {"model": "m1", "messages": [], "stream": True} | (
        {} if sent is None else {"max_completion_tokens": sent}
    )


@pytest.mark.parametrize(("key", "hidden"), [("", False), ("1234567", False), ("12345678", True), ("123456789", True)])
def test_a_key_is_hidden_from_eight_characters_on(key: str, hidden: bool) -> None:
    text = models._without_key(f"no: {key}!", Provider("mock", BASE, key, {}))
    assert text == ("no: ***!" if hidden else f"no: {key}!")
    assert ("authorization" in models._headers(Provider("mock", BASE, key, {}))) is bool(key)


async def test_sizes_that_end_an_answer() -> None:
    """64 MiB of text, 64 KiB of an error's body, a quarter of a second for the end of the body."""
    assert (models.MAX_REPLY_CHARS, models.MAX_ERROR_BYTES, models.DRAIN_S) == (67_108_864, 65_536, 0.25)
    assert models.MAX_OUTPUT_TOKENS == 32_000
    assert EventStream()._limit == 16_777_216
    response = httpx.Response(200, content=b"x" * 10)

    async def body(limit: int, **more: Any) -> bytes:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"x" * 4
            yield b"y" * 6

        return await models._read(httpx.Response(200, content=pieces()), limit, **more)

    assert response.status_code == 200
    assert await body(10) == await body(11, truncate=True) == await body(10, truncate=True) == b"xxxxyyyyyy"
    assert await body(9, truncate=True) == b"xxxxyyyyy"
    assert await body(3, truncate=True) == b"xxx"
    with pytest.raises(models.StreamTooLong, match="9 bytes"):
        await body(9)


async def test_an_answer_may_be_as_long_as_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "MAX_REPLY_CHARS", 10)
    assert (await ask(sse(chunk({"content": "x" * 10})))).content == [{"type": "text", "text": "x" * 10}]
    with pytest.raises(ModelFailure, match="longer than 10 characters"):
        await ask(sse(chunk({"content": "x" * 11})))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"x" * 501, "x" * 500), (b"  ", "status code (no body)"), (b"\xff", "\ufffd"),
        (json.dumps({"error": {"message": "m"}}).encode(), "m"),
    ],
)  # fmt: skip
async def test_the_text_of_a_refusal(body: bytes, text: str) -> None:
    failure = await refused(418, body)
    assert (failure.message, failure.status) == (f"418 {text}", 418)
    assert (failure.provider, failure.model) == ("mock", "m1")


def test_an_unreadable_chunk_is_quoted_up_to_two_hundred_characters() -> None:
    with pytest.raises(ModelFailure) as caught:
        models._json("{" * 300)
    assert caught.value.message == f"unreadable stream chunk: {'{' * 200!r}"
    assert models._json('{"a": NaN}') != {"a": None}
    assert models._oneline(ValueError(" a \n b ")) == "a b"
    assert models._oneline(ValueError()) == "ValueError"


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_waiting_time_without_an_end_is_none(value: float) -> None:
    assert models._seconds(value) is None
    assert [models._seconds(one) for one in (-1.0, 0.0, 0.5, 1.5)] == [0.0, 0.0, 0.5, 1.5]


async def test_only_what_is_heard_puts_the_idle_limit_off(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = [50.0], []
    idle = models._IdleLimit(10.0)
    loop: Any = SimpleNamespace(time=lambda: now[0], call_at=lambda when, what: calls.append(when))
    ends: list[float] = []
    idle._loop, idle._heard_at = loop, 50.0
    idle._timeout = SimpleNamespace(reschedule=ends.append, expired=lambda: bool(ends))  # type: ignore[assignment]
    now[0] = 57.0
    idle.heard()
    now[0] = 60.0
    idle._look()
    assert (calls, ends) == ([67.0], [])
    now[0] = 67.0
    assert not idle.expired()
    idle._look()
    assert (calls, ends) == ([67.0], [67.0])
    assert idle.expired()


@pytest.mark.parametrize(
    ("wire", "counted"),
    [
        ({}, (0, 0, 0, 0)),
        ({"prompt_tokens": 10, "completion_tokens": 3}, (10, 3, 0, 13)),
        ({"prompt_tokens": 10, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}, (6, 3, 4, 13)),
        ({"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 40}}, (0, 0, 10, 10)),
        ({"prompt_tokens": -1, "completion_tokens": True}, (0, 0, 0, 0)),
        ({"prompt_tokens": 1, "completion_tokens": "3", "prompt_tokens_details": []}, (1, 0, 0, 1)),
        ({"prompt_tokens": 1.5, "completion_tokens": 1}, (0, 1, 0, 1)),
    ],
)  # fmt: skip
def test_usage_counts_what_was_cached_apart(wire: dict[str, Any], counted: tuple[int, ...]) -> None:
    usage = completion._usage(wire)
    assert tuple(usage[key] for key in ("input", "output", "cacheRead", "totalTokens")) == counted
    assert usage["cacheWrite"] == 0
    assert set(usage["cost"].values()) == {0}


@pytest.mark.parametrize(("code", "status"), [(399, None), (400, 400), (599, 599), (600, None), ("500", None)])
def test_a_status_in_an_error_object_is_one_of_an_error(code: Any, status: int | None) -> None:
    assert completion.error_status({"error": {"code": code}}) == status
    assert completion.error_status({"error": "x"}) is completion.error_status([]) is None


@pytest.mark.parametrize(
    ("body", "text", "code"),
    [
        ({"error": "x"}, "x", None), ({"error": {"message": "m", "detail": "d", "code": "c"}}, "m", "c"),
        ({"error": {"detail": "d", "type": "t"}}, "d", "t"), ({"message": "m"}, "m", None), ({"odd": 1}, "", None),
        ({"error": {"odd": "x" * 3000}}, ('{"odd": "' + "x" * 3000)[:2000], None), ({"error": 5}, "", None),
        ({"error": {"code": 5, "status": "s"}}, '{"code": 5, "status": "s"}', "s"), ([], "", None), ("x", "", None),
    ],
)  # fmt: skip
def test_what_an_error_object_says(body: Any, text: str, code: str | None) -> None:
    assert (error_text(body), error_code(body)) == (text, code)


@pytest.mark.parametrize(
    ("raw", "arguments"),
    [("", {}), ("  ", {}), ("{}", {}), ('{"a": 1}', {"a": 1}), ("[]", None), ("{", None), ("5", None), ("null", None)],
)
def test_arguments_are_an_object_or_none(raw: str, arguments: Any) -> None:
    assert completion._arguments(raw) == arguments


def test_pieces_of_calls_find_their_call() -> None:
    def pieces(*given: dict[str, Any]) -> list[tuple[int, str, str, str]]:
        partial = Partial()
        deltas = [partial.take(chunk({"tool_calls": [one]}))[0] for one in given]
        assert partial.size == sum(len(one["function"].get("arguments", "")) for one in given)
        assert all(isinstance(delta, ToolCallDelta) for delta in deltas)
        return [(delta.index, delta.id, delta.name, delta.arguments) for delta in deltas]  # type: ignore[union-attr]

    def piece(name: str = "", arguments: str = "", **more: Any) -> dict[str, Any]:
        return {"function": {"name": name, "arguments": arguments}, **more}

    found = pieces(
        piece("a", "1", index=0, id="x"), piece("b", "2", index=1, id="y"), piece(arguments="3", index=0),
        piece("late", "4", index=1, id="y"), piece("c", "5", index=1, id="z"), piece(arguments="6", index=1),
    )  # fmt: skip
    assert found == [
        (0, "x", "a", "1"), (1, "y", "b", "2"), (0, "x", "a", "3"),
        (1, "y", "b", "4"), (2, "z", "c", "5"), (2, "z", "c", "6"),
    ]  # fmt: skip
    found = pieces(piece("a", "1", id="x"), piece(arguments="2"), piece(arguments="3", id="x"), piece("b", "4", id="y"))
    assert found == [(0, "x", "a", "1"), (0, "x", "a", "2"), (0, "x", "a", "3"), (1, "y", "b", "4")]
    found = pieces(piece("a", "1"), piece(arguments="2", id="x"), piece("b", "3", id="y"))
    assert found == [(0, "", "a", "1"), (0, "x", "a", "2"), (1, "y", "b", "3")]


def test_text_and_thinking_are_parts_in_their_order() -> None:
    partial = Partial()
    for delta in ({"content": "a"}, {"content": "b"}, {"reasoning": "c", "content": "d"}, {"reasoning_text": "e"}):
        partial.take(chunk(delta))
    partial.take(chunk({"reasoning_content": "f", "reasoning": "g", "content": 5, "tool_calls": [7]}))
    assert partial.content() == [
        {"type": "text", "text": "ab"}, {"type": "thinking", "thinking": "c"}, {"type": "text", "text": "d"},
        {"type": "thinking", "thinking": "ef"},
    ]  # fmt: skip
    assert (partial.size, partial.response_id, partial.text) == (6, "c1", "ab\nd")
    partial.take({"id": "other", "choices": []})
    partial.take({"choices": [5]})
    assert partial.response_id == "c1"
