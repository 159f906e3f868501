"""What a request gets: conditions, quotas, queues, expectations, and gaps that are drawn or depend on load."""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockjaw.errors import DocumentError
from lockjaw.fakes.models.progress import ScriptProgress
from lockjaw.fakes.models.reply_plan import Circumstances, due_times
from lockjaw.fakes.models.script import Step, load_model_script
from lockjaw.fakes.models.service import Bucket, ModelService, Order, Quota
from lockjaw.fakes.models.wires.surface import ChatRequest
from lockjaw.seeds import Seeds

PATHS = {
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic-messages": "/v1/messages",
    "gemini": "/v1beta/models/m:generateContent",
    "ollama-chat": "/api/chat",
}


def ask(text: str = "hi", model: str = "m", **more: Any) -> bytes:
    """A body that is a request of every vendor."""
    talk = [{"role": "user", "content": text}]
    contents = [{"parts": [{"text": text}]}]
    body = {"model": model, "messages": talk, "input": talk, "contents": contents, "max_tokens": 9, "stream": False}
    return json.dumps(body | more).encode()


def service(*steps: dict[str, Any], **more: Any) -> ModelService:
    models = more.pop("models", None) or {"m": list(steps)}
    return ModelService(ScriptProgress(load_model_script({"models": models, **more})), 1)


def order(
    fake: ModelService,
    body: bytes | None = None,
    *,
    at: float = 0.0,
    path: str = PATHS["openai-chat"],
    headers: dict[str, str] | None = None,
) -> Order:
    return fake.receive("POST", path, ask() if body is None else body, at, lambda name: (headers or {}).get(name, ""))


def said(found: Order) -> str | None:
    return found.step.text if found.step is not None else None


# --------------------------------------------------------------------------- conditions


def test_a_step_with_a_condition_goes_before_the_sequence_and_does_not_use_it_up() -> None:
    fake = service(
        {"text": "first"},
        {"text": "third", "when": {"nth": 3}},
        {"text": "weather", "when": {"text": "(?i)rain"}},
        {"text": "admin", "when": {"headers": {"X-Role": "^admin$"}}, "times": 1},
        {"text": "streamed", "when": {"stream": True}},
        {"text": "second"},
        {"text": "last"},
    )
    assert said(order(fake)) == "first"
    assert said(order(fake, ask("Will it RAIN?"))) == "weather"
    assert said(order(fake, ask("rain"))) == "third"  # the first that fits
    assert said(order(fake, headers={"x-role": "admin"})) == "admin"
    assert said(order(fake, headers={"x-role": "admin"})) == "second"  # used up
    assert said(order(fake, ask(stream=True))) == "streamed"
    assert said(order(fake)) == "last"


def test_conditions_see_the_last_message_of_the_user_whatever_the_vendor() -> None:
    fake = service({"text": "no"}, {"text": "yes", "when": {"text": "needle"}})
    for path in PATHS.values():
        assert said(order(fake, ask("a needle in it"), path=path)) == "yes"
        assert said(order(fake, ask("hay"), path=path)) == "no"


def test_the_star_answers_for_every_model_without_steps_and_each_has_its_own_place() -> None:
    steps = [{"text": "one"}, {"text": "two"}, {"text": "big", "when": {"model": "-large$"}}]
    fake = service(models={"m": [{"text": "own"}], "*": steps})
    assert [said(order(fake, ask(model=model))) for model in ("a", "b", "a", "m", "b-large")] == [
        "one", "one", "two", "own", "big",
    ]  # fmt: skip


AFTER_A_TOOL: dict[str, dict[str, Any]] = {
    "openai-chat": {
        "messages": [
            {"role": "user", "content": "LJ-1"},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "t", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "done"},
        ]
    },
    "openai-responses": {
        "input": [
            {"role": "user", "content": "LJ-1"},
            {"type": "function_call", "call_id": "c", "name": "t", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "done"},
        ]
    },
    "anthropic-messages": {
        "messages": [
            {"role": "user", "content": "LJ-1"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "t", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "done"}]},
        ]
    },
    "gemini": {
        "contents": [
            {"role": "user", "parts": [{"text": "LJ-1"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "t", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "t", "response": {}}}]},
        ]
    },
    "ollama-chat": {
        "messages": [
            {"role": "user", "content": "LJ-1"},
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "t", "arguments": {}}}]},
            {"role": "tool", "content": "done"},
        ]
    },
}  # fmt: skip


