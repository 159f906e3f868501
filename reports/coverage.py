"""The page of coverage: which steps of two actors were seen in which order, per file. One HTML file, no script. Pure.

Above: one row per thing that two actors share, one column per pair of actors; a cell is as full as the share of its
pairs of conflicting steps that were seen both ways round. Below: each such cell in detail, one actor's steps against
the other's. What was never turned round is where to look next; what was seen in no run but
those that broke a law is marked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from .page import render

__all__ = ["CoverageView", "coverage_view", "render_coverage"]

MOST_STEPS = 24  # of one actor in a detail: more do not fit beside each other; the rest is counted


class Seen(msgspec.Struct, frozen=True):
    """One ordering: ``before`` right before ``after`` on ``thing``; ``violated``: runs with it, if all of them
    broke a law."""

    thing: str
    before: str
    after: str
    violated: int = 0


class Meeting(msgspec.Struct, frozen=True):
    """Of two steps. ``way``: both, first (the row's step came first), second, or nothing where they never met."""

    way: str = ""
    violated: int = 0


class Detail(msgspec.Struct, frozen=True):
    """Two actors at one thing. ``both`` of ``pairs`` were seen both ways round."""

    thing: str
    actors: tuple[str, str]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[Meeting, ...], ...]
    pairs: int
    both: int
    violated: int
    left_out: int

    @property
    def share(self) -> float:
        return self.both / self.pairs if self.pairs else 0.0


class CoverageView(msgspec.Struct, frozen=True):
    """``things`` and ``actors`` span the table above; ``details`` by both."""

    things: tuple[str, ...]
    actors: tuple[tuple[str, str], ...]
    details: dict[tuple[str, tuple[str, str]], Detail]
    never_turned: tuple[Seen, ...]


def coverage_view(orderings: Iterable[tuple[str, str, str]], violated: dict[tuple[str, str, str], int]) -> CoverageView:
    """What the page shows. ``orderings``: (thing, step before, step after); a step is ``actor: Operation file``."""
    seen = [Seen(*one, violated.get(one, 0)) for one in sorted(orderings)]
    groups: dict[tuple[str, tuple[str, str]], list[Seen]] = {}
    for one in seen:
        first, second = sorted((_actor(one.before), _actor(one.after)))
        groups.setdefault((one.thing, (first, second)), []).append(one)
    details = {key: _detail(key[0], key[1], ones) for key, ones in groups.items()}
    return CoverageView(
        tuple(sorted({thing for thing, _ in details}, key=_by_file)),
        tuple(sorted({actors for _, actors in details})),
        details,
        tuple(one for one in seen if not _turned(one, seen)),
    )


def _by_file(thing: str) -> tuple[str, str]:
    """What belongs to one file stands together: its name, its content, its locks."""
    kind, _, rest = thing.partition(" ")
    return rest.partition(".json")[0], f"{rest} {kind}"


def _turned(one: Seen, seen: Sequence[Seen]) -> bool:
    return any((other.thing, other.before, other.after) == (one.thing, one.after, one.before) for other in seen)


def _actor(step: str) -> str:
    return step.partition(": ")[0]


def _does(step: str) -> str:
    """The operation alone: actor and thing stand in the heading."""
    return step.partition(": ")[2].partition(" ")[0]


def _detail(thing: str, actors: tuple[str, str], seen: Sequence[Seen]) -> Detail:
    first, second = actors
    cells: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for one in seen:
        swapped = _actor(one.before) != first
        row, column = (one.after, one.before) if swapped else (one.before, one.after)
        cells.setdefault((row, column), []).append(("second" if swapped else "first", one.violated))
    rows = sorted({row for row, _ in cells})
    columns = sorted({column for _, column in cells})
    shown_rows, shown_columns = rows[:MOST_STEPS], columns[:MOST_STEPS]
    return Detail(
        thing=thing, actors=(first, second),
        rows=tuple(map(_does, shown_rows)), columns=tuple(map(_does, shown_columns)),
        cells=tuple(tuple(_cell(cells.get((row, column), [])) for column in shown_columns) for row in shown_rows),
        pairs=len(cells), both=sum(len({way for way, _ in ways}) == 2 for ways in cells.values()),
        violated=sum(runs for ways in cells.values() for _, runs in ways),
        left_out=len(rows) + len(columns) - len(shown_rows) - len(shown_columns),
    )  # fmt: skip


def _cell(ways: Sequence[tuple[str, int]]) -> Meeting:
    found = {way for way, _ in ways}
    way = "both" if len(found) == 2 else next(iter(found), "")
    return Meeting(way, sum(runs for _, runs in ways))


def render_coverage(title: str, sentences: Sequence[str], view: CoverageView) -> str:
    """The page. ``sentences``: what is said above the table; anything may stand in them, it is escaped."""
    return render("coverage.html", title=title, sentences=sentences, view=view)
