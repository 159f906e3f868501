"""The text of ``lockjaw reproduce``: what was understood of a report, and how near the best run came to it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from lockjaw.harness.intake import Report
from lockjaw.harness.intake.fit import Fit
from lockjaw.harness.intake.report import CLASSES, LockSeen, OtherLock
from lockjaw.harness.intake.runtimes import RUNTIMES
from lockjaw.harness.intake.search import Searched
from lockjaw.harness.run import Run
from lockjaw.verdict import Verdict
from lockjaw.visible import columns

__all__ = ["STDIN", "told"]

STDIN = "-"
MOST_EVIDENCE = 4


def told(
    source: str, report: Report, found: Searched, file: Path | None, runs: list[Run], notes: list[str], kit: Path | None
) -> Iterator[str]:
    """The lines, at most 80 columns wide; the last is the one that repeats the run."""
    name = "stdin" if source == STDIN else Path(source).name
    lines = "1 line" if report.lines == 1 else f"{report.lines} lines"
    yield f"REPORT {name}   {lines}, {report.understood} understood"
    yield ""
    if report.not_ours is not None:
        yield from _not_ours(report)
        return
    yield from _understood(report)
    yield ""
    yield from _replayed(report, found, file, runs, notes, kit)


def _not_ours(report: Report) -> Iterator[str]:
    """One line for what is no incident of ours, and what was read all the same."""
    assert report.not_ours is not None
    yield from _row("", f"No lock incident: {report.not_ours.why}{_where(report.not_ours.lines)}.", start="")
    for note in report.notes:
        yield from _row("note", note)
    yield from _ignored(report)


def _understood(report: Report) -> Iterator[str]:
    yield from _row("incident", report.cause)
    for finding in report.findings:
        yield from _row("class", f"{finding.letter}  {CLASSES[finding.letter]} ({finding.confidence:.2f})", hang=3)
        for piece in finding.evidence[:MOST_EVIDENCE]:
            sign = "for" if piece.weight > 0 else "against"
            yield from _row("", f"   {sign} {abs(piece.weight):.2f}  {piece.says}{_where(piece.lines)}", hang=6)
        if len(finding.evidence) > MOST_EVIDENCE:
            yield from _row("", f"   and {len(finding.evidence) - MOST_EVIDENCE} more")
    if report.possible:
        between = " and ".join(f"{letter} ({CLASSES[letter]})" for letter in report.possible)
        yield from _row("class", f"open between {between}: nothing in the text decides it", hang=3)
    for runtime in report.runtimes:
        yield from _row("runtime", f"these are words of {RUNTIMES[runtime]}; the classes are the nearest ones")
    errors = report.errors
    for number, line in enumerate(errors[:12], 1):
        head = ("error" if len(errors) == 1 else "errors") if number == 1 else ""
        yield from _row(head, line if len(errors) == 1 else f"{number}. {line}", hang=3)
    if len(errors) > 12:
        yield from _row("", f"and {len(errors) - 12} more")
    for candidate in report.chain:
        reason = f" ({candidate.reason})" if candidate.reason else ""
        yield from _row("model", f"{candidate.model or '?'}: {candidate.error or 'not told'}{reason}", hang=3)
    if report.timers:
        yield from _row("timers", ", ".join(f"{name} {value:g}" for name, value in report.timers.items()))
    for lock in report.locks[:8]:
        yield from _row("lock", _lock(lock), hang=3)
    for other in report.other_locks:
        yield from _row("other lock", _other_lock(other), hang=3)
    for name, values in (("versions", report.versions), ("platform", report.platforms), ("sessions", report.sessions)):
        if values:
            yield from _row(name, ", ".join(values))
    if report.not_lock:
        yield from _row("not locks", "; ".join(report.not_lock[:6]))
    for note in report.notes:
        yield from _row("note", note)
    yield from _ignored(report)


def _ignored(report: Report) -> Iterator[str]:
    if report.ignored:
        lines = "1 line" if report.ignored == 1 else f"{report.ignored} lines"
        yield from _row("ignored", lines + (", such as" if report.ignored_examples else ""))
        for example in report.ignored_examples[:3]:
            yield f"{'':12}{textwrap.shorten(example, columns() - 14, placeholder=' ...')}"


def _where(lines: tuple[int, ...]) -> str:
    if not lines:
        return ""
    shown = ", ".join(map(str, lines[:4])) + (", ..." if len(lines) > 4 else "")
    return f", line {shown}" if len(lines) == 1 else f", lines {shown}"


def _owner(alive: bool | None, owner: str, why: str) -> list[str]:
    """What is known of an owner, and how."""
    if alive is None and not owner:
        return []
    state = "gone: another program has its pid" if owner == "other" else "alive" if alive else "dead"
    return [f"{state} ({why})" if why else state]


def _lock(lock: LockSeen) -> str:
    parts = [lock.file or "a lock", f"pid {lock.pid}" if lock.pid else "no pid"]
    parts += _owner(lock.alive, lock.owner, lock.why)
    if lock.age_s is not None:
        parts.append(f"{lock.age_s:g} s old")
    if lock.created:
        parts.append(f"made {lock.created}")
    if lock.max_hold_s:
        parts.append(f"to be held {lock.max_hold_s:g} s at most")
    return ", ".join(parts)


#: Locks of the program that are no session's.
WHOSE = {
    "gateway": "the gateway's own instance lock", "runtime-deps": "the lock of plugin installation (runtime-deps)",
    "exec-approvals": "the lock of the exec approvals", "state-directory": "the guard of the state directory",
}  # fmt: skip


def _other_lock(lock: OtherLock) -> str:
    parts = [f"{WHOSE.get(lock.whose, lock.whose)}, not a session lock"]
    if lock.pid:
        parts.append(f"pid {lock.pid}")
    parts += _owner(lock.alive, lock.owner, lock.why)
    if lock.waited_s:
        parts.append("waited for " + ", ".join(f"{seconds:g} s" for seconds in lock.waited_s[:4]))
    return ", ".join(parts)


def _replayed(
    report: Report, found: Searched, file: Path | None, runs: list[Run], notes: list[str], kit: Path | None
) -> Iterator[str]:
    best = found.best
    if best is None:
        yield from _row("outcome", f"not reproduced: {found.why}")
        yield from _nearest(found)
        return
    yield from _row("scenario", f"{file}: {best.composition.shape}, {best.composition.policy}")
    if best.assumed:
        yield from _row("assumed", "; ".join(best.assumed))
    if best.values:
        yield from _row("unknowns", ", ".join(f"{name} = {value:g}" for name, value in best.values.items()))
    ended = (
        ", interrupted"
        if found.interrupted
        else f"; no better match in the last {found.idle} runs"
        if found.gave_up
        else ""
    )
    runs_made = "1 run" if found.trials == 1 else f"{found.trials} runs"
    yield from _row("search", f"{runs_made} in {found.seconds:.1f} s{ended}; the best has seed {best.seed}")
    yield from _row("similarity", _similarity(report, found))
    mismatch = best.likeness.mismatch
    if mismatch is not None:
        yield from _row("mismatch", f"error {mismatch.line} of the report: {mismatch.report}", hang=3)
        yield from _row("", f"the replay: {mismatch.replay or 'ends before it'}", hang=3)
    for line in best.likeness.missing[:6]:
        yield from _row("not printed", f"{line} (nothing in this replay prints such a line)", hang=3)
    yield from _outcome(best.fit)
    for run in runs:
        named = ", ".join(check.name for check in run.checks if check.verdict is run.verdict is not Verdict.HELD)
        yield from _row("verdict", f"{run.verdict} ({run.engine}, {run.policy}){': ' + named if named else ''}")
    if kit is not None:
        yield from _row("kit", f"{kit}: the run in one redacted file, to attach to the report")
        yield from _row("", f"elsewhere: lockjaw replay {kit.name}", hang=3)
    for note in notes:
        yield from _row("note", note)
    if not found.reproduced:
        yield from _nearest(found)
    if runs:
        yield ""
        yield "To repeat it:"
        yield runs[0].replay


def _similarity(report: Report, found: Searched) -> str:
    """How much of the report's error lines the replay has, in which log, and what it says nothing of."""
    assert found.best is not None
    number = len(report.errors)
    lines = "the report's one error line" if number == 1 else f"the report's {number} error lines, in their order"
    text = f"{found.similarity:.2f} of {lines}, compared with the log of {found.best.log}"
    left = found.best.fit.not_compared
    return text + (f"; not compared: {', '.join(left)}" if left else "")


