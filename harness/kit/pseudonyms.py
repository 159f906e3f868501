"""Stand-ins for what is private: equal things get equal ones within a kit, and others in the next kit.

Each is drawn from a stream whose seed is a keyed hash of the kit's salt and the original, and the salt is thrown away
with the process. So nobody can check a guess ("is this my number?") against a kit. Addresses, numbers and names come
from ranges that are reserved for documentation or assigned to nobody: a pseudonym never reaches a person or a machine.
"""

from __future__ import annotations

import hmac
import random
import re
import string
from collections.abc import Callable, Iterator
from itertools import chain

#: A pseudonym must not be one of the originals, nor another's. Only tiny ranges ever come near this many draws.
_TRIES = 200
_WORD = re.compile(r"\bLJ-\d{1,9}\b|\{\w+\}|\w+|[^\w\s]")
_HIDDEN = "REDACTED-"
#: A pseudonym of a secret, in any kit.
SECRET_PSEUDONYM = re.compile(rf"{_HIDDEN}[0-9a-f]{{12}}(?![A-Za-z0-9])")
_MARKER = re.compile(r"LJ-\d{1,9}")  # by which a run of others finds its turn again


class Pseudonyms:
    """One kit's. ``salt``: at least 16 bytes that nobody keeps."""

    def __init__(self, salt: bytes) -> None:
        assert len(salt) >= 16, "a salt that can be guessed protects nothing"
        self._salt = salt
        self._stream = random.Random()  # seeded for each draw
        self._known: dict[tuple[str, str], str] = {}
        self.issued: set[str] = set()
        self.originals: dict[str, str] = {}  # original -> kind, for the search for leaks

    def of(self, kind: str, original: str) -> str:
        """The pseudonym of an original. Two spellings of one thing (case, blanks of a number) share it."""
        self.originals.setdefault(original, kind)
        key = kind, _normal(kind, original)
        if key not in self._known:
            self._known[key] = self._fresh(kind, key[1], original)
            self.issued.add(self._known[key])
        return self._known[key]

    def text(self, original: str) -> str:
        """Words of the same lengths in the place of the words, and commas in the place of signs.

        A replay paces, counts and cuts by words and lengths. The signs go because with them a made-up text could look
        like an address, and be taken for one.

        Equal texts stay equal, equal words of different texts do not: that would be a puzzle that can be solved.
        ``{n}`` and the like, which a scenario fills in, stay, and so do markers such as ``LJ-1``.
        """
        if not any(char.isalnum() for char in original):
            return original
        key = "text", original
        if key not in self._known:
            self._seed("text", original, 0)
            letters = self._letters(len(original))

            def other(found: re.Match[str]) -> str:
                word = found[0]
                if (word.startswith("{") and len(word) > 1) or _MARKER.fullmatch(word):
                    return word
                return "".join(next(letters) for _ in word) if word[0].isalnum() or word[0] == "_" else ","

            self._known[key] = _WORD.sub(other, original)
            self.issued.add(self._known[key])
            self.originals.setdefault(original, "text")
        return self._known[key]

    def _letters(self, count: int) -> Iterator[str]:
        """Syllables: what looks drawn would be taken for a key where a part of the text is said again."""
        heads, tails = self._stream.choices("lmnrst", k=count), self._stream.choices("aeio", k=count)
        return chain.from_iterable(zip(heads, tails, strict=True))

    def distinct(self) -> dict[str, int]:
        """Kind -> how many different things were replaced."""
        counts: dict[str, int] = {}
        for kind, _ in self._known:
            counts[kind] = counts.get(kind, 0) + 1
        return counts

    def _fresh(self, kind: str, normal: str, original: str) -> str:
        draw = _DRAWS[kind]
        for attempt in range(_TRIES):
            self._seed(kind, normal, attempt)
            drawn = draw(self._stream, original)
            if drawn not in self.issued and drawn != original:
                return drawn
        return f"{drawn}-{len(self.issued)}"

    def _seed(self, kind: str, normal: str, attempt: int) -> None:
        digest = hmac.digest(self._salt, f"{kind}\0{attempt}\0{normal}".encode("utf-8", "surrogatepass"), "sha256")
        self._stream.seed(int.from_bytes(digest[:8], "big"))


