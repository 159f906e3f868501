"""Runs through a real gateway on loopback: accepted, queued, attached to, aborted, remembered."""

from __future__ import annotations

import asyncio
import re

import pytest

from lockjaw.errors import Attempt, ModelsFailed, RunAborted, UsageError
from lockjaw.settings import ModelRef, Pacing

POLICIES = ["reuse-session", "fresh-session", "no-fallback", "takeover"]


async def test_run_is_accepted_at_once_and_answered_with_the_same_id(rig):
    async with rig() as r:
        client = await r.client()
        request = await client.request("agent", r.agent(timeout=60))
        accepted = await client.response(request)
        step = await r.turn.next()
        step.answer("the answer")
        final = await client.response(request)
        assert accepted["ok"]
        assert accepted["payload"]["status"] == "accepted"
        assert accepted["payload"]["runId"] == "run-1"
        assert isinstance(accepted["payload"]["acceptedAt"], int)
        assert final["ok"]
        assert final["payload"]["status"] == "ok"
        assert final["payload"]["summary"] == "completed"
        assert final["payload"]["result"]["payloads"][0]["text"] == "the answer"
        assert step.request.timeout_s == 60.0
        assert (step.request.session_key, step.request.session_id) == ("agent:main:main", "session-1")
        assert r.ops("gateway.accepted") == [
            {"run_id": "run-1", "session_key": "agent:main:main", "session_id": "session-1"}
        ]
        assert r.ops("gateway.final") == [{"run_id": "run-1", "status": "ok"}]


async def test_failed_run_answers_with_the_printed_error(rig):
    async with rig() as r:
        client = await r.client()
        request = await client.request("agent", r.agent())
        await client.response(request)
        (await r.turn.next()).fail(ModelsFailed([Attempt("p", "m", "no", "timeout")]))
        final = await client.response(request)
        text = "FallbackSummaryError: All models failed (1): p/m: no (timeout)"
        assert not final["ok"]
        assert final["error"] == {"code": "UNAVAILABLE", "message": text}
        assert final["payload"] == {"runId": "run-1", "status": "error", "summary": text}
        assert not [line for line in r.lines if "lane task error" in line]


async def test_error_inside_the_lanes_is_logged_for_both_lanes(rig):
    async with rig() as r:
        client = await r.client()
        await client.call("agent", r.agent())
        (await r.turn.next()).fail(RuntimeError("broken"))
        await client.event("chat", state="error")
        lines = [line for line in r.lines if "lane task error" in line]
        assert [re.sub(r"durationMs=\d+", "durationMs=N", line) for line in lines] == [
            '[diagnostic] lane task error: lane=main durationMs=N error="Error: broken"',
            '[diagnostic] lane task error: lane=session:agent:main:main durationMs=N error="Error: broken"',
        ]


async def test_result_that_is_no_json_fails_the_run_and_nothing_else(rig):
    async with rig() as r:
        client = await r.client()
        request = await client.request("agent", r.agent())
        await client.response(request)
        (await r.turn.next()).outcome.set_result({"payloads": [object()]})
        final = await client.response(request)
        assert not final["ok"]
        assert (await client.call("health"))["ok"]


async def test_message_gets_the_time_in_front_unless_it_has_one(rig):
    async with rig() as r:
        client = await r.client()
        messages = ["hello", "[Wed 2026-04-08 12:00 UTC] hello", "remind me. Current time: noon"]
        seen = []
        for n, message in enumerate(messages):
            await client.call("agent", r.agent(f"run-{n}", message))
            step = await r.turn.next()
            seen.append(step.request.message)
            step.answer()
        assert re.fullmatch(r"\[(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d{4}-\d\d-\d\d \d\d:\d\d UTC\] hello", seen[0])
        assert seen[1:] == messages[1:]


# --------------------------------------------------------------------------- the client leaves


async def test_run_goes_on_when_its_client_leaves_and_its_final_is_kept(rig):
    async with rig() as r:
        first = await r.client()
        await first.call("agent", r.agent())
        step = await r.turn.next()
        await first.socket.close()
        second = await r.client()
        assert (await second.call("agent.wait", {"runId": "run-1", "timeoutMs": 0}))["payload"] == {
            "runId": "run-1", "status": "timeout",
        }  # fmt: skip
        assert not step.cancelled
        step.answer("late")
        waited = (await second.call("agent.wait", {"runId": "run-1"}))["payload"]
        assert waited["status"] == "ok"
        assert waited["endedAt"] >= waited["startedAt"]
        again = await second.call("agent", r.agent())
        assert again["payload"]["result"]["payloads"][0]["text"] == "late"
        assert len(r.turn.steps) == 1


