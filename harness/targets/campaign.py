"""A run against a described runtime."""

from __future__ import annotations

from pathlib import Path

import msgspec

from lockjaw.errors import UsageError

from ..incident.scenario import Scenario
from ..real.engine import Limits
from ..run import Progress, Run, check_playable, run_policies
from .foreign import Foreign

__all__ = ["LIMITS", "play_on"]

#: Real time: a look every 20 ms, and a program that may need a minute to start on a busy machine.
LIMITS = Limits(tick=0.02, ready=120.0, stop=15.0, run=60.0)


def play_on(
    target: Foreign,
    scenario: Scenario,
    *,
    seed: int = 1,
    out: Path | None = None,
    time_scale: float | None = None,
    progress: Progress | None = None,
) -> Run:
    """Run a scenario once against a target, in real time.

    Raises:
        UsageError: the scenario does not say how other programs play it, or needs programs of ours.
        HarnessError: the program could not be set up, was never ready, or its client never ended.
    """
    check_playable(scenario, target.name)
    if scenario.outside is None:
        raise UsageError("scenario", "", "one with an `outside` part: how other programs play it", scenario.name)
    policy = scenario.outside.policy
    if scenario.outside.faults is not None:
        scenario = msgspec.structs.replace(scenario, faults=scenario.outside.faults)
    return run_policies(
        scenario, [policy], seed=seed, time_scale=time_scale, out=out, progress=progress,
        target=target, limits=LIMITS,
    )[0]  # fmt: skip
