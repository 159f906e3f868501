"""How often a law broke, and when repeating ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockjaw.harness.judge.shares import Repeats, Share, repeated, shares
from lockjaw.history.run import Outcome, Reached, Run
from lockjaw.verdict import CheckResult, Verdict

NOTHING = Outcome(False, 1, 0, 1, 1, 1, False, None, None)


def made(answered: Verdict, *, reached: bool = True, policy: str = "takeover", **more: Verdict) -> Run:
    laws = {"answered": answered} | more
    checks = tuple(CheckResult(law, verdict, "said", ()) for law, verdict in laws.items())
    danger = (Reached("the danger", 0 if reached else None),)
    return Run("s", policy, "real", 1, answered, checks, danger, NOTHING, "h", 1.0, 1.0, Path("r"), ())


HELD, BROKEN, UNKNOWN = Verdict.HELD, Verdict.VIOLATED, Verdict.UNKNOWN


def test_a_share_gives_wilsons_interval() -> None:
    low, high = Share("answered", 5, 5).interval
    assert (round(low, 3), round(high, 3)) == (0.566, 1.0)
    assert Share("answered", 0, 0).interval == (0.0, 1.0)
    assert str(Share("answered", 1, 2)) == "answered: broken in 1 of 2 (95 %: 9% to 91%)"


def test_three_runs_alike_settle_nothing_and_four_do() -> None:
    assert not Share("answered", 3, 3).settled
    assert Share("answered", 4, 4).settled
    assert Share("answered", 0, 4).settled
    assert not Share("answered", 3, 6).settled


def test_a_share_counts_no_run_that_missed_the_danger_and_no_law_that_was_not_judged() -> None:
    runs = [made(BROKEN), made(HELD), made(BROKEN, reached=False), made(UNKNOWN)]
    assert [(one.broken, one.runs) for one in shares(runs, ["answered"])] == [(1, 2)]


@pytest.mark.parametrize(
    ("verdicts", "after"),
    [
        ([BROKEN] * 20, 4),
        ([HELD] * 20, 4),
        ([HELD, BROKEN, *[BROKEN] * 18], 8),  # one disturbed run does not decide
        ([HELD, BROKEN] * 10, 12),
        ([UNKNOWN] * 20, 12),
    ],
)
def test_until_sure_ends_when_each_interval_is_on_one_side_of_one_half(verdicts: list[Verdict], after: int) -> None:
    runs = iter([made(verdict) for verdict in verdicts])
    assert len(repeated(lambda: [next(runs)], Repeats(12, until_sure=True))) == after


def test_until_sure_waits_for_the_law_that_is_settled_last() -> None:
    one_writer = iter([HELD, BROKEN, HELD, BROKEN, HELD, HELD, HELD, HELD, HELD, HELD])
    assert len(repeated(lambda: [made(HELD, one_writer=next(one_writer))], Repeats(10, until_sure=True))) == 10


def test_policies_that_are_run_together_are_counted_apart() -> None:
    runs = repeated(lambda: [made(HELD, policy="a"), made(BROKEN, policy="b")], Repeats(20, until_sure=True))
    assert len(runs) == 8
    said = Repeats(20, until_sure=True).said(runs)
    assert said == [
        "s, a: answered: broken in 0 of 4 (95 %: 0% to 49%)",
        "s, a: settled: each interval lies on one side of one half, after 4 run(s)",
        "s, b: answered: broken in 4 of 4 (95 %: 51% to 100%)",
        "s, b: settled: each interval lies on one side of one half, after 4 run(s)",
    ]


def test_what_was_not_settled_or_never_reached_is_said() -> None:
    assert (
        Repeats(2, until_sure=True).said([made(HELD), made(BROKEN)])[-1]
        == "s, takeover: not settled: answered, after 2 run(s)"
    )
    assert Repeats(2).said([made(HELD, reached=False)] * 2) == ["s, takeover: none of 2 run(s) reached the danger"]
