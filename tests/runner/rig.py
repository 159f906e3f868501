"""A whole conversation in one process: fake models, a gateway, and the client that asks it.

The clock runs a hundred times too fast, so the durations in these tests are nominal seconds.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.clock import ScaledClock
from lockjaw.fakes.models.script import load_model_script
from lockjaw.fakes.models.server import ModelServer
from lockjaw.gateway.server import GatewayServer
from lockjaw.history import MemoryRecorder, Record
from lockjaw.runner.agent import AgentOutcome, AgentRequest, TurnClient
from lockjaw.runner.models import ModelClient
from lockjaw.runner.service import build_gateway
from lockjaw.sessions import TranscriptReport, read_entries
from lockjaw.settings import AgentSettings, GatewaySettings, ModelRef, Pacing, Provider, Settings

CHAIN = ("one", "two", "three")


@dataclass
class Rig:
    settings: Settings
    clock: ScaledClock
    stack: AsyncExitStack
    models: ModelServer
    recorders: dict[str, MemoryRecorder] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    ids: random.Random = field(default_factory=lambda: random.Random(1))
    logged: list[str] = field(default_factory=list)

    def recorder(self, actor: str) -> MemoryRecorder:
        return self.recorders.setdefault(actor, MemoryRecorder(self.clock, actor))

    def records(self, op: str, phase: str | None = None, actor: str | None = None) -> list[Record]:
        found = [r for who, recorder in self.recorders.items() if actor in (None, who) for r in recorder.records]
        return [r for r in sorted(found, key=lambda r: r.t) if r.op == op and phase in (None, r.phase)]

    async def gateway(self, policy: str = "takeover", *, drain_s: float = 0.0) -> GatewayServer:
        """A gateway that is stopped when the test ends."""
        models = ModelClient(self.settings.providers, clock=self.clock)
        self.stack.push_async_callback(models.aclose)
        server = build_gateway(
            self.settings, behaviour=BEHAVIOURS[policy], clock=self.clock, recorder=self.recorder("gateway"),
            models=models, log=self.logged.append,
        )  # fmt: skip
        port = await server.start(port=0)
        self.stack.push_async_callback(server.stop, drain_s=drain_s)
        gateway = replace(self.settings.gateway, url=f"ws://127.0.0.1:{port}", port=port)
        self.settings = replace(self.settings, gateway=gateway)
        return server

    async def client(self, **request: Any) -> TurnClient:
        models = ModelClient(self.settings.providers, clock=self.clock)
        self.stack.push_async_callback(models.aclose)
        asked = AgentRequest(**{"message": "long task", "agent_id": "main", **request})
        return TurnClient(
            self.settings, asked, clock=self.clock, recorder=self.recorder("client"), models=models,
            say=self.said.append, ids=self.ids,
        )  # fmt: skip

    async def ask(self, **request: Any) -> AgentOutcome:
        return await (await self.client(**request)).run()

    async def until(self, op: str, phase: str | None = None, actor: str | None = None, count: int = 1) -> None:
        """Wait for the n-th such record. The test's own limit ends a wait for something that never comes."""
        while len(self.records(op, phase, actor)) < count:
            await asyncio.sleep(0.002)

    @property
    def sessions(self) -> Path:
        return self.settings.state_dir / "agents" / "main" / "sessions"

    def transcripts(self) -> list[TranscriptReport]:
        return [read_entries(path) for path in sorted(self.sessions.glob("*.jsonl"))]

    def locks(self) -> list[Path]:
        return list(self.sessions.glob("*.lock"))

    def leftovers(self) -> list[Path]:
        """Whatever should not be there when all is over."""
        kept = (".jsonl", ".guard")
        return [p for p in self.sessions.iterdir() if p.suffix not in kept and p.name != "sessions.json"]


@asynccontextmanager
async def rig(
    tmp_path: Path, models: dict[str, Any], *, timeout_s: float = 60.0, scale: float = 0.01
) -> AsyncIterator[Rig]:
    clock = ScaledClock.start(scale)
    async with AsyncExitStack() as stack:
        recorder = MemoryRecorder(clock, "models")
        server = ModelServer(load_model_script({"models": models}), clock=clock, recorder=recorder)
        await server.start()
        stack.push_async_callback(server.stop)
        chain = tuple(ModelRef("fake", name) for name in CHAIN if name in models)
        settings = Settings(
            state_dir=tmp_path / "state",
            config_path=tmp_path / "state" / "openclaw.json",
            gateway=GatewaySettings(token="secret-token"),
            agent=AgentSettings(
                primary=chain[0], fallbacks=chain[1:], timeout_s=timeout_s, workspace=tmp_path / "workspace"
            ),
            providers={"fake": Provider("fake", f"http://127.0.0.1:{server.port}/v1", "secret-key")},
            pacing=Pacing(),
        )
        settings.agent.workspace.mkdir()
        yield Rig(settings, clock, stack, server, {"models": recorder})


SLOW = [{"token": ".", "count": 75, "inter_token_s": 2.0}]
QUICK = [{"text": "the answer", "first_token_s": 0.5}]
