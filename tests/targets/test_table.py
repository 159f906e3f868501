"""Cells count what was shown: runs that reached the danger, laws that were decided, how often they broke."""

from __future__ import annotations

from lockjaw.harness.targets.table import Cell, markdown
from lockjaw.verdict import Verdict


def test_a_cell_whose_danger_was_never_reached_is_unknown_whatever_broke() -> None:
    cell = Cell("mine@1", "s", runs=2, reached=0, laws={"answered": (0, 0)})
    assert (cell.verdict, cell.said) == (Verdict.UNKNOWN, "UNKNOWN: the danger was not reached in 2 run(s)")


def test_a_cell_says_how_often_of_how_many_and_the_table_why_not() -> None:
    broken = Cell("mine@1", "s", 3, 3, {"answered": (2, 3), "one_writer": (0, 0)}, {"one_writer": "cannot be judged"})
    held = Cell("other@1", "s", 2, 2, {"answered": (0, 2)})
    assert (broken.verdict, broken.said) == (Verdict.VIOLATED, "VIOLATED: answered 2 of 3")
    assert (held.verdict, held.said) == (Verdict.HELD, "HELD in 2 run(s)")
    lines = markdown([broken, held]).splitlines()
    assert lines[2] == "| mine@1 | VIOLATED: answered 2 of 3 |"
    assert "- mine@1, s: one_writer: cannot be judged" in lines
