"""What a guard file says: which generation was granted last, to whom, for which lock file, and who waits.

=====================  ==========================================================================
bytes 0 to 1023        two slots of one record each, written in turn, each with a checksum
bytes 1024 to 1087     the last ticket issued, twice
bytes 2048 to 4095     a table of waiters: slot ``ticket % 128`` tells a waiter's pid
range lock 0           the section
range lock 1           the queue: held for as long as it takes to draw a ticket
range lock 2           held by the process that makes a new guard (see ``overruling``)
range lock 2^32 + e    the owner of epoch e
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
QUEUE = 1
OVERRULE = 2
OWNER_BASE = 1 << 32
TICKET_BASE = 1 << 62


class GuardRecord(NamedTuple):
    """Who was granted the lock last. All of it is for people, but for ``fingerprint`` and ``replaces``.

    Args:
        pid, starttime, pid_namespace: the owner's process; pid 0: no owner yet.
        granted_ms: nominal Unix milliseconds.
        owner: what the holder calls itself (a run id), as ``label`` writes it.
        fingerprint: of the lock file's content under this grant, where that file is not the body file: the file of
            somebody foreign and dead, taken over in place.
        replaces: fingerprint of the content that such a grant found and was to replace.
    """

    pid: int = 0
    starttime: int | None = None
    pid_namespace: int | None = None
    granted_ms: int = 0
    owner: str = ""
    fingerprint: str = ""
    replaces: str = ""

    def names(self, fingerprint: str) -> bool:
        """Was this content the lock file of the recorded owner, or of the one it took over from?"""
        return bool(fingerprint) and fingerprint in (self.fingerprint, self.replaces)


class GuardState(NamedTuple):
    """A guard as read at one instant.

    Args:
        data: the bytes that were read, ``STATE_LENGTH`` at most.
        generation: the highest one reserved. Rises by at least one with every record, for ever: the fencing token. 0:
            none yet. A process that takes the lock again and again, with no other in between, reserves some at a time,
            and writes a record only when they are used up; which of them it is the lock file says.
        epoch: which owner's byte that grant's owner has locked; rises when a live owner is overruled, and only then.
        ticket: the last one that has had its turn: no waiter has this one or a lower one.
        issued: the highest ticket ever issued.
        slot: offset for the next record.
        plain: nothing in it wants the section's care: that grant's lock file was the body file, and the ticket number
            is whole (or was not caught in mid-write).
    """

    data: bytes = b""
    generation: int = 0
    epoch: int = 0
    ticket: int = 0
    issued: int = 0
    slot: int = 0
    plain: bool = True

    @property
    def record(self) -> GuardRecord:
        """Read anew with each call: only who must wait, or is asked, wants to know it."""
        if not self.generation:
            return GuardRecord()
        text = self.data[self.slot ^ SLOT_BYTES : (self.slot ^ SLOT_BYTES) + SLOT_BYTES].rstrip(b" \n\0")
        said = json.loads(text[text.index(b"{") :])
        return GuardRecord(**{key: said[key] for key in GuardRecord._fields if key in said})

    def granted(self, slot: bytes, generation: int, epoch: int, ticket: int, plain: bool = True) -> GuardState:
        """The state when ``slot`` has been written: what the next read will say if no other process writes."""
        at, data = self.slot, self.data
        data = data[:at].ljust(at, b"\0") + slot + data[at + SLOT_BYTES :]
        return GuardState(data, generation, epoch, ticket, self.issued, at ^ SLOT_BYTES, plain)


class UnreadableGuard(ValueError):
    """Neither slot holds a record, and the file is not empty."""


@lru_cache(maxsize=64)
def label(name: str) -> str:
    """A holder's name as it fits the slot whatever a client put into it: printable ASCII, else ``?``, and cut."""
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in name[:OWNER_CHARS])


