"""YAML documents that remember their lines, and their strict conversion to structs.

A scenario or a script is data that people write by hand, so every mistake in one is answered with the file,
the line, the dotted key, what was expected there and what was found. ``load_document`` keeps the YAML node
tree beside the plain data; ``convert`` lets msgspec do the checking and, only when it refuses, walks data and
type together to say where and why.

Narrower than YAML on purpose: keys are text as written (``on:`` is the key "on", ``4.5:`` the key "4.5"),
a duplicate key is an error, values are JSON values (no dates, sets, binaries, NaN or infinity), merge keys
(``<<``) are refused, aliases (``*name``) are fine. This module knows no scenario and no script.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml
from msgspec import inspect

from lockjaw.errors import ScenarioError

KeyPath = tuple[str | int, ...]
T = TypeVar("T")

#: Aliases can make a page of text expand to gigabytes; no honest script comes near this many values.
MAX_VALUES = 200_000
_JSON_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str")}
_TIMESTAMP_TAG = "tag:yaml.org,2002:timestamp"  # what YAML 1.1 reads into an unquoted date: text, for us
_MERGE_TAG = "tag:yaml.org,2002:merge"


class FieldError(ValueError):
    """Raised in a struct's ``__post_init__`` to blame one of its keys; ``convert`` turns it into a ScenarioError.

    Fields: ``key`` (of the struct, or a path below it; empty: the struct itself), ``expected``, ``got``.
    """

    def __init__(self, key: str | KeyPath, expected: str, got: object = None) -> None:
        self.key: KeyPath = key if isinstance(key, tuple) else (key,) if key else ()
        self.expected, self.got = expected, got
        super().__init__(f"{dotted(self.key)}: expected {expected}")


@dataclass(frozen=True)
class Document:
    """Plain data, the name of where it came from, and (for YAML text) the line of every key."""

    path: str
    data: Any
    _root: yaml.Node | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, data: Any, path: str = "<mapping>") -> Document:
        """A document around a value that was never text: its lines are all 0 (unknown)."""
        return cls(path, data)

    def at(self, key_path: Sequence[str | int]) -> Any:
        """The value at a key path. Raises ScenarioError where there is none."""
        value = self.data
        for depth, key in enumerate(key_path):
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                missing = tuple(key_path[: depth + 1])
                raise self.error(missing, f"a value at {dotted(missing)}") from None
        return value

    def line_of(self, key_path: Sequence[str | int]) -> int:
        """The 1-based line of a key or list item; of its nearest existing parent if it is absent; 0 if unknown."""
        if self._root is None:
            return 0
        node, line = self._root, _line(self._root)
        for key in key_path:
            found = _child(node, key)
            if found is None:
                break
            node, line = found
        return line

    def error(self, key_path: Sequence[str | int], expected: str, got: object = None) -> ScenarioError:
        """The error that blames one key of this document."""
        return ScenarioError(self.path, self.line_of(key_path), dotted(key_path), expected, got)


def load_document(text: str, path: str) -> Document:
    """Parse one YAML document.

    Args:
        path: what to call the file in errors; nothing is opened.

    Raises:
        ScenarioError: not YAML, more than one document, a duplicate key, a value that JSON does not have.
    """
    try:
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                return Document(path, None)
            return Document(path, _Builder(path, loader).build(root, ()), root)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ScenarioError(path, mark.line + 1 if mark else 0, "", f"YAML ({error.problem})") from error
    except yaml.YAMLError as error:
        raise ScenarioError(path, 0, "", f"YAML ({error})") from error
    except RecursionError as error:
        raise ScenarioError(path, 0, "", "fewer levels of nesting") from error


def read_document(path: str | Path) -> Document:
    """``load_document`` of a UTF-8 file. Raises ScenarioError if it cannot be read."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(str(path), 0, "", "a readable UTF-8 file", str(error)) from error
    return load_document(text, str(path))


def convert(document: Document, type_: type[T], at: Sequence[str | int] = ()) -> T:
    """The part of a document under ``at`` as a value of a (msgspec) type; strict, nothing is coerced.

    Raises:
        ScenarioError: file, line of the offending key, dotted key, what the type allows there, what was found.
    """
    value = document.at(at)
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        raise _explained(document, tuple(at), value, type_, error) from error


