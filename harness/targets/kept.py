"""Cells of the table from what was kept: a folder of runs, or the summary of one that a repository can hold."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import msgspec

from lockjaw.errors import UsageError
from lockjaw.history.run import BUILTIN

from ..run import Run
from ..store import SCENARIO, VERDICT, read_run
from .table import Cell, cell_of

__all__ = ["cells_kept", "cells_summarised"]


class _Summary(msgspec.Struct):
    """What ``lockjaw target table --json`` prints, as far as it is read again."""

    cells: tuple[Cell, ...]


class _Kept(msgspec.Struct):
    sessions: str = "jsonl"


def cells_kept(folder: Path) -> list[Cell]:
    """The cells of the finished runs below a folder (SCENARIO/RUN), in order of their names. A run of Lockjaw's own
    programs stands under the policy and the store of sessions that it had.

    Raises:
        UsageError: there is no finished run.
    """
    kept: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for verdict in sorted(folder.glob(f"*/*/{VERDICT}")):
        if not verdict.parent.is_symlink():
            run = read_run(verdict.parent)
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


def _store_of(folder: Path) -> str:
    """What the run's sessions were kept in. Raises UsageError if its scenario cannot be read."""
    try:
        return msgspec.json.decode((folder / SCENARIO).read_bytes(), type=_Kept).sessions
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(str(folder / SCENARIO), "", f"the scenario of a kept run ({error})") from error


def cells_summarised(file: Path) -> list[Cell]:
    """The cells of a summary. Raises UsageError if the file is none."""
    try:
        return list(msgspec.json.decode(file.read_bytes(), type=_Summary).cells)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(str(file), "", f"what `lockjaw target table RUNS --json` printed ({error})") from error
