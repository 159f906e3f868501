"""The gateway server: a listener, its connections, and the runs that outlive them.

This is the shell. It accepts links, hands text to ``ServerProtocol`` and performs the effects, keeps the ticks,
and shuts down in order: refuse new runs, say ``shutdown``, let runs end (bounded), stop the rest, close every
connection with 1012. What is decided where: ``server_protocol`` (who gets in), ``server_methods`` (what they
may ask), ``server_turns`` (how runs go), ``server_events`` (who hears of it).

It can run without a socket: ``serve_link`` takes any ``Link``.
"""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lockjaw.addresses import is_loopback
from lockjaw.behaviours import Behaviour
from lockjaw.clock import Clock
from lockjaw.errors import ConnectionLost, LocalError, UsageError
from lockjaw.gateway.auth import Credentials, FailureLimit
from lockjaw.gateway.frames import MAX_BUFFERED_BYTES, MAX_FRAME_BYTES
from lockjaw.gateway.links import Link, PreauthBudget
from lockjaw.gateway.pairing import DeviceFiles, Documents, Pairing
from lockjaw.gateway.server_events import EVENTS, Audience, Connection
from lockjaw.gateway.server_methods import METHODS, Methods, SessionDirectory, unavailable
from lockjaw.gateway.server_protocol import (
    Call,
    Client,
    Close,
    Effect,
    Gate,
    Log,
    Opened,
    Paired,
    Send,
    ServerProtocol,
)
from lockjaw.gateway.server_turns import TurnRequest, TurnRunner, Turns
from lockjaw.gateway.stuck import CHECK_S, lines_of
from lockjaw.history import NullRecorder, Recorder
from lockjaw.seeds import uuid4
from lockjaw.settings import Settings

if TYPE_CHECKING:
    from lockjaw.gateway.listener import Listener

__all__ = ["GatewayServer", "ListenError", "SessionDirectory", "TurnRequest", "TurnRunner"]

TICK_INTERVAL_S = 30.0
MAINTENANCE_S = 60.0  # refresh of health, sweep of stores
DRAIN_S = 25.0  # upstream's hard limit for a shutdown
CLOSING_S = 10.0  # for connections to take their last frames
_Tasks = dict[asyncio.Task[None], None]  # a set that keeps its order: a simulation must repeat itself
MAX_CALLS = 256  # requests of one connection that may be unanswered at a time


class ListenError(LocalError):
    """The gateway cannot listen. Fields: ``host``, ``port``, ``reason``."""

    def __init__(self, host: str, port: int, reason: str, advice: str) -> None:
        self.host, self.port, self.reason = host, port, reason
        super().__init__(f"cannot listen on ws://{host}:{port}: {reason}; {advice}")


