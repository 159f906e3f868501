"""Who hears what: open connections, broadcasts with their numbers, and the events of a run.

``Connection`` queues text for a link without ever waiting for it: a run must not stand still because one
client reads slowly. What piles up is bounded: events that can be missed are skipped for a slow client, any
other one closes it. ``Audience`` numbers broadcasts. ``RunEvents`` turns what a turn emits into ``agent`` and
``chat`` events.

Source: protocol facts A7 (seq, slow consumers), A12 (who may see what), B5 (events of a run).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from msgspec import UNSET

from lockjaw.clock import Clock
from lockjaw.errors import ConnectionLost
from lockjaw.gateway.auth import PAIRING, scopes_allow
from lockjaw.gateway.dedupe import Answer
from lockjaw.gateway.frames import (
    MAX_BUFFERED_BYTES,
    EventFrame,
    ResponseFrame,
    StateVersion,
    encode_frame,
)
from lockjaw.gateway.links import Link
from lockjaw.gateway.runs import Run
from lockjaw.gateway.server_protocol import Client, Close

CHAT_DELTA_S = 0.150  # nominal; at most one chat delta of a run in this time
TOOL_EVENTS = "tool-events"
EVENTS = ("connect.challenge", "agent", "chat", "tick", "shutdown", "health", "device.pair.resolved")
_GUARDED = {"device.pair.resolved": PAIRING}  # event -> scope without which it is not delivered


class Connection:
    """The sending half of one connection. ``client`` is None until hello-ok was sent.

    Args:
        limit_bytes: how much may pile up before the peer counts as slow.
    """

    def __init__(self, connection_id: str, link: Link, *, limit_bytes: int = MAX_BUFFERED_BYTES) -> None:
        self.id, self.link = connection_id, link
        self.client: Client | None = None
        self.closing: Close | None = None
        self.unanswered = 0  # requests that a task is still working on
        self._limit = limit_bytes
        self._outbox: deque[str] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()

    def buffered_bytes(self) -> int:
        return self._queued_bytes + self.link.buffered_bytes()

    def send(self, text: str, *, droppable: bool = False) -> None:
        """Queue a frame. Nothing happens after a close; a slow peer loses the frame or the connection."""
        if self.closing is not None:
            return
        if self.buffered_bytes() > self._limit:
            if not droppable:
                self.close(1008, "slow consumer", flush=False)
            return
        self._outbox.append(text)
        self._queued_bytes += len(text.encode())
        self._wake.set()

    def respond(self, request_id: str, answer: Answer) -> None:
        payload = UNSET if answer.payload is None else answer.payload
        self.send(encode_frame(ResponseFrame(request_id, answer.ok, payload, answer.error)))

    def close(self, code: int, reason: str, *, flush: bool = True) -> None:
        """Close once what is queued has been sent; at once without ``flush``. The first close counts."""
        if self.closing is None:
            self.closing = Close(code, reason)
        if not flush:
            self._outbox.clear()
            self._queued_bytes = 0
            self._hurry.set()
        self._wake.set()

    async def write(self) -> None:
        """Send what is queued, until a close is due or the link is lost."""
        writing = asyncio.create_task(self._write())
        hurry = asyncio.create_task(self._hurry.wait())
        try:
            await asyncio.wait({writing, hurry}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            writing.cancel()
            hurry.cancel()
            await asyncio.gather(writing, hurry, return_exceptions=True)

    async def _write(self) -> None:
        try:
            while self._outbox or self.closing is None:
                if not self._outbox:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                text = self._outbox.popleft()
                self._queued_bytes -= len(text.encode())
                await self.link.send(text)
        except ConnectionLost:
            pass  # the reading half sees it too, and ends the connection


class Audience:
    """The open connections, and the numbers of what all of them are told."""

    def __init__(self) -> None:
        self._connections: dict[str, Connection] = {}
        self._seq = 0

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._connections.values()))

    def __len__(self) -> int:
        return len(self._connections)

    def join(self, connection: Connection) -> None:
        self._connections[connection.id] = connection

    def leave(self, connection: Connection) -> None:
        self._connections.pop(connection.id, None)

    def get(self, connection_id: str) -> Connection | None:
        return self._connections.get(connection_id)

    def broadcast(
        self,
        event: str,
        payload: Any,
        *,
        droppable: bool = False,
        state_version: tuple[int, int] | None = None,
    ) -> None:
        """Tell everyone who may know. The number counts up even for those who may not, or are too slow."""
        if not self._connections:
            return
        self._seq += 1
        version = UNSET if state_version is None else StateVersion(*state_version)
        text = encode_frame(EventFrame(event, payload, self._seq, version))
        needed = _GUARDED.get(event)
        for connection in tuple(self._connections.values()):
            client = connection.client
            assert client is not None
            if needed is None or scopes_allow([needed], client.scopes):
                connection.send(text, droppable=droppable)

    def tell(self, connection_ids: Iterable[str], event: str, payload: Any) -> None:
        """Tell chosen connections; such events carry no number."""
        text = encode_frame(EventFrame(event, payload))
        for connection_id in connection_ids:
            connection = self._connections.get(connection_id)
            if connection is not None:
                connection.send(text)


class RunEvents:
    """What one run tells the world.

    Args:
        recipients: ids of the connections that wait for this run; tool events go to these only.
    """

    def __init__(self, run: Run, audience: Audience, clock: Clock, recipients: Callable[[], Iterable[str]]) -> None:
        self._run, self._audience, self._clock, self._recipients = run, audience, clock, recipients
        self._open = False  # a lifecycle start without its end
        self._closed = False
        self._chat_at = -CHAT_DELTA_S
        self._chat_text = ""

    def emit(self, stream: str, data: dict[str, Any]) -> None:
        """An event of the turn. Late ones, after the run's end, are dropped."""
        if self._closed:
            return
        if stream == "lifecycle":
            self._open = data.get("phase") == "start"
        self._agent(stream, data)
        if stream == "assistant" and isinstance(data.get("text"), str):
            self._run.text = data["text"]
            if self._clock.monotonic() - self._chat_at >= CHAT_DELTA_S:
                self._chat_delta()

    def finish(self, state: str, *, text: str, error: str | None = None, stop_reason: str | None = None) -> None:
        """The run is over: ``state`` is ``final``, ``aborted`` or ``error``. Closes what the turn left open."""
        if self._open:
            ended = self._clock.wall_ms()
            if state == "error":
                self.emit("lifecycle", {"phase": "error", "error": error or "", "endedAt": ended})
            else:
                more = {"aborted": True, "stopReason": stop_reason} if state == "aborted" else {}
                self.emit("lifecycle", {"phase": "end", "endedAt": ended, **more})
        if self._run.text != self._chat_text:
            self._chat_delta()
        self._closed = True
        payload: dict[str, Any] = {}
        if text:
            payload["message"] = self._message(text)
        if error is not None:
            payload["errorMessage"] = error
        if stop_reason is not None:
            payload["stopReason"] = stop_reason
        self._chat(state, payload)

    def _agent(self, stream: str, data: dict[str, Any]) -> None:
        run = self._run
        run.seq += 1
        payload = {
            "runId": run.run_id,
            "seq": run.seq,
            "stream": stream,
            "ts": self._clock.wall_ms(),
            "data": data,
            "sessionKey": run.session_key,
        }
        if stream != "tool":
            self._audience.broadcast("agent", payload)
            return
        # What a tool printed may be large and private: it stays out of events.
        payload["data"] = {key: value for key, value in data.items() if key not in ("result", "partialResult")}
        self._audience.tell(filter(self._hears_tools, dict.fromkeys(self._recipients())), "agent", payload)

    def _hears_tools(self, connection_id: str) -> bool:
        connection = self._audience.get(connection_id)
        return connection is not None and connection.client is not None and TOOL_EVENTS in connection.client.caps

    def _chat_delta(self) -> None:
        self._chat_at, self._chat_text = self._clock.monotonic(), self._run.text
        self._chat("delta", {"message": self._message(self._run.text)}, droppable=True)

    def _chat(self, state: str, more: dict[str, Any], *, droppable: bool = False) -> None:
        run = self._run
        payload = {"runId": run.run_id, "sessionKey": run.session_key, "seq": run.seq, "state": state, **more}
        self._audience.broadcast("chat", payload, droppable=droppable)

    def _message(self, text: str) -> dict[str, Any]:
        content = [{"type": "text", "text": text}]
        return {"role": "assistant", "content": content, "timestamp": self._clock.wall_ms()}
