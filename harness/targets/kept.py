"""Cells of the table from what was kept: a folder of runs, or the summary of one that a repository can hold."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import msgspec

from lockjaw.errors import UsageError
from lockjaw.history.run import BUILTIN
from lockjaw.verdict import Verdict

from ..incident.scenario import Scenario
from ..judge.checkers import run_checks
from ..judge.judgement import OUT_OF_SIGHT, seen_from_outside
from ..kept import decoded_scenario
from ..run import Run
from ..store import SCENARIO, VERDICT, no_run, read_run
from .table import Cell, cell_of

__all__ = ["cells_kept", "cells_summarised", "judged_again"]

T = TypeVar("T")


class _Summary(msgspec.Struct):
    """What ``lockjaw target table --json`` prints, as far as it is read again."""

    cells: tuple[Cell, ...]


class _Kept(msgspec.Struct):
    sessions: str = "jsonl"


def cells_kept(folder: Path, *, again: bool = False) -> list[Cell]:
    """The cells of the finished runs below a folder (SCENARIO/RUN), in order of their names. A run of Lockjaw's own
    programs stands under the policy and the store of sessions that it had.

    Args:
        again: judge each kept history by the laws as they are now; else its verdict stands as it was given.

    Raises:
        UsageError: there is no finished run; or its scenario cannot be read.
    """
    kept: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for verdict in sorted(folder.glob(f"*/*/{VERDICT}")):
        if not verdict.parent.is_symlink():
            run = read_run(verdict.parent)
            if again:
                run = judged_again(run, _scenario_of(verdict.parent, Scenario))
            name = run.target if run.target != BUILTIN else f"lockjaw, {run.policy}, {_store_of(verdict.parent)}"
            kept[name, run.scenario].append(run)
    if not kept:
        raise UsageError(
            str(folder), "", "a folder with kept runs below it, such as .lockjaw/runs, or a summary (.json)"
        )
    return [
        cell_of(name, scenario, found, list(dict.fromkeys(check.name for run in found for check in run.checks)))
        for (name, scenario), found in sorted(kept.items())
    ]


def judged_again(run: Run, scenario: Scenario) -> Run:
    """The run as today's laws judge its history. What could not be seen of its runtime stays out of sight."""
    unseen = {
        check.name: check.finding.removeprefix(OUT_OF_SIGHT)
        for check in run.checks
        if check.verdict is Verdict.UNKNOWN and check.finding.startswith(OUT_OF_SIGHT)
    }
    checks = tuple(run_checks(scenario.checks, run.history, scenario.facts))
    return seen_from_outside(replace(run, checks=checks), unseen)


def _store_of(folder: Path) -> str:
    """What the run's sessions were kept in. Raises UsageError if its scenario cannot be read."""
    return _scenario_of(folder, _Kept).sessions


def _scenario_of(folder: Path, kind: type[T]) -> T:
    try:
        return decoded_scenario((folder / SCENARIO).read_bytes(), folder, kind)
    except OSError as error:
        raise no_run(folder, error) from error


def cells_summarised(file: Path) -> list[Cell]:
    """The cells of a summary. Raises UsageError if the file is none."""
    try:
        return list(msgspec.json.decode(file.read_bytes(), type=_Summary).cells)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(str(file), "", f"what `lockjaw target table RUNS --json` printed ({error})") from error
