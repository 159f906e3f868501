"""The mock gateway: a WebSocket server that performs a script, for our client and for real OpenClaw clients.

It says what a gateway says (``gateway_answers``) when the script (``gateway_script``) says so, runs no turn and holds
no lock. Calls that the script does not mention get the answer that a healthy gateway would give.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5
from weakref import WeakKeyDictionary

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State

from lockjaw.clock import Clock, ScaledClock
from lockjaw.errors import LocalError, LockjawError, printed
from lockjaw.history import NullRecorder, Recorder
from lockjaw.seeds import Seeds, uuid4
from lockjaw.visible import tell

from ..journal import Journal, Listener, redacted
from ..serving import Ready, ScriptedServer, bind, serve_script
from . import answers as say
from .auth import check_connect
from .connection import PREAUTH_BYTES, Connection, Limits, encode, socket_class
from .runs import Call, Run, Runs
from .script import (
    DEFAULT_TEXT,
    Action,
    Close,
    ConnectStep,
    Drop,
    Effects,
    Event,
    Failure,
    Final,
    GatewayScript,
    Malformed,
    MethodStep,
    Mute,
    Rejection,
    Reply,
    Restart,
    SeqGap,
    StepCounter,
    actions,
    load_gateway_script,
)
from .sessions import SessionLocks

_WAIT_MS = 30_000  # agent.wait without timeoutMs
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
        limits: Limits | None = None,
    ) -> None:
        self._script, self._limits = script, limits or Limits()
        self._clock = clock or ScaledClock.start()
        self._recorder = recorder or NullRecorder()
        super().__init__(Journal(journal, self._clock, on_entry))
        self._ids = Seeds(seed).child("mock-gateway").stream("ids")
        self._connects = StepCounter("connect", script.connect)
        self._methods = {name: StepCounter(f"methods.{name}", steps) for name, steps in script.methods.items()}
        self._runs = Runs()
        self._locks: SessionLocks | None = None
        if script.session_lock is not None:
            if state_dir is None:
                raise LocalError("the script's runs hold session locks: say in which state directory (--state-dir DIR)")
            self._locks = SessionLocks(Path(state_dir), script.session_lock, self._clock, self._recorder)
        self._issued: set[str] = set()
        self._sockets = socket_class()
        self._connections: set[Connection] = set()
        self._steps: WeakKeyDictionary[ServerConnection, ConnectStep] = WeakKeyDictionary()  # until they are served
        self._seen: dict[str, int] = {}  # calls by method
        self._closes: list[tuple[int, str]] = []  # that clients sent
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = self._seq = 0
        self._began = self._clock.monotonic()
        self._server: Server | None = None

    # ------------------------------------------------------------------ life

    async def _listen(self, host: str, port: int) -> int:
        bound = await self._open_door(host, port)
        self._began = self._clock.monotonic()
        if self._script.ticks:
            self._spawn(self._tick())
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
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
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

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def _spawn_call(self, connection: Connection, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        connection.calls += 1

        def over(task: asyncio.Task[None]) -> None:
            connection.calls -= 1

        task = self._spawn(work)
        task.add_done_callback(over)
        return task

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.note(f"defect of the mock gateway: {error!r}")

    async def _tick(self) -> None:
        interval_s = self._script.tick_interval_ms / 1000
        due = self._began
        while True:
            due += interval_s
            await self._clock.sleep(due - self._clock.monotonic())
            self._broadcast("tick", {"ts": self._clock.wall_ms()})

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
                self._spawn(self._perform_all(call, step.then))

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
            await self._agent(call, counter)
        elif counter is not None:
            step = self._script.methods[request.method][counter.take()]
            self._spawn_call(connection, self._perform_all(call, step))
        else:
            self._spawn_call(connection, self._answer_by_default(call))

    async def _agent(self, call: Call, counter: StepCounter | None) -> None:
        run_id, message = call.params.get("idempotencyKey"), call.params.get("message")
        if not isinstance(run_id, str) or not run_id or not isinstance(message, str) or not message:
            text = "invalid agent params: at root: message and idempotencyKey are required"
            await call.connection.send(say.invalid(call.request_id, text))
            return
        known = self._runs.get(run_id)
        accepted = {"runId": run_id, "status": "accepted", "acceptedAt": self._clock.wall_ms()}
        if known is not None:  # the same key again: what is stored is sent, and nothing runs
            stored = {"id": call.request_id, **known.final} if known.final is not None else None
            await call.connection.send(stored or say.response(call.request_id, accepted))
            return
        step = MethodStep() if counter is None else self._script.methods["agent"][counter.take()]
        session_key = call.params.get("sessionKey") or f"agent:{call.params.get('agentId') or 'main'}:main"
        session_id = _session_id(session_key)
        run = Run(call, run_id, session_key, session_id, message, self._clock.wall_ms())
        self._runs.add(run)
        run.task = self._spawn_call(call.connection, self._play(call, step, run))

    async def _play(self, call: Call, step: MethodStep, run: Run) -> None:
        """Accept a run and let happen to it what its step says."""
        if (accept := step.acceptance) is not None:
            await self._clock.sleep(accept.after_s)
            ids = {"run_id": run.run_id, "session_key": run.session_key, "session_id": run.session_id}
            self._recorder.record("gateway.accepted", **ids)
            accepted = {"runId": run.run_id, "status": "accepted", "acceptedAt": self._clock.wall_ms()}
            for _ in range(accept.copies):
                await call.connection.send(say.response(call.request_id, accepted))
            self._agent_event(run, "lifecycle", {"phase": "start", "startedAt": run.started_ms})
        if self._locks is None:
            await self._perform_all(call, step, run)
            return
        try:
            run.session_id = await self._locks.take(run.session_key, run.run_id)
        except (LockjawError, OSError) as error:
            failure = Failure(message=printed(error))
            payload = {"runId": run.run_id, "status": "error", "summary": failure.message}
            await self._end(run, say.refusal(call.request_id, failure, payload), None)
            return
        try:
            await self._perform_all(call, step, run)
            await run.ended.wait()  # a step without an answer holds the lock until somebody stops the run
        finally:
            await self._locks.release(run.run_id)

    async def _answer_by_default(self, call: Call) -> None:
        params, now = call.params, self._clock.wall_ms()
        match call.method:
            case "agent.wait":
                payload = await self._wait_for(params)
            case "chat.abort":
                stopped = await self._abort(params.get("sessionKey"), params.get("runId"))
                payload = {"ok": True, "aborted": bool(stopped), "runIds": stopped}
            case "sessions.abort":
                stopped = await self._abort(params.get("key"), params.get("runId"))
                status = "aborted" if stopped else "no-active-run"
                payload = {"ok": True, "abortedRunId": stopped[0] if stopped else None, "status": status}
            case "chat.send":
                payload = {"runId": params.get("idempotencyKey"), "status": "started"}
            case "chat.history":
                payload = self._history(params.get("sessionKey"))
            case "sessions.list":
                payload = {"ts": now, "count": 0, "sessions": []}
            case "health":
                payload = {"ok": True, "ts": now}
            case "status":
                payload = {"version": self._script.version}
            case _:
                self.note(f"connection {call.connection.number}: unknown method: {call.method[:100]}")
                await call.connection.send(say.invalid(call.request_id, f"unknown method: {call.method}"))
                return
        await call.connection.send(say.response(call.request_id, payload))
        if call.method == "chat.send":
            done = {"runId": params.get("idempotencyKey"), "sessionKey": params.get("sessionKey"), "seq": 1}
            message = say.message("assistant", DEFAULT_TEXT, now)
            self._broadcast("chat", {**done, "state": "final", "message": message})

    async def _wait_for(self, params: dict[str, Any]) -> dict[str, Any]:
        limit_ms = params.get("timeoutMs")
        if not isinstance(limit_ms, (int, float)):
            limit_ms = _WAIT_MS
        run = self._runs.get(params.get("runId"))
        if run is None:
            await self._clock.sleep(limit_ms / 1000)
            return {"runId": params.get("runId"), "status": "timeout"}
        try:
            async with asyncio.timeout(self._clock.real_s(limit_ms / 1000)):
                await run.ended.wait()
        except TimeoutError:
            pass  # "not yet" is an answer, not an error
        return run.waited()

    async def _abort(self, session_key: object, run_id: object) -> list[str]:
        stopped = self._runs.active(session_key, run_id)
        for run in stopped:
            self._recorder.record("gateway.abort", run_id=run.run_id, origin="rpc")
            if run.task is not None:
                run.task.cancel()
            payload = {"runId": run.run_id, "status": "timeout", "summary": "aborted", "stopReason": "rpc"}
            await self._end(run, say.response(run.call.request_id, payload), None)
        return [run.run_id for run in stopped]

    def _history(self, session_key: object) -> dict[str, Any]:
        messages = []
        for run in self._runs.of_session(session_key):
            messages.append(say.message("user", run.message, run.started_ms))
            if run.text is not None:
                messages.append(say.message("assistant", run.text, run.ended_ms))
        return {"sessionKey": session_key, "sessionId": _session_id(str(session_key)), "messages": messages}

    # ------------------------------------------------------------------ performing

    async def _perform_all(self, call: Call, step: MethodStep | Effects, run: Run | None = None) -> None:
        """Every action of a step at its instant. What happens to a run does not depend on its connection."""
        todo: list[Action] = actions(step)
        default = isinstance(step, MethodStep) and step.answers_by_default
        if default and run is not None:
            todo.append(Final(after_s=max((action.after_s for action in todo), default=0.0)))
        for action in todo:
            await self._clock.sleep(call.began + action.after_s - self._clock.monotonic())
            if isinstance(action, Restart):  # by a task of its own: it ends the runs, and this is one
                self._spawn(self._restart(action))
            else:
                await self._perform(call, action, run)
        if default and run is None:
            await self._answer_by_default(call)

    async def _perform(self, call: Call, action: Action, run: Run | None) -> None:
        connection = call.connection
        match action:
            case Event(event=name, payload=payload):
                self._broadcast(name, self._fill(call, payload))
            case SeqGap(skip=skip):
                self._seq += skip
                self._broadcast("tick", {"ts": self._clock.wall_ms()})
            case Malformed(form=form, data=data):
                await self._send_malformed(call, form, data)
            case Mute(for_s=for_s):
                connection.muted = True
                self.journal.write("mute", conn=connection.number)
                if for_s is not None:
                    self._spawn(self._unmute(connection, for_s))
            case Reply(payload=payload):
                await self._answer(call, run, say.response(call.request_id, self._fill(call, payload)))
            case Failure(message=message):
                payload = None if run is None else {"runId": run.run_id, "status": "error", "summary": message}
                await self._answer(call, run, say.refusal(call.request_id, action, payload))
            case Final():
                assert run is not None, "checked when the script was read: final stands under agent only"
                took_ms = round((self._clock.monotonic() - call.began) * 1000)
                payload = say.final_payload(run.run_id, action, session_id=run.session_id, duration_ms=took_ms)
                frame = say.response(action.request_id or call.request_id, payload)
                await self._end(run, frame, action.text, copies=action.copies)
            case Close():
                await connection.close(action)
            case Drop():
                connection.drop()

    async def _answer(self, call: Call, run: Run | None, frame: dict[str, Any]) -> None:
        if run is None:
            await call.connection.send(frame)
        else:
            await self._end(run, frame, None)

    async def _end(self, run: Run, frame: dict[str, Any], text: str | None, *, copies: int = 1) -> None:
        """End a run: remember it first, then say it. A run ends once."""
        ended_ms = self._clock.wall_ms()
        if not run.end(frame, ended_ms, text):
            return
        payload = frame.get("payload")
        status = payload.get("status") if isinstance(payload, dict) else None
        self._recorder.record("gateway.final", run_id=run.run_id, status=status or "ok")
        if text is not None:
            self._agent_event(run, "assistant", {"text": text, "delta": text})
        if "error" in frame:
            self._agent_event(
                run, "lifecycle", {"phase": "error", "error": frame["error"]["message"], "endedAt": ended_ms}
            )
        else:
            self._agent_event(run, "lifecycle", {"phase": "end", "endedAt": ended_ms})
        for _ in range(copies):
            await run.call.connection.send(frame)

    def _fill(self, call: Call, payload: Any) -> Any:
        run_id = call.params.get("runId", call.params.get("idempotencyKey"))
        known = {"runId": run_id, "requestId": call.request_id, "now": self._clock.wall_ms()}
        return say.filled(payload, {**call.params, **known})

    async def _send_malformed(self, call: Call, form: str, data: bytes) -> None:
        connection = call.connection
        if form == "raw":
            await connection.write_raw(data)
        elif form == "binary":
            await connection.send_text(data, {"raw_bytes": len(data)})
        else:
            await connection.send_invalid_text(data)

    async def _unmute(self, connection: Connection, for_s: float) -> None:
        await self._clock.sleep(for_s)
        await connection.unmute()

    async def _restart(self, restart: Restart) -> None:
        """The gateway ends in order and comes back on its port; numbers and, unless they are kept, runs begin anew."""
        self._broadcast("shutdown", {"reason": restart.reason, "restartExpectedMs": round(restart.down_s * 1000)})
        self.journal.write("restart", down_s=restart.down_s)
        if not restart.keep_runs:
            for run in self._runs.clear():
                if run.task is not None:
                    run.task.cancel()
        server, host, port = self._server, self.host, self.port
        assert server is not None, "a step is performed while the gateway serves"
        server.close(close_connections=False)
        closes = (connection.close(restart) for connection in list(self._connections))
        await asyncio.gather(*closes, return_exceptions=True)
        await self._hang_up()
        self._seq = 0
        await self._clock.sleep(restart.down_s)
        await bind(lambda: self._open_door(host, port), host, port)
        self._began = self._clock.monotonic()
        self.journal.write("back", port=port)

    # ------------------------------------------------------------------ frames

    def _agent_event(self, run: Run, stream: str, data: dict[str, Any]) -> None:
        run.seq += 1
        payload = {"runId": run.run_id, "seq": run.seq, "stream": stream, "ts": self._clock.wall_ms(), "data": data}
        self._broadcast("agent", payload | {"sessionKey": run.session_key})

    def _broadcast(self, name: str, payload: Any) -> None:
        """Tell everyone, and wait for nobody: a client that does not read must not hold up the others."""
        listeners = [connection for connection in self._connections if connection.ready]
        if not listeners:
            return  # as on the real gateway, sequence numbers count only while somebody is connected
        self._seq += 1
        frame = say.event(name, payload, self._seq)
        text, shown = encode(frame).decode(), {"frame": redacted(frame)}
        for connection in listeners:
            connection.offer(text, shown)

    def _saw(self, connection: Connection, text: str | bytes) -> None:
        try:
            shown = {"frame": redacted(msgspec.json.decode(text))}
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            shown = {"bytes": len(text)}  # not shown: it might hold a secret where we cannot find it
        self.journal.write("in", conn=connection.number, **shown)


def _params(request: _Request) -> dict[str, Any]:
    return request.params if isinstance(request.params, dict) else {}


def _session_id(session_key: str) -> str:
    """The same session for the same key, whatever else happened."""
    return str(uuid5(NAMESPACE_URL, session_key))


def _cut(reason: str) -> str:
    """A close frame holds at most 123 bytes of reason; the real gateway cuts at 120."""
    return reason.encode()[:120].decode(errors="ignore")


async def serve_gateway(
    script: str | Path | GatewayScript,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    journal: str | Path | None = None,
    ready: Ready | None = None,
    clock: Clock | None = None,
    recorder: Recorder | None = None,
    seed: int = 0,
    allow_remote: bool = False,
    state_dir: str | Path | None = None,
    say_problem: Callable[[str], None] = tell,
) -> list[str]:
    """Serve a script (or the file of one) as ``serve_script`` does. Raises DocumentError: the script is malformed."""

    loaded = script if isinstance(script, GatewayScript) else load_gateway_script(script)
    server = MockGateway(loaded, clock=clock, recorder=recorder, journal=journal, seed=seed, state_dir=state_dir)
    return await serve_script(server, host, port, allow_remote=allow_remote, ready=ready, say_problem=say_problem)
