"""Replaces what is private in texts and in plain data by pseudonyms.

Two passes over everything that goes into a kit: ``learn`` meets the secrets, ``value`` writes the copies. So what is
recognised by its place once (``/home/NAME``, ``"sessionId": "..."``) is replaced wherever it stands alone, too.
Encoded forms are looked through: JSON and HTML escapes, percent signs, base64.
"""

from __future__ import annotations

import base64
import binascii
import html
import ipaddress
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import quote, unquote

from .pseudonyms import Pseudonyms
from .rules import KEY_KINDS, RULES, SECRET_KEYS, Rule

#: Say nothing about anybody, or are words of ours: never replaced where they stand alone.
PUBLIC_WORDS = frozenset(
    {
        "root", "user", "users", "admin", "guest", "nobody", "default", "public", "shared", "main", "client", "gateway",
        "models", "model", "harness", "agent", "agents", "runner", "ubuntu", "debian", "node", "none", "null", "true",
        "false", "unknown", "undefined", "localhost", "local", "server", "host", "machine", "openclaw", "lockjaw",
        "operator", "system", "home", "state", "sessions", "session", "lock", "timeout", "message", "text", "name",
        "test",
    }
)  # fmt: skip
_NO_SECRET = re.compile(r"(?i)null|none|true|false|undefined|\*+|x{3,}|<[^>]*>|\$\{?\w+\}?|\[?redacted\]?|[\d.]{1,5}")
#: While a text is worked on, pseudonyms stand in it as one private-use pair each, which no rule matches.
_OPEN, _FIRST, _BASE = "\ue000", 0xE100, 0x1000
_MARK = re.compile("\ue000([\ue100-\uf0ff])([\ue100-\uf0ff])")
_PRIVATE_USE = re.compile("[\ue000-\uf8ff]")
_JSON_ESCAPE = re.compile(r"\\+u00([2-7][0-9A-Fa-f])")
_BASE64 = re.compile(r"(?<![\w+/=-])(?:[A-Za-z0-9+/]{8,}|[A-Za-z0-9_-]{8,})={0,2}(?![\w+/=-])")
_DEPTH = 3  # encodings inside encodings
_SHORT = 3  # names below this length are replaced in their places only: alone they are parts of words


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
        self._rules = rules
        self._alone: dict[str, str] = {}  # what is known, casefolded -> kind
        self._pattern: re.Pattern[str] | None = None
        self._texts: dict[str, None] = {}
        self._texts_pattern: re.Pattern[str] | None = None
        self._settled = re.compile(r"(?!)")
        self._marks: list[str] = []
        self._mark_of: dict[str, int] = {}

    # ------------------------------------------------------------------ learning

    def learn(self, value: Any, *, spoken: frozenset[str] = frozenset()) -> None:
        """Meet what is private in plain data. ``spoken``: keys under which people and models speak."""
        places = self.places.copy()
        self._walk(value, "", spoken)
        self.places = places

    def learn_word(self, kind: str, word: str) -> None:
        """A name that is known to be private, such as this machine's."""
        if len(word) >= _SHORT and word.casefold() not in self._public:
            self._alone[word.casefold()] = kind
            self._pattern = None

    def settle(self) -> None:
        """From here on texts may hold pseudonyms: they stay, and nothing around them is taken for a part of them."""
        self._settled = _either(self.pseudonyms.issued)

    def publish(self, text: str) -> None:
        """A text that everybody has: it is not private where it is said."""
        self._public_texts.add(text)

    # ------------------------------------------------------------------ replacing

    def value(self, value: Any, *, spoken: frozenset[str] = frozenset()) -> Any:
        """A copy of plain data without what is private. ``spoken`` as for ``learn``."""
        return self._walk(value, "", spoken)

    def text(self, text: str) -> str:
        """A copy of a text without what is private."""
        return self._text(text, _DEPTH)

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
        plain = self.text(text)
        kind = _kind(key)
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
            self._texts[text[len(head) :]] = None
            self._texts_pattern = None
        return head + spoken

    def _text(self, text: str, depth: int) -> str:
        if not text or text in self.pseudonyms.issued:
            return text
        text = _PRIVATE_USE.sub("\ufffd", text)
        if depth and (shown := self._looked_through(text, depth - 1)) is not None:
            return shown
        marked = self._settled.sub(lambda found: self._marked(found[0]), text)
        marked = self._quoted(marked)
        for rule in self._rules:
            marked = rule.pattern.sub(self._by_rule, marked)
        if depth:
            marked = _BASE64.sub(lambda found: self._decoded(found[0], depth - 1), marked)
        # Last, because a rule may need what stands around: hooks.slack.com before a secret.
        return self._unmarked(self._known(marked))

    def _looked_through(self, text: str, depth: int) -> str | None:
        """The redacted text as programs decode it, if that shows something private."""
        for decoded in _readings(text):
            redacted = self._text(decoded, depth)
            if redacted != decoded:
                return redacted
        return None

    def _decoded(self, token: str, depth: int) -> str:
        text = _base64_text(token)
        if text is None or self._text(text, depth) == text:
            return token
        return self._mark("secret", token)

    def _by_rule(self, found: re.Match[str]) -> str:
        whole, shift = found[0], found.start()
        for name, part in sorted(found.groupdict().items(), key=lambda item: -found.start(item[0])):
            kind = name.rstrip("0123456789")
            if part is None or self._harmless(kind, part):
                continue
            start, end = found.start(name) - shift, found.end(name) - shift
            whole = whole[:start] + self._mark(kind, part) + whole[end:]
        return whole

    def _known(self, text: str) -> str:
        """Replace what is known already, where it stands alone."""
        if self._pattern is None:
            self._pattern = _either(self._alone, re.IGNORECASE)
        return self._pattern.sub(self._alone_again, text)

    def _quoted(self, text: str) -> str:
        """Replace what somebody said elsewhere."""
        if self._texts_pattern is None:
            self._texts_pattern = _either(self._texts)
        return self._texts_pattern.sub(lambda found: self._mark("text", found[0]), text)

    def _alone_again(self, found: re.Match[str]) -> str:
        kind = self._alone.get(found[0].casefold())
        return found[0] if kind is None else self._mark(kind, found[0])

    def _replace(self, kind: str, original: str) -> str:
        self.places[kind] += 1
        if kind == "text":
            return self.pseudonyms.text(original)
        for word in _alone(kind, original):
            if word not in self._alone and word not in self._public:
                self._alone[word] = kind
                self._pattern = None
        return self.pseudonyms.of(kind, original)

    def _mark(self, kind: str, original: str) -> str:
        if _PRIVATE_USE.search(original):
            original = self._unmarked(original)
        return self._marked(self._replace(kind, original))

    def _marked(self, pseudonym: str) -> str:
        number = self._mark_of.setdefault(pseudonym, len(self._marks))
        if number == len(self._marks):
            self._marks.append(pseudonym)
        return f"{_OPEN}{chr(_FIRST + number // _BASE)}{chr(_FIRST + number % _BASE)}"

    def _unmarked(self, text: str) -> str:
        def resolve(found: re.Match[str]) -> str:
            return self._marks[(ord(found[1]) - _FIRST) * _BASE + ord(found[2]) - _FIRST]

        return _MARK.sub(resolve, text)

    def _harmless(self, kind: str, part: str) -> bool:
        if part in self.pseudonyms.issued or (len(part) <= 3 and _OPEN in part):
            return True
        return harmless(kind, part) or (kind in _NAMES and part.casefold() in self._public)

    # ------------------------------------------------------------------ proof

    def leaks(self, text: str) -> list[str]:
        """Kinds of originals that still stand in a text, as they are or encoded: must be empty."""
        found = set()
        for original, kind in self.pseudonyms.originals.items():
            if original.casefold() in self._public or original in self.pseudonyms.issued:
                continue
            if len(original) < (16 if kind == "text" else 5) or (len(original) < 9 and original.isalpha()):
                continue  # too short to prove anything: "alice" is in "malice"
            if any(_stands(form, text) for form in _forms(original)):
                found.add(kind)
        return sorted(found)

    def report(self) -> dict[str, Any]:
        """What was replaced, by kind; nothing of what stood there."""
        distinct = self.pseudonyms.distinct()
        return {kind: {"different": distinct[kind], "places": self.places[kind]} for kind in sorted(distinct)}


