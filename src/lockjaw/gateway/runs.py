"""The runs of one gateway: which are active, how each ended, who may stop one, who waits for one.

A run belongs to the gateway, never to the connection that asked for it. This module starts no task and knows
no socket; it is told when a run begins and ends.

The word ``timeout`` means two things on the wire: "it is not over yet" (answer of ``agent.wait`` whose limit
passed) and "it was stopped" (by its own limit or by an abort). The second one carries ``endedAt``.

Upstream believes a lifecycle error of a run only after 15 s, because there a retry of the same run may follow.
Here a run ends once, after its whole chain of models, so there is nothing to wait for.

Source: protocol facts B4 (agent.wait) and B6 (aborting).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from lockjaw.clock import Clock
from lockjaw.errors import LockjawError, RunAborted
from lockjaw.gateway.lanes import Ticket

REMEMBER_S = 600.0  # how long an ended run is known to agent.wait

Kind = Literal["agent", "chat"]
EndStatus = Literal["ok", "error", "timeout"]


class AbortRefused(LockjawError):
    """The caller may not stop this run, or named a run of another session. The text goes on the wire."""


class Caller(msgspec.Struct, frozen=True):
    """Who asks: a connection, the device behind it (None without one), and whether it holds operator.admin."""

    connection_id: str
    device_id: str | None
    admin: bool


@dataclass(eq=False)
class Run:
    """One run. ``*_ms`` are Unix milliseconds; ``accepted_at`` is nominal monotonic seconds.

    ``abort`` is what the turn watches; ``origin`` says who set it (``rpc``, ``signal``; empty: nobody).
    ``text`` is the answer so far, ``seq`` the number of its last event.
    """

    run_id: str
    session_key: str
    session_id: str
    kind: Kind
    starter: Caller
    accepted_ms: int
    accepted_at: float
    abort: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    origin: str = ""
    started_ms: int | None = None
    ended_ms: int | None = None
    status: EndStatus | None = None
    error: str | None = None
    seq: int = 0
    text: str = field(default="", repr=False)
    ticket: Ticket | None = field(default=None, repr=False)

    def signal_abort(self, origin: str) -> None:
        """Tell the turn to stop; a run that still queues is taken out of its lane. The first origin stays."""
        if not self.abort.is_set():
            self.origin = origin
            self.abort.set()
            if self.ticket is not None:
                self.ticket.withdraw(RunAborted(self.run_id, origin))

    def queue(self, ticket: Ticket) -> None:
        """Remember where the run queues; an abort that came between two lanes takes it out at once."""
        self.ticket = ticket
        if self.abort.is_set():
            ticket.withdraw(RunAborted(self.run_id, self.origin))

    def wait_payload(self) -> dict[str, Any]:
        """The answer of ``agent.wait``, as far as the run has come."""
        payload: dict[str, Any] = {"runId": self.run_id, "status": self.status or "timeout"}
        if self.status is not None:
            for name, value in (("startedAt", self.started_ms), ("endedAt", self.ended_ms), ("error", self.error)):
                if value is not None:
                    payload[name] = value
        return payload


class Runs:
    """Active runs by id, and ended ones for ten minutes."""

    def __init__(self, *, remember_s: float = REMEMBER_S) -> None:
        self._remember_s = remember_s
        self._active: dict[str, Run] = {}
        self._ended: OrderedDict[str, tuple[float, Run]] = OrderedDict()  # oldest end first
        self._waiters: dict[str, dict[asyncio.Future[None], None]] = {}  # in order of asking

    @property
    def active(self) -> tuple[Run, ...]:
        return tuple(self._active.values())

    def get_active(self, run_id: str) -> Run | None:
        return self._active.get(run_id)

    def get(self, run_id: str) -> Run | None:
        """The run, active or remembered."""
        ended = self._ended.get(run_id)
        return self._active.get(run_id) or (ended[1] if ended else None)

    def begin(self, run: Run) -> None:
        """A run was accepted. An older, ended run of the same id is forgotten."""
        assert run.run_id not in self._active, f"two active runs with the id {run.run_id}"
        self._ended.pop(run.run_id, None)
        self._active[run.run_id] = run

    def end(self, run: Run, status: EndStatus, *, error: str | None, ended_ms: int, now: float) -> None:
        """A run is over: everyone who waits for it is told."""
        run.status, run.error, run.ended_ms = status, error, ended_ms
        self._active.pop(run.run_id, None)
        self._ended[run.run_id] = (now, run)
        for waiter in self._waiters.pop(run.run_id, ()):
            if not waiter.done():
                waiter.set_result(None)

    def prune(self, now: float) -> int:
        """Forget runs that ended long ago; how many went."""
        old = [run_id for run_id, (at, _) in self._ended.items() if now - at > self._remember_s]
        for run_id in old:
            del self._ended[run_id]
        return len(old)

    async def wait(self, run_id: str, timeout_s: float, clock: Clock) -> dict[str, Any]:
        """The ``agent.wait`` payload once the run has ended, or after ``timeout_s`` nominal seconds.

        A run that is not known (yet) is waited for like one that is. Cancelling just stops waiting.
        """
        run = self.get(run_id)
        if (run is None or run.status is None) and timeout_s > 0:
            waiters = self._waiters.setdefault(run_id, {})
            waiter = asyncio.get_running_loop().create_future()
            waiters[waiter] = None
            try:
                async with asyncio.timeout(clock.real_s(timeout_s)):
                    await waiter
            except TimeoutError:
                pass
            finally:
                waiters.pop(waiter, None)
                if not waiters and self._waiters.get(run_id) is waiters:
                    del self._waiters[run_id]
            run = self.get(run_id)
        return run.wait_payload() if run else {"runId": run_id, "status": "timeout"}

    def abort(
        self,
        caller: Caller,
        session_key: str,
        run_id: str | None,
        *,
        reaches: Callable[[Run], bool],
    ) -> list[str]:
        """Signal the abort of one run, or of all runs of a session; returns the ids that were signalled.

        Args:
            reaches: whether aborts reach a run at all; 2026.4.8 does not register runs of ``agent`` for it.

        Raises:
            AbortRefused: the run belongs to another session, or its starter is neither this connection nor
                this device and the caller is no admin.
        """
        if run_id is not None:
            run = self._active.get(run_id)
            found: Iterable[Run] = [run] if run and reaches(run) else []
            if any(r.session_key != session_key for r in found):
                raise AbortRefused("runId does not match sessionKey")
        else:
            found = [r for r in self._active.values() if r.session_key == session_key and reaches(r)]
        allowed = [r for r in found if _may_abort(caller, r)]
        if found and not allowed:
            raise AbortRefused("unauthorized")
        for run in allowed:
            run.signal_abort("rpc")
        return [run.run_id for run in allowed]


def _may_abort(caller: Caller, run: Run) -> bool:
    if caller.admin or caller.connection_id == run.starter.connection_id:
        return True
    return caller.device_id is not None and caller.device_id == run.starter.device_id
