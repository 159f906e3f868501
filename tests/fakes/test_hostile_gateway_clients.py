"""Clients that waste, dawdle or flood, against the mock gateway and against ``lockjaw gateway run``: the same for both.

Both are processes of their own here, so that what they hold in memory is theirs alone.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from lockjaw.clock import ScaledClock
from lockjaw.fakes.gateway.connection import GatewayLimits
from lockjaw.fakes.gateway.script import load_gateway_script
from lockjaw.fakes.gateway.server import MockGateway
from tests.live import Process, live

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]
PATIENCE_S = 60.0  # real seconds after which a test gives up; never what it measures
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
MB = 1_000_000
IDLE = 1000


class Victim:
    """A gateway in a process of its own."""

    def __init__(self, process: Process) -> None:
        self.port = process.port
        self.memory, self.peak = process.memory, process.peak

    async def serves(self) -> bool:
        """Whether somebody else gets a challenge now."""
        async with asyncio.timeout(PATIENCE_S), connect(f"ws://127.0.0.1:{self.port}", proxy=None) as socket:
            return bool(json.loads(await socket.recv())["event"] == "connect.challenge")

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


@pytest.fixture(params=["mock", "run"])
async def victim(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Victim]:
    async with live(tmp_path, scale=0.2) as one:
        one.configure(1)
        command = ("serve", "gateway", "healthy") if request.param == "mock" else ("gateway", "run", "--port", "0")
        process = await one.server("victim", *command)
        gateway = Victim(process)
        assert await gateway.serves()
        yield gateway
        assert process.alive
        assert await gateway.serves()


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(PATIENCE_S):
        try:
            return await reader.read()
        except ConnectionError:
            return b""  # cut while it still had something to say to us


async def test_a_flood_of_headers_is_refused_and_costs_nothing(victim: Victim) -> None:
    before = victim.memory()
    for _ in range(20):
        reader, writer = await victim.open()
        writer.write(UPGRADE)
        try:
            for n in range(2000):
                writer.write(b"X-%d: %s\r\n" % (n, b"y" * 4000))
                await writer.drain()
        except ConnectionError:
            pass  # it has had enough
        assert b" 101 " not in await until_closed(reader)
        writer.transport.abort()
    assert victim.peak() - before < 20 * MB  # 160 MB of headers were offered


async def test_a_header_without_an_end_is_cut_off(victim: Victim) -> None:
    before = victim.memory()
    reader, writer = await victim.open()
    writer.write(UPGRADE + b"X: ")
    try:
        for _ in range(1000):
            writer.write(b"y" * 50_000)
            await writer.drain()
    except ConnectionError:
        pass
    assert b" 101 " not in await until_closed(reader)
    writer.transport.abort()
    assert victim.peak() - before < 20 * MB


async def test_huge_frames_before_hello_are_refused_before_they_are_kept(victim: Victim) -> None:
    before = victim.memory()

    async def flood() -> None:
        async with connect(f"ws://127.0.0.1:{victim.port}", proxy=None, max_size=None, compression=None) as socket:
            await socket.recv()
            with pytest.raises(ConnectionClosed):
                await asyncio.gather(socket.send(iter(["x" * MB] * 25)), socket.recv())  # fragments of one message
            assert socket.close_code in (1009, 1006)  # 1006: cut while it still had much to say

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(flood() for _ in range(16)))
    assert victim.peak() - before < 60 * MB  # 400 MB were offered


async def test_a_thousand_idle_connections_block_nobody(victim: Victim) -> None:
    before = victim.memory()
    idle = [await victim.open() for _ in range(IDLE)]
    began = time.monotonic()
    assert await victim.serves()
    # What it takes alone is some milliseconds; seconds would mean that it waits for one of them.
    assert time.monotonic() - began < 10.0
    assert victim.peak() - before < 100 * MB  # under 100 kB each
    for _, writer in idle:
        writer.transport.abort()


async def test_slow_lorises_in_the_upgrade_do_not_block_it(victim: Victim) -> None:
    lorises = [await victim.open() for _ in range(200)]
    for _, writer in lorises:
        writer.write(UPGRADE[:40])
    assert await victim.serves()
    for _, writer in lorises:
        writer.write(UPGRADE[40:60])
    assert await victim.serves()
    for _, writer in lorises:
        writer.transport.abort()


# --------------------------------------------------------------------------- limits of the mock gateway


@pytest.fixture
async def mock() -> AsyncIterator[Callable[..., Awaitable[MockGateway]]]:
    servers: list[MockGateway] = []

    async def start(script: dict[str, Any], limits: GatewayLimits) -> MockGateway:
        server = MockGateway(load_gateway_script({"gateway": script}), clock=ScaledClock.start(0.01), limits=limits)
        await server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.stop()


async def test_an_upgrade_and_a_hello_that_never_end_are_cut_off(mock: Any) -> None:
    server = await mock({}, GatewayLimits(hello_real_s=0.3))
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    began = time.monotonic()
    closed = asyncio.create_task(until_closed(reader))
    while not closed.done() and time.monotonic() - began < PATIENCE_S:
        writer.write(b"G")  # a byte now and then buys it no more time
        await asyncio.wait([closed], timeout=0.02)
    assert 0.25 < time.monotonic() - began < PATIENCE_S
    writer.transport.abort()
    async with connect(server.url, proxy=None) as socket:
        await socket.recv()
        with pytest.raises(ConnectionClosed) as caught:
            await socket.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1000
    assert server.verify() == ["connection 1: no connect frame in 0.3 real seconds"]


async def hello(server: MockGateway) -> Any:
    socket = await connect(server.url, proxy=None, max_size=None)
    await socket.recv()
    params = {"minProtocol": 3, "maxProtocol": 3}
    await socket.send(json.dumps({"type": "req", "id": "c", "method": "connect", "params": params}))
    assert json.loads(await socket.recv())["ok"]
    return socket


async def drained(socket: Any) -> None:
    """Read for ever."""
    while True:
        await socket.recv()


async def test_one_connection_too_many_is_answered_503(mock: Any) -> None:
    server = await mock({}, GatewayLimits(connections=2))
    sockets = [await hello(server) for _ in range(2)]
    with pytest.raises(InvalidStatus) as caught:
        await connect(server.url, proxy=None)
    assert caught.value.response.status_code == 503
    await sockets[0].close()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                sockets.append(await hello(server))
                break
            except InvalidStatus:
                await asyncio.sleep(0.01)
    for socket in sockets:
        await socket.close()


async def test_calls_without_end_are_refused_beyond_a_number(mock: Any) -> None:
    server = await mock(
        {"methods": {"x": [{"silence": True, "events": [{"event": "e", "after_s": 10_000}]}]}}, GatewayLimits(calls=5)
    )
    socket = await hello(server)
    for n in range(6):
        await socket.send(json.dumps({"type": "req", "id": str(n), "method": "x"}))
    async with asyncio.timeout(PATIENCE_S):
        answer = json.loads(await socket.recv())
    assert (answer["id"], answer["error"]["message"]) == ("5", "too many unanswered requests")
    await socket.close()


async def test_a_client_that_does_not_read_is_cut_off_and_the_others_hear_everything(mock: Any) -> None:
    flood = [{"event": "health", "payload": "x" * 100_000}] * 300
    server = await mock({"methods": {"x": [{"events": flood}]}}, GatewayLimits(buffered_bytes=1_000_000))
    slow, other = await hello(server), await hello(server)
    slow.transport.pause_reading()
    await other.send(json.dumps({"type": "req", "id": "1", "method": "x"}))
    seen = 0
    async with asyncio.timeout(PATIENCE_S):
        while seen < 300:
            seen += json.loads(await other.recv()).get("event") == "health"
    slow.transport.resume_reading()
    with pytest.raises(ConnectionClosed):
        await drained(slow)
    await other.close()
