"""A slow disk: each write of its target takes long, nobody else's does, and it can be healed."""

from __future__ import annotations

from typing import Any

import pytest

from .playing import LATE_S, NOTE, RELEASE, TAKE, WORLDS, Play, of, scripted

WRITTEN = {"op": "append", "phase": "ok", "actor": "cron"}


def slow(**more: Any) -> dict[str, Any]:
    return {"action": "slow_disk", "target": "cron", "when": {"op": "lock", "phase": "ok", "actor": "cron"}, **more}


@pytest.mark.parametrize("world", WORLDS)
def test_a_write_of_the_target_takes_so_much_longer(world: str, play: Play) -> None:
    run = play(
        world, {"cron": scripted(TAKE, {"do": "sleep", "for_s": 3}, NOTE, RELEASE)}, slow(latency_s=15)
    )  # fmt: skip

    (struck,) = of(run, "nemesis", action="slow_disk")
    (written,) = [r for r in of(run, "append", "ok") if r.actor == "cron"]
    assert written.t - struck.t >= 3 + 2 * 15 - 1  # the write and its flush; the sleep began before the fault came
    others = [r for r in of(run, "lock", "ok") if r.actor == "gateway"]
    assert others  # who waits for the lock gets it all the same


@pytest.mark.parametrize("world", WORLDS)
def test_after_it_is_healed_writes_are_quick_again(world: str, play: Play) -> None:
    twice = {"do": "append", "what": "metadata", "count": 2, "every_s": 60}

    run = play(world, {"cron": scripted(TAKE, {"do": "sleep", "for_s": 3}, twice)}, slow(latency_s=15, for_s=40))

    (healed,) = of(run, "nemesis", action="heal", heals="slow_disk")
    first, second = (r for r in of(run, "append", "ok") if r.actor == "cron")
    assert first.t < healed.t < second.t
    assert 60 <= second.t - first.t < 60 + LATE_S


@pytest.mark.parametrize("world", WORLDS)
def test_a_process_that_stands_in_a_slow_write_can_be_killed(world: str, play: Play) -> None:
    kill = {
        "action": "kill",
        "target": "cron",
        "when": {"op": "nemesis", "data": {"action": "slow_disk"}},
        "after_s": 9,
    }

    run = play(world, {"cron": scripted(TAKE, {"do": "sleep", "for_s": 3}, NOTE)}, slow(latency_s=5000), kill)

    assert of(run, "actor.exit", actor="cron")[0].data["code"] == -9
    assert [r for r in of(run, "append", "ok") if r.actor == "cron"] == []
    assert of(run, "transcript.final")[0].data["problems"] == []
