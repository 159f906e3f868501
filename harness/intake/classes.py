"""Which of the fourteen classes a text speaks for, and how surely. Pure.

One row per piece of evidence: class, confidence, what it says, and a condition on the incident. A class is named only
for what stands in the text; what fits without being said is ``possible``. The typical errors of the classes are those
of the field reports' catalogue. A class's confidence is that of its best evidence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .incident import Incident
from .report import Event, Finding

#: Upstream's longest default hold (a 15 min run and two minutes of grace): older than this is overdue by any rule.
LONGEST_HOLD_MS = 1_020_000
TYPICAL, LIKELY, FITS, WEAK = 0.95, 0.8, 0.6, 0.4

_ANSWERS = ("says_dead", "says_killed", "says_gateway_down", "says_recycled")


class Facts:
    """Questions to an incident. Each answers with the events that say yes."""

    def __init__(self, incident: Incident) -> None:
        self.incident = incident
        self.events = incident.events

    def of(self, *kinds: str, where: Callable[[Event], bool] = lambda event: True) -> list[Event]:
        return [event for event in self.events if event.kind in kinds and where(event)]

    def locked(self) -> list[Event]:
        """Session lock errors, in a message of their own or in a summary; not those of a failed announce."""
        return [
            e
            for e in self.events
            if e.kind in ("locked", "lock_error_code")
            or (e.kind == "summary" and any(_is_lock(c.error) for c in e.candidates))
        ]

    def blamed(self) -> list[Event]:
        """Lock or takeover errors that were counted against a model."""
        steps = [
            e
            for e in self.events
            if "decision" in e.within
            and e.session_lock
            and e.data.get("decision", "candidate_failed") == "candidate_failed"
        ]
        return steps + [e for e in self.of("summary") if any(_is_lock(c.error) for c in e.candidates)]

    def ran_out(self) -> list[Event]:
        """A run that ended in time, and after it an error of the same session's lock."""
        for place, ended in enumerate(self.events):
            if ended.kind not in ("run_timeout", "abort_unsettled", "session_ended"):
                continue
            session = ended.data.get("session", "")
            for later in self.events[place + 1 :]:
                path = later.data.get("path", "")
                same = not session or not path or "…" in session + path or "..." in session + path or session in path
                if later.kind == "locked" and same:
                    return [ended, later]
        return []

    def born_late(self) -> list[Event]:
        """A lock that was created after the end of the run that is still said to hold it."""
        ends = [e for e in self.of("session_ended", "abort_unsettled") if e.t_ms is not None and e.dated]
        for end in ends:
            for later in self.events:
                age = later.number("age")
                if later.kind == "locked" and later.t_ms is not None and later.dated and age is not None:
                    assert end.t_ms is not None
                    if end.t_ms < later.t_ms - age <= end.t_ms + 60_000:
                        return [end, later]
        return []

    def overdue(self) -> list[Event]:
        """Locks that are older than their own limit."""
        limits = [e.number("maxHoldMs") or e.number("max") for e in self.events]
        limit = min((n for n in limits if n), default=LONGEST_HOLD_MS)
        return [e for e in self.of("locked", "lock_stale") if (e.number("age") or 0) > limit]

    def reasons(self, *names: str) -> list[Event]:
        """Stale reasons that some message or doctor gives."""
        wanted = re.compile("|".join(map(re.escape, names)))
        return [e for e in self.events if e.data.get("reasons") and wanted.search(e.data["reasons"])]

    def fell_back(self) -> list[Event]:
        return self.of("banner_same", "banner_failed")

    def idle_owner(self) -> list[Event]:
        """Locks of live owners that are older than the wait for them, before anything shows what the owner does."""
        found: list[Event] = []
        for event in self.events:
            if event.kind in ("compaction", "announce") and event.data.get("how", "").lower() != "aborted":
                break
            older = (event.number("age") or 0) > (event.number("wait_ms") or 60_000)
            if event.kind == "locked" and event.data.get("alive") == "true" and older:
                found.append(event)
        return found

    def failed_visibly(self) -> bool:
        """Did the fallback itself end in an error that the user saw?"""
        return bool(self.of("summary")) or any("reply_failed" in e.within for e in self.events)