def signature(owner: GuardRecord) -> tuple[bytes, bytes]:
    """The part of a record that is the same for all grants of one request, around the instant of the grant."""
    # By hand: json.dumps of seven fields takes longer than the system calls around it.
    who = f'"pid":{owner.pid},"starttime":{_number(owner.starttime)},"pid_namespace":{_number(owner.pid_namespace)}'
    return f'{{{who},"granted_ms":'.encode(), f',"owner":{json.dumps(owner.owner)}'.encode()


def encode(
    signature: tuple[bytes, bytes], granted_ms: int, generation: int, epoch: int, ticket: int, more: bytes = b""
) -> bytes:
    """One slot. ``more``: ``fingerprints``."""
    before, after = signature
    text = b"%d %d %d %b%d%b%b}" % (generation, epoch, ticket, before, granted_ms, after, more)
    line = b"%08x %b" % (zlib.crc32(text), text)
    assert len(line) < SLOT_BYTES, "a guard record outgrew its slot"
    return line.ljust(SLOT_BYTES - 1) + b"\n"


def fingerprints(fingerprint: str, replaces: str) -> bytes:
    return b'%b%b","replaces":"%b"' % (_FINGERPRINT, fingerprint.encode(), replaces.encode())


_FINGERPRINT = b',"fingerprint":"'


def state(data: bytes) -> GuardState:
    """The meaning of a guard's first ``STATE_LENGTH`` bytes.

    Raises:
        UnreadableGuard: neither slot holds a record; going on would let the generation fall back.
    """
    first, second = _numbers(data[:SLOT_BYTES]), _numbers(data[SLOT_BYTES:LENGTH])
    if first is None and second is None:
        if data[SLOT_BYTES:LENGTH].strip(b"\0"):
            raise UnreadableGuard("no valid record in the guard file")
        if data[:SLOT_BYTES].endswith(b"\n"):
            raise UnreadableGuard("the guard file's only record is damaged")
        # Nothing but, at most, a torn first slot: the very first writer died in mid-write.
        generation = epoch = ticket = slot = 0
    elif second is None or (first is not None and first > second):
        assert first is not None
        (generation, epoch, ticket), slot = first, SLOT_BYTES
    else:
        (generation, epoch, ticket), slot = second, 0
    return _with_tickets(data, generation, epoch, ticket, slot)


def since(known: GuardState, data: bytes) -> GuardState:
    """Like ``state``, but cheap when only tickets changed."""
    if known.generation and data[:LENGTH] == known.data[:LENGTH]:
        return _with_tickets(data, known.generation, known.epoch, known.ticket, known.slot)
    return state(data)


def _with_tickets(data: bytes, generation: int, epoch: int, ticket: int, slot: int) -> GuardState:
    issued = _issued(data[TICKETS_OFFSET:])
    plain = issued is not None and _FINGERPRINT not in data[slot ^ SLOT_BYTES :][:SLOT_BYTES]
    whole = ticket + _TICKET_JUMP if issued is None else issued
    return GuardState(data, generation, epoch, ticket, whole, slot, plain)


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


def _issued(text: bytes) -> int | None:
    """None for a number that its writer did not finish."""
    if not text.strip(b"\0"):
        return 0
    first, _, second = text.partition(b"\n")[0].partition(b" ")
    return int(first) if first == second and first.isdigit() else None


def _number(value: int | None) -> str:
    return "null" if value is None else str(value)


def _numbers(slot: bytes) -> tuple[int, int, int] | None:
    """Generation, epoch and ticket of a slot; None if it holds no record that is whole."""
    checksum, _, text = slot.rstrip(b" \n\0").partition(b" ")
    try:
        if not text or int(checksum, 16) != zlib.crc32(text):  # the checksum of nothing is 0
            return None
    except ValueError:
        return None
    if text.startswith(b"{"):  # as the first guards were written: each generation had an owner's byte of its own
        said = json.loads(text)
        return said["generation"], said["generation"], said["ticket"]
    generation, epoch, ticket, _ = text.split(b" ", 3)
    return int(generation), int(epoch), int(ticket)
