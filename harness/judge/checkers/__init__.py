"""Checkers: pure functions from a history to a verdict. One file, one law.

A checker takes the merged history and the scenario's facts and returns a ``CheckResult``; its docstring's first
line is its law. To add one: a module with ``NAME`` and ``check``, a line in ``_MODULES``, and its planted bugs in
tests/quality.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from lockjaw.errors import LocalError
from lockjaw.history import Record
from lockjaw.history.ordered import numbered
from lockjaw.verdict import CheckResult

from ..executions import turn_executions
from . import (
    accepted_turns_end_once,
    all_delivered,
    amplification,
    answered,
    claims_end,
    degradation_visible,
    executed_once,
    lock_is_not_a_model_failure,
    lock_is_not_a_permission_verdict,
    never_session_locked,
    no_lock_left,
    nothing_held_after_end,
    one_writer,
    reads_are_true,
    recovered_within,
    same_conversation,
    store_delays_no_other,
    transcript_whole,
)
from .facts import ScenarioFacts

__all__ = ["CHECKERS", "Checker", "ScenarioFacts", "law_of", "run_checks", "turn_executions"]

Checker = Callable[[Sequence[Record], ScenarioFacts], CheckResult]

_MODULES = (
    never_session_locked,
    lock_is_not_a_model_failure,
    answered,
    executed_once,
    same_conversation,
    one_writer,
    no_lock_left,
    recovered_within,
    transcript_whole,
    degradation_visible,
    amplification,
    nothing_held_after_end,
    all_delivered,
    reads_are_true,
    store_delays_no_other,
    claims_end,
    lock_is_not_a_permission_verdict,
    accepted_turns_end_once,
)

#: name -> checker, in the order in which reports show them.
CHECKERS: dict[str, Checker] = {module.NAME: module.check for module in _MODULES}


def law_of(name: str) -> str:
    """The one sentence that a checker checks."""
    return (_checker(name).__doc__ or "").strip().splitlines()[0]


def run_checks(names: Iterable[str], history: Sequence[Record], facts: ScenarioFacts) -> list[CheckResult]:
    """Run the named checkers, in the order given.

    Raises:
        LocalError: a name is unknown; the text lists those that exist. Nothing is run then.
    """
    checkers = [_checker(name) for name in names]
    ordered = numbered(history)
    return [checker(ordered, facts) for checker in checkers]


def _checker(name: str) -> Checker:
    if name not in CHECKERS:
        raise LocalError(f"unknown checker {name!r}; known: {', '.join(CHECKERS)}")
    return CHECKERS[name]
