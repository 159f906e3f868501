"""The text of ``lockjaw reproduce``: what was understood of a report, and how near the best run came to it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lockjaw.harness.intake import Report
from lockjaw.harness.intake.report import CLASSES
from lockjaw.harness.intake.search import Found
from lockjaw.harness.run import Run
from lockjaw.verdict import Verdict

__all__ = ["STDIN", "told"]

STDIN = "-"
WIDTH = 80


def told(
    source: str, report: Report, found: Found, file: Path | None, runs: list[Run], notes: list[str], kit: Path | None
) -> Iterator[str]:
    """The lines, at most 80 columns wide; the last is the one that repeats the run."""
    name = "stdin" if source == STDIN else Path(source).name
    lines = "1 line" if report.lines == 1 else f"{report.lines} lines"
    yield f"REPORT {name}   {lines}, {report.understood} understood"
    yield ""
    yield from _understood(report)
    yield ""
    yield from _replayed(found, file, runs, notes, kit)


def _understood(report: Report) -> Iterator[str]:
    yield from _row("incident", report.cause)
    for finding in report.findings:
        where = (
            f"line {finding.lines[0]}" if len(finding.lines) == 1 else f"lines {', '.join(map(str, finding.lines[:4]))}"
        )
        text = f"{finding.letter}  {CLASSES[finding.letter]} ({finding.confidence:.2f}): {finding.why}, {where}"
        yield from _row("class", text, hang=3)
    if report.possible:
        yield from _row("class", f"open; such texts turned out to be {', '.join(report.possible)}")
    for number, line in enumerate(report.errors[:12], 1):
        yield from _row("errors" if number == 1 else "", f"{number}. {line}", hang=3)
    if len(report.errors) > 12:
        yield from _row("", f"and {len(report.errors) - 12} more")
    for candidate in report.chain:
        reason = f" ({candidate.reason})" if candidate.reason else ""
        yield from _row("model", f"{candidate.model or '?'}: {candidate.error}{reason}", hang=3)
    if report.timers:
        yield from _row("timers", ", ".join(f"{name} {value:g}" for name, value in report.timers.items()))
    for lock in report.locks[:8]:
        yield from _row("lock", _lock(lock), hang=3)
    for name, values in (("versions", report.versions), ("platform", report.platforms), ("sessions", report.sessions)):
        if values:
            yield from _row(name, ", ".join(values))
    if report.not_lock:
        yield from _row("not locks", "; ".join(report.not_lock[:6]))
    for note in report.notes:
        yield from _row("note", note)
    if report.ignored:
        yield from _row("ignored", f"{report.ignored} lines" + (", such as" if report.ignored_examples else ""))
        for example in report.ignored_examples[:3]:
            yield f"{'':12}{textwrap.shorten(example, WIDTH - 14, placeholder=' ...')}"


def _lock(lock: Any) -> str:
    parts = [lock.file or "a lock", f"pid {lock.pid}" if lock.pid else "no pid"]
    if lock.alive is not None:
        parts.append(
            f"{'alive' if lock.alive else 'dead'} ({lock.why})" if lock.why else "alive" if lock.alive else "dead"
        )
    if lock.age_s is not None:
        parts.append(f"{lock.age_s:g} s old")
    if lock.created:
        parts.append(f"made {lock.created}")
    if lock.max_hold_s:
        parts.append(f"to be held {lock.max_hold_s:g} s at most")
    return ", ".join(parts)


def _replayed(found: Found, file: Path | None, runs: list[Run], notes: list[str], kit: Path | None) -> Iterator[str]:
    best = found.best
    if best is None:
        yield from _row("replay", f"none: {found.why}")
        yield from _nearest(found)
        return
    yield from _row("scenario", f"{file}: {best.composition.shape}, {best.composition.policy}")
    for text in best.composition.assumed:
        yield from _row("assumed", text)
    if best.values:
        yield from _row("unknowns", ", ".join(f"{name} = {value:g}" for name, value in best.values.items()))
    ended = ", interrupted" if found.interrupted else ", and nothing better in many" if found.gave_up else ""
    runs_made = "1 run" if found.trials == 1 else f"{found.trials} runs"
    yield from _row("search", f"{runs_made} in {found.seconds:.1f} s{ended}; the best has seed {best.seed}")
    like = "every error line of the report is in the replay" if found.reproduced else "not reproduced"
    yield from _row("similarity", f"{found.similarity:.2f}: {like} (compared with the log of {best.log})")
    mismatch = best.likeness.mismatch
    if mismatch is not None:
        yield from _row("mismatch", f"error {mismatch.line} of the report: {mismatch.report}", hang=3)
        yield from _row("", f"the replay: {mismatch.replay or 'ends before it'}", hang=3)
    for line in best.likeness.missing[:6]:
        yield from _row("not printed", f"{line} (nothing in this replay prints such a line)", hang=3)
    for run in runs:
        broken = ", ".join(check.name for check in run.checks if check.verdict is Verdict.VIOLATED)
        yield from _row("verdict", f"{run.verdict} ({run.engine}, {run.policy}){': ' + broken if broken else ''}")
    if kit is not None:
        yield from _row("kit", f"{kit}: the run in one redacted file, to attach to the report")
    for note in notes:
        yield from _row("note", note)
    if not found.reproduced:
        yield from _nearest(found)
    if runs:
        yield ""
        yield "To repeat it:"
        yield runs[0].replay


def _nearest(found: Found) -> Iterator[str]:
    """The catalogue's scenarios of the same classes: the same failures with other lines."""
    for number, near in enumerate(found.nearest):
        yield from _row("" if number else "see also", f"lockjaw run {near.scenario.name} ({near.why})", hang=3)


def _row(name: str, text: str, hang: int = 0) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=f"{name:<12}", subsequent_indent=" " * (12 + hang), break_on_hyphens=False,
    ) or [name]  # fmt: skip
