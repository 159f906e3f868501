"""What ``run --target`` and ``lockjaw target ...`` share: ask before anything is installed, run, show."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from lockjaw.cli.consent import scenarios_to_start
from lockjaw.cli.openclaw.campaigns import say, show_replay, watched
from lockjaw.cli.results import hand_over
from lockjaw.errors import UsageError
from lockjaw.harness.incident.scenario import Scenario
from lockjaw.harness.judge.shares import Repeats, repeated
from lockjaw.harness.run import Progress, Run
from lockjaw.harness.targets.campaign import play_on
from lockjaw.harness.targets.foreign import Foreign
from lockjaw.harness.targets.registry import choose, opened
from lockjaw.visible import visible

__all__ = ["Playing", "asker", "replay_against_described", "run_against_described"]


@dataclass(frozen=True)
class Playing:
    """How a described runtime is run."""

    cache: Path | None = None
    allow_network: bool = False
    yes: bool = False
    out: Path | None = None
    seed: int = 1
    time_scale: float | None = None
    repeats: Repeats = field(default_factory=Repeats)


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
    scenarios = scenarios_to_start(names)
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
            run
            for scenario in scenarios
            for run in repeated(partial(_play, opened_target, scenario, playing, progress), playing.repeats)
        ]
    notes = [f"{choice.name}: {note}" for run in runs[:1] for note in run.notes]
    return hand_over(
        runs, as_json=as_json, repeats=playing.repeats, notes=notes, junit_file=junit_file, markdown_file=markdown_file
    )


def replay_against_described(
    scenario: Scenario, run_dir: Path, was: str, target: str | None, playing: Playing, *, then: tuple[str, str],
    as_json: bool,
) -> int:  # fmt: skip
    """``lockjaw replay RUN --target FILE|NAME@VERSION``: the user names the program, never the kit or run folder.

    Args:
        was: the runtime that the run was against, as NAME@VERSION.
        then: its verdict and its event hash.

    Raises:
        UsageError: no runtime was named, or another one.
        HarnessError: the verdict is another one.
    """
    choice = choose(target) if target is not None else None
    if choice is None or choice.name != was:
        expected = (
            f"{was}, by its name or by your own .toml file: the run was against it, and a replay starts no program"
        )
        raise UsageError("--target", "", f"{expected} that a kit or run folder names", choice and choice.name)
    with (
        opened(choice, ask=asker(playing.yes), say=say, cache=playing.cache) as opened_target,
        watched(as_json) as progress,
    ):
        [again] = _play(opened_target, scenario, playing, progress)
    return show_replay(again, run_dir, *then, as_json=as_json)


def _play(target: Foreign, scenario: Scenario, playing: Playing, progress: Progress) -> list[Run]:
    one = play_on(
        target, scenario, seed=playing.seed, out=playing.out, time_scale=playing.time_scale, progress=progress
    )
    return [one]
