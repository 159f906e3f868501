"""Replaces what is private in texts and in plain data by pseudonyms.

Two passes over everything that goes into a kit: ``learn`` meets the secrets, ``value`` writes the copies. So what is
recognised by its place once (``/home/NAME``, ``"sessionId": "..."``) is replaced wherever it stands alone, too, and in
whatever encoding (``readings``). What ``leaks`` looks for at the end is exactly that.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .finding import BASE64, Cover, Finder, Found, decoded_base64
from .harmless import NAMES, PUBLIC_WORDS, harmless, is_address
from .lexicon import Lexicon
from .pseudonyms import Pseudonyms
from .readings import Reading, readings
from .rules import KEY_KINDS, RULES, SECRET_KEYS, Rule

__all__ = ["PUBLIC_WORDS", "Redactor", "hidden"]

_DEPTH = 3  # base64 in base64
_SHORT = 3  # names below this length are replaced in their places only: alone they are parts of words
_PLAIN = 9  # letters alone, below this length, are a word that others use too
_TEXT = 16  # what somebody said is looked for elsewhere from this length on
_FINDER = Finder()


class Redactor:
    """One kit's redaction.

    Args:
        salt: see ``Pseudonyms``.
        keep_text: leave what people and models say, apart from the secrets in it.
        public: words of the scenario and of Lockjaw that must stay.
        rules: for tests.
    """

    def __init__(
        self, salt: bytes, *, keep_text: bool = False, public: Iterable[str] = (), rules: Sequence[Rule] = RULES
    ) -> None:
        self.pseudonyms = Pseudonyms(salt)
        self.keep_text = keep_text
        self.places: Counter[str] = Counter()
        self._public = PUBLIC_WORDS | {word.casefold() for word in public}
        self._public_texts: set[str] = set()
        self._finder = Finder(rules)
        self._known: Lexicon[str] = Lexicon(any_case=True)  # what is private wherever it stands alone, and its kind
        self._texts: Lexicon[str] = Lexicon()  # what somebody said
        self._settled: Lexicon[None] = Lexicon()  # pseudonyms that texts may hold

    # ------------------------------------------------------------------ learning

    def learn(self, value: Any, *, spoken: frozenset[str] = frozenset()) -> None:
        """Meet what is private in plain data. ``spoken``: keys under which people and models speak."""
        places = self.places.copy()
        self._walk(value, "", spoken)
        self.places = places

    def learn_word(self, kind: str, word: str) -> None:
        """A name that is known to be private, such as this machine's."""
        if len(word) >= _SHORT and word.casefold() not in self._public:
            self._known.add(word, kind)

    def settle(self) -> None:
        """From here on texts may hold pseudonyms: they stay, and nothing around them is taken for a part of them."""
        for pseudonym in self.pseudonyms.issued:
            self._settled.add(pseudonym, None)

    def publish(self, text: str) -> None:
        """A text that everybody has: it is not private where it is said, and none of its words names anybody."""
        self._public_texts.add(text)
        self.publish_words(text)

    def publish_words(self, text: str) -> None:
        """A text whose words everybody has."""
        self._public |= {word.casefold() for word in re.findall(r"[^\W_]+(?:[-._][^\W_]+)*", text)}

    # ------------------------------------------------------------------ replacing

    def value(self, value: Any, *, spoken: frozenset[str] = frozenset()) -> Any:
        """A copy of plain data without what is private. ``spoken`` as for ``learn``."""
        return self._walk(value, "", spoken)

    def text(self, text: str) -> str:
        """A copy of a text without what is private."""
        if not text or text in self.pseudonyms.issued:
            return text
        pieces, at = [], 0
        for found in sorted(self.private(text)):
            pieces += [text[at : found.start], self._replace(found.kind, found.original)]
            at = found.end
        return "".join([*pieces, text[at:]])

    def _walk(self, value: Any, key: str, spoken: frozenset[str]) -> Any:
        if isinstance(value, dict):
            if key == "error":
                spoken -= {"message"}  # a provider's words, by which a runtime tells its errors apart
            return {self.text(str(k)): self._walk(item, str(k), spoken) for k, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._walk(item, key, spoken) for item in value]
        if isinstance(value, str):
            return self._string(value, key, spoken)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 100_000 and _kind(key) in _NUMBERED:
            return int(self._replace("number", str(abs(value))))
        return value

    def _string(self, text: str, key: str, spoken: frozenset[str]) -> str:
        if text in self.pseudonyms.issued:
            return text
        if key in spoken:
            return self.text(text) if self.keep_text else self._spoken(text)
        kind = _kind(key)
        if kind == "secret" and not self._harmless(kind, text):
            return self._replace(kind, text)
        plain = self.text(text)
        if plain == text and kind is not None and not self._harmless(kind, text):
            return self._replace(kind, text)
        return plain

    def _spoken(self, text: str) -> str:
        """What somebody said. Public texts stay, whatever the runtime puts around them."""
        if any(known in text for known in self._public_texts):
            return self.text(text)
        prefix = re.match(r"\[\w{3} \d{4}-\d\d-\d\d \d\d:\d\d [^\]]*\] ", text)
        head = prefix[0] if prefix else ""
        said = self.text(text[len(head) :])
        if said in self.pseudonyms.issued or not any(char.isalnum() for char in said):
            return head + said
        # Of the original, not of the redacted copy: the lengths of its words are what a replay depends on.
        spoken = self.pseudonyms.text(text[len(head) :])
        self.places["text"] += 1
        if len(text) - len(head) >= 8 or " " in text.strip():
            self._texts.add(text[len(head) :], "text")
        return head + spoken

    def private(self, text: str) -> list[Found]:
        """Where in a text something stands that ``text`` replaces, in no order."""
        layers = readings(text)
        cover = Cover(text, layers)
        for layer in layers:
            for hit in self._settled.find(layer.text):
                cover.protect(*layer.source(hit.start, hit.end))
        self._cover_known(cover, layers, self._texts)
        for found in self._finder.find(text):
            if not self._harmless(found.kind, found.original):
                cover.take(found)
        for found in cover.found:
            if not self._harmless(found.kind, found.original):
                self._learned(found.kind, found.original)
        self._cover_known(cover, layers, self._known)
        for layer in layers:
            for token in BASE64.finditer(layer.text):
                if self._hides(token[0], _DEPTH):
                    cover.add(layer, *token.span(), "secret")
        return [found for found in cover.found if not self._harmless(found.kind, found.original)]

    def _cover_known(self, cover: Cover, layers: Sequence[Reading], known: Lexicon[str]) -> None:
        for layer in reversed(layers):
            for hit in known.find(layer.text):
                cover.add(layer, *hit)

    def _hides(self, token: str, depth: int) -> bool:
        """Is it the base64 of a text in which something known stands?"""
        inside = decoded_base64(token) if depth else None
        return inside is not None and any(True for _ in self._hits(inside, depth - 1))

    def _hits(self, text: str, depth: int = _DEPTH) -> Iterator[tuple[str, str]]:
        """(kind, word) of whatever known thing stands in a text, in any encoding."""
        for layer in readings(text):
            for known in (self._known, self._texts):
                for hit in known.find(layer.text):
                    yield hit.note, layer.text[hit.start : hit.end]
            for token in BASE64.finditer(layer.text):
                inside = decoded_base64(token[0]) if depth else None
                if inside is not None:
                    yield from ((found.kind, found.original) for found in self._finder.find(inside))
                    yield from self._hits(inside, depth - 1)

    def _replace(self, kind: str, original: str) -> str:
        self.places[kind] += 1
        if kind == "text":
            return self.pseudonyms.text(original)
        self._learned(kind, original)
        return self.pseudonyms.of(kind, original)

    def _learned(self, kind: str, original: str) -> None:
        for word in _alone(kind, original):
            if word.casefold() not in self._public and word not in self.pseudonyms.issued:
                self._known.add(word, kind)

    def _harmless(self, kind: str, part: str) -> bool:
        if part in self.pseudonyms.issued:
            return True
        return harmless(kind, part) or (kind in NAMES and part.casefold() in self._public)

    # ------------------------------------------------------------------ proof

    def leaks(self, text: str) -> list[str]:
        """Kinds of originals that still stand in a text, as they are or encoded: must be empty."""
        found = set()
        for kind, word in self._hits(text):
            if word in self.pseudonyms.issued or len(word) < (_TEXT if kind == "text" else 5):
                continue
            if len(word) < _PLAIN and _is_word(word):
                continue  # proves nothing: others use the word, too
            found.add(kind)
        return sorted(found)

    def report(self) -> dict[str, Any]:
        """What was replaced, by kind; nothing of what stood there."""
        distinct = self.pseudonyms.distinct()
        return {kind: {"different": distinct[kind], "places": self.places[kind]} for kind in sorted(distinct)}


