"""Clients that waste, lie or dawdle: each is cut off, told why, and costs the others nothing."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from lockjaw.fakes.http_connection import Limits

PATIENCE_S = 20.0
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"


async def talk(rig: Any, *parts: bytes) -> bytes:
    """Send the parts (as far as the server reads them) and return all that it answers until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.server.port)
    try:
        for part in parts:
            try:
                writer.write(part)
                await writer.drain()
            except ConnectionError:
                break
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await reader.read()
            except ConnectionError:
                return b""  # cut off while it was still sending
    finally:
        writer.transport.abort()


async def still_serves(rig: Any) -> bool:
    reply = await talk(rig, b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return reply.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # TLS on a plain port
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", 400),
        (HEAD + b"Content-Length: abc\r\n\r\n", 400),
        (HEAD + b"Content-Length: 99999999999\r\n\r\n", 413),
        (HEAD + b"X: " + b"a" * 200_000, 431),  # no end in sight
        (HEAD + b"X: " + b"a" * 65_536 + b"\r\n\r\n", 431),  # complete, and too long
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
)
async def test_what_is_not_a_fair_request_is_refused_in_the_error_shape(
    serve: Any, request_bytes: bytes, status: int
) -> None:
    rig = await serve({"m": [{}]})
    reply = await talk(rig, request_bytes)
    assert reply.startswith(f"HTTP/1.1 {status} ".encode())
    assert b'"error":{"message":' in reply
    entry = await rig.entries.wait("error", status=status)
    assert entry["error"].startswith("not served: ")
    assert rig.server.verify() == [entry["error"]]
    assert await still_serves(rig)


async def test_a_body_without_end_is_cut_off_at_the_limit(serve: Any) -> None:
    rig = await serve({"m": [{}]}, limits=Limits(body_bytes=100_000, linger_real_s=0.2))
    piece = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    reply = await talk(rig, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[piece] * 2000)
    # the refusal is either read, or the reset of the cut-off connection came first
    assert reply.startswith(b"HTTP/1.1 413 ") or reply == b""
    await rig.entries.wait("error", status=413)
    assert await still_serves(rig)


async def test_bodies_of_all_clients_together_have_a_limit(serve: Any) -> None:
    rig = await serve({"m": [{"text": "ok"}]}, limits=Limits(buffered_bytes=10_000))
    holder_reader, holder = await asyncio.open_connection("127.0.0.1", rig.server.port)
    holder.write(HEAD + b"Content-Length: 9000\r\n\r\n" + b"x" * 8000)
    await holder.drain()
    async with asyncio.timeout(PATIENCE_S):
        refused = b""
        while not refused.startswith(b"HTTP/1.1 503"):  # until the holder's bytes have arrived, the other gets a 400
            refused = await talk(rig, HEAD + b"Connection: close\r\nContent-Length: 5000\r\n\r\n" + b"y" * 5000)
            assert refused.startswith((b"HTTP/1.1 503", b"HTTP/1.1 400"))
        holder.transport.abort()
        reply = b""
        while not reply.startswith(b"HTTP/1.1 400"):  # freed when the holder has gone: read to the end, and no JSON
            reply = await talk(rig, HEAD + b"Connection: close\r\nContent-Length: 5000\r\n\r\n" + b"y" * 5000)
    assert b"could not parse the JSON body" in reply
    assert not await holder_reader.read()


async def test_a_slow_loris_is_cut_off_however_often_it_sends_a_byte(serve: Any) -> None:
    rig = await serve({"m": [{}]}, limits=Limits(header_real_s=0.4, linger_real_s=0.05))
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.server.port)
    began = time.monotonic()
    writer.write(b"GET /v1/models HTTP/1.1\r\nX: ")
    answer = asyncio.create_task(reader.read())
    while not answer.done() and time.monotonic() - began < PATIENCE_S:
        if not writer.transport.is_closing():
            writer.write(b"x")
        await asyncio.wait([answer], timeout=0.01)
    took = time.monotonic() - began
    writer.transport.abort()
    (outcome,) = await asyncio.gather(answer, return_exceptions=True)
    assert isinstance(outcome, ConnectionError) or outcome.startswith(b"HTTP/1.1 408 ")
    assert (await rig.entries.wait("error"))["status"] == 408
    # Lower bound: it had its time. Upper: a byte every 10 ms did not buy it more (with a fresh limit per read it
    # would have gone on until the patience of this test ended).
    assert 0.35 < took < PATIENCE_S
    assert await still_serves(rig)


async def test_a_connection_that_never_says_anything_and_a_slow_body_are_cut_off(serve: Any) -> None:
    rig = await serve({"m": [{}]}, limits=Limits(header_real_s=0.1, request_real_s=0.2))
    assert (await talk(rig)).startswith(b"HTTP/1.1 408 ")
    assert (await talk(rig, HEAD + b"Content-Length: 10\r\n\r\n{")).startswith(b"HTTP/1.1 408 ")
    # a kept connection may idle longer than that; its next request has to be quick again
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.server.port)
    writer.write(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(PATIENCE_S):
        await reader.readuntil(b"\r\n\r\n")
        assert (await talk(rig)).startswith(b"HTTP/1.1 408 ")  # as long again as the limit, measured by its twin
        writer.write(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\nGET ")
        assert b"HTTP/1.1 200 " in await reader.readuntil(b"\r\n\r\n")
        assert b"HTTP/1.1 408 " in await reader.read()
    writer.transport.abort()


async def test_a_flood_of_pipelined_bytes_waits_in_the_clients_buffers(serve: Any) -> None:
    rig = await serve({"m": [{"never_answer": True}]})
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.server.port)
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'
    writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    await rig.entries.wait("req")
    accepted = 0
    writer.transport.set_write_buffer_limits(high=0)
    blocked = False
    while not blocked and accepted < 100_000_000:
        writer.write(b"z" * 65_536)
        try:
            async with asyncio.timeout(1.0):  # real: a reading server would have taken a piece long before
                await writer.drain()
        except TimeoutError:
            blocked = True
        accepted += 65_536
    assert blocked
    assert accepted < 100_000_000  # kernel buffers and 64 KiB of ours, not the flood
    assert await still_serves(rig)
    writer.transport.abort()
    assert not reader.at_eof()


async def test_an_unfinished_request_of_a_client_that_left_is_nobodys_problem(serve: Any) -> None:
    rig = await serve({"m": [{}]})
    _, writer = await asyncio.open_connection("127.0.0.1", rig.server.port)
    writer.write(HEAD + b"Content-Length: 10\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert await still_serves(rig)
    assert rig.server.verify() == []
