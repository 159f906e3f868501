"""Runs as the harness hands them over, made of example histories."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from lockjaw.harness.judge.checkers import CHECKERS, run_checks, turn_executions
from lockjaw.harness.judge.checkers.examples import EXAMPLES, FACTS
from lockjaw.history import Record
from lockjaw.verdict import CheckResult, combine

POLICIES = ("reuse-session", "fresh-session", "no-fallback", "takeover")


@dataclass
class ExampleRun:
    """A run document over a history; ``changes`` replace keys of the document."""

    policy: str
    history: Sequence[Record]
    checks: Sequence[CheckResult]
    seed: int = 1
    changes: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        results = [r.data for r in self.history if r.op == "client.result"]
        result = results[-1] if results else {}
        run_dir = f".lockjaw/runs/gateway_timeout/20261122T192700-{self.seed}-{self.policy}"
        return {
            "scenario": "gateway_timeout",
            "policy": self.policy,
            "engine": "real",
            "target": "builtin",
            "seed": self.seed,
            "verdict": str(combine(check.verdict for check in self.checks)),
            "event_hash": "sha256:0",
            "nominal_s": 123.9,
            "wall_s": 2.6,
            "outcome": {
                "answered": bool(result.get("answered")),
                "exit_code": result.get("exit_code"),
                "session_locked_errors": sum(r.op == "lock" and r.phase == "fail" for r in self.history),
                "turn_executions": turn_executions(self.history),
                "provider_calls": sum(r.op == "model.call" and r.phase == "invoke" for r in self.history),
                "sessions": len({r.data["path"] for r in self.history if r.op == "transcript.final"}),
                "duplicate_possible": bool(result.get("duplicate_possible")),
                "reply": result.get("reply"),
                "error": result.get("error"),
            },
            "checks": [
                {"name": c.name, "verdict": str(c.verdict), "finding": c.finding, "witness": list(c.witness)}
                for c in self.checks
            ],
            "sometimes": [],
            "run_dir": run_dir,
            "replay": f"lockjaw replay {run_dir}",
            **self.changes,
        }


#: The laws that the cascade puts to the test: nobody but the client reads or hands in anything there.
CASCADE = tuple(name for name in CHECKERS if name not in ("all_delivered", "reads_are_true"))


@pytest.fixture
def make_run() -> Callable[..., ExampleRun]:
    """``make_run("takeover", history=None, checks=CASCADE, seed=1, **document_keys)``."""

    def make(
        policy: str, /, *, history: Sequence[Record] | None = None, checks: Sequence[str] = CASCADE,
        seed: int = 1, **changes: Any,
    ) -> ExampleRun:  # fmt: skip
        told = EXAMPLES[policy]() if history is None else list(history)
        return ExampleRun(policy, told, run_checks(checks, told, FACTS), seed, changes)

    return make


@pytest.fixture
def four_runs(make_run: Callable[..., ExampleRun]) -> list[ExampleRun]:
    """The design's table: one run per policy."""
    return [make_run(policy) for policy in POLICIES]
