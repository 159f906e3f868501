"""A runtime that a file describes, as the world of a run: its server, its user, and what can be seen of its session.

Time is real (scale 1): nothing can speed up a program that asks the machine for the time. How a scenario is played
against programs that are not ours stands in its ``outside`` part: when the user gives up, what the user does then, how
slow the model is. Ports are fixed: in a network namespace of its own every port is free.

Records that the runtime does not write itself are made from what was seen, never guessed: owners of the session's lock
(``lock``, ``lock.release``), requests at the fake model server, what the user saw, and the conversation on disk.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
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
from lockjaw.history import FileRecorder, Record

from ..incident.actors import Caller, Scripted
from ..incident.outside import Outside
from ..incident.scenario import Scenario
from ..real.actors import Actor, Descriptors
from ..real.engine import RealWorld
from ..real.rig import SCRIPT, command_of, workspace_of
from ..store import readable
from . import launch
from .holding import Hold
from .launch import read_line
from .namespace import Doors
from .session import Message, Owner, messages_of, owners_of, problems_of
from .spec import TargetSpec, filled
from .user import MOST_OUTPUT, Attempt, Plan, Way

__all__ = ["Foreign", "ForeignWorld", "Program"]

GATEWAY_PORT, MODEL_PORT = 18800, 18801
SECOND_PORT_AFTER = 20  # beside the first gateway's; the fallback of a target has its own, below
SETUP_LIMIT_REAL_S = 300.0  # a program of 400 MB starts slowly on a busy machine
NEXT_TURN_LIMIT_REAL_S = 120.0  # beside what the file says of its start
LAST_WORDS_REAL_S = 5.0  # a scribe has written down within it what its program said before it ended
QUIET_S = 1.5  # without a request at the models, beside the tool's own time: the gateway has ended its turn
FAST = "The quick answer."
NEXT_MESSAGE = "LJ-9 Is the session free?"


class Program:
    """What a file cannot say. A class of this name beside ``target.toml`` (``target.py``) may replace any method."""

    def __init__(self, spec: TargetSpec, version: str) -> None:
        self.spec, self.version = spec, version

    def turn(self, way: Way) -> tuple[str, ...]:
        """The command of a turn, placeholders included: through the gateway, or in a process of its own."""
        return self.spec.client.own if way == "own" else self.spec.client.gateway

    def messages(self, values: Mapping[str, str]) -> list[Message]:
        """The conversation as it stands on disk, oldest first."""
        return messages_of(self.spec.messages, values, values["session"])

    def owners(self, values: Mapping[str, str]) -> list[Owner] | None:
        """Who owns the session now; None: it cannot be seen."""
        return owners_of(self.spec.holder, values)


@dataclass(frozen=True)
class Foreign:
    """One version of a runtime. ``doors`` None: the user allowed the machine's own network.

    ``folder``: its installation; None: the programs of the file are found on the harness's own PATH.
    """

    spec: TargetSpec
    program: Program
    version: str
    folder: Path | None
    doors: Doors | None
    gateway_port: int = GATEWAY_PORT
    model_port: int = MODEL_PORT
    integrity: Mapping[str, str] = field(default_factory=dict)

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
        values |= dict.fromkeys(("home", "work", "run", "install", "model_url"), "...")
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
            "session": "", "install": str(target.folder or ""),
        }  # fmt: skip
        self._owners: dict[int, str] = {}  # pid -> actor
        self._died_at: dict[str, float] = {}  # servers that ended before they were ready; real, monotonic
        self._open: set[str] = set()  # requests at the models
        self._marker = outside.marker_in(scenario.message)
        self._asked, self._accepted, self._quiet_since, self._begun = 0, "", 0.0, False
        super().__init__(scenario, **how)
        self._seen: dict[str, FileRecorder] = {}

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
        own = {key: self._text(value) for key, value in spec.environment.items()}
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
            path = Path(self._text(file.path))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._text(file.text), encoding="utf-8")
            path.chmod(0o600)
        for command in spec.setup:
            self._do("set up the workspace", command)
        self.values["session"] = self._session()
        plans = Path(self.launch("client").plan("client")).parent
        for name, plan in (self._plans() | self._holds()).items():
            (plans / f"{name}.json").write_bytes(msgspec.json.encode(plan))

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
        filled_in = self._filled(command)
        try:
            done = self._ran(filled_in, SETUP_LIMIT_REAL_S)
        except subprocess.TimeoutExpired as error:
            raise self.failure(f"cannot {what}: {filled_in[0]} did not end in {SETUP_LIMIT_REAL_S:g} s") from error
        said = done.stdout
        if done.returncode:
            raise self.failure(f"cannot {what}: {filled_in[0]} exited {done.returncode}: {said[-400:]}")
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

    def _plans(self) -> dict[str, Plan]:
        """What each user does: the client gives up and goes on as ``outside.then`` says; a caller asks once."""
        client, outside = self.target.spec.client, self.outside
        attempts = [self._attempt("gateway", self.scenario.message, outside.patience_s, outside.gives_up_s)]
        then: dict[str, Way] = {"again": "gateway", "own": "own"}
        if outside.then in then and (client.own or outside.then != "own"):
            later = self._attempt(then[outside.then], outside.says or self.scenario.message, outside.patience_s)
            attempts.append(msgspec.structs.replace(later, waits_s=outside.waits_s))
        plans = {"client": self._plan(attempts)}
        for name, actor in self.scenario.cast.items():
            if isinstance(actor, Caller):
                way: Way = "own" if actor.local and client.own else "gateway"
                asked = self._attempt(way, actor.message, outside.patience_s, server=actor.asks)
                plans[name] = self._plan([asked])
        return plans

    def _holds(self) -> dict[str, Hold]:
        """What the rest of the cast does: it holds the store."""
        held = self.target.spec.store.held
        if held is None:
            return {}
        cast = [name for name, actor in self.scenario.cast.items() if isinstance(actor, Scripted)]
        return {name: Hold(self._text(held[1]), held[0], self.outside.holds_s) for name in cast}

    def _attempt(
        self, way: Way, message: str, deadline_s: float, once_asked_s: float | None = None, server: str = "gateway"
    ) -> Attempt:
        values = {**self.values, "message": message, "port": str(self._port_of(server))}
        command = tuple(filled_in(self.target.program.turn(way), values))
        if way == "own":
            deadline_s += self.target.spec.client.own_starts_s
        return Attempt(way, command, deadline_s, once_asked_s)

    def _plan(self, attempts: Sequence[Attempt]) -> Plan:
        return Plan(
            tuple(attempts), (self.outside.answer,), self.target.spec.locked, self._lock_path, self.values["session"],
            str(self.run.logs),
        )  # fmt: skip

    # ----------------------------------------------------------------- what can be seen

    @property
    def _lock_path(self) -> str:
        return f"{self._transcript}.lock"

    @property
    def _transcript(self) -> str:
        return f"{self.values['session'] or 'session'}.jsonl"

    def begin(self) -> None:
        super().begin()
        self._begun = True
        for name, words in self.refused.items():
            told = {"error": words, "kind": "timeout", "waited_s": 0.0, "owner": ""}
            self._record_lock(name, "lock", "invoke", owner=name, timeout_s=0.0)
            self._record_lock(name, "lock", "fail", **told)

    def look(self, records: Sequence[Record]) -> None:
        for record in records:
            if record.op == "provider.request" and self._begun:
                self._request(record)
        now = self.clock.monotonic()
        if self._open or not self._accepted or self.held_up(self.process("gateway")) or self._store_is_held():
            self._quiet_since = now
        elif now - self._quiet_since > QUIET_S + self.outside.effect_s:
            self._seen_of("gateway").record("gateway.final", run_id=self._accepted, status="unknown")
            self._accepted = ""
        self._look_for_owners()

    def _store_is_held(self) -> bool:
        return any(
            isinstance(actor, Scripted) and self.went(self.process(name)) and self.process(name).alive
            for name, actor in self.scenario.cast.items()
        )

    def _request(self, record: Record) -> None:
        request = str(record.data.get("request_id"))
        if record.phase != "invoke":
            self._open.discard(request)
            return
        if self._marker not in record.data.get("asks", ()):
            return
        self._open.add(request)
        self._asked += 1
        most = self.scenario.bounds.calls
        if most is not None and self._asked == most + 1:  # two processes that answer each other never end
            self.process("client").signal(signal.SIGUSR2)
        if self._asked == 1:  # it comes from the server: nobody else has the question yet
            self._accepted = "try-0"
            self._seen_of("gateway").record(
                "gateway.accepted", run_id="try-0", session_id=self.values["session"], session_key=""
            )
            self.process("client").signal(signal.SIGUSR1)

    def _look_for_owners(self) -> None:
        if not self.values["session"]:
            return
        owners = {owner.pid: owner for owner in self.target.program.owners(self.values) or []}
        for pid in [pid for pid in self._owners if pid not in owners]:
            self._record_lock(self._owners.pop(pid), "lock.release", "info", owner=f"pid-{pid}", removed=True)
        for pid, owner in owners.items():
            actor = self._actor_of(pid)
            if pid not in self._owners and actor:
                self._owners[pid] = actor
                self._record_lock(actor, "lock", "invoke", owner=f"pid-{pid}", timeout_s=0.0)
                self._record_lock(
                    actor, "lock", "ok", owner=f"pid-{pid}", generation=owner.generation, waited_s=0.0, reclaimed=False
                )

    def _record_lock(self, actor: str, op: str, phase: Any, **data: Any) -> None:
        self._seen_of(actor).record(op, phase, path=self._lock_path, **data)

    def _seen_of(self, actor: str) -> FileRecorder:
        """Writes down what was seen of an actor."""
        if actor not in self._seen:
            self._seen[actor] = FileRecorder(self.run.events / f"seen-{actor}.jsonl", self.clock, actor)
        return self._seen[actor]

    def _actor_of(self, pid: int) -> str:
        """The actor that this process is, or descends from; empty: nobody of this run."""
        named = {actor.pid: actor.name for actor in self.actors.all}
        while pid > 1:
            if pid in named:
                return named[pid]
            try:
                pid = int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                return ""
        return ""

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
            self._try_next_turn(self._filled(command))

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

    def files(self) -> list[str]:
        return []  # its locks and transcripts are not in our format

    async def close(self) -> None:
        for recorder in self._seen.values():
            recorder.close()
        shutil.rmtree(self.run.path / "tmp", ignore_errors=True)
        await super().close()

    def _text(self, text: str) -> str:
        return filled(text, self.values)

    def _filled(self, command: Sequence[str]) -> list[str]:
        return filled_in(command, self.values)


def filled_in(command: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """A command with its placeholders filled."""
    return [filled(word, values) for word in command]


def script_of(outside: Outside, spec: TargetSpec, scenario: Scenario, work: Path) -> dict[str, Any]:
    """The models' script of a run: the user's question is answered slowly, after a tool if there is to be an effect.

    A step repeats for every request that fits, so a second run of the question is served like the first; a fake that
    counted would hide it.
    """
    mine, other = outside.marker_of(scenario.message), {"text": FAST}
    slow = {"text": outside.answer, "first_token_s": outside.answers_s}
    steps: list[dict[str, Any]] = [other]
    if outside.effect is not None:
        if spec.tool is None:
            raise UsageError("target", "", "a target with a tool that runs a shell command", spec.name)
        line = f"echo {outside.effect} >> {json.dumps(str(work / outside.ledger))}"
        if outside.effect_s:
            line += f"; sleep {outside.effect_s:g}"
        arguments = {**spec.tool.more, spec.tool.argument: line}
        call = {"tool_calls": [{"name": spec.tool.name, "arguments": arguments}]}
        steps.append({**call, "when": {"text": mine, "after_tool": False}})
    steps.append({**slow, "when": {"text": mine}})
    if outside.says is not None:
        text = {"text": outside.answer, "first_token_s": outside.other_answers_s}
        steps.append({**text, "when": {"text": outside.marker_of(outside.says, "says")}})
    for name, actor in scenario.cast.items():
        if isinstance(actor, Caller) and actor.message != scenario.message:
            text = {"text": outside.answer, "first_token_s": outside.other_answers_s}
            steps.append({**text, "when": {"text": outside.marker_of(actor.message, name)}})
    quick = {model: [other] for model in spec.models}
    return {"models": {**quick, "*": steps}, "aside": list(spec.models)}
