"""The fake model server: performs a script on sockets and writes down what it saw.

Everything that decides *what* happens is elsewhere and pure (``script``, ``service``, ``reply_plan``, the surfaces of
``wires``); here are the sockets, the timers, the journal and the records.

Theory of operation
    There is no task per request. An exchange walks through its plan by callbacks: what is due is sent, and a timer is
    set for what is not, always from the instant of the request. What ends an exchange is written down *before* the
    last byte leaves: the entries of one turn of the event loop go to the file in one write, and then its replies go
    out (``Outbox``). So whoever has read a reply finds it in the journal, and a crash loses nothing that was answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from lockjaw.clock import Clock, ScaledClock
from lockjaw.history import Recorder

from ..http_connection import LAST_CHUNK, HttpConnection, HttpLimits, HttpRequest, Refused, chunk, head
from ..http_server import HttpServer
from ..journal import Journal, Listener
from ..serving import ScriptedServer
from .exchange import Exchange
from .progress import ScriptProgress
from .reply_plan import Action, Break, Chunk, Open, Silence, Whole, cut_body, error_reply
from .script import ModelScript
from .service import ModelService, Order, marked
from .wires import OPENAI_CHAT
from .wires.surface import ApiError, Headers

_TURN_BYTES = 65_536  # of one reply, before the other connections have their turn


class ModelServer(ScriptedServer, HttpServer):
    """Serves one script.

    Args:
        script: what each model does; see ``load_model_script``. Or where one stands, for several servers of one script.
        clock: nominal time; default: the machine's.
        recorder: gets ``provider.request`` invoke / ok / fail.
        journal: file for JSON lines, appended.
        seed: root of all ids; equal seeds and an equal order of requests per model give equal bytes.
        on_entry: sees each journal entry as it is written.
        on_body: sees the body of each POST to a model, as it came. A test may look at it; a journal must not (secrets).
    """

    title = "model server"

    def __init__(
        self,
        script: ModelScript | ScriptProgress,
        *,
        clock: Clock | None = None,
        recorder: Recorder | None = None,
        journal: str | Path | None = None,
        seed: int = 0,
        limits: HttpLimits | None = None,
        on_entry: Listener | None = None,
        on_body: Callable[[bytes], None] | None = None,
    ) -> None:
        self.clock = clock or ScaledClock.start()
        self.recorder = recorder
        ScriptedServer.__init__(self, Journal(journal, self.clock, on_entry, batched=True))
        HttpServer.__init__(self, limits or HttpLimits(), self.journal.flush)
        self._progress = script if isinstance(script, ScriptProgress) else ScriptProgress(script)
        self.service = ModelService(self._progress, seed)
        self._on_body = on_body
        self.exchanges: set[SocketExchange] = set()

    # ------------------------------------------------------------------ life

    async def stop(self) -> None:
        """Stop listening and drop every connection; unfinished replies are journaled as errors. Idempotent."""
        await self._close_door()
        for exchange in sorted(self.exchanges, key=lambda exchange: exchange.began):
            exchange.stop()
        await self._drop_connections()
        self.journal.close()

    @property
    def origin(self) -> str:
        """``http://127.0.0.1:41234``: what clients of Anthropic, Gemini and Ollama take as their base address."""
        return f"http://{self.address}"

    @property
    def base_url(self) -> str:
        """What OpenAI clients take as their base address."""
        return f"{self.origin}/v1"

    def unmet(self) -> list[str]:
        return self._progress.unmet()

    def unused(self) -> list[str]:
        return self._progress.unused()

    # ------------------------------------------------------------------ the handler of the connections

    def serve(self, connection: HttpConnection, request: HttpRequest) -> None:
        """Answer one request."""
        now = self.clock.monotonic()
        order = self.service.receive(request.method, request.target, request.body, now, request.header)
        exchange = SocketExchange(self, connection, order, now)
        if order.what == "chat":
            if self._on_body is not None:
                self._on_body(request.body)
            self._write_request(order)
            exchange.ask()
        if order.problem:
            status = order.answer.status if order.answer is not None else 0
            more = {"unexpected": True} if order.unexpected else {}
            self.note(
                order.problem,
                about=order.request_id,
                request_id=order.request_id,
                status=status,
                model=order.model,
                **more,
            )
        if order.step is None:
            exchange.unscripted()
        connection.exchange = exchange
        self.exchanges.add(exchange)
        exchange.enter(exchange.start)

    def _write_request(self, order: Order) -> None:
        request = order.request
        if request is None:
            return
        self.journal.write(
            "req",
            request_id=order.request_id,
            surface=order.surface.name,
            model=request.model,
            stream=request.stream,
            nmsgs=request.messages,
            keys=request.keys,
            **marked(order),
        )

    def refuse(self, connection: HttpConnection, refused: Refused) -> tuple[int, Headers, bytes]:
        self.note(f"not served: {refused.message}", request_id="", status=refused.status)
        error = ApiError(refused.status, refused.message, "invalid_request_error")
        reply = error_reply(OPENAI_CHAT, error, "")
        return reply.status, reply.headers, reply.body

    def gone(self, connection: HttpConnection) -> None:
        if isinstance(connection.exchange, SocketExchange):
            connection.exchange.client_gone()

    def writable(self, connection: HttpConnection) -> None:
        if isinstance(connection.exchange, SocketExchange):
            connection.exchange.resume()


