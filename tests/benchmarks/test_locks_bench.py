"""The benchmark's own measurements: a lock that is known to be bad must look bad."""

import pytest

from lockjaw.harness.bench.contention import contend, handoff, recover, storm, wait_cpu
from lockjaw.harness.bench.contestants import contestants

pytestmark = pytest.mark.real
BY_NAME = {contestant.name: contestant for contestant in contestants()[0]}


def test_polling_lock_is_seen_starving_and_ours_is_not(tmp_path):
    ours = contend(BY_NAME["guarded"], tmp_path, 4, 0.005, 1.5)
    (tmp_path / "x").mkdir()
    coarse = contend(BY_NAME["coarse"], tmp_path / "x", 4, 0.005, 1.5)
    assert ours.starving == 0
    assert coarse.starving > 0
    assert ours.jain > 0.95 > coarse.jain
    assert coarse.longest_s > 10 * coarse.fair_s  # the wait that never ended counts


def test_handoff_of_a_polling_lock_takes_a_poll(tmp_path):
    for name in ("guarded", "guarded-async", "flock"):
        (tmp_path / name).mkdir()
    p50 = {
        name: sorted(samples := handoff(BY_NAME[name], tmp_path / name, 1, 1.0))[len(samples) // 2]
        for name in ("guarded", "guarded-async", "flock")
    }
    assert p50["flock"] > 3 * p50["guarded"]
    assert p50["flock"] > 3 * p50["guarded-async"]


def test_lock_without_owner_never_recovers(tmp_path):
    assert recover(BY_NAME["guarded"], tmp_path, 5.0) < 1.0
    (tmp_path / "x").mkdir()
    assert recover(BY_NAME["soft"], tmp_path / "x", 0.3) is None


def test_storm_shows_the_race_of_the_coarse_lock_and_none_of_ours(tmp_path):
    assert storm(BY_NAME["guarded"], tmp_path, 8, 3) == (0, 3)
    (tmp_path / "x").mkdir()
    # A race is a matter of chance: 125 of 150 rounds overlap in the facts, so fifty rounds without one prove a fault.
    assert any(storm(BY_NAME["coarse"], tmp_path / "x", 16, 5)[0] > 0 for _ in range(10))


def test_waiting_is_measured(tmp_path):
    assert 0 <= wait_cpu(BY_NAME["guarded"], tmp_path, 2, 0.2) < 0.1