@pytest.mark.parametrize("vendor", PATHS)
def test_a_condition_sees_whether_a_tool_has_just_answered_whatever_the_vendor(vendor: str) -> None:
    fake = service({"text": "go on", "when": {"after_tool": True}}, {"text": "call it", "when": {"after_tool": False}})
    for _ in range(2):  # no counting: a second run of the same question calls the tool again
        assert said(order(fake, path=PATHS[vendor])) == "call it"
        assert said(order(fake, ask(**AFTER_A_TOOL[vendor]), path=PATHS[vendor])) == "go on"


def test_markers_of_a_request_are_counted_and_nothing_else_of_its_text_is_kept() -> None:
    fake = service({"text": "x"})
    talk = [{"role": "user", "content": "first LJ-2 secret"}, {"role": "user", "content": "LJ-10 and LJ-2, not LJ-x"}]
    assert order(fake, ask(messages=talk)).markers == {"LJ-10": 1, "LJ-2": 2}
    assert order(fake).markers == {}


@pytest.mark.parametrize("path", ["/", "/api/v1/models", "/props", "/version", "/health"])
def test_a_probe_for_another_server_is_answered_with_404_and_is_no_problem(path: str) -> None:
    found = service({"text": "x"}).receive("GET", path, b"", 0.0)
    assert found.answer is not None
    assert (found.answer.status, found.problem, found.unexpected) == (404, "", False)
    assert service({"text": "x"}).receive("GET", "/v1/files", b"", 0.0).unexpected


def test_a_request_that_no_step_fits_is_unexpected() -> None:
    fake = service({"text": "x", "when": {"nth": 2}})
    refused = order(fake)
    assert refused.unexpected
    assert refused.answer is not None
    assert refused.answer.status == 404
    assert "no step of model 'm' fits it" in refused.problem
    assert said(order(fake)) == "x"


# --------------------------------------------------------------------------- quotas


def test_an_empty_bucket_answers_429_until_it_is_refilled() -> None:
    fake = service({"text": "x"}, quotas={"m": {"requests": 2, "refill_s": 10}})
    seen = [order(fake, at=at) for at in (0, 1, 2, 9.9, 10.0, 10.5, 40, 41, 42)]
    assert [found.step is not None for found in seen] == [True, True, False, False, True, False, True, True, False]
    refused = seen[2]
    assert refused.answer is not None
    assert refused.answer.status == 429
    assert dict(refused.answer.headers)["retry-after"] == "8"
    assert dict(refused.headers)["x-ratelimit-remaining-requests"] == "0"
    assert dict(seen[0].headers)["x-ratelimit-remaining-requests"] == "1"
    assert fake._progress.requests() == {"m": 5}  # a refused request is none of the script's


@pytest.mark.parametrize(("vendor", "path"), PATHS.items())
def test_every_vendor_refuses_in_its_own_words_and_headers(vendor: str, path: str) -> None:
    fake = service({"text": "x"}, quotas={"*": {"requests": 1, "refill_s": 7}}, models={"*": [{"text": "x"}]})
    order(fake, path=path)
    refused = order(fake, path=path)
    assert refused.answer is not None
    assert refused.answer.status == 429
    body, headers = json.loads(refused.answer.body), dict(refused.answer.headers)
    match vendor:
        case "openai-chat" | "openai-responses":
            assert (headers["retry-after"], headers["retry-after-ms"]) == ("7", "7000")
            assert body["error"]["code"] == "rate_limit_exceeded"
        case "anthropic-messages":
            assert headers["retry-after"] == "7"
            assert body["error"]["type"] == "rate_limit_error"
            assert dict(refused.headers)["anthropic-ratelimit-requests-reset"] == "2026-01-01T00:00:07.000Z"
        case "gemini":
            assert body["error"]["status"] == "RESOURCE_EXHAUSTED"
            assert body["error"]["details"][0]["retryDelay"] == "7s"
        case "ollama-chat":
            assert body == {"error": "too many requests"}