_NUMBERED = {"id", "phone", "secret", "user"}
_NAMES = ("user", "host", "name", "id")


def harmless(kind: str, part: str) -> bool:
    """What looks private to a rule and is not."""
    word = part.casefold()
    if not word.strip():
        return True
    if kind in _NAMES and (word in PUBLIC_WORDS or word.endswith((".example", ".invalid"))):
        return True
    if kind == "secret":
        return _NO_SECRET.fullmatch(part) is not None
    if kind in ("ip", "host") and _is_address(part):
        address = ipaddress.ip_address(part)
        return address.is_loopback or address.is_unspecified
    if kind == "ip":
        return True  # no address: a time, a version
    if kind == "phone":
        digits = sum(char.isdigit() for char in part)
        return not 7 <= digits <= 17 or re.match(r"\d{4}-\d\d-\d\d", part) is not None
    return False


def hidden(text: str) -> str:
    """The text with the kind of it in the place of whatever is private: ``<secret>``, ``<user>``.

    For a line that is shown on its own. It does not look for what other texts told (``Redactor`` does).
    """
    for decoded in _readings(text):
        if _without_private(decoded) != decoded:
            text = decoded
    return _without_private(text)


def _without_private(text: str) -> str:
    def replaced(found: re.Match[str]) -> str:
        whole, shift = found[0], found.start()
        for name, part in sorted(found.groupdict().items(), key=lambda item: -found.start(item[0])):
            kind = name.rstrip("0123456789")
            if part is not None and not harmless(kind, part):
                whole = f"{whole[: found.start(name) - shift]}<{kind}>{whole[found.end(name) - shift :]}"
        return whole

    for rule in RULES:
        text = rule.pattern.sub(replaced, text)
    return text


