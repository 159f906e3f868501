"""What a guard file says: which generation was granted last, to whom, and for which lock file.

Two slots of fixed size, written in turn, each with a checksum. A writer that dies in mid-write spoils only
the slot of a grant that never took effect; the other slot still tells the last one that did. The text is for
people as well: ``head -c 512 <session>.jsonl.guard``. Pure: no file.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass

SLOT_BYTES = 512
SLOTS = 2
LENGTH = SLOT_BYTES * SLOTS
OWNER_CHARS = 64


@dataclass(frozen=True)
class GuardRecord:
    """The last grant. Generation 0: none yet.

    Args:
        generation: rises by at least one with every grant, for ever; the fencing token.
        pid, starttime, pid_namespace: the owner's process.
        granted_ms: nominal Unix milliseconds.
        fingerprint: of the lock file's content under this grant.
        replaces: fingerprint of the content that this grant found and was to replace; its owner is dead or
            fenced. Empty if there was none.
        owner: what the holder calls itself (a run id), as ``label`` writes it.
    """

    generation: int = 0
    pid: int = 0
    starttime: int | None = None
    pid_namespace: int | None = None
    granted_ms: int = 0
    fingerprint: str = ""
    replaces: str = ""
    owner: str = ""

    def names(self, fingerprint: str) -> bool:
        """Was this content the lock file of the recorded owner, or of the one it took over from?"""
        return bool(fingerprint) and fingerprint in (self.fingerprint, self.replaces)


class UnreadableGuard(ValueError):
    """Neither slot holds a record, and the file is not empty."""


def label(name: str) -> str:
    """A holder's name as it fits the slot whatever a client put into it: printable ASCII, else ``?``, and cut."""
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in name[:OWNER_CHARS])


def encode(record: GuardRecord) -> bytes:
    """One slot."""
    text = json.dumps(asdict(record), separators=(",", ":"))
    line = f"{zlib.crc32(text.encode()):08x} {text}"
    assert len(line) < SLOT_BYTES, "a guard record outgrew its slot"
    return line.ljust(SLOT_BYTES - 1).encode() + b"\n"


def decode(data: bytes) -> tuple[GuardRecord, int]:
    """The newest valid record of a guard's first ``LENGTH`` bytes, and the offset for the next one.

    Raises:
        UnreadableGuard: going on would let the generation fall back.
    """
    found = [(record, slot) for slot in range(SLOTS) if (record := _decode_slot(data, slot)) is not None]
    if found:
        newest, slot = max(found, key=lambda item: item[0].generation)
        return newest, (slot + 1) % SLOTS * SLOT_BYTES
    # One spoiled first slot and nothing behind it: the very first writer died in mid-write.
    if data[SLOT_BYTES:].strip(b"\0"):
        raise UnreadableGuard("no valid record in the guard file")
    if len(data) > SLOT_BYTES or (len(data) == SLOT_BYTES and data.endswith(b"\n")):
        raise UnreadableGuard("the guard file's only record is damaged")
    return GuardRecord(), 0


def _decode_slot(data: bytes, slot: int) -> GuardRecord | None:
    checksum, _, text = data[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES].strip().partition(b" ")
    try:
        if int(checksum, 16) != zlib.crc32(text):
            return None
        return GuardRecord(**json.loads(text))
    except (ValueError, TypeError):
        return None
