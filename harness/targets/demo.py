"""An incident as the user of a runtime sees it: what was typed, what was printed and when, how it ended. Pure.

First the runtime's own client, then Lockjaw's own runtime in the same scenario. What differs between the two stands in
``opening``: Lockjaw plays the scenario's own times, the other program those of its ``outside`` part.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from lockjaw.history import Record
from lockjaw.history.run import Outcome
from lockjaw.verdict import Verdict

from ..incident.scenario import Scenario
from ..run import Run

__all__ = ["OURS", "SCENARIO", "ending", "opening", "shows", "told"]

SCENARIO = "fallback_meets_active_writer"
OURS = "takeover"
WIDTH = 80
_MARGIN = " " * 9


def opening(scenario: Scenario, target: str) -> str:
    """What happens, in a few lines."""
    assert scenario.outside is not None
    gives_up = scenario.outside.gives_up_s
    user = f"the user gives up {gives_up:g} s after the model has the question" if gives_up else "the user waits"
    text = f"{target} on loopback; the model answers after {scenario.outside.answers_s:g} s, and {user}."
    return textwrap.fill(text, WIDTH)


def told(record: Record, commands: dict[str, str]) -> list[str]:
    """Lines for a record of the user's; none for what a user does not see. ``commands``: method -> what is typed."""
    if record.actor != "client":
        return []
    if record.op == "client.call" and record.phase == "invoke":
        return [commands[str(record.data["method"])]] if record.data.get("method") in commands else []
    if record.op == "client.call" and record.data.get("kind") == "timeout":
        return list(_dated(record.t, "(gives up)"))
    if record.op == "client.stderr" and str(record.data.get("line", "")).strip():
        return list(_dated(record.t, str(record.data["line"])))
    return []


def ending(run: Run) -> str:
    """The answer, or that there is none, and how the last command ended."""
    outcome = run.outcome
    reply = list(_dated(run.nominal_s, outcome.reply)) if outcome.answered and outcome.reply else []
    how = "answered" if outcome.answered else "no answer"
    broken = ", ".join(check.name for check in run.checks if check.verdict is Verdict.VIOLATED)
    return "\n".join(
        [*reply, f"exit status {outcome.exit_code}, {how}; {run.verdict}{f': {broken}' if broken else ''}"]
    )


def shows(theirs: Outcome, ours: Outcome) -> bool:
    """Whether it came out as announced: they gave no answer, we did."""
    return not theirs.answered and ours.answered


def _dated(t: float, text: str) -> Iterator[str]:
    first = f"{t:6.1f} s "
    for n, part in enumerate(text.splitlines() or [""]):
        yield from textwrap.wrap(
            part, WIDTH, initial_indent=_MARGIN if n else first, subsequent_indent=_MARGIN, break_on_hyphens=False
        )
