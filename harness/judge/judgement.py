"""Verdict and outcome of a history. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from lockjaw.history import Record
from lockjaw.history.ordered import numbered
from lockjaw.history.run import Reached, Run
from lockjaw.verdict import CheckResult, Verdict, combine

from ..incident.scenario import NO_DANGER, Scenario
from .checkers import run_checks
from .outcome import outcome_of
from .skeleton import skeleton_hash

__all__ = ["OUT_OF_SIGHT", "Judgement", "judge", "judgement_of", "seen_from_outside"]

OUT_OF_SIGHT = "cannot be judged: "  # begins the finding of a law that no run of a target can break in sight


def judge(
    scenario: Scenario,
    history: Sequence[Record],
    *,
    never_due: Sequence[str] = (),
    policy: str,
    engine: str,
    seed: int,
    nominal_s: float,
    wall_s: float,
    run_dir: Path,
    exact_hash: str | None = None,
) -> Run:
    """Make the run of a history: its verdict, and what it came to. Pure.

    ``exact_hash``: over the whole history, where the engine repeats it to the byte; else the skeleton's counts.
    """
    ordered = numbered(history)
    judgement = judgement_of(scenario, ordered, never_due=never_due)
    return Run(
        scenario=scenario.name, policy=policy, engine=engine, seed=seed, verdict=judgement.verdict,
        checks=judgement.checks, reached=judgement.reached, outcome=outcome_of(ordered),
        event_hash=exact_hash or skeleton_hash(ordered), nominal_s=nominal_s, wall_s=wall_s, run_dir=run_dir,
        history=ordered, story=" ".join(scenario.story.split()),
        notes=(NO_DANGER,) if judgement.verdict is Verdict.HELD and not scenario.sometimes else (),
    )  # fmt: skip


@dataclass(frozen=True)
class Judgement:
    """The verdict on a history, and what it rests on."""

    verdict: Verdict
    checks: tuple[CheckResult, ...]
    reached: tuple[Reached, ...]


def judgement_of(scenario: Scenario, history: Sequence[Record], *, never_due: Sequence[str] = ()) -> Judgement:
    """The verdict alone, for a search that makes thousands of runs. Pure."""
    ordered = numbered(history)
    checks = tuple(run_checks(scenario.checks, ordered, scenario.facts))
    reached = [_reached(some.says, some.witness(ordered)) for some in scenario.sometimes]
    reached += [Reached(f"the nemesis was to {fault}", None) for fault in never_due]
    verdict = combine(check.verdict for check in checks)
    if verdict is Verdict.HELD and not all(condition.met for condition in reached):
        verdict = Verdict.UNKNOWN
    return Judgement(verdict, checks, tuple(reached))


def _reached(says: str, record: Record | None) -> Reached:
    return Reached(says, None if record is None else record.i)


def seen_from_outside(run: Run, cannot: Mapping[str, str]) -> Run:
    """The run of somebody else's program, without the laws that nobody could have seen broken.

    Args:
        cannot: law -> why it cannot be judged from outside; such a law is UNKNOWN, and says nothing of the run.
    """
    checks = tuple(
        msgspec.structs.replace(check, verdict=Verdict.UNKNOWN, finding=f"{OUT_OF_SIGHT}{cannot[check.name]}")
        if check.name in cannot and check.verdict is not Verdict.VIOLATED
        else check
        for check in run.checks
    )
    verdict = combine(check.verdict for check in checks if check.name not in cannot)
    if verdict is Verdict.HELD and not all(condition.met for condition in run.reached):
        verdict = Verdict.UNKNOWN
    return replace(run, checks=checks, verdict=verdict)
