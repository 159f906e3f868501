"""The client against a live gateway in the same process: the policies with real sockets, files and locks."""

from __future__ import annotations

import asyncio
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from lockjaw.errors import ConnectionLost, Fenced, RequestRejected
from lockjaw.locking import HeldLock, LockStateError, SessionLock, inspect_lock
from lockjaw.runner.policy import Answer, Fence, GatewayFailure
from lockjaw.runner.session_taking import Session

from .rig import QUICK, SLOW, rig


def texts(messages: list[dict]) -> list[tuple[str, str]]:
    return [
        (
            m["role"],
            "".join(p.get("text", "") for p in m["content"]) if isinstance(m["content"], list) else m["content"],
        )
        for m in messages
    ]


async def test_gateway_answers(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": QUICK}) as world:
        await world.gateway()
        outcome = await world.ask()
        assert (outcome.exit_code, outcome.stdout) == (0, "the answer")
        (transcript,) = world.transcripts()
        assert transcript.problems == []
        roles = texts(transcript.messages)
        assert re.fullmatch(r"\[\w{3} \d{4}-\d\d-\d\d \d\d:\d\d UTC\] long task", roles[0][1])
        assert roles[1] == ("assistant", "the answer")
        assert world.leftovers() == []


async def test_json_of_a_gateway_answer_is_the_final_payload(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": QUICK}) as world:
        await world.gateway()
        document = json.loads((await world.ask(as_json=True)).stdout)
        assert document["status"] == "ok"
        assert document["result"]["payloads"] == [{"text": "the answer", "mediaUrl": None}]
        assert document["result"]["meta"]["agentMeta"]["model"] == "one"


async def test_second_turn_continues_the_conversation(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": QUICK}) as world:
        await world.gateway()
        await world.ask(message="first")
        await world.ask(message="second")
        (transcript,) = world.transcripts()
        assert [role for role, _ in texts(transcript.messages)] == ["user", "assistant", "user", "assistant"]


async def test_takeover_of_a_slow_gateway_answers_in_the_same_session_and_runs_once(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": SLOW, "two": SLOW, "three": QUICK}) as world:
        await world.gateway()
        outcome = await world.ask()
        assert (outcome.exit_code, outcome.stdout) == (0, "the answer")
        (transcript,) = world.transcripts()  # one session, not two
        assert transcript.problems == []
        assert texts(transcript.messages)[-1] == ("assistant", "the answer")
        # The untried model is asked first, and no call of the gateway overlaps one of the client.
        calls = world.records("model.call", "invoke", "client")
        assert [record.data["model"] for record in calls] == ["three"]
        stopped = world.records("model.call", "fail", "gateway")[-1]
        assert stopped.data["error"] == "aborted"
        assert stopped.t <= calls[0].t
        assert world.leftovers() == []


async def test_takeover_lets_a_model_that_makes_progress_finish(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": SLOW, "two": SLOW}) as world:  # 150 s of tokens against a run limit of 60 s
        await world.gateway()
        outcome = await world.ask(patience_s=600.0)
        assert outcome.exit_code == 0
        assert outcome.stdout.endswith("." * 75)


async def test_takeover_ends_when_patience_does(tmp_path: Path) -> None:
    silent = [{"never_answer": True}]
    async with rig(tmp_path, {"one": silent, "two": silent, "three": silent}, timeout_s=20.0) as world:
        world.settings = replace(world.settings, agent=replace(world.settings.agent, idle_timeout_s=0.0))
        await world.gateway()
        outcome = await world.ask(patience_s=20.0)
        assert outcome.exit_code == 1
        assert world.said[-1].startswith("FallbackSummaryError: All models failed (3): fake/three: ")
        assert world.leftovers() == []


async def test_answer_that_came_meanwhile_is_taken_and_nothing_runs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig(tmp_path, {"one": QUICK}) as world:
        await world.gateway()
        client = await world.client()
        through_gateway = client._through_gateway

        async def lose_the_final(session: Session, run_id: str) -> Answer:
            await through_gateway(session, run_id)
            raise ConnectionLost(1006, run_id=run_id)

        monkeypatch.setattr(client, "_through_gateway", lose_the_final)
        outcome = await client.run()
        assert (outcome.exit_code, outcome.stdout) == (0, "the answer")
        assert len(world.records("turn", "invoke")) == 1
        assert any("had finished the run meanwhile" in line for line in world.said)


@pytest.mark.parametrize(("stood_still", "policy", "late"), [
    (True, "takeover", True), (False, "takeover", False), (True, "fresh-session", False),
])  # fmt: skip
async def test_a_no_that_a_client_reads_after_its_deadline_is_late(
    stood_still: bool, policy: str, late: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process stood still; the gateway's answer lay in its socket. Upstream counts that time."""
    async with rig(tmp_path, {"one": QUICK}) as world:
        client = await world.client(policy=policy)
        monotonic, failures = client.clock.monotonic, []

        async def refused(session: Session, run_id: str) -> Answer:
            if stood_still:
                past_s = world.settings.client_timeout_ms(None) / 1000 + 1
                monkeypatch.setattr(client, "clock", SimpleNamespace(monotonic=lambda: monotonic() + past_s))
            raise RequestRejected("UNAVAILABLE", "All models failed")

        async def fall_back(failure: GatewayFailure, *how: object) -> Answer:
            failures.append(failure)
            return Answer({}, "embedded", {})

        monkeypatch.setattr(client, "_through_gateway", refused)
        monkeypatch.setattr(client, "_fall_back", fall_back)
        await client._turn(Session("agent:main:main", "", "main"))
        assert [failure.late for failure in failures] == [late]


async def test_a_session_that_another_run_has_by_the_time_of_the_fence_is_not_overruled(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": QUICK}) as world:
        client = await world.client()
        session = Session("agent:main:main", "session-1", "main")
        client.taking._lock = client.taking.made(session, 1.0, "run-1")
        async with client.taking.made(session, 1.0, "another run") as held:
            reply = await client.taking.fence(Fence(0), session, "run-1")

            assert (reply.granted, reply.foreign_run, reply.moved_on) == (False, True, True)
            held.verify()


async def test_a_run_of_ours_that_took_the_session_again_is_overruled(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": QUICK}) as world:
        client = await world.client()
        session = Session("agent:main:main", "session-1", "main")
        run = client.taking.made(session, 1.0, "run-1")
        async with run:
            seen = client.taking.look(session, "run-1")
        async with run as again:
            client.taking._lock = client.taking.made(session, 1.0, "run-1")
            assert (await client.taking.fence(Fence(seen.generation), session, "run-1")).granted
            with pytest.raises(Fenced):
                again.verify()
            await client.taking.give_back()


@pytest.mark.parametrize("given_back", [True, False])
async def test_an_owner_that_gives_the_session_back_while_it_is_overruled_is_succeeded(
    given_back: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig(tmp_path, {"one": QUICK}) as world:
        client = await world.client()
        session = Session("agent:main:main", "session-1", "main")
        owner, client.taking._lock = (client.taking.made(session, 1.0, "run-1") for _ in range(2))
        await owner.acquire_async()

        async def fails(only: int) -> HeldLock:
            if given_back:
                await owner.release_async()
            raise LockStateError(str(owner.path), "", "another program took the lock file in this very moment")

        monkeypatch.setattr(client.taking._lock, "fence_async", fails)
        assert (await client.taking.fence(Fence(1), session, "run-1")).granted is given_back
        await client.taking.give_back()
        await owner.release_async()


async def test_a_client_may_hold_the_session_for_as_long_as_its_patience(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": QUICK}) as world:
        client = await world.client(patience_s=3000.0)
        session = Session("agent:main:main", "session-1", "main")
        async with client.taking.made(session, 1.0, "run-1"):
            assert inspect_lock(client._file(session)).max_hold_s == 3000 + 900 + 120


async def test_no_gateway_means_the_turn_runs_here_and_says_so(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": QUICK}) as world:
        gateway = replace(world.settings.gateway, url="ws://127.0.0.1:9", port=9)
        world.settings = replace(world.settings, gateway=gateway)
        outcome = await world.ask(as_json=True)
        document = json.loads(outcome.stdout)
        assert outcome.exit_code == 0
        assert document["meta"]["transport"] == "embedded"
        assert document["meta"]["fallbackFrom"] == "gateway"
        assert any("no gateway is running" in line for line in world.said)


async def test_wrong_token_is_an_error_and_no_embedded_answer_hides_it(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": QUICK}) as world:
        await world.gateway()
        world.settings = replace(world.settings, gateway=replace(world.settings.gateway, token="hunter2"))
        outcome = await world.ask()
        assert outcome.exit_code == 1
        assert any("unauthorized: gateway token mismatch" in line for line in world.said)
        assert world.records("model.call") == []
        assert not any("hunter2" in line or "secret-" in line for line in world.said + world.logged)


async def test_foreign_holder_that_lives_leads_to_a_fork_that_says_duplicate_possible(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": QUICK}) as world:
        await world.gateway()
        await world.ask(message="earlier")
        (earlier,) = world.transcripts()
        lock = Path(f"{earlier.path}.lock")
        lock.write_text(json.dumps({"pid": os.getppid(), "createdAt": "2026-11-22T19:00:00.000Z"}, indent=2))
        world.settings = replace(world.settings, gateway=replace(world.settings.gateway, url="ws://127.0.0.1:9"))
        outcome = await world.ask(as_json=True)
        assert outcome.exit_code == 5
        document = json.loads(outcome.stdout)
        assert document["meta"]["duplicatePossible"] is True
        assert any("DUPLICATE POSSIBLE" in line for line in world.said)
        assert lock.exists(), "the lock of a live owner was deleted"
        assert len(world.records("lock", "fail", "client")) == 1, "a lock whose owner lives is waited for once"
        lock.unlink()
        fork = next(t for t in world.transcripts() if "takeover-fork" in t.path.name)
        assert [role for role, _ in texts(fork.messages)] == ["user", "assistant", "user", "assistant"]


async def test_stuck_gateway_of_ours_is_fenced_and_cannot_append_any_more(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": [{"never_answer": True, "times": 1}, *QUICK]}) as world:
        await world.gateway()
        turn = asyncio.create_task((await world.client(timeout_s=0)).run())
        await world.until("model.call", "invoke", "gateway")
        # A second client's socket goes nowhere: for it the gateway is out of reach, and its run holds the lock.
        (transcript,) = [t.path for t in world.transcripts()]
        lock = SessionLock(transcript, clock=world.clock, recorder=world.recorder("successor"))
        held = await lock.fence_async()
        with held.section():
            pass
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)
        await world.until("turn", "fail", "gateway")
        assert world.records("append.refused", None, "gateway"), "the old owner tried nothing, so nothing was proven"
        assert held.path.exists(), "the old owner removed its successor's lock"
        await lock.release_async()


async def test_interrupted_client_stops_the_gateway_run(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": SLOW}) as world:
        await world.gateway()
        turn = asyncio.create_task((await world.client()).run())
        await world.until("model.call", "invoke", "gateway")
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn
        await world.until("gateway.abort")
        await world.until("turn", "fail", "gateway")
        assert world.locks() == []


async def test_fresh_session_runs_the_turn_a_second_time_elsewhere(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": SLOW, "two": SLOW, "three": QUICK}) as world:
        await world.gateway("fresh-session")
        outcome = await world.ask(policy="fresh-session", as_json=True)
        meta = json.loads(outcome.stdout)["meta"]
        assert meta["fallbackReason"] == "gateway_timeout"
        assert meta["fallbackSessionId"].startswith("gateway-fallback-")
        assert len(world.transcripts()) == 2


async def test_no_fallback_prints_the_timeout_text_of_the_run(tmp_path: Path) -> None:
    async with rig(tmp_path, {"one": SLOW, "two": QUICK}) as world:
        await world.gateway("no-fallback")
        outcome = await world.ask(policy="no-fallback")
        assert outcome.exit_code == 1
        assert outcome.stdout.startswith("Request timed out before a response was generated.")
        assert [r.data["model"] for r in world.records("model.call", "invoke")] == ["one"]


@pytest.mark.parametrize(
    ("request_fields", "text"),
    [
        ({"agent_id": None}, "--to <E.164>, --session-id, or --agent"),
        ({"agent_id": "nobody"}, "one of the configured agents: main"),
        ({"agent_id": None, "session_id": "../../etc"}, "Invalid session ID: ../../etc"),
    ],
)
async def test_bad_request_is_a_usage_error_and_sends_nothing(tmp_path: Path, request_fields: dict, text: str) -> None:
    async with rig(tmp_path, {"one": QUICK}) as world:
        await world.gateway()
        outcome = await world.ask(**request_fields)
        assert outcome.exit_code == 2
        assert text in world.said[-1]
        assert world.records("client.call") == []


async def test_tool_effect_happens_once_when_the_gateway_is_stopped_in_mid_turn(tmp_path: Path) -> None:
    script = {
        "one": [
            {"tool_calls": [{"name": "exec", "arguments": {"command": "echo paid >> ledger.txt"}}], "times": 1},
            {**SLOW[0], "times": 1},
            *QUICK,
        ]
    }
    async with rig(tmp_path, script) as world:
        server = await world.gateway()
        client = await world.client()
        turn = asyncio.create_task(client.run())
        await world.until("provider.request", "invoke", "models", count=2)
        await server.stop(drain_s=0.0)  # 1012 to the client, the run is aborted
        outcome = await turn
        assert outcome.stdout == "the answer"
        assert (world.settings.agent.workspace / "ledger.txt").read_text() == "paid\n"
        (transcript,) = world.transcripts()
        assert transcript.problems == []
        assert world.leftovers() == []
