"""Lockjaw's programs as processes, as a person starts them; for the tests of the command line.

Nothing here waits a fixed time: processes tell that they are ready, and everything else is watched in their files.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from lockjaw.clock import ScaledClock
from lockjaw.fakes.models.script import load_model_script
from lockjaw.fakes.models.server import ModelServer
from lockjaw.history import MemoryRecorder, Record, read_records
from lockjaw.locking import inspect_lock
from lockjaw.sessions import read_entries

TOKEN = "the-right-token"
SECRET = "a-provider-key"
LOCKJAW = (sys.executable, "-P", "-m", "lockjaw")
PATIENCE_S = 60.0  # real; only something broken uses it up
_LOOK_S = 0.001


@dataclass
class Process:
    """A running command. ``events`` is where its records go; ``port`` is known once it is ready."""

    name: str
    popen: subprocess.Popen[bytes]
    events: Path
    out: Path
    err: Path
    port: int = 0

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    def records(self, op: str | None = None, phase: str | None = None) -> list[Record]:
        if not self.events.exists():
            return []
        return [r for r in read_records(self.events) if op in (None, r.op) and phase in (None, r.phase)]

    def stdout(self) -> str:
        return self.out.read_text(encoding="utf-8")

    def stderr(self) -> str:
        return self.err.read_text(encoding="utf-8")

    async def until(self, there: Callable[[], object], what: str) -> None:
        """Wait until something is there, or the process has ended."""
        async with asyncio.timeout(PATIENCE_S):
            while self.alive and not there():
                await asyncio.sleep(_LOOK_S)
        assert there(), f"{self.name} ended with {self.popen.poll()} and there was no {what}:\n{self.stderr()}"

    async def until_record(self, op: str, phase: str | None = None, count: int = 1) -> None:
        await self.until(lambda: len(self.records(op, phase)) >= count, f"record {op} {phase}")

    async def until_events(self, count: int, *, while_alive: Process) -> bool:
        """Wait for the n-th record of any kind; False if ``while_alive`` ended before it came."""
        async with asyncio.timeout(PATIENCE_S):
            while self._lines() < count and while_alive.alive:
                await asyncio.sleep(_LOOK_S)
        return self._lines() >= count

    async def ended(self) -> int:
        """The exit status, once it has ended."""
        async with asyncio.timeout(PATIENCE_S):
            while self.alive:
                await asyncio.sleep(_LOOK_S)
        assert self.popen.returncode is not None
        return self.popen.returncode

    def send(self, number: signal.Signals) -> None:
        if self.alive:
            self.popen.send_signal(number)

    def memory(self) -> int:
        """Bytes that it holds now; from here on ``peak`` counts (Linux)."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")
        return int(psutil.Process(self.pid).memory_info().rss)

    def peak(self) -> int:
        """The most bytes that it has held since ``memory``."""
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))

    def _lines(self) -> int:
        return self.events.read_bytes().count(b"\n") if self.events.exists() else 0


