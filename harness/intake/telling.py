"""An incident in words and lists: cause, consequences, timers, eras, other locks, what it is instead. Pure."""

from __future__ import annotations

from .events import stated_wait
from .incident import Incident
from .owners import owners_of
from .private import shown
from .report import Finding, NotOurs, OtherLock

__all__ = [
    "cause",
    "consequences",
    "counted",
    "denials",
    "eras_of",
    "look_alikes",
    "not_ours",
    "other_locks",
    "runtimes_of",
    "timers_of",
]


def counted(number: int, one: str, many: str) -> str:
    return f"1 {one}" if number == 1 else f"{number} {many}"


def denials(incident: Incident) -> list[str]:
    """What the text says is not there."""
    told = {(event.line, shown(event.text, 70)) for event in incident.events if event.kind == "denied"}
    return [f"line {line} says that this message is not there: {text}" for line, text in sorted(told)[:4]]


def other_locks(incident: Incident) -> tuple[OtherLock, ...]:
    """Locks of the program that are no session's, each once, with what the text says of the owner."""
    owners = owners_of(incident.events)
    found: dict[str, OtherLock] = {}
    for event in incident.events:
        whose = event.data.get("own", "")
        if not whose:
            continue
        old = found.get(whose, OtherLock(whose=whose))
        wait_ms, pid = event.number("ms"), event.number("pid") or old.pid
        said = ("alive", "the message says so", 0) if event.data.get("alive") == "true" else ("", "", 0)
        state, why, _ = owners.get(pid) or owners.get(None) or said
        found[whose] = OtherLock(
            whose=whose, pid=pid, alive=None if not state else state == "alive",
            owner=state if state == "other" else "",
            why=why, waited_s=old.waited_s + ((wait_ms / 1000,) if wait_ms else ()), lines=(*old.lines, event.line),
        )  # fmt: skip
    return tuple(found.values())


def runtimes_of(incident: Incident) -> tuple[str, ...]:
    """Other programs whose own words the text has."""
    return tuple(dict.fromkeys(e.data["runtime"] for e in incident.events if e.data.get("runtime")))


def not_ours(incident: Incident) -> NotOurs | None:
    """What the text is about instead; None where it has errors of ours that no class explains."""
    models = [event for event in incident.events if event.kind == "summary" and not any(c.lock for c in incident.chain)]
    if any(event.error and not event.not_lock and event not in models for event in incident.events):
        return None
    if models:
        lines = tuple(event.line for event in models[:8])
        return NotOurs(kind="provider", why="models that failed, none of them on a lock", lines=lines)
    for event in incident.events:
        if event.kind in ("provider", "foreign_lock"):
            kind = "provider" if event.kind == "provider" else "other_program"
            same = tuple(e.line for e in incident.events if e.data.get("says") == event.data["says"])
            return NotOurs(kind=kind, why=event.data["says"], lines=same[:8])
    busy = tuple(event.line for event in incident.events if event.kind == "busy_database")
    if busy:
        return NotOurs(kind="other_program", why="another program's database", lines=busy[:8])
    denied = tuple(event.line for event in incident.events if event.kind == "denied")
    if denied:
        return NotOurs(kind="denied", why="the text says that there is no such message", lines=denied[:8])
    return NotOurs(kind="nothing", why="no message of a session's lock in it")


def eras_of(incident: Incident) -> tuple[str, ...]:
    """The eras that the messages belong to, the most frequent first."""
    counts: dict[str, int] = {}
    for event in incident.events:
        era = event.era
        if event.kind == "locked" and (wait := event.number("wait_ms")):
            era = "1" if wait <= 10_000 else "2"
        if "alive" in event.data:
            era = "2"
        if era in ("1", "2", "3", "4"):
            counts[era] = counts.get(era, 0) + 1
    for candidate in incident.chain:
        if candidate.lock and (told := stated_wait(candidate.error)):
            era = "1" if int(told["wait_ms"]) <= 10_000 else "2"
            counts[era] = counts.get(era, 0) + 1
    return tuple(sorted(counts, key=lambda era: (-counts[era], era)))


