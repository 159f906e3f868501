"""``lockjaw agent``: one gateway call, and the fallback policy when it fails. The thin shell.

``TurnClient`` performs the effects of ``runner/policy.py`` with real sockets and files; everything that decides
lives there. Cancelling ``TurnClient.run`` asks the gateway to stop the run (bounded) and leaves no lock behind.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.clock import Clock, ScaledClock
from lockjaw.errors import (
    ConnectionLost,
    LocalError,
    LockjawError,
    RemoteError,
    RequestRejected,
    RequestTimedOut,
    RunAborted,
    StateInUse,
    UsageError,
    printed,
)
from lockjaw.gateway.call import call_gateway
from lockjaw.gateway.client import GatewayClient
from lockjaw.gateway.params import AgentParams, AgentWaitParams, ChatAbortParams, HealthParams
from lockjaw.history import Recorder
from lockjaw.locking import release_all_held
from lockjaw.process import (
    announce_ready,
    ids_from_environment,
    recorder_from_environment,
    until_stopped,
    wait_for_go,
)
from lockjaw.runner.approvals import permitted_tools
from lockjaw.runner.attempt import TurnPlan
from lockjaw.runner.embedded import EmbeddedRunner
from lockjaw.runner.machine import THIS_MACHINE, Machine
from lockjaw.runner.models import ModelClient
from lockjaw.runner.policy import (
    POLICY_FUNCTIONS,
    Answer,
    Ask,
    Effect,
    Fence,
    GatewayFailure,
    Look,
    RunEmbedded,
    RunState,
    Say,
    Step,
    Stop,
    StopReply,
    TakeLock,
)
from lockjaw.runner.reply import AbortReply, MalformedReply, WaitReply, shown
from lockjaw.runner.reply import read as reply_of
from lockjaw.runner.result import result_of
from lockjaw.runner.session_taking import Session, SessionTaking
from lockjaw.runner.stores import paths_of
from lockjaw.runner.tools import Tool, built_in_tools
from lockjaw.seeds import uuid4
from lockjaw.sessions import (
    Transcript,
    agent_of_key,
    explicit_session_key,
    main_session_key,
    normalize_agent_id,
    validate_session_id,
)
from lockjaw.settings import Pacing, Settings
from lockjaw.visible import show_as_it_is, show_json, tell

EXIT_ANSWERED, EXIT_FAILED, EXIT_USAGE, EXIT_DUPLICATE_POSSIBLE = 0, 1, 2, 5
SIDE_CALL_FLOOR_REAL_S = 1.0
ABORT_LIMIT_S = 2.0  # an interrupted command must end soon; 2026.7.1 gives its chat.abort the same
STATE_LIMIT_S = 5.0  # how long an embedded run of 2026.8 waits to learn whether a gateway runs


@dataclass(frozen=True)
class AgentRequest:
    """What the user asked for. ``timeout_s`` None: the configuration's; 0: no limit. Durations are nominal."""

    message: str
    agent_id: str | None = None
    to: str | None = None
    session_id: str | None = None
    timeout_s: float | None = None
    policy: str = "takeover"
    patience_s: float = 600.0
    local: bool = False
    as_json: bool = False


@dataclass(frozen=True)
class AgentOutcome:
    """What the command prints and how it exits."""

    exit_code: int
    stdout: str = ""
    error: str = ""


