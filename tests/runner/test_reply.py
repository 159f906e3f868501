"""Answers of odd shape: each is an answer, or a failure of the gateway that the policy answers; never a crash."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lockjaw.errors import RequestRejected
from lockjaw.runner import agent
from lockjaw.runner.reply import MAX_DEPTH, AgentReply, MalformedReply, read, shown

from .rig import QUICK, rig

A = {"text": "A"}
ABSENT = object()


def nested(depth: int) -> Any:
    value: Any = "deep"
    for n in range(depth):
        value = [value] if n % 2 else {"k": value}
    return value


#: result -> what the user reads; None: it does not fit, and the takeover answers.
SHAPES: dict[str, tuple[Any, str | None]] = {
    "meta number": ({"payloads": [A], "meta": 7}, None),
    "meta null": ({"payloads": [A], "meta": None}, "A"),
    "meta list": ({"payloads": [A], "meta": []}, None),
    "agentMeta number": ({"payloads": [A], "meta": {"agentMeta": 5}}, None),
    "payload number": ({"payloads": [5]}, None),
    "payload null": ({"payloads": [None]}, None),
    "payloads string": ({"payloads": "abc"}, None),
    "payloads object": ({"payloads": {"a": 1}}, None),
    "payloads null": ({"payloads": None}, "completed"),
    "result null": (None, "completed"),
    "result list": ([], None),
    "result string": ("x", None),
    "result absent": (ABSENT, "completed"),
    "mediaUrls number": ({"payloads": [{"text": "A", "mediaUrls": 5}]}, None),
    "mediaUrls of numbers": ({"payloads": [{"text": "A", "mediaUrls": [5]}]}, None),
    "mediaUrl object": ({"payloads": [{"text": "A", "mediaUrl": {}}]}, None),
    "media alone": ({"payloads": [{"mediaUrls": ["a.png", "b.png"], "text": None}]}, "\nMEDIA:a.png\nMEDIA:b.png"),
    "text object": ({"payloads": [{"text": {"a": 1}}]}, None),
    "text number": ({"payloads": [{"text": 5}]}, None),
    "isError string": ({"payloads": [{"text": "A", "isError": "no"}]}, None),
    "sessionId number": ({"payloads": [A], "meta": {"agentMeta": {"sessionId": 5}}}, None),
    "stopReason list": ({"payloads": [A], "meta": {"stopReason": ["x"]}}, None),
    "aborted string": ({"payloads": [A], "meta": {"aborted": "y"}}, None),
    "unread keys of any shape": ({"payloads": [A], "meta": {"usage": [[], 1e300, None]}, "x": 5}, "A"),
    "nested as deep as it may be": ({"payloads": [A], "x": nested(MAX_DEPTH - 3)}, "A"),
    "nested deeper": ({"payloads": [A], "x": nested(900)}, None),
    "a long text": ({"payloads": [{"text": "x" * 3_000_000}]}, "x" * 3_000_000),
    "many payloads": ({"payloads": [A] * 20_000}, "\n".join(["A"] * 20_000)),
}
#: The whole final answer, of which the result is a part.
WHOLE: dict[str, Any] = {
    "nothing": None, "a list": [], "a number": 3, "status number": {"status": 5}, "summary object": {"summary": {}},
    "summary list": {"status": "ok", "summary": ["x"]}, "stopReason number": {"status": "timeout", "stopReason": 1},
}  # fmt: skip


def final(result: Any) -> dict[str, Any]:
    whole = {"runId": "r", "status": "ok", "summary": "completed", "result": result}
    return {key: value for key, value in whole.items() if value is not ABSENT}


@pytest.fixture
def gateway_says(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``gateway_says(agent=..., wait=..., abort=...)``: what each call of the client is answered with."""

    def says(**answers: Any) -> list[str]:
        called: list[str] = []

        async def answered(settings: Any, method: str, *how: Any, **more: Any) -> Any:
            called.append(method)
            name = {"agent": "agent", "agent.wait": "wait", "chat.abort": "abort"}[method]
            if name not in answers:
                raise RequestRejected("INVALID_REQUEST", "unknown method")
            return answers[name]

        monkeypatch.setattr(agent, "call_gateway", answered)
        return called

    return says


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("name", SHAPES)
async def test_a_result_of_any_shape_is_shown_or_answered_by_takeover(
    tmp_path: Path, gateway_says: Any, name: str, as_json: bool
) -> None:
    result, text = SHAPES[name]
    called = gateway_says(agent=final(result))
    async with rig(tmp_path, {"one": QUICK}) as world:
        outcome = await world.ask(as_json=as_json)

    assert outcome.exit_code == 0, outcome.error
    failed = [r.data["kind"] for r in world.records("client.call", "fail")]
    if text is None:
        assert called == ["agent", "agent.wait"], "the gateway was asked what became of the run"
        assert failed == ["malformed"]
        assert "the answer" in outcome.stdout
        assert any("gateway sent a malformed answer: " in line for line in world.said)
    else:
        assert (called, failed) == (["agent"], [])
        document = json.loads(outcome.stdout) if as_json else None
        assert document is None or document["result"]["meta"] is not None
        assert document is not None or outcome.stdout == text


