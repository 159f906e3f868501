"""Every ready-made gateway script, met by our own client as the real one would meet it."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.errors import ConnectionLost, LocalError, RemoteError, RequestRejected
from lockjaw.fakes.gateway import scripts as gateway_scripts
from lockjaw.fakes.gateway.script import GatewayScript, load_gateway_script
from lockjaw.fakes.gateway.server import MockGateway
from lockjaw.gateway.call import call_gateway
from lockjaw.gateway.client import GatewayClient
from lockjaw.gateway.identity import DeviceIdentity, DeviceTokens
from lockjaw.gateway.params import AgentParams, AgentWaitParams, ChatAbortParams
from lockjaw.gateway.protocol import SeqGap
from lockjaw.settings import GatewaySettings, Settings

SCALE = 0.02
SLOWER = {
    "frame_oversized": 0.2,  # 25 MiB take real time
    "frozen_for_a_while": 0.1,  # it thaws 10 s before the client would take it for dead
}
PATIENCE_S = 60.0  # real seconds after which a test gives up; never what it measures
PARAMS = AgentParams(message="hello", idempotencyKey="run-1", sessionKey="agent:main:main")
LIMIT_MS = 90_000
NAMES = gateway_scripts.names()


def ask_agent(client: GatewayClient, params: AgentParams, **options: Any) -> Coroutine[Any, Any, Any]:
    """Run a turn and wait for its end, however long it takes."""
    return client.request("agent", params, timeout_s=None, expect_final=True, **options)


class Rig:
    """A mock gateway, and settings that lead there."""

    def __init__(self, script: GatewayScript, folder: Path, scale: float) -> None:
        self.clock = ScaledClock.start(scale)
        self.entries: list[dict[str, Any]] = []
        self.server = MockGateway(
            script, clock=self.clock, on_entry=self.entries.append, state_dir=folder / "state", seed=1
        )
        self.folder = folder

    @property
    def settings(self) -> Settings:
        gateway = GatewaySettings(url=self.server.url, port=self.server.port, token="lockjaw-test")
        return Settings(state_dir=self.folder, config_path=self.folder / "openclaw.json", gateway=gateway)

    async def call(self, **options: Any) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            return await call_gateway(
                self.settings, "agent", PARAMS, timeout_ms=LIMIT_MS, expect_final=True, clock=self.clock, **options
            )

    def client(self, **options: Any) -> GatewayClient:
        identity = DeviceIdentity.load_or_create(self.folder, self.clock)
        return GatewayClient(self.settings, clock=self.clock, identity=identity, **options)

    async def left(self) -> None:
        """Wait until no connection is open: a client's close may still be on its way when its call is over."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.said("open")) > len(self.said("close")):
                await asyncio.sleep(0.002)

    def said(self, ev: str) -> list[dict[str, Any]]:
        return [entry for entry in self.entries if entry["ev"] == ev]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Rig]]]:
    rigs: list[Rig] = []

    async def start(script: GatewayScript, *, scale: float = SCALE, folder: str = "client") -> Rig:
        (tmp_path / folder).mkdir(exist_ok=True)
        one = Rig(script, tmp_path / folder, scale)
        await one.server.start()
        rigs.append(one)
        return one

    yield start
    for one in rigs:
        await one.server.stop()


async def outcome(rig: Rig) -> tuple[str, str]:
    """``("error", first line)`` or ``("reply", text)`` of one call."""
    try:
        payload = await rig.call()
    except RemoteError as error:
        return "error", str(error).splitlines()[0]
    return "reply", "".join(part["text"] for part in payload["result"]["payloads"])


@pytest.mark.parametrize("name", NAMES)
async def test_our_client_does_with_each_script_what_the_script_says(name: str, rig: Any) -> None:
    file = gateway_scripts.load(name)
    one = await rig(file.gateway, scale=SLOWER.get(name, SCALE))
    kind, text = await outcome(one)
    if file.error is not None:
        assert kind == "error", text
        # A close that the client sends has a reason of its library's making.
        assert text.startswith(file.error) if file.error.endswith(")") else text == file.error
    else:
        assert (kind, text) == ("reply", file.reply)
    await one.left()
    assert one.server.verify() == []


