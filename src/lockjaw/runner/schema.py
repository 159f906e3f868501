"""The part of JSON Schema that tool parameters use. Pure.

``type`` (object, string, integer, number, boolean, array), ``properties``, ``required``,
``additionalProperties: false``, ``items``, ``enum``, ``minimum``, ``maximum``, ``minLength``, ``maxLength``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


def problems(schema: Mapping[str, Any], value: object, where: str = "arguments") -> list[str]:
    """What is wrong with a value, one sentence each, in the schema's order; empty when it fits."""
    kind = schema.get("type")
    if kind is not None:
        expected = _TYPES[kind]
        if not isinstance(value, expected) or (isinstance(value, bool) and kind != "boolean"):
            return [f"{where}: expected {kind}, got {type(value).__name__}"]
    found: list[str] = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{where}: expected one of {schema['enum']}, got {value!r}")
    if isinstance(value, dict):
        found += _object(schema, value, where)
    elif isinstance(value, list) and "items" in schema:
        for position, item in enumerate(value):
            found += problems(schema["items"], item, f"{where}[{position}]")
    elif isinstance(value, str):
        if len(value) < schema.get("minLength", 0):
            found.append(f"{where}: expected at least {schema['minLength']} characters, got {len(value)}")
        if len(value) > schema.get("maxLength", len(value)):
            found.append(f"{where}: expected at most {schema['maxLength']} characters, got {len(value)}")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        # Written so that NaN fits no bound.
        if "minimum" in schema and not value >= schema["minimum"]:
            found.append(f"{where}: expected at least {schema['minimum']}, got {value}")
        if "maximum" in schema and not value <= schema["maximum"]:
            found.append(f"{where}: expected at most {schema['maximum']}, got {value}")
    return found


def _object(schema: Mapping[str, Any], value: dict[str, Any], where: str) -> list[str]:
    properties: Mapping[str, Any] = schema.get("properties", {})
    found = [f"{where}.{name} is missing" for name in schema.get("required", ()) if name not in value]
    for name, item in value.items():
        if name in properties:
            found += problems(properties[name], item, f"{where}.{name}")
        elif schema.get("additionalProperties") is False:
            found.append(f"{where}.{name} is unknown (known: {', '.join(properties) or 'none'})")
    return found
