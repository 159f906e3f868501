"""What client and server refuse, through the real commands and over real sockets, in the words of the real program."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from lockjaw.gateway.frames import MAX_FRAME_BYTES
from lockjaw.gateway.identity import DeviceIdentity, signature_payload

from .live import PATIENCE_S, TOKEN, Live, Process, fake_models, live

pytestmark = pytest.mark.real

SCOPES = ["operator.admin", "operator.read", "operator.write"]


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Live]:
    async with live(tmp_path) as started, fake_models(started, {"m": [{"text": "hi"}]}):
        yield started


@pytest.fixture
async def gateway(one: Live) -> Process:
    return await one.gateway()


class Wire:
    """A raw client of the gateway's process."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            return json.loads(await self.socket.recv())

    async def request(self, method: str, params: object) -> dict[str, Any]:
        await self.socket.send(json.dumps({"type": "req", "id": "r1", "method": method, "params": params}))
        while (frame := await self.receive()).get("id") != "r1":
            pass
        return frame

    async def closed(self) -> tuple[int, str]:
        with pytest.raises(ConnectionClosed) as caught:
            await self._drain()
        close = caught.value.rcvd
        assert close is not None, "the TCP connection was cut without a close frame"
        return close.code, close.reason

    async def _drain(self) -> None:
        while True:
            await self.receive()


async def dial(gateway: Process) -> Wire:
    url = f"ws://127.0.0.1:{gateway.port}"
    return Wire(await connect(url, max_size=None, compression=None, proxy=None, open_timeout=PATIENCE_S))


def connect_params(challenge: dict[str, Any], *, token: str = TOKEN, age_ms: int = 0, forged: bool = False) -> Any:
    """Connect params of a device, signed ``age_ms`` ago; ``forged``: by another key than the one shown."""
    identity, signer = DeviceIdentity.generate(random.Random(1)), DeviceIdentity.generate(random.Random(2))
    signed_at = challenge["ts"] - age_ms
    payload = signature_payload(
        device_id=identity.device_id, client_id="cli", client_mode="cli", role="operator", scopes=SCOPES,
        signed_at_ms=signed_at, token=token, nonce=challenge["nonce"], platform="linux",
    )  # fmt: skip
    return {
        "minProtocol": 3,
        "maxProtocol": 3,
        "client": {"id": "cli", "mode": "cli", "version": "2026.4.8", "platform": "linux"},
        "role": "operator",
        "scopes": SCOPES,
        "auth": {"token": token},
        "device": {
            "id": identity.device_id,
            "publicKey": identity.public_key_b64url,
            "signature": (signer if forged else identity).sign(payload),
            "signedAt": signed_at,
            "nonce": challenge["nonce"],
        },
    }


async def refused(gateway: Process, **bent: Any) -> tuple[dict[str, Any], tuple[int, str]]:
    """The error of a connect that was bent, and how the gateway closed."""
    wire = await dial(gateway)
    challenge = (await wire.receive())["payload"]
    answer = await wire.request("connect", connect_params(challenge, **bent))
    assert answer["ok"] is False
    return answer["error"], await wire.closed()


# --------------------------------------------------------------------------- the client's command


async def test_a_wrong_token_is_told_to_the_user_and_is_no_reason_to_fall_back(one: Live, gateway: Process) -> None:
    agent = one.agent("--agent", "main", "--token", "not-the-secret", gateway=gateway)

    assert await agent.ended() == 1
    text = agent.stderr()
    assert "unauthorized: gateway token mismatch" in text
    assert "gateway closed (1008)" in text
    assert "not-the-secret" not in text
    assert agent.stdout() == ""
    assert list(one.sessions.glob("*.jsonl")) == []


async def test_a_session_id_with_a_slash_is_refused_before_anything_is_asked(one: Live, gateway: Process) -> None:
    agent = one.agent("--session-id", "../../etc/passwd", gateway=gateway)

    assert await agent.ended() == 2
    assert agent.stderr().strip() == "Error: Invalid session ID: ../../etc/passwd"
    assert gateway.records("gateway.accepted") == []


async def test_a_plaintext_address_of_another_host_is_refused(one: Live) -> None:
    agent = one.agent("--agent", "main", "--url", "ws://203.0.113.1:18789", "--token", TOKEN)

    assert await agent.ended() == 2
    assert 'SECURITY ERROR: Cannot connect to "203.0.113.1" over plaintext ws://' in agent.stderr()


# --------------------------------------------------------------------------- the gateway's process


async def test_the_gateway_lets_a_device_in_whose_signature_is_good(gateway: Process) -> None:
    wire = await dial(gateway)
    challenge = (await wire.receive())["payload"]

    answer = await wire.request("connect", connect_params(challenge))

    assert answer["payload"]["type"] == "hello-ok"
    await wire.socket.close()


async def test_the_gateway_refuses_a_wrong_token(gateway: Process) -> None:
    error, close = await refused(gateway, token="wrong")

    assert error["code"] == "INVALID_REQUEST"
    assert error["message"].startswith("unauthorized: gateway token mismatch (")
    assert error["details"]["code"] == "AUTH_TOKEN_MISMATCH"
    assert close[0] == 1008
    assert close[1].startswith("unauthorized: gateway token mismatch (")


async def test_the_gateway_refuses_a_bad_signature(gateway: Process) -> None:
    error, close = await refused(gateway, forged=True)

    assert (error["code"], error["message"]) == ("INVALID_REQUEST", "device signature invalid")
    assert close == (1008, "device signature invalid")


async def test_the_gateway_refuses_an_expired_signature(gateway: Process) -> None:
    error, close = await refused(gateway, age_ms=11 * 60 * 1000)

    assert (error["code"], error["message"]) == ("INVALID_REQUEST", "device signature expired")
    assert close == (1008, "device signature expired")


async def test_the_gateway_refuses_a_frame_before_connect(gateway: Process) -> None:
    wire = await dial(gateway)
    await wire.receive()

    answer = await wire.request("health", {})

    text = "invalid handshake: first request must be connect"
    assert (answer["error"]["code"], answer["error"]["message"]) == ("INVALID_REQUEST", text)
    assert await wire.closed() == (1008, text)


async def test_the_gateway_refuses_a_frame_over_the_limit(gateway: Process) -> None:
    wire = await dial(gateway)
    challenge = (await wire.receive())["payload"]
    assert (await wire.request("connect", connect_params(challenge)))["ok"]

    await wire.socket.send(json.dumps({"type": "req", "id": "r2", "method": "health", "params": "x" * MAX_FRAME_BYTES}))

    assert (await wire.closed())[0] == 1009
    assert gateway.alive


async def test_the_gateway_refuses_a_session_id_with_a_slash(gateway: Process) -> None:
    wire = await dial(gateway)
    challenge = (await wire.receive())["payload"]
    assert (await wire.request("connect", connect_params(challenge)))["ok"]

    answer = await wire.request("agent", {"message": "hi", "idempotencyKey": "k", "sessionId": "../escape"})

    assert answer["ok"] is False
    assert answer["error"]["code"] == "INVALID_REQUEST"
    assert "Invalid session ID: ../escape" in answer["error"]["message"]
    await wire.socket.close()


async def test_a_second_gateway_on_a_taken_port_ends_with_the_port_and_what_to_do(one: Live, gateway: Process) -> None:
    second = one.spawn("second", "gateway", "run", "--port", str(gateway.port))

    assert await second.ended() == 2
    text = second.stderr()
    assert str(gateway.port) in text
    assert "already" in text or "in use" in text
    assert "Traceback" not in text
    assert gateway.alive
