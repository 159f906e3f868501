"""``lockjaw gateway run``: the gateway server with a runner behind it. Wiring and the life of the process."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable, Mapping
from typing import Any

from lockjaw.behaviours import BEHAVIOURS, Behaviour
from lockjaw.clock import Clock, ScaledClock, iso
from lockjaw.gateway.pairing import Documents
from lockjaw.gateway.server import GatewayServer, TurnRequest
from lockjaw.history import Recorder
from lockjaw.locking import release_all_held
from lockjaw.process import announce_ready, ids_from_environment, on_stop_signals, recorder_from_environment
from lockjaw.runner.approvals import permitted_tools
from lockjaw.runner.attempt import TurnPlan
from lockjaw.runner.embedded import EmbeddedRunner
from lockjaw.runner.machine import THIS_MACHINE, Machine
from lockjaw.runner.models import ModelClient
from lockjaw.runner.stores import paths_of, session_store
from lockjaw.runner.tools import Tool, built_in_tools
from lockjaw.sessions import (
    SessionStore,
    Transcript,
    agent_of_key,
    explicit_session_key,
    transcript_of_entry,
)
from lockjaw.settings import Settings
from lockjaw.visible import tell

Rows = list[dict[str, Any]]


class Sessions:
    """The gateway's view of the state folder (``SessionDirectory``)."""

    def __init__(
        self,
        settings: Settings,
        *,
        behaviour: Behaviour,
        clock: Clock,
        ids: random.Random | None = None,
        machine: Machine = THIS_MACHINE,
    ) -> None:
        self._settings, self._behaviour, self._clock, self._ids = settings, behaviour, clock, ids
        self._machine = machine
        self._paths = paths_of(settings)

    def _store(self, agent_id: str) -> SessionStore:
        return session_store(
            self._paths, agent_id, behaviour=self._behaviour, clock=self._clock, ids=self._ids, machine=self._machine
        )

    async def resolve(self, agent_id: str, session_key: str | None, session_id: str | None) -> tuple[str, str]:
        """The key's stored session wins, then the id that was asked for, then a new one."""
        store = self._store(agent_id)
        if session_key is None:
            found = store.find_by_session_id(session_id) if session_id else None
            session_key = found[0] if found else explicit_session_key(agent_id, session_id or "")
        elif session_key in store.read():
            session_id = None
        entry = await store.ensure(session_key, session_id=session_id, sessions_dir=self._paths.sessions_dir(agent_id))
        return session_key, entry["sessionId"]

    async def list(self) -> Rows:
        rows = [
            {"key": key, **entry}
            for agent_id in self._settings.agent.agent_ids
            for key, entry in self._store(agent_id).read().items()
        ]
        return sorted(rows, key=lambda row: row.get("updatedAt") or 0, reverse=True)

    async def history(self, session_key: str, limit: int) -> tuple[str | None, Rows]:
        agent_id = agent_of_key(session_key)
        entry = self._store(agent_id).read().get(session_key, {})
        session_id = entry.get("sessionId")
        if not isinstance(session_id, str):
            return None, []
        path = transcript_of_entry(
            entry, self._paths.sessions_dir(agent_id), files=self._machine.files, kind=self._paths.kind
        )
        if not self._machine.files.exists(path):
            return session_id, []
        transcript = await Transcript.opened(
            path,
            session_id=session_id,
            cwd=self._settings.agent.workspace,
            clock=self._clock,
            read_only=True,
            files=self._machine.files,
        )
        return session_id, transcript.context()[-limit:]


class TurnService:
    """``TurnRunner`` of the gateway: plans the turn and hands it to the runner."""

    def __init__(self, settings: Settings, runner: EmbeddedRunner) -> None:
        self._settings, self._runner = settings, runner

    async def __call__(
        self, request: TurnRequest, abort: asyncio.Event, emit: Callable[[str, dict[str, Any]], None]
    ) -> dict[str, Any]:
        plan = TurnPlan(
            turn_id=request.run_id, run_id=request.run_id, session_key=request.session_key,
            session_id=request.session_id, agent_id=request.agent_id, message=request.message,
            file=self._runner.transcript_of(request.agent_id, request.session_key, request.session_id),
            original=request.message, limit_s=self._settings.run_timeout_s(request.timeout_s),
            model=request.model, extra_system_prompt=request.extra_system_prompt or "",
        )  # fmt: skip
        return await self._runner.run(plan, abort=abort, emit=emit)


def build_gateway(
    settings: Settings,
    *,
    behaviour: Behaviour,
    clock: Clock,
    recorder: Recorder,
    models: ModelClient,
    log: Callable[[str], None],
    ids: random.Random | None = None,
    nonces: random.Random | None = None,
    machine: Machine = THIS_MACHINE,
    tools: Mapping[str, Tool] | None = None,
    documents: Documents | None = None,
) -> GatewayServer:
    """A gateway whose turns run in this process.

    Args:
        ids: stream for session, entry and call ids.
        nonces: stream for what protects connections (nonces, device tokens); predictable only in a simulation.
        machine, tools, documents: where sessions and locks are, what models may call, where paired devices are
            kept; this machine's own unless given.
    """
    runner = EmbeddedRunner(
        settings, behaviour=behaviour, clock=clock, recorder=recorder, models=models,
        tools=built_in_tools() if tools is None else tools, log=log, ids=ids, machine=machine,
    )  # fmt: skip
    return GatewayServer(
        settings, TurnService(settings, runner), behaviour=behaviour, clock=clock, recorder=recorder,
        ids=nonces, log=log,
        sessions=Sessions(settings, behaviour=behaviour, clock=clock, ids=ids, machine=machine), documents=documents,
    )  # fmt: skip


def gateway_main(settings: Settings, *, policy: str, drain_s: float, ready_fd: int | None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    clock = ScaledClock.from_environment()
    recorder = recorder_from_environment(os.environ, clock)

    def log(line: str) -> None:
        tell(f"{iso(clock.wall_ms())} {line}")

    async def serve() -> int:
        models = ModelClient(settings.providers, clock=clock)
        server = build_gateway(
            settings, behaviour=BEHAVIOURS[policy], clock=clock, recorder=recorder, models=models, log=log,
            ids=ids_from_environment(os.environ, "gateway"), tools=permitted_tools(os.environ),
        )  # fmt: skip
        stop = asyncio.Event()

        def on_signal(number: signal.Signals) -> None:
            log(f"[gateway] received {number.name}; shutting down")
            stop.set()

        on_stop_signals(asyncio.get_running_loop(), on_signal)
        try:
            port = await server.start(port=settings.gateway.port)
            announce_ready(ready_fd, port)
            await server.serve_until(stop, drain_s=drain_s)
        finally:
            release_all_held()
            await models.aclose()
        return 0

    return asyncio.run(serve())
