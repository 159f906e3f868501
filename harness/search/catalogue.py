"""Play many scenarios, each under the policies that its file's ``expect`` names, and say whether the file is right.

In the simulation a policy breaks exactly the laws that stand there. Processes race: they break at least those, and one
that is to break none is HELD. Whether the two worlds agree is asked apart from this (``agreeing``).
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

    @property
    def declared(self) -> bool:
        """The file says something about this policy."""
        return self.policy in self.scenario.expect

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
        """The file names this policy, and it is as the file says; UNKNOWN is as no file says."""
        if self.run is None or not self.play.declared:
            return False
        if self.play.expected:
            return not (self.missing or self.extra)
        return self.run.verdict is Verdict.HELD

    @property
    def missing(self) -> list[str]:
        """Laws that the file says are broken, and are not."""
        return [law for law in self.play.expected if law not in self.broken]

    @property
    def extra(self) -> list[str]:
        """Laws that are broken in the simulation although the file does not say so."""
        return [law for law in self.broken if law not in self.play.expected and self.play.engine == "sim"]

    @property
    def verdict(self) -> str:
        return "failed" if self.run is None else str(self.run.verdict)

    def complaint(self) -> str:
        """Why it is not as the file says, in one sentence."""
        if self.run is None:
            return f"{self.play}: {self.error.splitlines()[0]}"
        if not self.play.declared:
            line = f"; add `{self.play.policy}: [{', '.join(self.broken)}]`" if self.verdict != "UNKNOWN" else ""
            return f"{self.play}: {self.verdict}, and the file's expect says nothing about it{line}"
        if self.play.expected:
            wrong = [f"not broken: {', '.join(self.missing)}"] if self.missing else []
            wrong += [f"broken, and not named in expect: {', '.join(self.extra)}"] if self.extra else []
            return f"{self.play}: {self.verdict}, but {'; '.join(wrong)}; {self.run.replay}"
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
    """A run for each policy that ``expect`` names, on each engine that can play it; simulated ones first.

    Processes take long: where there is a simulation they play the baseline and takeover only. A file without ``expect``
    is played under these two, for its author to see what to write.
    """
    for engine in sorted(engines, reverse=True):
        for scenario in scenarios:
            if engine == "sim" or not scenario.not_real:
                both = dict.fromkeys((scenario.baseline, DEFAULT_POLICY))
                policies = [p for p in scenario.expect if p in both or engine == "sim" or "sim" not in engines]
                for policy in policies or both:
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
