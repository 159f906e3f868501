"""What the harness's tests share: stand-in actors, a small scenario, and hand-written records."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from lockjaw.documents import Document
from lockjaw.harness.incident.scenario import Scenario, scenario_from
from lockjaw.harness.real.actors import Descriptors
from lockjaw.harness.real.rig import Builtin, Launch

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


@dataclass(frozen=True)
class StandIns:
    """``Programs`` made of stand-ins; each attribute names a behaviour of ``standin.py``. The cast is Lockjaw's own."""

    models_do: str = "serves"
    gateway_does: str = "serves"
    client_does: str = "answers"

    def models(self, launch: Launch, fds: Descriptors) -> Sequence[str]:
        return self._command("models", fds, self.models_do)

    def gateway(self, launch: Launch, fds: Descriptors) -> Sequence[str]:
        return self._command("gateway", fds, self.gateway_does)

    def client(self, launch: Launch, fds: Descriptors) -> Sequence[str]:
        return self._command("client", fds, self.client_does)

    def actor(self, name: str, launch: Launch, fds: Descriptors) -> Sequence[str]:
        return Builtin().actor(name, launch, fds)

    @staticmethod
    def _command(role: str, fds: Descriptors, behaviour: str) -> list[str]:
        # -I -S: a stand-in is ready in 20 ms, and imports nothing of ours
        return [sys.executable, "-I", "-S", str(STAND_IN), role, str(fds.ready), str(fds.go), behaviour]


@pytest.fixture
def small() -> Callable[..., Scenario]:
    """A small scenario with some keys replaced."""

    def make(**changes: Any) -> Scenario:
        return scenario_from(Document.of(SMALL | changes), name="small")

    return make


@pytest.fixture
def stand_ins() -> type[StandIns]:
    """Makes the programs of a run; ``stand_ins(gateway_does="dies")``."""
    return StandIns


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