def _kind(key: str) -> str | None:
    """The kind of whatever stands under a key."""
    plain = re.sub(r"[^a-z]", "", key.casefold())
    if plain.endswith(SECRET_KEYS) and not plain.endswith("timetoken"):
        return "secret"
    return KEY_KINDS.get(plain)


def _either(words: Iterable[str], flags: int = 0) -> re.Pattern[str]:
    """Any of the words where it stands alone, the longest first."""
    either = "|".join(re.escape(word) for word in sorted(words, key=lambda word: (-len(word), word)))
    return re.compile(rf"(?<![^\W_])(?:{either})(?![^\W_])" if either else r"(?!)", flags)


def _alone(kind: str, original: str) -> Iterable[str]:
    """What else names the same thing where it stands alone: the first part of a host or of a session id."""
    if kind in ("user", "host", "id", "number", "phone") and len(original) >= _SHORT and not _is_address(original):
        yield original.casefold()
        head = original.partition("." if kind == "host" else "-")[0]
        if (kind == "host" and len(head) > _SHORT) or (kind == "id" and re.fullmatch(r"[0-9A-Fa-f]{8}", head)):
            yield head.casefold()


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _readings(text: str) -> Iterable[str]:
    """The text as programs that decode it would see it."""
    if _JSON_ESCAPE.search(text):
        yield _JSON_ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    if "&" in text and (decoded := html.unescape(text)) != text:
        yield decoded
    if "%" in text and (decoded := unquote(text)) != text:
        yield decoded


def _base64_text(token: str) -> str | None:
    """What a token says if it is the base64 of a text."""
    plain = token.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        text = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return None
    return text if sum(char.isprintable() or char.isspace() for char in text) == len(text) else None


def _forms(original: str) -> Iterable[str]:
    encoded = original.encode("utf-8", "surrogatepass")
    forms: list[Callable[[], str]] = [
        lambda: original, lambda: json.dumps(original)[1:-1], lambda: json.dumps(json.dumps(original)[1:-1])[1:-1],
        lambda: html.escape(original), lambda: quote(encoded, safe=""),
    ]  # fmt: skip
    forms += [lambda cut=cut: _base64_core(encoded, cut) for cut in range(3)]  # type: ignore[misc]
    return dict.fromkeys(form for make in forms if len(form := make()) >= 5)


def _base64_core(data: bytes, cut: int) -> str:
    """The part of a base64 text that shows these bytes whatever stands around them. Empty where it is short."""
    whole = data[(3 - cut) % 3 :]
    whole = whole[: len(whole) // 3 * 3]
    return base64.b64encode(whole).decode("ascii") if len(whole) >= 6 else ""


def _stands(form: str, text: str) -> bool:
    at = text.find(form)
    if at < 0 or len(form) >= 12:
        return at >= 0
    return re.search(rf"(?<![^\W_]){re.escape(form)}(?![^\W_])", text) is not None
