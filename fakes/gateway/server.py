"""The mock gateway: a WebSocket server that performs a script, for our client and for real OpenClaw clients.

It says what a gateway says (``answers``) when the script (``script``) says so, runs no turn and holds
no lock. Calls that the script does not mention get the answer that a healthy gateway would give. Here are its door and
its handshake; what becomes of calls is ``performance``'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import logging
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State

from lockjaw.clock import Clock, ScaledClock
from lockjaw.errors import LocalError
from lockjaw.history import NullRecorder, Recorder
from lockjaw.seeds import Seeds, uuid4

from ..journal import Journal, Listener, redacted
from ..serving import ScriptedServer, bind
from . import answers as say
from .auth import check_connect
from .connection import PREAUTH_BYTES, Connection, GatewayLimits, socket_class
from .performance import Performance
from .runs import Call
from .script import (
    Close,
    ConnectStep,
    Failure,
    GatewayScript,
    Rejection,
    Restart,
    StepCounter,
)
from .sessions import SessionLocks

_KEPT = 1000
SETTLE_REAL_S = 1.0  # what is closed ends in a few turns of the loop; a machine may be busy


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="req"):
    id: str
    method: str
    params: Any = None


_decode = msgspec.json.Decoder(_Request).decode


class MockGateway(ScriptedServer):
    """Serves one script.

    Args:
        script: see ``load_gateway_script``.
        recorder: gets ``gateway.accepted``, ``gateway.final`` and ``gateway.abort``.
        journal: file for JSON lines, appended: every frame in and out, secrets replaced.
        seed: root of all ids.
        on_entry: sees each journal entry as it is written.
        state_dir: where runs hold the session's lock, for scripts with ``session_lock``.

    Raises:
        LocalError: the script wants a state directory and none is given.
    """

    title = "mock gateway"

    def __init__(
        self,
        script: GatewayScript,
        *,
        clock: Clock | None = None,
        recorder: Recorder | None = None,
        journal: str | Path | None = None,
        seed: int = 0,
        on_entry: Listener | None = None,
        state_dir: str | Path | None = None,
        limits: GatewayLimits | None = None,
    ) -> None:
        self._script, self._limits = script, limits or GatewayLimits()
        self._clock = clock or ScaledClock.start()
        self._recorder = recorder or NullRecorder()
        super().__init__(Journal(journal, self._clock, on_entry))
        self._ids = Seeds(seed).child("mock-gateway").stream("ids")
        self._connects = StepCounter("connect", script.connect)
        self._methods = {name: StepCounter(f"methods.{name}", steps) for name, steps in script.methods.items()}
        locks: SessionLocks | None = None
        if script.session_lock is not None:
            if state_dir is None:
                raise LocalError("the script's runs hold session locks: say in which state directory (--state-dir DIR)")
            locks = SessionLocks(Path(state_dir), script.session_lock, self._clock, self._recorder)
        self._issued: set[str] = set()
        self._sockets = socket_class()
        self._connections: set[Connection] = set()
        self._steps: WeakKeyDictionary[ServerConnection, ConnectStep] = WeakKeyDictionary()  # until they are served
        self._seen: dict[str, int] = {}  # calls by method
        self._closes: list[tuple[int, str]] = []  # that clients sent
        self._numbers = 0
        self._began = self._clock.monotonic()
        self._server: Server | None = None
        self._locks = locks
        self._calls = Performance(
            script, clock=self._clock, recorder=self._recorder, journal=self.journal, connections=self._connections,
            locks=locks, note=self.note, restart=self._restart,
        )  # fmt: skip

    # ------------------------------------------------------------------ life

    async def _listen(self, host: str, port: int) -> int:
        bound = await self._open_door(host, port)
        self._began = self._clock.monotonic()
        if self._script.ticks:
            self._calls.spawn(self._calls.tick())
        return bound

    async def _open_door(self, host: str, port: int) -> int:
        self._server = await serve(
            self._serve,
            host,
            port,
            process_request=self._upgrade,
            create_connection=self._sockets,
            compression=None,
            max_size=2 * PREAUTH_BYTES,  # until hello; see Connection.welcome
            ping_interval=None,
            open_timeout=self._limits.hello_real_s,
            close_timeout=2.0,
            logger=logging.Logger("lockjaw.mock-gateway", logging.CRITICAL + 1),  # the journal has what matters
        )
        bound: int = next(iter(self._server.sockets)).getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Drop every connection (the clients see 1006) and every run. Idempotent."""
        await self._calls.stop()
        await self._hang_up()
        if self._locks is not None:
            await self._locks.release_all()
        self.journal.close()

    async def _hang_up(self) -> None:
        """Listen no more; every connection that is still there is cut."""
        if self._server is not None:
            server, self._server = self._server, None
            server.close()
            for socket in list(self._sockets.there):  # also one whose client has never said a word
                socket.transport.abort()
            await server.wait_closed()

    async def settle(self) -> None:
        """Wait until the closes that clients have sent are counted: a client may go on before our task has run."""
        going = [one.ended.wait() for one in self._connections if one.socket.state is not State.OPEN]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_REAL_S):  # a connection that its script froze does not end
                await asyncio.gather(*going)

    @property
    def url(self) -> str:
        return f"ws://{self.address}"

    def unused(self) -> list[str]:
        return [sentence for counter in (self._connects, *self._methods.values()) for sentence in counter.unused()]

    def unmet(self) -> list[str]:
        expect, problems = self._script.expect, []
        if expect is None:
            return []
        if expect.connections is not None and self._numbers != expect.connections:
            problems.append(f"expect.connections: {self._numbers} connections came, not {expect.connections}")
        for method, wanted in expect.calls.items():
            if (came := self._seen.get(method, 0)) != wanted:
                problems.append(f"expect.calls.{method}: {came} calls came, not {wanted}")
        for index, close in enumerate(expect.closes):
            if not any(code == close.code and close.reason in (None, reason) for code, reason in self._closes):
                wanted_close = f"{close.code} {close.reason or ''}".rstrip()
                came_closes = ", ".join(f"{code} {reason}".rstrip() for code, reason in self._closes) or "none"
                problems.append(
                    f"expect.closes[{index}]: no client closed with {wanted_close}; they sent: {came_closes}"
                )
        return problems + (self.unused() if expect.every_step else [])

    # ------------------------------------------------------------------ one connection

    def _upgrade(self, socket: ServerConnection, request: Request) -> Response | None:
        """Each connection takes the next step, whether a WebSocket comes of it or not."""
        if len(self._connections) >= self._limits.connections:
            self.note(f"{self._limits.connections} connections are open; one more was answered 503")
            return socket.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "too many connections\n")
        step = self._script.connect[self._connects.take()]
        if step.refuse is None:
            self._steps[socket] = step
            return None
        self._numbers += 1
        self.journal.write("refused", conn=self._numbers, status=step.refuse.status)
        return socket.respond(http.HTTPStatus(step.refuse.status), step.refuse.body)

    async def _serve(self, socket: ServerConnection) -> None:
        self._numbers += 1
        step = self._steps.pop(socket)
        connection = Connection(self._numbers, socket, uuid4(self._ids), step, self.journal, self._limits)
        self.journal.write("open", conn=connection.number)
        self._connections.add(connection)
        try:
            await self._shake_hands(connection)
            async for text in socket:
                await self._receive(connection, text)
        except ConnectionClosed:
            pass  # the close is in the journal below, whoever began it
        finally:
            self._connections.discard(connection)
            received = socket.protocol.close_rcvd
            if received is not None and socket.protocol.close_rcvd_then_sent is not False:  # False: it echoes ours
                self._closes.append((received.code, received.reason))
                del self._closes[:-_KEPT]
            self.journal.write("close", conn=connection.number, code=socket.close_code, reason=socket.close_reason)
            connection.ended.set()

    async def _shake_hands(self, connection: Connection) -> None:
        """Up to hello-ok. Returns too when the script withholds it: then calls are read and not answered."""
        step = connection.step
        if not step.no_challenge:
            await self._clock.sleep(step.challenge.after_s)
            challenge = say.laid_over({"nonce": connection.nonce, "ts": self._clock.wall_ms()}, step.challenge.payload)
            await connection.send(say.event("connect.challenge", challenge))
        try:
            async with asyncio.timeout(self._limits.hello_real_s):
                text = await connection.socket.recv()
        except TimeoutError:
            self.note(f"connection {connection.number}: no connect frame in {self._limits.hello_real_s:g} real seconds")
            await connection.close(Close(code=1000))
            return
        request = await self._first_request(connection, text)
        if request is None or step.no_challenge or step.no_hello:
            return
        await self._clock.sleep(step.after_s)
        if step.close is not None:
            await self._clock.sleep(step.close.after_s)
            await connection.close(step.close)
        elif step.drop is not None:
            await self._clock.sleep(step.drop.after_s)
            connection.drop()
        elif (rejection := step.reject or self._unacceptable(connection, request)) is not None:
            await self._reject(connection, request.id, rejection)
        else:
            await connection.send(say.response(request.id, say.laid_over(self._hello(request), step.hello)))
            connection.welcome()
            if step.then is not None:
                call = Call(connection, request.id, "connect", _params(request), self._clock.monotonic())
                self._calls.spawn(self._calls.perform_all(call, step.then))

    async def _first_request(self, connection: Connection, text: str | bytes) -> _Request | None:
        self._saw(connection, text)
        close, answer, request = None, None, None
        if len(text) > PREAUTH_BYTES:
            close = Close(code=1009, reason="preauth payload too large")
        else:
            try:
                request = _decode(text)
            except msgspec.ValidationError:
                close = Close(code=1008, reason="invalid request frame")
            except (msgspec.DecodeError, UnicodeDecodeError):
                close = Close(code=1000)
        if request is not None and request.method != "connect":
            close = Close(code=1008, reason="invalid handshake: first request must be connect")
            answer = say.invalid(request.id, close.reason)
        if close is None:
            return request
        self.note(f"connection {connection.number}: {close.reason or 'unreadable JSON before connect'}")
        if answer is not None:
            await connection.send(answer)
        await connection.socket.close(close.code, close.reason)
        return None

    def _unacceptable(self, connection: Connection, request: _Request) -> Rejection | None:
        params, ours = _params(request), self._script.protocol
        lowest, highest = params.get("minProtocol"), params.get("maxProtocol")
        if not isinstance(lowest, int) or not isinstance(highest, int):
            return Rejection(message="invalid connect params: at root: minProtocol and maxProtocol are required")
        if not lowest <= ours <= highest:
            return Rejection(message="protocol mismatch", details={"expectedProtocol": ours}, close_code=1002)
        if not self._script.strict_auth:
            return None
        return check_connect(
            params,
            token=self._script.token,
            issued=self._issued,
            nonce=connection.nonce,
            now_ms=self._clock.wall_ms(),
        )

    async def _reject(self, connection: Connection, request_id: str, rejection: Rejection) -> None:
        await self._clock.sleep(rejection.after_s)
        await connection.send(say.refusal(request_id, rejection))
        await connection.socket.close(rejection.close_code, _cut(rejection.message))

    def _hello(self, request: _Request) -> dict[str, Any]:
        params = _params(request)
        token = None
        if isinstance(params.get("device"), dict):
            token = uuid4(self._ids)
            self._issued.add(token)
        return say.hello(
            self._script,
            conn_id=uuid4(self._ids),
            uptime_ms=round((self._clock.monotonic() - self._began) * 1000),
            role=str(params.get("role") or "operator"),
            scopes=params.get("scopes") or [],
            device_token=token,
        )

    # ------------------------------------------------------------------ calls

    async def _receive(self, connection: Connection, text: str | bytes) -> None:
        self._saw(connection, text)
        if not connection.ready:
            return  # hello was withheld: a mute gateway
        try:
            request = _decode(text)
        except msgspec.ValidationError as error:
            self.note(f"connection {connection.number}: invalid request frame: {error}")
            await connection.send(say.invalid("invalid", f"invalid request frame: {error}"))
            return
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.note(f"connection {connection.number}: a frame that is not JSON")
            return
        call = Call(connection, request.id, request.method, _params(request), self._clock.monotonic())
        if connection.calls >= self._limits.calls:
            self.note(f"connection {connection.number}: more than {self._limits.calls} unanswered calls")
            await connection.send(say.refusal(request.id, Failure(message="too many unanswered requests")))
            return
        if request.method in self._seen or len(self._seen) < _KEPT:
            self._seen[request.method] = self._seen.get(request.method, 0) + 1
        counter = self._methods.get(request.method)
        if request.method == "agent":
            await self._calls.agent(call, counter)
        elif counter is not None:
            step = self._script.methods[request.method][counter.take()]
            self._calls.spawn_call(connection, self._calls.perform_all(call, step))
        else:
            self._calls.spawn_call(connection, self._calls.answer_by_default(call))

    async def _restart(self, restart: Restart) -> None:
        """The gateway ends in order and comes back on its port; numbers and, unless they are kept, runs begin anew."""
        self._calls.broadcast("shutdown", {"reason": restart.reason, "restartExpectedMs": round(restart.down_s * 1000)})
        self.journal.write("restart", down_s=restart.down_s)
        if not restart.keep_runs:
            self._calls.forget_runs()
        server, host, port = self._server, self.host, self.port
        assert server is not None, "a step is performed while the gateway serves"
        server.close(close_connections=False)
        closes = (connection.close(restart) for connection in list(self._connections))
        await asyncio.gather(*closes, return_exceptions=True)
        await self._hang_up()
        self._calls.count_anew()
        await self._clock.sleep(restart.down_s)
        await bind(lambda: self._open_door(host, port), host, port)
        self._began = self._clock.monotonic()
        self.journal.write("back", port=port)

    # ------------------------------------------------------------------ frames

    def _saw(self, connection: Connection, text: str | bytes) -> None:
        try:
            shown = {"frame": redacted(msgspec.json.decode(text))}
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            shown = {"bytes": len(text)}  # not shown: it might hold a secret where we cannot find it
        self.journal.write("in", conn=connection.number, **shown)


def _params(request: _Request) -> dict[str, Any]:
    return request.params if isinstance(request.params, dict) else {}


def _cut(reason: str) -> str:
    """A close frame holds at most 123 bytes of reason; the real gateway cuts at 120."""
    return reason.encode()[:120].decode(errors="ignore")