async def test_run_whose_client_left_before_the_answer_still_starts(rig):
    async with rig() as r:
        r.sessions.gate = asyncio.Event()
        first = await r.client()
        await first.request("agent", r.agent())
        while not r.sessions.asked:
            await asyncio.sleep(0)
        await first.socket.close()
        second = await r.client()  # the first connection is gone by the time that this one is served
        r.sessions.gate.set()
        step = await r.turn.next()
        assert step.request.run_id == "run-1"
        step.answer()
        assert (await second.call("agent.wait", {"runId": "run-1"}))["payload"]["status"] == "ok"


# --------------------------------------------------------------------------- the same request again


async def test_lockjaw_attaches_a_second_request_to_the_running_run(rig, other_device):
    async with rig() as r:
        first = await r.client()
        request = await first.request("agent", r.agent())
        accepted = await first.response(request)
        step = await r.turn.next()
        second = await r.client(other_device)
        again = await second.request("agent", r.agent())
        assert (await second.response(again))["payload"] == accepted["payload"]
        step.answer("once")
        finals = [await first.response(request), await second.response(again)]
        assert finals[0]["payload"] == finals[1]["payload"]
        assert finals[0]["payload"]["result"]["payloads"][0]["text"] == "once"
        assert len(r.turn.steps) == 1


@pytest.mark.parametrize(
    ("policy", "status"), [("reuse-session", "accepted"), ("fresh-session", "accepted"), ("no-fallback", "in_flight")]
)
async def test_upstream_versions_do_not_attach_a_second_request(rig, policy, status):
    async with rig(policy) as r:
        client = await r.client()
        first = await client.request("agent", r.agent())
        await client.response(first)
        step = await r.turn.next()
        second = await client.request("agent", r.agent())
        assert (await client.response(second))["payload"]["status"] == status
        step.answer()
        assert (await client.response(first))["payload"]["status"] == "ok"
        third = await client.call("agent", r.agent())  # answered in order: nothing more came for the second
        assert third["payload"]["status"] == "ok"
        assert client._responses == []
        assert len(r.turn.steps) == 1


async def test_final_is_given_again_to_a_later_request(rig):
    async with rig() as r:
        client = await r.client()
        request = await client.request("agent", r.agent())
        await client.response(request)
        (await r.turn.next()).fail(RuntimeError("broken"))
        final = await client.response(request)
        again = await client.call("agent", r.agent())
        assert {**again, "id": ""} == {**final, "id": ""}
        assert len(r.turn.steps) == 1


async def test_two_requests_with_one_key_at_the_same_time_start_one_run(rig):
    async with rig() as r:
        r.sessions.gate = asyncio.Event()
        client = await r.client()
        first = await client.request("agent", r.agent())
        second = await client.request("agent", r.agent())
        while not r.sessions.asked:
            await asyncio.sleep(0)
        assert (await client.call("health"))["ok"]  # both requests have been read by now
        r.sessions.gate.set()
        (await r.turn.next()).answer()
        for request in (first, second):
            assert (await client.response(request))["payload"]["status"] == "accepted"
            assert (await client.response(request))["payload"]["status"] == "ok"
        assert len(r.turn.steps) == len(r.sessions.asked) == 1


async def test_two_chat_requests_with_one_key_at_the_same_time_start_one_run(rig):
    async with rig() as r:
        r.sessions.gate = asyncio.Event()
        client = await r.client()
        send = {"sessionKey": "main", "message": "hi", "idempotencyKey": "c1", "timeoutMs": 2500}
        first = await client.request("chat.send", send)
        second = await client.request("chat.send", send)
        while not r.sessions.asked:
            await asyncio.sleep(0)
        assert (await client.call("health"))["ok"]
        r.sessions.gate.set()
        step = await r.turn.next()
        assert (await client.response(first))["payload"]["status"] == "started"
        assert (await client.response(second))["payload"]["status"] == "in_flight"
        assert step.request.timeout_s == 2.5
        assert len(r.turn.steps) == 1


async def test_broken_settings_are_not_the_callers_mistake(rig):
    async with rig() as r:
        client = await r.client()
        r.sessions.error = UsageError("openclaw.json", "session.store", "a path")
        refused = await client.call("agent", r.agent())
        assert refused["error"]["code"] == "UNAVAILABLE"
        assert "openclaw.json: session.store: expected a path" in refused["error"]["message"]


