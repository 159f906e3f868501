"""A gateway server with a turn that the test controls, and raw clients that speak frames by hand."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.errors import InvalidSessionId, RunAborted
from lockjaw.gateway.identity import DeviceIdentity, signature_payload
from lockjaw.gateway.server import GatewayServer, TurnRequest
from lockjaw.history import MemoryRecorder
from lockjaw.settings import AgentSettings, GatewaySettings, ModelRef, Pacing, Settings

TOKEN = "a-token-that-must-not-show"
CLI_SCOPES = ["operator.admin", "operator.read", "operator.write", "operator.approvals", "operator.pairing"]
PATIENCE_S = 20.0  # real; only a broken server ever uses it up


def connect_params(
    identity: DeviceIdentity | None,
    challenge: dict[str, Any],
    *,
    token: str | None = TOKEN,
    auth: dict[str, Any] | None = None,
    role: str = "operator",
    scopes: list[str] | None = None,
    protocol: tuple[int, int] = (3, 3),
    signed_at: int | None = None,
    nonce: str | None = None,
    signature_version: str = "v3",
    platform: str = "linux",
    client: dict[str, Any] | None = None,
    device: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Connect params signed for a challenge. Keyword arguments bend them; ``device`` bends after signing."""
    scopes = CLI_SCOPES if scopes is None else scopes
    auth = ({"token": token} if token else {}) if auth is None else auth
    info = {"id": "cli", "mode": "cli", "version": "2026.4.8", "platform": platform, **(client or {})}
    params: dict[str, Any] = {"minProtocol": protocol[0], "maxProtocol": protocol[1], "client": info, "role": role}
    params |= {"scopes": scopes, **more}
    if auth:
        params["auth"] = auth
    if identity is not None:
        signed_at = challenge["ts"] if signed_at is None else signed_at
        nonce = challenge["nonce"] if nonce is None else nonce
        payload = signature_payload(
            signature_version,
            device_id=identity.device_id,
            client_id=info["id"],
            client_mode=info["mode"],
            role=role,
            scopes=scopes,
            signed_at_ms=signed_at,
            token=auth.get("token", auth.get("deviceToken", auth.get("bootstrapToken"))),
            nonce=nonce,
            platform=platform,
            device_family=info.get("deviceFamily"),
        )
        params["device"] = {
            "id": identity.device_id,
            "publicKey": identity.public_key_b64url,
            "signature": identity.sign(payload),
            "signedAt": signed_at,
            "nonce": nonce,
            **(device or {}),
        }
    return params


class RigClock:
    """Ordinary time until the test speeds it up, so that opening a connection never races a scaled timer."""

    def __init__(self) -> None:
        self._scale, self._nominal, self._real = 1.0, 0.0, time.monotonic()
        self._changed = asyncio.Event()

    def run_at(self, scale: float) -> None:
        """From now on a nominal second takes ``scale`` real ones; sleepers notice, time limits already set do not."""
        self._nominal, self._real, self._scale = self.monotonic(), time.monotonic(), scale
        self._changed.set()
        self._changed = asyncio.Event()

    def monotonic(self) -> float:
        return self._nominal + (time.monotonic() - self._real) / self._scale

    def wall_ms(self) -> int:
        return 1_800_000_000_000 + int(self.monotonic() * 1000)

    def real_s(self, nominal_s: float) -> float:
        return nominal_s * self._scale

    async def sleep(self, nominal_s: float) -> None:
        until = self.monotonic() + nominal_s
        while (left := until - self.monotonic()) > 0:
            try:
                async with asyncio.timeout(left * self._scale):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def sleep_blocking(self, nominal_s: float) -> None:
        raise AssertionError("a server never blocks")


class Step:
    """One call of the turn, held until the test says how it ends."""

    def __init__(self, request: TurnRequest, abort: asyncio.Event, emit: Callable[[str, dict], None]) -> None:
        self.request, self.abort, self.emit = request, abort, emit
        self.outcome: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.cancelled = False

    def answer(self, text: str = "hello", **meta: Any) -> None:
        self.outcome.set_result({"payloads": [{"text": text, "mediaUrl": None}], "meta": {"durationMs": 1, **meta}})

    def fail(self, error: Exception) -> None:
        self.outcome.set_exception(error)


