"""What ``lockjaw bench locks`` says, and what it keeps when it is stopped. What it measures: ``tests/benchmarks``."""

import json
import os
import signal
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from lockjaw.cli import bench
from lockjaw.harness.bench import plot, tables
from lockjaw.harness.bench.contention import Contention, recover
from lockjaw.harness.bench.contestants import Absent, Contestant
from lockjaw.harness.bench.node_rivals import NODE_FAILURES, NodeRival
from lockjaw.harness.bench.run import FULL, QUICK, BenchResult, Figures, about_s, run

TINY = replace(QUICK, rounds=1, uncontended=10, waiters=(1,), handoff_s=0.2, contention_s=0.05, kills=1, cpu_s=0.05)


@pytest.mark.real
@pytest.mark.parametrize("where", ["uncontended", "contention", "SIGKILL"])
def test_an_interrupted_run_keeps_what_it_has(tmp_path, where):
    def progress(what):
        if what.startswith(where):
            raise KeyboardInterrupt

    stopped = run(TINY, tmp_path, progress)
    assert stopped.interrupted
    assert stopped.document()["interrupted"] is True
    assert list(tmp_path.iterdir()) == []
    ours = stopped.figures[0]
    assert (ours.uncontended_p50_s is not None) == (where != "uncontended")
    assert (ours.afresh_p50_s is not None) == (where != "uncontended")
    assert bool(ours.handoff_p50_s) == (where != "uncontended")
    assert ours.recovery_p50_s is None
    text = tables.markdown(stopped)
    assert "(quick, interrupted)" in text
    assert "recovery" not in text  # a promise that was not measured is neither held nor missed


@pytest.mark.real
def test_an_interrupt_within_a_round_keeps_the_contestants_before_it(tmp_path):
    def progress(what):
        if what.startswith("contention") and "coarse" in what:
            raise KeyboardInterrupt

    first, *_, last = run(TINY, tmp_path, progress).figures
    assert list(first.contention) == ["8 x 0 ms"]
    assert last.contention == {}


def test_ctrl_c_in_the_middle_of_a_fork_is_not_lost(tmp_path, monkeypatch, capsys):
    """What hooks of a fork raise, Python ignores: the run must end all the same, before its next measurement."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "QUICK", TINY)
    armed = [True]

    def at_fork():
        if armed:
            armed.clear()
            os.kill(os.getpid(), signal.SIGINT)

    os.register_at_fork(before=at_fork)  # cannot be taken back, and does nothing afterwards
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    assert bench.locks(as_json=True) == 130
    assert [one.exc_type for one in unraisable] == [KeyboardInterrupt]
    assert json.loads(capsys.readouterr().out)["interrupted"] is True


def test_a_node_contender_that_stops_listening_is_told_of_and_ends_nothing(tmp_path):
    node = tmp_path / "node"
    node.write_text("#!/bin/sh\nexec <&-\necho ready\nsleep 30\n")
    node.chmod(0o755)
    rival = NodeRival("openclaw 0", node, tmp_path / "lock.js")
    with pytest.raises(NODE_FAILURES):
        rival.spans(tmp_path, 1, 0.0, 0.01, "contend")


def test_a_node_contender_of_openclaw_is_one_by_its_command_line(tmp_path):
    """2026.7.1 takes the lock from a live owner without the argument ``openclaw``: nobody would wait."""
    node = tmp_path / "node"
    node.write_text('#!/bin/sh\nfor one in "$@"; do [ "$one" != openclaw ] || echo \'{"waits": [7]}\'; done\n')
    node.chmod(0o755)
    assert NodeRival("openclaw 2026.7.1", node, tmp_path / "lock.js").uncontended(tmp_path, 1) == [7e-9]


def lock_that_judges_by_pid(path):
    """As the usual soft lock: a file that names its owner, taken when no such process answers."""

    def acquire():
        while True:
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            except FileExistsError:
                try:
                    with open(path) as file:
                        os.kill(int(file.read() or os.getpid()), 0)
                except ProcessLookupError:
                    os.unlink(path)
                time.sleep(0.001)
            else:
                os.write(descriptor, str(os.getpid()).encode())
                return os.close(descriptor)

    return acquire, lambda: os.unlink(path)


@pytest.mark.real
def test_the_holder_that_is_killed_is_gone_for_those_who_judge_by_pid(tmp_path):
    took_s = recover(Contestant("by pid", "polls", lock_that_judges_by_pid), tmp_path, limit_s=20.0)
    assert took_s is not None


def test_who_does_not_succeed_a_killed_holder_is_said_to_take_longer_than_was_watched():
    told = result()
    told.figures[0].recovery_never = 1
    told.figures[1].recovery_p50_s = 0.048
    rows = [line.split(" | ")[1] for line in tables.markdown(told).splitlines() if line.count(" | ") == 3]
    assert {"> 400", "48.0"} <= set(rows)


def test_a_full_run_says_how_long_it_will_take():
    assert 600 < about_s(FULL, 14) < 1800
    assert 20 < about_s(QUICK, 14) < 90


def result():
    fair = Contention(100.0, 1.0, 0.02, 0.01, 10, 10, 0, (0.01, 0.02))
    unfair = Contention(100.0, 0.5, 2.0, 0.01, 0, 20, 1, (0.001, 2.0))
    figures = [
        Figures(
            name,
            kind,
            6e-5 if name == "guarded" else 1.6e-5,
            1e-4,
            3e-5 if name == "guarded" else 2.5e-5,
            2e-4,
            {1: handoff_s},
            {1: 1e-3},
            {"2 x 0 ms": c},
        )
        for name, kind, handoff_s, c in (
            ("guarded", "ours", 2e-4, fair),
            ("guarded-async", "ours", 3e-4, fair),
            ("bare flock", "kernel", 1e-4, fair),
            ("portalocker", "polls", 0.1, unfair),
        )
    ]
    environment = {"kernel": "6", "cores": 2, "file_system": "ext4", "python": "3", "load_before": [0],
                   "load_after": [1], "versions": {"lockjaw": "0"}}  # fmt: skip
    return BenchResult(QUICK, environment, figures, [Absent("openclaw", "the Node package is not installed")], 1.0)


def test_table_says_what_was_missed_and_who_starves():
    lines = tables.markdown(result()).splitlines()
    assert all(len(line) <= 80 for line in lines if not line.startswith("|"))
    text = " ".join(line.strip() for line in lines)
    assert "MISSED uncontended p50 at most 1.3 x portalocker: 3.75 x" in text
    assert "held   made afresh p50 at most 1.3 x portalocker made afresh: 1.20 x" in text
    assert "| guarded | 30.0 / 200 | 60.0 / 100 |" in text
    assert "held   guarded hand-off to 1 at most 2 x bare flock: 2.0 x" in text
    assert "portalocker, 2 x 0 ms: 1 of 2 contenders get less than a quarter" in text
    assert "openclaw: the Node package is not installed" in text
    assert result().document()["absent"][0]["name"] == "openclaw"


def test_plot_has_one_mark_for_each_contender():
    root = ET.fromstring(plot.svg(list(result().figures), "2 x 0 ms"))
    assert len(root.findall("{*}circle")) == 8
