"""A reader that reports success has seen every entry that stood there when it began."""

from __future__ import annotations

from collections.abc import Sequence

from lockjaw.history import Record
from lockjaw.history.holds import transcript_of
from lockjaw.history.spans import spans
from lockjaw.verdict import CheckResult, Verdict

from .facts import ScenarioFacts

NAME = "reads_are_true"


def check(history: Sequence[Record], facts: ScenarioFacts) -> CheckResult:
    """A reader that reports success has seen every entry that stood there when it began.

    A reader that fails loudly has told no lie. UNKNOWN when no process read, or there was nothing to see.
    """
    reads = spans(history, "read", "path")
    seen = 0
    for read in reads:
        if read.end is None or read.outcome != "ok":
            continue
        there = _entries_before(history, read.start)
        seen += there > 0
        got = int(read.end.data.get("entries") or 0)
        if got < there:
            finding = f"{read.actor} reported success with {got} entries; {there} were there when the read began"
            return CheckResult(NAME, Verdict.VIOLATED, finding, (read.start.i, read.end.i))
    if not reads:
        return CheckResult(NAME, Verdict.UNKNOWN, "no process read a conversation")
    if not seen:
        return CheckResult(NAME, Verdict.UNKNOWN, "no reader succeeded on a conversation with entries")
    return CheckResult(NAME, Verdict.HELD, f"{seen} read{'s' if seen != 1 else ''} saw every entry")


def _entries_before(history: Sequence[Record], start: Record) -> int:
    path = transcript_of(start.data.get("path"))
    found = 0
    for record in history[: start.i]:
        if transcript_of(record.data.get("path")) == path:
            found += int(record.data.get("entries") or 0) if record.op == "stage" else record.op == "append"
    return found
