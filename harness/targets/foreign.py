"""A runtime that a file describes, as the world of a run: its server, its user, and its conversation.

Time is real (scale 1): nothing can speed up a program that asks the machine for the time. How a scenario is played
against programs that are not ours stands in its ``outside`` part: when the user gives up, what the user does then, how
slow the model is. Ports are fixed: in a network namespace of its own every port is free.

What the models say is in ``script``, what the users do in ``plans``, what is seen meanwhile in ``onlooker``.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from lockjaw.errors import UsageError
from lockjaw.history import Record

from ..incident.actors import Caller, Scripted
from ..incident.outside import Outside
from ..incident.scenario import Scenario
from ..real.actors import Actor, Descriptors
from ..real.engine import RealWorld
from ..real.rig import SCRIPT, command_of, workspace_of
from ..store import readable
from . import launch
from .launch import read_line
from .namespace import Doors
from .onlooker import Onlooker
from .plans import Planner
from .program import Program
from .script import FAST, script_of
from .session import problems_of, transcript_name
from .spec import TargetSpec, filled, filled_in
from .user import MOST_OUTPUT, Way

__all__ = ["Foreign", "ForeignWorld"]

GATEWAY_PORT, MODEL_PORT = 18800, 18801
SECOND_PORT_AFTER = 20  # beside the first gateway's; the fallback of a target has its own, below
SETUP_LIMIT_REAL_S = 300.0  # a program of 400 MB starts slowly on a busy machine
NEXT_TURN_LIMIT_REAL_S = 120.0  # beside what the file says of its start
LAST_WORDS_REAL_S = 5.0  # a scribe has written down within it what its program said before it ended
NEXT_MESSAGE = "LJ-9 Is the session free?"


@dataclass(frozen=True)
class Foreign:
    """One version of a runtime. ``doors`` None: the user allowed the machine's own network.

    ``folder``: its installation; None: the programs of the file are found on the harness's own PATH. ``here``: the
    folder of its file.
    """

    spec: TargetSpec
    program: Program
    version: str
    folder: Path | None
    doors: Doors | None
    gateway_port: int = GATEWAY_PORT
    model_port: int = MODEL_PORT
    integrity: Mapping[str, str] = field(default_factory=dict)
    here: Path = Path()

    @property
    def name(self) -> str:
        return f"{self.spec.name}@{self.version}"

    @property
    def facts(self) -> dict[str, Any]:
        return {"allow_network": self.doors is None, "integrity": dict(self.integrity)}

    @property
    def cannot(self) -> Mapping[str, str]:
        """law -> why it cannot be judged from outside."""
        unseen = {} if self.spec.holder.visible else {"no_lock_left": "its locks cannot be seen from outside"}
        return unseen | self.spec.cannot

    def notes(self, scenario: Scenario, time_scale: float | None) -> list[str]:
        found = [f"{law} cannot be judged: {why}" for law, why in self.cannot.items() if law in scenario.checks]
        if time_scale is not None and time_scale != 1:
            found.append(f"time scale {time_scale:g}: the program runs in real time, scale 1")
        if self.doors is None:
            found.append("no network namespace: the program could reach the machine's network (--allow-network)")
        return found

    def world(self, scenario: Scenario, **how: Any) -> ForeignWorld:
        if scenario.outside is None:
            raise UsageError(
                "scenario", "", "one with an `outside` part, which says how other programs play it", scenario.name
            )
        return ForeignWorld(self, scenario, scenario.outside, **how)

    def shown(self, way: Way, message: str) -> str:
        """The command line of a turn as a person would type it; SESSION stands for the conversation."""
        values = {"port": str(self.gateway_port), "session": "SESSION", "message": message, "version": self.version}
        values |= dict.fromkeys(("home", "work", "run", "install", "model_url", "here"), "...")
        words = [filled(word, values) for word in self.program.turn(way)]
        return f"$ {shlex.join('python' if word == sys.executable else word for word in words)}"

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command in the target's namespace."""
        return launch.arguments(self.doors, command) if self.doors else list(command)


