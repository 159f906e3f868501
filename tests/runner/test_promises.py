"""What a run owes others: times that it promises, claims that it notes, steps that take their time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.harness import load_scenario, run_scenario
from lockjaw.locking import SessionLock
from lockjaw.runner import agent
from lockjaw.runner.embedded import COMPACTION_LIMIT_S, HOLD_GRACE_S, hold_limit_s
from lockjaw.settings import Pacing

from .rig import QUICK, SLOW, rig


@pytest.mark.parametrize("turn_s", [0.0, 60.0, 48 * 3600.0])
def test_a_lock_may_be_held_for_the_turn_a_compaction_and_some_grace(turn_s: float) -> None:
    """Shorter, and waiters would overrule an owner at work; upstream computes 15 and 2 minutes."""
    assert (COMPACTION_LIMIT_S, HOLD_GRACE_S) == (900.0, 120.0)
    assert hold_limit_s(turn_s) == turn_s + 1020.0


def test_a_claim_is_noted_as_granted_exactly_if_the_run_is_its_owner() -> None:
    run = run_scenario(load_scenario("orphaned_turn_claim"), policy="durable-claim", engine="sim", seed=1)

    claims = [record for record in run.history if record.op == "claim"]
    for claim in claims:
        owner, mine = claim.data["owner"], claim.data["run_id"]
        assert {"ok": owner == mine, "fail": owner not in (mine, ""), "info": owner == ""}[claim.phase], claim
    assert {claim.phase for claim in claims} >= {"ok", "fail"}


@pytest.mark.parametrize(("asked_s", "configured_s", "sent"), [(7.4, 60.0, 7), (None, 60.0, 60), (None, None, UNSET)])
async def test_the_gateway_is_told_the_limit_of_the_run(
    asked_s: float | None, configured_s: float | None, sent: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whole seconds, the request's before the configuration's; without either the gateway's own holds."""
    asked: list[tuple[Any, int]] = []

    async def call_gateway(settings: Any, method: str, params: Any, *, timeout_ms: int, **more: Any) -> Any:
        asked.append((params, timeout_ms))
        return {"runId": params.idempotencyKey, "status": "ok", "result": {"payloads": [{"text": "A"}]}}

    monkeypatch.setattr(agent, "call_gateway", call_gateway)
    async with rig(tmp_path, {"one": QUICK}) as world:
        world.settings = replace(world.settings, agent=replace(world.settings.agent, timeout_s=configured_s))
        outcome = await world.ask(timeout_s=asked_s)

    assert outcome.stdout == "A"
    [(params, timeout_ms)] = asked
    assert params.timeout == sent
    assert timeout_ms == world.settings.client_timeout_ms(asked_s)


async def test_a_side_call_has_time_for_the_other_process_however_fast_the_clock_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nominal limits shrink with the clock; a process on this machine does not get faster."""
    limits: list[int] = []

    async def call_gateway(settings: Any, method: str, params: Any, *, timeout_ms: int, **more: Any) -> Any:
        limits.append(timeout_ms)

    monkeypatch.setattr(agent, "call_gateway", call_gateway)
    async with rig(tmp_path, {"one": QUICK}, scale=0.001) as world:
        client = await world.client()
        await client._side_call("health", {}, 0.1)
        await client._side_call("health", {}, 86_400.0)

    assert limits == [round(agent.SIDE_CALL_FLOOR_REAL_S * 1000 * 1000), 86_400_000]


async def test_every_step_of_a_version_takes_its_time(tmp_path: Path) -> None:
    """Both bounds: less is a step left out; the upper one is a minute of a clock that runs 100 times too fast."""
    async with rig(tmp_path, {"one": [{"error": {"status": 503, "message": "overloaded"}}], "two": QUICK}) as world:
        world.settings = replace(
            world.settings,
            gateway=replace(world.settings.gateway, url="ws://127.0.0.1:9", port=9),
            pacing=Pacing(setup_s=4.0, between_candidates_s=3.0, embedded_prepare_s=5.0),
        )
        outcome = await world.ask(local=True)

        assert outcome.stdout == "the answer"
        first, second = world.records("model.call", "invoke", "client")
        begun = world.records("lock", "invoke", "client")[0]
        assert 4.0 <= first.t - begun.t < 64.0
        assert 3.0 + 5.0 + 4.0 <= second.t - world.records("model.call", "fail", "client")[0].t < 72.0


async def test_an_owner_of_the_store_is_overruled_only_after_the_whole_wait(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": SLOW}) as world:
        client = await world.client()
        store = client.runner.store("main")
        await store.update("k", lambda entry: None)
        with SessionLock(store.path, clock=world.clock):
            started = world.clock.monotonic()
            update = asyncio.create_task(store.update("k", lambda entry: entry.update(model="two")))
            await update
            waited_s = world.clock.monotonic() - started
        assert store.read()["k"]["model"] == "two"
        wait_s = BEHAVIOURS["takeover"].store_bound_s
        assert wait_s is not None
        assert wait_s <= waited_s < wait_s + 60.0
