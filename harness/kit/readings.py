r"""A text as the programs that decode it see it: one *reading* per layer of escapes. Pure.

What is private hides behind whatever a text went through on its way: ``\n`` of a JSON string inside a JSON string,
``%40``, ``&#64;``, ``\x40``, the colours of a terminal, zero-width characters, letters of full width. Rules would have
to know all of that; instead each layer is undone once, for all rules, and every character of a reading knows where in
the original it stands. So a rule looks at plain text, and what it finds is replaced in the original, whose form stays.
"""

from __future__ import annotations

import html
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable
from functools import lru_cache

__all__ = ["Reading", "readings"]

MAX_LAYERS = 6  # JSON in JSON in a log line that a program quoted: four were seen

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "'": "'", "/": "/", "\\": "\\", "e": "\x1b", "`": "`"}
#: One layer. A backslash before anything else is left alone: Windows writes its paths with it.
_UNIT = re.compile(
    r"""\\(?:u\{(?P<brace>[0-9A-Fa-f]{1,6})\}|u(?P<u>[0-9A-Fa-f]{4})|U(?P<wide>[0-9A-Fa-f]{8})|x(?P<x>[0-9A-Fa-f]{2})"""
    r"""|(?P<octal>[0-3][0-7]{2})|(?P<fold>\r?\n)|(?P<slashes>\\(?:\\\\)*)|(?P<letter>[ntre"'`/]))"""
    r"""|(?P<percent>(?:%[0-9A-Fa-f]{2})+)"""
    r"""|(?P<entity>&(?:\#\d{1,7}|\#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});)"""
    r"""|(?P<ansi>\x1b(?:\[[0-?]{0,40}[ -/]{0,4}[@-~]|\][^\x07\x1b]{0,400}(?:\x07|\x1b\\)|[@-Z\\^_()][0-9A-B]?))"""
    r"""|(?P<other>[^\x00-\x7f]+)""",
    re.VERBOSE,
)
_MAY_HAVE = re.compile(r"[\\%&\x1b]|[^\x00-\x7f]")
_ANSI = re.compile(r"\x1b(?:\[[0-?]{0,40}[ -/]{0,4}[@-~]|[()][0-9A-B])")
_SOFT = re.compile(r"=(?:([0-9A-F]{2})|\r?\n)")


class Reading:
    """A text and where its characters stand in the original.

    ``text`` is what to look at; ``source(start, end)`` gives the span of the original that those characters came from.
    """

    __slots__ = ("_under", "below", "decoded", "ends", "starts", "text")

    def __init__(self, text: str, under: Reading | None = None) -> None:
        self.text = text
        self._under = under
        #: This reading and those that it was made from.
        self.below: tuple[Reading, ...] = (self,) if under is None else (*under.below, self)
        #: Of each unit or untouched run, in order: where it begins here, where in the layer below, where it ends there
        #: (-1: an untouched run, whose characters stand one to one).
        self.decoded: list[int] = []
        self.starts: list[int] = []
        self.ends: list[int] = []

    def source(self, start: int, end: int) -> tuple[int, int]:
        """The span of the original behind ``text[start:end]``; ``start < end``."""
        if self._under is None:
            return start, end
        first = bisect_right(self.decoded, start) - 1
        last = bisect_right(self.decoded, end - 1) - 1
        low = self.starts[first] + (0 if self.ends[first] >= 0 else start - self.decoded[first])
        high = self.ends[last] if self.ends[last] >= 0 else self.starts[last] + end - self.decoded[last]
        return self._under.source(low, high)

    def cuts(self) -> tuple[list[int], list[int]]:
        """Starts and ends of this layer's units in the original: each stays whole or goes as a whole."""
        under = self._under
        assert under is not None
        starts, ends = [], []
        for start, end in zip(self.starts, self.ends, strict=True):
            if end > start + 1:
                low, high = under.source(start, end)
                starts.append(low)
                ends.append(high)
        return starts, ends


def readings(text: str) -> list[Reading]:
    """Every reading of a text: as it stands, then with one layer of escapes undone after another."""
    found = [Reading(text)]
    while len(found) < MAX_LAYERS and _MAY_HAVE.search(found[-1].text):
        below = found[-1]
        above = _undone(below, _UNIT, _decoded)
        if above is None:
            break
        found.append(above)
    for reading in list(found):
        # Removed, a colour may glue two words together; between blanks it cannot.
        if "\x1b" in reading.text and (spaced := _undone(reading, _ANSI, lambda unit: " ")) is not None:
            found.append(spaced)
    if "=40" in text and (soft := _undone(found[0], _SOFT, _quoted_printable)) is not None:
        found.append(soft)
    return found


def _undone(below: Reading, units: re.Pattern[str], decode: Callable[[re.Match[str]], str]) -> Reading | None:
    """One layer undone; None if there is nothing to undo."""
    text = below.text
    pieces: list[str] = []
    above = Reading("", below)
    decoded, starts, ends = above.decoded, above.starts, above.ends  # a bad text has 500,000 units in a megabyte
    at = length = 0
    for unit in units.finditer(text):
        new = decode(unit)
        start, end = unit.span()
        if new == unit[0]:
            continue
        if start > at:
            decoded.append(length)
            starts.append(at)
            ends.append(-1)
            pieces.append(text[at:start])
            length += start - at
        if new:
            decoded.append(length)
            starts.append(start)
            # One character for each: a run whose characters stand one to one.
            ends.append(-1 if unit.lastgroup == "other" and len(new) == end - start else end)
            pieces.append(new)
            length += len(new)
        at = end
    if not at:
        return None
    if at < len(text):
        decoded.append(length)
        starts.append(at)
        ends.append(-1)
        pieces.append(text[at:])
    above.text = "".join(pieces)
    return above


def _decoded(unit: re.Match[str]) -> str:
    kind, whole = unit.lastgroup, unit[0]
    if kind == "letter":
        return _ESCAPES[whole[1]]
    if kind == "slashes":
        return "\\" * (len(whole) // 2)  # a run of them is one unit: it has a million in a bad text
    if kind == "other":
        return "".join(map(_plain, whole))
    if kind == "percent":
        return _from_percent(whole)
    if kind == "entity":
        return html.unescape(whole)
    if kind in ("ansi", "fold"):
        return ""
    digits = unit[kind or 0]
    number = int(digits, 8 if kind == "octal" else 16)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"


def _from_percent(whole: str) -> str:
    return bytes.fromhex(whole.replace("%", "")).decode("utf-8", errors="replace")


def _quoted_printable(unit: re.Match[str]) -> str:
    return chr(int(unit[1], 16)) if unit[1] else ""


@lru_cache(maxsize=4096)
def _plain(char: str) -> str:
    """A character without its dress: full width, mathematical letters, digits of other scripts, zero width."""
    if unicodedata.category(char) == "Cf" or char == "\u034f":
        return ""
    if (digit := unicodedata.decimal(char, None)) is not None:
        return str(digit)
    shown = unicodedata.normalize("NFKC", char)
    return shown if shown.isascii() and shown else char
