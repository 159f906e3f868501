"""Each transcript is valid JSONL, ids unique, parents known, tool calls paired, nothing accepted is missing."""

from __future__ import annotations

from collections.abc import Sequence

from lockjaw.history import Record
from lockjaw.history.holds import transcript_of
from lockjaw.verdict import CheckResult, Verdict

from ..clients import results
from ..executions import executions
from .facts import ScenarioFacts

NAME = "transcript_whole"


def check(history: Sequence[Record], facts: ScenarioFacts) -> CheckResult:
    """Each transcript is valid JSONL, ids unique, parents known, tool calls paired, nothing accepted is missing.

    Accepted is: the user's message once the gateway accepted its run and a model was asked, or once the user got an
    answer to it, and every entry that was reported to be on disk. UNKNOWN when no transcript was read at the end.
    """
    finals = [r for r in history if r.op == "transcript.final"]
    if not finals:
        return CheckResult(NAME, Verdict.UNKNOWN, "no transcript was read at the end")
    broken = [r for r in finals if r.data.get("problems")]
    if broken:
        first = broken[0].data["problems"]
        text = first[0] if isinstance(first, list) else first
        finding = f"{_name(broken[0])} is damaged: {text}"
        return CheckResult(NAME, Verdict.VIOLATED, finding, tuple(r.i for r in broken))
    return (
        _entries_missing(history, finals)
        or _message_missing(history, finals, facts)
        or _answered_missing(history, finals, facts)
        or CheckResult(NAME, Verdict.HELD, f"{len(finals)} transcript{'s are' if len(finals) != 1 else ' is'} whole")
    )


def _entries_missing(history: Sequence[Record], finals: Sequence[Record]) -> CheckResult | None:
    by_path = {transcript_of(r.data.get("path")): r for r in finals}
    written: dict[str, dict[object, Record]] = {}
    for record in history:
        if record.op == "append":
            entry = record.data.get("entry_id") or record.i
            written.setdefault(transcript_of(record.data.get("path")), {})[entry] = record
    for path, entries in written.items():
        final, last = by_path.get(path), max(entries.values(), key=lambda r: r.i)
        if final is None:
            name = path.rpartition("/")[2]
            return CheckResult(NAME, Verdict.VIOLATED, f"{name} was written, and is gone", (last.i,))
        known = final.data.get("entry_ids")
        lost = [r for key, r in entries.items() if known is not None and key not in known]
        lines = int(final.data.get("lines") or 0)
        if lost or lines < len(entries):
            finding = f"{_name(final)} has {lines} lines although {len(entries)} entries were written to it"
            if lost:
                missing = f"{len(lost)} entr{'ies' if len(lost) != 1 else 'y'}"
                finding = f"{_name(final)} lacks {missing} that had been written to it"
            return CheckResult(NAME, Verdict.VIOLATED, finding, (*(r.i for r in lost or [last]), final.i))
    return None


def _message_missing(history: Sequence[Record], finals: Sequence[Record], facts: ScenarioFacts) -> CheckResult | None:
    worked = {e.run_id for e in executions(history) if e.actions}
    callers = {r.data.get("run_id"): r.actor for r in history if r.op == "client.call" and r.phase == "invoke"}
    for record in history:
        run_id = record.data.get("run_id")
        message = facts.message_of(callers.get(run_id, ""))
        if record.op != "gateway.accepted" or run_id not in worked or not message:
            continue
        session_id = record.data.get("session_id")
        key = record.data.get("session_key")
        led = {r.data.get("session_id") for r in history if r.op == "session.final" and r.data.get("key") == key}
        texts = [
            str(text)
            for r in finals
            # Where it was accepted into, or where the conversation has moved to since.
            if session_id in (None, "", r.data.get("session_id")) or r.data.get("session_id") in led
            for text in r.data.get("user_messages", ())
        ]
        if not any(message in text for text in texts):
            finding = f"the user's message was accepted into session {session_id} and is not in its transcript"
            return CheckResult(NAME, Verdict.VIOLATED, finding, (record.i,))
    return None


def _answered_missing(history: Sequence[Record], finals: Sequence[Record], facts: ScenarioFacts) -> CheckResult | None:
    """A turn that was answered by a process of its own was never accepted by a gateway; another process that writes
    its older copy of the transcript over the newer one loses the whole of it."""
    by_session = {r.data.get("session_id"): r for r in finals}
    for result in results(history):
        final, message = by_session.get(result.data.get("session_id")), facts.message_of(result.actor)
        if not result.data.get("answered") or final is None or not message:
            continue
        if not any(message in str(text) for text in final.data.get("user_messages", ())):
            finding = f"{result.actor} got its answer, and the question is not in {_name(final)}"
            return CheckResult(NAME, Verdict.VIOLATED, finding, (result.i, final.i))
    return None


def _name(final: Record) -> str:
    return str(final.data.get("path") or final.data.get("session_id") or "a transcript").rpartition("/")[2]
