"""What the model server carries: requests, the pacing of streams, and memory; beside aimock and llmock in the same run.

    python -m pytest -m bench -s tests/benchmarks/test_model_server.py

Needs wrk (Debian: wrk), which is lighter than any of the servers. Others are measured if these name them:
``LOCKJAW_BENCH_AIMOCK`` (``npm install @copilotkit/aimock``: node_modules/.bin/llmock) and ``LOCKJAW_BENCH_LLMOCK``
(``pip install llmock`` in an environment of its own: bin/llmock). Servers take turns, so that what else the machine
does meets all of them. Requests per second of *CPU time* are what a machine that is busy otherwise can tell.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

ROUNDS, SECONDS, CONNECTIONS = 3, 2, 50
STREAMS, TOKENS, GAP_S, START_S = 200, 40, 0.05, 0.005025  # START_S apart, so that all run after 1 s
FIRST_S = 1.5
IDLE = 2000
TEXT = "Hello, nice people, it is good to see you."
BODY = {"model": "m", "messages": [{"role": "user", "content": "Say hello to the nice people."}]}
OURS = """
import asyncio, sys
from lockjaw.fakes.models.script import load_model_script
from lockjaw.fakes.models.server import ModelServer
from lockjaw.fakes.serving import serve
def main(loop, script, journal, port):
    coroutine = serve(ModelServer(load_model_script(script), journal=journal), port=int(port))
    if loop == "uvloop":
        import uvloop
        uvloop.run(coroutine)
    else:
        asyncio.run(coroutine)
