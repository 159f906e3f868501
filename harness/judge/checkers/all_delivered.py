"""Every result that was handed in stands in the conversation to which its key leads at the end."""

from __future__ import annotations

from collections.abc import Sequence

from lockjaw.history import Record
from lockjaw.history.spans import spans
from lockjaw.verdict import CheckResult, Verdict

from ..clients import interrupted
from .facts import ScenarioFacts

NAME = "all_delivered"


def check(history: Sequence[Record], facts: ScenarioFacts) -> CheckResult:
    """Every result that was handed in stands in the conversation to which its key leads at the end.

    A result that its actor gave up is lost, however well it is logged: its waiter waits for ever. UNKNOWN when
    nothing was handed in, or its actor was killed.
    """
    handed = spans(history, "deliver", "text")
    if not handed:
        return CheckResult(NAME, Verdict.UNKNOWN, "no actor delivered a result")
    present = _present(history)
    lost = []
    for span in handed:
        if span.outcome == "ok" and span.end is not None:
            if present is not None and span.end.data.get("entry_id") not in present:
                finding = f"{span.start.data.get('text')!r} was written, and the conversation no longer contains it"
                return CheckResult(NAME, Verdict.VIOLATED, finding, (span.start.i, span.end.i))
        elif span.outcome == "fail" or not interrupted(history, span.actor):
            lost.append(span)
    if lost:
        texts = ", ".join(repr(span.start.data.get("text")) for span in lost[:3])
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        witness = tuple(i for span in lost for i in (span.start.i, *((span.end.i,) if span.end else ())))
        finding = f"{len(lost)} of {len(handed)} results never reached the conversation: {texts}{more}"
        return CheckResult(NAME, Verdict.VIOLATED, finding, witness)
    if any(span.outcome != "ok" for span in handed):
        return CheckResult(NAME, Verdict.UNKNOWN, "a fault killed an actor before it could deliver its result")
    return CheckResult(NAME, Verdict.HELD, f"the conversation contains all {len(handed)} results")


def _present(history: Sequence[Record]) -> set[object] | None:
    """Entry ids in the conversations that keys lead to; None where nothing was read at the end."""
    led = {r.data.get("session_id") for r in history if r.op == "session.final"}
    finals = [r for r in history if r.op == "transcript.final" and (not led or r.data.get("session_id") in led)]
    if not finals:
        return None
    return {entry for r in finals for entry in r.data.get("entry_ids") or ()}
