"""The fixtures: a scripted model, a scripted gateway, a process that contends for locks. All of them are loud."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import psutil
import pytest
import respx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from lockjaw.clock import ScaledClock
from lockjaw.errors import DocumentError, Fenced, LocalError
from lockjaw.fakes.contenders.contender import plant_lock
from lockjaw.fakes.gateway import scripts
from lockjaw.locking import SessionLock, SessionLocked, inspect_lock
from lockjaw.testing.fake_model import FakeModel
from lockjaw.testing.mock_gateway import GatewayFixture

pytest_plugins = ["pytester"]

ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
ASK_CLAUDE: dict[str, Any] = {**ASK, "max_tokens": 100}
INI = "[pytest]\nfilterwarnings = error\naddopts = -p no:cacheprovider -p no:asyncio\n"


@pytest.fixture
def lockjaw_time_scale() -> float:
    return 0.01


def outcome_of(pytester: pytest.Pytester, body: str) -> pytest.RunResult:
    pytester.makeini(INI)
    pytester.makepyfile(f"import httpx\nASK = {ASK!r}\n{body}")
    return pytester.runpytest_subprocess()


# --------------------------------------------------------------------------- fake_model: the ways in


def test_the_openai_sdk_takes_the_fake_for_the_real_thing(fake_model: Any) -> None:
    with openai.OpenAI(base_url=fake_model.base_url, api_key="k", max_retries=0) as client:
        fake_model.script({"m": {"text": "Hello there."}})  # after the client knows the address

        assert client.chat.completions.create(**ASK).choices[0].message.content == "Hello there."
    (seen,) = fake_model.requests
    assert (seen.model, seen.stream, seen.messages[0]["content"], seen.body) == ("m", False, "hi", ASK)


@pytest.mark.parametrize("way", ["socket", "transport", "respx"])
@pytest.mark.parametrize("stream", [False, True])
async def test_every_way_in_performs_the_same_script(fake_model: Any, way: str, stream: bool) -> None:
    fake_model.script({"m": [{"text": "one two", "inter_token_s": 0.1}, {"error": {"status": 429}}]})
    base, transport = "https://api.openai.com/v1", None
    with respx.mock(assert_all_called=False) if way == "respx" else respx.mock(assert_all_mocked=False) as router:
        if way == "socket":
            base = fake_model.base_url
            router.stop()
        elif way == "transport":
            transport = fake_model.transport()
        else:
            fake_model.respx_routes(router)
        async with httpx.AsyncClient(transport=transport) as client:
            listed = await client.get(f"{base}/models")
            first = await client.post(f"{base}/chat/completions", json={**ASK, "stream": stream})
            second = await client.post(f"{base}/chat/completions", json=ASK)

    assert listed.json()["data"][0]["id"] == "m"
    if stream:
        events = [json.loads(line[6:]) for line in first.text.splitlines() if line.startswith("data: {")]
        assert "".join(event["choices"][0]["delta"].get("content") or "" for event in events) == "one two"
        assert first.text.endswith("data: [DONE]\n\n")
    else:
        assert first.json()["choices"][0]["message"]["content"] == "one two"
    assert (second.status_code, second.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert [request.stream for request in fake_model.requests] == [stream, False]


def test_one_script_is_shared_by_every_way_in(fake_model: Any) -> None:
    fake_model.script({"m": [{"text": "first"}, {"text": "second"}]})
    said = []
    for client in (httpx.Client(transport=fake_model.transport()), httpx.Client()):
        with client:
            reply = client.post(f"{fake_model.base_url}/chat/completions", json=ASK)
            said.append(reply.json()["choices"][0]["message"]["content"])

    assert said == ["first", "second"]


def test_the_sdks_own_fork_of_httpx_gets_its_own_kind_of_answer(fake_model: Any) -> None:
    fake_model.script({"m": [{"text": "a b"}, {"text": "a b", "disconnect": {"after_tokens": 1}}]})
    httpx2 = pytest.importorskip("httpx2", reason="this openai SDK uses httpx itself")
    inner = httpx2.Client(transport=fake_model.transport())
    with openai.OpenAI(base_url="http://fake/v1", api_key="k", max_retries=0, http_client=inner) as client:
        assert client.chat.completions.create(**ASK).choices[0].message.content == "a b"
        with pytest.raises(openai.APIConnectionError):  # it knows httpx2's errors only
            list(client.chat.completions.create(**ASK, stream=True))


@pytest.mark.parametrize("address", ["origin", "base_url"])
def test_the_anthropic_sdk_takes_the_fake_for_the_real_thing(fake_model: Any, address: str) -> None:
    fake_model.script({"m": [{"text": "Hello there."}, {"text": "one two"}, {"error": {"status": 529}}]})
    with anthropic.Anthropic(base_url=getattr(fake_model, address), api_key="k", max_retries=0) as client:
        assert client.messages.create(**ASK_CLAUDE).content[0].text == "Hello there."
        with client.messages.stream(**ASK_CLAUDE) as stream:
            assert "".join(stream.text_stream) == "one two"
        with pytest.raises(anthropic.InternalServerError):
            client.messages.create(**ASK_CLAUDE)
    assert [(seen.model, seen.stream) for seen in fake_model.requests] == [("m", False), ("m", True), ("m", False)]
    assert fake_model.requests[0].body == ASK_CLAUDE


def test_a_transport_fits_what_the_sdks_offer_to_carry_one(fake_model: Any) -> None:
    fake_model.script({"m": ["to OpenAI", "to Anthropic"]})
    gpt = openai.DefaultHttpxClient(transport=fake_model.transport())
    claude = anthropic.DefaultHttpxClient(transport=fake_model.transport())  # refuses every class of httpx
    with openai.OpenAI(base_url="http://fake/v1", api_key="k", max_retries=0, http_client=gpt) as one:
        assert one.chat.completions.create(**ASK).choices[0].message.content == "to OpenAI"
    with anthropic.Anthropic(base_url="http://fake", api_key="k", max_retries=0, http_client=claude) as two:
        assert two.messages.create(**ASK_CLAUDE).content[0].text == "to Anthropic"


async def test_the_async_sdks_share_one_script_and_open_no_socket(fake_model: Any) -> None:
    fake_model.script({"m": [{"text": "first"}, {"text": "second"}]})
    httpx2 = pytest.importorskip("httpx2", reason="these SDKs use httpx itself")
    async with (
        httpx2.AsyncClient(transport=fake_model.transport()) as one,
        httpx2.AsyncClient(transport=fake_model.transport()) as two,
    ):
        claude = anthropic.AsyncAnthropic(base_url="http://fake", api_key="k", max_retries=0, http_client=one)
        gpt = openai.AsyncOpenAI(base_url="http://fake/v1", api_key="k", max_retries=0, http_client=two)
        assert (await claude.messages.create(**ASK_CLAUDE)).content[0].text == "first"
        assert (await gpt.chat.completions.create(**ASK)).choices[0].message.content == "second"


@pytest.mark.parametrize(
    ("base", "path", "text"),
    [
        ("https://api.openai.com/v1", "/chat/completions", lambda reply: reply["choices"][0]["message"]["content"]),
        ("https://api.anthropic.com", "/v1/messages", lambda reply: reply["content"][0]["text"]),
    ],
)
def test_respx_routes_answer_as_the_vendor_whose_path_is_asked_for(
    fake_model: Any, base: str, path: str, text: Any
) -> None:
    fake_model.script({"m": {"text": "Hello."}})
    with respx.mock() as router:  # strict: every route must be called
        fake_model.respx_routes(router, base)
        reply = httpx.post(base + path, json=ASK_CLAUDE)
        assert text(reply.json()) == "Hello."


@pytest.mark.parametrize(
    ("how", "error"),
    [("rst", httpx.ReadError), ("fin", httpx.RemoteProtocolError), ("mid_chunk", httpx.RemoteProtocolError)],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_broken_stream_breaks_in_process_as_on_the_wire(
    fake_model: Any, how: str, error: type[Exception], stream: bool
) -> None:
    step = {"text": "a b c", "disconnect": {"after_tokens": 2, "how": how}}
    fake_model.script({"m": [step, step]})
    for transport, base in ((fake_model.transport(), "http://fake/v1"), (None, fake_model.base_url)):
        with httpx.Client(transport=transport) as client, pytest.raises(error):
            client.post(f"{base}/chat/completions", json={**ASK, "stream": stream})


def test_a_silent_model_ends_in_the_clients_own_timeout(fake_model: Any) -> None:
    fake_model.script({"m": [{"never_answer": True}, {"text": "a b", "stall_s": "forever", "stall_after_tokens": 1}]})
    with httpx.Client(transport=fake_model.transport(), timeout=0.05) as client:
        for stream in (False, True):
            with pytest.raises(httpx.ReadTimeout):
                client.post("http://fake/v1/chat/completions", json={**ASK, "stream": stream})


def test_a_silent_model_and_a_client_without_a_timeout_is_refused() -> None:
    fake = FakeModel(clock=ScaledClock.start(0.01)).script({"m": {"never_answer": True}})
    with (
        httpx.Client(transport=fake.transport(), timeout=None) as client,
        pytest.raises(LocalError, match="no read timeout"),
    ):
        client.post("http://fake/v1/chat/completions", json=ASK)
    (problem,) = fake.verify()
    assert "no read timeout" in problem, "also where an SDK hides the error behind one of its own"
    fake.close()


async def test_waits_are_nominal_and_a_cancelled_client_ends_its_wait(fake_model: Any) -> None:
    fake_model.script({"m": [{"text": "late", "first_token_s": 30.0}, {"never_answer": True}]})
    async with httpx.AsyncClient(transport=fake_model.transport(), timeout=None) as client:
        began = time.monotonic()
        await client.post("http://fake/v1/chat/completions", json=ASK)
        took_s = time.monotonic() - began
        endless = asyncio.create_task(client.post("http://fake/v1/chat/completions", json=ASK))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(endless, 0.05)

    assert 0.29 < took_s < 15  # 30 nominal seconds at 0.01; the upper bound only says that they were not real ones


# --------------------------------------------------------------------------- fake_model: scripts


def test_a_text_is_a_step(fake_model: Any) -> None:
    fake_model.script({"m": "Hello.", "n": ["first", {"error": {"status": 429}}, "last"]})
    with httpx.Client(transport=fake_model.transport()) as client:
        replies = [client.post("http://f/v1/chat/completions", json=ASK | {"model": model}) for model in "mnnn"]
    assert [reply.status_code for reply in replies] == [200, 200, 429, 200]
    assert [text for reply in replies for text in ("Hello.", "first", "last") if text in reply.text] == [
        "Hello.", "first", "last",
    ]  # fmt: skip


def test_two_scripts_of_one_model_are_refused(fake_model: Any) -> None:
    fake_model.script({"m": {"text": "x"}}).script({"n": {"text": "y"}})
    with pytest.raises(LocalError, match="a script for m already"):
        fake_model.script({"m": {"text": "z"}})
    with httpx.Client(transport=fake_model.transport()) as client:
        for model in ("m", "n"):
            client.post("http://fake/v1/chat/completions", json={**ASK, "model": model})


def test_a_script_comes_from_a_file_too_and_its_mistakes_name_the_key(fake_model: Any, tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text("models: {m: [{text: from a file}]}")
    fake_model.script(file)
    with httpx.Client(transport=fake_model.transport()) as client:
        assert "from a file" in client.post("http://fake/v1/chat/completions", json=ASK).text
    with pytest.raises(DocumentError, match=r"fake_model.script\(\.\.\.\): at models.n\[0\].txet"):
        fake_model.script({"n": {"txet": "x"}})


# --------------------------------------------------------------------------- fake_model: loud


WRONG_USES = (
    ("httpx.post(URL, json=ASK)", "fake_model: models.m[0] was used 1 of 2 times"),
    ("pass", "fake_model: models.m[0] was used 0 of 2 times"),
    ("[httpx.post(URL, json=ASK | {'model': 'o'}) for _ in 'aa']", "model 'o' is not in the script (it has: m)"),
    ("[httpx.post(URL, json=ASK) for _ in 'aa']; httpx.get(URL + '/x')", "unexpected request: GET /v1/chat/compl"),
    ("[httpx.post(URL, json=ASK) for _ in 'aa']; httpx.post(URL, json={'model': 'm'})", "'messages'"),
    ("[IN.post('http://f/v1/chat/completions', json=ASK) for _ in 'aa']; IN.get('http://f/x')", "GET /x"),
    ("claude(URL, 'm')", "fake_model: models.m[0] was used 1 of 2 times"),
    ("claude(URL, 'm'); claude(URL, 'm'); claude(URL, 'other')", "model 'other' is not in the script (it has: m)"),
    ("routed('m'); routed('m'); routed('m', '/v1/complete')", "unexpected request: POST /v1/complete"),
    ("routed('m'); routed('m'); routed('other')", "model 'other' is not in the script (it has: m)"),
)


def test_what_the_script_does_not_say_fails_the_test(pytester: pytest.Pytester) -> None:
    """One program for all of them: each start of pytest imports two SDKs."""
    body = """
