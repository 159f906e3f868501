"""One candidate's try at a turn: performs the effects of the turn machine against a limit and an abort.

Whatever ends the try is written to the transcript before control goes back, because the transcript is all
that a successor has; only a fence is not, for then there is a successor already.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from lockjaw.behaviours import Behaviour
from lockjaw.clock import Clock
from lockjaw.errors import Fenced, LockjawError, ModelFailure, RunAborted
from lockjaw.history import Recorder
from lockjaw.locking import HeldLock
from lockjaw.runner.approvals import call_key
from lockjaw.runner.models import Delta, ModelClient, ModelRequest, Partial, TextDelta
from lockjaw.runner.session_hold import SessionHold
from lockjaw.runner.tools import Tool, ToolContext, ToolOutcome, run_tool, tool_definitions
from lockjaw.runner.turn import (
    AppendMessage,
    CallModel,
    Effect,
    Finish,
    RunTool,
    Turn,
    zero_usage,
)
from lockjaw.runner.wire import wire_messages
from lockjaw.seeds import uuid4
from lockjaw.sessions import Transcript
from lockjaw.settings import ModelRef, Settings

T = TypeVar("T")
SLICE_S = 15.0  # of a long wait: a standstill is seen to within so much
OVERSLEPT_S = 5.0  # later than any busy machine wakes a sleeper, at every time scale
Emit = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class TurnPlan:
    """What to run.

    Attributes:
        turn_id: names the user's turn across gateway and fallback (the client's idempotency key).
        run_id: names this execution of it.
        file: the transcript, see ``EmbeddedRunner.transcript_of``.
        message: what the model is told; ``original``: what the user typed, to find the turn again in a
            transcript that another program wrote.
        limit_s: of one attempt; nominal seconds.
        resume: continue the turn where the transcript says it stands, instead of starting it.
        deadline_passed: it is taken over because the user has waited too long, so the model that was at work is
            asked again only after those that have not been asked.
        patience_s: for a turn that was taken over: in all, shared by the candidates that are left.
        held: the session lock, if the caller has it already; the caller releases it.
        embedded: a fallback run: its steps are paced as such.
        since_ms: not before this instant (Unix ms) was the turn begun; used with ``original``.
    """

    turn_id: str
    run_id: str
    session_key: str
    session_id: str
    agent_id: str
    file: Path
    message: str
    original: str
    limit_s: float
    resume: bool = False
    deadline_passed: bool = False
    patience_s: float | None = None
    held: HeldLock | None = None
    embedded: bool = False
    since_ms: int = 0
    model: ModelRef | None = None
    extra_system_prompt: str = ""


class AttemptTimedOut(LockjawError):
    """The limit of one attempt passed. Field: ``limit_s``."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        super().__init__(f"run limit of {limit_s:g} s passed")


class Allowance:
    """How long an attempt may still take, nominal seconds.

    Args:
        counts_standstill: everything counts from now on, as upstream has it. Otherwise only what is waited for
            counts: a model, a tool. A laptop that was closed or a process that was stopped used up nothing meanwhile,
            whether it stood still in between or in the middle of a wait.
    """

    def __init__(self, clock: Clock, limit_s: float, *, counts_standstill: bool) -> None:
        self.limit_s = limit_s
        self._clock, self._left_s = clock, limit_s
        self._deadline = clock.monotonic() + limit_s if counts_standstill else None

    async def used_up(self) -> None:
        """Returns when nothing is left. Cancelling keeps what is left by then for the next wait."""
        if self._deadline is not None:
            await self._clock.sleep(self._deadline - self._clock.monotonic())
            return
        while self._left_s > 0:
            slept_s = min(self._left_s, SLICE_S)
            began = self._clock.monotonic()
            try:
                await self._clock.sleep(slept_s)
            finally:
                # A sleep that is this much too long was none: the process stood still.
                passed_s = self._clock.monotonic() - began
                self._left_s -= passed_s if passed_s < slept_s + OVERSLEPT_S else slept_s


@dataclass(frozen=True)
class Stage:
    """What every attempt of this process shares."""

    settings: Settings
    behaviour: Behaviour
    clock: Clock
    recorder: Recorder
    models: ModelClient
    tools: Mapping[str, Tool]
    ids: random.Random


