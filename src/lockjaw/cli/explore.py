"""``lockjaw explore``: many schedules of one scenario, or of every scenario."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from lockjaw.cli.catalogue import EXIT_AS_TOLD, EXIT_OTHERWISE
from lockjaw.cli.options import JsonFlag, print_json
from lockjaw.cli.progress import Progress, progress
from lockjaw.errors import UsageError
from lockjaw.harness.incident.scenario import Scenario, load_scenario
from lockjaw.harness.run import DEFAULT_POLICY
from lockjaw.harness.search import explore as searching
from lockjaw.harness.search.explore import Exploration
from lockjaw.harness.search.strategies import FUZZ, SWEEPS, plan
from lockjaw.harness.search.workers import Workers, started
from lockjaw.scenarios import names
from lockjaw.verdict import Verdict
from lockjaw.visible import show, show_wrapped

__all__ = ["explore", "explore_all"]

EXIT_INTERRUPTED = 130
DEFAULT_SEEDS = 1000
SWEPT = ("delays", "crash")  # by --all, beside the default strategy


def explore(
    scenario: Annotated[
        str | None, typer.Argument(help="A name from `lockjaw list`, or the path of a YAML file.")
    ] = None,
    all_of_them: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Every scenario, random, delays and crash: its baseline must break its laws in each everyday run, "
            "takeover none. A line as each search ends.",
        ),
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Runs at most (default: 1000; delays, crash and fault: one for each place, fewer are spaced evenly; "
            "fuzz: no end).",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that search at the same time.")] = 1,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="A Dask cluster in place of --workers: tcp://HOST:PORT, tls://..., local:N."
        ),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(help="takeover (default), baseline, or another; with --all by default baseline and takeover."),
    ] = None,
    strategy: Annotated[
        str,
        typer.Option(
            help="random (in turns everyday, priority, swarm), one of these, delays (freeze each operation), crash "
            "(kill at each), fault (fail each), fuzz (learns; for a night)."
        ),
    ] = "random",
    seed: Annotated[int, typer.Option(min=0, help="First seed.")] = 1,
    fail_fast: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="End when N runs have broken a law.")
    ] = None,
    until_quiet: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="End when N runs brought no new ordering of two steps.")
    ] = None,
    twice: Annotated[bool, typer.Option("--twice", help="Run each seed twice and compare the event hashes.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where runs that fail are kept (default: .lockjaw/runs).")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page: which steps were seen before and after which others.")
    ] = None,
    as_json: JsonFlag = False,
) -> int:
    """Search many schedules of a scenario in virtual time; shrink what fails, and say how to replay it.

    Exit status: 0 HELD, 1 VIOLATED, 2 usage, 3 UNKNOWN, 4 the harness failed, 130 interrupted without a finding.
    """
    if all_of_them == (scenario is not None):
        raise UsageError("explore", "", "a scenario, or --all", scenario)
    if scenario is None and html is not None:
        raise UsageError("--html", "", "one scenario, not --all", str(html))
    if scenario is None:
        if strategy != "random" or twice:
            raise UsageError("explore --all", "", "strategy random, and no --twice", strategy)
        with started(cluster or workers) as crew:
            return explore_all(
                policy,
                seeds=seeds or DEFAULT_SEEDS,
                seed=seed,
                workers=crew,
                until_quiet=until_quiet,
                out=out,
                as_json=as_json,
            )
    loaded = load_scenario(scenario)
    chosen = loaded.baseline if policy == "baseline" else policy or DEFAULT_POLICY
    with progress(quiet=as_json) as shown:
        found = searching.explore(
            loaded, policy=chosen, strategy=strategy, seeds=seeds or _all_of(strategy), first_seed=seed,
            workers=cluster or workers, twice=twice, fail_fast=fail_fast, until_quiet=until_quiet, out=out,
            progress=None if as_json else _telling(shown),
        )  # fmt: skip
    if html is not None:
        from lockjaw.reports.coverage import coverage_view, render_coverage

        title = f"{found.scenario}, {found.policy}, strategy {found.strategy}: {found.verdict}"
        view = coverage_view(found.schedules.orderings, found.schedules.only_violated)
        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(render_coverage(title, list(_seen(found)), view), encoding="utf-8")
    if as_json:
        print_json("explore", found.document())
    else:
        show_wrapped(*_explored(found))
    return EXIT_INTERRUPTED if found.interrupted and not found.violations else found.verdict.exit_status


def _all_of(strategy: str) -> int:
    """How many runs where no number is given. 0: a sweep visits every place once, and ``fuzz`` has no end."""
    return 0 if strategy in (*SWEEPS, FUZZ) else DEFAULT_SEEDS


def _telling(shown: Progress) -> Callable[[Exploration], None]:
    def tell(found: Exploration) -> None:
        if found.shrinking:
            shown.update(f"shrinking {found.shrinking}")
        elif not shown.live or found.runs < 10 or found.runs % 10 == 0 or found.runs == found.planned:
            of = f"/{found.planned}" if found.planned else ""
            state = f"{found.runs}{of} runs, {found.per_second:.0f}/s, {found.violations} VIOLATED{_left(found)}"
            shown.update(state, found.runs, found.planned)

    return tell


def _left(found: Exploration) -> str:
    if found.left_s is None:
        return ""
    minutes, seconds = divmod(round(found.left_s), 60)
    return f", {minutes}:{seconds:02} left"


def _explored(found: Exploration) -> Iterator[str]:
    points = f" at {found.points} operations" if found.points else ""
    ended = "; interrupted" if found.interrupted else "; no new ordering in the last runs" if found.quiet else ""
    yield f"{found.scenario}, {found.policy}, strategy {found.strategy}: {found.verdict}"
    yield (
        f"  {found.runs} runs{points} in {found.wall_s:.1f} s ({found.per_second:.0f} runs/s, "
        f"{found.simulated_s / 3600:.1f} simulated hours{ended})"
    )
    if found.verdicts:
        yield "  " + ", ".join(f"{verdict} {count}" for verdict, count in sorted(found.verdicts.items()))
    yield from (f"  {sentence}" for sentence in _seen(found))
    if len(found.by_worker) > 1:
        yield "  runs by worker: " + ", ".join(f"{name} {runs}" for name, runs in sorted(found.by_worker.items()))
    if found.broken:
        yield "  broken: " + ", ".join(f"{law} {count}" for law, count in found.broken.most_common())
    for why, count in found.unknown.most_common(8):
        yield f"  UNKNOWN {count}: {', '.join(why)}"
    if found.not_repeated:
        yield f"  {found.not_repeated} runs did not repeat: the same seed gave another history"
    for finding in found.findings:
        yield f"X VIOLATED {', '.join(finding.violated)} (seed {finding.job.seed})"
        yield f"  the fewest choices that break it, found in {finding.tries} runs:"
        yield from (f"    {step}" for step in finding.steps or ("none: it breaks without any disturbance",))
        if finding.run_dir is not None:
            yield f"  {finding.document()['replay']}"


def _seen(found: Exploration) -> Iterator[str]:
    """What the runs have shown, for terminal and page."""
    if found.runs:
        yield found.schedules.sentence()
    if found.unseen is not None:
        yield (
            f"unseen: the next run of strategy {found.strategy} brings another schedule with a chance of "
            f"{found.unseen['chance']:.0%} (Good-Turing)"
        )


# --------------------------------------------------------------------------- --all


def explore_all(
    policy: str | None, *, seeds: int, seed: int, workers: Workers, until_quiet: int | None, out: Path | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Explore every scenario at random: the baseline is to be VIOLATED in every everyday run, ours HELD in all, and in
    the sweeps that freeze each operation once and kill each actor at each of its own. The exit status.

    Args:
        policy: None: the baseline and ours.
        seeds: of each search; of a sweep that is longer so many places, evenly spaced.
    """
    explored: list[tuple[Exploration, Scenario]] = []
    began = time.perf_counter()
    for scenario, chosen, strategy in _planned(policy):
        most = _at_most(seeds, scenario, chosen, strategy)
        found = searching.explore(
            scenario, policy=chosen, strategy=strategy, seeds=most, first_seed=seed,
            workers=workers, until_quiet=until_quiet if strategy == "random" else None, out=out,
            most_findings=0 if scenario.expect.get(chosen) else 3,
        )  # fmt: skip
        explored.append((found, scenario))
        if not as_json:
            show_wrapped(_one_of_all(found, scenario))
            sys.stdout.flush()
        if found.interrupted:
            break
    wrong = [found for found, scenario in explored if not _as_told(found, scenario)]
    if as_json:
        shown = [{**found.document(), "as_told": _as_told(found, scenario)} for found, scenario in explored]
        print_json("explore", {"as_told": not wrong, "explorations": shown})
    else:
        for found in wrong:
            for finding in found.findings:
                laws = ", ".join(finding.violated)
                show(f"X {found.scenario}, {found.policy}: {laws}: {finding.document()['replay']}")
        runs, wall_s = sum(found.runs for found, _ in explored), time.perf_counter() - began
        show(f"{len(explored) - len(wrong)} of {len(explored)} as their files say: {runs} runs, {wall_s:.0f} s")
    if explored and explored[-1][0].interrupted:
        return EXIT_INTERRUPTED
    return EXIT_OTHERWISE if wrong else EXIT_AS_TOLD


