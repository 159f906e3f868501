"""The locks that a text tells of, and what it proves or says of their owners. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from lockjaw.clock import iso, parse_iso

from .events import stated_wait
from .needles import EVERY_ROW
from .private import file_shown
from .report import Event, LockSeen
from .timestamps import DAY_MS

__all__ = ["LOCK_KINDS", "locks_of", "owners_of"]

_LOCKED = next(row for row in EVERY_ROW if row.kind == "locked").pattern
#: Messages that say that a session's lock was not to be had.
LOCK_KINDS = (
    "locked", "lock_error_code", "lock_stale", "file_lock", "store_lock", "takeover", "changed_during_prompt",
)  # fmt: skip


def locks_of(events: list[Event]) -> tuple[LockSeen, ...]:
    """Every lock that the text tells of, once, with the most that is said about it."""
    found: dict[tuple[str, int | None], LockSeen] = {}
    for event in events:
        for seen in _lock(event):
            key = _key(seen, found)
            found[key] = _merged(found[key], seen) if key in found else seen
    owners = owners_of(events)
    return tuple(_owned(lock, owners, alone=len(found) == 1) for lock in found.values())


def owners_of(events: Iterable[Event]) -> dict[int | None, tuple[str, str, int]]:
    """pid -> what the text proves or says of that process: alive, dead or other; how it is known; the line.

    A probe (``ps -p``) outweighs what is said, and what is said last outweighs what was said before. None: said of the
    lock's owner without its number.
    """
    states = {"says_dead": "dead", "says_recycled": "other", "says_owner_lives": "alive"}
    found: dict[int | None, tuple[str, str, int]] = {}
    for event in events:
        if event.kind in states:
            found[event.number("pid")] = states[event.kind], "the report says so", event.line
    for event in events:
        if event.kind == "owner":
            found[event.number("pid")] = event.data["state"], event.data["how"], event.line
    return found


def _owned(lock: LockSeen, owners: dict[int | None, tuple[str, str, int]], *, alone: bool) -> LockSeen:
    """The lock with what the text proves about its owner."""
    told = owners.get(lock.pid) if lock.pid is not None else None
    if told is None and alone and (lock.alive is None or lock.pid is None):
        told = owners.get(None)
    if told is None:
        return lock
    state, how, _ = told
    if lock.alive is not None and how == "the report says so" and state != "other":
        return lock  # the message itself says it
    return msgspec.structs.replace(lock, alive=state == "alive", owner=state if state == "other" else "", why=how)


def _lock(event: Event) -> list[LockSeen]:
    if event.kind == "summary":
        seen = []
        for candidate in event.candidates:
            if match := _LOCKED.search(candidate.error):
                data = {key: value for key, value in match.groupdict().items() if value}
                if data.get("path") or data.get("pid"):
                    data |= stated_wait(data.get("in", ""))
                    seen += _lock(Event(kind="locked", era="", line=event.line, text="", data=data))
        return seen
    if event.kind not in (*LOCK_KINDS, "doctor_lock", "lock_body", "force_release", "removed_stale", "copilot_inuse"):
        return []
    path, pid = event.data.get("path", ""), event.number("pid") or None
    if event.kind == "copilot_inuse":
        path = event.text
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
            waits=int(event.kind == "locked" and not event.mention), line=event.line,
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
