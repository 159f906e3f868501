"""What ``lockjaw run``, ``replay`` and ``report`` do: the harness makes runs, the reports show them.

Harness and reports do not know each other; they meet here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lockjaw import __version__, pages
from lockjaw.errors import HarnessError, ReplayDiverged, SettingsError
from lockjaw.harness.agreement import Agreement, agreement
from lockjaw.harness.baseline import compare, read_baseline, verdicts_of
from lockjaw.harness.explore import Exploration, explore
from lockjaw.harness.run import ENGINES, Run, run_policies
from lockjaw.harness.scenario import Scenario, load_scenario
from lockjaw.harness.sim.tape import Choices, StrictReplay, read_tape
from lockjaw.harness.store import HISTORY, SCENARIO, TAPE, VERDICT, RunDirectory
from lockjaw.history import Record, read_records
from lockjaw.reports import document, junit, markdown, text
from lockjaw.settings import POLICIES

Progress = Callable[[str, Record], None]

BOTH = "both"
EXIT_DISAGREE = 4  # the engines do: one of them is wrong, whatever the verdicts are


@dataclass(frozen=True)
class RunOptions:
    """Flags of ``lockjaw run``."""

    policy: str
    engine: str
    seed: int
    seeds: int
    time_scale: float | None
    out: Path | None
    junit: Path | None
    markdown: Path | None
    as_json: bool
    baseline: Path | None = None


def run_command(names: Sequence[str], options: RunOptions) -> int:
    """Run scenarios, report, and return the exit status: that of the verdict, or of what is worse than a baseline."""
    policies = list(POLICIES) if options.policy == "all" else [options.policy]
    if options.policy != "all" and options.policy not in POLICIES:
        raise SettingsError("--policy", "", f"all, or one of {', '.join(POLICIES)}", options.policy)
    for file in (options.junit, options.markdown):
        if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
            raise SettingsError(str(file), "", "a file in a folder that exists")
    scenarios = [load_scenario(name) for name in names]  # all of them first: a typo must not cost a run
    if options.engine not in (*ENGINES, BOTH):
        raise SettingsError("--engine", "", f"one of {', '.join((*ENGINES, BOTH))}", options.engine)
    engines = ("sim", "real") if options.engine == BOTH else (options.engine,)
    # Before the runs: the folder may be the very one that they go to.
    known = None if options.baseline is None else read_baseline(options.baseline)
    runs: list[Run] = []
    compared: list[Agreement] = []
    with _status_line(options.as_json) as progress:
        for scenario in scenarios:
            for seed in range(options.seed, options.seed + options.seeds):
                each = [
                    run_policies(
                        scenario, policies, engine=engine, seed=seed, time_scale=options.time_scale, out=options.out,
                        progress=progress,
                    )
                    for engine in engines
                ]  # fmt: skip
                runs += [run for made in each for run in made]
                if options.engine == BOTH:
                    compared += [agreement(real, sim) for sim, real in zip(*each, strict=True)]
    if options.junit:
        options.junit.write_text(junit.render(runs), encoding="utf-8")
    since = None
    if known is not None:
        since = compare(str(options.baseline), known, verdicts_of(run.document() for run in runs))
    notes = [] if since is None else since.lines()
    shown = pages.write_pages(runs)
    if options.markdown:
        told = f"\n{markdown.fence(chr(10).join(notes), 'text')}\n" if notes else ""
        options.markdown.write_text(markdown.render(runs) + told, encoding="utf-8")
    if options.as_json:
        more: dict[str, Any] = {"agreement": [one.document() for one in compared]} if compared else {}
        if since is not None:
            more["baseline"] = since.document()
        sys.stdout.write(document.to_json(document.document(runs, **more)))
    else:
        text.print_report(runs, notes=[*notes, *shown])
        for one in compared:
            print(one.sentence())
    if not all(one.agrees for one in compared):
        return EXIT_DISAGREE
    return document.exit_status(runs) if since is None else since.verdict.exit_status


def replay_command(run_dir: Path, *, as_json: bool) -> int:
    """Run again what a run folder holds, and say whether verdict and causal skeleton are the same.

    A simulated run repeats its tape: the same event hash, or an error that names the first difference.
    Returns the exit status of the replayed verdict, or 4 when the verdict is another one.
    """
    kept = read_run(run_dir)
    manifest = RunDirectory(run_dir).manifest()
    scenario = msgspec.convert(msgspec.json.decode((run_dir / SCENARIO).read_bytes()), Scenario)
    if manifest.get("target", "builtin") != "builtin":
        from lockjaw.openclaw_commands import replay_against

        return replay_against(scenario, manifest, kept.document(), run_dir, as_json=as_json)
    choices = _tape_of(run_dir) if manifest["engine"] == "sim" else None
    with _status_line(as_json) as progress:
        try:
            again = run_policies(
                scenario, [manifest["policy"]], engine=manifest["engine"], seed=manifest["seed"],
                time_scale=manifest["time_scale"], out=run_dir.resolve().parent.parent, progress=progress,
                choices=choices,
            )[0]  # fmt: skip
        except ReplayDiverged as error:
            raise HarnessError(str(error), str(run_dir)) from error
    shown = pages.write_pages([again])
    then, now = kept.document(), again.document()
    same_verdict, same_hash = then["verdict"] == now["verdict"], then["event_hash"] == now["event_hash"]
    if as_json:
        compared = {"of": str(run_dir), "same_verdict": same_verdict, "same_event_hash": same_hash}
        sys.stdout.write(document.to_json(document.document([again], command="replay", replay=compared)))
    else:
        text.print_report([again], notes=shown)
        print(f"replay of {run_dir}: verdict {then['verdict']}, now {now['verdict']}; ", end="")
        if choices is not None:
            print("same event hash" if same_hash else f"event hash {then['event_hash']}, now {now['event_hash']}")
        else:
            print(
                "same steps" if same_hash else "not the same steps (real processes: the order of close events may vary)"
            )
    if choices is not None and not same_hash:
        raise HarnessError("the replay took the same choices and left another history", str(again.run_dir))
    if not same_verdict:
        raise HarnessError(f"the replay is {now['verdict']}, the run was {then['verdict']}", str(again.run_dir))
    return again.verdict.exit_status


def _tape_of(run_dir: Path) -> Choices:
    try:
        return StrictReplay(read_tape(run_dir / TAPE))
    except (OSError, msgspec.DecodeError) as error:
        raise SettingsError(str(run_dir / TAPE), "", f"the choices of a simulated run ({error})") from error


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
    with _exploration_line(options.as_json) as progress:
        found = explore(
            scenario, policy=options.policy, strategy=options.strategy, seeds=options.seeds,
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
    yield "  " + ", ".join(f"{verdict} {count}" for verdict, count in sorted(found.verdicts.items()))
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


@contextmanager
def _exploration_line(quiet: bool) -> Iterator[Callable[[Exploration], None] | None]:
    """Progress on stderr: a bar on a terminal, a line every few seconds elsewhere."""
    if quiet:
        yield None
        return
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        told = [0.0]

        def line(found: Exploration) -> None:
            if found.wall_s - told[0] >= 5.0:
                told[0] = found.wall_s
                of = f"/{found.planned}" if found.planned else ""
                print(
                    f"{found.runs}{of} runs, {found.per_second:.0f}/s, {found.violations} violations", file=sys.stderr
                )

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[speed]:.0f}/s  {task.fields[violations]} violations"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("exploring", total=None, speed=0.0, violations=0)

        def update(found: Exploration) -> None:
            if found.runs % 10 == 0 or found.runs == found.planned:
                bar.update(
                    task, total=found.planned, completed=found.runs, speed=found.per_second,
                    violations=found.violations,
                )  # fmt: skip

        yield update


@dataclass(frozen=True)
class ReportOptions:
    """Flags of ``lockjaw report``."""

    as_markdown: bool = False
    as_json: bool = False
    html: Path | None = None
    trace: Path | None = None
    compare: tuple[Path, ...] = ()


def report_command(run_dir: Path, options: ReportOptions) -> int:
    """Show a kept run again, or write it to files; with ``compare``, show where other runs part from it."""
    for file in (options.html, options.trace):
        if file is not None and not file.absolute().parent.is_dir():
            raise SettingsError(str(file), "", "a file in a folder that exists")
    if len(options.compare) >= pages.MAX_COMPARED:
        most = f"at most {pages.MAX_COMPARED - 1} runs beside the first"
        raise SettingsError("--compare", "", most, len(options.compare))
    kept = read_run(run_dir)
    others = [read_run(folder) for folder in options.compare]
    written = pages.write_files([kept, *others], html_file=options.html, trace_file=options.trace)
    if options.as_json:
        sys.stdout.write(document.to_json(document.document([kept, *others], command="report")))
    elif options.as_markdown:
        sys.stdout.write(markdown.render([kept, *others]))
    elif written:
        print("\n".join(written))
    elif others:
        print("\n".join(pages.differences([kept, *others])))
    else:
        text.print_report([kept])
    return document.exit_status([kept, *others])


@dataclass(frozen=True)
class KeptRun:
    """A run as its folder holds it."""

    _document: dict[str, Any]
    history: Sequence[Record]

    def document(self) -> dict[str, Any]:
        return self._document


def read_run(run_dir: Path) -> KeptRun:
    """Read a finished run. Raises SettingsError if the folder holds none."""
    try:
        verdict = msgspec.json.decode((run_dir / VERDICT).read_bytes(), type=dict[str, Any])
        return KeptRun(verdict, read_records(run_dir / HISTORY))
    except (OSError, msgspec.DecodeError) as error:
        raise SettingsError(str(run_dir), "", f"the folder of a finished run ({error})") from error


@contextmanager
def _status_line(quiet: bool) -> Iterator[Progress | None]:
    """On a terminal: a line per policy on stderr, nominal time and who holds the lock, while runs go on."""
    if quiet or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield None
        return
    from rich.console import Console
    from rich.live import Live

    from lockjaw.reports.progress import LiveProgress

    progress = LiveProgress()
    # Redrawn by rich's own thread eight times a second, not with each record: a simulated run has thousands at once.
    with Live(progress, console=Console(stderr=True), refresh_per_second=8, transient=True):
        yield progress.record
