"""What a guard file says: which generation was granted last, to whom, for which lock file, and who waits.

=====================  ==========================================================================
bytes 0 to 1023        two slots of one record each, written in turn, each with a checksum
bytes 1024 to 1087     the last ticket issued, twice
bytes 2048 to 4095     a table of waiters: slot ``ticket % 128`` tells a waiter's pid
range lock 0           the section
range lock 2^32 + g    owner of generation g
range lock 2^62 + t    waiter with ticket t, later owner
=====================  ==========================================================================

A writer that dies in mid-write spoils only the slot of a grant that never took effect; the other slot still
tells the last one that did. A spoiled ticket number is skipped over. The text is for people as well:
``head -c 512 <session>.jsonl.guard``. Pure: no file.
"""

from __future__ import annotations

import json
import zlib
from functools import lru_cache
from typing import NamedTuple

SLOT_BYTES = 512
SLOTS = 2
LENGTH = SLOT_BYTES * SLOTS
OWNER_CHARS = 64

TICKETS_OFFSET = LENGTH
_TICKETS = b"%020d %020d\n"
STATE_LENGTH = TICKETS_OFFSET + 64  # the records and the tickets, in one read
_TICKET_JUMP = 1 << 20  # over every ticket that may live, after the number was spoiled

WAITERS_OFFSET = 2048
_WAITER_SLOTS, _WAITER_BYTES = 128, 16  # all within the file's first block: queueing needs no space on a full disk

SECTION = 0
OWNER_BASE = 1 << 32
TICKET_BASE = 1 << 62


class GuardRecord(NamedTuple):
    """The last grant. Generation 0: none yet.

    Args:
        generation: rises by at least one with every grant, for ever; the fencing token.
        pid, starttime, pid_namespace: the owner's process.
        granted_ms: nominal Unix milliseconds.
        fingerprint: of the lock file's content under this grant.
        replaces: fingerprint of the content that this grant found and was to replace; its owner is dead or
            fenced. Empty if there was none.
        owner: what the holder calls itself (a run id), as ``label`` writes it.
        ticket: the last ticket that has had its turn: nobody waits with this one or a lower one.
    """

    generation: int = 0
    pid: int = 0
    starttime: int | None = None
    pid_namespace: int | None = None
    granted_ms: int = 0
    fingerprint: str = ""
    replaces: str = ""
    owner: str = ""
    ticket: int = 0

    def names(self, fingerprint: str) -> bool:
        """Was this content the lock file of the recorded owner, or of the one it took over from?"""
        return bool(fingerprint) and fingerprint in (self.fingerprint, self.replaces)


class GuardState(NamedTuple):
    """A guard as read at one instant.

    Args:
        data: the bytes of both slots.
        record: the newest.
        slot: offset for the next one.
        issued: the highest ticket ever issued.
    """

    data: bytes
    record: GuardRecord
    slot: int
    issued: int

    def with_slot(self, text: bytes) -> bytes:
        """``data`` after the next record was written."""
        return self.data[: self.slot].ljust(self.slot, b"\0") + text + self.data[self.slot + SLOT_BYTES :]


class UnreadableGuard(ValueError):
    """Neither slot holds a record, and the file is not empty."""


@lru_cache(maxsize=64)
def label(name: str) -> str:
    """A holder's name as it fits the slot whatever a client put into it: printable ASCII, else ``?``, and cut."""
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in name[:OWNER_CHARS])


def encode(record: GuardRecord) -> bytes:
    """One slot."""
    # By hand: json.dumps of nine fields takes longer than the system calls around it.
    text = (
        f'{{"generation":{record.generation},"pid":{record.pid},"starttime":{_number(record.starttime)},'
        f'"pid_namespace":{_number(record.pid_namespace)},"granted_ms":{record.granted_ms},'
        f'"fingerprint":"{record.fingerprint}","replaces":"{record.replaces}","owner":{_quoted(record.owner)},'
        f'"ticket":{record.ticket}}}'
    ).encode()
    line = b"%08x %b" % (zlib.crc32(text), text)
    assert len(line) < SLOT_BYTES, "a guard record outgrew its slot"
    return line.ljust(SLOT_BYTES - 1) + b"\n"


