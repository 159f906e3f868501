"""``kit.json``: what a kit is, and how it is replayed."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from lockjaw.history.run import BUILTIN

FORMAT: Literal["lockjaw-kit-1"] = "lockjaw-kit-1"
#: What the kit calls itself: its file may be called after somebody.
REPLAY: Literal["lockjaw replay KIT.zip"] = "lockjaw replay KIT.zip"

_Name = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\Z")]
_Hash = Annotated[str, Meta(pattern=r"\A(sha256:)?[0-9a-f]{64}\Z")]
#: As PEP 440 writes one, without what only indexes use: nothing that a shell or a package manager takes for an option.
_Version = Annotated[str, Meta(pattern=r"\A[0-9]{1,9}(\.[0-9]{1,9}){0,3}[a-z0-9.+]{0,30}\Z")]
_System = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.-]{0,40}\Z")]
_Policy = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9.-]{0,60}\Z")]
#: ``builtin``, or NAME@VERSION. Never a path: a kit brings no program, and names none of this machine's.
_Target = Annotated[str, Meta(pattern=r"\A[a-z][a-z0-9-]{0,60}(@[0-9A-Za-z][0-9A-Za-z.+-]{0,60})?\Z")]
_File = Annotated[str, Meta(pattern=r"\A[A-Za-z]{1,40}\.[a-z]{1,10}\Z")]


class KitManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``lockjaw``, ``python``, ``system``: what made it. ``time_scale``: real seconds per nominal second.

    ``files``: name -> SHA-256, in hexadecimal, of every other file but README.md.

    Each text has a pattern: whatever is shown of a manifest is harmless to a terminal and to whoever copies it.
    """

    format: Literal["lockjaw-kit-1"]
    lockjaw: _Version
    python: _Version
    system: _System
    scenario: _Name
    policy: _Policy
    engine: Literal["sim", "real"]
    target: _Target
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    time_scale: Annotated[float, Meta(gt=0, le=1)]
    verdict: Literal["HELD", "VIOLATED", "UNKNOWN"]
    event_hash: _Hash
    replay: Literal["lockjaw replay KIT.zip"]
    kept_text: bool
    client_policy: _Policy | None = None
    files: dict[_File, _Hash]

    @property
    def starts_processes(self) -> bool:
        """Would a replay start real processes? Programs of somebody else cannot be simulated."""
        return self.engine == "real" or self.target != BUILTIN
