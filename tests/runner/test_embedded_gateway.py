"""What a gateway with a runner behind it knows of its sessions."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.clock import ScaledClock
from lockjaw.errors import InvalidSessionId, SessionLocked
from lockjaw.locking import LockView, inspect_lock
from lockjaw.runner.machine import THIS_MACHINE
from lockjaw.runner.service import Sessions, TurnService
from lockjaw.runner.stores import StoreLock, session_store
from lockjaw.sessions import RowStore, SessionPaths
from lockjaw.sessions.paths import JSONL, SQLITE
from lockjaw.sessions.revision_store import RevisionStore

from .rig import QUICK, Rig, rig

MAIN = "agent:main:main"


def sessions_of(one: Rig) -> Sessions:
    return Sessions(one.settings, behaviour=BEHAVIOURS["takeover"], clock=one.clock, ids=one.ids)


async def test_a_key_leads_to_one_session_whoever_asks(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": QUICK}) as one:
        sessions = sessions_of(one)
        key, session_id = await sessions.resolve("main", MAIN, None)

        assert key == MAIN
        assert await sessions.resolve("main", MAIN, "another") == (MAIN, session_id)  # the stored one wins
        assert await sessions_of(one).resolve("main", None, session_id) == (MAIN, session_id)  # found by its id


async def test_a_session_id_that_nobody_knows_gets_a_key_of_its_own(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": QUICK}) as one:
        sessions = sessions_of(one)

        assert await sessions.resolve("main", None, "new") == ("agent:main:explicit:new", "new")
        with pytest.raises(InvalidSessionId):
            await sessions.resolve("main", None, "../new")


async def test_the_list_has_every_session_the_newest_first(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": QUICK}) as one:
        sessions = sessions_of(one)
        for key in (MAIN, "agent:main:explicit:later"):
            await sessions.resolve("main", key, None)
            await one.clock.sleep(1.0)

        assert [row["key"] for row in await sessions.list()] == ["agent:main:explicit:later", MAIN]


async def test_the_history_is_the_conversation_up_to_a_limit(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": QUICK}) as one:
        await one.gateway()
        await one.ask(message="what?")
        sessions = sessions_of(one)

        session_id, rows = await sessions.history(MAIN, 10)
        assert [row["role"] for row in rows] == ["user", "assistant"]
        assert SessionPaths(one.settings.state_dir).transcript("main", str(session_id)).exists()
        assert [row["role"] for row in (await sessions.history(MAIN, 1))[1]] == ["assistant"]


async def test_a_session_without_a_transcript_or_a_key_without_a_session_has_no_history(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": QUICK}) as one:
        sessions = sessions_of(one)
        _, session_id = await sessions.resolve("main", MAIN, None)

        assert await sessions.history(MAIN, 10) == (session_id, [])
        assert await sessions.history("agent:main:explicit:nobody", 10) == (None, [])


async def test_the_plan_of_a_turn_in_a_gateway(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": QUICK}) as one:
        plans: list[Any] = []

        async def run(plan: Any, **more: Any) -> dict[str, Any]:
            plans.append(plan)
            return {}

        runner: Any = SimpleNamespace(run=run, transcript_of=lambda *how: tmp_path / "x")
        asked: dict[str, Any] = {"run_id": "r", "session_key": MAIN, "session_id": "s", "agent_id": "main"}
        for more, limit_s, system in (
            ({"timeout_s": 7.0, "extra_system_prompt": "be kind"}, 7.0, "be kind"),
            ({"timeout_s": None, "extra_system_prompt": None}, 60.0, ""),
        ):
            request: Any = SimpleNamespace(**asked, message="hi", model=None, **more)
            await TurnService(one.settings, runner)(request, asyncio.Event(), print)
            plan = plans.pop()
            assert (plan.turn_id, plan.run_id, plan.message, plan.original) == ("r", "r", "hi", "hi")
            assert (plan.limit_s, plan.extra_system_prompt) == (limit_s, system)
            assert (plan.resume, plan.embedded, plan.deadline_passed) == (False, False, False)
            assert (plan.held, plan.patience_s, plan.since_ms) == (None, None, 0)


@pytest.mark.parametrize(
    ("rows", "order"), [([1, 3, 2], [3, 2, 1]), ([None, 5], [5, None]), ([0, None, 1], [1, 0, None])]
)
async def test_sessions_without_a_time_come_last(rows: list[Any], order: list[Any], tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": QUICK}) as one:
        sessions = sessions_of(one)
        fake: Any = SimpleNamespace(read=lambda: {f"k{n}": {"updatedAt": at} for n, at in enumerate(rows)})
        sessions._store = lambda agent_id: fake  # type: ignore[method-assign]
        assert [row["updatedAt"] for row in await sessions.list()] == order


async def test_who_holds_the_store_says_for_how_long_at_most_and_what_for(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": QUICK}) as one:
        path = tmp_path / "sessions.json"
        for policy in ("takeover", "no-fallback"):
            async with StoreLock(path, behaviour=BEHAVIOURS[policy], clock=one.clock, machine=THIS_MACHINE):
                view = inspect_lock(path, clock=one.clock)
            assert (view.max_hold_s, view.owner) == (15.0, "store")
        assert not inspect_lock(path, clock=one.clock).exists


@pytest.mark.parametrize(
    ("bound_s", "wait_s", "ages", "waits"),
    [
        (None, 60.0, [], [60.0]),
        (10.0, 60.0, [10.0] * 6, [10.0] * 6 + [1.0]),
        (10.0, 25.0, [10.0, 10.0, 5.0], [10.0, 10.0, 5.0, 1.0]),
        (10.0, 0.0, [], [1.0]),
        (10.0, 60.0, [600.0], [10.0, 1.0]),  # this process stood still: one last try, after the deadline
    ],
)
async def test_an_update_waits_in_bounds_and_tries_once_after_its_time(
    bound_s: float | None, wait_s: float, ages: list[float], waits: list[float], tmp_path: Path
) -> None:
    now, tried = [1000.0], []

    async def acquire_async() -> Any:
        now[0] += ages[len(tried) - 1] if len(tried) <= len(ages) else 1.0
        raise SessionLocked("/s.lock", "pid=7", timeout_s=1, waited_s=1)

    def made(timeout_s: float) -> Any:
        tried.append(timeout_s)
        return SimpleNamespace(acquire_async=acquire_async)

    behaviour = replace(BEHAVIOURS["takeover"], store_bound_s=bound_s, store_wait_s=wait_s)
    clock: Any = SimpleNamespace(monotonic=lambda: now[0])
    lock = StoreLock(tmp_path / "s", behaviour=behaviour, clock=clock, machine=THIS_MACHINE)
    lock._made = made  # type: ignore[method-assign]
    lock._view = lambda: LockView(exists=True, alive=True)  # type: ignore[method-assign]
    with pytest.raises(SessionLocked):
        await lock.__aenter__()
    assert tried == waits


@pytest.mark.parametrize(
    ("view", "next_generation", "overruled"),
    [
        ({"ours": True, "alive": True}, 1, True), ({"ours": True, "alive": True}, 2, False),
        ({"ours": True, "alive": True}, 0, False), ({"ours": False, "alive": True}, 1, False),
        ({"ours": True, "alive": None}, 1, False), ({"in_transit": True}, 1, True), ({"in_transit": True}, 2, False),
    ],
)  # fmt: skip
async def test_only_an_owner_that_stood_in_the_way_all_the_time_is_overruled(
    view: dict[str, Any], next_generation: int, overruled: bool, tmp_path: Path
) -> None:
    async def acquire_async() -> Any:
        raise SessionLocked("/s.lock", "pid=7", timeout_s=1, waited_s=1)

    async def fence_async(only: int) -> str:
        assert only == next_generation
        return "fenced"

    behaviour = replace(BEHAVIOURS["takeover"], store_wait_s=0.0)
    clock: Any = SimpleNamespace(monotonic=lambda: 1000.0)
    lock = StoreLock(tmp_path / "s", behaviour=behaviour, clock=clock, machine=THIS_MACHINE)
    views = [LockView(exists=True, generation=n, **view) for n in (1, next_generation)]
    lock._view = lambda: views.pop(0)  # type: ignore[method-assign]
    made: Any = SimpleNamespace(acquire_async=acquire_async, fence_async=fence_async)
    lock._made = lambda timeout_s: made  # type: ignore[method-assign]
    if overruled:
        assert await lock.__aenter__() == "fenced"  # type: ignore[comparison-overlap]
    else:
        with pytest.raises(SessionLocked):
            await lock.__aenter__()


@pytest.mark.parametrize("policy", list(BEHAVIOURS))
@pytest.mark.parametrize("kind", ["jsonl", "sqlite"])
def test_what_a_version_keeps_its_session_list_in(policy: str, kind: str, tmp_path: Path) -> None:
    behaviour = BEHAVIOURS[policy]
    paths = SessionPaths(tmp_path, SQLITE if kind == "sqlite" else JSONL)
    store = session_store(paths, "main", behaviour=behaviour, clock=ScaledClock.start())
    assert isinstance(store, RowStore) is (kind == "sqlite")
    if kind == "jsonl":
        assert isinstance(store, RevisionStore) is (behaviour.store == "revision")
