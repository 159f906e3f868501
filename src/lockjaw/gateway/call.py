"""One call of a gateway, as the command line makes it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from msgspec import UNSET

from lockjaw.clock import Clock, ScaledClock
from lockjaw.errors import ConnectionLost, LocalError, RemoteError, RequestRejected, RequestTimedOut, printed
from lockjaw.gateway.client import GatewayClient, OnAccepted
from lockjaw.gateway.endpoint import connection_details
from lockjaw.gateway.identity import DeviceIdentity
from lockjaw.settings import Settings

__all__ = ["call_gateway"]


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
) -> Any:
    """Connect, send one request, wait for its final answer, close: what one command of the command line does.

    Args:
        timeout_ms: nominal milliseconds for everything, counted from before connecting.
        on_diagnostic: told why a connect failed (``gateway connect failed: ...``), the line that the real
            program prints before the close.
        identity: None loads or creates the device of ``settings.state_dir``, and goes without when that fails.
        client: use this one, connecting it if need be.

    Raises:
        RequestTimedOut: ``gateway timeout after <timeout_ms>ms`` and the connection details; ``run_id`` if the
            run had been accepted, ``definite`` if the request was never sent.
        ConnectionLost: ``gateway closed (...): ...`` and the details; ``run_id`` and ``definite`` likewise.
        RequestRejected: the gateway answered ``ok: false``.
        LocalError: refused before connecting.
    """
    clock = clock or ScaledClock.from_environment()
    started = clock.monotonic()  # before the identity is read, before connecting
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
