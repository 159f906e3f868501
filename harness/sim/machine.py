"""The simulated machine of one run: one disk, one network, and the processes that scenarios have."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.gateway.client import GatewayClient
from lockjaw.gateway.identity import DeviceIdentity, StoredToken
from lockjaw.gateway.pairing import MemoryDocuments
from lockjaw.gateway.server import GatewayServer
from lockjaw.runner.agent import AgentOutcome, AgentRequest, TurnClient
from lockjaw.runner.machine import Machine
from lockjaw.runner.models import ModelClient
from lockjaw.runner.service import build_gateway
from lockjaw.runner.stores import paths_of
from lockjaw.seeds import Seeds
from lockjaw.settings import AgentSettings, GatewaySettings, Provider, Settings

from ..faults import Fault
from ..faults.base import Met, Slot
from ..faults.door import Door, inside
from ..incident.actors import Caller, Scripted
from ..incident.scenario import Scenario
from ..play.performer import Performer
from .disk import Disk
from .files import SimFiles
from .locks import SimCalls, SimHost, Waiters
from .network import Network
from .process import Process, SimClock, SimRecorder
from .tools import sim_tools
from .view import View
from .world import World

if TYPE_CHECKING:
    from .wires import Wire

STATE = Path("/sim/state")
PORT = 18789
DRAIN_S = 0.0  # as the real rig has it: how long the gateway may go on is the scenario's to say (settle_s)


def settings_of(scenario: Scenario) -> Settings:
    """What ``openclaw.json`` of the real rig says, without a file."""
    first, *fallbacks = scenario.refs
    providers: dict[str, Provider] = {}
    for ref in scenario.refs:
        limits = {r.model: 4096 for r in scenario.refs if r.provider == ref.provider}
        providers[ref.provider] = Provider(ref.provider, "http://127.0.0.1:1/v1", "unused", limits)
    return Settings(
        state_dir=STATE,
        config_path=STATE / "openclaw.json",
        gateway=GatewaySettings(token="simulated"),  # noqa: S106  a token that opens nothing
        agent=AgentSettings(
            primary=first, fallbacks=tuple(fallbacks), timeout_s=scenario.timeout_s, workspace=STATE / "workspace"
        ),
        providers=providers,
        pacing=scenario.pacing,
        sessions=scenario.sessions,
    )


class MemoryTokens:
    """Issued device tokens, without a file."""

    def __init__(self) -> None:
        self._tokens: dict[tuple[str, str], StoredToken] = {}

    def load(self, device_id: str, role: str) -> StoredToken | None:
        return self._tokens.get((device_id, role))

    def store(self, device_id: str, role: str, token: str, scopes: Sequence[str]) -> None:
        self._tokens[device_id, role] = StoredToken(token, role, list(scopes), 0)

    def erase(self, device_id: str, role: str) -> None:
        self._tokens.pop((device_id, role), None)


class SimHands:
    """``faults.base.Hands`` of one simulated process."""

    def __init__(self, process: Process) -> None:
        self._process, self._world = process, process.world

    def record(self, fault: Fault, met: Met, **data: Any) -> None:
        self._act(fault.action, fault.says, at=f"before {met.operation} {self._world.short(met.path)}", **data)

    def die(self, fault: Fault, met: Met, where: str) -> NoReturn:
        self._world.die(self._process, f"{where} {met.operation} {self._world.short(met.path)}", fault.says)

    def freeze(self, fault: Fault, for_s: float) -> None:
        self._world.block(self._process, for_s)
        self._act("resume", f"wakes the {self._process.name}")

    def delay(self, for_s: float) -> None:
        self._world.block(self._process, for_s)

    def _act(self, action: str, says: str, **data: Any) -> None:
        told = {"action": action, "target": self._process.name, "pid": self._process.pid, "says": says}
        self._world.record("harness", "nemesis", "info", {**told, **data})


class Rig:
    """Builds the actors of a run. What outlives a process (disk, pairings, tokens, the device key) is here."""

    def __init__(self, world: World, scenario: Scenario, policy: str, seeds: Seeds, seed: int = 0) -> None:
        self.world, self.scenario, self.policy, self.seeds = world, scenario, policy, seeds
        self.settings = settings_of(scenario)
        self.waiters = Waiters()
        self.disk = Disk(lambda: world.now)
        self.disk.changed = self.waiters.changed
        world.written_bytes = lambda: self.disk.written_bytes
        world.log.disk = self.disk
        if any(fault.needs_past for fault in scenario.faults):
            self.disk.past = {}
        self.disk.make_folder(str(STATE / "workspace"))
        self.network = Network(world)
        self.wires: dict[str, Wire] = {}
        if scenario.links:
            from .wires import Wire  # most scenarios have no link
        for name, link in scenario.links.items():
            wire = self.wires[name] = Wire(world, name, seed, link.toxics)
            if link.to_gateway:
                self.network.lay(wire, *link.between)
        self.documents, self.tokens = MemoryDocuments(), MemoryTokens()
        self.identity = DeviceIdentity.generate(seeds.stream("device"))
        self.logs: dict[str, list[str]] = {}
        self._starts: dict[str, int] = {}
        self.slots = [Slot() for _ in scenario.faults]
        self._hosts: dict[Process, SimHost] = {}

    def process(self, name: str, role: str, *, namespace: int = 1, pid: int | None = None) -> Process:
        process = self.world.start(name, role, namespace=namespace, pid=pid)
        if found := inside(self.scenario.faults, name):
            slots = [self.slots[n] for n, _ in found]
            process.door = Door([fault for _, fault in found], slots, SimHands(process))
        process.at_death.append(lambda: self.disk.close_all(process))
        process.at_death.append(self.waiters.changed)
        return process

    def machine(self, process: Process) -> Machine:
        late = any(fault.needs_past and fault.target == process.name for fault in self.scenario.faults)
        disk = View(self.disk, process) if late else self.disk
        calls = SimCalls(process, disk, self.log(process.name))
        host = self._hosts[process] = SimHost(process, disk, self.waiters, calls)
        return Machine(SimFiles(process, disk), host)

    def ids(self, name: str) -> random.Random:
        """A stream for this start of an actor."""
        count = self._starts[name] = self._starts.get(name, 0) + 1
        return self.seeds.stream(f"ids/{name}/{count}")

    def _transport(self, models: Any, process: Process) -> Any:
        """How a process reaches the models: over a wire, if the scenario has one there."""
        inner, link = models.transport(process.name), self.scenario.link_of(process.name, "models")
        return inner if link is None else self.wires[link].transport(inner)

    def log(self, name: str) -> Callable[[str], None]:
        return self.logs.setdefault(name, []).append

    def port(self, gateway: str) -> int:
        """Where a gateway listens."""
        return PORT + ("gateway", *self.scenario.servers).index(gateway)

    def gateway(self, models: Any, name: str = "gateway") -> Process:
        """Start a gateway."""
        process, port = self.process(name, "gateway"), self.port(name)
        asyncio._set_running_loop(process.loop)
        try:
            clock = SimClock(process)
            process.at_death.append(lambda: models.drop_client(process.name))
            client = ModelClient(self.settings.providers, clock=clock, transport=self._transport(models, process))
            server: GatewayServer = build_gateway(
                self.settings, behaviour=BEHAVIOURS[self.policy], clock=clock, recorder=SimRecorder(process),
                models=client, log=self.log(name), ids=self.ids(name),
                nonces=self.ids("nonces" if name == "gateway" else f"nonces/{name}"), machine=self.machine(process),
                tools=sim_tools(process, self.disk), documents=self.documents,
            )  # fmt: skip
            server.begin()
            self.network.listen(process, port, server.serve_link)
            stop = asyncio.Event()

            async def serve() -> None:
                try:
                    await stop.wait()
                    self.network.close(process, port)
                    await server.stop(drain_s=DRAIN_S)
                finally:
                    await client.aclose()

            task = process.spawn(serve(), name)
        finally:
            asyncio._set_running_loop(None)
        task.add_done_callback(lambda task: self._exit(process, task))
        process.stop = lambda: process.loop.call_soon(stop.set)
        return process

    def client(
        self, models: Any, name: str = "client", caller: Caller | None = None
    ) -> tuple[Process, Callable[[], None]]:
        """Start a client that waits for its go. Returns the go. ``caller``: one of the cast."""
        process = self.process(name, "client")
        asyncio._set_running_loop(process.loop)
        try:
            clock, ids = SimClock(process), self.ids(name)
            process.at_death.append(lambda: models.drop_client(process.name))
            model_client = ModelClient(self.settings.providers, clock=clock, transport=self._transport(models, process))
            settings = self.settings
            if caller is None and self.scenario.client_token is not None:
                settings = replace(settings, gateway=replace(settings.gateway, token=self.scenario.client_token))
            # A client is paired by its own device key; the cast's clients are other programs of the same user.
            identity = self.identity if caller is None else DeviceIdentity.generate(self.seeds.stream(f"device/{name}"))
            tokens = self.tokens if caller is None else MemoryTokens()
            port = self.port(caller.asks if caller else "gateway")

            async def dial(gateway: GatewaySettings) -> Any:
                return await self.network.dial(process, port)

            def uplink(settings: Settings) -> GatewayClient:
                return GatewayClient(
                    settings, clock=clock, identity=identity, ids=ids, dial_limit_s=None, open_transport=dial,
                    tokens=tokens,
                )  # fmt: skip

            session_id = caller.session if caller else None
            request = AgentRequest(
                message=caller.message if caller else self.scenario.message, policy=self.policy, as_json=True,
                agent_id="main" if session_id is None else None, session_id=session_id,
                local=caller is not None and caller.local,
            )  # fmt: skip
            client = TurnClient(
                settings, request, clock=clock, recorder=SimRecorder(process), say=self.log(name),
                models=model_client, ids=ids, machine=self.machine(process), tools=sim_tools(process, self.disk),
                uplink=uplink,
            )  # fmt: skip

            async def run() -> AgentOutcome:
                try:
                    return await client.run()
                finally:
                    await model_client.aclose()

        finally:
            asyncio._set_running_loop(None)

        return process, self._go(process, run, lambda task: self._ended(process, task))

    def scripted(self, name: str, actor: Scripted, pid: int | None = None) -> tuple[Process, Callable[[], None]]:
        """Start a scripted actor that waits for its go. Returns the go."""
        process = self.process(name, "scripted", namespace=actor.namespace, pid=pid)
        performer = Performer(
            name, actor, paths=paths_of(self.settings), behaviour=BEHAVIOURS[self.policy], clock=SimClock(process),
            recorder=SimRecorder(process), machine=self.machine(process), ids=self.ids(name),
            touch=lambda path: self.disk.touch(str(path)), say=self.log(name),
        )  # fmt: skip

        def ended(task: asyncio.Task[Any]) -> None:
            code = 143 if task.cancelled() else 1
            if not task.cancelled():
                error = task.exception()
                if error is None:
                    code = task.result()
                else:
                    self.world.complain(process, {"message": "a scripted actor failed", "exception": error})
            self._wind_up(process, code, 0.5)

        return process, self._go(process, performer.run, ended)

    def _go(self, process: Process, run: Callable[[], Any], ended: Callable[[Any], None]) -> Callable[[], None]:
        def go() -> None:
            if process.alive:
                asyncio._set_running_loop(process.loop)
                try:
                    task = process.spawn(run(), process.role)
                finally:
                    asyncio._set_running_loop(None)
                process.stop = task.cancel
                task.add_done_callback(ended)

        process.stop = lambda: self.world.kill(process, 143)  # it has not begun
        return go

    def _exit(self, process: Process, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.world.complain(process, {"message": "the gateway ended", "exception": task.exception()})
        self._wind_up(process, 0, 0.5)

    def _wind_up(self, process: Process, code: int, interpreter_s: float) -> None:
        """What happens after the main task: what the process still has under way is cancelled and let finish, as
        ``asyncio.run`` does; what it still holds is given back, as ``atexit`` does; then the interpreter ends."""
        if not process.alive:
            return

        def end() -> None:
            self.world.at(self.world.now + interpreter_s, self.world.kill, process, code)

        left = [task for task in process.loop.tasks if not task.done()]
        host = self._hosts.get(process)
        if not left and not (host and host.holds.holding):
            end()
            return
        for task in left:
            task.cancel()

        async def finish() -> None:
            await asyncio.gather(*left, return_exceptions=True)
            if host is not None:
                host.holds.release_all()
            end()

        process.spawn(finish(), "the end")

    def _ended(self, process: Process, task: asyncio.Task[Any]) -> None:
        code = 143
        if not task.cancelled():
            error = task.exception()
            if error is None:
                code = task.result().exit_code
            else:
                code = 1
                self.world.complain(process, {"message": "the client failed", "exception": error})
        self._wind_up(process, code, 2.5)  # 0.1 real seconds at the usual time scale
