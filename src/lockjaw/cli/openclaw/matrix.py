"""``lockjaw openclaw matrix``: a table of verdicts, versions down and checks across."""

from __future__ import annotations

from typing import Annotated

import typer

from lockjaw.cli.consent import scenarios_to_start
from lockjaw.cli.openclaw.campaigns import say, say_cell, watched
from lockjaw.cli.openclaw.tables import table
from lockjaw.cli.options import AllowNetwork, CacheFolder, JsonFlag, Out, TimeoutS, print_json
from lockjaw.harness.targets.openclaw import campaign
from lockjaw.harness.targets.openclaw.campaign import Options
from lockjaw.harness.targets.openclaw.versions import parse_version
from lockjaw.verdict import Verdict, combine
from lockjaw.visible import show_text

__all__ = ["matrix"]


def matrix(
    versions: Annotated[str, typer.Option(help="Versions, separated by commas.")],
    scenario: Annotated[str, typer.Option(help="Scenarios, separated by commas.")] = "gateway_timeout",
    timeout_s: TimeoutS = None,
    cache: CacheFolder = None,
    allow_network: AllowNetwork = False,
    out: Out = None,
    as_json: JsonFlag = False,
) -> int:
    """Run scenarios against several versions, and show the verdicts as a table.

    Exit status: 0 HELD, 1 VIOLATED, 2 usage, 3 UNKNOWN, 4 the harness failed.
    """
    options = Options(cache=cache, allow_network=allow_network, timeout_s=timeout_s, out=out)
    wanted = [parse_version(part.strip(), source="--versions") for part in versions.split(",") if part.strip()]
    loaded = scenarios_to_start([name.strip() for name in scenario.split(",") if name.strip()])
    with watched(as_json) as progress:
        cells = campaign.matrix(wanted, loaded, options, say, say_cell, progress)
    if as_json:
        print_json("openclaw matrix", {"cells": [cell.document() for cell in cells]})
    else:
        show_text(table(cells))
    verdicts = [cell.verdict() for cell in cells]
    return combine(Verdict.UNKNOWN if v is None else v for v in verdicts).exit_status
