"""Where in a text something private stands: every rule over every reading, then whatever looks random. Pure.

A ``Finder`` says where; what stands there is the ``Redactor``'s to replace.
"""

from __future__ import annotations

import base64
import binascii
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import re2

from .columns import in_columns
from .harmless import harmless, is_iban, is_phone
from .pseudonyms import SECRET_PSEUDONYM
from .randomness import looks_random
from .readings import Reading, readings
from .rules import NEAR, RULES, TOP_LEVELS, Rule

__all__ = ["BASE64", "Cover", "Finder", "Found", "decoded_base64"]

BASE64 = re.compile(r"(?<![\w+/=-])(?:[A-Za-z0-9+/]{8,}|[A-Za-z0-9_-]{8,})={0,2}(?![\w+/=-])")
_SHORT = 64  # characters: ordinary words are said many times
_DEPTH = 3  # base64 in base64
_KEPT = 20_000  # texts whose finds are remembered: a history says most things many times
#: A run that may be a key, with the signs of the base64s inside it.
_RUN = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{12,}={0,2}")
#: Ids that model servers draw for calls and answers: random, and no key to anything.
_DRAWN_IDS = re.compile(r"(?:call|chatcmpl|cmpl|msg|resp|req|run|toolu|item|fc|rs|gen|chunk)[_-][A-Za-z0-9_-]+")
_DIGIT = re.compile(r"\d")
_ALNUM = re.compile(r"[^\W_]")
_PART = re.compile(r"[A-Za-z0-9]{12,}")
_HUMPS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
_MAYBE_PHONE = re.compile(r"(?<![A-Za-z0-9.:+/-])\(?\d[\d ().\-/\u00a0]{5,20}\d(?![A-Za-z0-9:/-]|\.\d)")
_HINTS_MEMORY = 1 << 27  # bytes at most; ordinary texts need a thousandth
_END = "\0end\0"  # stands behind every text that is searched for hints
_SIGNS = " \t\r\n,;:.=/@\"'"
MAX_PHONES = 2_000  # of one text that are looked up; the rest count as phones


class Found(NamedTuple):
    """Something private at ``start`` to ``end`` of a text. ``original``: what it says there, decoded."""

    start: int
    end: int
    kind: str
    original: str


class Cover:
    """Which characters of a text are spoken for. What comes first keeps its place."""

    def __init__(self, text: str, layers: Sequence[Reading]) -> None:
        self._text = text
        self._taken = bytearray(len(text))
        self._layers = layers
        self._units: dict[int, tuple[list[int], list[int]]] = {}
        self.found: list[Found] = []

    def protect(self, start: int, end: int) -> None:
        """Nothing here is private, whatever it looks like."""
        self._taken[start:end] = b"\1" * (end - start)

    def add(self, reading: Reading, start: int, end: int, kind: str) -> None:
        """``reading.text[start:end]`` is private, as far as nothing else stands there already."""
        low, high = reading.source(start, end)
        if self._taken.find(0, low, high) < 0:
            return  # most of what a reading shows was found in the one above
        original = reading.text[start:end]
        for other, units_of in enumerate(self._layers):
            if other == 0 or units_of in reading.below:
                continue  # what this reading has undone already
            if other not in self._units:
                self._units[other] = units_of.cuts()
            low, high, cut = _whole_units(*self._units[other], low, high)
            if cut:
                original = self._text[low:high]
        self.take(Found(low, high, kind, original))

    def take(self, found: Found) -> None:
        """The same for a place of the original text."""
        at = found.start
        if self._taken.find(1, at, found.end) < 0:
            if _ALNUM.search(found.original):
                self.protect(at, found.end)
                self.found.append(found)
            return
        while at < found.end:
            if self._taken[at]:
                at = self._next(0, at, found.end)
                continue
            end = self._next(1, at, found.end)
            part = found if (at, end) == found[:2] else self._rest(at, end, found.kind)
            if _ALNUM.search(part.original):
                self.protect(at, end)
                self.found.append(part)
            at = end

    def _rest(self, start: int, end: int, kind: str) -> Found:
        """What is left of something when a part of it has gone, without the signs that parted them."""
        text = self._text[start:end]
        start += len(text) - len(text.lstrip(_SIGNS))
        text = text.strip(_SIGNS)
        return Found(start, start + len(text), kind, text)

    def _next(self, value: int, start: int, end: int) -> int:
        at = self._taken.find(value, start, end)
        return end if at < 0 else at


