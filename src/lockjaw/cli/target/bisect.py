"""``lockjaw target bisect``: the first version of a runtime where the verdict of a law is another one."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from lockjaw.cli.consent import scenarios_to_start
from lockjaw.cli.openclaw.campaigns import say, show_bisection, watched
from lockjaw.cli.options import AllowNetwork, CacheFolder, JsonFlag, Out
from lockjaw.cli.repeats import Repeat, UntilSure, repeats_of
from lockjaw.cli.target.playing import asker
from lockjaw.errors import UsageError
from lockjaw.harness.targets.bisection import bisect as search
from lockjaw.harness.targets.campaign import JudgedVersion, cell_on
from lockjaw.harness.targets.registry import choose, opened
from lockjaw.harness.targets.table import ways

__all__ = ["between", "bisect"]

OPENCLAW = "openclaw"


def bisect(
    target: Annotated[str, typer.Argument(help="NAME, or the file of a runtime (./mine.toml).")],
    good: Annotated[str, typer.Option(help="A version at one end.")],
    bad: Annotated[str, typer.Option(help="A version at the other end.")],
    versions: Annotated[
        str, typer.Option(help="Versions to search, oldest first, separated by commas (default: `tested` of its file).")
    ] = "",
    scenario: Annotated[str | None, typer.Option(help="One scenario (default: fallback_meets_active_writer).")] = None,
    check: Annotated[str, typer.Option(help="The law whose verdict changed.")] = "never_session_locked",
    repeat: Repeat = None,
    repeat_until_sure: UntilSure = False,
    yes: Annotated[bool, typer.Option("--yes", help="Install what is missing without asking.")] = False,
    cache: CacheFolder = None,
    allow_network: AllowNetwork = False,
    out: Out = None,
    as_json: JsonFlag = False,
) -> int:
    """Search the first version of a runtime with another verdict of one law.

    A law that broke in more than half of a version's runs is VIOLATED there, in none HELD; anything else is tried once
    more and then skipped. For openclaw: `lockjaw openclaw bisect`, which searches all published versions.

    Exit status: 0 found, 2 usage, 4 the ends do not differ or cannot be run.
    """
    repeats = repeats_of(repeat, repeat_until_sure)
    if target == OPENCLAW:
        from lockjaw.cli.openclaw.bisect import bisect as bisect_openclaw

        if versions or repeats.most > 1:
            raise UsageError("--versions" if versions else "--repeat", "", "nothing of that kind for openclaw")
        return bisect_openclaw(
            good, bad, scenario or "gateway_timeout", check, None, cache, allow_network, out, as_json
        )
    choice = choose(target)
    [loaded] = scenarios_to_start([scenario or "fallback_meets_active_writer"])
    if check not in loaded.checks:
        raise UsageError("--check", "", f"a law that the scenario checks: {', '.join(loaded.checks)}", check)
    listed = [one.strip() for one in versions.split(",") if one.strip()] or list(choice.spec.tested)
    searched = between(listed, good, bad)
    say(f"{len(searched)} versions from {searched[0]} to {searched[-1]}")
    with watched(as_json) as progress:

        def judge(version: str) -> JudgedVersion:
            one = replace(choice, version=version)
            say(f"{loaded.name} against {one.name}")
            with opened(one, ask=asker(yes), say=say, cache=cache, allow_network=allow_network) as program:
                cell = cell_on(program, loaded, repeats, say, out=out, progress=progress)
            say(f"  {cell.said}")
            return JudgedVersion(version, cell)

        found = search(choice.spec.name, searched, check, judge, say)
    lines = "\n".join(f"{one.cell.target}  {one.cell.said}" for one in found.cells)
    cells = [ways(one.cell) for one in found.cells]
    show_bisection(found, "target bisect", loaded.name, cells, lines, as_json=as_json)
    return 0


def between(versions: list[str], good: str, bad: str) -> list[str]:
    """The versions from one end to the other, both included, in the order of the list.

    Raises:
        UsageError: an end is not in the list, or both are the same.
    """
    for flag, version in (("--good", good), ("--bad", bad)):
        if version not in versions:
            raise UsageError(flag, "", f"one of {', '.join(versions)} (--versions names others)", version)
    low, high = sorted((versions.index(good), versions.index(bad)))
    if low == high:
        raise UsageError("--bad", "", "another version than --good", bad)
    return versions[low : high + 1]
