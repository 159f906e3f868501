"""``lockjaw run``: the harness makes runs, the reports show them; they do not know each other and meet here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from lockjaw.cli import pages
from lockjaw.cli.options import (
    AllowNetwork,
    CacheFolder,
    JsonFlag,
    Out,
    check_file_to_write,
    check_one_of,
    check_policy,
)
from lockjaw.cli.progress import run_progress
from lockjaw.cli.repeats import Repeat, UntilSure, repeats_of
from lockjaw.cli.results import hand_over
from lockjaw.documents import FieldError
from lockjaw.errors import UsageError
from lockjaw.harness.incident.scenario import Scenario, load_scenario
from lockjaw.harness.judge.agreement import agreement
from lockjaw.harness.judge.baseline import compare, read_baseline, verdicts_of
from lockjaw.harness.judge.shares import repeated
from lockjaw.harness.run import ENGINES, Progress, Run, run_policies
from lockjaw.history.run import is_described

__all__ = ["run"]

BOTH = "both"
BOTH_IN_TURN = ("sim", "real")
STORES = ("jsonl", "sqlite")
BASELINE = "baseline"  # the policy that shows the incident


def run(
    scenario: Annotated[list[str], typer.Argument(help="Names from `lockjaw list`, or paths of YAML files.")],
    policy: Annotated[
        str | None,
        typer.Option(
            help="What the client does when the gateway fails: takeover (default), reuse-session, fresh-session, "
            "no-fallback, baseline (as in the scenario's own era), all, or several with commas."
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(help="real: operating-system processes; sim: virtual time, exact replay; both: compare them."),
    ] = "real",
    seed: Annotated[int, typer.Option(min=0, help="Root of all randomness of the run.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, help="Run this many seeds, SEED, SEED+1, ...")] = 1,
    repeat: Repeat = None,
    repeat_until_sure: UntilSure = False,
    time_scale: Annotated[
        float | None,
        typer.Option(
            help="Engine real: seconds that pass for each second that is written (default: the scenario's, mostly "
            "0.04: a wait of 90 s takes 3.6 s)."
        ),
    ] = None,
    sessions: Annotated[
        str | None,
        typer.Option(
            help="Keep sessions in jsonl (a file each) or sqlite (a database each), whatever the scenario says."
        ),
    ] = None,
    out: Out = None,
    junit: Annotated[Path | None, typer.Option(help="Also write JUnit XML to this file.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Also write Markdown, for an issue or a CI summary, to this file.")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="Say what changed since: kept runs, or a `run --json` document.")
    ] = None,
    target: Annotated[
        str,
        typer.Option(help="builtin, openclaw@VERSION, codex@VERSION ..., or the file of a runtime (./mine.toml)."),
    ] = "builtin",
    cache: CacheFolder = None,
    allow_network: AllowNetwork = False,
    yes: Annotated[bool, typer.Option("--yes", help="Install what --target needs without asking.")] = False,
    as_json: JsonFlag = False,
) -> int:
    """Run scenarios (one incident each) and say HELD, VIOLATED or UNKNOWN.

    HELD: every law held, such as "the user gets an answer" or "the turn runs once". VIOLATED: one was broken. UNKNOWN:
    the run never got into the danger, so it proves nothing.

    Exit status: 0 HELD, 1 VIOLATED, 2 usage, 3 UNKNOWN, 4 the harness failed.
    With --baseline only what is worse than it, or new, counts.
    """
    if target != "builtin" or engine != "sim":
        from lockjaw.cli.consent import refuse_sent

        refuse_sent(scenario)
    if target != "builtin":
        if engine != "real":
            raise UsageError("--engine", "", "real (with --target: a real program cannot be simulated)", engine)
        if seeds != 1:
            raise UsageError(
                "--seeds", "", "--repeat N with --target, because a seed does not steer the real program", seeds
            )
        if sessions is not None:
            raise UsageError("--sessions", "", "nothing beside --target: the program has a store of its own", sessions)
    repeats = repeats_of(repeat, repeat_until_sure, engine=engine)
    check_file_to_write(junit, markdown)
    if is_described(target):
        from lockjaw.cli.target.playing import Playing, run_against_described

        if policy is not None:
            raise UsageError("--policy", "", "no policy beside --target NAME: the program has its own", policy)
        playing = Playing(cache, allow_network, yes, out, seed, time_scale, repeats)
        return run_against_described(
            scenario, target, playing, as_json=as_json, junit_file=junit, markdown_file=markdown
        )
    if target != "builtin":
        from lockjaw.cli.openclaw.campaigns import run_against
        from lockjaw.harness.targets.openclaw.campaign import Options

        real = Options(cache, allow_network, policy, out=out, seed=seed, time_scale=time_scale)
        return run_against(scenario, target, real, repeats, as_json=as_json, junit_file=junit, markdown_file=markdown)
    for name in (policy := policy or "takeover").split(","):
        check_policy(name, "all", BASELINE)
    scenarios = [load_scenario(name) for name in scenario]  # all of them first: a typo must not cost a run
    if sessions is not None:
        check_one_of("--sessions", STORES, sessions)
        scenarios = [_kept_in(one, sessions) for one in scenarios]
    check_one_of("--engine", (*ENGINES, BOTH), engine)
    # Before the runs: the folder may be the very one that they go to.
    known = None if baseline is None else read_baseline(baseline)
    runs, compared = [], []
    with run_progress(len(scenarios) * seeds, quiet=as_json) as progress:
        for one in scenarios:
            chosen = policies_of(one, policy)
            for number in range(seed, seed + seeds):
                progress.begin(f"{one.name}, seed {number}", chosen)
                if engine == BOTH:
                    each = [
                        _runs(one, chosen, world, number, time_scale, out, progress.record) for world in BOTH_IN_TURN
                    ]
                    runs += [made for group in each for made in group]
                    compared += [agreement(real, sim) for sim, real in zip(*each, strict=True)]
                else:
                    runs += repeated(
                        partial(_runs, one, chosen, engine, number, time_scale, out, progress.record), repeats
                    )
    since = None
    if known is not None:
        since = compare(str(baseline), known, verdicts_of(runs))
    notes = [*dict.fromkeys(f"{made.scenario}: {note}" for made in runs for note in made.notes)]
    notes += pages.write_pages(runs)
    return hand_over(
        runs, as_json=as_json, repeats=repeats, notes=notes, junit_file=junit, markdown_file=markdown,
        since=since, compared=compared,
    )  # fmt: skip


def _runs(
    scenario: Scenario,
    policies: Sequence[str],
    engine: str,
    seed: int,
    time_scale: float | None,
    out: Path | None,
    progress: Progress | None,
) -> list[Run]:
    return run_policies(scenario, policies, engine=engine, seed=seed, time_scale=time_scale, out=out, progress=progress)


def _kept_in(scenario: Scenario, sessions: str) -> Scenario:
    """The scenario with its sessions in that store. Raises UsageError if it is about the other one."""
    try:
        return msgspec.structs.replace(scenario, sessions=sessions)
    except FieldError as error:
        raise UsageError("--sessions", "", f"{error.expected} ({scenario.name})", sessions) from None


def policies_of(scenario: Scenario, named: str) -> list[str]:
    """The policies that names mean for a scenario: ``all``, ``baseline``, or themselves; several with commas."""
    meant = {"all": scenario.policies, BASELINE: (scenario.baseline,)}
    return list(dict.fromkeys(policy for name in named.split(",") for policy in meant.get(name, (name,))))
