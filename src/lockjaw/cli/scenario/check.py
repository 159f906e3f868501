"""``lockjaw scenario check``: everything that is wrong with a file, in one go."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lockjaw.cli.app import EXIT_USAGE
from lockjaw.cli.options import JsonFlag, print_json
from lockjaw.errors import DocumentError
from lockjaw.harness.incident.scenario import NO_DANGER, check_scenario
from lockjaw.visible import show

__all__ = ["check"]


def check(
    file: Annotated[list[str], typer.Argument(metavar="FILE...", help="Scenario files, or names of built-in ones.")],
    as_json: JsonFlag = False,
) -> int:
    """Say everything that is wrong with scenario files: file, line, column, key, and what was expected there.

    Exit status: 0 nothing is wrong, 2 something is.
    """
    found: list[dict[str, Any]] = []
    lines: list[str] = []
    for one in file:
        scenario, mistakes = check_scenario(one)
        lines += map(str, mistakes)
        found += [_document(mistake) for mistake in mistakes]
        if scenario is not None:
            lines.append(f"{one}: right" + ("" if scenario.sometimes else f"; but {NO_DANGER}"))
    if as_json:
        print_json("scenario check", {"right": not found, "mistakes": found})
    else:
        show(*lines)
    return EXIT_USAGE if found else 0


def _document(mistake: DocumentError) -> dict[str, Any]:
    return {
        "file": mistake.path, "line": mistake.line, "column": mistake.column, "key": mistake.key,
        "expected": mistake.expected, "got": None if mistake.got is None else repr(mistake.got), "text": str(mistake),
    }  # fmt: skip
