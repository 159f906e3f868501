"""``lockjaw openclaw demo``: the same turn by the real command line and by ours."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated

import typer

from lockjaw.cli.openclaw.campaigns import say
from lockjaw.cli.options import AllowNetwork, CacheFolder, JsonFlag, Out
from lockjaw.harness.incident.scenario import load_scenario
from lockjaw.harness.run import Run
from lockjaw.harness.targets.openclaw import demo as shown
from lockjaw.harness.targets.openclaw.campaign import Options, run_version
from lockjaw.harness.targets.openclaw.versions import parse_version
from lockjaw.history import Record
from lockjaw.reports import document
from lockjaw.visible import show_text

__all__ = ["demo"]


def demo(
    version: Annotated[str, typer.Option(help="A published version.")] = "2026.4.8",
    cache: CacheFolder = None,
    allow_network: AllowNetwork = False,
    out: Out = None,
    as_json: JsonFlag = False,
) -> int:
    """The incident with the real program, twice: `openclaw agent` gets no answer, `lockjaw agent` gets one.

    Installs the version if need be, then takes about seven minutes, nearly all of them waiting.

    Exit status: 0 shown, 1 it came out otherwise (a busy machine?), 2 usage, 4 the harness failed.
    """
    options = Options(cache=cache, allow_network=allow_network, out=out)
    loaded = load_scenario(shown.SCENARIO)
    wanted = parse_version(version)
    show = say if as_json else _print
    show(shown.opening(loaded, version))
    runs: list[Run] = []

    def progress(_: str, record: Record) -> None:
        if record.op == "client.stderr":
            show(shown.line(record))

    for policy in (None, shown.OURS):
        show(f"\n{shown.command(loaded, policy)}")
        runs.append(run_version(loaded, wanted, replace(options, client_policy=policy), say, progress))
        show(shown.ending(runs[-1]))
    if as_json:
        sys.stdout.write(document.to_json(document.document(runs, command="openclaw demo")))
    return 0 if shown.shows(*runs) else 1


def _print(line: str) -> None:
    show_text(line)
    sys.stdout.flush()
