"""The fake model server: performs a script on sockets and writes down what it saw.

Everything that decides *what* happens is elsewhere and pure (``model_script``, ``openai_chat``, ``reply_plan``);
here are the sockets, the routes, the journal and the records. Runs alone (``serve_model``) or inside a test
(``ModelServer``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from lockjaw.clock import Clock, ScaledClock
from lockjaw.fakes.http_connection import BadRequest, Budget, ClientGone, HttpConnection, HttpRequest, Limits
from lockjaw.fakes.journal import Journal, Listener
from lockjaw.fakes.model_script import ModelScript, ScriptProgress, Step, load_model_script
from lockjaw.fakes.openai_chat import (
    ApiError,
    ChatRequest,
    RequestRefused,
    models_reply,
    parse_request,
    unknown_model,
    unknown_url,
)
from lockjaw.fakes.reply_plan import EPOCH, Action, Break, Chunk, Open, Silence, Whole, error_reply, json_reply, plan
from lockjaw.fakes.serving import Ready, bind, require_loopback, serve_until_signal
from lockjaw.history import NullRecorder, Recorder
from lockjaw.seeds import Seeds

_BACKLOG = 1024
_KEPT_PROBLEMS = 1000


@dataclass
class _Exchange:
    """One request that a step of the script answers."""

    request_id: str
    request: ChatRequest
    step: Step
    began: float
    sent: int = 0  # tokens that went out whole
    ended: bool = False


class ModelServer:
    """Serves one script.

    Args:
        script: what each model does; see ``load_model_script``. Or where one stands, for several servers of one script.
        clock: nominal time; default: the machine's.
        recorder: gets ``provider.request`` invoke / ok / fail.
        journal: file for JSON lines, appended.
        seed: root of all ids; equal seeds and an equal order of requests per model give equal bytes.
        on_entry: sees each journal entry as it is written.
        on_body: sees the body of each POST, as it came. A test may look at it; a journal must not (secrets).
    """

    def __init__(
        self,
        script: ModelScript | ScriptProgress,
        *,
        clock: Clock | None = None,
        recorder: Recorder | None = None,
        journal: str | Path | None = None,
        seed: int = 0,
        limits: Limits | None = None,
        on_entry: Listener | None = None,
        on_body: Callable[[bytes], None] | None = None,
    ) -> None:
        self._clock = clock or ScaledClock.start()
        self._recorder = recorder or NullRecorder()
        self._journal = Journal(journal, self._clock, on_entry)
        self._seeds = Seeds(seed).child("model-server")
        self._limits = limits or Limits()
        self._budget = Budget(self._limits.buffered_bytes)
        self._progress = script if isinstance(script, ScriptProgress) else ScriptProgress(script)
        self._on_body = on_body
        self._requests = 0
        self._problems: list[str] = []
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.host, self.port = "", 0

    # ------------------------------------------------------------------ life

    async def start(self, host: str = "127.0.0.1", port: int = 0, *, allow_remote: bool = False) -> int:
        """Listen; returns the bound port.

        Raises:
            LocalError: the port is taken, or the address is not loopback and ``allow_remote`` is not set.
        """
        require_loopback(host, allow_remote=allow_remote)
        self._server = await bind(lambda: asyncio.start_server(self._accept, host, port, backlog=_BACKLOG), host, port)
        self.host, self.port = host, self._server.sockets[0].getsockname()[1]
        return self.port

    async def stop(self) -> None:
        """Stop listening and drop every connection; unfinished replies are journaled as errors. Idempotent."""
        if self._server is not None:
            self._server.close()
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None
        self._journal.close()

    async def __aenter__(self) -> ModelServer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def base_url(self) -> str:
        """What OpenAI clients take as their base address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/v1"

    def verify(self, *, strict: bool = False) -> list[str]:
        """What did not go by the script, one sentence each; empty: all is well.

        Args:
            strict: also list the steps that were used less often than the script says.
        """
        return [*self._problems, *(self._progress.unused() if strict else ())]

    # ------------------------------------------------------------------ connections

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = HttpConnection(reader, writer, self._clock, self._limits, self._budget)
        task = asyncio.create_task(self._serve(connection), name="connection")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, connection: HttpConnection) -> None:
        connection.start()
        try:
            while True:
                try:
                    request = await connection.next_request()
                except BadRequest as bad:
                    self._note("", f"not served: {bad.message}", status=bad.status)
                    refusal = error_reply(ApiError(bad.status, bad.message, "invalid_request_error"))
                    await connection.refuse(refusal.status, refusal.headers, refusal.body)
                    return
                if request is None or not await self._answer(connection, request):
                    return
        except ClientGone:
            return  # between two requests, or while reading a refusal: nobody is left to tell
        finally:
            # Cancelled (the server stops): close() would wait for a client that may not read; drop it instead.
            if (task := asyncio.current_task()) is not None and task.cancelling():
                connection.abort()
            else:
                await connection.close()

    async def _answer(self, connection: HttpConnection, request: HttpRequest) -> bool:
        """Route one request. False: the connection is over."""
        began = self._clock.monotonic()
        self._requests += 1
        request_id = f"req-{self._requests}"
        path = request.path.rstrip("/")
        if request.method == "POST" and path.endswith("/chat/completions"):
            if self._on_body is not None:
                self._on_body(request.body)
            try:
                chat = parse_request(request.body)
            except RequestRefused as refused:
                self._note(request_id, refused.error.message, status=400, model=refused.model)
                return await self._perform(connection, request_id, (error_reply(refused.error),))
            return await self._complete(connection, request_id, chat, began)
        if request.method == "GET" and path.endswith("/models"):
            body = models_reply(sorted(self._progress.script.models), EPOCH)
            return await self._perform(connection, request_id, (json_reply(body),))
        text = f"unexpected request: {request.method} {request.path[:200]}"
        self._note(request_id, text, status=404, unexpected=True)
        error = unknown_url(request.method, request.path[:200])
        return await self._perform(connection, request_id, (error_reply(error),))

    async def _complete(self, connection: HttpConnection, request_id: str, chat: ChatRequest, began: float) -> bool:
        seen = {"model": chat.model, "stream": chat.stream, "nmsgs": chat.messages, "keys": chat.keys}
        self._journal.write("req", request_id=request_id, **seen)
        self._recorder.record(
            "provider.request", "invoke", request_id=request_id, model=chat.model, messages=chat.messages
        )
        try:
            step, number = self._progress.take(chat.model)
        except KeyError:
            known = ", ".join(sorted(self._progress.script.models))
            text = f"unexpected request: model {chat.model!r} is not in the script (it has: {known})"
            self._note(request_id, text, status=404, model=chat.model, unexpected=True)
            self._recorder.record("provider.request", "ok", request_id=request_id, sent=0, status=404)
            return await self._perform(connection, request_id, (error_reply(unknown_model(chat.model)),))
        actions = plan(step, chat, number, self._seeds.stream(f"{chat.model}/{number}"))
        exchange = _Exchange(request_id, chat, step, began)
        try:
            return await self._perform(connection, request_id, actions, exchange)
        except ClientGone:
            self._finish(exchange, "client-gone")
            return False
        except asyncio.CancelledError:
            self._finish(exchange, "error", error="the server was stopped")
            raise

    # ------------------------------------------------------------------ performing

    async def _perform(
        self,
        connection: HttpConnection,
        request_id: str,
        actions: Iterable[Action],
        exchange: _Exchange | None = None,
    ) -> bool:
        """Do what the plan says, when it says. True: the connection may carry another request.

        What ends an exchange is written down *before* the last byte leaves, so that whoever has read the reply
        finds it in the journal.

        Raises:
            ClientGone: unless the step ignores it; then the plan goes on with nobody listening.
        """
        began = exchange.began if exchange is not None else self._clock.monotonic()
        stays = exchange is not None and exchange.step.ignore_disconnect
        identity = ("x-request-id", request_id)
        for action in actions:
            if stays:
                await self._wait_regardless(began, action)
            else:
                await connection.wait_until(began + action.at_s)
            try:
                match action:
                    case Open(headers=headers):
                        await connection.open((*headers, identity))
                    case Chunk(data=data, tokens=tokens, last=last):
                        self._advance(exchange, tokens, last)
                        await connection.send(data, last=last)
                    case Whole(status=status, headers=headers, body=body, tokens=tokens):
                        self._advance(exchange, tokens, True, status)
                        await connection.respond(status, (*headers, identity), body)
                    case Break():
                        await self._break(connection, action, exchange, identity)
                        return False
                    case Silence():
                        await connection.wait_until(float("inf"))
            except ClientGone:
                if not stays:
                    raise
                if isinstance(action, Silence):
                    await asyncio.Event().wait()  # it ignores that the client left: only stop() ends this
        return not connection.gone

    async def _wait_regardless(self, began: float, action: Action) -> None:
        while (remaining := began + action.at_s - self._clock.monotonic()) > 0:
            await self._clock.sleep(remaining)

    async def _break(
        self, connection: HttpConnection, action: Break, exchange: _Exchange | None, identity: tuple[str, str]
    ) -> None:
        if exchange is not None:
            self._finish(exchange, "done", disconnect=action.how)
        match action.half:
            case Chunk(data=data):
                await connection.send_half(data)
            case Whole(status=status, headers=headers, body=body):
                await connection.respond_half(status, (*headers, identity), body)
        if action.how == "rst":
            connection.reset()

    def _advance(self, exchange: _Exchange | None, tokens: int, last: bool, status: int = 200) -> None:
        if exchange is not None:
            exchange.sent = tokens
            if last:
                self._finish(exchange, "done", **({} if status == 200 else {"status": status}))

    # ------------------------------------------------------------------ writing down

    def _finish(self, exchange: _Exchange, ev: str, **more: object) -> None:
        """Write the end of an exchange. Only its first end counts: a client that leaves while the last bytes are
        on their way is not news."""
        if exchange.ended:
            return
        exchange.ended = True
        request_id, model, sent = exchange.request_id, exchange.request.model, exchange.sent
        after_s = round(self._clock.monotonic() - exchange.began, 6)
        self._journal.write(ev, request_id=request_id, model=model, after_s=after_s, sent=sent, **more)
        if ev == "done" and "disconnect" not in more:
            self._recorder.record("provider.request", "ok", request_id=request_id, sent=sent, **more)
        else:
            gone = ev == "client-gone"
            self._recorder.record(
                "provider.request", "fail", request_id=request_id, client_gone=gone, after_s=after_s, sent=sent, **more
            )

    def _note(self, request_id: str, text: str, **more: object) -> None:
        if len(self._problems) < _KEPT_PROBLEMS:
            self._problems.append(f"{request_id}: {text}" if request_id else text)
        self._journal.write("error", request_id=request_id, error=text, **more)


async def serve_model(
    script: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    journal: str | Path | None = None,
    ready: Ready | None = None,
    clock: Clock | None = None,
    recorder: Recorder | None = None,
    seed: int = 0,
    allow_remote: bool = False,
) -> None:
    """Serve a script file until SIGTERM or SIGINT; then return.

    Args:
        ready: told ``(pid, port)`` once the server listens and signals end it in order.

    Raises:
        ScenarioError: the script is malformed. LocalError: the address cannot be bound.
    """
    server = ModelServer(load_model_script(script), clock=clock, recorder=recorder, journal=journal, seed=seed)
    await serve_until_signal(server, host, port, allow_remote=allow_remote, ready=ready)
