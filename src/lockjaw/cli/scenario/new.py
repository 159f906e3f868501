"""``lockjaw scenario new``: a commented file that runs."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from lockjaw.errors import UsageError
from lockjaw.harness.incident.schema import SCHEMA_FILE
from lockjaw.visible import show

__all__ = ["new"]


def new(
    name: Annotated[str, typer.Argument(help="What the incident is called, such as my_incident.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write (default: NAME.yaml).")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a commented scenario to start from. It runs as it stands.

    Exit status: 0 written, 2 the name is not allowed, or the file exists.
    """
    written, name = name, name.removesuffix(".yaml").removesuffix(".yml")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UsageError("NAME", "", "small letters, digits and _, a letter first", written)
    path = out or Path(f"{name}.yaml")
    text = (files("lockjaw.cli.scenario") / "template.yaml").read_text(encoding="utf-8")
    schema = files("lockjaw.scenarios") / SCHEMA_FILE
    text = text.replace("$schema=SCHEMA", f"$schema=file://{schema}").replace("NAME.yaml", str(path))
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(str(path), "", "a file that is not there yet (or --force)") from None
    except OSError as error:
        raise UsageError(str(path), "", "a file that can be written", error.strerror) from error
    show(f"Written: {path}", "To run it:", f"lockjaw run {path} --policy all --engine sim")
