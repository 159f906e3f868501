"""What a replay carries of what a report is specific about: the difference between "reproduced" and "consistent". Pure.

A replay that prints a report's error lines shows that such lines can come about so. It reproduces *the report* only if
it also has what the report says: the class, whether the lock's owner is dead or alive, the models, the timers, the
number of waits. Each such point is compared and told; what a replay does not print cannot be compared and is named.
"""

from __future__ import annotations

from typing import NamedTuple

from ..incident.scenario import Scenario
from .basis import Composition, model_names, report_waits
from .report import LockSeen, Report
from .similarity import Likeness

__all__ = ["Fit", "Point", "fit"]

#: Timers that a scenario or a replay's log shows.
_COMPARED = ("client_timeout_s", "lock_wait_s", "run_timeout_s", "abort_settle_s")
_OWNER = {
    "alive": "a live process",
    "dead": "a dead process",
    "other": "a pid that another program has",
    "": "nobody's",
}


class Point(NamedTuple):
    """One thing that a report says. ``carried``: None where the report leaves it open."""

    what: str
    report: str
    replay: str
    carried: bool | None


class Fit(NamedTuple):
    """How a replay stands to its report. ``not_compared``: what the report says and no replay prints."""

    points: tuple[Point, ...] = ()
    not_compared: tuple[str, ...] = ()
    lines: bool = False
    classes: str = ""  # what goes wrong in the replay

    @property
    def outcome(self) -> str:
        """``reproduced``, ``consistent`` (every line, but not everything the report says) or ``not reproduced``."""
        if not self.lines:
            return "not reproduced"
        return "reproduced" if all(point.carried for point in self.points) else "consistent"

    @property
    def carried(self) -> int:
        return sum(point.carried is True for point in self.points)

    @property
    def hopeless(self) -> bool:
        """Would another replay with the same lines be no better?"""
        return self.lines and not any(point.carried is False for point in self.points)


def fit(report: Report, composition: Composition, scenario: Scenario, likeness: Likeness, replay: Report) -> Fit:
    """Compare what a report says with a replay: its scenario, and its log as it is read."""
    points = [_lines(report, likeness), _class(report, composition)]
    owner = _owner(report)
    if owner is not None:
        points.append(Point("owner of the lock", _OWNER[owner], _OWNER[composition.owner], owner == composition.owner))
    models = model_names(report)
    if models:
        points.append(Point("models", ", ".join(models), ", ".join(scenario.chain), tuple(models) == scenario.chain))
    waits = report_waits(report) or sum(candidate.lock for candidate in report.chain)
    if waits:
        theirs = report_waits(replay) or sum(candidate.lock for candidate in replay.chain)
        points.append(Point("lock waits", str(waits), str(theirs), theirs >= waits))
    points += _timers(report, scenario, replay)
    return Fit(tuple(points), _not_compared(report), likeness.whole, ", ".join(composition.classes))


def _lines(report: Report, likeness: Likeness) -> Point:
    number = len(report.errors)
    there = "all" if likeness.whole else f"similarity {likeness.similarity:.2f}"
    return Point("error lines", str(number), there, likeness.whole)


def _class(report: Report, composition: Composition) -> Point:
    theirs = ", ".join(composition.classes)
    if not report.classes:
        return Point("class", f"open between {', '.join(report.possible)}", theirs, None)
    first = report.classes[0]
    return Point("class", first, theirs, first in composition.classes)


def _owner(report: Report) -> str | None:
    """What the report says of the lock's owner; None: nothing."""
    states = {_state(lock) for lock in report.locks} - {""}
    return states.pop() if len(states) == 1 else None


def _state(lock: LockSeen) -> str:
    if lock.owner == "other":
        return "other"
    return "" if lock.alive is None else "alive" if lock.alive else "dead"


def _timers(report: Report, scenario: Scenario, replay: Report) -> list[Point]:
    points = []
    for name in _COMPARED:
        ours = report.timers.get(name)
        if ours is None:
            continue
        theirs = replay.timers.get(name)
        if theirs is None and name == "run_timeout_s":
            theirs = scenario.timeout_s
        same = theirs is not None and abs(theirs - ours) <= max(0.001, 0.01 * ours)
        points.append(Point(name, f"{ours:g}", "-" if theirs is None else f"{theirs:g}", same))
    return points


def _not_compared(report: Report) -> tuple[str, ...]:
    told = [name for name in report.timers if name not in _COMPARED]
    if any(lock.age_s is not None for lock in report.locks):
        told.append("ages of locks")
    if report.versions:
        told.append("version " + ", ".join(report.versions[:2]))
    if report.platforms:
        told.append("system")
    if report.sessions:
        told.append("session keys")
    if any(event.kind.startswith("says_") and event.kind != "says_run" for event in report.events):
        told.append("what the reporter says in prose")
    return tuple(told)