class SocketExchange(Exchange):
    """One request and its reply, on its way through the plan."""

    __slots__ = ("_actions", "_finished", "_next", "_server", "_timer", "_unframed", "connection")

    def __init__(self, server: ModelServer, connection: HttpConnection, order: Order, began: float) -> None:
        super().__init__(server.service, order, server.recorder, began)
        self._server, self.connection = server, connection
        self._actions: Iterator[Action] = iter(())
        self._next: Action | None = None
        self._timer: asyncio.Handle | None = None
        self._unframed = not connection.takes_chunks
        self._finished = False

    def unscripted(self) -> None:
        """No step answers this: its end is no entry of the journal. For the record, it was answered with a status."""
        if self.order.answer is not None:
            super().end("ok", self.began, status=self.order.answer.status)

    def start(self) -> None:
        """Begin to perform: at once, or when the model has a place free."""
        if self._server.stopping:
            return
        self._actions = self.plan(self._server.clock.monotonic())
        self._step()

    # ------------------------------------------------------------------ performing

    def _step(self) -> None:
        """Do everything that is due; then set a timer, wait for the client to read, or end."""
        self._timer = None
        clock, connection = self._server.clock, self.connection
        stays = self.order.stays
        out: list[bytes] = []
        size = 0
        while True:
            if connection.paused and not (stays and connection.gone):
                break  # ``resume`` goes on
            action = self._next if self._next is not None else next(self._actions, None)
            self._next = None
            if action is None:
                self._send(out)
                self._finish(keep=True)
                return
            if action.at_s > 0.0:
                remaining = self.began + action.at_s - clock.monotonic()
                if remaining > 0.0:
                    self._next = action
                    if remaining != float("inf"):
                        self._timer = asyncio.get_running_loop().call_later(clock.real_s(remaining), self._step)
                    break
            match action:
                case Chunk(data=data, tokens=tokens, last=last):
                    self.sent = tokens
                    framed = data if self._unframed else chunk(data)
                    if last:
                        self.close("done", "ok")
                        out.append(framed if self._unframed else framed + LAST_CHUNK)
                        self._send(out)
                        self._finish(keep=not self._unframed)
                        return
                    out.append(framed)
                    size += len(framed)
                case Whole(status=status, tokens=tokens):
                    self.sent = tokens
                    self.close("done", "ok", **({} if status == 200 else {"status": status}))
                    out.append(self._whole(action))
                    self._send(out)
                    self._finish(keep=action.length is None)
                    return
                case Open():
                    out.append(self._open(action))
                case Break():
                    self._send(out)
                    self._break(action)
                    return
                case Silence():
                    self._next = action
                    break  # until the client leaves, or the server stops
            if size > _TURN_BYTES:
                self._timer = asyncio.get_running_loop().call_soon(self._step)
                break
        self._send(out)

    def _send(self, out: list[bytes]) -> None:
        if out:
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            if self._server.journal.pending:
                self.connection.put(data)
            else:
                self.connection.put_now(data)

    def _open(self, action: Open) -> bytes:
        if action.length is not None:
            self._unframed = True
        return head(action.status, (*action.headers, *self.order.headers), self.connection.framing(action.length))

    def _whole(self, action: Whole) -> bytes:
        length = len(action.body) if action.length is None else action.length
        headers = (*action.headers, *self.order.headers)
        return head(action.status, headers, self.connection.framing(length)) + action.body

    def _break(self, action: Break) -> None:
        """Send what is begun and not finished, and end the connection."""
        self.close("done", "fail", client_gone=False, disconnect=action.how)
        body = cut_body(action)
        match action.half:
            case Chunk(data=data):
                if self._unframed:
                    wire = body
                elif action.how == "mid_chunk":
                    wire = b"%x\r\n" % len(data) + body  # promised more than it sends
                else:
                    wire = chunk(body)
            case Whole():
                whole = self._whole(action.half)
                at = len(whole) - len(action.half.body)
                wire = whole[: at // 2] if action.how == "mid_header" else whole[:at] + body
            case Open():
                whole = self._open(action.half)
                wire = whole[: len(whole) // 2]
            case None:
                wire = b""
        self._send([wire] if wire else [])
        if action.how == "rst":
            self.connection.reset()
        self._finish(keep=False)

    # ------------------------------------------------------------------ what interrupts it

    def resume(self) -> None:
        """The client has read what was written."""
        if self._timer is None and not isinstance(self._next, Silence):
            self._step()

    def client_gone(self) -> None:
        """The client has left. A step that ignores it goes on with nobody listening."""
        if self.order.stays and not self.ended:
            if self.connection.paused:
                self.resume()
            return
        self.close("client-gone", "fail", client_gone=True)
        self._finish(keep=False)

    def stop(self) -> None:
        """The server stops."""
        self.close("error", "fail", client_gone=False, error="the server was stopped")
        self._finish(keep=False)

    def close(self, ev: str, phase: Literal["ok", "fail"], **more: object) -> None:
        """Write the end down, in the journal and in the history."""
        now = self._server.clock.monotonic()
        if self.end(phase, now, **more):
            more.pop("client_gone", None)  # the journal's word for it is ``ev``
            self._server.journal.write(
                ev, request_id=self.order.request_id, model=self.order.model, after_s=round(now - self.began, 6),
                sent=self.sent, **more,
            )  # fmt: skip

    def _finish(self, *, keep: bool) -> None:
        if self._finished:
            return
        self._finished = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        server = self._server
        server.exchanges.discard(self)
        connection = self.connection
        if connection.exchange is self:
            connection.finished(keep=keep)
        self.leave()
