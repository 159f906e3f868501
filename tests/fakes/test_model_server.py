"""The model server on real sockets: bytes, instants, breaks, and what it writes down."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from lockjaw.clock import ScaledClock
from lockjaw.errors import DocumentError, LocalError
from lockjaw.fakes.models.script import load_model_script
from lockjaw.fakes.models.server import ModelServer
from lockjaw.fakes.serving import serve

PATIENCE_S = 20.0


def ask(model: str = "m", *, stream: bool = True, **more: Any) -> bytes:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream, **more})
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\r\nContent-Length: {len(body)}"
    )
    return f"{head}\r\n\r\n{body}".encode()


class Raw:
    """A client that sees bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, rig: Any) -> Raw:
        return cls(*await asyncio.open_connection("127.0.0.1", rig.server.port))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def until(self, end: bytes) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readuntil(end)

    async def rest(self) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()

    def close(self) -> None:
        self.writer.transport.abort()


@pytest.fixture
async def raw(serve: Any) -> Any:
    """``client = await raw(rig)``: closed with the test."""
    clients: list[Raw] = []

    async def connect(rig: Any) -> Raw:
        clients.append(await Raw.connect(rig))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()
    await asyncio.sleep(0)


# --------------------------------------------------------------------------- bytes


def chunk(event: str) -> bytes:
    data = f"data: {event}\n\n".encode()
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


async def test_a_stream_is_byte_exact(serve: Any, raw: Any) -> None:
    rig = await serve({"m": [{"tokens": ["Hä", "!"], "usage": {"prompt": 1, "completion": 2}}]}, seed=7)
    client = await raw(rig)
    await client.send(ask())
    seen = await client.until(b"\r\n0\r\n\r\n")
    head = '"id":"chatcmpl-HroSlyb8XaQF0gAEJGt7odhX","object":"chat.completion.chunk","created":1767225601,"model":"m"'
    going = '"finish_reason":null'
    finish = (
        f'data: {{{head},"choices":[{{"index":0,"delta":{{}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":1,'
        '"completion_tokens":2,"total_tokens":3,"prompt_tokens_details":{"cached_tokens":0},'
        '"completion_tokens_details":{"reasoning_tokens":0}}}\n\ndata: [DONE]\n\n'
    ).encode()
    assert seen == (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\nx-request-id: req-1\r\n"
        b"transfer-encoding: chunked\r\n\r\n"
        + chunk(f'{{{head},"choices":[{{"index":0,"delta":{{"role":"assistant","content":"Hä"}},{going}}}]}}')
        + chunk(f'{{{head},"choices":[{{"index":0,"delta":{{"content":"!"}},{going}}}]}}')
        + f"{len(finish):x}\r\n".encode() + finish + b"\r\n0\r\n\r\n"
    )  # fmt: skip


async def test_the_same_seed_gives_the_same_bytes_whatever_other_models_do(serve: Any, raw: Any) -> None:
    script = {"m": [{"text": "a b", "tool_calls": [{"name": "f"}]}], "other": [{"text": "x"}]}
    seen = []
    for seed, disturbances in ((1, 0), (1, 2), (2, 0)):
        client = await raw(await serve(script, seed=seed))
        for _ in range(disturbances):
            await client.send(ask("other"))
            await client.until(b"\r\n0\r\n\r\n")
        await client.send(ask())
        await client.until(b"\r\n\r\n")
        seen.append(await client.until(b"\r\n0\r\n\r\n"))
    assert seen[0] == seen[1]
    assert seen[0] != seen[2]


async def test_pipelined_and_kept_alive_requests_are_answered_in_order(serve: Any, raw: Any) -> None:
    rig = await serve({"m": [{"text": "first", "first_token_s": 1}, {"text": "second"}, {"text": "third"}]})
    client = await raw(rig)
    await client.send(ask(stream=False) + ask(stream=False))
    for expected in ("first", "second"):
        head = await client.until(b"\r\n\r\n")
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        body = json.loads(await client.reader.readexactly(length))
        assert body["choices"][0]["message"]["content"] == expected
    await client.send(ask())
    assert b"third" in await client.until(b"\r\n0\r\n\r\n")


