"""Recording: what a real endpoint answers comes back byte for byte, at its instants, and without anybody's keys."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lockjaw.clock import ScaledClock
from lockjaw.errors import LocalError
from lockjaw.fakes.models.recording import RecordingProxy, as_text, without_secrets
from lockjaw.fakes.models.script import load_model_script

KEY = "sk-verysecret-0123456789"
PLAIN_KEY = "correct horse battery"  # a key that only its sender knows to be one
ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "my private words"}]}
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
STEPS = [
    {"text": "Hëllo, you.", "first_token_s": 20, "inter_token_s": 10},
    {"text": "whole", "first_token_s": 20},
    {"error": {"kind": "rate_limit", "retry_after_s": 3, "message": f"Too fast with {KEY} or {PLAIN_KEY}."}},
    {"text": "a b c d", "disconnect": {"how": "fin", "after_tokens": 2}},
    {"tool_calls": [{"name": "f", "arguments": {"a": 1}}]},
]
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    (CHAT, ASK | {"stream": True}),
    (CHAT, ASK),
    (CHAT, ASK | {"stream": True}),
    (CHAT, ASK | {"stream": True}),
    (MESSAGES, ASK | {"stream": True, "max_tokens": 9}),
]


async def talk(origin: str, clock: ScaledClock) -> list[dict[str, Any]]:
    """What a client sees of all five replies."""
    seen = []
    headers = {"authorization": f"Bearer {KEY}", "x-api-key": PLAIN_KEY}
    async with httpx.AsyncClient(base_url=origin, headers=headers, timeout=30) as client:
        for path, body in REQUESTS:
            one: dict[str, Any] = {"pieces": [], "end": "in order"}
            began = clock.monotonic()
            try:
                async with client.stream("POST", path, json=body) as response:
                    one |= {"status": response.status_code, "retry": response.headers.get("retry-after")}
                    async for data in response.aiter_raw():
                        one["pieces"].append((clock.monotonic() - began, data))
            except httpx.TransportError as error:
                one["end"] = type(error).__name__
            one["body"] = b"".join(data for _, data in one["pieces"])
            seen.append(one)
    return seen


async def test_a_recording_replays_bytes_instants_errors_and_breaks_and_holds_no_key(
    serve: Any, tmp_path: Path
) -> None:
    real = await serve({"m": STEPS}, seed=3)
    script = tmp_path / "recorded.yaml"
    proxy = RecordingProxy(real.server.origin, script, clock=real.clock, journal=tmp_path / "j.jsonl")
    await proxy.start()
    try:
        recorded = await talk(f"http://127.0.0.1:{proxy.port}", real.clock)
    finally:
        await proxy.stop()
    text = script.read_text(encoding="utf-8") + (tmp_path / "j.jsonl").read_text(encoding="utf-8")
    assert KEY not in text
    assert PLAIN_KEY not in text
    assert "verysecret" not in text
    assert "private words" not in text
    again = await serve(yaml.safe_load(script.read_text(encoding="utf-8"))["models"], seed=99)
    replayed = await talk(again.server.origin, again.clock)
    for index, (before, after) in enumerate(zip(recorded, replayed, strict=True)):
        cut = before["body"].replace(KEY.encode(), b"[redacted]").replace(PLAIN_KEY.encode(), b"[redacted]")
        assert (after["status"], after["body"], after["end"]) == (before["status"], cut, before["end"]), index
        assert after["retry"] == before["retry"]
    assert replayed[2]["body"].count(b"[redacted]") == 2
    # Lower bound: the replay keeps the recorded instants, and those are not before the script's own.
    steps = load_model_script(script).models["m"]
    assert [step.recorded.stream for step in steps if step.recorded] == [True, False, False, True, True]
    instants = [at_s for at_s, _ in replayed[0]["pieces"]]
    due = [piece.at_s for piece in steps[0].recorded.pieces] if steps[0].recorded else []
    assert due[0] >= 20
    assert due[-1] >= 50
    assert instants[-1] >= due[-1]


async def test_an_upstream_that_is_not_there_is_told_to_the_client_and_to_people(tmp_path: Path) -> None:
    told: list[str] = []
    script = tmp_path / "s.yaml"
    proxy = RecordingProxy("http://127.0.0.1:9", script, say_problem=told.append)
    await proxy.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{proxy.port}", timeout=30) as client:
            reply = await client.post(CHAT, json=ASK)
    finally:
        await proxy.stop()
    assert reply.status_code == 502
    assert "http://127.0.0.1:9 cannot be reached" in reply.json()["error"]["message"]
    assert told[0].startswith("model recorder: http://127.0.0.1:9 cannot be reached")
    assert not script.exists()


async def test_the_command_records(serve: Any, tmp_path: Path) -> None:
    real = await serve({"m": [{"text": "hello"}]})
    script = tmp_path / "s.yaml"
    arguments = ["serve", "model", "--record", real.server.origin, "--script", str(script)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lockjaw", *arguments, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(60):
            told = (await process.stderr.readline()).decode()
            port = int(told.split("127.0.0.1:")[1].split()[0])
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                assert (await client.post(CHAT, json=ASK)).status_code == 200
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    (step,) = load_model_script(script).models["m"]
    assert step.recorded is not None
    assert '"hello"' in step.recorded.pieces[0].text


def test_a_recording_overwrites_nothing_and_needs_an_address(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("mine", encoding="utf-8")
    with pytest.raises(LocalError, match="exists; give --script another name"):
        RecordingProxy("http://127.0.0.1:9", tmp_path / "s.yaml")
    with pytest.raises(LocalError, match="--record takes the address"):
        RecordingProxy("api.openai.com", tmp_path / "t.yaml")


@given(st.lists(st.integers(1, 6), max_size=12), st.integers(0, 20), st.sampled_from([KEY, "hunter2-hunter2"]))
def test_a_secret_is_cut_out_wherever_the_network_cut_it(sizes: list[int], before: int, secret: str) -> None:
    text = "x" * before + f" {secret} " + "y" * 9
    pieces, at = [], 0
    for size in [*sizes, len(text)]:
        pieces.append((float(len(pieces)), text[at : at + size]))
        at += size
    kept = without_secrets(pieces, [secret])
    assert "".join(piece for _, piece in kept) == text.replace(secret, "[redacted]")
    assert [at_s for at_s, _ in kept] == [at_s for at_s, _ in pieces]


@given(st.text(max_size=30), st.lists(st.integers(1, 3), max_size=20))
def test_text_survives_pieces_that_end_inside_a_character(text: str, sizes: list[int]) -> None:
    data, pieces, at = text.encode(), [], 0
    for size in [*sizes, len(text.encode())]:
        pieces.append((0.0, data[at : at + size]))
        at += size
    assert "".join(piece for _, piece in as_text(pieces)) == text
    assert json.dumps([piece for _, piece in as_text(pieces)])
