"""``lockjaw target table``: the table of runtimes and scenarios, from runs that were kept."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer

from lockjaw.cli.options import JsonFlag, print_json
from lockjaw.errors import UsageError
from lockjaw.harness.run import Run
from lockjaw.harness.store import VERDICT, read_run
from lockjaw.harness.targets.table import cell_of, markdown, ways
from lockjaw.visible import show_text

__all__ = ["table"]


def table(
    runs: Annotated[Path, typer.Argument(help="A folder of kept runs: SCENARIO/RUN below it.")],
    as_json: JsonFlag = False,
) -> None:
    """Print kept runs as Markdown: runtimes down, scenarios across, and why a law could not be judged.

    A run of Lockjaw's own programs stands under the policy that it had. Runs nothing.
    """
    kept: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for verdict in sorted(runs.glob(f"*/*/{VERDICT}")):
        if not verdict.parent.is_symlink():
            run = read_run(verdict.parent)
            name = run.target if run.target != "builtin" else f"lockjaw, {run.policy}"
            kept[name, run.scenario].append(run)
    if not kept:
        raise UsageError(str(runs), "", "a folder with kept runs below it, such as .lockjaw/runs")
    cells = [
        cell_of(name, scenario, found, [check.name for check in found[0].checks])
        for (name, scenario), found in sorted(kept.items())
    ]
    if as_json:
        print_json("target table", {"cells": [ways(cell) for cell in cells]})
    else:
        show_text(markdown(cells).rstrip("\n"))
