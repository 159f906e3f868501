"""One turn in this process: lock, transcript, fallback chain, model and tools. The gateway and the fallback
both run turns with this and nothing else.

Theory of operation. A turn walks the candidates of a fallback chain; each candidate is an *attempt* with a time
limit of its own. Upstream takes the session lock anew for each attempt; ours holds one lock for the turn, so
no other run can slip in between two models. Whatever ends an attempt (a run limit, an abort, a failed model, a
fence) is written to the transcript before the lock goes, because the transcript is all that a successor has.

What differs between versions is read from ``Behaviour``; nothing here asks for a version by name.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from lockjaw.behaviours import Behaviour
from lockjaw.clock import Clock
from lockjaw.errors import Fenced, LockjawError, ModelFailure, RunAborted, SessionLocked, TurnClaimed, printed
from lockjaw.history import Recorder
from lockjaw.locking import HeldLock, SessionLock
from lockjaw.runner.approvals import FailClosed
from lockjaw.runner.attempt import Allowance, AttemptTimedOut, Emit, Play, Stage, TurnPlan, race
from lockjaw.runner.failover import OVERFLOW
from lockjaw.runner.fallback import CONTINUE_PROMPT, Cooldowns, FallbackChain, order
from lockjaw.runner.machine import THIS_MACHINE, Machine
from lockjaw.runner.models import ModelClient
from lockjaw.runner.result import result, result_of, timed_out_result
from lockjaw.runner.session_hold import SessionHold
from lockjaw.runner.stores import paths_of, session_store
from lockjaw.runner.tools import Tool
from lockjaw.runner.turn import TIMEOUT_TEXT, Message, ToolCall, Turn, options_for
from lockjaw.sessions import RowStore, SessionStore, Transcript, TurnState, transcript_of_entry
from lockjaw.sessions.paths import DEFAULT_AGENT
from lockjaw.settings import ModelRef, Settings

T = TypeVar("T")

HOLD_GRACE_S = 120.0  # over the run limit and the compaction limit, as upstream computes maxHoldMs
COMPACTION_LIMIT_S = 900.0
COMPACTION_SUMMARY = "Earlier messages were left out: together they no longer fit the model."
BOOKKEEPING_WAIT_S = 15.0  # a status line is worth no more of the user's time; an owner that stands still is overruled


class EmbeddedRunner:
    """Runs turns.

    Args:
        log: gets one line at a time, without a time stamp; tags as the real program prints them.
        ids: stream for entry ids and run ids.
        machine: where sessions and their locks are; this one.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        behaviour: Behaviour,
        clock: Clock,
        recorder: Recorder,
        models: ModelClient,
        tools: Mapping[str, Tool],
        log: Callable[[str], None],
        ids: random.Random | None = None,
        machine: Machine = THIS_MACHINE,
    ) -> None:
        self.machine = machine
        self.settings, self.behaviour, self.clock, self.recorder = settings, behaviour, clock, recorder
        self.paths = paths_of(settings)
        self._log = log
        self._ids = ids or random.SystemRandom()
        if behaviour.approvals_need_store:
            tools = {name: FailClosed(tool, self.store(DEFAULT_AGENT).read_locked) for name, tool in tools.items()}
        self._stage = Stage(settings, behaviour, clock, recorder, models, tools, self._ids)
        self._cooldowns = Cooldowns()
        self._unsettled: dict[HeldLock, asyncio.Task[Any]] = {}  # never iterated: the order of objects means nothing
        self._background: list[asyncio.Future[None]] = []

    # ------------------------------------------------------------------ one turn

    async def run(self, plan: TurnPlan, *, abort: asyncio.Event, emit: Emit) -> dict[str, Any]:
        """Run the turn; returns the ``result`` object (payloads and meta).

        Cancelling has the effect of ``abort``: what had arrived is written, tools are stopped and reaped, and
        the lock is released before the cancellation goes on.

        Raises:
            RunAborted: ``abort`` was set. Fenced: somebody took the turn over; nothing was written since.
            ModelsFailed, ModelFailure: no candidate answered. SessionLocked: the session was not to be had.
        """
        started = self.clock.monotonic()
        emit("lifecycle", {"phase": "start", "startedAt": self.clock.wall_ms()})
        self.recorder.record(
            "turn", "invoke", turn_id=plan.turn_id, run_id=plan.run_id, session_id=plan.session_id,
            message=plan.original, resumed=plan.resume,
        )  # fmt: skip
        try:
            await self._claim(plan)
            await self._begin_mark(plan)
            answer = await self._walk(plan, abort, emit)
            await self._unclaim(plan)
        except BaseException as error:
            aborted = isinstance(error, (RunAborted, asyncio.CancelledError))
            text = "aborted" if aborted else printed(error)
            self.recorder.record("turn", "fail", turn_id=plan.turn_id, run_id=plan.run_id, error=text)
            ended = {"phase": "end", "aborted": True} if aborted else {"phase": "error", "error": text}
            emit("lifecycle", {**ended, "endedAt": self.clock.wall_ms()})
            if not isinstance(error, Fenced):  # the successor's status stands in the store now
                await self._finish_mark(plan, "killed" if aborted else "failed", started)
            raise
        meta = answer["meta"]
        meta["durationMs"] = round((self.clock.monotonic() - started) * 1000)
        self.recorder.record(
            "turn", "ok", turn_id=plan.turn_id, run_id=plan.run_id, stop_reason=meta.get("stopReason", "")
        )
        emit("lifecycle", {"phase": "end", "endedAt": self.clock.wall_ms(), "aborted": bool(meta.get("aborted"))})
        await self._finish_mark(plan, "timeout" if meta.get("aborted") else "done", started)
        return answer

    async def _walk(self, plan: TurnPlan, abort: asyncio.Event, emit: Emit) -> dict[str, Any]:
        """The fallback chain, under one lock or under one lock for each candidate."""
        if self.behaviour.lock_per_attempt:
            return await self._chain(plan, self._candidates(plan), None, abort, emit)
        async with self._locked(plan, abort) as (plan, hold):
            candidates = self._candidates(plan)
            if (begun := await self._begun(plan, hold)) is not None:
                transcript, state = begun
                if state.answer is not None:
                    # The turn was finished after all: that is the answer, nothing runs twice.
                    return result_of(state.answer, plan.session_id)
                candidates = _untried_first(candidates, state, transcript, plan)
            # Where nothing of the turn has reached the disk, it begins now, with the user's message.
            plan = replace(plan, resume=begun is not None)
            return await self._chain(plan, candidates, hold, abort, emit)

    async def _begun(self, plan: TurnPlan, hold: SessionHold) -> tuple[Transcript, TurnState] | None:
        """What another run has done of this turn.

        A takeover comes to go on with it. But a run that was accepted and stood still before it began, for longer than
        its client waited, finds the turn begun as well, or done, by the takeover (only our own mark says so: the user
        may ask the same again).
        """
        if not plan.resume and not self.machine.files.exists(plan.file):
            return None
        transcript = await self._open(plan, hold)
        state = self._turn_state(transcript, plan) if plan.resume else transcript.turn_of(plan.turn_id)
        return None if state is None else (transcript, state)

    async def _chain(
        self,
        plan: TurnPlan,
        candidates: tuple[ModelRef, ...],
        hold: SessionHold | None,
        abort: asyncio.Event,
        emit: Emit,
    ) -> dict[str, Any]:
        chain = FallbackChain(candidates, behaviour=self.behaviour, book=self._cooldowns)
        give_up_at = None if plan.patience_s is None else self.clock.monotonic() + plan.patience_s
        while not chain.ended:
            step = chain.advance(self.clock.monotonic())
            for decision in step.decisions:
                self._note(decision.line(), decision.data())
            if step.candidate is None:
                break
            if chain.index > 0:
                await self._pause(self.settings.pacing.between_candidates_s, abort, plan)
            await self._pause(step.not_before - self.clock.monotonic(), abort, plan)
            limit_s = plan.limit_s
            if give_up_at is not None:
                # Each remaining candidate gets an equal share of what patience is left, never less than a
                # run's own limit: one model that never ends must not use up the turn of the others.
                limit_s = max(limit_s, (give_up_at - self.clock.monotonic()) / chain.remaining)
            try:
                answer = await self._candidate(plan, step.candidate, chain.index, hold, limit_s, abort, emit)
            except AttemptTimedOut as error:
                failure = ModelFailure(TIMEOUT_TEXT, "timeout")
                decision = chain.stop_on_run_timeout(failure)
                self._note(decision.line(), decision.data())
                return timed_out_result(plan.session_id, step.candidate, limit_s=error.limit_s)
            except (LockjawError, OSError) as error:
                decision = chain.record_failure(error, self.clock.monotonic())
                self._note(decision.line(), decision.data())
                continue
            success = chain.record_success(self.clock.monotonic())
            if success is not None:
                self._note(success.line(), success.data())
            return answer
        raise chain.error()

    async def _candidate(
        self,
        plan: TurnPlan,
        ref: ModelRef,
        index: int,
        hold: SessionHold | None,
        limit_s: float,
        abort: asyncio.Event,
        emit: Emit,
    ) -> dict[str, Any]:
        """One candidate: lane accounting, and upstream's lock for each attempt."""
        began = self.clock.monotonic()
        try:
            if plan.embedded:
                await self._pause(self.settings.pacing.embedded_prepare_s, abort, plan)
            if hold is not None:
                return await self._attempt(plan, ref, index, hold, limit_s, abort, emit)
            async with self._locked(plan, abort) as (current, own):
                return await self._attempt(current, ref, index, own, limit_s, abort, emit)
        except (LockjawError, OSError) as error:
            if not isinstance(error, (RunAborted, Fenced, AttemptTimedOut)):
                spent_ms = round((self.clock.monotonic() - began) * 1000)
                for lane in ("main", f"session:{plan.session_key}"):
                    self._log(
                        f'[diagnostic] lane task error: lane={lane} durationMs={spent_ms} error="{printed(error)}"'
                    )
            raise

    async def _attempt(
        self,
        plan: TurnPlan,
        ref: ModelRef,
        index: int,
        hold: SessionHold,
        limit_s: float,
        abort: asyncio.Event,
        emit: Emit,
    ) -> dict[str, Any]:
        """One model's try at the turn, inside the lock."""
        transcript = await self._open(plan, hold)
        # Upstream words a time-out by what stands in the transcript: only the first one is "timed out".
        seen_aborted = any(m.get("stopReason") == "aborted" for m in transcript.context())
        await hold.perform(lambda: transcript.aside(lambda: self._announce(transcript, ref)), transcript)
        prompt, pending = await self._prompt(transcript, hold, plan, index)
        await self._pause(self.settings.pacing.setup_s, abort, plan)

        allowance = Allowance(self.clock, limit_s, counts_standstill=self.behaviour.standstill_counts)

        def playing(prompt: Message | None, pending: tuple[ToolCall, ...]) -> tuple[Play, Turn]:
            turn = Turn(transcript.context(), options_for(ref, self._stage.tools), prompt=prompt, pending=pending)
            return Play(
                self._stage, plan, ref, transcript, turn, abort, emit, allowance, hold,
                lambda task, late: self._tear_down(plan, hold.held, task, limit_s if late else None),
            ), turn  # fmt: skip

        attempt, turn = playing(prompt, pending)
        finish = await attempt.play(turn.start(self.clock.wall_ms()))
        if _overflowed(finish.error) and await self._compact(plan, transcript, hold, abort):
            attempt, turn = playing(None, ())
            finish = await attempt.play(turn.start(self.clock.wall_ms()))
        if attempt.timed_out:
            tag = self.behaviour.run_tag
            if not attempt.torn_down:
                self._log_timeout(plan, limit_s)
            if self.behaviour.run_timeout_ends_chain:
                raise AttemptTimedOut(limit_s)
            requested = plan.model or self.settings.candidates[0]  # upstream names the chain's first, whichever failed
            raw = " rawError=Request was aborted" if seen_aborted and self.behaviour.shows_raw_error else ""
            self._log(
                f"[{tag}] embedded run failover decision: runId={plan.run_id} stage=assistant "
                f"decision=fallback_model reason=timeout "
                f"{self.behaviour.failover_source_key}={requested} profile=-{raw}"
            )
            text = "Request was aborted" if seen_aborted else "LLM request timed out."
            raise ModelFailure(text, "timeout", provider=ref.provider, model=ref.model)
        if finish.error is not None:
            raise finish.error
        payloads = [{"text": finish.text, "mediaUrl": None, **({"isError": True} if finish.is_error else {})}]
        return result(payloads, plan.session_id, ref, attempt.usage, finish.stop_reason)

    def _announce(self, transcript: Transcript, ref: ModelRef) -> None:
        """Write down which model is about to be asked."""
        if not transcript.entries:
            transcript.append_model_change(ref.provider, ref.model)
            transcript.append_thinking_level("off")
        snapshot = {"timestamp": self.clock.wall_ms(), "provider": ref.provider, "modelApi": "openai-completions"}
        transcript.append_custom("model-snapshot", {**snapshot, "modelId": ref.model})

    async def _compact(self, plan: TurnPlan, transcript: Transcript, hold: SessionHold, abort: asyncio.Event) -> bool:
        """Leave out what stands before the user's last message. False: there is nothing to leave out, or we do not."""
        messages = [entry for entry in transcript.entries if entry.message is not None]
        kept = next((entry for entry in reversed(messages) if entry.role == "user"), None)
        if self.behaviour.compaction == "none" or kept is None or kept is messages[0]:
            return False
        if self.behaviour.compaction == "relock":
            lock = self._session_lock(plan)
            await self._unless_aborted(lock.acquire_async(), abort, plan)
            await lock.release_async()
        await hold.perform(
            lambda: transcript.aside(lambda: transcript.append_compaction(COMPACTION_SUMMARY, kept.id)), transcript
        )
        return True

    def _log_timeout(self, plan: TurnPlan, limit_s: float) -> None:
        limit_ms = round(limit_s * 1000)
        self._log(
            f"[{self.behaviour.run_tag}] embedded run timeout: runId={plan.run_id} sessionId={plan.session_id} "
            f"timeoutMs={limit_ms}"
        )

    def _tear_down(self, plan: TurnPlan, held: HeldLock, task: asyncio.Task[Any], late_s: float | None) -> None:
        """The attempt ends although its model has not settled. ``late_s``: the limit that it has run into.

        Upstream logs the time-out first (#90065).
        """
        if late_s is not None:
            self._log_timeout(plan, late_s)
        limit_ms = round((self.behaviour.abort_settle_s or 0.0) * 1000)
        self._log(f"[agent/embedded] embedded abort settle timed out: runId={plan.run_id} timeoutMs={limit_ms}")
        if self.behaviour.late_settle == "release":
            self._unsettled[held] = task
        else:
            self._in_background(self._reacquire(held, task))

    async def _reacquire(self, held: HeldLock, task: asyncio.Task[Any]) -> None:
        """What the torn-down attempt still does once its model has settled: it does not know that it is over."""
        await asyncio.wait({task})
        try:
            await held.resume_async()
        except (LockjawError, OSError):
            pass  # no caller is left to report to

    async def _release_settled(self, lock: SessionLock, task: asyncio.Task[Any]) -> None:
        await asyncio.wait({task})
        await lock.release_async()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.append(task)  # the garbage collector may take a task without a reference
        task.add_done_callback(self._background.remove)

    # ------------------------------------------------------------------ pieces

    def _candidates(self, plan: TurnPlan) -> tuple[ModelRef, ...]:
        return (plan.model,) if plan.model else self.settings.candidates

    async def _prompt(
        self, transcript: Transcript, hold: SessionHold, plan: TurnPlan, index: int
    ) -> tuple[Message | None, tuple[ToolCall, ...]]:
        """The user message to append, if any, and the calls that an interrupted run left without a result."""
        if self.behaviour.durable_user_message:
            state = self._turn_state(transcript, plan)
            if state is not None and (plan.resume or index > 0):
                pending = tuple(
                    ToolCall(str(c["id"]), str(c["name"]), c["arguments"] if isinstance(c["arguments"], dict) else {})
                    for c in state.pending_tool_calls
                )
                context = transcript.context()
                last = context[-1] if context else {}
                if pending or last.get("role") != "assistant":
                    return None, pending
                return self._user(CONTINUE_PROMPT, plan), ()
            transcript.branch_over_orphan_user()
            # Of a turn whose process is gone.
            await hold.perform(lambda: transcript.aside(transcript.close_open_calls), transcript)
            return self._user(plan.message, plan), ()
        has_history = any(m.get("role") == "assistant" for m in transcript.context())
        transcript.branch_over_orphan_user()
        return self._user(CONTINUE_PROMPT if index > 0 and has_history else plan.message, plan), ()

    def _user(self, text: str, plan: TurnPlan) -> Message:
        message: Message = {"role": "user", "content": [{"type": "text", "text": text}]}
        message["timestamp"] = self.clock.wall_ms()
        if self.behaviour.durable_user_message:
            message["idempotencyKey"] = plan.turn_id
        return message

    def _turn_state(self, transcript: Transcript, plan: TurnPlan) -> TurnState | None:
        return transcript.turn_of(plan.turn_id, plan.original, plan.since_ms)

    def transcript_of(self, agent_id: str, session_key: str, session_id: str) -> Path:
        """The session's transcript: where its store entry says (a topic, an imported file), else by its id."""
        entry = self.store(agent_id).read().get(session_key, {})
        if entry.get("sessionId") == session_id:
            folder = self.paths.sessions_dir(agent_id)
            return transcript_of_entry(entry, folder, files=self.machine.files, kind=self.paths.kind)
        return self.paths.transcript(agent_id, session_id)

    async def _open(self, plan: TurnPlan, hold: SessionHold) -> Transcript:
        return await hold.perform(lambda: Transcript.opened(
            plan.file, session_id=plan.session_id, cwd=self.settings.agent.workspace,
            clock=self.clock, ids=self._ids, recorder=self.recorder, section=hold.held.section,
            generation=hold.held.generation, run_id=plan.run_id, durable=self.behaviour.durable_user_message,
            files=self.machine.files, wait_s=self._database_wait_s, blocks=self.behaviour.store_blocks,
            starttime=self.machine.locks.identity().starttime,
        ))  # fmt: skip

    @property
    def _database_wait_s(self) -> float:
        wait_s = self.behaviour.database_wait_s
        return self.behaviour.store_wait_s if wait_s is None else wait_s

    @asynccontextmanager
    async def _locked(self, plan: TurnPlan, abort: asyncio.Event) -> AsyncIterator[tuple[TurnPlan, SessionHold]]:
        """The session lock: the caller's, or our own for as long as the block lasts.

        The plan is the caller's, or one for the session to which the key leads by now: whoever waits for a lock may
        find that the conversation was rotated meanwhile (#88040), and must not write where no reader will look.
        """
        if plan.held is not None:
            async with self._holding(plan, plan.held) as hold:
                yield plan, hold
            return
        self.machine.files.make_folder(plan.file.parent)
        lock = self._session_lock(plan)
        held = await self._unless_aborted(lock.acquire_async(), abort, plan)
        while (moved := self._moved(plan)) is not None:
            await lock.release_async()
            plan, lock = moved, self._session_lock(moved)
            held = await self._unless_aborted(lock.acquire_async(), abort, plan)
        try:
            async with self._holding(plan, held) as hold:
                yield plan, hold
        finally:
            late = self._unsettled.pop(held, None)
            if late is None:
                await lock.release_async()
            else:
                self._in_background(self._release_settled(lock, late))

    @asynccontextmanager
    async def _holding(self, plan: TurnPlan, held: HeldLock) -> AsyncIterator[SessionHold]:
        another = (lambda: self._session_lock(plan)) if plan.embedded else None
        hold = SessionHold(held, another=another, clock=self.clock, log=self._log)
        try:
            yield hold
        finally:
            await hold.end(held)

    def _moved(self, plan: TurnPlan) -> TurnPlan | None:
        """The plan for the session to which the key leads now, if that is another one."""
        if not self.behaviour.follows_rotation:
            return None
        session_id = self.store(plan.agent_id).read().get(plan.session_key, {}).get("sessionId")
        if not isinstance(session_id, str) or session_id == plan.session_id:
            return None
        file = self.transcript_of(plan.agent_id, plan.session_key, session_id)
        return replace(plan, session_id=session_id, file=file)

    def _session_lock(self, plan: TurnPlan) -> SessionLock:
        return SessionLock(
            plan.file, timeout=self.behaviour.lock_timeout_s, algorithm=self.behaviour.lock_algorithm, clock=self.clock,
            recorder=self.recorder, owner=plan.run_id, reentrant=self.behaviour.lock_reentrant,
            max_hold_s=self._hold_limit_s(plan), host=self.machine.locks,
        )  # fmt: skip

    def _hold_limit_s(self, plan: TurnPlan) -> float:
        """Of the lock of one attempt, or of the whole turn where one lock serves all of its candidates."""
        attempts = 1 if self.behaviour.lock_per_attempt else len(self._candidates(plan))
        return hold_limit_s(max(plan.limit_s * attempts, plan.patience_s or 0.0))

    async def _unless_aborted(self, work: Coroutine[Any, Any, T], abort: asyncio.Event, plan: TurnPlan) -> T:
        return await race(work, abort=abort, run_id=plan.run_id)

    async def _pause(self, seconds: float, abort: asyncio.Event, plan: TurnPlan) -> None:
        if seconds > 0:
            await self._unless_aborted(self.clock.sleep(seconds), abort, plan)

    def _note(self, line: str, data: dict[str, Any]) -> None:
        self.recorder.record("model.decision", "info", **data)
        if line:
            self._log(f"[{self.behaviour.model_fallback_tag}] {line}")

    # ------------------------------------------------------------------ sessions.json

    def store(self, agent_id: str, wait_s: float | None = None) -> SessionStore:
        """The store of an agent, guarded by the same lock primitive as the transcripts.

        Args:
            wait_s: how long an update waits for its lock; None: as long as the behaviour says.
        """
        return session_store(
            self.paths, agent_id, behaviour=self.behaviour, clock=self.clock, ids=self._ids, machine=self.machine,
            wait_s=wait_s,
        )  # fmt: skip

    async def _mark(self, plan: TurnPlan, **fields: Any) -> None:
        def change(entry: dict[str, Any]) -> None:
            entry.setdefault("sessionId", plan.session_id)
            entry.setdefault("sessionFile", str(plan.file))
            entry.update(fields)

        wait_s = None if self.behaviour.bookkeeping_decides else BOOKKEEPING_WAIT_S
        await self.store(plan.agent_id, wait_s).update(plan.session_key, change)

    async def _begin_mark(self, plan: TurnPlan) -> None:
        try:
            await self._mark(plan, status="running", startedAt=self.clock.wall_ms(), abortedLastRun=False)
        except (SessionLocked, Fenced, OSError) as error:
            if self.behaviour.bookkeeping_decides:
                raise
            self._not_stored(plan, error)

    def _not_stored(self, plan: TurnPlan, error: Exception) -> None:
        """The turn's outcome is in the transcript; losing a status line must not turn it into a failure."""
        why = f"sessions.json is busy ({error.owner})" if isinstance(error, SessionLocked) else error
        self._log(f"[sessions] status of {plan.session_key} not stored: {why}")

    async def _claim(self, plan: TurnPlan) -> None:
        store = self.store(plan.agent_id)
        if self.behaviour.durable_claims and isinstance(store, RowStore):
            owner = await store.claim(plan.session_id, plan.run_id)
            told = {"path": str(plan.file), "run_id": plan.run_id, "owner": owner}
            self.recorder.record("claim", "ok" if owner == plan.run_id else "fail", **told)
            if owner != plan.run_id:
                raise TurnClaimed(plan.session_id, owner)

    async def _unclaim(self, plan: TurnPlan) -> None:
        store = self.store(plan.agent_id)
        if self.behaviour.durable_claims and isinstance(store, RowStore):
            await store.unclaim(plan.session_id, plan.run_id)
            self.recorder.record("claim", "info", path=str(plan.file), run_id=plan.run_id, owner="")

    async def _finish_mark(self, plan: TurnPlan, status: str, started: float) -> None:
        runtime_ms = round((self.clock.monotonic() - started) * 1000)
        aborted = status in ("killed", "timeout")
        try:
            await self._mark(
                plan, status=status, endedAt=self.clock.wall_ms(), runtimeMs=runtime_ms, abortedLastRun=aborted
            )
        except (SessionLocked, Fenced, OSError) as error:
            self._not_stored(plan, error)


def hold_limit_s(turn_s: float) -> float:
    """How long a lock may be held for work that takes so long; nominal seconds. As upstream computes it."""
    return turn_s + COMPACTION_LIMIT_S + HOLD_GRACE_S


def _overflowed(error: BaseException | None) -> bool:
    return isinstance(error, ModelFailure) and error.reason == OVERFLOW


def _untried_first(
    chain: tuple[ModelRef, ...], state: TurnState, transcript: Transcript, plan: TurnPlan
) -> tuple[ModelRef, ...]:
    """The chain of a turn that was taken over: the models that have not been asked yet come first."""
    at_work = _last_model(transcript)
    failed = [model for model in state.failed_models if model != at_work]
    return order(chain, failed, at_work if plan.deadline_passed else None)


def _last_model(transcript: Transcript) -> str | None:
    """``provider/model`` of the newest attempt; it says so before it asks the model."""
    for entry in reversed(transcript.entries):
        if entry.raw.get("customType") == "model-snapshot":
            data = entry.raw.get("data") or {}
            return f"{data.get('provider')}/{data.get('modelId')}"
    return None
