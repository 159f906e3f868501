"""The methods of the gateway: what a client may ask for, and what it gets.

One ``Methods`` serves all connections. It checks params, finds the session, and starts runs in ``Turns``; it
knows connections only as somewhere to answer to.

**A request that is sent again.** ``agent`` calls with the same idempotency key execute once. While the run goes
on, versions differ in what the second caller gets: 2026.4.8 repeats "accepted" and nothing ever follows, so a
client that lost its socket cannot learn the end from it; later versions say ``in_flight``. Ours *attaches*: the
second caller gets "accepted" and later the same final as the first. That is what a client needs after a
deadline or a lost socket, to ask for its run instead of running the turn again (OpenClaw PR 104632).

Source: protocol facts B1 to B6, A9, A12.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from msgspec import UNSET, UnsetType

from lockjaw.behaviours import Behaviour
from lockjaw.clock import Clock
from lockjaw.errors import LocalError, RemoteProtocolError, UsageError, printed
from lockjaw.gateway.auth import ADMIN, METHOD_SCOPES, scopes_allow
from lockjaw.gateway.dedupe import Answer
from lockjaw.gateway.frames import ErrorCode, ErrorShape
from lockjaw.gateway.lanes import MAIN_LANE
from lockjaw.gateway.params import (
    AgentParams,
    AgentWaitParams,
    ChatAbortParams,
    ChatHistoryParams,
    ChatSendParams,
    HealthParams,
    SessionsAbortParams,
    SessionsListParams,
    StatusParams,
)
from lockjaw.gateway.runs import AbortRefused, Caller, Kind, Run
from lockjaw.gateway.server_events import Connection
from lockjaw.gateway.server_protocol import Call, Client
from lockjaw.gateway.server_turns import Reply, TurnRequest, Turns
from lockjaw.history import Recorder
from lockjaw.settings import UNLIMITED_S, ModelRef, Settings

METHODS = tuple(METHOD_SCOPES)
DEFAULT_WAIT_S = 30.0
DEFAULT_HISTORY = 200  # messages
_REPEATING = ("2026.4.8", "2026.5.7", "lockjaw")  # say "accepted" again while the run goes on; others: in_flight
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_STAMPED = re.compile(r"^\[.*\d{4}-\d{2}-\d{2} \d{2}:\d{2}")
_CRON_STAMP = "Current time: "
_RESET = re.compile(r"^/(new|reset)(\s|$)", re.IGNORECASE)
_AGENT_KEY = re.compile(r"^agent:([^:]+):(.+)$")


_Row = dict[str, Any]
_Rows = list[_Row]  # named here: in the protocol below ``list`` is a method


class SessionDirectory(Protocol):
    """Where sessions are kept. Keys are canonical: ``agent:<agent id>:<rest>``, lower case.

    A LocalError from any of these is the caller's mistake and its text goes back as INVALID_REQUEST.
    """

    async def resolve(self, agent_id: str, session_key: str | None, session_id: str | None) -> tuple[str, str]:
        """The (session key, session id) that a run belongs to; creates the entry and touches ``updatedAt``.

        With a key, the id stored under it wins, then ``session_id``, then a new one. Without a key
        ``session_id`` names the session.
        """

    async def list(self) -> _Rows:
        """One object per session with at least ``key``, ``sessionId`` and ``updatedAt``; newest first."""

    async def history(self, session_key: str, limit: int) -> tuple[str | None, _Rows]:
        """The session id (None: no such session) and its last ``limit`` messages, oldest first."""


class Methods:
    """Dispatches calls. Every call is answered, whatever happens in it."""

    def __init__(
        self,
        turns: Turns,
        sessions: SessionDirectory,
        settings: Settings,
        behaviour: Behaviour,
        *,
        clock: Clock,
        recorder: Recorder,
        status: Callable[[], dict[str, Any]],
        health: Callable[[], dict[str, Any]],
    ) -> None:
        self._turns, self._sessions, self._settings, self._behaviour = turns, sessions, settings, behaviour
        self._clock, self._recorder = clock, recorder
        self._status, self._health = status, health
        # Look-up of the key, session and acceptance are one step: two requests with one key must not both
        # find it unused, and the runs of a session queue in the order in which they came.
        self._admission = asyncio.Lock()
        self._handlers: dict[str, Callable[[Connection, Client, Call], Awaitable[Answer | None]]] = {
            "agent": self._agent,
            "agent.wait": self._agent_wait,
            "chat.send": self._chat_send,
            "chat.abort": self._chat_abort,
            "chat.history": self._chat_history,
            "sessions.abort": self._sessions_abort,
            "sessions.list": self._sessions_list,
            "health": self._get_health,
            "status": self._get_status,
        }

    async def serve(self, connection: Connection, client: Client, call: Call) -> None:
        """Answer one call. Cancelling it leaves runs alone."""
        handler = self._handlers.get(call.method)
        try:
            if handler is None:
                answer: Answer | None = invalid(f"unknown method: {call.method}")
            else:
                answer = await handler(connection, client, call)
        except RemoteProtocolError as error:  # params
            answer = invalid(str(error))
        except UsageError as error:  # ours, not the caller's
            answer = unavailable(printed(error))
        except (LocalError, AbortRefused) as error:
            answer = invalid(str(error))
        except Exception as error:
            answer = unavailable(printed(error))
        if answer is not None:
            connection.respond(call.request_id, answer)

    # ----------------------------------------------------------------------- runs

    async def _agent(self, connection: Connection, client: Client, call: Call) -> Answer | None:
        params = AgentParams.read(call.params)
        run_id = params.idempotencyKey
        if self._answer_again(connection, call, "agent", run_id):
            return None
        async with self._admission:
            if self._answer_again(connection, call, "agent", run_id):
                return None
            agent_id, key = self._place(params.agentId or None, params.sessionKey or None, "agent")
            model = self._chosen_model(params, client)
            _refuse_unsupported(params, params.message)
            lane = (params.lane or "").strip() or MAIN_LANE
            if lane.startswith("session:"):  # a run that waits for two sessions could wait for itself
                return invalid("invalid agent params: at /lane: session lanes cannot be named")
            named = params.sessionId or None
            if key is None and named is None:
                key = f"agent:{agent_id}:main"
            if self._behaviour.version != "lockjaw" and key is not None:
                named = None  # upstream drops it, so an unknown --session-id becomes another session
            key, session_id = await self._sessions.resolve(agent_id, key, named)
            if self._turns.draining:  # it began while we looked
                return _DRAINING
            run = self._new_run("agent", run_id, key, session_id, client)
            request = TurnRequest(
                run_id, key, session_id, agent_id, self._stamped(params.message),
                timeout_s=_seconds(params.timeout, 1),
                extra_system_prompt=params.extraSystemPrompt or None, model=model,
            )  # fmt: skip
            accepted = _accepted(run)
            # Answered before the run exists: a final can never overtake its "accepted".
            connection.respond(call.request_id, accepted)
            self._turns.start(run, request, lane=lane, accepted=accepted)
            self._turns.attach(run, _reply(connection, call))
        return None

    async def _chat_send(self, connection: Connection, client: Client, call: Call) -> Answer | None:
        params = ChatSendParams.read(call.params)
        run_id = params.idempotencyKey
        if params.message.strip().lower() == "/stop":
            return self._abort(client, self._key(params.sessionKey), None)
        if self._answer_again(connection, call, "chat", run_id):
            return None
        async with self._admission:
            if self._answer_again(connection, call, "chat", run_id):
                return None
            agent_id, key = self._place(None, params.sessionKey, "chat.send")
            _refuse_unsupported(params, params.message)
            key, session_id = await self._sessions.resolve(agent_id, key, params.sessionId or None)
            if self._turns.draining:
                return _DRAINING
            run = self._new_run("chat", run_id, key, session_id, client)
            timeout_s = _seconds(params.timeoutMs, 1000)
            request = TurnRequest(run_id, key, session_id, agent_id, self._stamped(params.message), timeout_s)
            started = Answer(True, {"runId": run_id, "status": "started"})
            connection.respond(call.request_id, started)
            self._turns.start(run, request, accepted=started)
        return None

    def _answer_again(self, connection: Connection, call: Call, kind: Kind, run_id: str) -> bool:
        """Answer a request whose key was used before; False if it was not.

        An active run counts even when its stored answer has expired: a run may take longer than the store
        remembers, and must still not be executed twice.
        """
        active = self._turns.runs.get_active(run_id)
        stored = self._turns.dedupe.get(f"{kind}:{run_id}", self._clock.monotonic())
        if active is None and stored is None:
            return False
        if active is None:
            assert stored is not None
            connection.respond(call.request_id, stored)
        elif active.kind == kind == "agent" and self._behaviour.version in _REPEATING:
            connection.respond(call.request_id, _accepted(active))
            if self._behaviour.version == "lockjaw":
                self._turns.attach(active, _reply(connection, call))
        else:
            connection.respond(call.request_id, Answer(True, {"runId": run_id, "status": "in_flight"}))
        return True

    def _new_run(self, kind: Kind, run_id: str, key: str, session_id: str, client: Client) -> Run:
        return Run(
            run_id, key, session_id, kind, _caller(client), self._clock.wall_ms(), self._clock.monotonic()
        )  # fmt: skip

    def _chosen_model(self, params: AgentParams, client: Client) -> ModelRef | None:
        provider, model = params.provider or None, params.model or None
        if provider is None and model is None:
            return None
        if not scopes_allow([ADMIN], client.scopes):
            raise LocalError("provider/model overrides are not authorized for this caller.")
        primary = self._settings.agent.primary
        if provider is None:
            if model is not None and "/" in model:
                try:
                    return ModelRef.parse(model, source="invalid agent params: at /model")
                except UsageError as error:  # the caller's mistake, not our configuration's
                    raise LocalError(str(error)) from None
            provider = primary.provider if primary else None
        if provider is None or model is None:
            raise LocalError("invalid agent params: a model override needs provider and model")
        return ModelRef(provider, model)

    def _place(self, agent_id: str | None, session_key: str | None, method: str) -> tuple[str, str | None]:
        """The agent of a request and its canonical session key; no key when it names neither agent nor key."""
        known = [name.lower() for name in self._settings.agent.agent_ids]
        agent_id = agent_id and agent_id.strip().lower()
        if agent_id and agent_id not in known:
            raise LocalError(f'invalid {method} params: unknown agent id "{agent_id}"')
        if not session_key:
            return (agent_id, f"agent:{agent_id}:main") if agent_id else (known[0], None)
        key = self._key(session_key, agent_id)
        owner = _AGENT_KEY.match(key)
        if owner is None:
            raise LocalError(f'invalid {method} params: malformed session key "{session_key}"')
        if agent_id and owner[1] != agent_id:
            raise LocalError(
                f'invalid {method} params: agent "{agent_id}" does not match session key agent "{owner[1]}"'
            )
        if owner[1] not in known:
            raise LocalError(f'invalid {method} params: unknown agent id "{owner[1]}"')
        return owner[1], key

    def _key(self, text: str, agent_id: str | None = None) -> str:
        """The canonical form of a session key; a bare name such as ``main`` belongs to the (default) agent."""
        key = text.strip().lower()
        if key.startswith("agent:"):
            return key
        return f"agent:{agent_id or self._settings.agent.agent_ids[0].lower()}:{key}"

    def _stamped(self, message: str) -> str:
        """The message with the time in front, so that the model knows when it was said."""
        if _STAMPED.match(message) or _CRON_STAMP in message:
            return message
        now = datetime.fromtimestamp(self._clock.wall_ms() / 1000, tz=UTC)
        return f"[{_DAYS[now.weekday()]} {now:%Y-%m-%d %H:%M} UTC] {message}"

    async def _agent_wait(self, connection: Connection, client: Client, call: Call) -> Answer:
        params = AgentWaitParams.read(call.params)
        limit_s = _seconds(params.timeoutMs, 1000)
        wait_s = DEFAULT_WAIT_S if limit_s is None else limit_s
        return Answer(True, await self._turns.runs.wait(params.runId, wait_s, self._clock))

    # ----------------------------------------------------------------------- aborts

    async def _chat_abort(self, connection: Connection, client: Client, call: Call) -> Answer:
        params = ChatAbortParams.read(call.params)
        return self._abort(client, self._key(params.sessionKey), params.runId or None)

    async def _sessions_abort(self, connection: Connection, client: Client, call: Call) -> Answer:
        params = SessionsAbortParams.read(call.params)
        run_id = params.runId or None
        if params.key is UNSET:
            run = self._turns.runs.get_active(run_id) if run_id else None
            if run_id is None:
                return invalid("invalid sessions.abort params: must have required property 'key'")
            key = run.session_key if run else ""
        else:
            key = self._key(params.key or "")
        ids = self._signal(client, key, run_id)
        status = "aborted" if ids else "no-active-run"
        return Answer(True, {"ok": True, "abortedRunId": ids[0] if ids else None, "status": status})

    def _abort(self, client: Client, session_key: str, run_id: str | None) -> Answer:
        """The answer of ``chat.abort``; made after the runs were told, so "aborted" is never early."""
        ids = self._signal(client, session_key, run_id)
        return Answer(True, {"ok": True, "aborted": bool(ids), "runIds": ids})

    def _signal(self, client: Client, session_key: str, run_id: str | None) -> list[str]:
        ids = self._turns.runs.abort(_caller(client), session_key, run_id, reaches=self._abort_reaches)
        for aborted in ids:
            self._recorder.record("gateway.abort", run_id=aborted, origin="rpc")
        return ids

    def _abort_reaches(self, run: Run) -> bool:
        return run.kind == "chat" or self._behaviour.abort_reaches_agent_runs

    # ----------------------------------------------------------------------- looking

    async def _chat_history(self, connection: Connection, client: Client, call: Call) -> Answer:
        params = ChatHistoryParams.read(call.params)
        key = self._key(params.sessionKey)
        limit = DEFAULT_HISTORY if isinstance(params.limit, UnsetType) else params.limit
        session_id, messages = await self._sessions.history(key, limit)
        payload = {"sessionKey": params.sessionKey, "messages": messages}
        return Answer(True, payload if session_id is None else {**payload, "sessionId": session_id})

    async def _sessions_list(self, connection: Connection, client: Client, call: Call) -> Answer:
        params = SessionsListParams.read(call.params)
        rows = await self._sessions.list()
        now_ms = self._clock.wall_ms()
        if not isinstance(params.activeMinutes, UnsetType):
            oldest = now_ms - params.activeMinutes * 60_000
            rows = [row for row in rows if row.get("updatedAt", 0) >= oldest]
        if params.agentId:
            rows = [row for row in rows if str(row.get("key", "")).startswith(f"agent:{params.agentId.lower()}:")]
        if params.search:
            rows = [row for row in rows if params.search.lower() in str(row.get("key", "")).lower()]
        if not isinstance(params.limit, UnsetType):
            rows = rows[: params.limit]
        return Answer(True, {"ts": now_ms, "count": len(rows), "sessions": rows})

    async def _get_health(self, connection: Connection, client: Client, call: Call) -> Answer:
        HealthParams.read(call.params)
        return Answer(True, self._health())

    async def _get_status(self, connection: Connection, client: Client, call: Call) -> Answer:
        StatusParams.read(call.params)
        return Answer(True, self._status())


def _accepted(run: Run) -> Answer:
    return Answer(True, {"runId": run.run_id, "status": "accepted", "acceptedAt": run.accepted_ms})


def invalid(message: str) -> Answer:
    return Answer(False, error=ErrorShape(ErrorCode.INVALID_REQUEST, message))


def unavailable(message: str, **more: Any) -> Answer:
    return Answer(False, error=ErrorShape(ErrorCode.UNAVAILABLE, message, **more))


_DRAINING = unavailable(
    "GatewayDrainingError: Gateway is draining for restart; new tasks are not accepted", retryable=True
)


def _caller(client: Client) -> Caller:
    return Caller(client.connection_id, client.device_id, client.admin)


def _seconds(value: int | UnsetType, per_second: int) -> float | None:
    """A duration of the wire in seconds; None when it was not sent. What is longer than a timer can run is cut."""
    if isinstance(value, UnsetType):
        return None
    # Cut before dividing: a JSON integer can be larger than the largest float.
    return min(value, round(UNLIMITED_S) * per_second) / per_second


def _reply(connection: Connection, call: Call) -> Reply:
    return Reply(connection.id, lambda answer: connection.respond(call.request_id, answer))


def _refuse_unsupported(params: AgentParams | ChatSendParams, message: str) -> None:
    """What upstream would do and we do not: refused aloud, for a run without it would be another run."""
    if _RESET.match(message):
        raise LocalError("this gateway cannot reset sessions: a message may not start with /new or /reset")
    if params.attachments:
        raise LocalError("this gateway takes no attachments")
    if params.deliver:
        raise LocalError("this gateway has no channels to deliver to")
