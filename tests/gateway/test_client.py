"""The client's shell against a scripted gateway over real sockets on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import http
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.server import Request, Response, Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from lockjaw.clock import Clock, ScaledClock
from lockjaw.errors import ConnectionLost, LocalError, RequestRejected, RequestTimedOut
from lockjaw.gateway.call import call_gateway
from lockjaw.gateway.client import GatewayClient
from lockjaw.gateway.dialect import HelloOk
from lockjaw.gateway.endpoint import connection_details
from lockjaw.gateway.frames import MAX_FRAME_BYTES, EventFrame
from lockjaw.gateway.identity import DeviceIdentity, DeviceTokens, device_id_of
from lockjaw.gateway.params import AgentParams, AgentWaitParams
from lockjaw.gateway.protocol import SeqGap
from lockjaw.gateway.transport import Transport
from lockjaw.settings import GatewaySettings, Pacing, Settings

FAST = 0.02  # real seconds per nominal second, where a test waits for a limit of the protocol
PARAMS = AgentParams(message="hello", idempotencyKey="run-1")


class Peer:
    """The gateway's end of one connection, spoken by hand."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.connect: dict[str, Any] = {}

    async def send(self, **fields: Any) -> None:
        await self.socket.send(json.dumps(fields))

    async def event(self, name: str, **fields: Any) -> None:
        await self.send(type="event", event=name, **fields)

    async def ok(self, request_id: str, payload: object = None) -> None:
        await self.send(type="res", id=request_id, ok=True, payload=payload)

    async def fail(self, request_id: str, code: str, message: str, **more: Any) -> None:
        await self.send(type="res", id=request_id, ok=False, error={"code": code, "message": message, **more})

    async def read(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(await self.socket.recv())
        return frame

    async def challenged(self) -> str:
        """Send the challenge and read the connect; its id."""
        await self.event("connect.challenge", payload={"nonce": "N", "ts": 123})
        frame = await self.read()
        assert frame["method"] == "connect"
        self.connect = frame["params"]
        return str(frame["id"])

    async def welcome(self, *, tick_ms: float = 30_000, **more: Any) -> None:
        request_id = await self.challenged()
        await self.ok(request_id, {"type": "hello-ok", "policy": {"tickIntervalMs": tick_ms}, **more})

    async def accepted(self) -> str:
        """Read an agent request and accept it; its id."""
        frame = await self.read()
        assert frame["method"] == "agent"
        await self.ok(frame["id"], {"runId": frame["params"]["idempotencyKey"], "status": "accepted", "acceptedAt": 1})
        return str(frame["id"])

    async def gone(self) -> int:
        """Wait until the client has left; the close code that it gave."""
        await self.socket.wait_closed()
        return self.socket.close_code or 0


Script = Callable[[Peer], Awaitable[None]]


class Gateway:
    """A server that plays one script per connection, in order; the last one repeats."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self.close_codes: list[int] = []
        self.faults: list[BaseException] = []
        self.left = asyncio.Event()
        self.port = 0
        self._scripts: list[Script] = []

    async def handle(self, socket: ServerConnection) -> None:
        peer = Peer(socket)
        script = self._scripts[min(len(self.peers), len(self._scripts) - 1)]
        self.peers.append(peer)
        try:
            await script(peer)
        except ConnectionClosed:
            pass  # the client left before the script was over
        except BaseException as fault:
            self.faults.append(fault)
            raise
        finally:
            await socket.close()
            self.close_codes.append(socket.close_code or 0)
            self.left.set()

    @classmethod
    @contextlib.asynccontextmanager
    async def playing(cls, *scripts: Script, **options: Any) -> AsyncIterator[Gateway]:
        gateway = cls()
        gateway._scripts = list(scripts)
        server: Server = await serve(
            gateway.handle, "127.0.0.1", 0, ping_interval=None, max_size=None, close_timeout=1, **options
        )
        gateway.port = next(iter(server.sockets)).getsockname()[1]
        try:
            yield gateway
        finally:
            server.close()
            await server.wait_closed()
            assert gateway.faults == []


def settings_for(tmp_path: Path, port: int, *, scheme: str = "ws", **gateway: Any) -> Settings:
    options = {"url": f"{scheme}://127.0.0.1:{port}", "port": port, "token": "T"} | gateway
    return Settings(state_dir=tmp_path, config_path=tmp_path / "openclaw.json", gateway=GatewaySettings(**options))


def client_for(settings: Settings, *, clock: Clock | None = None, **options: Any) -> GatewayClient:
    clock = clock or ScaledClock.start()
    identity = options.pop("identity", None) or DeviceIdentity.load_or_create(settings.state_dir, clock)
    return GatewayClient(settings, clock=clock, identity=identity, **options)


def details_of(tmp_path: Path, port: int) -> str:
    return (
        f"Gateway target: ws://127.0.0.1:{port}\nSource: local loopback\n"
        f"Config: {tmp_path / 'openclaw.json'}\nBind: loopback"
    )


def ask_agent(client: GatewayClient, params: AgentParams, **options: Any) -> Coroutine[Any, Any, Any]:
    """Run a turn and wait for its end, however long it takes."""
    return client.request("agent", params, timeout_s=None, expect_final=True, **options)


async def hold(peer: Peer) -> None:
    """Welcome the client and stay."""
    await peer.welcome()
    await peer.gone()


# --------------------------------------------------------------------------- one whole call


async def test_a_call_runs_a_turn_and_gives_its_final_answer(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        request_id = await peer.accepted()
        await peer.event("agent", payload={"runId": "run-1"}, seq=1)
        await peer.ok(request_id, {"runId": "run-1", "status": "ok", "result": {"payloads": []}})
        await peer.gone()

    told: list[dict[str, Any]] = []
    async with Gateway.playing(script) as gateway:
        payload = await call_gateway(
            settings_for(tmp_path, gateway.port), "agent", PARAMS, expect_final=True, on_accepted=told.append
        )
    assert payload["status"] == "ok"
    assert [t["status"] for t in told] == ["accepted"]
    assert gateway.close_codes == [1000]
    connect = gateway.peers[0].connect
    assert connect["auth"] == {"token": "T"}
    assert device_id_of(connect["device"]["publicKey"]) == connect["device"]["id"]
    assert connect["device"]["nonce"] == "N"
    assert connect["client"]["instanceId"]


async def test_a_call_that_nobody_finishes_times_out_and_names_the_accepted_run(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.accepted()
        await peer.gone()

    async with Gateway.playing(script) as gateway:
        clock = ScaledClock.start(FAST)
        settings = settings_for(tmp_path, gateway.port)
        with pytest.raises(RequestTimedOut) as caught:
            await call_gateway(settings, "agent", PARAMS, timeout_ms=20_000, expect_final=True, clock=clock)
        waited_s = clock.monotonic()
    assert str(caught.value) == f"gateway timeout after 20000ms\n{details_of(tmp_path, gateway.port)}"
    assert (caught.value.run_id, caught.value.definite) == ("run-1", False)
    assert waited_s >= 20.0  # never before the deadline; the upper bound is the machine's


async def test_a_gateway_that_never_says_hello_times_out_definitely(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.challenged()
        await peer.gone()

    async with Gateway.playing(script) as gateway:
        with pytest.raises(RequestTimedOut) as caught:
            await call_gateway(
                settings_for(tmp_path, gateway.port), "agent", PARAMS, timeout_ms=9_000, clock=ScaledClock.start(FAST)
            )
    assert str(caught.value).startswith("gateway timeout after 9000ms\nGateway target: ")
    assert (caught.value.run_id, caught.value.definite) == (None, True)


async def test_a_connect_that_is_never_answered_is_closed_after_its_own_limit(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.challenged()
        await peer.gone()

    lines: list[str] = []
    async with Gateway.playing(script) as gateway:
        with pytest.raises(ConnectionLost) as caught:
            await call_gateway(
                settings_for(tmp_path, gateway.port),
                "agent",
                PARAMS,
                timeout_ms=100_000,
                clock=ScaledClock.start(FAST / 2),
                on_diagnostic=lines.append,
            )
    assert str(caught.value).startswith("gateway closed (1008): connect failed\nGateway target: ")
    assert (caught.value.definite, caught.value.refused) == (True, False), "the client closed, not the gateway"
    assert lines == ["gateway connect failed: Error: gateway request timeout for connect"]


async def test_a_gateway_without_a_challenge_is_closed_with_the_reason(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.gone()

    lines: list[str] = []
    async with Gateway.playing(script) as gateway:
        with pytest.raises(ConnectionLost) as caught:
            await call_gateway(
                settings_for(tmp_path, gateway.port),
                "agent",
                PARAMS,
                timeout_ms=60_000,
                clock=ScaledClock.start(FAST),
                on_diagnostic=lines.append,
            )
    assert str(caught.value).startswith("gateway closed (1008): connect challenge timeout\nGateway target: ")
    assert (caught.value.definite, caught.value.refused) == (True, False), "the client closed, not the gateway"
    assert lines[0].startswith("gateway connect failed: Error: gateway connect challenge timeout (waited 1")
    assert lines[0].endswith("limit 10000ms)")
    assert gateway.close_codes == [1008]


async def refuse_token(peer: Peer) -> None:
    request_id = await peer.challenged()
    text = "unauthorized: gateway token mismatch (set gateway.remote.token to match gateway.auth.token)"
    await peer.fail(request_id, "INVALID_REQUEST", text, details={"code": "AUTH_TOKEN_MISMATCH"})
    await peer.socket.close(1008, text)


async def test_a_wrong_token_gives_the_refusal_and_the_close_1008(tmp_path: Path) -> None:
    lines: list[str] = []
    async with Gateway.playing(refuse_token) as gateway:
        settings = settings_for(tmp_path, gateway.port)
        with pytest.raises(ConnectionLost) as caught:
            await call_gateway(settings, "agent", PARAMS, on_diagnostic=lines.append)
        with pytest.raises(RequestRejected, match="unauthorized: gateway token mismatch") as refused:
            await client_for(settings).connect()
    assert str(caught.value).startswith("gateway closed (1008): unauthorized: gateway token mismatch (set")
    assert (caught.value.definite, caught.value.run_id) == (True, None)
    assert caught.value.refused
    assert lines == [f"gateway connect failed: GatewayClientRequestError: {refused.value}"]


@pytest.mark.parametrize("code", [1002, 1008])
async def test_a_close_of_the_gateway_while_the_client_connects_is_a_refusal(code: int, tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.challenged()
        await peer.socket.close(code, "go away")

    async with Gateway.playing(script) as gateway:
        with pytest.raises(ConnectionLost) as caught:
            await call_gateway(settings_for(tmp_path, gateway.port), "agent", PARAMS)
    assert (caught.value.code, caught.value.reason, caught.value.refused) == (code, "go away", True)


async def test_a_refused_tcp_connection_is_a_definite_1006(tmp_path: Path) -> None:
    async with Gateway.playing(hold) as gateway:
        port = gateway.port
    with pytest.raises(ConnectionLost) as caught:
        await call_gateway(settings_for(tmp_path, port), "agent", PARAMS)
    text = "gateway closed (1006 abnormal closure (no close frame)): no close reason"
    assert str(caught.value) == f"{text}\n{details_of(tmp_path, port)}"
    assert (caught.value.code, caught.value.definite) == (1006, True)


async def test_a_gateway_that_dies_in_mid_run_is_a_loss_that_names_the_run(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.accepted()
        peer.socket.transport.abort()

    async with Gateway.playing(script) as gateway:
        with pytest.raises(ConnectionLost) as caught:
            await call_gateway(settings_for(tmp_path, gateway.port), "agent", PARAMS, expect_final=True)
    assert (caught.value.code, caught.value.definite, caught.value.run_id) == (1006, False, "run-1")


async def test_a_failed_run_is_passed_on_as_the_gateway_said_it(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        request_id = await peer.accepted()
        await peer.fail(request_id, "UNAVAILABLE", "FallbackSummaryError: All models failed (1): x")
        await peer.gone()

    async with Gateway.playing(script) as gateway:
        with pytest.raises(RequestRejected) as caught:
            await call_gateway(settings_for(tmp_path, gateway.port), "agent", PARAMS, expect_final=True)
    assert str(caught.value) == "FallbackSummaryError: All models failed (1): x"


async def test_the_request_is_sent_at_the_paced_instant_and_not_before(tmp_path: Path) -> None:
    clock = ScaledClock.start(FAST)
    arrived: list[float] = []

    async def script(peer: Peer) -> None:
        await peer.welcome()
        frame = await peer.read()
        arrived.append(clock.monotonic())
        await peer.ok(frame["id"], {})
        await peer.gone()

    async with Gateway.playing(script) as gateway:
        settings = replace(settings_for(tmp_path, gateway.port), pacing=Pacing(connect_s=8.0))
        started = clock.monotonic()
        await call_gateway(settings, "health", timeout_ms=120_000, clock=clock)
    assert arrived[0] - started >= 8.0


async def test_a_deadline_that_passes_while_pacing_means_that_nothing_was_sent(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        frame = await peer.read()  # raises ConnectionClosed: nothing may come
        raise AssertionError(frame)

    async with Gateway.playing(script) as gateway:
        settings = replace(settings_for(tmp_path, gateway.port), pacing=Pacing(connect_s=50.0))
        with pytest.raises(RequestTimedOut) as caught:
            await call_gateway(settings, "agent", PARAMS, timeout_ms=20_000, clock=ScaledClock.start(FAST))
        await gateway.left.wait()
    assert caught.value.definite


class LateClock(ScaledClock):
    """A clock in whose hands connecting takes longer than any deadline, without the timer noticing."""

    async def sleep(self, nominal_s: float) -> None:
        object.__setattr__(self, "origin_ns", self.origin_ns - 10**12)


async def test_a_deadline_that_passed_unnoticed_means_that_nothing_is_sent(tmp_path: Path) -> None:
    async with Gateway.playing(hold) as gateway:
        clock = LateClock.start()
        with pytest.raises(RequestTimedOut) as caught:
            await call_gateway(settings_for(tmp_path, gateway.port), "agent", PARAMS, clock=clock)
    assert caught.value.definite


@pytest.mark.parametrize("source", ["cli --url", "env OPENCLAW_GATEWAY_URL"])
async def test_an_address_named_by_hand_needs_credentials(tmp_path: Path, source: str) -> None:
    settings = settings_for(tmp_path, 1, source=source, bind="", token=None)
    with pytest.raises(LocalError, match="gateway url override requires explicit credentials"):
        await call_gateway(settings, "health")


async def test_without_credentials_and_without_a_usable_folder_the_connect_carries_neither(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.ok((await peer.read())["id"], {"ok": True})
        await peer.gone()

    (tmp_path / "identity").write_text("no folder")
    async with Gateway.playing(script) as gateway:
        settings = settings_for(tmp_path, gateway.port, source="cli --url", bind="", token=None, auth_mode="none")
        assert await call_gateway(settings, "health") == {"ok": True}
    assert not {"device", "auth"} & set(gateway.peers[0].connect)


async def test_cancelling_a_call_closes_its_socket(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.accepted()
        asked.set()
        await peer.gone()

    async with Gateway.playing(script) as gateway:
        call = asyncio.create_task(
            call_gateway(settings_for(tmp_path, gateway.port), "agent", PARAMS, expect_final=True)
        )
        await asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await gateway.left.wait()
    assert gateway.close_codes == [1000]


# --------------------------------------------------------------------------- after a timeout


async def test_a_kept_client_can_ask_for_the_run_and_the_late_final_is_dropped(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        request_id = await peer.accepted()
        ask = await peer.read()
        assert ask["method"] == "agent.wait"
        assert ask["params"] == {"runId": "run-1", "timeoutMs": 500}
        await peer.ok(request_id, {"runId": "run-1", "status": "ok", "late": True})
        await peer.ok(ask["id"], {"runId": "run-1", "status": "ok", "endedAt": 5})
        await peer.gone()

    async with Gateway.playing(script) as gateway:
        clock = ScaledClock.start(FAST)
        async with client_for(settings_for(tmp_path, gateway.port), clock=clock) as client:
            with pytest.raises(RequestTimedOut) as caught:
                await client.request("agent", PARAMS, timeout_s=15.0, expect_final=True)
            assert caught.value.run_id == "run-1"
            assert client.connected
            # A generous limit: what is tested is which answer arrives, not when.
            asked = AgentWaitParams(runId="run-1", timeoutMs=500)
            found = await client.request("agent.wait", asked, timeout_s=60.0)
            assert found == {"runId": "run-1", "status": "ok", "endedAt": 5}


async def test_a_second_final_and_malformed_frames_disturb_nothing(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        request_id = await peer.accepted()
        for text in ("{", '{"type":"res"}', "[" * 100_000, b"\xff\xff"):
            await peer.socket.send(text)
        await peer.ok(request_id, {"status": "ok", "n": 1})
        await peer.ok(request_id, {"status": "ok", "n": 2})
        await peer.ok((await peer.read())["id"], {"n": 3})
        await peer.gone()

    async with Gateway.playing(script) as gateway, client_for(settings_for(tmp_path, gateway.port)) as client:
        assert await ask_agent(client, PARAMS) == {"status": "ok", "n": 1}
        assert await client.request("status") == {"n": 3}


async def test_a_frame_over_25_mib_closes_with_1009(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.read()
        await peer.socket.send("x" * (MAX_FRAME_BYTES + 1))
        await peer.gone()

    async with Gateway.playing(script) as gateway, client_for(settings_for(tmp_path, gateway.port)) as client:
        with pytest.raises(ConnectionLost) as caught:
            await ask_agent(client, PARAMS)
        assert (caught.value.code, caught.value.definite) == (1009, False)


async def test_a_gateway_whose_ticks_stop_is_closed_with_4000(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome(tick_ms=10_000)
        await peer.accepted()
        await peer.event("tick", payload={"ts": 1})
        await peer.gone()

    async with Gateway.playing(script) as gateway:
        clock = ScaledClock.start(FAST)
        async with client_for(settings_for(tmp_path, gateway.port), clock=clock) as client:
            with pytest.raises(ConnectionLost) as caught:
                await ask_agent(client, PARAMS)
            assert str(caught.value) == "gateway closed (4000): tick timeout"
            assert (caught.value.run_id, caught.value.definite) == ("run-1", False)
            assert clock.monotonic() >= 20.0  # never before two intervals of silence
            await gateway.left.wait()
            assert gateway.close_codes == [4000]


async def test_a_request_has_its_own_deadline_and_the_connection_survives_it(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.read()
        await peer.ok((await peer.read())["id"], "second")
        await peer.gone()

    async with Gateway.playing(script) as gateway:
        clock = ScaledClock.start(FAST)
        async with client_for(settings_for(tmp_path, gateway.port), clock=clock) as client:
            with pytest.raises(RequestTimedOut, match="gateway request timeout for status"):
                await client.request("status", {}, timeout_s=5.0)
            assert await client.request("status", {}, timeout_s=None) == "second"


# --------------------------------------------------------------------------- events


async def test_events_and_gaps_are_told_and_a_faulty_listener_harms_nobody(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        frame = await peer.read()
        for seq in (1, 2, 5):
            await peer.event("agent", payload={"n": seq}, seq=seq)
        await peer.ok(frame["id"], {})
        await peer.gone()

    seen: list[Any] = []

    def on_event(frame: EventFrame) -> None:
        seen.append(frame.seq)
        if frame.seq == 1:
            raise ValueError("a listener's fault")

    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    async with (
        Gateway.playing(script) as gateway,
        client_for(settings_for(tmp_path, gateway.port), on_event=on_event, on_gap=seen.append) as client,
    ):
        await client.request("health")
    assert seen == [1, 2, SeqGap(3, 5), 5]
    assert [str(fault["exception"]) for fault in faults] == ["a listener's fault"]


# --------------------------------------------------------------------------- reconnecting


async def test_a_restarted_gateway_is_reached_again_and_nothing_is_sent_twice(tmp_path: Path) -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        await peer.accepted()
        await peer.event("tick", seq=4)
        await peer.socket.close(1012, "service restart")

    async def second(peer: Peer) -> None:
        await peer.welcome()
        await peer.event("tick", seq=9)
        frame = await peer.read()
        assert frame["method"] == "health"
        await peer.ok(frame["id"], "alive")
        await peer.gone()

    losses: asyncio.Queue[ConnectionLost] = asyncio.Queue()
    hellos: asyncio.Queue[HelloOk] = asyncio.Queue()
    gaps: list[SeqGap] = []
    async with Gateway.playing(first, second) as gateway:
        client = client_for(
            settings_for(tmp_path, gateway.port), clock=ScaledClock.start(FAST), reconnect=True,
            on_lost=losses.put_nowait, on_hello=hellos.put_nowait, on_gap=gaps.append,
        )  # fmt: skip
        async with client:
            await hellos.get()
            assert repr(client) == "GatewayClient(local loopback, connected=True)"
            with pytest.raises(ConnectionLost) as caught:
                await ask_agent(client, PARAMS)
            assert str(caught.value) == "gateway closed (1012): service restart"
            loss = await losses.get()
            assert (loss.code, loss.reason) == (1012, "service restart")
            with pytest.raises(ConnectionLost, match="gateway not connected") as between:
                await client.request("nothing")
            assert between.value.definite
            await hellos.get()
            assert await client.request("health") == "alive"
    assert gaps == [SeqGap(5, 9)]


async def test_reconnecting_stops_when_the_gateway_refuses_for_good(tmp_path: Path) -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        await peer.socket.close(1012, "service restart")

    async def second(peer: Peer) -> None:
        request_id = await peer.challenged()
        await peer.fail(request_id, "NOT_PAIRED", "pairing required", details={"code": "PAIRING_REQUIRED"})
        await peer.gone()

    async with Gateway.playing(first, second, second, hold) as gateway:
        client = client_for(settings_for(tmp_path, gateway.port), clock=ScaledClock.start(FAST), reconnect=True)
        await client.connect()
        keeper = client._keeper
        assert keeper is not None
        await keeper
        assert len(gateway.peers) == 2
        assert not client.connected
        with pytest.raises(RequestRejected, match="pairing required"):
            await client.connect()
        await client.connect()  # a person has approved in between
        assert client.connected
        await client.close()
    assert gateway.close_codes[-1] == 1000


async def test_a_first_connect_with_reconnect_goes_on_until_the_gateway_is_there(tmp_path: Path) -> None:
    async def leave(peer: Peer) -> None:
        await peer.socket.close(1008, "not yet")

    async def mute(peer: Peer) -> None:
        await peer.challenged()
        await peer.gone()

    async def refuse(peer: Peer) -> None:
        await peer.fail(await peer.challenged(), "UNAVAILABLE", "not yet")
        await peer.gone()

    async with Gateway.playing(leave, mute, refuse, hold) as gateway:
        client = client_for(settings_for(tmp_path, gateway.port), clock=ScaledClock.start(FAST / 2), reconnect=True)
        async with client:
            assert client.connected
        assert len(gateway.peers) == 4


async def test_connecting_twice_opens_one_socket(tmp_path: Path) -> None:
    async with Gateway.playing(hold) as gateway, client_for(settings_for(tmp_path, gateway.port)) as client:
        hello = await client.connect()
        assert (await client.connect()) is hello
        assert len(gateway.peers) == 1


async def test_two_callers_that_connect_at_once_share_one_socket(tmp_path: Path) -> None:
    async with Gateway.playing(hold) as gateway:
        client = client_for(settings_for(tmp_path, gateway.port))
        first, second = await asyncio.gather(client.connect(), client.connect())
        assert first is second
        assert len(gateway.peers) == 1
        await client.close()


@pytest.mark.parametrize(("version", "connections"), [(3, 1), (4, 2)])
async def test_version_4_tries_a_clean_close_before_hello_once_more(
    tmp_path: Path, version: int, connections: int
) -> None:
    async def leave(peer: Peer) -> None:
        await peer.socket.close(1000)

    async with Gateway.playing(leave) as gateway:
        with pytest.raises(ConnectionLost) as caught:
            await call_gateway(settings_for(tmp_path, gateway.port), "health", protocol_version=version)
        assert len(gateway.peers) == connections
    assert str(caught.value).startswith("gateway closed (1000 normal closure): no close reason\n")


@pytest.mark.parametrize(("version", "is_challenge_ts"), [(3, False), (4, True)])
async def test_version_4_signs_the_instant_of_the_challenge(
    tmp_path: Path, version: int, is_challenge_ts: bool
) -> None:
    async with Gateway.playing(hold) as gateway:
        client = client_for(settings_for(tmp_path, gateway.port), protocol_version=version)
        await client.connect()
        await client.close()
    connect = gateway.peers[0].connect
    assert (connect["device"]["signedAt"] == 123) == is_challenge_ts
    assert (connect["minProtocol"], connect["maxProtocol"]) == (version, version)


async def test_protocol_that_a_newer_gateway_expects_is_spoken(tmp_path: Path) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.fail(
            await peer.challenged(), "INVALID_REQUEST", "protocol mismatch", details={"expectedProtocol": 4}
        )
        await peer.socket.close(1002, "protocol mismatch")

    async with Gateway.playing(refuse, hold) as gateway:
        client = client_for(settings_for(tmp_path, gateway.port))
        await client.connect()
        await client.close()
    asked = [(peer.connect["minProtocol"], peer.connect["maxProtocol"]) for peer in gateway.peers]
    assert asked == [(3, 3), (4, 4)]
    assert gateway.peers[1].connect["device"]["signedAt"] == 123


@pytest.mark.parametrize("expected", [3, 2, 5, "4", None])
async def test_protocol_that_we_do_not_speak_is_an_error_at_once(tmp_path: Path, expected: object) -> None:
    async def refuse(peer: Peer) -> None:
        details = {"expectedProtocol": expected}
        await peer.fail(await peer.challenged(), "INVALID_REQUEST", "protocol mismatch", details=details)
        await peer.socket.close(1002, "protocol mismatch")

    async with Gateway.playing(refuse) as gateway:
        with pytest.raises(RequestRejected, match="protocol mismatch"):
            await client_for(settings_for(tmp_path, gateway.port)).connect()
        assert len(gateway.peers) == 1


async def test_a_starting_gateway_is_waited_for_at_connect_and_at_a_request(tmp_path: Path) -> None:
    starting = {"details": {"reason": "startup-sidecars"}, "retryable": True, "retryAfterMs": 150}

    async def first(peer: Peer) -> None:
        await peer.fail(await peer.challenged(), "UNAVAILABLE", "starting", **starting)
        await peer.gone()

    async def second(peer: Peer) -> None:
        await peer.welcome()
        first = await peer.read()
        await peer.fail(first["id"], "UNAVAILABLE", "starting", **starting)
        again = await peer.read()
        assert (again["method"], again["id"] != first["id"]) == ("health", True)
        await peer.ok(again["id"], "ready")
        await peer.gone()

    slept: list[float] = []

    class Noting(ScaledClock):
        async def sleep(self, nominal_s: float) -> None:
            slept.append(nominal_s)
            await super().sleep(nominal_s)

    async with Gateway.playing(first, second) as gateway:
        settings = settings_for(tmp_path, gateway.port)
        assert await call_gateway(settings, "health", timeout_ms=100_000, clock=Noting.start(FAST)) == "ready"
    assert slept.count(0.15) == 2


async def test_a_gateway_that_goes_on_starting_is_refused_at_the_deadline(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        while True:
            frame = await peer.read()
            details = {"reason": "startup-sidecars"}
            await peer.fail(frame["id"], "UNAVAILABLE", "starting", details=details, retryAfterMs=2000)

    async with Gateway.playing(script) as gateway:
        clock = ScaledClock.start(FAST)
        async with client_for(settings_for(tmp_path, gateway.port), clock=clock) as client:
            with pytest.raises(RequestRejected, match="starting"):
                await client.request("health", {}, timeout_s=7.0)
            with pytest.raises(RequestRejected, match="starting"):
                await client.request("health", {}, timeout_s=1.0)
            waiting = asyncio.create_task(client.request("health", {}, timeout_s=None))
            await clock.sleep(5.0)
            assert not waiting.done()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting


# --------------------------------------------------------------------------- the device token


async def test_an_issued_device_token_is_kept_used_and_forgotten_when_refused(tmp_path: Path) -> None:
    async def issue(peer: Peer) -> None:
        await peer.welcome(auth={"deviceToken": "DT", "role": "operator", "scopes": ["operator.read"]})
        await peer.gone()

    async def refuse(peer: Peer) -> None:
        await peer.fail(await peer.challenged(), "INVALID_REQUEST", "unauthorized: device token mismatch")
        await peer.socket.close(1008, "unauthorized: device token mismatch")

    async with Gateway.playing(issue, issue, refuse, hold) as gateway:
        settings = settings_for(tmp_path, gateway.port)
        identity = DeviceIdentity.load_or_create(tmp_path, ScaledClock.start())
        tokens = DeviceTokens(tmp_path, ScaledClock.start())
        async with client_for(settings):
            stored = tokens.load(identity.device_id, "operator")
            assert stored is not None
            assert stored.token == "DT"
        bare = replace(settings, gateway=replace(settings.gateway, token=None))
        async with client_for(bare):
            connect = gateway.peers[1].connect
            assert connect["auth"] == {"token": "DT", "deviceToken": "DT"}
            assert connect["scopes"] == ["operator.read"]
        with pytest.raises(RequestRejected, match="device token mismatch"):
            await client_for(bare).connect()
        assert tokens.load(identity.device_id, "operator") is None


async def test_a_refused_token_is_tried_once_more_with_the_stored_device_token(tmp_path: Path) -> None:
    async with Gateway.playing(refuse_token, hold) as gateway:
        clock = ScaledClock.start(FAST)
        settings = settings_for(tmp_path, gateway.port, token="WRONG")
        identity = DeviceIdentity.load_or_create(tmp_path, clock)
        DeviceTokens(tmp_path, clock).store(identity.device_id, "operator", "DT", ["s"])
        async with client_for(settings, clock=clock, reconnect=True, identity=identity):
            assert [peer.connect["auth"] for peer in gateway.peers] == [
                {"token": "WRONG"},
                {"token": "WRONG", "deviceToken": "DT"},
            ]


async def test_a_token_that_cannot_be_stored_costs_nothing_but_the_token(tmp_path: Path) -> None:
    async def issue(peer: Peer) -> None:
        await peer.welcome(auth={"deviceToken": "DT"})
        await peer.gone()

    async with Gateway.playing(issue) as gateway:
        identity = DeviceIdentity.generate()
        (tmp_path / "identity").write_text("no folder")
        async with client_for(settings_for(tmp_path, gateway.port), identity=identity) as client:
            assert client.connected


async def test_without_a_device_no_token_is_stored(tmp_path: Path) -> None:
    async def issue(peer: Peer) -> None:
        await peer.welcome(auth={"deviceToken": "DT"})
        await peer.gone()

    async with Gateway.playing(issue) as gateway:
        settings = settings_for(tmp_path, gateway.port)
        async with GatewayClient(settings, clock=ScaledClock.start(), identity=None):
            assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------- stopping and cancelling


async def test_stopping_fails_what_is_pending(tmp_path: Path) -> None:
    accepted = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.accepted()
        await peer.gone()

    async with Gateway.playing(script) as gateway:
        client = client_for(settings_for(tmp_path, gateway.port), reconnect=True)
        await client.connect()
        run = asyncio.create_task(ask_agent(client, PARAMS, on_accepted=lambda _: accepted.set()))
        await accepted.wait()
        await client.close()
        with pytest.raises(ConnectionLost, match="gateway client stopped") as caught:
            await run
        assert (caught.value.run_id, caught.value.definite) == ("run-1", False)
        with pytest.raises(ConnectionLost, match="gateway client stopped"):
            await client.request("health")
        with pytest.raises(ConnectionLost, match="gateway client stopped"):
            await client.connect()
        await client.close()
        await gateway.left.wait()
    assert gateway.close_codes == [1000]


async def test_a_frozen_gateway_delays_the_stop_by_no_more_than_its_limit(tmp_path: Path) -> None:
    thawed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.welcome()
        peer.socket.transport.pause_reading()
        await thawed.wait()
        peer.socket.transport.abort()

    async with Gateway.playing(script) as gateway:
        client = client_for(settings_for(tmp_path, gateway.port))
        await client.connect()
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with asyncio.timeout(3):  # far above our limit of 0.25 s, below the library's own of 5 s
            await client.close()
        assert loop.time() - started >= 0.24  # it did wait for the answer to its close
        thawed.set()


async def test_stopping_ends_a_connect_that_is_under_way(tmp_path: Path) -> None:
    challenged = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.challenged()
        challenged.set()
        await peer.gone()

    async with Gateway.playing(script) as gateway:
        client = client_for(settings_for(tmp_path, gateway.port))
        connecting = asyncio.create_task(client.connect())
        await challenged.wait()
        await client.close()
        with pytest.raises(ConnectionLost, match="gateway client stopped"):
            await connecting
        await gateway.left.wait()
    assert gateway.close_codes == [1000]


async def test_cancelling_a_connect_leaves_no_socket(tmp_path: Path) -> None:
    challenged = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.challenged()
        challenged.set()
        await peer.gone()

    async with Gateway.playing(script) as gateway:
        connecting = asyncio.create_task(client_for(settings_for(tmp_path, gateway.port)).connect())
        await challenged.wait()
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await gateway.left.wait()


async def test_a_cancelled_request_drops_its_answer_and_not_the_connection(tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.welcome()
        first = await peer.read()
        arrived.set()
        second = await peer.read()
        await peer.ok(first["id"], "late")
        await peer.ok(second["id"], "second")
        await peer.gone()

    async with Gateway.playing(script) as gateway, client_for(settings_for(tmp_path, gateway.port)) as client:
        request = asyncio.create_task(client.request("health"))
        await arrived.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert await client.request("status") == "second"


async def test_a_socket_that_opens_and_never_upgrades_is_given_up(tmp_path: Path) -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionResetError):
            while await reader.read(1000):  # until the client gives up
                pass
        writer.close()
        with contextlib.suppress(ConnectionResetError):
            await writer.wait_closed()
        left.set()

    left = asyncio.Event()
    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        client = client_for(settings_for(tmp_path, port), clock=ScaledClock.start(FAST), dial_limit_s=5.0)
        with pytest.raises(ConnectionLost) as caught:
            await client.connect()
        await left.wait()
    assert (caught.value.code, caught.value.definite) == (1006, True)


@pytest.mark.parametrize("status", [http.HTTPStatus.SERVICE_UNAVAILABLE, http.HTTPStatus.FOUND])
async def test_a_refused_upgrade_is_1006_and_a_redirect_is_not_followed(
    tmp_path: Path, status: http.HTTPStatus
) -> None:
    async with Gateway.playing(hold) as elsewhere:

        def refuse(connection: ServerConnection, request: Request) -> Response:
            response = connection.respond(status, "Gateway websocket handlers unavailable")
            response.headers["Location"] = f"ws://127.0.0.1:{elsewhere.port}/"
            return response

        async with Gateway.playing(hold, process_request=refuse) as gateway:
            with pytest.raises(ConnectionLost) as caught:
                await client_for(settings_for(tmp_path, gateway.port)).connect()
        assert elsewhere.peers == []
    assert (caught.value.code, caught.value.definite) == (1006, True)


async def test_a_fault_of_the_client_itself_ends_the_connection_loudly(tmp_path: Path) -> None:
    """A transport that breaks its contract: pending requests still end, and the fault is reported."""

    class Broken:
        async def send(self, text: str) -> None:
            await asyncio.Event().wait()

        async def receive(self) -> str | bytes:
            raise ZeroDivisionError("a bug")

        async def close(self, code: int, reason: str, *, limit_s: float) -> tuple[int, str]:
            return code, reason

    async def dial(gateway: GatewaySettings) -> Transport:
        return Broken()

    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    client = client_for(settings_for(tmp_path, 1), open_transport=dial)
    with pytest.raises(ConnectionLost):
        await client.connect()
    assert [type(fault["exception"]) for fault in faults] == [ZeroDivisionError]


# --------------------------------------------------------------------------- plaintext and TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    """A self-signed certificate's server context, and its SHA-256."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + day)
    signed = builder.sign(key, hashes.SHA256())
    pem = signed.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "gateway.pem").write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "gateway.pem")
    digest = hashlib.sha256(signed.public_bytes(serialization.Encoding.DER)).hexdigest()
    return context, ":".join(digest[i : i + 2] for i in range(0, 64, 2)).upper()