def _normal(kind: str, original: str) -> str:
    if kind in ("phone", "number"):
        return re.sub(r"\D", "", original).removeprefix("00")
    return original.casefold() if kind in ("email", "host", "user", "id", "ip", "mac") else original


# --------------------------------------------------------------------------- what is drawn

Stream = random.Random

#: Words that are nobody's name in particular. Short lists: a kit has a handful of people and machines.
_PEOPLE = (
    "alba", "amos", "anya", "arlo", "bela", "bram", "cleo", "cora", "dara", "dirk", "edda", "eino", "elin", "emre",
    "fenn", "finn", "gida", "hale", "hugo", "ines", "ivar", "jana", "juno", "kian", "kira", "lars", "lena", "lior",
    "mads", "mika", "nilo", "noor", "odin", "olga", "pavo", "rafa", "rhea", "saul", "suri", "tove", "ugo", "vera",
    "wim", "yara", "zeno",
)  # fmt: skip
_THINGS = (
    "acorn", "amber", "anvil", "basil", "birch", "brook", "cedar", "cliff", "clover", "comet", "coral", "crane",
    "delta", "ember", "fern", "fjord", "flint", "gable", "grove", "harbor", "hazel", "heron", "iris", "ivory",
    "lark", "linden", "maple", "meadow", "north", "olive", "onyx", "opal", "orchid", "pebble", "pine", "quartz",
    "raven", "reed", "river", "sable", "slate", "sparrow", "thistle", "tulip", "willow",
)  # fmt: skip


def _person(stream: Stream) -> str:
    return f"{stream.choice(_PEOPLE)}{stream.choice(_PEOPLE)}{stream.randint(10, 99)}"


def _hex(stream: Stream, count: int) -> str:
    return "".join(stream.choices("0123456789abcdef", k=count))


def _digits(stream: Stream, count: int) -> str:
    """The first one is not 0."""
    return str(stream.randint(1, 9)) + "".join(stream.choices(string.digits, k=count - 1))


def _same_digits(stream: Stream, original: str) -> str:
    return re.sub(r"\d", lambda _: str(stream.randint(1, 9)), original)


def _id(stream: Stream, original: str) -> str:
    if re.fullmatch(r"[0-9A-Fa-f-]+", original):
        return re.sub(r"[0-9A-Fa-f]", lambda _: _hex(stream, 1), original)
    return "id-" + _hex(stream, 8)


def _host(stream: Stream, original: str) -> str:
    name = f"{stream.choice(_THINGS)}-{stream.randint(10, 99)}"
    return f"{name}.example" if "." in original else name


def _ip(stream: Stream, original: str) -> str:
    if ":" in original:
        return f"2001:db8::{_hex(stream, 4)}:{_hex(stream, 4)}"  # RFC 3849
    return f"198.{18 + stream.randint(0, 1)}.{stream.randint(0, 255)}.{stream.randint(1, 254)}"  # RFC 2544


_DRAWS: dict[str, Callable[[Stream, str], str]] = {
    "secret": lambda stream, _: _HIDDEN + _hex(stream, 12),
    "email": lambda stream, _: f"{_person(stream)}@{stream.choice(_THINGS)}.example",  # RFC 2606
    "user": lambda stream, _: _person(stream),
    "host": _host,
    "ip": _ip,
    "mac": lambda stream, _: "02:00:" + ":".join(_hex(stream, 2) for _ in range(4)),  # locally administered
    "phone": lambda stream, _: "+999" + _digits(stream, 9),  # a country code that no country has
    "number": _same_digits,
    "iban": lambda stream, _: "XX00" + _digits(stream, 16),
    "id": _id,
    "name": lambda stream, _: f"{stream.choice(_THINGS)}-{stream.randint(10, 99)}",
}
