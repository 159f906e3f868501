"""Runs as the harness hands them over, made of example histories."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from lockjaw.harness.judge.checkers import CHECKERS, run_checks, turn_executions
from lockjaw.harness.judge.checkers.examples import EXAMPLES, FACTS
from lockjaw.history import Record
from lockjaw.history.run import Run, read_document
from lockjaw.verdict import CheckResult, combine

POLICIES = ("reuse-session", "fresh-session", "no-fallback", "takeover")


def example_run(
    policy: str, history: Sequence[Record], checks: Sequence[CheckResult], seed: int, changes: dict[str, Any]
) -> Run:
    """A run over a history; ``changes`` replace keys of its document (``outcome``: those that it names)."""
    results = [r.data for r in history if r.op == "client.result"]
    result = results[-1] if results else {}
    document = {
        "scenario": "gateway_timeout",
        "policy": policy,
        "engine": "real",
        "target": "builtin",
        "seed": seed,
        "verdict": str(combine(check.verdict for check in checks)),
        "event_hash": "sha256:0",
        "nominal_s": 123.9,
        "wall_s": 2.6,
        "outcome": {
            "answered": bool(result.get("answered")),
            "exit_code": result.get("exit_code"),
            "session_locked_errors": sum(r.op == "lock" and r.phase == "fail" for r in history),
            "turn_executions": turn_executions(history),
            "provider_calls": sum(r.op == "model.call" and r.phase == "invoke" for r in history),
            "sessions": len({r.data["path"] for r in history if r.op == "transcript.final"}),
            "duplicate_possible": bool(result.get("duplicate_possible")),
            "reply": result.get("reply"),
            "error": result.get("error"),
            **changes.pop("outcome", {}),
        },
        "checks": [
            {"name": c.name, "verdict": str(c.verdict), "finding": c.finding, "witness": list(c.witness)}
            for c in checks
        ],
        "sometimes": [],
        "run_dir": f".lockjaw/runs/gateway_timeout/20261122T192700-{seed}-{policy}",
        **changes,
    }
    return read_document(document, history, Path(document["run_dir"]))


#: The laws that the cascade puts to the test: nobody but the client reads or hands in anything there.
NOT_HERE = (
    "all_delivered",
    "reads_are_true",
    "store_delays_no_other",
    "claims_end",
    "lock_is_not_a_permission_verdict",
)
CASCADE = tuple(name for name in CHECKERS if name not in NOT_HERE)


@pytest.fixture
def make_run() -> Callable[..., Run]:
    """``make_run("takeover", history=None, checks=CASCADE, seed=1, **document_keys)``."""

    def make(
        policy: str, /, *, history: Sequence[Record] | None = None, checks: Sequence[str] = CASCADE,
        seed: int = 1, **changes: Any,
    ) -> Run:  # fmt: skip
        told = EXAMPLES[policy]() if history is None else list(history)
        return example_run(policy, told, run_checks(checks, told, FACTS), seed, changes)

    return make


@pytest.fixture
def four_runs(make_run: Callable[..., Run]) -> list[Run]:
    """The design's table: one run per policy."""
    return [make_run(policy) for policy in POLICIES]
