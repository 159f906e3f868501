"""What a mock gateway has under way: calls, and the runs that outlive them and their connections."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from .connection import Connection

MAX_RUNS = 1000  # what the real gateway remembers, too


@dataclass(frozen=True)
class Call:
    """One request under way; ``began`` in nominal seconds."""

    connection: Connection
    request_id: str
    method: str
    params: dict[str, Any]
    began: float


@dataclass(eq=False)
class Run:
    """One run. ``call`` started it and is told of its end; ``final``: the frame that ended it, without an id."""

    call: Call
    run_id: str
    session_key: str
    session_id: str
    message: str
    started_ms: int
    task: asyncio.Task[None] | None = None
    final: dict[str, Any] | None = None
    ended_ms: int = 0
    text: str | None = None  # what it answered, if it did
    seq: int = 0  # of its agent events
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self, frame: dict[str, Any], now_ms: int, text: str | None) -> bool:
        """Remember the end; False: it had ended before (the second of two finals)."""
        if self.final is not None:
            return False
        self.final = {key: value for key, value in frame.items() if key != "id"}
        self.ended_ms, self.text = now_ms, text
        self.ended.set()
        return True

    def waited(self) -> dict[str, Any]:
        """What ``agent.wait`` says of it."""
        if self.final is None:
            return {"runId": self.run_id, "status": "timeout"}
        payload = self.final.get("payload") or {}
        outcome = {"runId": self.run_id, "status": payload.get("status", "error"), "startedAt": self.started_ms}
        outcome["endedAt"] = self.ended_ms
        if "error" in self.final:
            outcome["error"] = self.final["error"]["message"]
        return outcome


class Runs:
    """All runs by id, the oldest forgotten first."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}

    def add(self, run: Run) -> None:
        self._runs[run.run_id] = run
        if len(self._runs) > MAX_RUNS:
            del self._runs[next(iter(self._runs))]

    def clear(self) -> list[Run]:
        """Forget all; those that had not ended."""
        runs, self._runs = list(self._runs.values()), {}
        return [run for run in runs if run.final is None]

    def get(self, run_id: object) -> Run | None:
        return self._runs.get(run_id) if isinstance(run_id, str) else None

    def of_session(self, session_key: object) -> list[Run]:
        return [run for run in self._runs.values() if run.session_key == session_key]

    def active(self, session_key: object, run_id: object = None) -> list[Run]:
        """The runs of a session that have not ended; one of them if an id is given."""
        return [
            run
            for run in self.of_session(session_key)
            if run.final is None and (run_id is None or run.run_id == run_id)
        ]
