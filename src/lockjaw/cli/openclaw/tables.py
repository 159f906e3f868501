"""Verdicts of versions as text, at most 80 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from lockjaw.harness.targets.openclaw.campaign import Cell

__all__ = ["WIDTH", "table"]

ACROSS, WIDTH = 5, 80  # versions beside each other, as far as they fit


def table(cells: Sequence[Cell], check: str | None = None) -> str:
    """Verdicts as text, at most 80 columns wide: versions down for one check; else laws down and versions across."""
    if check is not None:
        head = ["version", "verdict", check, "lock errors", "executions", "exit"]
        return _aligned([head, *([cell.version, *_told_of(cell, (check,))] for cell in cells)])
    parts = []
    for scenario in dict.fromkeys(cell.scenario for cell in cells):
        mine = [cell for cell in cells if cell.scenario == scenario]
        beside = ACROSS
        while beside > 1 and any(len(line) > WIDTH for line in _across(scenario, mine[:beside]).splitlines()):
            beside -= 1
        parts += [_across(scenario, mine[n : n + beside]) for n in range(0, len(mine), beside)]
    return "\n\n".join(parts)


def _across(scenario: str, cells: Sequence[Cell]) -> str:
    laws = tuple(dict.fromkeys(c.name for cell in cells if cell.run for c in cell.run.checks))
    names = [scenario, "verdict", *laws, "lock errors", "executions", "exit"]
    columns = [[cell.version, *_told_of(cell, laws)] for cell in cells]
    columns = [column + [""] * (len(names) - len(column)) for column in columns]
    why = [f"{cell.version} was not run: {cell.error.splitlines()[0]}" for cell in cells if cell.run is None]
    told = [line for text in why for line in textwrap.wrap(text, WIDTH, subsequent_indent="  ")]
    return "\n".join([_aligned([list(row) for row in zip(names, *columns, strict=True)]), *told])


def _told_of(cell: Cell, checks: Sequence[str]) -> list[str]:
    """The verdict, of each check, and three numbers."""
    if cell.run is None:
        return ["not run"]
    by_name = {check.name: str(check.verdict) for check in cell.run.checks}
    outcome = cell.run.outcome
    numbers = [str(outcome.session_locked_errors), str(outcome.turn_executions), str(outcome.exit_code)]
    return [str(cell.run.verdict), *(by_name.get(name, "-") for name in checks), *numbers]


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[n]) for row in rows if n < len(row)) for n in range(max(map(len, rows)))]
    return "\n".join("  ".join(t.ljust(w) for t, w in zip(row, widths, strict=False)).rstrip() for row in rows)