def _is_lock(text: str) -> bool:
    return (
        re.search(r"session file (?:locked|changed while)|file lock stale|TakeoverError|WriteLock", text, re.IGNORECASE)
        is not None
    )


Condition = Callable[[Facts], Sequence[Event]]


@dataclass(frozen=True)
class Evidence:
    """One way in which a text speaks for a class."""

    letter: str
    confidence: float
    says: str
    shown_by: Condition


def _both(first: Sequence[Event], second: Sequence[Event]) -> list[Event]:
    return [*first, *second] if first and second else []


def _gateway_gone(f: Facts) -> list[Event]:
    """Nobody was there, or nobody let us in: no run was accepted."""
    return f.of("unauthorized", "gateway_refused") or f.of(
        "gateway_closed", where=lambda e: e.data.get("close") in ("1008", "1002")
    )


def _without(events: Sequence[Event], *others: Sequence[Event]) -> list[Event]:
    return [] if any(others) else list(events)


EVIDENCE: tuple[Evidence, ...] = (
    # A
    Evidence("A", TYPICAL, "the fallback ran on the same session and found it locked",
             lambda f: _both(f.fell_back(), f.locked())),
    Evidence("A", TYPICAL, "the fallback ran on the same session and was thrown out by the fence",
             lambda f: _both(f.fell_back(), f.of("takeover"))),
    Evidence("A", FITS, "the fallback ran on the same session while the gateway's run may have gone on",
             lambda f: _without(_both(f.fell_back(), f.of("gateway_timeout", "gateway_closed")), _gateway_gone(f))),
    Evidence("A", WEAK, "the command line fell back although the gateway had not been asked properly",
             lambda f: _both(f.fell_back(), _gateway_gone(f))),
    Evidence("A", FITS, "the fallback started while the gateway's run went on", lambda f: f.of("banner_fresh")),
    # B
    Evidence("B", TYPICAL, "a lock error stands as a model's failure", lambda f: f.blamed()),
    Evidence("B", FITS, "a lock error ended a run as a failover error",
             lambda f: f.of("locked", where=lambda e: e.data.get("name", "").startswith("Failover"))),
    # C
    Evidence("C", TYPICAL, "the lock's owner is dead",
             lambda f: f.of("locked", "doctor_lock", "lock_stale", where=lambda e: e.data.get("alive") == "false"
                            or e.data.get("state") == "dead") or f.reasons("dead-pid")),
    Evidence("C", LIKELY, "the report says that the owner is dead",
             lambda f: _both(f.of("says_dead"), f.locked() or f.of("lock_body", "doctor_lock", "lock_stale"))),
    Evidence("C", FITS, "the report speaks of a killed process, and the lock is still there",
             lambda f: _without(_both(f.of("says_killed"), f.locked() or f.of("lock_body", "lock_stale")),
                                f.fell_back(),
                                f.ran_out())),
    Evidence("C", FITS, "a store lock that nobody gave back", lambda f: f.of("store_lock")),
    Evidence("C", WEAK, "the lock file names no owner", lambda f: f.reasons("missing-pid", "invalid-createdAt")),
    # D
    Evidence("D", TYPICAL, "the pid belongs to another process now",
             lambda f: f.reasons("recycled-pid", "non-openclaw-owner", "boot-id-mismatch")),
    Evidence("D", LIKELY, "the report says that the pid was used again",
             lambda f: _both(f.of("says_recycled"), f.locked() or f.of("lock_body", "doctor_lock", "lock_stale"))),
    Evidence("D", LIKELY, "the gateway is down, and doctor calls its locks' owner alive",
             lambda f: _both(f.of("says_gateway_down"),
                             f.of("doctor_lock", where=lambda e: e.data["state"] == "alive"))),
    Evidence("D", WEAK, "doctor keeps locks because some process has their pid",
             lambda f: _without(f.of("doctor_lock", where=lambda e: e.data["state"] == "alive"
                                     and e.data.get("stale") != "yes"),
                                f.of("says_gateway_down"))),
    Evidence("D", FITS, "an exec lock of an owner before us fails closed", lambda f: f.of("exec_denied")),
    # E
    Evidence("E", TYPICAL, "an aborted run did not settle, and the session stayed locked",
             lambda f: _both(f.of("abort_unsettled"), f.locked())),
    Evidence("E", LIKELY, "an aborted run did not settle", lambda f: f.of("abort_unsettled")),
    Evidence("E", TYPICAL, "a run ended and its session stayed locked",
             lambda f: _without(f.ran_out(), f.fell_back(), f.of("banner_fresh"), f.of("gateway_timeout"))),
    Evidence("E", TYPICAL, "a lock was born after its run had ended", lambda f: f.born_late()),
    Evidence("E", TYPICAL, "the lock is this process's own, and the process does not know it",
             lambda f: f.reasons("orphan-self-pid")),
    Evidence("E", LIKELY, "the session stayed locked after a tool result was lost",
             lambda f: _both(f.of("synthetic_result"), f.locked())),
    Evidence("E", LIKELY, "an interrupted compaction left the session locked",
             lambda f: _both(f.of("compaction", where=lambda e: e.data.get("how", "").lower() == "aborted"),
                             f.locked())),
    Evidence("E", LIKELY, "recovery aborted a run and released nothing",
             lambda f: f.of("stuck_recovery", where=lambda e: e.data.get("released") == "0")),
    Evidence("E", FITS, "the owner lives, is seen doing nothing, and has held the lock for longer than others wait",
             lambda f: _without(f.idle_owner(), f.fell_back())),
    Evidence("E", FITS, "the lease is held by the very process that asks",
             lambda f: f.of("lease_held", where=lambda e: e.data["who"] == "this process")),
    Evidence("E", LIKELY, "the lock file could not be removed",
             lambda f: f.of("file_system", where=lambda e: e.data["call"].lower() in ("unlink", "rmdir", "close")
                            and ".lock" in e.data.get("path", ""))),
    # F
    Evidence("F", LIKELY, "a compaction held the session for longer than others waited",
             lambda f: _both(f.of("compaction"), f.locked())),
    Evidence("F", LIKELY, "a result could not be handed over while the session was locked",
             lambda f: _both(f.of("announce"), f.locked())),
    Evidence("F", FITS, "a lane waited as long as the lock's limit",
             lambda f: _without(
                 [e for e in f.of("locked") if e.data.get("duration") and "decision" not in e.within
                  and _near(e.number("duration"), e.number("wait_ms"))],
                 f.fell_back(), f.ran_out(), f.of("abort_unsettled"), f.blamed(), f.of("says_dead", "says_killed"),
                 f.of("banner_fresh"), f.overdue(), f.of("synthetic_result"))),
    Evidence("F", WEAK, "the holder had held the lock for longer than its limit", lambda f: f.of("force_release")),
    # G
    Evidence("G", TYPICAL, "the lock is older than its own limit", lambda f: f.overdue()),
    Evidence("G", TYPICAL, "the lock is overdue and only reported", lambda f: f.reasons("hold-exceeded", "too-old")),
    Evidence("G", LIKELY, "a stuck session is seen and not freed", lambda f: f.of("stuck_session")),
    Evidence("G", FITS, "recovery released nothing",
             lambda f: f.of("stuck_recovery", where=lambda e: e.data.get("released") == "0")),
    # H
    Evidence("H", TYPICAL, "the watchdog took the lock from a holder that works on", lambda f: f.of("force_release")),
    Evidence("H", TYPICAL, "a lock was called stale and was gone",
             lambda f: f.of("file_lock", where=lambda e: e.data["state"].lower() == "stale")),
    # I
    Evidence("I", TYPICAL, "the session file changed while the prompt ran", lambda f: f.of("takeover")),
    Evidence("I", TYPICAL, "the session file changed while the prompts of a chain ran",
             lambda f: f.of("summary", where=lambda e: any("takeover" in c.error.lower() or "changed while" in c.error
                                                           for c in e.candidates))),
    Evidence("I", LIKELY, "the session changed while the prompt ran", lambda f: f.of("changed_during_prompt")),
    # J
    Evidence("J", LIKELY, "a sub-agent's result was given up",
             lambda f: f.of("announce", where=lambda e: e.data["what"].lower() != "failed")),
    Evidence("J", LIKELY, "a tool's result was missing and was made up",
             lambda f: _without(f.of("synthetic_result"), f.locked())),
    # K
    Evidence("K", LIKELY, "the client gave up, and the report says that the work was done twice",
             lambda f: _both(f.of("gateway_timeout", "gateway_closed", "request_timeout", "banner_fresh"),
                             f.of("says_twice"))),
    Evidence("K", 0.75, "the turn was started a second time while the first run went on",
             lambda f: f.of("banner_fresh")),
    # L
    Evidence("L", TYPICAL, "the gateway refused the client, and the fallback ran all the same",
             lambda f: _both(f.of("banner_same", "banner_failed", "banner_fresh"), _gateway_gone(f))),
    Evidence("L", LIKELY, "the fallback's answer hides that the gateway did not answer",
             lambda f: [] if f.failed_visibly() else f.of("banner_fresh")),
    Evidence("L", FITS, "the fallback hides that the gateway was gone",
             lambda f: [] if f.failed_visibly() or f.locked() or f.of("takeover") or _gateway_gone(f)
             else _both(f.of("banner_failed", "banner_same"), f.of("gateway_closed"))),
    # M
    Evidence("M", TYPICAL, "a file operation of the session failed", lambda f: f.of("file_system")),
    # N
    Evidence("N", TYPICAL, "two commits of one session collided", lambda f: f.of("revision_conflict")),
    Evidence("N", LIKELY, "the store says that the session has a writer",
             lambda f: f.of("active_writer", "lease_held")),
    Evidence("N", WEAK, "the session database was busy",
             lambda f: f.of("busy_database", where=lambda e: e.data.get("ours") == "yes")),
)  # fmt: skip