@given(st.lists(st.floats(0, 5), max_size=60), st.integers(1, 5), st.floats(0.5, 3))
def test_a_bucket_never_grants_more_than_it_holds_and_gets(gaps: list[float], size: int, refill_s: float) -> None:
    bucket, now, granted = Bucket(Quota(requests=size, refill_s=refill_s)), 0.0, 0
    for gap in gaps:
        now += gap
        had, left, wait_s = bucket.take(now)
        granted += had
        assert granted <= size + now / refill_s + 1e-6
        assert 0 <= left < size
        assert had or 0 < wait_s <= refill_s + 1e-6


# --------------------------------------------------------------------------- capacity


async def test_a_full_model_lets_requests_wait_and_their_time_begins_with_their_turn(serve: Any) -> None:
    steps = [{"never_answer": True}, {"text": "x", "first_token_s": 10}]
    rig = await serve({"m": steps}, capacity={"m": {"concurrent": 1, "queue": 1}})
    async with httpx.AsyncClient(base_url=rig.server.base_url, timeout=20) as client:

        def post() -> asyncio.Task[httpx.Response]:
            return asyncio.create_task(client.post("/chat/completions", content=ask()))

        served = post()
        await rig.entries.wait("req", request_id="req-1")
        waiting = post()
        await rig.entries.wait("req", request_id="req-2")
        assert (await post()).status_code == 503  # one is served, one may wait
        assert not waiting.done()
        served.cancel()
        assert (await waiting).status_code == 200
        await asyncio.gather(served, return_exceptions=True)
    gone = await rig.entries.wait("client-gone", request_id="req-1")
    done = await rig.entries.wait("done", request_id="req-2")
    assert done["t"] - gone["t"] >= 10 - 1e-3  # its 10 s began with its turn, however long it had waited
    assert rig.server.verify() == []


async def test_a_client_that_leaves_while_it_waits_gives_its_place_up(serve: Any) -> None:
    rig = await serve({"m": [{"never_answer": True, "times": 1}, {"text": "x"}]}, capacity={"m": {"concurrent": 1}})
    async with httpx.AsyncClient(base_url=rig.server.base_url, timeout=20) as client:
        calls = []
        for number in (1, 2, 3):
            calls.append(asyncio.create_task(client.post("/chat/completions", content=ask())))
            await rig.entries.wait("req", request_id=f"req-{number}")
        calls[1].cancel()
        await rig.entries.wait("client-gone", request_id="req-2")
        assert not calls[2].done()
        calls[0].cancel()
        assert (await calls[2]).status_code == 200
        await asyncio.gather(*calls, return_exceptions=True)


# --------------------------------------------------------------------------- gaps


def dues(step: dict[str, Any], *, seed: int = 1, number: int = 1, active: int = 1, prompt: int = 0) -> list[float]:
    value: Step = load_model_script({"models": {"m": [step]}}).models["m"][0]
    request = ChatRequest("m", True, False, 1, (), prompt)
    due = due_times(value, request, Circumstances(number, Seeds(seed), active))
    return [due(index) for index in range(value.token_count)]


def gaps(found: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(found)]


def test_jitter_is_even_bounded_and_drawn_from_the_seed() -> None:
    step = {"inter_token_s": 2, "jitter_s": 0.5, "token": ".", "count": 4000}
    found = gaps(dues(step))
    assert min(found) >= 1.5 - 1e-6
    assert max(found) <= 2.5 + 1e-6
    assert statistics.fmean(found) == pytest.approx(2.0, abs=0.03)  # 4000 draws: sd of the mean 0.005
    assert statistics.pstdev(found) == pytest.approx(1 / 12**0.5, rel=0.05)
    assert dues(step) == dues(step)
    assert dues(step, seed=2) != dues(step) != dues(step, number=2)


def test_log_normal_gaps_have_the_mean_that_the_script_says() -> None:
    found = gaps(dues({"inter_token_s": 2, "lognormal_sigma": 0.5, "token": ".", "count": 8000}))
    assert statistics.fmean(found) == pytest.approx(2.0, rel=0.03)  # sd of the mean: 0.6 %
    assert statistics.median(found) == pytest.approx(2.0 * 2.718281828 ** (-0.125), rel=0.03)
    assert min(found) > 0


