"""The swimlane: every hold, wait, message and fault of a history, at the position where the history has it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockjaw.harness.judge.checkers.examples import EXAMPLES, FOLDER, PATH, Story
from lockjaw.history import Record
from lockjaw.history.holds import lock_of, transcript_of
from lockjaw.reports.swimlane import MAX_LANES, MAX_ROWS, OTHERS, Bar, Swimlane, swimlane
from lockjaw.reports.swimlane_locks import handoffs, ownership

from .busy import busy_history

LOCK = PATH + ".lock"
OTHER = f"{FOLDER}/fresh.jsonl.lock"

STEP = st.tuples(
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from([
        ("lock", "invoke"), ("lock", "ok"), ("lock", "fail"), ("lock.release", "ok"), ("lock.fence", "ok"),
        ("lock.fence", "fail"), ("lock.lost", "info"), ("actor.exit", "info"), ("nemesis", "info"), ("append", "ok"),
    ]),
    st.sampled_from([LOCK, OTHER, f"{FOLDER}/sessions.json.lock"]),
)  # fmt: skip


def told(steps: list[tuple[str, tuple[str, str], str]]) -> list[Record]:
    story = Story()
    for n, (actor, (op, phase), path) in enumerate(steps):
        more = {"action": "kill", "target": actor} if op == "nemesis" else {"path": path}
        story.add(float(n), "harness" if op in ("nemesis", "actor.exit") else actor, op, phase, actor=actor, **more)  # type: ignore[arg-type]
    return story.history()


@given(st.lists(STEP, max_size=40))
def test_who_held_a_lock_before_a_step_is_who_holds_it_after_the_step_before(
    steps: list[tuple[str, tuple[str, str], str]],
) -> None:
    history = told(steps)
    owned = ownership(history)
    for at, before in owned.before.items():
        path = lock_of(history[at])
        expected = [h for h in owned.stretches if h.lock == path and h.start < at and (h.end is None or h.end >= at)]
        assert sorted(before, key=lambda h: h.owner) == sorted(expected, key=lambda h: h.owner)


def bars(lane: Swimlane, kind: str) -> list[Bar]:
    return [bar for bar in lane.bars if bar.kind == kind]


def test_a_wait_names_who_has_the_lock_and_ends_where_the_record_ends_it() -> None:
    history = EXAMPLES["reuse-session"]()
    lane = swimlane(history)
    waits = bars(lane, "wait")
    assert [bar.failed for bar in waits] == [True, True, True]
    assert {bar.labels[0] for bar in waits} == {"waits for the lock: gateway has it"}
    assert {lane.lanes[bar.lane].actor for bar in waits} == {"client"}
    assert {(bar.lock, lane.lanes[bar.holder or 0].actor) for bar in waits} == {(transcript_of(PATH), "gateway")}
    for bar in waits:
        assert bar.end is not None
        assert (history[bar.start].op, history[bar.start].phase) == ("lock", "invoke")
        assert (history[bar.end].op, history[bar.end].phase) == ("lock", "fail")


def test_the_story_says_who_held_the_lock_when_the_fallback_failed() -> None:
    story = swimlane(EXAMPLES["reuse-session"]()).story
    assert story.startswith("client failed to get the session lock 3 times (at ")
    assert "): gateway (pid 101) had it from 3.9 s" in story


def test_the_story_of_a_takeover_is_its_handoff() -> None:
    assert " client got the session lock after gateway (pid 101)." in swimlane(EXAMPLES["takeover"]()).story


def test_the_story_of_two_locked_sessions_names_both() -> None:
    story = Story()
    story.add(0.0, "client", "client.call", "invoke", method="agent")
    story.add(1.0, "gateway", "lock", "ok", path=LOCK)
    story.add(2.0, "client", "lock", "ok", path=OTHER)
    assert swimlane(story.history()).story == (
        "From 2.0 s two sessions were locked at once: gateway had 9e051a52, client had fresh."
    )


def test_the_story_of_many_handoffs_counts_them_and_names_the_forced_ones() -> None:
    story = Story().add(0.0, "client", "client.call", "invoke", method="agent")
    for n in range(6):
        story.add(1.0 + n, "ab"[n % 2], "lock", "ok", path=LOCK)
        story.add(1.5 + n, "ab"[n % 2], "lock.release", "ok", path=LOCK)
    story.add(8.0, "a", "lock", "ok", path=LOCK, reclaimed="dead process")
    assert swimlane(story.history()).story == (
        "The session lock changed hands 6 times. At 8.0 s a took over the lock of b."
    )


def test_the_story_of_many_who_were_locked_out_by_one_counts_them() -> None:
    story = Story().add(0.0, "client", "client.call", "invoke", method="agent")
    story.add(0.1, "keeper", "lock", "ok", path=LOCK)
    for n in range(6):
        story.add(1.0 + n, f"waiter-{n}", "lock", "invoke", path=LOCK)
    for n in range(6):
        story.add(11.0 + n, f"waiter-{n}", "lock", "fail", path=LOCK, owner="pid=7")
    assert swimlane(story.history()).story == (
        "6 actors (waiter-0, waiter-1, waiter-2, ...) failed to get the session lock 6 times (from 11.0 s to 16.0 s): "
        "keeper had it from 0.1 s to the end."
    )


def test_a_wait_for_itself_is_called_that() -> None:
    story = Story().add(0.0, "client", "client.call", "invoke", method="agent")
    story.add(1.0, "gateway", "lock", "ok", path=LOCK)
    story.add(2.0, "gateway", "lock", "invoke", path=LOCK)
    story.add(62.0, "gateway", "lock", "fail", path=LOCK)
    lane = swimlane(story.history())
    assert [bar.labels[0] for bar in bars(lane, "wait")] == ["waits for the lock that it holds ITSELF"]
    assert "gateway had it itself from 1.0 s" in lane.story
    assert lane.ownerless == ()


def two_owners(*, writes: bool) -> Story:
    story = Story().add(0.0, "client", "client.call", "invoke", method="agent")
    story.add(1.0, "worker", "lock", "ok", path=LOCK)
    story.add(2.0, "gateway", "lock", "ok", path=LOCK, reclaimed="too-old")
    story.add(3.0, "gateway", "append", "ok", path=PATH, role="user")
    story.add(4.0, "worker", "append", "ok" if writes else "fail", path=PATH, role="user")
    story.add(5.0, "worker", "lock.release", "ok", path=LOCK)
    story.add(6.0, "gateway", "lock.release", "ok", path=LOCK)
    return story


def test_two_owners_at_once_are_told_first_and_drawn_as_two() -> None:
    lane = swimlane(two_owners(writes=True).history())
    (both,) = lane.doubled
    assert (both.first.owner, both.second.owner, both.start, both.end) == ("worker", "gateway", 2, 5)
    assert lane.story.startswith(
        "TWO OWNERS AT ONCE, from 2.0 s to 5.0 s: worker and gateway both had the session lock."
    )


def test_an_owner_that_lost_its_lock_and_wrote_nothing_more_is_no_second_owner() -> None:
    lane = swimlane(two_owners(writes=False).history())
    assert lane.doubled == ()
    assert lane.story == "At 2.0 s gateway took over the lock of worker."


@pytest.mark.parametrize(
    ("named", "text", "told"),
    [
        ("pid=7", "lock file names pid 7 (dashboard)", "names pid 7 (dashboard, which did not have it)"),
        ("pid=9", "lock file names pid 9", "names pid 9 was in the way"),
        ("unknown", "lock file, owner unknown", "names no owner was in the way"),
    ],
)
def test_a_lock_file_that_nobody_of_the_run_made_is_in_the_picture(named: str, text: str, told: str) -> None:
    story = Story()
    story.add(0.0, "harness", "actor.ready", role="scripted", pid=7, actor="dashboard")
    story.add(0.0, "client", "client.call", "invoke", method="agent")
    for start in (1.0, 12.0):
        story.add(start, "client", "lock", "invoke", path=LOCK)
        story.add(start + 10, "client", "lock", "fail", path=LOCK, owner=named)
    lane = swimlane(story.history())
    (one,) = lane.ownerless
    assert (one.lock, one.start, one.end, one.text) == (transcript_of(PATH), 2, 5, text), "neighbours are one"
    assert told in lane.story


def test_lock_files_before_and_after_somebody_had_the_lock_are_two() -> None:
    story = Story().add(0.0, "client", "client.call", "invoke", method="agent")
    for start in (1.0, 20.0):
        story.add(start, "client", "lock", "invoke", path=LOCK)
        story.add(start + 5, "client", "lock", "fail", path=LOCK, owner="unknown")
        story.add(start + 6, "gateway", "lock", "ok", path=LOCK)
        story.add(start + 7, "gateway", "lock.release", "ok", path=LOCK)
    assert [(one.start, one.end) for one in swimlane(story.history()).ownerless] == [(1, 2), (5, 6)]


@pytest.mark.parametrize(
    ("held_s", "refused", "shown"), [(0.01, False, False), (20.0, False, True), (0.01, True, True)]
)
def test_the_session_list_has_a_band_where_it_was_in_the_way(held_s: float, refused: bool, shown: bool) -> None:
    store = f"{FOLDER}/sessions.json"
    story = Story().add(0.0, "client", "client.call", "invoke", method="agent")
    story.add(1.0, "writer", "lock", "ok", path=f"{store}.lock")
    if refused:
        story.add(1.001, "client", "lock", "fail", path=f"{store}.lock", owner="pid=1")
    story.add(1.0 + held_s, "writer", "lock.release", "ok", path=f"{store}.lock")
    lane = swimlane(story.history())
    assert (transcript_of(store) in lane.locks) is shown
    assert [hold.owner for hold in lane.holds] == (["writer"] if shown else [])
    assert ("the session list" in lane.story) is shown


def test_faults_that_last_end_when_they_say_so_or_are_healed() -> None:
    story = Story().add(0.0, "client", "client.call", "invoke", method="agent")
    story.add(1.0, "harness", "nemesis", "info", action="pause", target="cron", for_s=12.0)
    story.add(2.0, "harness", "nemesis", "info", action="block", target="gateway")
    story.add(3.0, "harness", "nemesis", "info", action="part", target="uplink", toxic="part")
    story.add(5.0, "harness", "nemesis", "info", action="resume", target="gateway")
    story.add(6.0, "harness", "nemesis", "info", action="heal", target="uplink", toxic="part")
    slows = {"action": "slow_disk", "target": "cron", "lasts": True, "says": "slows the disk of the cron"}
    story.add(7.0, "harness", "nemesis", "info", **slows)
    story.add(8.0, "harness", "nemesis", "info", action="heal", target="cron", heals="slow_disk")
    story.add(12.9, "cron", "append", "ok", path=PATH)
    story.add(13.1, "cron", "append", "ok", path=PATH)
    lane = swimlane(story.history())
    assert [(lane.lanes[b.lane].actor, b.labels[0], b.start, b.end) for b in bars(lane, "paused")] == [
        ("cron", "frozen by a fault", 1, 9), ("gateway", "stuck in a busy loop: serves no request", 2, 4),
        ("uplink", "blocks everything", 3, 5), ("cron", "slows the disk of the cron", 6, 7),
    ]  # fmt: skip
    assert [(fault.text, fault.heals) for fault in lane.faults] == [
        ("frozen", False), ("stuck in a busy loop", False), ("holds everything back", False), ("woken", True),
        ("healed part", True), ("slow disk", False), ("healed slow disk", True),
    ]  # fmt: skip


def test_what_scripted_actors_do_is_said_at_its_moment() -> None:
    story = Story().add(0.0, "client", "client.call", "invoke", method="agent")
    for n, phase in enumerate(("ok", "fail")):
        story.add(1.0 + 2 * n, f"subagent-{n}", "deliver", "invoke", text=f"result {n}")
        story.add(2.0 + 2 * n, f"subagent-{n}", "deliver", phase, text=f"result {n}", error="locked")
    story.add(5.0, "reader", "read", "ok", path=PATH, entries=0)
    story.add(6.0, "sweeper", "clean", "info", path=LOCK, removed=True)
    story.add(7.0, "compaction", "rotate", "info", path=PATH, session_id="x")
    story.add(
        8.0, "client", "client.call", "fail", kind="rejected", error="Error: session file locked (timeout 5000ms)"
    )
    story.add(9.0, "client", "client.call", "fail", kind="closed", code=1008, error="unauthorized: token mismatch")
    lane = swimlane(story.history())
    assert [bar.failed for bar in bars(lane, "task")] == [False, True]
    assert [(flag.text, flag.level) for flag in lane.flags] == [
        ("result handed in", 1), ("RESULT LOST", 4), ("SEES NOTHING", 4), ("REMOVES the lock file", 2),
        ("conversation moved to a new file", 2), ("gateway refuses: session locked", 2),
        ("gateway refuses: unauthorized", 2),
    ]  # fmt: skip


def test_an_actor_has_the_same_colour_whoever_else_takes_part() -> None:
    def colours(*cast: tuple[str, str]) -> dict[str, int]:
        story = Story()
        for n, (actor, role) in enumerate(cast):
            story.add(0.0, "harness", "actor.ready", role=role, pid=n, actor=actor)
        return {lane.actor: lane.colour for lane in swimlane(story.history()).lanes}

    base = (("models", "models"), ("gateway", "gateway"), ("client", "client"))
    assert colours(*base) == {"client": 0, "gateway": 1, "models": -1}
    more = colours(*base, ("again", "client"), *((f"cron-{n}", "scripted") for n in range(6)))
    assert (more["client"], more["gateway"], more["models"], more["again"]) == (0, 1, -1, 2)
    assert [more[f"cron-{n}"] for n in range(6)] == [3, 4, 5, 6, 2, 3]


def test_an_empty_history_and_one_without_locks_have_a_picture_too() -> None:
    assert swimlane([]).lanes == ()
    story = Story().add(1.0, "client", "client.call", "invoke", method="agent")
    assert swimlane(story.history()).story == "No process took a session lock."


def test_a_death_cuts_what_the_actor_was_doing_and_leaves_its_lock_dead() -> None:
    story = Story()
    story.add(0.0, "client", "client.call", "invoke", method="agent", run_id="r")
    story.add(1.0, "gateway", "lock", "ok", path=LOCK)
    story.add(2.0, "gateway", "model.call", "invoke", call_id="c", model="m")
    story.add(3.0, "harness", "nemesis", "info", action="kill", target="gateway")
    story.add(5.0, "client", "lock", "ok", path=LOCK, reclaimed="dead process")
    lane = swimlane(story.history())

    (call,) = bars(lane, "model")
    assert (call.end, call.failed) == (3, True)
    assert [(h.owner, h.dead, h.how, h.start, h.end) for h in lane.holds] == [
        ("gateway", False, "takes", 1, 3), ("gateway", True, "takes", 3, 4), ("client", False, "reclaims", 4, None),
    ]  # fmt: skip
    assert [(old.owner, new.owner, new.how) for old, new in handoffs(lane.holds)] == [("gateway", "client", "reclaims")]
    (fault,) = lane.faults
    assert (lane.lanes[fault.lane].actor, fault.text, fault.heals) == ("gateway", "killed", False)
    assert lane.story == "At 5.0 s client took over the lock of the dead gateway."


def test_a_pause_is_a_bar_that_its_resume_ends_and_heals() -> None:
    story = Story()
    story.add(0.0, "gateway", "lane.wait", "invoke", run_id="r", lane="main")
    story.add(1.0, "harness", "nemesis", "info", action="pause", target="gateway")
    story.add(4.0, "harness", "nemesis", "info", action="resume", target="gateway")
    lane = swimlane(story.history())
    (frozen,) = bars(lane, "paused")
    assert (lane.lanes[frozen.lane].actor, frozen.start, frozen.end) == ("gateway", 1, 2)
    assert [fault.heals for fault in lane.faults] == [False, True]


def test_messages_join_the_steps_at_both_ends() -> None:
    history = EXAMPLES["takeover"]()
    lane = swimlane(history)
    asked = [a for a in lane.arrows if a.label == "run the turn"]
    assert [(history[a.start].op, history[a.end].op) for a in asked] == [("client.call", "gateway.accepted")]
    for arrow in lane.arrows:
        assert history[arrow.start].t <= history[arrow.end].t


def test_two_calls_of_one_model_meet_their_requests_in_order() -> None:
    story = Story()
    for n, actor in enumerate(("gateway", "client")):
        story.add(float(n), actor, "model.call", "invoke", call_id=f"c{n}", model="m")
    for n in range(2):
        story.add(2.0 + n, "models", "provider.request", "invoke", request_id=f"q{n}", model="m")
    story.add(5.0, "models", "provider.request", "ok", request_id="q1")
    story.add(6.0, "client", "model.call", "ok", call_id="c1")
    arrows = [(a.start, a.end, a.label) for a in swimlane(story.history()).arrows]
    assert arrows == [(0, 2, "m"), (1, 3, "m"), (4, 5, "reply")]


def test_lanes_follow_the_call_chain_and_the_harness_comes_last() -> None:
    story = Story()
    story.add(0.0, "harness", "actor.ready", actor="models", role="models", pid=1)
    story.add(0.0, "harness", "actor.ready", actor="contender", role="contender", pid=2)
    story.add(0.0, "harness", "actor.ready", actor="gateway-2", role="gateway", pid=3)
    story.add(1.0, "client", "client.call", "invoke", method="agent")
    story.add(2.0, "harness", "run.end")
    lanes = swimlane(story.history()).lanes
    assert [lane.actor for lane in lanes] == ["client", "gateway-2", "models", "contender", "harness"]
    assert [lane.pid for lane in lanes] == [None, 3, 1, 2, None]


def test_actors_beyond_the_limit_share_the_last_lane() -> None:
    story = Story()
    for n in range(MAX_LANES + 5):
        story.add(float(n), f"contender-{n}", "lock", "ok", path=LOCK)
    lane = swimlane(story.history())
    assert len(lane.lanes) == MAX_LANES
    assert lane.lanes[-1].actor == OTHERS
    assert lane.lane_of[-6:] == (MAX_LANES - 1,) * 6
    assert lane.holds[-1].owner == f"contender-{MAX_LANES + 4}"


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=30))
def test_bars_of_one_row_never_overlap_except_in_the_last_one(ends: list[tuple[int, int]]) -> None:
    events = sorted(
        [(min(a, b), 0, n) for n, (a, b) in enumerate(ends)]
        + [(max(a, b) + 0.5, 1, n) for n, (a, b) in enumerate(ends)]
    )
    story = Story()
    for t, end, n in events:
        story.add(t, "models", "provider.request", "ok" if end else "invoke", request_id=f"q{n}", model="m")
    lane = swimlane(story.history())
    assert len(lane.bars) == len(ends)
    for row in range(MAX_ROWS - 1):
        line = sorted((bar.start, bar.end) for bar in lane.bars if bar.row == row)
        assert all(a[1] is not None and a[1] <= b[0] for a, b in pairwise(line))
    assert lane.lanes[0].rows <= MAX_ROWS


@pytest.mark.parametrize("policy", list(EXAMPLES))
def test_every_position_is_one_of_the_history(policy: str) -> None:
    history = EXAMPLES[policy]()
    lane = swimlane(history)
    positions = [
        *(p for bar in lane.bars for p in (bar.start, bar.end)), *(p for h in lane.holds for p in (h.start, h.end)),
        *(p for a in lane.arrows for p in (a.start, a.end)), *(f.at for f in lane.flags), *lane.span,
    ]  # fmt: skip
    assert all(p is None or 0 <= p < len(history) for p in positions)
    assert len(lane.lane_of) == len(history)


def test_twenty_thousand_records_are_laid_out_in_linear_time() -> None:
    def steps(work: Callable[[], object]) -> int:
        import sys

        calls = [0]

        def count(frame: object, event: str, argument: object) -> None:
            calls[0] += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            work()
        finally:
            sys.setprofile(None)
        return calls[0]

    small, large = busy_history(1000), busy_history(8000)
    assert steps(lambda: swimlane(large)) < 12 * steps(
        lambda: swimlane(small)
    )  # 8 times the records; square would be 64
