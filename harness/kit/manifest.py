"""``kit.json``: what a kit is, and how it is replayed."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

FORMAT = "lockjaw-kit-1"
KIT_ZIP = "KIT.zip"  # what the kit calls itself: its file may be called after somebody

_Name = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\Z")]
_Hash = Annotated[str, Meta(pattern=r"\A(sha256:)?[0-9a-f]{64}\Z")]
_Short = Annotated[str, Meta(max_length=200)]


class KitManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``lockjaw``, ``python``, ``system``: what made it. ``time_scale``: real seconds per nominal second.

    ``files``: name -> SHA-256, in hexadecimal, of every other file but README.md.
    """

    format: _Short
    lockjaw: _Short
    python: _Short
    system: _Short
    scenario: _Name
    policy: _Short
    engine: Literal["sim", "real"]
    target: _Short
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    time_scale: Annotated[float, Meta(gt=0, le=1)]
    verdict: Literal["HELD", "VIOLATED", "UNKNOWN"]
    event_hash: _Hash
    replay: _Short
    kept_text: bool
    client_policy: _Short | None = None
    files: dict[_Short, _Hash]
