"""What targets came to in scenarios, over several runs each: the cells of a table, and the table as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from lockjaw.history.run import Run
from lockjaw.verdict import Verdict

from ..judge.shares import shares

__all__ = ["Cell", "cell_of", "markdown", "ways"]


class Cell(msgspec.Struct, frozen=True):
    """Some runs of one target in one scenario.

    ``reached``: in how many of them the danger was reached. ``laws``: law -> how often it was broken, and in how many
    runs it was decided at all. ``why``: law -> why it was not decided. ``error``: why there are no runs.
    """

    target: str
    scenario: str
    runs: int = 0
    reached: int = 0
    laws: dict[str, tuple[int, int]] = {}
    why: dict[str, str] = {}
    error: str = ""

    @property
    def verdict(self) -> Verdict:
        """VIOLATED: a law was broken in a run that reached the danger. HELD: every run reached it, and none was."""
        if self.reached and any(broken for broken, _ in self.laws.values()):
            return Verdict.VIOLATED
        held = self.runs > 0 and self.reached == self.runs and any(decided for _, decided in self.laws.values())
        return Verdict.HELD if held else Verdict.UNKNOWN

    @property
    def said(self) -> str:
        """The cell in few words: the broken laws, each with how often of how many."""
        if self.error:
            return f"not run: {self.error}"
        if not self.reached:
            return f"UNKNOWN: the danger was not reached in {self.runs} run(s)"
        broken = [f"{law} {times} of {decided}" for law, (times, decided) in self.laws.items() if times]
        if broken:
            return f"VIOLATED: {', '.join(broken)}"
        return f"HELD in {self.runs} run(s)" if self.verdict is Verdict.HELD else "UNKNOWN"


def cell_of(target: str, scenario: str, runs: Sequence[Run], laws: Sequence[str]) -> Cell:
    """The cell of some runs. A run that did not reach the danger counts as a run, and its laws do not count."""
    reached = [run for run in runs if all(condition.met for condition in run.reached)]
    counted = shares(runs, laws)
    last = {check.name: check for run in reached or runs for check in run.checks}
    return Cell(
        target, scenario, len(runs), len(reached), {one.law: (one.broken, one.runs) for one in counted},
        {law: check.finding for law, check in last.items() if check.verdict is Verdict.UNKNOWN},
    )  # fmt: skip


def markdown(cells: Iterable[Cell]) -> str:
    """Targets down, scenarios across; below it why a law was not decided."""
    listed = list(cells)
    scenarios = list(dict.fromkeys(cell.scenario for cell in listed))
    by_place = {(cell.target, cell.scenario): cell for cell in listed}
    rows = [["runtime", *scenarios], ["---"] * (len(scenarios) + 1)]
    for target in dict.fromkeys(cell.target for cell in listed):
        found = [by_place.get((target, scenario)) for scenario in scenarios]
        rows.append([target, *("-" if cell is None else cell.said for cell in found)])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    notes = [
        f"- {cell.target}, {cell.scenario}: {law}: {why}" for cell in listed for law, why in cell.why.items() if why
    ]
    return "\n".join([*lines, "", "What could not be judged, and why:", "", *notes, ""])


def ways(cell: Cell) -> dict[str, Any]:
    """The cell as a document holds it."""
    return {**msgspec.to_builtins(cell), "verdict": str(cell.verdict)}
