"""The real program as the target of a run: its configuration, command lines and environment.

The scenario's models, message, chain and ``timeout_s`` are mapped; time is real (scale 1), because nothing can speed
up a program that asks the machine for the time. What could not be mapped is said in ``notes``.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from lockjaw.errors import HarnessError, UsageError
from lockjaw.history import Record

from ...incident.scenario import Scenario
from ...real.actors import Descriptors, environment
from ...real.engine import RealWorld
from ...real.rig import CONFIG, config
from ...store import RunDirectory
from .. import launch
from ..namespace import Doors
from ..store import keep_json
from .cache import Installed
from .reading import CLIENT, GATEWAY, Expected
from .versions import Traits, traits_of
from .witness import Witness

PORT = 18789  # the program's own default: in a namespace of its own every port is free
READY_LINE = r"\[gateway\] ready"
PROBE_LIMIT_REAL_S = 120.0
PROBE_TRIES = 6

#: Keeps it quiet: no channels, no mDNS, no cron, no re-exec under another pid. See the protocol facts, G2.
QUIET = {
    "OPENCLAW_SKIP_CHANNELS": "1", "OPENCLAW_DISABLE_BONJOUR": "1", "OPENCLAW_SKIP_CRON": "1",
    "OPENCLAW_SKIP_CANVAS_HOST": "1", "OPENCLAW_SKIP_GMAIL_WATCHER": "1", "OPENCLAW_SKIP_ACPX_RUNTIME": "1",
    "OPENCLAW_NO_RESPAWN": "1", "OPENCLAW_HIDE_BANNER": "1", "NO_COLOR": "1",
}  # fmt: skip

_UNKNOWN_KEY = re.compile(r"(?P<path><root>|[\w.\[\]-]+): Unrecognized keys?: (?P<keys>\"[^\"]+\"(?:, \"[^\"]+\")*)")


@dataclass(frozen=True)
class OpenClaw:
    """One version as target. ``doors`` None: the user allowed the machine's own network.

    ``client``: None for the real command line, or the built-in policy of our own client.
    """

    installed: Installed
    doors: Doors | None
    client_policy: str | None = None
    port: int = field(default=PORT)

    @property
    def name(self) -> str:
        return f"openclaw@{self.installed.version}"

    @property
    def traits(self) -> Traits:
        return traits_of(self.installed.version)

    @property
    def facts(self) -> dict[str, Any]:
        """What a replay needs, for the manifest."""
        return {
            "client_policy": self.client_policy,
            "cache": str(self.installed.folder.parent.parent),
            "allow_network": self.doors is None,
            "integrity": self.installed.integrity,
        }

    @property
    def cannot(self) -> dict[str, str]:
        return {}

    def world(self, scenario: Scenario, **how: Any) -> OpenClawWorld:
        """The world of one run; ``how`` as ``RealWorld`` takes it."""
        return OpenClawWorld(self, scenario, **how)

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command in the target's namespace."""
        return launch.arguments(self.doors, command) if self.doors else list(command)

    @property
    def environment(self) -> dict[str, str]:
        """What keeps it quiet, and where a version that installs packages for its plugins finds them."""
        stage = self.installed.stage
        return QUIET | ({} if stage is None else {"OPENCLAW_PLUGIN_STAGE_DIR": str(stage)})

    def notes(self, scenario: Scenario, time_scale: float | None) -> list[str]:
        """What of the scenario this target cannot do."""
        found = []
        if time_scale is not None and time_scale != 1:
            found.append(f"time scale {time_scale:g}: the real program runs in real time, scale 1")
        if any(value for value in msgspec.to_builtins(scenario.pacing).values()):
            found.append("pacing: the real program's own steps take what they take")
        if scenario.timeout_s != int(scenario.timeout_s):
            used = max(1, round(scenario.timeout_s))
            found.append(f"timeout_s {scenario.timeout_s:g}: whole seconds only, {used} used")
        if self.installed.stage is not None:
            found.append("this version calls npm while it runs: a stand-in gives it packages installed beforehand")
        if self.traits.sqlite:
            found.append("this version keeps sessions in a database: read when all is over; its locks cannot be seen")
        if self.doors is None:
            found.append("no network namespace: the real program could reach the machine's network (--allow-network)")
        return found

    def configure(self, run: RunDirectory, scenario: Scenario, model_port: int) -> None:
        """Write ``openclaw.json`` without the keys that this version does not know."""
        path = run.state / CONFIG
        path.touch(mode=0o600)
        wanted = real_config(config(run, scenario, model_port), self.port)
        path.write_bytes(
            msgspec.json.format(msgspec.json.encode(without(wanted, self._unknown(run, wanted))), indent=2)
        )

    # ----------------------------------------------------------------- which keys it knows

    def _unknown(self, run: RunDirectory, wanted: dict[str, Any]) -> list[str]:
        """Keys of ours that this version refuses; asked once per version and kept beside it."""
        kept = self.installed.folder / "unknown-keys.json"
        try:
            return [str(key) for key in json.loads(kept.read_text(encoding="utf-8"))]
        except (OSError, ValueError):
            pass
        found: list[str] = []
        for _ in range(PROBE_TRIES):
            fresh = [key for key in unknown_keys(self._complaints(run, without(wanted, found))) if key not in found]
            if not fresh:
                break
            found += fresh
        keep_json(kept, found)
        return found

    def _complaints(self, run: RunDirectory, candidate: dict[str, Any]) -> str:
        """What the program says when it is to read this configuration."""
        folder = run.path / "probe"
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / CONFIG).write_bytes(msgspec.json.encode(candidate))
        places = {"HOME": folder, "OPENCLAW_STATE_DIR": folder, "OPENCLAW_CONFIG_PATH": folder / CONFIG}
        env = environment({"PATH": "/usr/bin:/bin"}, **places, **self.environment)
        command = self.inside([*self.installed.command, "config", "get", "gateway.mode"])
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=PROBE_LIMIT_REAL_S, env=env, cwd=folder, check=False,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise HarnessError(f"{self.name} does not answer `config get`", str(run.path)) from error
        return done.stdout + done.stderr