class TurnClient:
    """One user turn: through the gateway if it answers, by the policy if it does not.

    Args:
        say: prints one line for the user on stderr.
        ids: stream for run ids and session ids.
        machine, tools: where sessions and locks are, what models may call; this machine's own unless given.
        uplink: makes the client of one gateway call; the simulation brings its own.
    """

    def __init__(
        self,
        settings: Settings,
        request: AgentRequest,
        *,
        clock: Clock,
        recorder: Recorder,
        say: Callable[[str], None],
        models: ModelClient,
        ids: random.Random | None = None,
        machine: Machine = THIS_MACHINE,
        tools: Mapping[str, Tool] | None = None,
        uplink: Callable[[Settings], GatewayClient] | None = None,
    ) -> None:
        self.machine, self._uplink = machine, uplink
        self.settings, self.request, self.clock, self.recorder = settings, request, clock, recorder
        self.behaviour = BEHAVIOURS[request.policy]
        self._ids = ids or random.SystemRandom()
        self._print = say
        self.paths = paths_of(settings)
        self.runner = EmbeddedRunner(
            settings, behaviour=self.behaviour, clock=clock, recorder=recorder, models=models,
            tools=built_in_tools() if tools is None else tools, log=self._say, ids=self._ids, machine=machine,
        )  # fmt: skip
        self.taking = SessionTaking(
            self.behaviour, file=self._file, moved=self._moved, clock=clock, recorder=recorder, machine=machine,
            turn_s=max(request.patience_s, settings.run_timeout_s(request.timeout_s)), say=self._say,
        )  # fmt: skip
        self._conversation: Session | None = None  # as far as it is known by now

    # ------------------------------------------------------------------ the whole turn

    async def run(self) -> AgentOutcome:
        """Ask, fall back, and say how it ended. Raises no LockjawError of the turn itself, and no error of the disk."""
        try:
            try:
                self._conversation = self._resolve()
                answer = await self._turn(self._conversation)
            finally:
                await self.taking.give_back()
        except (LockjawError, OSError) as error:
            return self._failed(error)
        return self._answered(answer)

    async def _turn(self, session: Session) -> Answer:
        run_id = uuid4(self._ids)
        started, started_ms = self.clock.monotonic(), self.clock.wall_ms()
        if self.request.local:
            if self.behaviour.state_is_exclusive:
                await self._refuse_beside_gateway()
            self._conversation = session = await self._settled(session)
            result = await self._embedded(session, run_id, started_ms, RunEmbedded("same", False, False))
            return Answer(result, "embedded", {"transport": "embedded"})
        try:
            return await self._through_gateway(session, run_id)
        except (RemoteError, LocalError) as error:
            if isinstance(error, LocalError) and self.behaviour.fallback != "reuse-session":
                raise  # nothing was sent: fix the call
            passed_ms = (self.clock.monotonic() - started) * 1000
            late = passed_ms > self.settings.client_timeout_ms(self.request.timeout_s)
            late = late and not self.behaviour.standstill_counts
            return await self._fall_back(GatewayFailure(error, run_id, late), session, started_ms)

    async def _through_gateway(self, session: Session, run_id: str) -> Answer:
        params = AgentParams(
            message=self.request.message, idempotencyKey=run_id, agentId=session.agent_id, sessionKey=session.key
        )
        timeout_s = self.request.timeout_s if self.request.timeout_s is not None else self.settings.agent.timeout_s
        if timeout_s is not None:
            params.timeout = round(timeout_s)
        timeout_ms = self.settings.client_timeout_ms(self.request.timeout_s)
        call = {"method": "agent", "run_id": run_id, "session_key": session.key}
        self.recorder.record("client.call", "invoke", **call, timeout_ms=timeout_ms)
        try:
            final = await call_gateway(
                self.settings, "agent", params, timeout_ms=timeout_ms, expect_final=True,
                on_diagnostic=self._say, clock=self.clock, ids=self._ids, client=self._client(self.settings),
            )  # fmt: skip
        except (RemoteError, LocalError) as error:
            failure = GatewayFailure(error, run_id)
            self.recorder.record(
                "client.call", "fail", **call, error=str(error).splitlines()[0], kind=failure.kind,
                timeout_ms=timeout_ms, code=getattr(error, "code", None), refused=failure.refused,
            )  # fmt: skip
            raise
        except asyncio.CancelledError:
            self.recorder.record("client.call", "info", **call, kind="interrupted")
            await self._abort_on_the_way_out(session, run_id)
            raise
        try:
            reply = reply_of(final, run_id)
        except MalformedReply as error:
            self.recorder.record(
                "client.call", "fail", **call, error=str(error), kind="malformed", timeout_ms=timeout_ms
            )  # fmt: skip
            raise
        if reply.aborted:
            self.recorder.record("client.call", "fail", **call, error="aborted", kind="aborted", timeout_ms=timeout_ms)
            if reply.stopReason == "signal":  # the gateway shuts down: as good as a lost socket
                raise ConnectionLost(1012, "service restart", run_id=run_id)
            raise RunAborted(run_id, reply.stopReason or "rpc")
        self.recorder.record("client.call", "ok", **call, status=reply.status or "")
        return Answer(final, "gateway", {})

    async def _fall_back(self, failure: GatewayFailure, session: Session, started_ms: int) -> Answer:
        """Drive the policy: perform its effects, send back what they performed to."""
        self._conversation = session = await self._settled(session)
        policy = POLICY_FUNCTIONS[self.behaviour.fallback](failure, self.behaviour, lambda: uuid4(self._ids))
        try:
            effect = next(policy)
            while True:
                try:
                    reply = await self._perform(effect, failure, self._conversation, started_ms)
                except (LockjawError, OSError) as error:
                    effect = policy.throw(error)
                else:
                    effect = policy.send(reply)
        except StopIteration as stop:
            answer: Answer = stop.value
            return answer

    async def _perform(self, effect: Effect, failure: GatewayFailure, session: Session, started_ms: int) -> Any:
        match effect:
            case Say():
                return self._say(effect.text)
            case Step():
                return self.recorder.record(
                    "fallback", "info", policy=self.request.policy, step=effect.step, detail=effect.detail
                )
            case Ask():
                return await self._ask(effect, session, started_ms)
            case Stop():
                return await self._stop(effect, session)
            case Look():
                return self.taking.look(session, failure.run_id)
            case TakeLock():
                reply = await self.taking.take(effect, session, failure.run_id)
                self._conversation = self.taking.session
                return reply
            case Fence():
                reply = await self.taking.fence(effect, session, failure.run_id)
                self._conversation = self.taking.session
                return reply
            case RunEmbedded():
                slow = failure.kind == "timeout"
                return await self._embedded(session, failure.run_id, started_ms, effect, deadline_passed=slow)

    # ------------------------------------------------------------------ effects: the gateway

    async def _ask(self, effect: Ask, session: Session, started_ms: int) -> RunState:
        params = AgentWaitParams(runId=effect.run_id, timeoutMs=round(effect.limit_s * 500))
        try:
            reply = await self._side_call("agent.wait", params, effect.limit_s)
        except RequestTimedOut as error:
            return RunState("running", error=str(error))  # alive enough to accept: it may still hear a stop
        except RemoteError as error:
            return RunState("unreachable", error=str(error))
        try:
            run = msgspec.convert(reply, WaitReply)
        except msgspec.ValidationError as error:
            return RunState("running", error=str(error))  # it answers, and says nothing: as good as not over
        if run.status == "error" and run.endedAt is not None:
            return RunState("failed", error=run.error or "the run failed")
        if run.status == "ok":
            answer = self._stored_answer(session, effect.run_id, started_ms)
            if answer is not None:
                return RunState("finished", result={"runId": effect.run_id, "status": "ok", "result": answer})
        return RunState("running")

    async def _stop(self, effect: Stop, session: Session) -> StopReply:
        params = ChatAbortParams(sessionKey=session.key, runId=effect.run_id)
        try:
            reply = await self._side_call("chat.abort", params, effect.limit_s)
        except RequestRejected:
            return StopReply(confirmed=False, reachable=True)
        except RemoteError:
            return StopReply(confirmed=False, reachable=False)
        try:
            abort = msgspec.convert(reply, AbortReply)
        except msgspec.ValidationError:
            return StopReply(confirmed=False, reachable=True)
        return StopReply(confirmed=abort.aborted and effect.run_id in abort.runIds, reachable=True)

    async def _refuse_beside_gateway(self) -> None:
        """Upstream asks a lock on the state folder; what it learns is whether a gateway runs."""
        try:
            await self._side_call("health", HealthParams(), STATE_LIMIT_S)
        except RemoteError:
            return
        raise StateInUse(str(self.settings.state_dir), self.settings.gateway.port)

    async def _side_call(self, method: str, params: object, limit_s: float) -> Any:
        quick = replace(self.settings, pacing=Pacing())  # connecting costs what it costs: the way is known
        # The other process needs real time to answer, however fast our clock runs.
        limit_s = max(limit_s, SIDE_CALL_FLOOR_REAL_S / self.clock.real_s(1.0))
        return await call_gateway(
            quick,
            method,
            params,
            timeout_ms=round(limit_s * 1000),
            clock=self.clock,
            ids=self._ids,
            client=self._client(quick),
        )

    def _client(self, settings: Settings) -> GatewayClient | None:
        return None if self._uplink is None else self._uplink(settings)

    async def _abort_on_the_way_out(self, session: Session, run_id: str) -> None:
        """Ctrl-C in mid-call: the user gave up on the answer, so the run should not go on."""
        try:
            await self._side_call("chat.abort", ChatAbortParams(sessionKey=session.key, runId=run_id), ABORT_LIMIT_S)
        except (RemoteError, LocalError) as error:
            self._say(f"interrupted; the gateway may go on with run {run_id}: {str(error).splitlines()[0]}")

    def _stored_answer(self, session: Session, run_id: str, started_ms: int) -> dict[str, Any] | None:
        """The answer that the gateway's run has left in the transcript."""
        path = self._file(session)
        if not self.machine.files.exists(path):
            return None
        transcript = Transcript.open(
            path,
            session_id=session.session_id,
            cwd=self.settings.agent.workspace,
            clock=self.clock,
            read_only=True,
            files=self.machine.files,
        )
        state = transcript.turn_of(run_id, self.request.message, started_ms)
        return None if state is None or state.answer is None else result_of(state.answer, session.session_id)

    # ------------------------------------------------------------------ effects: running the turn here

    def _file(self, session: Session) -> Path:
        return self.runner.transcript_of(session.agent_id, session.key, session.session_id)

    def _moved(self, session: Session) -> Session:
        """The session to which the key leads now."""
        stored = self.runner.store(session.agent_id).read().get(session.key, {}).get("sessionId")
        return replace(session, session_id=stored) if isinstance(stored, str) else session

    async def _settled(self, session: Session) -> Session:
        """The session with its id: the one that the gateway has given the key meanwhile, or a new one.

        A gateway that meets ``--session-id S`` for the first time gives the key an id of its own. Upstream's embedded
        run then goes to S, which is another transcript; to go on with a turn is to go where it stands.
        """
        store = self.runner.store(session.agent_id)
        follows = not self._upstream and session.key in store.read()
        entry = await store.ensure(
            session.key,
            session_id=None if follows else session.session_id or None,
            sessions_dir=self.paths.sessions_dir(session.agent_id),
        )
        return replace(session, session_id=entry["sessionId"])

    async def _embedded(
        self, session: Session, run_id: str, started_ms: int, effect: RunEmbedded, *, deadline_passed: bool = False
    ) -> dict[str, Any]:
        if effect.session != "same":
            target = effect.new_session_id
            key = explicit_session_key(session.agent_id, target)
            if effect.session == "fork":
                self._fork(session, target)
            self._conversation = session = Session(key, target, session.agent_id)
        plan = TurnPlan(
            turn_id=run_id,
            run_id=(session.session_id if self._upstream else f"takeover-{run_id}"),
            session_key=session.key, session_id=session.session_id, agent_id=session.agent_id,
            file=self._file(session),
            message=self.request.message, original=self.request.message, since_ms=started_ms,
            limit_s=self.settings.run_timeout_s(self.request.timeout_s),
            resume=effect.resume, deadline_passed=deadline_passed,
            patience_s=None if self._upstream else self.request.patience_s,
            held=self.taking.held if effect.locked else None, embedded=True,
        )  # fmt: skip
        return await self.runner.run(plan, abort=asyncio.Event(), emit=lambda stream, data: None)

    @property
    def _upstream(self) -> bool:
        """The fallback runs the turn anew, as the published versions do, instead of going on with it."""
        return self.behaviour.fallback in ("reuse-session", "fresh-session")

    def _fork(self, session: Session, target: str) -> None:
        source = self._file(session)
        if self.machine.files.exists(source):
            transcript = Transcript.open(
                source, session_id=session.session_id, cwd=self.settings.agent.workspace, clock=self.clock,
                ids=self._ids, read_only=True, files=self.machine.files,
            )  # fmt: skip
            transcript.fork(self.paths.transcript(session.agent_id, target), target)

    # ------------------------------------------------------------------ which session

    def _resolve(self) -> Session:
        """Resolve flags to a session, as the real command line does from its own reading of sessions.json."""
        request = self.request
        if not (request.agent_id or request.to or request.session_id):
            raise UsageError("agent", "", "--to <E.164>, --session-id, or --agent to choose a session")
        agents = self.settings.agent.agent_ids
        agent_id = normalize_agent_id(request.agent_id or agents[0])
        if request.agent_id and agent_id not in {normalize_agent_id(a) for a in agents}:
            raise UsageError("--agent", "", f"one of the configured agents: {', '.join(agents)}", request.agent_id)
        store = self.runner.store(agent_id)
        if request.session_id and not request.agent_id:
            session_id = validate_session_id(request.session_id)
            found = store.find_by_session_id(session_id)
            key = found[0] if found else explicit_session_key(agent_id, session_id)
            return Session(key, session_id, agent_of_key(key))
        key = main_session_key(agent_id)
        stored = store.read().get(key, {}).get("sessionId")
        return Session(key, stored if isinstance(stored, str) else "", agent_id)

    # ------------------------------------------------------------------ how it ended

    def _say(self, text: str) -> None:
        for line in text.splitlines():
            self.recorder.record("client.stderr", "info", line=line)
            self._print(line)

    def _failed(self, error: LockjawError | OSError) -> AgentOutcome:
        text = printed(error, transport_name=self.behaviour.transport_error_name)
        self._say(text)
        exit_code = EXIT_USAGE if isinstance(error, LocalError) else EXIT_FAILED
        self._record_result(answered=False, reply=None, exit_code=exit_code, error=text)
        stdout = ""
        if self.request.as_json and self.behaviour.fallback in ("no-fallback", "takeover"):
            stdout = json.dumps({"ok": False, "error": {"type": "cli_error", "message": text}}, indent=2)
        return AgentOutcome(exit_code, stdout, text)

    def _answered(self, answer: Answer) -> AgentOutcome:
        seen = shown(answer.result, wrapped=answer.transport == "gateway", marks=answer.marks)
        exit_code = EXIT_ANSWERED
        if answer.duplicate_possible:
            exit_code = EXIT_DUPLICATE_POSSIBLE
        elif seen.failed and self.behaviour.timeout_answer_fails:
            exit_code = EXIT_FAILED
        self._record_result(
            answered=not seen.failed and bool(seen.payloads), reply=seen.text, exit_code=exit_code,
            error=seen.text if seen.failed else None,
            session_id=answer.marks.get("fallbackSessionId") or seen.session_id, transport=answer.transport,
            duplicate_possible=answer.duplicate_possible, degraded=answer.transport != "gateway" and bool(answer.marks),
        )  # fmt: skip
        stdout = json.dumps(seen.document, indent=2, ensure_ascii=False) if self.request.as_json else seen.text
        return AgentOutcome(exit_code, stdout)

    def _record_result(
        self,
        *,
        answered: bool,
        reply: str | None,
        exit_code: int,
        error: str | None,
        session_id: str | None = None,
        transport: str | None = None,
        duplicate_possible: bool = False,
        degraded: bool = False,
    ) -> None:
        session = self._conversation
        self.recorder.record(
            "client.result", "info", answered=answered, reply=reply, exit_code=exit_code, error=error,
            session_id=session_id or (session.session_id if session else None),
            session_key=session.key if session else None, transport=transport,
            duplicate_possible=duplicate_possible, degraded=degraded,
        )  # fmt: skip


