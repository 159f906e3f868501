"""``lockjaw scenario schema``: what editors need to complete and check a scenario file."""

from __future__ import annotations

from importlib.resources import files

from lockjaw.harness.incident.schema import SCHEMA_FILE
from lockjaw.visible import show_json

__all__ = ["schema"]


def schema() -> None:
    """Print the JSON Schema of a scenario file: keys, units, examples.

    An editor with a YAML language server uses it where a file begins with
    `# yaml-language-server: $schema=FILE`; `lockjaw scenario new` writes that line.
    """
    show_json((files("lockjaw.scenarios") / SCHEMA_FILE).read_text(encoding="utf-8"))
