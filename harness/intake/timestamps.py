"""The time at the head of a log line, in any of the shapes that loggers use. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple

DAY_MS = 86_400_000
_MONTHS = {
    name: n
    for n, name in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)
}


class Instant(NamedTuple):
    """``ms`` since 1970 where a date stood beside the time, else since midnight (``dated`` False)."""

    ms: int
    dated: bool


_TIME = r"(?P<h>[01]?\d|2[0-4]):(?P<mi>[0-5]\d):(?P<s>[0-6]\d)(?:[.,](?P<f>\d{1,9}))?"
_ZONE = r"(?: ?(?P<z>Z|UTC|GMT|[+-]\d{2}:?\d{2}))?"


def _shape(pattern: str) -> re.Pattern[str]:
    return re.compile(r"[\[(<]?" + pattern + r"[\])>]?(?:,(?=\s))?(?=$|[\s|:\]])", re.IGNORECASE)


_ISO = _shape(r"(?P<y>\d{4})[-/.](?P<mo>\d{1,2})[-/.](?P<d>\d{1,2})(?:[T_]|,? )" + _TIME + _ZONE)
_CLF = _shape(r"(?P<d>\d{1,2})/(?P<mon>[a-z]{3})/(?P<y>\d{4}):" + _TIME + _ZONE)
_LOCALE = _shape(r"(?P<a>\d{1,2})[/.](?P<b>\d{1,2})[/.](?P<y>\d{4}),? " + _TIME + r"(?: ?(?P<ampm>[AP]M))?" + _ZONE)
_SYSLOG = _shape(r"(?:[a-z]{3},? )?(?P<mon>[a-z]{3}) {1,2}(?P<d>\d{1,2}) (?:(?P<y>\d{4}) )?" + _TIME + _ZONE)
_CLOCK = _shape(_TIME + r"(?: ?(?P<ampm>[AP]M))?" + _ZONE)
_EPOCH = re.compile(r"\[?(?P<epoch>1[5-9]\d{8})(?P<frac>\d{3}(?:\d{3})?|\.\d{1,6})?\]?(?=$|[\s|])")

_YEAR = 2026  # of a syslog line, which has none: only the order within one text matters


def at_head(text: str) -> tuple[Instant, int] | None:
    """The instant at the start of a line, and where the rest begins; None if there is none."""
    if not text or not (text[0].isdigit() or text[0].isalpha() or text[0] in "[(<"):
        return None
    for pattern, read in _SHAPES:
        found = pattern.match(text)
        if found is not None:
            instant = read(found)
            if instant is not None:
                return instant, found.end()
    return None


def read(text: str) -> Instant | None:
    """The instant that a whole text is (a JSON field)."""
    found = at_head(text.strip())
    return found[0] if found is not None else None


def _dated(found: re.Match[str], year: int, month: int, day: int) -> Instant | None:
    try:
        day_start = datetime(year, month, day, tzinfo=_zone(found))
    except (ValueError, OverflowError):
        return None
    return Instant(round(day_start.timestamp() * 1000) + _of_day(found), True)


def _of_day(found: re.Match[str]) -> int:
    parts = found.groupdict()
    hour = int(parts["h"])
    if parts.get("ampm"):
        hour = hour % 12 + (12 if parts["ampm"].upper() == "PM" else 0)
    fraction = int((parts["f"] or "0").ljust(3, "0")[:3])
    return ((hour * 60 + int(parts["mi"])) * 60 + int(parts["s"])) * 1000 + fraction


def _zone(found: re.Match[str]) -> timezone:
    zone = found.groupdict().get("z")
    if not zone or zone[0] not in "+-":
        return UTC
    digits = zone[1:].replace(":", "")
    shift = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    if shift >= timedelta(days=1):
        return UTC
    return timezone(-shift if zone[0] == "-" else shift)


def _iso(found: re.Match[str]) -> Instant | None:
    return _dated(found, int(found["y"]), int(found["mo"]), int(found["d"]))


def _named_month(found: re.Match[str]) -> Instant | None:
    month = _MONTHS.get(found["mon"].lower())
    return None if month is None else _dated(found, int(found["y"] or _YEAR), month, int(found["d"]))


def _locale(found: re.Match[str]) -> Instant | None:
    a, b = int(found["a"]), int(found["b"])
    day_first = a > 12 or "." in found[0]
    month, day = (b, a) if day_first else (a, b)
    return _dated(found, int(found["y"]), month, day)


def _clock(found: re.Match[str]) -> Instant:
    return Instant(_of_day(found), False)


def _epoch(found: re.Match[str]) -> Instant:
    fraction = found["frac"] or ""
    ms = int(fraction[:3]) if fraction.isdigit() else round(float(fraction) * 1000) if fraction else 0
    return Instant(int(found["epoch"]) * 1000 + ms, True)


_SHAPES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Instant | None]], ...] = (
    (_ISO, _iso),
    (_CLF, _named_month),
    (_LOCALE, _locale),
    (_SYSLOG, _named_month),
    (_CLOCK, _clock),
    (_EPOCH, _epoch),
)
