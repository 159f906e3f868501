"""Documents that people write by hand, and their strict conversion to structs: the one reader of typed configuration.

A scenario, a script and ``openclaw.json`` are data that people write, so every mistake in one is answered with the
file, the line, the column, the dotted key, what was expected there and what was found. ``convert`` lets msgspec do the
checking and, only when it refuses, converts the parts one by one to find every one that is wrong, each with msgspec's
own sentence. Texts become documents in ``documents.yaml`` and ``documents.json5``. This module knows no text, no
scenario and no script.
"""

from __future__ import annotations

import difflib
import enum
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from lockjaw.errors import DocumentError

__all__ = ["Document", "FieldError", "KeyPath", "Place", "convert", "dotted", "mistakes"]

KeyPath = tuple[str | int, ...]
Place = tuple[int, int]  # line and column, from 1
T = TypeVar("T")


class FieldError(ValueError):
    """Raised in a struct's ``__post_init__`` to blame one of its keys; ``convert`` turns it into a DocumentError.

    Fields: ``key`` (of the struct, or a path below it; empty: the struct itself), ``expected``, ``got``, ``others``
    (further mistakes in the same struct).
    """

    def __init__(self, key: str | KeyPath, expected: str, got: object = None) -> None:
        self.key: KeyPath = key if isinstance(key, tuple) else (key,) if key else ()
        self.expected, self.got = expected, got
        self.others: tuple[FieldError, ...] = ()
        super().__init__(f"{dotted(self.key)}: expected {expected}")

    @classmethod
    def raise_any(cls, errors: Iterable[FieldError]) -> None:
        """Raise the first of the errors, if there is one, with the others in its field."""
        for first, *others in filter(None, [list(errors)]):
            first.others = tuple(others)
            raise first


@dataclass(frozen=True)
class Document:
    """Plain data, the name of where it came from, and (for text) the place of every key."""

    path: str
    data: Any
    _places: Callable[[Sequence[str | int]], Place] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, data: Any, path: str = "<mapping>") -> Document:
        """A document around a value that was never text: its lines are all 0 (unknown)."""
        return cls(path, data)

    def at(self, key_path: Sequence[str | int]) -> Any:
        """The value at a key path. Raises DocumentError where there is none."""
        value = self.data
        for depth, key in enumerate(key_path):
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                missing = tuple(key_path[: depth + 1])
                raise self.error(missing, f"a value at {dotted(missing)}") from None
        return value

    def place_of(self, key_path: Sequence[str | int]) -> Place:
        """Of a key or list item; of its nearest existing parent if it is absent; (0, 0) if unknown."""
        return (0, 0) if self._places is None else self._places(key_path)

    def error(self, key_path: Sequence[str | int], expected: str, got: object = None) -> DocumentError:
        """The error that blames one key of this document."""
        line, column = self.place_of(key_path)
        return DocumentError(self.path, line, dotted(key_path), expected, got, column=column)


def convert(document: Document, type_: type[T], at: Sequence[str | int] = ()) -> T:
    """The part of a document under ``at`` as a value of a (msgspec) type; strict, nothing is coerced.

    Raises:
        DocumentError: the first mistake, with the others in its field ``others``.
    """
    value = document.at(at)
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        first, *others = (document.error(*one) for one in _mistakes(value, type_, tuple(at)))
        raise first.with_others(others) from error


def mistakes(document: Document, type_: Any, at: Sequence[str | int] = ()) -> list[DocumentError]:
    """Every mistake that a type finds in a document, in the order of their lines."""
    found = [document.error(*one) for one in _mistakes(document.at(at), type_, tuple(at))]
    return sorted(found, key=lambda error: (error.line, error.column))


def dotted(key_path: Sequence[str | int]) -> str:
    """``models.deepseek-v3[0].text``."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in key_path)
    return text.removeprefix(".")


# --------------------------------------------------------------------------- what msgspec refuses, and where

Mistake = tuple[KeyPath, str, object]  # where, what was expected, what was found
_SENTENCE = re.compile(r"Expected `(?P<types>[^`]*)`(?P<bound>.*?)(?P<got>, got `[^`]*`)?$", re.DOTALL)
_WORDS = {
    "array": "a list", "bool": "true or false", "float": "a number", "int": "a whole number", "object": "a mapping",
    "str": "text",
}  # fmt: skip


def _mistakes(value: Any, type_: Any, path: KeyPath) -> Iterator[Mistake]:
    """Every mistake in a value: msgspec's sentence about the smallest parts that it refuses."""
    try:
        msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        parts = list(_mistakes_below(value, _alternatives(type_), path))
        yield from parts or _own(value, type_, path, error)


def _mistakes_below(value: Any, alternatives: list[Any], path: KeyPath) -> Iterator[Mistake]:
    if isinstance(value, dict):
        structs = [one for one in alternatives if isinstance(one, type) and issubclass(one, msgspec.Struct)]
        if structs:
            yield from _mistakes_of_keys(value, structs, path)
        for one in alternatives:
            if get_origin(one) is dict:
                key_type, value_type = get_args(one)
                for key, item in value.items():
                    for _, what, _ in _mistakes(key, key_type, ()):
                        yield (*path, key), f"a key that is {what}", key
                    yield from _mistakes(item, value_type, (*path, key))
    elif isinstance(value, list):
        for one in alternatives:
            types = get_args(one)
            if get_origin(one) is list or (get_origin(one) is tuple and types[-1] is ...):
                for index, item in enumerate(value):
                    yield from _mistakes(item, types[0], (*path, index))
            elif get_origin(one) is tuple and len(types) == len(value):
                for index, (item, item_type) in enumerate(zip(value, types, strict=True)):
                    yield from _mistakes(item, item_type, (*path, index))


