"""What the mock gateway does with calls: their steps performed, runs and what becomes of them, events to everybody.

It knows connections by what it sends them, and nothing of how they are opened: that is ``server``'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from lockjaw.clock import Clock
from lockjaw.errors import LockjawError, printed
from lockjaw.history import Recorder

from ..journal import Journal, redacted
from . import answers as say
from .connection import Connection, encode
from .runs import Call, Run, Runs
from .script import (
    DEFAULT_TEXT,
    Action,
    Close,
    Disturbances,
    Drop,
    Event,
    Failure,
    Final,
    GatewayScript,
    Malformed,
    MethodStep,
    Mute,
    Reply,
    Restart,
    SeqGap,
    StepCounter,
    actions,
)  # fmt: skip
from .sessions import SessionLocks

__all__ = ["Performance"]

_WAIT_MS = 30_000  # agent.wait without timeoutMs


class Performance:
    """One script's calls.

    Args:
        connections: those that are open; kept by the server.
        locks: in which runs hold their session's lock; None: they hold none.
        note: is called with what no script foresees.
        restart: the server's part of a restart.
    """

    def __init__(
        self,
        script: GatewayScript,
        *,
        clock: Clock,
        recorder: Recorder,
        journal: Journal,
        connections: set[Connection],
        locks: SessionLocks | None,
        note: Callable[[str], None],
        restart: Callable[[Restart], Coroutine[Any, Any, None]],
    ) -> None:
        self._script, self._clock, self._recorder, self._journal = script, clock, recorder, journal
        self._connections, self._locks = connections, locks
        self._note, self._restart = note, restart
        self._runs = Runs()
        self._tasks: set[asyncio.Task[None]] = set()
        self._seq = 0  # of events

    async def stop(self) -> None:
        """End every run and call, and what they hold. Idempotent."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def forget_runs(self) -> None:
        """As after a restart that keeps no runs."""
        for run in self._runs.clear():
            if run.task is not None:
                run.task.cancel()

    def count_anew(self) -> None:
        """The next event is number 1."""
        self._seq = 0

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def spawn_call(self, connection: Connection, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        connection.calls += 1

        def over(task: asyncio.Task[None]) -> None:
            connection.calls -= 1

        task = self.spawn(work)
        task.add_done_callback(over)
        return task

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._note(f"defect of the mock gateway: {error!r}")

    async def tick(self) -> None:
        interval_s = self._script.tick_interval_ms / 1000
        due = self._clock.monotonic()
        while True:
            due += interval_s
            await self._clock.sleep(due - self._clock.monotonic())
            self.broadcast("tick", {"ts": self._clock.wall_ms()})

    # ------------------------------------------------------------------ calls

    async def agent(self, call: Call, counter: StepCounter | None) -> None:
        run_id, message = call.params.get("idempotencyKey"), call.params.get("message")
        if not isinstance(run_id, str) or not run_id or not isinstance(message, str) or not message:
            text = "invalid agent params: at root: message and idempotencyKey are required"
            await call.connection.send(say.invalid(call.request_id, text))
            return
        known = self._runs.get(run_id)
        accepted = {"runId": run_id, "status": "accepted", "acceptedAt": self._clock.wall_ms()}
        if known is not None:  # the same key again: what is stored is sent, and nothing runs
            stored = {"id": call.request_id, **known.final} if known.final is not None else None
            await call.connection.send(stored or say.response(call.request_id, accepted))
            return
        step = MethodStep() if counter is None else self._script.methods["agent"][counter.take()]
        session_key = call.params.get("sessionKey") or f"agent:{call.params.get('agentId') or 'main'}:main"
        session_id = _session_id(session_key)
        run = Run(call, run_id, session_key, session_id, message, self._clock.wall_ms())
        self._runs.add(run)
        run.task = self.spawn_call(call.connection, self._play(call, step, run))

    async def _play(self, call: Call, step: MethodStep, run: Run) -> None:
        """Accept a run and let happen to it what its step says."""
        if (accept := step.acceptance) is not None:
            await self._clock.sleep(accept.after_s)
            ids = {"run_id": run.run_id, "session_key": run.session_key, "session_id": run.session_id}
            self._recorder.record("gateway.accepted", **ids)
            accepted = {"runId": run.run_id, "status": "accepted", "acceptedAt": self._clock.wall_ms()}
            for _ in range(accept.copies):
                await call.connection.send(say.response(call.request_id, accepted))
            self._agent_event(run, "lifecycle", {"phase": "start", "startedAt": run.started_ms})
        if self._locks is None:
            await self.perform_all(call, step, run)
            return
        try:
            run.session_id = await self._locks.take(run.session_key, run.run_id)
        except (LockjawError, OSError) as error:
            failure = Failure(message=printed(error))
            payload = {"runId": run.run_id, "status": "error", "summary": failure.message}
            await self._end(run, say.refusal(call.request_id, failure, payload), None)
            return
        try:
            await self.perform_all(call, step, run)
            await run.ended.wait()  # a step without an answer holds the lock until somebody stops the run
        finally:
            await self._locks.release(run.run_id)

    async def answer_by_default(self, call: Call) -> None:
        params, now = call.params, self._clock.wall_ms()
        match call.method:
            case "agent.wait":
                payload = await self._wait_for(params)
            case "chat.abort":
                stopped = await self._abort(params.get("sessionKey"), params.get("runId"))
                payload = {"ok": True, "aborted": bool(stopped), "runIds": stopped}
            case "sessions.abort":
                stopped = await self._abort(params.get("key"), params.get("runId"))
                status = "aborted" if stopped else "no-active-run"
                payload = {"ok": True, "abortedRunId": stopped[0] if stopped else None, "status": status}
            case "chat.send":
                payload = {"runId": params.get("idempotencyKey"), "status": "started"}
            case "chat.history":
                payload = self._history(params.get("sessionKey"))
            case "sessions.list":
                payload = {"ts": now, "count": 0, "sessions": []}
            case "health":
                payload = {"ok": True, "ts": now}
            case "status":
                payload = {"version": self._script.version}
            case _:
                self._note(f"connection {call.connection.number}: unknown method: {call.method[:100]}")
                await call.connection.send(say.invalid(call.request_id, f"unknown method: {call.method}"))
                return
        await call.connection.send(say.response(call.request_id, payload))
        if call.method == "chat.send":
            done = {"runId": params.get("idempotencyKey"), "sessionKey": params.get("sessionKey"), "seq": 1}
            message = say.message("assistant", DEFAULT_TEXT, now)
            self.broadcast("chat", {**done, "state": "final", "message": message})

    async def _wait_for(self, params: dict[str, Any]) -> dict[str, Any]:
        limit_ms = params.get("timeoutMs")
        if not isinstance(limit_ms, (int, float)):
            limit_ms = _WAIT_MS
        run = self._runs.get(params.get("runId"))
        if run is None:
            await self._clock.sleep(limit_ms / 1000)
            return {"runId": params.get("runId"), "status": "timeout"}
        try:
            async with asyncio.timeout(self._clock.real_s(limit_ms / 1000)):
                await run.ended.wait()
        except TimeoutError:
            pass  # "not yet" is an answer, not an error
        return run.waited()

    async def _abort(self, session_key: object, run_id: object) -> list[str]:
        stopped = self._runs.active(session_key, run_id)
        for run in stopped:
            self._recorder.record("gateway.abort", run_id=run.run_id, origin="rpc")
            if run.task is not None:
                run.task.cancel()
            payload = {"runId": run.run_id, "status": "timeout", "summary": "aborted", "stopReason": "rpc"}
            await self._end(run, say.response(run.call.request_id, payload), None)
        return [run.run_id for run in stopped]

    def _history(self, session_key: object) -> dict[str, Any]:
        messages = []
        for run in self._runs.of_session(session_key):
            messages.append(say.message("user", run.message, run.started_ms))
            if run.text is not None:
                messages.append(say.message("assistant", run.text, run.ended_ms))
        return {"sessionKey": session_key, "sessionId": _session_id(str(session_key)), "messages": messages}

    # ------------------------------------------------------------------ performing

    async def perform_all(self, call: Call, step: Disturbances, run: Run | None = None) -> None:
        """Every action of a step at its instant. What happens to a run does not depend on its connection."""
        todo: list[Action] = actions(step)
        default = isinstance(step, MethodStep) and step.answers_by_default
        if default and run is not None:
            todo.append(Final(after_s=max((action.after_s for action in todo), default=0.0)))
        for action in todo:
            await self._clock.sleep(call.began + action.after_s - self._clock.monotonic())
            if isinstance(action, Restart):  # by a task of its own: it ends the runs, and this is one
                self.spawn(self._restart(action))
            else:
                await self._perform(call, action, run)
        if default and run is None:
            await self.answer_by_default(call)

    async def _perform(self, call: Call, action: Action, run: Run | None) -> None:
        connection = call.connection
        match action:
            case Event(event=name, payload=payload):
                self.broadcast(name, self._fill(call, payload))
            case SeqGap(skip=skip):
                self._seq += skip
                self.broadcast("tick", {"ts": self._clock.wall_ms()})
            case Malformed(form=form, data=data):
                await self._send_malformed(call, form, data)
            case Mute(for_s=for_s):
                connection.muted = True
                self._journal.write("mute", conn=connection.number)
                if for_s is not None:
                    self.spawn(self._unmute(connection, for_s))
            case Reply(payload=payload):
                await self._answer(call, run, say.response(call.request_id, self._fill(call, payload)))
            case Failure(message=message):
                payload = None if run is None else {"runId": run.run_id, "status": "error", "summary": message}
                await self._answer(call, run, say.refusal(call.request_id, action, payload))
            case Final():
                assert run is not None, "checked when the script was read: final stands under agent only"
                took_ms = round((self._clock.monotonic() - call.began) * 1000)
                payload = say.final_payload(run.run_id, action, session_id=run.session_id, duration_ms=took_ms)
                frame = say.response(action.request_id or call.request_id, payload)
                await self._end(run, frame, action.text, copies=action.copies)
            case Close():
                await connection.close(action)
            case Drop():
                connection.drop()

    async def _answer(self, call: Call, run: Run | None, frame: dict[str, Any]) -> None:
        if run is None:
            await call.connection.send(frame)
        else:
            await self._end(run, frame, None)

    async def _end(self, run: Run, frame: dict[str, Any], text: str | None, *, copies: int = 1) -> None:
        """End a run: remember it first, then say it. A run ends once."""
        ended_ms = self._clock.wall_ms()
        if not run.end(frame, ended_ms, text):
            return
        payload = frame.get("payload")
        status = payload.get("status") if isinstance(payload, dict) else None
        self._recorder.record("gateway.final", run_id=run.run_id, status=status or "ok")
        if text is not None:
            self._agent_event(run, "assistant", {"text": text, "delta": text})
        if "error" in frame:
            self._agent_event(
                run, "lifecycle", {"phase": "error", "error": frame["error"]["message"], "endedAt": ended_ms}
            )
        else:
            self._agent_event(run, "lifecycle", {"phase": "end", "endedAt": ended_ms})
        for _ in range(copies):
            await run.call.connection.send(frame)

    def _fill(self, call: Call, payload: Any) -> Any:
        run_id = call.params.get("runId", call.params.get("idempotencyKey"))
        known = {"runId": run_id, "requestId": call.request_id, "now": self._clock.wall_ms()}
        return say.filled(payload, {**call.params, **known})

    async def _send_malformed(self, call: Call, form: str, data: bytes) -> None:
        connection = call.connection
        if form == "raw":
            await connection.write_raw(data)
        elif form == "binary":
            await connection.send_text(data, {"raw_bytes": len(data)})
        else:
            await connection.send_invalid_text(data)

    async def _unmute(self, connection: Connection, for_s: float) -> None:
        await self._clock.sleep(for_s)
        await connection.unmute()

    # ------------------------------------------------------------------ frames

    def _agent_event(self, run: Run, stream: str, data: dict[str, Any]) -> None:
        run.seq += 1
        payload = {"runId": run.run_id, "seq": run.seq, "stream": stream, "ts": self._clock.wall_ms(), "data": data}
        self.broadcast("agent", payload | {"sessionKey": run.session_key})

    def broadcast(self, name: str, payload: Any) -> None:
        """Tell everyone, and wait for nobody: a client that does not read must not hold up the others."""
        listeners = [connection for connection in self._connections if connection.ready]
        if not listeners:
            return  # as on the real gateway, sequence numbers count only while somebody is connected
        self._seq += 1
        frame = say.event(name, payload, self._seq)
        text, shown = encode(frame).decode(), {"frame": redacted(frame)}
        for connection in listeners:
            connection.offer(text, shown)


def _session_id(session_key: str) -> str:
    """The same session for the same key, whatever else happened."""
    return str(uuid5(NAMESPACE_URL, session_key))
