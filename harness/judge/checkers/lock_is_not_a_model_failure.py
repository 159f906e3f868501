"""A lock error is never a failover reason: no other model is tried for it, no cool-down, at most one wait."""

from __future__ import annotations

from collections.abc import Sequence

from lockjaw.history import Record
from lockjaw.history.holds import acquires, transcript_of
from lockjaw.history.spans import spans
from lockjaw.verdict import CheckResult, Verdict

from ..clients import contended, gave_up_at_once, is_lock_error, is_lock_text
from .facts import ScenarioFacts

NAME = "lock_is_not_a_model_failure"
CHAIN_STEPS = ("fail", "skip", "cooldown", "cool_down", "probe")  # decisions that cost a model its turn


def check(history: Sequence[Record], facts: ScenarioFacts) -> CheckResult:
    """A lock error is never a failover reason: no other model is tried for it, no cool-down, at most one wait.

    Also caught when the reason was rewritten on the way ("timeout"): a candidate that failed although no model
    had been asked since the last decision, with a lock error in between.
    """
    failures = [r for r in history if is_lock_error(r)]
    blamed = [r for r in history if r.op == "model.decision" and _costs_a_model(r) and _for_a_lock(history, r)]
    blamed += [r for r in history if r.op == "model.call" and r.phase == "fail" and is_lock_text(r.data.get("error"))]
    if blamed:
        models = ", ".join(dict.fromkeys(str(r.data.get("candidate") or r.data.get("model") or "?") for r in blamed))
        witness = tuple(sorted({r.i for r in (*blamed, *failures)}))
        finding = f"the fallback chain counted a lock error as a failure of {models}"
        return CheckResult(NAME, Verdict.VIOLATED, finding, witness)
    again = _second_waits(history, failures)
    if again:
        finding = "one turn waited for the same lock again after its first wait had timed out"
        return CheckResult(NAME, Verdict.VIOLATED, finding, tuple(again))
    if failures or contended(history) or _waited(history) or _reclaimed(history):
        return CheckResult(NAME, Verdict.HELD, "a lock was in the way, and no model was counted as failed for it")
    if gave_up_at_once(history):
        return CheckResult(NAME, Verdict.HELD, "the gateway did not answer, and the client tried no fallback")
    return CheckResult(NAME, Verdict.UNKNOWN, "no process found the lock taken")


def _reclaimed(history: Sequence[Record]) -> bool:
    """A dead owner's lock was in the way, and was taken over."""
    return any(r.op == "lock" and r.phase == "ok" and r.data.get("reclaimed") for r in history)


def _costs_a_model(record: Record) -> bool:
    return any(step in str(record.data.get("decision", "")) for step in CHAIN_STEPS)


def _for_a_lock(history: Sequence[Record], decision: Record) -> bool:
    if is_lock_text(decision.data.get("detail"), decision.data.get("reason"), decision.data.get("error")):
        return True
    if "fail" not in str(decision.data.get("decision", "")):
        return False
    for record in reversed(history[: decision.i]):
        if record.actor == decision.actor:
            if record.op in ("model.call", "model.decision", "turn"):
                return False
            if is_lock_error(record):
                return True
    return False


def _second_waits(history: Sequence[Record], failures: Sequence[Record]) -> list[int]:
    """Indices of lock failures of one actor, path and turn, if there is more than one."""
    turns = spans(history, "turn", "turn_id", "run_id")
    seen: dict[tuple[str, str, str], list[int]] = {}
    for record in failures:
        around = [s for s in turns if s.actor == record.actor and s.start.i < record.i < s.end_i]
        turn = str(around[-1].start.data.get("turn_id") or "") if around else ""
        seen.setdefault((record.actor, transcript_of(record.data.get("path")), turn), []).append(record.i)
    return sorted(i for indices in seen.values() if len(indices) > 1 for i in indices)


def _waited(history: Sequence[Record]) -> bool:
    return any(a.outcome == "ok" and a.end is not None and a.end.data.get("waited_s", 0) > 0 for a in acquires(history))