@pytest.mark.parametrize(("size", "count"), [(100_000, 300), (12_000_000, 4)])
async def test_every_pipelined_request_is_answered_however_long_its_replies_were_left_unread(
    serve: Any, raw: Any, tmp_path: Path, size: int, count: int
) -> None:
    """Many that wait for the journal, and a few of which one alone is more than the buffers between us hold."""
    rig = await serve({"m": [{"text": "x" * size}]}, journal=tmp_path / "journal.jsonl")
    client = await raw(rig)
    client.writer.write(ask(stream=False) * count)
    await rig.entries.wait("done")
    for number in range(1, count + 1):
        head = await client.until(b"\r\n\r\n")
        assert b"x-request-id: req-%d\r\n" % number in head
        await client.reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))


async def test_a_request_may_come_one_byte_at_a_time(serve: Any, raw: Any) -> None:
    rig = await serve({"m": [{"text": "patient"}]})
    client = await raw(rig)
    for byte in ask():
        await client.send(bytes([byte]))
        await asyncio.sleep(0)
    assert b"patient" in await client.until(b"\r\n0\r\n\r\n")


async def test_a_client_that_awaits_100_continue_gets_it(serve: Any, raw: Any) -> None:
    client = await raw(await serve({"m": [{"text": "go on"}]}))
    head, _, body = ask(stream=False).partition(b"\r\n\r\n")
    await client.send(head + b"\r\nExpect: 100-continue\r\n\r\n")
    assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    await client.send(body)
    assert b"200" in await client.until(b"\r\n\r\n")


