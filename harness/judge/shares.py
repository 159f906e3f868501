"""How often a law broke over repeated runs of the same thing, and when more runs would tell no more. Pure.

Real programs race: one run is one sample of many. A share is given with Wilson's interval, which stays within 0 and 1
and says something sensible of five runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lockjaw.history.run import BUILTIN, Run
from lockjaw.verdict import Verdict

__all__ = ["UNTIL_SURE_AT_MOST", "Repeats", "Share", "alike", "repeated", "shares"]

UNTIL_SURE_AT_MOST = 20  # runs: a law that breaks in half of them would never settle
_Z = 1.96  # of the 95 % interval


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
        """It is known on which side of one half the share lies: four runs that agree do, three do not."""
        low, high = self.interval
        return low > 0.5 or high < 0.5

    def document(self) -> dict[str, Any]:
        low, high = self.interval
        return {
            "law": self.law, "broken": self.broken, "runs": self.runs,
            "low": round(low, 3), "high": round(high, 3), "settled": self.settled,
        }  # fmt: skip

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.law}: broken in {self.broken} of {self.runs} (95 %: {low:.0%} to {high:.0%})"


def shares(runs: Sequence[Run], laws: Sequence[str]) -> list[Share]:
    """Per law, over the runs that reached the danger and in which it was HELD or VIOLATED."""
    reached = [run for run in runs if all(condition.met for condition in run.reached)]
    found = []
    for law in laws:
        verdicts = [check.verdict for run in reached for check in run.checks if check.name == law]
        decided = [verdict for verdict in verdicts if verdict is not Verdict.UNKNOWN]
        found.append(Share(law, decided.count(Verdict.VIOLATED), len(decided)))
    return found


@dataclass(frozen=True)
class Repeats:
    """How often the same run is made again. ``until_sure``: not more often than it takes to settle its laws."""

    most: int = 1
    until_sure: bool = False

    def enough(self, runs: Sequence[Run]) -> bool:
        """The rule: as many runs as were asked for; or, until sure, every law that any run could judge is settled.

        Looking after every run makes an early end somewhat likelier than the interval says; the share of a law that
        breaks about as often as not needs a fixed number of runs.

        Args:
            runs: of one scenario; those of several policies are made together and are counted apart.
        """
        return bool(runs) and all(len(mine) >= self.most or self._sure(mine) for mine in alike(runs).values())

    def _sure(self, runs: Sequence[Run]) -> bool:
        judged = _judged(runs)
        return self.until_sure and bool(judged) and all(share.settled for share in judged)

    def said(self, runs: Sequence[Run]) -> list[str]:
        """What some runs came to: a line for each law that was judged, and how the repeating ended. The runs of one
        scenario, policy and target stand together."""
        return [f"{name}: {line}" for name, mine in alike(runs).items() for line in self._said(mine)]

    def _said(self, runs: Sequence[Run]) -> list[str]:
        judged = _judged(runs)
        lines = [str(share) for share in judged] or [f"none of {len(runs)} run(s) reached the danger"]
        if self.until_sure and judged:
            unsettled = ", ".join(share.law for share in judged if not share.settled)
            rule = f"not settled: {unsettled}" if unsettled else "settled: each interval lies on one side of one half"
            lines.append(f"{rule}, after {len(runs)} run(s)")
        return lines


def repeated(make: Callable[[], Sequence[Run]], repeats: Repeats) -> list[Run]:
    """Make runs until there are enough. ``make``: one of each policy; what it raises ends the repeating."""
    runs: list[Run] = []
    while not repeats.enough(runs):
        runs += make()
    return runs


def alike(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs of the same thing, under a name of it."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        who = run.policy if run.target == BUILTIN else run.target
        groups.setdefault(f"{run.scenario}, {who}", []).append(run)
    return groups


def _judged(runs: Sequence[Run]) -> list[Share]:
    laws = list(dict.fromkeys(check.name for run in runs for check in run.checks))
    return [share for share in shares(runs, laws) if share.runs]