@dataclass
class Live:
    """A state folder with its configuration, and the processes that were started in it."""

    folder: Path
    clock: ScaledClock
    processes: list[Process] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    @property
    def sessions(self) -> Path:
        return self.state / "agents" / "main" / "sessions"

    def configure(self, model_port: int, *, models: tuple[str, ...] = ("m",), **defaults: Any) -> None:
        """Write openclaw.json for models behind one port."""
        self.state.mkdir(parents=True, exist_ok=True)
        self.workspace.mkdir(exist_ok=True)
        config = {
            "gateway": {"mode": "local", "auth": {"mode": "token", "token": TOKEN}},
            "models": {
                "providers": {
                    "fake": {
                        "baseUrl": f"http://127.0.0.1:{model_port}/v1",
                        "apiKey": SECRET,
                        "models": [{"id": name} for name in models],
                    }
                }
            },
            "agents": {
                "defaults": {
                    "model": {"primary": f"fake/{models[0]}", "fallbacks": [f"fake/{name}" for name in models[1:]]},
                    "workspace": str(self.workspace),
                    "timeoutSeconds": 60,
                    **defaults,
                }
            },
        }
        (self.state / "openclaw.json").write_text(json.dumps(config), encoding="utf-8")

    def environment(self, **changes: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPENCLAW_", "LOCKJAW_"))}
        own = {"HOME": str(self.folder), "OPENCLAW_STATE_DIR": str(self.state)}
        return kept | own | self.clock.to_environment() | changes

    def spawn(
        self, name: str, *arguments: str, env: Mapping[str, str] | None = None, fds: tuple[int, ...] = ()
    ) -> Process:
        number = len(self.processes)
        events = self.folder / f"{number}-{name}.events"
        out, err = self.folder / f"{number}-{name}.out", self.folder / f"{number}-{name}.err"
        full = self.environment(LOCKJAW_EVENTS=str(events), LOCKJAW_ACTOR=name) | dict(env or {})
        with out.open("wb") as stdout, err.open("wb") as stderr:
            popen = subprocess.Popen(
                [*LOCKJAW, *arguments], env=full, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=stdout,
                stderr=stderr, pass_fds=fds, start_new_session=True,
            )  # fmt: skip
        process = Process(name, popen, events, out, err)
        self.processes.append(process)
        return process

    async def server(self, name: str, *arguments: str, env: Mapping[str, str] | None = None) -> Process:
        """A command that takes ``--ready-fd``, once it is ready."""
        read, write = os.pipe()
        try:
            process = self.spawn(name, *arguments, "--ready-fd", str(write), env=env, fds=(write,))
        finally:
            os.close(write)
        os.set_blocking(read, False)
        line = b""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not line.endswith(b"\n"):
                    assert process.alive, f"{name} ended with {process.popen.returncode}:\n{process.stderr()}"
                    try:
                        line += os.read(read, 4096)
                    except BlockingIOError:
                        pass
                    await asyncio.sleep(_LOOK_S)
        finally:
            os.close(read)
        process.port = json.loads(line)["port"]
        return process

    async def models(self, script: Mapping[str, Any], **config: Any) -> Process:
        """``lockjaw serve model``, and a configuration that names it."""
        path = self.folder / "models.yaml"
        path.write_text(json.dumps({"models": script}), encoding="utf-8")
        process = await self.server("models", "serve", "model", "--script", str(path))
        self.configure(process.port, models=tuple(script), **config)
        return process

    async def gateway(self, *arguments: str, env: Mapping[str, str] | None = None) -> Process:
        return await self.server("gateway", "gateway", "run", "--port", "0", *arguments, env=env)

    def agent(
        self,
        *arguments: str,
        gateway: Process | None = None,
        message: str = "hello",
        env: Mapping[str, str] | None = None,
    ) -> Process:
        address = {"OPENCLAW_GATEWAY_PORT": str(gateway.port if gateway else 1)}
        return self.spawn("agent", "agent", "--message", message, *arguments, env=address | dict(env or {}))

    async def ask(
        self, *arguments: str, session: str = "", gateway: Process | None = None, message: str = "hello"
    ) -> str:
        """One turn of the main session (or another one) that must be answered; what the command printed."""
        where = ("--session-id", session) if session else ("--agent", "main")
        agent = self.agent(*where, *arguments, gateway=gateway, message=message)
        assert await agent.ended() == 0, agent.stderr()
        return agent.stdout()

    # ------------------------------------------------------------------ what is left

    def problems(self) -> list[str]:
        """Torn lines and other damage in any transcript, locks that are held or in the way."""
        found = [f"{p.name}: {problem}" for p in self.sessions.glob("*.jsonl") for problem in read_entries(p).problems]
        for lock in self.sessions.glob("*.lock"):
            view = inspect_lock(lock.with_name(lock.name.removesuffix(".lock")))
            found += [f"{lock.name}: {view}"] if view.exists else []
        return found

    def orphans(self) -> list[str]:
        """Living processes of this folder that are none of ours."""
        known = {process.pid for process in self.processes if process.alive}
        return [f"{p.pid} {p.cmdline()}" for p in psutil.process_iter() if p.pid not in known and self._is_ours(p)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                return False
            return str(self.folder) in (process.cwd(), process.environ().get("HOME", "")) or process.cwd().startswith(
                f"{self.folder}/"
            )
        except psutil.Error:
            return False

    def end_all(self) -> None:
        for process in self.processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.popen.wait(PATIENCE_S)


@asynccontextmanager
async def live(folder: Path, *, scale: float = 1.0) -> AsyncIterator[Live]:
    """A folder for processes; all of them are ended and reaped with the block, and none may be left over."""
    one = Live(folder, ScaledClock.start(scale))
    try:
        yield one
    finally:
        one.end_all()
    assert one.orphans() == []


@asynccontextmanager
async def fake_models(one: Live, script: Mapping[str, Any], **config: Any) -> AsyncIterator[MemoryRecorder]:
    """The fake model server inside the test, where a process for it would only cost time."""
    recorder = MemoryRecorder(one.clock, "models")
    server = ModelServer(load_model_script({"models": dict(script)}), clock=one.clock, recorder=recorder)
    one.configure(await server.start(), models=tuple(script), **config)
    try:
        yield recorder
    finally:
        await server.stop()
