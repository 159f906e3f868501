"""Secrets in tables: what stands in the column that the first row calls a password, token, key or user. Pure.

A rule looks at one place; here the name stands some lines above its values (an export as CSV, a table of Markdown).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .rules import SECRET_NAME

__all__ = ["in_columns"]

_SEPARATORS = ",;|\t"
_QUOTES = " \t\"'`*"
#: A cell that holds a name and nothing else, with another cell on its line. No plurals: ``tokens`` are counted.
_HEAD = re.compile(
    rf"(?:^|[,;|\t])[ \t\"'`*]{{0,8}}(?:[\w -]{{0,30}}?(?:{SECRET_NAME}))[ \t\"'`*]{{0,8}}(?:[,;|\t]|$)",
    re.IGNORECASE | re.MULTILINE,
)
_NAME = re.compile(rf"[\w -]{{0,30}}?(?:{SECRET_NAME})", re.IGNORECASE)
_USER = re.compile(r"user(?:[_ -]?(?:name|id))?|login|account|e-?mail|full[_ ]?name|host(?:[_ ]?name)?", re.IGNORECASE)
_RULE = re.compile(r"[ \t|:+-]+")  # the line below the head of a table


def in_columns(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, kind) of what stands below the name of a secret; users and hosts only in such tables."""
    at = 0 if "\n" in text else len(text)
    while head := _HEAD.search(text, at):
        start = text.rfind("\n", 0, head.start() + 1) + 1
        at = _end_of_line(text, max(start, head.end() - 1))
        line = text[start:at]
        separator = max(_SEPARATORS, key=line.count)
        kinds = [_kind(cell) for _, _, cell in _cells(text, start, at, separator)]
        if len(kinds) < 2 or "secret" not in kinds:
            continue
        while at < len(text):
            start, end = at + 1, _end_of_line(text, at + 1)
            if text.find(separator, start, end) < 0:
                break
            at = end
            if _RULE.fullmatch(text, start, end):
                continue
            for kind, (low, high, cell) in zip(kinds, _cells(text, start, end, separator), strict=False):
                if kind and cell:
                    yield low, high, kind


def _kind(name: str) -> str:
    if _NAME.fullmatch(name):
        return "secret"
    return "user" if _USER.fullmatch(name) else ""


def _end_of_line(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _cells(text: str, start: int, end: int, separator: str) -> Iterator[tuple[int, int, str]]:
    """The cells of a line with their places, without quotes and blanks. A sign inside quotes parts nothing."""
    for cell in re.finditer(rf' *(?:"[^"\n]*" *(?={re.escape(separator)}|$)|[^{separator}\n]+|)', text[start:end]):
        if cell.start() and text[start + cell.start() - 1] != separator:
            continue  # the empty match behind a cell
        inner = cell[0].strip(_QUOTES + "\r")
        low = start + cell.start() + cell[0].find(inner)
        yield low, low + len(inner), inner
