"""``lockjaw openclaw bisect``: the first published version where the verdict of a check is another one."""

from __future__ import annotations

from typing import Annotated

import typer

from lockjaw.cli.consent import scenarios_to_start
from lockjaw.cli.openclaw.campaigns import say, say_cell, show_bisection, watched
from lockjaw.cli.openclaw.tables import table
from lockjaw.cli.options import AllowNetwork, CacheFolder, JsonFlag, Out, TimeoutS
from lockjaw.errors import UsageError
from lockjaw.harness.targets import npm
from lockjaw.harness.targets.openclaw import campaign
from lockjaw.harness.targets.openclaw.campaign import Options
from lockjaw.harness.targets.openclaw.versions import PACKAGE, parse_version, published_between

__all__ = ["bisect"]


def bisect(
    good: Annotated[str, typer.Option(help="A published version at one end.")],
    bad: Annotated[str, typer.Option(help="A published version at the other end.")],
    scenario: Annotated[str, typer.Option(help="One scenario.")] = "gateway_timeout",
    check: Annotated[str, typer.Option(help="The law whose verdict changed.")] = "never_session_locked",
    timeout_s: TimeoutS = None,
    cache: CacheFolder = None,
    allow_network: AllowNetwork = False,
    out: Out = None,
    as_json: JsonFlag = False,
) -> int:
    """Search the first published version (no betas) with another verdict of one check.

    Exit status: 0 found, 2 usage, 4 the ends do not differ or cannot be run.
    """
    options = Options(cache=cache, allow_network=allow_network, timeout_s=timeout_s, out=out)
    [loaded] = scenarios_to_start([scenario])
    if check not in loaded.checks:
        raise UsageError("--check", "", f"a law that the scenario checks: {', '.join(loaded.checks)}", check)
    ends = parse_version(good, source="--good"), parse_version(bad, source="--bad")
    between = published_between(npm.published_versions(PACKAGE), *ends)
    say(f"{len(between)} published versions from {between[0]} to {between[-1]}")
    with watched(as_json) as progress:
        found = campaign.bisect(between, loaded, check, options, say, say_cell, progress)
    cells = [cell.document() for cell in found.cells]
    show_bisection(found, "openclaw bisect", loaded.name, cells, table(found.cells, check), as_json=as_json)
    return 0
