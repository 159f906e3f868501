"""The gateway client: the calls as methods, and one call as the command line makes it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from msgspec import UNSET

from lockjaw.clock import Clock, ScaledClock
from lockjaw.errors import ConnectionLost, LocalError, RemoteError, RequestRejected, RequestTimedOut, printed
from lockjaw.gateway.endpoint import connection_details
from lockjaw.gateway.frames import (
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
from lockjaw.gateway.identity import DeviceIdentity
from lockjaw.gateway.uplink import REQUEST_LIMIT_S, OnAccepted, Uplink
from lockjaw.settings import Settings

__all__ = ["GatewayClient", "call_gateway", "connection_details"]

WAIT_MARGIN_S = 10.0  # agent.wait answers by itself at its own limit; this is for the way there and back


class GatewayClient(Uplink):
    """A client of one gateway: ``connect``, ``request`` and ``close`` of ``Uplink``, and the calls by name."""

    async def agent(
        self, params: AgentParams, *, timeout_s: float | None = None, on_accepted: OnAccepted | None = None
    ) -> Any:
        """Run a turn and wait for its end; the payload is ``{runId, status, summary, result}``."""
        return await self.request("agent", params, timeout_s=timeout_s, expect_final=True, on_accepted=on_accepted)

    async def agent_wait(self, run_id: str, timeout_ms: int = 30_000) -> Any:
        """Ask for a run: ``{runId, status: ok|error|timeout, startedAt?, endedAt?, error?}``.

        Status ``timeout`` without ``endedAt`` means that it is not over after ``timeout_ms``.
        """
        params = AgentWaitParams(runId=run_id, timeoutMs=timeout_ms)
        return await self.request("agent.wait", params, timeout_s=timeout_ms / 1000 + WAIT_MARGIN_S)

    async def chat_send(self, params: ChatSendParams, *, timeout_s: float | None = REQUEST_LIMIT_S) -> Any:
        """Start a run of the chat kind: ``{runId, status: started|in_flight}``; its text comes as ``chat`` events."""
        return await self.request("chat.send", params, timeout_s=timeout_s)

    async def chat_abort(self, session_key: str, run_id: str | None = None, *, timeout_s: float = 30.0) -> Any:
        """Stop a run, or all of a session: ``{ok, aborted, runIds}``."""
        params = ChatAbortParams(sessionKey=session_key, runId=run_id or UNSET)
        return await self.request("chat.abort", params, timeout_s=timeout_s)

    async def sessions_abort(
        self, key: str | None = None, run_id: str | None = None, *, timeout_s: float = 30.0
    ) -> Any:
        """Stop the run of a session: ``{ok, abortedRunId, status}``."""
        params = SessionsAbortParams(key=key or UNSET, runId=run_id or UNSET)
        return await self.request("sessions.abort", params, timeout_s=timeout_s)

    async def sessions_list(self, params: SessionsListParams | None = None) -> Any:
        return await self.request("sessions.list", params or SessionsListParams())

    async def chat_history(self, session_key: str, limit: int | None = None) -> Any:
        return await self.request("chat.history", ChatHistoryParams(sessionKey=session_key, limit=limit or UNSET))

    async def health(self, *, probe: bool = False) -> Any:
        return await self.request("health", HealthParams(probe=True) if probe else HealthParams())

    async def status(self) -> Any:
        return await self.request("status", StatusParams())


# --------------------------------------------------------------------------- one call of the command line


async def call_gateway(
    settings: Settings,
    method: str,
    params: object = UNSET,
    *,
    timeout_ms: int = 10_000,
    expect_final: bool = False,
    on_accepted: OnAccepted | None = None,
    on_diagnostic: Callable[[str], None] | None = None,
    clock: Clock | None = None,
    identity: DeviceIdentity | None = None,
    ids: random.Random | None = None,
    protocol_version: int = 3,
    client_version: str = "2026.4.8",
    client: GatewayClient | None = None,
    keep_open: bool = False,
) -> Any:
    """Connect, send one request, wait for its final answer, close: what one command of the command line does.

    Args:
        timeout_ms: nominal milliseconds for everything, counted from before connecting.
        on_diagnostic: told why a connect failed (``gateway connect failed: ...``), the line that the real
            program prints before the close.
        identity: None loads or creates the device of ``settings.state_dir``, and goes without when that fails.
        client: use this one, connecting it if need be. With ``keep_open`` it stays connected after the call,
            for better or worse, and can be asked about the run; the late answer is dropped.

    Raises:
        RequestTimedOut: ``gateway timeout after <timeout_ms>ms`` and the connection details; ``run_id`` if the
            run had been accepted, ``definite`` if the request was never sent.
        ConnectionLost: ``gateway closed (...): ...`` and the details; ``run_id`` and ``definite`` likewise.
        RequestRejected: the gateway answered ``ok: false``.
        LocalError: refused before connecting.
    """
    clock = clock or ScaledClock.from_environment()
    started = clock.monotonic()  # before the identity is read, before connecting
    if keep_open and client is None:
        raise LocalError("keep_open needs the client that is to stay open")
    details = connection_details(settings)
    _require_credentials(settings, details)
    if client is None:
        client = GatewayClient(
            settings,
            clock=clock,
            identity=identity or _device(settings, clock, ids),
            ids=ids,
            protocol_version=protocol_version,
            client_version=client_version,
            dial_limit_s=None,  # the deadline of the call is the limit
        )
    try:
        await _connect_within(client, clock, started, timeout_ms, settings, details, on_diagnostic)
        left_s = started + timeout_ms / 1000 - clock.monotonic()
        if left_s <= 0:
            raise RequestTimedOut(timeout_ms, definite=True)
        return await client.request(
            method, params, timeout_s=left_s, expect_final=expect_final, on_accepted=on_accepted
        )
    except RequestTimedOut as error:
        # The deadline of the call, whichever step it met: one text for all of them.
        raise RequestTimedOut(timeout_ms, details=details, run_id=error.run_id, definite=error.definite) from error
    except ConnectionLost as error:
        raise ConnectionLost(
            error.code,
            error.reason,
            definite=error.definite,
            details=details,
            run_id=error.run_id,
            message=error.message,
            refused=error.refused,
        ) from error
    finally:
        if not keep_open:
            await client.close()


async def _connect_within(
    client: GatewayClient,
    clock: Clock,
    started: float,
    timeout_ms: int,
    settings: Settings,
    details: str,
    on_diagnostic: Callable[[str], None] | None,
) -> None:
    """Be connected, and at the earliest instant at which the request may be sent."""
    deadline = started + timeout_ms / 1000
    try:
        async with asyncio.timeout(clock.real_s(max(0.0, deadline - clock.monotonic()))) as limit:
            await client.connect()
            await clock.sleep(started + settings.pacing.connect_s - clock.monotonic())
    except (RequestRejected, RequestTimedOut, ConnectionLost) as error:
        # A connect that fails closes the socket: the close is what the caller sees, the refusal the line before.
        lost = error if isinstance(error, ConnectionLost) else error.__cause__
        reason = error.__cause__ if isinstance(error, ConnectionLost) else error
        if on_diagnostic is not None and isinstance(reason, RemoteError):
            on_diagnostic(f"gateway connect failed: {printed(reason)}")
        assert isinstance(lost, ConnectionLost), "connect() names the close behind every refusal"
        refused = isinstance(error, RequestRejected) or lost.refused
        raise ConnectionLost(lost.code, lost.reason, definite=True, message=lost.message, refused=refused) from reason
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise RequestTimedOut(timeout_ms, definite=True) from error


def _device(settings: Settings, clock: Clock, ids: random.Random | None) -> DeviceIdentity | None:
    try:
        return DeviceIdentity.load_or_create(settings.state_dir, clock, ids)
    except LocalError:
        return None  # as upstream: the gateway says what is missing


def _require_credentials(settings: Settings, details: str) -> None:
    """An address named by hand gets no credentials by accident: they must be given with it."""
    gateway = settings.gateway
    named = gateway.source in ("cli --url", "env OPENCLAW_GATEWAY_URL")
    if named and gateway.auth_mode != "none" and not (gateway.token or gateway.password):
        raise LocalError(
            "gateway url override requires explicit credentials: give --token or --password, or set "
            f"OPENCLAW_GATEWAY_TOKEN or OPENCLAW_GATEWAY_PASSWORD\n{details}"
        )
