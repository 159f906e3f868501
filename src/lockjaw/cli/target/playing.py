"""What ``run --target`` and ``lockjaw target ...`` share: ask before anything is installed, run, show."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lockjaw.cli.openclaw.campaigns import say, watched
from lockjaw.errors import UsageError
from lockjaw.harness.incident.scenario import load_scenario
from lockjaw.harness.targets.campaign import play_on, shares
from lockjaw.harness.targets.registry import choose, opened
from lockjaw.reports import document, junit, markdown, text
from lockjaw.visible import visible

__all__ = ["Playing", "asker", "run_against_described"]


@dataclass(frozen=True)
class Playing:
    """How a described runtime is run. ``repeat``: so many runs of each scenario."""

    cache: Path | None = None
    allow_network: bool = False
    yes: bool = False
    out: Path | None = None
    seed: int = 1
    time_scale: float | None = None
    repeat: int = 1


def asker(yes: bool) -> Callable[[str], bool]:
    """Asks on the terminal; without one only ``--yes`` says yes."""

    def ask(question: str) -> bool:
        if yes:
            return True
        if not sys.stdin.isatty():
            return False
        print(f"{visible(question)} [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    return ask


def run_against_described(
    names: Sequence[str],
    target: str,
    playing: Playing,
    *,
    as_json: bool,
    junit_file: Path | None = None,
    markdown_file: Path | None = None,
) -> int:
    """``lockjaw run --target NAME@VERSION|FILE``. Returns the exit status."""
    choice = choose(target)
    scenarios = [load_scenario(name) for name in names]
    for scenario in scenarios:
        if scenario.outside is None:
            raise UsageError(
                "--target", "", f"a scenario with an `outside` part; {scenario.name} has none", choice.name
            )
    with (
        opened(
            choice, ask=asker(playing.yes), say=say, cache=playing.cache, allow_network=playing.allow_network
        ) as opened_target,
        watched(as_json) as progress,
    ):
        runs = [
            play_on(
                opened_target, scenario, seed=playing.seed + number, out=playing.out, time_scale=playing.time_scale,
                progress=progress,
            )
            for scenario in scenarios
            for number in range(playing.repeat)
        ]  # fmt: skip
    if junit_file:
        junit_file.write_text(junit.render(runs), encoding="utf-8")
    if markdown_file:
        markdown_file.write_text(markdown.render(runs), encoding="utf-8")
    notes = [f"{choice.name}: {note}" for run in runs[:1] for note in run.notes]
    if playing.repeat > 1:
        for scenario in scenarios:
            mine = [run for run in runs if run.scenario == scenario.name]
            notes += [f"{scenario.name}: {share}" for share in shares(mine, scenario.checks) if share.runs]
    if as_json:
        sys.stdout.write(document.to_json(document.document(runs)))
    else:
        text.print_report(runs, notes=notes)
    return document.exit_status(runs)