async def test_a_client_that_asks_for_close_gets_an_ordered_end(serve: Any, raw: Any) -> None:
    client = await raw(await serve({"m": [{"text": "bye"}]}))
    await client.send(ask().replace(b"Host: x", b"Host: x\r\nConnection: close"))
    assert (await client.rest()).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    old = await raw(await serve({"m": [{"text": "bye"}]}))
    await old.send(ask().replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert (await old.rest()).endswith(b"data: [DONE]\n\n")  # HTTP/1.0: no chunks, the end is the close


# --------------------------------------------------------------------------- instants


async def arrivals(rig: Any, client: Raw, count: int) -> list[float]:
    """Nominal seconds from just before the request to each of the tokens."""
    began = rig.clock.monotonic()
    await client.send(ask())
    await client.until(b"\r\n\r\n")
    stamps = []
    for _ in range(count):
        await client.until(b"\n\n\r\n")
        stamps.append(rig.clock.monotonic() - began)
    return stamps


async def test_a_late_token_does_not_make_the_later_ones_late(serve: Any, raw: Any) -> None:
    """The server's loop has a neighbour that blocks it for 1.4 of every 1.6 nominal seconds."""
    rig = await serve({"m": [{"first_token_s": 2.0, "inter_token_s": 1.0, "token": ".", "count": 30}]}, scale=0.02)

    async def block() -> None:
        while True:
            rig.clock.sleep_blocking(1.4)
            await asyncio.sleep(rig.clock.real_s(0.2))

    neighbour = asyncio.create_task(block())
    try:
        stamps = await arrivals(rig, await raw(rig), 30)
    finally:
        neighbour.cancel()
    lateness = [stamp - (2.0 + index) for index, stamp in enumerate(stamps)]
    # Lower bound: no token is early; the client's clock was read before the request was sent.
    assert min(lateness) >= 0
    # Upper bound: with relative sleeps each token would come 1.6 s after the one before it, so each of the last ten
    # 12 s late. Of ten tokens on absolute deadlines one is surely not delayed by seconds, however busy the machine.
    assert min(lateness[-10:]) < 4.0


async def test_a_stall_holds_the_stream_for_as_long_as_the_script_says(serve: Any, raw: Any) -> None:
    rig = await serve({"m": [{"tokens": ["a", "b"], "stall_s": 30, "stall_after_tokens": 1}]})
    first, second = await arrivals(rig, await raw(rig), 2)
    # Lower bound: the stall is not cut short. Upper: it lies between the tokens, not before both.
    assert second >= 30
    assert second - first > 15


async def test_one_stalled_request_does_not_block_another(serve: Any, raw: Any) -> None:
    rig = await serve({"stalled": [{"stall_s": "forever"}], "m": [{"text": "free"}]})
    stalled = await raw(rig)
    await stalled.send(ask("stalled"))
    await stalled.until(b"\r\n\r\n")
    client = await raw(rig)
    await client.send(ask())
    assert b"free" in await client.until(b"\r\n0\r\n\r\n")


# --------------------------------------------------------------------------- the client leaves


@pytest.mark.parametrize(
    "step",
    [
        {"never_answer": True},
        {"first_token_s": 3600, "text": "x"},
        {"text": "x y", "inter_token_s": 3600},
        {"text": "x", "stall_s": "forever"},
        {"first_token_s": 3600, "error": {"status": 500}},
    ],
)
@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_leaves_is_noticed_at_once_and_not_at_the_next_token(
    serve: Any, raw: Any, step: dict[str, Any], reset: bool
) -> None:
    rig = await serve({"m": [step]}, scale=0.05)  # 3600 s are three minutes: the test would give up long before
    client = await raw(rig)
    await client.send(ask())
    await rig.entries.wait("req", model="m", stream=True, nmsgs=1, keys=("messages", "model", "stream"))
    if reset:
        client.close()
    else:
        client.writer.close()
    entry = await rig.entries.wait("client-gone", request_id="req-1", model="m")
    assert 0 <= entry["after_s"] < 3600
    (invoke, seen), (fail, end) = rig.records()
    assert (invoke, seen) == ("invoke", {"request_id": "req-1", "model": "m", "messages": 1})
    assert (fail, end["client_gone"], end["after_s"]) == ("fail", True, entry["after_s"])


async def test_a_step_that_ignores_its_client_goes_on_to_its_end(serve: Any, raw: Any) -> None:
    script = {"tokens": ["a", "b", "c"], "inter_token_s": 10, "ignore_disconnect": True}
    rig = await serve({"m": [script], "mute": [{"never_answer": True, "ignore_disconnect": True}]})
    client = await raw(rig)
    await client.send(ask())
    await client.until(b'"a"')
    client.close()
    entry = await rig.entries.wait("done", request_id="req-1")
    assert entry["after_s"] >= 20  # it worked to its last token, for nobody
    assert entry["sent"] == 3
    mute = await raw(rig)
    await mute.send(ask("mute"))
    await rig.entries.wait("req", request_id="req-2")
    mute.close()
    client = await raw(rig)  # a whole exchange later the mute request still stands
    await client.send(ask(stream=False))
    await rig.entries.wait("done", request_id="req-3")
    await rig.server.stop()
    assert (await rig.entries.wait("error", request_id="req-2"))["error"] == "the server was stopped"
    assert [entry["ev"] for entry in rig.entries.all if entry["request_id"] == "req-2"] == ["req", "error"]


async def test_a_client_that_reads_nothing_holds_only_its_own_reply(serve: Any, raw: Any) -> None:
    rig = await serve({"m": [{"token": "x" * 4000, "count": 20_000}]})  # 80 MB that nobody reads
    client = await raw(rig)
    await client.send(ask())
    await client.until(b"\r\n\r\n")
    other = await raw(rig)
    await other.send(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
    await other.until(b"\r\n\r\n")
    client.close()
    entry = await rig.entries.wait("client-gone", request_id="req-1")
    assert entry["sent"] < 20_000


# --------------------------------------------------------------------------- the server breaks the wire


@pytest.mark.parametrize("stream", [True, False])
async def test_rst_reaches_the_client_as_a_reset(serve: Any, raw: Any, stream: bool) -> None:
    rig = await serve({"m": [{"tokens": ["a", "b", "c"], "disconnect": {"after_tokens": 2, "how": "rst"}}]})
    client = await raw(rig)
    await client.send(ask(stream=stream))
    if stream:
        await client.until(b'"b"')
    with pytest.raises(ConnectionResetError):
        await client.rest()
    entry = await rig.entries.wait("done", disconnect="rst")
    assert entry["sent"] == (2 if stream else 0)
    assert rig.records()[-1][0] == "fail"
    assert rig.records()[-1][1]["client_gone"] is False


async def test_fin_ends_the_stream_in_order_but_unfinished(serve: Any, raw: Any) -> None:
    rig = await serve({"m": [{"tokens": ["a", "b", "c"], "disconnect": {"after_tokens": 2, "how": "fin"}}]})
    client = await raw(rig)
    await client.send(ask())
    seen = await client.rest()
    assert seen.endswith(b"\n\n\r\n")  # after a whole chunk
    assert b'"b"' in seen
    assert b'"c"' not in seen
    assert b"[DONE]" not in seen
    unstreamed = await raw(rig)
    await unstreamed.send(ask(stream=False))
    assert await unstreamed.rest() == b""


async def test_mid_chunk_ends_inside_a_chunk(serve: Any, raw: Any) -> None:
    rig = await serve({"m": [{"tokens": ["a", "b"], "disconnect": {"after_tokens": 1, "how": "mid_chunk"}}]})
    client = await raw(rig)
    await client.send(ask())
    seen = await client.rest()
    whole, _, half = seen.partition(b"\r\n\r\n")[2].partition(b"\n\n\r\n")
    assert b'"a"' in whole
    size, _, begun = half.partition(b"\r\n")
    assert 0 < len(begun) < int(size, 16)  # promised more than it sent
    unstreamed = await raw(rig)
    await unstreamed.send(ask(stream=False))
    head, _, body = (await unstreamed.rest()).partition(b"\r\n\r\n")
    promised = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
    assert len(body) == promised // 2


# --------------------------------------------------------------------------- loud


async def test_requests_that_the_script_does_not_expect_are_answered_journaled_and_verified(
    serve: Any, tmp_path: Path
) -> None:
    path = tmp_path / "journal.jsonl"
    rig = await serve({"m": [{"text": "a"}, {"text": "b"}]}, journal=path)
    async with httpx.AsyncClient(base_url=rig.server.base_url, headers={"Authorization": "Bearer s3cret"}) as client:
        good = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        unknown = await client.post("/chat/completions", json=good | {"model": "nobody"})
        nowhere = await client.get("/files?x=1")
        wrong = await client.post("/chat/completions", json=good | {"messages": []})
        listed = await client.get("/models/")
        assert rig.server.verify() == [
            "req-1: unexpected request: model 'nobody' is not in the script (it has: m)",
            "req-2: unexpected request: GET /v1/files",
            "req-3: Invalid 'messages': empty array. Expected an array with minimum length 1, "
            "but got an empty array instead.",
        ]
        assert (await client.post("/any/prefix/chat/completions", json=good)).status_code == 200
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    assert "`nobody` does not exist" in unknown.json()["error"]["message"]
    assert (nowhere.status_code, nowhere.json()["error"]["message"]) == (404, "Invalid URL (GET /v1/files)")
    assert wrong.status_code == 400
    assert listed.json() == {
        "object": "list",
        "data": [{"id": "m", "object": "model", "created": 1767225600, "owned_by": "lockjaw"}],
    }
    assert rig.server.verify(strict=True)[3:] == ["models.m[1] was used 0 of 1 times"]
    await rig.server.stop()
    text = path.read_text(encoding="utf-8")
    assert "s3cret" not in text
    entries = [json.loads(line) for line in text.splitlines()]
    assert [(entry["ev"], entry.get("unexpected", False)) for entry in entries] == [
        ("req", False), ("error", True), ("error", True), ("error", False), ("req", False), ("done", False),
    ]  # fmt: skip
    assert entries[4].keys() == {"t", "wall_ms", "ev", "request_id", "surface", "model", "stream", "nmsgs", "keys"}
    assert rig.records()[:2] == [
        ("invoke", {"request_id": "req-1", "model": "nobody", "messages": 1}),
        ("ok", {"request_id": "req-1", "sent": 0, "status": 404}),
    ]


async def test_scripted_errors_carry_status_body_and_headers_and_then_the_next_step_answers(serve: Any) -> None:
    refused = {"status": 429, "message": "Slow down.", "headers": {"retry-after": "2", "x-ratelimit-remaining": "0"}}
    rig = await serve({"m": [{"error": refused, "times": 2}, {"text": "fine"}]})
    async with httpx.AsyncClient(base_url=rig.server.base_url) as client:
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        replies = [await client.post("/chat/completions", json=body) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [429, 429, 200]
    assert replies[1].headers["retry-after"] == "2"
    assert replies[1].json()["error"] == {
        "message": "Slow down.", "type": "requests", "param": None, "code": "rate_limit_exceeded",
    }  # fmt: skip
    assert [reply.headers["x-request-id"] for reply in replies] == ["req-1", "req-2", "req-3"]
    assert rig.records()[1] == ("ok", {"request_id": "req-1", "sent": 0, "status": 429})
    assert rig.server.verify(strict=True) == []


async def test_a_stopped_server_drops_its_clients_and_says_so(serve: Any, raw: Any) -> None:
    rig = await serve({"m": [{"never_answer": True}]})
    client = await raw(rig)
    idle = await raw(rig)
    await client.send(ask())
    await rig.entries.wait("req")
    await rig.server.stop()
    await rig.server.stop()  # twice is once
    assert await client.rest() == b""
    assert await idle.rest() == b""
    assert rig.entries.all[-1]["error"] == "the server was stopped"
    assert rig.records()[-1][1]["client_gone"] is False


@pytest.mark.parametrize("turns", range(8))
async def test_a_client_that_is_just_connecting_is_dropped_when_the_server_has_stopped(turns: int) -> None:
    entries: list[dict[str, Any]] = []
    server = ModelServer(load_model_script({"models": {"m": [{"never_answer": True}]}}), on_entry=entries.append)
    await server.start()
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(3)]
        clients[0].sendall(ask())
        for _ in range(turns):  # of the loop: accepted, connection made, served; and the next client
            await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE_S):
            await server.stop()
        written = list(entries)
        for client in clients:
            client.settimeout(2.0)  # blocks the loop: nothing but what ``stop`` has done can end it
            try:
                assert client.recv(1) == b""
            except ConnectionResetError:
                pass
    await asyncio.sleep(0)
    assert entries == written
    ends = [entry["ev"] for entry in entries]
    assert ends in ([], ["req", "error"])


# --------------------------------------------------------------------------- addresses and signals


async def test_a_fake_binds_loopback_only_unless_told_otherwise(serve: Any) -> None:
    script = load_model_script({"models": {"m": [{}]}})
    for host in ("0.0.0.0", "::", "example.org"):
        with pytest.raises(LocalError, match="not a loopback address"):
            await ModelServer(script).start(host)
    async with ModelServer(script) as server:
        assert server.base_url == f"http://127.0.0.1:{server.port}/v1"
    server = ModelServer(script)
    try:
        assert await server.start("0.0.0.0", allow_remote=True) > 0
    finally:
        await server.stop()
    rig = await serve({"m": [{}]})
    with pytest.raises(LocalError, match=f"port {rig.server.port} on 127.0.0.1 is taken; end the program"):
        await ModelServer(script).start("localhost".replace("localhost", "127.0.0.1"), rig.server.port)
    with pytest.raises(LocalError, match=r"cannot listen on 192\.0\.2\.1:0"):
        await ModelServer(script).start("192.0.2.1", allow_remote=True)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
async def test_an_ipv6_loopback_address_is_bracketed_in_the_base_address() -> None:
    server = ModelServer(load_model_script({"models": {"m": [{}]}}))
    await server.start("::1")
    assert server.base_url == f"http://[::1]:{server.port}/v1"
    await server.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_server_in_order(tmp_path: Path, number: int) -> None:
    script, journal = tmp_path / "s.yaml", tmp_path / "j.jsonl"
    script.write_text("models: {m: [{text: hi}]}", encoding="utf-8")
    before = signal.getsignal(signal.SIGTERM)
    told: list[tuple[int, int]] = []

    def ready(pid: int, port: int) -> None:
        told.append((pid, port))
        os.kill(pid, number)  # in the instant of readiness: the handlers must stand already

    async with asyncio.timeout(PATIENCE_S):
        server = ModelServer(load_model_script(script), journal=journal, clock=ScaledClock.start(0.01), seed=3)
        await serve(server, ready=ready)
    ((pid, port),) = told
    assert pid == os.getpid()
    assert signal.getsignal(signal.SIGTERM) == before
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


def test_a_broken_script_file_is_refused_with_line_and_key(tmp_path: Path) -> None:
    script = tmp_path / "s.yaml"
    script.write_text("models:\n  m:\n    - {txt: hi}", encoding="utf-8")
    with pytest.raises(DocumentError, match=r"s\.yaml:3:\d+: at models\.m\[0\]\.txt expected one of"):
        load_model_script(script)


# --------------------------------------------------------------------------- the command


@pytest.mark.parametrize(("asked", "status"), [(1, 0), (0, 1)])
def test_the_command_exits_with_1_when_what_the_script_expects_did_not_come(
    tmp_path: Path, asked: int, status: int
) -> None:
    script = tmp_path / "s.yaml"
    script.write_text("models: {m: [{text: hi}]}\nexpect: {requests: 1}\n", encoding="utf-8")
    command = [sys.executable, "-m", "lockjaw", "serve", "model", "--script", str(script)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            told = process.stderr.readline()
            port = int(told.split("127.0.0.1:")[1].split()[0])
            for _ in range(asked):
                body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
                httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body, timeout=20).raise_for_status()
            process.send_signal(signal.SIGTERM)
            _, rest = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == status
    assert ("expect.requests: 0 requests were answered, not 1" in rest) is (status == 1)
