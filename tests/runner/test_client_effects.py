"""The effects that a client performs, one at a time: what it sends, what it makes of an answer, how it exits."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lockjaw.behaviours import BEHAVIOURS
from lockjaw.errors import (
    ConnectionLost,
    LockjawError,
    LockStateError,
    OwnerChanged,
    RequestRejected,
    RequestTimedOut,
    RunAborted,
    SessionLocked,
    StateInUse,
    UsageError,
)
from lockjaw.locking import LockView
from lockjaw.runner import agent, session_taking
from lockjaw.runner.agent import AgentOutcome, AgentRequest, TurnClient, agent_main
from lockjaw.runner.policy import (
    Answer,
    Ask,
    Fence,
    GatewayFailure,
    LockReply,
    RunEmbedded,
    RunState,
    Stop,
    StopReply,
    TakeLock,
)
from lockjaw.runner.session_taking import Session

from .rig import QUICK, Rig, rig

SESSION = Session("agent:main:main", "session-1", "main")
LOST = ConnectionLost(1006, "gone")
LOCKED = SessionLocked("/s.lock", "pid=7", timeout_s=10, waited_s=10.5)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path, {"one": QUICK}) as one:
        yield one


def answers(client: TurnClient, monkeypatch: pytest.MonkeyPatch, reply: Any) -> list[tuple[str, Any, float]]:
    """Its side calls are answered with this, or fail with it; -> what it called."""
    called: list[tuple[str, Any, float]] = []

    async def side_call(method: str, params: Any, limit_s: float) -> Any:
        called.append((method, params, limit_s))
        if isinstance(reply, Exception):
            raise reply
        return reply

    monkeypatch.setattr(client, "_side_call", side_call)
    return called


# --------------------------------------------------------------------------- side calls


@pytest.mark.parametrize(
    ("reply", "state"),
    [
        ({"status": "error", "endedAt": 1, "error": "why"}, RunState("failed", error="why")),
        ({"status": "error", "endedAt": 1}, RunState("failed", error="the run failed")),
        ({"status": "error", "error": "not over"}, RunState("running")),
        ({"status": "ok", "endedAt": 1}, RunState("running")),  # no answer of it is stored
        ({"status": "timeout", "endedAt": 1}, RunState("running")),
        ({"status": "zzz", "endedAt": 1}, RunState("running")),
        (RequestTimedOut(2000), RunState("running", error=str(RequestTimedOut(2000)))),
        (LOST, RunState("unreachable", error=str(LOST))),
    ],
)  # fmt: skip
async def test_what_the_gateway_says_of_a_run(
    reply: Any, state: RunState, world: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await world.client()
    called = answers(client, monkeypatch, reply)
    assert await client._ask(Ask("run-1", 2.0), SESSION, 0) == state
    [(method, params, limit_s)] = called
    # The gateway answers after half of the limit, so that its answer still comes in time.
    assert (method, params.runId, params.timeoutMs, limit_s) == ("agent.wait", "run-1", 1000, 2.0)


@pytest.mark.parametrize("status", ["ok", "error", "pending", "zzz", ""])
async def test_only_a_run_that_ended_well_has_an_answer(
    status: str, world: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await world.client()
    answers(client, monkeypatch, {"status": status})
    monkeypatch.setattr(client, "_stored_answer", lambda *how: {"payloads": []})
    state = await client._ask(Ask("run-1", 2.0), SESSION, 0)
    finished = {"runId": "run-1", "status": "ok", "result": {"payloads": []}}
    assert state == (RunState("finished", finished) if status == "ok" else RunState("running"))


@pytest.mark.parametrize(
    ("reply", "confirmed", "reachable"),
    [
        ({"aborted": True, "runIds": ["run-0", "run-1"]}, True, True),
        ({"aborted": True, "runIds": ["run-0"]}, False, True),
        ({"aborted": False, "runIds": ["run-1"]}, False, True),
        ({"aborted": "x"}, False, True),
        (RequestRejected("INVALID_REQUEST", "no"), False, True),
        (LOST, False, False),
    ],
)
async def test_a_stop_is_confirmed_if_the_gateway_names_the_run(
    reply: Any, confirmed: bool, reachable: bool, world: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await world.client()
    called = answers(client, monkeypatch, reply)
    stopped = await client._stop(Stop("run-1", 5.0), SESSION)
    assert stopped == StopReply(confirmed=confirmed, reachable=reachable)
    [(method, params, limit_s)] = called
    assert (method, params.sessionKey, params.runId, limit_s) == ("chat.abort", SESSION.key, "run-1", 5.0)


async def test_an_embedded_run_is_refused_beside_a_gateway_that_answers_within_five_seconds(
    world: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await world.client()
    called = answers(client, monkeypatch, {})
    with pytest.raises(StateInUse):
        await client._refuse_beside_gateway()
    answers(client, monkeypatch, LOST)
    await client._refuse_beside_gateway()
    assert [(method, limit_s) for method, _, limit_s in called] == [("health", 5.0)]


@pytest.mark.parametrize(
    "error", [ConnectionLost(1006, "gone", details="Gateway target: x"), UsageError("f", "k", "v")]
)
async def test_an_interrupted_client_asks_for_two_seconds_at_most_and_says_what_went_wrong_in_a_line(
    error: LockjawError, world: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await world.client()
    called = answers(client, monkeypatch, error)
    await client._abort_on_the_way_out(SESSION, "run-1")
    assert [(method, limit_s) for method, _, limit_s in called] == [("chat.abort", 2.0)]
    first = str(error).splitlines()[0]
    assert world.said == [f"interrupted; the gateway may go on with run run-1: {first}"]


# --------------------------------------------------------------------------- the lock


class Lock:
    """A session lock that is never free, or is at once."""

    def __init__(self, outcome: Any = None) -> None:
        self.outcome, self.tries, self.released = outcome, 0, 0

    async def acquire_async(self) -> Any:
        self.tries += 1
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def fence_async(self, only: int) -> Any:
        return await self.acquire_async()

    async def release_async(self) -> None:
        self.released += 1
        if isinstance(self.outcome, OSError):
            raise self.outcome


OWNED = LockView(exists=True, alive=True, ours=True, pid=7, owner="run-1")
DEAD = LockView(exists=True, alive=False, pid=7)


@pytest.mark.parametrize(
    ("view", "tries"), [(OWNED, 1), (DEAD, 3), (LockView(exists=False), 3), (LockView(exists=True, pid=7), 1)]
)
async def test_a_lock_that_looks_free_is_tried_three_times_in_all(
    view: LockView, tries: int, world: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, lock = await world.client(), Lock(LOCKED)
    monkeypatch.setattr(client.taking, "made", lambda *how: lock)
    monkeypatch.setattr(session_taking, "inspect_lock", lambda *how, **more: view)
    assert await client.taking.take(TakeLock(10.0), SESSION, "run-1") == session_taking.in_the_way(view, "run-1")
    assert lock.tries == tries


@pytest.mark.parametrize(
    ("view", "reply"),
    [
        (DEAD, LockReply(True, reclaimed=True, owner="dead process 7")),
        (LockView(exists=False, alive=False), LockReply(True)),
        (LockView(exists=True, alive=None), LockReply(True)),
        (OWNED, LockReply(True)),
    ],
)
async def test_only_an_owner_that_is_proven_dead_is_reclaimed(
    view: LockView, reply: LockReply, world: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await world.client()
    monkeypatch.setattr(client.taking, "made", lambda *how: Lock("held"))
    monkeypatch.setattr(session_taking, "inspect_lock", lambda *how, **more: view)
    assert await client.taking.take(TakeLock(10.0), SESSION, "run-1") == reply


@pytest.mark.parametrize(
    ("view", "seen"),
    [(OWNED, session_taking.in_the_way(OWNED, "run-1")), (DEAD, LockReply(False)),
     (LockView(exists=True), LockReply(False)), (LockView(exists=False, alive=True, ours=True), LockReply(False))],
)  # fmt: skip
async def test_only_a_live_owner_is_seen(
    view: LockView, seen: LockReply, world: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await world.client()
    monkeypatch.setattr(session_taking, "inspect_lock", lambda *how, **more: view)
    assert client.taking.look(SESSION, "run-1") == seen


@pytest.mark.parametrize(
    ("view", "again"),
    [(LockView(exists=False), True), (DEAD, True), (OWNED, False), (LockView(exists=True), False),
     (LockView(exists=False, in_transit=True), False)],
)  # fmt: skip
async def test_a_lock_that_could_not_be_fenced_is_taken_if_its_owner_has_gone(
    view: LockView, again: bool, world: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await world.client()
    stuck = LockStateError("/s.lock", {}, "paused\nand more")
    client.taking._lock = Lock(stuck)  # type: ignore[assignment]
    taken: list[float] = []

    async def take_lock(effect: TakeLock, *how: Any) -> LockReply:
        taken.append(effect.bound_s)
        return LockReply(True)

    monkeypatch.setattr(client.taking, "take", take_lock)
    monkeypatch.setattr(session_taking, "inspect_lock", lambda *how, **more: view)
    reply = await client.taking.fence(Fence(1), SESSION, "run-1")
    assert reply == (LockReply(True) if again else LockReply(False, owner=str(stuck).splitlines()[0]))
    assert taken == ([10.0] if again else [])


@pytest.mark.parametrize(("owner", "fences", "moved_on"), [("run-1", 3, False), ("another", 1, True), ("", 1, True)])
async def test_only_our_own_run_is_overruled_under_a_generation_that_it_has_by_now(
    owner: str, fences: int, moved_on: bool, world: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, asked = await world.client(), []
    view = LockView(exists=True, alive=True, ours=True, pid=7, owner=owner, generation=5)

    async def fence_async(only: int) -> Any:
        asked.append(only)
        raise OwnerChanged("/s.lock", only, 5)

    client.taking._lock = SimpleNamespace(fence_async=fence_async)  # type: ignore[assignment]
    monkeypatch.setattr(session_taking, "inspect_lock", lambda *how, **more: view)
    reply = await client.taking.fence(Fence(1), SESSION, "run-1")
    assert reply == session_taking.in_the_way(view, "run-1", moved_on=moved_on)
    assert asked == [1, 5, 5][:fences]


@pytest.mark.parametrize("granted_since", [False, True])
async def test_an_owner_that_came_during_the_wait_has_not_been_waited_for(
    granted_since: bool, world: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await world.client()
    views = [LockView(exists=True, alive=True, ours=True, pid=7, generation=1 + n * granted_since) for n in range(2)]
    monkeypatch.setattr(client.taking, "made", lambda *how: Lock(LOCKED))
    monkeypatch.setattr(session_taking, "inspect_lock", lambda *how, **more: views.pop(0))
    reply = await client.taking.take(TakeLock(10.0), SESSION, "run-1")
    assert (reply.moved_on, reply.generation) == (granted_since, 1 + granted_since)


@pytest.mark.parametrize(("held", "released"), [("held", 1), (None, 0)])
async def test_only_a_lock_that_is_held_is_given_back(held: Any, released: int, world: Rig) -> None:
    client, lock = await world.client(), Lock(OSError(28, "No space left on device"))
    client.taking._lock, client.taking.held = lock, held  # type: ignore[assignment]
    await client.taking.give_back()
    await client.taking.give_back()
    assert (lock.released, len(world.said)) == (released, released)
    client.taking._lock, client.taking.held = None, held
    await client.taking.give_back()
    assert client.taking.held is None


# --------------------------------------------------------------------------- the call and its failure


@pytest.mark.parametrize(("over_s", "late"), [(-1.0, False), (0.0, False), (1.0, True)])
async def test_a_client_is_late_from_its_deadline_on(
    over_s: float, late: bool, world: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await world.client()
    now, failures = [1000.0], []
    client.clock = SimpleNamespace(monotonic=lambda: now[0], wall_ms=lambda: 5)  # type: ignore[assignment]

    async def refused(session: Session, run_id: str) -> Answer:
        now[0] += world.settings.client_timeout_ms(None) / 1000 + over_s
        raise RequestRejected("UNAVAILABLE", "no")

    async def fall_back(failure: GatewayFailure, *how: object) -> Answer:
        failures.append(failure.late)
        return Answer({}, "embedded", {})

    monkeypatch.setattr(client, "_through_gateway", refused)
    monkeypatch.setattr(client, "_fall_back", fall_back)
    await client._turn(SESSION)
    assert failures == [late]


@pytest.mark.parametrize("policy", ["reuse-session", "fresh-session", "no-fallback", "takeover"])
async def test_only_2026_4_8_runs_a_turn_here_whose_call_was_wrong(
    policy: str, world: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await world.client(policy=policy)

    async def wrong(*how: Any) -> Answer:
        raise UsageError("f", "k", "v")

    async def fall_back(*how: Any) -> Answer:
        return Answer({}, "embedded", {})

    monkeypatch.setattr(client, "_through_gateway", wrong)
    monkeypatch.setattr(client, "_fall_back", fall_back)
    if policy == "reuse-session":
        assert (await client._turn(SESSION)).transport == "embedded"
    else:
        with pytest.raises(UsageError):
            await client._turn(SESSION)


@pytest.mark.parametrize(("why", "error", "text"), [
    ("signal", ConnectionLost, "1012"), ("rpc", RunAborted, "rpc"), (None, RunAborted, "rpc"),
    ("zzz", RunAborted, "zzz"),
])  # fmt: skip
async def test_a_gateway_that_stops_a_run_because_it_ends_is_a_lost_one(
    why: str | None, error: type[LockjawError], text: str, world: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def call_gateway(*how: Any, **more: Any) -> Any:
        return {"status": "timeout", "stopReason": why}

    monkeypatch.setattr(agent, "call_gateway", call_gateway)
    client = await world.client()
    with pytest.raises(error, match=text):
        await client._through_gateway(SESSION, "run-1")
    (failed,) = world.records("client.call", "fail")
    assert failed.data["kind"] == "aborted"


@pytest.mark.parametrize("policy", ["takeover", "fresh-session", "reuse-session", "no-fallback"])
@pytest.mark.parametrize("locked", [False, True])
async def test_the_plan_of_a_turn_that_runs_here(
    policy: str, locked: bool, world: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, plans = await world.client(policy=policy, patience_s=77.0, timeout_s=33.0), []

    async def run(plan: Any, **more: Any) -> Any:
        plans.append(plan)
        assert not more["abort"].is_set()

    monkeypatch.setattr(client.runner, "run", run)
    client.taking.held = "the lock"  # type: ignore[assignment]
    effect = RunEmbedded("same", resume=locked, locked=locked)
    await client._embedded(SESSION, "run-1", 5, effect, deadline_passed=locked)
    (plan,) = plans
    upstream = policy in ("fresh-session", "reuse-session")
    assert (plan.turn_id, plan.run_id) == ("run-1", "session-1" if upstream else "takeover-run-1")
    assert (plan.session_key, plan.session_id, plan.agent_id) == (SESSION.key, "session-1", "main")
    assert (plan.resume, plan.deadline_passed, plan.embedded) == (locked, locked, True)
    assert plan.held == ("the lock" if locked else None)
    assert (plan.patience_s, plan.limit_s, plan.since_ms) == (None if upstream else 77.0, 33.0, 5)


@pytest.mark.parametrize(("where", "forked"), [("fresh", 0), ("fork", 1), ("same", 0)])
async def test_only_a_fork_is_seeded_and_only_the_same_session_keeps_its_name(
    where: Any, forked: int, world: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, plans, seeded = await world.client(), [], []

    async def run(plan: Any, **more: Any) -> Any:
        plans.append(plan)

    monkeypatch.setattr(client.runner, "run", run)
    monkeypatch.setattr(client, "_fork", lambda session, target: seeded.append((session, target)))
    effect = RunEmbedded(where, resume=False, locked=False, new_session_id="new")
    await client._embedded(SESSION, "run-1", 5, effect)
    same = where == "same"
    assert (plans[0].session_key, plans[0].session_id) == (
        (SESSION.key, "session-1") if same else ("agent:main:explicit:new", "new")
    )
    assert not plans[0].deadline_passed
    assert seeded == [(SESSION, "new")] * forked


# --------------------------------------------------------------------------- which session


async def test_flags_lead_to_a_session(world: Rig) -> None:
    async def resolved(**request: Any) -> Session:
        return (await world.client(**{"agent_id": None, **request}))._resolve()

    assert await resolved(agent_id="main") == Session("agent:main:main", "", "main")
    assert await resolved(to="+4912345") == Session("agent:main:main", "", "main")
    assert await resolved(session_id="s-9") == Session("agent:main:explicit:s-9", "s-9", "main")
    assert await resolved(agent_id="main", session_id="s-9") == Session("agent:main:main", "", "main")
    client = await world.client()
    store = client.runner.store("main")
    await store.update("agent:main:main", lambda entry: entry.update(sessionId="stored"))
    assert await resolved(agent_id="main") == Session("agent:main:main", "stored", "main")
    assert await resolved(session_id="stored") == Session("agent:main:main", "stored", "main")
    for request in ({}, {"agent_id": "zzz"}, {"agent_id": "aaa"}):
        with pytest.raises(UsageError):
            await resolved(**request)


# --------------------------------------------------------------------------- how it ended


@pytest.mark.parametrize(
    ("payloads", "answer", "policy", "exit_code", "answered", "degraded"),
    [
        ([{"text": "A"}], {"marks": {}}, "takeover", 0, True, False),
        ([{"text": "A"}], {"marks": {"x": 1}}, "takeover", 0, True, True),
        ([{"text": "A"}], {"marks": {"x": 1}, "transport": "gateway"}, "takeover", 0, True, False),
        ([{"text": "A"}], {"marks": {"x": 1}, "duplicate_possible": True}, "takeover", 5, True, True),
        ([{"text": "A", "isError": True}], {"marks": {}}, "takeover", 1, False, False),
        ([{"text": "A", "isError": True}], {"marks": {}}, "fresh-session", 0, False, False),
        ([{"text": "A", "isError": True}, {"text": "B"}], {"marks": {}}, "takeover", 0, True, False),
        ([], {"marks": {}}, "takeover", 0, False, False),
    ],
)  # fmt: skip
async def test_how_an_answer_is_told(
    payloads: Any, answer: Any, policy: str, exit_code: int, answered: bool, degraded: bool, world: Rig
) -> None:
    client = await world.client(policy=policy)
    result: Any = {"payloads": payloads, "meta": {"agentMeta": {"sessionId": "s"}}}
    given = {"transport": "embedded", **answer}
    if given["transport"] == "gateway":
        result = {"status": "ok", "result": result}
    outcome = client._answered(Answer(result, **given))
    assert outcome.exit_code == exit_code
    (told,) = world.records("client.result", "info", "client")
    data = told.data
    assert (data["answered"], data["degraded"], data["exit_code"]) == (answered, degraded, exit_code)
    assert data["session_id"] == "s"
    assert data["duplicate_possible"] is given.get("duplicate_possible", False)
    assert data["error"] == ("A" if not answered and payloads else None)


@pytest.mark.parametrize(
    ("error", "exit_code"), [(UsageError("f", "k", "v"), 2), (LOST, 1), (OSError(28, "full"), 1), (LOCKED, 1)]
)
@pytest.mark.parametrize("policy", ["takeover", "no-fallback", "fresh-session", "reuse-session"])
@pytest.mark.parametrize("as_json", [False, True])
async def test_how_a_failure_is_told(error: Any, exit_code: int, policy: str, as_json: bool, world: Rig) -> None:
    client = await world.client(policy=policy, as_json=as_json)
    client._conversation = SESSION
    outcome = client._failed(error)
    assert (outcome.exit_code, bool(outcome.error)) == (exit_code, True)
    assert "\n".join(world.said) == outcome.error
    if as_json and policy in ("takeover", "no-fallback"):
        expected = {"ok": False, "error": {"type": "cli_error", "message": outcome.error}}
        assert json.loads(outcome.stdout) == expected
    else:
        assert outcome.stdout == ""
    (told,) = world.records("client.result", "info", "client")
    data = told.data
    assert (data["answered"], data["degraded"], data["duplicate_possible"]) == (False, False, False)
    assert (data["exit_code"], data["session_id"], data["session_key"]) == (exit_code, "session-1", SESSION.key)


def test_what_a_request_means_that_says_nothing_more() -> None:
    request = AgentRequest("hi")
    assert (request.timeout_s, request.patience_s, request.policy) == (None, 600.0, "takeover")
    assert (request.local, request.as_json) == (False, False)
    assert BEHAVIOURS[request.policy].fallback == "takeover"


@pytest.mark.parametrize(
    ("ended", "status", "printed"),
    [
        (signal.SIGTERM, 143, ""),
        (signal.SIGINT, 130, ""),
        (AgentOutcome(0, "the answer"), 0, "the answer\n"),
        (AgentOutcome(5, "twice"), 5, "twice\n"),
        (AgentOutcome(1), 1, ""),
    ],
)
def test_the_exit_status_of_the_command(
    ended: Any, status: int, printed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """128 and the number of the signal, as shells have it."""

    async def until_stopped(work: Coroutine[Any, Any, Any]) -> Any:
        work.close()
        return ended

    monkeypatch.setattr(agent, "until_stopped", until_stopped)

    async def settings() -> Any:
        async with rig(tmp_path, {"one": QUICK}) as world:
            return replace(world.settings)

    assert agent_main(asyncio.run(settings()), AgentRequest("hi"), ready_fd=None, go_fd=None) == status
    assert capsys.readouterr().out == printed


async def test_an_answer_as_json_keeps_its_letters(world: Rig) -> None:
    client = await world.client(as_json=True)
    outcome = client._answered(Answer({"payloads": [{"text": "größe"}]}, "embedded", {}))
    assert "größe" in outcome.stdout
    assert json.loads(outcome.stdout)["payloads"] == [{"text": "größe"}]
