"""What targets came to in scenarios, over several runs each: the cells of a table, and the table as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

import msgspec

from lockjaw.history.run import Run
from lockjaw.verdict import Verdict

from ..judge.shares import shares

__all__ = ["NOT_RUN", "Cell", "cell_of", "markdown", "marks", "unknowns", "ways"]

NOT_RUN = "not run"
DANGER = "danger_reached"  # the key of ``why`` for runs that did not get there
_AT_ONCE_S = 1.0
_OURS = "lockjaw,"  # how the name of a cell of our own begins: "lockjaw, takeover, sqlite"
_MARKS = {Verdict.VIOLATED: "**X**", Verdict.HELD: "+", Verdict.UNKNOWN: "?"}


class Cell(msgspec.Struct, frozen=True):
    """Some runs of one target in one scenario.

    ``reached``: in how many of them the danger was reached. ``laws``: law -> how often it was broken, and in how many
    runs it was decided at all. ``why``: law that was never decided -> why not. ``refused_s``: how long each lock error
    of a client took to come. ``error``: why there are no runs.
    """

    target: str
    scenario: str
    runs: int = 0
    reached: int = 0
    laws: dict[str, tuple[int, int]] = {}
    why: dict[str, str] = {}
    refused_s: tuple[float, ...] = ()
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
        """The cell in few words: which laws broke, how often of how many, and how soon a client was refused."""
        if self.error:
            return f"{NOT_RUN}: {self.error}"
        if not self.reached:
            return f"UNKNOWN: the danger was not reached in {self.runs} run(s)"
        broken = [f"{law} {times} of {decided}" for law, (times, decided) in self.laws.items() if times]
        if broken:
            return f"VIOLATED: {', '.join(broken)}{self._refused()}"
        if self.verdict is Verdict.HELD:
            return f"HELD in {self.runs} run(s){self._refused()}"
        return f"UNKNOWN: the danger was reached in {self.reached} of {self.runs} run(s), and no law broke"

    def _refused(self) -> str:
        if not self.refused_s:
            return ""
        typical = median(self.refused_s)
        return f"; refused at once ({typical:.1f} s)" if typical < _AT_ONCE_S else f"; refused after {typical:.1f} s"


def cell_of(target: str, scenario: str, runs: Sequence[Run], laws: Sequence[str]) -> Cell:
    """The cell of some runs. A run that did not reach the danger counts as a run, and its laws do not count."""
    reached = [run for run in runs if all(condition.met for condition in run.reached)]
    counted = {share.law: (share.broken, share.runs) for share in shares(runs, laws)}
    last = {check.name: check for run in reached for check in run.checks}
    why = {law: last[law].finding for law, (_, decided) in counted.items() if not decided and law in last}
    if len(reached) < len(runs):
        unmet = dict.fromkeys(one.says for run in runs for one in run.reached if not one.met)
        why[DANGER] = f"not in {len(runs) - len(reached)} of {len(runs)}: {'; '.join(unmet)}"
    return Cell(target, scenario, len(runs), len(reached), counted, why, tuple(_refusals(reached)))


def _refusals(runs: Iterable[Run]) -> Iterable[float]:
    for run in runs:
        told = [r for r in run.history if r.op == "lock" and r.phase == "fail" and r.actor == "client"]
        yield from (round(float(r.data.get("waited_s") or 0.0), 1) for r in told)


def markdown(cells: Iterable[Cell], scenarios: Sequence[str] = ()) -> str:
    """Targets down, scenarios across (default: those of the cells); what is not there was not run."""
    listed = list(cells)
    across = list(scenarios) or list(dict.fromkeys(cell.scenario for cell in listed))
    by_place = {(cell.target, cell.scenario): cell for cell in listed}
    rows = [["runtime", *across], ["---"] * (len(across) + 1)]
    for target in dict.fromkeys(cell.target for cell in listed):
        found = [by_place.get((target, scenario)) for scenario in across]
        rows.append([target, *(NOT_RUN if cell is None else cell.said for cell in found)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def marks(cells: Iterable[Cell], scenarios: Sequence[str]) -> str:
    """The same turned round and in one character a cell: scenarios down, targets across (Lockjaw's own last)."""
    by_place = {(cell.target, cell.scenario): cell for cell in cells}
    targets = sorted(dict.fromkeys(target for target, _ in by_place), key=lambda name: (name.startswith(_OURS), name))
    rows = [["", *(_headed(target) for target in targets)]]
    rows.append(["---"] * len(rows[0]))
    for scenario in scenarios:
        found = [by_place.get((target, scenario)) for target in targets]
        rows.append([f"`{scenario}`", *("-" if cell is None or cell.error else _MARKS[cell.verdict] for cell in found)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _headed(target: str) -> str:
    """``codex@0.171.0`` -> ``codex 0.171.0``; ``lockjaw, takeover, sqlite`` -> ``lockjaw (sqlite)``."""
    return f"lockjaw ({target.rpartition(' ')[2]})" if target.startswith(_OURS) else target.replace("@", " ")


def unknowns(cells: Iterable[Cell]) -> str:
    """A Markdown list: which laws were not decided, why, and where: cells with the same reason together."""
    places: dict[tuple[str, str], dict[str, list[str]]] = {}
    for cell in cells:
        for law, why in cell.why.items():
            places.setdefault((law, why), {}).setdefault(cell.target, []).append(cell.scenario)
    return "\n".join(f"- `{law}`: {why}. {_where(found)}." for (law, why), found in sorted(places.items()))


def _where(places: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{target}: {', '.join(scenarios)}" for target, scenarios in places.items())


def ways(cell: Cell) -> dict[str, Any]:
    """The cell as a document holds it."""
    return {**msgspec.to_builtins(cell), "verdict": str(cell.verdict)}
