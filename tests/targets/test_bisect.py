"""The search over versions of a described runtime: what a version says of a law, which versions are searched."""

from __future__ import annotations

import pytest

from lockjaw.cli.target.bisect import between
from lockjaw.errors import UsageError
from lockjaw.harness.targets.bisection import bisect
from lockjaw.harness.targets.campaign import JudgedVersion
from lockjaw.harness.targets.table import Cell
from lockjaw.verdict import Verdict

LAW = "never_session_locked"


def judged(version: str, broken: int, decided: int = 3, **more: object) -> JudgedVersion:
    return JudgedVersion(version, Cell(f"mine@{version}", "s", 3, 3, {LAW: (broken, decided)}, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("broken", "decided", "verdict", "why"),
    [
        (0, 3, Verdict.HELD, ""),
        (2, 3, Verdict.VIOLATED, ""),
        (1, 3, Verdict.UNKNOWN, "broken in 1 of 3 runs"),
        (1, 2, Verdict.UNKNOWN, "broken in 1 of 2 runs"),
        (0, 0, Verdict.UNKNOWN, "nobody saw it"),
    ],
)
def test_a_version_is_what_most_of_its_runs_are(broken: int, decided: int, verdict: Verdict, why: str) -> None:
    one = judged("1", broken, decided, why={LAW: "nobody saw it"})
    assert one.verdict(LAW) is verdict
    assert not why or one.why_unclear(LAW) == why


def test_a_version_that_was_not_run_or_never_reached_the_danger_says_so() -> None:
    failed = JudgedVersion("1", Cell("mine@1", "s", error="no such version"))
    assert (failed.verdict(LAW), failed.why_unclear(LAW)) == (None, "no such version")
    missed = JudgedVersion("1", Cell("mine@1", "s", 3, 0, {LAW: (0, 0)}))
    assert missed.verdict(LAW) is Verdict.UNKNOWN
    assert missed.why_unclear(LAW) == "UNKNOWN: the danger was not reached in 3 run(s)"


def test_the_first_version_with_another_verdict_is_found_and_a_shaky_one_is_tried_once_more() -> None:
    asked: list[str] = []
    results = {"1": [0], "2": [1, 0], "3": [3], "4": [3], "5": [3]}  # version 2 is unclear at first

    def judge(version: str) -> JudgedVersion:
        asked.append(version)
        return judged(version, results[version][min(asked.count(version), len(results[version])) - 1])

    said: list[str] = []
    found = bisect("mine", list(results), LAW, judge, said.append)
    assert found.sentence() == "mine 3 is the first version where never_session_locked is VIOLATED; 2 was HELD"
    assert asked == ["1", "5", "3", "2", "2"]
    assert said == ["  once more: broken in 1 of 3 runs"]
    assert [one.version for one in found.cells] == ["1", "2", "3", "5"]


def test_versions_are_those_between_the_ends_in_the_order_of_the_file() -> None:
    versions = ["0.9", "0.10", "0.11", "0.12"]
    assert between(versions, "0.11", "0.9") == ["0.9", "0.10", "0.11"]
    with pytest.raises(UsageError, match=r"--bad: expected one of 0\.9.*--versions names others.*got '1\.0'"):
        between(versions, "0.9", "1.0")
    with pytest.raises(UsageError, match="another version than --good"):
        between(versions, "0.9", "0.9")
