"""``lockjaw list``."""

from __future__ import annotations

from typing import Annotated

import typer

from lockjaw import scenarios
from lockjaw.cli.options import JsonFlag, print_json
from lockjaw.harness.incident.scenario import load_scenario
from lockjaw.scenarios import catalogue
from lockjaw.visible import columns, show_text

__all__ = ["list_scenarios"]


def list_scenarios(
    name: Annotated[list[str] | None, typer.Argument(help="Only these, each in full.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """List the scenarios that come with Lockjaw, by class of incident."""
    found = [load_scenario(one) for one in name or scenarios.names()]
    if as_json:
        print_json("list", catalogue.document(found))
    elif name:
        show_text("\n".join(line for scenario in found for line in catalogue.told(scenario, columns())).rstrip())
    else:
        show_text("\n".join(catalogue.listing(found, columns())).rstrip())
