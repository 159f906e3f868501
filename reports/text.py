"""The report for a terminal: what happened, who held the lock, which law was broken, how to repeat it.

80 columns unless the terminal is wider than that is useful. Without a terminal, or with NO_COLOR, not one escape
sequence is written: the verdicts carry a symbol and a word, so nothing is lost. The last line is the command that
repeats the run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from lockjaw.history.run import Run
from lockjaw.verdict import Verdict
from lockjaw.visible import as_typed, columns, visible_lines

from .sentences import Tone, condensed
from .view import MARKS, RunView, ScenarioView, important, mark, view

WIDTH = 80
NARROW = 66  # below it, who does a step stands before what it does instead of beside it
MAX_ROWS = 12
_STYLES: dict[Verdict | None, str] = {
    Verdict.HELD: "green",
    Verdict.VIOLATED: "bold red",
    Verdict.UNKNOWN: "yellow",
    None: "dim",
}
_TONES: dict[Tone, str] = {"plain": "", "good": "green", "bad": "red", "fault": "bold magenta", "lock": "cyan"}


def print_report(
    runs: Iterable[Run],
    file: TextIO | None = None,
    *,
    env: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Print the report to ``file`` (stdout). Colour only on a terminal, and never with NO_COLOR set."""
    out = sys.stdout if file is None else file
    env = os.environ if env is None else env
    colour = out.isatty() and not env.get("NO_COLOR") and env.get("TERM") != "dumb"
    out.write(as_typed(render(runs, colour=colour, width=columns(out), notes=notes)))
    out.flush()


def render(
    runs: Iterable[Run], *, colour: bool = False, width: int = WIDTH, notes: Sequence[str] = (), whole: bool = True
) -> str:
    """The whole report as text. Without colour it holds no escape sequence.

    Args:
        notes: lines that stand before the command that repeats the run, which is always the last one.
        whole: also show the headlines and the table; who reads one failure has its findings already.
    """
    buffer = StringIO()
    console = Console(
        file=buffer,
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        no_color=not colour,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
        _environ={},
    )
    console.push_render_hook(_MadeVisible())
    scenarios = view(runs)
    if not scenarios:
        console.print("No run to report.")
    for scenario in scenarios:
        _scenario(console, scenario, whole=whole)
    for note in notes:
        console.print(Text(note), soft_wrap=True)
    if notes:
        console.print()
    last = _to_repeat(scenarios)
    if last:
        console.print("To repeat it:" if last[1] else "Nothing failed. To repeat it all the same:")
        console.print(Text(last[0]), soft_wrap=True)  # longer than a line is better than broken: it is for copying
    return "".join(f"{line.rstrip()}\n" for line in buffer.getvalue().splitlines()) if not colour else buffer.getvalue()


