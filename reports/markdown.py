"""The report for an issue: GitHub-flavoured Markdown, to be pasted as it is.

Everything that comes out of a run is untrusted text: it is escaped in tables and prose, and logs stand in fences
that are longer than any run of back-ticks inside them. Mentions and issue references are kept from linking.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from lockjaw.history.run import Run
from lockjaw.verdict import Verdict
from lockjaw.visible import visible, visible_lines

from .view import RunView, ScenarioView, important, mark, view

MAX_ROWS = 40
#: What starts markup in the middle of a line; an underscore does not between letters and digits.
_SPECIAL = re.compile(r"([\\`*{}\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
#: What GitHub turns into mentions, references and links even where Markdown would not.
_LINKS = re.compile(r"([@#]|:(?=//)|\bwww(?=\.))")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u2028\u2029]")


def render(runs: Iterable[Run]) -> str:
    """The whole report; ends with a newline."""
    scenarios = view(runs)
    blocks = [block for scenario in scenarios for block in _scenario(scenario)]
    return "\n\n".join(blocks or ["No run to report."]) + "\n"


def escape(text: str) -> str:
    """Plain text as Markdown that shows exactly that text, on one line, inside a line that has begun."""
    flat = visible(" ".join(_CONTROL.sub(" ", text).split()))
    marked = html.escape(_SPECIAL.sub(r"\\\1", flat), quote=False)
    return _LINKS.sub(r"\1<!-- -->", marked)


def fence(text: str, info: str = "") -> str:
    """A fenced block that no content can close."""
    body = visible_lines(_CONTROL.sub("\ufffd", text.replace("\r\n", "\n"))).rstrip("\n")
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", body)), default=0))
    return f"{ticks}{info}\n{body}\n{ticks}"


def _scenario(scenario: ScenarioView) -> list[str]:
    blocks = [f"## Lockjaw: {escape(scenario.name)}: {scenario.verdict}"]
    blocks.append("\n".join(_summary(run) for run in scenario.runs))
    if scenario.checks:
        blocks.append(_table(scenario))
    blocks += [_details(run) for run in scenario.runs if run.verdict is not Verdict.HELD]
    replays = list(dict.fromkeys(run.replay for run in scenario.runs if run.replay and run.verdict is not Verdict.HELD))
    if replays:
        blocks += ["To repeat:", fence("\n".join(replays), "console")]
    return blocks


def _summary(run: RunView) -> str:
    about = f"engine {run.engine}, target {run.target}, seed {run.seed}, {run.nominal_s:.1f} s nominal"
    return f"- **{escape(run.policy)}: {run.verdict}** ({escape(about)}): {escape(run.headline)}"


def _table(scenario: ScenarioView) -> str:
    lines = [["law", *scenario.policies]]
    for check in scenario.checks:
        cells = [scenario.cells[policy, check] for policy in scenario.policies]
        many = any(cell.total > 1 for cell in cells)
        lines.append([check, *(mark(c.verdict) + (f" {c.like}/{c.total}" if many and c.total else "") for c in cells)])
    rows = ["| " + " | ".join(escape(cell) for cell in line) + " |" for line in lines]
    return "\n".join([rows[0], "|---" * len(lines[0]) + "|", *rows[1:]])


def _details(run: RunView) -> str:
    """Folded away: an issue should be readable without opening it. Empty lines around make Markdown work inside."""
    findings = [
        f"- {escape(mark(check.verdict))} `{check.name}`: {escape(check.finding)}"
        for check in run.checks
        if check.verdict is not Verdict.HELD
    ]
    parts = ["\n".join(findings)] if findings else []
    rows = important(run.rows, MAX_ROWS)
    if rows:
        header = ["| | at | locked by | who | what happened |", "|---|---:|---|---|---|"]
        parts.append("\n".join(header + [_row(cells) for cells in _cells(run)]))
    for who, error in run.errors:
        parts.append(f"What {escape(who)} saw:\n\n" + fence(error, "text"))
    body = "\n\n".join(parts)
    return f"<details><summary>{html.escape(run.title)}: what happened</summary>\n\n{body}\n\n</details>"


def _cells(run: RunView) -> list[Sequence[str]]:
    return [
        (
            ">" if row.witness else "",
            f"{row.at_s:.1f} s",
            row.lock,
            row.actor,
            row.told,
        )
        for row in important(run.rows, MAX_ROWS)
    ]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(escape(cell) for cell in cells) + " |"
