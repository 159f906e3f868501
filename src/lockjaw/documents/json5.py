"""JSON5 texts (OpenClaw's own ``openclaw.json``) as documents: plain data, and the place of every key.

The parser that is used knows no places. When one is asked for, which is when something is wrong, the text is read once
more for its keys.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import json5

from lockjaw.documents import Document, KeyPath, Place
from lockjaw.errors import DocumentError

__all__ = ["load_json5", "read_json5"]

#: Comments, strings, punctuation, and what stands bare (names, numbers).
_TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{}\[\]:,]|[^\s{}\[\]:,"'/]+|/""", re.DOTALL
)


def read_json5(path: Path) -> Document:
    """``load_json5`` of a UTF-8 file. Raises FileNotFoundError; DocumentError if it is there and cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(str(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(str(path), 0, "", "a readable JSON5 file", str(error)) from error
    return load_json5(text, str(path))


def load_json5(text: str, path: str) -> Document:
    """Parse one JSON5 object. NaN, infinity and 1e999 become text, so that a key which wants a number refuses them.

    Raises:
        DocumentError: not JSON5 or not an object.
    """
    try:
        value = json5.loads(text, parse_constant=str, parse_float=_finite)
    except ValueError as error:
        found = re.match(r"<string>:(\d+) (.*?)(?: at column (\d+))?$", str(error), re.DOTALL)
        line, column = (int(found[1]), int(found[3] or 0)) if found else (0, 0)
        raise DocumentError(path, line, "", f"JSON5 ({found[2] if found else error})", column=column) from error
    except RecursionError as error:
        raise DocumentError(path, 0, "", "fewer levels of nesting") from error
    if not isinstance(value, dict):
        raise DocumentError(path, 0, "", "a JSON5 object", type(value).__name__)
    return Document(path, value, partial(_place_of, text))


def _finite(word: str) -> float | str:
    return word if math.isinf(float(word)) else float(word)


def _place_of(text: str, key_path: Sequence[str | int]) -> Place:
    """The place of a key, or of its nearest parent that is there."""
    places = dict(_places(text))
    for depth in range(len(key_path), -1, -1):
        if (offset := places.get(tuple(key_path[:depth]))) is not None:
            return text.count("\n", 0, offset) + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1
    return 0, 0


def _places(text: str) -> Iterator[tuple[KeyPath, int]]:
    """Each key and list item with its offset. The text is JSON5: it was parsed before."""
    path: list[str | int] = []  # of the value that comes next
    opened: list[str] = []
    key_next = False
    for token in _TOKEN.finditer(text):
        word = token[0]
        if word.startswith(("//", "/*")) or word == ":":
            continue
        if word == ",":
            if opened[-1] == "[":
                path[-1] = int(path[-1]) + 1
            else:
                path.pop()
            key_next = opened[-1] == "{"
        elif word in "}]":
            # An empty object has no key to leave, nor has one that ends in a comma.
            if opened.pop() == "[" or not key_next:
                path.pop()
            key_next = False
        elif key_next:
            path.append(_name(word))
            yield tuple(path), token.start()
            key_next = False
        else:
            if not path or isinstance(path[-1], int):
                yield tuple(path), token.start()
            if word in "{[":
                opened.append(word)
                key_next = word == "{"
                if word == "[":
                    path.append(0)


def _name(word: str) -> str:
    name: Any = json5.loads(word) if word[0] in "\"'" else word
    return str(name)
