"""What a link without toxics costs: CPU time and throughput beside a plain relay, interleaved in one run.

    python -m pytest -m bench -s tests/benchmarks/test_link.py

Each relay is a process of its own that carries 300 MB from one socket to another, three times in turn. ``protocol`` is
the least that asyncio allows (an ``asyncio.Protocol`` that writes what it reads), ``streams`` what people
write.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import pytest

from lockjaw.fakes.links.link import Link

pytestmark = pytest.mark.bench

MEGABYTES, ROUNDS = 300, 3
Address = tuple[str, int]


class _End(asyncio.Protocol):
    def __init__(self, upstream: Address | None, other: _End | None = None) -> None:
        self.upstream, self.other = upstream, other

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self.upstream is None:
            self.other.transport.resume_reading()
        else:
            transport.pause_reading()
            self.other = _End(None, self)
            loop = asyncio.get_running_loop()
            self.dialling = loop.create_task(loop.create_connection(lambda: self.other, *self.upstream))

    def data_received(self, data: bytes) -> None:
        self.other.transport.write(data)

    def eof_received(self) -> bool:
        self.other.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.other.transport.resume_reading()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(262_144):
        writer.write(piece)
        await writer.drain()
    writer.write_eof()


async def protocol(upstream: Address) -> int:
    server = await asyncio.get_running_loop().create_server(lambda: _End(upstream), "127.0.0.1", 0)
    return server.sockets[0].getsockname()[1]


async def streams(upstream: Address) -> int:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, away = await asyncio.open_connection(*upstream)
        await asyncio.gather(_pipe(reader, away), _pipe(there, writer))

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    return server.sockets[0].getsockname()[1]


async def link(upstream: Address) -> int:
    return await Link("{}:{}".format(*upstream)).start()


def _relay(start: Callable[[Address], Any], upstream: Address, pipe: Connection) -> None:
    async def main() -> None:
        over = asyncio.Event()
        pipe.send(await start(upstream))
        asyncio.get_running_loop().add_reader(pipe.fileno(), over.set)
        began = time.process_time()
        await over.wait()
        pipe.send(time.process_time() - began)

    asyncio.run(main())


def _sink(server: socket.socket) -> None:
    while True:
        with server.accept()[0] as connection:
            while connection.recv(1 << 20):
                pass


def test_throughput_of_a_link_beside_plain_relays() -> None:
    fork = multiprocessing.get_context("fork")
    figures: dict[str, list[tuple[float, float]]] = {}
    with socket.create_server(("127.0.0.1", 0)) as server:
        sink = fork.Process(target=_sink, args=(server,), daemon=True)
        sink.start()
        for start in (streams, protocol, link) * ROUNDS:
            ours, theirs = fork.Pipe()
            process = fork.Process(target=_relay, args=(start, server.getsockname(), theirs))
            process.start()
            with socket.create_connection(("127.0.0.1", ours.recv())) as connection:
                began = time.perf_counter()
                for _ in range(MEGABYTES):
                    connection.sendall(b"x" * 1_000_000)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1)
                took = time.perf_counter() - began
            ours.send(None)
            figures.setdefault(start.__name__, []).append((ours.recv(), took))
            process.join()
        sink.terminate()
        sink.join()
    least = statistics.median(cpu for cpu, _ in figures["protocol"])
    print()
    for name, rounds in figures.items():
        cpu, took = (statistics.median(one) for one in zip(*rounds, strict=True))
        print(f"{name:9} {cpu:.3f} s CPU ({cpu / least:.2f} of protocol), {MEGABYTES / took:.0f} MB/s")
