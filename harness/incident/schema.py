"""The JSON Schema of a scenario file, made from the types: titles with units, notes, examples from the catalogue.

The note of a key is the comment that stands beside its field. ``docs/generate.py`` writes the schema beside the
built-in scenarios, where the wheel ships it and editors find it.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

import msgspec

from ...fakes.models.script import ModelScript
from .scenario import Scenario

__all__ = ["SCHEMA_FILE", "comments", "schema", "structs_in"]

SCHEMA_FILE = "scenario.schema.json"
_UNITS = {"_s": "nominal seconds", "_ms": "milliseconds", "_bytes": "bytes"}
_MOST_EXAMPLES, _LONGEST_EXAMPLE = 2, 80


def schema(examples: Iterable[Any] = ()) -> dict[str, Any]:
    """The schema. ``examples``: scenario documents as plain data; some of their values become examples of keys."""
    (root, models), parts = msgspec.json.schema_components([Scenario, ModelScript], ref_template="#/$defs/{name}")
    top = parts[root["$ref"].rpartition("/")[2]]
    top["properties"]["models"] = parts[models["$ref"].rpartition("/")[2]]["properties"]["models"]
    top["required"] = [key for key in top["required"] if key != "name"]  # the file's name, unless it says another
    for struct in {*structs_in(Scenario), *structs_in(ModelScript)}:
        _annotate(parts[_name_in(parts, struct)], struct)
    found: dict[tuple[int, str], list[Any]] = {}
    for document in examples:
        _collect(document, top, parts, found)
    for part in parts.values():
        for key, spec in part.get("properties", {}).items():
            if seen := found.get((id(part), key)):
                spec["examples"] = seen
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Lockjaw scenario",
        "description": "One incident: what the user asks, how slow the models are, what goes wrong, which laws hold.",
    }
    used = json.dumps({key: value for key, value in parts.items() if value is not top})
    return head | {key: value for key, value in top.items() if key not in ("title", "description")} | {
        "$defs": {name: part for name, part in sorted(parts.items()) if f'"#/$defs/{name}"' in used + json.dumps(top)}
    }  # fmt: skip


def structs_in(type_: Any, seen: set[Any] | None = None) -> Iterator[type[msgspec.Struct]]:
    """Every struct that a type is made of, itself first."""
    seen = set() if seen is None else seen
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        if type_ in seen:
            return
        seen.add(type_)
        yield type_
        for field in msgspec.structs.fields(type_):
            yield from structs_in(field.type, seen)
    for part in get_args(type_):
        yield from structs_in(part, seen)


def comments(cls: type) -> dict[str, str]:
    """Field -> the comment on its line, or the ``#:`` lines above it; those of inherited fields too."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.partition(".")[0] != "lockjaw":
            continue
        above: list[str] = []
        for line in inspect.getsource(base).splitlines():
            before = re.match(r"\s+#: (.*)", line)
            field = re.match(r"    (\w+): [^#]*(?:# (.*))?$", line)
            if before:
                above.append(before[1])
            elif field:
                found[field[1]] = " ".join([*above, field[2] or ""]).strip()
                above = []
    return found


def _name_in(parts: Mapping[str, Any], struct: type[msgspec.Struct]) -> str:
    """What a struct is called in the schema: its name, or with its module where two have the same."""
    if struct.__name__ in parts:
        return struct.__name__
    return f"{struct.__module__}.{struct.__qualname__}".replace(".", "_")


def _annotate(part: dict[str, Any], struct: type[msgspec.Struct]) -> None:
    """Titles with units and the notes of the keys."""
    notes = comments(struct)
    part.pop("title", None)
    for field in msgspec.structs.fields(struct) if "properties" in part else ():  # some structs are lists
        spec = part["properties"][field.encode_name]
        unit = next((f" ({unit})" for ending, unit in _UNITS.items() if field.encode_name.endswith(ending)), "")
        spec["title"] = f"{field.encode_name}{unit}"
        if note := notes.get(field.name):
            spec["description"] = note.replace("`", "")


def _collect(
    value: Any, spec: Mapping[str, Any], parts: Mapping[str, Any], found: dict[tuple[int, str], list[Any]]
) -> None:
    """Examples of every key in a document, as far as they are short."""
    spec = _meant(value, spec, parts)
    if isinstance(value, list) and isinstance(spec.get("items"), dict):
        for item in value:
            _collect(item, spec["items"], parts, found)
    elif isinstance(value, dict):
        for key, item in value.items():
            inner = spec.get("properties", {}).get(key)
            if inner is None:
                if isinstance(spec.get("additionalProperties"), dict):
                    _collect(item, spec["additionalProperties"], parts, found)
                continue
            seen = found.setdefault((id(spec), key), [])
            if len(seen) < _MOST_EXAMPLES and item not in seen and len(json.dumps(item)) <= _LONGEST_EXAMPLE:
                seen.append(item)
            _collect(item, inner, parts, found)


def _meant(value: Any, spec: Mapping[str, Any], parts: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of the schema that speaks of a value: references followed, unions decided by their tag."""
    if "$ref" in spec:
        referred: Mapping[str, Any] = parts[spec["$ref"].rpartition("/")[2]]
        return referred
    for one in spec.get("anyOf", ()):
        inner = _meant(value, one, parts)
        properties = inner.get("properties", {})
        tags = [(key, part["enum"]) for key, part in properties.items() if len(part.get("enum", ())) == 1]
        if isinstance(value, dict) and properties and all(value.get(key) in allowed for key, allowed in tags):
            return inner
        if isinstance(value, list) and inner.get("type") == "array":
            return inner
    return spec