@pytest.mark.parametrize("name", WHOLE)
async def test_a_final_answer_that_is_none_is_answered_by_takeover(
    tmp_path: Path, gateway_says: Any, name: str
) -> None:
    gateway_says(agent=WHOLE[name])
    async with rig(tmp_path, {"one": QUICK}) as world:
        outcome = await world.ask()

    assert (outcome.exit_code, outcome.stdout) == (0, "the answer")
    (answered,) = world.records("client.result")
    assert answered.data["degraded"]


@pytest.mark.parametrize("wait", [None, [], 5, {"status": []}, {"status": "error", "endedAt": {}}, {"status": 7}])
@pytest.mark.parametrize(
    "abort", [None, [], {"aborted": "yes"}, {"aborted": True, "runIds": 5}, {"aborted": True, "runIds": [5]}]
)
async def test_side_answers_of_any_shape_confirm_nothing(
    tmp_path: Path, gateway_says: Any, wait: Any, abort: Any
) -> None:
    called = gateway_says(agent=final([]), wait=wait, abort=abort)
    async with rig(tmp_path, {"one": QUICK}) as world:
        outcome = await world.ask()

    assert (outcome.exit_code, outcome.stdout) == (0, "the answer")
    assert called == ["agent", "agent.wait", "chat.abort"]
    assert any("does not stop its run" in line for line in world.said)


async def test_policies_of_published_versions_show_what_does_not_fit_as_an_error(
    tmp_path: Path, gateway_says: Any
) -> None:
    gateway_says(agent=final([]))
    async with rig(tmp_path, {"one": QUICK}) as world:
        outcome = await world.ask(policy="fresh-session")

    assert outcome.exit_code == 1
    assert "gateway sent a malformed answer: " in outcome.error


def test_whatever_json_comes_is_read_or_refused() -> None:
    """Ten thousand documents made of the very keys that are read."""
    stream = random.Random(19)
    keys = ("status", "summary", "result", "payloads", "text", "mediaUrls", "mediaUrl", "isError", "meta", "agentMeta",
            "sessionId", "stopReason", "aborted")  # fmt: skip

    def value(depth: int) -> Any:
        kind = stream.randrange(10 if depth else 7)
        if kind >= 8:
            return {key: value(depth - 1) for key in stream.sample(keys, stream.randrange(5))}
        if kind == 7:
            return [value(depth - 1) for _ in range(stream.randrange(4))]
        return (None, True, 0, -1.5, "", "x\n\x1b[31m", 10**30)[kind]

    outcomes = {"read": 0, "refused": 0}
    for _ in range(10_000):
        document = {"status": "ok", "result": value(4)} if stream.random() < 0.9 else value(4)
        try:
            reply = read(document, "r")
        except MalformedReply:
            outcomes["refused"] += 1
            continue
        outcomes["read"] += 1
        assert isinstance(reply, AgentReply)
        seen = shown(document, wrapped=True, marks={"transport": "x"})
        assert seen.document["result"]["meta"]["transport"] == "x"
        assert isinstance(seen.text, str)
        assert msgspec.json.encode(seen.document)
    assert min(outcomes.values()) > 300, outcomes
