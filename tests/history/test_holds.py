"""Who has the lock when: the one reading that verdicts, pages and sentences share."""

from __future__ import annotations

from fnmatch import fnmatchcase
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockjaw.harness.incident.matching import Pattern, Sometimes
from lockjaw.harness.judge.agreement import lock_owners
from lockjaw.harness.judge.checkers.examples import FOLDER, PATH, Story
from lockjaw.history import Record
from lockjaw.history.holds import Hold, Holders, acquires, holds, is_session_lock, transcript_of
from lockjaw.reports.lockband import FREE, lock_band
from lockjaw.reports.progress import LiveProgress
from lockjaw.reports.swimlane_locks import ownership

LOCK = PATH + ".lock"


def test_lock_and_transcript_paths_are_the_same_file() -> None:
    assert transcript_of("/tmp/x/agents/main/sessions/a.jsonl.lock") == "agents/main/sessions/a.jsonl"
    assert transcript_of("/private/tmp/x/agents/main/sessions/a.jsonl") == "agents/main/sessions/a.jsonl"
    assert transcript_of("alone.jsonl.lock") == "alone.jsonl"
    assert transcript_of(None) == ""


def test_a_release_told_twice_ends_the_hold_at_the_first_and_nothing_else() -> None:
    story = Story()
    story.add(1.0, "a", "lock", "ok", path=LOCK, owner="outer", generation=1)
    story.add(2.0, "a", "lock", "ok", path=LOCK, owner="inner", generation=2)
    story.add(3.0, "a", "lock.release", "invoke", path=LOCK, owner="inner", generation=2)
    story.add(4.0, "a", "lock.release", "ok", path=LOCK, owner="inner", generation=2, removed=True)

    outer, inner = holds(story.history())
    assert (outer.how, inner.how) == ("open", "released")
    assert inner.ended is not None
    assert inner.ended.t == 3.0


def test_a_release_by_somebody_who_holds_nothing_ends_nothing() -> None:
    story = Story()
    story.add(1.0, "a", "lock", "ok", path=LOCK)
    story.add(2.0, "b", "lock.release", path=LOCK)

    assert [h.how for h in holds(story.history())] == ["open"]


def test_a_dead_holders_file_blocks_until_the_next_grant() -> None:
    story = Story()
    story.add(1.0, "a", "lock", "ok", path=LOCK)
    story.add(2.0, "harness", "actor.exit", actor="a", code=-9)
    dead = holds(story.history())[0]
    assert (dead.how, dead.end_i, dead.blocks_until) == ("died", 1, inf)

    story.add(3.0, "b", "lock", "ok", path=LOCK)
    assert holds(story.history())[0].blocks_until == 2


def test_a_fence_ends_the_old_hold_and_begins_a_new_one() -> None:
    story = Story()
    story.add(1.0, "a", "lock", "ok", path=LOCK, owner="a", generation=1)
    story.add(2.0, "b", "lock.fence", "fail", path=LOCK, owner="b", error="foreign")
    story.add(3.0, "b", "lock.fence", "ok", path=LOCK, owner="b", generation=2, previous=1)
    story.add(3.0, "b", "lock", "ok", path=LOCK, owner="b", generation=2)
    story.add(4.0, "b", "lock.release", path=LOCK, owner="b", generation=2)

    old, new = holds(story.history())
    assert (old.how, new.how, new.actor, new.generation) == ("fenced", "released", "b", 2)


def test_a_wait_that_ends_in_a_fence_is_a_wait_that_was_granted() -> None:
    story = Story()
    story.add(1.0, "b", "lock", "invoke", path=LOCK)
    story.add(1.0, "c", "lock", "invoke", path=f"{FOLDER}/other.jsonl")
    story.add(3.0, "b", "lock.fence", "ok", path=LOCK, generation=2)

    mine, others = acquires(story.history())
    assert (mine.end_s, others.end_s) == (3.0, inf)


def test_a_lock_file_that_a_cleaner_removes_blocks_no_longer() -> None:
    story = Story()
    story.add(1.0, "a", "lock", "ok", path=LOCK)
    story.add(2.0, "harness", "actor.exit", actor="a", code=-9)
    story.add(3.0, "sweeper", "clean", "info", path=LOCK, removed=False)
    assert holds(story.history())[0].blocks_until == inf
    story.add(4.0, "sweeper", "clean", "info", path=LOCK, removed=True)
    assert holds(story.history())[0].blocks_until == 3
    assert lock_band(story.history()) == ["a", "a (dead)", "a (dead)", "-"]


def test_a_lock_file_that_is_removed_under_a_living_holder_leaves_it_a_holder() -> None:
    story = Story()
    story.add(1.0, "a", "lock", "ok", path=LOCK)
    story.add(2.0, "sweeper", "clean", "info", path=LOCK, removed=True)
    story.add(3.0, "b", "lock", "ok", path=LOCK)
    assert [(hold.actor, hold.how) for hold in holds(story.history())] == [("a", "open"), ("b", "open")]