import anthropic, pytest, respx
@pytest.fixture
def URL(fake_model):
    fake_model.script({"m": [{"text": "x", "times": 2}]})
    return fake_model.base_url + "/chat/completions"
@pytest.fixture
def IN(fake_model, URL):
    with httpx.Client(transport=fake_model.transport()) as client:
        yield client
@pytest.fixture
def routed(fake_model, URL):
    def ask(model, path="/v1/messages"):
        with respx.mock() as router:
            fake_model.respx_routes(router, "https://api.anthropic.com")
            httpx.post("https://api.anthropic.com" + path, json=ASK | {"model": model, "max_tokens": 9})
    return ask
def claude(url, model):
    client = anthropic.Anthropic(base_url=url.removesuffix("/v1/chat/completions"), api_key="k", max_retries=0)
    with client:
        try:
            client.messages.create(**ASK | {"model": model, "max_tokens": 9})
        except anthropic.APIStatusError:
            pass
"""
    for n, (use, _) in enumerate(WRONG_USES):
        body += f"def test_{n}_(URL, IN, routed):\n    {use}\n"
    result = outcome_of(pytester, body)

    result.assert_outcomes(failed=len(WRONG_USES))
    failures = re.split(r"_+ test_(\d+)_ _+\n", result.stdout.str().partition("short test summary")[0])[1:]
    shown = dict(zip(map(int, failures[::2]), failures[1::2], strict=True))
    for n, (use, said) in enumerate(WRONG_USES):
        assert said in shown[n], use


def test_a_request_that_comes_after_the_test_is_an_error(pytester: pytest.Pytester) -> None:
    body = """