async def test_a_pinned_certificate_is_trusted_whoever_signed_it(
    tmp_path: Path, certificate: tuple[ssl.SSLContext, str]
) -> None:
    context, fingerprint = certificate
    async with Gateway.playing(hold, ssl=context) as gateway:
        settings = settings_for(tmp_path, gateway.port, scheme="wss", tls_fingerprint=fingerprint)
        async with client_for(settings) as client:
            assert client.connected


async def test_another_certificate_than_the_pinned_one_sees_no_frame(
    tmp_path: Path, certificate: tuple[ssl.SSLContext, str]
) -> None:
    async def script(peer: Peer) -> None:
        await peer.event("connect.challenge", payload={"nonce": "N"})
        raise AssertionError(await peer.read())  # ConnectionClosed instead: nothing may come

    context, _ = certificate
    async with Gateway.playing(script, ssl=context) as gateway:
        settings = settings_for(tmp_path, gateway.port, scheme="wss", tls_fingerprint="00" * 32)
        with pytest.raises(ConnectionLost) as caught:
            await client_for(settings).connect()
        await gateway.left.wait()
    assert str(caught.value) == "gateway closed (1008): gateway tls fingerprint mismatch"
    assert caught.value.definite
    assert gateway.close_codes == [1008]


async def test_without_a_pin_a_self_signed_certificate_is_refused(
    tmp_path: Path, certificate: tuple[ssl.SSLContext, str]
) -> None:
    async with Gateway.playing(hold, ssl=certificate[0]) as gateway:
        with pytest.raises(ConnectionLost) as caught:
            await client_for(settings_for(tmp_path, gateway.port, scheme="WSS")).connect()
    assert (caught.value.code, caught.value.definite) == (1006, True)
    assert isinstance(caught.value.__cause__, ssl.SSLError)


async def test_plaintext_to_another_machine_is_refused_before_a_socket_opens(tmp_path: Path) -> None:
    async def dial(gateway: GatewaySettings) -> Transport:
        raise AssertionError("a socket was opened")

    settings = settings_for(tmp_path, 1, url="ws://gateway.example:18789")
    with pytest.raises(LocalError) as caught:
        await client_for(settings, open_transport=dial).connect()
    text = 'SECURITY ERROR: Cannot connect to "gateway.example" over plaintext ws://'
    assert str(caught.value).startswith(text)
    with pytest.raises(LocalError, match="SECURITY ERROR"):
        await call_gateway(settings, "health")


def test_the_details_under_an_error_are_those_of_the_real_program(tmp_path: Path) -> None:
    assert connection_details(settings_for(tmp_path, 18999)) == details_of(tmp_path, 18999)