def _mistakes_of_keys(value: dict[str, Any], structs: list[type[msgspec.Struct]], path: KeyPath) -> Iterator[Mistake]:
    """The keys of a struct; of a union of structs, those of the one that the mapping's tag names."""
    tag = structs[0].__struct_config__.tag_field
    if tag is not None:
        tags = {str(one.__struct_config__.tag): one for one in structs}
        if (named := tags.get(str(value.get(tag)))) is None:
            what = f"one of: {', '.join(tags)}"
            yield ((*path, tag), what, value[tag]) if tag in value else (path, f"the key {tag}, {what}", None)
            return
        structs = [named]
    (struct,) = structs
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    known = sorted({*fields, *([tag] if tag else [])})
    unknown = [key for key in value if key not in known] if struct.__struct_config__.forbid_unknown_fields else []
    for key in unknown:
        yield (*path, key), f"one of: {', '.join(known)}", key
    for name, one in fields.items():
        if name in value:
            yield from _mistakes(value[name], one.type, (*path, name))
        elif one.required and not difflib.get_close_matches(name, unknown, 1):  # misspelt: that was said already
            yield (*path, name), "this key (it is required)", None


def _own(value: Any, type_: Any, path: KeyPath, error: msgspec.ValidationError) -> Iterator[Mistake]:
    """A value none of whose parts is wrong by itself."""
    cause = error.__cause__
    if isinstance(cause, FieldError):
        for one in (cause, *cause.others):
            yield (*path, *one.key), one.expected, one.got
        return
    sentence = str(error).rpartition(" - at `")[0] or str(error)
    if cause is not None:  # a ValueError or TypeError of a struct's own check
        yield path, sentence, None
        return
    found = _SENTENCE.match(sentence)
    if found is None or found["got"] or found["types"] in ("int", "float"):
        yield path, _allowed(type_), value
    else:
        bound = _described(type_) if "regex" in found["bound"] else ""
        yield path, _WORDS.get(found["types"], found["types"]) + (bound or _bound(found["bound"])), value


def _described(type_: Any) -> str:
    """What a pattern asks for, in the words of its ``Meta(description=...)``."""
    metas = (meta for meta in getattr(type_, "__metadata__", ()) if isinstance(meta, msgspec.Meta))
    return next((f" ({meta.description})" for meta in metas if meta.pattern and meta.description), "")


def _bound(text: str) -> str:
    """`` of length >= 1`` and the like, as a person would say it."""
    text = text.replace(" of length >= 1", " that is not empty").replace(" matching regex ", " matching ")
    return re.sub(r"\.0\b", "", text)


class _Probe:
    """Something that no type allows: msgspec's refusal of it lists what the type does allow."""


def _allowed(type_: Any) -> str:
    """What a type allows, in words: ``a number >= 0 or forever``, ``one of: stop, length, tool_calls``."""
    try:
        msgspec.convert(_Probe(), type_)
    except msgspec.ValidationError as error:
        found = _SENTENCE.match(str(error))
        names = found["types"].split(" | ") if found else [str(error)]
    parts = _alternatives(type_)
    literals = [value for part in parts for value in _values(part)]
    stand_in = {type(value).__name__ for value in literals} - {getattr(part, "__name__", "") for part in parts}
    words = [_WORDS.get(name, name) + _limits(type_, name) for name in names if name not in ("null", *stand_in)]
    if len(literals) > 2 and not words:
        return f"one of: {', '.join(map(str, literals))}"
    return " or ".join([*words, *map(str, literals)]) or "nothing"


def _limits(type_: Any, name: str) -> str:
    """The limits of a number, which msgspec does not name for a value of another type."""
    for part in get_args(type_) if get_origin(type_) in (Union, UnionType) else (type_,):
        if get_origin(part) is Annotated and get_args(part)[0].__name__ == name:
            meta = get_args(part)[1]
            limits = {">": meta.gt, ">=": meta.ge, "<": meta.lt, "<=": meta.le}
            shown = " and ".join(f"{sign} {limit:g}" for sign, limit in limits.items() if limit is not None)
            return f" {shown}".rstrip()
    return ""


def _values(type_: Any) -> tuple[Any, ...]:
    if isinstance(type_, type) and issubclass(type_, enum.Enum):
        return tuple(member.value for member in type_)
    return get_args(type_) if get_origin(type_) is Literal else ()


def _alternatives(type_: Any) -> list[Any]:
    """What a type may be, without annotations: the members of a union, or itself."""
    if get_origin(type_) is Annotated:
        return _alternatives(get_args(type_)[0])
    if get_origin(type_) in (Union, UnionType):
        return [one for member in get_args(type_) for one in _alternatives(member)]
    return [type_]
