"""Runs against a described runtime: one, those of a cell of the table, and what a version came to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from lockjaw.errors import HarnessError, UsageError
from lockjaw.verdict import Verdict

from ..faults import AnyFault
from ..faults.pause import Pause
from ..incident.scenario import Scenario
from ..judge.shares import Repeats
from ..real.engine import Limits
from ..run import Progress, Run, check_playable, run_policies
from .foreign import Foreign
from .namespace import NoNamespace
from .store import Say
from .table import Cell, cell_of

__all__ = ["LIMITS", "JudgedVersion", "cell_on", "play_on"]

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
        faults = tuple(lasting(fault, target.spec.client.own_starts_s) for fault in scenario.outside.faults)
        scenario = msgspec.structs.replace(scenario, faults=faults)
    return run_policies(
        scenario, [policy], seed=seed, time_scale=time_scale, out=out, progress=progress,
        target=target, limits=LIMITS,
    )[0]  # fmt: skip


def cell_on(
    target: Foreign,
    scenario: Scenario,
    repeats: Repeats,
    say: Say,
    *,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Cell:
    """The runs of one cell. A run that could not be made does not stop the others; as many as were asked for do."""
    runs: list[Run] = []
    failed: list[str] = []
    while not repeats.enough(runs) and len(failed) < repeats.most:
        try:
            runs.append(play_on(target, scenario, out=out, progress=progress))
        except NoNamespace:
            raise
        except UsageError as error:
            return Cell(target.name, scenario.name, error=str(error).splitlines()[0])
        except HarnessError as error:
            failed.append(str(error).splitlines()[0])
            say(f"  not made: {failed[-1]}")
    if not runs:
        return Cell(target.name, scenario.name, error=failed[-1])
    return cell_of(target.name, scenario.name, runs, scenario.checks)


def lasting(fault: AnyFault, more_s: float) -> AnyFault:
    """A fault that holds somebody up, by so many seconds longer; every other one as it is."""
    return (
        msgspec.structs.replace(fault, for_s=fault.for_s + more_s)
        if isinstance(fault, Pause) and fault.for_s
        else fault
    )


@dataclass(frozen=True)
class JudgedVersion:
    """What the runs of one version came to, for ``bisection.bisect``."""

    version: str
    cell: Cell

    def verdict(self, check: str) -> Verdict | None:
        """VIOLATED: the law broke in more than half of the runs that decided it. HELD: in none. None: not run."""
        if self.cell.error:
            return None
        broken, decided = self.cell.laws.get(check, (0, 0))
        if decided and not broken:
            return Verdict.HELD
        return Verdict.VIOLATED if 2 * broken > decided else Verdict.UNKNOWN

    def why_unclear(self, check: str) -> str:
        broken, decided = self.cell.laws.get(check, (0, 0))
        if self.cell.error or not self.cell.reached:
            return self.cell.error or self.cell.said
        return f"broken in {broken} of {decided} runs" if decided else self.cell.why.get(check, "not judged")
