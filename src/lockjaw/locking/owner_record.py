"""The text of a lock file, and what it proves about its owner.

The body is OpenClaw's: JSON with ``pid``, ``createdAt`` (ISO 8601, UTC), ``starttime`` (Linux; ours on Windows, too)
and, from 2026.5.22 on, ``maxHoldMs``. Ours adds ``pidNamespace`` and ``generation``, which OpenClaw ignores. No file,
no clock.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from lockjaw.clock import iso, parse_iso
from lockjaw.locking.identity import ProcessIdentity
from lockjaw.locking.operations import Calls, ProcessState


class OwnerRecord(NamedTuple):
    """A lock file's body. Each field is None when it is missing or not what it should be."""

    pid: int | None = None
    created_at_ms: int | None = None
    starttime: int | None = None
    max_hold_ms: int | None = None
    pid_namespace: int | None = None
    generation: int | None = None

    @property
    def owner(self) -> str:
        """``pid=N`` or ``unknown``: the owner as upstream's error text names it."""
        return "unknown" if self.pid is None else f"pid={self.pid}"


NOBODY = OwnerRecord()
BODY_BYTES = 256  # of the body, blanks behind the text: a shorter text never leaves the end of a longer one


@dataclass(frozen=True)
class Judgement:
    """``alive`` is None when nothing is proven; ``reason`` says why it is not True. ``pid_here``: the number here of an
    owner that lives in another pid namespace and can be seen."""

    alive: bool | None
    reason: str = ""
    pid_here: int | None = None


def parse(data: bytes) -> OwnerRecord:
    """The record in a lock file's bytes; empty, truncated and foreign texts give ``NOBODY``'s fields."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return NOBODY
    if not isinstance(body, dict):
        return NOBODY
    created_at = body.get("createdAt")
    return OwnerRecord(
        pid=_integer(body.get("pid")) or None,  # pid 0 is nobody
        created_at_ms=parse_iso(created_at) if isinstance(created_at, str) else None,
        starttime=_integer(body.get("starttime")),
        max_hold_ms=_integer(body.get("maxHoldMs")),
        pid_namespace=_integer(body.get("pidNamespace")),
        generation=_integer(body.get("generation")),
    )


def body(record: OwnerRecord) -> bytes:
    """The bytes of a lock file: two spaces of indent, no final newline, absent fields left out."""
    return body_at(body_parts(record), record.created_at_ms or 0, record.generation)


def body_parts(record: OwnerRecord) -> tuple[bytes, bytes]:
    """What stands before and after the instant in such a file."""
    text = ""
    if record.max_hold_ms is not None:
        text += f',\n  "maxHoldMs": {record.max_hold_ms}'
    if record.starttime is not None:
        text += f',\n  "starttime": {record.starttime}'
    if record.pid_namespace is not None:
        text += f',\n  "pidNamespace": {record.pid_namespace}'
    return f'{{\n  "pid": {_value(record.pid)},\n  "createdAt": "'.encode(), f'Z"{text}'.encode()


def body_at(parts: tuple[bytes, bytes], created_ms: int, generation: int | None = None) -> bytes:
    # By hand: an indented json.dumps is pure Python and takes longer than the whole rest of an acquire.
    before, after = parts
    second, ms = _second(created_ms // 1000), created_ms % 1000
    if generation is None:
        return b"%b%b%03d%b\n}" % (before, second, ms, after)
    return b'%b%b%03d%b,\n  "generation": %d\n}' % (before, second, ms, after, generation)


def fingerprint(data: bytes) -> str:
    """Names a lock file's content; blanks around it do not count."""
    return hashlib.sha256(data.strip()).hexdigest()[:32]


def judge(record: OwnerRecord, state: ProcessState, me: ProcessIdentity, *, held_here: bool) -> Judgement:
    """Is the owner dead, by proof? Age proves nothing: a run may be as long as it likes.

    Args:
        record: a record with a pid.
        state: that pid's state, as this process sees it.
        me: this process.
        held_here: this process itself holds the lock file, by another algorithm.

    Returns:
        alive True, False (with the proof: ``dead-pid``, ``zombie``, ``recycled-pid``, ``orphan-self-pid``)
        or None (``other-pid-namespace``: its pid means somebody else here).
    """
    if record.pid_namespace is not None and record.pid_namespace != me.pid_namespace:
        return Judgement(None, "other-pid-namespace")
    if not state.exists:
        return Judgement(False, "dead-pid")
    if state.zombie:
        return Judgement(False, "zombie")
    if state.is_another(record.starttime):
        return Judgement(False, "recycled-pid")
    if record.pid == me.pid and record.starttime in (None, me.starttime) and not held_here:
        # A restarted container counts from the same pid again (OpenClaw #128032's class): the owner was an
        # earlier process with our number. With our start time, too, it was ourselves: a program that restarts
        # inside its process has forgotten what it held (#26602, #49603).
        return Judgement(False, "orphan-self-pid")
    return Judgement(True)


def judge_owner(calls: Calls, record: OwnerRecord, me: ProcessIdentity, *, held_here: bool) -> Judgement:
    """``judge``, and a last look before an owner is called dead: OpenClaw's files do not name the pid namespace in
    which their pid counts, so the owner may live in a container whose processes we see, by other numbers.

    Without a start time in the record such a process may be a stranger: then nothing is proven.
    """
    assert record.pid is not None
    judgement = judge(record, calls.process_state(record.pid), me, held_here=held_here)
    if judgement.alive is False:
        pid_here = calls.find_elsewhere(record.pid, record.starttime)
        if pid_here and record.starttime is not None:
            return Judgement(True, pid_here=pid_here)
        if pid_here is not None:
            return Judgement(None, "other-pid-namespace", pid_here or None)
    return judgement


def _value(number: int | None) -> str:
    return "null" if number is None else str(number)


@lru_cache(maxsize=8)
def _second(unix_s: int) -> bytes:
    """An instant's text up to the milliseconds."""
    return iso(unix_s * 1000)[:-4].encode()


def _integer(value: object) -> int | None:
    """A non-negative whole number as JavaScript's ``Number.isInteger`` sees it, or None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and value >= 0 else None
