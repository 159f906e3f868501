"""google-genai, ollama and litellm as clients of the fake, where they are installed (the extra ``sdks``)."""

from __future__ import annotations

import asyncio
import os
import warnings
from typing import Any

import pytest

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would ask the network on import

with warnings.catch_warnings():  # what these packages do on import is not ours to mend
    warnings.simplefilter("ignore")
    genai = pytest.importorskip("google.genai", reason="needs the extra sdks")
    ollama = pytest.importorskip("ollama", reason="needs the extra sdks")
    litellm = pytest.importorskip("litellm", reason="needs the extra sdks")
    import google.genai.errors

pytestmark = pytest.mark.filterwarnings("ignore")

CALLS = [{"name": "exec", "arguments": {"command": "ls"}}, {"name": "read", "arguments": {"path": "/é"}}]
STEP = {"reasoning": "Look first.", "text": "Hello, wörld.", "usage": {"prompt": 9, "completion": 7, "reasoning": 3}}
ASK = [{"role": "user", "content": "hi"}]


# --------------------------------------------------------------------------- google-genai


@pytest.fixture
async def gemini(serve: Any) -> Any:
    """``sdk, rig = await gemini(models)``."""
    opened: list[Any] = []

    async def connect(models: Any, **http: Any) -> Any:
        rig = await serve(models)
        options = genai.types.HttpOptions(base_url=rig.server.origin, timeout=20_000, **http)
        sdk = genai.Client(api_key="k", vertexai=False, http_options=options)
        opened.append(sdk)
        return sdk, rig

    yield connect
    for sdk in opened:
        await sdk.aio.aclose()
        sdk.close()


async def test_gemini_parses_replies_and_streams(gemini: Any) -> None:
    sdk, _ = await gemini({"gemini-x": [STEP | {"finish": "length"}]})
    whole = await sdk.aio.models.generate_content(model="gemini-x", contents="hi")
    assert whole.text == "Hello, wörld."
    assert [part.thought for part in whole.candidates[0].content.parts] == [True, None]
    assert whole.candidates[0].finish_reason == "MAX_TOKENS"
    assert (whole.usage_metadata.prompt_token_count, whole.usage_metadata.thoughts_token_count) == (9, 3)
    assert whole.usage_metadata.total_token_count == 16
    chunks = [part async for part in await sdk.aio.models.generate_content_stream(model="gemini-x", contents="hi")]
    assert "".join(chunk.text or "" for chunk in chunks) == "Hello, wörld."
    assert chunks[-1].candidates[0].finish_reason == "MAX_TOKENS"
    assert [model.name async for model in await sdk.aio.models.list()] == ["models/gemini-x"]
    sync = await asyncio.to_thread(sdk.models.generate_content, model="gemini-x", contents="hi")
    assert sync.text == "Hello, wörld."


async def test_gemini_calls_functions_in_parallel_and_takes_their_results(gemini: Any) -> None:
    sdk, rig = await gemini({"g": [{"tool_calls": CALLS, "times": 2}, {"text": "Done."}]})
    types = genai.types
    whole = await sdk.aio.models.generate_content(model="g", contents="hi")
    (streamed, _) = [part async for part in await sdk.aio.models.generate_content_stream(model="g", contents="hi")][:2]
    assert [(call.name, call.args) for call in whole.function_calls] == [
        (call["name"], call["arguments"]) for call in CALLS
    ]
    assert streamed.function_calls[0].name == "exec"
    results = [types.Part.from_function_response(name=call["name"], response={"result": "ok"}) for call in CALLS]
    turn = [types.Content(role="user", parts=[types.Part(text="hi")]), whole.candidates[0].content]
    done = await sdk.aio.models.generate_content(model="g", contents=[*turn, types.Content(role="user", parts=results)])
    assert done.text == "Done."
    with pytest.raises(google.genai.errors.ClientError, match="number of function response parts"):
        await sdk.aio.models.generate_content(
            model="g", contents=[*turn, types.Content(role="user", parts=results[:1])]
        )
    assert len(rig.server.verify()) == 1


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"kind": "auth"}, "ClientError", "INVALID_ARGUMENT"),
        ({"kind": "rate_limit", "retry_after_s": 7}, "ClientError", "RESOURCE_EXHAUSTED"),
        ({"kind": "model_not_found"}, "ClientError", "NOT_FOUND"),
        ({"kind": "overloaded"}, "ServerError", "UNAVAILABLE"),
        ({"kind": "server_error"}, "ServerError", "INTERNAL"),
    ],
)
async def test_gemini_raises_its_documented_classes(gemini: Any, error: Any, kind: str, status: str) -> None:
    sdk, _ = await gemini({"g": [{"error": error}]})
    with pytest.raises(getattr(google.genai.errors, kind)) as caught:
        await sdk.aio.models.generate_content(model="g", contents="hi")
    assert caught.value.status == status
    details = caught.value.details["error"].get("details", [])
    assert [one["retryDelay"] for one in details if "retryDelay" in one] == (["7s"] if "retry_after_s" in error else [])


async def test_gemini_retries_walk_the_script(gemini: Any) -> None:
    retry = genai.types.HttpRetryOptions(attempts=3, initial_delay=0.001, max_delay=0.01)
    script = {"g": [{"error": {"kind": "overloaded"}, "times": 2}, {"text": "third time"}]}
    sdk, rig = await gemini(script, retry_options=retry)
    assert (await sdk.aio.models.generate_content(model="g", contents="hi")).text == "third time"
    assert rig.server.verify(strict=True) == []


