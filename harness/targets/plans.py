"""What the users of a run do, and who holds its store: data for their processes (``user``, ``holding``). Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..incident.actors import Caller, Scripted
from ..incident.outside import Outside
from ..incident.scenario import Scenario
from .holding import Hold
from .program import Program
from .session import lock_name
from .spec import filled, filled_in
from .user import Attempt, Plan, Way

__all__ = ["Planner"]


@dataclass(frozen=True)
class Planner:
    """``values``: of the placeholders, the session's id among them. ``port_of``: server -> its port."""

    program: Program
    scenario: Scenario
    outside: Outside
    values: Mapping[str, str]
    port_of: Callable[[str], int]
    logs: Path

    def plans(self) -> dict[str, Plan | Hold]:
        """Actor -> what its process is told."""
        return {**self._users(), **self._holders()}

    def _users(self) -> dict[str, Plan]:
        """The client gives up and goes on as ``outside.then`` says; a caller of the cast asks once."""
        client, outside = self.program.spec.client, self.outside
        attempts = [self._attempt("gateway", self.scenario.message, outside.patience_s, outside.gives_up_s)]
        then: dict[str, Way] = {"again": "gateway", "own": "own"}
        if outside.then in then and (client.own or outside.then != "own"):
            later = self._attempt(then[outside.then], outside.says or self.scenario.message, outside.patience_s)
            attempts.append(msgspec.structs.replace(later, waits_s=outside.waits_s))
        plans = {"client": self._plan(*attempts)}
        for name, actor in self.scenario.cast.items():
            if isinstance(actor, Caller):
                way: Way = "own" if actor.local and client.own else "gateway"
                plans[name] = self._plan(self._attempt(way, actor.message, outside.patience_s, server=actor.asks))
        return plans

    def _holders(self) -> dict[str, Hold]:
        held = self.program.spec.store.held
        if held is None:
            return {}
        cast = [name for name, actor in self.scenario.cast.items() if isinstance(actor, Scripted)]
        return {name: Hold(filled(held[1], self.values), held[0], self.outside.holds_s) for name in cast}

    def _attempt(
        self, way: Way, message: str, deadline_s: float, once_asked_s: float | None = None, server: str = "gateway"
    ) -> Attempt:
        values = {**self.values, "message": message, "port": str(self.port_of(server))}
        if way == "own":
            deadline_s += self.program.spec.client.own_starts_s
        return Attempt(way, tuple(filled_in(self.program.turn(way), values)), deadline_s, once_asked_s)

    def _plan(self, *attempts: Attempt) -> Plan:
        session = self.values["session"]
        locked = self.program.spec.locked
        return Plan(attempts, (self.outside.answer,), locked, lock_name(session), session, str(self.logs))