async def test_run_that_outlives_the_store_is_still_not_executed_twice(rig):
    async with rig() as r:
        client = await r.client()
        await client.call("agent", r.agent())
        step = await r.turn.next()
        r.server._turns.dedupe.sweep(r.clock.monotonic() + 1000)
        again = await client.call("agent", r.agent())
        assert again["payload"]["status"] == "accepted"
        assert len(r.turn.steps) == 1
        step.answer()


async def test_key_of_a_chat_run_does_not_start_an_agent_run(rig):
    async with rig() as r:
        client = await r.client()
        send = {"sessionKey": "main", "message": "hi", "idempotencyKey": "run-1"}
        assert (await client.call("chat.send", send))["payload"] == {"runId": "run-1", "status": "started"}
        step = await r.turn.next()
        assert (await client.call("agent", r.agent()))["payload"]["status"] == "in_flight"
        assert (await client.call("chat.send", send))["payload"]["status"] == "in_flight"
        step.answer()
        await client.event("chat", state="final")
        assert (await client.call("chat.send", send))["payload"] == {"runId": "run-1", "status": "ok"}
        assert len(r.turn.steps) == 1


# --------------------------------------------------------------------------- lanes


async def test_runs_of_one_session_go_one_at_a_time_in_order(rig):
    async with rig() as r:
        client = await r.client()
        for n in range(4):
            await client.call("agent", r.agent(f"run-{n}"))
        order = []
        for n in range(4):
            step = await r.turn.next()
            assert len(r.turn.steps) == n + 1, "two runs of one session at once"
            order.append(step.request.run_id)
            status = (await client.call("status"))["payload"]["runs"]
            assert [run["state"] for run in status] == ["running"] + ["queued"] * (3 - n)
            step.answer()
        assert order == ["run-0", "run-1", "run-2", "run-3"]
        lanes = [data["lane"] for data in r.ops("lane.wait") if data["run_id"] == "run-0"]
        assert lanes == ["session:agent:main:main"] * 2 + ["main"] * 2


async def test_sessions_run_in_parallel_up_to_the_limit(rig):
    async with rig() as r:  # max_concurrent=2
        client = await r.client()
        for n in range(3):
            await client.call("agent", r.agent(f"run-{n}", sessionKey=f"agent:main:s{n}"))
        steps = [await r.turn.next(), await r.turn.next()]
        assert [step.request.run_id for step in steps] == ["run-0", "run-1"]
        assert (await client.call("health"))["ok"]
        assert len(r.turn.steps) == 2
        steps[1].answer()
        third = await r.turn.next()
        assert third.request.run_id == "run-2"
        steps[0].answer()
        third.answer()


async def test_named_lane_runs_beside_the_main_lane(rig):
    async with rig() as r:
        client = await r.client()
        for n in range(2):
            await client.call("agent", r.agent(f"run-{n}", sessionKey=f"agent:main:s{n}"))
        await client.call("agent", r.agent("run-2", sessionKey="agent:main:s2", lane="cron"))
        steps = [await r.turn.next() for _ in range(3)]
        assert {step.request.run_id for step in steps} == {"run-0", "run-1", "run-2"}
        refused = await client.call("agent", r.agent("run-3", lane="session:agent:main:s0"))
        assert refused["error"]["code"] == "INVALID_REQUEST"
        for step in steps:
            step.answer()


async def test_run_begins_prepare_s_after_it_was_accepted(rig):
    async with rig(pacing=Pacing(prepare_s=4.0)) as r:
        client = await r.client()
        r.clock.run_at(0.05)
        accepted_at = r.clock.monotonic()
        await client.call("agent", r.agent())
        step = await r.turn.next()
        # Not before (a timer may fire one tick of the machine's clock early), and not much later.
        assert 3.9 <= r.clock.monotonic() - accepted_at < 100.0
        step.answer()


async def test_time_in_the_lanes_counts_as_preparation(rig):
    async with rig(pacing=Pacing(prepare_s=60.0)) as r:
        client = await r.client()
        r.clock.run_at(0.02)
        await client.call("agent", r.agent("run-0"))
        await client.call("agent", r.agent("run-1"))
        accepted = [run.accepted_at for run in r.server._turns.runs.active]
        (await r.turn.next()).answer()
        second = await r.turn.next()
        assert r.clock.monotonic() - accepted[1] < 110.0  # a preparation of its own would end after 120
        second.answer()


