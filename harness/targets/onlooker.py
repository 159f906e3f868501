"""Records of a runtime that writes none: made from what was seen of it, never guessed.

Seen are owners of the session's lock (``lock``, ``lock.release``), and requests at the fake model server, which tell
that the server has accepted the question and when it is at rest again (``gateway.accepted``, ``gateway.final``).
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lockjaw.clock import Clock
from lockjaw.history import FileRecorder, Record

from ..incident.outside import Outside
from ..incident.scenario import Scenario
from .program import Program
from .session import lock_name

__all__ = ["Onlooker"]

QUIET_S = 1.5  # without a request at the models, beside the tool's own time: the gateway has ended its turn
RUN = "try-0"  # the client's first attempt


class Onlooker:
    """Looks at one run.

    Args:
        values: of the placeholders; the session's id gets there before the run begins.
        actors: pid -> name of each process of the run.
        tell_client: sends the client's process a signal: SIGUSR1 when the model has its question, SIGUSR2 when the
            scenario's bound of requests is passed (two processes that answer each other never end).
    """

    def __init__(
        self,
        program: Program,
        scenario: Scenario,
        outside: Outside,
        values: Mapping[str, str],
        *,
        clock: Clock,
        events: Path,
        actors: Callable[[], Mapping[int, str]],
        tell_client: Callable[[signal.Signals], object],
    ) -> None:
        self._program, self._values, self._clock, self._events = program, values, clock, events
        self._actors, self._tell_client = actors, tell_client
        self._marker, self._most = outside.marker_in(scenario.message), scenario.bounds.calls
        self._quiet_s = QUIET_S + outside.effect_s
        self._owners: dict[int, str] = {}  # pid -> actor
        self._open: set[str] = set()  # requests at the models
        self._asked, self._accepted, self._quiet_since = 0, "", 0.0
        self._recorders: dict[str, FileRecorder] = {}

    def refused(self, server: str, words: str) -> None:
        """A server would not start beside another one, and said so."""
        self._lock(server, "lock", "invoke", owner=server, timeout_s=0.0)
        self._lock(server, "lock", "fail", error=words, kind="timeout", waited_s=0.0, owner="")

    def look(self, records: Sequence[Record], busy: Callable[[], bool]) -> None:
        """
        Args:
            records: what our own programs have recorded since the last look.
            busy: something else keeps the server from ending its turn: it is held up, or its store is.
        """
        for record in records:
            if record.op == "provider.request":
                self._request(record)
        now = self._clock.monotonic()
        if self._open or not self._accepted or busy():
            self._quiet_since = now
        elif now - self._quiet_since > self._quiet_s:
            self._of("gateway").record("gateway.final", run_id=self._accepted, status="unknown")
            self._accepted = ""

    def _request(self, record: Record) -> None:
        request = str(record.data.get("request_id"))
        if record.phase != "invoke":
            self._open.discard(request)
            return
        if self._marker not in record.data.get("asks", ()):
            return
        self._open.add(request)
        self._asked += 1
        if self._most is not None and self._asked == self._most + 1:
            self._tell_client(signal.SIGUSR2)
        if self._asked == 1:  # it comes from the server: no other process has the question yet
            self._accepted = RUN
            session = self._values["session"]
            self._of("gateway").record("gateway.accepted", run_id=RUN, session_id=session, session_key="")
            self._tell_client(signal.SIGUSR1)

    def look_for_owners(self) -> None:
        """Owners that have come or gone. A process that is no actor's, and no actor's descendant, is left out."""
        owners = {owner.pid: owner for owner in self._program.owners(self._values) or []}
        for pid in [pid for pid in self._owners if pid not in owners]:
            self._lock(self._owners.pop(pid), "lock.release", "info", owner=f"pid-{pid}", removed=True)
        for pid, owner in owners.items():
            actor = self._actor_of(pid)
            if pid not in self._owners and actor:
                self._owners[pid] = actor
                got = {"generation": owner.generation, "waited_s": 0.0, "reclaimed": False}
                self._lock(actor, "lock", "invoke", owner=f"pid-{pid}", timeout_s=0.0)
                self._lock(actor, "lock", "ok", owner=f"pid-{pid}", **got)

    def _actor_of(self, pid: int) -> str:
        """The actor that this process is, or descends from; empty: no actor of this run."""
        named = self._actors()
        while pid > 1:
            if pid in named:
                return named[pid]
            try:
                pid = int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                return ""
        return ""

    def _lock(self, actor: str, op: str, phase: Any, **data: Any) -> None:
        self._of(actor).record(op, phase, path=lock_name(self._values["session"]), **data)

    def _of(self, actor: str) -> FileRecorder:
        """Writes down what was seen of an actor."""
        if actor not in self._recorders:
            self._recorders[actor] = FileRecorder(self._events / f"seen-{actor}.jsonl", self._clock, actor)
        return self._recorders[actor]

    def close(self) -> None:
        for recorder in self._recorders.values():
            recorder.close()
