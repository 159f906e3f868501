"""The benchmark's own measurements: a lock that is known to be bad must look bad."""

import xml.etree.ElementTree as ET

import pytest

from lockjaw.harness.bench import plot, tables
from lockjaw.harness.bench.contention import Contention, contend, handoff, recover, storm, wait_cpu
from lockjaw.harness.bench.contestants import Absent, contestants
from lockjaw.harness.bench.run import QUICK, Figures, Result

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


def result():
    fair = Contention(100.0, 1.0, 0.02, 0.01, 10, 10, 0, (0.01, 0.02))
    unfair = Contention(100.0, 0.5, 2.0, 0.01, 0, 20, 1, (0.001, 2.0))
    figures = [
        Figures(name, kind, 6e-5 if name == "guarded" else 1.6e-5, 1e-4, {1: handoff_s}, {1: 1e-3}, {"2 x 0 ms": c})
        for name, kind, handoff_s, c in (
            ("guarded", "ours", 2e-4, fair),
            ("guarded-async", "ours", 3e-4, fair),
            ("bare flock", "kernel", 1e-4, fair),
            ("portalocker", "polls", 0.1, unfair),
        )
    ]
    environment = {"kernel": "6", "cores": 2, "file_system": "ext4", "python": "3", "load_before": [0],
                   "load_after": [1], "versions": {"lockjaw": "0"}}  # fmt: skip
    return Result(QUICK, environment, figures, [Absent("openclaw", "the Node package is not installed")], 1.0)


def test_table_says_what_was_missed_and_who_starves():
    text = tables.markdown(result())
    assert "MISSED uncontended p50 at most 1.3 x portalocker: 3.75 x" in text
    assert "held   guarded hand-off to 1 at most 2 x bare flock: 2.0 x" in text
    assert "portalocker, 2 x 0 ms: 1 of 2 contenders get less than a quarter" in text
    assert "openclaw: the Node package is not installed" in text
    assert result().document()["absent"][0]["name"] == "openclaw"


def test_plot_has_one_mark_for_each_contender():
    root = ET.fromstring(plot.svg(list(result().figures), "2 x 0 ms"))
    assert len(root.findall("{*}circle")) == 8