# --------------------------------------------------------------------------- the process


@contextmanager
def _waiting() -> Iterator[None]:
    """On a terminal: a spinner on stderr while the user waits, as the real program shows it."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status("Waiting for agent reply…"):
        yield


def agent_main(settings: Settings, request: AgentRequest, *, ready_fd: int | None, go_fd: int | None) -> int:
    """Run the command in this process and print its outcome; returns the exit status."""
    clock = ScaledClock.from_environment()
    recorder = recorder_from_environment(os.environ, clock)

    # Everything that takes time is made before "ready": the user's clock starts with the first step of the turn.
    import lockjaw.gateway.websocket  # noqa: F401

    models = ModelClient(settings.providers, clock=clock)
    client = TurnClient(
        settings, request, clock=clock, recorder=recorder, models=models,
        say=tell, ids=ids_from_environment(os.environ, "client"),
        tools=permitted_tools(os.environ),
    )  # fmt: skip

    async def command() -> AgentOutcome:
        try:
            with _waiting():
                outcome = await until_stopped(client.run())
            if isinstance(outcome, signal.Signals):
                return AgentOutcome(128 + outcome, error="interrupted")
            return outcome
        finally:
            release_all_held()
            await models.aclose()

    announce_ready(ready_fd)
    wait_for_go(go_fd)
    outcome = asyncio.run(command())
    if outcome.stdout:
        if request.as_json:
            show_json(outcome.stdout)
        else:
            show_as_it_is(outcome.stdout)
        sys.stdout.flush()
    return outcome.exit_code


__all__ = ["AgentOutcome", "AgentRequest", "TurnClient", "agent_main"]
