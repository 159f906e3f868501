"""From single messages to one incident: order, lane twins, repeated quotes, waits, locks, chain. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from lockjaw.clock import iso, parse_iso

from .events import canonical, normalised_text
from .patterns import CONTAINERS, ROWS, Row
from .private import file_shown, shown
from .report import Candidate, Event, LockSeen
from .timestamps import DAY_MS

TWIN_MS = 250  # two lanes of one run log its failure 1 to 20 ms apart; a loaded machine needs more
SAME_WAIT_MS = 2_000  # the messages that report one lock wait follow each other at once
_BY_KIND: dict[str, Row] = {row.kind: row for row in (*ROWS, *CONTAINERS)}
_LOCK_KINDS = (
    "locked",
    "lock_error_code",
    "lock_stale",
    "file_lock",
    "store_lock",
    "takeover",
    "changed_during_prompt",
)
#: Kinds that, quoted twice without a time, are one message.
_QUOTED_ONCE = frozenset(
    ("summary", "banner_same", "banner_fresh", "banner_failed", "gateway_timeout", "doctor_lock", "lock_body")
)


@dataclass
class Incident:
    """The messages in order, each once, and what they add up to."""

    events: tuple[Event, ...] = ()
    errors: tuple[str, ...] = ()
    chain: tuple[Candidate, ...] = ()
    locks: tuple[LockSeen, ...] = ()
    twins: int = 0
    repeated: int = 0
    notes: list[str] = field(default_factory=list)


def incident_of(events: Sequence[Event]) -> Incident:
    """Everything that depends on more than one message."""
    made = Incident()
    ordered = in_order(events, made)
    usual = _usual(ordered)
    ordered = [msgspec.structs.replace(event, error=_error(event, usual)) for event in ordered]
    ordered = _told_once(ordered, made)
    ordered = _without_twins(ordered, made)
    made.chain = _chain(ordered, usual, made)
    ordered = [
        msgspec.structs.replace(e, error=_summary_line(e, made.chain, usual)) if e.kind == "summary" else e
        for e in ordered
    ]
    made.events = tuple(ordered)
    made.errors = _errors(ordered)
    made.locks = _locks(ordered)
    return made


# --------------------------------------------------------------------------- order


def in_order(events: Sequence[Event], made: Incident) -> list[Event]:
    """By time where there are times; a message without one keeps its place behind the one before it."""
    stamped = [event for event in events if event.t_ms is not None]
    if len(stamped) < 2:
        return list(events)
    dated = sum(event.dated for event in stamped)
    if 0 < dated < len(stamped):
        return list(events)  # some with a date, some without: they cannot be compared
    keyed: list[tuple[float, int, Event]] = []
    last, turn, before = float("-inf"), 0, None
    for place, event in enumerate(events):
        if event.t_ms is not None:
            if not dated and before is not None and event.t_ms < before - DAY_MS // 2:
                turn += DAY_MS  # past midnight
            before = event.t_ms
            last = event.t_ms + turn
        keyed.append((last, place, event))
    ordered = [event for _, _, event in sorted(keyed, key=lambda item: item[:2])]
    if any(a is not b for a, b in zip(ordered, events, strict=True)):
        made.notes.append("the messages were put into the order of their times")
    return ordered


# --------------------------------------------------------------------------- each message once


def _usual(events: Iterable[Event]) -> dict[str, str]:
    """The values that a text has in most places, for the places that leave them out."""
    waits: dict[str, int] = {}
    for event in events:
        if event.kind == "locked" and "wait_ms" in event.data:
            waits[event.data["wait_ms"]] = waits.get(event.data["wait_ms"], 0) + 1
        for candidate in event.candidates:
            if found := re.search(r"session file locked ?\(timeout (\d{1,12}) ?ms\)", candidate.error):
                waits[found[1]] = waits.get(found[1], 0) + 1
    return {"wait_ms": max(waits, key=lambda wait: (waits[wait], wait))} if waits else {}


def _error(event: Event, usual: dict[str, str]) -> str | None:
    row = _BY_KIND.get(event.kind)
    return canonical(event, row, usual) if row is not None else None


def _told_once(events: list[Event], made: Incident) -> list[Event]:
    """Without what the text says twice: the same record again, or a summary quoted in every section of a form."""
    seen: set[tuple[object, ...]] = set()
    kept: list[Event] = []
    for event in events:
        quoted = event.t_ms is None and event.kind in _QUOTED_ONCE
        if quoted or (event.t_ms is not None and event.kind not in ("says_dead", "says_killed")):
            what = (event.kind, event.text, event.t_ms, event.within, tuple(sorted(event.data.items())))
            if what in seen:
                made.repeated += 1
                continue
            seen.add(what)
        kept.append(event)
    return kept


def _without_twins(events: list[Event], made: Incident) -> list[Event]:
    """One run fails in two lanes, its session's and a global one: one failure, logged twice."""
    mains: dict[tuple[object, ...], list[int]] = {}
    for place, event in enumerate(events):
        if "lane" in event.data and not event.data["lane"].startswith("session:"):
            mains.setdefault(_twin_key(event), []).append(place)
    dropped: set[int] = set()
    twinned: set[int] = set()
    for place, event in enumerate(events):
        if not event.data.get("lane", "").startswith("session:"):
            continue
        near = [
            other
            for other in mains.get(_twin_key(event), [])
            if other not in twinned and abs(_ms(event) - _ms(events[other])) <= TWIN_MS and _close(event, events[other])
        ]
        if near:
            other = min(near, key=lambda other: (abs(_ms(event) - _ms(events[other])), abs(other - place)))
            twinned.add(other)
            dropped.add(place)
    made.twins = len(dropped)
    return [
        msgspec.structs.replace(event, twin=True) if place in twinned else event
        for place, event in enumerate(events)
        if place not in dropped
    ]