def test_prefill_and_load_slow_a_reply_down() -> None:
    step = {
        "first_token_s": 1,
        "prefill_s_per_token": 0.01,
        "inter_token_s": 2,
        "slower_per_request": 0.5,
        "text": "a b c",
    }
    assert dues(step, prompt=300) == pytest.approx([4, 6, 8])
    assert dues(step, prompt=300, active=3) == pytest.approx([4, 8, 12])  # two others: twice the gap


# --------------------------------------------------------------------------- expectations and mistakes


async def test_what_a_script_expects_and_does_not_get_is_said(serve: Any) -> None:
    expect = {"requests": 2, "models": {"m": 2, "n": 1}, "every_step": True}
    rig = await serve({"m": [{"text": "x"}, {"text": "y"}], "n": [{"text": "z"}]}, expect=expect)
    async with httpx.AsyncClient(base_url=rig.server.base_url, timeout=20) as client:
        await client.post("/chat/completions", content=ask())
    assert (
        rig.server.verify()
        == rig.server.verify(strict=True)
        == [
            "expect.requests: 1 requests were answered, not 2",
            "expect.models.m: 1 requests were answered, not 2",
            "expect.models.n: 0 requests were answered, not 1",
            "models.m[1] was used 0 of 1 times",
            "models.n[0] was used 0 of 1 times",
        ]
    )


@pytest.mark.parametrize(
    ("line", "key", "expected"),
    [
        ("{text: a, jitter_s: 1}", "jitter_s", "an inter_token_s that it changes"),
        (
            "{text: a, inter_token_s: 1, jitter_s: 1, lognormal_sigma: 1}",
            "lognormal_sigma",
            "no such key beside jitter_s",
        ),
        ("{text: a, when: {text: '('}}", "when.text", "a regular expression"),
        ("{text: a, when: {nth: 0}}", "when.nth", "a whole number >= 1"),
        ("{text: a, disconnect: {how: mid_utf8}}", "disconnect", "a token with a character beyond ASCII"),
        (
            "{text: a b, disconnect: {how: mid_header, after_tokens: 1}}",
            "disconnect.after_tokens",
            "0 beside how: mid_header",
        ),
        ("{text: a, malformed: {how: truncated, after_tokens: 2}}", "malformed", "after_tokens of at most 1"),
        ("{text: a, malformed: {how: sloppy}}", "malformed.how", "broken_event, missing_done"),
        ("{error: {message: x}}", "error.status", "a status, or the kind of the error"),
        ("{error: {kind: tired}}", "error.kind", "bad_request, auth,"),
        ("{text: a, slow_close_s: 1, disconnect: {}}", "slow_close_s", "no such key beside disconnect"),
        ("{recorded: {pieces: [[2, a], [1, b]]}}", "recorded.pieces", "instants that do not go back"),
        ("{recorded: {}, text: a}", "text", "no such key beside recorded"),
    ],
)
def test_a_mistake_is_told_with_file_line_key_and_what_is_expected(
    tmp_path: Path, line: str, key: str, expected: str
) -> None:
    path = tmp_path / "script.yaml"
    path.write_text(f"models:\n  m:\n    - {{text: fine}}\n    - {line}\n", encoding="utf-8")
    with pytest.raises(DocumentError) as caught:
        load_model_script(path)
    assert (Path(caught.value.path).name, caught.value.line, caught.value.key) == (
        "script.yaml",
        4,
        f"models.m[1].{key}",
    )
    assert expected in caught.value.expected


@pytest.mark.parametrize("key", ["quotas", "capacity"])
def test_limits_are_for_models_that_the_script_has(key: str) -> None:
    limit = {"quotas": {"requests": 1, "refill_s": 1}, "capacity": {"concurrent": 1}}[key]
    with pytest.raises(DocumentError) as caught:
        load_model_script({"models": {"m": [{}]}, key: {"n": limit}})
    assert caught.value.key == f"{key}.n"


async def test_a_question_about_a_model_is_no_request_of_the_history(serve: Any) -> None:
    rig = await serve({"m": [{"text": "x"}]})
    async with httpx.AsyncClient(base_url=rig.server.origin, timeout=20) as client:
        assert (await client.post("/api/show", json={"model": "m"})).status_code == 200
        assert (await client.post("/api/show", json={"model": "unknown"})).status_code == 404
    assert rig.records() == []
