"""What a block must hold before it is read closely: derived from the tables, so that no row can be forgotten. Pure."""

from __future__ import annotations

from .patterns import CONTAINERS, ROWS, SETTINGS_HINTS
from .runtimes import RUNTIME_ROWS

__all__ = ["EVERY_ROW", "NEEDLES", "squeezed"]

#: Every message that is known, the more special first: another runtime's wording is tried before OpenClaw's.
EVERY_ROW = (*RUNTIME_ROWS, *ROWS)

#: Not in any row: lock bodies, owners, versions, the program's own names.
_BODIES = (".lock", "createdat", "starttime", "pid", "openclaw", "clawdbot", "moltbot", "version")
_SHORTEST = 5  # a shorter needle is in every log


def squeezed(text: str) -> str:
    """Without blanks, quote marks and frames: a message that was wrapped in the middle of a word is not missed."""
    text = text.replace(">", "").replace("│", "").replace("\\", "").replace('"', "")
    return "".join(text.split()).lower()


def _needles() -> tuple[str, ...]:
    found: dict[str, None] = {}
    for row in (*CONTAINERS, *EVERY_ROW):
        for text in row.hints or (row.needle,):
            needle = squeezed(text)
            assert len(needle) >= _SHORTEST or row.hints, f"{row.kind}: {text!r} is in every log; give hints"
            found[needle] = None
    found |= dict.fromkeys((*SETTINGS_HINTS, *_BODIES))
    # One that holds another is never needed.
    return tuple(needle for needle in found if not any(other in needle for other in found if other != needle))


NEEDLES = _needles()
