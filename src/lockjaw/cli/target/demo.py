"""``lockjaw target demo``: one incident with a runtime's own client, then with Lockjaw's own runtime."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lockjaw.cli.openclaw.campaigns import print_at_once, say
from lockjaw.cli.options import AllowNetwork, CacheFolder, JsonFlag, Out
from lockjaw.cli.target.playing import asker
from lockjaw.harness.incident.scenario import load_scenario
from lockjaw.harness.run import run_policies
from lockjaw.harness.targets import demo as shown
from lockjaw.harness.targets.campaign import play_on
from lockjaw.harness.targets.registry import choose, opened
from lockjaw.history import Record
from lockjaw.reports import document

__all__ = ["demo"]

OPENCLAW = "openclaw"


def demo(
    target: Annotated[
        str, typer.Argument(help="NAME, NAME@VERSION, or the file of a runtime (./mine.toml).")
    ] = "codex",
    cache: CacheFolder = None,
    allow_network: AllowNetwork = False,
    out: Out = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Install what is missing without asking.")] = False,
    as_json: JsonFlag = False,
) -> int:
    """A client gives up, its fallback meets the server that still owns the conversation: a runtime's, then Lockjaw's.

    Installs the runtime if need be (it asks first), then takes about a minute. For openclaw: `lockjaw openclaw demo`.

    Exit status: 0 shown, 1 it came out otherwise (this runtime gives an answer), 2 usage, 4 the harness failed.
    """
    name, _, version = target.partition("@")
    if name == OPENCLAW:
        from lockjaw.cli.openclaw.demo import demo as demo_openclaw

        return demo_openclaw(version or "2026.4.8", cache, allow_network, out, yes, as_json)
    choice = choose(target)
    scenario = load_scenario(shown.SCENARIO)
    tell = say if as_json else print_at_once
    with opened(choice, ask=asker(yes), say=say, cache=cache, allow_network=allow_network) as program:
        tell(shown.opening(scenario, program.name))
        ways = {"agent": program.shown("gateway", scenario.message), "own": program.shown("own", scenario.message)}

        def theirs(_: str, record: Record) -> None:
            for line in shown.told(record, ways):
                tell(line)

        runs = [play_on(program, scenario, out=out, progress=theirs)]
    tell(shown.ending(runs[0]))
    typed = f'$ lockjaw agent --agent main --message "{scenario.message}"'
    tell(f"\n{typed}")

    def ours(_: str, record: Record) -> None:
        for line in shown.told(record, {}):
            tell(line)

    runs += run_policies(scenario, [shown.OURS], out=out, progress=ours)
    tell(shown.ending(runs[1]))
    if as_json:
        sys.stdout.write(document.to_json(document.document(runs, command="target demo")))
    return 0 if shown.shows(runs[0].outcome, runs[1].outcome) else 1
