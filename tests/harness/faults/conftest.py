"""One small scenario with a cast, played in either world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lockjaw.documents import Document
from lockjaw.harness.incident.scenario import scenario_from
from lockjaw.harness.real.engine import Limits
from lockjaw.harness.run import run_policies
from lockjaw.history import Record

from .playing import Play

SMALL: dict[str, Any] = {
    "story": "A question, and somebody who wants the session too.",
    "message": "hello",
    "chain": ["p/m"],
    "models": {"m": [{"text": "hi"}]},
    "checks": ["answered"],
    "answers_s": {"p/m": 1.0},
    "time_scale": 0.02,
    "limit_s": 200.0,
    "settle_s": 0.0,
    "initial": {"turns": 1},
}
QUICK = Limits(tick=0.004, ready=30.0, stop=2.0, run=10.0)


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Play it with these actors and faults; its history."""

    def play(world: str, actors: dict[str, Any], *faults: dict[str, Any]) -> list[Record]:
        made = Document.of(SMALL | {"actors": actors, "faults": list(faults)})
        scenario = scenario_from(made, name="small")
        (run,) = run_policies(scenario, ["takeover"], engine=world, seed=1, out=tmp_path, limits=QUICK)
        return list(run.history)

    return play