# --------------------------------------------------------------------------- agent.wait


async def test_wait_tells_not_over_yet_from_stopped(rig):
    async with rig() as r:
        client = await r.client()
        await client.call("agent", r.agent())
        step = await r.turn.next()
        pending = (await client.call("agent.wait", {"runId": "run-1", "timeoutMs": 1}))["payload"]
        waiting = await client.request("agent.wait", {"runId": "run-1"})
        assert (await client.call("chat.abort", {"sessionKey": "agent:main:main"}))["payload"]["aborted"]
        stopped = (await client.response(waiting))["payload"]
        assert pending == {"runId": "run-1", "status": "timeout"}
        assert stopped["status"] == "timeout"
        assert stopped["endedAt"] >= stopped["startedAt"]
        assert step.abort.is_set()


async def test_wait_gives_the_error_of_a_failed_run(rig):
    async with rig() as r:
        client = await r.client()
        waiting = await client.request("agent.wait", {"runId": "run-1"})  # before there is such a run
        await client.call("agent", r.agent())
        (await r.turn.next()).fail(RuntimeError("broken"))
        ended = (await client.response(waiting))["payload"]
        assert (ended["status"], ended["error"]) == ("error", "Error: broken")


async def test_run_stopped_by_its_own_limit_is_an_ok_answer_and_a_timeout_for_wait(rig):
    async with rig() as r:
        client = await r.client()
        request = await client.request("agent", r.agent())
        await client.response(request)
        (await r.turn.next()).answer("Request timed out before a response was generated.", aborted=True)
        assert (await client.response(request))["payload"]["status"] == "ok"
        waited = (await client.call("agent.wait", {"runId": "run-1"}))["payload"]
        assert waited["status"] == "timeout"
        assert "endedAt" in waited


async def test_wait_and_timeouts_take_numbers_beyond_every_timer(rig):
    async with rig() as r:
        client = await r.client()
        waiting = await client.request("agent.wait", {"runId": "run-1", "timeoutMs": 10**400})
        assert (await client.call("agent", r.agent(timeout=10**400)))["ok"]
        step = await r.turn.next()
        assert step.request.timeout_s == 2_147_000.0
        step.answer()
        assert (await client.response(waiting))["payload"]["status"] == "ok"


# --------------------------------------------------------------------------- aborts


@pytest.mark.parametrize("policy", ["fresh-session", "no-fallback", "takeover"])
async def test_abort_reaches_an_agent_run(rig, policy):
    async with rig(policy) as r:
        client = await r.client()
        request = await client.request("agent", r.agent())
        await client.response(request)
        step = await r.turn.next()
        step.emit("assistant", {"text": "part of it", "delta": "part of it"})
        abort = await client.call("chat.abort", {"sessionKey": "agent:main:main", "runId": "run-1"})
        assert step.abort.is_set()  # signalled before it was answered
        assert abort["payload"] == {"ok": True, "aborted": True, "runIds": ["run-1"]}
        assert (await client.response(request))["payload"] == {
            "runId": "run-1", "status": "timeout", "summary": "aborted", "stopReason": "rpc",
        }  # fmt: skip
        event = (await client.event("chat", state="aborted"))["payload"]
        assert event["message"]["content"] == [{"type": "text", "text": "part of it"}]
        assert r.ops("gateway.abort") == [{"run_id": "run-1", "origin": "rpc"}]
        assert r.ops("gateway.final") == [{"run_id": "run-1", "status": "timeout"}]


async def test_abort_does_not_reach_an_agent_run_of_2026_4_8(rig):
    async with rig("reuse-session") as r:
        client = await r.client()
        request = await client.request("agent", r.agent())
        await client.response(request)
        step = await r.turn.next()
        abort = await client.call("chat.abort", {"sessionKey": "agent:main:main", "runId": "run-1"})
        assert abort["payload"] == {"ok": True, "aborted": False, "runIds": []}
        abort = await client.call("sessions.abort", {"key": "agent:main:main"})
        assert abort["payload"] == {"ok": True, "abortedRunId": None, "status": "no-active-run"}
        assert not step.abort.is_set()
        step.answer()
        assert (await client.response(request))["payload"]["status"] == "ok"