# --------------------------------------------------------------------------- ollama


async def test_ollama_parses_replies_streams_calls_and_lists(serve: Any) -> None:
    rig = await serve({"m": [STEP, STEP, {"tool_calls": CALLS}]})
    sdk = ollama.AsyncClient(host=rig.server.origin)
    whole = await sdk.chat(model="m", messages=ASK)
    assert (whole.message.content, whole.message.thinking, whole.done_reason) == (
        "Hello, wörld.",
        "Look first.",
        "stop",
    )
    assert (whole.prompt_eval_count, whole.eval_count) == (9, 7)
    parts = [part async for part in await sdk.chat(model="m", messages=ASK, stream=True)]
    assert "".join(part.message.content for part in parts) == "Hello, wörld."
    assert "".join(part.message.thinking or "" for part in parts) == "Look first."
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    called = await sdk.chat(model="m", messages=ASK)
    assert [call.function.arguments for call in called.message.tool_calls] == [call["arguments"] for call in CALLS]
    assert [model.model for model in (await sdk.list()).models] == ["m"]
    assert rig.server.verify(strict=True) == []


async def test_ollama_raises_its_errors_also_in_mid_stream(serve: Any) -> None:
    rig = await serve(
        {"m": [{"error": {"kind": "overloaded"}}, {"text": "a b", "error": {"status": 500, "after_tokens": 1}}]}
    )
    sdk = ollama.AsyncClient(host=rig.server.origin)
    with pytest.raises(ollama.ResponseError, match="server busy") as caught:
        await sdk.chat(model="m", messages=ASK)
    assert caught.value.status_code == 503
    seen: list[str] = []

    async def read() -> None:
        async for part in await sdk.chat(model="m", messages=ASK, stream=True):
            seen.append(part.message.content)

    with pytest.raises(ollama.ResponseError, match="llama runner process has terminated"):
        await read()
    assert seen == ["a"]
    with pytest.raises(ollama.ResponseError, match="model 'other' not found"):
        await sdk.chat(model="other", messages=ASK)


async def test_ollama_generates_from_a_prompt_and_shows_a_model(serve: Any) -> None:
    rig = await serve({"m": [STEP, STEP, {"error": {"kind": "overloaded"}}]})
    sdk = ollama.AsyncClient(host=rig.server.origin)
    shown = await sdk.show("m")
    assert shown.modelinfo["lockjaw.context_length"] == 131_072
    assert "tools" in shown.capabilities
    whole = await sdk.generate(model="m", prompt="hi")
    assert (whole.response, whole.thinking, whole.done_reason) == ("Hello, wörld.", "Look first.", "stop")
    assert whole.eval_count == 7
    parts = [part async for part in await sdk.generate(model="m", prompt="hi", stream=True)]
    assert "".join(part.response for part in parts) == "Hello, wörld."
    assert "".join(part.thinking or "" for part in parts) == "Look first."
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    with pytest.raises(ollama.ResponseError, match="server busy"):
        await sdk.generate(model="m", prompt="hi")
    assert rig.server.verify(strict=True) == []
    with pytest.raises(ollama.ResponseError, match="model 'other' not found"):
        await sdk.show("other")


# --------------------------------------------------------------------------- litellm

ROUTES = {  # litellm's name of a provider -> where it goes
    "openai/m": "/v1",
    "anthropic/m": "",
    "gemini/m": "/v1beta/models/m",
    "ollama_chat/m": "",
}


@pytest.mark.parametrize("model", ROUTES)
async def test_litellm_parses_the_same_reply_from_every_vendor(serve: Any, model: str) -> None:
    rig = await serve({"m": [{"text": "Hello, wörld.", "tool_calls": CALLS[:1]}, {"text": "one two"}]})
    ask = {"model": model, "messages": ASK, "api_base": rig.server.origin + ROUTES[model], "api_key": "k"}

    def talk() -> tuple[Any, list[Any]]:
        whole = litellm.completion(**ask, num_retries=0, timeout=20)
        return whole, list(litellm.completion(**ask, num_retries=0, timeout=20, stream=True))

    whole, chunks = await asyncio.to_thread(talk)  # it asks about its models synchronously, inside its async calls too
    assert whole.choices[0].message.content == "Hello, wörld."
    assert whole.choices[0].message.tool_calls[0].function.name == "exec"
    assert whole.choices[0].finish_reason == "tool_calls"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "one two"
    assert rig.server.verify(strict=True) == []


@pytest.mark.parametrize("model", ["openai/m", "anthropic/m"])
async def test_litellm_raises_its_own_classes(serve: Any, model: str) -> None:
    errors = {"rate_limit": "RateLimitError", "auth": "AuthenticationError", "context_length": "BadRequestError"}
    rig = await serve({"m": [{"error": {"kind": kind}} for kind in errors]})
    ask = {"model": model, "messages": ASK, "api_base": rig.server.origin + ROUTES[model], "api_key": "k"}
    for name in errors.values():
        with pytest.raises(getattr(litellm, name)):
            await asyncio.to_thread(litellm.completion, **ask, num_retries=0, max_retries=0, timeout=20)