def _outcome(how: Fit) -> Iterator[str]:
    """Reproduced, consistent with, or not; and what the replay carries of the report."""
    told = [point for point in how.points if point.what not in ("error lines", "class")]
    carried = [f"{point.what} ({point.report})" for point in told if point.carried]
    differs = [
        f"{point.what}: the report {point.report}, the replay {point.replay}"
        for point in how.points[1:]
        if point.carried is False
    ]
    left = [f"{point.what} is {point.report}" for point in how.points if point.carried is None]
    match how.outcome:
        case "reproduced":
            text = f"reproduced: every error line, class {how.points[1].report}" + "".join(
                f", {each}" for each in carried
            )
        case "consistent":
            shape = f"consistent with class {how.classes}" + (f", {', '.join(carried)}" if carried else "")
            text = f"{shape}; not specific: {'; '.join([*left, *differs])}"
        case _:
            text = "not reproduced"
            if how.points[1:]:
                more = [*(f"carries {each}" for each in carried), *(f"differs in {each}" for each in differs), *left]
                text += ": " + "; ".join(["error lines are missing", *more])
    yield from _row("outcome", text)


def _nearest(found: Searched) -> Iterator[str]:
    """The catalogue's scenarios of the same classes: the same failures with other lines."""
    for number, near in enumerate(found.nearest):
        yield from _row("" if number else "see also", f"lockjaw run {near.scenario.name} ({near.why})", hang=3)


def _row(name: str, text: str, hang: int = 0, start: str | None = None) -> list[str]:
    first = f"{name:<12}" if start is None else start
    after = " " * (12 + hang) if start is None else ""
    return textwrap.wrap(
        text, columns(), initial_indent=first, subsequent_indent=after, break_on_hyphens=False, drop_whitespace=True,
        break_long_words=False,
    ) or [name]  # fmt: skip