class GatewayServer:
    """A gateway that runs turns.

    Args:
        run_turn: runs one turn; see ``TurnRunner``.
        sessions: finds and lists sessions; see ``SessionDirectory``.
        behaviour: what differs between versions (aborts, repeated requests).
        ids: connection ids, nonces, pairing ids, device tokens. Leave the default where security matters: a
            seeded stream is for simulations and replays.
        protocol_versions: spoken versions, any order.
        tick_interval_s: nominal seconds between ticks; clients are told.
        log: takes one line without its end; never gets a credential.
        documents: where paired devices are kept; ``<stateDir>/devices`` unless given.
        allow_remote: listen on other addresses than this machine's own.
    """

    def __init__(
        self,
        settings: Settings,
        run_turn: TurnRunner,
        *,
        sessions: SessionDirectory,
        behaviour: Behaviour,
        clock: Clock,
        recorder: Recorder | None = None,
        ids: random.Random | None = None,
        protocol_versions: Sequence[int] = (3, 4),
        tick_interval_s: float = TICK_INTERVAL_S,
        log: Callable[[str], None] = lambda line: None,
        documents: Documents | None = None,
        allow_remote: bool = False,
        max_buffered_bytes: int = MAX_BUFFERED_BYTES,
    ) -> None:
        recorder = recorder or NullRecorder()
        self._settings, self._behaviour, self._clock, self._log = settings, behaviour, clock, log
        self._ids = ids or random.SystemRandom()
        self._tick_interval_s, self._allow_remote, self._max_buffered = (
            tick_interval_s,
            allow_remote,
            max_buffered_bytes,
        )
        self._audience = Audience()
        self._turns = Turns(
            run_turn,
            self._audience,
            clock=clock,
            recorder=recorder,
            log=log,
            max_concurrent=settings.agent.max_concurrent,
            prepare_s=settings.pacing.prepare_s,
        )
        self._methods = Methods(
            self._turns,
            sessions,
            settings,
            behaviour,
            clock=clock,
            recorder=recorder,
            status=self._status,
            health=self._health,
        )
        gateway = settings.gateway
        self._limit = FailureLimit()
        self._gate = Gate(
            Credentials(gateway.auth_mode, gateway.token, gateway.password),
            self._limit,
            Pairing(documents or DeviceFiles(settings.state_dir), ids=self._ids),
            tuple(sorted(protocol_versions)),
            self._hello,
        )
        self._started_at = clock.monotonic()
        self._presence_version = self._health_version = 0
        self._listener: Listener | None = None
        self._loops: list[asyncio.Task[None]] = []
        self._links: dict[Connection, asyncio.Task[Any]] = {}
        self._calls: _Tasks = {}
        self._stopped = False

    # ----------------------------------------------------------------------- life

    async def start(self, host: str = "127.0.0.1", port: int | None = None) -> int:
        """Listen, and begin to tick.

        Args:
            port: 0 picks a free one; None takes the settings'.

        Returns:
            the port.

        Raises:
            ListenError: the port is taken, not ours to use, or the host is not this machine.
            UsageError: the settings ask for a credential and name none.
        """
        from lockjaw.gateway.listener import listen  # here, because links may come from somewhere else

        self._check_credentials()
        port = self._settings.gateway.port if port is None else port
        if not (self._allow_remote or is_loopback(host)):
            raise ListenError(
                host, port, "not an address of this machine alone", "use 127.0.0.1, or allow remote hosts"
            )
        if host == "localhost":
            host = "127.0.0.1"  # with both families, port 0 would give two ports
        try:
            self._listener = await listen(
                self.serve_link, host, port, clock=self._clock, budget=PreauthBudget(), log=self._log
            )
        except (OSError, OverflowError) as error:
            taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            advice = "stop the other gateway, or choose another port" if taken else "choose another host or port"
            reason = "another program is listening there already" if taken else str(error)
            raise ListenError(host, port, reason, advice) from error
        self.begin()
        self._log(f"[gateway] listening on ws://{host}:{self._listener.port} (policy {self._behaviour.policy})")
        return self._listener.port

    def begin(self) -> None:
        """Begin to tick; all that ``start`` does when links come from somewhere else than a listener."""
        self._loops = [asyncio.create_task(self._tick()), asyncio.create_task(self._maintain())]
        if self._behaviour.watches_sessions:
            self._loops.append(asyncio.create_task(self._watch()))

    async def serve_until(self, stop: asyncio.Event, *, drain_s: float = DRAIN_S) -> None:
        """Serve until ``stop`` is set (by a signal handler), then shut down. Cancelling shuts down at once."""
        try:
            await stop.wait()
        except asyncio.CancelledError:
            await self.stop(drain_s=0.0)
            raise
        await self.stop(drain_s=drain_s)

    async def stop(self, *, drain_s: float, reason: str = "service restart") -> None:
        """Shut down: no new connections and runs, ``drain_s`` nominal seconds for runs to end, then 1012.

        Returns when no task of this server is left. Runs that did not end in time are aborted (origin
        ``signal``) and cancelled; their final is "aborted". Idempotent.
        """
        if self._stopped:
            return
        self._stopped = True
        if self._listener is not None:
            self._listener.close()
        self._audience.broadcast("shutdown", {"reason": reason})
        await self._turns.drain(drain_s)
        for connection in self._links:
            connection.close(1012, reason)
        await self._end(self._links.values(), CLOSING_S)
        await self._end([*self._calls, *self._loops], 0.0)
        if self._listener is not None:
            await self._listener.wait_closed()
        self._log("[gateway] stopped")

    async def _end(self, tasks: Any, patience_s: float) -> None:
        """Wait for tasks, cancelling them when patience runs out."""
        waiting = list(tasks)
        if waiting and patience_s > 0:
            await asyncio.wait(waiting, timeout=self._clock.real_s(patience_s))
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    def _check_credentials(self) -> None:
        gateway = self._settings.gateway
        if gateway.auth_mode != "none" and not getattr(gateway, gateway.auth_mode):
            raise UsageError(
                str(self._settings.config_path),
                f"gateway.auth.{gateway.auth_mode}",
                f"a {gateway.auth_mode} (here or in OPENCLAW_GATEWAY_{gateway.auth_mode.upper()}), "
                "or gateway.auth.mode none",
            )

    async def _tick(self) -> None:
        while True:
            await self._clock.sleep(self._tick_interval_s)
            self._audience.broadcast("tick", {"ts": self._clock.wall_ms()}, droppable=True)

    async def _maintain(self) -> None:
        while True:
            await self._clock.sleep(MAINTENANCE_S)
            self._turns.sweep()
            self._limit.sweep(self._clock.monotonic())
            self._health_version += 1
            self._audience.broadcast("health", self._health(), droppable=True, state_version=self._versions())

    async def _watch(self) -> None:
        """Say which sessions do not move on; free nothing, as the versions that do this."""
        while True:
            await self._clock.sleep(CHECK_S)
            for line in lines_of(self._turns.runs.active, self._clock.monotonic(), self._queued_behind):
                self._log(line)

    def _queued_behind(self, session_key: str) -> int:
        return self._turns.lanes.depth(f"session:{session_key}")[1]

    # ----------------------------------------------------------------------- connections

    async def serve_link(self, link: Link) -> None:
        """Serve one connection until it is closed by either side. The link is closed when this returns."""
        connection = Connection(uuid4(self._ids), link, limit_bytes=self._max_buffered)
        protocol = ServerProtocol(
            self._gate,
            link.peer,
            connection_id=connection.id,
            nonce=uuid4(self._ids),
            now=self._clock.monotonic(),
            wall_ms=self._clock.wall_ms(),
        )
        task = asyncio.current_task()
        assert task is not None
        self._links[connection] = task
        waits: _Tasks = {}
        if self._stopped:  # upgraded while the listener closed
            connection.close(1012, "service restart")
        reading = asyncio.create_task(self._read(connection, protocol, waits))
        writing = asyncio.create_task(connection.write())
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in (reading, writing, *waits):
                one.cancel()
            self._audience.leave(connection)
            await asyncio.gather(reading, writing, *waits, return_exceptions=True)
            closing = connection.closing or Close(1000)
            connection.close(closing.code, closing.reason)  # finals of its runs find it closed from here on
            await link.close(closing.code, closing.reason)
            del self._links[connection]
            self._presence_version += 1

    async def _read(self, connection: Connection, protocol: ServerProtocol, waits: _Tasks) -> None:
        self._perform(protocol.challenge(), connection, waits)
        while True:
            deadline = protocol.next_deadline()
            left = None if deadline is None else self._clock.real_s(deadline - self._clock.monotonic())
            try:
                async with asyncio.timeout(left):
                    text = await connection.link.receive()
            except TimeoutError:
                effects = protocol.tick(self._clock.monotonic())
            except ConnectionLost:
                return
            else:
                effects = protocol.receive(text, now=self._clock.monotonic(), wall_ms=self._clock.wall_ms())
            self._perform(effects, connection, waits)

    def _perform(self, effects: list[Effect], connection: Connection, waits: _Tasks) -> None:
        for effect in effects:
            match effect:
                case Send(text):
                    connection.send(text)
                case Close(code, reason):
                    connection.close(code, reason)
                case Log(line):
                    self._log(line)
                case Opened(client):
                    connection.client = client
                    connection.link.authenticated()
                    self._audience.join(connection)
                    self._presence_version += 1
                case Paired(device_id, role):
                    payload: dict[str, Any] = {"requestId": uuid4(self._ids), "deviceId": device_id, "role": role}
                    payload |= {"decision": "approved", "ts": self._clock.wall_ms()}
                    self._audience.broadcast("device.pair.resolved", payload)
                case Call():
                    self._call(effect, connection, waits)

    def _call(self, call: Call, connection: Connection, waits: _Tasks) -> None:
        """Serve a call as a task of the server: one that starts a run must not die with its connection."""
        assert connection.client is not None
        if connection.unanswered >= MAX_CALLS:
            connection.respond(call.request_id, unavailable("too many unanswered requests", retryable=True))
            return
        task = asyncio.create_task(self._methods.serve(connection, connection.client, call))
        connection.unanswered += 1
        owners = (self._calls, waits) if call.method == "agent.wait" else (self._calls,)

        def done(task: asyncio.Task[None]) -> None:
            connection.unanswered -= 1
            for owner in owners:
                owner.pop(task, None)

        for owner in owners:
            owner[task] = None
        task.add_done_callback(done)

    # ----------------------------------------------------------------------- what clients are told about us

    def _versions(self) -> tuple[int, int]:
        return self._presence_version, self._health_version

    def _hello(self, client: Client) -> dict[str, Any]:
        presence, health = self._versions()
        agent_id = self._settings.agent.agent_ids[0]
        snapshot: dict[str, Any] = {
            "presence": [_presence(c.client, self._clock.wall_ms()) for c in self._audience if c.client],
            "health": self._health(),
            "stateVersion": {"presence": presence, "health": health},
            "uptimeMs": self._uptime_ms(),
            "sessionDefaults": {
                "defaultAgentId": agent_id,
                "mainKey": "main",
                "mainSessionKey": f"agent:{agent_id}:main",
                "scope": "per-sender",
            },
        }
        if client.admin:
            snapshot["configPath"] = str(self._settings.config_path)
            snapshot["stateDir"] = str(self._settings.state_dir)
            snapshot["authMode"] = self._settings.gateway.auth_mode
        return {
            "type": "hello-ok",
            "protocol": client.protocol,
            "server": {"version": self._behaviour.version, "connId": client.connection_id},
            "features": {"methods": list(METHODS), "events": list(EVENTS)},
            "snapshot": snapshot,
            "policy": {
                "maxPayload": MAX_FRAME_BYTES,
                "maxBufferedBytes": MAX_BUFFERED_BYTES,
                "tickIntervalMs": round(self._tick_interval_s * 1000),
            },
        }

    def _uptime_ms(self) -> int:
        return round((self._clock.monotonic() - self._started_at) * 1000)

    def _health(self) -> dict[str, Any]:
        ids = self._settings.agent.agent_ids
        return {
            "ok": not self._turns.draining,
            "ts": self._clock.wall_ms(),
            "durationMs": 0,
            "channels": {},
            "channelOrder": [],
            "channelLabels": {},
            "defaultAgentId": ids[0],
            "agents": [{"agentId": agent_id, "isDefault": agent_id == ids[0]} for agent_id in ids],
        }

    def _status(self) -> dict[str, Any]:
        runs = self._turns.runs.active
        return {
            "runtimeVersion": self._behaviour.version,
            "policy": self._behaviour.policy,
            "uptimeMs": self._uptime_ms(),
            "draining": self._turns.draining,
            "connections": len(self._audience),
            "runs": [
                {
                    "runId": run.run_id,
                    "sessionKey": run.session_key,
                    "state": "queued" if run.started_ms is None else "running",
                    "acceptedAt": run.accepted_ms,
                }
                for run in runs
            ],
        }


def _presence(client: Client, now_ms: int) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "ts": now_ms,
        "ip": client.address,
        "version": client.version,
        "platform": client.platform,
        "mode": client.client_mode,
        "roles": [client.role],
        "scopes": list(client.scopes),
    }
    if client.device_id is not None:
        entry["deviceId"] = client.device_id
    if client.display_name:
        entry["host"] = client.display_name
    return entry
