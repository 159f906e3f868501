"""The catalogue: which incidents there are, by class, as a list, a document and the page ``scenarios/README.md``.

Class meanings and the numbers of public entries are those of the field reports from which the scenarios were made.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from lockjaw.behaviours import BEHAVIOURS

from ..harness.incident.scenario import Scenario

WIDTH = 80
SHORT = 90  # characters


class IncidentClass(NamedTuple):
    """A family of incidents, and how many public reports, pull requests and pages have it as their first class."""

    letter: str
    says: str
    reports: int
    pull_requests: int = 0
    pages: int = 0

    @property
    def counted(self) -> str:
        counts = ((self.reports, "report"), (self.pull_requests, "pull request"), (self.pages, "page"))
        return ", ".join(f"{n} {what}{'s' * (n != 1)}" for n, what in counts if n)


CLASSES = {
    one.letter: one
    for one in (
        IncidentClass("A", "A fallback re-enters a session that the gateway still owns", 6, 5),
        IncidentClass("B", "A local lock error is counted as a model failure", 7, 5),
        IncidentClass("C", "A lock is left by a dead process", 17, 2, 1),
        IncidentClass("D", "A dead lock looks alive: pid reused, or the same pid again", 8, 8),
        IncidentClass("E", "A live process never gives back its own lock", 28, 10),
        IncidentClass("F", "A legitimate hold is longer than the wait", 23, 3),
        IncidentClass("G", "An overdue lock is never reclaimed", 6, 6),
        IncidentClass("H", "Two owners: a live lock is removed", 5, 7),
        IncidentClass("I", "The fence against takeovers fires at nobody", 21, 3),
        IncidentClass("J", "A reply, a message or a transcript is lost", 13, 1),
        IncidentClass("K", "The same work is executed or delivered twice", 10, 2),
        IncidentClass("L", "A fallback or a status hides the real failure", 7),
        IncidentClass("M", "File systems and platforms behave otherwise", 2, 2, 1),
        IncidentClass("N", "After the file lock: revisions and busy databases", 17, 3),
        IncidentClass("O", "A durable turn claim is left without a run", 9),
        IncidentClass("P", "Maintenance keeps a start or a turn waiting", 7),
        IncidentClass("Q", "One synchronous call of the store stops everybody", 7),
        IncidentClass("R", "A turn is lost in the window of a restart", 9),
        IncidentClass("S", "An exclusive state folder refuses a legitimate second process", 4, 1),
    )
}


def by_class(scenarios: Sequence[Scenario]) -> Iterator[tuple[IncidentClass, list[Scenario]]]:
    """Each class with the scenarios whose first class it is, in the order of the table that they come from."""
    for letter, one in CLASSES.items():
        yield one, sorted((s for s in scenarios if s.classes[:1] == (letter,)), key=lambda s: (s.row, s.name))


def elsewhere(letter: str, scenarios: Sequence[Scenario]) -> list[str]:
    """Scenarios that show a class beside their first one."""
    return [s.name for s in scenarios if letter in s.classes[1:]]


def engines_of(scenario: Scenario) -> str:
    return "sim" if scenario.not_real else "sim, real"


def _reports(scenario: Scenario) -> str:
    return f"{len(scenario.reports)} report{'s' * (len(scenario.reports) != 1)}"


def in_short(scenario: Scenario) -> str:
    """The first sentences of the story, as many as it takes to say something."""
    said = ""
    for sentence in " ".join(scenario.story.split()).split(". "):
        said += sentence if sentence.endswith(("?", "!")) else sentence.removesuffix(".") + "."
        said += " "
        if len(said) >= SHORT:
            break
    return said.strip()


# --------------------------------------------------------------------------- for a terminal


def listing(scenarios: Sequence[Scenario], width: int = WIDTH) -> Iterator[str]:
    """The list by class, in lines of at most so many columns."""
    for one, found in by_class(scenarios):
        head = textwrap.wrap(f"{one.letter}  {one.says} ({one.counted})", width, subsequent_indent="   ")
        yield from head
        for scenario in found:
            yield f"  {scenario.name:<28} {_reports(scenario):<9} {engines_of(scenario)}"
            indent = " " * 6
            yield from textwrap.wrap(in_short(scenario), width, initial_indent=indent, subsequent_indent=indent)
        if beside := elsewhere(one.letter, scenarios):
            text = f"also: {', '.join(beside)}"
            yield from textwrap.wrap(text, width, initial_indent=" " * 3, subsequent_indent=" " * 9)
        yield ""


def told(scenario: Scenario, width: int = WIDTH) -> Iterator[str]:
    """One scenario in full, for a terminal."""
    yield scenario.name
    yield from (
        "  " + line for paragraph in scenario.story.split("\n\n") for line in textwrap.wrap(paragraph, width - 2)
    )
    for what, text in _facts(scenario):
        yield from textwrap.wrap(f"{what}: {text}", width, initial_indent="  ", subsequent_indent="      ")
    yield ""


def document(scenarios: Sequence[Scenario]) -> dict[str, Any]:
    """What ``lockjaw list --json`` shows."""
    return {
        "classes": [
            {
                "class": one.letter, "says": one.says, "reports": one.reports, "pull_requests": one.pull_requests,
                "pages": one.pages, "scenarios": [s.name for s in found],
                "also": elsewhere(one.letter, scenarios),
            }
            for one, found in by_class(scenarios)
        ],
        "scenarios": [
            {
                "name": s.name, "story": s.story, "reports": list(s.reports), "class": list(s.classes), "row": s.row,
                "versions": s.era.versions if s.era else None, "baseline": s.baseline,
                "breaks": list(s.expect.get(s.baseline, ())), "checks": list(s.checks),
                "engines": engines_of(s).split(", "), "not_real": s.not_real or None,
            }
            for s in scenarios
        ],
    }  # fmt: skip


# --------------------------------------------------------------------------- the page


def page(scenarios: Sequence[Scenario]) -> Iterator[str]:
    """``scenarios/README.md``, block by block."""
    played = sum(not s.not_real for s in scenarios)
    rows = len({s.row for s in scenarios if s.row})
    yield "# The catalogue"
    yield (
        f"{len(scenarios)} incidents, one YAML file each, for the {rows} shapes of failure that public reports "
        "describe most often. Each has a *baseline*: the lock and the policy of the versions that the reports speak "
        "of. Under it the laws that the list names are VIOLATED; under Lockjaw's own policy, `takeover`, every law is "
        f"HELD. All are played in the simulation, {played} by operating-system processes as well."
    )
    yield (
        "`lockjaw catalogue` plays all of them and says whether this page is true. `lockjaw list NAME` shows one, "
        "`lockjaw run NAME --policy all` replays it, `lockjaw explore --all` looks at many seeds of each."
    )
    lines = ["| class | what happens | public entries | scenarios |", "| --- | --- | --- | --- |"]
    for one, found in by_class(scenarios):
        names = [f"[`{s.name}`](#{s.name})" for s in found]
        names += [f"(also [`{name}`](#{name}))" for name in elsewhere(one.letter, scenarios)]
        lines.append(f"| {one.letter} | {one.says} | {one.counted} | {', '.join(names)} |")
    yield "\n".join(lines)
    for one, found in by_class(scenarios):
        if not found:
            continue
        yield f"## {one.letter}. {one.says}"
        for scenario in found:
            yield f"### {scenario.name}"
            yield " ".join(scenario.story.split())
            yield "\n".join(f"- {what}: {text}" for what, text in _facts(scenario, code="`"))
            yield f"File: [{scenario.name}.yaml]({scenario.name}.yaml)."


def _facts(scenario: Scenario, code: str = "") -> Iterator[tuple[str, str]]:
    def named(names: Sequence[str]) -> str:
        return ", ".join(f"{code}{name}{code}" for name in names)

    yield "Reports", ", ".join(scenario.reports)
    yield "Class", ", ".join(scenario.classes) + (f"; row {scenario.row} of “Replay first”" if scenario.row else "")
    if scenario.era is not None:
        behaviour = BEHAVIOURS[scenario.baseline]
        lock = f"lock {code}{behaviour.lock_algorithm}{code}, waited for {behaviour.lock_timeout_s:g} s at most"
        yield "Versions", scenario.era.versions
        yield "Baseline", f"{named([scenario.baseline])} ({lock})"
    broken = [laws for policy, laws in scenario.expect.items() if policy == scenario.baseline]
    yield "It breaks", named(broken[0]) if broken else "nothing"
    others = {p: laws for p, laws in scenario.expect.items() if p not in (scenario.baseline, "takeover")}
    for policy, laws in others.items():
        yield f"{code}{policy}{code} breaks", named(laws)
    yield f"{code}takeover{code} holds", named(scenario.checks)
    yield "A run counts only if", "; ".join(some.says for some in scenario.sometimes)
    yield "Engines", engines_of(scenario) + (f" (not real: {scenario.not_real})" if scenario.not_real else "")
