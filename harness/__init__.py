"""The harness: a scenario, real processes, a history, a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .incident.scenario import Scenario, load_scenario
    from .run import Reached, Run, run_async, run_policies, run_scenario

__all__ = ["Reached", "Run", "Scenario", "load_scenario", "run_async", "run_policies", "run_scenario"]


def __getattr__(name: str) -> Any:
    """Loaded when it is asked for: a scripted actor is a process of this package and needs neither engine."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import run
    from .incident import scenario

    return getattr(scenario if name in ("Scenario", "load_scenario") else run, name)
