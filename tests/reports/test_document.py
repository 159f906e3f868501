"""The JSON document: its keys are a promise."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import lockjaw
from lockjaw.reports import document
from lockjaw.verdict import Verdict


def test_the_document_has_the_promised_shape(four_runs: list[Any]) -> None:
    whole = document.document(four_runs)

    assert list(whole) == ["lockjaw", "command", "scenario", "verdict", "runs"]
    assert whole["lockjaw"] == lockjaw.__version__
    assert (whole["command"], whole["scenario"], whole["verdict"]) == ("run", "gateway_timeout", "VIOLATED")
    assert whole["runs"] == [run.document() for run in four_runs]
    assert json.loads(document.to_json(whole)) == whole


def test_runs_of_several_scenarios_have_no_common_name(make_run: Callable[..., Any]) -> None:
    whole = document.document([make_run("takeover"), make_run("takeover", scenario="other")])

    assert whole["scenario"] is None
    assert [run["scenario"] for run in whole["runs"]] == ["gateway_timeout", "other"]


def test_a_command_may_add_keys_and_replace_none(make_run: Callable[..., Any]) -> None:
    whole = document.document([make_run("takeover")], command="reproduce", kit="x.zip", verdict="HELD!")

    assert (whole["command"], whole["kit"], whole["verdict"]) == ("reproduce", "x.zip", "HELD")


@pytest.mark.parametrize(
    ("verdicts", "verdict", "status"),
    [
        (["HELD", "HELD"], Verdict.HELD, 0),
        (["HELD", "UNKNOWN"], Verdict.UNKNOWN, 3),
        (["UNKNOWN", "VIOLATED", "HELD"], Verdict.VIOLATED, 1),
        ([], Verdict.UNKNOWN, 3),
    ],
)
def test_one_bad_run_decides_the_exit_status(
    make_run: Callable[..., Any], verdicts: list[str], verdict: Verdict, status: int
) -> None:
    runs = [make_run("takeover", verdict=text) for text in verdicts]

    assert document.document(runs)["verdict"] == str(verdict)
    assert document.exit_status(runs) == status


def test_json_never_holds_what_strict_readers_refuse() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        document.to_json({"nominal_s": float("nan")})
