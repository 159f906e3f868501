"""The carrier of a plan that a client library's own transport is: no socket, and no event loop of ours."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from lockjaw.fakes.models.progress import ScriptProgress
from lockjaw.fakes.models.script import load_model_script
from lockjaw.testing.in_process import ScriptTransport

ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
PACE = {"tokens": ["a", "b"], "inter_token_s": 10.0, "slower_per_request": 10.0, "first_token_s": 0.0}


class StepClock:
    """Time passes in waits only. Seconds."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def wall_ms(self) -> int:
        return round(self.now_s * 1000)

    def real_s(self, nominal_s: float) -> float:
        return nominal_s

    def sleep_blocking(self, nominal_s: float) -> None:
        self.now_s += nominal_s

    async def sleep(self, nominal_s: float) -> None:
        self.now_s += nominal_s


def read(client: httpx.Client) -> None:
    client.post("/chat/completions", json=ASK)


def stream(client: httpx.Client) -> None:
    client.post("/chat/completions", json={**ASK, "stream": True})


def leave_early(client: httpx.Client) -> None:
    with client.stream("POST", "/chat/completions", json={**ASK, "stream": True}) as response:
        next(response.iter_raw())


def give_up(client: httpx.Client) -> None:
    with pytest.raises(httpx.ReadTimeout):
        client.post("/chat/completions", json=ASK, timeout=1.0)


def lose(client: httpx.Client) -> None:
    with pytest.raises(httpx.ReadError):
        client.post("/chat/completions", json=ASK)


@pytest.mark.parametrize("end", [read, stream, leave_early, give_up, lose])
def test_a_reply_that_has_ended_paces_no_other(end: Any) -> None:
    first = PACE | ({"disconnect": {"how": "rst", "after_tokens": 1}} if end is lose else {})
    clock = StepClock()
    script = load_model_script({"models": {"m": [first, PACE]}})
    transport: Any = ScriptTransport(ScriptProgress(script), clock=clock, seed=1, on_body=lambda body: None)
    with httpx.Client(transport=transport, base_url="http://models/v1", timeout=1000.0) as client:
        end(client)
        began = clock.now_s
        read(client)
    assert clock.now_s - began == pytest.approx(10.0)
