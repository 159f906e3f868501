"""What the harness's tests share: stand-in actors, a small scenario, and hand-written records."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from lockjaw.documents import Document
from lockjaw.harness.incident.scenario import Scenario, scenario_from
from lockjaw.harness.real.actors import Descriptors
from lockjaw.harness.real.engine import RealWorld

STAND_IN = Path(__file__).with_name("standin.py")

SMALL: dict[str, Any] = {
    "story": "A stand-in asks a stand-in.",
    "message": "hello",
    "chain": ["p/m"],
    "models": {"m": [{"text": "hi"}]},
    "checks": ["answered"],
    "answers_s": {"p/m": 1.0},
    "time_scale": 0.02,
    "budget_s": 100.0,
    "settle_s": 10.0,
    "effects": {"ledger": "ledger.txt"},
}


class StandIns(RealWorld):
    """A world whose programs are stand-ins; each attribute names a behaviour of ``standin.py``; the cast is ours."""

    does: ClassVar[dict[str, str]] = {}

    def command(self, name: str, fds: Descriptors) -> Sequence[str]:
        if name not in self.does:
            return super().command(name, fds)
        # -I -S: a stand-in is ready in 20 ms, and imports nothing of ours
        return [sys.executable, "-I", "-S", str(STAND_IN), name, str(fds.ready), str(fds.go), self.does[name]]


def stand_in_world(
    models_do: str = "serves", gateway_does: str = "serves", client_does: str = "answers"
) -> type[StandIns]:
    """``RealWorld`` with these programs."""
    does = {"models": models_do, "gateway": gateway_does, "client": client_does}
    return type("StandInWorld", (StandIns,), {"does": does})


@pytest.fixture
def small() -> Callable[..., Scenario]:
    """A small scenario with some keys replaced."""

    def make(**changes: Any) -> Scenario:
        return scenario_from(Document.of(SMALL | changes), name="small")

    return make


@pytest.fixture
def stand_ins() -> Callable[..., type[RealWorld]]:
    """Makes the world of a run whose programs are stand-ins; ``stand_ins(gateway_does="dies")``."""
    return stand_in_world


@pytest.fixture
def no_orphans(tmp_path: Path) -> Iterator[Callable[[], list[int]]]:
    """Living actors (and their children) of runs below this test's folder; the test fails if one remains."""

    def orphans() -> list[int]:
        return [process.pid for process in psutil.process_iter() if _state_dir(process).startswith(str(tmp_path))]

    yield orphans
    assert orphans() == []


def _state_dir(process: psutil.Process) -> str:
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else process.environ().get("OPENCLAW_STATE_DIR", "")
    except psutil.Error:
        return ""
