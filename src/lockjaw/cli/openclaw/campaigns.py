"""What ``run --target``, ``replay`` and ``lockjaw openclaw ...`` share: runs of the real program, shown."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lockjaw.behaviours import POLICIES
from lockjaw.cli.openclaw.tables import WIDTH
from lockjaw.cli.options import check_one_of, print_json
from lockjaw.cli.progress import progress
from lockjaw.cli.results import hand_over
from lockjaw.errors import HarnessError, UsageError
from lockjaw.harness.incident.scenario import Scenario, load_scenario
from lockjaw.harness.judge.shares import Repeats, repeated
from lockjaw.harness.run import Progress
from lockjaw.harness.targets.bisection import Bisection
from lockjaw.harness.targets.openclaw.campaign import Cell, Options, run_version
from lockjaw.harness.targets.openclaw.versions import parse_target
from lockjaw.history import Record
from lockjaw.history.run import Run
from lockjaw.reports import document, text
from lockjaw.reports.progress import LiveProgress
from lockjaw.verdict import Verdict
from lockjaw.visible import show, show_text, tell

__all__ = ["print_at_once", "replay_against", "run_against", "say", "say_cell", "show_bisection", "watched"]

EVERY_S = 60.0  # between two signs of life of a run, in a log


def say(line: str) -> None:
    """A line on stderr."""
    tell(*line.split("\n"))


def say_cell(cell: Cell) -> None:
    """What a run of a campaign came to, on stderr."""
    if cell.run is None:
        say(f"  not run: {cell.error}")
        return
    broken = ", ".join(check.name for check in cell.run.checks if check.verdict is Verdict.VIOLATED)
    say(f"  {cell.run.verdict}: {broken or 'no law broken'} ({cell.run.wall_s:.0f} s)")


@contextmanager
def watched(quiet: bool) -> Iterator[Progress]:
    """What runs of minutes tell their records to: a terminal shows where they are, a log gets a line each minute."""
    with progress(quiet=quiet, every_s=EVERY_S) as shown:
        lines = LiveProgress()
        shown.draw(lines)

        def tell(policy: str, record: Record) -> None:
            if not shown.live:
                shown.update(f"  {record.t:.0f} s: still running")
                return
            if record.op == "run.start":
                lines.begin("", [policy])
            lines.record(policy, record)

        yield tell


def print_at_once(line: str) -> None:
    """A line of a demo on stdout, while the run goes on."""
    show_text(line)
    sys.stdout.flush()


def show_bisection(
    found: Bisection[Any], verb: str, scenario: str, cells: list[Any], table: str, *, as_json: bool
) -> None:
    """What a bisection came to: one JSON document, or the versions that were run as a table and a sentence.

    ``cells``: for JSON, one of each version that was run.
    """
    if as_json:
        shown: dict[str, Any] = {
            "scenario": scenario, "check": found.check,
            "first": found.first, "before": found.before, "was": str(found.was), "now": str(found.now),
            "skipped": [vars(one) for one in found.skipped], "in_doubt": list(found.in_doubt),
            "cells": cells,
        }  # fmt: skip
        print_json(verb, shown)
        return
    show_text(table)
    skipped = [f"{one.version} was skipped: {one.why}" for one in found.skipped]
    for paragraph in (*skipped, found.sentence()):
        show(*textwrap.wrap(paragraph, WIDTH, subsequent_indent="  ", break_on_hyphens=False))


def run_against(
    names: Sequence[str],
    target: str,
    options: Options,
    repeats: Repeats,
    *,
    as_json: bool,
    junit_file: Path | None,
    markdown_file: Path | None,
) -> int:
    """``lockjaw run --target openclaw@VERSION``: as ``lockjaw run``, in real time. Returns the exit status."""
    version = parse_target(target)
    assert version is not None  # the caller sends builtin elsewhere
    if options.client_policy is not None:
        check_one_of("--policy", POLICIES, options.client_policy)
    scenarios = [load_scenario(name) for name in names]
    with watched(as_json) as progress:
        runs = [
            run
            for scenario in scenarios
            for run in repeated(lambda: [run_version(scenario, version, options, say, progress)], repeats)  # noqa: B023
        ]
    notes = [f"{target}: {note}" for run in runs[:1] for note in run.notes]
    return hand_over(
        runs, as_json=as_json, repeats=repeats, notes=notes, junit_file=junit_file, markdown_file=markdown_file
    )


def replay_against(
    scenario: Scenario,
    manifest: Mapping[str, Any],
    run_dir: Path,
    verdict: str,
    event_hash: str,
    *,
    as_json: bool,
    out: Path | None = None,
    approved: frozenset[str] | None = None,
) -> int:
    """``lockjaw replay`` of a run against the real program, from the default cache, as it was run.

    ``verdict`` and ``event_hash``: what the run came to then. ``approved``: the tool calls that our own client may
    perform; None: all. The real program knows no such limit.

    Returns the exit status of the verdict. Raises HarnessError when it is another verdict.
    """
    version = parse_target(str(manifest["target"]))
    if version is None:  # the caller replays builtin runs itself
        raise UsageError(str(run_dir), "target", "builtin or openclaw@VERSION", manifest["target"])
    mine = manifest.get("client_policy")
    options = Options(
        cache=Path(manifest["cache"]) if manifest.get("cache") else None,
        client_policy=str(mine) if mine else None,
        allow_network=bool(manifest.get("allow_network")),
        out=out,
        seed=int(manifest["seed"]),
        approved=approved,
    )
    with watched(as_json) as progress:
        again = run_version(scenario, version, options, say, progress)
    return show_replay(again, run_dir, verdict, event_hash, as_json=as_json)


def show_replay(again: Run, run_dir: Path, verdict: str, event_hash: str, *, as_json: bool) -> int:
    """Show a run against a real program beside the one that it repeats.

    Returns the exit status of the verdict. Raises HarnessError when it is another verdict.
    """
    same_verdict, same_hash = verdict == again.verdict, event_hash == again.event_hash
    if as_json:
        compared = {"of": str(run_dir), "same_verdict": same_verdict, "same_event_hash": same_hash}
        sys.stdout.write(document.to_json(document.document([again], command="replay", replay=compared)))
    else:
        text.print_report([again])
        show(f"replay of {run_dir}: verdict {verdict}, now {again.verdict}")
    if not same_verdict:
        raise HarnessError(f"the replay is {again.verdict}, the run was {verdict}", str(again.run_dir))
    return again.verdict.exit_status