@pytest.mark.parametrize("name", NAMES)
def test_each_script_says_what_it_shows_and_what_it_comes_to(name: str) -> None:
    file = gateway_scripts.load(name)
    assert len(file.about) > 20
    assert (file.error is None) != (file.reply is None)
    assert file.group in gateway_scripts.GROUPS
    assert file.gateway.expect is not None, "a script without expectations cannot say that a client left it out"


# --------------------------------------------------------------------------- beyond the one call


PAUSES = {  # details.code of a refusal after which the real client does not try again
    "AUTH_TOKEN_MISSING",
    "AUTH_TOKEN_MISMATCH",
    "AUTH_BOOTSTRAP_TOKEN_INVALID",
    "AUTH_PASSWORD_MISSING",
    "AUTH_PASSWORD_MISMATCH",
    "AUTH_RATE_LIMITED",
    "PAIRING_REQUIRED",
    "DEVICE_IDENTITY_REQUIRED",
}


@pytest.mark.parametrize("name", [n for n in NAMES if gateway_scripts.load(n).group == "refused connects"])
async def test_a_refused_client_tries_again_unless_only_a_person_can_mend_it(name: str, rig: Any) -> None:
    script = gateway_scripts.load(name).gateway
    one = await rig(script)
    client = one.client(reconnect=True)
    rejection = script.connect[0].reject
    assert rejection is not None
    pauses = (rejection.details or {}).get("code") in PAUSES
    connecting = asyncio.create_task(client.connect())
    async with asyncio.timeout(PATIENCE_S):
        if name == "starting_up" or not pauses:  # goes on until it is let in, or until we have seen it try three times
            while len(one.said("open")) < 3 and not connecting.done():
                await asyncio.sleep(0.005)
            assert len(one.said("open")) == 3
        else:
            with pytest.raises(RequestRejected, match=re.escape(rejection.message[:40])):
                await connecting
            assert len(one.said("open")) == 1
    await client.close()
    await asyncio.gather(connecting, return_exceptions=True)


async def test_a_revoked_device_token_is_forgotten_unless_a_token_was_given(rig: Any) -> None:
    one = await rig(gateway_scripts.load("device_token_mismatch").gateway)
    identity = DeviceIdentity.load_or_create(one.folder, one.clock)
    tokens = DeviceTokens(one.folder, one.clock)
    tokens.store(identity.device_id, "operator", "issued", ["operator.admin"])
    with pytest.raises(RequestRejected):
        await one.client().connect()
    assert tokens.load(identity.device_id, "operator") is not None
    without = GatewaySettings(url=one.server.url, port=one.server.port)
    client = GatewayClient(replace(one.settings, gateway=without), clock=one.clock, identity=identity)
    with pytest.raises(RequestRejected):
        await client.connect()
    assert tokens.load(identity.device_id, "operator") is None


@pytest.mark.parametrize(("name", "gaps"), [("seq_gap", [3]), ("seq_repeats", []), ("healthy", [])])
async def test_lost_events_are_noticed_and_repeated_ones_are_not_taken_for_lost(
    name: str, gaps: list[int], rig: Any
) -> None:
    one = await rig(gateway_scripts.load(name).gateway)
    seen: list[SeqGap] = []
    async with one.client(on_gap=seen.append) as client:
        assert (await ask_agent(client, PARAMS))["status"] == "ok"
    assert [gap.received - gap.expected for gap in seen] == gaps


@pytest.mark.parametrize(("name", "status"), [("restart_keeps_run", "ok"), ("restart_forgets_run", "timeout")])
async def test_after_a_restart_the_same_port_tells_what_it_still_knows(name: str, status: str, rig: Any) -> None:
    one = await rig(gateway_scripts.load(name).gateway)
    port = one.server.port
    async with one.client(reconnect=True) as client:
        with pytest.raises(ConnectionLost) as lost:
            await ask_agent(client, PARAMS)
        assert (lost.value.code, lost.value.reason, lost.value.run_id) == (1012, "service restart", "run-1")
        async with asyncio.timeout(PATIENCE_S):
            while not client.connected:
                await asyncio.sleep(0.005)
        waited = await client.request("agent.wait", AgentWaitParams(runId="run-1", timeoutMs=40_000), timeout_s=60.0)
        assert waited["status"] == status
    (restart,), (back,) = one.said("restart"), one.said("back")
    assert back["port"] == port
    assert back["t"] - restart["t"] >= 2.0  # not before it was down for so long; that it comes is the upper bound
    down = [e["frame"] for e in one.said("out") if e.get("frame", {}).get("event") == "shutdown"]
    assert down[0]["payload"] == {"reason": "service restart", "restartExpectedMs": 2000}


