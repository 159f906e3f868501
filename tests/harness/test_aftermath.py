"""What is left when a run is over, and whether it blocks whoever comes next."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lockjaw.clock import ScaledClock
from lockjaw.harness.play.aftermath import conversations, try_next_turn
from lockjaw.history import MemoryRecorder
from lockjaw.locking.host import THIS_HOST


@pytest.fixture
def sessions(tmp_path: Path) -> Path:
    folder = tmp_path / "agents" / "main" / "sessions"
    folder.mkdir(parents=True)
    return folder


async def next_turns(state_dir: Path) -> dict[str, str]:
    clock = ScaledClock.start(0.001)
    recorder = MemoryRecorder(clock, "harness")
    found = sorted(map(str, state_dir.glob("agents/*/sessions/*")))
    for path in conversations(found):
        await try_next_turn(path, "guarded", clock, recorder, host=THIS_HOST)
    return {Path(record.data["path"]).name: record.phase for record in recorder.records if record.op == "next_turn"}


async def test_lock_of_a_run_that_never_wrote_a_line_blocks_and_is_seen_to(tmp_path: Path, sessions: Path) -> None:
    owner = {"pid": os.getppid(), "createdAt": "2026-11-22T19:00:00.000Z"}
    (sessions / "silent.jsonl.lock").write_text(json.dumps(owner))
    (sessions / "spoken.jsonl").write_text("")
    assert await next_turns(tmp_path) == {"silent.jsonl": "fail", "spoken.jsonl": "ok"}


async def test_lock_of_a_dead_owner_without_a_transcript_does_not_block(tmp_path: Path, sessions: Path) -> None:
    dead = os.spawnlp(os.P_NOWAIT, "true", "true")
    os.waitpid(dead, 0)
    (sessions / "silent.jsonl.lock").write_text(json.dumps({"pid": dead, "createdAt": "2026-11-22T19:00:00.000Z"}))
    assert await next_turns(tmp_path) == {"silent.jsonl": "ok"}
