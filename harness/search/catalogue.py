"""Play many scenarios, each under the policies that its file speaks of, and say whether the file tells the truth.

A file tells the truth when the baseline breaks the laws that it names, and ours is HELD.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lockjaw.clock import ScaledClock
from lockjaw.errors import HarnessError
from lockjaw.verdict import Verdict

from ..incident.scenario import Scenario
from ..run import DEFAULT_POLICY, ENGINES, Run, run_async, run_to_the_end
from .cluster import Elsewhere


@dataclass(frozen=True)
class Play:
    """One run to make."""

    scenario: Scenario
    policy: str
    engine: str

    @property
    def expected(self) -> tuple[str, ...]:
        """The laws that the policy is said to break; none: HELD."""
        return self.scenario.expect.get(self.policy, ())

    def __str__(self) -> str:
        return f"{self.scenario.name} ({self.policy}, {self.engine})"


@dataclass(frozen=True)
class Played:
    """What came of it: a run, or why there is none."""

    play: Play
    run: Run | None
    error: str = ""
    wall_s: float = 0.0

    @property
    def broken(self) -> tuple[str, ...]:
        if self.run is None:
            return ()
        return tuple(check.name for check in self.run.checks if check.verdict is Verdict.VIOLATED)

    @property
    def as_told(self) -> bool:
        """A baseline may break more laws than those that the reports name; ours breaks none and is not UNKNOWN."""
        if self.run is None:
            return False
        if self.play.expected:
            return set(self.broken) >= set(self.play.expected)
        return self.run.verdict is Verdict.HELD

    @property
    def verdict(self) -> str:
        return "failed" if self.run is None else str(self.run.verdict)

    def complaint(self) -> str:
        """Why it is not as told, in one sentence."""
        if self.run is None:
            return f"{self.play}: {self.error.splitlines()[0]}"
        if self.play.expected:
            missing = [law for law in self.play.expected if law not in self.broken]
            return f"{self.play}: {self.verdict}, and {', '.join(missing)} not violated; {self.run.replay}"
        unmet = [f"never: {one.says}" for one in self.run.reached if not one.met]
        return f"{self.play}: {self.verdict}: {', '.join([*self.broken, *unmet])}; {self.run.replay}"

    def document(self) -> dict[str, Any]:
        return {
            "scenario": self.play.scenario.name, "policy": self.play.policy, "engine": self.play.engine,
            "verdict": self.verdict, "expected": list(self.play.expected), "violated": list(self.broken),
            "as_told": self.as_told, "error": self.error or None, "wall_s": round(self.wall_s, 1),
            "run_dir": str(self.run.run_dir) if self.run else None, "replay": self.run.replay if self.run else None,
        }  # fmt: skip


def plays_of(scenarios: Sequence[Scenario], engines: Sequence[str] = ENGINES) -> Iterator[Play]:
    """The baseline's and our run of each scenario, on each engine that can play it; simulated ones first."""
    for engine in sorted(engines, reverse=True):
        for scenario in scenarios:
            if engine == "sim" or not scenario.not_real:
                for policy in dict.fromkeys((scenario.baseline, DEFAULT_POLICY)):
                    yield Play(scenario, policy, engine)


def play_all(
    plays: Sequence[Play],
    *,
    seed: int = 1,
    jobs: int = 4,
    out: str | os.PathLike[str] | None = None,
    done: Callable[[Played], None] | None = None,
    elsewhere: Elsewhere | None = None,
) -> list[Played]:
    """Make the runs, so many at a time; a harness that fails in one of them goes on with the others.

    Simulated runs come one by one, before those of processes, which mostly wait and must be watched meanwhile; with
    ``elsewhere`` all of them are made on a cluster at the same time.

    Raises:
        LocalError: a scenario or the seed is wrong.
        KeyboardInterrupt: Ctrl-C; every process has been ended and reaped.
    """

    async def one(play: Play) -> Played:
        clock = ScaledClock.start()
        try:
            run = await run_async(
                play.scenario, policy=play.policy, engine=play.engine, seed=seed, out=out, simulate=elsewhere
            )
        except HarnessError as error:
            played = Played(play, None, str(error), clock.monotonic())
        else:
            played = Played(play, run, wall_s=clock.monotonic())
        if done is not None:
            done(played)
        return played

    async def work() -> list[Played]:
        found = []
        if elsewhere is not None:
            for play in plays:
                if play.engine == "sim":
                    elsewhere.ask(play.scenario, play.policy, seed)
        for play in plays:
            if play.engine == "sim":
                found.append(await one(play))
        free = asyncio.Semaphore(jobs)

        async def in_turn(play: Play) -> Played:
            async with free:
                return await one(play)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(in_turn(play)) for play in plays if play.engine != "sim"]
        return found + [task.result() for task in tasks]

    return run_to_the_end(work())
