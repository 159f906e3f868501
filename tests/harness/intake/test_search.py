"""From a report to the run that prints its errors."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from lockjaw.documents.yaml import load_document
from lockjaw.harness.incident.scenario import builtin_names, load_scenario, scenario_from
from lockjaw.harness.intake import read_file, read_report
from lockjaw.harness.intake.compose import compose
from lockjaw.harness.intake.nearest import POINTERS, Near, fitted, nearest
from lockjaw.harness.intake.report import Candidate
from lockjaw.harness.intake.search import search
from lockjaw.harness.intake.similarity import likeness

REPORTS = Path(__file__).parent / "reports"


@pytest.mark.parametrize(
    "name",
    [
        "seed-mixed-chain", "uniform-chain", "fresh-session-banner", "run-timeout-then-locked", "abort-unsettled",
        "takeover", "revision", "wrong-token", "watchdog",
    ],
)  # fmt: skip
def test_report_is_reproduced_whole(name: str) -> None:
    found = search(read_file(REPORTS / f"{name}.txt"), seeds=40, seconds=60)
    assert found.reproduced
    assert found.similarity == 1.0


@pytest.mark.parametrize("path", sorted(REPORTS.glob("*.txt")), ids=lambda path: path.stem)
def test_composed_text_is_the_scenario_that_was_tried(path: Path) -> None:
    composed = compose(read_file(path))
    for values in list(composed.choices())[:3] if composed else []:
        written = scenario_from(load_document(composed.text(values), "composed.yaml"), name=composed.name)
        assert written == composed.scenario(values)
        assert composed.assumed(values)


def test_dead_owner_that_only_a_foreign_pid_replays_is_consistent_and_no_more() -> None:
    found = search(read_file(REPORTS / "dead-owner.txt"), seeds=40, seconds=60)
    assert (found.similarity, found.outcome, found.reproduced) == (1.0, "consistent", False)
    assert found.best is not None
    assert [point.what for point in found.best.fit.points if point.carried is False] == ["owner of the lock"]


def test_open_question_is_consistent_with_a_replay_and_not_reproduced_by_it() -> None:
    found = search(
        read_report("Error: session file locked (timeout 10000ms): pid=7 /x/agents/main/sessions/s.jsonl.lock")
    )
    assert (found.similarity, found.outcome, found.trials) == (1.0, "consistent", 1)


def test_reports_that_differ_in_a_word_have_scenarios_of_their_own() -> None:
    one, other = (read_report(f"{word}\n\nsession file locked (timeout 10000ms): pid=7 /x.lock") for word in "ab")
    composed = [compose(report) for report in (one, other)]
    assert one.errors == other.errors
    assert composed[0] is not None
    assert composed[1] is not None
    assert composed[0].name != composed[1].name


@pytest.mark.parametrize(
    ("name", "scenario"),
    [
        ("stale-race", "stale_lock_replaced"), ("own-orphan", "unlink_fails"), ("doctor", "recycled_pid"),
        ("cascade-of-one-incident", "compaction_longer_than_wait"),
    ],
)  # fmt: skip
def test_report_whose_lines_nothing_prints_is_shown_its_scenario(name: str, scenario: str) -> None:
    found = search(read_file(REPORTS / f"{name}.txt"), seeds=12, seconds=60)
    assert not found.reproduced
    assert found.nearest[0].scenario.name == scenario
    assert found.why or (found.best is not None and found.best.likeness.missing)


def test_report_that_names_its_number_is_shown_that_scenario() -> None:
    report = read_report(
        "openclaw/openclaw#92109: session file changed while embedded prompt lock was released: ~/s.jsonl"
    )
    assert nearest(report)[0].scenario.name == "metadata_drift"


def test_every_pointer_leads_to_a_scenario() -> None:
    assert {name for _, name in POINTERS} <= set(builtin_names())


@pytest.mark.parametrize("name", sorted(builtin_names()))
def test_every_scenario_can_be_fitted_to_a_report(name: str) -> None:
    chain = tuple(Candidate(model=f"acme/model-{n}", error="", reason="timeout") for n in range(4))
    report = msgspec.structs.replace(
        read_report("embedded run timeout: runId=r timeoutMs=120000"), chain=chain, classes=load_scenario(name).classes
    )
    near = Near(load_scenario(name), "the test")
    composed = fitted(near, report)
    for values in composed.choices():
        made = composed.scenario(values)
        assert made == scenario_from(load_document(composed.text(values), "fitted.yaml"), name=composed.name)
        assert made.chain == tuple(candidate.model for candidate in chain)
        assert made.timeout_s == pytest.approx(values["stretch"] * near.scenario.timeout_s)


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


@pytest.mark.parametrize(
    ("line", "scenario_class"),
    [
        ("Error: timeout acquiring session store lock: ~/s/sessions.json.lock; four write at the same time", "F"),
        ("OpenClaw 2026.9.4: SqliteError: database is locked", "N"),
        ('Error: Session "agent:main:main" changed while starting work. Retry.', "N"),
    ],
)
def test_busy_store_is_replayed_in_the_words_of_its_version(line: str, scenario_class: str) -> None:
    report = read_report(f"# {line}\n\n2026-09-01 10:00:00 {line}\n\n2026-09-01 10:05:00 {line}")
    found = search(report, seeds=20)
    assert report.classes[0] == scenario_class
    assert (found.outcome, len(report.errors)) == ("reproduced", 2)
