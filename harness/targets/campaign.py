"""Runs against a described runtime: one, or several in a row, because a real program's run is one sample of many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lockjaw.errors import UsageError
from lockjaw.verdict import Verdict

from ..incident.scenario import Scenario
from ..real.engine import Limits
from ..run import Progress, Run, check_playable, run_policies
from .foreign import Foreign

__all__ = ["LIMITS", "Share", "play_on", "shares"]

#: Real time: a look every 20 ms, and a program that may need a minute to start on a busy machine.
LIMITS = Limits(tick=0.02, ready=120.0, stop=15.0, run=60.0)
_Z = 1.96  # of the 95 % interval


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


@dataclass(frozen=True)
class Share:
    """In how many of the runs that reached the danger a law was broken, and between which shares the truth lies
    (Wilson's interval, 95 %). ``runs`` 0: no run said anything."""

    law: str
    broken: int
    runs: int

    @property
    def interval(self) -> tuple[float, float]:
        if not self.runs:
            return 0.0, 1.0
        n, p = self.runs, self.broken / self.runs
        middle, spread = p + _Z**2 / (2 * n), _Z * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
        return max(0.0, (middle - spread) / (1 + _Z**2 / n)), min(1.0, (middle + spread) / (1 + _Z**2 / n))

    @property
    def settled(self) -> bool:
        """More runs would hardly change whether the law holds here most of the time."""
        low, high = self.interval
        return low > 0.5 or high < 0.5

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.law}: broken in {self.broken} of {self.runs} (95 %: {low:.0%} to {high:.0%})"


def shares(runs: Sequence[Run], laws: Sequence[str]) -> list[Share]:
    """Per law, over the runs in which it was HELD or VIOLATED."""
    found = []
    for law in laws:
        verdicts = [run.check(law).verdict for run in runs]
        decided = [verdict for verdict in verdicts if verdict is not Verdict.UNKNOWN]
        found.append(Share(law, decided.count(Verdict.VIOLATED), len(decided)))
    return found
