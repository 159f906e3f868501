"""The mock gateway, seen by a plain WebSocket client and by the project's own identity."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from lockjaw.clock import ScaledClock
from lockjaw.errors import DocumentError, LocalError
from lockjaw.fakes.gateway.script import GatewayScript, load_gateway_script
from lockjaw.fakes.gateway.server import MockGateway
from lockjaw.fakes.serving import serve
from lockjaw.gateway.identity import DeviceIdentity, signature_payload
from lockjaw.history import MemoryRecorder

PATIENCE_S = 20.0
CLIENT = {"id": "cli", "mode": "cli", "version": "2026.4.8", "platform": "linux"}
SCOPES = ["operator.admin"]


class Peer:
    """A client that sees frames."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket, self.numbers = socket, 0
        self.events: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            frame: dict[str, Any] = json.loads(await self.socket.recv())
            return frame

    async def response(self) -> dict[str, Any]:
        """The next response; events on the way are kept in ``events``."""
        while (frame := await self.receive())["type"] == "event":
            self.events.append(frame)
        return frame

    async def event(self, name: str) -> dict[str, Any]:
        while True:
            frame = await self.receive()
            if frame.get("event") == name:
                return frame

    async def send(self, method: str, params: Any = None) -> str:
        self.numbers += 1
        frame = {"type": "req", "id": f"r{self.numbers}", "method": method}
        await self.socket.send(json.dumps(frame if params is None else frame | {"params": params}))
        return f"r{self.numbers}"

    async def call(self, method: str, params: Any = None) -> dict[str, Any]:
        request_id = await self.send(method, params)
        answer = await self.response()
        assert answer["id"] == request_id
        return answer

    async def closed(self) -> tuple[int, str]:
        """Read to the end; the close code (1006: no close frame) and reason."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while True:
                    self.events.append(json.loads(await self.socket.recv()))
            except ConnectionClosed as lost:
                return (lost.rcvd.code, lost.rcvd.reason) if lost.rcvd else (1006, "")


class Rig:
    def __init__(self, gateway: dict[str, Any], scale: float, options: dict[str, Any]) -> None:
        self.clock = ScaledClock.start(scale)
        self.recorder = MemoryRecorder(self.clock, "gateway")
        self.entries: list[dict[str, Any]] = []
        self.script: GatewayScript = load_gateway_script({"gateway": gateway})
        self.server = MockGateway(
            self.script, clock=self.clock, recorder=self.recorder, on_entry=self.entries.append, **options
        )
        self.sockets: list[ClientConnection] = []

    async def open(self) -> Peer:
        socket = await connect(self.server.url + "/any/path", compression=None, max_size=None)
        self.sockets.append(socket)
        return Peer(socket)

    async def hello(self, *, lowest: int = 3, highest: int = 3, **more: Any) -> tuple[Peer, dict[str, Any]]:
        peer = await self.open()
        assert (await peer.receive())["event"] == "connect.challenge"
        params = {"minProtocol": lowest, "maxProtocol": highest, "client": CLIENT, "scopes": SCOPES, **more}
        return peer, await peer.call("connect", params)

    async def peer(self) -> Peer:
        peer, answer = await self.hello()
        assert answer["ok"], answer
        return peer

    def ops(self) -> list[tuple[str, dict[str, Any]]]:
        return [(record.op, record.data) for record in self.recorder.records]


@pytest.fixture
async def mock() -> Any:
    rigs: list[Rig] = []

    async def start(*, scale: float = 0.01, options: dict[str, Any] | None = None, **gateway: Any) -> Rig:
        rig = Rig({"ticks": False, **gateway}, scale, options or {})
        await rig.server.start()
        rigs.append(rig)
        return rig

    yield start
    for rig in rigs:
        for socket in rig.sockets:
            await socket.close()
        await rig.server.stop()


def agent(run_id: str = "run-1", **more: Any) -> dict[str, Any]:
    return {"message": "long task", "idempotencyKey": run_id, "sessionKey": "agent:main:main", **more}


# --------------------------------------------------------------------------- handshake


async def test_hello_is_complete_and_every_path_upgrades(mock: Any) -> None:
    rig = await mock(
        tick_interval_ms=5000, connect=[{"hello": {"policy": {"maxPayload": 7}, "server": {"version": "9"}}}]
    )
    _, answer = await rig.hello(device={"id": "d"})
    hello = answer["payload"]
    assert (hello["type"], hello["protocol"]) == ("hello-ok", 3)
    assert hello["policy"] == {"maxPayload": 7, "maxBufferedBytes": 52_428_800, "tickIntervalMs": 5000}
    assert hello["server"]["version"] == "9"
    assert hello["server"]["connId"]
    assert hello["snapshot"].keys() >= {"presence", "health", "stateVersion", "uptimeMs"}
    assert "agent" in hello["features"]["methods"]
    assert hello["auth"]["deviceToken"]
    assert hello["auth"]["scopes"] == SCOPES


async def test_protocol_4_always_says_role_and_scopes_and_refuses_clients_of_3(mock: Any) -> None:
    rig = await mock(protocol=4)
    _, answer = await rig.hello(lowest=3, highest=4)
    assert answer["payload"]["protocol"] == 4
    assert answer["payload"]["auth"] == {"role": "operator", "scopes": SCOPES}
    peer, refused = await rig.hello()
    assert refused["error"] == {
        "code": "INVALID_REQUEST", "message": "protocol mismatch", "details": {"expectedProtocol": 4},
    }  # fmt: skip
    assert await peer.closed() == (1002, "protocol mismatch")
    peer, refused = await rig.hello(lowest="x")
    assert refused["error"]["message"].startswith("invalid connect params: at root")


@pytest.mark.parametrize(
    ("frame", "closed", "message"),
    [
        ("{", (1000, ""), None),
        ('{"type":"event","event":"x"}', (1008, "invalid request frame"), None),
        ('{"type":"req","id":"1","method":"connect","x":1}', (1008, "invalid request frame"), None),
        (
            '{"type":"req","id":"1","method":"health"}',
            (1008, "invalid handshake: first request must be connect"),
            "invalid handshake: first request must be connect",
        ),
        (
            '{"type":"req","id":"1","method":"connect","params":"' + "x" * 70_000 + '"}',
            (1009, "preauth payload too large"),
            None,
        ),
    ],
)
async def test_a_bad_first_frame_is_closed_with_the_real_code_and_text(
    mock: Any, frame: str, closed: tuple[int, str], message: str | None
) -> None:
    rig = await mock()
    peer = await rig.open()
    await peer.event("connect.challenge")
    await peer.socket.send(frame)
    if message is not None:
        assert (await peer.response())["error"]["message"] == message
    assert await peer.closed() == closed
    assert len(rig.server.verify()) == 1


async def test_each_connection_takes_the_next_connect_step(mock: Any) -> None:
    rejected = {"code": "UNAVAILABLE", "message": "starting", "details": {"reason": "startup-sidecars"}}
    rig = await mock(
        connect=[
            {"reject": rejected | {"retryable": True, "retry_after_ms": 500, "close_code": 1013}},
            {"close": {"code": 4001, "reason": "gateway auth changed"}, "times": 2},
            {"drop": {"after_s": 1}},
            {"after_s": 3, "then": {"events": [{"event": "shutdown", "payload": {"reason": "$now"}}], "close": {}}},
        ]
    )
    peer, answer = await rig.hello()
    assert answer["error"] == rejected | {"retryable": True, "retryAfterMs": 500}
    assert await peer.closed() == (1013, "starting")
    for _ in range(2):
        peer = await rig.open()
        await peer.event("connect.challenge")
        await peer.send("connect", {"minProtocol": 3, "maxProtocol": 3})
        assert await peer.closed() == (4001, "gateway auth changed")
    peer = await rig.open()
    await peer.event("connect.challenge")
    await peer.send("connect")
    assert await peer.closed() == (1006, "")
    assert len(rig.server.verify(strict=True)) == 1
    began = rig.clock.monotonic()
    peer = await rig.peer()
    assert rig.clock.monotonic() - began >= 3  # the lower bound alone says it: hello was held back
    assert await peer.closed() == (1012, "")
    assert isinstance(peer.events[-1]["payload"]["reason"], int)
    assert rig.server.verify(strict=True) == []


@pytest.mark.parametrize("step", [{"no_challenge": True}, {"no_hello": True}])
async def test_a_mute_gateway_reads_and_says_nothing(mock: Any, step: dict[str, Any]) -> None:
    rig = await mock(connect=[step, {}])
    mute = await rig.open()
    if "no_hello" in step:
        await mute.event("connect.challenge")
    await mute.send("connect", {"minProtocol": 3, "maxProtocol": 3, "client": CLIENT})
    await mute.send("health")
    other = await rig.peer()
    assert (await other.call("health"))["ok"]
    assert [entry["ev"] for entry in rig.entries if entry.get("conn") == 1 and entry["ev"] == "in"] == ["in", "in"]
    said = [entry["frame"]["event"] for entry in rig.entries if entry.get("conn") == 1 and entry["ev"] == "out"]
    assert said == ([] if "no_challenge" in step else ["connect.challenge"])


# --------------------------------------------------------------------------- strict auth


def device(
    identity: DeviceIdentity, nonce: str, now_ms: int, *, token: str = "", version: str = "v3"
) -> dict[str, Any]:
    text = signature_payload(
        version, device_id=identity.device_id, client_id="cli", client_mode="cli", role="operator", scopes=SCOPES,
        signed_at_ms=now_ms, token=token, nonce=nonce, platform="linux",
    )  # fmt: skip
    key = identity.public_key_b64url
    return {
        "id": identity.device_id,
        "publicKey": key,
        "signature": identity.sign(text),
        "signedAt": now_ms,
        "nonce": nonce,
    }


async def strict_answer(rig: Rig, change: Any, auth: dict[str, str] | None, version: str = "v3") -> tuple[Peer, Any]:
    peer = await rig.open()
    nonce = (await peer.event("connect.challenge"))["payload"]["nonce"]
    signed = device(
        DeviceIdentity.generate(), nonce, rig.clock.wall_ms(), token=(auth or {}).get("token", ""), version=version
    )
    params: dict[str, Any] = {
        "minProtocol": 3,
        "maxProtocol": 3,
        "client": CLIENT,
        "scopes": SCOPES,
        "role": "operator",
    }
    shown = change(signed)
    params |= {"device": shown} if shown else {}
    return peer, await peer.call("connect", params | ({"auth": auth} if auth else {}))


@pytest.mark.parametrize("version", ["v2", "v3"])
async def test_strict_auth_takes_a_signed_client_and_the_device_token_it_was_given(mock: Any, version: str) -> None:
    rig = await mock(strict_auth=True, token="s3cret")
    _, answer = await strict_answer(rig, dict, {"token": "s3cret"}, version)
    assert answer["ok"]
    token = answer["payload"]["auth"]["deviceToken"]
    _, again = await strict_answer(rig, dict, {"token": token, "deviceToken": token}, version)
    assert again["ok"]
    text = json.dumps(rig.entries)
    assert "s3cret" not in text
    assert token not in text
    assert "[redacted]" in text


@pytest.mark.parametrize(
    ("change", "auth", "message", "code"),
    [
        (dict, None, "unauthorized: gateway token missing", "AUTH_TOKEN_MISSING"),
        (dict, {"token": "wrong"}, "unauthorized: gateway token mismatch", "AUTH_TOKEN_MISMATCH"),
        (lambda d: None, {"token": "t"}, "device identity required", "DEVICE_IDENTITY_REQUIRED"),
        (
            lambda d: d | {"publicKey": "!"},
            {"token": "t"},
            "device public key invalid",
            "DEVICE_AUTH_PUBLIC_KEY_INVALID",
        ),
        (lambda d: d | {"id": "0" * 64}, {"token": "t"}, "device identity mismatch", "DEVICE_AUTH_DEVICE_ID_MISMATCH"),
        (lambda d: d | {"signedAt": 1}, {"token": "t"}, "device signature expired", "DEVICE_AUTH_SIGNATURE_EXPIRED"),
        (lambda d: d | {"nonce": ""}, {"token": "t"}, "device nonce required", "DEVICE_AUTH_NONCE_REQUIRED"),
        (lambda d: d | {"nonce": "n"}, {"token": "t"}, "device nonce mismatch", "DEVICE_AUTH_NONCE_MISMATCH"),
        (
            lambda d: d | {"signature": "AAAA"},
            {"token": "t"},
            "device signature invalid",
            "DEVICE_AUTH_SIGNATURE_INVALID",
        ),
    ],
)
async def test_strict_auth_refuses_in_the_real_gateways_words(
    mock: Any, change: Any, auth: dict[str, str] | None, message: str, code: str
) -> None:
    rig = await mock(strict_auth=True, token="t")
    peer, answer = await strict_answer(rig, change, auth)
    assert not answer["ok"]
    assert answer["error"]["message"].startswith(message)
    assert answer["error"]["details"]["code"] == code
    number, reason = await peer.closed()
    assert number == 1008
    assert answer["error"]["message"].startswith(reason)


# --------------------------------------------------------------------------- agent


async def test_agent_is_accepted_and_then_answered_with_the_same_id(mock: Any) -> None:
    rig = await mock()
    peer = await rig.peer()
    accepted = await peer.call("agent", agent())
    assert accepted["payload"]["status"] == "accepted"
    assert accepted["payload"]["runId"] == "run-1"
    final = await peer.response()
    assert final["id"] == accepted["id"]
    assert (final["payload"]["status"], final["payload"]["summary"]) == ("ok", "completed")
    assert final["payload"]["result"]["payloads"][0]["text"] == "Hello from the mock gateway."
    phases = [e["payload"]["data"].get("phase") for e in peer.events if e["event"] == "agent"]
    assert phases == ["start", None, "end"]
    assert [e["payload"]["seq"] for e in peer.events] == [1, 2, 3]
    assert [op for op, _ in rig.ops()] == ["gateway.accepted", "gateway.final"]
    waited = await peer.call("agent.wait", {"runId": "run-1"})
    assert waited["payload"]["status"] == "ok"
    assert waited["payload"]["endedAt"] >= waited["payload"]["startedAt"]
    history = await peer.call("chat.history", {"sessionKey": "agent:main:main"})
    assert [m["content"][0]["text"] for m in history["payload"]["messages"]] == [
        "long task", "Hello from the mock gateway.",
    ]  # fmt: skip
    again = await peer.call("agent", agent())  # the same key: the stored final, and no second run
    assert again["payload"] == final["payload"]
    assert len(rig.ops()) == 2


async def test_silence_lasts_until_the_run_is_aborted(mock: Any) -> None:
    rig = await mock(methods={"agent": [{"accept": True, "silence": True}]})
    peer = await rig.peer()
    accepted = await peer.call("agent", agent())
    repeated = await peer.call("agent", agent())
    assert repeated["payload"]["status"] == "accepted"
    waited = await peer.call("agent.wait", {"runId": "run-1", "timeoutMs": 500})
    assert waited["payload"] == {"runId": "run-1", "status": "timeout"}
    await peer.send("chat.abort", {"sessionKey": "agent:main:main", "runId": "run-1"})
    final, aborted = await peer.response(), await peer.response()
    assert (final["id"], final["payload"]) == (
        accepted["id"], {"runId": "run-1", "status": "timeout", "summary": "aborted", "stopReason": "rpc"},
    )  # fmt: skip
    assert aborted["payload"] == {"ok": True, "aborted": True, "runIds": ["run-1"]}
    ended = await peer.call("agent.wait", {"runId": "run-1"})
    assert (ended["payload"]["status"], "endedAt" in ended["payload"]) == ("timeout", True)
    nothing = await peer.call("sessions.abort", {"key": "agent:main:main"})
    assert nothing["payload"] == {"ok": True, "abortedRunId": None, "status": "no-active-run"}
    assert [op for op, _ in rig.ops()] == ["gateway.accepted", "gateway.abort", "gateway.final"]


async def test_finals_may_be_late_and_double_and_of_the_scripts_making(mock: Any) -> None:
    rig = await mock(
        methods={
            "agent": [
                {"final": {"after_s": 20, "text": "late", "copies": 2}},
                {"final": {"status": "odd", "summary": "s", "result": {"x": 1}}},
                {
                    "accept": False,
                    "error": {"code": "AGENT_TIMEOUT", "message": "no", "details": {"a": 1}, "retryable": False},
                },
                {
                    "reply": {
                        "payload": {
                            "run": "$runId",
                            "key": "$sessionKey",
                            "other": ["$absent", "$now"],
                            "text": "a $runId",
                        }
                    }
                },
            ]
        }
    )
    peer = await rig.peer()
    began = rig.clock.monotonic()
    await peer.call("agent", agent("a"))
    first, second = await peer.response(), await peer.response()
    assert rig.clock.monotonic() - began >= 20  # not early; that it comes at all is the upper bound
    assert first == second
    assert first["payload"]["result"]["payloads"][0]["text"] == "late"
    await peer.call("agent", agent("b"))
    odd = await peer.response()
    assert odd["payload"] == {"runId": "b", "status": "odd", "summary": "s", "result": {"x": 1}}
    failed = await peer.call("agent", agent("c"))
    assert failed["error"] == {"code": "AGENT_TIMEOUT", "message": "no", "details": {"a": 1}, "retryable": False}
    assert failed["payload"] == {"runId": "c", "status": "error", "summary": "no"}
    waited = await peer.call("agent.wait", {"runId": "c"})
    assert (waited["payload"]["status"], waited["payload"]["error"]) == ("error", "no")
    await peer.call("agent", agent("d"))
    custom = (await peer.response())["payload"]
    assert (custom["run"], custom["key"], custom["text"]) == ("d", "agent:main:main", "a $runId")
    assert custom["other"][0] == "$absent"
    assert isinstance(custom["other"][1], int)
    assert rig.server.verify(strict=True) == []


async def test_a_run_outlives_the_connection_that_started_it(mock: Any) -> None:
    rig = await mock(
        methods={
            "agent": [
                {
                    "close": {"code": 1012, "reason": "service restart", "after_s": 1},
                    "final": {"after_s": 10, "text": "after all"},
                },
                {"drop": {"after_s": 1}},
            ]
        }
    )
    peer = await rig.peer()
    await peer.call("agent", agent())
    assert await peer.closed() == (1012, "service restart")
    peer = await rig.peer()
    waited = await peer.call("agent.wait", {"runId": "run-1", "timeoutMs": 600_000})
    assert waited["payload"]["status"] == "ok"
    assert any(entry["ev"] == "undelivered" for entry in rig.entries)
    await peer.call("agent", agent("run-2"))
    assert await peer.closed() == (1006, "")
    peer = await rig.peer()
    waited = await peer.call("agent.wait", {"runId": "run-2", "timeoutMs": 100})
    assert waited["payload"]["status"] == "timeout"  # dropped, and no answer was scripted


async def test_noise_comes_between_acceptance_and_final(mock: Any) -> None:
    rig = await mock(
        methods={
            "agent": [
                {
                    "malformed": {"text": "{oops"},
                    "seq_gap": {"skip": 3},
                    "events": [{"event": "health", "payload": {"ok": True}}],
                }
            ]
        }
    )
    peer = await rig.peer()
    await peer.call("agent", agent())
    frames = []
    while True:
        text = await peer.socket.recv()
        frames.append(text)
        if '"completed"' in str(text):
            break
    assert "{oops" in frames
    seqs = [json.loads(text)["seq"] for text in frames if '"seq"' in str(text) and '"event"' in str(text)]
    jumps = [later - earlier for earlier, later in itertools.pairwise(seqs)]
    assert sorted(set(jumps)) == [1, 4]


async def test_bad_agent_params_and_frames_are_refused_and_noted(mock: Any) -> None:
    rig = await mock()
    peer = await rig.peer()
    assert "invalid agent params" in (await peer.call("agent", {"message": "x"}))["error"]["message"]
    assert (await peer.call("no.such"))["error"]["message"] == "unknown method: no.such"
    await peer.socket.send("not json")  # logged and ignored
    await peer.socket.send('{"type":"req","id":7}')
    answer = await peer.response()
    assert answer["id"] == "invalid"
    assert answer["error"]["message"].startswith("invalid request frame: ")
    assert len(rig.server.verify()) == 3


# --------------------------------------------------------------------------- other calls, ticks, life


async def test_methods_follow_their_own_steps_or_answer_by_default(mock: Any) -> None:
    rig = await mock(methods={
        "chat.abort": [{"reply": {"payload": {"ok": True, "aborted": False, "runIds": []}}, "times": 2}, {}],
        "custom": [{"error": {"message": "busy", "retryable": True, "retry_after_ms": 9}}, {"silence": True}],
        "status": [{"events": [{"event": "health", "after_s": 1}]}],
    })  # fmt: skip
    peer = await rig.peer()
    key = {"sessionKey": "agent:main:main"}
    assert (await peer.call("custom"))["error"] == {
        "code": "UNAVAILABLE", "message": "busy", "retryable": True, "retryAfterMs": 9,
    }  # fmt: skip
    await peer.send("custom")
    for _ in range(3):
        assert (await peer.call("chat.abort", key))["payload"]["aborted"] is False
    assert (await peer.call("status"))["payload"] == {"version": "2026.4.8"}
    assert peer.events[-1]["event"] == "health"
    assert (await peer.call("sessions.list"))["payload"]["sessions"] == []
    assert (await peer.call("agent.wait", {"runId": "never", "timeoutMs": 10}))["payload"]["status"] == "timeout"
    assert (await peer.call("agent.wait", {"runId": "never", "timeoutMs": None}))["payload"]["status"] == "timeout"
    sent = await peer.call("chat.send", key | {"message": "hi", "idempotencyKey": "k"})
    assert sent["payload"] == {"runId": "k", "status": "started"}
    assert (await peer.event("chat"))["payload"]["state"] == "final"
    assert rig.server.verify(strict=True) == []


async def test_ticks_come_at_their_interval_to_all_and_not_when_switched_off(mock: Any) -> None:
    rig = await mock(ticks=True, tick_interval_ms=2000)
    one, two = await rig.peer(), await rig.peer()
    stamps = []
    for _ in range(4):
        tick = await one.event("tick")
        stamps.append((tick["seq"], tick["payload"]["ts"]))
    assert (await two.event("tick"))["seq"] >= 1
    # Lower bound: ticks are not a burst; the fourth is not due before 8 s. (No upper bound, and none between two of
    # them: a busy machine may delay any, and the next comes at its own instant all the same.)
    began_ms = rig.clock.wall_ms() - (rig.clock.monotonic() - rig.server._began) * 1000
    assert stamps[-1][1] - began_ms >= 2000 * 4 - 5
    quiet = await mock(tick_interval_ms=1)
    peer = await quiet.peer()
    for _ in range(50):  # each round trip is longer than the interval
        assert (await peer.call("health"))["ok"]
    assert peer.events == []


async def test_stopping_drops_the_clients_without_a_close_frame(mock: Any) -> None:
    rig = await mock(methods={"agent": [{"silence": True}]})
    peer = await rig.peer()
    await peer.call("agent", agent())
    await rig.server.stop()
    await rig.server.stop()
    assert await peer.closed() == (1006, "")
    assert rig.entries[-1] | {"t": 0, "wall_ms": 0} == {
        "t": 0, "wall_ms": 0, "ev": "close", "conn": 1, "code": 1006, "reason": "",
    }  # fmt: skip


async def test_a_mock_gateway_binds_loopback_only_and_says_when_its_port_is_taken(mock: Any, tmp_path: Path) -> None:
    script = load_gateway_script({"gateway": {}})
    with pytest.raises(LocalError, match="not a loopback address"):
        await MockGateway(script).start("0.0.0.0")
    path = tmp_path / "journal.jsonl"
    async with MockGateway(script, journal=path) as server:
        assert server.url == f"ws://127.0.0.1:{server.port}"
        with pytest.raises(LocalError, match="is taken"):
            await MockGateway(script).start(port=server.port)
        peer = Peer(await connect(server.url))
        await peer.event("connect.challenge")
        await peer.socket.close()
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [entry["ev"] for entry in entries] == ["open", "out", "close"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_mock_gateway_in_order(tmp_path: Path, number: int) -> None:
    script = tmp_path / "g.yaml"
    script.write_text("gateway: {methods: {agent: [{silence: true}]}}", encoding="utf-8")
    told: list[int] = []

    def ready(pid: int, port: int) -> None:
        told.append(port)
        os.kill(pid, number)

    async with asyncio.timeout(PATIENCE_S):
        await serve(MockGateway(load_gateway_script(script), clock=ScaledClock.start(0.01)), ready=ready)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", told[0])


# --------------------------------------------------------------------------- the script


@pytest.mark.parametrize(
    ("gateway", "key", "expected"),
    [
        ({"protocol": 5}, "gateway.protocol", "3 or 4"),
        ({"token": "t"}, "gateway.token", "strict_auth: true beside it"),
        ({"connect": []}, "gateway.connect", "a list that is not empty"),
        ({"connect": [{"no_hello": True, "drop": {}}]}, "gateway.connect[0].drop", "only one of refuse"),
        (
            {"connect": [{"no_hello": True, "hello": {"a": 1}}]},
            "gateway.connect[0].hello",
            "no such key beside no_hello",
        ),
        (
            {"methods": {"agent": [{"silence": True, "final": {}}]}},
            "gateway.methods.agent[0].final",
            "only one of silence",
        ),
        (
            {"methods": {"agent.wait": [{}, {"final": {}}]}},
            "gateway.methods.agent.wait[1].final",
            "this key under agent only",
        ),
        ({"methods": {"health": [{"accept": True}]}}, "gateway.methods.health[0].accept", "this key under agent only"),
        ({"methods": {"connect": [{}]}}, "gateway.methods.connect", "connect beside methods"),
        (
            {"methods": {"agent": [{"close": {"code": 1006}}]}},
            "gateway.methods.agent[0].close.code",
            "a close code that can",
        ),
        (
            {"methods": {"agent": [{"close": {"reason": "é" * 62}}]}},
            "gateway.methods.agent[0].close.reason",
            "at most 123",
        ),
        (
            {"methods": {"agent": [{"final": {"after_s": -1}}]}},
            "gateway.methods.agent[0].final.after_s",
            "a number >= 0",
        ),
        ({"methods": {"agent": [{"finale": {}}]}}, "gateway.methods.agent[0].finale", "one of: accept, close"),
    ],
)
def test_mistakes_in_a_gateway_script_are_refused_by_key(gateway: dict[str, Any], key: str, expected: str) -> None:
    with pytest.raises(DocumentError) as caught:
        load_gateway_script({"gateway": gateway})
    assert caught.value.key == key
    assert caught.value.expected.startswith(expected)


def test_a_gateway_script_may_stand_in_a_file_or_inside_a_scenario(tmp_path: Path) -> None:
    from lockjaw.documents.yaml import load_document

    path = tmp_path / "g.yaml"
    path.write_text("gateway:\n  protocol: 4\n  methods:\n    agent:\n      - times: 0\n", encoding="utf-8")
    with pytest.raises(DocumentError, match=r"g\.yaml:5:\d+: at gateway\.methods\.agent\[0\]\.times"):
        load_gateway_script(path)
    document = load_document("story: x\ngateway: {protocol: 4}\n", "s.yaml")
    assert load_gateway_script(document, at=("gateway",)).protocol == 4
