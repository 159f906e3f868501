"""What was understood of a pasted text. Values only."""

from __future__ import annotations

from typing import Any

import msgspec

CLASSES: dict[str, str] = {
    "A": "the fallback enters a session that the gateway still owns",
    "B": "a lock error counts as a failure of the model",
    "C": "the lock was left by a process that is dead",
    "D": "a dead lock looks alive (its pid belongs to somebody else)",
    "E": "a live process did not release its own lock",
    "F": "the holder works longer than the waiter waits",
    "G": "an overdue lock is never reclaimed",
    "H": "two owners: a live lock was removed",
    "I": "the takeover fence fires",
    "J": "a reply, a message or a result is lost",
    "K": "the same work is done twice",
    "L": "the fallback hides the real failure",
    "M": "the file system or the platform behaves otherwise",
    "N": "after the file lock: revision conflicts, busy database",
    "O": "a turn's claim stays in the store although no run holds it",
    "P": "maintenance or a migration and the start wait for each other",
    "Q": "one slow call of the store stops sessions that have nothing to do with it",
    "R": "a turn falls into the window of a restart",
    "S": "a guard against double writers refuses a process that has a right to run",
}


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One model of a chain and what became of it. ``model`` is empty where the text does not say."""

    model: str
    error: str
    reason: str | None = None
    lock: bool = False


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One recognised message.

    ``kind``, ``era``: of the row that matched. ``text``, ``data``: as they stand in the paste, never shown as they are.
    ``within``: the kinds of the messages that carried it, outermost first. ``t_ms``: see ``timestamps.Instant``.
    ``error``: the line as it is compared with a replay; None where it is no error. ``passage``: which telling of the
    report it stands in. ``mention``: it is talked about, not printed.
    """

    kind: str
    era: str
    line: int
    text: str
    data: dict[str, str] = {}
    within: tuple[str, ...] = ()
    t_ms: int | None = None
    dated: bool = False
    session_lock: bool = False
    not_lock: bool = False
    error: str | None = None
    candidates: tuple[Candidate, ...] = ()
    last_line: int = 0
    passage: int = 0
    mention: bool = False

    @property
    def carrier(self) -> str:
        """The message that carried it, or itself."""
        return self.within[-1] if self.within else self.kind

    def number(self, key: str) -> int | None:
        """A field as a whole number; None if it is absent, or cut short."""
        text = self.data.get(key, "")
        return int(text) if text.isdecimal() else None


class LockSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One lock that the text tells of. Times in nominal seconds; ``created`` is ISO 8601, from the lock's body or from
    the time of the message less its ``ageMs``. ``alive`` None: the text does not say. ``owner`` "other": another
    program has the owner's pid now (and ``alive`` is False: the owner itself is gone).
    """

    file: str
    pid: int | None = None
    alive: bool | None = None
    why: str = ""
    age_s: float | None = None
    created: str | None = None
    max_hold_s: float | None = None
    starttime: int | None = None
    waited_s: float | None = None
    waits: int = 0
    line: int = 0
    owner: str = ""


class OtherLock(msgspec.Struct, frozen=True, kw_only=True):
    """A lock of the program that is no session's. ``whose``: gateway, runtime-deps, ... ``owner``: see ``LockSeen``."""

    whose: str
    pid: int | None = None
    alive: bool | None = None
    owner: str = ""
    why: str = ""
    waited_s: tuple[float, ...] = ()
    lines: tuple[int, ...] = ()


class NotOurs(msgspec.Struct, frozen=True, kw_only=True):
    """Why a text is no incident of ours. ``kind``: provider, other_program, denied or nothing. ``why``: in words."""

    kind: str
    why: str
    lines: tuple[int, ...] = ()


class Weighed(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of evidence of a class. ``weight`` above 0 speaks for it, below 0 against it; ``lines``: where."""

    weight: float
    says: str
    lines: tuple[int, ...] = ()


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A class that the text speaks for. ``confidence`` 0 to 1; ``why`` and ``lines``: of its best evidence."""

    letter: str
    confidence: float
    why: str
    lines: tuple[int, ...] = ()
    evidence: tuple[Weighed, ...] = ()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A pasted text as one incident.

    ``classes``: most certain first. ``possible``: where the text leaves it open. ``cause`` and ``consequences``: the
    incident in its own words. ``errors``: its error lines, in order, each once, as a replay is compared with them.
    ``timers``: nominal seconds by name. ``chain``: the models in order, with reasons.
    """

    classes: tuple[str, ...]
    findings: tuple[Finding, ...]
    possible: tuple[str, ...]
    cause: str
    consequences: tuple[str, ...]
    errors: tuple[str, ...]
    events: tuple[Event, ...]
    chain: tuple[Candidate, ...] = msgspec.field(name="models")
    timers: dict[str, float]
    locks: tuple[LockSeen, ...]
    eras: tuple[str, ...]
    versions: tuple[str, ...]
    platforms: tuple[str, ...]
    sessions: tuple[str, ...]
    reports: tuple[str, ...]
    not_lock: tuple[str, ...] = msgspec.field(name="not_lock_errors")
    other_locks: tuple[OtherLock, ...] = ()
    runtimes: tuple[str, ...] = ()
    not_ours: NotOurs | None = None
    digest: str = ""
    lines: int
    understood: int
    ignored: int
    ignored_examples: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def session_locked(self) -> bool:
        """Does the text hold an error of a session lock at all?"""
        return any(event.session_lock for event in self.events) or any(candidate.lock for candidate in self.chain)

    def has(self, *kinds: str) -> bool:
        return any(event.kind in kinds for event in self.events)

    def of(self, *kinds: str) -> list[Event]:
        return [event for event in self.events if event.kind in kinds]

    def document(self) -> dict[str, Any]:
        """The ``report`` object of ``lockjaw reproduce --json``: everything but the single messages."""
        plain = msgspec.to_builtins(msgspec.structs.replace(self, events=()))
        told = {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}
        del told["events"]
        return told | {"session_locked": self.session_locked}
