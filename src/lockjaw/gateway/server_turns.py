"""Runs in motion: from "accepted" through the lanes and the turn to the final answer.

A run is a task of the gateway, never of a connection: a client that leaves stops nothing, and the final answer
goes to the store of answers, where the same client, or its fallback, finds it. Every way out of a run (answer,
failure, abort, cancelled by a shutdown) passes ``_finish``, so each accepted run gets exactly one final.

Source: protocol facts B2 (flow and frames), B6 (abort), B7 (lanes).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from lockjaw.clock import Clock
from lockjaw.errors import RunAborted, printed
from lockjaw.gateway.dedupe import Answer, Dedupe
from lockjaw.gateway.frames import ErrorCode, ErrorShape
from lockjaw.gateway.lanes import MAIN_LANE, Lanes, in_lane
from lockjaw.gateway.runs import EndStatus, Run, Runs
from lockjaw.gateway.server_events import Audience, RunEvents
from lockjaw.history import Recorder
from lockjaw.settings import ModelRef

CANCEL_S = 5.0  # nominal; how long a cancelled turn may take to clean up before it is cancelled again
CANCEL_ROUNDS = 3


@dataclass(frozen=True)
class TurnRequest:
    """What a turn is asked to do. ``message`` carries its time stamp; ``timeout_s`` is nominal, 0 = no limit.

    ``model`` is set when the caller chose one for this run.
    """

    run_id: str
    session_key: str
    session_id: str
    agent_id: str
    message: str = field(repr=False)
    timeout_s: float | None = None
    extra_system_prompt: str | None = field(default=None, repr=False)
    model: ModelRef | None = None


class TurnRunner(Protocol):
    """Runs one turn: takes the session lock, asks models, runs tools, writes the transcript.

    Returns the ``result`` object of facts B3. Raises what the run fails with. When ``abort`` is set it stops
    soon, by raising RunAborted or by a result whose ``meta.aborted`` is true; a turn that was finished anyway
    returns its answer. Cancelling it (a shutdown) must release whatever it holds.
    """

    async def __call__(
        self, request: TurnRequest, abort: asyncio.Event, emit: Callable[[str, dict[str, Any]], None]
    ) -> dict[str, Any]: ...


class Reply(msgspec.Struct, frozen=True):
    """Where a final answer goes: the connection that waits for it, and how to hand it over."""

    connection_id: str
    send: Callable[[Answer], None]


class Turns:
    """All runs of one gateway, active and remembered."""

    def __init__(
        self,
        run_turn: TurnRunner,
        audience: Audience,
        *,
        clock: Clock,
        recorder: Recorder,
        log: Callable[[str], None],
        max_concurrent: int,
        prepare_s: float,
    ) -> None:
        self.runs, self.dedupe, self.lanes = Runs(), Dedupe(), Lanes(max_concurrent)
        self.draining = False
        self._run_turn, self._audience, self._clock, self._recorder = run_turn, audience, clock, recorder
        self._log, self._prepare_s = log, prepare_s
        self._replies: dict[str, list[Reply]] = {}
        self._tasks: dict[asyncio.Task[None], None] = {}  # in order: a simulation must repeat itself

    def start(self, run: Run, request: TurnRequest, *, lane: str = MAIN_LANE, accepted: Answer) -> None:
        """Begin an accepted run. ``accepted`` answers the same request until the run is over."""
        assert not self.draining
        self.runs.begin(run)
        self.dedupe.put(f"{run.kind}:{run.run_id}", accepted, self._clock.monotonic())
        self._replies[run.run_id] = []
        self._recorder.record(
            "gateway.accepted", run_id=run.run_id, session_key=run.session_key, session_id=run.session_id
        )
        events = RunEvents(run, self._audience, self._clock, lambda: self._recipients(run))
        task = asyncio.create_task(self._execute(run, request, lane, events), name=f"run {run.run_id}")
        self._tasks[task] = None

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.pop(task, None)
            if self.runs.get_active(run.run_id) is run:  # cancelled before its first step: nothing of it ran
                self._finish(run, events, error=RunAborted(run.run_id, run.origin or "signal"))

        task.add_done_callback(ended)

    def attach(self, run: Run, reply: Reply) -> None:
        """Let one more request have the final answer of an active run."""
        self._replies[run.run_id].append(reply)

    async def drain(self, drain_s: float) -> None:
        """Let runs end by themselves for ``drain_s`` nominal seconds, then stop the rest and wait for it.

        A turn that goes on in spite of being cancelled three times is left to the end of the process, and named
        in the log.
        """
        self.draining = True
        if self._tasks and drain_s > 0:
            await asyncio.wait(tuple(self._tasks), timeout=self._clock.real_s(drain_s))
        for run in self.runs.active:
            run.signal_abort("signal")  # first, so that a turn knows why it is cancelled
        for _ in range(CANCEL_ROUNDS):
            if not self._tasks:
                return
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.wait(tuple(self._tasks), timeout=self._clock.real_s(CANCEL_S))
        for task in self._tasks:
            self._log(f"[gateway] {task.get_name()} does not stop; leaving it behind")

    def sweep(self) -> None:
        now = self._clock.monotonic()
        self.dedupe.sweep(now)
        self.runs.prune(now)

    def _recipients(self, run: Run) -> list[str]:
        return [reply.connection_id for reply in self._replies.get(run.run_id, ())]

    async def _execute(self, run: Run, request: TurnRequest, lane: str, events: RunEvents) -> None:
        try:
            result = await self._queue_and_run(run, request, lane, events)
            msgspec.json.encode(result)  # what is no JSON fails the run here, not its answer on the way out
        except asyncio.CancelledError:
            self._finish(run, events, error=RunAborted(run.run_id, run.origin or "signal"))
            raise
        except Exception as error:
            self._finish(run, events, error=error)
        else:
            self._finish(run, events, result=result)

    async def _queue_and_run(self, run: Run, request: TurnRequest, lane: str, events: RunEvents) -> dict[str, Any]:
        def place(name: str) -> Any:
            return in_lane(
                self.lanes,
                name,
                run_id=run.run_id,
                clock=self._clock,
                recorder=self._recorder,
                log=self._log,
                queued=run.queue,
            )

        async with place(f"session:{run.session_key}"), place(lane):
            await self._prepare(run)
            run.started_ms = self._clock.wall_ms()
            return await self._run_turn(request, run.abort, events.emit)

    async def _prepare(self, run: Run) -> None:
        """Wait until ``prepare_s`` after the run was accepted: what a gateway needs before it takes the lock.

        Time spent in the lanes counts. An abort ends it.
        """
        left = run.accepted_at + self._prepare_s - self._clock.monotonic()
        if left > 0:
            try:
                async with asyncio.timeout(self._clock.real_s(left)):
                    await run.abort.wait()
            except TimeoutError:
                pass
        if run.abort.is_set():
            raise RunAborted(run.run_id, run.origin)

    def _finish(
        self,
        run: Run,
        events: RunEvents,
        *,
        result: dict[str, Any] | None = None,
        error: BaseException | None = None,
    ) -> None:
        """The one way out of a run: keep how it ended, broadcast it, answer the clients that wait."""
        stopped = bool(_meta(result).get("aborted"))  # also by the run's own time limit, which is an answer
        aborted = isinstance(error, RunAborted) or (run.abort.is_set() and (error is not None or stopped))
        answer, status = self._final(run, result, error, aborted=aborted, stopped=stopped)
        text = _text(result) if result is not None else run.text
        if aborted:
            events.finish("aborted", text=run.text, stop_reason=answer.payload["stopReason"])
        elif error is not None:
            events.finish("error", text="", error=printed(error))
        else:
            events.finish("final", text=text)
        now = self._clock.monotonic()
        failure = None if error is None or aborted else printed(error)
        self.runs.end(run, status, error=failure, ended_ms=self._clock.wall_ms(), now=now)
        self.dedupe.put(f"{run.kind}:{run.run_id}", answer, now)
        self._recorder.record("gateway.final", run_id=run.run_id, status=status)
        for reply in self._replies.pop(run.run_id, ()):
            reply.send(answer)

    def _final(
        self,
        run: Run,
        result: dict[str, Any] | None,
        error: BaseException | None,
        *,
        aborted: bool,
        stopped: bool,
    ) -> tuple[Answer, EndStatus]:
        """The final answer of a run, and its status for ``agent.wait``."""
        if aborted:
            origin = run.origin or getattr(error, "origin", "") or "rpc"
            payload = {"runId": run.run_id, "status": "timeout", "summary": "aborted", "stopReason": origin}
            return Answer(True, payload), "timeout"
        if error is not None:
            text = printed(error)
            failed = {"runId": run.run_id, "status": "error", "summary": text}
            return Answer(False, failed, ErrorShape(ErrorCode.UNAVAILABLE, text)), "error"
        done: dict[str, Any] = {"runId": run.run_id, "status": "ok"}
        if run.kind == "agent":
            done |= {"summary": "completed", "result": result}
        return Answer(True, done), "timeout" if stopped else "ok"


def _meta(result: dict[str, Any] | None) -> dict[str, Any]:
    meta = (result or {}).get("meta")
    return meta if isinstance(meta, dict) else {}


def _text(result: dict[str, Any]) -> str:
    """All that the result says to the user."""
    texts = [payload.get("text") for payload in result.get("payloads") or () if isinstance(payload, dict)]
    return "\n\n".join(text for text in texts if isinstance(text, str) and text)
