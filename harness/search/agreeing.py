"""Does the simulation know what real processes did? A run of processes against the simulated runs of its scenario.

Where actors race, one simulated run need not be the one that the processes happened to play. So a run of processes
agrees with the simulation if *some* schedule there comes to the same: the run's own seed first, then other seeds, then
seeds with rough delays, as a busy machine has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lockjaw.history import Record
from lockjaw.history.holds import holds, is_session_lock
from lockjaw.history.ordered import numbered
from lockjaw.history.run import Run
from lockjaw.seeds import Seeds

from ..incident.scenario import Scenario
from ..judge.agreement import Agreement, Tale, first_difference, tale_of
from ..run import judge
from ..sim.engine import run_sim
from ..sim.tape import EVERYDAY, POINT_BOUND, ROUGH, Choice, Choices, RandomChoices, Until, Value

__all__ = ["Steered", "agreement_of", "agreements_of"]
from .catalogue import Played

EVERYDAY_SEEDS, STEERED_SEEDS, ROUGH_SEEDS = 10, 10, 60
PATIENCE_S = 60.0  # how long an actor waits for another one's turn
_BEGINS = ("CreateExclusive ", "OpenGuard ")  # how taking a lock begins


class Steered(RandomChoices):
    """Everyday choices, but for whose turn it is: an actor that is about to take a conversation's lock waits until
    those have had it who had it before, in the run that is to be met again."""

    def __init__(self, seeds: Seeds, owners: Sequence[str]) -> None:
        super().__init__(seeds, EVERYDAY)
        self._owners, self._seen = list(owners), Counter[str]()
        self._holding: set[str] = set()

    def point(self, label: str) -> Value:  # type: ignore[override]  # every other part of the tape may wait too
        value = super().point(label)
        actor, _, operation = label.partition(": ")
        if operation.startswith(_BEGINS) and (".jsonl" in operation or ".sqlite" in operation):
            self._seen[label] += 1
            due = self._owners[0] if self._owners else actor
            if due != actor and actor in self._owners and actor not in self._holding:
                other = f"{due}: {operation}"
                waits = Until(other, self._seen[other], PATIENCE_S)
                self.tape[-1] = Choice(label, POINT_BOUND, waits)
                return waits
        return value

    def observe(self, record: Record) -> None:
        """A record of the simulated run."""
        if record.op == "lock" and record.phase == "ok" and is_session_lock(str(record.data.get("path", ""))):
            self._holding.add(record.actor)
            if record.actor in self._owners:
                self._owners.remove(record.actor)
        elif record.op in ("lock.release", "lock.lost"):
            self._holding.discard(record.actor)


def agreements_of(played: Iterable[Played]) -> list[Agreement]:
    """Every run of processes among these, compared with the simulation."""
    real = [(one.play.scenario, one.run) for one in played if one.run is not None and one.run.engine == "real"]
    return [agreement_of(scenario, run) for scenario, run in real]


def agreement_of(scenario: Scenario, real: Run) -> Agreement:
    """Look for a schedule under which the simulation comes to the same as a run of processes."""
    wanted, difference = tale_of(real), None
    for schedule, seed, choices in _schedules(real):
        found = first_difference(wanted, _simulated(scenario, real.policy, seed, choices))
        if found is None:
            return Agreement(real.scenario, real.policy, real.seed, None, schedule)
        difference = difference or found
    return Agreement(real.scenario, real.policy, real.seed, difference, f"seed {real.seed}")


def _schedules(real: Run) -> Iterator[tuple[str, int, Choices]]:
    owners = [hold.actor for hold in holds(numbered(real.history)) if is_session_lock(hold.path)]
    for n in range(real.seed, real.seed + EVERYDAY_SEEDS):
        yield f"seed {n}", n, RandomChoices(Seeds(n), EVERYDAY)
    for n in range(real.seed, real.seed + STEERED_SEEDS):
        yield f"seed {n}, in the same order", n, Steered(Seeds(n), owners)
    for n in range(real.seed, real.seed + ROUGH_SEEDS):
        yield f"seed {n}, rough", n, RandomChoices(Seeds(n), ROUGH)


def _simulated(scenario: Scenario, policy: str, seed: int, choices: Choices) -> Tale:
    observe = choices.observe if isinstance(choices, Steered) else None
    lived = run_sim(scenario, policy=policy, seed=seed, choices=choices, progress=observe)
    return tale_of(
        judge(
            scenario, lived.history, never_due=[str(fault) for fault in lived.never_due], policy=policy, engine="sim",
            seed=seed, nominal_s=lived.nominal_s, wall_s=0.0, run_dir=Path(),
        )
    )  # fmt: skip
