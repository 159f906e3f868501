"""Many contenders find one stale lock file at the same instant; an independent witness looks for two owners."""

import pytest

pytestmark = pytest.mark.real

BODIES = {
    "dead": '{ "pid": 4194303, "createdAt": "2026-05-14T07:35:46.405Z" }',
    "recycled": '{ "pid": 1, "createdAt": "2026-05-01T20:18:48.682Z", "starttime": 999999999 }',
}


@pytest.mark.parametrize("stale", BODIES)
def test_storm_on_a_stale_lock_never_gives_two_owners(actor, session_file, stale):
    rounds = 12
    storm = actor("storm", session_file, 16, rounds, BODIES[stale])
    result = storm.reply()
    assert result["overlaps"] == 0
    assert result["failures"] == 0
    # The danger was there: somebody reclaimed the stale file in every round, and only one did.
    assert result["reclaims"] == rounds
    assert result["left"] == ["s.jsonl.body.guard", "s.jsonl.guard"]
