"""Bytes in, lines of text out: any encoding, any size, bounded memory.

People paste what they have: UTF-8 with one bad byte, UTF-16 from a PowerShell redirect, a core dump by mistake.
Nothing here fails; what had to be cut or replaced is counted and said.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

CHUNK_BYTES = 1 << 16
#: A text without an end (a device, a pipe that goes on) is read so far: half a minute's work.
MAX_BYTES = 256 << 20
#: A longer line is dealt with in pieces of this size: a message across two pieces may be lost.
MAX_LINE_CHARS = 1 << 16
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: the same first two bytes
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNREADABLE = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f�]")
_BINARY = 0.2  # of the first chunk: no log in any language comes near it


@dataclass
class SourceNotes:
    """What the reader met on its way."""

    size_bytes: int = 0
    encoding: str = "utf-8"
    lines: int = 0
    long_lines: int = 0
    binary: bool = False
    endless: bool = False

    def notes(self) -> list[str]:
        """What was not read as it stands, in words."""
        said = []
        if self.encoding not in ("utf-8", "utf-8-sig"):
            said.append(f"read as {self.encoding}")
        if self.binary:
            said.append("this looks like a binary file; only what is text in it was read")
        if self.endless:
            said.append(f"only the first {MAX_BYTES >> 20} MB were read")
        if self.long_lines:
            said.append(f"{self.long_lines} lines of more than {MAX_LINE_CHARS} characters were cut into pieces")
        return said


def encoding_of(head: bytes) -> str:
    """The encoding that the first bytes of a file speak for."""
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    even, odd = head[0::2].count(0), head[1::2].count(0)
    many = len(head) // 5
    if len(head) >= 8 and odd > many and odd > 4 * even:
        return "utf-16-le"
    if len(head) >= 8 and even > many and even > 4 * odd:
        return "utf-16-be"
    return "utf-8"


def lines_of(chunks: Iterable[bytes], reading: SourceNotes) -> Iterator[str]:
    """The lines of a text, without their ends. ``reading`` is filled in on the way."""
    decoder: codecs.IncrementalDecoder | None = None
    rest, cut = "", False
    for chunk in _sized(chunks):
        if reading.size_bytes >= MAX_BYTES:
            reading.endless = True
            break
        reading.size_bytes += len(chunk)
        if decoder is None:
            reading.encoding = encoding_of(chunk[:4096])
            decoder = codecs.getincrementaldecoder(reading.encoding)(errors="replace")
        text = decoder.decode(chunk)
        if reading.size_bytes == len(chunk):
            reading.binary = len(_UNREADABLE.findall(text[:8192])) > _BINARY * len(text[:8192])
        rest += text.replace("\x00", "") if "\x00" in text else text
        held = "\r" if rest.endswith("\r") else ""  # half of a CR LF, perhaps
        body = rest[: -len(held)] if held else rest
        if "\r" in body:
            body = body.replace("\r\n", "\n").replace("\r", "\n")
        *whole, last = body.split("\n")
        for line in whole:
            reading.lines += 1
            reading.long_lines += cut or len(line) > MAX_LINE_CHARS
            cut = False
            yield from _pieces(line)
        while len(last) > MAX_LINE_CHARS:
            cut = True
            yield last[:MAX_LINE_CHARS]
            last = last[MAX_LINE_CHARS:]
        rest = last + held
    last = rest.rstrip("\r")
    if last or cut:
        reading.lines += 1
        reading.long_lines += cut
        yield last


def _sized(chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        for start in range(0, len(chunk), CHUNK_BYTES):
            yield chunk[start : start + CHUNK_BYTES]


def _pieces(line: str) -> Iterator[str]:
    if len(line) <= MAX_LINE_CHARS:
        yield line
        return
    for start in range(0, len(line), MAX_LINE_CHARS):
        yield line[start : start + MAX_LINE_CHARS]
