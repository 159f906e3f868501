"""From a report to the run that prints its errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockjaw.documents import load_document
from lockjaw.harness.intake import read_file
from lockjaw.harness.intake.compose import compose
from lockjaw.harness.intake.search import search
from lockjaw.harness.intake.similarity import likeness
from lockjaw.harness.scenario import scenario_from

REPORTS = Path(__file__).parent / "reports"


@pytest.mark.parametrize("name", ["seed-mixed-chain", "uniform-chain", "fresh-session-banner"])
def test_report_is_reproduced_whole(name: str) -> None:
    found = search(read_file(REPORTS / f"{name}.txt"), seeds=40, seconds=60)
    assert found.reproduced
    assert found.similarity == 1.0


@pytest.mark.parametrize("path", sorted(REPORTS.glob("*.txt")), ids=lambda path: path.stem)
def test_composed_scenario_can_be_read(path: Path) -> None:
    composed = compose(read_file(path))
    for values in list(composed.choices())[:3] if composed else []:
        scenario_from(load_document(composed.render(values), "composed.yaml"), name="composed")


def test_no_lock_incident_is_not_searched_for() -> None:
    found = search(read_file(REPORTS / "negative.txt"), seeds=2)
    assert (found.best, found.trials) == (None, 0)
    assert found.why


def test_similarity_counts_the_report_lines_that_the_replay_has_in_order() -> None:
    assert likeness(["a b", "c d"], ["x", "a b", "y", "c d"]).similarity == 1.0
    assert likeness(["c d", "a b"], ["a b", "c d"]).similarity == 0.5
    missed = likeness(["a b", "c d"], ["a b"])
    assert missed.mismatch is not None
    assert (missed.mismatch.line, missed.mismatch.replay) == (2, None)
