"""What a takeover makes of a lock that it did not get."""

from __future__ import annotations

import pytest

from lockjaw.locking import LockView
from lockjaw.runner.policy import LockReply
from lockjaw.runner.session_taking import has_gone, in_the_way

OWNED = LockView(exists=True, alive=True, ours=True, generation=1)
NEXT_ONE = LockView(exists=False, in_transit=True, generation=1)


@pytest.mark.parametrize(
    ("now", "gone"),
    [
        (OWNED, False),
        (LockView(exists=False), True),
        (LockView(exists=True, alive=False), True),
        (LockView(exists=True, alive=None), False),  # a foreign one, of which nothing is proven
        (NEXT_ONE, True),
    ],
)
def test_only_an_owner_that_was_waited_for_standsin_the_way(now: LockView, gone: bool) -> None:
    assert has_gone(OWNED, now) is gone


def test_an_owner_that_stands_still_between_its_byte_and_its_lock_file_isin_the_way() -> None:
    assert not has_gone(NEXT_ONE, NEXT_ONE)


HELD = {"exists": True, "alive": True, "ours": True, "pid": 7, "owner": "mine"}


@pytest.mark.parametrize(
    ("view", "fenceable", "foreign_run", "owner"),
    [
        ({}, True, False, "process 7"),
        ({"owner": "another"}, True, True, "process 7"),
        ({"owner": "zzz"}, True, True, "process 7"),
        ({"owner": ""}, True, False, "process 7"),
        ({"ours": False}, False, False, "process 7"),
        ({"alive": None}, False, False, "process 7"),
        ({"alive": False}, False, False, "process 7"),
        ({"exists": False, "alive": None, "ours": False, "in_transit": True}, True, False, "process 7"),
        ({"pid": None}, True, False, "an unknown process"),
    ],
)
def test_only_a_live_owner_of_our_kind_can_be_fenced_and_only_another_run_is_foreign(
    view: dict[str, object], fenceable: bool, foreign_run: bool, owner: str
) -> None:
    seen = in_the_way(LockView(**{**HELD, **view}), "mine")  # type: ignore[arg-type]
    assert seen == LockReply(False, fenceable=fenceable, foreign_run=foreign_run, owner=owner)


@pytest.mark.parametrize(
    ("owner", "granted_since", "moved_on"),
    [("mine", True, False), ("", True, True), ("another", True, True), ("another", False, False)],
)
def test_an_owner_that_was_granted_the_lock_during_the_wait_is_another_one_unless_it_is_the_same_run(
    owner: str, granted_since: bool, moved_on: bool
) -> None:
    view = LockView(**{**HELD, "owner": owner, "generation": 3})  # type: ignore[arg-type]
    seen = in_the_way(view, "mine", moved_on=granted_since)
    assert (seen.moved_on, seen.generation) == (moved_on, 3)
