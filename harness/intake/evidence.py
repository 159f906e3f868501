# ruff: noqa: E501  a row of the table stands on one line
"""Which of the classes a text speaks for, and how surely: one table of evidence. Pure.

One row per piece of evidence: class, weight, what it says, and the question to the incident that shows it. A positive
weight speaks for the class, a negative one against it. The confidence of a class is

    (1 - product of (1 - weight) over what speaks for it) * product of (1 - |weight|) over what speaks against it

so several weak signs add up, none makes certain, and a strong sign against outweighs them. A class is named from
``NAMED`` on. What *holds* a lock has several rival explanations (``RIVALS``): where none of them stands out the
question stays open, between those that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from .facts import Facts, both, is_lock, without
from .report import CLASSES, Event, Finding, Weighed

__all__ = ["EVIDENCE", "Evidence", "findings_of", "possible_of"]

TYPICAL, LIKELY, FITS, WEAK = 0.95, 0.8, 0.6, 0.4
NAMED = 0.2
#: Explanations of why a lock is held, or looks held. They exclude each other more often than not.
RIVALS = "CDEFGHS"
#: From here on a rival is sure enough to stand alone; below, two that are so near each other are not told apart.
SURE, NEAR = 0.65, 0.15
#: Of two classes that are equally sure, the one that names the cause stands before the one that names the effect.
PRECEDENCE = "LACDEGHFIORPQSNMBKJ"
#: Evidence that rests on nothing but words about a message counts for less than the message itself.
MENTIONED = 0.8

Condition = Callable[[Facts], Sequence[Event]]


@dataclass(frozen=True)
class Evidence:
    """One way in which a text speaks for a class, or against it (``weight`` below 0)."""

    letter: str
    weight: float
    says: str
    shown_by: Condition


def _stale(e: Event) -> bool:
    return e.data["state"].lower() == "stale"


def _aborted(e: Event) -> bool:
    return e.data.get("how", "").lower() == "aborted"


def _released_nothing(e: Event) -> bool:
    return e.data.get("released") == "0"


def _compacted(f: Facts) -> list[Event]:
    """A compaction that went on, or came to its end."""
    return f.of("compaction", where=lambda e: not _aborted(e))


def _gave_up(f: Facts) -> list[Event]:
    return f.of("gateway_timeout", "gateway_closed", "request_timeout", "banner_fresh")


EVIDENCE: tuple[Evidence, ...] = (
    # A
    Evidence("A", TYPICAL, "the fallback ran on the same session and found it locked", lambda f: both(f.fell_back(), f.locked())),
    Evidence("A", TYPICAL, "the fallback ran on the same session and was thrown out by the fence", lambda f: both(f.fell_back(), f.of("takeover"))),
    Evidence("A", FITS, "the fallback ran on the same session while the gateway's run may have gone on",
             lambda f: without(both(f.fell_back(), f.of("gateway_timeout", "gateway_closed")), f.gateway_gone())),
    Evidence("A", FITS, "the report speaks of a fallback, and the session was locked", lambda f: without(both(f.of("says_fell_back"), f.locked()), f.fell_back())),
    Evidence("A", WEAK, "the command line fell back although the gateway had not taken the turn", lambda f: both(f.fell_back(), f.gateway_gone())),
    Evidence("A", FITS, "the fallback started while the gateway's run went on", lambda f: f.of("banner_fresh")),
    Evidence("A", -0.3, "the gateway never took the turn, so it owned nothing", lambda f: without(f.gateway_gone(), f.locked())),
    # B
    Evidence("B", TYPICAL, "a lock error stands as a model's failure", lambda f: f.blamed()),
    Evidence("B", FITS, "a lock error ended a run as a failover error", lambda f: f.of("locked", where=lambda e: e.data.get("name", "").startswith("Failover"))),
    # C
    Evidence("C", TYPICAL, "the lock's owner is dead", lambda f: without(f.owner("dead"), f.owner("other")) or f.reasons("dead-pid")),
    Evidence("C", FITS, "the report speaks of a crash or a kill, and the lock is still there",
             lambda f: without(both(f.of("says_killed"), f.locked() or f.of("lock_body", "lock_stale", "claude_history")), f.fell_back(), f.ran_out())),
    Evidence("C", WEAK, "deleting the lock file helps", lambda f: both(f.of("says_delete_helps"), f.any_lock())),
    Evidence("C", 0.3, "a store lock was not to be had; it names no owner", lambda f: f.of("store_lock")),
    Evidence("C", WEAK, "the lock file names no owner", lambda f: f.reasons("missing-pid", "invalid-createdAt")),
    Evidence("C", 0.5, "the lock is of a process before this one", lambda f: both(f.owner("other"), f.own())),
    Evidence("C", 0.3, "a lock of the program was not to be had", lambda f: without(f.of("gateway_running", "gateway_start", "deps_lock"), f.of("says_second_needed"))),
    Evidence("C", -0.85, "the lock's owner lives", lambda f: f.owner("alive")),
    Evidence("C", -0.3, "its pid belongs to another process", lambda f: f.owner("other")),
    Evidence("C", -0.7, "it passes by itself", lambda f: both(f.of("says_passes"), f.any_lock())),
    Evidence("C", -0.5, "several write at the same time", lambda f: without(both(f.of("says_at_once"), f.any_lock()), f.owner("dead"))),
    # D
    Evidence("D", TYPICAL, "the pid belongs to another process now", lambda f: f.reasons("recycled-pid", "non-openclaw-owner", "boot-id-mismatch") or f.owner("other")),
    Evidence("D", LIKELY, "the gateway is down, and doctor calls its locks' owner alive",
             lambda f: both(f.of("says_gateway_down"), f.of("doctor_lock", where=lambda e: e.data["state"] == "alive"))),
    Evidence("D", WEAK, "doctor keeps locks because some process has their pid",
             lambda f: without(f.of("doctor_lock", where=lambda e: e.data["state"] == "alive" and e.data.get("stale") != "yes"), f.of("says_gateway_down"))),
    Evidence("D", FITS, "an exec lock of an owner before us fails closed", lambda f: f.of("exec_denied", "approvals_lock")),
    Evidence("D", 0.25, "a lock of the program was not to be had", lambda f: without(f.of("gateway_running", "gateway_start", "deps_lock"), f.of("says_second_needed"))),
    Evidence("D", -0.7, "the database was busy: no owner of another life is needed for it", lambda f: both(f.of("exec_denied"), f.of("busy_database"))),
    # E
    Evidence("E", TYPICAL, "an aborted run did not settle, and the session stayed locked", lambda f: both(f.of("abort_unsettled"), f.locked())),
    Evidence("E", LIKELY, "an aborted run did not settle", lambda f: f.of("abort_unsettled")),
    Evidence("E", TYPICAL, "a run ended and its session stayed locked", lambda f: without(f.ran_out(), f.fell_back(), f.of("banner_fresh"), f.of("gateway_timeout"))),
    Evidence("E", TYPICAL, "a lock was born after its run had ended", lambda f: f.born_late()),
    Evidence("E", TYPICAL, "the lock is this process's own, and the process does not know it", lambda f: f.reasons("orphan-self-pid")),
    Evidence("E", LIKELY, "the session stayed locked after a tool result was lost", lambda f: both(f.of("synthetic_result"), f.locked())),
    Evidence("E", LIKELY, "an interrupted compaction left the session locked", lambda f: both(f.of("compaction", where=_aborted), f.locked())),
    Evidence("E", LIKELY, "recovery aborted a run and released nothing", lambda f: f.of("stuck_recovery", where=_released_nothing)),
    Evidence("E", FITS, "the owner lives, is seen doing nothing, and has held the lock for longer than others wait", lambda f: without(f.idle_owner(), f.fell_back())),
    Evidence("E", LIKELY, "the report says that the lock is never given back", lambda f: without(both(f.of("says_never_released"), f.any_lock()), f.fell_back(), f.of("says_killed"))),
    Evidence("E", FITS, "the report says that the owner does nothing", lambda f: without(both(f.of("says_idle"), f.any_lock()), f.fell_back())),
    Evidence("E", WEAK, "only a restart helps", lambda f: both(f.of("says_restart_helps"), f.any_lock())),
    Evidence("E", 0.15, "the owner lives", lambda f: without(f.owner("alive"), f.fell_back(), f.own(), f.of("doctor_lock", "says_killed"))),
    Evidence("E", FITS, "the lease is held by the very process that asks", lambda f: f.of("lease_held", where=lambda e: e.data["who"] == "this process")),
    Evidence("E", LIKELY, "the lock file could not be removed",
             lambda f: f.of("file_system", where=lambda e: e.data["call"].lower() in ("unlink", "rmdir", "close") and ".lock" in e.data.get("path", ""))),
    Evidence("E", -0.9, "the lock's owner is dead", lambda f: f.owner("dead")),
    Evidence("E", -0.9, "its pid belongs to another process", lambda f: f.owner("other")),
    Evidence("E", -0.5, "it passes by itself", lambda f: both(f.of("says_passes"), f.any_lock())),
    Evidence("E", -0.4, "the holder was at work", lambda f: without(both(_compacted(f) or f.of("says_busy"), f.locked()), f.of("says_idle", "says_never_released"))),
    Evidence("E", -0.5, "nothing says that a restart or anything else was needed",
             lambda f: without(f.of("store_lock"), f.of("says_idle", "says_never_released", "says_restart_helps"))),
    # F
    Evidence("F", LIKELY, "a compaction held the session for longer than others waited", lambda f: both(_compacted(f) or f.of("compaction"), f.locked())),
    Evidence("F", LIKELY, "a result could not be handed over while the session was locked", lambda f: both(f.of("announce"), f.locked() or f.of("announce", where=lambda e: is_lock(e.data.get("inner", "") + e.text)))),
    Evidence("F", FITS, "it passes by itself: the next one goes through", lambda f: both(f.of("says_passes"), f.any_lock())),
    Evidence("F", FITS, "several write at the same time", lambda f: both(f.of("says_at_once"), f.lock())),
    Evidence("F", FITS, "the report says that the holder is at work", lambda f: both(f.of("says_busy"), f.lock())),
    Evidence("F", WEAK, "sessions run long and lanes wait", lambda f: both(f.of("long_running", "lane_wait"), f.locked())),
    Evidence("F", 0.35, "a store lock is held for moments by every writer", lambda f: f.of("store_lock")),
    Evidence("F", WEAK, "the holder had held the lock for longer than its limit", lambda f: f.of("force_release")),
    Evidence("F", -0.8, "the gateway's own run holds it", lambda f: without(both(f.fell_back(), f.of("gateway_timeout", "gateway_closed")), _compacted(f))),
    Evidence("F", -0.9, "the lock's owner is dead", lambda f: f.owner("dead")),
    Evidence("F", -0.9, "its pid belongs to another process", lambda f: f.owner("other")),
    Evidence("F", -0.8, "the owner does nothing", lambda f: both(f.of("says_idle"), f.any_lock())),
    Evidence("F", -0.6, "the lock is never given back", lambda f: without(both(f.of("says_never_released"), f.any_lock()), f.of("says_passes"))),
    Evidence("F", -0.4, "only a restart helps", lambda f: both(f.of("says_restart_helps"), f.any_lock())),
    # G
    Evidence("G", TYPICAL, "the lock is older than its own limit", lambda f: f.overdue()),
    Evidence("G", TYPICAL, "the lock is overdue and only reported", lambda f: f.reasons("hold-exceeded", "too-old")),
    Evidence("G", LIKELY, "a stuck session is seen and not freed", lambda f: f.of("stuck_session", "stalled_session")),
    Evidence("G", LIKELY, "recovery looked at a stuck session and left it as it was", lambda f: f.of("recovery_skipped")),
    Evidence("G", FITS, "recovery released nothing", lambda f: f.of("stuck_recovery", where=_released_nothing)),
    # H
    Evidence("H", TYPICAL, "the watchdog took the lock from a holder that works on", lambda f: f.of("force_release")),
    Evidence("H", TYPICAL, "a lock was called stale and was gone", lambda f: f.of("file_lock", where=_stale)),
    # I
    Evidence("I", TYPICAL, "the session file changed while the prompt ran", lambda f: f.of("takeover")),
    Evidence("I", TYPICAL, "the session file changed while the prompts of a chain ran",
             lambda f: f.of("summary", where=lambda e: any("takeover" in c.error.lower() or "changed while" in c.error for c in e.candidates))),
    Evidence("I", LIKELY, "the session changed while the prompt ran", lambda f: f.of("changed_during_prompt")),
    # J
    Evidence("J", LIKELY, "a sub-agent's result was given up", lambda f: f.of("announce", where=lambda e: e.data["what"].lower() != "failed")),
    Evidence("J", LIKELY, "a tool's result was missing and was made up", lambda f: without(f.of("synthetic_result"), f.locked())),
    Evidence("J", 0.5, "the report says that messages or answers are lost", lambda f: both(f.of("says_lost"), f.lock() or f.of("takeover", "revision_conflict", "starting_conflict", "claim_rebound"))),
    Evidence("J", LIKELY, "an answer or a message was lost at a restart or a fallback",
             lambda f: without(both(f.of("says_lost"), f.ours(f.of("says_restart_window", "says_fell_back", "banner_fresh", "draining"))), f.any_lock())),
    # K
    Evidence("K", LIKELY, "the client gave up, and the report says that the work was done twice", lambda f: both(_gave_up(f), f.of("says_twice"))),
    Evidence("K", 0.75, "the turn was started a second time while the first run went on", lambda f: f.of("banner_fresh")),
    Evidence("K", LIKELY, "the work was done twice around a fallback", lambda f: both(f.fallback(), f.of("says_twice"))),
    Evidence("K", LIKELY, "the work was done twice around a restart", lambda f: without(f.ours(both(f.of("says_restart_window", "resumed", "says_killed"), f.of("says_twice"))), f.any_lock())),
    Evidence("K", 0.5, "the report says that the work was done twice", lambda f: without(f.ours(both(f.of("says_twice"), f.of("says_run"))), f.any_lock(), f.of("takeover", "revision_conflict", "starting_conflict"))),
    # L
    Evidence("L", TYPICAL, "the gateway refused the client, and the fallback ran all the same", lambda f: both(f.of("banner_same", "banner_failed", "banner_fresh"), f.gateway_gone())),
    Evidence("L", LIKELY, "the fallback's answer hides that the gateway did not answer", lambda f: [] if f.failed_visibly() else f.of("banner_fresh")),
    Evidence("L", FITS, "the fallback hides that the gateway was gone",
             lambda f: [] if f.failed_visibly() or f.locked() or f.of("takeover") or f.gateway_gone() else both(f.fell_back(), f.of("gateway_closed"))),
    Evidence("L", LIKELY, "the report says that the gateway refused and that the turn ran embedded", lambda f: both(f.of("says_fell_back"), f.of("says_refused", "unauthorized", "refused", "gateway_refused", "says_gateway_down"))),
    Evidence("L", FITS, "the report says that a fallback went unseen", lambda f: without(both(f.fallback(), f.of("says_hidden")), f.locked())),
    Evidence("L", FITS, "a fallback ran, and the exit status is 0", lambda f: without(both(f.fallback(), f.of("exit_status", where=lambda e: e.data["status"] == "0")), f.locked())),
    # M
    Evidence("M", TYPICAL, "a file operation of the session failed", lambda f: f.of("file_system")),
    # N
    Evidence("N", TYPICAL, "two commits of one session collided", lambda f: f.of("revision_conflict")),
    Evidence("N", 0.9, "two turns of one session started at once", lambda f: f.of("starting_conflict")),
    Evidence("N", LIKELY, "the store says that the session has a writer", lambda f: f.of("active_writer", "lease_held", "claim_rebound")),
    Evidence("N", WEAK, "the session database was busy", lambda f: f.busy_database()),
    Evidence("N", -0.5, "no run is active: it is a claim that stayed", lambda f: both(f.of("no_active_run"), f.of("starting_conflict", "active_claim"))),
    # O
    Evidence("O", 0.85, "a claim of a turn is in the way", lambda f: f.of("active_claim")),
    Evidence("O", LIKELY, "a claim is in the way and no run is active", lambda f: both(f.of("no_active_run", "says_idle"), f.of("active_claim", "starting_conflict"))),
    Evidence("O", FITS, "it stays after a restart", lambda f: both(f.of("says_restart_no_help"), f.of("active_claim", "starting_conflict", "active_writer"))),
    # P
    Evidence("P", 0.9, "maintenance or a migration has the database", lambda f: f.of("maintenance")),
    Evidence("P", 0.9, "the lease of the state was lost or not to be had", lambda f: f.of("state_lease")),
    # Q
    Evidence("Q", 0.85, "the event loop stood while the store worked", lambda f: both(f.of("loop_stall"), f.of("slow_store"))),
    Evidence("Q", 0.9, "a busy database became a refusal", lambda f: both(f.of("exec_denied"), f.of("busy_database"))),
    Evidence("Q", FITS, "the event loop stood while the database was busy", lambda f: both(f.of("loop_stall"), f.busy_database())),
    Evidence("Q", 0.7, "everything stood, sessions that had nothing to do with it too", lambda f: f.ours(both(f.of("says_all_stop"), f.of("busy_database", "slow_store", "loop_stall")))),
    Evidence("Q", WEAK, "a call of the store was slow", lambda f: f.of("slow_store")),
    # R
    Evidence("R", FITS, "a turn was done twice around a restart", lambda f: f.ours(both(f.of("says_restart_window", "resumed"), f.of("says_twice")))),
    Evidence("R", FITS, "an answer or a message was lost at a restart", lambda f: f.ours(both(f.of("says_restart_window", "draining"), f.of("says_lost")))),
    Evidence("R", 0.5, "the gateway drained, or resumed an interrupted turn", lambda f: f.of("resumed", "draining")),
    Evidence("R", -0.8, "a lock or a conflict explains it", lambda f: f.any_lock() or f.of("takeover", "revision_conflict", "starting_conflict", "active_claim", "busy_database")),
    Evidence("R", -0.5, "the client's fallback explains it", lambda f: f.fallback()),
    # S
    Evidence("S", 0.9, "the state directory is in use by a live gateway", lambda f: f.of("state_dir")),
    Evidence("S", 0.7, "a second process that has a right to run is refused", lambda f: both(f.of("gateway_running", "gateway_start"), f.of("says_second_needed"))),
    Evidence("S", 0.5, "the gateway that has the lock lives", lambda f: both(f.of("gateway_running", "gateway_start", "hermes_gateway"), f.owner("alive"))),
    Evidence("S", 0.35, "a gateway was refused because one has the lock", lambda f: f.of("gateway_running", "gateway_start")),
    Evidence("S", -0.8, "the one that has the lock is gone", lambda f: f.owner("dead") or f.owner("other")),
    # other runtimes
    *(Evidence(letter, 0.7, "the nearest class to this message of another runtime", lambda f, letter=letter: f.of_runtime(letter, 0)) for letter in CLASSES),  # type: ignore[misc]
    *(Evidence(letter, 0.5, "the next class to this message of another runtime", lambda f, letter=letter: f.of_runtime(letter, 1)) for letter in CLASSES),  # type: ignore[misc]
)  # fmt: skip

_OPEN: dict[str, str] = {"1": "CFE", "2": "EF"}
_OPEN_ELSE = "CEF"


def findings_of(facts: Facts) -> tuple[Finding, ...]:
    """The classes that the text speaks for, the most certain first, with what speaks for and against each."""
    weighed: dict[str, list[Weighed]] = {}
    for evidence in EVIDENCE:
        shown_by = evidence.shown_by(facts)
        if not shown_by:
            continue
        weight = evidence.weight
        if weight > 0 and all(event.mention and not event.kind.startswith("says_") for event in shown_by):
            weight *= MENTIONED
        lines = tuple(sorted({event.line for event in shown_by}))[:8]
        weighed.setdefault(evidence.letter, []).append(
            Weighed(weight=round(weight, 2), says=evidence.says, lines=lines)
        )
    found = [_finding(letter, rows) for letter, rows in weighed.items() if any(row.weight > 0 for row in rows)]
    return tuple(sorted((finding for finding in found if finding.confidence >= NAMED), key=_order))


def _order(finding: Finding) -> tuple[float, int]:
    return -finding.confidence, PRECEDENCE.index(finding.letter)


def _finding(letter: str, rows: list[Weighed]) -> Finding:
    rows = sorted(rows, key=lambda row: -row.weight)
    speaks = 1 - prod(1 - row.weight for row in rows if row.weight > 0)
    confidence = round(speaks * prod(1 + row.weight for row in rows if row.weight < 0), 2)
    return Finding(letter=letter, confidence=confidence, why=rows[0].says, lines=rows[0].lines, evidence=tuple(rows))


def settled(
    findings: Sequence[Finding], facts: Facts, eras: Sequence[str]
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """The findings that stand, and between which classes the question is open why a lock was held.

    Rivals that are near each other and none of which is sure are no findings: they are what it is open between.
    """
    rivals = [finding for finding in findings if finding.letter in RIVALS]
    best = max((finding.confidence for finding in rivals), default=0.0)
    if best >= SURE:
        return tuple(findings), ()
    near = [finding for finding in rivals if finding.confidence >= best - NEAR]
    if len(near) == 1:
        return tuple(findings), ()
    if len(near) > 1:
        left = tuple(finding for finding in findings if finding not in near)
        names = tuple(finding.letter for finding in near)
        more = tuple(letter for letter in possible_of(facts, left, eras) if letter not in names)
        return left, (*names, *more) if facts.locked() else names
    return tuple(findings), possible_of(facts, findings, eras)


def possible_of(facts: Facts, findings: Sequence[Finding], eras: Sequence[str]) -> tuple[str, ...]:
    """Where a session was locked and nothing in the text says why: the classes that such texts turned out to be."""
    if not facts.locked() or any(finding.letter in "A" + RIVALS for finding in findings):
        return ()
    letters = _OPEN.get(eras[0] if eras else "", _OPEN_ELSE)
    if facts.owner("alive"):
        letters = letters.replace("C", "")
    if facts.owner("dead"):
        letters = "C"
    return tuple(letters)