_ERA_GUESS: dict[str, tuple[str, ...]] = {"1": ("C", "F", "E"), "2": ("E", "F")}


def _near(duration_ms: int | None, wait_ms: int | None) -> bool:
    return duration_ms is not None and wait_ms is not None and 0.9 * wait_ms <= duration_ms <= 1.3 * wait_ms


def findings_of(incident: Incident) -> tuple[Finding, ...]:
    """The classes that the text speaks for, the most certain first."""
    facts = Facts(incident)
    best: dict[str, Finding] = {}
    for evidence in EVIDENCE:
        shown_by = evidence.shown_by(facts)
        if shown_by and (evidence.letter not in best or best[evidence.letter].confidence < evidence.confidence):
            lines = tuple(sorted({event.line for event in shown_by}))[:8]
            best[evidence.letter] = Finding(
                letter=evidence.letter, confidence=evidence.confidence, why=evidence.says, lines=lines
            )
    return tuple(sorted(best.values(), key=lambda finding: (-finding.confidence, finding.letter)))


def possible_of(incident: Incident, findings: Sequence[Finding], eras: Sequence[str]) -> tuple[str, ...]:
    """Where a session was locked and nothing in the text says why: the classes that such texts turned out to be."""
    if findings or not Facts(incident).locked():
        return ()
    return _ERA_GUESS.get(eras[0] if eras else "", ("C", "E", "F"))
