"""No fallback attempt fails with a session-locked error."""

from __future__ import annotations

from collections.abc import Sequence

from lockjaw.history import Record
from lockjaw.verdict import CheckResult, Verdict

from ..clients import clients, contended, gave_up_at_once, is_lock_error, is_lock_text, locked_out, named, trouble
from .facts import ScenarioFacts

NAME = "never_session_locked"
ATTEMPT_OPS = ("turn", "model.call", "model.decision", "client.result", "fallback")


def check(history: Sequence[Record], facts: ScenarioFacts) -> CheckResult:
    """No fallback attempt fails with a session-locked error.

    A client that waits for a lock in vain and then fences the holder, or continues in a fork, has not failed; one
    that ends there has. UNKNOWN when no client was in trouble while somebody else's lock was in its way.
    """
    users = set(clients(history))
    told = [r for r in history if r.actor in users and r.op in ATTEMPT_OPS and _tells(r)]
    # What was printed repeats what was recorded; for a runtime that records nothing it is the only proof.
    told = told or [r for r in history if r.actor in users and r.op == "client.stderr" and _tells(r)]
    fell_back = {r.actor: r.i for r in reversed(trouble(history))}
    stuck = [r for r in locked_out(history) if fell_back.get(r.actor, r.i) < r.i]
    if told or stuck:
        witness = tuple(sorted({r.i for r in (*told, *stuck)}))
        waits = len([r for r in history if r.actor in users and is_lock_error(r)])
        count = f"{waits} lock wait{'s' if waits != 1 else ''} timed out" if waits else "its attempt failed"
        whose = "" if len(users) == 1 else f" of {named([r.actor for r in (*told, *stuck)])}"
        return CheckResult(NAME, Verdict.VIOLATED, f"the fallback{whose} found the session locked: {count}", witness)
    if contended(history):
        return CheckResult(NAME, Verdict.HELD, "another process had the lock, and no attempt failed on it")
    if gave_up_at_once(history):
        return CheckResult(NAME, Verdict.HELD, "the gateway did not answer, and the client tried no fallback")
    return CheckResult(NAME, Verdict.UNKNOWN, "no fallback met a lock that another process had")


def _tells(record: Record) -> bool:
    data = record.data
    if record.op == "model.decision" and "fail" not in str(data.get("decision", "")):
        return False
    return is_lock_text(data.get("error"), data.get("detail"), data.get("line"), data.get("reason"))
