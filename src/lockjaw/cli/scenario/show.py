"""``lockjaw scenario show``: the file of a built-in scenario, to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lockjaw.errors import UsageError
from lockjaw.harness.incident.scenario import read_builtin_text
from lockjaw.visible import show_as_it_is

__all__ = ["show"]


def show(name: Annotated[str, typer.Argument(help="A name from `lockjaw list`.")]) -> None:
    """Print the YAML of a built-in scenario, to start your own from: `lockjaw scenario show NAME > my.yaml`."""
    if Path(name).is_file():
        raise UsageError(
            "NAME", "", "a name from `lockjaw list`; this is a file of your own, which any editor shows", name
        )
    show_as_it_is(read_builtin_text(name))