main(*sys.argv[1:])
"""


@dataclass
class Rival:
    name: str
    command: list[str]
    per_second: list[float] = field(default_factory=list)
    per_cpu_second: list[float] = field(default_factory=list)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def running(command: list[str], port: int) -> Iterator[psutil.Process]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline, f"{command[0]} does not listen"
                    assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
                    time.sleep(0.05)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def script_file(folder: Path, step: dict[str, Any]) -> Path:
    path = folder / "model.yaml"
    path.write_text(json.dumps({"models": {"m": [step]}}), encoding="utf-8")  # JSON is YAML
    return path


def ours(folder: Path, step: dict[str, Any], loop: str) -> list[str]:
    return [sys.executable, "-c", OURS, loop, str(script_file(folder, step)), str(folder / f"{loop}.jsonl")]


def loops() -> list[str]:
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return ["asyncio"]
    return ["asyncio", "uvloop"]


def rivals(folder: Path) -> list[Rival]:
    found = [Rival(f"lockjaw, {loop}", ours(folder, {"text": TEXT}, loop)) for loop in loops()]
    if path := os.environ.get("LOCKJAW_BENCH_AIMOCK"):
        fixtures = folder / "fixtures.json"
        fixture = {"match": {"userMessage": "nice people"}, "response": {"content": TEXT}}
        fixtures.write_text(json.dumps({"fixtures": [fixture]}), encoding="utf-8")
        found.append(Rival("aimock", [path, "--fixtures", str(fixtures), "--log-level", "silent", "--port"]))
    if path := os.environ.get("LOCKJAW_BENCH_LLMOCK"):
        found.append(Rival("llmock", [path, "serve", "--log-level", "error", "--latency-ms", "0", "--port"]))
    return found


def cpu_s(process: psutil.Process) -> float:
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def test_requests_per_second(tmp_path: Path) -> None:
    if shutil.which("wrk") is None:
        pytest.skip("needs wrk (Debian: apt-get install wrk)")
    lua = tmp_path / "post.lua"
    lua.write_text(
        f"wrk.method = 'POST'\nwrk.body = [[{json.dumps(BODY)}]]\nwrk.headers['Content-Type'] = 'application/json'\n"
        "wrk.headers['Authorization'] = 'Bearer k'\n",
        encoding="utf-8",
    )
    measured = rivals(tmp_path)
    with ExitStack() as stack:
        served = []
        for rival in measured:
            port = free_port()
            process = stack.enter_context(running([*rival.command, str(port)], port))
            served.append((rival, process, f"http://127.0.0.1:{port}/v1/chat/completions"))
        for number in range(ROUNDS + 1):  # the first warms up
            for rival, process, address in served:
                command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", str(lua), address]
                before = cpu_s(process)
                said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                used = cpu_s(process) - before
                assert "Non-2xx" not in said, said
                if number:
                    count, rate = re.search(r"(\d+) requests in", said), re.search(r"Requests/sec:\s*([\d.]+)", said)
                    assert count is not None
                    assert rate is not None
                    rival.per_second.append(float(rate[1]))
                    rival.per_cpu_second.append(int(count[1]) / used)
    base = statistics.median(measured[0].per_cpu_second)
    print(f"\n{CONNECTIONS} kept connections, {ROUNDS} rounds of {SECONDS} s in turn; load {os.getloadavg()[0]:.0f}")
    print(f"{'server':20} {'req/s':>9} {'req/CPU s':>10} {'ratio':>6}")
    for rival in measured:
        cpu = statistics.median(rival.per_cpu_second)
        print(f"{rival.name:20} {statistics.median(rival.per_second):9.0f} {cpu:10.0f} {cpu / base:6.2f}")


# --------------------------------------------------------------------------- pacing


class _Reader(asyncio.Protocol):
    """One streaming client: notes when each token came."""

    def __init__(self, request: bytes) -> None:
        self.request, self.stamps, self.began, self.head = request, [], 0.0, 0.0
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.began = time.monotonic()
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self.head = self.head or now
        self.stamps += [now] * data.count(b'"content":"."')

    def connection_lost(self, exc: Exception | None) -> None:
        self.over.set_result(None)


def _read_streams(port: int, pipe: Any) -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        body = json.dumps({**BODY, "stream": True})
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        readers = []
        began = loop.time()
        for number in range(STREAMS):
            # Independent clients: their tokens are due at instants that lie evenly over the gap, not all at once.
            await asyncio.sleep(began + number * START_S - loop.time())
            _, reader = await loop.create_connection(lambda: _Reader((head + body).encode()), "127.0.0.1", port)
            readers.append(reader)
        await asyncio.gather(*(reader.over for reader in readers))
        due = [FIRST_S + index * GAP_S for index in range(TOKENS)]
        pairs = [(reader, stamp, at) for reader in readers for stamp, at in zip(reader.stamps, due, strict=True)]
        assert all(stamp - reader.began - at > -0.0005 for reader, stamp, at in pairs), "a token was early"
        return [abs(stamp - reader.head - at) for reader, stamp, at in pairs]

    pipe.send(asyncio.run(main()))


@pytest.mark.parametrize("loop", loops())
def test_pacing_of_concurrent_streams(tmp_path: Path, loop: str) -> None:
    step = {"token": ".", "count": TOKENS, "first_token_s": FIRST_S, "inter_token_s": GAP_S}
    rounds, drifts = [], []
    for _ in range(ROUNDS):
        port = free_port()
        with running([*ours(tmp_path, step, loop), str(port)], port):
            receiver, sender = multiprocessing.Pipe(duplex=False)
            client = multiprocessing.get_context("spawn").Process(target=_read_streams, args=(port, sender))
            client.start()
            errors = receiver.recv()
            client.join()
        assert len(errors) == STREAMS * TOKENS
        rounds.append(statistics.quantiles(errors, n=100))
        last = [error for index, error in enumerate(errors) if index % TOKENS >= TOKENS - 5]
        drifts.append(statistics.median(last) - statistics.median(errors))
    best = min(rounds, key=lambda one: one[98])
    print(
        f"\n{loop}: {STREAMS} streams, {TOKENS} tokens each, {GAP_S * 1000:.0f} ms apart; load {os.getloadavg()[0]:.0f}"
    )
    print(
        "error at the client, from the instant of the reply's head, ms: "
        + "; ".join(f"p50 {one[49] * 1e3:.2f} p99 {one[98] * 1e3:.2f}" for one in rounds)
    )
    print(f"best round p99 {best[98] * 1e3:.2f} ms; the last five tokens against all: {max(drifts) * 1e3:+.2f} ms")


# --------------------------------------------------------------------------- memory


@pytest.mark.parametrize("loop", loops())
def test_memory_of_idle_streams(tmp_path: Path, loop: str) -> None:
    step = {"text": "one two", "stall_s": "forever", "stall_after_tokens": 1}
    port = free_port()
    body = json.dumps({**BODY, "stream": True}).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with running([*ours(tmp_path, step, loop), str(port)], port) as process:
        before = process.memory_info().rss
        clients = []
        try:
            for _ in range(IDLE):
                client = socket.create_connection(("127.0.0.1", port))
                client.sendall(request)
                clients.append(client)
            for client in clients:
                seen = b""
                while b'"content":"one"' not in seen:
                    seen += client.recv(4096)
            after = process.memory_info().rss
        finally:
            for client in clients:
                client.close()
    print(f"\n{loop}: {IDLE} stalled streams: {after / 1e6:.0f} MB ({(after - before) / IDLE / 1e3:.1f} kB each)")
    assert after < 300e6