class Finder:
    """Finds what the rules know. Pure but for what it remembers."""

    def __init__(self, rules: Sequence[Rule] = RULES) -> None:
        #: Each rule with its hints, its kinds by group, and what else decides of a find.
        self._rules = [
            (
                [*map(frozenset, rule.hints), *([frozenset([_near(rule.name)])] if rule.name in NEAR else [])],
                rule.pattern,
                [(number, name.rstrip("0123456789")) for name, number in rule.pattern.groupindex.items()],
                _ACCEPTS.get(rule.name),
            )
            for rule in rules
        ]
        self._hints = _hints_of(tuple(rules))
        self._known: dict[tuple[str, int], tuple[Found, ...]] = {}

    def find(self, text: str, depth: int = _DEPTH) -> tuple[Found, ...]:
        """Everything private in a text, in no order, without overlaps."""
        key = text, depth
        if (known := self._known.get(key)) is None:
            layers = readings(text)
            cover = Cover(text, layers)
            self.cover(cover, layers, depth)
            known = tuple(cover.found)
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[key] = known
        return known

    def cover(self, cover: Cover, layers: Sequence[Reading], depth: int = _DEPTH) -> None:
        """Add to a cover what the rules find in these readings of its text."""
        for reading in reversed(layers):
            text = reading.text
            hinted = self._hints.of(text)
            for hints, pattern, kinds, accepts in self._rules:
                if any(group.isdisjoint(hinted) for group in hints):
                    continue
                for found in pattern.finditer(text):
                    for number, kind in kinds:
                        start, end = found.span(number)
                        if start == end or harmless(kind, part := text[start:end]):
                            continue
                        if accepts is None or accepts(part):
                            cover.add(reading, start, end, kind)
            for start, end, kind in (*in_columns(text), *_phones(text), *_random(text)):
                if not harmless(kind, text[start:end]):
                    cover.add(reading, start, end, kind)
            if depth:
                for token in BASE64.finditer(reading.text):
                    inside = decoded_base64(token[0])
                    if inside is not None and self.find(inside, depth - 1):
                        cover.add(reading, *token.span(), "secret")


class _Hints:
    """Which of these words a text has: one pass for all of them (RE2), for 300 words a hundredth of one pass each."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = [_END, *sorted(words)]
        self._near = sorted(NEAR)
        options = re2.Options()
        options.max_mem, options.log_errors = _HINTS_MEMORY, False
        self._set = re2.Set.SearchSet(options)
        for word in self._words:
            self._set.Add(f"(?i:{re2.escape(word)})")
        for name in self._near:
            self._set.Add(NEAR[name])
        self._set.Compile()

    def of(self, text: str) -> frozenset[str]:
        """Words in the text, in lower case, ``0`` if it has a digit, and the rules whose ``NEAR`` is there."""
        found = self._set.Match((text + _END).encode("utf-8", "replace"))
        if found:
            names = [*self._words, *map(_near, self._near)]
            hints = [names[n] for n in found]
        else:
            # Not even the end: the matcher ran out of memory, and a rule that is not tried finds nothing.
            lowered = text.lower()
            hints = [*(word for word in self._words if word in lowered), *map(_near, self._near)]
        return frozenset([*hints, "0"] if _DIGIT.search(text) else hints)


_ACCEPTS: dict[str, Callable[[str], bool]] = {
    "iban": lambda part: part[:4].isupper() or is_iban(part),
    "host": lambda part: part.rpartition(".")[2].lower() in TOP_LEVELS,
}


def _near(rule: str) -> str:
    return f"\0{rule}"


@lru_cache(maxsize=200)
def _hints_of(rules: tuple[Rule, ...]) -> _Hints:
    return _Hints({word for rule in rules for group in rule.hints for word in group} - {"0"})


def decoded_base64(token: str) -> str | None:
    """What a token says if it is the base64 of a text."""
    return _short_base64(token) if len(token) <= _SHORT else _base64(token)


@lru_cache(maxsize=20_000)
def _short_base64(token: str) -> str | None:
    return _base64(token)


def _base64(token: str) -> str | None:
    plain = token.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        text = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return None
    return text if text.isprintable() or all(char.isprintable() or char.isspace() for char in text) else None


def _random(text: str) -> Iterator[tuple[int, int, str]]:
    for run in _RUN.finditer(text):
        whole = run[0]
        if _DRAWN_IDS.fullmatch(whole):
            continue
        if _is_drawn(SECRET_PSEUDONYM.sub("", whole)):  # a name that ends with one is not drawn as a whole
            yield *run.span(), "secret"
            continue
        for part in _PART.finditer(whole):
            if looks_random(part[0]):
                yield run.start() + part.start(), run.start() + part.end(), "secret"


def _is_drawn(run: str) -> bool:
    """A base64 whose signs cut it into parts too short to be judged alone."""
    if len(run) < 20 or run.startswith("/") or not re.search(r"[+/_=-]", run):
        return False
    if not (re.search(r"[a-z]", run) and re.search(r"[A-Z]", run) and re.search(r"\d", run)):
        return False
    humps = _HUMPS.findall(run)
    return sum(map(len, humps)) < 2.6 * len(humps)


def _phones(text: str) -> Iterator[tuple[int, int, str]]:
    for count, found in enumerate(_MAYBE_PHONE.finditer(text)):
        if count >= MAX_PHONES or is_phone(found[0]):
            yield *found.span(), "phone"


def _whole_units(starts: list[int], ends: list[int], low: int, high: int) -> tuple[int, int, bool]:
    """The span without the units that it would cut in two, and whether there were any."""
    cut = False
    at = bisect_right(starts, low) - 1
    if at >= 0 and starts[at] < low < ends[at]:
        low, cut = ends[at], True
    at = bisect_right(starts, high - 1) - 1
    if at >= 0 and starts[at] < high < ends[at]:
        high, cut = starts[at], True
    return low, max(low, high), cut
