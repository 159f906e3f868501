"""What a gateway of 2026.5.12 and later says of sessions that do not move on. Pure.

It looks every half minute, logs what it sees, and frees nothing: the lane of a session belongs to its run, and the run
is not over (#77935, #83765). Such lines stand in most reports of an overdue lock. In those reports the age of the last
progress is that of the run's start: a run counts as one step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from lockjaw.gateway.runs import Run

__all__ = ["CHECK_S", "lines_of"]

CHECK_S = 30.0
LONG_S = 120.0  # as first seen in #83765 (age=131s); the real limit is not known
STALLED_S = 300.0  # #83765 has 1331 s; the real limit is not known


def lines_of(active: Iterable[Run], now: float, queued: Callable[[str], int]) -> list[str]:
    """The lines of one look.

    Args:
        now: nominal monotonic seconds, as ``Run.accepted_at``.
        queued: how many turns wait behind a session's run.
    """
    return [line for run in active for line in _lines(run, round(now - run.accepted_at), queued(run.session_key))]


def _lines(run: Run, age_s: int, depth: int) -> Iterator[str]:
    if age_s < LONG_S:
        return
    about = f"sessionKey={run.session_key} state=processing age={age_s}s queueDepth={depth}"
    work = "activeWorkKind=embedded_run"
    if age_s < STALLED_S:
        yield f"[diagnostic] long-running session: {about} reason=queued_behind_active_work {work}"
        return
    yield (
        f"[diagnostic] stalled session: sessionId={run.session_id} {about} reason=active_work_without_progress "
        f"classification=stalled_agent_run {work} lastProgress=run:started lastProgressAge={age_s}s recovery=none"
    )
    yield (
        "[diagnostic] stuck session recovery skipped: reason=active_reply_work action=keep_lane "
        f"sessionId={run.session_id} sessionKey={run.session_key} age={age_s}s queueDepth={depth}"
    )