_TIMER_OF: tuple[tuple[str, str, str], ...] = (
    ("gateway_timeout", "ms", "client_timeout_s"),
    ("locked", "wait_ms", "lock_wait_s"),
    ("run_timeout", "ms", "run_timeout_s"),
    ("abort_unsettled", "ms", "abort_settle_s"),
    ("force_release", "max", "max_hold_s"),
    ("force_release", "held", "held_s"),
    ("lock_body", "maxHoldMs", "max_hold_s"),
    ("compaction", "duration", "compaction_s"),
    ("gateway_running", "ms", "gateway_lock_wait_s"),
    ("gateway_start", "ms", "gateway_start_wait_s"),
    ("deps_lock", "ms", "deps_lock_wait_s"),
)


def timers_of(stated: dict[str, float], incident: Incident) -> dict[str, float]:
    """What the configuration says, and what the messages say; of several values the most frequent one."""
    found = dict(stated)
    for kind, key, name in _TIMER_OF:
        values: dict[int, int] = {}
        for event in incident.events:
            value = event.number(key) if event.kind == kind and "announce" not in event.within else None
            if value is not None:
                values[value] = values.get(value, 0) + 1
        if kind == "locked":
            for candidate in incident.chain:
                for wait in stated_wait(candidate.error).values():
                    values[int(wait)] = values.get(int(wait), 0) + 1
        if values and name not in found:
            found[name] = max(values, key=lambda value: (values[value], value)) / 1000
    ages = [e.number("age_s") or 0 for e in incident.events if e.kind in ("stuck_session", "stalled_session")]
    if ages:
        found["stuck_s"] = float(max(ages))
    return dict(sorted(found.items()))


_PLAIN = {
    "locked": "the session was locked for others", "lock_error_code": "the session was locked for others",
    "summary": "every model of the chain was counted as failed", "takeover": "the takeover fence ended a run",
    "announce": "a sub-agent's result could not be handed over", "compaction": "a compaction was under way or failed",
    "synthetic_result": "a tool result was missing", "run_timeout": "a run reached its time limit",
    "abort_unsettled": "an aborted run did not settle", "banner_same": "the command line ran the turn itself",
    "banner_failed": "the command line ran the turn itself",
    "banner_fresh": "the command line ran the turn itself, in a new session",
    "gateway_timeout": "the client gave up waiting for the gateway",
    "gateway_closed": "the connection to the gateway was lost",
    "stuck_session": "a session was stuck", "stuck_recovery": "recovery was tried",
    "force_release": "the watchdog took a lock away", "lock_stale": "a stale lock was reported",
    "file_lock": "a lock was called stale", "revision_conflict": "two commits collided",
    "busy_database": "the database was busy", "file_system": "a file operation failed",
}  # fmt: skip


def cause(
    findings: tuple[Finding, ...], possible: tuple[str, ...], incident: Incident, not_ours: NotOurs | None
) -> str:
    """The incident in one sentence."""
    if findings:
        return findings[0].why
    if possible:
        return f"a lock was held, and the text does not say why: open between {' and '.join(possible)}"
    if not_ours is not None:
        return f"no lock incident: {not_ours.why}"
    return "no error of a session lock"


def consequences(incident: Incident) -> tuple[str, ...]:
    """What else happened, in order, each once."""
    told: dict[str, None] = {}
    for event in incident.events:
        if event.kind in _PLAIN:
            told[_PLAIN[event.kind]] = None
    return tuple(told)


def look_alikes(incident: Incident) -> tuple[str, ...]:
    """Messages that sound like a lock error and are none, and are no error of the incident either."""
    told: dict[str, None] = {}
    for event in incident.events:
        if event.not_lock and event.kind in (
            "aborted", "gateway_closed", "busy_database", "foreign_lock", "idle_timeout", "unauthorized", "refused",
            "model_timeout",
        ):  # fmt: skip
            text = event.error or shown(event.text)
            if text not in incident.errors:
                told[text] = None
    return tuple(told)
