"""``lockjaw openclaw demo``: the same turn by the real command line and by ours."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated

import typer

from lockjaw.cli.openclaw.campaigns import print_at_once, say
from lockjaw.cli.options import AllowNetwork, CacheFolder, JsonFlag, Out
from lockjaw.errors import UsageError
from lockjaw.harness.incident.scenario import load_scenario
from lockjaw.harness.run import Run
from lockjaw.harness.targets.openclaw import demo as shown
from lockjaw.harness.targets.openclaw.cache import Cache
from lockjaw.harness.targets.openclaw.campaign import Options, run_version
from lockjaw.harness.targets.openclaw.versions import parse_version
from lockjaw.history import Record
from lockjaw.reports import document
from lockjaw.visible import tell

__all__ = ["demo"]

LOCK_ERRORS = 3  # of the field report: one for each model of the chain


def demo(
    version: Annotated[str, typer.Option(help="A published version.")] = "2026.4.8",
    cache: CacheFolder = None,
    allow_network: AllowNetwork = False,
    out: Out = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Install the version without asking.")] = False,
    as_json: JsonFlag = False,
) -> int:
    """The incident with the real program, twice: `openclaw agent` gets no answer, `lockjaw agent` gets one.

    Installs the version if need be (it asks first: 800 MB), then takes about seven minutes, nearly all of them waiting.

    Exit status: 0 shown, 1 it came out otherwise (a busy machine?), 2 usage, 4 the harness failed.
    """
    options = Options(cache=cache, allow_network=allow_network, out=out)
    loaded = load_scenario(shown.SCENARIO)
    wanted = parse_version(version)
    if not yes and not Cache(cache, say).has(wanted):
        _ask(version)
    show = say if as_json else print_at_once
    show(shown.opening(loaded, version))
    runs: list[Run] = []

    def progress(_: str, record: Record) -> None:
        if record.op == "client.stderr":
            show(shown.line(record))

    for policy in (None, shown.OURS):
        show(f"\n{shown.command(loaded, policy)}")
        runs.append(run_version(loaded, wanted, replace(options, client_policy=policy), say, progress))
        show(shown.ending(runs[-1]))
    seen = runs[0].outcome.session_locked_errors
    if seen < LOCK_ERRORS:
        show(
            f"\nThis run shows {seen} of the {LOCK_ERRORS} session-locked errors of the field report: the machine was "
            "too busy for their waits to meet. Run it again when the machine is idle."
        )
    if as_json:
        sys.stdout.write(document.to_json(document.document(runs, command="openclaw demo")))
    return 0 if shown.shows(*runs) else 1


def _ask(version: str) -> None:
    """Raises UsageError unless a person at a terminal says yes."""
    what = f"openclaw@{version} and its Node take about 800 MB of disk and of traffic"
    if not sys.stdin or not sys.stdin.isatty():
        raise UsageError("openclaw demo", "", f"--yes, because {what}, and there is no terminal to ask at")
    tell(f"{what}.")
    if not typer.confirm("Install them?", err=True):
        raise UsageError("openclaw demo", "", "a yes; nothing was installed")
