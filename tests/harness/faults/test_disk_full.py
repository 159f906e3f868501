"""A full disk: writes fail with the bytes that fit, nothing that was accepted is lost, and it can be healed."""

from __future__ import annotations

from typing import Any

import pytest

from .playing import NOTE, RELEASE, TAKE, WORLDS, Play, of, scripted

TAKEN = {"op": "lock", "phase": "ok", "actor": "cron"}


def full(**more: Any) -> dict[str, Any]:
    return {"action": "disk_full", "target": "cron", "when": TAKEN, **more}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("room_bytes", [0, 60])
def test_a_write_that_does_not_fit_fails_and_leaves_the_transcript_whole(
    world: str, room_bytes: int, play: Play
) -> None:
    run = play(world, {"cron": scripted(TAKE, {"do": "sleep", "for_s": 3}, NOTE, RELEASE)}, full(room_bytes=room_bytes))

    struck, found = of(run, "nemesis", action="disk_full")
    assert (struck.data["lasts"], found.data["errno"]) == (True, "ENOSPC")
    assert found.data["at"].startswith("before Append")
    assert [r for r in of(run, "append", "ok") if r.actor == "cron"] == []
    assert of(run, "actor.exit", actor="cron")[0].data["code"] == 1
    assert of(run, "transcript.final")[0].data["problems"] == []


@pytest.mark.parametrize("world", WORLDS)
def test_what_fits_is_written(world: str, play: Play) -> None:
    run = play(world, {"cron": scripted(TAKE, {"do": "sleep", "for_s": 3}, NOTE, RELEASE)}, full(room_bytes=10_000))

    assert [r.actor for r in of(run, "append", "ok")].count("cron") == 1
    assert len(of(run, "nemesis", action="disk_full")) == 1


@pytest.mark.parametrize("world", WORLDS)
def test_after_it_is_healed_a_successor_writes(world: str, play: Play) -> None:
    restart = {"action": "restart", "target": "cron", "when": {"op": "nemesis", "data": {"heals": "disk_full"}}}
    patient = scripted(TAKE, {"do": "sleep", "for_s": 3}, NOTE, RELEASE)
    clock = scripted({"do": "sleep", "for_s": 60})  # or the run would be over before the disk is healed

    run = play(world, {"cron": patient, "clock": clock}, full(for_s=20), restart)

    (healed,) = of(run, "nemesis", action="heal")
    (found,) = of(run, "nemesis", action="disk_full", errno="ENOSPC")
    (written,) = [r for r in of(run, "append", "ok") if r.actor == "cron"]
    assert found.t < healed.t < written.t
    assert [r.data["code"] for r in of(run, "actor.exit", actor="cron")] == [1, 0]


@pytest.mark.parametrize("world", WORLDS)
def test_a_successor_finds_the_disk_as_full_as_it_was(world: str, play: Play) -> None:
    restart = {"action": "restart", "target": "cron", "when": {"op": "nemesis", "data": {"errno": "ENOSPC"}}}
    patient = scripted(TAKE, {"do": "sleep", "for_s": 4}, NOTE, RELEASE)

    run = play(world, {"cron": patient}, full(), restart)

    assert len(of(run, "actor.ready", actor="cron")) == 2
    assert [r for r in of(run, "append", "ok") if r.actor == "cron"] == []
    assert [r.data["code"] for r in of(run, "actor.exit", actor="cron")][-1] == 1