@pytest.mark.parametrize("policy", POLICIES)
async def test_abort_reaches_a_chat_run_of_every_version(rig, policy):
    async with rig(policy) as r:
        client = await r.client()
        await client.call("chat.send", {"sessionKey": "main", "message": "hi", "idempotencyKey": "c1"})
        await r.turn.next()
        abort = await client.call("sessions.abort", {"key": "main"})
        assert abort["payload"] == {"ok": True, "abortedRunId": "c1", "status": "aborted"}
        assert (await client.event("chat", state="aborted"))["payload"]["stopReason"] == "rpc"


async def test_stop_as_a_message_aborts_the_session(rig):
    async with rig() as r:
        client = await r.client()
        await client.call("agent", r.agent())
        step = await r.turn.next()
        send = {"sessionKey": "main", "message": " /stop ", "idempotencyKey": "c1"}
        assert (await client.call("chat.send", send))["payload"]["runIds"] == ["run-1"]
        assert step.abort.is_set()


async def test_abort_of_a_queued_run_ends_it_without_a_turn(rig):
    async with rig() as r:
        client = await r.client()
        await client.call("agent", r.agent("run-0"))
        step = await r.turn.next()
        queued = await client.request("agent", r.agent("run-1"))
        await client.response(queued)
        last = await client.request("agent", r.agent("run-2"))
        await client.response(last)
        await client.call("chat.abort", {"sessionKey": "main", "runId": "run-1"})
        assert (await client.response(queued))["payload"]["summary"] == "aborted"
        step.answer()
        assert (await r.turn.next()).request.run_id == "run-2"
        r.turn.steps[-1].answer()
        assert [s.request.run_id for s in r.turn.steps] == ["run-0", "run-2"]


async def test_abort_during_preparation_ends_the_run_without_a_turn(rig):
    async with rig(pacing=Pacing(prepare_s=3600.0)) as r:
        client = await r.client()
        request = await client.request("agent", r.agent())
        await client.response(request)
        await client.call("sessions.abort", {"runId": "run-1"})
        assert (await client.response(request))["payload"]["summary"] == "aborted"
        assert r.turn.steps == []


async def test_turn_that_finished_in_spite_of_the_abort_keeps_its_answer(rig):
    async with rig() as r:
        r.turn.ignores_abort = True
        client = await r.client()
        request = await client.request("agent", r.agent())
        await client.response(request)
        step = await r.turn.next()
        await client.call("chat.abort", {"sessionKey": "main"})
        step.answer("done all the same")
        final = (await client.response(request))["payload"]
        assert final["status"] == "ok"
        assert final["result"]["payloads"][0]["text"] == "done all the same"


async def test_run_that_was_fenced_off_says_so(rig):
    async with rig() as r:
        client = await r.client()
        request = await client.request("agent", r.agent())
        await client.response(request)
        (await r.turn.next()).fail(RunAborted("run-1", "fenced"))
        assert (await client.response(request))["payload"]["stopReason"] == "fenced"


async def test_only_the_starter_or_an_admin_may_abort(rig, other_device):
    async with rig() as r:
        starter = await r.client()
        await r.client(other_device)  # pairs it with every scope; a narrower request is then no upgrade
        stranger = await r.client(other_device, scopes=["operator.read", "operator.write"])
        same_device = await r.client(scopes=["operator.write"])
        await starter.call("agent", r.agent())
        step = await r.turn.next()
        for params in ({"sessionKey": "main"}, {"sessionKey": "main", "runId": "run-1"}):
            refused = await stranger.call("chat.abort", params)
            assert refused["error"] == {"code": "INVALID_REQUEST", "message": "unauthorized"}
        assert not step.abort.is_set()
        wrong = await starter.call("chat.abort", {"sessionKey": "agent:main:other", "runId": "run-1"})
        assert wrong["error"]["message"] == "runId does not match sessionKey"
        assert (await same_device.call("chat.abort", {"sessionKey": "main"}))["payload"]["aborted"]


async def test_abort_of_an_unknown_run_is_no_error(rig):
    async with rig() as r:
        client = await r.client()
        assert (await client.call("chat.abort", {"sessionKey": "main", "runId": "x"}))["payload"]["aborted"] is False
        none = await client.call("sessions.abort", {"runId": "x"})
        assert none["payload"]["status"] == "no-active-run"
        missing = await client.call("sessions.abort", {})
        assert missing["error"]["message"].startswith("invalid sessions.abort params")


# --------------------------------------------------------------------------- which session, which model


