"""The gateway client: a connection that can be renewed, its credentials, connecting, reconnecting, requests.

Durations are nominal; only the clock turns them into real ones. What a reply or a loss means is decided in
``protocol``; when to connect again, in ``reconnect``.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from msgspec import UNSET

from lockjaw import seeds
from lockjaw.clock import Clock
from lockjaw.errors import ConnectionLost, RemoteError, RemoteProtocolError, RequestRejected, RequestTimedOut
from lockjaw.gateway.connection import Connection
from lockjaw.gateway.dialect import DIALECTS, HelloOk, dialect
from lockjaw.gateway.endpoint import may_see_device_token, refuse_unsafe
from lockjaw.gateway.frames import EventFrame
from lockjaw.gateway.identity import ConnectAuth, DeviceIdentity, DeviceTokens, StoredToken, select_connect_auth
from lockjaw.gateway.params import ConnectParams
from lockjaw.gateway.profile import ClientProfile, connect_params
from lockjaw.gateway.protocol import Challenge, GatewayProtocol, SeqGap
from lockjaw.gateway.reconnect import ReconnectPolicy, startup_delay_s
from lockjaw.gateway.transport import Dial, Transport
from lockjaw.settings import Settings

REQUEST_LIMIT_S = 30.0
DIAL_LIMIT_S = 30.0

OnAccepted = Callable[[dict[str, Any]], None]


class TokenStore(Protocol):
    """Where issued device tokens are kept; see ``DeviceTokens``."""

    def load(self, device_id: str, role: str) -> StoredToken | None: ...
    def store(self, device_id: str, role: str, token: str, scopes: Sequence[str]) -> None: ...
    def erase(self, device_id: str, role: str) -> None: ...


class GatewayClient:
    """A client of one gateway: a connection that can be renewed, and requests over it.

    Args:
        identity: the device that signs; None connects without one (the gateway then grants no scopes).
        reconnect: renew a lost connection in the background (1 s, doubling to 30 s). Requests that were
            pending fail, requests in between are refused as not connected; nothing is ever sent twice.
        on_event, on_gap: called for each event of the gateway and each gap in their numbers.
        on_lost, on_hello: called when a connection ends and when one is welcomed; only useful with ``reconnect``.
        dial_limit_s: limit of opening the socket; None leaves it to the caller's deadline.
        open_transport, tokens: how to open a socket, and where device tokens are kept; the simulation brings its own.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        identity: DeviceIdentity | None,
        ids: random.Random | None = None,
        protocol_version: int = 3,
        reconnect: bool = False,
        on_event: Callable[[EventFrame], None] | None = None,
        on_gap: Callable[[SeqGap], None] | None = None,
        on_lost: Callable[[ConnectionLost], None] | None = None,
        on_hello: Callable[[HelloOk], None] | None = None,
        client_version: str = "2026.4.8",
        profile: ClientProfile | None = None,
        dial_limit_s: float | None = DIAL_LIMIT_S,
        open_transport: Dial | None = None,
        tokens: TokenStore | None = None,
    ) -> None:
        if open_transport is None:  # here, because whoever brings a transport does not need the library
            from lockjaw.gateway import websocket

            open_transport = websocket.dial
        self._settings, self._clock, self._identity = settings, clock, identity
        self._ids = ids or random.SystemRandom()
        self._dialect = dialect(protocol_version)
        self._profile = profile or ClientProfile(version=client_version, instance_id=seeds.uuid4(self._ids))
        self._reconnect, self._policy = reconnect, ReconnectPolicy()
        self._on_event, self._on_gap, self._on_lost, self._on_hello = on_event, on_gap, on_lost, on_hello
        self._dial_limit_s, self._open_transport = dial_limit_s, open_transport
        self._tokens = tokens or DeviceTokens(settings.state_dir, clock)
        self._connection: Connection | None = None
        self._last_seq: int | None = None
        self._hello: HelloOk | None = None
        self._stopped = False
        self._one_at_a_time = asyncio.Lock()  # connect() and the keeper must not both open a socket
        self._attempt: asyncio.Task[HelloOk] | None = None
        self._keeper: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"GatewayClient({self._settings.gateway.source}, connected={self.connected})"

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def connected(self) -> bool:
        """Whether a request could be sent now."""
        return self._connection is not None and not self._connection.ended.done()

    # ------------------------------------------------------------------ connecting

    async def connect(self) -> HelloOk:
        """Connect and introduce ourselves; returns at once when connected.

        With ``reconnect`` it goes on trying until welcomed, or until the gateway refuses for a reason that
        only a person can mend. A gateway that is still starting is waited for in any case. Cancelling leaves
        no socket behind.

        Raises:
            LocalError: the address may not be used (plaintext to another machine, a malformed pin).
            RequestRejected: the gateway refused the connect.
            RequestTimedOut: it did not answer the connect.
            ConnectionLost: it cannot be reached, sent no (usable) challenge, or closed. Always definite.
        """
        if self._stopped:
            raise _stopped()
        if self.connected and self._hello is not None:
            return self._hello
        refuse_unsafe(self._settings.gateway)
        if self._keeper is None or self._keeper.done():
            self._policy = ReconnectPolicy()  # somebody asks anew, perhaps after mending what paused us
        self._attempt = asyncio.create_task(self._connect(), name="lockjaw gateway connect")
        try:
            hello = await self._attempt
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._stopped and task is not None and not task.cancelling():
                raise _stopped() from None  # close() ended the attempt; nobody cancelled us
            raise
        finally:
            self._attempt = None
        if self._reconnect and (self._keeper is None or self._keeper.done()):
            self._keeper = asyncio.create_task(self._keep(), name="lockjaw gateway reconnect")
        return hello

    async def close(self) -> None:
        """Stop for good: pending requests fail with ``gateway client stopped``; the socket closes within 250 ms."""
        self._stopped = True
        for task in (self._attempt, self._keeper):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connect(self) -> HelloOk:
        clean_close_left = 1 if self._dialect.retries_clean_close else 0
        while True:
            try:
                async with self._one_at_a_time:
                    if self.connected and self._hello is not None:
                        return self._hello
                    return await self._connect_once()
            except RequestRejected as error:
                starting_s = startup_delay_s(error)
                if starting_s is not None:
                    await self._clock.sleep(starting_s)
                    continue
                if not self._reconnect or self._policy.paused:
                    raise
            except ConnectionLost as error:
                if error.code == 1000 and not error.message and clean_close_left:
                    clean_close_left -= 1
                    continue
                if not self._reconnect:
                    raise
            except RequestTimedOut:
                if not self._reconnect:
                    raise
            delay_s = self._policy.next_delay_s()
            assert delay_s is not None, "paused was asked above"
            await self._clock.sleep(delay_s)

    def _learns_dialect(self, error: RemoteError) -> bool:
        """A newer gateway names the protocol that it expects; one that we speak is spoken from then on. Upward only, so
        two refusals cannot send us back and forth. (2026.9.6 refuses 3, 2026.4.8 refuses 4.)"""
        details = error.details if isinstance(error, RequestRejected) else None
        expected = details.get("expectedProtocol") if isinstance(details, dict) else None
        if not isinstance(expected, int) or expected not in DIALECTS or expected <= self._dialect.version:
            return False
        self._dialect = dialect(expected)
        return True

    async def _connect_once(self) -> HelloOk:
        self._retire()
        stored = self._stored_token()
        gateway = self._settings.gateway
        auth = select_connect_auth(
            token=gateway.token,
            password=gateway.password,
            stored=stored,
            scopes=self._profile.scopes,
            retry_with_device_token=self._policy.device_retry,
        )
        spare = stored is not None and not auth.given.deviceToken and may_see_device_token(gateway)

        def sign_in(challenge: Challenge) -> ConnectParams:
            theirs = challenge.ts if self._dialect.signs_challenge_ts else None
            return connect_params(
                self._profile,
                auth,
                self._identity,
                challenge,
                protocol_version=self._dialect.version,
                signed_at_ms=self._clock.wall_ms() if theirs is None else theirs,
            )

        transport = await self._dialled()
        protocol = GatewayProtocol(
            self._dialect,
            sign_in,
            connect_id=seeds.uuid4(self._ids),
            now=self._clock.monotonic(),
            last_seq=self._last_seq,
        )
        connection = Connection(
            transport, protocol, clock=self._clock, ids=self._ids, on_event=self._on_event, on_gap=self._on_gap
        )
        try:
            hello = await connection.hello()
        except RemoteError as error:
            lost = await connection.ended
            if self._learns_dialect(error):
                return await self._connect_once()
            if isinstance(error, RequestRejected):
                self._policy.refused(error, has_spare_token=spare)
            self._forget_refused_token(lost, auth)
            if isinstance(error, RemoteProtocolError):
                # Upstream's callers see the close and read why in the log line before it.
                raise ConnectionLost(lost.code, lost.reason, definite=True) from error
            error.__cause__ = lost
            raise
        except asyncio.CancelledError:
            await connection.close()
            raise
        self._policy.welcomed()
        self._connection, self._hello = connection, hello
        self._keep_token(hello)
        if self._on_hello is not None:
            self._on_hello(hello)
        return hello

    async def _dialled(self) -> Transport:
        limit_s = None if self._dial_limit_s is None else self._clock.real_s(self._dial_limit_s)
        try:
            async with asyncio.timeout(limit_s):
                return await self._open_transport(self._settings.gateway)
        except TimeoutError as error:
            raise ConnectionLost(1006, definite=True) from error

    async def _keep(self) -> None:
        """Renew the connection until it is stopped or trying is pointless."""
        while True:
            assert self._connection is not None, "the keeper starts after a hello"
            connection = self._connection
            lost = await asyncio.shield(connection.ended)
            self._retire()
            if self._on_lost is not None:
                self._on_lost(lost)
            delay_s = self._policy.next_delay_s()
            assert delay_s is not None, "a hello ends every pause"
            await self._clock.sleep(delay_s)
            try:
                await self._connect()
            except RequestRejected:
                return  # refused for good; requests fail as not connected

    def _retire(self) -> None:
        """Let go of a connection that has ended; the number of its last broadcast stays known."""
        if self._connection is not None:
            self._last_seq, self._connection = self._connection.last_seq, None

    # ------------------------------------------------------------------ stored device token

    def _stored_token(self) -> StoredToken | None:
        return self._tokens.load(self._identity.device_id, self._profile.role) if self._identity else None

    def _keep_token(self, hello: HelloOk) -> None:
        if self._identity is None or hello.device_token is None:
            return
        with contextlib.suppress(OSError):  # a read-only state folder costs a new pairing, not this call
            self._tokens.store(
                self._identity.device_id, hello.role or self._profile.role, hello.device_token, hello.scopes
            )

    def _forget_refused_token(self, lost: ConnectionLost, auth: ConnectAuth) -> None:
        gateway = self._settings.gateway
        explicit = bool(gateway.token or gateway.password)
        refused = lost.code == 1008 and "device token mismatch" in lost.reason.lower()
        if self._identity is not None and refused and auth.reuses_stored and not explicit:
            with contextlib.suppress(OSError):
                self._tokens.erase(self._identity.device_id, self._profile.role)

    # ------------------------------------------------------------------ requests

    async def request(
        self,
        method: str,
        params: object = UNSET,
        *,
        timeout_s: float | None = REQUEST_LIMIT_S,
        expect_final: bool = False,
        on_accepted: OnAccepted | None = None,
    ) -> Any:
        """Send one request; returns the payload of its (final) answer.

        ``expect_final`` waits past the answer ``accepted``, of which ``on_accepted`` is told. A refusal because
        the gateway is still starting is tried again within the limit. Cancelling drops the answer only.

        Raises:
            RequestRejected: answered ``ok: false``.
            RequestTimedOut: ``timeout_s`` (nominal; None: no limit) passed; ``run_id`` if a run was accepted.
            ConnectionLost: not connected, stopped, or lost; ``definite`` if the request was never sent.
        """
        deadline = None if timeout_s is None else self._clock.monotonic() + timeout_s
        left_s = timeout_s
        while True:
            if self._connection is None:
                raise (
                    _stopped()
                    if self._stopped
                    else ConnectionLost(1006, definite=True, message="gateway not connected")
                )
            try:
                return await self._connection.request(
                    method, params, timeout_s=left_s, expect_final=expect_final, on_accepted=on_accepted
                )
            except RequestRejected as error:
                delay_s = startup_delay_s(error)
                if delay_s is None:
                    raise
                if deadline is not None:
                    left_s = deadline - self._clock.monotonic() - delay_s
                    if left_s <= 0:
                        raise
                await self._clock.sleep(delay_s)
            except RequestTimedOut as error:
                error.timeout_ms = round((timeout_s or 0) * 1000)  # of the request, not of its last try
                raise


def _stopped() -> ConnectionLost:
    return ConnectionLost(1000, definite=True, message="gateway client stopped")
