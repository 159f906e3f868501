"""Toxics as Toxiproxy's JSON shows them, there and back. Pure.

``{"name", "type", "stream", "toxicity", "attributes": {...}}``: its seven types have its attributes, in its units
(milliseconds, kilobytes a second, microseconds). The toxics that it does not have (``stall``, ``loss``, ``fail_first``)
have ours, in ours; and ``trigger``, ``trigger_nth``, ``trigger_stream`` may stand among the attributes of every type.

Source: Toxiproxy 2.12, README (Toxics, HTTP API).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lockjaw.errors import LocalError

from .toxics import DIRECTIONS, TOXICS, Stall, Toxic, toxic_of

_MS, _US, _KB = 1e-3, 1e-6, 1e3
_COMMON = ("name", "stream", "toxicity")
_CUES = ("trigger", "trigger_nth", "trigger_stream")


@dataclass(frozen=True)
class _Kind:
    """One of Toxiproxy's types: our type, and its attribute -> our field and how many of our units it counts."""

    ours: str
    attributes: Mapping[str, tuple[str, float]]
    always: Mapping[str, Any]


def _kind(ours: str, always: Mapping[str, Any] | None = None, **attributes: tuple[str, float]) -> _Kind:
    return _Kind(ours, attributes, always or {})


_KINDS = {
    "latency": _kind("latency", latency=("latency_s", _MS), jitter=("jitter_s", _MS)),
    "bandwidth": _kind("bandwidth", rate=("rate_bytes_per_s", _KB)),
    "slow_close": _kind("slow_close", delay=("delay_s", _MS)),
    "timeout": _kind("stall", {"discard": True}, timeout=("timeout_s", _MS)),
    "reset_peer": _kind("reset_peer", timeout=("after_s", _MS)),
    "slicer": _kind(
        "slicer", average_size=("average_bytes", 1), size_variation=("variation_bytes", 1), delay=("delay_s", _US)
    ),
    "limit_data": _kind("limit_data", bytes=("limit_bytes", 1)),
}
_WHOLE = ("rate_bytes_per_s", "average_bytes", "variation_bytes", "limit_bytes")


class BadToxic(LocalError):
    """``type``, ``stream`` or an attribute is not what the API takes."""


def toxic_from(data: Mapping[str, Any], known: Toxic | None = None) -> Toxic:
    """The toxic of a request body.

    Args:
        known: the toxic that is changed: what the body does not mention stays. Its type, stream and name stay anyway.

    Raises:
        BadToxic: in Toxiproxy's words where it has some.
    """
    before = shape_of(known) if known is not None else {}
    kind = before.get("type", data.get("type", ""))
    stream = before.get("stream", data.get("stream") or "downstream")
    if stream not in DIRECTIONS:
        raise BadToxic("stream was invalid, can be either upstream or downstream")
    if not isinstance(kind, str) or (kind not in _KINDS and kind not in TOXICS):
        raise BadToxic("invalid toxic type")
    given = data.get("attributes") or {}
    if not isinstance(given, Mapping):
        raise BadToxic("bad request body: attributes must be an object")
    attributes = {**before.get("attributes", {}), **given}
    values = _values(kind, attributes)
    values |= {"stream": stream, "toxicity": data.get("toxicity", before.get("toxicity", 1.0))}
    values["name"] = before.get("name") or data.get("name") or f"{kind}_{stream}"
    try:
        return toxic_of(values)
    except LocalError as error:
        raise BadToxic(f"bad request body: {error}") from error


def _values(kind: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Our fields of the attributes of one type."""
    if kind not in _KINDS:
        return {"type": kind, **attributes}
    its = _KINDS[kind]
    values: dict[str, Any] = {"type": its.ours, **its.always}
    values |= {field: 0 for field, _ in its.attributes.values()}
    if kind == "slicer" and "average_size" not in attributes:
        values["average_bytes"] = 1
    for name, value in attributes.items():
        if name in _CUES:
            values[name] = value
        elif name not in its.attributes:
            allowed = ", ".join((*its.attributes, *_CUES))
            raise BadToxic(f"bad request body: a toxic of type {kind} has no attribute {name[:60]!r}, only {allowed}")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise BadToxic(f"bad request body: attribute {name} of {kind} must be a number")
        else:
            field, unit = its.attributes[name]
            values[field] = round(value * unit) if field in _WHOLE else value * unit
    return values


def shape_of(toxic: Toxic) -> dict[str, Any]:
    """A toxic as a response shows it."""
    kind = "timeout" if isinstance(toxic, Stall) and toxic.discard else toxic.type
    if kind in _KINDS:
        units = _KINDS[kind].attributes.items()
        attributes = {name: _counted(getattr(toxic, field), unit) for name, (field, unit) in units}
    else:
        fields = [field for field in toxic.__struct_fields__ if field not in (*_COMMON, *_CUES)]
        attributes = {field: getattr(toxic, field) for field in fields}
    attributes |= {cue: value for cue in _CUES if (value := getattr(toxic, cue)) not in (None, 1)}
    return {
        "name": toxic.label, "type": kind, "stream": toxic.stream, "toxicity": toxic.toxicity, "attributes": attributes,
    }  # fmt: skip


def _counted(value: float, unit: float) -> float | int:
    number = round(value / unit, 6)
    return int(number) if number == int(number) else number