@dataclass
class Play:
    """One candidate's try at a turn.

    Attributes:
        allowance: what the attempt may still take.
        hold: the session lock.
        tear_down: called with a model's task that did not hear the end of the attempt (``abort_settle_s``), and with
            whether its limit ended it; ``torn_down`` from then on.
        timed_out: its limit ended it.
        usage: of the last model reply.
    """

    stage: Stage
    plan: TurnPlan
    ref: ModelRef
    transcript: Transcript
    turn: Turn
    abort: asyncio.Event
    emit: Emit
    allowance: Allowance
    hold: SessionHold
    tear_down: Callable[[asyncio.Task[Any], bool], None]
    timed_out: bool = False
    torn_down: bool = False
    usage: dict[str, Any] = field(default_factory=zero_usage)

    async def play(self, effects: list[Effect]) -> Finish:
        """Perform effects until the turn has finished. Raises RunAborted after the abort was written."""
        while True:
            for effect in effects[:-1]:
                assert isinstance(effect, AppendMessage), effect  # only the last one is waited for
                await self._append(effect)
            last = effects[-1]
            if not isinstance(last, Finish):
                self.hold.held.verify()  # a run that was overruled meanwhile asks no model and starts no tool
            match last:
                case CallModel():
                    effects = await self._call_model(last)
                case RunTool():
                    effects = await self._run_tool(last)
                case Finish():
                    return last

    async def _append(self, effect: AppendMessage) -> None:
        transcript = self.transcript
        await self.hold.perform(lambda: transcript.aside(lambda: transcript.append_message(effect.message)), transcript)
        if effect.message["role"] == "assistant":
            self.usage = effect.message.get("usage") or self.usage

    async def _call_model(self, effect: CallModel) -> list[Effect]:
        stage, record = self.stage, self.stage.recorder.record
        clock = stage.clock
        call = {
            "call_id": uuid4(stage.ids), "run_id": self.plan.run_id, "provider": self.ref.provider,
            "model": self.ref.model,
        }  # fmt: skip
        system = "\n\n".join(filter(None, (stage.settings.agent.system_prompt, self.plan.extra_system_prompt)))
        provider = stage.settings.providers.get(self.ref.provider)
        request = ModelRequest(
            self.ref,
            wire_messages(list(effect.messages), system, upstream=not stage.behaviour.durable_user_message),
            tool_definitions(stage.tools),
            provider.max_tokens.get(self.ref.model) if provider else None,
        )
        partial = Partial()
        text: list[str] = []

        def on_delta(delta: Delta) -> None:
            if isinstance(delta, TextDelta):
                text.append(delta.text)
                self.emit("assistant", {"text": "".join(text), "delta": delta.text})

        record("model.call", "invoke", **call, messages=len(request.messages))
        work = stage.models.complete(
            request, idle_timeout_s=stage.settings.agent.idle_timeout_s, on_delta=on_delta, partial=partial
        )
        try:
            reply = await self._prompted(work)
        except ModelFailure as failure:
            record("model.call", "fail", **call, error=failure.message, reason=failure.reason)
            await self._prompt_error(failure.message)
            return self.turn.model_failed(
                failure, clock.wall_ms(), partial.content(), usage=partial.usage, response_id=partial.response_id
            )
        except AttemptTimedOut as error:
            record("model.call", "fail", **call, error="run limit", reason="timeout")
            self.timed_out = True
            await self._prompt_error("request timed out | request timed out")
            return self.turn.model_failed(
                error, clock.wall_ms(), partial.content(), stop_reason="aborted", response_id=partial.response_id
            )
        except (RunAborted, asyncio.CancelledError):
            record("model.call", "fail", **call, error="aborted", reason="aborted")
            await self._prompt_error("This operation was aborted | This operation was aborted")
            await self._write_abort(partial)
            raise
        record("model.call", "ok", **call, stop_reason=reply.stop_reason)
        return self.turn.model_replied(reply, clock.wall_ms())

    async def _prompted(self, work: Coroutine[Any, Any, T]) -> T:
        """What the model says. Some behaviours give the lock back meanwhile, or do not make the model hear an abort.

        Raises:
            SessionChanged, SessionLocked: the lock was given back, and this attempt may not go on.
        """
        held, settle_s = self.hold.held, self.stage.behaviour.abort_settle_s
        if held.suspends:
            await held.suspend_async()
        try:
            return await (self._race(work) if settle_s is None else self._unheard(work, settle_s))
        finally:
            if held.suspends:
                await held.resume_async()

    async def _unheard(self, work: Coroutine[Any, Any, T], settle_s: float) -> T:
        """As ``_race``, but the model does not hear that the attempt is over: it settles when it has spoken."""
        task = asyncio.ensure_future(work)

        async def listened() -> T:
            return await asyncio.shield(task)

        try:
            return await self._race(listened())
        except (RunAborted, AttemptTimedOut) as ended:
            await asyncio.wait({task}, timeout=self.stage.clock.real_s(settle_s))
            if not task.done():
                self.torn_down = True
                self.tear_down(task, isinstance(ended, AttemptTimedOut))
            raise
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise

    async def _run_tool(self, effect: RunTool) -> list[Effect]:
        stage, call = self.stage, effect.call
        record = stage.recorder.record
        key = call_key(call.name, call.arguments)
        data = {"run_id": self.plan.run_id, "tool_call_id": call.id, "name": call.name, "key": key}
        record("tool", "invoke", **data, harmless=stage.tools[call.name].harmless)
        self.emit("tool", {"phase": "start", "name": call.name, "toolCallId": call.id, "args": call.arguments})
        context = ToolContext(stage.settings.agent.workspace, stage.clock, self.plan.run_id, call.id)
        try:
            outcome: ToolOutcome = await self._race(run_tool(stage.tools, call.name, call.arguments, context))
        except AttemptTimedOut:
            record("tool", "info", **data, is_error=True)
            self.timed_out = True
            return self.turn.aborted(stage.clock.wall_ms())
        except (RunAborted, asyncio.CancelledError):
            record("tool", "info", **data, is_error=True)
            await self._write_abort(Partial())
            raise
        refused = {"refused": True} if (outcome.details or {}).get("refused") else {}
        record("tool", "ok", **data, is_error=outcome.is_error, **refused)
        shown = {"phase": "result", "name": call.name, "toolCallId": call.id, "isError": outcome.is_error}
        self.emit("tool", {**shown, "result": outcome.text})
        return self.turn.tool_finished(call.id, outcome, stage.clock.wall_ms())

    async def _write_abort(self, partial: Partial) -> None:
        """Leave what had arrived, for the successor; a fence means that there is one already."""
        try:
            for effect in self.turn.aborted(self.stage.clock.wall_ms(), partial.content()):
                if isinstance(effect, AppendMessage):
                    await self._append(effect)
        except Fenced:
            pass

    async def _prompt_error(self, error: str) -> None:
        now_ms = self.stage.clock.wall_ms()
        data = {
            "timestamp": now_ms, "runId": self.plan.turn_id, "sessionId": self.plan.session_id,
            "provider": self.ref.provider, "model": self.ref.model, "api": "openai-completions", "error": error,
        }  # fmt: skip
        try:
            transcript = self.transcript
            await self.hold.perform(
                lambda: transcript.aside(lambda: transcript.append_custom("openclaw:prompt-error", data)), transcript
            )
        except Fenced:
            pass  # the message append that follows meets the same fence and reports it

    async def _race(self, work: Coroutine[Any, Any, T]) -> T:
        return await race(work, abort=self.abort, run_id=self.plan.run_id, allowance=self.allowance)


async def race(
    work: Coroutine[Any, Any, T],
    *,
    abort: asyncio.Event,
    run_id: str,
    allowance: Allowance | None = None,
) -> T:
    """The result of ``work``, unless the abort or the end of the allowance comes first; then ``work`` is
    cancelled and awaited.

    A result that is there wins over an abort of the same instant: it happened.

    Raises:
        RunAborted, AttemptTimedOut: ``work`` has ended by then.
    """
    task = asyncio.ensure_future(work)
    watchers: list[asyncio.Future[Any]] = [asyncio.ensure_future(abort.wait())]
    if allowance is not None:
        watchers.append(asyncio.ensure_future(allowance.used_up()))
    try:
        await asyncio.wait({task, *watchers}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            return task.result()
        if abort.is_set():
            raise RunAborted(run_id)
        assert allowance is not None, "nothing else cancels the work"
        raise AttemptTimedOut(allowance.limit_s)
    finally:
        leftovers = [t for t in (task, *watchers) if not t.done()]
        for leftover in leftovers:
            leftover.cancel()
        await asyncio.gather(*leftovers, return_exceptions=True)