class _MadeVisible(RenderHook):
    """What strangers wrote holds no escape when it reaches the terminal; styles are ours and apart from the text."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Visible(one) for one in renderables]


class _Visible:
    def __init__(self, inner: ConsoleRenderable) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._inner, options):
            yield segment if segment.control else Segment(visible_lines(segment.text), segment.style)


def _to_repeat(scenarios: Iterable[ScenarioView]) -> tuple[str, bool] | None:
    """The replay line of the first violated run, else of the first unknown one, else of the first."""
    runs = [run for scenario in scenarios for run in scenario.runs if run.replay]
    order = {Verdict.VIOLATED: 0, Verdict.UNKNOWN: 1, Verdict.HELD: 2}
    first = min(runs, key=lambda run: order[run.verdict], default=None)
    return (first.replay, first.verdict is not Verdict.HELD) if first else None


def _scenario(console: Console, scenario: ScenarioView, *, whole: bool) -> None:
    if whole:
        console.print(Text.assemble(("SCENARIO ", "bold"), (scenario.name, "bold"), "   ", _mark(scenario.verdict)))
        console.print()
        for policy in scenario.policies:
            _headline(console, scenario, policy)
    told: set[str] = set()
    for run in scenario.runs:
        if run.verdict is not Verdict.HELD and run.policy not in told:
            _run(console, run, legend=not told)
            told.add(run.policy)  # one timeline per policy: more seeds of it tell the same story
    if whole:
        _table(console, scenario)


def _headline(console: Console, scenario: ScenarioView, policy: str) -> None:
    runs = [run for run in scenario.runs if run.policy == policy]
    verdict = scenario.policy_verdict(policy)
    shown = next(run for run in runs if run.verdict is verdict)
    different = list(dict.fromkeys(run.seed for run in runs))
    seeds = ", ".join(map(str, different[:5])) + (", ..." if len(different) > 5 else "")
    held = f"{sum(r.verdict is verdict for r in runs)} of {len(runs)} runs, " if len(runs) > 1 else ""
    count = f"{held}{'seeds' if len(different) > 1 else 'seed'}"
    target = "" if shown.target == "builtin" else f", target {shown.target}"
    console.print(Text.assemble(_mark(verdict), "  ", (policy, "bold"), f"  ({shown.engine}, {count} {seeds}{target})"))
    note = f"{shown.headline}; {shown.nominal_s:.1f} s ({shown.wall_s:.1f} s of real time)."
    _indented(console, note[0].upper() + note[1:], 4)
    console.print()


def _run(console: Console, run: RunView, *, legend: bool = True) -> None:
    console.print(Text(f"What happened: {run.title}", style="bold"))
    for check in run.checks:
        if check.verdict is run.verdict:
            _indented(console, Text.assemble(_mark(check.verdict), f" {check.name}: {check.finding}"), 2)
    rows = important(run.rows, MAX_ROWS)
    if rows:
        console.print()
        table = Table(box=None, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False, header_style="bold")
        table.add_column("", width=1)
        table.add_column("at", justify="right", no_wrap=True, width=8)
        holders = ["locked by", *(part for row in rows for part in row.lock.split("+"))]
        table.add_column("locked by", width=min(16, max(map(cell_len, holders))), overflow="fold")
        narrow = console.width < NARROW
        if not narrow:
            table.add_column("who", width=min(10, max(cell_len(row.actor) for row in rows)), overflow="fold")
        table.add_column("what happened", ratio=1, overflow="fold")
        for row in rows:
            table.add_row(
                ">" if row.witness else "",
                f"{row.at_s:.1f} s",
                row.lock.replace("+", "+\n"),
                *([] if narrow else [row.actor]),
                Text(f"{row.actor} " * narrow + row.told, style=_TONES[row.tone]),
            )
        console.print(table)
        console.print()
        if legend and any(row.witness for row in rows):
            console.print(Text("  > marks the steps that prove the broken law.", style="dim"))
        hidden = len(run.rows) - len(rows)
        if hidden:
            shown = f"  {hidden} more step{'' if hidden == 1 else 's'}: {run.run_dir or '.'}/history.jsonl"
            console.print(Text(shown, style="dim"), soft_wrap=True)
    for who, error in run.errors:
        _indented(console, Text(f"{who.replace('the user', 'The user')} saw: {condensed(error)}"), 2)
    console.print()


def _table(console: Console, scenario: ScenarioView) -> None:
    if not scenario.checks:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("law", no_wrap=True, overflow="ellipsis")
    # Signs and numbers alone where words do not fit; what they mean stands below.
    wide = max(map(len, scenario.checks)) + sum(2 + max(len("X VIOLATED"), *_parts(p)) for p in scenario.policies)
    signs = wide > console.width
    for number, policy in enumerate(scenario.policies, start=1):
        table.add_column(str(number) if signs else policy.replace("-", "-\n", 1), no_wrap=True)
    for check in scenario.checks:
        verdicts = [scenario.cells[policy, check].verdict for policy in scenario.policies]
        table.add_row(check, *((_sign(v) if signs else _mark(v)) for v in verdicts))
    console.print(table)
    if signs:
        named = ", ".join(f"{number} {policy}" for number, policy in enumerate(scenario.policies, start=1))
        _indented(console, f"{named}; {', '.join(' '.join(sign) for sign in MARKS.values())}", 0)
    console.print()


def _parts(policy: str) -> Iterable[int]:
    """Lengths of the lines of a policy's heading."""
    first, dash, rest = policy.partition("-")
    return len(first + dash), len(rest)


def _sign(verdict: Verdict | None) -> Text:
    return Text(mark(verdict)[0], style=_STYLES[verdict])


def _mark(verdict: Verdict | None) -> Text:
    return Text(mark(verdict), style=_STYLES[verdict])


def _indented(console: Console, text: Text | str, by: int) -> None:
    """Wrapped, with every line indented by that much."""
    body = text if isinstance(text, Text) else Text(text)
    for line in body.wrap(console, console.width - by):
        console.print(Text.assemble(" " * by, line))