def dotted(key_path: Sequence[str | int]) -> str:
    """``models.deepseek-v3[0].text``."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in key_path)
    return text.removeprefix(".")


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
        return value

    def _error(self, node: yaml.Node, at: KeyPath, expected: str, got: object = None) -> ScenarioError:
        return ScenarioError(self.path, _line(node), dotted(at), expected, got)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _child(node: yaml.Node, key: str | int) -> tuple[yaml.Node, int] | None:
    """The value node under a key, and the line of the key itself."""
    if isinstance(node, yaml.MappingNode):
        for key_node, child in node.value:
            if key_node.value == key:
                return child, _line(key_node)
    elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key], _line(node.value[key])
    return None


# --------------------------------------------------------------------------- from msgspec's refusal to ours

_PLACE = re.compile(r" - at `(?P<key>key` in `)?\$(?P<path>.*)`$")
_STEP = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?P<index>\d+)\]|(?P<any>\[\.\.\.\])")
_UNKNOWN = re.compile(r"unknown field `(?P<name>.*)`")
_MISSING = re.compile(r"missing required field `(?P<name>.*?)`")


def _explained(
    document: Document, at: KeyPath, value: Any, type_: Any, error: msgspec.ValidationError
) -> ScenarioError:
    message = str(error)
    place = _PLACE.search(message)
    sentence = message[: place.start()] if place else message
    path = _resolved(value, type_, message, place["path"]) if place else ()
    found = value
    for key in path:
        found = found[key]
    kinds = _kinds_at(inspect.type_info(type_), path)
    if isinstance(error.__cause__, FieldError):
        blame = error.__cause__
        return document.error((*at, *path, *blame.key), blame.expected, blame.got)
    if unknown := _UNKNOWN.search(sentence):
        names = sorted({f.encode_name for kind in kinds if isinstance(kind, inspect.StructType) for f in kind.fields})
        return document.error((*at, *path, unknown["name"]), f"one of: {', '.join(names)}", unknown["name"])
    if missing := _MISSING.search(sentence):
        return document.error((*at, *path, missing["name"]), "this key (it is required)")
    if place and place["key"]:
        return document.error((*at, *path), "keys that are not empty", sentence)
    if error.__cause__ is not None:  # a plain ValueError or TypeError of a struct's own check
        return document.error((*at, *path), sentence)
    return document.error((*at, *path), _described(kinds), found)


def _resolved(value: Any, type_: Any, message: str, text: str) -> KeyPath:
    """msgspec's path as keys. It writes ``[...]`` for a mapping's key: find the key whose value is refused."""
    path: KeyPath = ()
    for step in _STEP.finditer(text):
        if step["name"] is not None:
            path = (*path, step["name"])
        elif step["index"] is not None:
            path = (*path, int(step["index"]))
        else:
            path = (*path, _refused_key(value, type_, message, path))
    return path


def _refused_key(value: Any, type_: Any, message: str, path: KeyPath) -> str:
    mapping = value
    for key in path:
        mapping = mapping[key]
    for key, item in mapping.items():
        try:
            msgspec.convert(_replaced(value, path, {key: item}), type_)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return str(key)
    raise AssertionError(f"no key of {dotted(path)} is refused with {message!r}")


def _replaced(value: Any, path: KeyPath, new: Any) -> Any:
    """A copy of nested plain data with one place replaced."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = _replaced(value[path[0]], path[1:], new)
    return copy


def _kinds_at(kind: inspect.Type, path: KeyPath) -> list[inspect.Type]:
    """The alternatives that a type allows at a path."""
    kinds = list(_alternatives(kind))
    for key in path:
        kinds = [
            alternative for parent in kinds for child in _below(parent, key) for alternative in _alternatives(child)
        ]
    return kinds


def _alternatives(kind: inspect.Type) -> Iterator[inspect.Type]:
    if isinstance(kind, inspect.UnionType):
        for member in kind.types:
            yield from _alternatives(member)
    elif isinstance(kind, inspect.Metadata):
        yield from _alternatives(kind.type)
    else:
        yield kind


def _below(kind: inspect.Type, key: str | int) -> Iterator[inspect.Type]:
    match kind:
        case inspect.StructType():
            yield from (field.type for field in kind.fields if field.encode_name == key)
        case inspect.DictType():
            yield kind.value_type
        case inspect.ListType() | inspect.VarTupleType():
            yield kind.item_type
        case inspect.TupleType():
            yield kind.item_types[int(key)]


def _described(kinds: list[inspect.Type]) -> str:
    words = [_word(kind) for kind in kinds if not isinstance(kind, inspect.NoneType)]
    return " or ".join(dict.fromkeys(words)) or "nothing"


def _word(kind: inspect.Type) -> str:
    match kind:
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType() | inspect.FloatType():
            bounds = {">": kind.gt, ">=": kind.ge, "<": kind.lt, "<=": kind.le}
            limits = " and ".join(f"{sign} {bound:g}" for sign, bound in bounds.items() if bound is not None)
            noun = "a whole number" if isinstance(kind, inspect.IntType) else "a number"
            return f"{noun} {limits}".rstrip()
        case inspect.StrType():
            shape = f" matching {kind.pattern}" if kind.pattern else ""
            return f"{'text that is not empty' if kind.min_length else 'text'}{shape}"
        case inspect.LiteralType():
            return " or ".join(str(value) for value in kind.values)
        case inspect.EnumType():
            return " or ".join(str(member.value) for member in kind.cls)
        case inspect.ListType() | inspect.VarTupleType() | inspect.TupleType():
            return "a list that is not empty" if getattr(kind, "min_length", None) else "a list"
        case inspect.DictType() if kind.min_length:
            return "a mapping that is not empty"
        case inspect.DictType() | inspect.StructType() | inspect.DataclassType() | inspect.TypedDictType():
            return "a mapping"
        case _:
            return type(kind).__name__.removesuffix("Type").lower()
