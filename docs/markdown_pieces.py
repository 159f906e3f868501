"""Pieces of Markdown for the generated pages: tables, prose of docstrings, the keys of a struct."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from key_notes import NOTES

from lockjaw.harness.incident.schema import comments


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell(text) for text in line) + " |" for line in lines)


def cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def code(value: object) -> str:
    return f"`{value}`"


def prose(text: str | None) -> str:
    """A docstring's sentences as Markdown: double back-ticks become single ones, sections of arguments are left out."""
    kept = re.split(r"\n\s*(?:Args|Raises|Returns|Attributes):", inspect.cleandoc(text or ""))[0]
    return kept.replace("``", "`").strip()


# --------------------------------------------------------------------------- keys of a struct


def keys(cls: type[msgspec.Struct], without: Iterable[str] = ()) -> str:
    """The keys that a part of a YAML file may have: type, default, and the comment that stands beside the field.

    A key of a fake's script without a comment takes its note from ``key_notes``; a key with neither is a mistake.
    """
    schema = msgspec.json.schema(cls)
    parts = schema["$defs"]
    told = comments(cls)
    fields = {field.encode_name: field for field in msgspec.structs.fields(cls)}
    shared = cls.__module__.startswith("lockjaw.fakes.")
    rows = []
    for name, spec in parts[cls.__name__]["properties"].items():
        if name not in fields or name in without:  # the tag of a union is no field
            continue
        field = fields[name]
        default = "required" if field.required else shown_default(field)
        note = told.get(field.name) or (shared and (NOTES.get(f"{cls.__name__}.{name}") or NOTES.get(name)))
        assert note, f"{cls.__name__}.{field.name}: no note (a comment beside the field, or one in docs/key_notes.py)"
        rows.append((code(name), kind(spec, parts), default, note))
    told_rows = table(("key", "value", "default", "notes"), rows) if rows else ""
    return f"{prose(cls.__doc__)}\n\n{told_rows}".rstrip()


def shown_default(field: Any) -> str:
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if value is None:
        return "-"
    plain = msgspec.to_builtins(value)
    if isinstance(value, tuple) and any(isinstance(one, msgspec.Struct) and one == type(one)() for one in value):
        return code("[{}]")
    if isinstance(value, msgspec.Struct) or plain in ([], {}, ()):
        return "none"
    return code(msgspec.json.encode(plain).decode())


def kind(spec: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    """A JSON schema in a few words."""
    if "$ref" in spec:
        return spec["$ref"].rpartition("/")[2]
    if "enum" in spec:
        return " or ".join(code(value) for value in spec["enum"])
    if "anyOf" in spec:
        said = [kind(one, parts) for one in spec["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(said))
    bounds = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    limits = [f"{sign} {spec[key]:,}" for key, sign in bounds.items() if key in spec]
    limit = f" {' and '.join(limits)}" if limits else ""
    match spec.get("type"):
        case "array":
            if "prefixItems" in spec:
                return (
                    f"list of {len(spec['prefixItems'])}: {', '.join(kind(one, parts) for one in spec['prefixItems'])}"
                )
            return f"list of {kind(spec['items'], parts)}" if "items" in spec else "list"
        case "object":
            inner = spec.get("additionalProperties")
            return f"mapping to {kind(inner, parts)}" if isinstance(inner, dict) and inner else "mapping"
        case "string":
            return "text"
        case "boolean":
            return "`true` or `false`"
        case "integer":
            return f"whole number{limit}"
        case "number":
            return f"number{limit}"
    return "anything"


def structs(*classes: type[msgspec.Struct]) -> Iterator[str]:
    for cls in classes:
        yield f"## {cls.__name__}"
        yield keys(cls)
