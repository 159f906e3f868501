"""HELD, VIOLATED or UNKNOWN: what a checker says, and how verdicts combine."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """UNKNOWN is not green: the run never reached the danger, or the history cannot tell."""

    HELD = "HELD"
    VIOLATED = "VIOLATED"
    UNKNOWN = "UNKNOWN"

    @property
    def exit_status(self) -> int:
        return {Verdict.HELD: 0, Verdict.VIOLATED: 1, Verdict.UNKNOWN: 3}[self]


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """VIOLATED if one is, else UNKNOWN if one is (or there is none), else HELD."""
    seen = set(verdicts)
    if Verdict.VIOLATED in seen:
        return Verdict.VIOLATED
    if Verdict.UNKNOWN in seen or not seen:
        return Verdict.UNKNOWN
    return Verdict.HELD


class CheckResult(msgspec.Struct, frozen=True):
    """What one checker found.

    ``finding`` is one sentence for a person; ``witness`` holds the indices of the history records that
    prove it (empty for HELD).
    """

    name: str
    verdict: Verdict
    finding: str
    witness: tuple[int, ...] = ()
