"""A claim ends with its run, or the next turn takes it by proof."""

from __future__ import annotations

from collections.abc import Sequence

from lockjaw.history import Record
from lockjaw.history.spans import died
from lockjaw.verdict import CheckResult, Verdict

from .facts import ScenarioFacts

NAME = "claims_end"


def check(history: Sequence[Record], facts: ScenarioFacts) -> CheckResult:
    """A claim ends with its run, or the next turn takes it by proof: none refuses a turn once its run has ended.

    VIOLATED when a run was refused for the claim of a run that had ended or whose process had died. UNKNOWN when no run
    came to a session on which a run that had ended without giving its claim back had one.
    """
    left = _left(history)
    met = []
    for record in history:
        if record.op != "claim" or record.phase == "info":
            continue
        owner = str((record.data.get("owner") if record.phase == "fail" else record.data.get("from")) or "")
        over = left.get((str(record.data.get("path")), owner))
        if over is None or over.i > record.i:
            continue
        if record.phase == "fail":
            finding = (
                f"{record.actor} was refused for the claim of a run that had ended {record.t - over.t:.1f} s before"
            )
            return CheckResult(NAME, Verdict.VIOLATED, finding, (over.i, record.i))
        met.append(record)
    if not met:
        return CheckResult(NAME, Verdict.UNKNOWN, "no run met a claim whose run had ended")
    return CheckResult(NAME, Verdict.HELD, f"{len(met)} claims of runs that had ended were taken over")


def _left(history: Sequence[Record]) -> dict[tuple[str, str], Record]:
    """(path, run) -> when a run that had a claim ended, or its process did."""
    left: dict[tuple[str, str], Record] = {}
    for claim in history:
        if claim.op != "claim" or claim.phase != "ok":
            continue
        run_id = str(claim.data.get("run_id"))
        ends = [
            r for r in history[claim.i + 1 :]
            if (r.op == "turn" and r.phase in ("ok", "fail") and r.data.get("run_id") == run_id)
            or died(r) == claim.actor
        ]  # fmt: skip
        if ends:
            left[str(claim.data.get("path")), run_id] = ends[0]
    return left