def decode(data: bytes) -> tuple[GuardRecord, int]:
    """The newest valid record of a guard's first ``LENGTH`` bytes, and the offset for the next one.

    Raises:
        UnreadableGuard: going on would let the generation fall back.
    """
    found = [(text, slot) for slot in range(SLOTS) if (text := _slot_text(data, slot))]
    if found:
        text, slot = max(found, key=lambda item: int(item[0][_GENERATION_AT : item[0].index(b",")]))
        return GuardRecord(**json.loads(text)), (slot + 1) % SLOTS * SLOT_BYTES
    if data[SLOT_BYTES:LENGTH].strip(b"\0"):
        raise UnreadableGuard("no valid record in the guard file")
    if data[:SLOT_BYTES].endswith(b"\n"):
        raise UnreadableGuard("the guard file's only record is damaged")
    # Nothing but, at most, a torn first slot: the very first writer died in mid-write.
    return GuardRecord(), 0


#: Guards that this process has read or written lately: the same bytes always mean the same.
_known: dict[bytes, tuple[GuardRecord, int]] = {}


def state(data: bytes) -> GuardState:
    """The meaning of a guard's first ``STATE_LENGTH`` bytes; raises as ``decode``."""
    slots = data[:LENGTH]
    known = _known.get(slots)
    if known is None:
        known = decode(slots)
        _remember(slots, known)
    record, slot = known
    tickets = data[TICKETS_OFFSET:]
    if not tickets:
        return GuardState(slots, record, slot, record.ticket)
    issued = _issued(tickets)
    return GuardState(slots, record, slot, record.ticket + _TICKET_JUMP if issued is None else issued)


def written(data: bytes, record: GuardRecord, slot: int) -> None:
    """Remember what this process has just written, so that it need not be decoded again."""
    _remember(data, (record, (slot + SLOT_BYTES) % LENGTH))


def encode_tickets(issued: int) -> bytes:
    return _TICKETS % (issued, issued)


def waiter_offset(ticket: int) -> int:
    return WAITERS_OFFSET + ticket % _WAITER_SLOTS * _WAITER_BYTES


def encode_waiter(ticket: int, pid: int) -> bytes:
    return b"%d %d\n" % (ticket % 10_000, pid)


def decode_waiter(ticket: int, data: bytes) -> int | None:
    """The pid of a waiter, or None if the slot tells another's."""
    number, _, pid = data[:_WAITER_BYTES].partition(b"\n")[0].partition(b" ")
    if number.isdigit() and pid.isdigit() and int(number) == ticket % 10_000:
        return int(pid)
    return None


def _remember(data: bytes, known: tuple[GuardRecord, int]) -> None:
    if len(_known) >= 64:
        _known.clear()
    _known[data] = known


def _issued(text: bytes) -> int | None:
    """None for a number that its writer did not finish."""
    first, _, second = text.partition(b"\n")[0].partition(b" ")
    if not text.strip(b"\0"):
        return 0
    return int(first) if first == second and first.isdigit() else None


def _number(value: int | None) -> str:
    return "null" if value is None else str(value)


@lru_cache(maxsize=64)
def _quoted(text: str) -> str:
    return json.dumps(text)


_GENERATION_AT = len('{"generation":')


def _slot_text(data: bytes, slot: int) -> bytes:
    """A record's JSON, empty if the slot holds none that is whole."""
    checksum, _, text = data[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES].strip(b" \n\0").partition(b" ")
    try:
        return text if int(checksum, 16) == zlib.crc32(text) else b""
    except ValueError:
        return b""