async def test_session_of_a_run_is_found_by_key_agent_or_id(rig):
    async with rig() as r:
        client = await r.client()
        base = {"message": "hi"}
        cases = [
            ({**base, "agentId": "MAIN"}, ("main", "agent:main:main", None)),
            ({**base, "sessionKey": "Agent:Main:Work"}, ("main", "agent:main:work", None)),
            ({**base, "sessionKey": "work"}, ("main", "agent:main:work", None)),
            ({**base, "sessionId": "s1"}, ("main", None, "s1")),
            (base, ("main", "agent:main:main", None)),
            ({**base, "agentId": "main", "sessionId": "s1"}, ("main", "agent:main:main", "s1")),
        ]
        for n, (params, asked) in enumerate(cases):
            await client.call("agent", {**params, "idempotencyKey": f"run-{n}"})
            (await r.turn.next()).answer()
            assert r.sessions.asked[-1] == asked


async def test_upstream_drops_the_session_id_beside_a_key(rig):
    async with rig("reuse-session") as r:
        client = await r.client()
        await client.call("agent", r.agent(sessionId="s1"))
        (await r.turn.next()).answer()
        assert r.sessions.asked == [("main", "agent:main:main", None)]


async def test_one_run_override_of_the_model_needs_admin(rig):
    async with rig() as r:
        admin = await r.client()
        writer = await r.client(scopes=["operator.write"])
        refused = await writer.call("agent", r.agent("run-0", model="p/other"))
        assert refused["error"]["message"] == "provider/model overrides are not authorized for this caller."
        cases = [({"model": "q/n/1"}, ModelRef("q", "n/1")), ({"model": "n"}, ModelRef("p", "n"))]
        cases += [({"provider": "q", "model": "n"}, ModelRef("q", "n")), ({}, None)]
        for n, (params, expected) in enumerate(cases):
            await admin.call("agent", r.agent(f"run-{n}", **params))
            step = await r.turn.next()
            assert step.request.model == expected
            step.answer()
        for model in ("/n", "q/"):
            bad = await admin.call("agent", r.agent("run-9", model=model))
            assert bad["error"]["code"] == "INVALID_REQUEST"
            assert bad["error"]["message"].startswith("invalid agent params: at /model: expected PROVIDER/MODEL")
        alone = await admin.call("agent", r.agent("run-9", provider="q"))
        assert "needs provider and model" in alone["error"]["message"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"agentId": "ghost"}, 'invalid agent params: unknown agent id "ghost"'),
        ({"sessionKey": "agent:ghost:main", "agentId": ""}, "invalid agent params: at /agentId"),
        ({"sessionKey": "agent:other:main"}, 'invalid agent params: agent "main" does not match session key agent'),
        ({"sessionKey": "agent::"}, 'invalid agent params: malformed session key "agent::"'),
        ({"sessionId": "../x"}, "Invalid session ID: ../x"),
        ({"timeout": -1}, "invalid agent params: at /timeout: must be >= 0"),
        ({"surprise": 1}, "invalid agent params: at root: unexpected property 'surprise'"),
        ({"message": "/new start over"}, "this gateway cannot reset sessions"),
        ({"message": "/RESET"}, "this gateway cannot reset sessions"),
        ({"attachments": [{"x": 1}]}, "this gateway takes no attachments"),
        ({"deliver": True}, "this gateway has no channels"),
    ],
)
async def test_bad_agent_request_starts_nothing(rig, params, message):
    async with rig() as r:
        client = await r.client()
        refused = await client.call("agent", r.agent(**params))
        assert not refused["ok"]
        assert refused["error"]["code"] == "INVALID_REQUEST"
        assert refused["error"]["message"].startswith(message)
        assert r.turn.steps == []
        assert r.ops("gateway.accepted") == []


async def test_key_of_an_unknown_agent_is_refused(rig):
    async with rig() as r:
        client = await r.client()
        refused = await client.call("agent", {"message": "x", "idempotencyKey": "k", "sessionKey": "agent:ghost:main"})
        assert refused["error"]["message"] == 'invalid agent params: unknown agent id "ghost"'


async def test_error_of_a_handler_is_answered_and_a_retry_may_succeed(rig):
    async with rig() as r:
        client = await r.client()
        r.sessions.error = OSError("disk full")
        refused = await client.call("agent", r.agent())
        assert refused["error"] == {"code": "UNAVAILABLE", "message": "Error: disk full"}
        r.sessions.error = None
        assert (await client.call("agent", r.agent()))["payload"]["status"] == "accepted"
        (await r.turn.next()).answer()
