"""One root seed, named child streams.

A stream is derived from the seed and its name alone, so a new consumer of randomness never reshuffles the
numbers that the others see.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Seeds:
    """The root of a run's randomness. ``child("data").stream("ids")`` names a stream by its path."""

    root: int
    path: str = ""

    def child(self, name: str) -> Seeds:
        return Seeds(self.root, f"{self.path}/{name}")

    def stream(self, name: str) -> random.Random:
        digest = hashlib.sha256(f"{self.root}|{self.path}/{name}".encode()).digest()
        return random.Random(int.from_bytes(digest, "big"))


def uuid4(stream: random.Random) -> str:
    """A version 4 UUID drawn from a stream."""
    bits = stream.getrandbits(128) & ~(0xF000 << 64 | 0xC000 << 48) | 4 << 76 | 0x8000 << 48  # version and variant
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
