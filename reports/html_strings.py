"""Strings from a run made fit for a page: visible, bounded, without the machine's folders. Pure.

A history holds whatever models, tools and peers sent. Markup is escaped where it is written (Jinja2's autoescape,
``to_script_json``); this file deals with what escaping cannot: characters that a browser does not show or that turn
the reading direction, and lengths.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from .sentences import shorten

#: Shown as their symbols, so that an escape sequence is seen as one.
_PICTURES = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F: 0x2421}
#: No symbol of their own: line separators, C1 controls, directions of writing, halves of characters.
_HIDDEN = re.compile(
    "[\u0080-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_to_json = json.JSONEncoder(ensure_ascii=False, default=str).encode
_SLACK = 1000  # read beyond the limit before folders are shortened, so that a cut path does not show


def visible(text: str) -> str:
    """The text without characters that hide, reorder or break what a reader sees."""
    if text.isascii() and text.isprintable():
        return text  # as nearly all are, and a page has thousands
    return _HIDDEN.sub("\ufffd", text.translate(_PICTURES))


def folder_shortener(run_dir: str) -> Callable[[str], str]:
    """``sentences.shorten`` that also knows a run folder by its last two parts, wherever the machine had it."""
    tail = "/".join(run_dir.rstrip("/").split("/")[-2:])
    folder = re.compile(rf"~?(?:/[^\s\"'()|/]+)*/{re.escape(tail)}(?=/|\b)") if "/" in tail else None

    def short(text: str) -> str:
        text = shorten(text, run_dir)
        return text if folder is None or tail not in text else folder.sub("<run>", text)

    return short


def plain(value: object) -> str:
    """A record's value as text: strings as they are, everything else as JSON."""
    return value if isinstance(value, str) else _to_json(value)


def excerpt(value: object, limit: int, short: Callable[[str], str]) -> str:
    """What a page shows of a value: clipped, shortened, visible."""
    text = plain(value)
    shown = visible(short(text[: limit + _SLACK]))
    if len(text) <= limit:
        return shown
    return f"{shown[:limit]}... ({len(text):,} characters in all)"


def to_script_json(value: Any) -> str:
    """JSON that may stand inside a ``<script>`` element: no ``<``, ``>`` or ``&``, and pure ASCII.

    ASCII keeps out U+2028 and U+2029, which end a line in old JavaScript, and lone surrogates, which UTF-8 has not.
    """
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
