"""The page of coverage: which steps were seen before and after which others, and what was never turned round."""

from __future__ import annotations

import re

from lockjaw.reports.coverage import coverage_view, render_coverage

THING = "name sessions.json"
ORDERINGS = [
    (THING, "client: Read sessions.json", "gateway: Replace sessions.json"),
    (THING, "gateway: Replace sessions.json", "client: Read sessions.json"),
    (THING, "gateway: Unlink sessions.json", "client: Read sessions.json"),
    ("content #1.jsonl", "client: Append #1.jsonl", "worker: Read #1.jsonl"),
]


def test_a_cell_says_which_ways_two_steps_were_seen() -> None:
    view = coverage_view(ORDERINGS, {ORDERINGS[2]: 7})
    detail = view.details[THING, ("client", "gateway")]
    assert (detail.rows, detail.columns) == (("Read",), ("Replace", "Unlink"))
    assert [(cell.way, cell.violated) for cell in detail.cells[0]] == [("both", 0), ("second", 7)]
    assert (detail.pairs, detail.both, detail.violated, detail.share) == (2, 1, 7, 0.5)
    other = view.details["content #1.jsonl", ("client", "worker")]
    assert [cell.way for cell in other.cells[0]] == ["first"]


def test_what_was_never_turned_round_is_listed() -> None:
    view = coverage_view(ORDERINGS, {})
    assert [(one.before, one.after) for one in view.never_turned] == [
        ("client: Append #1.jsonl", "worker: Read #1.jsonl"),
        ("gateway: Unlink sessions.json", "client: Read sessions.json"),
    ]


def test_the_page_shows_it_and_lets_nothing_in() -> None:
    page = render_coverage("<b>x</b>", ["3 runs & more"], coverage_view(ORDERINGS, {ORDERINGS[2]: 7}))
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "3 runs &amp; more" in page
    assert "1 of 2" in page
    assert "only in 7 violated runs" in page
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!#)', page)
    for target in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{target}"' in page


def test_a_long_row_of_steps_is_cut_and_says_so() -> None:
    many = [(THING, f"client: Op{n:02} f", "gateway: Replace f") for n in range(30)]
    view = coverage_view(many, {})
    assert view.details[THING, ("client", "gateway")].left_out == 6
    assert "6 more steps are not drawn" in render_coverage("t", [], view)


def test_no_runs_are_a_page_too() -> None:
    assert "0 orderings" in render_coverage("t", [], coverage_view([], {}))
