"""YAML texts as documents: plain data, and the place of every key.

Narrower than YAML on purpose: keys are text as written (``on:`` is the key "on", ``4.5:`` the key "4.5"),
a duplicate key is an error, values are JSON values (no dates, sets, binaries, NaN or infinity), merge keys
(``<<``) are refused, aliases (``*name``) are fine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from lockjaw.documents import Document, KeyPath, Place, dotted
from lockjaw.errors import DocumentError, unreadable

__all__ = ["load_document", "read_document"]

#: Aliases can make a page of text expand to gigabytes; no honest script comes near this many values.
MAX_VALUES = 200_000
#: PyYAML takes 7 s for 10 MB; no honest script comes near this many characters.
MAX_LENGTH = 4 << 20
_JSON_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str")}
_TIMESTAMP_TAG = "tag:yaml.org,2002:timestamp"  # what YAML 1.1 reads into an unquoted date: text, for us
_MERGE_TAG = "tag:yaml.org,2002:merge"


def load_document(text: str, path: str) -> Document:
    """Parse one YAML document.

    Args:
        path: what to call the file in errors; nothing is opened.

    Raises:
        DocumentError: not YAML, more than one document, a duplicate key, a value that JSON does not have.
    """
    if len(text) > MAX_LENGTH:
        raise DocumentError(path, 0, "", f"at most {MAX_LENGTH} characters", len(text))
    try:
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                return Document(path, None)
            return Document(path, _Builder(path, loader).build(root, ()), partial(_place_in, root))
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise DocumentError(path, line, "", f"YAML ({error.problem})", column=column) from error
    except yaml.YAMLError as error:
        raise DocumentError(path, 0, "", f"YAML ({error})") from error
    except RecursionError as error:
        raise DocumentError(path, 0, "", "fewer levels of nesting") from error


def read_document(path: str | Path) -> Document:
    """``load_document`` of a UTF-8 file. Raises DocumentError if it cannot be read."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(str(path), 0, "", f"a UTF-8 text file; {unreadable(error)}") from error
    return load_document(text, str(path))


# --------------------------------------------------------------------------- from nodes to plain data


@dataclass
class _Builder:
    path: str
    loader: yaml.SafeLoader
    built: dict[int, tuple[Any, int]] = field(default_factory=dict)  # id(node) -> value, how many values it expands to
    open: set[int] = field(default_factory=set)

    def build(self, node: yaml.Node, at: KeyPath) -> Any:
        return self._value(node, at)[0]

    def _value(self, node: yaml.Node, at: KeyPath) -> tuple[Any, int]:
        known = self.built.get(id(node))
        if known is not None:
            return known
        if id(node) in self.open:
            raise self._error(node, at, "no alias to something that contains it")
        self.open.add(id(node))
        made = self._make(node, at)
        self.open.discard(id(node))
        if made[1] > MAX_VALUES:
            raise self._error(node, at, f"at most {MAX_VALUES} values with aliases expanded", made[1])
        self.built[id(node)] = made
        return made

    def _make(self, node: yaml.Node, at: KeyPath) -> tuple[Any, int]:
        size = 1
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            items = []
            for index, child in enumerate(node.value):
                value, count = self._value(child, (*at, index))
                items.append(value)
                size += count
            return items, size
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            mapping: dict[str, Any] = {}
            for key_node, child in node.value:
                key = self._key(key_node, at)
                if key in mapping:
                    raise self._error(key_node, (*at, key), "each key once", f"{key} again")
                value, count = self._value(child, (*at, key))
                mapping[key] = value
                size += count
            return mapping, size
        return self._scalar(node, at), size

    def _key(self, node: yaml.Node, at: KeyPath) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, at, "text as a key")
        if node.tag == _MERGE_TAG:
            raise self._error(node, at, "no merge key (<<); write the keys out or alias the whole value")
        return str(node.value)

    def _scalar(self, node: yaml.Node, at: KeyPath) -> Any:
        if node.tag == _TIMESTAMP_TAG:
            return node.value
        if not isinstance(node, yaml.ScalarNode) or node.tag not in _JSON_TAGS:
            raise self._error(node, at, "a JSON value", node.tag)
        try:
            value = self.loader.construct_object(node)
        except ValueError:  # "0o9", "!!int x": the resolver or an explicit tag promised what the text does not hold
            raise self._error(node, at, "a number", node.value) from None
        if isinstance(value, float) and not math.isfinite(value):
            raise self._error(node, at, "a finite number", node.value)
        if isinstance(value, str) and not value.isascii():
            try:  # an escape of JSON for one character beyond the basic plane is two, and YAML reads two halves
                return value.encode("utf-16", "surrogatepass").decode("utf-16")
            except UnicodeDecodeError:
                raise self._error(node, at, "text without half characters") from None
        return value

    def _error(self, node: yaml.Node, at: KeyPath, expected: str, got: object = None) -> DocumentError:
        line, column = _place(node)
        return DocumentError(self.path, line, dotted(at), expected, got, column=column)


def _place(node: yaml.Node) -> Place:
    return int(node.start_mark.line) + 1, int(node.start_mark.column) + 1


def _place_in(root: yaml.Node, key_path: Sequence[str | int]) -> Place:
    node, place = root, _place(root)
    for key in key_path:
        found = _child(node, key)
        if found is None:
            break
        node, place = found
    return place


def _child(node: yaml.Node, key: str | int) -> tuple[yaml.Node, Place] | None:
    """The value node under a key, and the place of the key itself."""
    if isinstance(node, yaml.MappingNode):
        for key_node, child in node.value:
            if key_node.value == key:
                return child, _place(key_node)
    elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key], _place(node.value[key])
    return None
