"""When every actor has ended or was killed and recovery had its chance, no lock file blocks the next turn."""

from __future__ import annotations

from collections.abc import Sequence

from lockjaw.history import Record
from lockjaw.history.holds import holds, transcript_of
from lockjaw.verdict import CheckResult, Verdict

from ..clients import is_lock_text
from .facts import ScenarioFacts

NAME = "no_lock_left"


def check(history: Sequence[Record], facts: ScenarioFacts) -> CheckResult:
    """When every actor has ended or was killed and recovery had its chance, no lock file blocks the next turn.

    Recovery's chance is the next turn that the harness asks for, for one conversation (``path``) or for all: a
    lock file that it got past has not blocked it. A lock file that no next turn met counts if its owner lives;
    if not, nothing is proved. UNKNOWN also when no lock was taken, or the history ends before the run is over.
    """
    turns = [r for r in history if r.op == "next_turn" and r.phase in ("ok", "fail")]
    blocked = [r for r in turns if r.phase == "fail" and (r.data.get("path") or is_lock_text(r.data.get("error")))]
    if blocked:
        return CheckResult(NAME, Verdict.VIOLATED, "a lock file blocked the next turn", tuple(r.i for r in blocked))
    passed = [r for r in turns if r.phase == "ok"]
    left = [r for r in history if r.op == "leftover" and r.data.get("kind") == "lock" and not _met(r, passed)]
    if any(r.data.get("alive") is not False for r in left):
        return CheckResult(NAME, Verdict.VIOLATED, f"the run left behind {_names(left)}", tuple(r.i for r in left))
    if not passed and not any(r.op == "run.end" for r in history):
        return CheckResult(NAME, Verdict.UNKNOWN, "the history ends before the run is over")
    if len(passed) < len(turns):
        return CheckResult(NAME, Verdict.UNKNOWN, "the next turn failed for another reason than a lock")
    if left:
        return CheckResult(NAME, Verdict.UNKNOWN, f"no later turn met what a dead owner left: {_names(left)}")
    grants = holds(history)
    kept = [h.granted for h in grants if h.blocks_until > len(history) and not _met(h.granted, passed)]
    if kept:
        witness = tuple(r.i for r in kept)
        return CheckResult(NAME, Verdict.VIOLATED, f"no process gave back {_names(kept)}", witness)
    if not grants:
        return CheckResult(NAME, Verdict.UNKNOWN, "no process took a lock")
    how = "the next turn got its lock" if passed else "every owner gave its lock back"
    return CheckResult(NAME, Verdict.HELD, how)


def _met(record: Record, passed: Sequence[Record]) -> bool:
    """A later next turn went through, on this path or without naming one."""
    path = transcript_of(record.data.get("path"))
    return any(r.i > record.i and transcript_of(r.data.get("path")) in ("", path) for r in passed)


def _names(records: Sequence[Record]) -> str:
    files = {transcript_of(r.data.get("path")).rpartition("/")[2] for r in records}
    return "the lock of " + ", ".join(sorted(files))