def _twin_key(event: Event) -> tuple[object, ...]:
    return event.kind, event.error, event.within, event.data.get("pid"), event.data.get("path")


def _ms(event: Event) -> int:
    return event.number("duration") or 0


def _close(a: Event, b: Event, within_ms: int = SAME_WAIT_MS) -> bool:
    return a.t_ms is None or b.t_ms is None or abs(a.t_ms - b.t_ms) <= within_ms


def _errors(events: list[Event]) -> tuple[str, ...]:
    """The error lines, one for each thing that went wrong.

    One lock wait that runs out is reported by its lane, by the fallback's decision and perhaps by the reply: the
    same text, carried by different messages, one after the other. The same carrier again is another wait.
    """
    lines: list[str] = []
    told: dict[str, tuple[set[str], Event]] = {}
    for event in events:
        if event.error is None or "announce" in event.within:
            continue
        before = told.get(event.error)
        if before is not None and event.carrier not in before[0] and _close(event, before[1]):
            before[0].add(event.carrier)
            continue
        told[event.error] = ({event.carrier}, event)
        lines.append(event.error)
    return tuple(lines)


# --------------------------------------------------------------------------- the chain of models


def error_line(text: str, usual: dict[str, str]) -> tuple[str, bool]:
    """An error's text as it is compared, and whether it is a session lock's."""
    lower = text.lower()
    for row in ROWS:
        if row.canonical is None or row.needle not in lower:
            continue
        match = row.pattern.search(text)
        if match is not None:
            data = {key: value for key, value in match.groupdict().items() if value}
            if wait := re.search(r"timeout (\d{1,12}) ?ms", data.get("in", "")):
                data["wait_ms"] = wait[1]
            event = Event(kind=row.kind, era=row.era, line=0, text="", data=data)
            return canonical(event, row, usual) or normalised_text(text), row.kind in _LOCK_KINDS
    return normalised_text(shown(text)), False


def _chain(events: list[Event], usual: dict[str, str], made: Incident) -> tuple[Candidate, ...]:
    """The candidates in order: of the longest summary, else of the decisions."""
    summaries = sorted((e for e in events if e.kind == "summary"), key=lambda e: -len(e.candidates))
    if summaries:
        told = summaries[0]
        count = told.number("count") or 0
        if count != len(told.candidates):
            made.notes.append(f"line {told.line}: {len(told.candidates)} of the {count} models are shown")
        found = [_known(candidate, usual) for candidate in told.candidates]
        steps = _steps(events, usual)
        if len(steps) >= len(found) and not any(candidate.model for candidate in found):
            return steps[: max(count, len(steps))]
        return tuple(found)
    return _steps(events, usual)


def _steps(events: list[Event], usual: dict[str, str]) -> tuple[Candidate, ...]:
    """The chain that the fallback's decisions tell, without the repetitions of later turns."""
    chain: list[Candidate] = []
    for event in events:
        model = event.data.get("candidate", "")
        if "decision" not in (*event.within, event.kind) or not model:
            continue
        if event.data.get("decision", "candidate_failed") != "candidate_failed":
            continue
        if any(candidate.model == model for candidate in chain):
            continue
        detail = event.data.get("detail", "")
        line, lock = error_line(detail, usual)
        chain.append(Candidate(model=model, error=line, reason=event.data.get("reason"), lock=lock))
    return tuple(chain)


def _known(candidate: Candidate, usual: dict[str, str]) -> Candidate:
    line, lock = error_line(candidate.error, usual)
    reason = "timeout" if lock and candidate.reason == "rate_limit" else candidate.reason  # see `normalised`: the 429
    return msgspec.structs.replace(candidate, error=line, lock=lock, reason=reason)


def _summary_line(event: Event, chain: tuple[Candidate, ...], usual: dict[str, str]) -> str:
    own = tuple(_known(candidate, usual) for candidate in event.candidates)
    shown = own if len(own) >= len(chain) or any(candidate.model for candidate in own) else chain
    return summary_line(shown, event.number("count") or len(shown))


