"""What ``lockjaw explore`` does: the harness makes the runs, this tells of them.

Kept apart from ``commands``, so that ``lockjaw run`` does not load what starts worker processes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lockjaw import __version__
from lockjaw.harness.incident.scenario import load_scenario
from lockjaw.harness.search.explore import Exploration, explore
from lockjaw.reports import document


@dataclass(frozen=True)
class ExploreOptions:
    """Flags of ``lockjaw explore``."""

    policy: str
    strategy: str
    seeds: int
    first_seed: int
    workers: int
    twice: bool
    out: Path | None
    as_json: bool


def explore_command(name: str, options: ExploreOptions) -> int:
    """Explore a scenario in virtual time, report, and return the exit status."""
    scenario = load_scenario(name)
    policy = scenario.baseline if options.policy == "baseline" else options.policy
    with _exploration_line(options.as_json) as progress:
        found = explore(
            scenario, policy=policy, strategy=options.strategy, seeds=options.seeds,
            first_seed=options.first_seed, workers=options.workers, twice=options.twice, out=options.out,
            progress=progress,
        )  # fmt: skip
    if options.as_json:
        sys.stdout.write(document.to_json({"lockjaw": __version__, "command": "explore", **found.document()}))
    else:
        print("\n".join(_explored(found)))
    return 130 if found.interrupted and not found.violations else found.verdict.exit_status


def _explored(found: Exploration) -> Iterator[str]:
    points = f" at {found.points} operations" if found.points else ""
    ended = "; interrupted" if found.interrupted else ""
    yield f"{found.scenario}, {found.policy}, strategy {found.strategy}: {found.verdict}"
    yield (
        f"  {found.runs} runs{points} in {found.wall_s:.1f} s ({found.per_second:.0f} runs/s, "
        f"{found.simulated_s / 3600:.1f} simulated hours{ended})"
    )
    if found.verdicts:
        yield "  " + ", ".join(f"{verdict} {count}" for verdict, count in sorted(found.verdicts.items()))
    if found.broken:
        yield "  broken: " + ", ".join(f"{law} {count}" for law, count in found.broken.most_common())
    for why, count in found.unknown.most_common(8):
        yield f"  UNKNOWN {count}: {', '.join(why)}"
    if found.different:
        yield f"  {found.different} runs did not repeat: the same seed gave another history"
    for finding in found.findings:
        yield f"X VIOLATED {', '.join(finding.violated)} (seed {finding.job.seed})"
        yield f"  the fewest choices that break it, found in {finding.tries} runs:"
        yield from (f"    {step}" for step in finding.steps or ("none: the undisturbed run breaks it",))
        if finding.run_dir is not None:
            yield f"  {finding.document()['replay']}"


def _left(found: Exploration) -> str:
    if found.left_s is None:
        return ""
    minutes, seconds = divmod(round(found.left_s), 60)
    return f", {minutes}:{seconds:02} left"


@contextmanager
def _exploration_line(quiet: bool) -> Iterator[Callable[[Exploration], None] | None]:
    """Progress on stderr: a bar on a terminal, a line every few seconds elsewhere."""
    if quiet:
        yield None
        return
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        told = [0.0]

        def line(found: Exploration) -> None:
            if found.shrinking:
                print(f"shrinking {found.shrinking}", file=sys.stderr)
            elif found.wall_s - told[0] >= 5.0:
                told[0] = found.wall_s
                of = f"/{found.planned}" if found.planned else ""
                print(
                    f"{found.runs}{of} runs, {found.per_second:.0f}/s, {found.violations} violations{_left(found)}",
                    file=sys.stderr,
                )

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(20),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("exploring", total=None, told="starting")

        def update(found: Exploration) -> None:
            if found.shrinking:
                bar.update(task, description="shrinking", total=None, told=found.shrinking)
            elif found.runs < 10 or found.runs % 10 == 0 or found.runs == found.planned:
                of = f"/{found.planned}" if found.planned else ""
                told = f"{found.runs}{of}  {found.per_second:.0f}/s  {found.violations} violations"
                bar.update(task, total=found.planned, completed=found.runs, told=told)

        yield update
