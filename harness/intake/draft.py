"""A scenario while it is composed: values for the simulation, and the same as YAML with a comment beside each. Pure.

A search tries hundreds of scenarios and writes one, so the values are what counts and the text is made of them at the
end. What a comment calls assumed is what ``assumed`` tells: the file and the summary cannot differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["Draft"]

_PLAIN = re.compile(r"[A-Za-z_][\w./-]*$")
_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"))
_WIDTH = 100
ASSUMED = "assumed"


class Draft:
    """A mapping with comments. Values are JSON values, other drafts, or lists of (value, comment)."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[Any, str]] = {}

    def put(self, key: str, value: Any, comment: str = "") -> None:
        """Set a value. A comment that begins with "assumed" makes it an assumption."""
        self._entries[key] = value, comment

    def block(self, key: str, comment: str = "") -> Draft:
        """A nested mapping, written in lines of its own."""
        inner = Draft()
        self._entries[key] = inner, comment
        return inner

    def items(self, key: str, *items: tuple[Any, str]) -> None:
        """A list, one item a line with its comment."""
        self._entries[key] = list(items), _LIST

    def plain(self) -> dict[str, Any]:
        """The values alone."""
        return {key: _values(value, comment) for key, (value, comment) in self._entries.items()}

    def text(self) -> str:
        """YAML, with the comments."""
        return "\n".join(self._lines("")) + "\n"

    def assumed(self) -> tuple[str, ...]:
        """What the comments call assumed, as ``key value: why``."""
        return tuple(_assumptions(self, ""))

    def _lines(self, indent: str) -> Iterator[str]:
        for key, (value, comment) in self._entries.items():
            name = _flow(key)
            after = f"  # {comment}" if comment and comment is not _LIST else ""
            if isinstance(value, Draft):
                yield f"{indent}{name}:{after}"
                yield from value._lines(indent + "  ")
            elif comment is _LIST:
                yield f"{indent}{name}:"
                for item, told in value:
                    yield f"{indent}  - {_flow(item)}" + (f"  # {told}" if told else "")
            elif isinstance(value, str) and len(value) > _WIDTH:
                yield f"{indent}{name}: |"
                yield from (f"{indent}  {line}" for line in _wrapped(value))
            else:
                yield f"{indent}{name}: {_flow(value)}{after}"


_LIST = "<list>"


def _values(value: Any, comment: str) -> Any:
    if isinstance(value, Draft):
        return value.plain()
    if comment is _LIST:
        return [item for item, _ in value]
    if isinstance(value, str) and len(value) > _WIDTH:
        return "\n".join(_wrapped(value)) + "\n"  # as the block literal reads
    return value


def _assumptions(draft: Draft, path: str) -> Iterator[str]:
    for key, (value, comment) in draft._entries.items():
        if isinstance(value, Draft):
            if comment.startswith(ASSUMED):
                yield _told(f"{path}{key}", None, comment)
            yield from _assumptions(value, f"{path}{key}.")
        elif comment is _LIST:
            for item, told in value:
                if told.startswith(ASSUMED):
                    yield _told(f"{path}{key}", item, told)
        elif comment.startswith(ASSUMED):
            yield _told(f"{path}{key}", value, comment)


def _told(key: str, value: Any, comment: str) -> str:
    why = comment.removeprefix(ASSUMED).lstrip(": ")
    shown = "" if value is None else f" {_flow(value)}"
    shown = "" if len(shown) > 40 else shown
    return f"{key}{shown}" + (f": {why}" if why else "")


def _flow(value: Any) -> str:
    """YAML in flow style, with quotes only where they are needed."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str) and _PLAIN.match(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)


def _wrapped(text: str) -> list[str]:
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + len(word) + 1 > _WIDTH:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return [*lines, line]
