"""Long and random histories: what the pictures must bear."""

from __future__ import annotations

import random
from typing import Any

from lockjaw.harness.judge.checkers.examples import Story
from lockjaw.history import Phase, Record

SESSIONS = "/home/somebody/work/runs/storm/2026-1-takeover/state/agents/main/sessions"
LOCK = f"{SESSIONS}/9e051a52-0000-4000-8000-000000000001.jsonl.lock"


def busy_history(events: int, actors: int = 6, seed: int = 1) -> list[Record]:
    """``events`` records of contenders for one lock: waits of 90 s beside handoffs within 2 ms."""
    chance = random.Random(seed)
    story = Story()
    t = 0.0
    names = ["client", "gateway", *(f"contender-{n}" for n in range(actors - 2))]
    for name in names:
        story.add(t, "harness", "actor.ready", pid=1000 + names.index(name), role=name.partition("-")[0], actor=name)
    story.add(t, "client", "client.call", "invoke", method="agent", run_id="run-1", timeout_ms=90000)
    count = len(names) + 1
    generation = 0
    while count < events - 7:
        actor = chance.choice(names)
        generation += 1
        waited = chance.choice((0.0004, 0.002, 0.3, 12.0))
        owner = f"{chance.getrandbits(128):032x}"
        steps: list[tuple[float, str, Phase, dict[str, Any]]] = [
            (0.001, "lock", "invoke", {"path": LOCK, "owner": owner, "timeout_s": 10.0}),
            (waited, "lock", "ok", {"path": LOCK, "owner": owner, "generation": generation, "waited_s": waited}),
            *(
                (0.002, "append", "ok", {
                    "path": LOCK.removesuffix(".lock"), "entry_id": f"{chance.getrandbits(32):08x}", "type": "message",
                    "role": "assistant", "generation": generation, "run_id": owner,
                })
                for _ in range(3)
            ),
            (0.0001, "lock.release", "invoke", {"path": LOCK, "owner": owner, "generation": generation}),
            (0.0002, "lock.release", "ok", {"path": LOCK, "owner": owner, "generation": generation, "removed": True}),
        ]  # fmt: skip
        if chance.random() < 0.01:
            t += 90.0
        for pause, op, phase, data in steps:
            t += pause
            story.add(t, actor, op, phase, **data)
            count += 1
    story.add(t, "client", "client.result", answered=False, exit_code=1, error="no answer")
    return story.history()
