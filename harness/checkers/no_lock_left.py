"""When every actor has ended or was killed and recovery had its chance, no lock file blocks the next turn."""

from __future__ import annotations

from collections.abc import Sequence

from lockjaw.harness.checkers.facts import ScenarioFacts
from lockjaw.harness.checkers.spans import holds, is_lock_text, transcript_of
from lockjaw.history import Record
from lockjaw.verdict import CheckResult, Verdict

NAME = "no_lock_left"


def check(history: Sequence[Record], facts: ScenarioFacts) -> CheckResult:
    """When every actor has ended or was killed and recovery had its chance, no lock file blocks the next turn.

    Recovery's chance is the next turn that the harness asks for: a lock file that it got past has not blocked it.
    Without a next turn, a lock file that is still there counts. UNKNOWN when no lock was taken, or when the
    history stops before all was over.
    """
    turns = [r for r in history if r.op == "next_turn" and r.phase in ("ok", "fail")]
    blocked = [r for r in turns if r.phase == "fail" and is_lock_text(r.data.get("error"), r.data.get("kind"))]
    if blocked:
        return CheckResult(NAME, Verdict.VIOLATED, "a lock file blocked the next turn", tuple(r.i for r in blocked))
    passed_at = max((r.i for r in turns if r.phase == "ok"), default=-1)
    grants = holds(history)
    left = [r.i for r in history if r.op == "leftover" and r.data.get("kind") == "lock" and r.i > passed_at]
    if left:
        paths = ", ".join(sorted({transcript_of(history[i].data.get("path")).rpartition("/")[2] for i in left}))
        return CheckResult(NAME, Verdict.VIOLATED, f"a lock file was left behind: {paths}", tuple(left))
    if passed_at < 0 and not any(r.op == "run.end" for r in history):
        return CheckResult(NAME, Verdict.UNKNOWN, "the history stops before all was over")
    if any(r.phase == "fail" for r in turns):
        return CheckResult(NAME, Verdict.UNKNOWN, "the next turn failed, and not for a lock")
    kept = tuple(h.granted.i for h in grants if max(h.blocks_until, h.granted.i) > max(passed_at, len(history)))
    kept = tuple(i for i in kept if i > passed_at)
    if kept:
        return CheckResult(NAME, Verdict.VIOLATED, "a lock was granted and never given back", kept)
    if not grants:
        return CheckResult(NAME, Verdict.UNKNOWN, "no lock was ever taken")
    how = "the next turn got its lock" if passed_at >= 0 else "every lock was given back"
    return CheckResult(NAME, Verdict.HELD, how)