class FakeTurn:
    """A TurnRunner: each call becomes a Step. ``ignores_abort`` makes it deaf."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.ignores_abort = False
        self._arrived: asyncio.Queue[Step] = asyncio.Queue()

    async def __call__(self, request: TurnRequest, abort: asyncio.Event, emit: Any) -> dict[str, Any]:
        step = Step(request, abort, emit)
        self.steps.append(step)
        self._arrived.put_nowait(step)
        aborted = asyncio.create_task(abort.wait())
        try:
            waited = {step.outcome} if self.ignores_abort else {step.outcome, aborted}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if not step.outcome.done():
                raise RunAborted(request.run_id)
            return step.outcome.result()
        except asyncio.CancelledError:
            step.cancelled = True
            raise
        finally:
            aborted.cancel()
            await asyncio.gather(aborted, return_exceptions=True)

    async def next(self) -> Step:
        async with asyncio.timeout(PATIENCE_S):
            return await self._arrived.get()


class FakeSessions:
    """A SessionDirectory in memory. ``gate`` (an Event) holds ``resolve`` back."""

    def __init__(self) -> None:
        self.ids: dict[str, str] = {}
        self.messages: dict[str, list[dict[str, Any]]] = {}
        self.asked: list[tuple[str, str | None, str | None]] = []
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None

    async def resolve(self, agent_id: str, session_key: str | None, session_id: str | None) -> tuple[str, str]:
        self.asked.append((agent_id, session_key, session_id))
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        if session_id is not None and "/" in session_id:
            raise InvalidSessionId(session_id)
        key = session_key or f"agent:{agent_id}:explicit:{session_id or 'none'}"
        return key, self.ids.setdefault(key, session_id or f"session-{len(self.ids) + 1}")

    async def list(self) -> list[dict[str, Any]]:
        return [{"key": key, "sessionId": value, "updatedAt": 1000} for key, value in self.ids.items()]

    async def history(self, session_key: str, limit: int) -> tuple[str | None, list[dict[str, Any]]]:
        return self.ids.get(session_key), self.messages.get(session_key, [])[-limit:]


class Wire:
    """A raw client: sends frames, sorts what comes into responses and events."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []
        self.challenge: dict[str, Any] = {}
        self._responses: list[dict[str, Any]] = []
        self._ids = 0

    async def start(self) -> Wire:
        self.challenge = (await self.event("connect.challenge"))["payload"]
        return self

    async def send(self, frame: object) -> None:
        await self.socket.send(frame if isinstance(frame, (str, bytes)) else json.dumps(frame))

    async def request(self, method: str, params: object = None) -> str:
        self._ids += 1
        request_id = f"r{self._ids}"
        frame = {"type": "req", "id": request_id, "method": method}
        await self.send(frame if params is None else {**frame, "params": params})
        return request_id

    async def call(self, method: str, params: object = None) -> dict[str, Any]:
        """One request and its first response."""
        return await self.response(await self.request(method, params))

    async def connect(self, identity: DeviceIdentity | None, **bent: Any) -> dict[str, Any]:
        return await self.call("connect", connect_params(identity, self.challenge, **bent))

    async def response(self, request_id: str) -> dict[str, Any]:
        return await self._take(self._responses, lambda frame: frame["id"] == request_id)

    async def event(self, name: str, **payload: Any) -> dict[str, Any]:
        """The next event of this name whose payload has these values."""

        def wanted(frame: dict[str, Any]) -> bool:
            return frame["event"] == name and payload.items() <= frame["payload"].items()

        return await self._take(self.events, wanted)

    async def closed(self) -> tuple[int, str]:
        """Read until the server closes; its code and reason."""
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(ConnectionClosed) as caught:
                await self._read_all()
        close = caught.value.rcvd
        assert close is not None, "the TCP connection was cut without a close frame"
        return close.code, close.reason

    async def _take(self, kept: list[dict[str, Any]], wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for frame in kept:
                    if wanted(frame):
                        kept.remove(frame)
                        return frame
                self._sort(await self.socket.recv())

    async def _read_all(self) -> None:
        while True:
            self._sort(await self.socket.recv())

    def _sort(self, text: str | bytes) -> None:
        frame = json.loads(text)
        (self.events if frame["type"] == "event" else self._responses).append(frame)


class Rig:
    """One gateway and everything around it. ``server`` is started by the ``rig`` fixture on a free port."""

    def __init__(self, state_dir: Path, policy: str, **options: Any) -> None:
        pacing = options.pop("pacing", Pacing())
        gateway = options.pop("gateway", GatewaySettings(auth_mode="token", token=TOKEN))
        agent = options.pop("agent", AgentSettings(primary=ModelRef("p", "m"), max_concurrent=2))
        self.settings = Settings(state_dir, state_dir / "openclaw.json", gateway=gateway, agent=agent, pacing=pacing)
        self.clock = RigClock()
        self.recorder = MemoryRecorder(self.clock, "gateway")
        self.turn, self.sessions, self.lines = FakeTurn(), FakeSessions(), list[str]()
        self.identity = DeviceIdentity.generate(random.Random(7))
        self.server = GatewayServer(
            self.settings,
            self.turn,
            sessions=self.sessions,
            behaviour=BEHAVIOURS[policy],
            clock=self.clock,
            recorder=self.recorder,
            ids=random.Random(1),
            log=self.lines.append,
            **options,
        )
        self.port = 0
        self._sockets: list[ClientConnection] = []

    async def open(self, **headers: str) -> Wire:
        """A socket that got its challenge."""
        socket = await connect(
            f"ws://127.0.0.1:{self.port}",
            max_size=2**26,
            compression=None,
            ping_interval=None,
            open_timeout=PATIENCE_S,
            close_timeout=PATIENCE_S,
            proxy=None,
            additional_headers=headers or None,
        )
        self._sockets.append(socket)
        return await Wire(socket).start()

    async def client(self, identity: DeviceIdentity | None = None, **bent: Any) -> Wire:
        """A connection that said hello."""
        wire = await self.open()
        hello = await wire.connect(identity or self.identity, **bent)
        assert hello["ok"], hello
        return wire

    def agent(self, key: str = "run-1", message: str = "do it", **more: Any) -> dict[str, Any]:
        return {"message": message, "idempotencyKey": key, "agentId": "main", **more}

    def ops(self, op: str) -> list[dict[str, Any]]:
        return [record.data for record in self.recorder.records if record.op == op]

    async def close(self) -> None:
        await self.server.stop(drain_s=0.0)
        # What closing a client raises is no news: some of them were cut in the middle of a frame on purpose.
        await asyncio.gather(*(socket.close() for socket in self._sockets), return_exceptions=True)


@pytest.fixture
def rig(tmp_path: Path) -> Any:
    """``async with rig(policy) as r``: a started gateway; afterwards no task of it is left."""

    @asynccontextmanager
    async def started(policy: str = "takeover", **options: Any) -> AsyncIterator[Rig]:
        before = asyncio.all_tasks()
        one = Rig(tmp_path / "state", policy, **options)
        one.port = await one.server.start(port=0)
        try:
            yield one
        finally:
            await one.close()
        left = asyncio.all_tasks() - before
        assert not left, f"tasks left behind: {left}"
        assert not [line for line in one.lines if TOKEN in line]

    return started


@pytest.fixture
def signed() -> Callable[..., dict[str, Any]]:
    """``signed(identity, challenge, **bent)``: connect params for tests without a socket."""
    return connect_params


@pytest.fixture
def other_device() -> DeviceIdentity:
    return DeviceIdentity.generate(random.Random(8))


@pytest.fixture
def with_settings() -> Callable[..., Settings]:
    return replace
