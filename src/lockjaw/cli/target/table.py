"""``lockjaw target table``: the table of runtimes and scenarios, from runs that were kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lockjaw.cli.options import JsonFlag, print_json
from lockjaw.harness.targets.kept import cells_kept, cells_summarised
from lockjaw.harness.targets.table import markdown, unknowns, ways
from lockjaw.visible import show_text

__all__ = ["table"]


def table(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Folders of kept runs (SCENARIO/RUN below), or what --json printed of one; the last wins."),
    ],
    again: Annotated[
        bool, typer.Option("--judge-again", help="Judge the kept histories by the laws of this version of Lockjaw.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Print kept runs as Markdown: runtimes down, scenarios across, and why a law could not be judged.

    A run of Lockjaw's own programs stands under its policy and what its sessions were kept in. Runs nothing. With
    --json: a summary that is small enough for a repository, and that this command reads like the runs.
    """
    found = [
        cell
        for source in runs
        for cell in (cells_kept(source, again=again) if source.is_dir() else cells_summarised(source))
    ]
    by_place = {(cell.target, cell.scenario): cell for cell in found}
    cells = [by_place[place] for place in sorted(by_place)]
    if as_json:
        print_json("target table", {"cells": [ways(cell) for cell in cells]})
    else:
        show_text("\n".join([markdown(cells), "", "What could not be judged, and why:", "", unknowns(cells)]))
