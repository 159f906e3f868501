"""One script, two arms: the socket gives the bytes and keeps the instants that the simulation gives and keeps."""

from __future__ import annotations

import asyncio
import heapq
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from lockjaw.fakes.models.memory import MemoryModels
from lockjaw.fakes.models.reply_plan import Break, Chunk, Circumstances, Open, Silence, Whole, cut_body, delivered, plan
from lockjaw.fakes.models.script import load_model_script
from lockjaw.fakes.models.wires import SURFACES
from lockjaw.history import MemoryRecorder
from lockjaw.seeds import Seeds

SEED = 5
PATIENCE_S = 20.0
TALK = [{"role": "user", "content": "hi"}]
STREAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "openai-chat": ("/v1/chat/completions", {"model": "m", "messages": TALK, "stream": True}),
    "openai-responses": ("/v1/responses", {"model": "m", "input": "hi", "stream": True}),
    "anthropic-messages": ("/v1/messages", {"model": "m", "max_tokens": 9, "messages": TALK, "stream": True}),
    "gemini": ("/v1beta/models/m:streamGenerateContent?alt=sse", {"contents": [{"parts": [{"text": "hi"}]}]}),
    "ollama-chat": ("/api/chat", {"model": "m", "messages": TALK}),
    "ollama-generate": ("/api/generate", {"model": "m", "prompt": "hi"}),
}
WHOLE: dict[str, tuple[str, dict[str, Any]]] = {
    "openai-chat": ("/v1/chat/completions", {"model": "m", "messages": TALK}),
    "openai-responses": ("/v1/responses", {"model": "m", "input": "hi"}),
    "anthropic-messages": ("/v1/messages", {"model": "m", "max_tokens": 9, "messages": TALK}),
    "gemini": ("/v1beta/models/m:generateContent", {"contents": [{"parts": [{"text": "hi"}]}]}),
    "ollama-chat": ("/api/chat", {"model": "m", "messages": TALK, "stream": False}),
    "ollama-generate": ("/api/generate", {"model": "m", "prompt": "hi", "stream": False}),
}
STEPS: dict[str, dict[str, Any]] = {
    "everything": {
        "first_token_s": 2, "inter_token_s": 1, "reasoning": "Think hard.", "text": "One thrée.",
        "tool_calls": [{"name": "f", "arguments": {"a": "é" * 40}}, {"name": "g"}],
    },
    "jitter": {"inter_token_s": 2, "jitter_s": 1.5, "token": ".", "count": 6},
    "log-normal": {"inter_token_s": 2, "lognormal_sigma": 0.7, "token": ".", "count": 6},
    "prefill": {"prefill_s_per_token": 1.5, "text": "a b"},
    "stall": {"tokens": ["a", "b"], "stall_s": 6, "stall_after_tokens": 1},
    "slow close": {"text": "a b", "slow_close_s": 4},
    "error": {"first_token_s": 1, "error": {"kind": "rate_limit", "retry_after_s": 7}},
    "error in mid-stream": {"text": "a b c", "inter_token_s": 1, "error": {"status": 500, "after_tokens": 2}},
    "fin": {"text": "a b c", "inter_token_s": 1, "disconnect": {"how": "fin", "after_tokens": 2}},
    "rst": {"text": "a b c", "inter_token_s": 1, "disconnect": {"how": "rst", "after_tokens": 2}},
    "mid-chunk": {"text": "a b c", "inter_token_s": 1, "disconnect": {"how": "mid_chunk", "after_tokens": 2}},
    "mid-event": {"text": "a b c", "inter_token_s": 1, "disconnect": {"how": "mid_event", "after_tokens": 2}},
    "mid-UTF-8": {"text": "a bé c", "inter_token_s": 1, "disconnect": {"how": "mid_utf8", "after_tokens": 1}},
    "mid-header": {"text": "a", "first_token_s": 1, "disconnect": {"how": "mid_header"}},
    "truncated": {"text": "a b c", "malformed": {"how": "truncated", "after_tokens": 2}},
    "broken event": {"text": "a b c", "malformed": {"how": "broken_event", "after_tokens": 2}},
    "missing end mark": {"text": "a", "malformed": {"how": "missing_done"}},
    "two end marks": {"text": "a", "malformed": {"how": "duplicate_done"}},
    "length too long": {"text": "a b", "malformed": {"how": "too_long"}},
    "length too short": {"text": "a b", "malformed": {"how": "too_short"}},
}  # fmt: skip


@dataclass
class Trace:
    """What a client saw: ``pieces`` with their nominal instants since the request; ``end``: in order, or the error."""

    status: int = 0
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    end: str = ""

    @property
    def body(self) -> bytes:
        return b"".join(data for _, data in self.pieces)

    def reached(self, size: int) -> float:
        """When so many bytes were there."""
        total = 0
        for at_s, data in self.pieces:
            total += len(data)
            if total >= size:
                return at_s
        raise AssertionError(f"only {total} of {size} bytes came")