import pytest
@pytest.fixture
def polite(fake_model):
    yield
    httpx.get(fake_model.base_url + "/goodbye")

def test_it(polite): ...
"""
    result = outcome_of(pytester, body)

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*fake_model, after the test: *GET /v1/goodbye*"])


def test_a_failed_test_begins_with_what_the_fake_saw_also_in_a_worker(pytester: pytest.Pytester) -> None:
    pytester.makeini(INI)
    pytester.makepyfile(f"""
import httpx
def test_it(fake_model):
    fake_model.script({{"m": ["Hello.", "Again."]}})
    httpx.post(fake_model.base_url + "/chat/completions", json={ASK | {"model": "o"}!r}).raise_for_status()

def test_the_client_gives_up(fake_model, mock_gateway, lock_contender, tmp_path):
    fake_model.script({{"m": {{"error": {{"kind": "overloaded"}}, "times": 2}}}})
    lock_contender.acquire(tmp_path / "f.jsonl")
    lock_contender.pause()
    for _ in range(2):
        httpx.post(fake_model.base_url + "/chat/completions", json={ASK!r})
    assert False
""")
    result = pytester.runpytest_subprocess("-n", "1")

    result.assert_outcomes(failed=2)
    shown = [line for line in result.stdout.lines if line and not line.startswith("[gw0]")]
    account = max(place for place, line in enumerate(shown) if "- what the fakes saw -" in line)
    assert shown[account + 1 :][:3] == [
        "fake_model: request 1, model m: error overloaded",
        "fake_model: request 2, model m: error overloaded",
        "mock_gateway: no request",
    ]
    assert re.fullmatch(
        r"contender-1 \(pid \d+\) is paused; it holds the guarded lock f\.jsonl\.lock", shown[account + 4]
    )
    first = next(place for place, line in enumerate(shown) if "_ test_it _" in line)
    assert shown[first + 1 :][:4] == [
        "fake_model: req-1: unexpected request: model 'o' is not in the script (it has: m)",
        "fake_model: models.m[0] was used 0 of 1 times",
        "fake_model: models.m[1] was used 0 of 1 times",
        "What the test saw of it:",
    ]
    assert "HTTPStatusError" in result.stdout.str()


def test_a_wrong_call_is_shown_without_frames_of_a_library(pytester: pytest.Pytester) -> None:
    calls = {
        "fake_model.script({'m': {'txet': 'x'}})": "did you mean text?",
        "mock_gateway.script('never_finl')": "no gateway script is called 'never_finl'; did you mean never_final?",
        "lockjaw_run('gateway_timeot')": "one of ?? names, got 'gateway_timeot'; did you mean gateway_timeout?",
        "never(fake_model)": "no read timeout, so the test would hang; give the client a timeout",
    }
    body = """
