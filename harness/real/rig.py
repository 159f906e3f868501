"""The rig of one run: configuration, command lines and environments of its actors."""

from __future__ import annotations

import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..faults.door import inside
from ..incident.actors import Caller, Scripted
from ..incident.scenario import Scenario
from ..store import RunDirectory, readable
from .actors import Descriptors
from .ambush import Struck
from .board import make_board
from .scripted import ActorPlan

CONFIG = "openclaw.json"
SCRIPT = "models.yaml"
PLANS = "plans"


@dataclass(frozen=True)
class Launch:
    """What a command line is made of. ``port`` is 0 for "pick one"; ``python`` starts Lockjaw."""

    scenario: Scenario
    policy: str
    seed: int
    script: Path
    logs: Path
    port: int = 0
    # -P: the working directory is the run's, and must not be searched for modules.
    python: tuple[str, ...] = (sys.executable, "-P", "-m", "lockjaw")

    def plan(self, name: str) -> str:
        """The file that says to an actor's process what it is to do."""
        return str(self.script.with_name(PLANS) / f"{name}.json")


def command_of(name: str, launch: Launch, fds: Descriptors) -> list[str]:
    """The command line of one of Lockjaw's own programs: its fake models, gateway and client, and the cast."""
    scenario, role = launch.scenario, launch.scenario.role_of(name)
    if role == "models":
        journal = launch.logs / "model-requests.jsonl"
        options = ["--script", str(launch.script), "--port", str(launch.port), "--seed", str(launch.seed)]
        return [*launch.python, "serve", "model", *options, "--journal", str(journal), "--ready-fd", str(fds.ready)]
    if role == "scripted":
        return [*_module("scripted"), launch.plan(name), str(fds.ready), str(fds.go)]
    if role == "gateway":
        # No drain: how long the gateway may go on is the scenario's to say (settle_s), and it is over by then. The real
        # ones of these versions do not drain on SIGTERM either.
        options = ["--port", str(launch.port), "--policy", launch.policy, "--drain", "0"]
        return [*_ambushed(name, launch), "gateway", "run", *options, "--ready-fd", str(fds.ready)]
    caller = scenario.cast.get(name)
    if not isinstance(caller, Caller):
        return [*_ambushed(name, launch), *_asking(scenario.message, launch, fds)]
    local = ["--local"] if caller.local else []
    return [*_ambushed(name, launch), *_asking(caller.message, launch, fds, caller.session), *local]


def _ambushed(name: str, launch: Launch) -> tuple[str, ...]:
    """The command line of a runtime process; if the scenario strikes it from within, by way of ``ambush``."""
    if not _struck_within(launch.scenario, name):
        return launch.python
    return (*_module("ambush"), launch.plan(name))


def _module(name: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", f"lockjaw.harness.real.{name}")


def _asking(message: str, launch: Launch, fds: Descriptors, session: str | None = None) -> list[str]:
    where = ["--agent", "main"] if session is None else ["--session-id", session]
    options = [*where, "--message", message, "--policy", launch.policy, "--json"]
    return ["agent", *options, "--ready-fd", str(fds.ready), "--go-fd", str(fds.go)]


def _struck_within(scenario: Scenario, name: str) -> bool:
    return bool(inside(scenario.faults, name))


def prepare(run: RunDirectory, scenario: Scenario, policy: str) -> Path:
    """Write the models' script and the actors' plans, and make the workspace. Returns the script's path."""
    workspace_of(run).mkdir()
    script = run.path / SCRIPT
    script.write_bytes(readable(scenario.script()))  # JSON is YAML
    plans = run.path / PLANS
    plans.mkdir()
    make_board(board_of(run), len(scenario.faults))
    for name in scenario.names:
        found = inside(scenario.faults, name)
        struck = Struck(str(board_of(run)), tuple(n for n, _ in found), tuple(fault for _, fault in found))
        actor = scenario.cast.get(name)
        if isinstance(actor, Scripted):
            plan = ActorPlan(name, policy, str(run.state), scenario.sessions, actor, struck)
            (plans / f"{name}.json").write_bytes(readable(plan))
        elif found:
            (plans / f"{name}.json").write_bytes(readable(struck))
    return script


def board_of(run: RunDirectory) -> Path:
    """Where the scenario's faults remember things."""
    return run.path / PLANS / "board"


def workspace_of(run: RunDirectory) -> Path:
    return run.state / "workspace"


def write_config(run: RunDirectory, scenario: Scenario, model_port: int) -> Path:
    """Write ``openclaw.json``: the isolated loopback rig (facts G1), with a token that only this run knows."""
    path = run.state / CONFIG
    path.touch(mode=0o600)
    path.write_bytes(readable(config(run, scenario, model_port)))
    return path


def config(run: RunDirectory, scenario: Scenario, model_port: int) -> dict[str, Any]:
    first, *fallbacks = scenario.chain
    providers: dict[str, Any] = {}
    for ref in scenario.refs:
        provider = providers.setdefault(
            ref.provider,
            {
                "baseUrl": f"http://127.0.0.1:{model_port}/v1",
                "apiKey": "unused",
                "api": "openai-completions",
                "models": [],
            },
        )
        provider["models"].append(_model(ref.model))
    return {
        "gateway": {
            "mode": "local",
            "bind": "loopback",
            "auth": {"mode": "token", "token": secrets.token_urlsafe(24)},
            "controlUi": {"enabled": False},
            "tailscale": {"mode": "off"},
            "reload": {"mode": "off"},
            "channelHealthCheckMinutes": 0,
        },
        "models": {"mode": "replace", "providers": providers},
        "agents": {
            "defaults": {
                "model": {"primary": first, "fallbacks": fallbacks},
                "timeoutSeconds": scenario.timeout_s,
                "workspace": str(workspace_of(run)),
                "skipBootstrap": True,
                "heartbeat": {"every": "0m"},
                "memorySearch": {"enabled": False},
            }
        },
        "discovery": {"mdns": {"mode": "off"}},
        "update": {"checkOnStart": False},
        "canvasHost": {"enabled": False},
        "browser": {"enabled": False},
        "cron": {"enabled": False},
        "hooks": {"internal": {"enabled": False}},
        **({"sessions": {"store": scenario.sessions}} if scenario.sessions != "jsonl" else {}),
    }


def _model(name: str) -> dict[str, Any]:
    return {
        "id": name,
        "name": name,
        "reasoning": False,
        "input": ["text"],
        "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
        "contextWindow": 128_000,
        "maxTokens": 4096,
    }
