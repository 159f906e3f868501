"""A lock error is never a permission verdict: no call is refused as forbidden because a store was busy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lockjaw.history import Record
from lockjaw.history.spans import spans
from lockjaw.verdict import CheckResult, Verdict

from ..clients import is_lock_error, started
from ..stores import held_stores
from .facts import ScenarioFacts

NAME = "lock_is_not_a_permission_verdict"
#: What a process says that takes a call for one that it may not make.
_FORBIDDEN = re.compile(
    r"unauthori[sz]ed|not authori[sz]ed|forbidden|not permitted|security=deny"
    r"|(?:permission|access|exec|tool|approval|request) denied|\b(?:status|http|code|error)[ :=(]{0,3}40[13]\b",
    re.IGNORECASE,
)
_LOCKED = re.compile(
    r"\block(?:ed)?\b|\bSQLITE_(?:BUSY|LOCKED)\b|\b(?:database|store|session) is (?:busy|in use)\b", re.I
)
_REASONS = frozenset({"auth", "auth_permanent", "permission", "forbidden"})  # of a step of a fallback chain


class _Denial(NamedTuple):
    """``start``: when what was refused had been asked for."""

    start: Record
    record: Record
    words: str


def check(history: Sequence[Record], facts: ScenarioFacts) -> CheckResult:
    """A lock error is never a permission verdict: no call is refused as forbidden because a store was busy.

    VIOLATED when a refusal (a tool that may not run, "unauthorized", 401, 403, a model given up for its credentials)
    names a lock itself; when the process that refused had just waited for a lock in vain; or when another process held
    the store throughout. A refusal with neither is one for another reason. UNKNOWN when nothing was asked for while a
    store was held or a lock was waited for in vain.
    """
    for denial in _denials(history):
        cause = _lock_behind(history, denial)
        if cause is not None:
            who = denial.record.actor
            if cause is denial.record:
                finding = f"{who} told of a lock as of a missing permission"
            else:
                finding = f"{who} refused as forbidden what it could not look up: a lock was in the way"
            return CheckResult(NAME, Verdict.VIOLATED, finding, tuple(sorted({cause.i, denial.record.i})))
    met = _met(history)
    if met:
        times = "once" if met == 1 else f"{met} times"
        return CheckResult(NAME, Verdict.HELD, f"a lock was in the way {times}, and nothing was forbidden for it")
    return CheckResult(NAME, Verdict.UNKNOWN, "no lock or held store was in the way of a call")


def _denials(history: Sequence[Record]) -> Iterator[_Denial]:
    for span in spans(history, "tool", "run_id", "tool_call_id"):
        if span.end is not None and span.end.op == "tool" and span.end.data.get("refused"):
            yield _Denial(span.start, span.end, "")
    for span in spans(history, "client.call", "run_id", "method"):
        if span.end is not None and span.end.op == "client.call" and _forbids(span.end):
            yield _Denial(span.start, span.end, _words(span.end))
    for record in history:
        if record.op in ("turn", "deliver") and record.phase == "fail" and _forbids(record):
            yield _Denial(record, record, _words(record))
        elif record.op in ("client.result", "client.stderr") and _forbids(record):
            yield _Denial(started(history, record.actor) or record, record, _words(record))
        elif record.op == "model.decision" and record.data.get("reason") in _REASONS:
            yield _Denial(record, record, _words(record))


def _words(record: Record) -> str:
    data = record.data
    return " ".join(str(data[key]) for key in ("error", "line", "detail", "refused", "code") if data.get(key))


def _forbids(record: Record) -> bool:
    return bool(_FORBIDDEN.search(_words(record)))


def _lock_behind(history: Sequence[Record], denial: _Denial) -> Record | None:
    """What shows that a lock was the cause: the refusal's own words, a wait in vain, or a store that was held."""
    if _LOCKED.search(denial.words):
        return denial.record
    for record in history[denial.start.i : denial.record.i]:
        if record.actor == denial.record.actor and is_lock_error(record):
            return record
    if denial.record.op == "model.decision":
        return None  # it has no beginning: what was held at that instant says nothing
    return next((held.begun for held in held_stores(history) if held.throughout(denial.start, denial.record)), None)


def _met(history: Sequence[Record]) -> int:
    """How often a lock was in the way: of a call that was made while another process held a store, or of a wait for a
    lock that ended in vain."""
    calls = [*spans(history, "tool", "run_id", "tool_call_id"), *spans(history, "client.call", "run_id", "method")]
    held = held_stores(history)
    meanwhile = [
        call
        for call in calls
        if any(h.begun.actor != call.actor and h.begun.t <= call.end_s and call.start.t < h.until_s for h in held)
    ]
    return len(meanwhile) + sum(is_lock_error(record) for record in history)
