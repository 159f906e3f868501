"""A run that has ended holds no session lock: none is kept, and none is taken later."""

from __future__ import annotations

from collections.abc import Sequence

from lockjaw.history import Record
from lockjaw.history.holds import holds, is_session_lock
from lockjaw.history.spans import spans
from lockjaw.verdict import CheckResult, Verdict

from .facts import ScenarioFacts

NAME = "nothing_held_after_end"
SETTLED_S = 5.0  # what an ended run may use to give back what it holds


def check(history: Sequence[Record], facts: ScenarioFacts) -> CheckResult:
    """A run that has ended holds no session lock: none is kept, and none is taken later.

    Ended is what the turn's own record says. What a dead process leaves is another law's matter (``no_lock_left``).
    UNKNOWN when no run that had a lock has ended.
    """
    proved = False
    grants = [hold for hold in holds(history) if is_session_lock(hold.path)]
    for turn in spans(history, "turn", "turn_id", "run_id"):
        end, run_id = turn.end, str(turn.start.data.get("run_id") or "")
        if end is None or end.op != "turn" or not run_id:
            continue
        for hold in grants:
            if hold.actor != turn.actor or hold.owner != run_id or hold.granted.i < turn.start.i:
                continue
            if hold.granted.i > end.i:
                finding = (
                    f"{turn.actor} took the session lock for a run that had ended {hold.granted.t - end.t:.1f} s ago"
                )
                return CheckResult(NAME, Verdict.VIOLATED, finding, (end.i, hold.granted.i))
            until = hold.ended if hold.ended is not None else history[-1]
            if hold.end_i > end.i and until.t - end.t > SETTLED_S:
                finding = f"{turn.actor} kept the session lock for {until.t - end.t:.1f} s after its run had ended"
                return CheckResult(NAME, Verdict.VIOLATED, finding, (hold.granted.i, end.i, until.i))
            proved = True
    if not proved:
        return CheckResult(NAME, Verdict.UNKNOWN, "no run that had a lock has ended")
    return CheckResult(NAME, Verdict.HELD, "every run gave back its lock when it ended, and took none later")