def never(fake_model):
    fake_model.script({"m": {"never_answer": True}})
    with httpx.Client(transport=fake_model.transport(), timeout=None) as client:
        client.post("http://f/v1/chat/completions", json=ASK)
"""
    for number, call in enumerate(calls):
        body += f"def test_{number}(fake_model, mock_gateway, lockjaw_run):\n    {call}\n"
    result = outcome_of(pytester, body)

    result.assert_outcomes(failed=len(calls))
    shown = result.stdout.str()
    assert "/site-packages/" not in shown
    assert "/src/lockjaw/" not in shown
    assert "msgspec" not in shown
    result.stdout.fnmatch_lines([f"E  *{said}*" for said in calls.values()])


def test_fakes_of_two_tests_know_nothing_of_each_other(pytester: pytest.Pytester) -> None:
    body = """
import pytest
@pytest.mark.parametrize("n", range(6))
def test_it(fake_model, n):
    fake_model.script({"m": {"text": str(n)}})
    reply = httpx.post(fake_model.base_url + "/chat/completions", json=ASK).json()
    assert reply["choices"][0]["message"]["content"] == str(n)
    assert len(fake_model.requests) == 1
"""
    pytester.makeini(INI)
    pytester.makepyfile(f"import httpx\nASK = {ASK!r}\n{body}")
    pytester.runpytest_subprocess("-n", "2").assert_outcomes(passed=6)


def test_a_closed_fake_leaves_no_thread_and_no_port() -> None:
    fake = FakeModel(clock=ScaledClock.start(0.01))
    url = fake.base_url
    fake.close()
    fake.close()

    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/models")


# --------------------------------------------------------------------------- mock_gateway

HELLO = json.dumps(
    {
        "type": "req",
        "id": "1",
        "method": "connect",
        "params": {"minProtocol": 3, "maxProtocol": 3, "auth": {"token": "s3"}},
    }
)


def test_a_gateway_without_a_script_is_healthy_and_keeps_no_secret(mock_gateway: Any) -> None:
    with connect(mock_gateway.url) as socket:
        socket.recv()
        socket.send(HELLO)
        assert json.loads(socket.recv())["ok"] is True
    (call,) = mock_gateway.calls
    assert (call.connection, call.method, call.params["maxProtocol"]) == (1, "connect", 3)
    assert "s3" not in repr(mock_gateway.calls)


def test_a_gateway_plays_any_script_that_comes_with_lockjaw_by_its_name(mock_gateway: Any) -> None:
    mock_gateway.script("challenge_without_nonce")
    with connect(mock_gateway.url) as socket:
        assert "nonce" not in json.loads(socket.recv(timeout=10))["payload"]
        socket.close(1008, "connect challenge missing nonce")  # what the script's `expect` asks of a client


@pytest.mark.parametrize("name", scripts.names())
def test_every_script_loads_by_its_name(name: str) -> None:
    gateway = GatewayFixture(clock=ScaledClock.start(1.0)).script(name)
    assert gateway.verify(unused=False) == []
    assert gateway.verify() == ["the script was not used: the test never asked for mock_gateway.url"]
    gateway.close()


def test_a_script_may_come_after_the_address_but_not_after_a_client(mock_gateway: Any) -> None:
    url = mock_gateway.url
    mock_gateway.script({"connect": [{"close": {"code": 1012, "reason": "service restart"}}]})
    assert mock_gateway.url == url
    with connect(url) as socket:
        socket.recv()
        socket.send(HELLO)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    with pytest.raises(LocalError, match="a script already"):
        mock_gateway.script({})


def test_a_connected_client_is_never_cut_off_by_a_new_script(mock_gateway: Any) -> None:
    with connect(mock_gateway.url) as socket:
        socket.recv()
        with pytest.raises(LocalError, match="give it its script first"):
            mock_gateway.script({})
        socket.send(HELLO)
        socket.recv()


def test_the_real_client_finds_the_gateway_by_its_environment(mock_gateway: Any, tmp_path: Path) -> None:
    mock_gateway.script({"methods": {"agent": [{"final": {"text": "Hello from the script."}}]}})
    told = subprocess.run(
        [sys.executable, "-m", "lockjaw", "agent", "--agent", "main", "--message", "hi", "--json"],
        env=os.environ | mock_gateway.environment | {"OPENCLAW_STATE_DIR": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert told.returncode == 0, told.stderr
    assert "Hello from the script." in told.stdout
    assert "agent" in [call.method for call in mock_gateway.calls]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ('{"methods": {"agent": [{"silence": True}]}}', "the script was not used"),
        ('{"methods": {"agnet": [{"silence": True}]}}; mock_gateway.url', "methods.agnet[0] was used 0 of 1 times"),
    ],
)
def test_an_unused_gateway_script_fails_the_test(pytester: pytest.Pytester, script: str, said: str) -> None:
    body = script.replace("; ", ")\n    ", 1) if "; " in script else script + ")"
    result = outcome_of(pytester, f"def test_it(mock_gateway):\n    mock_gateway.script({body}\n")

    result.assert_outcomes(failed=1)
    assert said in result.stdout.str()


# --------------------------------------------------------------------------- lock_contender


@pytest.mark.real
def test_a_contender_holds_a_lock_until_it_is_told_to_give_it_back(lock_contender: Any, tmp_path: Path) -> None:
    session = tmp_path / "s.jsonl"
    with lock_contender.hold(session) as generation:
        assert inspect_lock(session).pid == lock_contender.pid
        with pytest.raises(SessionLocked, match=f"pid={lock_contender.pid}"):
            SessionLock(session, timeout=0.0).acquire()
    with SessionLock(session, timeout=0.0) as held:
        assert held.generation > generation


@pytest.mark.real
def test_a_contender_waits_for_its_turn(lock_contender: Any, tmp_path: Path) -> None:
    session = tmp_path / "s.jsonl"
    with SessionLock(session, clock=ScaledClock.start(0.01)) as held:
        lock_contender.begin_acquire(session)
    assert lock_contender.wait_acquired() > held.generation


@pytest.mark.real
def test_errors_of_a_contender_are_raised_in_the_test(lock_contender: Any, tmp_path: Path) -> None:
    session = tmp_path / "s.jsonl"
    with SessionLock(session), pytest.raises(SessionLocked) as locked:
        lock_contender.acquire(session, timeout=1.0)
    assert locked.value.timeout_s == 1.0
    assert 1.0 <= locked.value.waited_s < 300
    with pytest.raises(LocalError, match="holds no lock"):
        lock_contender.release()
    with pytest.raises(LocalError, match="unknown lock algorithm"):
        lock_contender.acquire(session, algorithm="hope")
    assert lock_contender.acquire(session, algorithm="coarse") == 0


@pytest.mark.real
def test_a_lock_of_a_contender_that_died_is_reclaimed(lock_contender: Any, tmp_path: Path) -> None:
    session = tmp_path / "s.jsonl"
    lock_contender.acquire(session)
    lock_contender.die()
    assert not lock_contender.alive
    with SessionLock(session, timeout=5.0) as held:
        assert held.reclaimed
    with pytest.raises(LocalError, match="has ended"):
        lock_contender.release()


@pytest.mark.real
async def test_a_paused_contender_is_fenced_and_cannot_write_when_it_wakes(lock_contender: Any, tmp_path: Path) -> None:
    session = tmp_path / "s.jsonl"
    lock_contender.acquire(session)
    lock_contender.append("mine")
    lock_contender.pause()
    assert psutil.Process(lock_contender.pid).status() == psutil.STATUS_STOPPED
    lock = SessionLock(session)
    held = await lock.fence_async()
    lock_contender.resume()
    with pytest.raises(Fenced) as fenced:
        lock_contender.append("too late")
    await lock.release_async()

    assert fenced.value.current == held.generation
    assert session.read_text() == "mine\n"


@pytest.mark.real
async def test_a_contender_inside_an_append_is_overruled_and_cannot_write_when_it_wakes(
    lock_contender: Any, tmp_path: Path
) -> None:
    session = tmp_path / "s.jsonl"
    first = lock_contender.acquire(session)
    lock_contender.enter_section()
    lock_contender.pause()
    lock = SessionLock(session, clock=ScaledClock.start(0.01))
    held = await lock.fence_async()
    lock_contender.resume()
    lock_contender.leave_section()
    with pytest.raises(Fenced) as fenced:
        lock_contender.append("too late")
    await lock.release_async()

    assert fenced.value.current == held.generation > first
    assert not session.exists() or session.read_text() == ""


@pytest.mark.real
def test_many_contenders_and_one_lock(lock_contenders: Any, tmp_path: Path) -> None:
    session = tmp_path / "s.jsonl"
    first, second = lock_contenders(), lock_contenders()
    first.acquire(session)
    with pytest.raises(SessionLocked, match=f"pid={first.pid}"):
        second.acquire(session, timeout=0.0)


@pytest.mark.real
def test_a_contender_ends_with_its_test_whatever_state_it_is_in(lock_contenders: Any, tmp_path: Path) -> None:
    contender = lock_contenders()
    contender.acquire(tmp_path / "s.jsonl")
    contender.pause()
    contender.close()
    contender.close()

    assert not contender.alive
    assert not inspect_lock(tmp_path / "s.jsonl").exists  # it was woken and gave it back


def test_a_planted_lock_names_whoever_it_is_told_to(tmp_path: Path) -> None:
    session = tmp_path / "s.jsonl"
    path = plant_lock(session, pid=4_194_303)

    assert path.name == "s.jsonl.lock"
    assert (inspect_lock(session).pid, inspect_lock(session).alive, inspect_lock(session).ours) == (
        4_194_303,
        False,
        False,
    )
    with pytest.raises(FileExistsError):
        plant_lock(session, pid=1)
