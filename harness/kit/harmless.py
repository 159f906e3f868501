"""What looks private to a rule and is not. Pure."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

__all__ = ["NAMES", "PUBLIC_WORDS", "harmless", "is_address", "is_iban", "is_phone"]

#: Say nothing about anybody, or are words of ours: never replaced where they stand alone.
PUBLIC_WORDS = frozenset(
    {
        "root", "user", "users", "admin", "guest", "nobody", "default", "public", "shared", "main", "client", "gateway",
        "models", "model", "harness", "agent", "agents", "runner", "ubuntu", "debian", "node", "none", "null", "true",
        "false", "unknown", "undefined", "localhost", "local", "server", "host", "machine", "openclaw", "lockjaw",
        "operator", "system", "home", "state", "sessions", "session", "lock", "timeout", "message", "text", "name",
        "test", "git", "github", "staff", "wheel", "daemon", "assistant",
    }
)  # fmt: skip
NAMES = ("user", "host", "name", "id")
#: Regions whose national numbers are looked for: a number without its country is one of somebody's.
REGIONS = ("US", "GB", "DE", "FR", "IT", "ES", "BR", "JP", "CN", "IN", "AU", "KR", "MX", "NL", "CH", "PL")
_OWN_ID_HEAD = "gateway-fallback-"  # the runtime's own, before the id of a fresh session: everybody has it
_NO_SECRET = re.compile(
    r"(?i)null|none|true|false|undefined|\*+|x{3,}|\.{2,}|<[^>]*>?|\$\{?\w+\}?|\{\{?[\w .]*\}?\}?|%\(?\w+\)?s?"
    r"|/[\w.-]+/[\w./-]*|\[?redacted\]?|[\d.,:]{1,7}(?:ms|s|k|kb|mb)?|bearer|basic|digest|token|password|secret|string|required|missing|invalid|expired|empty"
)
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}")


@lru_cache(maxsize=50_000)
def harmless(kind: str, part: str) -> bool:
    """Is this part of a text no secret, no name, no address, whatever a rule thinks of its place?"""
    word = part.casefold()
    if not word.strip():
        return True
    if kind in NAMES and (word in PUBLIC_WORDS or word.endswith((".example", ".invalid"))):
        return True
    if kind == "id" and word == _OWN_ID_HEAD:
        return True
    if kind == "secret":
        return _NO_SECRET.fullmatch(part.strip()) is not None
    if kind in ("ip", "host") and is_address(part):
        address = ipaddress.ip_address(part)
        return address.is_loopback or address.is_unspecified
    if kind == "ip":
        return True  # no address: a time, a version
    if kind == "phone":
        digits = sum(char.isdigit() for char in part)
        return not 7 <= digits <= 17 or _DATE.match(part.strip()) is not None
    return False


def is_address(text: str) -> bool:
    """Is it an IP address?"""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_iban(text: str) -> bool:
    """Does the check number of a bank account fit (ISO 13616)?"""
    plain = re.sub(r"[ -]", "", text).upper()
    if not 15 <= len(plain) <= 34 or not plain.isalnum() or not plain.isascii():
        return False
    digits = "".join(str(int(char, 36)) for char in plain[4:] + plain[:4])
    return int(digits) % 97 == 1


@lru_cache(maxsize=20_000)
def is_phone(text: str) -> bool:
    """Is it somebody's phone number, written with signs between its groups as people write them?

    Source: the ``phonenumbers`` library (Google's libphonenumber), for the regions above.
    """
    text = text.strip()
    digits = re.sub(r"\D", "", text)
    if harmless("phone", text) or not 8 <= len(digits) <= 15 or not re.search(r"\d[ ().\-/\u00a0]+\d", text):
        return False
    if is_address(text) or re.fullmatch(r"\d+\.\d+", text):
        return False
    import phonenumbers  # here: only who makes a kit needs it

    for region in REGIONS:
        try:
            if phonenumbers.is_valid_number(phonenumbers.parse(text, region)):
                return True
        except phonenumbers.NumberParseException:
            continue
    return False
