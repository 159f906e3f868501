"""Stand-ins for what is private: equal things get equal ones within a kit, and others in the next kit.

Faker draws them; its seed is a keyed hash of the kit's salt and the original, and the salt is thrown away with the
process. So nobody can check a guess ("is this my number?") against a kit. Addresses, numbers and names come from
ranges that are reserved for documentation or assigned to nobody: a pseudonym never reaches a person or a machine.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faker import Faker

#: A pseudonym must not be one of the originals, nor another's. Only tiny ranges ever come near this many draws.
_TRIES = 200
_WORD = re.compile(r"\{\w+\}|\w+|[^\w\s]")


class Pseudonyms:
    """One kit's. ``salt``: at least 16 bytes that nobody keeps."""

    def __init__(self, salt: bytes) -> None:
        from faker import Faker  # here: it costs a tenth of a second, and only who makes a kit needs it

        assert len(salt) >= 16, "a salt that can be guessed protects nothing"
        self._salt = salt
        self._fake = Faker("en_US")
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
        ``{n}`` and the like, which a scenario fills in, stay.
        """
        if not any(char.isalnum() for char in original):
            return original
        key = "text", original
        if key not in self._known:
            self._seed("text", original, 0)
            letters = self._letters(len(original))

            def other(found: re.Match[str]) -> str:
                word = found[0]
                if word.startswith("{") and len(word) > 1:
                    return word
                return "".join(next(letters) for _ in word) if word[0].isalnum() or word[0] == "_" else ","

            self._known[key] = _WORD.sub(other, original)
            self.issued.add(self._known[key])
            self.originals.setdefault(original, "text")
        return self._known[key]

    def _letters(self, count: int) -> Iterator[str]:
        """Syllables: what looks drawn would be taken for a key where a part of the text is said again."""
        heads = self._fake.lexify("?" * count, letters="lmnrst")
        tails = self._fake.lexify("?" * count, letters="aeio")
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
            drawn = draw(self._fake, original)
            if drawn not in self.issued and drawn != original:
                return drawn
        return f"{drawn}-{len(self.issued)}"

    def _seed(self, kind: str, normal: str, attempt: int) -> None:
        digest = hmac.digest(self._salt, f"{kind}\0{attempt}\0{normal}".encode("utf-8", "surrogatepass"), "sha256")
        self._fake.seed_instance(int.from_bytes(digest[:8], "big"))


def _normal(kind: str, original: str) -> str:
    if kind in ("phone", "number"):
        return re.sub(r"\D", "", original).removeprefix("00")
    return original.casefold() if kind in ("email", "host", "user", "id", "ip", "mac") else original


def _same_digits(fake: Faker, original: str) -> str:
    return re.sub(r"\d", lambda _: str(fake.random_digit_not_null()), original)


def _id(fake: Faker, original: str) -> str:
    if re.fullmatch(r"[0-9A-Fa-f-]+", original):
        return re.sub(r"[0-9A-Fa-f]", lambda _: fake.random_element("0123456789abcdef"), original)
    return "id-" + fake.hexify("^" * 8)


def _host(fake: Faker, original: str) -> str:
    name = f"{fake.domain_word()}-{fake.random_int(10, 99)}"
    return f"{name}.example" if "." in original else name


def _ip(fake: Faker, original: str) -> str:
    if ":" in original:
        return "2001:db8::" + ":".join(fake.hexify("^^^^") for _ in range(2))  # RFC 3849
    return f"198.{18 + fake.random_int(0, 1)}.{fake.random_int(0, 255)}.{fake.random_int(1, 254)}"  # RFC 2544


_DRAWS: dict[str, Callable[[Faker, str], str]] = {
    "secret": lambda fake, _: "REDACTED-" + fake.hexify("^" * 12),
    "email": lambda fake, _: f"{fake.user_name()}@{fake.domain_word()}.example",  # RFC 2606
    "user": lambda fake, _: fake.user_name(),
    "host": _host,
    "ip": _ip,
    "mac": lambda fake, _: "02:00:" + ":".join(fake.hexify("^^") for _ in range(4)),  # locally administered
    "phone": lambda fake, _: "+999" + fake.numerify("%########"),  # a country code that no country has
    "number": _same_digits,
    "iban": lambda fake, _: "XX00" + fake.numerify("%" + "#" * 15),
    "id": _id,
    "name": lambda fake, _: f"{fake.word()}-{fake.random_int(10, 99)}",
}
