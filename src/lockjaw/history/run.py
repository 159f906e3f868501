"""One finished run: what the harness makes, a run folder keeps, and every report reads. Pure.

There is one type of run. A page, a text or an exit status takes it as it is; only ``--json`` and ``verdict.json``
make a document of it, and ``read_document`` makes a run of such a document.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from lockjaw.folders import typed
from lockjaw.history.records import Record
from lockjaw.verdict import CheckResult, Verdict

__all__ = ["BUILTIN", "ClientOutcome", "Outcome", "Reached", "Run", "is_described", "read_document"]

BUILTIN = "builtin"


def is_described(target: str) -> bool:
    """Is this a runtime that a target file describes: neither Lockjaw's own programs nor OpenClaw?"""
    return target != BUILTIN and not target.startswith("openclaw")


class ClientOutcome(msgspec.Struct, frozen=True):
    """What one client gave its user. ``name`` is its actor; ``ended_by_fault``: the scenario killed it."""

    name: str
    answered: bool
    exit_code: int | None
    duplicate_possible: bool
    reply: str | None
    error: str | None
    ended_by_fault: bool = False


class Outcome(msgspec.Struct, frozen=True):
    """What the user got, and at what price: the ``outcome`` object of the run document.

    With several clients, ``answered`` means each of them (but those that a fault ended), and ``exit_code``, ``reply``
    and ``error`` are those of ``client``: the first that got no answer, else the last to get one. ``clients`` has all.

    ``exit_code`` is what the client's process ended with (negative: killed by that signal), None when it never
    ended. ``session_locked_errors`` counts the fallback's attempts that failed on a session lock.
    ``turn_executions``: 1 when gateway and fallback together ran the turn once, 2 when both ran it.
    ``sessions``: conversations that exist on disk at the end.
    """

    answered: bool
    exit_code: int | None
    session_locked_errors: int
    turn_executions: int
    provider_calls: int
    sessions: int
    duplicate_possible: bool
    reply: str | None
    error: str | None
    client: str | None = None
    clients: tuple[ClientOutcome, ...] = ()

    @property
    def several(self) -> bool:
        """More than one client asked: a sentence about an answer must say whose."""
        return len(self.clients) > 1


class Reached(msgspec.Struct, frozen=True):
    """One condition that shows that the run reached the danger. ``witness``: index of the record, None if unmet."""

    says: str
    witness: int | None

    @property
    def met(self) -> bool:
        return self.witness is not None


@dataclass(frozen=True)
class Run:
    """One finished run.

    ``nominal_s`` and ``wall_s``: seconds on the scenario's clock and on the wall. ``notes``: what of the scenario the
    target could not do. ``story``: what the scenario is about, in plain words.
    """

    scenario: str
    policy: str
    engine: str
    seed: int
    verdict: Verdict
    checks: tuple[CheckResult, ...]
    reached: tuple[Reached, ...]
    outcome: Outcome
    event_hash: str
    nominal_s: float
    wall_s: float
    run_dir: Path
    history: Sequence[Record] = field(repr=False)
    target: str = BUILTIN
    notes: tuple[str, ...] = ()
    story: str = field(default="", repr=False)

    @property
    def folder(self) -> str:
        """The run folder as a person types it: relative to the working folder where that is shorter."""
        return typed(self.run_dir)

    @property
    def replay(self) -> str:
        """The command that repeats this run."""
        named = f" --target {self.target}" if is_described(self.target) else ""
        return f"lockjaw replay {shlex.quote(self.folder)}{named}"

    def check(self, name: str) -> CheckResult:
        """The result of one checker. Raises KeyError if it was not asked."""
        return {check.name: check for check in self.checks}[name]

    def document(self) -> dict[str, Any]:
        """The run as ``lockjaw run --json`` shows it (one element of ``runs``), and as ``verdict.json`` holds it."""
        return {
            "scenario": self.scenario,
            "policy": self.policy,
            "engine": self.engine,
            "target": self.target,
            "seed": self.seed,
            "verdict": str(self.verdict),
            "event_hash": self.event_hash,
            "nominal_s": round(self.nominal_s, 1),
            "wall_s": round(self.wall_s, 1),
            "outcome": msgspec.to_builtins(self.outcome)
            | {"clients": [msgspec.to_builtins(client) for client in self.outcome.clients]},
            "checks": [msgspec.to_builtins(check) | {"witness": list(check.witness)} for check in self.checks],
            "sometimes": [{"says": r.says, "met": r.met, "witness": r.witness} for r in self.reached],
            **({"notes": list(self.notes)} if self.notes else {}),
            **({"story": self.story} if self.story else {}),
            "run_dir": self.folder,
            "replay": self.replay,
        }


class _Document(msgspec.Struct):
    """The shape of a document. Unknown keys are ignored: a newer Lockjaw may write more."""

    scenario: str
    policy: str
    engine: str
    seed: int
    verdict: Verdict
    outcome: Outcome
    event_hash: str = ""
    nominal_s: float = 0.0
    wall_s: float = 0.0
    checks: tuple[CheckResult, ...] = ()
    sometimes: tuple[Reached, ...] = ()
    target: str = BUILTIN
    notes: tuple[str, ...] = ()
    story: str = ""


def read_document(document: Mapping[str, Any], history: Sequence[Record], run_dir: Path) -> Run:
    """The run that a document describes.

    Args:
        document: as ``Run.document`` makes it; decoded JSON.
        history: the records that its witnesses point into.
        run_dir: where the run is now; the document says where it was.

    Raises:
        msgspec.ValidationError: it is no such document; the text names the key.
    """
    read = msgspec.convert(document, _Document)
    return Run(
        scenario=read.scenario, policy=read.policy, engine=read.engine, seed=read.seed, verdict=read.verdict,
        checks=read.checks, reached=read.sometimes, outcome=read.outcome, event_hash=read.event_hash,
        nominal_s=read.nominal_s, wall_s=read.wall_s, run_dir=run_dir, history=history, target=read.target,
        notes=read.notes, story=read.story,
    )  # fmt: skip
