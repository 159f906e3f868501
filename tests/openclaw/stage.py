"""A namespace with a state folder, our programs and the real one in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from lockjaw.harness.incident.scenario import Scenario
from lockjaw.harness.real.actors import environment
from lockjaw.harness.real.rig import prepare
from lockjaw.harness.store import RunDirectory
from lockjaw.harness.targets import launch
from lockjaw.harness.targets.namespace import Doors
from lockjaw.harness.targets.openclaw.cache import Installed
from lockjaw.harness.targets.openclaw.target import PORT, QUIET, OpenClaw

LOCKJAW = [sys.executable, "-P", "-m", "lockjaw"]
MODELS = 18080
PATIENCE_REAL_S = 240.0


class Stage:
    """Starts programs inside one namespace; leaving it ends and reaps them all."""

    def __init__(self, path: Path, doors: Doors, scenario: Scenario, installed: Installed) -> None:
        self.run = RunDirectory(path)
        for folder in (self.run.state, self.run.home, self.run.logs):
            folder.mkdir(parents=True)
        self.doors, self.openclaw = doors, installed
        self.target = OpenClaw(installed, doors)
        script = prepare(self.run, scenario, "takeover")
        self.target.configure(self.run, scenario, MODELS)
        (path / "tmp").mkdir()
        self.env = environment(
            os.environ, HOME=self.run.home, OPENCLAW_STATE_DIR=self.run.state, TMPDIR=path / "tmp",
            OPENCLAW_CONFIG_PATH=self.run.state / "openclaw.json", **QUIET,
        )  # fmt: skip
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        journal = ["--journal", str(path / "requests.jsonl")]
        self.start("models", [*LOCKJAW, "serve", "model", "--script", str(script), "--port", str(MODELS), *journal])
        self.wait_for("models", "ready")

    def start(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self.run.logs / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                launch.arguments(self.doors, command), env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        return self.processes[name]

    def our_gateway(self, *options: str) -> None:
        self.start("gateway", [*LOCKJAW, "gateway", "run", "--port", str(PORT), *options])
        self.wait_for("gateway", "listening")

    def mock_gateway(self, **script: Any) -> None:
        path = self.run.path / "gateway.yaml"
        path.write_text(json.dumps({"gateway": script}))
        options = ["--script", str(path), "--port", str(PORT), "--journal", str(self.run.path / "frames.jsonl")]
        self.start("gateway", [*LOCKJAW, "serve", "gateway", *options])
        self.wait_for("gateway", "ready")

    def real_gateway(self) -> None:
        self.start("gateway", [*self.openclaw.command, "gateway", "run", "--port", str(PORT), "--bind", "loopback"])
        self.wait_for("gateway", "[gateway] ready")

    def wait_for(self, name: str, text: str) -> None:
        deadline = time.monotonic() + PATIENCE_REAL_S
        while text not in self.log(name):
            assert self.processes[name].poll() is None, self.log(name)
            assert time.monotonic() < deadline, self.log(name)
            time.sleep(0.05)

    def log(self, name: str) -> str:
        return (self.run.logs / f"{name}.log").read_text(errors="replace")

    def agent(self, message: str, *options: str) -> subprocess.CompletedProcess[str]:
        """One turn with the real command line."""
        return self.call([*self.openclaw.command, "agent", "--agent", "main", "--message", message, *options])

    def our_agent(self, message: str, *options: str) -> subprocess.CompletedProcess[str]:
        return self.call([*LOCKJAW, "agent", "--agent", "main", "--message", message, *options])

    def call(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            launch.arguments(self.doors, command), env=self.env, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, timeout=PATIENCE_REAL_S + 300,
        )  # fmt: skip

    def requests(self) -> list[dict[str, Any]]:
        """What the model server saw."""
        text = (self.run.path / "requests.jsonl").read_bytes()
        return [entry for entry in map(msgspec.json.decode, text.splitlines()) if entry["ev"] == "req"]

    def transcripts(self) -> list[Path]:
        folder = self.run.state / "agents" / "main" / "sessions"
        return [p for p in sorted(folder.glob("*.jsonl")) if not p.name.endswith(".trajectory.jsonl")]

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        try:
            os.killpg(process.pid, 9)
        except ProcessLookupError:
            pass

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self.processes):
            self.stop(name)
