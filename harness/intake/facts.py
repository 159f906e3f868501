"""Questions to an incident; each answers with the events that say yes. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from .incident import Incident
from .owners import owners_of
from .report import Event

__all__ = ["Facts", "both", "is_lock", "without"]

#: Upstream's longest default hold (a 15 min run and two minutes of grace): older than this is overdue by any rule.
LONGEST_HOLD_MS = 1_020_000
_LOCK = re.compile(r"session file (?:locked|changed while)|file lock stale|TakeoverError|WriteLock", re.IGNORECASE)


def is_lock(text: str) -> bool:
    """Is this the text of a session lock's error?"""
    return _LOCK.search(text) is not None


def both(first: Sequence[Event], second: Sequence[Event]) -> list[Event]:
    """The events of both, if both have any."""
    return [*first, *second] if first and second else []


def without(events: Sequence[Event], *others: Sequence[Event]) -> list[Event]:
    """The events, if none of the others has any."""
    return [] if any(others) else list(events)


class Facts:
    """What an incident's events add up to."""

    def __init__(self, incident: Incident, *, ours: bool = True) -> None:
        self.incident = incident
        self.events = incident.events
        self._ours = ours
        self._of: dict[str, list[Event]] = {}
        for event in self.events:
            self._of.setdefault(event.kind, []).append(event)

    def of(self, *kinds: str, where: Callable[[Event], bool] | None = None) -> list[Event]:
        """The events of these kinds, in order."""
        found = [event for kind in kinds for event in self._of.get(kind, ())]
        if where is not None:
            found = [event for event in found if where(event)]
        return sorted(found, key=lambda event: event.line) if len(kinds) > 1 else found

    def ours(self, events: Sequence[Event]) -> list[Event]:
        """The events, if the text speaks of OpenClaw, or of a runtime whose words are read."""
        return list(events) if self._ours else []

    # ---------------------------------------------------------------- the lock

    def locked(self) -> list[Event]:
        """Session lock errors, in a message of their own or in a summary; not those of a failed announce."""
        return [
            e
            for e in self.events
            if e.kind in ("locked", "lock_error_code", "copilot_inuse")
            or (e.kind == "summary" and any(is_lock(c.error) for c in e.candidates))
        ]

    def lock(self) -> list[Event]:
        """Anything that says that a session's lock is there."""
        return self.locked() or self.of(
            "lock_stale", "file_lock", "store_lock", "lock_body", "doctor_lock", "claude_history"
        )

    def own(self) -> list[Event]:
        """Messages about a lock of the program that is no session's."""
        return [event for event in self.events if event.data.get("own")]

    def any_lock(self) -> list[Event]:
        return self.lock() or self.own()

    def blamed(self) -> list[Event]:
        """Lock or takeover errors that were counted against a model."""
        steps = [
            e
            for e in self.events
            if "decision" in e.within
            and e.session_lock
            and e.data.get("decision", "candidate_failed") == "candidate_failed"
        ]
        return steps + [e for e in self.of("summary") if any(is_lock(c.error) for c in e.candidates)]

    # ---------------------------------------------------------------- its owner

    def owner(self, state: str) -> list[Event]:
        """What proves or says that the lock's owner is alive, dead, or another program's pid by now."""
        pids = {lock.pid for lock in self.incident.locks} | {event.number("pid") for event in self.own()}
        lines = {
            line
            for pid, (told, _, line) in owners_of(self.events).items()
            if told == state and (pid is None or pid in pids or not pids - {None})
        }
        kinds = ("owner", "says_dead", "says_recycled", "says_owner_lives")
        found = [event for event in self.events if event.kind in kinds and event.line in lines]
        if state in ("alive", "dead"):
            said = "true" if state == "alive" else "false"
            found += [
                e
                for e in self.events
                if e.data.get("alive", "").lower() == said or (e.data.get("state") == state and e.kind == "doctor_lock")
            ]
        if state == "alive" and self.owner("other"):
            return []
        return found if found and self.any_lock() else []

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

    def overdue(self) -> list[Event]:
        """Locks that are older than their own limit."""
        limits = [e.number("maxHoldMs") or e.number("max") for e in self.events]
        limit = min((n for n in limits if n), default=LONGEST_HOLD_MS)
        return [e for e in self.of("locked", "lock_stale") if (e.number("age") or 0) > limit]

    def reasons(self, *names: str) -> list[Event]:
        """Stale reasons that some message or doctor gives."""
        wanted = re.compile("|".join(map(re.escape, names)))
        return [e for e in self.events if e.data.get("reasons") and wanted.search(e.data["reasons"])]

    # ---------------------------------------------------------------- the run around it

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

    def fell_back(self) -> list[Event]:
        """The client's banner of a fallback on the same session."""
        return self.of("banner_same", "banner_failed")

    def fallback(self) -> list[Event]:
        """Any sign of a fallback, the reporter's words among them."""
        return self.of("banner_same", "banner_failed", "banner_fresh", "says_fell_back")

    def gateway_gone(self) -> list[Event]:
        """No run was accepted: the gateway was not there, or refused the client."""
        return self.of("unauthorized", "refused", "gateway_refused") or self.of(
            "gateway_closed", where=lambda e: e.data.get("close") in ("1008", "1002")
        )

    def failed_visibly(self) -> bool:
        """Did the fallback itself end in an error that the user saw?"""
        return bool(self.of("summary")) or any("reply_failed" in e.within for e in self.events)

    def busy_database(self) -> list[Event]:
        """A busy database of OpenClaw's or of a runtime that the text names."""
        return self.of("busy_database", where=lambda e: e.data.get("ours") == "yes" or bool(e.data.get("runtime")))

    def of_runtime(self, letter: str, place: int) -> list[Event]:
        """Messages of other runtimes that are nearest to this class."""
        return [e for e in self.events if e.data.get("means", "")[place : place + 1] == letter]
