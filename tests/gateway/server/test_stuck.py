"""What a gateway says of sessions that do not move on."""

from __future__ import annotations

from lockjaw.gateway.runs import Caller, Run
from lockjaw.gateway.stuck import LONG_S, STALLED_S, lines_of

RUN = Run("r1", "agent:main:main", "s1", "agent", Caller("c", None, False), 0, 10.0)


def test_young_run_is_not_spoken_of() -> None:
    assert lines_of([RUN], 10.0 + LONG_S - 1, lambda key: 0) == []


def test_long_run_is_told_with_its_age_and_who_waits_behind_it() -> None:
    [line] = lines_of([RUN], 10.0 + LONG_S + 10, lambda key: 2)
    assert "long-running session: sessionKey=agent:main:main" in line
    assert "age=130s queueDepth=2" in line


def test_stalled_run_is_told_and_kept() -> None:
    stalled, skipped = lines_of([RUN], 10.0 + STALLED_S, lambda key: 0)
    assert "stalled session: sessionId=s1" in stalled
    assert "lastProgressAge=300s recovery=none" in stalled
    assert "stuck session recovery skipped: reason=active_reply_work action=keep_lane" in skipped
