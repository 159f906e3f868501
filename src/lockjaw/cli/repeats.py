"""``--repeat`` and ``--repeat-until-sure``: what they mean, and what the runs came to, for people and for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from lockjaw.errors import UsageError
from lockjaw.harness.judge.shares import UNTIL_SURE_AT_MOST, Repeats, alike, shares
from lockjaw.harness.run import Run

__all__ = ["Repeat", "UntilSure", "repeats_of", "shares_document", "shares_said"]

Repeat = Annotated[
    int | None,
    typer.Option(min=1, help="Make the same run N times, with real programs: in how many did each law break?"),
]
UntilSure = Annotated[
    bool,
    typer.Option(
        "--repeat-until-sure",
        help="Repeat until it is known of each law whether it breaks in more than half of the runs (95 %; four runs "
        f"that agree suffice), at most --repeat times (default: {UNTIL_SURE_AT_MOST}).",
    ),
]


def repeats_of(repeat: int | None, until_sure: bool, *, engine: str = "real") -> Repeats:
    """Raises UsageError for runs in virtual time, which are the same each time."""
    if engine != "real" and (repeat is not None or until_sure):
        flag = "--repeat-until-sure" if until_sure else "--repeat"
        raise UsageError(flag, "", "real programs: the simulation does the same each time; --seeds N varies it", engine)
    if until_sure:
        return Repeats(repeat or UNTIL_SURE_AT_MOST, until_sure)
    return Repeats(repeat or 1)


def shares_said(runs: Sequence[Run], repeats: Repeats) -> list[str]:
    """A line for each law of each scenario and policy; none if nothing was repeated."""
    return repeats.said(runs) if repeats.most > 1 else []


def shares_document(runs: Sequence[Run], repeats: Repeats) -> dict[str, Any]:
    """The key ``shares`` of the JSON document; empty if nothing was repeated."""
    if repeats.most == 1:
        return {}
    found = []
    for mine in alike(runs).values():
        laws = [check.name for check in mine[0].checks]
        what = {"scenario": mine[0].scenario, "policy": mine[0].policy, "target": mine[0].target}
        found += [what | share.document() for share in shares(mine, laws)]
    return {"shares": found}