def test_the_session_list_is_no_conversation() -> None:
    assert is_session_lock(LOCK)
    assert is_session_lock(PATH)
    assert not is_session_lock(f"{FOLDER}/sessions.json.lock")
    assert not is_session_lock("")
    assert not is_session_lock(None)


# --------------------------------------------------------------------------- all readers say the same

ACTORS = ("a", "b")
STEP = st.tuples(
    st.sampled_from(ACTORS),
    st.sampled_from([
        ("lock", "invoke"), ("lock", "ok"), ("lock", "fail"), ("lock.release", "invoke"), ("lock.release", "ok"),
        ("lock.fence", "ok"), ("lock.fence", "fail"), ("lock.lost", "info"), ("actor.exit", "info"),
        ("nemesis", "info"), ("append", "ok"), ("clean", "info"),
    ]),
    st.sampled_from([LOCK, f"{FOLDER}/fresh.jsonl.lock", f"{FOLDER}/sessions.json.lock"]),
    st.integers(0, 1),
)  # fmt: skip


def told(steps: list[tuple[str, tuple[str, str], str, int]]) -> list[Record]:
    story = Story()
    for n, (actor, (op, phase), path, generation) in enumerate(steps):
        data: dict[str, object] = {"path": path, "generation": generation}
        if op in ("nemesis", "actor.exit"):
            data = {"action": "kill", "target": actor, "actor": actor}
        elif op == "clean":
            data = {"path": path, "removed": bool(generation)}
        story.add(float(n), "harness" if op in ("nemesis", "actor.exit") else actor, op, phase, **data)  # type: ignore[arg-type]
    return story.history()


@settings(max_examples=300)
@given(st.lists(STEP, max_size=40))
def test_verdict_band_picture_and_progress_name_the_same_holders(
    steps: list[tuple[str, tuple[str, str], str, int]],
) -> None:
    history = told(steps)
    owned = ownership(history)  # of every conversation, and of the session list where it was in the way
    live = LiveProgress()
    live.record("p", Record(0.0, "client", "client.call", "invoke", {}))
    for at, (record, band) in enumerate(zip(history, lock_band(history), strict=True)):
        live.record("p", record)
        assert _split(band) == _names([hold for hold in holds(history) if hold.path in owned.locks], at)
        assert _split(band) == {
            f"{s.owner} (dead)" if s.dead else s.owner for s in owned.stretches if _covers(s.start, s.end, at)
        }
        shown = next(live.lines())[2].removeprefix("lock: ").replace("free", FREE)
        assert _split(shown) == _names([hold for hold in holds(history) if is_session_lock(hold.path)], at)


def _names(grants: list[Hold], at: int) -> set[str]:
    left = [hold for hold in grants if hold.dead and hold.end_i <= at < hold.blocks_until]
    return {hold.actor for hold in grants if hold.live_at(at)} | {f"{hold.actor} (dead)" for hold in left}


def _split(band: str) -> set[str]:
    return set() if band == FREE else set(band.split("+"))


def _covers(start: int, end: int | None, at: int) -> bool:
    return start <= at and (end is None or at < end)


@given(st.lists(STEP, min_size=1, max_size=40), st.sampled_from([*ACTORS, "[ab]"]))
def test_a_condition_about_the_lock_asks_the_same_reading(
    steps: list[tuple[str, tuple[str, str], str, int]], pattern: str
) -> None:
    history = told(steps)
    condition = Sometimes("x", Pattern("append"), while_locked_by=pattern)
    grants = [h for h in holds(history) if is_session_lock(h.path) and fnmatchcase(h.actor, pattern)]
    expected = next((r.i for r in history if r.op == "append" and any(h.live_at(r.i) for h in grants)), None)
    found = condition.witness(history)
    assert (None if found is None else found.i) == expected


@given(st.lists(STEP, max_size=40))
def test_following_a_history_record_by_record_finds_what_reading_it_whole_finds(
    steps: list[tuple[str, tuple[str, str], str, int]],
) -> None:
    history = told(steps)
    holders = Holders()
    for record in history:
        before = holders.standing()
        assert holders.see(record) or holders.standing() == before
    assert holders.grants == holds(history)
    assert len(lock_owners(history)) == sum(is_session_lock(hold.path) for hold in holders.grants)


def test_a_killed_holder_had_the_lock_when_it_was_killed() -> None:
    story = Story()
    story.add(1.0, "gateway", "lock", "ok", path=LOCK)
    story.add(2.0, "harness", "nemesis", "info", action="kill", target="gateway")
    story.add(3.0, "harness", "nemesis", "info", action="kill", target="gateway")
    killed = Pattern("nemesis", data={"action": "kill"})
    found = Sometimes("killed while it held", killed, while_locked_by="gateway").witness(story.history())
    assert found is not None
    assert found.i == 1


@pytest.mark.parametrize("before", [[], [("client", "lock", "ok")], [("gateway", "lock", "fail")]])
def test_nobody_is_named_who_did_not_get_the_lock(before: list[tuple[str, str, str]]) -> None:
    story = Story()
    for actor, op, phase in before:
        story.add(1.0, actor, op, phase, path=LOCK)  # type: ignore[arg-type]
    assert "gateway" not in [hold.actor for hold in holds(story.history())]
