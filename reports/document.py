"""The ``--json`` document, the verdict of several runs, and the exit status. Pure.

Shape: design, "Machine-readable shapes". Scripts and CI read it, so a key is never renamed or dropped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from lockjaw import __version__
from lockjaw.history.run import Run
from lockjaw.verdict import combine
from lockjaw.visible import visible_json


def document(runs: Iterable[Run], *, command: str = "run", **extra: Any) -> dict[str, Any]:
    """One document for all runs of a command.

    ``scenario`` is the scenario's name, None when the runs are of several (each run names its own). ``extra`` adds
    a command's own keys (``reproduce``: report, search, kit); it cannot replace one of ours.
    """
    runs = list(runs)
    names = list(dict.fromkeys(run.scenario for run in runs))
    own = {
        "lockjaw": __version__,
        "command": command,
        "scenario": names[0] if len(names) == 1 else None,
        "verdict": str(combine(run.verdict for run in runs)),
        "runs": [run.document() for run in runs],
    }
    return own | {key: value for key, value in extra.items() if key not in own}


def exit_status(runs: Iterable[Run]) -> int:
    """0 HELD, 1 VIOLATED, 3 UNKNOWN. (2 usage and 4 harness failure never reach a report.)"""
    return combine(run.verdict for run in runs).exit_status


def to_json(value: dict[str, Any]) -> str:
    """Two-space JSON with a final newline; never NaN, which no strict reader takes."""
    return visible_json(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)) + "\n"