class ForeignWorld(RealWorld):
    """``play.world.World`` of one run."""

    mends = False  # what its own next turn would mend is not ours to mend

    def __init__(self, target: Foreign, scenario: Scenario, outside: Outside, **how: Any) -> None:
        self.target, self.outside = target, outside
        run = how["run"]
        self.values = {
            "home": str(run.home), "work": str(workspace_of(run)), "run": str(run.path), "version": target.version,
            "port": str(target.gateway_port), "model_url": f"http://127.0.0.1:{target.model_port}/v1", "message": "",
            "session": "", "install": str(target.folder or ""), "here": str(target.here),
        }  # fmt: skip
        self._died_at: dict[str, float] = {}  # servers that ended before they were ready; real, monotonic
        self._begun = False
        super().__init__(scenario, **how)
        self._onlooker = Onlooker(
            target.program, scenario, outside, self.values, clock=self.clock, events=self.run.events,
            actors=lambda: {actor.pid: actor.name for actor in self.actors.all},
            tell_client=lambda number: self.process("client").signal(number),
        )  # fmt: skip

    # ----------------------------------------------------------------- the programs

    def prepare(self) -> None:
        super().prepare()
        script = script_of(self.outside, self.target.spec, self.scenario, workspace_of(self.run))
        (self.run.path / SCRIPT).write_bytes(readable(script))

    def command(self, name: str, fds: Descriptors) -> Sequence[str]:
        target, spec = self.target, self.target.spec
        if name == "models":
            return target.inside(command_of(name, replace(self.launch(name), port=target.model_port), fds))
        if name == "gateway" or name in self.scenario.servers:
            ready, port = spec.gateway.ready, self._port_of(name)
            command = spec.gateway.command if name == "gateway" else spec.gateway.second or spec.gateway.command
            values = {**self.values, "port": str(port)}
            return launch.arguments(
                target.doors, filled_in(command, values), lines=self.run.logs / f"{name}.lines.jsonl",
                ready_fd=fds.ready, port=port, ready_line=ready.line or "", ready_http=filled(ready.http or "", values),
            )  # fmt: skip
        if name == "client" or isinstance(self.scenario.cast.get(name), Caller):
            module = f"{__package__}.user"
            plan = self.launch(name).plan(name)
            return target.inside([sys.executable, "-P", "-m", module, plan, str(fds.ready), str(fds.go)])
        if spec.store.held is not None:
            module = f"{__package__}.holding"
            return [sys.executable, "-P", "-m", module, self.launch(name).plan(name), str(fds.ready), str(fds.go)]
        raise UsageError("target", "", "a target that names what can be held of its store (key store)", target.name)

    def _port_of(self, server: str) -> int:
        return self.target.gateway_port + SECOND_PORT_AFTER * ("gateway", *self.scenario.servers).index(server)

    def ready(self, process: Actor) -> bool:
        """A second server may refuse to start beside the first: that is something to see, not a failure of ours."""
        if process.name not in self.scenario.servers or process.ready is not None or process.alive:
            return super().ready(process)
        log = self.run.logs / f"{process.name}.lines.jsonl"
        words = self._words_of_a_lock([read_line(raw).text for raw in log.read_bytes().splitlines()])
        if not words:
            died_at = self._died_at.setdefault(process.name, time.monotonic())
            if time.monotonic() - died_at < LAST_WORDS_REAL_S:
                return False  # its scribe, which outlives it, may be about to write them down
            return super().ready(process)  # it raises
        self.refused[process.name] = words
        return True

    def environment(self) -> dict[str, str]:
        temporary = self.run.path / "tmp"
        temporary.mkdir(mode=0o700, exist_ok=True)
        spec = self.target.spec
        own = {key: filled(value, self.values) for key, value in spec.environment.items()}
        fixed = {"TMPDIR": str(temporary), "LANG": "C.UTF-8", "TERM": "dumb", "NO_COLOR": "1", "DO_NOT_TRACK": "1"}
        return fixed | {"PATH": self._path()} | own

    def _path(self) -> str:
        folder, install = self.target.folder, self.target.spec.install
        if folder is None:
            return os.environ.get("PATH", "/usr/bin:/bin")
        inside = install.bin or ("bin" if install.pip else "node_modules/.bin",)
        return ":".join([*(str(folder / one) for one in inside), "/usr/local/bin", "/usr/bin", "/bin"])

    def configure(self, model_port: int) -> None:
        """Write the program's files, set the workspace up, and begin the session."""
        spec = self.target.spec
        for file in spec.file:
            path = Path(filled(file.path, self.values))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(filled(file.text, self.values), encoding="utf-8")
            path.chmod(0o600)
        for command in spec.setup:
            self._do("set up the workspace", command)
        self.values["session"] = self._session()
        planner = Planner(self.target.program, self.scenario, self.outside, self.values, self._port_of, self.run.logs)
        for name, plan in planner.plans().items():
            Path(self.launch(name).plan(name)).write_bytes(msgspec.json.encode(plan))

    def _session(self) -> str:
        client = self.target.spec.client
        if not client.new:
            return client.session
        said = self._do("begin the session", client.new, message="LJ-0 Hello.")
        found = re.search(client.session, said)
        if found is None:
            raise self.failure(f"no session id in what the first turn printed ({client.session!r}): {said[-300:]}")
        return found[1]

    def _do(self, what: str, command: Sequence[str], message: str = "") -> str:
        """Run a program of the target's to its end. Returns what it printed; raises HarnessError if it fails."""
        self.values["message"] = message
        words = filled_in(command, self.values)
        try:
            done = self._ran(words, SETUP_LIMIT_REAL_S)
        except subprocess.TimeoutExpired as error:
            raise self.failure(f"cannot {what}: {words[0]} did not end in {SETUP_LIMIT_REAL_S:g} s") from error
        said = done.stdout
        if done.returncode:
            raise self.failure(f"cannot {what}: {words[0]} exited {done.returncode}: {said[-400:]}")
        return said

    def _ran(self, command: Sequence[str], limit_real_s: float) -> subprocess.CompletedProcess[str]:
        """A program of the target's, run to its end as its user would; ``stdout`` has what it wrote to either stream.

        Into a file: what it leaves running would keep a pipe open, and us waiting. Raises TimeoutExpired.
        """
        with tempfile.TemporaryFile("w+", errors="replace") as out:
            done = subprocess.run(
                self.target.inside(command), stdout=out, stderr=subprocess.STDOUT, timeout=limit_real_s, check=False,
                stdin=subprocess.DEVNULL, env=self.actors.marked_environment, cwd=self.values["work"],
            )  # fmt: skip
            out.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, out.read(MOST_OUTPUT))

    # ----------------------------------------------------------------- what can be seen

    def begin(self) -> None:
        super().begin()
        self._begun = True
        for name, words in self.refused.items():
            self._onlooker.refused(name, words)

    def look(self, records: Sequence[Record]) -> None:
        self._onlooker.look(records if self._begun else (), self._is_held_up)
        if self.values["session"]:
            self._onlooker.look_for_owners()

    def _is_held_up(self) -> bool:
        """The server cannot end its turn now, however quiet it is at the models."""
        return self.held_up(self.process("gateway")) or self._store_is_held()

    def _store_is_held(self) -> bool:
        return any(
            isinstance(actor, Scripted) and self.went(self.process(name)) and self.process(name).alive
            for name, actor in self.scenario.cast.items()
        )

    # ----------------------------------------------------------------- the end

    def stop(self, process: Actor) -> bool:
        if process.name == "models":  # the last to end, and the next turn asks them
            self._look_back()
        return super().stop(process)

    def _look_back(self) -> None:
        """Everybody else has ended: the conversation as it stands, and whether the next turn could begin."""
        messages = self.target.program.messages(self.values)
        self.recorder.record(
            "transcript.final", path=self._transcript, session_id=self.values["session"], lines=len(messages),
            problems=problems_of(messages), user_messages=[m.text for m in messages if m.role == "user"],
            assistant_texts=[m.text for m in messages if m.role == "assistant" and m.text],
        )  # fmt: skip
        command = self.target.spec.client.own
        if command:
            self.values["message"] = NEXT_MESSAGE
            self._try_next_turn(filled_in(command, self.values))

    def _try_next_turn(self, command: Sequence[str]) -> None:
        """Only the program's words for a locked session count against it; another failure says nothing."""
        try:
            done = self._ran(command, NEXT_TURN_LIMIT_REAL_S + self.target.spec.client.own_starts_s)
        except subprocess.TimeoutExpired:
            return
        said = done.stdout
        locked = self._words_of_a_lock(said.splitlines())
        if FAST in said:
            self.recorder.record("next_turn", "ok", path=self._transcript)
        elif locked:
            self.recorder.record("next_turn", "fail", path=self._transcript, error=locked)

    def _words_of_a_lock(self, lines: Sequence[str]) -> str:
        """The first line with the program's words for a locked session; empty: none."""
        patterns = self.target.spec.locked
        return next((line for line in lines if any(re.search(p, line) for p in patterns)), "").strip()[:400]

    @property
    def _transcript(self) -> str:
        return transcript_name(self.values["session"])

    def files(self) -> list[str]:
        return []  # its locks and transcripts are not in our format

    async def close(self) -> None:
        self._onlooker.close()
        shutil.rmtree(self.run.path / "tmp", ignore_errors=True)
        await super().close()