def summary_line(chain: Sequence[Candidate], count: int) -> str:
    """The last line of a chain in which every model failed, as it is compared."""
    parts = (f"{c.model or '?'}: {c.error}{f' ({c.reason})' if c.reason else ''}" for c in chain)
    return f"All models failed ({count}): {' | '.join(parts)}"


# --------------------------------------------------------------------------- locks


def _locks(events: list[Event]) -> tuple[LockSeen, ...]:
    """Every lock that the text tells of, once, with the most that is said about it."""
    found: dict[tuple[str, int | None], LockSeen] = {}
    dead = {event.number("pid") for event in events if event.kind == "says_dead"} - {None}
    for event in events:
        for seen in _lock(event):
            key = _key(seen, found)
            found[key] = _merged(found[key], seen) if key in found else seen
    return tuple(
        msgspec.structs.replace(lock, alive=False, why="the report says so")
        if lock.alive is None and lock.pid in dead
        else lock
        for lock in found.values()
    )


def _lock(event: Event) -> list[LockSeen]:
    if event.kind == "summary":
        seen = []
        for candidate in event.candidates:
            if match := _BY_KIND["locked"].pattern.search(candidate.error):
                inner = Event(kind="locked", era="", line=event.line, text="", data={
                    key: value for key, value in match.groupdict().items() if value
                })  # fmt: skip
                if inner.data.get("path") or inner.data.get("pid"):
                    if wait := re.search(r"timeout (\d{1,12}) ?ms", inner.data.get("in", "")):
                        inner.data["wait_ms"] = wait[1]
                    seen += _lock(inner)
        return seen
    if event.kind not in (*_LOCK_KINDS, "doctor_lock", "lock_body", "force_release", "removed_stale"):
        return []
    path, pid = event.data.get("path", ""), event.number("pid") or None
    if not path and pid is None and event.kind != "lock_body":
        return []
    alive, why = None, ""
    if "alive" in event.data:
        alive, why = event.data["alive"].lower() == "true", "the message says so"
    elif event.data.get("state") in ("alive", "dead"):
        alive, why = event.data["state"] == "alive", "doctor says so"
    elif "dead-pid" in event.data.get("reasons", ""):
        alive, why = False, "dead-pid"
    age_ms = event.number("age")
    if age_ms is None and (text := event.data.get("age_text")):
        age_ms = _age_ms(text)
    created_ms = event.t_ms - age_ms if event.t_ms is not None and age_ms is not None and event.dated else None
    if stamp := event.data.get("createdAt"):
        created_ms = parse_iso(stamp)
    elif (made := event.data.get("created", "")) and re.fullmatch(r"\d{10}(?:\.\d{1,9})?", made):
        created_ms = round(float(made) * 1000)
    wait_ms, hold_ms = event.number("wait_ms"), event.number("maxHoldMs") or event.number("max")
    return [
        LockSeen(
            file=file_shown(path), pid=pid, alive=alive, why=why, age_s=None if age_ms is None else age_ms / 1000,
            created=None if created_ms is None else iso(created_ms),
            max_hold_s=None if hold_ms is None else hold_ms / 1000,
            starttime=event.number("starttime"), waited_s=None if wait_ms is None else wait_ms / 1000,
            waits=int(event.kind == "locked"), line=event.line,
        )
    ]  # fmt: skip


def _age_ms(text: str) -> int | None:
    """``13s``, ``2m50s``, ``1h02m``."""
    units = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": DAY_MS}
    parts = re.findall(r"(\d{1,9})(ms|s|m|h|d)", text)
    return sum(int(number) * units[unit] for number, unit in parts) if parts else None


def _key(seen: LockSeen, found: dict[tuple[str, int | None], LockSeen]) -> tuple[str, int | None]:
    """Where this lock stands already: same file and owner; one that misses a part fits what has it."""
    for (file, pid), _ in found.items():
        same_file = (
            file == seen.file or not file or not seen.file or file.endswith(seen.file) or seen.file.endswith(file)
        )
        if same_file and (pid == seen.pid or ((pid is None or seen.pid is None) and file == seen.file and file != "")):
            return file, pid
    return seen.file, seen.pid


def _merged(old: LockSeen, new: LockSeen) -> LockSeen:
    return msgspec.structs.replace(
        old, file=max(old.file, new.file, key=len), pid=old.pid or new.pid,
        alive=new.alive if new.alive is not None else old.alive, why=new.why or old.why,
        age_s=max((age for age in (old.age_s, new.age_s) if age is not None), default=None),
        created=old.created or new.created, max_hold_s=old.max_hold_s or new.max_hold_s,
        starttime=old.starttime or new.starttime, waited_s=old.waited_s or new.waited_s, waits=old.waits + new.waits,
    )  # fmt: skip
