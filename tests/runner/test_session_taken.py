"""What a takeover makes of a lock that it did not get."""

from __future__ import annotations

import pytest

from lockjaw.locking import LockView
from lockjaw.runner.agent import has_moved_on

OWNED = LockView(exists=True, alive=True, ours=True, generation=1)
NEXT_ONE = LockView(exists=False, in_transit=True, generation=1)


@pytest.mark.parametrize(
    ("now", "moved_on"),
    [
        (OWNED, False),
        (LockView(exists=False), True),
        (LockView(exists=True, alive=False), True),
        (LockView(exists=True, alive=None), False),  # a foreign one, of which nothing is proven
        (NEXT_ONE, True),
    ],
)
def test_only_an_owner_that_was_waited_for_stands_in_the_way(now: LockView, moved_on: bool) -> None:
    assert has_moved_on(OWNED, now) is moved_on


def test_an_owner_that_stands_still_between_its_byte_and_its_lock_file_is_in_the_way() -> None:
    assert not has_moved_on(NEXT_ONE, NEXT_ONE)