class OpenClawWorld(RealWorld):
    """``play.world.World`` of one run of the real program."""

    mends = False  # what its own next turn would mend is not ours to mend

    def __init__(self, target: OpenClaw, scenario: Scenario, **how: Any) -> None:
        self.target = target
        super().__init__(scenario, **how)
        self.witness = self._witness()

    # ----------------------------------------------------------------- the three programs

    def command(self, name: str, fds: Descriptors) -> Sequence[str]:
        target, logs = self.target, self.run.logs
        if name == GATEWAY:
            options = ["--port", str(target.port), "--bind", "loopback", "--verbose", "--ws-log", "compact"]
            return launch.arguments(
                target.doors, [*target.installed.command, "gateway", "run", *options],
                lines=_lines(logs, GATEWAY), ready_fd=fds.ready, port=target.port, ready_line=READY_LINE,
            )  # fmt: skip
        if name == CLIENT and target.client_policy is None:
            asking = ["agent", "--agent", "main", "--message", self.scenario.message]
            return launch.arguments(
                target.doors, [*target.installed.command, *asking], lines=_lines(logs, CLIENT), ready_fd=fds.ready,
                go_fd=fds.go,
            )  # fmt: skip
        if name in self.scenario.cast:
            raise UsageError("target", "", "builtin: the actors of a scenario are Lockjaw's own", target.name)
        return target.inside(super().command(name, fds))

    def environment(self) -> dict[str, str]:
        temporary = self.run.path / "tmp"
        temporary.mkdir(mode=0o700, exist_ok=True)
        return self.target.environment | {"TMPDIR": str(temporary)}

    def configure(self, model_port: int) -> None:
        self.target.configure(self.run, self.scenario, model_port)

    # ----------------------------------------------------------------- what can be seen of them

    def _witness(self) -> Witness:
        """Looks at the run. Makes the sessions folder, which would otherwise be watched too late."""
        target, run = self.target, self.run
        sessions = run.state / "agents" / "main" / "sessions"
        sessions.mkdir(parents=True, mode=0o700)
        lines = {GATEWAY: _lines(run.logs, GATEWAY)}
        if target.client_policy is None:
            lines[CLIENT] = _lines(run.logs, CLIENT)
        policy, traits = target.client_policy or target.traits.policy, target.traits
        expected = Expected(policy, self.scenario.message, traits.lock_timeout_s, not target.client_policy)
        return Witness(lines, sessions, run, self.clock, expected)

    def look(self, records: Sequence[Record]) -> None:
        self.witness.look(records)

    def finish(self) -> None:
        self.witness.finish()

    async def close(self) -> None:
        self.witness.close()
        await super().close()


def real_config(base: dict[str, Any], port: int) -> dict[str, Any]:
    """Our configuration, for a program that checks it strictly: whole seconds, a fixed port."""
    made: dict[str, Any] = json.loads(msgspec.json.encode(base))
    defaults = made["agents"]["defaults"]
    defaults["timeoutSeconds"] = max(1, round(defaults["timeoutSeconds"]))
    made["gateway"]["port"] = port
    made["models"]["pricing"] = {"enabled": False}
    return made


def unknown_keys(text: str) -> list[str]:
    """Dotted paths of the keys that the program says it does not know. Pure."""
    found = []
    for match in _UNKNOWN_KEY.finditer(text):
        prefix = "" if match["path"] == "<root>" else f"{match['path']}."
        found += [prefix + key for key in re.findall(r"\"([^\"]+)\"", match["keys"])]
    return list(dict.fromkeys(found))


def without(made: dict[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """A copy without the keys at these dotted paths."""
    copy: dict[str, Any] = json.loads(msgspec.json.encode(made))
    for path in paths:
        *folders, last = path.split(".")
        at: Any = copy
        for name in folders:
            at = at.get(name, {}) if isinstance(at, dict) else {}
        if isinstance(at, dict):
            at.pop(last, None)
    return copy


def _lines(logs: Path, actor: str) -> Path:
    return logs / f"{actor}.lines.jsonl"
