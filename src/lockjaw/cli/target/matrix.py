"""``lockjaw target matrix``: runtimes down, scenarios across, several runs a cell."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lockjaw.cli.consent import scenarios_to_start
from lockjaw.cli.openclaw.campaigns import say, watched
from lockjaw.cli.options import AllowNetwork, CacheFolder, JsonFlag, Out, print_json
from lockjaw.cli.repeats import Repeat, UntilSure, repeats_of
from lockjaw.cli.target.playing import asker
from lockjaw.harness.incident.scenario import builtin_names
from lockjaw.harness.targets.campaign import cell_on
from lockjaw.harness.targets.registry import choose, opened, versions_in
from lockjaw.harness.targets.table import Cell, markdown, ways
from lockjaw.verdict import combine
from lockjaw.visible import show_text

__all__ = ["matrix"]


def matrix(
    targets: Annotated[list[str], typer.Argument(help="NAME@VERSION, NAME@VERSION,VERSION,... or files.")],
    scenario: Annotated[str, typer.Option(help="Scenarios, separated by commas; empty: all that apply.")] = "",
    repeat: Repeat = None,
    repeat_until_sure: UntilSure = False,
    yes: Annotated[bool, typer.Option("--yes", help="Install what is missing without asking.")] = False,
    markdown_file: Annotated[Path | None, typer.Option("--markdown", help="Also write the table to this file.")] = None,
    cache: CacheFolder = None,
    allow_network: AllowNetwork = False,
    out: Out = None,
    as_json: JsonFlag = False,
) -> int:
    """Run scenarios against several runtimes or versions, each several times, and show what broke as a table.

    Exit status: 0 HELD, 1 VIOLATED, 2 usage, 3 UNKNOWN, 4 the harness failed.
    """
    chosen = [choose(one) for text in targets for one in versions_in(text)]
    repeats = repeats_of(repeat, repeat_until_sure)
    wanted = [name.strip() for name in scenario.split(",") if name.strip()] or builtin_names()
    scenarios = [one for one in scenarios_to_start(wanted) if scenario or one.outside is not None]
    cells: list[Cell] = []
    with watched(as_json) as progress:
        for choice in chosen:
            with opened(choice, ask=asker(yes), say=say, cache=cache, allow_network=allow_network) as target:
                for one in scenarios:
                    say(f"{target.name}: {one.name}")
                    cells.append(cell_on(target, one, repeats, say, out=out, progress=progress))
                    say(f"  {cells[-1].said}")
    if markdown_file is not None:
        markdown_file.write_text(markdown(cells) + "\n", encoding="utf-8")
    if as_json:
        print_json("target matrix", {"cells": [ways(cell) for cell in cells]})
    else:
        show_text("\n".join(f"{cell.target}  {cell.scenario}\n    {cell.said}" for cell in cells))
    return combine(cell.verdict for cell in cells).exit_status
