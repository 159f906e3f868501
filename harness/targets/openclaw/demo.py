"""The demonstration as a person sees it: the two command lines, what each printed and when, how each ended. Pure.

Both get the same message, a gateway of the same version with the same configuration, and the same slow models. Each has
a gateway of its own: a second turn on the first one's would wait until that turn has ended.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from lockjaw.history import Record
from lockjaw.history.run import Outcome

from ...incident.scenario import Scenario
from ...run import Run

SCENARIO = "gateway_timeout"
OURS = "takeover"
WIDTH = 80
_MARGIN = " " * 9
_STATE = re.compile(r"/\S+?/state/")


def opening(scenario: Scenario, version: str) -> str:
    """What the two have in common."""
    text = (
        f"openclaw {version}, its gateway on loopback, models {', '.join(scenario.chain)}. A model may take "
        f"{scenario.timeout_s:g} s; each of these needs {_slowest_s(scenario):.0f}."
    )
    return textwrap.fill(text, WIDTH)


def command(scenario: Scenario, policy: str | None) -> str:
    """The line that a person types. ``policy``: None for the real command line."""
    return f'$ {"openclaw" if policy is None else "lockjaw"} agent --agent main --message "{scenario.message}"'


def line(record: Record) -> str:
    """A line that the client printed to stderr, with the second at which it came."""
    return _dated(record.t, _STATE.sub("<state>/", str(record.data.get("line", ""))))


def ending(run: Run) -> str:
    """The answer, or that there is none, and how the command ended."""
    reply = run.outcome.reply if run.outcome.answered else None
    shown = [_dated(run.nominal_s, reply)] if reply else []
    return "\n".join([*shown, f"exit status {run.outcome.exit_code} after {run.nominal_s:.0f} s: {_how(run.outcome)}"])


def _how(outcome: Outcome) -> str:
    if not outcome.answered:
        return f"no answer ({outcome.session_locked_errors} session-locked errors)"
    return "answered" + (", in a copy of the conversation" if outcome.duplicate_possible else "")


def shows(real: Run, ours: Run) -> bool:
    """Whether it came out as announced: they got no answer, we did, without one session-locked error."""
    mine = ours.outcome
    return not real.outcome.answered and mine.answered and mine.session_locked_errors == 0


def _dated(t: float, text: str) -> str:
    return "\n".join(_wrapped(f"{t:6.1f} s ", text))


def _wrapped(first: str, text: str) -> Iterator[str]:
    for n, part in enumerate(text.splitlines() or [""]):
        yield from textwrap.wrap(
            part, WIDTH, initial_indent=_MARGIN if n else first, subsequent_indent=_MARGIN, break_on_hyphens=False
        )


def _slowest_s(scenario: Scenario) -> float:
    return max(seconds for seconds in scenario.answers_s.values() if seconds is not None)
