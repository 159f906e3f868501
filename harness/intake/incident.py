"""From single messages to one incident: order, lane twins, repeated quotes, waits, locks, chain. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from .events import canonical, normalised_text, stated_wait
from .needles import EVERY_ROW
from .owners import LOCK_KINDS, locks_of
from .patterns import CONTAINERS, Wording
from .private import shown
from .report import Candidate, Event, LockSeen
from .timestamps import DAY_MS

TWIN_MS = 250  # two lanes of one run log its failure 1 to 20 ms apart; a loaded machine needs more
SAME_WAIT_MS = 2_000  # the messages that report one lock wait follow each other at once
_BY_KIND: dict[str, Wording] = {row.kind: row for row in (*EVERY_ROW, *CONTAINERS)}
#: Kinds that, quoted twice without a time, are one message.
_QUOTED_ONCE = frozenset(
    ("summary", "banner_same", "banner_fresh", "banner_failed", "gateway_timeout", "doctor_lock", "lock_body")
)


#: Messages that may tell the same failure: they are compared with each other.
_GROUPS = dict.fromkeys(("locked", "lock_error_code", "summary", "decision", "announce", "takeover"), "chain")
_MOST_TELLINGS = 60
#: Reports of one state that is looked at every half minute: one error, however often it is printed.
_STATES = frozenset(("stuck_session", "stalled_session", "recovery_skipped"))


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
    made.locks = locks_of(ordered)
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
    """Without what the text tells again: the same record, or a mention or an untimed copy of what another line prints.

    A mention ("we get `session file locked`") of a message that the log has is no further event, and neither is an
    untimed copy in another section. Two log lines of one passage are two events, whatever their words.
    """
    seen: set[tuple[object, ...]] = set()
    kept: list[Event] = []
    tellings = _tellings(events)
    for place, event in enumerate(events):
        if event.kind in ("owner", "exit_status", "denied") or event.kind.startswith("says_"):
            kept.append(event)
            continue
        if event.t_ms is not None:
            what = (event.kind, event.text, event.t_ms, event.within, tuple(sorted(event.data.items())))
            if what in seen:
                made.repeated += 1
                continue
            seen.add(what)
        elif any(_tells(events[at], event, earlier=at < place) for at in tellings[_group(event)] if at != place):
            made.repeated += 1
            continue
        kept.append(event)
    return kept


def _group(event: Event) -> str:
    return _GROUPS.get(event.kind, event.kind)


def _tellings(events: list[Event]) -> dict[str, list[int]]:
    """Where each message is first told, by kind and telling: what a later one is compared with. Bounded."""
    found: dict[str, dict[tuple[object, ...], int]] = {}
    for place, event in enumerate(events):
        group = found.setdefault(_group(event), {})
        what = (
            event.kind,
            event.passage,
            event.mention,
            event.t_ms is None,
            event.within,
            tuple(sorted(event.data.items())),
        )
        if len(group) < _MOST_TELLINGS:
            group.setdefault(what, place)
    return {group: sorted(places.values()) for group, places in found.items()}


def _tells(other: Event, event: Event, *, earlier: bool) -> bool:
    """Does ``other`` make ``event``, which bears no time, one telling too many?"""
    if event.mention:
        if other.mention and not (earlier and _same(other, event)):
            return False
        return _same(other, event) or (not other.mention and _carries(other, event))
    if other.mention or event.passage == other.passage:
        quoted = event.kind in _QUOTED_ONCE and earlier and event.text == other.text and not other.mention
        return quoted and _same(other, event)
    return (earlier or other.t_ms is not None) and _same(other, event) and event.within == other.within


def _same(a: Event, b: Event) -> bool:
    """Are these the same message, as far as both say?"""
    if a.kind != b.kind and {a.kind, b.kind} != {"locked", "lock_error_code"}:
        return False
    told = ("pid", "path", "key", "session", "ms", "wait_ms", "count")
    for key in told:
        ours, theirs = a.data.get(key), b.data.get(key)
        if ours and theirs and ours != theirs and not (key == "path" and _one_ends(ours, theirs)):
            return a.mention != b.mention and (a.data if a.mention else b.data).get(key) in ("N", "…", "...", "?")
    return True


def _one_ends(a: str, b: str) -> bool:
    short, long = sorted((re.sub(r"^(?:\.\.\.|…)", "", path) for path in (a, b)), key=len)
    return long.endswith(short) or short in ("", "PATH")


def _carries(other: Event, event: Event) -> bool:
    """A summary or a decision whose text has the lock error that the mention is about."""
    if event.kind == "locked" and other.kind == "summary":
        return any("session file locked" in candidate.error for candidate in other.candidates)
    if event.kind == "takeover" and other.kind == "summary":
        return any("changed while" in candidate.error for candidate in other.candidates)
    return event.kind == "locked" and other.kind in ("decision", "announce") and "session file locked" in other.text


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
    return [event for place, event in enumerate(events) if place not in dropped]


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
    states: set[tuple[str, str]] = set()
    for event in events:
        if event.error is None or "announce" in event.within:
            continue
        if event.kind in _STATES:
            state = event.kind, event.data.get("key", "")
            if state in states:
                continue
            states.add(state)
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
    for row in EVERY_ROW:
        if row.canonical is None or row.needle not in lower:
            continue
        match = row.pattern.search(text)
        if match is not None:
            data = {key: value for key, value in match.groupdict().items() if value}
            data |= stated_wait(data.get("in", ""))
            event = Event(kind=row.kind, era=row.era, line=0, text="", data=data)
            return canonical(event, row, usual) or normalised_text(text), row.kind in LOCK_KINDS
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
    following = next((e.data["next"] for e in reversed(events) if "/" in e.data.get("next", "")), "")
    if chain and following and all(candidate.model != following for candidate in chain):
        chain.append(Candidate(model=shown(following, 80), error=""))  # the chain went on; what came of it is not told
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
