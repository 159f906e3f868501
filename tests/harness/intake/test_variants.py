"""Texts of each kind in several languages are read as they are meant, and look-alikes are turned away."""

from __future__ import annotations

from typing import Any

import pytest

from lockjaw.harness.intake import Report, read_report

from .variants import NOT_OURS, SPECIFIC, VARIANTS


def first(report: Report) -> str:
    return report.classes[0] if report.classes else "?" if report.possible else "-"


@pytest.mark.parametrize(("name", "wanted", "text"), VARIANTS, ids=[name for name, *_ in VARIANTS])
def test_variant_is_read_as_it_is_meant(name: str, wanted: list[str], text: str) -> None:
    assert first(read_report(text)) in wanted


@pytest.mark.parametrize("text", NOT_OURS, ids=range(len(NOT_OURS)))
def test_what_only_sounds_like_a_lock_incident_is_turned_away_with_a_reason(text: str) -> None:
    report = read_report(text)
    assert first(report) == "-"
    assert not report.session_locked
    assert report.not_ours is not None


@pytest.mark.parametrize(("wanted", "errors", "models", "owner", "text"), SPECIFIC, ids=range(len(SPECIFIC)))
def test_what_a_report_is_specific_about_is_read(
    wanted: list[str], errors: int | None, models: list[str], owner: Any, text: str
) -> None:
    report = read_report(text)
    assert first(report) in wanted
    assert errors is None or len(report.errors) == errors
    assert [candidate.model for candidate in report.chain] == models
    if owner is not None:
        states = {True: "alive", False: "dead", None: "unknown"}
        assert owner in [(str(lock.pid), lock.owner or states[lock.alive]) for lock in report.locks]
