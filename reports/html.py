"""The report as one HTML file: no request leaves it, and nothing in a run can become markup or script.

Three layers keep it that way: Jinja2 escapes every value, the data block is JSON without ``<``, and the page's
Content-Security-Policy allows the one script whose hash it names. Pure: runs in, text out; the caller writes files.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from markupsafe import Markup

from lockjaw.history.run import Run
from lockjaw.verdict import Verdict, combine

from .compare import Divergence, Mark, Skeleton, divergences, marks
from .html_data import RunPicture, page_json
from .page import render, source
from .sentences import condensed
from .swimlane import swimlane
from .view import MARKS, RunView, ScenarioView, important, run_view, view

MAX_ROWS = 150  # steps in the tables below the pictures: what fits on three printed pages
#: Swimlanes on one page: the four policies, and the behaviour of a scenario's own era. No reader scrolls to a sixth.
MAX_PICTURES = 5
_SIGNS = {Verdict.HELD: "✓", Verdict.VIOLATED: "✗", Verdict.UNKNOWN: "?"}


def render_run(run: Run) -> str:
    """The page of one run."""
    picture = RunPicture(run_view(run), swimlane(run.history))
    title = f"{picture.view.scenario}: {picture.view.title}"
    return _page([picture], title=title, scenarios=(), links={})


def render_compare(
    runs: Sequence[Run],
    skeleton: Skeleton,
    links: Mapping[str, str] | None = None,
    *,
    worst_first: bool = False,
) -> str:
    """Runs under each other on one time axis, each compared with the first; with the table policy x check.

    Args:
        runs: the first is the one that the others are compared with. Of more than MAX_PICTURES runs, those that
            violate a law are drawn first, one per policy; the table holds all of them.
        skeleton: which steps count as the same (``lockjaw.harness.judge.skeleton.skeleton``).
        links: folder of a run (``Run.folder``) -> address of its own page, relative to this one.
        worst_first: draw what a reader came for first, violated runs; else they are drawn as they come.
    """
    drawn = sorted(_drawn(runs), key=_badness) if worst_first else _drawn(runs)
    views = [run_view(run) for run in drawn]
    called = _names(views)
    compared: list[tuple[int, RunView, tuple[Divergence, ...]]] = []
    found: list[tuple[Mark, ...]] = [()]
    for number, run in enumerate(drawn[1:], start=1):
        apart = divergences(drawn[0].history, run.history, skeleton)
        base, other = marks(drawn[0].history, run.history, apart, (called[0], called[number]))
        # With several runs the first one's marks would lie on top of each other: it shows those of one comparison.
        if len(drawn) > 2:  # more than one mark per run and pair would hide what each run is about
            base, other = (tuple(mark for mark in side if mark.first) for side in (base, other))
        found[0] = found[0] or base
        found.append(other)
        compared.append((number, views[number], apart))
    pictures = [
        RunPicture(told, swimlane(run.history), marked)
        for run, told, marked in zip(drawn, views, found, strict=True)
    ]  # fmt: skip
    scenarios = view(runs)
    title = f"{', '.join(s.name for s in scenarios)}: {len(runs)} runs compared"
    return _page(
        pictures, title=title, scenarios=scenarios, links=links or {}, compared=compared,
        total=len(runs),
    )  # fmt: skip


def render_matrix(runs: Sequence[Run], links: Mapping[str, str] | None = None) -> str:
    """The catalogue at a glance: scenarios x policies, each cell a link to its run."""
    scenarios = view(runs)
    verdict = combine(scenario.verdict for scenario in scenarios)
    told = {scenario.name: _first_sentence(scenario.story) for scenario in scenarios if scenario.story}
    return render(
        "matrix.html", **_frame(),
        title=f"{len(scenarios)} scenario{'s' * (len(scenarios) != 1)}, {len(runs)} run{'s' * (len(runs) != 1)}",
        verdict=verdict, scenarios=scenarios, columns=_columns(scenarios), links=links or {}, stories=told,
    )  # fmt: skip


class Column(msgspec.Struct, frozen=True):
    """A policy that many scenarios have; or, with no ``policy``, those that belong to the era of one scenario."""

    policy: str
    others: frozenset[str] = frozenset()

    def of(self, scenario: ScenarioView) -> tuple[str, ...]:
        """The policies of one row that stand in this column."""
        if self.policy:
            return tuple(policy for policy in scenario.policies if policy == self.policy)
        return tuple(policy for policy in scenario.policies if policy in self.others)


def _columns(scenarios: Sequence[ScenarioView]) -> tuple[Column, ...]:
    """A column for each policy of at least half of the scenarios; the rest share one, before the last."""
    used = Counter(policy for scenario in scenarios for policy in scenario.policies)
    common = [Column(policy) for policy, times in used.items() if 2 * times >= len(scenarios)]
    rest = frozenset(used) - {column.policy for column in common}
    return (*common[:-1], *([Column("", rest)] if rest else []), *common[-1:])


def _first_sentence(story: str) -> str:
    return " ".join(story.split()).partition(". ")[0].rstrip(".") + "."


def names(runs: Sequence[Run]) -> list[str]:
    """The shortest words that tell the runs apart."""
    return _names([run_view(run) for run in runs])


def _names(views: Sequence[RunView]) -> list[str]:
    ways: list[list[str]] = [
        [v.policy for v in views],
        [v.engine for v in views],
        [f"seed {v.seed}" for v in views],
        [f"{v.scenario}, {v.title}" for v in views],
    ]
    fallback = [f"run {n + 1}" for n in range(len(views))]
    return next((names for names in ways if len(set(names)) == len(names)), fallback)


def _drawn(runs: Sequence[Run]) -> list[Run]:
    if len(runs) <= MAX_PICTURES:
        return list(runs)
    first: dict[tuple[str, str], Run] = {}
    for run in sorted(runs, key=_badness):
        first.setdefault((run.scenario, run.policy), run)
    chosen = [*first.values(), *runs]
    kept = list({id(run): run for run in chosen}.values())[:MAX_PICTURES]
    return [run for run in runs if any(run is other for other in kept)]


def _badness(run: Run) -> int:
    return (Verdict.VIOLATED, Verdict.UNKNOWN, Verdict.HELD).index(run.verdict)


def _page(
    pictures: Sequence[RunPicture],
    *,
    title: str,
    scenarios: Sequence[ScenarioView],
    links: Mapping[str, str],
    compared: Sequence[tuple[int, RunView, Sequence[Divergence]]] = (),
    total: int = 1,
) -> str:
    verdict = combine(picture.view.verdict for picture in pictures)
    return render(
        "report.html", **_frame(), title=title, verdict=verdict, pictures=pictures, scenarios=scenarios, links=links,
        compared=compared, left_out=total - len(pictures), condensed=condensed, data=Markup(page_json(pictures)),  # noqa: S704  to_script_json has no "<"
        rows=[important(picture.view.rows, MAX_ROWS // len(pictures)) for picture in pictures],
    )  # fmt: skip


def _frame() -> dict[str, Any]:
    """What the pages of runs share: style, script with its hash, words."""
    script = source("swimlane.js")
    assert "</" not in script, "the script would end its own element"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return {
        "script": Markup(script), "script_hash": digest, "style": Markup(source("page.css")),  # noqa: S704  our own files
        "words": {verdict: word for verdict, (_, word) in MARKS.items()}, "signs": _SIGNS, "Verdict": Verdict,
    }  # fmt: skip
