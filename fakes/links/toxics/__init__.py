"""Toxics: faults on the byte stream of a TCP connection. One file per fault.

A toxic is a value with units. All durations are nominal seconds; sizes are bytes. A link (``lockjaw serve link``)
has any number of them, each with a name to heal it by; bytes pass them in the order in which they were added.
Chance is drawn from the link's seed, per connection and toxic, so a new toxic or another connection never changes what
the others do.

Every toxic can be healed at any time: what it held back flows on, in order, nothing lost and nothing doubled.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from lockjaw.documents import Document, mistakes
from lockjaw.errors import LocalError

from .bandwidth import Bandwidth
from .conversation import Conversation, Stream
from .fail_first import FailFirst
from .faulty_link import FaultyLink
from .latency import Latency
from .limit_data import LimitData
from .loss import Loss
from .reset_peer import ResetPeer
from .slicer import Slicer
from .slow_close import SlowClose
from .stage import DIRECTIONS, Direction, Ending, Item, Stage, Toxic
from .stall import Stall

__all__ = [
    "DIRECTIONS",
    "TOXICS",
    "Bandwidth",
    "Conversation",
    "Direction",
    "Ending",
    "FailFirst",
    "FaultyLink",
    "Item",
    "Latency",
    "LimitData",
    "Loss",
    "ResetPeer",
    "Slicer",
    "SlowClose",
    "Stage",
    "Stall",
    "Stream",
    "Toxic",
    "parse_toxic",
    "toxic_of",
]

TOXICS: dict[str, type[Toxic]] = {
    str(cls.__struct_config__.tag): cls
    for cls in (Latency, Bandwidth, Slicer, Stall, LimitData, SlowClose, ResetPeer, Loss, FailFirst)
}


def toxic_of(data: Mapping[str, Any], *, strict: bool = True) -> Toxic:
    """A toxic from plain data, such as ``{"type": "latency", "latency_s": 0.2}``.

    Args:
        strict: refuse the text ``"0.2"`` where a number belongs.

    Raises:
        LocalError: what is wrong, and what is allowed there.
    """
    kind = data.get("type")
    if kind not in TOXICS:
        close = difflib.get_close_matches(str(kind)[:60], TOXICS, 1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise LocalError(f"no toxic is called {str(kind)[:60]!r}; there are {', '.join(TOXICS)}{meant}")
    cls = TOXICS[kind]
    unknown = [key for key in data if key != "type" and key not in cls.__struct_fields__]
    if unknown:
        keys = ", ".join(sorted(cls.__struct_fields__))
        raise LocalError(f"toxic {kind}: no key {str(unknown[0])[:60]!r}; there are {keys}")
    try:
        return msgspec.convert(dict(data), cls, strict=strict)
    except msgspec.ValidationError as error:
        plain = data if strict else {key: _number(value) for key, value in data.items()}
        found = mistakes(Document.of(plain, f"toxic {kind}"), cls)
        raise LocalError(str(found[0] if found else f"toxic {kind}: {error}")) from error


def _number(text: Any) -> Any:
    """What a text of the command line stands for, if it is a number."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def parse_toxic(text: str) -> Toxic:
    """A toxic as people type it: ``latency latency_s=0.2 jitter_s=0.05 stream=upstream trigger='data: x'``.

    Raises:
        LocalError: what is wrong, and what is allowed there.
    """
    try:
        kind, *pairs = shlex.split(text) or [""]
    except ValueError as error:
        raise LocalError(f"toxic {text!r}: {error}") from error
    if "=" in kind:
        raise LocalError(f"toxic {text!r}: expected its name first, such as 'latency latency_s=0.2'")
    data: dict[str, Any] = {"type": kind}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise LocalError(f"toxic {text!r}: expected key=value, got {pair!r}")
        data[key] = value
    return toxic_of(data, strict=False)