class VirtualTimeline:
    """Time that passes when nothing else is left to do."""

    def __init__(self) -> None:
        self._now, self._count = 0.0, 0
        self._queue: list[tuple[float, int, Any]] = []

    def now(self) -> float:
        return self._now

    def latency(self, client: str) -> float:
        return 0.0

    def at(self, when: float, callback: Callable[..., Any], *args: Any) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, asyncio.get_running_loop())
        self._count += 1
        heapq.heappush(self._queue, (when, self._count, handle))
        return handle

    async def run(self) -> None:
        while True:
            for _ in range(20):  # whatever the client does with what has arrived
                await asyncio.sleep(0)
            if not self._queue:
                continue
            when, _, handle = heapq.heappop(self._queue)
            if not handle.cancelled():
                self._now = max(self._now, when)
                handle._run()


@asynccontextmanager
async def simulated(script: dict[str, Any]) -> AsyncIterator[tuple[httpx.AsyncClient, Callable[[], float]]]:
    timeline = VirtualTimeline()
    models = MemoryModels(script, timeline=timeline, recorder=MemoryRecorder(_Virtual(timeline), "models"), seed=SEED)
    running = asyncio.create_task(timeline.run())
    try:
        async with httpx.AsyncClient(transport=models.transport("client"), base_url="http://x") as client:
            yield client, timeline.now
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


class _Virtual:
    def __init__(self, timeline: VirtualTimeline) -> None:
        self.monotonic = timeline.now

    def wall_ms(self) -> int:
        return 0


async def look(client: httpx.AsyncClient, now: Callable[[], float], path: str, body: dict[str, Any]) -> Trace:
    trace, began = Trace(end="in order"), now()
    try:
        async with asyncio.timeout(PATIENCE_S), client.stream("POST", path, json=body, timeout=None) as response:
            trace.status = response.status_code
            async for data in response.aiter_raw():
                trace.pieces.append((now() - began, data))
    except httpx.TransportError as error:
        trace.end = type(error).__name__
    return trace


def expected(surface: str, path: str, body: dict[str, Any], step: dict[str, Any]) -> tuple[int, list[Any], str]:
    """Status, ``(instant, bytes)`` and end, as the plan has them."""
    value = load_model_script({"models": {"m": [step]}}).models["m"][0]
    vendor = SURFACES[surface]
    request = vendor.parse(path, json.dumps(body).encode())
    around = Circumstances(1, Seeds(SEED).child("model-server").child("m"), 1, "req-1")
    status, pieces, end = 0, [], "in order"
    for action in delivered(plan(value, vendor, request, around)):
        match action:
            case Open(status=status):
                pass
            case Whole(status=status):
                pieces.append((action.at_s, action.body))
            case Chunk():
                pieces.append((action.at_s, action.data))
            case Break(how=how, half=half):
                if isinstance(half, Whole) and how != "mid_header":
                    status = half.status
                pieces.append((action.at_s, cut_body(action)))
                end = "ReadError" if how == "rst" else "RemoteProtocolError"
            case Silence():
                raise AssertionError("a step without end has no trace")
    return status, [piece for piece in pieces if piece[1]], end


def cases() -> list[Any]:
    found = []
    for surface in STREAMED:
        for name, step in STEPS.items():
            found.append(pytest.param(surface, *STREAMED[surface], step, id=f"{surface}-{name}-streamed"))
            if name in ("everything", "error", "mid-chunk", "length too long", "length too short"):
                found.append(pytest.param(surface, *WHOLE[surface], step, id=f"{surface}-{name}-whole"))
    return found


@pytest.mark.parametrize("arm", ["simulation", "socket"])
@pytest.mark.parametrize(("surface", "path", "body", "step"), cases())
async def test_both_arms_give_the_same_bytes_at_the_same_nominal_instants(
    arm: str, surface: str, path: str, body: dict[str, Any], step: dict[str, Any], serve: Any
) -> None:
    if arm == "simulation":
        async with simulated({"models": {"m": [step]}}) as (client, now):
            trace = await look(client, now, path, body)
    else:
        rig = await serve({"m": [step]}, seed=SEED, scale=0.005)
        async with httpx.AsyncClient(base_url=rig.server.origin) as client:
            trace = await look(client, rig.clock.monotonic, path, body)
    status, pieces, end = expected(surface, path, body, step)
    if end == "ReadError" and arm == "socket" and trace.end == "ReadError":
        # A reset throws away what the client has not read yet: how much that is, nobody can say.
        assert b"".join(data for _, data in pieces).startswith(trace.body)
        return
    assert (trace.status, trace.end) == (status, end)
    assert trace.body == b"".join(data for _, data in pieces)
    size = 0
    for due_s, data in pieces:
        size += len(data)
        if arm == "simulation":
            assert trace.reached(size) == pytest.approx(due_s)
        else:  # never early; how late depends on the machine (tests/benchmarks measure it)
            assert trace.reached(size) >= due_s - 1e-6