_NUMBERED = {"id", "phone", "secret", "user"}


def hidden(text: str) -> str:
    """The text with the kind of it in the place of whatever is private: ``<secret>``, ``<user>``.

    For a line that is shown on its own. It does not look for what other texts told (``Redactor`` does).
    """
    pieces, at = [], 0
    for found in sorted(_FINDER.find(text)):
        pieces += [text[at : found.start], f"<{found.kind}>"]
        at = found.end
    return "".join([*pieces, text[at:]])


def _kind(key: str) -> str | None:
    """The kind of whatever stands under a key."""
    plain = re.sub(r"[^a-z]", "", key.casefold())
    if plain.endswith(SECRET_KEYS) and not plain.endswith("timetoken"):
        return "secret"
    return KEY_KINDS.get(plain)


def _alone(kind: str, original: str) -> Iterable[str]:
    """What names the same thing where it stands alone: itself, and the first part of a host or of a session id."""
    original = original.strip()
    signs = sum(char.isalnum() for char in original)
    if signs >= _alone_from(kind, original):
        yield original
    if kind in ("host", "id") and not is_address(original):
        head = original.partition("." if kind == "host" else "-")[0]
        if (kind == "host" and len(head) > _SHORT and not head.isdigit()) or re.fullmatch(r"[0-9A-Fa-f]{8}", head):
            yield head


def _is_word(text: str) -> bool:
    """Letters alone, but for the signs that tie a word to the next one."""
    return text.strip("_-.").isalpha()


def _alone_from(kind: str, original: str) -> int:
    """How many letters and digits it takes to be nothing else where it stands alone."""
    if _is_word(original):
        return _SHORT if kind in ("user", "host") else _PLAIN
    if not any(char.isalpha() for char in original):
        return 7
    return _SHORT if kind in ("user", "host") else 5