async def test_two_gateways_on_one_state_directory_exclude_each_other(rig: Any) -> None:
    script = gateway_scripts.load("two_gateways").gateway
    one, two = await rig(script), await rig(script)
    async with one.client() as first, two.client() as second:
        accepted: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        running = asyncio.create_task(ask_agent(first, PARAMS, on_accepted=accepted.set_result))
        await accepted
        other = AgentParams(message="hello", idempotencyKey="run-2", sessionKey="agent:main:main")
        with pytest.raises(RequestRejected, match=rf"session file locked \(timeout 10000ms\): pid={os.getpid()} "):
            await ask_agent(second, other)
        assert (await running)["result"]["payloads"][0]["text"] == "Answered under the lock."
        again = AgentParams(message="hello", idempotencyKey="run-3", sessionKey="agent:main:main")
        assert (await ask_agent(second, again))["status"] == "ok"  # and the first one's lock was given back
    assert list((one.folder / "state").rglob("*.jsonl.lock")) == []


async def test_a_script_that_holds_the_session_lock_wants_a_state_directory() -> None:
    with pytest.raises(LocalError, match="--state-dir DIR"):
        MockGateway(gateway_scripts.load("holds_session_lock").gateway)


async def test_a_run_keeps_its_lock_until_it_is_aborted_or_the_gateway_stops(rig: Any) -> None:
    one = await rig(gateway_scripts.load("holds_session_lock").gateway)
    state = one.folder / "state"
    async with one.client() as client:
        accepted: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        running = asyncio.create_task(ask_agent(client, PARAMS, on_accepted=accepted.set_result))
        await accepted
        async with asyncio.timeout(PATIENCE_S):
            while not list(state.rglob("*.jsonl.lock")):
                await asyncio.sleep(0.005)
        await client.request("chat.abort", ChatAbortParams(sessionKey="agent:main:main", runId="run-1"))
        assert (await running)["summary"] == "aborted"
        async with asyncio.timeout(PATIENCE_S):
            while list(state.rglob("*.jsonl.lock")):
                await asyncio.sleep(0.005)
        again = asyncio.create_task(ask_agent(client, AgentParams(message="x", idempotencyKey="run-2")))
        async with asyncio.timeout(PATIENCE_S):
            while not list(state.rglob("*.jsonl.lock")):
                await asyncio.sleep(0.005)
        await one.server.stop()
        with pytest.raises(ConnectionLost):
            await again
    assert list(state.rglob("*.jsonl.lock")) == []


async def test_what_clients_leave_out_or_do_too_much_is_said(rig: Any) -> None:
    script = load_gateway_script(
        {
            "gateway": {
                "methods": {"agent": [{}, {"times": 2}], "health": [{}]},
                "expect": {
                    "connections": 2,
                    "calls": {"agent": 2, "chat.abort": 1, "health": 0},
                    "closes": [{"code": 4000}, {"code": 1000}],
                },
            }
        }
    )
    one = await rig(script)
    async with one.client() as client:
        await ask_agent(client, PARAMS)
        await client.request("health")
        with pytest.raises(RequestRejected):
            await client.request("no.such")
    await one.left()
    assert one.server.verify() == [
        "connection 1: unknown method: no.such",
        "expect.connections: 1 connections came, not 2",
        "expect.calls.agent: 1 calls came, not 2",
        "expect.calls.chat.abort: 0 calls came, not 1",
        "expect.calls.health: 1 calls came, not 0",
        "expect.closes[0]: no client closed with 4000; they sent: 1000",
        "methods.agent[1] was used 0 of 2 times",
    ]


def test_a_script_by_a_wrong_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        LocalError, match=r"no gateway script is called 'close_1013'; did you mean .*close_1012_mid_run.*--list"
    ):
        gateway_scripts.load("close_1013")
    with pytest.raises(LocalError, match="by its path"):
        gateway_scripts.load("../secrets")
    assert {name for _, group in gateway_scripts.listed() for name in group} == set(NAMES)