def _planned(policy: str | None) -> Iterator[tuple[Scenario, str, str]]:
    for scenario in map(load_scenario, names()):
        for one in [policy] if policy else [scenario.baseline, DEFAULT_POLICY]:
            chosen = scenario.baseline if one == "baseline" else one
            yield scenario, chosen, "random"
            if not scenario.expect.get(chosen):
                yield from ((scenario, chosen, sweep) for sweep in SWEPT)


def _at_most(seeds: int, scenario: Scenario, policy: str, strategy: str) -> int:
    """A sweep visits each place once, and goes no further."""
    if strategy == "random":
        return seeds
    return min(seeds, plan(scenario, policy, strategy, 0, 1).planned or seeds)


def _as_told(found: Exploration, scenario: Scenario) -> bool:
    """Ours breaks no law; the baseline breaks its own in every run that nothing far-reaching disturbs."""
    if scenario.expect.get(found.policy):
        everyday = found.by_kind["everyday"]
        return everyday.total() == everyday["VIOLATED"] > 0
    return found.verdict is Verdict.HELD


def _one_of_all(found: Exploration, scenario: Scenario) -> str:
    mark = "+" if _as_told(found, scenario) else "X"
    verdicts = ", ".join(f"{verdict} {count}" for verdict, count in sorted(found.verdicts.items()))
    seen = f"{found.schedules.different} schedules, {found.schedules.both_ways} races both ways"
    return f"{mark} {found.scenario:<28} {found.policy:<20} {found.strategy:<7} {verdicts}; {seen}"
