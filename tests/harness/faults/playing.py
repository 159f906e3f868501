"""What the tests of single faults share: one small scenario with a cast, played in either world."""

from __future__ import annotations

from typing import Any, Protocol

import pytest

from lockjaw.history import Record

WORLDS = [pytest.param("sim"), pytest.param("real", marks=pytest.mark.real)]
LATE_S = 10.0  # 200 real ms at this scale: how late a busy machine may be
TAKE, RELEASE, NOTE = {"do": "take"}, {"do": "release"}, {"do": "append", "what": "metadata"}


class Play(Protocol):
    """Play a small scenario with these actors and faults in a world; its history."""

    def __call__(self, world: str, actors: dict[str, Any], *faults: dict[str, Any]) -> list[Record]: ...


def scripted(*script: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"kind": "scripted", "script": list(script), **more}


def of(history: list[Record], op: str, phase: str | None = None, **data: Any) -> list[Record]:
    return [r for r in history if r.op == op and phase in (None, r.phase) and data.items() <= r.data.items()]
